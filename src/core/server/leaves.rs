//! The cells of a slot, in a row of short packed leaves.
//!
//! With a tree of names and values in allocations of their own a name of 16 bytes and a value of 32 took
//! 221 bytes of a server's memory, its request included; this way, with requests packed too, they take 101.
//! A leaf is searched from its front, so it is short.

use smallvec::SmallVec;

use crate::core::wire::cells::{CellRef, Cells, Place};
use crate::core::wire::part::Runs;
use crate::core::wire::peer::Version;

/// How many bytes a leaf has at most, but for one that is a single cell.
const LEAF_BYTES_MAX: usize = 1024;

/// By how many bytes more than are needed a leaf grows: doubling would leave half of it empty.
const LEAF_STEP_BYTES: usize = 64;

/// Cells in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    /// Invariant: none is empty, and all names of one are above all of that before it.
    ///
    /// A single one lies here, which is one wait for memory less.
    leaves: SmallVec<[Cells; 1]>,
    len: usize,
}

/// Where a name stands, or would stand.
pub(super) struct Seat {
    leaf: usize,
    place: Place,
}

impl Seat {
    /// The version under which the name is held, and the bytes of its name and value.
    pub(super) fn held(&self) -> Option<(Version, usize)> {
        self.place.held
    }
}

impl Leaves {
    /// Of these cells, of each of which it tells.
    pub(super) fn of(cells: &Cells, mut each: impl FnMut(CellRef<'_>)) -> Leaves {
        let mut len = 0;
        let leaves = cells.runs(LEAF_BYTES_MAX, |cell| {
            len += 1;
            each(cell);
        });
        Leaves { leaves: leaves.into(), len }
    }

    /// Reads where a name will be looked for first; what it gives means nothing.
    pub(super) fn touch(&self) -> u8 {
        self.leaves.first().map_or(0, Cells::touch)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = CellRef<'_>> {
        self.leaves.iter().flat_map(Cells::iter)
    }

    /// The one of this name.
    pub(super) fn get(&self, name: &[u8]) -> Option<CellRef<'_>> {
        self.leaves.get(self.leaf_of(name))?.get(name)
    }

    /// Where a name is, or belongs.
    pub(super) fn find(&self, name: &[u8]) -> Seat {
        let leaf = self.leaf_of(name);
        let place = self.leaves.get(leaf).map_or_else(Place::default, |leaf| leaf.find(name));
        Seat { leaf, place }
    }

    /// Puts a cell where its name was found.
    pub(super) fn put(&mut self, seat: &Seat, cell: CellRef<'_>) {
        self.len += usize::from(seat.place.held.is_none());
        let fresh = self.leaves.get(seat.leaf).is_none_or(|leaf| {
            // What comes in order fills leaf after leaf.
            seat.leaf + 1 == self.leaves.len()
                && seat.place.is_end_of(leaf)
                && leaf.bytes() + cell.packed_size() > LEAF_BYTES_MAX
        });
        if fresh {
            let mut leaf = Cells::default();
            leaf.put(&Place::default(), cell, LEAF_STEP_BYTES);
            self.leaves.push(leaf);
            return;
        }
        let leaf = &mut self.leaves[seat.leaf];
        leaf.put(&seat.place, cell, LEAF_STEP_BYTES);
        if leaf.bytes() > LEAF_BYTES_MAX && leaf.is_several() {
            let tail = leaf.split();
            self.leaves.insert(seat.leaf + 1, tail);
        }
    }

    /// From behind a name on, as many cells as have so many bytes together, but at least one; and
    /// whether that is all.
    pub(super) fn part(&self, after: Option<&[u8]>, bytes_max: usize) -> (Runs<'_>, bool) {
        let mut part = Runs::default();
        let start = after.map_or(0, |name| self.leaf_of(name));
        for (at, leaf) in self.leaves.iter().enumerate().skip(start) {
            let run = match after {
                Some(name) if at == start => leaf.run_after(name),
                _ => leaf.run(),
            };
            let mut here = run.up_to(bytes_max.saturating_sub(part.bytes()));
            if here.bytes().is_empty() && part.is_empty() {
                here = run.first();
            }
            part.push(here);
            if here.bytes().len() < run.bytes().len() {
                return (part, false);
            }
        }
        (part, true)
    }

    /// The leaf in which a name is, or belongs.
    fn leaf_of(&self, name: &[u8]) -> usize {
        if self.leaves.len() <= 1 {
            // Where it is does not depend on what it holds: that is read once less.
            return 0;
        }
        let up_to = |leaf: &Cells| leaf.first().is_some_and(|first| first.name <= name);
        self.leaves.partition_point(up_to).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::core::wire::json::Json;
    use crate::core::wire::peer::Cell;
    use crate::core::wire::text::Text;

    /// The same in a tree, with nothing packed.
    type Twin = BTreeMap<Text, Cell>;

    fn names() -> impl Strategy<Value = Text> {
        prop_oneof![
            8 => "[a-c]{0,4}",
            4 => "name-[0-9]{3}",
            1 => "x{120,140}",
        ]
        .prop_map(|name| Text::from(&*name))
    }

    /// Short values, and some that fill a leaf or more.
    fn cells() -> impl Strategy<Value = Cell> {
        let length = prop_oneof![9 => 0..60usize, 2 => 120..140usize, 1 => 900..2100usize];
        let version = (0..300u64, any::<u64>());
        (length, version).prop_map(|(length, (revision, sequence))| {
            let value = Json::string(&Text::from(&*"v".repeat(length)));
            Cell { version: Version { revision, sequence }, value }
        })
    }

    fn put(leaves: &mut Leaves, name: &Text, cell: &Cell) -> Option<(Version, usize)> {
        let seat = leaves.find(name.as_bytes());
        leaves.put(&seat, cell.named(name));
        seat.held()
    }

    fn assert_same(leaves: &Leaves, twin: &Twin) {
        let held: Vec<CellRef<'_>> = leaves.iter().collect();
        let wanted: Vec<CellRef<'_>> = twin.iter().map(|(name, cell)| cell.named(name)).collect();
        assert_eq!(held, wanted);
        assert_eq!(leaves.len(), twin.len());
        for leaf in &leaves.leaves {
            assert!(!leaf.is_empty());
            assert_eq!(leaf.last(), leaf.iter().last());
        }
    }

    /// These, as they come with a message; and the same in a tree.
    fn taken(cells: Twin) -> (Leaves, Twin) {
        let mut packed = Cells::default();
        cells.iter().for_each(|(name, cell)| packed.push(cell.named(name)));
        let mut told = 0;
        let leaves = Leaves::of(&packed, |_| told += 1);
        assert_eq!(told, cells.len());
        (leaves, cells)
    }

    /// More than go into one leaf, and often none.
    fn taken_cells() -> impl Strategy<Value = Twin> {
        prop_oneof![Just(0..1), Just(0..400usize)]
            .prop_flat_map(|count| prop::collection::btree_map(names(), cells(), count))
    }

    proptest! {
        #[test]
        fn leaves_are_as_a_tree(
            cells in taken_cells(),
            puts in prop::collection::vec((names(), cells()), 0..200),
        ) {
            let (mut leaves, mut twin) = taken(cells);
            assert_same(&leaves, &twin);
            for (name, cell) in puts {
                let held = put(&mut leaves, &name, &cell);
                let before = twin.insert(name.clone(), cell.clone());
                let before = before.as_ref().map(|cell| cell.named(&name));
                prop_assert_eq!(held, before.map(|cell| (cell.version, cell.size())));
                prop_assert_eq!(leaves.get(name.as_bytes()), Some(cell.named(&name)));
            }
            assert_same(&leaves, &twin);
        }

        #[test]
        fn names_in_order_fill_the_leaves(cells in prop::collection::vec(cells(), 0..200)) {
            let (mut leaves, mut twin) = (Leaves::default(), Twin::new());
            for (number, cell) in cells.into_iter().enumerate() {
                let name = Text::from(&*format!("{number:06}"));
                put(&mut leaves, &name, &cell);
                twin.insert(name, cell);
            }
            assert_same(&leaves, &twin);
            let (at_once, twin) = taken(twin);
            assert_same(&at_once, &twin);
            prop_assert_eq!(&at_once.leaves, &leaves.leaves);
            for pair in leaves.leaves.windows(2) {
                let next = pair[1].first().map_or(0, |first| first.packed_size());
                prop_assert!(pair[0].bytes() + next > LEAF_BYTES_MAX);
            }
        }

        #[test]
        fn parts_are_all_there_is(
            cells in taken_cells(),
            puts in prop::collection::vec((names(), cells()), 0..100),
            bytes_max in 1..5000usize,
        ) {
            let (mut leaves, _) = taken(cells);
            puts.iter().for_each(|(name, cell)| {
                put(&mut leaves, name, cell);
            });
            let (mut all, mut after) = (Cells::default(), None::<Text>);
            loop {
                let (part, last) = leaves.part(after.as_ref().map(Text::as_bytes), bytes_max);
                prop_assert!(last || !part.is_empty());
                let several = part.iter().count() > 1;
                prop_assert!(part.bytes() <= bytes_max || !several);
                part.iter().for_each(|cell| all.push(cell));
                after = part.last().map(|cell| cell.to_name());
                if last { break }
            }
            prop_assert_eq!(all.iter().collect::<Vec<_>>(), leaves.iter().collect::<Vec<_>>());
        }
    }
}
