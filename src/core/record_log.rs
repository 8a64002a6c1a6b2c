//! The bytes of a record on disk: a header, then frames with checksums. Pure: `net` moves the bytes.
//!
//! ```text
//! header: "DHT-LEAD", version (u32), checksum of the twelve bytes before (u32)
//! frame:  length of the payload (u32), checksum of the payload (u32),
//!         checksum of the eight bytes before (u32), payload
//! ```
//!
//! Numbers are little-endian, checksums CRC-32 (IEEE 802.3). All that one `fsync` covers is one
//! frame, and the next is written only after it: so at most the last frame of a file can be torn,
//! and a broken one with a sound one behind it is damage.

use thiserror::Error;

/// What a file of frames begins with, and the newest version of it that is read.
pub type Kind = (&'static [u8; 8], u32);

/// A view leader's record.
pub const RECORD: Kind = (b"DHT-LEAD", FORMAT_VERSION);

/// What a server's file does not have yet.
pub const DATA_LOG: Kind = (b"DHT-DLOG", 1);

/// The version of the format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 2;

/// How long the header of a file is.
pub const FILE_HEADER_BYTES: usize = 16;

/// How long the header of a frame is.
const FRAME_HEADER_BYTES: usize = 12;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// It does not begin as a record does.
    #[error("it is no record of a view leader")]
    NotOurs,
    /// A newer program wrote it.
    #[error("it has format version {0}, and this program reads up to {FORMAT_VERSION}")]
    Newer(u32),
    /// What was on disk once is not any more.
    #[error("it is damaged at byte {0}")]
    Damaged(usize),
}

/// The header of a new file.
pub fn file_header() -> Vec<u8> {
    header(RECORD)
}

/// The header of a new file of some kind.
pub fn header((magic, version): Kind) -> Vec<u8> {
    let mut header = magic.to_vec();
    header.extend(version.to_le_bytes());
    let sum = checksum(&header);
    header.extend(sum.to_le_bytes());
    header
}

/// Appends a frame with `payload` to `out`. The payload must be shorter than 4 GiB.
///
/// ```
/// use dht::core::record_log::{append_frame, file_header, frames};
/// let mut file = file_header();
/// append_frame(&mut file, b"one");
/// append_frame(&mut file, b"two");
/// file.truncate(file.len() - 1);
/// assert_eq!(frames(&file).unwrap(), [b"one"], "a torn end is cut off");
/// ```
pub fn append_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame is shorter than 4 GiB");
    let at = out.len();
    out.extend(length.to_le_bytes());
    out.extend(checksum(payload).to_le_bytes());
    let sum = checksum(&out[at..]);
    out.extend(sum.to_le_bytes());
    out.extend(payload);
}

/// The payloads of a file, oldest first, without a torn last frame.
pub fn frames(file: &[u8]) -> Result<Vec<&[u8]>, LogError> {
    frames_of(RECORD, file)
}

/// The same, of a file of some kind.
pub fn frames_of(kind: Kind, file: &[u8]) -> Result<Vec<&[u8]>, LogError> {
    let mut rest = after_header(kind, file)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let Some((payload, behind)) = first_frame(rest) else {
            let at = file.len() - rest.len();
            let sound_behind = (1..rest.len()).any(|skip| first_frame(&rest[skip..]).is_some());
            return if sound_behind { Err(LogError::Damaged(at)) } else { Ok(found) };
        };
        found.push(payload);
        rest = behind;
    }
    Ok(found)
}

/// How many bytes at the end of a file of frames are no whole frame, and are cut off.
pub fn torn_bytes(file: &[u8], frames: &[&[u8]]) -> usize {
    let sound: usize = frames.iter().map(|payload| FRAME_HEADER_BYTES + payload.len()).sum();
    file.len() - FILE_HEADER_BYTES - sound
}

/// The version that a file names, whose frames were read.
pub fn version(file: &[u8]) -> u32 {
    number(file, RECORD.0.len())
}

fn after_header((magic, newest): Kind, file: &[u8]) -> Result<&[u8], LogError> {
    let found = file.get(..FILE_HEADER_BYTES).filter(|found| found.starts_with(magic));
    let found = found.ok_or(LogError::NotOurs)?;
    let version = number(found, magic.len());
    if found != header((magic, version)) {
        return Err(LogError::Damaged(0));
    }
    if version > newest {
        return Err(LogError::Newer(version));
    }
    Ok(&file[FILE_HEADER_BYTES..])
}

/// The frame at the beginning of `bytes`, where it is sound, and what comes after it.
fn first_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    if checksum(&header[..8]) != number(header, 8) {
        return None;
    }
    let end = FRAME_HEADER_BYTES.checked_add(number(header, 0) as usize)?;
    let payload = bytes.get(FRAME_HEADER_BYTES..end)?;
    (checksum(payload) == number(header, 4)).then(|| (payload, &bytes[end..]))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// CRC-32, as Ethernet and zip have it.
pub fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| CHECKSUMS[usize::from((sum as u8) ^ byte)] ^ (sum >> 8))
}

/// The checksum of each single byte.
const CHECKSUMS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut file = file_header();
        payloads.iter().for_each(|payload| append_frame(&mut file, payload));
        file
    }

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_torn_end_is_cut_off() {
        let whole = file(&[b"first", b"second"]);
        let one = file(&[b"first"]).len();
        for length in FILE_HEADER_BYTES..=whole.len() {
            let wanted = usize::from(length >= one) + usize::from(length == whole.len());
            let file = &whole[..length];
            let found = frames(file).unwrap();
            assert_eq!(found.len(), wanted, "{length} bytes");
            let end = [FILE_HEADER_BYTES, one, whole.len()][wanted];
            assert_eq!(torn_bytes(file, &found), length - end, "{length} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_before_the_last_frame_is_damage() {
        let whole = file(&[b"first", b"second", b"third"]);
        let last = file(&[b"first", b"second"]).len();
        for bit in 0..8 * last {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(frames(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_said() {
        let mut newer = header((RECORD.0, FORMAT_VERSION + 1));
        newer.extend(b"who knows");
        assert_eq!(frames(&newer), Err(LogError::Newer(FORMAT_VERSION + 1)));
        assert_eq!(frames(b"{}"), Err(LogError::NotOurs));
    }
}
