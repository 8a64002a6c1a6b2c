//! The writes that a primary has ordered and that not everybody holds yet.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::ids::Ids;
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::{Millis, ReplyTo};
use crate::core::wire::peer::{Cell, Executed, RequestId};
use crate::core::wire::text::Text;

/// How many boxes are kept for writes to come.
const SPARE_MAX: usize = 64;

/// How many bytes of name and value one of them may still hold.
const SPARE_BYTES_MAX: usize = 1024;

/// A write that not all who get it hold yet.
#[derive(Debug)]
pub(super) struct PendingWrite {
    pub(super) slot: Slot,
    pub(super) key: Text,
    pub(super) cell: Cell,
    pub(super) id: RequestId,
    /// Whether it was ordered for a repetition of the request.
    pub(super) repeated: bool,
    pub(super) voted: bool,
    /// Who waits for the answer; a retry of the same request joins.
    pub(super) replies: SmallVec<[ReplyTo; 1]>,
    /// Who must hold it before it is acknowledged. Empty: it is, and cells have it.
    pub(super) needed: Ids,
    /// Joiners that must hold it before they count as synced. Invariant: none is also in `needed`.
    pub(super) trailing: Ids,
    /// The revision under which it was last sent; only answers to that count.
    pub(super) revision: Revision,
    pub(super) sent_at: Millis,
    /// When whoever waits is told that the outcome is unknown.
    pub(super) answer_by: Millis,
}

impl PendingWrite {
    /// What a slot remembers of it.
    pub(super) fn executed(&self) -> Executed {
        Executed { id: self.id, version: self.cell.version, repeated: self.repeated }
    }

    /// Revision and sequence of a version lower than any that the request can have got. Known where it
    /// was ordered for a first try: a first try is ordered only if no repetition was executed before.
    pub(super) fn since(&self) -> Option<(Revision, u64)> {
        let version = self.cell.version;
        (!self.repeated).then(|| (version.revision, version.sequence.saturating_sub(1)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.key.as_bytes().len() + self.cell.value.as_str().len()
    }
}

/// The writes of a server that are under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// In boxes: a node of the tree has room for eleven, and each comes and goes with a request.
    pub(super) pending: BTreeMap<u64, Box<PendingWrite>>,
    /// The numbers of those that are not acknowledged, by request.
    pub(super) waiting: BTreeMap<RequestId, u64>,
    /// How many bytes those have.
    pub(super) waiting_bytes: usize,
    /// Boxes of writes that are over, for those to come: under load a dozen are under way, more than the
    /// system's allocator keeps at hand. A server's time for a `setr` with 50 clients fell by 3 % so.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: Vec<Box<PendingWrite>>,
}

impl Writes {
    /// Whether a write of this name waits to be acknowledged.
    pub(super) fn has(&self, slot: Slot, key: &Text) -> bool {
        self.pending.values().any(|w| w.slot == slot && !w.needed.is_empty() && w.key == *key)
    }

    /// How many are not acknowledged, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    /// The write of this request, where it is not acknowledged.
    pub(super) fn same(&mut self, id: RequestId) -> Option<&mut PendingWrite> {
        self.pending.get_mut(self.waiting.get(&id)?).map(|write| &mut **write)
    }

    pub(super) fn insert(&mut self, number: u64, write: PendingWrite) {
        self.waiting_bytes += write.bytes();
        self.waiting.insert(write.id, number);
        let place = match self.spare.pop() {
            Some(mut place) => {
                *place = write;
                place
            }
            None => Box::new(write),
        };
        self.pending.insert(number, place);
    }

    /// A write is acknowledged, or given up.
    pub(super) fn ended(&mut self, number: u64) {
        let Some(write) = self.pending.get(&number) else { return };
        // The name may stand for a later write by now.
        if self.waiting.get(&write.id) == Some(&number) {
            self.waiting.remove(&write.id);
            self.waiting_bytes -= write.bytes();
        }
    }

    /// Forgets a write, acknowledged or not.
    pub(super) fn remove(&mut self, number: u64) -> Option<Box<PendingWrite>> {
        self.ended(number);
        let removed = self.pending.remove(&number);
        assert!(self.waiting.len() <= self.pending.len(), "a write is gone and still waited for");
        removed
    }

    /// Keeps the box of a write that was removed for another, where it holds little.
    pub(super) fn reuse(&mut self, write: Box<PendingWrite>) {
        let little = write.bytes() <= SPARE_BYTES_MAX && !write.replies.spilled();
        if self.spare.len() < SPARE_MAX && little {
            self.spare.push(write);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The bytes of the largest write that is not acknowledged.
    pub(super) fn largest(&self) -> usize {
        let waiting = self.waiting.values().filter_map(|number| self.pending.get(number));
        waiting.map(|write| write.bytes()).max().unwrap_or(0)
    }

    /// Whether a joiner lacks a write to `start..end` that was acknowledged to a client.
    pub(super) fn trails(&self, start: Slot, end: Slot, id: &NodeId) -> bool {
        let mut within = self.pending.values().filter(|w| (start..end).contains(&w.slot));
        within.any(|w| w.needed.is_empty() && w.trailing.contains(id))
    }

    /// From now on a joiner is needed by the writes to `start..end` that were not acknowledged.
    pub(super) fn need(&mut self, start: Slot, end: Slot, id: &NodeId) {
        for write in self.pending.values_mut().filter(|w| (start..end).contains(&w.slot)) {
            if !write.needed.is_empty() && write.trailing.remove(id) {
                write.needed.insert(id.clone());
            }
        }
    }

    /// The numbers of the writes to `start..end`.
    pub(super) fn within(&self, start: Slot, end: Slot) -> Vec<u64> {
        let within = self.pending.iter().filter(|(_, w)| (start..end).contains(&w.slot));
        within.map(|(number, _)| *number).collect()
    }
}
