//! Every planted bug is noticed, by a seed that notices nothing where no bug is planted.
//!
//! Built with the cargo feature `planted` alone. `tests/data/planted.txt` says which seed to try
//! first; where that one has drifted, the first seeds of all are tried. `make sim-bugs` prints who
//! notices what, and writes the file anew with `REWRITE=1`.

use std::collections::{BTreeMap, BTreeSet};

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

/// The seed that notices a bug: the hinted one, or the first.
fn notice(bug: Bug, hint: Option<u64>) -> Option<Caught> {
    hint.and_then(|seed| hunt(bug, seed..=seed)).or_else(|| hunt(bug, 1..=SEEDS))
}

#[test]
fn every_bug_is_noticed_and_nothing_else() {
    // A machine that panics is a result here, and needs no words of its own.
    std::panic::set_hook(Box::new(|_| {}));
    let hints = hints();
    let bugs: Vec<Bug> = Planted::ALL.iter().copied().map(Some).collect();
    let hint = |bug: Bug| hints.get(&*format!("{:?}", bug?)).copied();
    let (mut missed, mut seeds) = (Vec::new(), BTreeSet::new());
    for_all(
        &bugs,
        JOBS,
        |bug| notice(bug, hint(bug)),
        |bug, caught| match caught {
            Some(caught) => {
                seeds.insert(caught.seed);
            }
            None => missed.push(bug),
        },
    );
    let alarms: Vec<Caught> = seeds.iter().filter_map(|seed| hunt(None, *seed..=*seed)).collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "nobody notices these in {SEEDS} seeds: {missed:?}");
    assert!(alarms.is_empty(), "these seeds break a rule though no bug is planted: {alarms:?}");
}
