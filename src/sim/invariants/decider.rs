//! A range has one decider at a revision.
//!
//! For each slot and revision one server life at most leads: orders writes, acknowledges them and
//! answers reads. It is the first of the active servers. Whoever acknowledges or answers serves
//! the slot, before or after the step (in one step it may be told that it leads no longer, and
//! answer first).

use std::collections::BTreeMap;

use super::dialogue::Told;
use super::facts::Server;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::server::audit::Part;

/// Who has led which slots, by revision.
#[derive(Debug, Default)]
pub(super) struct Decider {
    led: BTreeMap<Revision, Vec<(Slot, Slot, NodeId)>>,
}

impl Rule for Decider {
    fn name(&self) -> &'static str {
        "one decider per range and revision"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        let after = step.after;
        for hold in step.changed() {
            if !matches!(hold.part, Part::Serving | Part::Reconciling) {
                continue;
            }
            if hold.active.first() != Some(&after.id) {
                return Err(format!("{} leads {} and is not its first", after.name, hold.words()));
            }
            let led = self.led.entry(hold.revision).or_default();
            let overlap = |led: &&(Slot, Slot, NodeId)| led.0 < hold.end && hold.start < led.1;
            if let Some(other) = led.iter().filter(overlap).find(|(_, _, id)| *id != after.id) {
                let (one, two) = (&after.name, ring.name_of(&other.2));
                return Err(format!("both {two} and {one} lead {}", hold.words()));
            }
            if !led.iter().any(|led| led.0 <= hold.start && hold.end <= led.1) {
                led.push((hold.start, hold.end, after.id.clone()));
            }
        }
        for told in step.told {
            let (slot, what) = match told {
                Told::Acknowledged { slot, .. } => (*slot, "acknowledges a write to"),
                Told::Answered { slot, .. } => (*slot, "answers a read of"),
                _ => continue,
            };
            if !serves(after, slot) && !step.before.is_some_and(|before| serves(before, slot)) {
                return Err(format!("{} {what} slot {slot}, and does not serve it", after.name));
            }
        }
        for write in after.writes.iter() {
            let led = self.led.get(&write.version.revision).into_iter().flatten();
            let mut led = led.filter(|led| (led.0..led.1).contains(&write.slot));
            if led.all(|(_, _, id)| !after.is_or_was(id)) {
                let (slot, version) = (write.slot, write.version);
                return Err(format!("{} orders {version:?} in slot {slot} unled", after.name));
            }
        }
        Ok(())
    }
}

fn serves(server: &Server, slot: Slot) -> bool {
    server.at(slot).is_some_and(|hold| hold.part == Part::Serving)
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, acknowledged, fires, hold, server, version};
    use super::*;

    #[test]
    fn two_lead_one_after_the_other() {
        let mut play = Play::new(Decider::default());
        let a = server("a", vec![hold(5, &["a", "b"], Part::Serving)]);
        let told = [acknowledged("k", 1, version(5, 1))];
        play.says(a.writing(1, version(5, 1), 1), &told).unwrap();
        play.shows(server("b", vec![hold(6, &["b"], Part::Serving)])).unwrap();
    }

    #[test]
    fn two_lead_at_once() {
        let mut play = Play::new(Decider::default());
        play.shows(server("a", vec![hold(5, &["a", "b"], Part::Serving)])).unwrap();
        fires(play.shows(server("b", vec![hold(5, &["a", "b"], Part::Serving)])), "not its first");
        fires(
            play.shows(server("c", vec![hold(5, &["c"], Part::Reconciling)])),
            "both a (a) and c",
        );
    }

    #[test]
    fn a_replica_decides() {
        let mut play = Play::new(Decider::default());
        let b = || server("b", vec![hold(5, &["a", "b"], Part::Replica)]);
        fires(play.says(b(), &[acknowledged("k", 1, version(5, 1))]), "acknowledges");
        let answered = Told::Answered { to: crate::core::machine::ReplyTo(1), slot: 7 };
        fires(play.says(b(), &[answered]), "answers a read");
        fires(play.shows(b().writing(1, version(5, 1), 1)), "orders");
    }
}
