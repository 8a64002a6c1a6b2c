//! Rings under chaos, a slice of the seeds; see `dht::sim::chaos` for what a run is.
//!
//! A failure prints its seed, the command that runs it again, and the last events before it.
//! `CHAOS_SEED=1000` chooses the first seed and `CHAOS_SEEDS=200` how many; of the seeds every
//! second one has its view leader killed and started again.

use std::collections::BTreeMap;
use std::io::Write as _;

use dht::sim::chaos::{Options, Stats, Violation, run};

/// How many seeds run unless told otherwise.
const SEEDS: u64 = 30;

/// How many lines of trace are kept of a run that is to be looked at.
const TRACE_LINES: usize = 3_000;

/// How many of them are shown.
const LINES_SHOWN: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn options(seed: u64) -> Options {
    Options { leader_restarts: seed % 2 == 1, ..Options::default() }
}

/// Goes to standard error, where the test runner shows it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn tell(violation: &Violation) {
    let seed = violation.seed;
    // The run again, now with a trace: the same seed does the same.
    let again = run(seed, &Options { trace_lines: TRACE_LINES, ..options(seed) });
    let trace = again.err().map(|violation| violation.trace).unwrap_or_default();
    let lines: Vec<&str> = trace.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
    say(&tail.join("\n"));
    say(&violation.to_string());
    say(&format!("run it again: CHAOS_SEED={seed} CHAOS_SEEDS=1 cargo test --test chaos"));
}

#[test]
fn no_seed_breaks_a_rule() {
    let first = number("CHAOS_SEED").unwrap_or(1);
    let seeds = number("CHAOS_SEEDS").unwrap_or(SEEDS);
    let (mut operations, mut succeeded, mut broken) = (0, 0, 0);
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for seed in first..first + seeds {
        match run(seed, &options(seed)) {
            Ok(stats) => {
                operations += stats.operations;
                succeeded += stats.succeeded;
                for (kind, count) in stats.faults {
                    *faults.entry(kind).or_default() += count;
                }
            }
            Err(violation) => {
                broken += 1;
                tell(&violation);
            }
        }
    }
    say(&format!(
        "{seeds} seeds, {operations} operations, {succeeded} of them done, {broken} violations; \
         faults: {faults:?}"
    ));
    assert_eq!(broken, 0, "seeds that break a rule, of {seeds}");
}

#[test]
fn a_seed_run_twice_does_the_same() {
    for seed in 1..=10 {
        let traced = Options { trace_lines: 1, ..options(seed) };
        let digest = || run(seed, &traced).map(|stats: Stats| stats.digest).map_err(|v| v.rule);
        let once = digest();
        assert!(once.as_ref().is_ok_and(|digest| *digest != 0), "seed {seed}: {once:?}");
        assert_eq!(once, digest(), "seed {seed}");
    }
}
