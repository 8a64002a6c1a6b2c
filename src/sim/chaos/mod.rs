//! Chaos, then peace: a ring under every fault that there is, judged by what its clients saw.
//!
//! [`run`] is one run of one seed, and the seed decides everything. Three storms, in which faults
//! come one after the other, several at a time, while clients write, read and lock; after each a
//! calm, in which the ring must be whole again soon, every operation must succeed, and servers join
//! and leave as planned. Then everything is healed and the ring must converge: every key on its
//! three servers with equal contents, nothing waiting, every client served. What the clients were
//! told must be linearizable for each key. [`planned::run`] is a run without any fault. [`Suite`]
//! runs many seeds.
//!
//! `faults` says what happens to the ring, `plan` when, `workload`, `original` and `locks` what
//! clients do, `availability` when an operation may fail, `losses` what may be lost,
//! and `converge` what must hold at the end. What must hold all the time stands in `sim/invariants`.

mod availability;
mod calm;
mod converge;
mod faults;
mod inflict;
mod locks;
mod losses;
mod original;
mod partition;
mod plan;
pub mod planned;
mod pressure;
mod rebalancing;
pub mod squeeze;
mod suite;
mod truth;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::plan::Plan;
pub use self::suite::{Ended, Suite, Total};
use self::world::World;
use super::linearize::{Verdict, check};
use crate::core::machine::Millis;

/// What a run does. [`Options::of`] derives it from the seed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the view leader is killed and started again.
    pub leader_restarts: bool,
    /// Whether the view leader keeps a record on a disk, and goes on from it.
    pub leader_record: bool,
    /// Whether servers keep their data on disks, and go on with them.
    pub server_disks: bool,
    /// Whether all servers of a range are killed at once, or silent at once.
    pub whole_ranges: bool,
    /// Whether clients take part that speak the original's two-phase commit.
    pub originals: bool,
    /// How many faults there are at least; there is one of each kind in any case.
    pub faults_min: usize,
    /// How many operations the clients begin at least.
    pub operations_min: usize,
    /// How many lines of trace are kept; 0 is fastest, and leaves no digest.
    pub trace_lines: usize,
}

impl Options {
    /// The run of a seed: every second one has its view leader restarted, and of each two of these
    /// and of the others one loses whole ranges. Every second one of the restarted leaders keeps a record;
    /// with it, and in two of the other six, servers keep their data too.
    pub fn of(seed: u64) -> Self {
        Options {
            leader_restarts: seed % 2 == 1,
            leader_record: seed % 8 > 4 && seed % 2 == 1,
            server_disks: matches!(seed % 8, 1 | 2 | 5 | 7),
            whole_ranges: seed / 2 % 2 == 1,
            originals: true,
            faults_min: 28,
            operations_min: 400,
            trace_lines: 0,
        }
    }
}

/// What happened in a run that broke no rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many servers lived at most, at the same time.
    pub servers_max: usize,
    /// How many operations clients began.
    pub operations: usize,
    /// How many of them succeeded.
    pub succeeded: usize,
    /// How many may or may not have happened.
    pub unknown: usize,
    /// How many did not succeed, each while a fault lasted or the ring recovered from one.
    pub explained: u64,
    /// How many no fault touched; all of them succeeded.
    pub untroubled: u64,
    /// How long the slowest of these took.
    pub slowest_ms: Millis,
    /// How long the ring took at most to be whole again after the last of several faults.
    pub recovery_ms_max: Millis,
    /// How many locks were granted.
    pub grants: u64,
    /// How often each kind of fault happened: to the ring, and to single messages.
    pub faults: BTreeMap<String, u64>,
    /// How much time passed in the ring.
    pub lasted_ms: Millis,
    /// A digest of all that happened; 0 unless traces were kept.
    pub digest: u64,
}

/// A rule that a run broke.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The run's seed.
    pub seed: u64,
    /// Which rule, and how.
    pub rule: String,
    /// When.
    pub at: Millis,
    /// The last events before.
    pub trace: String,
    /// What the clients saw, in the form of [`super::history`].
    pub history: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {} ms: {}", self.seed, self.at, self.rule)
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Result<Stats, Box<Violation>> {
    traced(seed, options).0
}

/// Runs one seed twice; the two must do the same to the last byte of their traces.
pub fn run_twice(seed: u64, options: &Options) -> Result<Stats, Box<Violation>> {
    let whole = Options { trace_lines: usize::MAX, ..options.clone() };
    let (once, trace) = traced(seed, &whole);
    let stats = once?;
    let (again, trace_again) = traced(seed, &whole);
    if trace == trace_again && again.is_ok_and(|again| again == stats) {
        return Ok(Stats { digest: 0, ..stats });
    }
    let pairs = trace.lines().zip(trace_again.lines());
    let differs = pairs.enumerate().find(|(_, (one, other))| one != other);
    Err(Box::new(Violation {
        seed,
        rule: format!("the same seed does something else: {differs:?}"),
        at: stats.lasted_ms,
        trace,
        history: String::new(),
    }))
}

fn traced(seed: u64, options: &Options) -> (Result<Stats, Box<Violation>>, String) {
    let mut world = World::new(seed, options);
    let Err(rule) = guarded(&mut world, |world| both_halves(world, options)) else {
        return (Ok(world.stats()), world.cluster.trace());
    };
    let violation = Violation {
        seed,
        rule,
        at: world.cluster.now(),
        trace: world.cluster.trace(),
        history: world.history.to_json_lines(),
    };
    (Err(Box::new(violation)), String::new())
}

/// Does something to a ring; a machine that panics has broken a rule too.
fn guarded(
    world: &mut World,
    act: impl FnOnce(&mut World) -> Result<(), String>,
) -> Result<(), String> {
    let result = catch_unwind(AssertUnwindSafe(|| act(world)));
    if let Some(broken) = world.cluster.broken() {
        return Err(broken.to_string());
    }
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a machine panics: {}", text.unwrap_or("without a word")))
    })
}

/// Whether all that clients were told can be explained.
fn judge_history(world: &World) -> Result<(), String> {
    match check(&world.history) {
        Verdict::Linearizable => Ok(()),
        Verdict::Violation(violation) => Err(format!("not linearizable: {violation}")),
        Verdict::Undecided { keys } => Err(format!("the checker cannot decide {keys:?}")),
    }
}

fn both_halves(world: &mut World, options: &Options) -> Result<(), String> {
    let mut plan = Plan::new(&mut world.rng, options);
    world.begin();
    while plan.begin_storm(world.cluster.now()) {
        while !plan.is_over() {
            if world.cluster.now() > CHAOS_MS_MAX {
                return Err(format!("coverage: not all faults could happen: {plan:?}"));
            }
            world.step(plan.next_at(), &plan)?;
            plan.go_on(world);
        }
        calm::pass(world, &mut plan)?;
    }
    plan.covers(world)?;
    coverage(world, options)?;
    converge::heal(world);
    converge::check(world, &plan)?;
    judge_history(world)
}

/// A run that did little proves little.
fn coverage(world: &World, options: &Options) -> Result<(), String> {
    let stats = world.stats();
    let count: u64 = stats.faults.iter().filter(|(kind, _)| is_kind(kind)).map(|(_, n)| n).sum();
    let kinds = stats.faults.keys().filter(|kind| is_kind(kind)).count();
    let enough = [
        (stats.operations, options.operations_min, "operations"),
        (count as usize, FAULTS_MIN, "faults"),
        (kinds, KINDS_MIN, "kinds of faults"),
        (stats.untroubled as usize, UNTROUBLED_MIN, "operations while nothing was amiss"),
        (stats.grants as usize, GRANTS_MIN, "locks granted"),
        (world.clients(), 8, "clients"),
        (stats.servers_max, 5, "servers"),
    ];
    for (is, least, what) in enough {
        if is < least {
            return Err(format!("coverage: {is} {what} are fewer than {least}"));
        }
    }
    Ok(())
}

/// Whether a count of faults is one of a kind, and not of single messages.
fn is_kind(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

/// After how long the storms must have ended.
const CHAOS_MS_MAX: Millis = 1_000_000;

/// What a run has at least.
const FAULTS_MIN: usize = 20;
const KINDS_MIN: usize = 10;
const UNTROUBLED_MIN: usize = 100;
const GRANTS_MIN: usize = 10;
