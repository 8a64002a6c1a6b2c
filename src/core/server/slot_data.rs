//! What a server has of one slot, and what tells it from what another has.

use std::hint::black_box;

use super::data::Memory;
use super::leaves::Leaves;
use crate::core::hash::mix;
use crate::core::wire::peer::Version;
use crate::core::wire::recent::Recent;

/// One slot's content.
#[derive(Debug, Default)]
pub(super) struct SlotData {
    pub(super) cells: Leaves,
    /// How many bytes the names and values have.
    pub(super) bytes: usize,
    /// The exclusive or of all cells' fingerprints: equal contents, equal fingerprint.
    pub(super) fingerprint: u64,
    /// The requests executed last.
    pub(super) recent: Recent,
    /// What was forgotten of them.
    pub(super) memory: Memory,
}

impl SlotData {
    /// Reads what a write will need, from three places at once. The slots of a server are more than the
    /// caches hold, and each place was waited for when its turn came: three servers took 4.5 % longer for
    /// a `setr` with 50 clients, in turns.
    pub(super) fn touch(&self) {
        black_box((self.cells.touch(), self.recent.touch()));
    }

    /// What tells the content from another: the cells, and the remembered requests.
    pub(super) fn digest(&self) -> u64 {
        self.fingerprint ^ self.memory()
    }

    /// What tells the remembered requests from others, in whatever order they came. Two replicas of
    /// equal cells may differ in them: of two writes of a name the later hides the earlier.
    fn memory(&self) -> u64 {
        let Memory { forgotten, forgotten_repeats } = self.memory;
        let [forgotten, repeats] = [forgotten, forgotten_repeats].map(|version| match version {
            version if version == Version::default() => 0,
            version => of_version(version),
        });
        self.recent.digest() ^ forgotten.rotate_left(1) ^ repeats.rotate_left(2)
    }
}

/// The name's length and its words of eight bytes (the last filled with zeros), and the version. A value is
/// determined by its version, so it need not be read.
pub(super) fn fingerprint(name: &[u8], version: Version) -> u64 {
    let (words, rest) = name.as_chunks();
    let add = |hash, word: &[u8; 8]| mix(hash ^ u64::from_le_bytes(*word));
    let mut hash = words.iter().fold(name.len() as u64, add);
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = add(hash, &last);
    }
    mix(hash ^ of_version(version))
}

fn of_version(version: Version) -> u64 {
    mix(mix(version.revision) ^ version.sequence)
}
