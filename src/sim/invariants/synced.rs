//! A joiner that counts as synced has shown it, and is needed from then on.
//!
//! - It has adopted the joining, in every slot: it stands at the revision since which it joins, or
//!   at a later one. Before that it may hold what it will delete.
//! - In the step in which it comes to count, it holds every write of the range that was acknowledged
//!   since the range was born.
//! - Each write that is not acknowledged waits for every server that is needed, those that are
//!   synced or closing included, or that server holds it already.
//!
//! A server that stands at a later revision than the primary has moved on, and may have deleted.

use std::sync::Arc;

use super::facts::{Hold, Server};
use super::orders::Write;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::server::audit::Part;

#[derive(Debug)]
pub(super) struct Synced;

impl Rule for Synced {
    fn name(&self) -> &'static str {
        "a synced joiner lacks nothing"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        let after = step.after;
        for hold in step.changed().filter(|hold| hold.part == Part::Serving) {
            for (id, since) in &hold.joining {
                if !hold.synced.contains(id) {
                    continue;
                }
                begun(ring, after, hold, id, *since)?;
                let counted = |(_, _, before): &(_, _, Option<&Hold>)| {
                    before.is_some_and(|before| before.synced.contains(id))
                };
                if !step.pieces(hold.start, hold.end).iter().all(counted) {
                    complete(ring, after, hold, id)?;
                }
            }
        }
        let same = |before: &Server| {
            Arc::ptr_eq(&before.writes, &after.writes) && Arc::ptr_eq(&before.holds, &after.holds)
        };
        if step.before.is_some_and(same) {
            return Ok(());
        }
        after.writes.iter().try_for_each(|write| needs(ring, after, write))
    }
}

/// A joiner stands where it joins.
fn begun(ring: &Ring, primary: &Server, hold: &Hold, id: &NodeId, since: Revision) -> Verdict {
    let span = (hold.start, hold.end);
    if ring.has_stood(id, span, since) {
        return Ok(());
    }
    let (name, who, what) = (&primary.name, ring.name_of(id), hold.words());
    Err(format!("{name} counts {who} as synced, which does not join since {since}: {what}"))
}

/// A joiner holds every acknowledged write.
fn complete(ring: &Ring, primary: &Server, hold: &Hold, id: &NodeId) -> Verdict {
    let Some(server) = ring.living(id) else {
        return Ok(());
    };
    for (slot, acked) in ring.acked.range(hold.start..hold.end) {
        if *server.seen.at(*slot) > hold.revision {
            continue;
        }
        let acked = acked.iter();
        for (key, ack) in
            acked.filter(|(_, ack)| (hold.born..=hold.revision).contains(&ack.revision))
        {
            let why = || format!("{} counts it as synced in {}", primary.name, hold.words());
            Ring::holds_at_least(server, *slot, key, ack.version, why)?;
        }
    }
    Ok(())
}

/// A write that is not acknowledged waits for all who must hold it.
fn needs(ring: &Ring, primary: &Server, write: &Write) -> Verdict {
    let hold = primary.at(write.slot).filter(|hold| hold.part == Part::Serving);
    let Some(hold) = hold.filter(|_| !write.acknowledged) else {
        return Ok(());
    };
    for id in hold.needed().chain(&hold.closing).filter(|id| !write.needed.contains(id)) {
        let Some(server) = ring.anybody(id) else { continue };
        let moved_on = ring.has_stood(id, (write.slot, write.slot + 1), hold.revision + 1);
        if !moved_on && server.version(write.slot, &write.key) < write.version {
            let (name, who, version) = (&primary.name, ring.name_of(id), write.version);
            let (slot, what) = (write.slot, hold.words());
            return Err(format!(
                "{name}: write {version:?} in slot {slot} is not for {who}: {what}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, acknowledged, fires, hold, server, version};
    use super::*;

    fn a(synced: bool) -> Server {
        let mut hold = hold(5, &["a"], Part::Serving);
        hold.joining = vec![("c".into(), 4)];
        hold.synced = if synced { vec!["c".into()] } else { Vec::new() };
        server("a", vec![hold]).with("k", version(5, 1), 1)
    }

    fn c(revision: Revision) -> Server {
        server("c", vec![hold(revision, &["a"], Part::Joiner)])
    }

    fn play(joiner: Server) -> Play {
        let mut play = Play::new(Synced);
        play.shows(joiner).unwrap();
        play.says(a(false), &[acknowledged("k", 1, version(5, 1))]).unwrap();
        play
    }

    #[test]
    fn it_has_shown_it() {
        let mut play = play(c(4).with("k", version(5, 1), 1));
        play.shows(a(true)).unwrap();
        let mut writing = a(true).writing(2, version(5, 2), 1);
        Arc::make_mut(&mut writing.writes)[0].needed = vec!["c".into()];
        play.shows(writing).unwrap();
        play.shows(c(4).with("k", version(5, 2), 2)).unwrap();
        play.shows(a(true).writing(2, version(5, 2), 1)).unwrap();
    }

    #[test]
    fn one_that_has_moved_on_may_have_come_back_since_and_know_nothing_of_it() {
        let mut play = play(c(4).with("k", version(5, 1), 1));
        play.shows(a(true)).unwrap();
        let mut writing = a(true).writing(2, version(5, 2), 1);
        Arc::make_mut(&mut writing.writes)[0].needed = vec!["c".into()];
        play.shows(writing).unwrap();
        // It stands at a later revision, dies, and comes back with a disk from which that is deleted.
        play.shows(c(6)).unwrap();
        play.dies("c");
        play.shows(server("c", Vec::new()).renamed("d")).unwrap();
        play.shows(a(true).writing(2, version(5, 2), 1)).unwrap();
    }

    #[test]
    fn it_has_not_begun_or_lacks_something() {
        fires(play(c(3).with("k", version(5, 1), 1)).shows(a(true)), "does not join since 4");
        fires(play(c(4)).shows(a(true)), "counts it as synced");
        let mut play = play(c(4).with("k", version(5, 1), 1));
        play.shows(a(true)).unwrap();
        fires(play.shows(a(true).writing(2, version(5, 2), 1)), "is not for c");
    }
}
