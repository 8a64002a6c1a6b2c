//! What a joiner has from an earlier time: put aside, and held again where it is what the primary has.
//!
//! A joiner begins with nothing, since what it has may be writes that never were. But a server that
//! was away for a moment has nearly everything already. So it says what it has put aside, slot by slot
//! in fingerprints, and of a slot whose content is the very same the primary sends no chunk, but the
//! order to hold that: to the protocol, a short form of the chunk.

use std::collections::BTreeMap;

use super::holds::Role;
use super::transfer::Flight;
use super::{Out, Server};
use crate::core::assignment::{NodeId, Span};
use crate::core::hash::Slot;
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::peer::Body;

impl Server {
    /// A primary asks whether we have begun, and we have put something aside: that comes first. What
    /// it does not answer for slot by slot must not count as begun.
    pub(super) fn tell_aside(&mut self, from: &NodeId, span: Span, out: &mut Out) {
        let slots = self.store.aside(span.0, span.1).collect();
        self.send(from, Body::Holdings { span, slots }, out);
    }

    /// A joiner has begun, and says what it has put aside. Every such slot gets a chunk or the order to
    /// keep it, also one that is empty here.
    pub(super) fn joiner_offers(
        &mut self,
        now: Millis,
        from: &NodeId,
        span: Span,
        offers: BTreeMap<Slot, u64>,
        out: &mut Out,
    ) {
        let Some(sync) = self.holds.exactly(span).and_then(|hold| hold.primary()) else {
            return;
        };
        let Some(sync) = sync.syncs.get_mut(from).filter(|sync| !sync.begun) else {
            return;
        };
        sync.offer(offers.into_iter().filter(|(slot, _)| (span.0..span.1).contains(slot)));
        self.joiner_begun(now, from, span, out);
    }

    /// Whether a joiner has put aside for a slot what we have there. Asked once: what is sent again is
    /// sent as a chunk.
    pub(super) fn has_same(&mut self, slot: Slot, id: &NodeId) -> bool {
        let offer = self.sync_mut(slot, id).and_then(|sync| sync.take_offer(slot));
        let same = |offer| offer == self.store.fingerprint(slot);
        offer.is_some_and(|offer| same(offer) || planted(Planted::AsideUnchecked))
    }

    /// Sends the order to keep a slot.
    pub(super) fn send_keep(&mut self, now: Millis, span: Span, id: &NodeId, out: &mut Out) {
        let number = self.next_number();
        let fingerprint = self.store.fingerprint(span.0);
        let Some(sync) = self.sync_mut(span.0, id) else { return };
        sync.flight.insert(span.0, Flight::whole(number, now));
        self.send(id, Body::Keep { span, number, fingerprint }, out);
        self.want_retry();
    }

    /// The primary orders a slot to be kept. Where that is not what we have, it sends a chunk when it
    /// has waited long enough.
    pub(super) fn keep_aside(
        &mut self,
        from: &NodeId,
        span: Span,
        number: u64,
        fingerprint: u64,
        out: &mut Out,
    ) {
        let joins = self.holds.at(span.0).is_some_and(|hold| matches!(hold.role, Role::Joiner));
        if joins && self.store.take_aside(span.0, fingerprint) {
            self.send(from, Body::ChunkHeld { span, number }, out);
        }
    }
}
