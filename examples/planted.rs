//! Plants each bug in turn, looks for the first seed that notices it, and prints a table.
//!
//! `SEEDS=2000` is how many seeds each bug is given, `SEED=1` the first of them, `BUG=NAME,NAME`
//! plants these alone, and `BUG=none` none. Exits 1 where a bug was not noticed, or a seed broke a
//! rule without one. `RUNS=chaos` or `RUNS=squeeze` leaves the other runs out. `REWRITE=1` writes down the seeds that `tests/planted.rs` tries first.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use dht::core::planted::Planted;
use dht::sim::planted::{Bug, Caught, Runs, for_all, hunt_in};

/// How many bugs are hunted at once.
const JOBS: usize = 2;

/// How much is shown of what was broken.
const HOW_CHARS: usize = 100;

/// The seeds that the test tries first.
const HINTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/planted.txt");

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn name(bug: Bug) -> String {
    bug.map_or("none".to_string(), |bug| format!("{bug:?}"))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn tell(bug: Bug, caught: &Option<Caught>, seconds: f64) {
    let what = match caught {
        None => "    -".to_string(),
        Some(caught) => {
            let how: String = caught.how.chars().take(HOW_CHARS).collect();
            format!("{:>5}  {}", caught.seed, how.replace('\n', " "))
        }
    };
    say(&format!("{:<24} {seconds:>6.1} s  {what}", name(bug)));
}

/// Keeps the seeds of bugs that were not hunted now.
fn rewrite(found: &BTreeMap<String, u64>) {
    let before = std::fs::read_to_string(HINTS).unwrap_or_default();
    let before = before.lines().filter_map(|line| line.split_once(' '));
    let mut lines: BTreeMap<&str, String> =
        before.map(|(name, seed)| (name, seed.to_string())).collect();
    lines.extend(found.iter().map(|(name, seed)| (name.as_str(), seed.to_string())));
    let known = |name: &&str| Planted::ALL.iter().any(|bug| format!("{bug:?}") == **name);
    let lines = lines.into_iter().filter(|(name, _)| known(name));
    let text: String = lines.map(|(name, seed)| format!("{name} {seed}\n")).collect();
    std::fs::write(HINTS, text).expect("the file can be written");
}

fn main() {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 2_000));
    let wanted = std::env::var("BUG").unwrap_or_default();
    let named = |bug: &Bug| wanted.split(',').any(|wanted| name(*bug) == wanted);
    let all = std::iter::once(None).chain(Planted::ALL.iter().copied().map(Some));
    let bugs: Vec<Bug> =
        all.filter(|bug| named(bug) || (wanted.is_empty() && bug.is_some())).collect();
    if bugs.is_empty() {
        say(&format!("there is no bug {wanted}"));
        std::process::exit(2);
    }
    // A machine that panics is a result here, and needs no words of its own.
    std::panic::set_hook(Box::new(|_| {}));
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    let runs = match std::env::var("RUNS").as_deref() {
        Ok("chaos") => Runs::Chaos,
        Ok("squeeze") => Runs::Squeeze,
        _ => Runs::All,
    };
    let work = |bug| {
        let begun = Instant::now();
        (hunt_in(runs, bug, first..=first + seeds - 1), begun.elapsed())
    };
    for_all(&bugs, JOBS, work, |bug, (caught, took)| {
        tell(bug, &caught, took.as_secs_f64());
        if bug.is_some() == caught.is_none() {
            wrong.push(name(bug));
        }
        found.extend(caught.map(|caught| (name(bug), caught.seed)));
    });
    if std::env::var("REWRITE").is_ok_and(|text| text == "1") {
        rewrite(&found);
    }
    let (planted, last) = (bugs.len(), first + seeds - 1);
    let missed = if wrong.is_empty() { "none".to_string() } else { wrong.join(", ") };
    say(&format!("{planted} planted, seeds {first} to {last}, not as it should be: {missed}"));
    std::process::exit(i32::from(!wrong.is_empty()));
}
