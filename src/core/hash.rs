//! Where a name stands on the ring: SHA-1, modulo the number of slots. And a fast hash of numbers, for
//! where nobody gains by choosing them.

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
    // 2^32 mod 10000 is not a unit, so every word counts: Horner's rule, most significant first. Five
    // divisions, and not one for each byte, save 60 ns of 125.
    let words =
        digest.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let rest = words.fold(0u64, |rest, word| ((rest << 32) + u64::from(word)) % 10_000);
    rest as Slot
}

/// The finalizer of MurmurHash3 (Appleby, public domain constants): every bit of the input moves
/// every bit of the output.
pub(in crate::core) fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 33
}
