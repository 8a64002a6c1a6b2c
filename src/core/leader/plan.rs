//! The assignment on its way to the target: which servers a range gets next. Pure functions.

use std::collections::BTreeSet;

use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::ring::{REPLICA_COUNT, Ring};

/// The leader's record of the slots `start..end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: Slot,
    pub(super) end: Slot,
    pub(super) state: State,
}

/// The assignment of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Grows with every change of `active`, `joining` or `born`; 0 while nobody was assigned.
    pub(super) revision: Revision,
    /// The revision at which the range last started empty.
    pub(super) born: Revision,
    /// The revision at which the first of `active` became it.
    pub(super) led_since: Revision,
    /// Primary first. Once anybody was active, never without a member of its last value, unless
    /// the range is born again.
    pub(super) active: Vec<NodeId>,
    /// Who gets the data, and since which revision.
    pub(super) joining: Vec<(NodeId, Revision)>,
    /// Living servers that may still have data here and have to delete it.
    pub(super) leaving: Vec<NodeId>,
    /// Since when no active server is alive.
    pub(super) waiting_since: Option<Millis>,
    /// Learned from a server after a restart of the leader, at this revision.
    pub(super) claimed: Option<Revision>,
    /// Since when it is known so, while not every server named here was heard.
    pub(super) unsure_since: Option<Millis>,
}

impl State {
    /// Whether every key of the range is on its servers and nowhere else.
    pub(super) fn is_settled(&self) -> bool {
        self.joining.is_empty()
            && self.leaving.is_empty()
            && self.waiting_since.is_none()
            && self.unsure_since.is_none()
    }

    /// All that hold or get the data.
    pub(super) fn named(&self) -> impl Iterator<Item = &NodeId> {
        self.active.iter().chain(self.joining.iter().map(|(id, _)| id))
    }

    /// Whether the server holds or gets the data.
    pub(super) fn names(&self, id: &NodeId) -> bool {
        self.named().any(|named| named == id)
    }
}

/// What the plan knows of the servers.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Living servers that speak the extension.
    pub(super) live: BTreeSet<NodeId>,
    /// Those of them that were in the view of the leader before until it ended.
    pub(super) vouching: BTreeSet<NodeId>,
    /// Servers whose process has certainly ended.
    pub(super) gone: BTreeSet<NodeId>,
    /// Those of them that certainly will not come back with their data.
    pub(super) lost: BTreeSet<NodeId>,
    /// Earlier identities of living servers, which have kept their data.
    pub(super) renamed: BTreeSet<NodeId>,
    /// Now.
    pub(super) now: Millis,
    /// After how long a waiting range is given up.
    pub(super) give_up_after_ms: Option<Millis>,
    /// The leader was started again, and servers of the ring before may not have been heard.
    pub(super) recovering: bool,
    /// Each living server of the ring before had time to be heard.
    pub(super) may_resolve: bool,
    /// A full lease has passed since the restart. Before that, one that is gone proves nothing:
    /// it may have been the only one named here that knew a newer assignment.
    pub(super) gone_counts: bool,
}

/// Whom the ring wants for a slot: the first three up the ring that speak the extension. An
/// original server among the slot's three gets its copy besides; it does not count, since nobody
/// knows whether it has it, or is there at all.
pub(super) fn target(ring: &Ring<(String, Option<NodeId>)>, slot: Slot) -> Vec<NodeId> {
    ring.walk(slot).filter_map(|(_, id)| id).take(REPLICA_COUNT).collect()
}

/// The state that follows `old` when the ring wants `target` (living servers, primary first).
/// `next` is the revision that a change gets.
pub(super) fn advance(old: &State, target: &[NodeId], census: &Census, next: Revision) -> State {
    let recovering = census.recovering && !planted(Planted::GivenAwayEarly);
    if old.unsure_since.is_some() || (recovering && old.claimed.is_none()) {
        return old.clone();
    }
    let mut new = old.clone();
    new.active.retain(|id| census.live.contains(id));
    if new.active.is_empty() {
        new.joining.clear();
        if !target.is_empty() && (old.active.is_empty() || is_lost(old, census)) {
            new.active = target.to_vec();
            new.born = next;
            new.waiting_since = None;
        } else if !old.active.is_empty() {
            // Nobody but a member of the last active set may go on: keep it, and wait.
            new.active = old.active.clone();
            new.waiting_since = Some(old.waiting_since.unwrap_or(census.now));
        }
    } else {
        new.waiting_since = None;
        let same_primary = new.active.first() == old.active.first();
        new.joining = target
            .iter()
            .filter(|id| !new.active.contains(id))
            .map(|id| {
                let before = old.joining.iter().find(|(joiner, _)| joiner == id);
                let since = before
                    .filter(|_| same_primary || planted(Planted::SinceKept))
                    .map_or(next, |(_, since)| *since);
                (id.clone(), since)
            })
            .collect();
        if planted(Planted::ActivatedUnsynced) {
            new.active.extend(new.joining.drain(..).map(|(id, _)| id));
        }
        let stays = new.active.iter().any(|id| target.contains(id));
        if planted(Planted::LeaversGoFirst) && stays {
            new.active.retain(|id| target.contains(id));
        }
        if new.joining.is_empty() {
            new.active = target.to_vec();
        }
    }
    let had_data: Vec<NodeId> = old.named().cloned().collect();
    for id in had_data {
        if !new.leaving.contains(&id) {
            new.leaving.push(id);
        }
    }
    new.leaving = new.leaving.iter().filter(|id| census.live.contains(*id)).cloned().collect();
    let (active, joining) = (&new.active, &new.joining);
    new.leaving.retain(|id| !active.contains(id) && !joining.iter().any(|(j, _)| j == id));
    let changed = new.active != old.active || new.joining != old.joining || new.born != old.born;
    if changed {
        new.revision = next;
    }
    if new.active.first() != old.active.first() || new.born != old.born {
        new.led_since = next;
    }
    assert!(
        old.active.is_empty()
            || new.born != old.born
            || new.active.iter().any(|id| old.active.contains(id)),
        "an active set without a member of the last one: {old:?} to {new:?}"
    );
    new
}

/// Whether nobody who held the range can come back with it.
fn is_lost(old: &State, census: &Census) -> bool {
    let given_up = old.waiting_since.zip(census.give_up_after_ms);
    old.active.iter().all(|id| census.lost.contains(id) || planted(Planted::LastHolderRemoved))
        || given_up.is_some_and(|(since, limit)| census.now >= since.saturating_add(limit))
}

/// Whether this is the range's revision, and no server may know a newer one.
pub(super) fn is_sure(state: &State, revision: Revision) -> bool {
    let current = state.revision == revision || planted(Planted::OldReportsBelieved);
    state.unsure_since.is_none() && current
}

/// Makes synced joiners active; false where none of them is joining here.
pub(super) fn activate(state: &mut State, synced: &[NodeId], next: Revision) -> bool {
    let (done, rest): (Vec<_>, Vec<_>) =
        state.joining.drain(..).partition(|(id, _)| synced.contains(id));
    state.joining = rest;
    if done.is_empty() {
        return false;
    }
    state.active.extend(done.into_iter().map(|(id, _)| id));
    state.revision = next;
    true
}

/// After a restart of the leader: a range that was learned may be changed once everybody whom it
/// names was heard, or is certainly gone, or the operator's patience is at its end. It gets a new
/// revision: what servers acknowledged to this leader before it learned of the range does not cover
/// the old one.
///
/// One that is gone may have been alone with a newer assignment, and with writes. So the range goes
/// on without it only where an active server was in the view all the time, without which no range
/// goes on; or where nobody is left to go on, so that the loss is said.
pub(super) fn resolve(state: &mut State, census: &Census, next: Revision) {
    let here = |id: &NodeId| census.live.contains(id) || census.renamed.contains(id);
    let vouched = state.active.iter().any(|id| census.vouching.contains(id));
    let gone_counts = census.gone_counts && (vouched || !state.active.iter().any(here));
    let gone = if vouched { &census.gone } else { &census.lost };
    let heard = |id: &NodeId| {
        planted(Planted::ResolvedUnheard) || here(id) || (gone_counts && gone.contains(id))
    };
    let Some(since) = state.unsure_since else { return };
    let given_up =
        census.give_up_after_ms.is_some_and(|limit| census.now >= since.saturating_add(limit));
    if census.may_resolve && (given_up || state.named().all(heard)) {
        state.unsure_since = None;
        state.revision = next;
        // A last push of the leader before may still have made another server the primary.
        state.led_since = next;
    }
}

/// Puts `id` in the place that it had in the active set as one of `olds`; false where it had none, or
/// where a restarted leader does not know whether this is the last active set. As the primary it has
/// to reconcile, and joiners begin anew with it.
pub(super) fn succeed(state: &mut State, olds: &[NodeId], id: &NodeId, next: Revision) -> bool {
    let place = state.active.iter().position(|active| olds.contains(active));
    let Some(place) = place.filter(|_| state.unsure_since.is_none()) else {
        return false;
    };
    state.active[place] = id.clone();
    state.joining.retain(|(joiner, _)| !olds.contains(joiner));
    state.revision = next;
    if place == 0 {
        state.led_since = next;
        state.joining.iter_mut().for_each(|(_, since)| *since = next);
    }
    true
}

/// Hands a waiting range to `id`, which held it under one of the identities `was`; false where the
/// range does not wait for any of them.
pub(super) fn take_back(state: &mut State, was: &[NodeId], id: &NodeId, next: Revision) -> bool {
    let held = state.active.iter().any(|holder| was.contains(holder));
    if state.waiting_since.is_none() || !held {
        return false;
    }
    state.active = vec![id.clone()];
    state.joining.clear();
    state.waiting_since = None;
    state.revision = next;
    state.led_since = next;
    true
}

/// The ranges of a leader that has never assigned anything.
pub(super) fn unassigned() -> Vec<Range> {
    vec![Range { start: 0, end: SLOT_COUNT, state: State::default() }]
}

/// Cuts ranges so that one starts at each of `starts` (0 < start < [`SLOT_COUNT`]).
pub(super) fn cut(ranges: &mut Vec<Range>, starts: &[Slot]) {
    for start in starts {
        let at = ranges.partition_point(|range| range.end <= *start);
        if at < ranges.len() && ranges[at].start < *start {
            let mut upper = ranges[at].clone();
            upper.start = *start;
            ranges[at].end = *start;
            ranges.insert(at + 1, upper);
        }
    }
}

/// Joins neighbours of equal state.
pub(super) fn merge(ranges: &mut Vec<Range>) {
    ranges.dedup_by(|upper, lower| {
        let same = upper.state == lower.state;
        if same {
            lower.end = upper.end;
        }
        same
    });
    debug_assert!(covers_all(ranges), "ranges have a gap: {ranges:?}");
}

/// The indices of the ranges that lie within `start..end`, which must have been cut there.
pub(super) fn within(ranges: &[Range], start: Slot, end: Slot) -> std::ops::Range<usize> {
    let first = ranges.partition_point(|range| range.start < start);
    let past = ranges.partition_point(|range| range.end <= end);
    first..past.max(first)
}

fn covers_all(ranges: &[Range]) -> bool {
    ranges.first().is_some_and(|range| range.start == 0)
        && ranges.last().is_some_and(|range| range.end == SLOT_COUNT)
        && ranges.windows(2).all(|pair| pair[0].end == pair[1].start)
}
