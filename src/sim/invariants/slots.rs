//! A value for every slot, kept as runs of equal ones.

use crate::core::hash::{SLOT_COUNT, Slot};

/// A value for every slot.
#[derive(Debug, Clone)]
pub(super) struct SlotMap<T> {
    /// Start of each run and its value. Invariant: sorted, the first starts at 0.
    runs: Vec<(Slot, T)>,
}

impl<T: Clone + PartialEq> SlotMap<T> {
    pub(super) fn new(value: T) -> Self {
        SlotMap { runs: vec![(0, value)] }
    }

    pub(super) fn at(&self, slot: Slot) -> &T {
        &self.runs[self.run(slot)].1
    }

    /// The runs that have slots in `start..end`, cut to it.
    pub(super) fn over(&self, start: Slot, end: Slot) -> impl Iterator<Item = (Slot, Slot, &T)> {
        let first = self.run(start);
        let runs = self.runs[first..].iter().enumerate();
        runs.take_while(move |(_, (from, _))| *from < end).map(move |(index, (from, value))| {
            let next = self.runs.get(first + index + 1).map_or(SLOT_COUNT, |(next, _)| *next);
            ((*from).max(start), next.min(end), value)
        })
    }

    /// Sets the value of `start..end`.
    pub(super) fn fill(&mut self, start: Slot, end: Slot, value: T) {
        assert!(start < end && end <= SLOT_COUNT, "no such slots: {start}..{end}");
        let after = (end < SLOT_COUNT).then(|| self.at(end).clone());
        let from = self.runs.partition_point(|(at, _)| *at < start);
        let to = self.runs.partition_point(|(at, _)| *at <= end);
        let tail = after.map(|after| (end, after));
        self.runs.splice(from..to, [(start, value)].into_iter().chain(tail));
        self.runs.dedup_by(|upper, lower| upper.1 == lower.1);
    }

    fn run(&self, slot: Slot) -> usize {
        self.runs.partition_point(|(at, _)| *at <= slot) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_value_for_each_slot() {
        let mut map = SlotMap::new(0);
        let mut twin = vec![0; usize::from(SLOT_COUNT)];
        for (number, start, end) in
            [(1, 10, 20), (2, 0, 5), (3, 15, 9_000), (4, 9_990, SLOT_COUNT), (1, 8, 16), (0, 3, 4)]
        {
            map.fill(start, end, number);
            twin[usize::from(start)..usize::from(end)].fill(number);
            let seen: Vec<_> = map.over(2, 9_995).collect();
            assert_eq!((seen[0].0, seen[seen.len() - 1].1), (2, 9_995));
            for (from, to, value) in seen {
                assert!(twin[usize::from(from)..usize::from(to)].iter().all(|it| it == value));
            }
            assert!((0..SLOT_COUNT).all(|slot| *map.at(slot) == twin[usize::from(slot)]));
        }
    }
}
