//! A write that was ordered is never called not done.
//!
//! Once a primary has sent a write to others, it may come to be: whoever waited for it is told
//! that it is done, or that nobody knows, and never that it did not happen.

use std::collections::BTreeMap;

use super::dialogue::Told;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::machine::ReplyTo;
use crate::core::wire::peer::Version;

/// Who waits or waited for a write that was ordered.
#[derive(Debug, Default)]
pub(super) struct Honest {
    ordered: BTreeMap<ReplyTo, Version>,
}

impl Rule for Honest {
    fn name(&self) -> &'static str {
        "a write that was ordered is never called not done"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        for write in step.after.writes.iter() {
            self.ordered.extend(write.replies.iter().map(|to| (*to, write.version)));
        }
        for told in step.told {
            if let Told::NotDone { to, id } = told
                && let Some(version) = self.ordered.get(to)
            {
                let name = &step.after.name;
                return Err(format!(
                    "{name} ordered {id:?} as {version:?}, and says it is not done"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, request, server, version};
    use super::*;

    #[test]
    fn not_done_is_what_was_not_ordered() {
        let mut play = Play::new(Honest::default());
        let not_done = |to| [Told::NotDone { to: ReplyTo(to), id: request(1) }];
        play.shows(server("a", Vec::new()).writing(1, version(5, 1), 3)).unwrap();
        play.says(server("a", Vec::new()), &not_done(2)).unwrap();
        fires(play.says(server("a", Vec::new()), &not_done(3)), "says it is not done");
    }
}
