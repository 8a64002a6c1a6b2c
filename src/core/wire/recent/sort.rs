//! Requests of one sort: those executed at their first try, or those executed when they were repeated.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::super::number::{number_size, push_number};
use super::super::peer::{Executed, RequestId, Version};
use super::KNOWN_BYTES;
use crate::core::assignment::Revision;
use crate::core::hash::mix;

/// How many requests there is room for at first. Then it doubles: where it grew by a quarter, all that was
/// there moved eleven times on the way to 128.
const ROOM_FIRST: usize = 8;

/// How many marks are compared at once, without a look at the result in between.
const MARKS_AT_ONCE: usize = 32;

/// Requests of one sort, in the order of their versions.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Sort {
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

impl Sort {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Of how many revisions.
    pub(super) fn groups(&self) -> usize {
        self.revisions.len()
    }

    /// Reads where the next will be put; what it gives means nothing.
    pub(super) fn touch(&self) -> u64 {
        let known = self.known.back().map_or(0, |known| known.sequence);
        known ^ u64::from(self.marks.back().copied().unwrap_or(0))
    }

    pub(super) fn iter(&self, repeated: bool) -> impl Iterator<Item = Executed> {
        let revisions = self.revisions.iter();
        let revisions =
            revisions.flat_map(|(revision, count)| std::iter::repeat_n(*revision, *count));
        let known = self.known.iter().zip(revisions);
        known.map(move |(known, revision)| known.executed(revision, repeated))
    }

    pub(super) fn find(&self, mark: u16, id: RequestId, repeated: bool) -> Option<Executed> {
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

    pub(super) fn add(&mut self, executed: Executed) {
        let Executed { id: RequestId { client, number }, version, .. } = executed;
        let known = Known { client, number, sequence: version.sequence };
        let at = self.make_place(version);
        if self.known.len() == self.known.capacity() {
            self.reserve(ROOM_FIRST.max(self.known.len()));
        }
        self.known.insert(at, known);
        self.marks.insert(at, mark(executed.id));
    }

    pub(super) fn shrink(&mut self) {
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

    pub(super) fn newest(&self) -> Option<Version> {
        let ((revision, _), known) = (self.revisions.last()?, self.known.back()?);
        Some(Version { revision: *revision, sequence: known.sequence })
    }

    pub(super) fn oldest(&self) -> Option<Version> {
        let ((revision, _), known) = (self.revisions.first()?, self.known.front()?);
        Some(Version { revision: *revision, sequence: known.sequence })
    }

    pub(super) fn take_oldest(&mut self, repeated: bool) -> Option<Executed> {
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

    pub(super) fn packed_size(&self) -> usize {
        let head = |(revision, count): &(Revision, usize)| {
            number_size(*revision) + 1 + number_size(*count as u64)
        };
        self.len() * KNOWN_BYTES + self.revisions.iter().map(head).sum::<usize>()
    }

    pub(super) fn pack(&self, repeated: bool, out: &mut Vec<u8>) {
        for (revision, known) in self.grouped() {
            for number in [revision, u64::from(repeated), known.len() as u64] {
                push_number(out, number);
            }
            let start = out.len();
            out.resize(start + known.len() * KNOWN_BYTES, 0);
            let (places, _) = out[start..].as_chunks_mut::<KNOWN_BYTES>();
            for (place, Known { client, number, sequence }) in places.iter_mut().zip(known) {
                let words = [client, number, sequence].map(|word| word.to_le_bytes());
                place.copy_from_slice(words.as_flattened());
            }
        }
    }

    /// What tells these from others, in whatever order they came and of whatever sort they are.
    pub(super) fn digest(&self) -> u64 {
        self.grouped().fold(0, |all, (revision, known)| {
            // A loop over all with the revision of each took twice as long, and this is what a server does
            // with all it holds when somebody else begins to lead.
            let revision = mix(revision);
            known.fold(all, |all, Known { client, number, sequence }| {
                all ^ mix(mix(mix(*client) ^ number) ^ mix(revision ^ sequence))
            })
        })
    }

    /// Those of each revision.
    fn grouped(&self) -> impl Iterator<Item = (Revision, impl ExactSizeIterator<Item = &Known>)> {
        let mut end = 0;
        self.revisions.iter().map(move |(revision, count)| {
            end += count;
            (*revision, self.known.range(end - count..end))
        })
    }

    /// Takes a group behind the last.
    pub(super) fn read(&mut self, revision: Revision, group: &[u8]) -> Option<()> {
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
        let (all, _) = words.as_chunks::<3>();
        let start = self.known.len();
        self.known.extend(all.iter().map(|words| {
            let [client, number, sequence] = words.map(u64::from_le_bytes);
            Known { client, number, sequence }
        }));
        let known = self.known.range(start..);
        let mark = |Known { client, number, .. }: &Known| {
            mark(RequestId { client: *client, number: *number })
        };
        self.marks.extend(known.clone().map(mark));
        known.map(|known| known.sequence).is_sorted().then_some(())
    }
}

/// Tells most requests apart.
pub(super) fn mark(RequestId { client, number }: RequestId) -> u16 {
    mix(client ^ mix(number)) as u16
}
