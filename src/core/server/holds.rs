//! Which ranges this server holds, and as what: the table that entries change.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::Ids;
use super::transfer::Sync;
use crate::core::assignment::{Entry, NodeId, Revision, Span};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::text::Text;

/// A range that this server knows its part in.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    /// The assignment; its slots are the hold's.
    pub(super) entry: Entry,
    /// What this server is in it.
    pub(super) role: Role,
}

impl Hold {
    /// The slots and the revision.
    pub(super) fn span(&self) -> Span {
        Span(self.entry.start, self.entry.end, self.entry.revision)
    }

    /// The primary's affairs, where this server is it.
    pub(super) fn primary(&mut self) -> Option<&mut Primary> {
        match &mut self.role {
            Role::Primary(primary) => Some(primary),
            _ => None,
        }
    }

    /// Whether what is given of it keeps to the pace: not the last copy, and not what a new primary
    /// gives before it serves.
    pub(super) fn is_paced(&self) -> bool {
        let serves = matches!(&self.role, Role::Primary(primary) if primary.serves());
        serves && self.entry.active.len() > 1
    }

    /// The joiners of which this holds, where this server is the primary.
    pub(super) fn joiners(&self, which: impl Fn(&Sync) -> bool) -> impl Iterator<Item = &NodeId> {
        let syncs = match &self.role {
            Role::Primary(primary) => Some(&primary.syncs),
            _ => None,
        };
        let wanted = syncs.into_iter().flatten().filter(move |(_, sync)| which(sync));
        wanted.map(|(id, _)| id)
    }

    /// The open question to the others, where this server is the primary and has one.
    pub(super) fn round(&self) -> Option<&Round> {
        match &self.role {
            Role::Primary(primary) => primary.round.as_ref(),
            _ => None,
        }
    }

    /// Whose copies a write or a confirmation needs besides the primary's own: the other active
    /// servers, and the joiners that were reported synced. Nobody's where another is the primary.
    pub(super) fn needed(&self) -> Ids {
        if !matches!(self.role, Role::Primary(_)) {
            return Ids::default();
        }
        let active = self.entry.active.iter().skip(1).map(|peer| peer.id());
        active.chain(self.joiners(Sync::is_needed)).cloned().collect()
    }

    /// The joiners that may still lack writes which were acknowledged before new ones needed them.
    pub(super) fn behind(&self) -> Ids {
        self.joiners(|sync| !sync.synced).cloned().collect()
    }

    /// The joiners that a write is sent to without waiting for them: none of those that it needs, whatever
    /// a peer's entry says.
    pub(super) fn unsynced(&self) -> Ids {
        let active = |id: &NodeId| self.entry.active.iter().any(|peer| peer.id() == id);
        self.joiners(|sync| !sync.is_needed()).filter(|id| !active(id)).cloned().collect()
    }
}

/// What a server is in a range.
#[derive(Debug, Clone)]
pub(super) enum Role {
    /// Orders writes and answers reads.
    Primary(Box<Primary>),
    /// Holds a copy that counts.
    Replica,
    /// Gets the data.
    Joiner,
    /// Has left, and keeps the data until it may delete them.
    Left,
}

/// What a primary keeps for a range.
#[derive(Debug, Clone, Default)]
pub(super) struct Primary {
    /// `None` once it serves.
    pub(super) reconcile: Option<Reconcile>,
    /// The joiners, and how far each is.
    pub(super) syncs: BTreeMap<NodeId, Sync>,
    /// The question whether the others still stand at this revision, where one is open.
    pub(super) round: Option<Round>,
    /// Reads that came after the open question, and so need the next one.
    pub(super) next_reads: Vec<PendingRead>,
}

impl Primary {
    /// Whether reads and writes are answered.
    pub(super) fn serves(&self) -> bool {
        self.reconcile.is_none()
    }

    /// Whether nothing is under way but writes, which know their slot.
    fn is_idle(&self) -> bool {
        self.reconcile.is_none()
            && self.syncs.is_empty()
            && self.round.is_none()
            && self.next_reads.is_empty()
    }

    /// Whether it waits for an answer of another server.
    pub(super) fn is_busy(&self) -> bool {
        self.reconcile.is_some() || self.round.is_some() || self.syncs.values().any(Sync::is_busy)
    }
}

/// A new primary's way to serving: what do the others hold, take what is newer, give it to all.
#[derive(Debug, Clone, Default)]
pub(super) struct Reconcile {
    /// Who has not said yet what it holds.
    pub(super) asked: Ids,
    /// Slots to fetch.
    pub(super) pulls: BTreeMap<(NodeId, Slot), Pull>,
    /// The slots in which each other server differed from us, or from anybody.
    pub(super) differing: BTreeMap<NodeId, BTreeSet<Slot>>,
    /// What is given to the others, once all was fetched.
    pub(super) pushes: Option<BTreeMap<NodeId, Sync>>,
}

/// A slot that is fetched.
#[derive(Debug, Clone, Default)]
pub(super) struct Pull {
    /// From behind which name on.
    pub(super) after: Option<Text>,
    /// When it was asked for.
    pub(super) sent_at: Option<Millis>,
}

/// An open question to the other replicas, shared by the reads that came before it.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) waiting: Ids,
    pub(super) reads: Vec<PendingRead>,
}

/// A read that waits for a confirmation.
#[derive(Debug, Clone)]
pub(super) struct PendingRead {
    pub(super) to: crate::core::machine::ReplyTo,
    pub(super) key: Text,
    pub(super) slot: Slot,
    pub(super) answer_by: Millis,
}

/// The table.
#[derive(Debug)]
pub(super) struct Holds {
    /// Sorted by slot, without overlap; gaps are slots that this server has no part in.
    holds: Vec<Hold>,
    /// The highest revision ever adopted for each slot; kept when a hold is deleted, so that an
    /// old message cannot bring it back.
    seen: Vec<Revision>,
    /// The highest of these.
    seen_max: Revision,
    /// Grows with every change of what a restart must not forget.
    stamp: u64,
}

impl Holds {
    pub(super) fn new() -> Self {
        Holds { holds: Vec::new(), seen: vec![0; usize::from(SLOT_COUNT)], seen_max: 0, stamp: 0 }
    }

    /// What an earlier process held: nothing of it is served before the leader says so.
    /// Of what it had deleted nobody can remind the present process: messages name the identity that
    /// they are meant for.
    pub(super) fn restore(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.seen[usize::from(entry.start)..usize::from(entry.end)].fill(entry.revision);
            self.seen_max = self.seen_max.max(entry.revision);
            self.holds.push(Hold { entry, role: Role::Left });
        }
    }

    /// Grows with every change of what a restart must not forget.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// What is told from now on may rest on all that was stored before.
    pub(super) fn touch(&mut self) {
        self.stamp += 1;
    }

    /// The hold of a slot.
    pub(super) fn at(&self, slot: Slot) -> Option<&Hold> {
        let index = self.index(slot)?;
        Some(&self.holds[index])
    }

    /// The hold of a slot.
    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Hold> {
        let index = self.index(slot)?;
        Some(&mut self.holds[index])
    }

    /// The hold of exactly these slots at this revision.
    pub(super) fn exactly(&mut self, span: Span) -> Option<&mut Hold> {
        self.at_mut(span.0).filter(|hold| hold.span() == span)
    }

    /// All holds, in slot order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter()
    }

    /// All holds, in slot order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Hold> {
        self.holds.iter_mut()
    }

    /// The highest revision ever adopted for a slot.
    pub(super) fn seen(&self, slot: Slot) -> Revision {
        self.seen[usize::from(slot)]
    }

    /// The highest revision ever adopted.
    pub(super) fn seen_max(&self) -> Revision {
        self.seen_max
    }

    /// How this server stands to a span of slots at a revision.
    pub(super) fn stance(&self, span: Span) -> Stance {
        let Span(start, end, revision) = span;
        if start >= end || end > SLOT_COUNT {
            return Stance::Nonsense;
        }
        let (mut at, mut older) = (start, false);
        while at < end {
            let hold = self.at(at);
            let known = hold.map_or(self.seen(at), |hold| hold.entry.revision);
            // Seen and not held: this server has left, and deleted what it had.
            if known > revision || (known == revision && hold.is_none()) {
                return Stance::Newer;
            }
            older |= known < revision;
            at = hold.map_or(at + 1, |hold| hold.entry.end);
        }
        if older { Stance::Older } else { Stance::Same }
    }

    /// The holds that have slots in `start..end`.
    pub(super) fn within(&self, start: Slot, end: Slot) -> impl Iterator<Item = &Hold> {
        let first = self.holds.partition_point(|hold| hold.entry.end <= start);
        self.holds[first..].iter().take_while(move |hold| hold.entry.start < end)
    }

    /// Whether an entry is newer than what is known of any of its slots.
    pub(super) fn is_news(&self, entry: &Entry) -> bool {
        let seen = &self.seen[usize::from(entry.start)..usize::from(entry.end)];
        seen.iter().any(|seen| replaces(entry, *seen))
    }

    /// Replaces what is known of the entry's slots where the entry is newer. Returns the pieces
    /// that changed, each with what was there before; the caller gives the new ones their roles.
    pub(super) fn adopt(&mut self, entry: &Entry) -> Vec<(Entry, Option<Hold>)> {
        let mut changed = Vec::new();
        let mut at = entry.start;
        while at < entry.end {
            let seen = self.seen(at);
            let run = usize::from(at)..usize::from(self.end_of_piece(at).min(entry.end));
            let alike = self.seen[run].iter().take_while(|known| **known == seen).count();
            let end = at + alike as Slot;
            if replaces(entry, seen) {
                let old = self.carve(at, end);
                changed.push((entry.part(at, end), old));
                self.seen[usize::from(at)..usize::from(end)].fill(entry.revision);
                self.seen_max = self.seen_max.max(entry.revision);
            }
            at = end;
        }
        self.stamp += u64::from(!changed.is_empty());
        changed
    }

    /// Joins neighbours of equal assignment where nothing is under way, so that cuts do not pile up.
    pub(super) fn merge(&mut self) {
        let before = self.holds.len();
        self.holds.dedup_by(|upper, lower| {
            let end = upper.entry.end;
            let fits = lower.entry.end == upper.entry.start
                && lower.entry
                    == Entry {
                        start: lower.entry.start,
                        end: lower.entry.end,
                        ..upper.entry.clone()
                    };
            let same = fits
                && match (&lower.role, &upper.role) {
                    (Role::Primary(a), Role::Primary(b)) => a.is_idle() && b.is_idle(),
                    (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
                };
            if same {
                lower.entry.end = end;
            }
            same
        });
        self.stamp += u64::from(self.holds.len() < before);
    }

    /// Puts a hold where [`Holds::adopt`] has made room.
    pub(super) fn insert(&mut self, hold: Hold) {
        let at = self.holds.partition_point(|other| other.entry.start < hold.entry.start);
        let fits = at == self.holds.len() || hold.entry.end <= self.holds[at].entry.start;
        assert!(fits, "two holds of one slot");
        self.holds.insert(at, hold);
    }

    /// Deletes what this server has left within a span, unless it has come back since; returns
    /// the slots that were deleted.
    pub(super) fn drop_left(&mut self, span: Span) -> Vec<(Slot, Slot)> {
        let mut dropped = Vec::new();
        let mut at = span.0;
        while at < span.1.min(SLOT_COUNT) {
            let left = self
                .at(at)
                .filter(|hold| matches!(hold.role, Role::Left) && hold.entry.revision <= span.2)
                .or_else(|| self.at(at).filter(|_| planted(Planted::DropWhileActive)));
            let Some(end) = left.map(|hold| hold.entry.end.min(span.1)) else {
                at += 1;
                continue;
            };
            self.carve(at, end);
            if planted(Planted::DropForgetsRevision) {
                self.seen[usize::from(at)..usize::from(end)].fill(0);
            }
            dropped.push((at, end));
            at = end;
        }
        self.stamp += u64::from(!dropped.is_empty());
        dropped
    }

    /// Where the hold of a slot ends; of a slot without one, where the next begins.
    fn end_of_piece(&self, slot: Slot) -> Slot {
        let at = self.holds.partition_point(|hold| hold.entry.end <= slot);
        let next = self.holds.get(at);
        match next.map(|hold| &hold.entry) {
            Some(entry) if entry.start <= slot => entry.end,
            Some(entry) => entry.start,
            None => SLOT_COUNT,
        }
    }

    fn index(&self, slot: Slot) -> Option<usize> {
        let at = self.holds.partition_point(|hold| hold.entry.end <= slot);
        (at < self.holds.len() && self.holds[at].entry.start <= slot).then_some(at)
    }

    /// Cuts `start..end` out of the hold that contains it and returns the piece.
    fn carve(&mut self, start: Slot, end: Slot) -> Option<Hold> {
        let index = self.index(start)?;
        let whole = self.holds.remove(index);
        assert!(end <= whole.entry.end, "a piece reaches beyond its hold");
        if end < whole.entry.end {
            self.holds.insert(index, part(&whole, end, whole.entry.end));
        }
        if whole.entry.start < start {
            self.holds.insert(index, part(&whole, whole.entry.start, start));
        }
        Some(part(&whole, start, end))
    }
}

/// Whether an entry takes the place of one of the revision `seen`.
fn replaces(entry: &Entry, seen: Revision) -> bool {
    let older = seen > entry.revision && planted(Planted::OlderEntriesAdopted);
    seen < entry.revision || older
}

/// How a server stands to a message about some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    /// At the message's revision.
    Same,
    /// At a newer one, or it has no part in the slots any more.
    Newer,
    /// At an older one.
    Older,
    /// There are no such slots.
    Nonsense,
}

/// A hold of a part of the slots. Open questions do not survive: whoever cuts asks the reads
/// anew.
fn part(whole: &Hold, start: Slot, end: Slot) -> Hold {
    let mut piece = Hold { entry: whole.entry.part(start, end), role: whole.role.clone() };
    if let Role::Primary(primary) = &mut piece.role {
        let inside = |slot: &Slot| (start..end).contains(slot);
        for sync in primary.syncs.values_mut() {
            sync.keep(&inside);
        }
        if let Some(reconcile) = &mut primary.reconcile {
            // Half a reconciliation is asked anew for the piece.
            *reconcile = Reconcile { asked: super::others(&whole.entry), ..Reconcile::default() };
        }
    }
    piece
}
