//! Many seeds, on all cores: what they come to does not depend on which core was faster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use super::faults::Kind;
use super::{Options, Stats, Violation, planned, run, run_twice, squeeze};

/// How many lines of trace are kept of a run that is to be looked at.
const TRACE_LINES: usize = 200_000;

/// Which seeds run, and how.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// On how many threads.
    pub jobs: usize,
    /// How many of the seeds, from the first on, run twice with their whole traces compared.
    pub twice: u64,
}

/// What all runs come to. Its `Display` is one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Total {
    /// How many seeds ran.
    pub seeds: u64,
    /// How many of them ran twice, and did the same.
    pub twice: u64,
    /// The sums over all seeds that broke no rule.
    pub sums: Stats,
    /// The sums over their runs of planned changes alone.
    pub planned: planned::Stats,
    /// The sums over their squeezes.
    pub squeezed: squeeze::Stats,
    /// How many seeds broke a rule.
    pub violations: u64,
    /// Faults that should have happened in these seeds and did not.
    pub missing: BTreeSet<String>,
}

/// How one seed ended: its chaos, its planned changes, and its squeeze.
pub type Ended = Result<(Stats, planned::Stats, squeeze::Stats), Box<Violation>>;

impl Suite {
    /// Runs all seeds, and tells `each` how each ended, in the order of the seeds.
    pub fn run(&self, mut each: impl FnMut(u64, &Ended)) -> Total {
        let mut total = Total::default();
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            let (sender, ended) = mpsc::channel();
            for _ in 0..self.jobs.max(1) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let seed = self.first.wrapping_add(number);
                        // Who listens no more wants no more.
                        if number >= self.seeds
                            || sender.send((number, one(seed, number < self.twice))).is_err()
                        {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut waiting = BTreeMap::new();
            let mut told = 0;
            for (number, result) in ended {
                waiting.insert(number, result);
                while let Some(result) = waiting.remove(&told) {
                    total.add(&result, told < self.twice);
                    each(self.first.wrapping_add(told), &result);
                    told += 1;
                }
            }
        });
        if total.violations == 0 {
            total.missing = self.missing(&total.sums.faults);
        }
        total
    }

    /// The faults that these seeds plan, and that none of them had.
    fn missing(&self, happened: &BTreeMap<String, u64>) -> BTreeSet<String> {
        let seeds = (0..self.seeds).map(|number| self.first.wrapping_add(number));
        let kinds: BTreeSet<Kind> = seeds.flat_map(|seed| Kind::of(&Options::of(seed))).collect();
        let met = kinds.iter().flat_map(|kind| kind.meets()).map(|what| what.to_string());
        let names = kinds.iter().map(|kind| format!("{kind:?}")).chain(met);
        names.filter(|name| !happened.contains_key(name)).collect()
    }
}

/// One seed in full.
fn one(seed: u64, twice: bool) -> Ended {
    let options = Options::of(seed);
    let result = if twice { run_twice(seed, &options) } else { run(seed, &options) };
    let stats = result.map_err(|violation| {
        // The same seed does the same, so it can be looked at again with a trace.
        let traced = Options { trace_lines: TRACE_LINES, ..options };
        run(seed, &traced).err().unwrap_or(violation)
    })?;
    let planned = planned::run(seed)?;
    let squeezed = if twice { squeeze::run_twice(seed) } else { squeeze::run(seed) };
    Ok((stats, planned, squeezed?))
}

impl Total {
    fn add(&mut self, result: &Ended, twice: bool) {
        self.seeds += 1;
        match result {
            Ok((stats, planned, squeezed)) => {
                self.squeezed += squeezed;
                self.twice += u64::from(twice);
                self.sums += stats;
                self.planned += planned;
            }
            Err(_) => self.violations += 1,
        }
    }

    /// Whether no rule was broken and nothing was missing.
    pub fn is_good(&self) -> bool {
        self.violations == 0 && self.missing.is_empty()
    }
}

impl AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, one: &Stats) {
        self.servers_max = self.servers_max.max(one.servers_max);
        self.operations += one.operations;
        self.succeeded += one.succeeded;
        self.unknown += one.unknown;
        self.explained += one.explained;
        self.untroubled += one.untroubled;
        self.slowest_ms = self.slowest_ms.max(one.slowest_ms);
        self.recovery_ms_max = self.recovery_ms_max.max(one.recovery_ms_max);
        self.grants += one.grants;
        self.lasted_ms += one.lasted_ms;
        self.digest ^= one.digest;
        for (kind, count) in &one.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Total { seeds, twice, sums, planned, squeezed, violations, missing } = self;
        let operations = sums.operations as u64 + planned.operations + squeezed.operations;
        write!(f, "{seeds} seeds ({twice} of them twice, traces equal), {operations} operations")?;
        write!(f, " ({} while nothing was amiss: all done, the slowest in", sums.untroubled)?;
        write!(f, " {} ms; {} failed under faults", sums.slowest_ms, sums.explained)?;
        write!(f, "; {} during {} planned changes", planned.operations, planned.changes)?;
        write!(f, "; {} in squeezes under {} faults", squeezed.operations, squeezed.faults)?;
        write!(f, ", {} of which end waiting for the dead", squeezed.waiting)?;
        write!(f, "; {} locks granted), whole again in {} ms", sums.grants, sums.recovery_ms_max)?;
        let all: u64 = sums.faults.values().sum();
        write!(f, "; {all} faults of {} kinds:", sums.faults.len())?;
        for (kind, count) in &sums.faults {
            write!(f, " {kind} {count},")?;
        }
        if !missing.is_empty() {
            write!(f, " missing {missing:?},")?;
        }
        write!(f, " {violations} violations")
    }
}
