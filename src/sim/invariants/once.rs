//! A request that was acknowledged is not executed again.
//!
//! A retry carries the name of its request. Where a client was told that it is done, no primary has
//! it under way under a later version: the slot remembers it, and hands that on with its data. An
//! earlier version is one of a primary that is deposed and does not know it; it comes too late to
//! be seen by anybody, since a later one of the name is held by all. A range that was born again
//! after the answer remembers nothing, and takes no request from before.

use std::collections::BTreeMap;

use super::dialogue::Told;
use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::hash::Slot;
use crate::core::wire::peer::{RequestId, Version};

/// The versions of the requests that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct Once {
    done: BTreeMap<(Slot, RequestId), Version>,
}

impl Rule for Once {
    fn name(&self) -> &'static str {
        "an acknowledged request is not executed again"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        for told in step.told {
            if let Told::Acknowledged { slot, id, version: Some(version), .. } = told {
                self.done.insert((*slot, *id), *version);
            }
        }
        for write in step.after.writes.iter().filter(|write| !write.acknowledged) {
            let Some(done) = self.done.get(&(write.slot, write.id)) else { continue };
            if *done < write.version {
                let (name, id, again) = (&step.after.name, write.id, write.version);
                return Err(format!("{name} orders {id:?} as {again:?}; it is done as {done:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, acknowledged, fires, server, version};
    use super::*;

    #[test]
    fn a_request_is_executed_once() {
        let mut play = Play::new(Once::default());
        let a = || server("a", Vec::new());
        play.shows(a().writing(1, version(5, 1), 1)).unwrap();
        // Not acknowledged: another primary may know nothing of it.
        play.shows(server("b", Vec::new()).writing(1, version(6, 4), 2)).unwrap();
        play.says(server("b", Vec::new()), &[acknowledged("k", 1, version(6, 4))]).unwrap();
        play.shows(a().writing(2, version(7, 1), 3)).unwrap();
        // Deposed, and does not know it.
        play.shows(a().writing(1, version(5, 9), 1)).unwrap();
        fires(play.shows(a().writing(1, version(7, 2), 3)), "it is done");
    }
}
