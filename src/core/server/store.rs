//! The replicated cells of a server, slot by slot.

use std::collections::BTreeMap;

use super::data::{Log, Memory};
use super::leaves::Leaves;
use super::slot_data::{SlotData, fingerprint};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::planted::{Planted, planted};
use crate::core::wire::cells::{CellRef, Cells};
use crate::core::wire::part::{Part, PartRef};
use crate::core::wire::peer::{Executed, RequestId, Version};
use crate::core::wire::recent::Recent;
use crate::core::wire::text::Text;

/// How many requests a slot remembers unless told otherwise, to answer a retry instead of executing
/// it twice; and how many of those whose retry was executed, since their first try may still come.
pub(super) const REQUESTS_REMEMBERED: usize = 128;

/// All slots.
#[derive(Debug)]
pub(super) struct Store {
    slots: Vec<Option<Box<SlotData>>>,
    keys: usize,
    bytes: usize,
    /// How often cells were taken or deleted.
    changes: u64,
    /// How many requests a slot remembers of each sort.
    remembered: usize,
    /// How often a request was remembered that had been under a lower version. Nobody looks for that but
    /// where assertions are on.
    remembered_twice: usize,
    /// How many bytes of cells go into one part of a slot, but for one cell that is larger.
    part_bytes_max: usize,
    /// What the disk does not have yet.
    pub(super) log: Log,
    /// What a joiner has from before it joined. Invariant: the disk has it too, but for names that the
    /// slot itself has got since.
    aside: BTreeMap<Slot, Box<SlotData>>,
}

impl Store {
    /// Holds nothing, will remember so many requests of each slot, and give as many bytes in a part.
    pub(super) fn new(remembered: usize, part_bytes_max: usize) -> Self {
        let slots = (0..SLOT_COUNT).map(|_| None).collect();
        Store {
            slots,
            keys: 0,
            bytes: 0,
            changes: 0,
            remembered,
            remembered_twice: 0,
            part_bytes_max,
            log: Log::default(),
            aside: BTreeMap::new(),
        }
    }

    /// Holds a value unless a newer one is held; true where it was taken.
    pub(super) fn apply(&mut self, slot: Slot, cell: CellRef<'_>) -> bool {
        let taken = self.apply_stored(slot, cell);
        if taken {
            self.log.cell(slot, cell);
        }
        taken
    }

    /// The disk shall have a write that is not to be seen yet.
    pub(super) fn store_ahead(&mut self, slot: Slot, cell: CellRef<'_>, executed: Executed) {
        self.log.cell(slot, cell);
        self.log.request(slot, executed);
    }

    /// The same as [`Store::apply`], of a value that the disk has been given.
    pub(super) fn apply_stored(&mut self, slot: Slot, cell: CellRef<'_>) -> bool {
        let data = self.slots[usize::from(slot)].get_or_insert_default();
        data.touch();
        let seat = data.cells.find(cell.name);
        match seat.held() {
            Some((version, _)) if version == cell.version => return false,
            Some((version, _)) if version > cell.version && !planted(Planted::OlderOverwrites) => {
                return false;
            }
            Some((version, size)) => {
                data.fingerprint ^= fingerprint(cell.name, version);
                data.bytes -= size;
                self.bytes -= size;
            }
            None => self.keys += 1,
        }
        data.cells.put(&seat, cell);
        data.fingerprint ^= fingerprint(cell.name, cell.version);
        data.bytes += cell.size();
        self.bytes += cell.size();
        self.changes += 1;
        true
    }

    /// Remembers that a request was executed.
    pub(super) fn remember(&mut self, slot: Slot, executed: Executed) {
        if self.is_new(slot, executed) {
            self.log.request(slot, executed);
            self.remember_new(slot, executed);
        }
    }

    /// Whether a request is not among those remembered. One with the newest version is not, and is not
    /// looked for: a primary orders nothing that it remembers, and remembers all that its replicas do.
    fn is_new(&mut self, slot: Slot, executed: Executed) -> bool {
        let newest = self.slot(slot).is_none_or(|data| data.recent.are_below(executed.version));
        if newest && cfg!(debug_assertions) && self.recalls(slot, executed.id) {
            self.remembered_twice += 1;
        }
        newest || !self.recalls(slot, executed.id)
    }

    /// The same, of several requests, each another one.
    fn remember_all(&mut self, slot: Slot, all: Recent) {
        if all.is_empty() {
            return;
        }
        let data = self.slots[usize::from(slot)].get_or_insert_default();
        if !data.recent.is_empty() {
            return all.iter().for_each(|executed| self.remember(slot, executed));
        }
        // To look for each among the others took longer than all the rest of a slot's sync.
        self.log.requests(slot, &all);
        data.recent = all;
        // The sender may have been told to remember more.
        self.shed(slot, false);
        self.shed(slot, true);
    }

    /// The same, of a request that the disk has been given.
    pub(super) fn remember_stored(&mut self, slot: Slot, executed: Executed) {
        if self.is_new(slot, executed) {
            self.remember_new(slot, executed);
        }
    }

    /// The same, of one that is certainly not among those remembered.
    pub(super) fn remember_new(&mut self, slot: Slot, executed: Executed) {
        let data = self.slots[usize::from(slot)].get_or_insert_default();
        if let Some(oldest) = data.recent.add_within(executed, self.remembered) {
            self.forget_one(slot, oldest);
        }
    }

    /// Forgets the oldest requests of a sort, of which there are too many.
    fn shed(&mut self, slot: Slot, repeated: bool) {
        while let Some(data) = self.slots[usize::from(slot)].as_deref_mut()
            && let Some(oldest) = data.recent.take_surplus(repeated, self.remembered)
        {
            self.forget_one(slot, oldest);
        }
    }

    /// A request is remembered no more.
    fn forget_one(&mut self, slot: Slot, executed: Executed) {
        let Executed { id, version, repeated } = executed;
        self.log.forget_request(slot, id);
        let forgotten_repeats = if repeated { version } else { Version::default() };
        self.forget(slot, Memory { forgotten: version, forgotten_repeats });
    }

    /// The slot has forgotten as much as this, or more.
    pub(super) fn forget(&mut self, slot: Slot, memory: Memory) {
        let data = self.slots[usize::from(slot)].get_or_insert_default();
        let more = Memory {
            forgotten: data.memory.forgotten.max(memory.forgotten),
            forgotten_repeats: data.memory.forgotten_repeats.max(memory.forgotten_repeats),
        };
        if more != data.memory {
            data.memory = more;
            self.log.memory(slot, &more);
        }
    }

    /// Whether the request was executed.
    pub(super) fn recalls(&self, slot: Slot, id: RequestId) -> bool {
        self.version_of(slot, id).is_some()
    }

    /// The version under which a request was executed, where that is remembered.
    pub(super) fn version_of(&self, slot: Slot, id: RequestId) -> Option<Version> {
        self.slot(slot)?.recent.find(id).map(|known| known.version)
    }

    /// Grows with every cell that is taken and every slot that is deleted.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// All cells, slot by slot.
    pub(super) fn all_cells(&self) -> impl Iterator<Item = (Slot, CellRef<'_>)> {
        let filled = (0..SLOT_COUNT)
            .zip(&self.slots)
            .filter_map(|(slot, data)| Some((slot, data.as_deref()?)));
        filled.flat_map(|(slot, data)| data.cells.iter().map(move |cell| (slot, cell)))
    }

    /// The highest version of a request that may have been executed and is not remembered.
    pub(super) fn forgotten(&self, slot: Slot) -> Version {
        self.slot(slot).map_or(Version::default(), |data| data.memory.forgotten)
    }

    /// The same of requests that were executed when they were repeated, so that an earlier try may
    /// still come.
    pub(super) fn forgotten_repeats(&self, slot: Slot) -> Version {
        self.slot(slot).map_or(Version::default(), |data| data.memory.forgotten_repeats)
    }

    /// The text of the value held under a name.
    pub(super) fn get(&self, slot: Slot, name: &[u8]) -> Option<&str> {
        Some(self.slot(slot)?.cells.get(name)?.value())
    }

    /// What tells the slot's content from another; 0 where it is empty.
    pub(super) fn fingerprint(&self, slot: Slot) -> u64 {
        self.slot(slot).map_or(0, SlotData::digest)
    }

    /// The slots of `start..end` that are not empty.
    pub(super) fn filled(&self, start: Slot, end: Slot) -> impl Iterator<Item = Slot> + '_ {
        (start..end).filter(|slot| self.slot(*slot).is_some())
    }

    /// A slot's content from behind `after` on, as much as goes into one part.
    pub(super) fn part(&self, slot: Slot, after: Option<&Text>) -> PartRef<'_> {
        let Some(data) = self.slot(slot) else {
            return PartRef { last: true, ..PartRef::default() };
        };
        let (cells, last) = data.cells.part(after.map(Text::as_bytes), self.part_bytes_max);
        if !last {
            return PartRef { cells, ..PartRef::default() };
        }
        let Memory { forgotten, forgotten_repeats } = data.memory;
        PartRef { cells, recent: Some(&data.recent), forgotten, forgotten_repeats, last }
    }

    /// Takes what a part brings that is newer, and tells of each cell that it took.
    pub(super) fn merge(&mut self, slot: Slot, part: Part, mut taken: impl FnMut(CellRef<'_>)) {
        let Part { cells, recent, forgotten, forgotten_repeats, .. } = part;
        let filled = self.slot(slot).is_some_and(|data| data.cells.len() > 0);
        if !filled && !cells.is_empty() {
            self.fill(slot, &cells, &mut taken);
        } else {
            cells.iter().filter(|cell| self.apply(slot, *cell)).for_each(&mut taken);
        }
        if !planted(Planted::RequestsNotHandedOn) {
            self.remember_all(slot, recent);
        }
        if forgotten > Version::default() {
            self.forget(slot, Memory { forgotten, forgotten_repeats });
        }
    }

    /// Takes cells into a slot that has none.
    fn fill(&mut self, slot: Slot, cells: &Cells, taken: &mut impl FnMut(CellRef<'_>)) {
        let data = self.slots[usize::from(slot)].get_or_insert_default();
        data.cells = Leaves::of(cells, |cell| {
            data.fingerprint ^= fingerprint(cell.name, cell.version);
            data.bytes += cell.size();
            self.log.cell(slot, cell);
            taken(cell);
        });
        self.bytes += data.bytes;
        self.keys += data.cells.len();
        self.changes += data.cells.len() as u64;
    }

    /// Deletes the slots `start..end`.
    pub(super) fn wipe(&mut self, start: Slot, end: Slot) {
        self.log.wipe(start, end);
        for slot in start..end {
            let Some(data) = self.slots[usize::from(slot)].take() else {
                continue;
            };
            self.changes += 1;
            self.keys -= data.cells.len();
            self.bytes -= data.bytes;
        }
        if !self.aside.is_empty() {
            self.aside.retain(|slot, _| !(start..end).contains(slot));
        }
    }

    /// Empties the slots `start..end`, and puts their content aside. Of a slot of which something is
    /// aside already, nobody could tell any more what the disk has: that is deleted.
    pub(super) fn set_aside(&mut self, start: Slot, end: Slot) {
        for slot in start..end {
            let Some(data) = self.slots[usize::from(slot)].take() else { continue };
            self.changes += 1;
            self.keys -= data.cells.len();
            self.bytes -= data.bytes;
            if self.aside.remove(&slot).is_some() {
                self.log.wipe(slot, slot + 1);
            } else {
                self.aside.insert(slot, data);
            }
        }
    }

    /// Whether anything of `start..end` is aside.
    pub(super) fn has_aside(&self, start: Slot, end: Slot) -> bool {
        self.aside.range(start..end).next().is_some()
    }

    /// What is aside of `start..end`: slots and fingerprints.
    pub(super) fn aside(&self, start: Slot, end: Slot) -> impl Iterator<Item = (Slot, u64)> {
        let aside = self.aside.range(start..end);
        aside.map(|(slot, data)| (*slot, data.digest()))
    }

    /// Deletes what is aside of `start..end`: the slots have got something else.
    pub(super) fn drop_aside(&mut self, start: Slot, end: Slot) {
        let within: Vec<Slot> = self.aside.range(start..end).map(|(slot, _)| *slot).collect();
        for slot in within {
            self.aside.remove(&slot);
            self.log.wipe(slot, slot + 1);
            let Some(data) = self.slots[usize::from(slot)].as_deref() else { continue };
            data.cells.iter().for_each(|cell| self.log.cell(slot, cell));
            self.log.requests(slot, &data.recent);
            self.log.memory(slot, &data.memory);
        }
    }

    /// Takes what is aside of a slot as though it came in a part, where it has this fingerprint; whether
    /// it has.
    pub(super) fn take_aside(&mut self, slot: Slot, fingerprint: u64) -> bool {
        let same =
            |data: &SlotData| data.digest() == fingerprint || planted(Planted::AsideUnchecked);
        if !self.aside.get(&slot).is_some_and(|data| same(data)) {
            return false;
        }
        let Some(data) = self.aside.remove(&slot) else { return false };
        let since: Vec<Text> = self.cells(slot).map(|cell| cell.to_name()).collect();
        for cell in data.cells.iter() {
            self.apply_stored(slot, cell);
        }
        for executed in data.recent.iter() {
            self.remember_stored(slot, executed);
        }
        self.forget(slot, data.memory);
        // Names that came since may have overwritten on disk what is newer.
        for name in since {
            let data = self.slots[usize::from(slot)].as_deref();
            let cell = data.and_then(|data| data.cells.get(name.as_bytes()));
            cell.into_iter().for_each(|cell| self.log.cell(slot, cell));
        }
        true
    }

    /// All names, slot by slot.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().flatten().flat_map(|data| data.cells.iter().map(|cell| cell.name))
    }

    /// The cells of a slot.
    pub(super) fn cells(&self, slot: Slot) -> impl Iterator<Item = CellRef<'_>> {
        self.slot(slot).into_iter().flat_map(|data| data.cells.iter())
    }

    /// How many names `start..end` holds.
    pub(super) fn keys_within(&self, start: Slot, end: Slot) -> usize {
        (start..end).filter_map(|slot| self.slot(slot)).map(|data| data.cells.len()).sum()
    }

    /// How many names a slot holds, and the bytes of the names and values.
    pub(super) fn size(&self, slot: Slot) -> (usize, usize) {
        self.slot(slot).map_or((0, 0), |data| (data.cells.len(), data.bytes))
    }

    /// How many names are held.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// How often a request was ordered again that had been executed, as far as assertions are on.
    pub(super) fn remembered_twice(&self) -> usize {
        self.remembered_twice
    }

    /// How many bytes the names and values have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn slot(&self, slot: Slot) -> Option<&SlotData> {
        self.slots[usize::from(slot)].as_deref()
    }
}
