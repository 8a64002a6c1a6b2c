//! A vote of the original's two-phase commit reserves its name.
//!
//! - A server says yes to nobody while a reservation of the name stands there that has not run
//!   out, by the server's own clock; the same address's included.
//! - A write that no votes back is not ordered by a primary at which such a reservation stands.
//!
//! A reservation whose transaction has written stands in nobody's way any more. One step may
//! acknowledge that write and then order others that waited, so a write is judged by what stood
//! before the step and still stands after it. A vote is given in a step of its own.

use super::dialogue::Told;
use super::facts::Server;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::machine::Millis;
use crate::core::wire::text::Text;

#[derive(Debug)]
pub(super) struct Votes;

impl Rule for Votes {
    fn name(&self) -> &'static str {
        "a vote reserves its name"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        let Some(before) = step.before.filter(|before| !before.votes.is_empty()) else {
            return Ok(());
        };
        let name = &step.after.name;
        for write in step.after.writes.iter() {
            if write.version.sequence > before.counter && !write.voted {
                unbroken(step, before, &write.key)?;
            }
        }
        for told in step.told {
            match told {
                Told::Voted { key, owner } => {
                    free(before, step.local, key, || format!("{name} says yes to {owner}"))?;
                }
                // Ordered and acknowledged in one step: nobody else is needed.
                Told::Acknowledged { slot, key, version: Some(version), voted: false, .. }
                    if version.sequence > before.counter
                        && before.cells.get(slot) != step.after.cells.get(slot)
                        && step.after.version(*slot, key) == *version =>
                {
                    unbroken(step, before, key)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// No reservation of the name stood throughout a step that orders a write of it.
fn unbroken(step: &ServerStep<'_>, before: &Server, key: &Text) -> Verdict {
    if step.after.votes.iter().all(|vote| vote.key != *key) {
        return Ok(());
    }
    free(before, step.local, key, || format!("{} orders a write", step.after.name))
}

/// No reservation of the name stood.
fn free(server: &Server, now: Millis, key: &Text, what: impl FnOnce() -> String) -> Verdict {
    let mut votes = server.votes.iter();
    match votes.find(|vote| vote.key == *key && vote.until > now) {
        None => Ok(()),
        Some(vote) => {
            let (owner, until) = (&vote.owner, vote.until);
            Err(format!("{}, and {key:?} is {owner}'s until {until}, now {now}", what()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::made_up::{Play, acknowledged, fires, server, version};
    use super::super::orders::Vote;
    use super::*;

    fn a() -> Server {
        server("a", Vec::new())
    }

    fn vote() -> Vote {
        Vote { key: Text::from("k"), owner: "10.0.0.9".to_string(), until: 50 }
    }

    fn reserved() -> Play {
        let mut play = Play::new(Votes);
        let mut before = a();
        before.votes = Arc::new(vec![vote()]);
        play.shows(before).unwrap();
        play
    }

    fn yes(key: &str) -> [Told; 1] {
        [Told::Voted { key: Text::from(key), owner: "10.0.0.8".to_string() }]
    }

    #[test]
    fn what_is_free_is_given() {
        reserved().says(a(), &yes("other")).unwrap();
        let mut late = reserved();
        late.local = 50;
        late.says(a(), &yes("k")).unwrap();
        let mut writing = a().writing(1, version(5, 1), 1);
        Arc::make_mut(&mut writing.writes)[0].voted = true;
        reserved().shows(writing).unwrap();
        // The reservation's own write was acknowledged first, in the same step.
        reserved().shows(a().writing(1, version(5, 1), 1)).unwrap();
    }

    #[test]
    fn what_is_reserved_is_given_or_written() {
        fires(reserved().says(a(), &yes("k")), "says yes");
        let mut writing = a().writing(1, version(5, 1), 1);
        writing.votes = Arc::new(vec![vote()]);
        fires(reserved().shows(writing), "orders");
        let mut alone = a().with("k", version(5, 1), 1);
        alone.votes = Arc::new(vec![vote()]);
        fires(reserved().says(alone, &[acknowledged("k", 1, version(5, 1))]), "orders");
    }
}
