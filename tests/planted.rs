//! Every planted bug is noticed, by a seed that notices nothing where no bug is planted.
//!
//! Built with the cargo feature `planted` alone. `tests/data/planted.txt` says which seed to try
//! first; where that one has drifted, the first seeds of all are tried. `make sim-bugs` prints who
//! notices what, and writes the file anew with `REWRITE=1`.

use std::collections::BTreeMap;

use dht::core::planted::Planted;
use dht::sim::planted::{Bug, Caught, for_all, hunt};

/// How many bugs are hunted at once.
const JOBS: usize = 2;

/// How many seeds a bug is given whose first one has drifted.
const SEEDS: u64 = 300;

const HINTS: &str = include_str!("data/planted.txt");

fn hints() -> BTreeMap<&'static str, u64> {
    let lines = HINTS.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, seed)| (name, seed.parse().expect("a seed"))).collect()
}

/// What the seed that notices a bug sees, and what it sees without.
fn with_and_without(bug: Bug, hint: Option<u64>) -> (Option<Caught>, Option<Caught>) {
    let caught = hint.and_then(|seed| hunt(bug, seed..=seed)).or_else(|| hunt(bug, 1..=SEEDS));
    let control = caught.as_ref().and_then(|caught| hunt(None, caught.seed..=caught.seed));
    (caught, control)
}

#[test]
fn every_bug_is_noticed_and_nothing_else() {
    // A machine that panics is a result here, and needs no words of its own.
    std::panic::set_hook(Box::new(|_| {}));
    let hints = hints();
    let known = Planted::ALL.iter().filter(|bug| !Planted::OPEN.contains(bug));
    let bugs: Vec<Bug> = known.copied().map(Some).collect();
    let hint = |bug: Bug| hints.get(&*format!("{:?}", bug?)).copied();
    let work = |bug: Bug| with_and_without(bug, hint(bug));
    let (mut missed, mut alarms) = (Vec::new(), Vec::new());
    for_all(&bugs, JOBS, work, |bug, (caught, control)| {
        if caught.is_none() {
            missed.push(bug);
        }
        alarms.extend(control);
    });
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "nobody notices these in {SEEDS} seeds: {missed:?}");
    assert!(alarms.is_empty(), "these seeds break a rule though no bug is planted: {alarms:?}");
}
