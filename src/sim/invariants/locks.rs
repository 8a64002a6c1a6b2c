//! A lock has one holder.
//!
//! From the reply that grants a lock until the one that takes its release from the holder, the
//! leader grants it to nobody else. The lock `rebalancing` is granted only while the ring is
//! settled; one that keeps a record tells of it up to a sync later. A restarted leader without a
//! record has forgotten all locks, as `docs/replication.md` says, so the statement is about one life
//! of it. One that keeps a record stands by what the one before told; a release that it may have
//! taken before it died may be done or not.

use std::collections::BTreeMap;

use super::dialogue::Told;
use super::ring::Ring;
use super::{LeaderStep, Rule, Verdict};
use crate::core::wire::json::Json;
use crate::sim::node::ProcessId;

/// Who holds what, at which life of the leader.
#[derive(Debug, Default)]
pub(super) struct Locks {
    holders: BTreeMap<Json, (ProcessId, Json)>,
}

/// The lock that is granted only while all keys are where they belong.
const REBALANCING: &str = "\"rebalancing\"";

impl Rule for Locks {
    fn name(&self) -> &'static str {
        "a lock has one holder"
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        if step.before.is_none() && step.after.recorded {
            let perhaps = &ring.dialogue.released_perhaps;
            self.holders.retain(|lock, (_, held)| {
                !perhaps.iter().any(|(known, by)| known == lock && by == held)
            });
            self.holders.values_mut().for_each(|(leader, _)| *leader = step.process);
        }
        for told in step.told {
            match told {
                Told::Granted { lock, requestor } => {
                    let new = (step.process, requestor.clone());
                    let before = self.holders.insert(lock.clone(), new);
                    let other = before
                        .filter(|(leader, held)| *leader == step.process && held != requestor);
                    if let Some((_, other)) = other {
                        return Err(format!("{lock} is held by {other}, and given to {requestor}"));
                    }
                    let settled = step.after.is_settled() || step.after.recorded;
                    if lock.as_str() == REBALANCING && !settled {
                        return Err(format!("{lock} is given to {requestor} while keys move"));
                    }
                }
                Told::Released { lock, requestor }
                    if self.holders.get(lock).is_some_and(|(_, held)| held == requestor) =>
                {
                    self.holders.remove(lock);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, range};
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn granted(lock: &str, to: &str) -> Told {
        Told::Granted { lock: json(lock), requestor: json(to) }
    }

    fn released(by: &str) -> Told {
        Told::Released { lock: json("\"l\""), requestor: json(by) }
    }

    #[test]
    fn one_after_the_other() {
        let mut play = Play::new(Locks::default());
        let told = [granted("\"l\"", "1"), granted("\"l\"", "1"), released("2"), released("1")];
        play.leads(1, range(1, &["a"]), &told).unwrap();
        play.leads(1, range(1, &["a"]), &[granted("\"l\"", "2")]).unwrap();
        play.leader_restarts();
        play.leads(1, range(1, &["a"]), &[granted("\"l\"", "3")]).unwrap();
    }

    #[test]
    fn two_at_once() {
        let mut play = Play::new(Locks::default());
        play.leads(1, range(1, &["a"]), &[granted("\"l\"", "1"), released("2")]).unwrap();
        fires(play.leads(1, range(1, &["a"]), &[granted("\"l\"", "2")]), "held by 1");
    }

    #[test]
    fn a_record_holds_across_lives() {
        let mut play = Play::new(Locks::default());
        play.recorded = true;
        play.leads(1, range(1, &["a"]), &[granted("\"l\"", "1")]).unwrap();
        play.leader_restarts();
        play.leads(1, range(1, &["a"]), &[granted("\"l\"", "1")]).unwrap();
        fires(play.leads(1, range(1, &["a"]), &[granted("\"l\"", "2")]), "held by 1");
    }

    #[test]
    fn rebalancing_while_keys_move() {
        let mut play = Play::new(Locks::default());
        let mut moving = range(1, &["a"]);
        moving.joining = vec![("b".into(), 1)];
        fires(play.leads(1, moving, &[granted(REBALANCING, "1")]), "while keys move");
    }
}
