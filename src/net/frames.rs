//! Bytes as they come in, cut into frames.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::core::wire::frame::{FrameError, HEADER_BYTES, PEER_MARK, decode};

/// How much is read at once, and how much room a buffer keeps while it is empty.
pub(super) const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// What every connection of this thread reads into, so that an idle one needs no memory.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// What has been received and not been taken yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// `buffer[..start]` has been taken.
    start: usize,
    /// Whether the other party has announced itself as a replica.
    peer: bool,
}

impl Frames {
    /// Has `take` look at the next whole message where it lies; `None` where more bytes are needed.
    ///
    /// A frame may be `bytes_max` long; after the announcement of a replica, a frame that is only
    /// [`PEER_MARK`], each may be `peer_bytes_max` long.
    pub(super) fn next<T>(
        &mut self,
        bytes_max: usize,
        peer_bytes_max: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, FrameError> {
        loop {
            let rest = &self.buffer[self.start..];
            let limit = if self.peer { peer_bytes_max } else { bytes_max };
            let Some(end) = decode(rest, limit)? else {
                return Ok(None);
            };
            let message = &rest[HEADER_BYTES..end];
            if message == [PEER_MARK] {
                self.peer = true;
                self.skip(end);
                continue;
            }
            let taken = take(message);
            self.skip(end);
            return Ok(Some(taken));
        }
    }

    fn skip(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            self.start = 0;
            self.buffer.clear();
            self.buffer.shrink_to(READ_BYTES);
        }
    }

    /// Whether they come from another server, as far as it has said so.
    pub(super) fn is_of_server(&self) -> bool {
        self.peer
    }

    /// Whether a part of a frame, or a whole one, waits.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Appends what has been received.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends what `read` gives into a shared buffer; how many bytes, 0 at the stream's end.
    pub(super) fn read_with(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            let count = read(scratch)?;
            self.push(&scratch[..count]);
            Ok(count)
        })
    }

    /// Appends what `reader` has; how many bytes, 0 at the stream's end.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        reader: impl AsyncRead + Unpin,
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let count = ready!(poll_read(context, reader, scratch))?;
            self.push(&scratch[..count]);
            Poll::Ready(Ok(count))
        })
    }
}

/// Reads and forgets; how many bytes, 0 at the stream's end.
pub(super) fn poll_discard(
    context: &mut Context<'_>,
    reader: impl AsyncRead + Unpin,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| poll_read(context, reader, scratch))
}

fn poll_read(
    context: &mut Context<'_>,
    mut reader: impl AsyncRead + Unpin,
    scratch: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    ready!(Pin::new(&mut reader).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::wire::frame::encode;

    #[test]
    fn frames_come_out_however_they_are_cut() {
        let bytes = [encode(b"{}"), encode(b"[1]"), encode(b"x")].concat();
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut taken = Vec::new();
            for part in bytes.chunks(size) {
                frames.push(part);
                while let Some(message) = frames.next(3, 3, <[u8]>::to_vec).unwrap() {
                    taken.push(message);
                }
            }
            assert_eq!(taken, [b"{}".to_vec(), b"[1]".to_vec(), b"x".to_vec()]);
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn only_a_frame_of_replicas_may_be_longer() {
        let long = vec![PEER_MARK; 5];
        let mut frames = Frames::default();
        frames.push(&encode(&[PEER_MARK]));
        frames.push(&encode(&long)[..HEADER_BYTES]);
        assert_eq!(frames.next(4, 5, <[u8]>::to_vec), Ok(None), "the announcement is no message");
        frames.push(&long);
        assert_eq!(frames.next(4, 5, <[u8]>::to_vec), Ok(Some(long.clone())));
        // Without the announcement the length alone is refused.
        let mut frames = Frames::default();
        frames.push(&encode(&long)[..HEADER_BYTES]);
        assert_eq!(
            frames.next(4, 5, <[u8]>::to_vec),
            Err(FrameError::TooLong { length: 5, limit: 4 })
        );
    }
}
