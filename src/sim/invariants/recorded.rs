//! A leader that keeps a record goes on where the one before it ended.
//!
//! - It begins at the epoch and the revision that the one before told anybody, or at higher ones,
//!   and knows its ring at once: it does not recover.
//! - Whom the one before had removed, and had told the epoch of, is no member.
//! - It says of nobody that a lease has ended before a full lease has passed since it began.

use std::collections::BTreeMap;

use super::dialogue::Told;
use super::ring::Ring;
use super::{LeaderStep, Rule, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::machine::Millis;

/// What leaders have told.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    began_at: Millis,
    /// Whether the leader that lives has come back.
    came_back: bool,
    told: (u64, Revision),
    /// Whom leaders have removed, and at which epoch.
    removed: BTreeMap<NodeId, u64>,
}

impl Rule for Recorded {
    fn name(&self) -> &'static str {
        "a leader with a record stands by what it told"
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        let after = step.after;
        if !after.recorded {
            return Ok(());
        }
        if step.before.is_none() {
            self.came_back = self.told != (0, 0);
            self.began_at = step.local;
            let (epoch, revision) = self.told;
            if after.epoch < epoch || after.revision < revision {
                let (now, at) = (after.epoch, after.revision);
                return Err(format!(
                    "epoch {epoch}, revision {revision} were told, now {now}, {at}"
                ));
            }
            self.removed.retain(|_, at| *at <= epoch);
        }
        if self.came_back && (after.recovering || after.restarted) {
            return Err("it has a record, and asks servers what it said".to_string());
        }
        for id in step.before.into_iter().flat_map(|before| before.members.keys()) {
            if !after.members.contains_key(id) {
                self.removed.entry(id.clone()).or_insert(after.epoch);
            }
        }
        if let Some(id) = self.removed.keys().find(|id| after.members.contains_key(*id)) {
            return Err(format!("{} was removed, and is a member", ring.name_of(id)));
        }
        for told in step.told {
            match told {
                Told::Stands { epoch, revision } => {
                    self.told = (self.told.0.max(*epoch), self.told.1.max(*revision));
                }
                Told::Expired { addr }
                    if self.came_back && step.local < self.began_at + after.lease_ms =>
                {
                    return Err(format!("{addr}'s lease has ended sooner than it can have"));
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

    fn play() -> Play {
        let mut play = Play::new(Recorded::default());
        play.recorded = true;
        play.members = ["a", "b"].map(NodeId::from).to_vec();
        play.leads(3, range(5, &["a"]), &[]).unwrap();
        play.members.pop();
        let told = [Told::Stands { epoch: 4, revision: 6 }];
        play.leads(4, range(6, &["a"]), &told).unwrap();
        play.leader_restarts();
        play
    }

    #[test]
    fn it_goes_on() {
        let mut play = play();
        play.leads(4, range(6, &["a"]), &[]).unwrap();
        play.local += 6_000;
        let expired = [Told::Expired { addr: "h:1".to_string() }];
        play.leads(5, range(7, &["a"]), &expired).unwrap();
    }

    #[test]
    fn it_goes_back() {
        fires(play().leads(3, range(6, &["a"]), &[]), "now 3, 6");
        fires(play().leads(4, range(5, &["a"]), &[]), "now 4, 5");
        let mut returned = play();
        returned.members.push("b".into());
        fires(returned.leads(4, range(6, &["a"]), &[]), "was removed");
        let mut hasty = play();
        let expired = [Told::Expired { addr: "h:1".to_string() }];
        fires(hasty.leads(4, range(6, &["a"]), &expired), "sooner");
    }
}
