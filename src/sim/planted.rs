//! Looks for a seed that notices a planted bug; only with the cargo feature `planted`.

use std::ops::RangeInclusive;

use super::chaos::{Options, run};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, with};

/// A seed that breaks a rule.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The seed.
    pub seed: u64,
    /// When.
    pub at: Millis,
    /// Which rule was broken, and how.
    pub how: String,
}

impl Caught {
    /// Which rule was broken, without the particulars.
    pub fn check(&self) -> &str {
        let end = self.how.find([':', '[', '{', '"']).unwrap_or(self.how.len());
        self.how[..end].trim_end()
    }
}

/// Runs seeds with a bug, or with none, until one breaks a rule.
pub fn hunt(
    bug: Option<Planted>,
    seeds: RangeInclusive<u64>,
    options: impl Fn(u64) -> Options,
) -> Option<Caught> {
    let mut broken = seeds.map(|seed| with(bug, || run(seed, &options(seed))));
    let violation = broken.find_map(Result::err)?;
    Some(Caught { seed: violation.seed, at: violation.at, how: violation.rule })
}
