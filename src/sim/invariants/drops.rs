//! What a server has left it deletes after the others have taken over; nothing else goes.
//!
//! A server deletes only what it has left, perhaps in that very step, and only when there is an assignment of these slots, not
//! older than the one under which it left, which does not name it under any of its identities, and
//! which every one of its active servers has adopted: by then nobody who needs this copy can serve.
//!
//! Other than by that, a value goes away only where the server joins the range anew, or where the
//! range is born anew. Where an active server dies before it adopts a revision, nothing may be
//! deleted under that one: the leader decides another one first.

use super::ring::{Config, Ring};
use super::{Rule, ServerStep, Verdict, words};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Drops;

impl Rule for Drops {
    fn name(&self) -> &'static str {
        "a range is deleted after it was taken over"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        let Some(before) = step.before else {
            return Ok(());
        };
        if !std::sync::Arc::ptr_eq(&before.holds, &step.after.holds) {
            for hold in before.holds.iter() {
                for (start, end, now) in step.after.pieces(hold.start, hold.end) {
                    if now.is_none() {
                        let seen = step.after.seen.over(start, end).map(|(_, _, seen)| *seen).min();
                        if hold.part != Part::Left && seen <= Some(hold.revision) {
                            let (name, what, part) = (&before.name, hold.words(), hold.part);
                            return Err(format!("{name} drops {what}, and is {part:?} there"));
                        }
                        dropped(ring, step, start, end, hold.revision)?;
                    }
                }
            }
        }
        for slot in &step.slots {
            kept(step, *slot)?;
        }
        Ok(())
    }
}

/// A piece that a server has left is gone.
fn dropped(ring: &Ring, step: &ServerStep<'_>, start: Slot, end: Slot, from: Revision) -> Verdict {
    let own = |id: &NodeId| step.after.is_or_was(id);
    let mut at = start;
    while at < end {
        let covers = |config: &&Config| config.start <= at && at < config.end;
        let mut over = ring
            .configs
            .range(from..)
            .flat_map(|(revision, configs)| configs.iter().map(move |config| (*revision, config)))
            .filter(|(_, config)| covers(config))
            .filter(|(_, config)| !config.active.iter().any(own) && !joins(config, step))
            .filter_map(|(revision, config)| {
                let span = (at, config.end.min(end));
                config.active.iter().all(|id| ring.has_stood(id, span, revision)).then_some(span.1)
            });
        let Some(next) = over.next() else {
            let last = ring.configs.range(from..).rev();
            let last = last.flat_map(|(revision, all)| all.iter().map(move |it| (revision, it)));
            let newest = last.into_iter().find(|(_, config)| covers(config));
            let newest = newest.map_or_else(String::new, |(revision, config)| {
                format!(", newest at {revision}: {}", words(&config.active, ring))
            });
            let name = &step.after.name;
            return Err(format!("{name} drops slots {at}..{end}, left at {from}{newest}"));
        };
        at = next;
    }
    Ok(())
}

fn joins(config: &Config, step: &ServerStep<'_>) -> bool {
    config.names(&step.after.id) || step.after.was.iter().any(|id| config.names(id))
}

/// No value goes away but with its range, or because the server begins anew.
fn kept(step: &ServerStep<'_>, slot: Slot) -> Verdict {
    let (Some(before), after) = (step.before, step.after) else {
        return Ok(());
    };
    let Some(old) = before.cells.get(&slot) else {
        return Ok(());
    };
    let new = after.cells.get(&slot);
    let Some(key) = old.keys().find(|key| !new.is_some_and(|new| new.contains_key(*key))) else {
        return Ok(());
    };
    let Some(there) = after.at(slot) else {
        return Ok(());
    };
    let was = before.at(slot);
    let is_later = was.is_none_or(|was| was.revision < there.revision);
    let begins = there.part == Part::Joiner && is_later;
    let born = was.is_none_or(|was| was.born != there.born);
    if begins || born {
        return Ok(());
    }
    let (name, part, what) = (&after.name, there.part, there.words());
    Err(format!("{name} ({part:?} of {what}) loses {key:?} of slot {slot}"))
}

#[cfg(test)]
mod tests {
    use super::super::facts::Server;
    use super::super::made_up::{Play, fires, hold, server, version};
    use super::*;

    fn at(id: &str, revision: u64, active: &[&str], part: Part) -> Server {
        server(id, vec![hold(revision, active, part)])
    }

    /// `a` has left, `b` and `c` are to take over; `c` knows of it only if it `knows`.
    fn play(knows: bool) -> Play {
        let mut play = Play::new(Drops);
        play.shows(at("c", if knows { 6 } else { 5 }, &["b", "c"], Part::Replica)).unwrap();
        play.shows(at("b", 6, &["b", "c"], Part::Serving)).unwrap();
        play.shows(at("a", 6, &["b", "c"], Part::Left).with("k", version(5, 1), 1)).unwrap();
        play
    }

    #[test]
    fn all_have_taken_over() {
        play(true).shows(server("a", Vec::new())).unwrap();
        let mut died = play(true);
        died.dies("c");
        died.shows(server("a", Vec::new())).unwrap();
    }

    #[test]
    fn somebody_has_not() {
        fires(play(false).shows(server("a", Vec::new())), "a drops slots 0..100, left at 6");
        let mut play = play(true);
        fires(play.shows(server("b", Vec::new())), "b drops");
    }

    #[test]
    fn a_value_goes_away() {
        let with = at("d", 6, &["b", "d"], Part::Replica).with("k", version(5, 1), 1);
        let mut play = Play::new(Drops);
        play.shows(with.clone()).unwrap();
        fires(play.shows(at("d", 7, &["b", "d"], Part::Replica)), "loses");
        play.shows(with).unwrap();
        play.shows(at("d", 8, &["b"], Part::Joiner)).unwrap();
    }
}
