//! A new primary's first work: nothing that anybody holds may get lost, or come back later.
//!
//! It asks the other active replicas for what they hold, takes the highest version of each key,
//! prepared or acknowledged, gives it to all of them, and only then serves. It aborts nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::holds::{Pull, Role};
use super::transfer::Sync;
use super::{Out, Server};
use crate::core::assignment::{NodeId, Span};
use crate::core::hash::Slot;
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::part::Part;
use crate::core::wire::peer::{Body, PeerMessage};
use crate::core::wire::text::Text;

/// How many slots are fetched at once, for each range. Few, since one may hold a value of the
/// longest kind, and usually hardly any differ.
const PULLS_MAX: usize = 4;

impl Server {
    /// Asks the other active replicas of a range for what they hold.
    pub(super) fn ask_holdings(&mut self, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let (span, entry) = (hold.span(), hold.entry.clone());
        let Some(reconcile) = hold.primary().and_then(|p| p.reconcile.as_mut()) else {
            return;
        };
        let asked: Vec<NodeId> = reconcile.asked.iter().cloned().collect();
        for id in asked {
            self.send(&id, Body::Teach(vec![entry.clone()]), out);
            self.send(&id, Body::Ask { span }, out);
            self.want_retry();
        }
    }

    /// A new primary asks us.
    pub(super) fn tell_holdings(&mut self, from: &NodeId, span: Span, out: &mut Out) {
        let filled = self.store.filled(span.0, span.1);
        let slots = filled.map(|slot| (slot, self.store.fingerprint(slot))).collect();
        self.send(from, Body::Holdings { span, slots }, out);
    }

    /// A replica says what it holds.
    pub(super) fn holdings(
        &mut self,
        now: Millis,
        from: &NodeId,
        span: Span,
        slots: &[(Slot, u64)],
        out: &mut Out,
    ) {
        let theirs: BTreeMap<Slot, u64> = slots.iter().copied().collect();
        if self.sync_mut(span.0, from).is_some() {
            return self.joiner_offers(now, from, span, theirs, out);
        }
        let store = &self.store;
        let Some(hold) = self.holds.exactly(span) else {
            return;
        };
        let Some(reconcile) = hold.primary().and_then(|p| p.reconcile.as_mut()) else {
            return;
        };
        if !reconcile.asked.remove(from) {
            return;
        }
        let filled: BTreeSet<Slot> =
            store.filled(span.0, span.1).chain(theirs.keys().copied()).collect();
        let differs =
            |slot: &Slot| store.fingerprint(*slot) != theirs.get(slot).copied().unwrap_or(0);
        let inside = |slot: &Slot| (span.0..span.1).contains(slot);
        for slot in filled.into_iter().filter(inside).filter(differs) {
            reconcile.differing.entry(from.clone()).or_default().insert(slot);
            if !planted(Planted::ReconcileTakesNothing) {
                reconcile.pulls.insert((from.clone(), slot), Pull::default());
            }
        }
        self.pull(now, self.config.retry_ms, span.0, out);
        self.reconcile_step(now, span.0, out);
    }

    /// Fetches slots of a range that is reconciled, as many as may be on their way.
    pub(super) fn pull(&mut self, now: Millis, patience_ms: Millis, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let revision = hold.entry.revision;
        let Some(reconcile) = hold.primary().and_then(|p| p.reconcile.as_mut()) else {
            return;
        };
        let mut due = Vec::new();
        for ((id, slot), pull) in reconcile.pulls.iter_mut().take(PULLS_MAX) {
            if pull.sent_at.is_none_or(|at| at + patience_ms <= now) {
                pull.sent_at = Some(now);
                due.push((id.clone(), *slot, pull.after.clone()));
            }
        }
        for (id, slot, after) in due {
            self.send(&id, Body::Pull { span: Span(slot, slot + 1, revision), after }, out);
            self.want_retry();
        }
    }

    /// A new primary fetches a slot from us.
    pub(super) fn give(&mut self, from: &NodeId, span: Span, after: Option<Text>, out: &mut Out) {
        let part = self.store.part(span.0, after.as_ref());
        let body = Body::Pulled { span, after, part: Part::default() };
        let write = |head: &[u8]| PeerMessage::with_part(head, &body, &part);
        let message = self.addresses.message(&self.id, &self.addr, from, write);
        drop(part);
        self.push(&body, message, out);
    }

    /// A part of a slot that we fetched.
    pub(super) fn pulled(
        &mut self,
        now: Millis,
        from: &NodeId,
        span: Span,
        after: &Option<Text>,
        part: Part,
        out: &mut Out,
    ) {
        let slot = span.0;
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let Some(reconcile) = hold.primary().and_then(|p| p.reconcile.as_mut()) else {
            return;
        };
        let place = (from.clone(), slot);
        if reconcile.pulls.get(&place).is_none_or(|pull| pull.after != *after) {
            return;
        }
        reconcile.pulls.remove(&place);
        if let Some(last) = part.cells.last().filter(|_| !part.last) {
            reconcile.pulls.insert(place, Pull { after: Some(last.to_name()), sent_at: None });
        }
        self.store.merge(slot, part, |cell| {
            self.local.overtake(cell.name);
        });
        self.pull(now, self.config.retry_ms, slot, out);
        self.reconcile_step(now, slot, out);
    }

    /// Goes on where something was waited for: from fetching to giving, from giving to serving.
    pub(super) fn reconcile_step(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let revision = hold.entry.revision;
        let Some(reconcile) = hold.primary().and_then(|p| p.reconcile.as_mut()) else {
            return;
        };
        let unheard = usize::from(planted(Planted::ReconcileWithoutLast));
        if reconcile.asked.len() > unheard || !reconcile.pulls.is_empty() {
            return;
        }
        let Some(pushes) = &reconcile.pushes else {
            // Where one replica differed, another's cell may be new to all others.
            let mut merged: BTreeSet<Slot> =
                reconcile.differing.values().flatten().copied().collect();
            if planted(Planted::ReconcileGivesNothing) {
                merged.clear();
            }
            let others: Vec<NodeId> =
                hold.entry.active.iter().skip(1).map(|peer| peer.id().clone()).collect();
            let pushes: BTreeMap<NodeId, Sync> = others
                .iter()
                .map(|id| (id.clone(), Sync::push(revision, merged.clone())))
                .collect();
            if let Some(reconcile) = hold.primary().and_then(|p| p.reconcile.as_mut()) {
                reconcile.pushes = Some(pushes);
            }
            for id in others {
                self.send_parts(now, slot, &id, out);
            }
            return self.reconcile_step(now, slot, out);
        };
        if pushes.values().all(Sync::is_delivered) {
            if let Role::Primary(primary) = &mut hold.role {
                primary.reconcile = None;
            }
            // What was merged may be read from now on, so it must be on disk before.
            self.holds.touch();
            self.start_syncs(now, slot, out);
            self.dispatch_parked(now, out);
        }
    }
}
