//! How far a transfer of slots is: what of them is to be sent, what is on its way, and who needs it.

use std::collections::BTreeMap;

use super::holds::Primary;
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::text::Text;

/// How many slots are on their way to one server at once, for each range.
const SLOTS_IN_FLIGHT_MAX: usize = 64;

/// How far a server is that gets slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Sync {
    /// The joining that this is about.
    pub(super) since: Revision,
    /// Slots of which something is to be sent, and the name behind which that starts; without one, it
    /// is all of the slot.
    pub(super) todo: BTreeMap<Slot, Option<Text>>,
    /// Slots on their way.
    pub(super) flight: Flights,
    /// Whether the server has shown that it stands at our revision (and so has put aside what it had
    /// from before).
    pub(super) begun: bool,
    /// The fingerprints of what it has put aside: of slots that are as ours nothing need be sent.
    offers: BTreeMap<Slot, u64>,
    /// Whether it holds all that we hold, and the leader was told: from then on every write and
    /// every confirmation needs it.
    pub(super) synced: bool,
    /// Whether every new write needs it already: it has every slot, and only writes that were
    /// acknowledged before are still on their way. Without this, steady writes would keep it from
    /// ever being synced.
    pub(super) closing: bool,
    /// Whether the leader has acknowledged that report.
    pub(super) reported: bool,
}

/// A part of a slot that was sent and not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) number: u64,
    /// The name behind which the part starts.
    pub(super) after: Option<Text>,
    /// The part's last name, where another part follows.
    pub(super) next: Option<Text>,
    pub(super) sent_at: Millis,
    pub(super) bytes: usize,
}

/// Parts that were sent and not acknowledged, of each slot at most one.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights {
    of: BTreeMap<Slot, Flight>,
    /// Invariant: those of all together.
    bytes: usize,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// How many bytes all have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Flight> {
        self.of.get(&slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Flight)> {
        self.of.iter().map(|(slot, flight)| (*slot, flight))
    }

    pub(super) fn insert(&mut self, slot: Slot, flight: Flight) {
        self.bytes += flight.bytes;
        if let Some(before) = self.of.insert(slot, flight) {
            self.bytes -= before.bytes;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Flight> {
        let flight = self.of.remove(&slot)?;
        self.bytes -= flight.bytes;
        Some(flight)
    }

    fn retain(&mut self, inside: impl Fn(&Slot) -> bool) {
        self.of.retain(|slot, _| inside(slot));
        self.bytes = self.of.values().map(|flight| flight.bytes).sum();
    }

    fn take(&mut self) -> BTreeMap<Slot, Flight> {
        std::mem::take(self).of
    }
}

impl Flight {
    /// A slot that is on its way as a whole, and has no bytes.
    pub(super) fn whole(number: u64, sent_at: Millis) -> Self {
        Flight { number, after: None, next: None, sent_at, bytes: 0 }
    }
}

impl Sync {
    /// A transfer of these slots.
    pub(super) fn of(since: Revision, slots: impl IntoIterator<Item = Slot>) -> Self {
        let todo = slots.into_iter().map(|slot| (slot, None)).collect();
        Sync { since, todo, ..Sync::default() }
    }

    /// What an active server lacked at a fail-over.
    pub(super) fn push(since: Revision, slots: impl IntoIterator<Item = Slot>) -> Self {
        Sync { begun: true, ..Sync::of(since, slots) }
    }

    /// Whether slots are missing or something is not acknowledged.
    pub(super) fn is_busy(&self) -> bool {
        !self.begun || !self.is_delivered() || !self.reported
    }

    /// Whether writes and confirmations need it.
    pub(super) fn is_needed(&self) -> bool {
        self.synced || self.closing
    }

    /// Whether every slot was delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.todo.is_empty() && self.flight.is_empty()
    }

    /// The server has put this aside; each slot of it has to be answered for.
    pub(super) fn offer(&mut self, offers: impl Iterator<Item = (Slot, u64)>) {
        self.offers = offers.collect();
        self.todo.extend(self.offers.keys().map(|slot| (*slot, None)));
    }

    /// What the server has put aside for a slot; asked once.
    pub(super) fn take_offer(&mut self, slot: Slot) -> Option<u64> {
        self.offers.remove(&slot)
    }

    /// Whether there is something to be sent, and room for it on the way. One that has not begun may yet
    /// say what need not be sent.
    pub(super) fn waits_to_send(&self) -> bool {
        let begun = self.begun || planted(Planted::SyncedUnbegun);
        begun && !self.todo.is_empty() && self.flight.len() < SLOTS_IN_FLIGHT_MAX
    }

    /// A slot is to be sent, all of it, whatever of it was sent before.
    pub(super) fn send_again(&mut self, slot: Slot) {
        self.flight.remove(slot);
        self.todo.insert(slot, None);
    }

    /// Keeps the slots for which `inside` holds.
    pub(super) fn keep(&mut self, inside: &impl Fn(&Slot) -> bool) {
        self.todo.retain(|slot, _| inside(slot));
        self.flight.retain(inside);
        self.offers.retain(|slot, _| inside(slot));
    }

    /// A new revision has begun: what is on its way will be refused, so it starts again. What was
    /// acknowledged before it is held.
    pub(super) fn restart_flight(&mut self) {
        let flight = self.flight.take().into_iter();
        self.todo.extend(flight.map(|(slot, flight)| (slot, flight.after)));
        self.reported = false;
    }
}

/// The transfer to a server: a joiner's, or a replica's while the primary reconciles.
pub(super) fn transfer<'a>(primary: &'a mut Primary, id: &NodeId) -> Option<&'a mut Sync> {
    match &mut primary.reconcile {
        Some(reconcile) => reconcile.pushes.as_mut()?.get_mut(id),
        None => primary.syncs.get_mut(id),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn flights_know_their_bytes(
            steps in prop::collection::vec((0..8u16, prop::option::of(0..1000usize)), 0..60),
            until in 0..9u16,
        ) {
            let (mut flights, mut twin) = (Flights::default(), BTreeMap::new());
            for (slot, bytes) in steps {
                match bytes {
                    Some(bytes) => {
                        flights.insert(slot, Flight { bytes, ..Flight::whole(1, 0) });
                        twin.insert(slot, bytes);
                    }
                    None => {
                        let gone = flights.remove(slot).map(|flight| flight.bytes);
                        prop_assert_eq!(gone, twin.remove(&slot));
                    }
                }
                prop_assert_eq!(flights.bytes(), twin.values().sum::<usize>());
                prop_assert_eq!(flights.len(), twin.len());
            }
            flights.retain(|slot| *slot < until);
            twin.retain(|slot, _| *slot < until);
            prop_assert_eq!(flights.bytes(), twin.values().sum::<usize>());
            prop_assert_eq!(flights.take().len(), twin.len());
            prop_assert_eq!((flights.bytes(), flights.is_empty()), (0, true));
        }
    }
}
