//! Nobody whose copy counts, or may soon, holds a write that its primary knows nothing of.
//!
//! Let P serve a slot at revision r, and Q be another active server of P's entry, or a joiner that
//! new writes need. For each name, the version that Q holds is not higher than what P holds, unless
//! P has that very version under way. P has taken what the active servers held when it reconciled,
//! and orders all writes since; a joiner has deleted what it had from before. So no value comes
//! back at a fail-over that was never acknowledged, or that was overtaken long ago.
//!
//! Excepted is a server that stands at a later revision than P, or at an earlier birth or joining:
//! it deletes what it has as soon as it hears of P's entry, and is not asked before.

use super::facts::{Hold, Server};
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Ghosts;

impl Rule for Ghosts {
    fn name(&self) -> &'static str {
        "a primary knows of what its replicas hold"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        for slot in &step.slots {
            for primary in ring.servers.values() {
                let Some(hold) = primary.at(*slot).filter(|hold| hold.part == Part::Serving) else {
                    continue;
                };
                for id in hold.needed().chain(&hold.closing) {
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

/// The revision since which a server joins.
fn since(hold: &Hold, id: &NodeId) -> Option<Revision> {
    hold.joining.iter().find(|(joiner, _)| joiner == id).map(|(_, since)| *since)
}

fn pair(primary: &Server, hold: &Hold, server: &Server, slot: Slot) -> Verdict {
    let Some(there) = server.at(slot) else {
        return Ok(());
    };
    let joins_later = since(hold, &server.id).is_some_and(|since| there.revision < since);
    if there.revision > hold.revision || there.born < hold.born || joins_later {
        return Ok(());
    }
    for (key, (version, _)) in server.cells.get(&slot).into_iter().flatten() {
        let known = primary.version(slot, key);
        let ordered = |write: &super::orders::Write| {
            write.version == *version && write.slot == slot && write.key == *key
        };
        if *version > known && !primary.writes.iter().any(ordered) {
            let (one, two, what) = (&primary.name, &server.name, hold.words());
            return Err(format!(
                "{two} holds {version:?} of {key:?}, slot {slot}; {one} serves {what} and holds \
                 {known:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, server, version};
    use super::*;

    fn a() -> Server {
        let mut hold = hold(5, &["a", "b"], Part::Serving);
        hold.joining = vec![("c".into(), 4)];
        hold.closing = vec!["c".into()];
        server("a", vec![hold]).with("k", version(5, 1), 1)
    }

    fn at(id: &str, revision: u64, part: Part) -> Server {
        server(id, vec![hold(revision, &["a", "b"], part)]).with("k", version(5, 2), 2)
    }

    #[test]
    fn it_knows_of_all() {
        let mut play = Play::new(Ghosts);
        play.shows(a().writing(1, version(5, 2), 1)).unwrap();
        play.shows(at("b", 5, Part::Replica)).unwrap();
        play.shows(at("c", 4, Part::Joiner)).unwrap();
        let mut other = Play::new(Ghosts);
        other.shows(a()).unwrap();
        other.shows(at("b", 6, Part::Serving)).unwrap();
        // It has not begun to join.
        other.shows(at("c", 3, Part::Left)).unwrap();
    }

    #[test]
    fn a_replica_or_a_joiner_holds_more() {
        for (id, part) in [("b", Part::Replica), ("c", Part::Joiner)] {
            let mut play = Play::new(Ghosts);
            play.shows(a()).unwrap();
            fires(play.shows(at(id, 5, part)), "holds");
        }
        let mut play = Play::new(Ghosts);
        play.shows(at("b", 5, Part::Replica)).unwrap();
        fires(play.shows(a()), "a serves");
    }
}
