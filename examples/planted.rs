//! Plants each bug in turn, looks for the first seed that notices it, and prints a table.
//!
//! `SEEDS=2000` is how many seeds each bug is given, `SEED=1` the first of them, `BUG=NAME,NAME`
//! plants these alone and `BUG=none` none. Exits 1 where a bug was not caught, or a seed broke a rule
//! without one.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use dht::core::planted::Planted;
use dht::sim::chaos::Options;
use dht::sim::planted::{Caught, hunt};

/// How many bugs are hunted at once.
const THREADS: usize = 2;

/// How much of what was broken is shown.
const HOW_CHARS: usize = 100;

type Bug = Option<Planted>;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn options(seed: u64) -> Options {
    Options { leader_restarts: seed % 2 == 1, ..Options::default() }
}

fn name(bug: Bug) -> String {
    bug.map_or("none".to_string(), |bug| format!("{bug:?}"))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn tell(bug: Bug, caught: &Option<Caught>, seconds: f64) {
    let what = match caught {
        None => "-".to_string(),
        Some(caught) => {
            let how: String = caught.how.chars().take(HOW_CHARS).collect();
            format!("{:>5}  {}", caught.seed, how.replace('\n', " "))
        }
    };
    say(&format!("{:<24} {seconds:>6.1} s  {what}", name(bug)));
}

fn main() {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 2_000));
    let wanted = std::env::var("BUG").unwrap_or_default();
    let named = |bug: &Bug| wanted.split(',').any(|wanted| name(*bug) == wanted);
    let all = std::iter::once(None).chain(Planted::ALL.iter().copied().map(Some));
    let bugs: VecDeque<Bug> =
        all.filter(|bug| named(bug) || (wanted.is_empty() && bug.is_some())).collect();
    if bugs.is_empty() {
        say(&format!("there is no bug {wanted}"));
        std::process::exit(2);
    }
    // A machine that panics is a result here, and needs no words of its own.
    std::panic::set_hook(Box::new(|_| {}));
    let count = bugs.len();
    let queue = Mutex::new(bugs);
    let (sender, results) = mpsc::channel();
    let mut wrong = 0;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                loop {
                    let Some(bug) = queue.lock().expect("no thread panics").pop_front() else {
                        return;
                    };
                    let begun = Instant::now();
                    let caught = hunt(bug, first..=first + seeds - 1, options);
                    sender.send((bug, caught, begun.elapsed())).expect("somebody listens");
                }
            });
        }
        drop(sender);
        for (bug, caught, took) in results {
            tell(bug, &caught, took.as_secs_f64());
            wrong += usize::from(bug.is_some() == caught.is_none());
        }
    });
    say(&format!("{count} planted, {wrong} wrong, {seeds} seeds at most from {first} on"));
    std::process::exit(i32::from(wrong > 0));
}
