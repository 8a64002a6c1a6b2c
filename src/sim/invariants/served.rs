//! What a primary would answer is held by all whom it needs.
//!
//! Whatever version of a name a serving primary P holds at its revision r, each living server that
//! P needs, an active one or a joiner that P counts as synced, holds that version or a later one.
//! The primary stores last, and a reconciliation gives everything to all before it ends; so a read
//! never shows what a fail-over could take back, and a joiner that is synced lacks nothing.
//!
//! Excepted is a server that stands at a later revision and is not active there, or has deleted
//! the range: it has moved on, and confirms nothing to P any more.

use super::facts::{Hold, Server};
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::hash::Slot;
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Served;

impl Rule for Served {
    fn name(&self) -> &'static str {
        "what a primary serves is held by all whom it needs"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        for slot in &step.slots {
            for primary in ring.servers.values() {
                let Some(hold) = primary.at(*slot).filter(|hold| hold.part == Part::Serving) else {
                    continue;
                };
                for id in hold.needed() {
                    // Only what this step has moved is looked at.
                    let concerned = primary.id == step.after.id || *id == step.after.id;
                    if let Some(server) = ring.living(id).filter(|_| concerned) {
                        pair(primary, hold, server, *slot)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn pair(primary: &Server, hold: &Hold, server: &Server, slot: Slot) -> Verdict {
    let there = server.at(slot);
    let moved_on = *server.seen.at(slot) > hold.revision;
    if moved_on && !there.is_some_and(|there| there.part.is_active()) {
        return Ok(());
    }
    if there.is_some_and(|there| there.born > hold.born) {
        return Ok(());
    }
    for (key, (version, _)) in primary.cells.get(&slot).into_iter().flatten() {
        let why = || format!("{} serves that, {}", primary.name, hold.words());
        Ring::holds_at_least(server, slot, key, *version, why)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, server, version};
    use super::*;

    fn a() -> Server {
        let mut hold = hold(5, &["a", "b"], Part::Serving);
        hold.synced = vec!["c".into()];
        server("a", vec![hold]).with("k", version(5, 1), 1)
    }

    fn at(id: &str, revision: u64, part: Part) -> Server {
        server(id, vec![hold(revision, &["a", "b"], part)])
    }

    #[test]
    fn all_whom_it_needs_hold_it() {
        let mut play = Play::new(Served);
        play.shows(at("b", 5, Part::Replica).with("k", version(5, 2), 2)).unwrap();
        play.shows(at("c", 4, Part::Joiner).with("k", version(5, 1), 1)).unwrap();
        play.shows(a()).unwrap();
        play.shows(at("b", 6, Part::Left)).unwrap();
    }

    #[test]
    fn a_replica_or_a_synced_joiner_lacks_it() {
        for (id, part) in [("b", Part::Replica), ("c", Part::Joiner)] {
            let mut play = Play::new(Served);
            play.shows(at(id, 5, part)).unwrap();
            fires(play.shows(a()), "a serves that");
        }
        let mut play = Play::new(Served);
        play.shows(a()).unwrap();
        fires(play.shows(at("b", 4, Part::Replica)), "a serves that");
    }
}
