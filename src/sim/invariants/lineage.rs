//! An active set is never without a member of the last one.
//!
//! For each slot, in the order in which a leader decides: the new active set shares a server with
//! the one before. A leader may decide twice in one step: it activates joiners that the primary
//! reports as synced at the present revision, and makes the target the active set. So such joiners
//! count as members of the last set; they hold what all others of it hold. A server that has taken a new identity and kept its data counts as the one it
//! was. Where the sets share nobody, the range is born anew, and the leader says that it is lost
//! (`Note::Lost`), in the same step.
//!
//! A leader that was started again goes on from what servers tell it: there the last active set is
//! the last that any server has adopted. What its predecessor decided and nobody adopted did not
//! take effect. What is told and not relied on yet is no decision, and nothing follows from it where a
//! server comes that tells of a newer one.

use super::dialogue::Told;
use super::facts::Range;
use super::ring::{Config, Ring};
use super::slots::SlotMap;
use super::{LeaderStep, Rule, ServerStep, Verdict, words};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;

/// The last active set of each slot that any server adopted, with its revision and birth.
#[derive(Debug)]
pub(super) struct Lineage {
    adopted: SlotMap<(Revision, Revision, Vec<NodeId>)>,
}

impl Default for Lineage {
    fn default() -> Self {
        Lineage { adopted: SlotMap::new((0, 0, Vec::new())) }
    }
}

impl Rule for Lineage {
    fn name(&self) -> &'static str {
        "an active set has a member of the last one"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        for hold in step.changed() {
            let Config { start, end, born, active, .. } = Config::of(hold);
            let over = self.adopted.over(start, end);
            let older = over.filter(|(_, _, (revision, ..))| *revision < hold.revision);
            let older: Vec<(Slot, Slot)> = older.map(|(from, to, _)| (from, to)).collect();
            for (from, to) in older {
                self.adopted.fill(from, to, (hold.revision, born, active.clone()));
            }
        }
        Ok(())
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        let lost = step.told.iter().any(|told| matches!(told, Told::Lost));
        for range in step.changed().filter(|range| !range.unsure && !range.told) {
            let pieces = step.before.iter().flat_map(|b| b.pieces(range.start, range.end));
            let pieces = pieces.filter(|(at, end, old)| {
                old.revision != range.revision && !self.is_surpassed(*at, *end, old)
            });
            for (at, _, old) in pieces {
                let mut last = old.active.clone();
                if !last.is_empty() {
                    last.extend(synced(step, old, at));
                }
                follows(ring, range, &last, old.born, lost)?;
            }
            for (_, _, (revision, born, active)) in self.adopted.over(range.start, range.end) {
                if *revision < range.revision && self.is_first(step, range) {
                    follows(ring, range, active, *born, lost)?;
                }
            }
        }
        Ok(())
    }
}

impl Lineage {
    /// Whether a range was told by somebody, and servers have adopted newer assignments of these slots.
    fn is_surpassed(&self, at: Slot, end: Slot, old: &Range) -> bool {
        let newer = |(_, _, (revision, ..)): (_, _, &(Revision, _, _))| *revision > old.revision;
        (old.unsure || old.told) && self.adopted.over(at, end).all(newer)
    }

    /// Whether this life of the leader has decided nothing about the range before.
    fn is_first(&self, step: &LeaderStep<'_>, range: &Range) -> bool {
        let Some(before) = step.before else {
            return true;
        };
        let mut pieces = before.pieces(range.start, range.end).into_iter();
        pieces.any(|(_, _, old)| old.unsure || old.told || old.active.is_empty())
    }
}

/// The joiners that are reported as synced in this step.
fn synced(step: &LeaderStep<'_>, old: &Range, at: Slot) -> Vec<NodeId> {
    let reports = step.told.iter().filter_map(|told| match told {
        Told::Reported(report) => Some(report),
        _ => None,
    });
    let reports = reports.filter(|report| report.id.as_ref() == old.active.first());
    let spans = reports.flat_map(|report| &report.synced);
    let here = spans.filter(|(span, _)| (span.0..span.1).contains(&at) && span.2 == old.revision);
    let joins = |id: &&NodeId| old.joining.iter().any(|(joiner, _)| joiner == *id);
    here.flat_map(|(_, ids)| ids).filter(joins).cloned().collect()
}

fn follows(ring: &Ring, new: &Range, last: &[NodeId], born: Revision, lost: bool) -> Verdict {
    if last.is_empty() || (new.born > born && lost) {
        return Ok(());
    }
    let kept = |id: &NodeId| {
        last.contains(id)
            || ring
                .anybody(id)
                .is_some_and(|server| server.was.iter().any(|was| last.contains(was)))
    };
    if new.born == born && new.active.iter().any(kept) {
        return Ok(());
    }
    let (what, old, new_words) = (new.words(), words(last, ring), words(&new.active, ring));
    let birth = if new.born == born { "not born anew" } else { "born anew without a word" };
    Err(format!("{what}: active was {old}, now {new_words}, {birth}"))
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, range, server, told_range};
    use super::*;
    use crate::core::assignment::{Report, Span};
    use crate::core::server::audit::Part;

    fn play() -> Play {
        let mut play = Play::new(Lineage::default());
        play.leads(1, range(1, &["a", "b"]), &[]).unwrap();
        play.shows(server("b", vec![hold(1, &["a", "b"], Part::Replica)])).unwrap();
        play
    }

    fn born(mut range: Range) -> Range {
        range.born = range.revision;
        range
    }

    #[test]
    fn a_member_stays() {
        let mut play = play();
        play.leads(1, range(2, &["b"]), &[]).unwrap();
        play.leads(1, range(3, &["b", "c"]), &[]).unwrap();
        play.leads(1, range(4, &["c"]), &[]).unwrap();
        play.shows(server("c", Vec::new()).renamed("c2")).unwrap();
        play.leads(1, range(5, &["c2"]), &[]).unwrap();
        play.leads(1, born(range(6, &["d"])), &[Told::Lost]).unwrap();
    }

    #[test]
    fn nobody_stays() {
        fires(play().leads(1, range(2, &["c"]), &[]), "not born anew");
        fires(play().leads(1, born(range(2, &["c"])), &[]), "without a word");
        fires(play().leads(1, range(2, &[]), &[]), "not born anew");
    }

    #[test]
    fn joiners_that_were_synced_take_over() {
        let reported = |by: &str, revision| {
            let synced = vec![(Span(0, 100, revision), vec!["c".into()])];
            [Told::Reported(Report { id: Some(by.into()), synced, ..Report::default() })]
        };
        let joining = || {
            let mut play = play();
            let mut joining = range(2, &["a", "b"]);
            joining.joining = vec![("c".into(), 2)];
            play.leads(1, joining, &[]).unwrap();
            play
        };
        joining().leads(1, range(3, &["c"]), &reported("a", 2)).unwrap();
        fires(joining().leads(1, range(3, &["c"]), &reported("a", 1)), "not born anew");
        fires(joining().leads(1, range(3, &["c"]), &reported("b", 2)), "not born anew");
    }

    #[test]
    fn nobody_stays_over_a_restart() {
        let mut play = play();
        // Decided, and nobody has adopted it.
        play.leads(1, range(2, &["b"]), &[]).unwrap();
        play.leader_restarts();
        play.leads(1, range(9, &["a"]), &[]).unwrap();
        let mut other = self::play();
        other.leader_restarts();
        fires(other.leads(1, range(9, &["c"]), &[]), "not born anew");
    }

    #[test]
    fn what_was_told_first_was_old() {
        let told = told_range(1, &["a", "b"]);
        let restarted = |mut play: Play| {
            play.leader_restarts();
            play.leads(1, told.clone(), &[]).unwrap();
            play.leads(1, told.clone(), &[]).unwrap();
            play
        };
        // Only c knows how it went on.
        let mut play = play();
        play.leads(1, range(2, &["b", "c"]), &[]).unwrap();
        play.leads(1, range(3, &["c"]), &[]).unwrap();
        play.shows(server("c", vec![hold(3, &["c"], Part::Serving)])).unwrap();
        restarted(play).leads(2, range(9, &["c"]), &[]).unwrap();
        fires(restarted(self::play()).leads(2, range(9, &["c"]), &[]), "not born anew");
    }
}
