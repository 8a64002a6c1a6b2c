//! A leader that was started again uses no revision twice, and waits for who may know more.
//!
//! - Each revision that it decides, once it knows that there was a leader before it, is above all
//!   that leaders before it have given out, whether or not anybody has heard of them.
//! - Once it has recovered, each revision that it decides is above all at which any living server
//!   has ever stood, in whatever slot.
//! - A range that it was told of, and was not sure of, it relies on only when every process that
//!   lives and was named there, under its present identity or an earlier one, is a member, or comes from
//!   one that was a member of this leader and has ended since; or where in the same step a server has
//!   come that knows a newer assignment, or the operator lets it give up.

use std::collections::BTreeSet;

use super::facts::{Range, Server};
use super::ring::{Config, Ring};
use super::{LeaderStep, Rule, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::sim::node::ProcessId;

/// What leaders have given out.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    by: Option<ProcessId>,
    /// The highest revision of any leader.
    given: Revision,
    /// The highest revision of those before the one that lives.
    before: Revision,
    /// Who has been a member of the one that lives.
    met: BTreeSet<NodeId>,
}

impl Rule for Restarts {
    fn name(&self) -> &'static str {
        "a restarted leader goes on from what servers know"
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        if self.by.replace(step.process) != Some(step.process) {
            self.before = self.given;
            self.met.clear();
        }
        self.met.extend(step.after.members.keys().cloned());
        let shown = step.after.ranges.iter().map(|range| range.revision).max();
        self.given = self.given.max(shown.unwrap_or(0));
        let (Some(before), true) = (step.before, step.after.restarted) else {
            return Ok(());
        };
        for range in step.changed().filter(|range| !range.unsure && !range.told) {
            let pieces = before.pieces(range.start, range.end);
            if pieces.iter().any(|(_, _, old)| old.revision != range.revision) {
                if range.revision <= self.before {
                    let (known, what) = (self.before, range.words());
                    return Err(format!("a leader before had given out {known}; now {what}"));
                }
                if !step.after.recovering {
                    above(ring, range)?;
                }
            }
            for (start, _, old) in pieces.into_iter().filter(|(_, _, old)| old.unsure) {
                if !step.after.gives_up && !told_newer(ring, step, start, old) {
                    heard(ring, step, &self.met, old)?;
                }
            }
        }
        Ok(())
    }
}

/// Nobody has stood at the revision or a later one.
fn above(ring: &Ring, range: &Range) -> Verdict {
    for server in ring.servers.values() {
        let mut seen = server.seen.over(0, crate::core::hash::SLOT_COUNT);
        if let Some((slot, _, seen)) = seen.find(|(_, _, seen)| **seen >= range.revision) {
            let (name, what) = (&server.name, range.words());
            return Err(format!("{name} has stood at {seen} in slot {slot}; now {what}"));
        }
    }
    Ok(())
}

/// Whether a server has come in this step, and somebody knows a newer assignment of the slot.
fn told_newer(ring: &Ring, step: &LeaderStep<'_>, slot: Slot, old: &Range) -> bool {
    let is_new = |id: &NodeId| step.before.is_some_and(|b| !b.members.contains_key(id));
    let here = |config: &Config| (config.start..config.end).contains(&slot);
    // What the leader decides in this very step does not count.
    let by_leader = |range: &&Range| !range.told;
    let decided = |revision: &Revision| {
        step.changed().filter(by_leader).any(|range| range.revision == *revision)
    };
    let newer = ring.configs.range(old.revision + 1..);
    let mut newer = newer.filter(|(revision, _)| !decided(revision));
    step.after.members.keys().any(is_new) && newer.any(|(_, all)| all.iter().any(here))
}

/// Every process that lives and was named is a member, or comes from one that the leader has met and
/// that has ended since: it knows no more of the ring before than that one did.
fn heard(ring: &Ring, step: &LeaderStep<'_>, met: &BTreeSet<NodeId>, old: &Range) -> Verdict {
    let joining = old.joining.iter().map(|(id, _)| id);
    for id in old.active.iter().chain(joining) {
        let is = |server: &&Server| server.is_or_was(id);
        let member = |id: &NodeId| step.after.members.contains_key(id);
        let unheard = |server: &&Server| {
            let ended = |dead: &Server| met.contains(&dead.id) && server.was.contains(&dead.id);
            !member(id) && !member(&server.id) && !ring.dead.iter().any(ended)
        };
        if let Some(server) = ring.servers.values().find(is).filter(unheard) {
            let (name, what) = (&server.name, old.words());
            return Err(format!("{name} lives and was not heard, and {what} is relied on"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, range, server, told_range};
    use super::*;
    use crate::core::server::audit::Part;

    /// A leader that was started again and was told of a range.
    fn told() -> Play {
        let mut play = Play::new(Restarts::default());
        play.leads(1, range(1, &["a", "b"]), &[]).unwrap();
        let hold = |part| vec![hold(5, &["a", "b"], part)];
        play.shows(server("a", hold(Part::Serving))).unwrap();
        play.shows(server("b", hold(Part::Replica))).unwrap();
        play.leader_restarts();
        play.leads(1, told_range(5, &["a", "b"]), &[]).unwrap();
        play.leads(1, told_range(5, &["a", "b"]), &[]).unwrap();
        play
    }

    fn relies(mut play: Play, members: &[&str], revision: u64) -> Result<(), String> {
        play.members = members.iter().map(|id| (*id).into()).collect();
        play.leads(1, range(revision, &["a", "b"]), &[])
    }

    #[test]
    fn all_were_heard() {
        relies(told(), &["a", "b"], 9).unwrap();
        let mut dead = told();
        dead.dies("b");
        relies(dead, &["a"], 9).unwrap();
        let mut renamed = told();
        renamed.shows(server("b", Vec::new()).renamed("b2")).unwrap();
        relies(renamed, &["a", "b2"], 9).unwrap();
    }

    #[test]
    fn one_was_heard_and_has_come_back_since_without_a_word() {
        let mut play = told();
        play.members = vec!["a".into(), "b".into()];
        play.leads(2, told_range(5, &["a", "b"]), &[]).unwrap();
        play.dies("b");
        play.shows(server("b", Vec::new()).renamed("b2")).unwrap();
        relies(play, &["a"], 9).unwrap();
        // One that was met and is silent may know more by now.
        let mut silent = told();
        silent.members = vec!["a".into(), "b".into()];
        silent.leads(2, told_range(5, &["a", "b"]), &[]).unwrap();
        fires(relies(silent, &["a"], 9), "b lives");
        // That a leader has met it is nothing to the next.
        let unsure = told_range(12, &["a", "b"]);
        let mut next = told();
        next.members = vec!["a".into(), "b".into()];
        next.leads(2, unsure.clone(), &[]).unwrap();
        next.leader_restarts();
        next.members.clear();
        next.leads(1, unsure.clone(), &[]).unwrap();
        next.leads(1, unsure, &[]).unwrap();
        fires(relies(next, &["a"], 19), "b lives");
    }

    #[test]
    fn a_revision_was_given_out_that_nobody_heard_of() {
        let mut play = Play::new(Restarts::default());
        play.leads(1, range(7, &["a"]), &[]).unwrap();
        play.leader_restarts();
        play.leads(1, range(0, &[]), &[]).unwrap();
        fires(play.leads(1, range(6, &["a"]), &[]), "had given out 7");
    }

    #[test]
    fn somebody_knows_more() {
        fires(relies(told(), &["a"], 9), "b lives");
        fires(relies(told(), &["a", "b"], 4), "has stood at 5");
        let mut other = told();
        let mut far = hold(12, &["c"], Part::Serving);
        (far.start, far.end) = (200, 300);
        other.shows(server("c", vec![far])).unwrap();
        fires(relies(other, &["a", "b"], 9), "has stood at 12");
    }
}
