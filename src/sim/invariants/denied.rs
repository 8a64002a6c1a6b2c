//! An identity that a leader has removed once is never a member again.
//!
//! Its ranges may have moved on, and it may not know. That holds for one life of a leader: the next
//! one does not know of it, and learns who holds what from all.

use std::collections::BTreeSet;

use super::ring::Ring;
use super::{LeaderStep, Rule, Verdict};
use crate::core::assignment::NodeId;
use crate::sim::node::ProcessId;

/// Whom the leader that lives has removed.
#[derive(Debug, Default)]
pub(super) struct Denied {
    by: Option<ProcessId>,
    removed: BTreeSet<NodeId>,
}

impl Rule for Denied {
    fn name(&self) -> &'static str {
        "who is removed is denied for ever"
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        if self.by.replace(step.process) != Some(step.process) {
            self.removed.clear();
        }
        let members = &step.after.members;
        let before = step.before.into_iter().flat_map(|before| before.members.keys());
        self.removed.extend(before.filter(|id| !members.contains_key(*id)).cloned());
        match self.removed.iter().find(|id| members.contains_key(*id)) {
            None => Ok(()),
            Some(id) => Err(format!("{} was removed, and is a member", ring.name_of(id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, range};
    use super::*;

    fn play(members: &[&[&str]]) -> Result<(), String> {
        let mut play = Play::new(Denied::default());
        for (count, members) in members.iter().enumerate() {
            if members.is_empty() {
                play.leader_restarts();
            }
            play.members = members.iter().map(|id| (*id).into()).collect();
            play.leads(1, range(count as u64 + 1, &["a"]), &[])?;
        }
        Ok(())
    }

    #[test]
    fn who_was_removed_stays_away() {
        play(&[&["a", "b"], &["a"], &["a", "c"]]).unwrap();
        // Another leader knows nothing of it.
        play(&[&["a", "b"], &["a"], &[], &["a", "b"]]).unwrap();
        fires(play(&[&["a", "b"], &["a"], &["a", "b"]]), "was removed");
    }
}
