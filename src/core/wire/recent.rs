//! The requests that a slot remembers, so that a retry is answered instead of executed twice.
//!
//! Each write asks at each server whether its request is among them, and mostly it is not. There are up
//! to 128 of each sort in each of 10,000 slots, so they lie packed: 26 bytes for one, where an
//! [`Executed`] has 40. On the wire they lie nearly as in memory.

use std::collections::VecDeque;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::number::{put_number, take_number};
use super::peer::{Executed, RequestId, Version};
use crate::core::assignment::Revision;
use crate::core::hash::mix;

/// By how many requests the room grows at least; else by a quarter. Doubling would leave most of it
/// empty: with 100 names in a slot it took more than the names.
const ROOM_STEP: usize = 8;

/// How many marks are compared at once, without a look at the result in between.
const MARKS_AT_ONCE: usize = 32;

/// How many bytes a request has on the wire, without its revision.
const KNOWN_BYTES: usize = 24;

/// How many bytes a revision with what belongs to it takes at most: three numbers.
const GROUP_BYTES_MAX: usize = 3 * 10;

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
    repeated: Sort,
}

impl Recent {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.known.is_empty() && self.repeated.known.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.first.known.len() + self.repeated.known.len()
    }

    /// Those of first tries, and then those of repetitions, each sort in the order of the versions.
    pub fn iter(&self) -> impl Iterator<Item = Executed> {
        self.first.iter(false).chain(self.repeated.iter(true))
    }

    /// The one of this name.
    pub fn find(&self, id: RequestId) -> Option<Executed> {
        let mark = mark(id);
        self.first.find(mark, id, false).or_else(|| self.repeated.find(mark, id, true))
    }

    /// Adds one that is not among them.
    pub fn add(&mut self, executed: Executed) {
        self.sort_mut(executed.repeated).add(executed);
    }

    /// Takes away the oldest of those that were repeated, or of those that were not, where there are
    /// more than `max`.
    pub fn take_surplus(&mut self, repeated: bool, max: usize) -> Option<Executed> {
        let sort = self.sort_mut(repeated);
        if sort.known.len() <= max {
            return None;
        }
        sort.take_oldest(repeated)
    }

    /// How many bytes they take on the wire, or more.
    pub(in crate::core) fn packed_max(&self) -> usize {
        self.len() * KNOWN_BYTES + self.groups() * GROUP_BYTES_MAX
    }

    fn groups(&self) -> usize {
        self.first.revisions.len() + self.repeated.revisions.len()
    }

    fn sort_mut(&mut self, repeated: bool) -> &mut Sort {
        if repeated { &mut self.repeated } else { &mut self.first }
    }

    /// The bytes of both sorts: revision, sort, how many, and those.
    fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.packed_max());
        self.first.pack(false, &mut out);
        self.repeated.pack(true, &mut out);
        out
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
                0 if recent.repeated.known.is_empty() => false,
                1 => true,
                _ => return None,
            };
            let count = usize::try_from(take_number(&mut bytes)?).ok()?;
            let (group, rest) = bytes.split_at_checked(count.checked_mul(KNOWN_BYTES)?)?;
            bytes = rest;
            recent.sort_mut(repeated).read(revision, group)?;
        }
        recent.first.shrink();
        recent.repeated.shrink();
        Some(recent)
    }
}

/// Requests of one sort, in the order of their versions.
#[derive(Default, PartialEq, Eq)]
struct Sort {
    known: VecDeque<Known>,
    /// Of each its mark: to look for one in 128 reads 256 bytes, and not 3,072.
    marks: VecDeque<u16>,
    /// How many follow one another under one revision. Mostly there is one, which then lies here and is
    /// one wait for memory less.
    ///
    /// Invariant: revisions ascend, no count is zero, and all counts together are `known.len()`.
    revisions: SmallVec<[(Revision, usize); 1]>,
}

/// A request but for its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    client: u64,
    number: u64,
    sequence: u64,
}

impl Known {
    fn executed(self, revision: Revision, repeated: bool) -> Executed {
        let Known { client, number, sequence } = self;
        let version = Version { revision, sequence };
        Executed { id: RequestId { client, number }, version, repeated }
    }
}

/// In whole pieces: the standard library's way, element by element, took a twentieth of the time of who
/// gave slots away.
impl Clone for Sort {
    fn clone(&self) -> Self {
        fn copied<T: Copy>(all: &VecDeque<T>) -> VecDeque<T> {
            let (front, back) = all.as_slices();
            [front, back].concat().into()
        }
        Sort {
            known: copied(&self.known),
            marks: copied(&self.marks),
            revisions: self.revisions.clone(),
        }
    }
}

impl Sort {
    fn iter(&self, repeated: bool) -> impl Iterator<Item = Executed> {
        let revisions = self.revisions.iter();
        let revisions =
            revisions.flat_map(|(revision, count)| std::iter::repeat_n(*revision, *count));
        let known = self.known.iter().zip(revisions);
        known.map(move |(known, revision)| known.executed(revision, repeated))
    }

    fn find(&self, mark: u16, id: RequestId, repeated: bool) -> Option<Executed> {
        let (front, back) = self.marks.as_slices();
        let pieces = front.chunks(MARKS_AT_ONCE).chain(back.chunks(MARKS_AT_ONCE));
        let mut at = 0;
        for piece in pieces {
            let here = at..at + piece.len();
            at = here.end;
            if piece.iter().fold(false, |any, other| any | (*other == mark)) {
                let same = |known: &Known| (known.client, known.number) == (id.client, id.number);
                if let Some(index) = here.into_iter().find(|index| same(&self.known[*index])) {
                    return Some(self.known[index].executed(self.revision_of(index), repeated));
                }
            }
        }
        None
    }

    fn revision_of(&self, index: usize) -> Revision {
        let mut behind = 0;
        let found = self.revisions.iter().find(|(_, count)| {
            behind += count;
            index < behind
        });
        found.expect("each request has a revision").0
    }

    fn add(&mut self, executed: Executed) {
        let Executed { id: RequestId { client, number }, version, .. } = executed;
        let known = Known { client, number, sequence: version.sequence };
        let at = self.make_place(version);
        if self.known.len() == self.known.capacity() {
            self.reserve(ROOM_STEP.max(self.known.len() / 4));
        }
        self.known.insert(at, known);
        self.marks.insert(at, mark(executed.id));
    }

    fn shrink(&mut self) {
        self.known.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    fn reserve(&mut self, count: usize) {
        self.known.reserve_exact(count);
        self.marks.reserve_exact(count);
    }

    /// Counts one more request of a version; where it belongs.
    fn make_place(&mut self, version: Version) -> usize {
        let Version { revision, sequence } = version;
        let mut start = 0;
        for group in 0..self.revisions.len() {
            let (here, count) = self.revisions[group];
            if here > revision {
                self.revisions.insert(group, (revision, 1));
                return start;
            }
            if here == revision {
                self.revisions[group].1 += 1;
                let end = start + count;
                // Most come in order.
                if self.known[end - 1].sequence <= sequence {
                    return end;
                }
                let alike = self.known.range(start..end);
                return start + alike.take_while(|known| known.sequence <= sequence).count();
            }
            start += count;
        }
        self.revisions.push((revision, 1));
        start
    }

    fn take_oldest(&mut self, repeated: bool) -> Option<Executed> {
        let oldest = self.known.pop_front()?;
        self.marks.pop_front();
        let (revision, count) = self.revisions.first_mut().expect("each request has a revision");
        let executed = oldest.executed(*revision, repeated);
        *count -= 1;
        if *count == 0 {
            self.revisions.remove(0);
        }
        Some(executed)
    }

    fn pack(&self, repeated: bool, out: &mut Vec<u8>) {
        let mut known = self.known.iter();
        for (revision, count) in &self.revisions {
            let start = out.len();
            out.resize(start + GROUP_BYTES_MAX, 0);
            let mut rest = &mut out[start..];
            for number in [*revision, u64::from(repeated), *count as u64] {
                rest = put_number(rest, number);
            }
            let unused = rest.len();
            out.truncate(out.len() - unused);
            for Known { client, number, sequence } in known.by_ref().take(*count) {
                let words = [client, number, sequence].map(|word| word.to_le_bytes());
                out.extend_from_slice(words.as_flattened());
            }
        }
    }

    /// Takes a group behind the last.
    fn read(&mut self, revision: Revision, group: &[u8]) -> Option<()> {
        let (words, _) = group.as_chunks::<8>();
        let ascends = self.revisions.last().is_none_or(|(last, _)| *last < revision);
        let count = group.len() / KNOWN_BYTES;
        if !ascends || count == 0 {
            return None;
        }
        if self.revisions.is_empty() {
            // Mostly there is one group. With more, room doubles: it is not moved for each.
            self.reserve(count);
        }
        self.revisions.push((revision, count));
        let mut before = 0;
        for word in words.chunks_exact(3) {
            let [client, number, sequence] = [word[0], word[1], word[2]].map(u64::from_le_bytes);
            if sequence < before {
                return None;
            }
            before = sequence;
            self.known.push_back(Known { client, number, sequence });
            self.marks.push_back(mark(RequestId { client, number }));
        }
        Some(())
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.pack())
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Recent::read(bytes).ok_or_else(|| D::Error::custom("these are no packed requests"))
    }
}

/// Tells most requests apart.
fn mark(RequestId { client, number }: RequestId) -> u16 {
    mix(client ^ mix(number)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    fn packed_again(recent: &Recent) -> Option<Recent> {
        Recent::read(&recent.pack())
    }

    proptest! {
        #[test]
        fn they_are_as_a_list(all in prop::collection::vec(executed(), 0..200), max in 0..20usize) {
            let (mut recent, mut twin) = (Recent::default(), Vec::<Executed>::new());
            for executed in all {
                let same = twin.iter().find(|known| known.id == executed.id);
                prop_assert_eq!(recent.find(executed.id), same.copied());
                let taken_version = twin.iter().any(|known| known.version == executed.version);
                if same.is_some() || taken_version {
                    continue;
                }
                recent.add(executed);
                twin.push(executed);
                let surplus = oldest(&twin, executed.repeated, max).map(|at| twin.remove(at));
                prop_assert_eq!(recent.take_surplus(executed.repeated, max), surplus);
            }
            twin.sort_by_key(|known| (known.repeated, known.version));
            prop_assert_eq!(recent.iter().collect::<Vec<_>>(), twin.clone());
            prop_assert_eq!(recent.len(), twin.len());
            prop_assert_eq!(recent.is_empty(), twin.is_empty());
            prop_assert_eq!(packed_again(&recent), Some(recent.clone()));
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
                prop_assert_eq!(recent.pack(), bytes);
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
        assert_eq!(recent.pack(), bytes);
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
