//! What other replicas say, and who is believed.

use super::holds::{Role, Stance};
use super::{Out, Server};
use crate::core::assignment::{NodeId, Span};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::peer::{Body, Executed};
use crate::core::wire::received::Received;

impl Server {
    /// Another replica says something.
    pub(super) fn message(&mut self, now: Millis, message: Received<'_>, out: &mut Out) {
        let Received { from, to, body } = message;
        if *to != *self.id.as_bytes() {
            // Meant for another life at this address.
            return;
        }
        // Whose identity is no text is nobody.
        let Some(from) = &self.known(from) else { return };
        if body.is_for_client() {
            self.pace.asked(now);
        }
        match body {
            Body::Teach(entries) => self.adopt_entries(now, &entries, out),
            Body::Behind(span) => self.teach(now, from, span, out),
            Body::Prepared { revision, number } => self.prepared(now, from, revision, number, out),
            Body::Confirmed { span, round } => {
                if self.stands(span) {
                    self.confirmed(now, from, span, round, out);
                }
            }
            Body::Holdings { span, slots } => {
                if self.stands(span) {
                    self.holdings(now, from, span, &slots, out);
                }
            }
            Body::Pulled { span, after, part } => {
                if self.stands(span) {
                    self.pulled(now, from, span, &after, part, out);
                }
            }
            Body::ChunkHeld { span, number } => {
                if self.stands(span) {
                    self.chunk_held(now, from, span, number, out);
                }
            }
            order => self.order_of_primary(from, order, out),
        }
    }

    /// The identity of a sender, whose address is known from now on.
    fn known(&mut self, (id, addr): (&[u8], &[u8])) -> Option<NodeId> {
        if let Some(id) = self.addresses.identity(id) {
            return Some(id.clone());
        }
        let id = NodeId::from(std::str::from_utf8(id).ok()?);
        self.addresses.insert(&id, std::str::from_utf8(addr).ok()?);
        Some(id)
    }

    fn stands(&self, span: Span) -> bool {
        self.holds.stance(span) == Stance::Same
    }

    /// What only the primary of a range may ask. A seal: a replica that stands at a newer
    /// revision accepts nothing of an older one, and says what it stands at.
    fn order_of_primary(&mut self, from: &NodeId, order: Body<'_>, out: &mut Out) {
        let span = match &order {
            Body::Prepare { span, .. }
            | Body::Confirm { span, .. }
            | Body::Ask { span }
            | Body::Pull { span, .. }
            | Body::Keep { span, .. }
            | Body::Chunk { span, .. } => *span,
            _ => return,
        };
        match self.holds.stance(span) {
            Stance::Nonsense => return,
            Stance::Newer if planted(Planted::OldOrdersObeyed) => {}
            Stance::Newer => return self.refuse(from, span, out),
            Stance::Older => return self.send(from, Body::Behind(span), out),
            Stance::Same => {}
        }
        if !self.is_led_by(from, span) && !planted(Planted::OldOrdersObeyed) {
            return;
        }
        match order {
            Body::Prepare { span, number, cell, id, repeated, voted } => {
                let executed = Executed { id, version: cell.version, repeated };
                self.prepare(from, span, number, cell, executed, voted, out);
            }
            Body::Confirm { span, round: 0 } if self.store.has_aside(span.0, span.1) => {
                self.tell_aside(from, span, out);
            }
            Body::Confirm { span, round } => {
                self.send(from, Body::Confirmed { span, round }, out);
            }
            Body::Keep { span, number, fingerprint } => {
                self.keep_aside(from, span, number, fingerprint, out);
            }
            Body::Ask { span } => self.tell_holdings(from, span, out),
            Body::Pull { span, after } => self.give(from, span, after, out),
            Body::Chunk { span, number, part } => self.chunk(from, span, number, part, out),
            _ => {}
        }
    }

    /// Whether `from` is the primary of all these slots, which are held, and this server a replica
    /// or a joiner.
    fn is_led_by(&self, from: &NodeId, span: Span) -> bool {
        self.holds.within(span.0, span.1).all(|hold| {
            matches!(hold.role, Role::Replica | Role::Joiner) && hold.entry.active[0].id() == from
        })
    }

    /// Tells a deposed primary what it does not know.
    fn refuse(&mut self, from: &NodeId, span: Span, out: &mut Out) {
        let known: Vec<_> = self
            .holds
            .within(span.0, span.1)
            .filter(|hold| hold.entry.revision > span.2)
            .map(|hold| hold.entry.clone())
            .collect();
        if !known.is_empty() {
            self.send(from, Body::Teach(known), out);
        }
    }

    /// A replica stands at an older revision than a message of ours: teach it, and send again.
    fn teach(&mut self, now: Millis, to: &NodeId, span: Span, out: &mut Out) {
        let known: Vec<_> = self
            .holds
            .within(span.0, span.1)
            .filter(|hold| hold.entry.revision == span.2)
            .map(|hold| hold.entry.clone())
            .collect();
        if known.is_empty() {
            return;
        }
        self.send(to, Body::Teach(known), out);
        self.retry_at = Some(now + super::TAUGHT_RETRY_MS);
        self.retry_all = true;
    }
}
