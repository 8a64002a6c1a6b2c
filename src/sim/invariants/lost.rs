//! No range is lost, where no fault takes all who hold one.
//!
//! The leader then never says that slots start again empty (`Note::Lost`), and no range is born
//! twice. Only runs that spare one holder of every range ask for this.

use super::dialogue::Told;
use super::ring::Ring;
use super::{LeaderStep, Rule, Verdict};

#[derive(Debug)]
pub(super) struct Lost;

impl Rule for Lost {
    fn name(&self) -> &'static str {
        "no range is lost"
    }

    fn leader(&mut self, _: &Ring, step: &LeaderStep<'_>) -> Verdict {
        if step.told.iter().any(|told| matches!(told, Told::Lost)) {
            return Err("the leader gives slots up, though a holder lives".to_string());
        }
        let ranges = step.changed().filter(|range| !range.unsure);
        for range in ranges {
            for (start, end, old) in
                step.before.iter().flat_map(|b| b.pieces(range.start, range.end))
            {
                if old.born != 0 && !old.unsure && old.born < range.born {
                    let (what, born) = (range.words(), range.born);
                    return Err(format!("slots {start}..{end} are born again at {born}: {what}"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, range};
    use super::*;

    #[test]
    fn a_range_is_lost() {
        let mut play = Play::new(Lost);
        play.leads(1, range(1, &["a"]), &[]).unwrap();
        play.leads(1, range(2, &["a", "b"]), &[]).unwrap();
        fires(play.leads(1, range(2, &["a", "b"]), &[Told::Lost]), "gives slots up");
        let mut again = range(3, &["c"]);
        again.born = 3;
        fires(play.leads(1, again, &[]), "born again");
    }
}
