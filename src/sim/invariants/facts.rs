//! What each machine shows after a step, as plain values: what the rules compare.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::orders::{Vote, Write, look_at_votes, look_at_writes};
use super::slots::SlotMap;
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::leader::audit::{LeaderAudit, RangeAudit};
use crate::core::machine::{Millis, ReplyTo};
use crate::core::server::audit::{Fill, HoldAudit, Part, ServerAudit};
use crate::core::wire::peer::Version;
use crate::core::wire::text::Text;

/// Replicated values by slot and name: the version, and a digest of the value.
pub(super) type Cells = BTreeMap<Slot, BTreeMap<Text, (Version, u64)>>;

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) id: NodeId,
    pub(super) was: Vec<NodeId>,
    pub(super) epoch: u64,
    pub(super) acked: Revision,
    /// The number that it gave out last.
    pub(super) counter: u64,
    pub(super) holds: Arc<Vec<Hold>>,
    /// Which state of the store `cells` is.
    pub(super) changes: u64,
    pub(super) cells: Arc<Cells>,
    pub(super) writes: Arc<Vec<Write>>,
    pub(super) votes: Arc<Vec<Vote>>,
    /// Whether it is in a view whose leader decides who writes.
    pub(super) led: bool,
    pub(super) fills: Vec<Fill>,
    /// The highest revision at which it has stood, dropped ranges included.
    pub(super) seen: Arc<SlotMap<Revision>>,
}

/// A server's part in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) start: Slot,
    pub(super) end: Slot,
    pub(super) revision: Revision,
    pub(super) born: Revision,
    pub(super) led_since: Revision,
    pub(super) active: Vec<NodeId>,
    pub(super) joining: Vec<(NodeId, Revision)>,
    pub(super) part: Part,
    pub(super) synced: Vec<NodeId>,
    /// Joiners that new writes need, and that are not synced yet.
    pub(super) closing: Vec<NodeId>,
    pub(super) round: Option<Round>,
}

/// A confirmation that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) waiting: Vec<NodeId>,
    pub(super) reads: Vec<ReplyTo>,
}

/// A view leader.
#[derive(Debug, Clone)]
pub(super) struct Leader {
    pub(super) epoch: u64,
    pub(super) revision: Revision,
    pub(super) recovering: bool,
    /// Whether it knows that there was a leader before it.
    pub(super) restarted: bool,
    pub(super) gives_up: bool,
    /// Whether it keeps a record, and so goes on where the one before it ended.
    pub(super) recorded: bool,
    pub(super) lease_ms: Millis,
    /// How often it has found that slots are lost.
    pub(super) losses: u64,
    pub(super) ranges: Arc<Vec<Range>>,
    pub(super) members: BTreeMap<NodeId, Revision>,
    pub(super) fills: Vec<Fill>,
}

/// A range, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: Slot,
    pub(super) end: Slot,
    pub(super) revision: Revision,
    pub(super) born: Revision,
    pub(super) active: Vec<NodeId>,
    pub(super) joining: Vec<(NodeId, Revision)>,
    pub(super) leaving: Vec<NodeId>,
    pub(super) unsure: bool,
    pub(super) told: bool,
    pub(super) waiting: bool,
}

impl Server {
    /// What a server shows, given what it showed before this step.
    pub(super) fn look(name: &str, audit: ServerAudit<'_>, before: Option<&Server>) -> Server {
        let same = before.filter(|before| {
            before.holds.len() == audit.holds().count()
                && before.holds.iter().zip(audit.holds()).all(|(hold, audit)| hold.shows(audit))
        });
        let holds = match same {
            Some(before) => before.holds.clone(),
            None => Arc::new(audit.holds().map(Hold::look).collect()),
        };
        let mut seen =
            before.map_or_else(|| Arc::new(SlotMap::new(0)), |before| before.seen.clone());
        if same.is_none() {
            let seen = Arc::make_mut(&mut seen);
            holds.iter().for_each(|hold| raise(seen, hold));
            // What was left and deleted in one step was never a hold that anybody could see.
            for gone in before.into_iter().flat_map(|before| gone(before, &holds)) {
                (gone.0..gone.1).for_each(|slot| seen.fill(slot, slot + 1, audit.seen(slot)));
            }
        }
        let changes = audit.changes();
        let cells = match before.filter(|before| before.changes == changes) {
            Some(before) => before.cells.clone(),
            None => Arc::new(look_at_cells(audit, before)),
        };
        Server {
            name: name.to_string(),
            id: audit.id().clone(),
            was: audit.was().to_vec(),
            epoch: audit.epoch(),
            acked: audit.acked(),
            counter: audit.counter(),
            holds,
            changes,
            cells,
            writes: look_at_writes(audit, before),
            votes: look_at_votes(audit, before),
            led: audit.is_led(),
            fills: audit.fills().to_vec(),
            seen,
        }
    }

    /// Whether it has this identity, or had it.
    pub(super) fn is_or_was(&self, id: &NodeId) -> bool {
        self.id == *id || self.was.contains(id)
    }

    /// Its part in the range of a slot.
    pub(super) fn at(&self, slot: Slot) -> Option<&Hold> {
        let index = self.holds.partition_point(|hold| hold.end <= slot);
        self.holds.get(index).filter(|hold| hold.start <= slot)
    }

    /// What it was in the pieces of `start..end`.
    pub(super) fn pieces(&self, start: Slot, end: Slot) -> Vec<(Slot, Slot, Option<&Hold>)> {
        pieces(&self.holds, start, end)
    }

    /// The version under which it holds a name.
    pub(super) fn version(&self, slot: Slot, key: &Text) -> Version {
        let cell = self.cells.get(&slot).and_then(|cells| cells.get(key));
        cell.map_or(Version::default(), |(version, _)| *version)
    }
}

/// The pieces of `start..end`, each with its hold.
fn pieces(holds: &[Hold], start: Slot, end: Slot) -> Vec<(Slot, Slot, Option<&Hold>)> {
    let mut pieces = Vec::new();
    let mut at = start;
    let first = holds.partition_point(|hold| hold.end <= start);
    for hold in holds[first..].iter().take_while(|hold| hold.start < end) {
        if at < hold.start {
            pieces.push((at, hold.start, None));
        }
        at = hold.end.min(end);
        pieces.push((hold.start.max(start), at, Some(hold)));
    }
    if at < end {
        pieces.push((at, end, None));
    }
    pieces
}

/// The pieces that were held before and are not now.
fn gone(before: &Server, holds: &[Hold]) -> Vec<(Slot, Slot)> {
    let old = before.holds.iter().flat_map(|hold| pieces(holds, hold.start, hold.end));
    old.filter(|(_, _, now)| now.is_none()).map(|(start, end, _)| (start, end)).collect()
}

fn raise(seen: &mut SlotMap<Revision>, hold: &Hold) {
    let lower: Vec<_> = seen
        .over(hold.start, hold.end)
        .filter(|(_, _, revision)| **revision < hold.revision)
        .map(|(start, end, _)| (start, end))
        .collect();
    lower.into_iter().for_each(|(start, end)| seen.fill(start, end, hold.revision));
}

fn look_at_cells(audit: ServerAudit<'_>, before: Option<&Server>) -> Cells {
    let mut cells = Cells::new();
    for (slot, cell) in audit.cells() {
        let known = before.and_then(|before| before.cells.get(&slot)?.get(cell.name));
        let known = known.filter(|(version, _)| *version == cell.version).copied();
        let value = known.unwrap_or_else(|| (cell.version, digest(cell.value())));
        cells.entry(slot).or_default().insert(cell.to_name(), value);
    }
    cells
}

/// Tells a value from another.
pub(super) fn digest(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Hold {
    fn look(audit: HoldAudit<'_>) -> Hold {
        let entry = audit.entry();
        let round = audit.round().map(|round| Round {
            number: round.number,
            waiting: round.waiting.to_vec(),
            reads: audit.reads().collect(),
        });
        Hold {
            start: entry.start,
            end: entry.end,
            revision: entry.revision,
            born: entry.born,
            led_since: entry.led_since,
            active: entry.active.iter().map(|peer| peer.id().clone()).collect(),
            joining: entry.joining.iter().map(|j| (j.id().clone(), j.since())).collect(),
            part: audit.part(),
            synced: audit.synced().cloned().collect(),
            closing: audit.closing().cloned().collect(),
            round,
        }
    }

    /// Whether the audit shows just this. Cheap: most steps change nothing here.
    fn shows(&self, audit: HoldAudit<'_>) -> bool {
        let entry = audit.entry();
        let round = match (&self.round, audit.round()) {
            (None, None) => true,
            (Some(known), Some(shown)) => {
                known.number == shown.number
                    && known.waiting.iter().eq(shown.waiting)
                    && known.reads.iter().copied().eq(audit.reads())
            }
            _ => false,
        };
        round
            && (self.start, self.end, self.revision) == (entry.start, entry.end, entry.revision)
            && (self.born, self.led_since, self.part) == (entry.born, entry.led_since, audit.part())
            && self.active.iter().eq(entry.active.iter().map(|peer| peer.id()))
            && self.joining.len() == entry.joining.len()
            && self.synced.iter().eq(audit.synced())
            && self.closing.iter().eq(audit.closing())
    }

    /// The primary's own copy apart, whose copies a write or a confirmation needs at least.
    pub(super) fn needed(&self) -> impl Iterator<Item = &NodeId> {
        self.active.iter().skip(1).chain(&self.synced)
    }

    /// The range in words.
    pub(super) fn words(&self) -> String {
        format!("slots {}..{} at revision {}", self.start, self.end, self.revision)
    }
}

impl Leader {
    /// What a leader shows, given what it showed before this step.
    pub(super) fn look(audit: LeaderAudit<'_>, before: Option<&Leader>) -> Leader {
        let same = before.filter(|before| {
            before.ranges.len() == audit.ranges().count()
                && before.ranges.iter().zip(audit.ranges()).all(|(range, audit)| range.shows(audit))
        });
        let ranges = match same {
            Some(before) => before.ranges.clone(),
            None => Arc::new(audit.ranges().map(Range::look).collect()),
        };
        Leader {
            epoch: audit.epoch(),
            revision: audit.revision(),
            recovering: audit.is_recovering(),
            restarted: audit.is_restarted(),
            gives_up: audit.gives_up(),
            recorded: audit.has_record(),
            lease_ms: audit.lease_ms(),
            losses: audit.losses(),
            ranges,
            members: audit.members().map(|(id, acked)| (id.clone(), acked)).collect(),
            fills: audit.fills().to_vec(),
        }
    }

    /// The range of a slot.
    pub(super) fn at(&self, slot: Slot) -> &Range {
        let index = self.ranges.partition_point(|range| range.end <= slot);
        &self.ranges[index]
    }

    /// The ranges that have slots in `start..end`, cut to it.
    pub(super) fn pieces(&self, start: Slot, end: Slot) -> Vec<(Slot, Slot, &Range)> {
        let overlap = |range: &&Range| range.start < end && start < range.end;
        let ranges = self.ranges.iter().filter(overlap);
        ranges.map(|range| (range.start.max(start), range.end.min(end), range)).collect()
    }

    /// Whether all keys are where they belong.
    pub(super) fn is_settled(&self) -> bool {
        self.ranges.iter().all(|range| {
            range.joining.is_empty() && range.leaving.is_empty() && !range.waiting && !range.unsure
        })
    }
}

impl Range {
    fn look(audit: RangeAudit<'_>) -> Range {
        Range {
            start: audit.start(),
            end: audit.end(),
            revision: audit.revision(),
            born: audit.born(),
            active: audit.active().to_vec(),
            joining: audit.joining().to_vec(),
            leaving: audit.leaving().to_vec(),
            unsure: audit.is_unsure(),
            told: audit.is_told(),
            waiting: audit.is_waiting(),
        }
    }

    fn shows(&self, audit: RangeAudit<'_>) -> bool {
        (self.start, self.end, self.revision) == (audit.start(), audit.end(), audit.revision())
            && (self.born, self.unsure, self.told, self.waiting)
                == (audit.born(), audit.is_unsure(), audit.is_told(), audit.is_waiting())
            && self.active == audit.active()
            && self.joining == audit.joining()
            && self.leaving == audit.leaving()
    }

    /// The range in words.
    pub(super) fn words(&self) -> String {
        format!("slots {}..{} at revision {}", self.start, self.end, self.revision)
    }
}
