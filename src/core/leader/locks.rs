//! The lock table: first come first served, no leases.

use std::collections::{BTreeMap, VecDeque};

use super::record::Change;
use crate::core::planted::{Planted, planted};
use crate::core::wire::json::Json;

/// The lock that shows a rebalance: nobody is granted it while keys move.
const REBALANCING: &str = "\"rebalancing\"";

/// How many locks may be held at once. Who asks for one more is told to try again.
pub(super) const LOCKS_MAX: usize = 100_000;

/// How many may queue for one lock. Who comes later has no place, and is told to try again.
pub(super) const WAITERS_MAX: usize = 10_000;

/// All locks that somebody holds. A lock is its queue; the first in it is the holder.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// Invariant: no queue is empty, and nobody stands in one twice.
    queues: BTreeMap<Json, VecDeque<Json>>,
    /// What has changed since that was last taken: by one request at most.
    changed: Option<Change>,
}

/// Whether a lock is the one that shows a rebalance.
pub(super) fn is_rebalancing(lock: &Json) -> bool {
    lock.as_str() == REBALANCING
}

impl Locks {
    /// The locks of a record.
    pub(super) fn new(queues: BTreeMap<Json, Vec<Json>>) -> Self {
        let queues = queues.into_iter().map(|(lock, queue)| (lock, queue.into()));
        Locks { queues: queues.collect(), changed: None }
    }

    /// All queues.
    pub(super) fn queues(&self) -> BTreeMap<Json, Vec<Json>> {
        let copy = |(lock, queue): (&Json, &VecDeque<Json>)| {
            (lock.clone(), queue.iter().cloned().collect())
        };
        self.queues.iter().map(copy).collect()
    }

    /// What has changed since this was asked last.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        self.changed.take().into_iter().collect()
    }

    /// Asks for a lock; true where `requestor` holds it now. Else it has a place in the queue.
    pub(super) fn get(&mut self, lock: Json, requestor: &Json, settled: bool) -> bool {
        let settled = settled || planted(Planted::GrantedWhileMoving);
        let may_be_granted = settled || !is_rebalancing(&lock);
        if self.queues.len() >= LOCKS_MAX && !self.queues.contains_key(&lock) {
            return false;
        }
        let queue = self.queues.entry(lock.clone()).or_default();
        if !queue.contains(requestor) && queue.len() < WAITERS_MAX {
            queue.push_back(requestor.clone());
            self.changed = Some(Change::Queued(lock, requestor.clone()));
        }
        may_be_granted && queue.front() == Some(requestor)
    }

    /// How many locks are held, and the length of the longest queue.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.queues.len(), self.queues.values().map(VecDeque::len).max().unwrap_or(0))
    }

    /// Each lock that is held, and its queue: the holder, and who waits, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Json, &VecDeque<Json>)> {
        self.queues.iter()
    }

    /// Leaves a lock's queue, and so releases it where `requestor` held it; false where it did not
    /// stand there.
    pub(super) fn release(&mut self, lock: &Json, requestor: &Json) -> bool {
        let Some(queue) = self.queues.get_mut(lock) else {
            return false;
        };
        let Some(place) = queue.iter().position(|waiting| waiting == requestor) else {
            return false;
        };
        let left = queue.remove(if planted(Planted::WaiterReleases) { 0 } else { place });
        self.changed = left.map(|left| Change::Unqueued(lock.clone(), left));
        if queue.is_empty() {
            self.queues.remove(lock);
        }
        true
    }
}
