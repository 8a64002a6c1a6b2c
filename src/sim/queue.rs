//! Events in the order in which they happen.

use std::collections::BTreeMap;

use super::network::{FlightId, LinkId};
use super::node::ProcessId;
use crate::core::machine::{CallError, Millis};

/// Something that happens at a point in virtual time.
#[derive(Debug)]
pub(super) enum Event {
    /// A request arrives at the address that it was sent to.
    Request(FlightId),
    /// A reply, or the news that there is none, arrives at the caller.
    Reply(FlightId, Result<Vec<u8>, CallError>),
    /// A caller's patience ends.
    Expire(FlightId),
    /// A frame that has no reply arrives over a kept-open connection.
    Frame(LinkId, Vec<u8>),
    /// The opener of a kept-open connection learns that it has closed.
    Closed(LinkId),
    /// A process's disk has synced.
    Synced(ProcessId),
    /// A process wanted to be woken.
    Wake(ProcessId),
}

/// The events to come. What is due at the same time happens in the order in which it was planned.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BTreeMap<(Millis, u64), Event>,
    planned: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Millis, event: Event) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// The next event that is due at `until` or before.
    pub(super) fn pop(&mut self, until: Millis) -> Option<(Millis, Event)> {
        let entry = self.events.first_entry()?;
        let (at, _) = *entry.key();
        (at <= until).then(|| (at, entry.remove()))
    }
}
