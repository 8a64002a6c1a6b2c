//! An identity is one life of one server.
//!
//! Two processes never show the same one, and a process that has taken a new one never goes back
//! to an old one: who is denied for ever must stay so, since its range may have moved on.

use std::collections::BTreeMap;

use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::assignment::NodeId;
use crate::sim::node::ProcessId;

/// Whose each identity is.
#[derive(Debug, Default)]
pub(super) struct Identities {
    owners: BTreeMap<NodeId, ProcessId>,
}

impl Rule for Identities {
    fn name(&self) -> &'static str {
        "an identity is one life"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        let after = step.after;
        if step.before.is_some_and(|before| before.id == after.id) {
            return Ok(());
        }
        match self.owners.insert(after.id.clone(), step.process) {
            None => Ok(()),
            Some(_) => {
                Err(format!("{} takes the identity {}, which was used", after.name, after.id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, server};
    use super::*;

    #[test]
    fn an_identity_is_used_once() {
        let mut play = Play::new(Identities::default());
        play.shows(server("a", Vec::new())).unwrap();
        play.shows(server("a", Vec::new())).unwrap();
        play.shows(server("a", Vec::new()).renamed("a2")).unwrap();
        play.dies("a");
        fires(play.shows(server("a", Vec::new())), "was used");
    }
}
