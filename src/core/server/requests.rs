//! The requests that a slot remembers, so that a retry is answered instead of executed twice.
//!
//! Each write asks at each server whether its request is among them, and mostly it is not.

use std::collections::VecDeque;

use super::slot_data::mix;
use crate::core::wire::peer::{Executed, RequestId};

/// By how many requests the room grows at least; else by a quarter. Doubling would leave most of a
/// table of 44 bytes for each request empty: with 100 names in a slot it took more than the names.
const ROOM_STEP: usize = 8;

/// How many marks are compared at once, without a look at the result in between.
const MARKS_AT_ONCE: usize = 16;

/// Requests in the order of their versions.
#[derive(Debug, Default)]
pub(super) struct Requests {
    known: VecDeque<Executed>,
    /// Of each its mark: to look for one in 128 reads 512 bytes, and not 5,120.
    marks: VecDeque<u32>,
    /// How many were executed when they were repeated.
    repeats: usize,
}

impl Requests {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// In the order of their versions.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Executed> {
        self.known.iter()
    }

    /// The one of this name.
    pub(super) fn find(&self, id: RequestId) -> Option<&Executed> {
        let mark = mark(id);
        let (front, back) = self.marks.as_slices();
        let pieces = front.chunks(MARKS_AT_ONCE).chain(back.chunks(MARKS_AT_ONCE));
        let mut at = 0;
        for piece in pieces {
            let here = at..at + piece.len();
            at = here.end;
            if piece.iter().fold(false, |any, other| any | (*other == mark)) {
                let found = self.known.range(here).find(|known| known.id == id);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, count: usize) {
        self.known.reserve_exact(count);
        self.marks.reserve_exact(count);
    }

    /// Adds one that is not among them.
    pub(super) fn add(&mut self, executed: Executed) {
        if self.known.len() == self.known.capacity() {
            self.reserve(ROOM_STEP.max(self.known.len() / 4));
        }
        // Most come in order.
        let at = match self.known.back() {
            Some(last) if last.version > executed.version => {
                self.known.partition_point(|known| known.version <= executed.version)
            }
            _ => self.known.len(),
        };
        self.known.insert(at, executed);
        self.marks.insert(at, mark(executed.id));
        self.repeats += usize::from(executed.repeated);
    }

    /// Takes away the oldest of those that were repeated, or of those that were not, where there are
    /// more than `max`.
    pub(super) fn take_surplus(&mut self, repeated: bool, max: usize) -> Option<Executed> {
        let others = self.known.len() - self.repeats;
        if (if repeated { self.repeats } else { others }) <= max {
            return None;
        }
        let oldest = self.known.iter().position(|known| known.repeated == repeated)?;
        self.repeats -= usize::from(repeated);
        self.marks.remove(oldest);
        self.known.remove(oldest)
    }
}

/// Tells most requests apart.
fn mark(RequestId { client, number }: RequestId) -> u32 {
    mix(client ^ mix(number)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::wire::peer::Version;

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

    proptest! {
        #[test]
        fn requests_are_as_a_list(all in prop::collection::vec(executed(), 0..200), max in 0..20usize) {
            let (mut requests, mut twin) = (Requests::default(), Vec::<Executed>::new());
            for executed in all {
                let same = twin.iter().find(|known| known.id == executed.id);
                prop_assert_eq!(requests.find(executed.id), same);
                let taken_version = twin.iter().any(|known| known.version == executed.version);
                if same.is_some() || taken_version {
                    continue;
                }
                requests.add(executed);
                twin.push(executed);
                let surplus = oldest(&twin, executed.repeated, max).map(|at| twin.remove(at));
                prop_assert_eq!(requests.take_surplus(executed.repeated, max), surplus);
            }
            let mut left: Vec<Executed> = requests.iter().copied().collect();
            twin.sort_by_key(|known| known.version);
            prop_assert_eq!(&left, &twin);
            prop_assert_eq!(requests.is_empty(), twin.is_empty());
            for known in left.drain(..) {
                prop_assert_eq!(requests.find(known.id), Some(&known));
            }
        }
    }
}
