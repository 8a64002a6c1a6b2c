//! Chaos, then peace: a ring under every fault that there is, judged by what its clients saw.
//!
//! [`run`] is one run of one seed. In its first half faults come one after the other, several at a
//! time, while clients write and read; in its second all faults are mended, and the ring must
//! converge: every key on its three servers with equal contents, nothing waiting, every client
//! served. What the clients were told must be linearizable for each key.
//!
//! `faults` says what happens to the ring, `plan` when, `workload` and `original` what clients do,
//! and `converge` what must hold at the end. What must hold all the time stands in `sim/invariants`.

mod converge;
mod faults;
mod inflict;
mod original;
mod plan;
mod pressure;
mod truth;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::plan::Plan;
use self::world::World;
use super::linearize::{Verdict, check};
use crate::core::machine::Millis;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the view leader is killed and started again.
    pub leader_restarts: bool,
    /// Whether clients take part that speak the original's two-phase commit.
    pub originals: bool,
    /// How many faults there are at least; there is one of each kind in any case.
    pub faults_min: usize,
    /// How many operations the clients begin at least.
    pub operations_min: usize,
    /// How many lines of trace are kept; 0 is fastest, and leaves no digest.
    pub trace_lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            leader_restarts: false,
            originals: true,
            faults_min: 24,
            operations_min: 400,
            trace_lines: 0,
        }
    }
}

/// What happened in a run that broke no rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many operations clients began.
    pub operations: usize,
    /// How many of them succeeded.
    pub succeeded: usize,
    /// How many may or may not have happened.
    pub unknown: usize,
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
    let mut world = World::new(seed, options);
    let result = catch_unwind(AssertUnwindSafe(|| both_halves(&mut world, options)));
    let broken = world.cluster.broken().map(ToString::to_string);
    if let Some(rule) = broken {
        return Err(violation(&world, seed, rule));
    }
    let rule = match result {
        Ok(Ok(())) => return Ok(world.stats()),
        Ok(Err(rule)) => rule,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("a machine panics: {}", text.unwrap_or("without a word"))
        }
    };
    Err(violation(&world, seed, rule))
}

fn violation(world: &World, seed: u64, rule: String) -> Box<Violation> {
    Box::new(Violation {
        seed,
        rule,
        at: world.cluster.now(),
        trace: world.cluster.trace(),
        history: world.history.to_json_lines(),
    })
}

fn both_halves(world: &mut World, options: &Options) -> Result<(), String> {
    let mut plan = Plan::new(&mut world.rng, options);
    world.begin();
    while !(plan.is_done() && world.workload.begun >= options.operations_min) {
        if world.cluster.now() > CHAOS_MS_MAX {
            return Err(format!("coverage: not all faults could happen: {plan:?}"));
        }
        world.step(plan.next_at())?;
        plan.go_on(world);
    }
    plan.covers(world.cluster.faults.happened())?;
    converge::heal(world, &mut plan);
    converge::check(world)?;
    match check(&world.history) {
        Verdict::Linearizable => Ok(()),
        verdict => Err(format!("not linearizable: {verdict:?}")),
    }
}

/// After how long the first half must have ended.
const CHAOS_MS_MAX: Millis = 1_000_000;
