//! The first block of a server's file: whose it is, and which version of the format it has.
//!
//! It is read before the engine is, so that a newer program's file is not taken for a damaged one.

use thiserror::Error;

use crate::core::record_log;

/// The first bytes of a server's data.
const MAGIC: &[u8; 8] = b"DHT-DATA";

/// The version of the format that is written, and the newest that is read.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// How long the header is; the engine's own file begins behind it.
pub(crate) const HEADER_BYTES: u64 = 4096;

/// How much of it has a meaning; the rest is zero.
const USED_BYTES: usize = 16;

/// Why a file is not given to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It does not begin as a server's data do.
    #[error("it is no server's data")]
    NotOurs,
    /// A newer program wrote it.
    #[error("it has format version {0}, and this program reads up to {FORMAT_VERSION}")]
    Newer(u32),
    /// What was on disk once is not any more.
    #[error("its header is damaged")]
    Damaged,
}

/// The header of a new file.
pub(super) fn encode() -> Vec<u8> {
    encode_version(FORMAT_VERSION)
}

fn encode_version(version: u32) -> Vec<u8> {
    let mut header = record_log::header((MAGIC, version));
    header.resize(HEADER_BYTES as usize, 0);
    header
}

/// Checks a header, and returns its version.
pub(super) fn decode(header: &[u8]) -> Result<u32, HeaderError> {
    if !header.starts_with(MAGIC) || header.len() < USED_BYTES {
        return Err(HeaderError::NotOurs);
    }
    let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    let known = encode_version(version);
    if header[..USED_BYTES] != known[..USED_BYTES] {
        return Err(HeaderError::Damaged);
    }
    if version > FORMAT_VERSION {
        return Err(HeaderError::Newer(version));
    }
    if header != known {
        return Err(HeaderError::Damaged);
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        assert_eq!(decode(&encode()), Ok(1));
        assert_eq!(decode(&encode_version(2)), Err(HeaderError::Newer(2)));
        for bit in 0..8 * HEADER_BYTES as usize {
            let mut header = encode();
            header[bit / 8] ^= 1 << (bit % 8);
            let wanted = if bit < 64 { HeaderError::NotOurs } else { HeaderError::Damaged };
            assert_eq!(decode(&header), Err(wanted), "bit {bit}");
        }
        assert_eq!(decode(&encode()[..100]), Err(HeaderError::Damaged));
    }
}
