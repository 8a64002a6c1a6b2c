//! Rings under chaos, a slice of the seeds; see `dht::sim::chaos` for what a run is, and `make sim`
//! for many seeds.
//!
//! A failure prints its seed, the rule, the command that runs it again, and the last events before.
//! `CHAOS_SEED=1000` chooses the first seed and `CHAOS_SEEDS=200` how many.

use std::io::Write as _;

use dht::sim::chaos::{Options, Suite, Violation, run_twice, squeeze};

/// How many seeds run unless told otherwise: each combination of options twice.
const SEEDS: u64 = 20;

/// How many of the last events before a violation are shown.
const LINES_SHOWN: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Goes to standard error, where the test runner shows it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn tell(violation: &Violation) {
    let lines: Vec<&str> = violation.trace.lines().collect();
    say(&lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n"));
    say(&format!("{violation}\nrun it again: make sim SEED={} SEEDS=1", violation.seed));
}

#[test]
fn no_seed_breaks_a_rule() {
    let first = number("CHAOS_SEED").unwrap_or(1);
    let seeds = number("CHAOS_SEEDS").unwrap_or(SEEDS);
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut order = Vec::new();
    let total = Suite { first, seeds, jobs, twice: 0 }.run(|seed, ended| {
        order.push(seed);
        if let Err(violation) = ended {
            tell(violation);
        }
    });
    say(&total.to_string());
    assert!(total.is_good(), "{total}");
    assert_eq!(order, Vec::from_iter(first..first + seeds), "told in the order of the seeds");
}

#[test]
fn a_seed_run_twice_does_the_same() {
    for seed in 1..=2 {
        let chaos = run_twice(seed, &Options::of(seed)).err();
        if let Some(violation) = chaos.or_else(|| squeeze::run_twice(seed).err()) {
            tell(&violation);
            panic!("seed {seed}");
        }
    }
}
