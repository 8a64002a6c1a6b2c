//! Giving slots to another server: a joiner's snapshot, or what a replica lacked at a fail-over.

use super::holds::Role;
use super::transfer::{Flight, Sync, transfer};
use super::{Out, Server};
use crate::core::assignment::{NodeId, Span};
use crate::core::hash::Slot;
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::part::Part;
use crate::core::wire::peer::{Body, PeerMessage};
use crate::core::wire::text::Text;

/// How many bytes of parts may be on their way to one server before no further part is sent. What
/// waits for a slow connection must stay well below what its queue takes.
const FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Server {
    /// Begins to give the range that holds `slot` to its joiners, where this server is the
    /// primary and serves.
    pub(super) fn start_syncs(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let (start, end) = (hold.entry.start, hold.entry.end);
        let joining = hold.entry.joining.clone();
        let Role::Primary(primary) = &mut hold.role else {
            return;
        };
        if !primary.serves() {
            return;
        }
        primary.syncs.retain(|id, sync| {
            joining.iter().any(|joiner| joiner.id() == id && joiner.since() == sync.since)
        });
        for sync in primary.syncs.values_mut() {
            sync.restart_flight();
        }
        for joiner in &joining {
            if !primary.syncs.contains_key(joiner.id()) {
                let sync = Sync::of(joiner.since(), self.store.filled(start, end));
                primary.syncs.insert(joiner.id().clone(), sync);
            }
        }
        let ids: Vec<NodeId> = joining.iter().map(|joiner| joiner.id().clone()).collect();
        for id in ids {
            self.ask_begun(slot, &id, out);
            self.send_parts(now, slot, &id, out);
            self.check_synced(slot, out);
        }
    }

    /// Asks a joiner whether it stands at our revision.
    pub(super) fn ask_begun(&mut self, slot: Slot, id: &NodeId, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let span = hold.span();
        let entry = hold.entry.clone();
        let begun = hold.primary().and_then(|p| p.syncs.get(id)).is_none_or(|sync| sync.begun);
        if !begun {
            self.send(id, Body::Teach(vec![entry]), out);
            self.send(id, Body::Confirm { span, round: 0 }, out);
            self.want_retry();
        }
    }

    /// Sends parts to a server that gets slots, as many as may be on their way, and as the pace allows.
    pub(super) fn send_parts(&mut self, now: Millis, slot: Slot, id: &NodeId, out: &mut Out) {
        loop {
            let Some(hold) = self.holds.at_mut(slot) else {
                return;
            };
            let revision = hold.entry.revision;
            let paced = hold.is_paced();
            let Some(primary) = hold.primary() else { return };
            let Some(sync) = transfer(primary, id) else { return };
            if !sync.waits_to_send() || paced && !self.pace.allows(now) {
                return;
            }
            let most = if paced { self.pace.flight_bytes_max(now) } else { usize::MAX };
            if self.flight_bytes(id) >= most.min(FLIGHT_BYTES_MAX) {
                return;
            }
            let hold = self.holds.at_mut(slot);
            let sync = hold.and_then(|hold| hold.primary()).and_then(|p| transfer(p, id));
            let Some(sync) = sync else { return };
            let Some((next, after)) = sync.todo.pop_first() else {
                return;
            };
            self.send_part(now, Span(next, next + 1, revision), id, after, out);
        }
    }

    /// Goes on in other ranges where the server's share of bytes on their way was used up.
    fn send_parts_elsewhere(&mut self, now: Millis, id: &NodeId, out: &mut Out) {
        if self.flight_bytes(id) >= FLIGHT_BYTES_MAX {
            return;
        }
        let mut starts = Vec::new();
        for hold in self.holds.iter_mut() {
            let start = hold.entry.start;
            let sync = hold.primary().and_then(|primary| transfer(primary, id));
            if sync.is_some_and(|sync| sync.waits_to_send()) {
                starts.push(start);
            }
        }
        for start in starts {
            self.send_parts(now, start, id, out);
        }
    }

    /// How many bytes of parts are on their way to a server.
    fn flight_bytes(&mut self, id: &NodeId) -> usize {
        let primaries = self.holds.iter_mut().filter_map(|hold| hold.primary());
        let syncs = primaries.filter_map(|primary| transfer(primary, id));
        syncs.map(|sync| sync.flight.bytes()).sum()
    }

    /// Sends what of a slot stands behind a name, as much as goes into one part.
    fn send_part(
        &mut self,
        now: Millis,
        span: Span,
        id: &NodeId,
        after: Option<Text>,
        out: &mut Out,
    ) {
        if after.is_none() && self.has_same(span.0, id) {
            return self.send_keep(now, span, id, out);
        }
        let fresh = self.next_number();
        let part = self.store.part(span.0, after.as_ref());
        let cut = if part.last { None } else { part.cells.last() };
        let next = cut.map(|cell| cell.to_name());
        let Some(hold) = self.holds.at_mut(span.0) else { return };
        let paced = hold.is_paced();
        let Some(sync) = hold.primary().and_then(|primary| transfer(primary, id)) else { return };
        let before = sync.flight.get(span.0).filter(|flight| flight.after == after);
        // Sent again it keeps its number, so that an acknowledgement counts however late it is. The
        // content may be cut elsewhere now: what goes on from the earlier cut misses nothing.
        let (number, next) = match before {
            None => (fresh, next),
            Some(Flight { number, next: None, .. }) => (*number, next),
            Some(Flight { number, next: Some(sent), .. }) => {
                (*number, Some(next.map_or(sent.clone(), |next| next.min(sent.clone()))))
            }
        };
        let bytes = part.bytes();
        sync.flight.insert(span.0, Flight { number, after, next, sent_at: now, bytes });
        if paced {
            self.pace.spend(bytes);
        }
        let body = Body::Chunk { span, number, part: Part::default() };
        let write = |head: &[u8]| PeerMessage::with_part(head, &body, &part);
        let message = self.addresses.message(&self.id, &self.addr, id, write);
        drop(part);
        self.push(&body, message, out);
        self.want_retry();
    }

    /// A primary gives us a part of a slot.
    pub(super) fn chunk(
        &mut self,
        from: &NodeId,
        span: Span,
        number: u64,
        part: Part,
        out: &mut Out,
    ) {
        let Some(hold) = self.holds.at(span.0) else {
            return;
        };
        let joins = matches!(hold.role, Role::Joiner);
        if !joins && !matches!(hold.role, Role::Replica) {
            return;
        }
        self.store.drop_aside(span.0, span.1);
        let mut keys = 0;
        self.store.merge(span.0, part, |cell| {
            self.local.overtake(cell.name);
            keys += 1;
        });
        if joins {
            self.keys_received += keys;
        }
        self.send(from, Body::ChunkHeld { span, number }, out);
    }

    /// A part was acknowledged.
    pub(super) fn chunk_held(
        &mut self,
        now: Millis,
        from: &NodeId,
        span: Span,
        number: u64,
        out: &mut Out,
    ) {
        let slot = span.0;
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let Some(sync) = hold.primary().and_then(|primary| transfer(primary, from)) else {
            return;
        };
        if sync.flight.get(slot).is_none_or(|flight| flight.number != number) {
            return;
        }
        let next = sync.flight.remove(slot).and_then(|flight| flight.next);
        if next.is_some() && !planted(Planted::PartsLeftOut) {
            sync.todo.insert(slot, next);
        }
        self.send_parts(now, slot, from, out);
        self.send_parts_elsewhere(now, from, out);
        self.reconcile_step(now, slot, out);
        self.check_synced(slot, out);
    }

    /// A joiner stands at our revision.
    pub(super) fn joiner_begun(&mut self, now: Millis, from: &NodeId, span: Span, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(span.0) else {
            return;
        };
        if let Some(sync) = hold.primary().and_then(|primary| primary.syncs.get_mut(from)) {
            sync.begun = true;
        }
        self.send_parts(now, span.0, from, out);
        self.check_synced(span.0, out);
    }

    /// Reports the joiners of a range that hold all that we hold: every slot was delivered, and
    /// every write that a client was told of. Writes that clients were not told of need it now.
    pub(super) fn check_synced(&mut self, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let Span(start, end, _) = hold.span();
        let Some(primary) = hold.primary().filter(|primary| primary.serves()) else {
            return;
        };
        let delivered: Vec<NodeId> = primary
            .syncs
            .iter()
            .filter(|(_, sync)| !sync.synced && (sync.begun || planted(Planted::SyncedUnbegun)))
            .filter(|(_, sync)| sync.is_delivered() || planted(Planted::SyncedUndelivered))
            .map(|(id, _)| id.clone())
            .collect();
        for id in delivered {
            if !planted(Planted::SyncedWithoutPending) {
                self.writes.need(start, end, &id);
            }
            if let Some(sync) = self.sync_mut(slot, &id) {
                sync.closing = true;
            }
            if self.writes.trails(start, end, &id) && !planted(Planted::SyncedWhileTrailing) {
                continue;
            }
            if let Some(sync) = self.sync_mut(slot, &id) {
                sync.synced = true;
            }
            self.report_synced(out);
        }
    }

    /// The transfer to a joiner of the range that holds `slot`.
    pub(super) fn sync_mut(&mut self, slot: Slot, id: &NodeId) -> Option<&mut Sync> {
        self.holds.at_mut(slot)?.primary()?.syncs.get_mut(id)
    }

    /// Sends again what was not acknowledged in time.
    pub(super) fn retry_syncs(
        &mut self,
        now: Millis,
        patience_ms: Millis,
        slot: Slot,
        out: &mut Out,
    ) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let revision = hold.entry.revision;
        let Some(primary) = hold.primary() else {
            return;
        };
        let pushes = primary.reconcile.as_ref().and_then(|reconcile| reconcile.pushes.as_ref());
        let transfers = primary.syncs.iter().chain(pushes.into_iter().flatten());
        let mut late = Vec::new();
        let mut ids = Vec::new();
        for (id, sync) in transfers {
            ids.push(id.clone());
            for (slot, flight) in sync.flight.iter() {
                if flight.sent_at + patience_ms <= now {
                    late.push((id.clone(), slot, flight.after.clone()));
                }
            }
        }
        for (id, slot, after) in late {
            self.send_part(now, Span(slot, slot + 1, revision), &id, after, out);
        }
        for id in ids {
            self.ask_begun(slot, &id, out);
            self.send_parts(now, slot, &id, out);
        }
    }
}
