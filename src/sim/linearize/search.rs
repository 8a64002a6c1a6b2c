//! The search for an order, for one key.
//!
//! An operation can come next if none that is still to be placed returned before it was called.
//! The search places one, goes on, and takes it back where that leads nowhere; what it remembers is
//! which sets of placed operations, with which value, have been tried. Four rules keep it short.
//! Each rests on an exchange: an order that works still works with some operations moved.
//!
//! 1. A get that can come next and reads the present value comes next: it changes nothing.
//! 2. A put in doubt is placed only where a get that can come next wants its value: before any other
//!    put it does nothing, and it may as well not have happened.
//! 3. No put is placed while gets of the present value are left and nobody will write it again.
//! 4. A put that can come next together with *all* gets of its value that are left comes next, and
//!    no other choice need be tried: by rule 1 the next operation is a put in any case, and before
//!    a put these do no harm.
//!
//! Where no two puts write the same value, 3 and 4 decide at every point, and nothing is tried twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::history::{Action, Operation, Outcome};

/// What a search comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder,
    /// The limit came first.
    Undecided,
}

/// Searches the operations of one key, given in the order of their calls. Takes the steps that it
/// needs off `budget`.
pub(super) fn search(operations: &[Operation], budget: &mut u64) -> Answer {
    let mut search = Search::new(operations, *budget, true);
    let answer = search.run();
    *budget = budget.saturating_sub(search.steps_taken);
    answer
}

/// A longest row of operations that can be placed, as indices into `operations`. Follows only rules
/// 1 and 2, so as to find the row that a reader would. A shorter one if the limit comes first.
pub(super) fn longest_row(operations: &[Operation], steps_max: u64) -> Vec<usize> {
    let mut search = Search::new(operations, steps_max, false);
    search.run();
    search.longest
}

/// A value by its number; 0 is none at all.
type Value = usize;

const NOTHING: Value = 0;

#[derive(Debug, Clone, Copy)]
enum Effect {
    Write(Value),
    Read(Value),
}

impl Effect {
    fn value(self) -> Value {
        let (Effect::Write(value) | Effect::Read(value)) = self;
        value
    }
}

/// An operation as the search sees it.
#[derive(Debug)]
struct Step {
    effect: Effect,
    called: usize,
    /// `None` for a put in doubt.
    returned: Option<usize>,
}

/// A point from which several operations are tried in turn.
struct Fork {
    /// How many operations were placed when it was reached.
    placed: usize,
    /// What is still to be tried, last first.
    choices: Vec<usize>,
    /// Whether there was more than one choice.
    branches: bool,
}

struct Search {
    steps: Vec<Step>,
    /// A ring through all that must still be placed, in the order of calls; the last index is its
    /// beginning and end.
    next: Vec<usize>,
    back: Vec<usize>,
    /// By value, its puts in doubt, in the order of calls.
    doubtful: Vec<Vec<usize>>,
    placed: Vec<bool>,
    /// How many must still be placed.
    left: usize,
    /// By value, how many gets are still to be placed.
    gets_left: Vec<usize>,
    /// By value, how many puts are still to be placed or, if in doubt, can be.
    puts_left: Vec<usize>,
    value: Value,
    /// What has been placed, in order, each with the value before it.
    row: Vec<(usize, Value)>,
    tried: BTreeSet<Box<[u64]>>,
    steps_taken: u64,
    steps_max: u64,
    /// Whether rules 3 and 4 hold.
    short: bool,
    longest: Vec<usize>,
}

impl Search {
    fn new(operations: &[Operation], steps_max: u64, short: bool) -> Self {
        let steps = steps(operations);
        let values = 1 + steps.iter().map(|step| step.effect.value()).max().unwrap_or(NOTHING);
        let ring_end = steps.len();
        let mut search = Search {
            next: (0..=ring_end).collect(),
            back: (0..=ring_end).collect(),
            doubtful: vec![Vec::new(); values],
            placed: vec![false; ring_end],
            left: 0,
            gets_left: vec![0; values],
            puts_left: vec![0; values],
            value: NOTHING,
            row: Vec::new(),
            tried: BTreeSet::new(),
            steps_taken: 0,
            steps_max,
            short,
            longest: Vec::new(),
            steps,
        };
        for index in 0..ring_end {
            let Step { effect, returned, .. } = search.steps[index];
            match effect {
                Effect::Write(value) => search.puts_left[value] += 1,
                Effect::Read(value) => search.gets_left[value] += 1,
            }
            if returned.is_none() {
                search.doubtful[effect.value()].push(index);
                continue;
            }
            let last = search.back[ring_end];
            (search.next[last], search.back[index]) = (index, last);
            (search.next[index], search.back[ring_end]) = (ring_end, index);
            search.left += 1;
        }
        search
    }

    fn run(&mut self) -> Answer {
        let mut forks: Vec<Fork> = Vec::new();
        self.place_gets();
        while self.left > 0 {
            if self.steps_taken >= self.steps_max {
                return Answer::Undecided;
            }
            let choices = self.choices();
            let branches = choices.len() > 1;
            forks.push(Fork { placed: self.row.len(), choices, branches });
            if !self.take_next(&mut forks) {
                return Answer::NoOrder;
            }
        }
        Answer::Order
    }

    /// Goes back to the last fork with a choice left and takes it; false if there is none.
    fn take_next(&mut self, forks: &mut Vec<Fork>) -> bool {
        while let Some(fork) = forks.last_mut() {
            if fork.choices.is_empty() && self.row.len() > self.longest.len() {
                self.longest = self.row.iter().map(|(index, _)| *index).collect();
            }
            self.take_back(fork.placed);
            let Some(choice) = fork.choices.pop() else {
                forks.pop();
                continue;
            };
            self.place(choice);
            self.place_gets();
            // What follows from a point without a fork need not be remembered beside that point.
            if !fork.branches || self.tried.insert(self.point()) {
                return true;
            }
        }
        false
    }

    /// The puts that are to be tried next, last first.
    fn choices(&mut self) -> Vec<usize> {
        if self.short && self.gets_left[self.value] > 0 && self.puts_left[self.value] == 0 {
            return Vec::new();
        }
        let (can_be_next, until) = self.can_be_next();
        let mut choices = Vec::new();
        for index in can_be_next {
            match self.steps[index].effect {
                Effect::Write(_) => choices.push(index),
                // Of several in doubt, the one called first is as good as any.
                Effect::Read(value) => choices.extend(
                    self.doubtful[value]
                        .iter()
                        .find(|&&put| !self.placed[put])
                        .filter(|&&put| self.steps[put].called < until)
                        .filter(|put| !choices.contains(put)),
                ),
            }
        }
        if self.short {
            let alone = choices.iter().copied().find(|&put| self.takes_all_its_gets(put));
            if let Some(put) = alone {
                return vec![put];
            }
        }
        choices.reverse();
        choices
    }

    fn takes_all_its_gets(&mut self, put: usize) -> bool {
        let placed = self.row.len();
        self.place(put);
        self.place_gets();
        let all = self.gets_left[self.value] == 0;
        self.take_back(placed);
        all
    }

    /// What must still be placed and can come next; and the return before which that must be
    /// called.
    fn can_be_next(&self) -> (Vec<usize>, usize) {
        let ring_end = self.steps.len();
        let (mut found, mut until) = (Vec::new(), usize::MAX);
        let mut index = self.next[ring_end];
        while index != ring_end && self.steps[index].called < until {
            found.push(index);
            until = until.min(self.steps[index].returned.unwrap_or(usize::MAX));
            index = self.next[index];
        }
        (found, until)
    }

    /// Rule 1, until no get fits any more.
    fn place_gets(&mut self) {
        let mut placed = true;
        while placed && self.gets_left[self.value] > 0 {
            placed = false;
            for index in self.can_be_next().0 {
                if matches!(self.steps[index].effect, Effect::Read(read) if read == self.value) {
                    self.place(index);
                    placed = true;
                }
            }
        }
    }

    fn place(&mut self, index: usize) {
        self.steps_taken += 1;
        self.row.push((index, self.value));
        self.placed[index] = true;
        match self.steps[index].effect {
            Effect::Write(value) => {
                self.puts_left[value] -= 1;
                self.value = value;
            }
            Effect::Read(value) => self.gets_left[value] -= 1,
        }
        if self.steps[index].returned.is_some() {
            self.left -= 1;
            let (back, next) = (self.back[index], self.next[index]);
            (self.next[back], self.back[next]) = (next, back);
        }
    }

    /// Takes operations back until `placed` are left, the last one first: the ring needs that order.
    fn take_back(&mut self, placed: usize) {
        while self.row.len() > placed {
            let (index, before) = self.row.pop().expect("the row is longer");
            self.placed[index] = false;
            self.value = before;
            match self.steps[index].effect {
                Effect::Write(value) => self.puts_left[value] += 1,
                Effect::Read(value) => self.gets_left[value] += 1,
            }
            if self.steps[index].returned.is_some() {
                self.left += 1;
                let (back, next) = (self.back[index], self.next[index]);
                (self.next[back], self.back[next]) = (index, index);
            }
        }
    }

    /// Lowe's configuration: the present value and the set of placed operations, as bits. Those up
    /// to the first that must still be placed are told by its index, but for the ones in doubt.
    fn point(&self) -> Box<[u64]> {
        let first = self.next[self.steps.len()];
        let doubtful = self.doubtful.iter().flatten();
        let early = doubtful.filter(|&&index| index < first && self.placed[index]);
        let mut point = vec![self.value as u64, first as u64];
        point.extend(early.map(|&index| index as u64));
        // Nothing called later is placed yet.
        let until = self.can_be_next().1;
        let end = self.steps.partition_point(|step| step.called < until);
        point.push(u64::MAX);
        for bits in self.placed[first.min(end)..end].chunks(u64::BITS as usize) {
            // The first is the lowest, so that a set has the same bits however far the window goes.
            point.push(bits.iter().rev().fold(0, |word, &placed| (word << 1) | u64::from(placed)));
        }
        point.into_boxed_slice()
    }
}

/// The operations with their values numbered.
fn steps(operations: &[Operation]) -> Vec<Step> {
    let mut numbers: BTreeMap<&str, Value> = BTreeMap::new();
    let mut number = |value| {
        let next = numbers.len() + 1;
        *numbers.entry(value).or_insert(next)
    };
    operations
        .iter()
        .map(|operation| {
            let effect = match (&operation.action, &operation.outcome) {
                (Action::Put(value), _) => Effect::Write(number(value)),
                (Action::Erase, _) => Effect::Write(NOTHING),
                (Action::Get, Outcome::Done(Some(value))) => Effect::Read(number(value)),
                (Action::Get, _) => Effect::Read(NOTHING),
            };
            let done = matches!(operation.outcome, Outcome::Done(_));
            let returned = operation.returned.filter(|_| done).map(|moment| moment.order);
            Step { effect, called: operation.called.order, returned }
        })
        .collect()
}
