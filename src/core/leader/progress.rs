//! How far a rebalance is: facts for people, which decide nothing.

use std::collections::BTreeMap;

use super::plan::Range;
use super::{Leader, Out};
use crate::core::assignment::{Given, NodeId};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::machine::{Millis, Note, Output};

/// How long a rebalance lasts before it is said how far it is, and how long until that is said again.
const SAY_EVERY_MS: Millis = 1_000;

/// How many ranges of one primary are kept that are on their way. One for each slot is more than a
/// server has.
const GIVEN_MAX: usize = SLOT_COUNT as usize;

/// What was heard of one rebalance. Work is counted in millionths of a slot for each joiner.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When it began, or when it was said last how far it is.
    said_at: Millis,
    /// All that had to move since it began.
    total: u64,
    /// What still had to move when that was looked at last, whole transfers alone.
    pending: u64,
    /// What each primary said last of its transfers.
    given: BTreeMap<NodeId, Vec<Given>>,
}

const UNITS_PER_SLOT: u64 = 1_000_000;

impl Progress {
    /// A rebalance that begins now.
    pub(super) fn begun(now: Millis) -> Self {
        Progress { said_at: now, ..Progress::default() }
    }

    /// A primary says how far its transfers are.
    pub(super) fn hear(&mut self, primary: &NodeId, given: &[Given]) {
        let given = given.iter().take(GIVEN_MAX).cloned().collect();
        self.given.insert(primary.clone(), given);
    }

    /// How much is in place of what had to move, 0 to 99.
    pub(super) fn percent(&mut self, ranges: &[Range]) -> u8 {
        let moving = ranges.iter().flat_map(|range| {
            let joiners = range.state.joining.iter();
            joiners.map(move |(joiner, _)| (range, joiner))
        });
        let (mut pending, mut begun) = (0, 0);
        for (range, joiner) in moving {
            let units = u64::from(range.end - range.start) * UNITS_PER_SLOT;
            pending += units;
            let primary = range.state.active.first();
            let said = primary.and_then(|primary| self.share(primary, joiner, range.start));
            begun += said.map_or(0, |millionths| units / UNITS_PER_SLOT * millionths);
        }
        // What is new has to move too, whatever was done before.
        self.total += pending.saturating_sub(self.pending);
        self.pending = pending;
        let done = self.total - pending + begun;
        (done * 100).checked_div(self.total).unwrap_or(0).min(99) as u8
    }

    /// How many millionths of its bytes a joiner has of the range that holds `slot`.
    fn share(&self, primary: &NodeId, joiner: &NodeId, slot: Slot) -> Option<u64> {
        let mut said = self.given.get(primary)?.iter();
        let given = said.find(|given| given.2 == *joiner && given.0 <= slot && slot < given.1)?;
        let millionths = u128::from(given.3) * u128::from(UNITS_PER_SLOT);
        let share = millionths.checked_div(u128::from(given.4)).unwrap_or(0);
        Some(share.min(u128::from(UNITS_PER_SLOT)) as u64)
    }
}

impl Leader {
    /// How far the rebalance is that is under way.
    pub(super) fn percent(&mut self) -> Option<u8> {
        self.rebalancing.then(|| self.progress.percent(&self.ranges))
    }

    /// Says how far a rebalance is that lasts.
    pub(super) fn tell_progress(&mut self, now: Millis, out: &mut Out) {
        let Some(percent) = self.percent() else { return };
        if now >= self.progress.said_at + SAY_EVERY_MS {
            self.progress.said_at = now;
            out.push(Output::Note(Note::RebalancingProgress { percent }));
        }
    }
}
