//! Who begins anew begins with nothing.
//!
//! - A server that adopts a joining, one with a `since` at which it did not join before, holds
//!   nothing in the range when the step is over.
//! - What a server holds in a range was ordered at the range's birth or later, from the step on in
//!   which it adopts that birth.
//! - A leader that decides on another primary keeps no joining: `since` starts anew, because the
//!   new primary cannot know what the one before has sent. What is told to a leader after its
//!   restart it does not decide.

use super::facts::Hold;
use super::ring::Ring;
use super::{LeaderStep, Rule, ServerStep, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Beginnings;

impl Rule for Beginnings {
    fn name(&self) -> &'static str {
        "who begins anew begins with nothing"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        let after = step.after;
        for hold in step.changed() {
            for (slot, cells) in after.cells.range(hold.start..hold.end) {
                let old = cells.iter().find(|(_, (version, _))| version.revision < hold.born);
                if let Some((key, (version, _))) = old {
                    let (name, born, what) = (&after.name, hold.born, hold.words());
                    return Err(format!(
                        "{name} holds {version:?} of {key:?}, slot {slot}, from before the birth \
                         {born}: {what}"
                    ));
                }
            }
            let Some(since) = since(hold, &after.id) else { continue };
            for (start, end, before) in step.pieces(hold.start, hold.end) {
                let id = step.before.map_or(&after.id, |before| &before.id);
                let goes_on = before.and_then(|before| self::since(before, id)) == Some(since);
                let kept = after.cells.range(start..end).next().filter(|_| !goes_on);
                if let Some((slot, cells)) = kept {
                    let (name, what) = (&after.name, hold.words());
                    return Err(format!(
                        "{name} joins {what} since {since}, and holds {cells:?} in slot {slot}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        for range in step.changed().filter(|range| !range.unsure && !range.told) {
            let pieces = step.before.iter().flat_map(|b| b.pieces(range.start, range.end));
            for (start, end, old) in pieces.filter(|(_, _, old)| !old.unsure) {
                if old.active.first() == range.active.first() {
                    continue;
                }
                let kept = range.joining.iter().find(|joining| old.joining.contains(joining));
                if let Some((id, since)) = kept {
                    let name = ring.name_of(id);
                    return Err(format!(
                        "slots {start}..{end} have another primary, and {name} joins since {since} \
                         as before"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Since when a server gets the range.
fn since(hold: &Hold, id: &NodeId) -> Option<Revision> {
    let joining = hold.joining.iter().filter(|_| hold.part == Part::Joiner);
    joining.clone().find(|(joiner, _)| joiner == id).map(|(_, since)| *since)
}

#[cfg(test)]
mod tests {
    use super::super::facts::Server;
    use super::super::made_up::{Play, fires, hold, range, server, version};
    use super::*;

    fn joins(revision: Revision, since: Revision) -> Server {
        let mut hold = hold(revision, &["a"], Part::Joiner);
        hold.joining = vec![("c".into(), since)];
        server("c", vec![hold])
    }

    #[test]
    fn a_joiner_begins_with_nothing() {
        let mut play = Play::new(Beginnings);
        play.shows(joins(4, 4)).unwrap();
        play.shows(joins(4, 4).with("k", version(4, 1), 1)).unwrap();
        play.shows(joins(5, 4).with("k", version(4, 1), 1)).unwrap();
        fires(play.shows(joins(6, 6).with("k", version(4, 1), 1)), "joins");
        let mut left = Play::new(Beginnings);
        let hold = hold(3, &["a"], Part::Left);
        left.shows(server("c", vec![hold]).with("k", version(2, 1), 1)).unwrap();
        fires(left.shows(joins(4, 4).with("k", version(2, 1), 1)), "joins");
    }

    #[test]
    fn a_birth_begins_with_nothing() {
        let mut play = Play::new(Beginnings);
        let mut born = hold(6, &["a"], Part::Serving);
        born.born = 6;
        let a = |hold| server("a", vec![hold]).with("k", version(5, 1), 1);
        play.shows(a(hold(5, &["a"], Part::Serving))).unwrap();
        fires(play.shows(a(born)), "before the birth");
    }

    #[test]
    fn another_primary_gives_anew() {
        let decided = |revision, first, since| {
            let mut range = range(revision, &[first]);
            range.joining = vec![("c".into(), since)];
            range
        };
        let mut play = Play::new(Beginnings);
        play.leads(1, decided(4, "a", 4), &[]).unwrap();
        play.leads(1, decided(5, "a", 4), &[]).unwrap();
        play.leads(1, decided(6, "b", 6), &[]).unwrap();
        fires(play.leads(1, decided(7, "a", 6), &[]), "as before");
    }
}
