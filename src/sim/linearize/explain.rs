//! Makes a violation small enough to read.
//!
//! What is left out never changes the answer from yes to no, so that the part that is shown is a
//! proof for the whole: the history up to some point, without some of its gets, and without puts
//! whose value none of the gets that stay has read.

use std::collections::BTreeSet;

use super::Violation;
use super::search::{Answer, longest_row, search};
use crate::sim::history::{Action, Operation, Outcome};

/// How many steps it may all take; a part that is not as small as it could be is no harm.
const STEPS_MAX: u64 = 10_000_000;

/// How many steps the longest row of what is shown may take; a dozen operations need few.
const ROW_STEPS_MAX: u64 = 100_000;

/// Explains why `operations`, those of one key that constrain anything, have no order.
pub(super) fn explain(key: String, operations: Vec<Operation>) -> Violation {
    let mut budget = STEPS_MAX;
    let part = up_to_first_failure(&operations, &mut budget);
    let part: BTreeSet<usize> =
        shrink(part, &mut budget).iter().map(|operation| operation.called.order).collect();
    // As they really ended: a put that returned after the failure was in doubt only until then.
    let (part, others): (Vec<Operation>, Vec<Operation>) =
        operations.into_iter().partition(|operation| part.contains(&operation.called.order));
    let row = longest_row(&part, ROW_STEPS_MAX);
    let stuck = (0..part.len()).filter(|index| !row.contains(index));
    Violation {
        key,
        stuck: stuck.map(|index| part[index].clone()).collect(),
        row: row.iter().map(|&index| part[index].clone()).collect(),
        others: others.len(),
    }
}

/// The history as it stood at the first return that has no explanation.
fn up_to_first_failure(operations: &[Operation], budget: &mut u64) -> Vec<Operation> {
    let done = operations.iter().filter(|it| matches!(it.outcome, Outcome::Done(_)));
    let mut returns: Vec<usize> = done.filter_map(|it| Some(it.returned?.order)).collect();
    returns.sort_unstable();
    // If the history up to one return has no order, none that goes on from there has one.
    let first = returns.partition_point(|&order| {
        search(&as_it_stood(operations, order), budget) != Answer::NoOrder
    });
    match returns.get(first) {
        Some(&order) => as_it_stood(operations, order),
        None => operations.to_vec(),
    }
}

/// The history up to the event `order`: what had not returned was in doubt.
fn as_it_stood(operations: &[Operation], order: usize) -> Vec<Operation> {
    let called = operations.iter().filter(|operation| operation.called.order <= order);
    let seen = called.map(|operation| {
        let mut operation = operation.clone();
        if operation.returned.is_none_or(|returned| returned.order > order) {
            operation.outcome = Outcome::Unknown;
        }
        operation
    });
    seen.filter(super::constrains).collect()
}

/// Leaves out as much as it can: first large pieces, then single operations, until none can go.
fn shrink(mut operations: Vec<Operation>, budget: &mut u64) -> Vec<Operation> {
    let mut piece = operations.len().div_ceil(2);
    loop {
        let before = operations.len();
        let mut start = 0;
        while start < operations.len() && *budget > 0 {
            let less = without(&operations, start, start + piece);
            if less.len() < operations.len() && search(&less, budget) == Answer::NoOrder {
                operations = less;
            } else {
                start += piece;
            }
        }
        if *budget == 0 || (piece <= 1 && operations.len() == before) {
            return operations;
        }
        piece = piece.div_ceil(2);
    }
}

/// All but those from `start` to `end`; puts whose value is still read stay, and so does what erases.
fn without(operations: &[Operation], start: usize, end: usize) -> Vec<Operation> {
    let outside = |index: usize| index < start || index >= end;
    let read: BTreeSet<&str> = operations
        .iter()
        .enumerate()
        .filter(|(index, _)| outside(*index))
        .filter_map(|(_, operation)| match (&operation.action, &operation.outcome) {
            (Action::Get, Outcome::Done(Some(value))) => Some(value.as_str()),
            _ => None,
        })
        .collect();
    let stays = |(index, operation): &(usize, &Operation)| {
        outside(*index)
            || operation.action == Action::Erase
            || matches!(&operation.action, Action::Put(value) if read.contains(value.as_str()))
    };
    operations.iter().enumerate().filter(stays).map(|(_, operation)| operation.clone()).collect()
}
