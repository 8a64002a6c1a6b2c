//! What a session was asked for: which operations begin next, and whom their ends are told.

use std::collections::{BTreeMap, VecDeque};

use super::remote::{Answer, Done, Ticket};
use crate::core::client::{Op, OpError, OpId, Outcome};
use crate::core::machine::Millis;

/// How many operations of one client are under way at once; others wait for their turn.
const OPS_MAX: usize = 1_024;

/// Where an operation's end belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    ticket: Ticket,
    index: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Batches {
    timeout_ms: Millis,
    batches: BTreeMap<Ticket, Batch>,
    /// Those that have operations to begin, in turns: one that names many names holds up nobody.
    turns: VecDeque<Ticket>,
    running: BTreeMap<OpId, Place>,
}

#[derive(Debug)]
struct Batch {
    waiting: std::iter::Enumerate<std::vec::IntoIter<Op>>,
    results: Vec<Option<Result<Outcome, OpError>>>,
    left: usize,
    /// When an operation ended well last, or the first was begun.
    progress: Option<Millis>,
    done: Done,
}

impl Batches {
    pub(super) fn new(timeout_ms: Millis) -> Self {
        Batches {
            timeout_ms,
            batches: BTreeMap::new(),
            turns: VecDeque::new(),
            running: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, ticket: Ticket, ops: Vec<Op>, done: Done) {
        let left = ops.len();
        if left == 0 {
            return done.tell(Answer::Ops(Vec::new()));
        }
        let (waiting, results) = (ops.into_iter().enumerate(), vec![None; left]);
        self.batches.insert(ticket, Batch { waiting, results, left, progress: None, done });
        self.turns.push_back(ticket);
    }

    /// Forgets a batch; gives its operations that are under way.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Vec<OpId> {
        self.batches.remove(&ticket);
        let of_it = self.running.iter().filter(|(_, place)| place.ticket == ticket);
        let ops: Vec<OpId> = of_it.map(|(op, _)| *op).collect();
        for op in &ops {
            self.running.remove(op);
        }
        ops
    }

    /// The operation that shall begin now; none where enough are under way.
    pub(super) fn next(&mut self, now: Millis) -> Option<(Place, Op)> {
        while self.running.len() < OPS_MAX
            && let Some(ticket) = self.turns.pop_front()
        {
            let Some(batch) = self.batches.get_mut(&ticket) else {
                continue;
            };
            let Some((index, op)) = batch.waiting.next() else {
                continue;
            };
            let progress = *batch.progress.get_or_insert(now);
            self.turns.push_back(ticket);
            if now >= progress + self.timeout_ms {
                // Waiting for each in turn could take for ever.
                let why = "not sent, as others of the same call had no answer".to_owned();
                self.end(Place { ticket, index }, Err(OpError::NotDone(why)));
                continue;
            }
            return Some((Place { ticket, index }, op));
        }
        None
    }

    pub(super) fn begun(&mut self, op: OpId, place: Place) {
        self.running.insert(op, place);
    }

    /// An operation has ended.
    pub(super) fn finish(&mut self, now: Millis, op: OpId, result: Result<Outcome, OpError>) {
        let Some(place) = self.running.remove(&op) else {
            return;
        };
        if result.is_ok()
            && let Some(batch) = self.batches.get_mut(&place.ticket)
        {
            batch.progress = Some(now);
        }
        self.end(place, result);
    }

    fn end(&mut self, place: Place, result: Result<Outcome, OpError>) {
        let Some(batch) = self.batches.get_mut(&place.ticket) else {
            return;
        };
        batch.results[place.index] = Some(result);
        batch.left -= 1;
        if batch.left == 0
            && let Some(batch) = self.batches.remove(&place.ticket)
        {
            batch.done.tell(Answer::Ops(batch.results.into_iter().flatten().collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::core::wire::text::Text;

    fn reads(count: usize) -> Vec<Op> {
        (0..count).map(|number| Op::Read { key: Text::from(number.to_string().as_str()) }).collect()
    }

    fn done() -> (Done, Receiver<Answer>) {
        let (sender, receiver) = channel();
        let tell = move |answer| {
            // A test need not listen to the end.
            let _ = sender.send(answer);
        };
        (Done::new(tell), receiver)
    }

    #[test]
    fn batches_take_turns() {
        let mut batches = Batches::new(100);
        let (long, _ends) = done();
        let (short, end) = done();
        batches.add(Ticket(1), reads(OPS_MAX), long);
        batches.add(Ticket(2), reads(1), short);
        let places = [batches.next(0).unwrap().0, batches.next(0).unwrap().0];
        assert_eq!(places.map(|place| place.ticket), [Ticket(1), Ticket(2)]);
        batches.begun(OpId(1), places[0]);
        batches.begun(OpId(2), places[1]);
        batches.finish(1, OpId(2), Ok(Outcome::NotFound));
        assert!(matches!(end.try_recv(), Ok(Answer::Ops(ends)) if ends.len() == 1));
    }

    #[test]
    fn what_has_no_answer_does_not_hold_up_the_rest_for_ever() {
        let mut batches = Batches::new(100);
        let (all, end) = done();
        batches.add(Ticket(1), reads(OPS_MAX + 5), all);
        for number in 0..OPS_MAX {
            let (place, _) = batches.next(0).unwrap();
            batches.begun(OpId(number as u64), place);
        }
        assert!(batches.next(50).is_none(), "enough are under way");
        for number in 0..OPS_MAX {
            batches.finish(100, OpId(number as u64), Err(OpError::NotDone("silent".to_owned())));
        }
        assert!(batches.next(100).is_none(), "the rest ends unsent");
        assert!(matches!(end.try_recv(), Ok(Answer::Ops(ends)) if ends.len() == OPS_MAX + 5));
    }

    #[test]
    fn a_cancelled_batch_begins_nothing_and_says_that_it_was_abandoned() {
        let mut batches = Batches::new(100);
        let (all, end) = done();
        batches.add(Ticket(1), reads(3), all);
        let (place, _) = batches.next(0).unwrap();
        batches.begun(OpId(7), place);
        assert_eq!(batches.cancel(Ticket(1)), [OpId(7)]);
        assert!(matches!(end.try_recv(), Ok(Answer::Abandoned)));
        assert!(batches.next(0).is_none());
    }
}
