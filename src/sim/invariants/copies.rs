//! The number of copies does not drop while data move.
//!
//! An active server that lives stays active until nobody joins the range any more: before that, a
//! joiner may lack what it holds. Those that it leaves behind count it among the leaving.
//!
//! A leader that was started again and is not sure of a range only repeats what servers tell it.

use super::ring::Ring;
use super::{LeaderStep, Rule, Verdict};

#[derive(Debug)]
pub(super) struct Copies;

impl Rule for Copies {
    fn name(&self) -> &'static str {
        "an active server stays until nobody joins"
    }

    fn leader(&mut self, _: &Ring, step: &LeaderStep<'_>) -> Verdict {
        for range in step.changed().filter(|range| !range.unsure && !range.joining.is_empty()) {
            let before = step.before.iter().flat_map(|b| b.pieces(range.start, range.end));
            for (start, end, old) in before.filter(|(_, _, old)| !old.unsure) {
                let gone = |id: &&_| range.leaving.contains(id) && !range.active.contains(id);
                if let Some(id) = old.active.iter().find(gone) {
                    let what = range.words();
                    return Err(format!("{id} leaves slots {start}..{end} too early: {what}"));
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
    fn a_server_leaves_before_others_have_joined() {
        let mut play = Play::new(Copies);
        play.leads(1, range(1, &["a", "b", "c"]), &[]).unwrap();
        let mut moving = range(2, &["a", "b", "c"]);
        moving.joining = vec![("d".into(), 2)];
        play.leads(1, moving.clone(), &[]).unwrap();
        // One that dies is no longer waited for.
        let mut dead = moving.clone();
        (dead.revision, dead.active) = (3, vec!["a".into(), "c".into()]);
        play.leads(1, dead.clone(), &[]).unwrap();
        let mut early = dead.clone();
        (early.revision, early.active, early.leaving) = (4, vec!["a".into()], vec!["c".into()]);
        fires(play.leads(1, early, &[]), "too early");
        let mut play = Play::new(Copies);
        play.leads(1, dead, &[]).unwrap();
        let mut moved = range(4, &["a", "d"]);
        moved.leaving = vec!["c".into()];
        play.leads(1, moved, &[]).unwrap();
    }
}
