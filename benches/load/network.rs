//! One connection of one client to one party.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::dialect::{Op, Said};

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection, or the place of one.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    stream: Option<TcpStream>,
    /// What came and was not taken.
    pub(crate) input: Vec<u8>,
    /// What is to be sent; `output[..sent]` was.
    pub(crate) output: Vec<u8>,
    sent: usize,
    /// What waits for an answer, oldest first.
    pub(crate) ops: VecDeque<Op>,
    pub(crate) said: Said,
}

impl Connection {
    /// Opens it, unless it is open.
    pub(crate) fn open(
        &mut self,
        registry: &Registry,
        token: Token,
        addr: SocketAddr,
    ) -> io::Result<bool> {
        if self.stream.is_some() {
            return Ok(false);
        }
        let mut stream = TcpStream::connect(addr)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let _ = stream.set_nodelay(true);
        self.stream = Some(stream);
        Ok(true)
    }

    /// Closes it and forgets what was said.
    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.input.clear();
        self.output.clear();
        self.sent = 0;
        self.said = Said::default();
    }

    /// Sends what can be sent.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.sent < self.output.len() {
            match stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if is_early(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what there is; whether the other party has ended.
    pub(crate) fn fill(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        loop {
            match stream.read(scratch) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    self.input.extend_from_slice(&scratch[..count]);
                    // Less than there was room for: nothing is left, and the next bytes are told.
                    if count < scratch.len() {
                        return Ok(false);
                    }
                }
                Err(error) if is_early(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Room to read into.
pub(crate) fn scratch() -> Vec<u8> {
    vec![0; READ_BYTES]
}

/// Nothing to do yet: no bytes, no room, or the connection is still being opened.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
