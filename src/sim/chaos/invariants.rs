//! What must hold at any time.

use super::world::{LEADER, World};
use crate::core::hash::SLOT_COUNT;
use crate::core::machine::Note;
use crate::core::wire::json::Object;

/// How many writes may be pending at one server: more than all clients can have under way.
const PENDING_MAX: u64 = 100;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    epoch: u64,
    revision: u64,
    /// Of each slot.
    revisions: Vec<u64>,
    notes_seen: usize,
}

impl World {
    /// Looks at the leader's view and the servers' figures.
    pub(super) fn check_invariants(&mut self) -> Result<(), String> {
        self.nothing_is_lost()?;
        self.queues_are_bounded()?;
        let Some(view) = self.view() else {
            return Ok(());
        };
        let seen = &mut self.invariants;
        if self.faults.contains_key("LeaderRestart") {
            // Numbers grow again once the new leader has heard of the old one's.
            return Ok(());
        }
        if view.epoch < seen.epoch || view.assignment.revision < seen.revision {
            return Err(format!(
                "epoch or revision goes back: from {}, {} to {}, {}",
                seen.epoch, seen.revision, view.epoch, view.assignment.revision
            ));
        }
        seen.epoch = view.epoch;
        seen.revision = view.assignment.revision;
        seen.revisions.resize(usize::from(SLOT_COUNT), 0);
        for range in &view.assignment.ranges {
            for slot in range.0..range.1 {
                let before = std::mem::replace(&mut seen.revisions[usize::from(slot)], range.2);
                if range.2 < before {
                    return Err(format!("slot {slot} goes back from {before} to {}", range.2));
                }
            }
        }
        Ok(())
    }

    /// No range may start again empty: none of our faults takes all of its holders.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        let notes = self.cluster.notes(LEADER);
        let new = &notes[self.invariants.notes_seen.min(notes.len())..];
        self.invariants.notes_seen = notes.len();
        let lost = new.iter().find(|(_, note)| matches!(note, Note::Lost { .. }));
        lost.map_or(Ok(()), |lost| Err(format!("slots are lost: {lost:?}")))
    }

    fn queues_are_bounded(&mut self) -> Result<(), String> {
        for (_, name) in self.living() {
            let stats = self.cluster.peek(&name, r#"{"cmd": "dht_stats", "dht": 1}"#);
            let stats = stats.unwrap_or_default();
            let stats = Object::parse(stats.as_bytes()).map_err(|error| error.to_string())?;
            let pending = stats.number("pending").unwrap_or(0);
            if pending > PENDING_MAX {
                return Err(format!("{name} has {pending} writes under way"));
            }
        }
        Ok(())
    }
}
