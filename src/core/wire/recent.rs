//! The requests that a slot remembers, so that a retry is answered instead of executed twice.
//!
//! Each write asks at each server whether its request is among them, and mostly it is not. There are up
//! to 128 of each sort in each of 10,000 slots, so they lie packed: 26 bytes for one, where an
//! [`Executed`] has 40. On the wire they lie nearly as in memory.

mod sort;

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::sort::{Sort, mark};
use super::number::take_number;
use super::peer::{Executed, RequestId, Version};

/// How many bytes a request has on the wire, without its revision.
const KNOWN_BYTES: usize = 24;

/// How many groups are read: to forget all but the last requests takes the square of it. A server has no
/// more than it remembers requests.
const GROUPS_MAX: usize = 10_000;

/// Requests, each once: those executed at their first try, and those executed when they were repeated.
///
/// ```
/// use dht::core::wire::{peer::{Executed, RequestId, Version}, recent::Recent};
/// let id = RequestId { client: 7, number: 1 };
/// let version = Version { revision: 3, sequence: 9 };
/// let mut recent = Recent::default();
/// recent.add(Executed { id, version, repeated: false });
/// assert_eq!(recent.find(id).unwrap().version, version);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Recent {
    first: Sort,
    /// Few slots have any. Invariant: not empty.
    repeated: Option<Box<Sort>>,
}

impl Recent {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.len() == 0 && self.repeated.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.first.len() + self.repeated.as_ref().map_or(0, |sort| sort.len())
    }

    /// Those of first tries, and then those of repetitions, each sort in the order of the versions.
    pub fn iter(&self) -> impl Iterator<Item = Executed> {
        self.first.iter(false).chain(self.repeated.iter().flat_map(|sort| sort.iter(true)))
    }

    /// The one of this name.
    pub fn find(&self, id: RequestId) -> Option<Executed> {
        let mark = mark(id);
        let first = self.first.find(mark, id, false);
        first.or_else(|| self.repeated.as_ref()?.find(mark, id, true))
    }

    /// Reads where the next request will be put; what it gives means nothing.
    pub(in crate::core) fn touch(&self) -> u64 {
        self.first.touch()
    }

    /// Whether each has a lower version than this.
    pub fn are_below(&self, version: Version) -> bool {
        let below = |sort: &Sort| sort.newest().is_none_or(|newest| newest < version);
        below(&self.first) && self.repeated.as_deref().is_none_or(below)
    }

    /// Adds one that is not among them.
    pub fn add(&mut self, executed: Executed) {
        self.sort_mut(executed.repeated).add(executed);
    }

    /// Adds one that is not among them, and takes away the oldest of its sort where there are more than
    /// `max` then; the oldest may be the new one itself.
    pub fn add_within(&mut self, executed: Executed, max: usize) -> Option<Executed> {
        let sort = self.sort(executed.repeated);
        if sort.map_or(0, |sort| sort.len()) < max {
            self.add(executed);
            return None;
        }
        if sort.and_then(Sort::oldest).is_none_or(|oldest| executed.version < oldest) {
            return Some(executed);
        }
        // First out, then in: the place of who leaves is that of who comes, and no room is made for more.
        let sort = self.sort_mut(executed.repeated);
        let oldest = sort.take_oldest(executed.repeated);
        sort.add(executed);
        oldest
    }

    /// Takes away the oldest of those that were repeated, or of those that were not, where there are
    /// more than `max`.
    pub fn take_surplus(&mut self, repeated: bool, max: usize) -> Option<Executed> {
        let sort = if repeated { self.repeated.as_deref_mut()? } else { &mut self.first };
        if sort.len() <= max {
            return None;
        }
        let oldest = sort.take_oldest(repeated);
        self.repeated.take_if(|sort| sort.len() == 0);
        oldest
    }

    /// What tells these from others, in whatever order they came. Whether one was repeated does not count.
    pub(in crate::core) fn digest(&self) -> u64 {
        self.first.digest() ^ self.repeated.as_ref().map_or(0, |sort| sort.digest())
    }

    /// How many bytes they take on the wire.
    pub(in crate::core) fn packed_size(&self) -> usize {
        self.first.packed_size() + self.repeated.as_ref().map_or(0, |sort| sort.packed_size())
    }

    /// Appends the bytes of both sorts: revision, sort, how many, and those.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        self.first.pack(false, out);
        self.repeated.iter().for_each(|sort| sort.pack(true, out));
    }

    fn groups(&self) -> usize {
        let repeated = self.repeated.as_ref().map_or(0, |sort| sort.groups());
        self.first.groups() + repeated
    }

    fn sort(&self, repeated: bool) -> Option<&Sort> {
        if repeated { self.repeated.as_deref() } else { Some(&self.first) }
    }

    fn sort_mut(&mut self, repeated: bool) -> &mut Sort {
        if repeated { self.repeated.get_or_insert_default() } else { &mut self.first }
    }

    /// Requests that somebody else has packed; `None` where they are none.
    fn read(mut bytes: &[u8]) -> Option<Recent> {
        let mut recent = Recent::default();
        while !bytes.is_empty() {
            if recent.groups() == GROUPS_MAX {
                return None;
            }
            let revision = take_number(&mut bytes)?;
            let repeated = match take_number(&mut bytes)? {
                0 if recent.repeated.is_none() => false,
                1 => true,
                _ => return None,
            };
            let count = usize::try_from(take_number(&mut bytes)?).ok()?;
            let (group, rest) = bytes.split_at_checked(count.checked_mul(KNOWN_BYTES)?)?;
            bytes = rest;
            recent.sort_mut(repeated).read(revision, group)?;
        }
        recent.first.shrink();
        recent.repeated.iter_mut().for_each(|sort| sort.shrink());
        Some(recent)
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.packed_size());
        self.pack(&mut bytes);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Recent::read(bytes).ok_or_else(|| D::Error::custom("these are no packed requests"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::hash::mix;

    fn executed() -> impl Strategy<Value = Executed> {
        (0..4u64, 0..60u64, 0..200u64, any::<bool>()).prop_map(
            |(client, number, order, repeated)| {
                let version = Version { revision: order / 50, sequence: order % 50 };
                Executed { id: RequestId { client, number }, version, repeated }
            },
        )
    }

    /// The same by looking at all, each time.
    fn oldest(all: &[Executed], repeated: bool, max: usize) -> Option<usize> {
        let alike = || all.iter().enumerate().filter(|(_, known)| known.repeated == repeated);
        let oldest = alike().min_by_key(|(_, known)| known.version);
        oldest.filter(|_| alike().count() > max).map(|(at, _)| at)
    }

    fn packed(recent: &Recent) -> Vec<u8> {
        let mut bytes = Vec::new();
        recent.pack(&mut bytes);
        assert_eq!(bytes.len(), recent.packed_size());
        bytes
    }

    fn packed_again(recent: &Recent) -> Option<Recent> {
        Recent::read(&packed(recent))
    }

    /// Of one alone.
    fn digest(Executed { id, version, .. }: &Executed) -> u64 {
        let version = mix(mix(version.revision) ^ version.sequence);
        mix(mix(mix(id.client) ^ id.number) ^ version)
    }

    proptest! {
        #[test]
        fn they_are_as_a_list(
            all in prop::collection::vec(executed(), 0..200),
            max in 0..20usize,
            at_once: bool,
        ) {
            let (mut recent, mut twin) = (Recent::default(), Vec::<Executed>::new());
            for executed in all {
                let same = twin.iter().find(|known| known.id == executed.id);
                prop_assert_eq!(recent.find(executed.id), same.copied());
                let taken_version = twin.iter().any(|known| known.version == executed.version);
                if same.is_some() || taken_version {
                    continue;
                }
                let below = twin.iter().all(|known| known.version < executed.version);
                prop_assert_eq!(recent.are_below(executed.version), below);
                twin.push(executed);
                let surplus = oldest(&twin, executed.repeated, max).map(|at| twin.remove(at));
                if at_once {
                    prop_assert_eq!(recent.add_within(executed, max), surplus);
                } else {
                    recent.add(executed);
                    prop_assert_eq!(recent.take_surplus(executed.repeated, max), surplus);
                }
            }
            twin.sort_by_key(|known| (known.repeated, known.version));
            prop_assert_eq!(recent.iter().collect::<Vec<_>>(), twin.clone());
            prop_assert_eq!(recent.len(), twin.len());
            prop_assert_eq!(recent.is_empty(), twin.is_empty());
            prop_assert_eq!(packed_again(&recent), Some(recent.clone()));
            prop_assert_eq!(recent.digest(), twin.iter().fold(0, |all, known| all ^ digest(known)));
            for known in twin {
                prop_assert_eq!(recent.find(known.id), Some(known));
            }
        }

        #[test]
        fn bytes_of_a_stranger_are_refused_or_taken_as_they_are(
            mut bytes in prop::collection::vec(prop_oneof![3 => 0..4u8, 1 => any::<u8>()], 0..120),
            zeros in 0..100usize,
        ) {
            bytes.resize(bytes.len() + zeros, 0);
            if let Some(recent) = Recent::read(&bytes) {
                prop_assert_eq!(packed(&recent), bytes);
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_documents() {
        let id = RequestId { client: 0x0102, number: 3 };
        let version = Version { revision: 200, sequence: 5 };
        let mut recent = Recent::default();
        recent.add(Executed { id, version, repeated: true });
        let words = [[2, 1, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0]];
        let bytes = [&[0xc8, 0x01, 1, 1], words.as_flattened()].concat();
        assert_eq!(packed(&recent), bytes);
        assert_eq!(Recent::read(&bytes), Some(recent));
        for broken in [
            &bytes[..27],
            &[&bytes[..], &bytes].concat(),
            &[200, 1, 2, 0],
            &[1, 0, 0],
            &[1, 1, 0xff, 0x7f],
        ] {
            assert_eq!(Recent::read(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn no_more_groups_are_read_than_can_be() {
        let mut recent = Recent::default();
        for revision in 0..GROUPS_MAX as u64 {
            let id = RequestId { client: 1, number: revision };
            let version = Version { revision, sequence: 1 };
            recent.add(Executed { id, version, repeated: false });
        }
        assert_eq!(packed_again(&recent), Some(recent.clone()));
        let version = Version { revision: GROUPS_MAX as u64, sequence: 1 };
        recent.add(Executed { id: RequestId::default(), version, repeated: false });
        assert_eq!(packed_again(&recent), None);
    }
}
