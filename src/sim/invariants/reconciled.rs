//! A new primary serves only after it has reconciled.
//!
//! A server begins to serve a range where it led it before, at the revision `led_since` or a later
//! one, and served then or was reconciling; or where nobody else can hold anything: it is the only
//! active one, or the range is just born. When a reconciliation ends, all living active servers
//! that stand at that very revision hold exactly the same: nobody but the primary may give them
//! anything, and it has given them nothing else.

use super::facts::Hold;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::hash::Slot;
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Reconciled;

impl Rule for Reconciled {
    fn name(&self) -> &'static str {
        "a new primary serves after it has reconciled"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        for hold in step.changed().filter(|hold| hold.part == Part::Serving) {
            if hold.active.len() == 1 || hold.born == hold.revision {
                continue;
            }
            for (start, end, before) in step.pieces(hold.start, hold.end) {
                let led = before.filter(|before| before.revision >= hold.led_since);
                match led.map(|before| before.part) {
                    Some(Part::Serving) => {}
                    Some(Part::Reconciling) => equal(ring, step, hold, start, end)?,
                    _ => {
                        let (name, what) = (&step.after.name, hold.words());
                        return Err(format!("{name} serves {what}, and was {before:?} before"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn equal(ring: &Ring, step: &ServerStep<'_>, hold: &Hold, start: Slot, end: Slot) -> Verdict {
    let primary = step.after;
    for server in hold.active.iter().skip(1).filter_map(|id| ring.living(id)) {
        let there = |slot| server.at(slot).is_some_and(|there| there.revision == hold.revision);
        let slots = primary.cells.range(start..end).chain(server.cells.range(start..end));
        for slot in slots.map(|(slot, _)| *slot).filter(|slot| there(*slot)) {
            let (ours, theirs) = (primary.cells.get(&slot), server.cells.get(&slot));
            if ours != theirs {
                let (one, two, what) = (&primary.name, &server.name, hold.words());
                return Err(format!(
                    "{one} has reconciled {what}; of slot {slot} it holds {ours:?}, {two} {theirs:?}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::facts::Server;
    use super::super::made_up::{Play, fires, hold, server, version};
    use super::*;

    fn at(id: &str, revision: u64, led_since: u64, part: Part) -> Server {
        let mut hold = hold(revision, &["a", "b"], part);
        hold.led_since = led_since;
        server(id, vec![hold])
    }

    #[test]
    fn it_reconciles_or_led_before() {
        let mut play = Play::new(Reconciled);
        play.shows(at("b", 6, 6, Part::Replica).with("k", version(5, 1), 1)).unwrap();
        play.shows(at("a", 5, 2, Part::Replica)).unwrap();
        play.shows(at("a", 6, 6, Part::Reconciling)).unwrap();
        play.shows(at("a", 6, 6, Part::Serving).with("k", version(5, 1), 1)).unwrap();
        play.shows(at("a", 7, 6, Part::Serving).with("k", version(5, 1), 1)).unwrap();
    }

    #[test]
    fn it_does_not() {
        let mut play = Play::new(Reconciled);
        play.shows(at("a", 5, 2, Part::Replica)).unwrap();
        fires(play.shows(at("a", 6, 6, Part::Serving)), "a serves");
        // It led, somebody else did, and it was not told.
        let mut play = Play::new(Reconciled);
        play.shows(server("a", vec![hold(4, &["a"], Part::Serving)])).unwrap();
        fires(play.shows(at("a", 9, 6, Part::Serving)), "a serves");
    }

    #[test]
    fn it_ends_too_early() {
        let mut play = Play::new(Reconciled);
        play.shows(at("b", 6, 6, Part::Replica).with("k", version(5, 1), 1)).unwrap();
        play.shows(at("a", 6, 6, Part::Reconciling)).unwrap();
        fires(play.shows(at("a", 6, 6, Part::Serving)), "has reconciled");
    }
}
