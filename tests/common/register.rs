//! Histories of a register that works, or fails once, as eight clients or forty would see it.

use std::collections::BTreeMap;

use dht::sim::Rng;
use dht::sim::history::{Action, History, Outcome};

/// What is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) operations: usize,
    pub(crate) processes: u64,
    /// How many values there are to write; `None`: each put has its own.
    pub(crate) values: Option<u64>,
    /// Whether operations are under way for long, nearly all of them at once.
    pub(crate) slow: bool,
    /// Whether one get in the second half reads what was overwritten before it began.
    pub(crate) stale_read: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { operations: 1_000, processes: 8, values: None, slow: false, stale_read: false }
    }
}

/// An operation under way.
enum Busy {
    /// Called; has not taken effect. A put has its value.
    Waits(Option<String>),
    /// Has taken effect, with this outcome.
    Acts(Outcome),
}

/// Plays a history on key `k`. One operation in 20 ends in doubt, before or after its effect, or
/// never has one; a put in doubt may take effect much later.
pub(crate) fn played(seed: u64, shape: &Shape) -> History {
    let mut rng = Rng::new(seed);
    let mut history = History::new();
    let mut busy: BTreeMap<u64, Busy> = BTreeMap::new();
    let mut late: Vec<String> = Vec::new();
    let mut value: Option<String> = None;
    let mut at = 0;
    let mut puts = 0;
    while history.len() < shape.operations || !busy.is_empty() {
        at += 1;
        if !late.is_empty() && rng.chance(2) {
            value = late.pop();
        }
        let process = rng.between(0, shape.processes - 1);
        match busy.remove(&process) {
            None if history.len() < shape.operations => {
                puts += 1;
                let number = shape.values.map_or(puts, |values| rng.between(1, values));
                let put = rng.chance(40).then(|| format!("v{number}"));
                history.call(at, process, "k", put.clone().map_or(Action::Get, Action::Put));
                busy.insert(process, Busy::Waits(put));
            }
            None => {}
            Some(waits) if shape.slow && history.len() < shape.operations && rng.chance(80) => {
                busy.insert(process, waits);
            }
            Some(Busy::Waits(put)) if rng.chance(5) => {
                late.extend(put.filter(|_| rng.chance(50)));
                history.end(at, process, Outcome::Unknown);
            }
            Some(Busy::Waits(Some(put))) => {
                value = Some(put);
                busy.insert(process, Busy::Acts(Outcome::Done(None)));
            }
            Some(Busy::Waits(None)) => {
                busy.insert(process, Busy::Acts(Outcome::Done(value.clone())));
            }
            Some(Busy::Acts(outcome)) => history.end(at, process, outcome),
        }
    }
    if shape.stale_read {
        read_stale(&mut history, at);
    }
    history
}

/// Two puts and a get of the first, one after the other.
fn read_stale(history: &mut History, at: u64) {
    let old = "old".to_string();
    let steps = [
        (Action::Put(old.clone()), Outcome::Done(None)),
        (Action::Put("new".to_string()), Outcome::Done(None)),
        (Action::Get, Outcome::Done(Some(old))),
    ];
    for (action, outcome) in steps {
        history.call(at, 0, "k", action);
        history.end(at, 0, outcome);
    }
}
