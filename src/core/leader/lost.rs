//! Slots that nobody can serve: said loudly, with those who held them.

use std::collections::BTreeMap;

use super::plan::Range;
use super::probe::Absent;
use super::{Leader, Out};
use crate::core::assignment::NodeId;
use crate::core::machine::{Millis, Note, Output};

impl Leader {
    /// Says so when more slots than before have no living holder.
    pub(super) fn tell_waiting(&mut self, now: Millis, out: &mut Out) {
        let mut waiting = Lost::default();
        let lease_ms = self.config.lease_ms;
        let silent = |since: Millis| now >= since + lease_ms;
        for range in &self.ranges {
            let state = &range.state;
            let wait =
                state.waiting_since.is_some() && state.active.iter().any(|id| !self.has_left(id));
            if wait || state.unsure_since.is_some_and(silent) {
                waiting.add(range, &self.absent);
            }
        }
        let (slots, holders) = (waiting.slots, waiting.holders);
        if slots > self.slots_waiting {
            out.push(Output::Note(Note::Waiting { slots, holders }));
        }
        self.slots_waiting = slots;
    }

    /// Whether a server is gone because it was to leave, and kept nothing: nobody waits for it.
    pub(super) fn has_left(&self, id: &NodeId) -> bool {
        self.absent.get(id).is_some_and(|absent| absent.left && !self.may_keep(absent))
    }
}

/// Slots of which somebody has to be told, and who held them.
#[derive(Debug, Default)]
pub(super) struct Lost {
    slots: u32,
    holders: Vec<String>,
}

impl Lost {
    pub(super) fn add(&mut self, range: &Range, absent: &BTreeMap<NodeId, Absent>) {
        self.slots += u32::from(range.end - range.start);
        for id in &range.state.active {
            if let Some(absent) = absent.get(id).filter(|a| !self.holders.contains(&a.addr)) {
                self.holders.push(absent.addr.clone());
            }
        }
    }

    /// Says so; whether there was anything to say.
    pub(super) fn tell(self, out: &mut Out) -> bool {
        let any = self.slots > 0;
        if any {
            let (slots, holders) = (self.slots, self.holders);
            out.push(Output::Note(Note::Lost { slots, holders }));
        }
        any
    }
}
