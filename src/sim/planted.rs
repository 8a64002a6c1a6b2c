//! Looks for seeds that notice planted bugs; only with the cargo feature `planted`.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, mpsc};
use std::thread;

use super::chaos::{Options, run, squeeze};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, with};

/// A bug, or none, as a control: it must not be noticed.
pub type Bug = Option<Planted>;

/// How a bug was noticed.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The seed of the run that noticed it.
    pub seed: u64,
    /// When.
    pub at: Millis,
    /// Which rule was broken, and how.
    pub how: String,
}

impl Caught {
    /// Which rule was broken, without the particulars.
    pub fn rule(&self) -> &str {
        let end = self.how.find([':', '[', '{', '"', '(']).unwrap_or(self.how.len());
        self.how[..end].trim_end()
    }
}

/// Which of a seed's runs look for a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// Both.
    All,
    /// Chaos alone.
    Chaos,
    /// The squeeze alone.
    Squeeze,
}

/// Runs one seed after the other with a bug, until one breaks a rule.
pub fn hunt(bug: Bug, seeds: RangeInclusive<u64>) -> Option<Caught> {
    hunt_in(Runs::All, bug, seeds)
}

/// The same with some of the runs.
pub fn hunt_in(runs: Runs, bug: Bug, mut seeds: RangeInclusive<u64>) -> Option<Caught> {
    let squeezed = |seed| (runs != Runs::Chaos).then(|| squeeze::run(seed).err()).flatten();
    let chaotic =
        |seed| (runs != Runs::Squeeze).then(|| run(seed, &Options::of(seed)).err()).flatten();
    let violation =
        seeds.find_map(|seed| with(bug, || chaotic(seed).or_else(|| squeezed(seed))))?;
    Some(Caught { seed: violation.seed, at: violation.at, how: violation.rule })
}

/// Does something for each bug, `jobs` at a time, and gives the results to `each` as they come.
pub fn for_all<T: Send>(
    bugs: &[Bug],
    jobs: usize,
    work: impl Fn(Bug) -> T + Sync,
    mut each: impl FnMut(Bug, T),
) {
    let queue: Mutex<VecDeque<Bug>> = Mutex::new(bugs.iter().copied().collect());
    let next = || queue.lock().ok()?.pop_front();
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(bug) = next() {
                    if sender.send((bug, work(bug))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        results.into_iter().for_each(|(bug, result)| each(bug, result));
    });
}
