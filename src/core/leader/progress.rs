//! How far a rebalance is: facts for people, which decide nothing.

use std::collections::BTreeMap;

use super::plan::Range;
use super::{Leader, Out};
use crate::core::assignment::{Given, NodeId};
use crate::core::hash::Slot;
use crate::core::machine::{Millis, Note, Output};

/// How long a rebalance lasts before it is said how far it is, and how long until that is said again.
const SAY_EVERY_MS: Millis = 1_000;

/// How many ranges of one primary are kept that are on their way. One for each slot is more than a
/// server has.
const GIVEN_MAX: usize = 10_000;

/// What was heard of one rebalance. Work is counted in millionths of a slot for each joiner.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When somebody began to get something, or when it was said last how far that is; `None` while
    /// nobody gets anything.
    said_at: Option<Millis>,
    /// What was said last.
    said: Option<u8>,
    /// All that had to move since it began.
    total: u64,
    /// What still had to move when that was looked at last, whole transfers alone.
    pending: u64,
    /// What each primary said last of its transfers.
    given: BTreeMap<NodeId, Vec<Given>>,
}

const UNITS_PER_SLOT: u64 = 1_000_000;

impl Progress {
    /// A primary says how far its transfers are.
    pub(super) fn hear(&mut self, primary: &NodeId, given: &[Given]) {
        let given = given.iter().take(GIVEN_MAX).cloned().collect();
        self.given.insert(primary.clone(), given);
    }

    /// How much is in place of what had to move, 0 to 99; `None` where nobody gets anything.
    pub(super) fn percent(&mut self, ranges: &[Range]) -> Option<u8> {
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
        (pending > 0).then(|| (done * 100 / self.total).min(99) as u8)
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
        if self.rebalancing { self.progress.percent(&self.ranges) } else { None }
    }

    /// Says how far a rebalance is that lasts, where it has got any further.
    pub(super) fn tell_progress(&mut self, now: Millis, out: &mut Out) {
        let percent = self.percent();
        let progress = &mut self.progress;
        let Some(percent) = percent else {
            progress.said_at = None;
            return;
        };
        let said_at = *progress.said_at.get_or_insert(now);
        if now >= said_at + SAY_EVERY_MS && progress.said != Some(percent) {
            progress.said_at = Some(now);
            progress.said = Some(percent);
            out.push(Output::Note(Note::RebalancingProgress { percent }));
        }
    }
}
