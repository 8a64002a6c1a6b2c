//! Revisions, epochs and versions only grow.
//!
//! - At one life of a server, for each slot: the revision at which it stands, after a deletion the
//!   one at which it last stood.
//! - A server's epoch, once it has adopted a revision. Before that it knows no ring: a reply to its
//!   first heartbeat that a push has overtaken may bring an older epoch, which is put right with
//!   the next (seed 1174), and a leader that knows nothing of it may have begun to count anew.
//! - What a server has acknowledged, but for starting again from nothing, which it
//!   does where the leader does not know it.
//! - At one life of a leader: its epoch, the highest revision that it gave out, and what each
//!   member has acknowledged.
//! - For each slot, the revisions that leaders decide, over all of their lives. What a restarted
//!   leader is *told* may be older than what its predecessor decided, or than what it decided
//!   itself before it was told: it only decides on from there, and does so at a revision higher
//!   than any that anybody has adopted.
//! - The version of a name at one life of a server, as long as the slot is not emptied (which is
//!   the matter of another rule).

use super::ring::Ring;
use super::slots::SlotMap;
use super::{LeaderStep, Rule, ServerStep, Verdict};
use crate::core::assignment::Revision;

/// The highest revision that was decided for each slot.
#[derive(Debug)]
pub(super) struct Growth {
    adopted: SlotMap<Revision>,
}

impl Default for Growth {
    fn default() -> Self {
        Growth { adopted: SlotMap::new(0) }
    }
}

impl Rule for Growth {
    fn name(&self) -> &'static str {
        "revisions, epochs and versions only grow"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        for hold in step.changed() {
            let over = self.adopted.over(hold.start, hold.end);
            let lower = over.filter(|(_, _, adopted)| **adopted < hold.revision);
            let lower: Vec<_> = lower.map(|(start, end, _)| (start, end)).collect();
            lower.into_iter().for_each(|(at, end)| self.adopted.fill(at, end, hold.revision));
        }
        let (Some(before), after) = (step.before, step.after) else {
            return Ok(());
        };
        let name = &after.name;
        for hold in step.changed() {
            let mut known = before.seen.over(hold.start, hold.end);
            if let Some((slot, _, seen)) = known.find(|(_, _, seen)| **seen > hold.revision) {
                return Err(format!("{name} stood at {seen} in slot {slot}, now {}", hold.words()));
            }
        }
        if after.epoch < before.epoch && after.acked != 0 {
            return Err(format!("{name}'s epoch was {}, now {}", before.epoch, after.epoch));
        }
        if after.acked < before.acked && after.acked != 0 {
            return Err(format!("{name} had adopted {}, now {}", before.acked, after.acked));
        }
        for slot in &step.slots {
            let Some((old, new)) = before.cells.get(slot).zip(after.cells.get(slot)) else {
                continue;
            };
            for (key, (version, _)) in old {
                let now = new.get(key).filter(|(now, _)| now < version);
                if let Some((now, _)) = now {
                    return Err(format!("{name} held {version:?} of {key:?}, now {now:?}"));
                }
            }
        }
        Ok(())
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        let after = step.after;
        if let Some(before) = step.before {
            if after.epoch < before.epoch || after.revision < before.revision {
                let (old, new) = (before.epoch, after.epoch);
                let (from, to) = (before.revision, after.revision);
                return Err(format!("the leader's epoch {old}, revision {from}, now {new}, {to}"));
            }
            for (id, acked) in &after.members {
                if before.members.get(id).is_some_and(|known| known > acked) {
                    return Err(format!("{} had acknowledged more than {acked}", ring.name_of(id)));
                }
            }
        }
        for range in step.changed().filter(|range| !range.unsure && !range.told) {
            for (start, end, old) in
                step.before.iter().flat_map(|b| b.pieces(range.start, range.end))
            {
                if old.revision > range.revision {
                    let old = old.revision;
                    return Err(format!("slots {start}..{end} from {old} to {}", range.words()));
                }
            }
            let is_new = |(slot, _, adopted): &(u16, u16, &Revision)| {
                let known = step.before.map(|before| before.at(*slot).revision);
                known != Some(range.revision) && **adopted >= range.revision
            };
            let mut adopted = self.adopted.over(range.start, range.end);
            if let Some((slot, _, adopted)) = adopted.find(is_new).filter(|_| range.revision > 0) {
                let what = range.words();
                return Err(format!("decided {what}; slot {slot} was adopted at {adopted} before"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, hold, range, server, version};
    use super::*;
    use crate::core::server::audit::Part;

    fn play() -> Play {
        let mut play = Play::new(Growth::default());
        play.leads(3, range(5, &["a"]), &[]).unwrap();
        let a = server("a", vec![hold(5, &["a"], Part::Serving)]);
        play.shows(a.with("k", version(5, 2), 1)).unwrap();
        play
    }

    #[test]
    fn what_grows_is_lawful() {
        let mut play = play();
        play.leads(4, range(6, &["a", "b"]), &[]).unwrap();
        let a = server("a", vec![hold(6, &["a", "b"], Part::Serving)]);
        play.shows(a.with("k", version(6, 1), 2)).unwrap();
    }

    #[test]
    fn a_server_goes_back() {
        let back = server("a", vec![hold(4, &["a"], Part::Serving)]);
        fires(play().shows(back), "stood at 5");
        let mut play_drop = play();
        play_drop.shows(server("a", Vec::new())).unwrap();
        let again = server("a", vec![hold(4, &["a"], Part::Serving)]);
        fires(play_drop.shows(again), "stood at 5");
        let older = server("a", vec![hold(5, &["a"], Part::Serving)]);
        fires(play().shows(older.with("k", version(5, 1), 1)), "held");
        let mut epoch = server("a", Vec::new());
        (epoch.epoch, epoch.acked) = (0, 5);
        fires(play().shows(epoch), "epoch");
    }

    #[test]
    fn a_leader_goes_back() {
        fires(play().leads(2, range(5, &["a"]), &[]), "epoch");
        fires(play().leads(3, range(4, &["a"]), &[]), "revision");
    }

    #[test]
    fn a_restarted_leader_uses_a_revision_again() {
        let mut play = play();
        play.leader_restarts();
        let mut told = range(4, &["a"]);
        (told.told, told.unsure) = (true, true);
        play.leads(1, told, &[]).unwrap();
        fires(play.leads(1, range(5, &["b"]), &[]), "was adopted at 5");
    }
}
