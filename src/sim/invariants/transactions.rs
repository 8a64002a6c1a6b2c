//! A `setr` of an original client is answered as done only when its write is acknowledged.
//!
//! Before a server that is in a view of ours answers a `setr` as done, a primary has told
//! somebody that a write of this name and value is done. A vote, or a copy that a replica holds,
//! is not enough: the client would be told of a value that a fail-over may never show. Without a
//! view leader of ours a server is on its own, as the original is.

use std::collections::BTreeSet;

use super::dialogue::Told;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::wire::text::Text;

/// What was acknowledged: name and digest of the value.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    done: BTreeSet<(Text, u64)>,
}

impl Rule for Transactions {
    fn name(&self) -> &'static str {
        "a transaction is done when its write is acknowledged"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        for told in step.told {
            match told {
                Told::Acknowledged { key, value, .. } => {
                    self.done.insert((key.clone(), *value));
                }
                Told::SetrDone { key, value }
                    if step.after.led && !self.done.contains(&(key.clone(), *value)) =>
                {
                    let name = &step.after.name;
                    return Err(format!("{name} says that setr of {key:?} is done"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, acknowledged, fires, server, version};
    use super::*;

    fn done() -> [Told; 1] {
        [Told::SetrDone { key: Text::from("k"), value: 1 }]
    }

    #[test]
    fn it_is_acknowledged_first() {
        let mut play = Play::new(Transactions::default());
        play.says(server("a", Vec::new()), &[acknowledged("k", 1, version(5, 1))]).unwrap();
        play.says(server("b", Vec::new()), &done()).unwrap();
        let mut alone = server("b", Vec::new());
        alone.led = false;
        Play::new(Transactions::default()).says(alone, &done()).unwrap();
    }

    #[test]
    fn it_is_said_too_early() {
        let mut play = Play::new(Transactions::default());
        fires(play.says(server("b", Vec::new()), &done()), "is done");
    }
}
