//! Ours: a length and a JSON object.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::SystemTime;

use dht::core::hash::slot_of;
use dht::core::wire::frame;

use super::dialect::{Dialect, Op, Said, Taken, push_key, push_value, wrong};
use super::ring::{Place, Ring};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Get,
    Set,
    Setr,
    Getr,
    Lock,
    Heartbeat,
}

/// Ours. Names of `setr` and `getr` go to their primaries, which the view leader tells.
#[derive(Debug)]
pub(crate) struct Frames {
    addresses: Vec<SocketAddr>,
    work: Work,
    ring: Option<Ring>,
    before: Vec<Place>,
    client: u64,
    body: Vec<u8>,
}

impl Frames {
    /// `addresses`: of servers; of the view leader alone for `setr`, `getr`, `lock` and `heartbeat`.
    pub(crate) fn new(addresses: Vec<SocketAddr>, work: &str) -> Result<Self, String> {
        let work = match work {
            "get" => Work::Get,
            "set" => Work::Set,
            "setr" => Work::Setr,
            "getr" => Work::Getr,
            "lock" => Work::Lock,
            "heartbeat" => Work::Heartbeat,
            _ => return Err(format!("no work {work}")),
        };
        let routed = matches!(work, Work::Setr | Work::Getr);
        let ring = if routed { Some(Ring::ask(addresses[0])?) } else { None };
        let before = ring.as_ref().map(|ring| ring.places.clone()).unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |span| span.as_micros() as u64);
        let client = now.wrapping_mul(1024).wrapping_add(u64::from(std::process::id()));
        Ok(Frames { addresses, work, ring, before, client, body: Vec::new() })
    }

    fn slot(op: &Op) -> u16 {
        let mut key = Vec::with_capacity(16);
        push_key(&mut key, op.key);
        slot_of(&key)
    }

    fn place_of(&self, op: &Op) -> Option<&Place> {
        Some(&self.ring.as_ref()?.places[usize::from(Self::slot(op))])
    }

    fn write(&mut self, op: &Op, command: &str) {
        let revision = self.place_of(op).map(|place| place.revision);
        let body = &mut self.body;
        let mut add = |text: &str| body.extend_from_slice(text.as_bytes());
        add("{\"cmd\": \"");
        add(command);
        add("\", \"key\": \"");
        push_key(body, op.key);
        body.push(b'"');
        if matches!(self.work, Work::Set | Work::Setr) {
            body.extend_from_slice(b", \"val\": ");
            push_value(body, op.key);
        }
        if let Some(revision) = revision {
            body.extend_from_slice(b", \"dht\": {");
            if self.work == Work::Setr {
                let (client, number) = (self.client, op.number);
                let _ = write!(body, "\"client\": {client}, \"number\": {number}, ");
                if op.repeated {
                    body.extend_from_slice(b"\"repeated\": true, ");
                }
            }
            let _ = write!(body, "\"revision\": {revision}}}");
        }
        body.push(b'}');
    }

    fn judge(&mut self, said: &mut Said, reply: &[u8], op: &Op) -> Result<bool, String> {
        let right = match self.work {
            Work::Get | Work::Getr => {
                self.body.clear();
                self.body.extend_from_slice(b"{\"status\": \"ok\", \"value\": ");
                push_value(&mut self.body, op.key);
                self.body.push(b'}');
                reply == self.body
            }
            Work::Set => reply == b"{\"status\": \"ok\"}",
            Work::Setr => reply.starts_with(b"{\"status\": \"ok\", \"servers\": [\""),
            Work::Lock if said.replies % 2 == 1 => reply == b"{\"status\": \"granted\"}",
            Work::Lock => reply == b"{\"status\": \"ok\"}",
            Work::Heartbeat => reply.starts_with(b"{\"status\": \"ok\", "),
        };
        let again = [&b"{\"status\": \"no\", "[..], b"{\"status\": \"unknown\", "];
        match right {
            true => Ok(true),
            false if self.ring.is_some() && again.iter().any(|text| reply.starts_with(text)) => {
                Ok(false)
            }
            false => Err(wrong(reply)),
        }
    }
}

impl Dialect for Frames {
    fn addresses(&self) -> &[SocketAddr] {
        self.ring.as_ref().map_or(&self.addresses, |ring| &ring.addresses)
    }

    fn route(&self, op: &Op) -> usize {
        let spread = op.client % self.addresses.len();
        self.place_of(op).map_or(spread, |place| place.primary)
    }

    fn ask(&mut self, said: &mut Said, op: &Op, out: &mut Vec<u8>) {
        said.requests += 1;
        self.body.clear();
        match self.work {
            Work::Get => self.write(op, "get"),
            Work::Set => self.write(op, "set"),
            Work::Setr => self.write(op, "dht_write"),
            Work::Getr => self.write(op, "dht_read"),
            Work::Lock => {
                let command = if said.requests % 2 == 1 { "lock_get" } else { "lock_release" };
                let client = op.client;
                let _ = write!(
                    self.body,
                    r#"{{"cmd": "{command}", "lockid": "lock {client}", "requestor": "me"}}"#
                );
            }
            Work::Heartbeat => {
                let (port, name) = (1024 + op.key % 60_000, op.key);
                let _ = write!(
                    self.body,
                    r#"{{"cmd": "heartbeat", "port": {port}, "requestor": "server {name}"}}"#
                );
            }
        }
        frame::append(out, &self.body);
    }

    fn take(
        &mut self,
        said: &mut Said,
        bytes: &[u8],
        op: Option<&Op>,
        _out: &mut Vec<u8>,
    ) -> Result<Taken, String> {
        let end = frame::decode(bytes, i32::MAX as usize).map_err(|error| error.to_string())?;
        let Some(end) = end else { return Ok(Taken::More) };
        let op = op.ok_or("a reply to nothing")?;
        said.replies += 1;
        let done = self.judge(said, &bytes[frame::HEADER_BYTES..end], op)?;
        Ok(if done { Taken::Done(end) } else { Taken::Again(end) })
    }

    fn learn(&mut self) -> Result<(), String> {
        self.ring.as_mut().map_or(Ok(()), Ring::learn)
    }

    fn place(&self, op: &Op) -> (u16, bool) {
        let slot = Self::slot(op);
        let now = self.ring.as_ref().map(|ring| &ring.places[usize::from(slot)]);
        let moved = now.is_some_and(|now| now.holders != self.before[usize::from(slot)].holders);
        (slot, moved)
    }
}
