//! A server becomes active by a report of its primary.
//!
//! Where a leader's active set gains a server, other than by the birth of the range, it was joining
//! there, and in this step the primary of the range has reported it as synced, naming the very
//! revision that the range then had. A server that has taken a new identity and kept its data takes
//! its own place; and what other servers tell a leader after its restart is no decision.

use super::dialogue::Told;
use super::facts::Range;
use super::ring::Ring;
use super::{LeaderStep, Rule, Verdict};
use crate::core::assignment::NodeId;
use crate::core::hash::Slot;

#[derive(Debug)]
pub(super) struct Activation;

impl Rule for Activation {
    fn name(&self) -> &'static str {
        "a joiner becomes active by its primary's report"
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        let Some(before) = step.before else {
            return Ok(());
        };
        for range in step.changed().filter(|range| !range.unsure && !range.told) {
            for (start, _, old) in before.pieces(range.start, range.end) {
                if old.active.is_empty() || old.born != range.born {
                    continue;
                }
                let gained = range.active.iter().filter(|id| !old.active.contains(id));
                for id in gained {
                    if !reported(step, old, start, id)
                        && !took_back(ring, old, id)
                        && !heard(ring, step, start, old, id)
                    {
                        let (name, what) = (ring.name_of(id), range.words());
                        return Err(format!("{name} is active in {what}, unreported"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The primary has reported the joiner, at the range's revision.
fn reported(step: &LeaderStep<'_>, old: &Range, slot: Slot, id: &NodeId) -> bool {
    let reports = step.told.iter().filter_map(|told| match told {
        Told::Reported(report) => Some(report),
        _ => None,
    });
    let mut synced = reports
        .filter(|report| report.id.as_ref() == old.active.first())
        .flat_map(|report| &report.synced);
    let joins = old.joining.iter().any(|(joiner, _)| joiner == id);
    joins
        && synced.any(|(span, ids)| {
            (span.0..span.1).contains(&slot) && span.2 == old.revision && ids.contains(id)
        })
}

/// A holder is there under another identity, or was when it said so: it may have died since.
fn took_back(ring: &Ring, old: &Range, id: &NodeId) -> bool {
    let server = ring.anybody(id);
    server.is_some_and(|server| server.was.iter().any(|was| old.active.contains(was)))
}

/// A server that the leader has just met told of an assignment in which this one is active.
fn heard(ring: &Ring, step: &LeaderStep<'_>, slot: Slot, old: &Range, id: &NodeId) -> bool {
    let is_new = |known: &NodeId| step.before.is_some_and(|b| !b.members.contains_key(known));
    if !step.after.restarted || !step.after.members.keys().any(is_new) {
        return false;
    }
    let mut others = ring.configs.iter().filter(|(revision, _)| **revision != old.revision);
    others.any(|(_, configs)| {
        let here = |config: &&super::ring::Config| (config.start..config.end).contains(&slot);
        configs.iter().filter(here).any(|config| config.active.contains(id))
    })
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, range, server};
    use super::*;
    use crate::core::assignment::{Report, Span};

    fn joining() -> Play {
        let mut play = Play::new(Activation);
        let mut joining = range(2, &["a"]);
        joining.joining = vec![("c".into(), 2)];
        play.leads(1, joining, &[]).unwrap();
        play
    }

    fn report(by: &str, revision: u64, who: &str) -> [Told; 1] {
        let synced = vec![(Span(0, 100, revision), vec![who.into()])];
        [Told::Reported(Report { id: Some(by.into()), synced, ..Report::default() })]
    }

    #[test]
    fn it_was_reported_or_is_the_same() {
        joining().leads(1, range(3, &["a", "c"]), &report("a", 2, "c")).unwrap();
        let mut renamed = joining();
        renamed.shows(server("a", Vec::new()).renamed("a2")).unwrap();
        renamed.leads(1, range(3, &["a2"]), &[]).unwrap();
        let mut born = range(3, &["d"]);
        born.born = 3;
        joining().leads(1, born, &[]).unwrap();
    }

    #[test]
    fn it_was_not_reported_so() {
        let active = || range(3, &["a", "c"]);
        fires(joining().leads(1, active(), &[]), "unreported");
        fires(joining().leads(1, active(), &report("a", 1, "c")), "unreported");
        fires(joining().leads(1, active(), &report("c", 2, "c")), "unreported");
        fires(joining().leads(1, active(), &report("a", 2, "d")), "unreported");
    }
}
