//! A read is answered by a confirmation that was asked for after it came.
//!
//! - A confirmation that begins asks every other active server, and every joiner that counts as
//!   synced.
//! - The number of a confirmation that a read waits for was given out after the read had come.
//! - A read is answered where the primary needs nobody; else in a step before which it waited for
//!   a confirmation that at most one server had still to give.

use super::dialogue::Told;
use super::facts::{Hold, Round};
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::hash::Slot;
use crate::core::machine::ReplyTo;

#[derive(Debug)]
pub(super) struct Confirmations;

impl Rule for Confirmations {
    fn name(&self) -> &'static str {
        "a read is confirmed after it came"
    }

    fn server(&mut self, ring: &Ring, step: &ServerStep<'_>) -> Verdict {
        let name = &step.after.name;
        for hold in step.changed() {
            let Some(round) = &hold.round else { continue };
            let early = |to: &&ReplyTo| ring.dialogue.came_at(**to) >= Some(round.number);
            if let Some(read) = round.reads.iter().find(early) {
                let number = round.number;
                return Err(format!("{name}: confirmation {number} is older than read {}", read.0));
            }
            let before = step.before.and_then(|before| before.at(hold.start)?.round.as_ref());
            if before.is_none_or(|before| before.number != round.number) {
                begins(name, hold, round)?;
            }
        }
        for told in step.told {
            if let Told::Answered { to, slot } = told {
                answered(step, *to, *slot)?;
            }
        }
        Ok(())
    }
}

fn begins(name: &str, hold: &Hold, round: &Round) -> Verdict {
    match hold.needed().find(|id| !round.waiting.contains(id)) {
        None => Ok(()),
        Some(id) => Err(format!("{name} does not ask {id} about {}", hold.words())),
    }
}

fn answered(step: &ServerStep<'_>, to: ReplyTo, slot: Slot) -> Verdict {
    let (name, to_words) = (&step.after.name, to.0);
    if step.after.at(slot).is_some_and(|hold| hold.needed().next().is_none()) {
        return Ok(());
    }
    let round = step.before.and_then(|before| before.at(slot)?.round.as_ref());
    let Some(round) = round.filter(|round| round.reads.contains(&to)) else {
        return Err(format!("{name} answers read {to_words} of slot {slot} unconfirmed"));
    };
    if round.waiting.len() > 1 {
        let waiting = &round.waiting;
        return Err(format!("{name} answers read {to_words} of slot {slot}, without {waiting:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::facts::Server;
    use super::super::made_up::{Play, fires, hold, server};
    use super::*;
    use crate::core::server::audit::Part;

    const READ: ReplyTo = ReplyTo(1);

    fn asking(waiting: &[&str], reads: &[ReplyTo]) -> Server {
        let mut hold = hold(5, &["a", "b", "c"], Part::Serving);
        hold.synced = vec!["d".into()];
        let waiting = waiting.iter().map(|id| (*id).into()).collect();
        hold.round = Some(Round { number: 9, waiting, reads: reads.to_vec() });
        server("a", vec![hold])
    }

    fn idle() -> Server {
        let mut after = asking(&[], &[]);
        std::sync::Arc::make_mut(&mut after.holds)[0].round = None;
        after
    }

    fn came(play: &mut Play, counter: u64) {
        let asked = super::super::dialogue::Asked::Read { key: "k".into(), counter };
        play.ring.dialogue.put(READ, asked);
    }

    #[test]
    fn a_read_that_was_confirmed() {
        let mut play = Play::new(Confirmations);
        came(&mut play, 8);
        play.shows(asking(&["b", "c", "d"], &[READ])).unwrap();
        play.shows(asking(&["d"], &[READ])).unwrap();
        play.says(idle(), &[Told::Answered { to: READ, slot: 7 }]).unwrap();
        // Alone it needs nobody.
        let mut alone = Play::new(Confirmations);
        let a = server("a", vec![hold(5, &["a"], Part::Serving)]);
        alone.says(a, &[Told::Answered { to: READ, slot: 7 }]).unwrap();
    }

    #[test]
    fn a_read_that_was_not() {
        let answered = [Told::Answered { to: READ, slot: 7 }];
        let mut play = Play::new(Confirmations);
        fires(play.says(idle(), &answered), "unconfirmed");
        play.shows(asking(&["b", "c", "d"], &[ReplyTo(2)])).unwrap();
        fires(play.says(idle(), &answered), "unconfirmed");
        play.shows(asking(&["b", "c", "d"], &[READ])).unwrap();
        fires(play.says(idle(), &answered), "without");
    }

    #[test]
    fn a_confirmation_that_proves_nothing() {
        let mut play = Play::new(Confirmations);
        fires(play.shows(asking(&["b", "c"], &[READ])), "does not ask d");
        let mut play = Play::new(Confirmations);
        came(&mut play, 9);
        fires(play.shows(asking(&["b", "c", "d"], &[READ])), "older than read");
    }
}
