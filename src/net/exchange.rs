//! One request and its reply on a connection that we opened.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::frames::Frames;
use super::hosts;
use crate::core::machine::CallError;
use crate::core::wire::frame;

/// Opens a connection to `host:port`.
pub(super) async fn connect(addr: &str, deadline: Instant) -> Result<TcpStream, CallError> {
    match timeout_at(deadline, connect_any(addr)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(not_sent(&error)),
        Err(_) => Err(CallError::NotSent("timed out while connecting".to_owned())),
    }
}

async fn connect_any(addr: &str) -> io::Result<TcpStream> {
    let found = match hosts::parse_addr(addr)? {
        Some(found) => vec![found],
        None => hosts::only_ipv4(addr, lookup_host(addr).await?)?,
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for found in found {
        match connect_one(found).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_one(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    hosts::check_other(stream.local_addr()?, stream.peer_addr()?)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What an error before the first byte means to a machine.
pub(super) fn not_sent(error: &io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CallError::Refused,
        _ => CallError::NotSent(error.to_string()),
    }
}

/// Sends `message` and waits for the reply until `deadline`.
pub(super) async fn exchange(
    stream: &TcpStream,
    message: &[u8],
    deadline: Instant,
    reply_bytes_max: usize,
) -> Result<Vec<u8>, CallError> {
    if i32::try_from(message.len()).is_err() {
        return Err(CallError::NotSent("the message is too long".to_owned()));
    }
    let mut sent = false;
    let why = match timeout_at(deadline, talk(stream, message, reply_bytes_max, &mut sent)).await {
        Ok(Ok(reply)) => return Ok(reply),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no reply in time".to_owned(),
    };
    Err(if sent { CallError::Lost(why) } else { CallError::NotSent(why) })
}

/// `sent` becomes true with the first byte that leaves.
async fn talk(
    stream: &TcpStream,
    message: &[u8],
    reply_bytes_max: usize,
    sent: &mut bool,
) -> io::Result<Vec<u8>> {
    let bytes = frame::encode(message);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(count) => {
                *sent = true;
                rest = &rest[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut frames = Frames::default();
    loop {
        stream.readable().await?;
        match frames.read_with(|buffer| stream.try_read(buffer)) {
            Ok(0) => return Err(ended()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if let Some(reply) = next_reply(&mut frames, reply_bytes_max)? {
            return Ok(reply);
        }
    }
}

/// The error of a connection that closed before the reply.
pub(super) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed before the reply")
}

/// Takes the reply, after which nothing may follow.
pub(super) fn next_reply(frames: &mut Frames, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let reply = frames.next(bytes_max, bytes_max, <[u8]>::to_vec);
    let reply = reply.map_err(|error| invalid(format!("reply: {error}")))?;
    if reply.is_some() && !frames.is_empty() {
        return Err(invalid("more than one reply".to_owned()));
    }
    Ok(reply)
}

/// A moment from now, however long `span` is.
pub(super) fn later(span: Duration) -> Instant {
    Instant::now() + span.min(Duration::from_secs(365 * 24 * 3600))
}
