//! Looks for seeds that notice planted bugs; only with the cargo feature `planted`.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, mpsc};
use std::thread;

use super::chaos::{Options, run};
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

/// Runs one seed after the other with a bug, until one breaks a rule.
pub fn hunt(bug: Bug, seeds: RangeInclusive<u64>) -> Option<Caught> {
    let mut broken = seeds.map(|seed| with(bug, || run(seed, &Options::of(seed))));
    let violation = broken.find_map(Result::err)?;
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
