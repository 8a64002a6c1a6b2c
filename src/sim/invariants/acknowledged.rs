//! No acknowledged write is absent from an active replica.
//!
//! Let a primary that stands at revision r acknowledge a write of version v. From that step on:
//!
//! - every living server that knows itself as active in the slot, at revision r or a later one,
//!   holds version v of the name or a later one;
//! - so does every living server that the leader has made active there, whether or not it knows
//!   that yet, at r or a later revision on which the leader relies.
//!
//! Ranges that were born again after r are excepted: their loss was said. A server that stands
//! before r is none of those that r names, or the write would have waited for it; it can serve
//! nothing, since those that it would have to ask stand at r. A joiner lacks what it likes until
//! it is made active. So both hold across every hand-over: who is active at a later revision was
//! active before and held v, or was made so by the report of a primary that had needed it.

use super::dialogue::Told;
use super::facts::Server;
use super::ring::Ring;
use super::{LeaderStep, Rule, ServerStep, Verdict};
use crate::core::hash::Slot;

#[derive(Debug)]
pub(super) struct Acknowledged;

impl Rule for Acknowledged {
    fn name(&self) -> &'static str {
        "no acknowledged write is absent from an active replica"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        for slot in &step.slots {
            itself(ring, step.after, *slot)?;
            told_by_leader(ring, step.after, *slot)?;
        }
        for told in step.told {
            if let Told::Acknowledged { slot, .. } = told {
                for server in ring.servers.values() {
                    itself(ring, server, *slot)?;
                    told_by_leader(ring, server, *slot)?;
                }
            }
        }
        Ok(())
    }

    fn leader(&mut self, ring: &Ring, step: &LeaderStep<'_>) -> Verdict {
        for range in step.changed() {
            for (slot, _) in ring.acked.range(range.start..range.end) {
                let mut active = range.active.iter().filter_map(|id| ring.living(id));
                active.try_for_each(|server| told_by_leader(ring, server, *slot))?;
            }
        }
        Ok(())
    }
}

/// A server that knows itself as active.
fn itself(ring: &Ring, server: &Server, slot: Slot) -> Verdict {
    let Some(hold) = server.at(slot).filter(|hold| hold.part.is_active()) else {
        return Ok(());
    };
    for (key, ack) in ring.acked.get(&slot).into_iter().flatten() {
        if hold.revision >= ack.revision && hold.born <= ack.revision {
            let why =
                || format!("it is active at {}, acknowledged at {}", hold.revision, ack.revision);
            Ring::holds_at_least(server, slot, key, ack.version, why)?;
        }
    }
    Ok(())
}

/// A server that the leader has made active.
fn told_by_leader(ring: &Ring, server: &Server, slot: Slot) -> Verdict {
    let Some((_, leader)) = &ring.leader else {
        return Ok(());
    };
    let range = leader.at(slot);
    if leader.recovering || range.unsure || !range.active.contains(&server.id) {
        return Ok(());
    }
    for (key, ack) in ring.acked.get(&slot).into_iter().flatten() {
        if range.revision >= ack.revision && range.born <= ack.revision {
            let why = || {
                let (made, acked) = (range.revision, ack.revision);
                format!("the leader made it active at {made}, acknowledged at {acked}")
            };
            Ring::holds_at_least(server, slot, key, ack.version, why)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, acknowledged, fires, hold, range, server, version};
    use super::*;
    use crate::core::server::audit::Part;

    fn a() -> Server {
        server("a", vec![hold(5, &["a", "b"], Part::Serving)]).with("k", version(5, 1), 1)
    }

    fn b() -> Server {
        server("b", vec![hold(5, &["a", "b"], Part::Replica)])
    }

    fn play() -> Play {
        let mut play = Play::new(Acknowledged);
        play.shows(b().with("k", version(5, 1), 1)).unwrap();
        play.says(a(), &[acknowledged("k", 1, version(5, 1))]).unwrap();
        play
    }

    #[test]
    fn a_replica_lacks_it() {
        let mut play = Play::new(Acknowledged);
        play.shows(b()).unwrap();
        fires(play.says(a(), &[acknowledged("k", 1, version(5, 1))]), "b (b) holds");
    }

    #[test]
    fn a_replica_loses_it() {
        fires(play().shows(b()), "b (b) holds");
        let later = server("b", vec![hold(6, &["b"], Part::Serving)]);
        fires(play().shows(later), "active at 6");
    }

    #[test]
    fn who_is_not_active_may_lack_it() {
        let mut play = play();
        play.shows(server("c", vec![hold(5, &["a", "b"], Part::Joiner)])).unwrap();
        play.shows(server("d", vec![hold(4, &["d"], Part::Serving)])).unwrap();
        play.shows(server("b", vec![hold(6, &["a"], Part::Left)])).unwrap();
        let mut born_again = hold(9, &["e"], Part::Serving);
        born_again.born = 9;
        play.shows(server("e", vec![born_again])).unwrap();
    }

    #[test]
    fn a_leader_activates_who_lacks_it() {
        let mut play = play();
        play.shows(server("c", vec![hold(5, &["a", "b"], Part::Joiner)])).unwrap();
        play.leads(1, range(6, &["a", "b"]), &[]).unwrap();
        fires(play.leads(1, range(7, &["a", "b", "c"]), &[]), "made it active at 7");
    }
}
