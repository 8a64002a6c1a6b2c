//! Where a name stands on the ring: SHA-1, modulo the number of slots.

use sha1::{Digest, Sha1};

/// How many slots the ring has. A slot is the unit of storage, replication, movement and
/// verification; positions of servers are slots too.
pub const SLOT_COUNT: u16 = 10_000;

/// A place on the ring, `0..SLOT_COUNT`.
pub type Slot = u16;

/// The slot of `text`: `int(sha1(text).hexdigest(), 16) % 10000`.
///
/// `text` is the name's UTF-8 (a lone surrogate as its three WTF-8 bytes).
///
/// ```
/// assert_eq!(dht::core::hash::slot_of(b"hello"), 3181);
/// ```
pub fn slot_of(text: &[u8]) -> Slot {
    let digest = Sha1::digest(text);
    // 256 mod 10000 is not a unit, so every byte counts: Horner's rule, most significant first.
    let rest = digest.iter().fold(0u32, |rest, byte| (rest * 256 + u32::from(*byte)) % 10_000);
    rest as Slot
}
