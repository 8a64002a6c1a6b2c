//! A version is one write.
//!
//! Wherever a slot holds something under a version, at any server and any time, it is the same
//! name and the same value.

use std::collections::BTreeMap;

use super::ring::Ring;
use super::{Rule, ServerStep, Verdict};
use crate::core::hash::Slot;
use crate::core::wire::peer::Version;
use crate::core::wire::text::Text;

/// What every version was that anybody ever held.
#[derive(Debug, Default)]
pub(super) struct Versions {
    known: BTreeMap<(Slot, Version), (Text, u64)>,
}

impl Rule for Versions {
    fn name(&self) -> &'static str {
        "a version is one write"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        for slot in &step.slots {
            let old = step.before.and_then(|before| before.cells.get(slot));
            for (key, (version, value)) in step.after.cells.get(slot).into_iter().flatten() {
                if old.and_then(|old| old.get(key)) == Some(&(*version, *value)) {
                    continue;
                }
                let known = self.known.entry((*slot, *version));
                let known = known.or_insert_with(|| (key.clone(), *value));
                if (&known.0, known.1) != (key, *value) {
                    let name = &step.after.name;
                    let other = &known.0;
                    return Err(format!(
                        "{name} holds another value of {key:?} under {version:?} in slot {slot} \
                         than was held of {other:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, server, version};
    use super::*;

    #[test]
    fn a_version_is_one_write() {
        let mut play = Play::new(Versions::default());
        let of = |id| server(id, Vec::new());
        play.shows(of("a").with("k", version(5, 1), 1)).unwrap();
        play.shows(of("b").with("k", version(5, 1), 1).with("l", version(5, 2), 1)).unwrap();
        fires(play.shows(of("c").with("k", version(5, 1), 2)), "another value");
        fires(play.shows(of("d").with("m", version(5, 1), 1)), "another value");
    }
}
