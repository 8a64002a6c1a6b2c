//! etcd over gRPC, as far as a put and a linearizable get need HTTP/2 (RFC 9113).
//!
//! Headers are written as literals, and those that come are not looked into: whether a call went well
//! is seen by its message, which a failed call does not have.

use std::net::SocketAddr;

use super::dialect::{Dialect, Op, Said, Taken, push_key, push_value};

/// What opens a connection: the preface, settings with the largest window, and the same for the
/// connection as a whole.
const WINDOW: u32 = 0x7fff_ffff;
const WINDOW_FIRST: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const FRAME_HEADER: usize = 9;

/// gRPC to one member for each client, in turns; one call at a time on a connection.
#[derive(Debug)]
pub(crate) struct Etcd {
    addresses: Vec<SocketAddr>,
    get: bool,
    headers: Vec<u8>,
    wanted: Vec<u8>,
}

impl Etcd {
    pub(crate) fn new(addresses: Vec<SocketAddr>, work: &str) -> Result<Self, String> {
        let get = match work {
            "getr" => true,
            "setr" => false,
            _ => return Err(format!("no work {work} in this dialect")),
        };
        let path = if get { "/etcdserverpb.KV/Range" } else { "/etcdserverpb.KV/Put" };
        let mut headers = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            // A literal that is not indexed, with a new name (RFC 7541, 6.2.2).
            headers.push(0);
            for text in [name, value] {
                headers.push(text.len() as u8);
                headers.extend_from_slice(text.as_bytes());
            }
        }
        Ok(Etcd { addresses, get, headers, wanted: Vec::new() })
    }
}

impl Dialect for Etcd {
    fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn hello(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = vec![0, 4];
        settings.extend_from_slice(&WINDOW.to_be_bytes());
        push_frame(out, SETTINGS, 0, 0, &settings);
        push_frame(out, WINDOW_UPDATE, 0, 0, &(WINDOW - WINDOW_FIRST).to_be_bytes());
    }

    fn ask(&mut self, said: &mut Said, op: &Op, out: &mut Vec<u8>) {
        let stream = 2 * said.requests + 1;
        said.requests += 1;
        said.answer.clear();
        push_frame(out, HEADERS, END_HEADERS, stream, &self.headers);
        // The message: field 1 is the name, field 2 of a put the value.
        let mut message = vec![0x0a, 16];
        push_key(&mut message, op.key);
        if !self.get {
            message.extend_from_slice(&[0x12, 32]);
            push_value(&mut message, op.key);
        }
        let mut data = vec![0];
        data.extend_from_slice(&(message.len() as u32).to_be_bytes());
        data.append(&mut message);
        push_frame(out, DATA, END_STREAM, stream, &data);
    }

    fn take(
        &mut self,
        said: &mut Said,
        bytes: &[u8],
        op: Option<&Op>,
        out: &mut Vec<u8>,
    ) -> Result<Taken, String> {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER>() else { return Ok(Taken::More) };
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let end = FRAME_HEADER + length;
        if bytes.len() < end {
            return Ok(Taken::More);
        }
        let (kind, flags, payload) = (header[3], header[4], &bytes[FRAME_HEADER..end]);
        match kind {
            SETTINGS if flags & ACK == 0 => push_frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => push_frame(out, PING, ACK, 0, payload),
            GO_AWAY => return Err("etcd closes the connection".to_owned()),
            DATA if length > 0 => {
                said.answer.extend_from_slice(payload);
                push_frame(out, WINDOW_UPDATE, 0, 0, &(length as u32).to_be_bytes());
            }
            HEADERS if flags & END_STREAM != 0 => {
                let op = op.ok_or("a reply to nothing")?;
                self.wanted.clear();
                push_value(&mut self.wanted, op.key);
                let found = said.answer.windows(32).any(|part| part == self.wanted);
                // A put is answered with the revision that it made.
                let right = if self.get { found } else { said.answer.len() > 5 };
                let why = format!("a failed call, with {} bytes of answer", said.answer.len());
                return if right { Ok(Taken::Done(end)) } else { Err(why) };
            }
            _ => {}
        }
        Ok(Taken::Skip(end))
    }
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
