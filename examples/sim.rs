//! Runs rings under chaos, one for each seed, on all cores: `make sim`.
//!
//! `cargo run --release --example sim -- --seed 1000 --seeds 200`. The last line says what happened;
//! the exit status is 1 if a rule was broken or a kind of fault is missing, 2 for bad arguments.
//! A seed that breaks a rule is printed with the rule, the command that runs it again, and the last
//! events before.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use dht::sim::chaos::{Suite, Violation};

/// How many seeds run unless told otherwise.
const SEEDS: u64 = 2_000;

/// How many of the seeds run twice, with their whole traces compared.
const TWICE: u64 = 50;

/// How many of the last events before a violation are shown.
const LINES_SHOWN: usize = 60;

/// How many violations are shown in full; the others in a line each.
const SHOWN_IN_FULL: u64 = 5;

const USAGE: &str = "usage: sim [--seed FIRST] [--seeds COUNT] [--jobs THREADS]";

fn main() -> ExitCode {
    let suite = match arguments(std::env::args().skip(1)) {
        Ok(suite) => suite,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "sim: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A machine that panics is a violation, and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut done, mut shown) = (0, 0);
    let shows_progress = std::io::stderr().is_terminal();
    let total = suite.run(|_, ended| {
        done += 1;
        if shows_progress {
            let _ = write!(std::io::stderr(), "\r{done} of {} seeds ", suite.seeds);
        }
        if let Err(violation) = ended {
            shown += 1;
            tell(violation, shown <= SHOWN_IN_FULL);
        }
    });
    if shows_progress {
        let _ = write!(std::io::stderr(), "\r{:40}\r", "");
    }
    let _ = writeln!(std::io::stdout(), "{total}");
    if total.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(violation: &Violation, in_full: bool) {
    let mut out = std::io::stdout().lock();
    if in_full {
        let lines: Vec<&str> = violation.trace.lines().collect();
        let _ = writeln!(out, "the last events before the violation of seed {}:", violation.seed);
        for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
            let _ = writeln!(out, "  {line}");
        }
    }
    // For whoever has to find the cause.
    if let Ok(path) = std::env::var("SIM_TRACE") {
        let _ = std::fs::write(format!("{path}-{}", violation.seed), &violation.trace);
    }
    let _ = writeln!(out, "VIOLATION {violation}");
    let _ = writeln!(out, "run it again: make sim SEED={} SEEDS=1", violation.seed);
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Suite, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut suite = Suite { first: 1, seeds: SEEDS, jobs: cores, twice: TWICE };
    while let Some(name) = given.next() {
        let value = given.next().unwrap_or_default();
        let number = || value.parse::<u64>().map_err(|_| format!("{name} {value:?}: not a number"));
        match name.as_str() {
            "--seed" => suite.first = number()?,
            "--seeds" => suite.seeds = number()?,
            "--jobs" => suite.jobs = number()? as usize,
            _ => return Err(format!("{name} is no option")),
        }
    }
    if suite.seeds == 0 || suite.jobs == 0 {
        return Err("at least one seed and one thread are needed".to_string());
    }
    if suite.first.checked_add(suite.seeds).is_none() {
        return Err("there are no seeds that high".to_string());
    }
    Ok(suite)
}
