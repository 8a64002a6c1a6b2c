//! Only answers under a write's present revision count.
//!
//! Where a primary that stays at a revision comes to need a server less for a write, that server
//! has adopted the revision under which the write was last sent. One that has not may still delete
//! what it holds when it does, and its answer was given to an order of before.

use std::sync::Arc;

use super::facts::Server;
use super::orders::Write;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Answers;

impl Rule for Answers {
    fn name(&self) -> &'static str {
        "an answer counts under the present revision"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        let Some(before) = step.before else {
            return Ok(());
        };
        if Arc::ptr_eq(&before.writes, &step.after.writes) {
            return Ok(());
        }
        for write in before.writes.iter().filter(|write| !write.needed.is_empty()) {
            if leads(before, write) && leads(step.after, write) {
                counted(ring, step.after, write)?;
            }
        }
        Ok(())
    }
}

/// Whether a server leads at the revision under which a write was last sent.
fn leads(server: &Server, write: &Write) -> bool {
    let hold = server.at(write.slot).filter(|hold| hold.part == Part::Serving);
    hold.is_some_and(|hold| hold.revision == write.revision)
}

/// Who is not needed any more has adopted the revision.
fn counted(ring: &Ring, after: &Server, write: &Write) -> Verdict {
    let place = after.writes.binary_search_by_key(&write.version.sequence, |w| w.version.sequence);
    let still = place.map_or(&[][..], |index| &after.writes[index].needed);
    for id in write.needed.iter().filter(|id| !still.contains(id)) {
        if !ring.has_stood(id, (write.slot, write.slot + 1), write.revision) {
            let (name, who) = (&after.name, ring.name_of(id));
            let (version, revision) = (write.version, write.revision);
            return Err(format!(
                "{name} counts that {who} holds {version:?}, which does not stand at {revision}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, server, version};
    use super::*;

    fn a(needed: &[&str]) -> Server {
        let a = server("a", vec![hold(5, &["a", "b"], Part::Serving)]);
        let mut a = a.writing(1, version(5, 1), 1);
        let needed = needed.iter().map(|id| (*id).into()).collect();
        Arc::make_mut(&mut a.writes)[0].needed = needed;
        a
    }

    fn play(b: u64) -> Play {
        let mut play = Play::new(Answers);
        play.shows(server("b", vec![hold(b, &["a", "b"], Part::Replica)])).unwrap();
        play.shows(a(&["b"])).unwrap();
        play
    }

    #[test]
    fn it_stands_at_the_revision() {
        play(5).shows(a(&[])).unwrap();
        play(5).shows(server("a", vec![hold(5, &["a", "b"], Part::Serving)])).unwrap();
        // Deposed: nothing was counted.
        play(4).shows(server("a", vec![hold(6, &["b"], Part::Left)])).unwrap();
    }

    #[test]
    fn it_stands_at_an_older_one() {
        fires(play(4).shows(a(&[])), "does not stand at 5");
    }
}
