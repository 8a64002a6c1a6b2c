//! The frame codec: a 4-byte big-endian signed length, then that many bytes.

use thiserror::Error;

/// How many bytes the length takes.
pub const HEADER_BYTES: usize = 4;

/// The largest message that is accepted or sent, unless an option says otherwise: 16 MiB.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The first byte of a frame between replicas, which no JSON text begins with.
pub const PEER_MARK: u8 = 0xd1;

/// A length that no frame has. The stream cannot be read on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is zero or below.
    #[error("message length {0} is not positive")]
    NotPositive(i32),
    /// The length is over the limit.
    #[error("message of {length} bytes is over the limit of {limit}; see --max-message-size")]
    TooLong {
        /// What the header says, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
}

/// Whether the text of an error reply is that of [`FrameError::TooLong`]: the same message will be
/// too long again.
///
/// ```
/// use dht::core::wire::frame::{FrameError, is_too_long};
/// assert!(is_too_long(&FrameError::TooLong { length: 9, limit: 8 }.to_string()));
/// assert!(!is_too_long(&FrameError::NotPositive(0).to_string()));
/// ```
pub fn is_too_long(error: &str) -> bool {
    error.starts_with("message of ") && error.contains(" bytes is over the limit of ")
}

/// Reads the frame at the start of `buffer`.
///
/// `Ok(None)`: more bytes are needed. `Ok(Some(n))`: `buffer[HEADER_BYTES..n]` is the message and
/// the next frame starts at `n`.
///
/// ```
/// use dht::core::wire::frame::{decode, encode};
/// let bytes = encode(b"{}");
/// assert_eq!(decode(&bytes[..5], 100), Ok(None));
/// assert_eq!(decode(&bytes, 100), Ok(Some(6)));
/// ```
pub fn decode(buffer: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*header);
    if length <= 0 {
        return Err(FrameError::NotPositive(length));
    }
    let length = length as usize;
    if length > frame_bytes_max {
        return Err(FrameError::TooLong { length, limit: frame_bytes_max });
    }
    let end = HEADER_BYTES + length;
    Ok((buffer.len() >= end).then_some(end))
}

/// `message` with its length before it.
pub fn encode(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + message.len());
    append(&mut out, message);
    out
}

/// Appends `message` with its length before it.
pub fn append(out: &mut Vec<u8>, message: &[u8]) {
    let length = i32::try_from(message.len()).expect("a message is checked before it is framed");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
}
