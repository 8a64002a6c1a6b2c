//! One request and its reply on a plain blocking socket, given up as soon as the caller wants.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::exchange::{ended, next_reply, not_sent};
use super::frames::Frames;
use super::hosts;
use crate::core::machine::CallError;
use crate::core::wire::frame;

/// How long a thread blocks before it asks whether it shall stop.
pub(super) const SLICE: Duration = Duration::from_millis(50);

/// How often a connection that takes longer than a slice to open is looked at.
const CONNECT_POLL: Duration = Duration::from_millis(5);

/// Until when to wait, and who may end the wait before.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub(super) deadline: Instant,
    /// Asked after every slice; true ends the wait.
    pub(super) stop: &'a dyn Fn() -> bool,
}

/// Why a wait ended without a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The caller wanted it.
    Interrupted,
    /// The time is up.
    TimedOut,
    /// The socket failed.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

/// The caller wanted a wait to end.
#[derive(Debug)]
pub(super) struct Interrupted;

impl Patience<'_> {
    /// Fails where there is no reason to go on.
    fn check(&self) -> Result<(), Failure> {
        if (self.stop)() {
            return Err(Failure::Interrupted);
        }
        if Instant::now() >= self.deadline {
            return Err(Failure::TimedOut);
        }
        Ok(())
    }

    /// The same, with an earlier deadline.
    pub(super) fn at_most(self, span: Duration) -> Self {
        Patience { deadline: self.deadline.min(Instant::now() + span), ..self }
    }

    /// Waits until the deadline.
    pub(super) fn sleep(&self) -> Result<(), Interrupted> {
        loop {
            let rest = self.deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            thread::sleep(rest.min(SLICE));
            if (self.stop)() {
                return Err(Interrupted);
            }
        }
    }
}

/// Opens a connection to `host:port`. Asking a name service is the one thing here that cannot be
/// given up half-way.
pub(super) fn connect(
    addr: &str,
    patience: Patience<'_>,
) -> Result<Result<TcpStream, CallError>, Interrupted> {
    let found = match hosts::resolve(addr) {
        Ok(found) => found,
        Err(error) => return Ok(Err(not_sent(&error))),
    };
    let mut last = CallError::NotSent(format!("{addr}: no address"));
    for found in found {
        last = match connect_one(found, patience) {
            Ok(stream) => return Ok(Ok(stream)),
            Err(Failure::Interrupted) => return Err(Interrupted),
            Err(Failure::TimedOut) => {
                return Ok(Err(CallError::NotSent("timed out while connecting".to_owned())));
            }
            Err(Failure::Io(error)) => not_sent(&error),
        };
    }
    Ok(Err(last))
}

fn connect_one(addr: SocketAddr, patience: Patience<'_>) -> Result<TcpStream, Failure> {
    patience.check()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    let slice = patience.deadline.saturating_duration_since(Instant::now()).min(SLICE);
    match socket.connect_timeout(&addr.into(), slice.max(Duration::from_millis(1))) {
        Ok(()) => {}
        // The slice is over, not the system's own time limit; the system goes on connecting.
        Err(error) if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() => {
            while socket.peer_addr().is_err() {
                if let Some(error) = socket.take_error()? {
                    return Err(error.into());
                }
                patience.check()?;
                thread::sleep(CONNECT_POLL);
            }
        }
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    hosts::check_other(stream.local_addr()?, stream.peer_addr()?)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(SLICE))?;
    Ok(stream)
}

/// Sends `message` and waits for the reply.
pub(super) fn exchange(
    stream: &TcpStream,
    message: &[u8],
    reply_bytes_max: usize,
    patience: Patience<'_>,
) -> Result<Result<Vec<u8>, CallError>, Interrupted> {
    let mut sent = false;
    let why = match talk(stream, message, reply_bytes_max, patience, &mut sent) {
        Ok(reply) => return Ok(Ok(reply)),
        Err(Failure::Interrupted) => return Err(Interrupted),
        Err(Failure::TimedOut) => "no reply in time".to_owned(),
        Err(Failure::Io(error)) => error.to_string(),
    };
    Ok(Err(if sent { CallError::Lost(why) } else { CallError::NotSent(why) }))
}

/// `sent` becomes true with the first byte that leaves.
fn talk(
    mut stream: &TcpStream,
    message: &[u8],
    reply_bytes_max: usize,
    patience: Patience<'_>,
    sent: &mut bool,
) -> Result<Vec<u8>, Failure> {
    let bytes = frame::encode(message);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(ended().into()),
            Ok(count) => {
                *sent = true;
                rest = &rest[count..];
            }
            Err(error) => wait_on(error, patience)?,
        }
    }
    let mut frames = Frames::default();
    loop {
        match frames.read_with(|buffer| stream.read(buffer)) {
            Ok(0) => return Err(ended().into()),
            Ok(_) => {}
            Err(error) => {
                wait_on(error, patience)?;
                continue;
            }
        }
        if let Some(reply) = next_reply(&mut frames, reply_bytes_max)? {
            return Ok(reply);
        }
    }
}

/// Goes on where the error only says that a slice is over.
fn wait_on(error: io::Error, patience: Patience<'_>) -> Result<(), Failure> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
            patience.check()
        }
        _ => Err(error.into()),
    }
}

/// Whether a connection is open and has nothing to read. One system call, where making the socket
/// not block, and block again, took two more.
pub(super) fn is_silent(stream: &TcpStream) -> bool {
    let look = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let peeked = SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], look);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
