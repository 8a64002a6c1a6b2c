//! A revision means one thing.
//!
//! Whoever knows the assignment of a slot at a revision, leader or server, of whatever life, knows
//! the same: the same active servers in the same order, the same joiners, the same birth. All else
//! rests on this: a server that is asked whether it stands at a revision answers with a number.

use super::ring::{Config, Ring};
use super::{LeaderStep, Rule, ServerStep, Verdict, words};
use crate::core::assignment::Revision;
use crate::core::hash::Slot;

#[derive(Debug)]
pub(super) struct Meaning;

impl Rule for Meaning {
    fn name(&self) -> &'static str {
        "a revision means one thing"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        step.changed().try_for_each(|hold| one(ring, hold.revision, hold.start, hold.end))
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        step.changed().try_for_each(|range| one(ring, range.revision, range.start, range.end))
    }
}

fn one(ring: &Ring, revision: Revision, start: Slot, end: Slot) -> Verdict {
    let Some(known) = ring.configs.get(&revision) else {
        return Ok(());
    };
    let here: Vec<&Config> = known.iter().filter(|it| it.start < end && start < it.end).collect();
    for (index, one) in here.iter().enumerate() {
        if let Some(other) = here[..index].iter().find(|other| !other.agrees(one)) {
            let say = |it: &Config| {
                let (born, joining) = (it.born, &it.joining);
                format!("active {}, joining {joining:?}, born {born}", words(&it.active, ring))
            };
            let (one, other) = (say(one), say(other));
            return Err(format!("slots {start}..{end} at {revision}: {one}; and {other}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, range, server};
    use super::*;
    use crate::core::server::audit::Part;

    #[test]
    fn all_say_the_same() {
        let mut play = Play::new(Meaning);
        play.leads(1, range(5, &["a", "b"]), &[]).unwrap();
        play.shows(server("a", vec![hold(5, &["a", "b"], Part::Serving)])).unwrap();
        let mut half = hold(5, &["a", "b"], Part::Replica);
        half.start = 50;
        play.shows(server("b", vec![half])).unwrap();
        play.leads(1, range(6, &["b"]), &[]).unwrap();
        fires(play.shows(server("b", vec![hold(6, &["a"], Part::Left)])), "slots 0..100 at 6");
    }

    #[test]
    fn a_leader_gives_a_revision_twice() {
        let mut play = Play::new(Meaning);
        play.leads(1, range(5, &["a", "b"]), &[]).unwrap();
        play.leader_restarts();
        fires(play.leads(1, range(5, &["b"]), &[]), "at 5");
    }
}
