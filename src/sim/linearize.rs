//! Whether a [`History`] is linearizable: whether every operation can be given one instant between
//! its call and its return, such that each get reads what the last put before it wrote.
//!
//! Keys are judged one by one, which is enough (Herlihy and Wing, *Linearizability*, 1990, the
//! theorem on locality). For one key the question is settled by a search over the orders in which
//! its operations may have taken effect: Wing and Gong, *Testing and Verifying Concurrent Objects*,
//! 1993, with the memory of what has been tried from Lowe, *Testing for Linearizability*, 2017. The
//! checker Porcupine (Athalye, 2017) does the same for any kind of object. That our object is a
//! register allows shortcuts, told in `search.rs`, which leave nothing to search where no two puts
//! write the same value, as in a good test.
//!
//! Record a history in which every put has its own value: the checker is then fast whatever the
//! verdict, and a put that took effect twice shows.

mod explain;
mod search;

use std::collections::BTreeMap;
use std::fmt;

use super::history::{Action, History, Operation, Outcome};
use search::Answer;

/// How many steps [`check`] takes for one key before it gives up: about a second, and 200 MB at most.
pub const STEPS_MAX: u64 = 2_000_000;

/// What a checker says about a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every operation can be given its instant.
    Linearizable,
    /// Some cannot; that of the first key for which it is so.
    Violation(Violation),
    /// Within the limit no violation was found, and these keys were not settled.
    Undecided {
        /// The keys, in their order.
        keys: Vec<String>,
    },
}

/// Why a history is not linearizable. Its `Display` is several lines for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// A longest row of operations of the key, in an order that fits their times and values. With
    /// `stuck` it is a small part of the history that is by itself not linearizable.
    pub row: Vec<Operation>,
    /// The operations that cannot follow `row`, nor stand within it.
    pub stuck: Vec<Operation>,
    /// How many operations of the key are not shown, because it takes none of them.
    pub others: usize,
}

/// Judges a history, with [`STEPS_MAX`] as the limit.
pub fn check(history: &History) -> Verdict {
    check_within(history, STEPS_MAX)
}

/// Judges a history, taking at most about `steps_max` steps for each key; a step puts one operation
/// in its place. The limit counts steps, not time, so that the same history has the same verdict.
pub fn check_within(history: &History, steps_max: u64) -> Verdict {
    let mut by_key: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for operation in history.operations() {
        by_key.entry(operation.key.clone()).or_default().push(operation);
    }
    let mut keys = Vec::new();
    for (key, mut operations) in by_key {
        operations.retain(constrains);
        let mut budget = steps_max;
        match search::search(&operations, &mut budget) {
            Answer::Order => {}
            Answer::Undecided => keys.push(key),
            Answer::NoOrder => {
                return Verdict::Violation(explain::explain(key, operations));
            }
        }
    }
    if keys.is_empty() { Verdict::Linearizable } else { Verdict::Undecided { keys } }
}

/// Whether an operation says anything about the others: one that was not done does not, nor does a
/// get that came to nothing.
fn constrains(operation: &Operation) -> bool {
    match operation.outcome {
        Outcome::Done(_) => true,
        Outcome::NotDone => false,
        Outcome::Unknown => operation.action != Action::Get,
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {:?} is not linearizable", self.key)?;
        writeln!(f, "these operations fit in this order:")?;
        if self.row.is_empty() {
            writeln!(f, "  (none)")?;
        }
        for operation in &self.row {
            writeln!(f, "  {}", line(operation))?;
        }
        writeln!(f, "and these fit nowhere before, between or after them:")?;
        for operation in &self.stuck {
            writeln!(f, "  {}", line(operation))?;
        }
        write!(f, "({} other operations of the key are not needed to show it)", self.others)
    }
}

/// One operation as a line of text.
fn line(operation: &Operation) -> String {
    let called = operation.called.at;
    let returned = match (&operation.outcome, operation.returned) {
        (Outcome::Unknown, _) | (_, None) => "...".to_string(),
        (_, Some(returned)) => returned.at.to_string(),
    };
    let what = match (&operation.action, &operation.outcome) {
        (Action::Put(value), Outcome::Unknown) => format!("put {value}, outcome unknown"),
        (Action::Put(value), _) => format!("put {value}"),
        (Action::Erase, Outcome::Unknown) => "erase, outcome unknown".to_string(),
        (Action::Erase, _) => "erase".to_string(),
        (Action::Get, Outcome::Done(Some(value))) => format!("get read {value}"),
        (Action::Get, _) => "get read nothing".to_string(),
    };
    format!("[{called:>8}, {returned:>8}]  process {}  {what}", operation.process)
}
