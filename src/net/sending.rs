//! The sending side of a connection: what is on its way, and how much of that the other party has taken.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::WriteHalf;

/// Writes what it takes from a queue.
pub(super) struct Sending<'a> {
    writer: WriteHalf<'a>,
    /// What is being written; `bytes[..sent]` is sent.
    bytes: Vec<u8>,
    sent: usize,
    /// How much room an empty queue keeps.
    room_bytes: usize,
}

impl<'a> Sending<'a> {
    /// Sends `bytes` first.
    pub(super) fn new(writer: WriteHalf<'a>, bytes: Vec<u8>, room_bytes: usize) -> Self {
        Sending { writer, bytes, sent: 0, room_bytes }
    }

    /// How much is left of what it took.
    pub(super) fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Takes all that is queued, once what it took before has been written; whether there was anything.
    pub(super) fn take(&mut self, queue: &mut Vec<u8>) -> bool {
        if self.unsent() > 0 {
            return false;
        }
        self.bytes.clear();
        self.bytes.shrink_to(self.room_bytes);
        self.sent = 0;
        mem::swap(&mut self.bytes, queue);
        !self.bytes.is_empty()
    }

    /// Writes as much of what is left as the other party takes at once. There must be something.
    pub(super) fn poll_some(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = &self.bytes[self.sent..];
        match ready!(Pin::new(&mut self.writer).poll_write(context, rest))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => {
                self.sent += count;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Ends this side of the connection.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }
}
