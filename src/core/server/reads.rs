//! Reading at the primary, confirmed by the others after the request came.

use serde::Deserialize;

use super::holds::{PendingRead, Role, Round};
use super::{Out, Parked, Server};
use crate::core::assignment::{NodeId, Revision, Span};
use crate::core::hash::{Slot, slot_of};
use crate::core::machine::{Millis, ReplyTo, Then};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::wire::peer::Body;
use crate::core::wire::text::Text;

/// How many reads of one range may wait for the next confirmation; more are refused.
pub(super) const READS_WAITING_MAX: usize = 100_000;

/// The field `dht` of `dht_read`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ReadExtension {
    /// The revision that the client knows for the slot.
    pub(super) revision: Revision,
}

/// A client's wish to read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) to: ReplyTo,
    pub(super) key: Text,
    pub(super) said: ReadExtension,
}

impl Server {
    /// Answers a read where this server serves its slot as primary; else says who does, or waits.
    pub(super) fn read(&mut self, now: Millis, read: Read, out: &mut Out) {
        let slot = slot_of(read.key.as_bytes());
        if !self.serves_at(slot, read.said.revision) {
            return self.not_serving(now, slot, Parked::Read(read), out);
        }
        let answer_by = now + super::ANSWER_WITHIN_MS;
        let pending = PendingRead { to: read.to, key: read.key, slot, answer_by };
        if planted(Planted::ReadsOnLease) && self.has_lease(now) {
            return self.answer_reads(vec![pending], out);
        }
        let primary = self.holds.at_mut(slot).and_then(|hold| hold.primary());
        let Some(primary) = primary else { return };
        if primary.next_reads.len() >= READS_WAITING_MAX {
            let reply = Reply::status("no").text("reason", "too many reads wait");
            return self.reply(pending.to, reply, Then::Keep, out);
        }
        if planted(Planted::ConfirmationReused)
            && let Some(open) = &mut primary.round
        {
            return open.reads.push(pending);
        }
        primary.next_reads.push(pending);
        self.open_round(slot, out);
    }

    /// Asks the others whether they still stand at our revision, for all reads that wait. A read
    /// that comes while a question is open waits for the next: a confirmation proves nothing
    /// about what was asked after it was given.
    fn open_round(&mut self, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let Some(primary) = hold.primary().filter(|primary| primary.round.is_none()) else {
            return;
        };
        let reads = std::mem::take(&mut primary.next_reads);
        if reads.is_empty() {
            return;
        }
        let (span, mut waiting) = (hold.span(), hold.needed());
        if planted(Planted::ConfirmWithoutSynced) {
            let active = super::others(&hold.entry);
            waiting.retain(|id| active.contains(id));
        }
        if waiting.is_empty() || planted(Planted::ReadUnconfirmed) {
            return self.answer_reads(reads, out);
        }
        let number = self.next_number();
        let body = Body::Confirm { span, round: number }.encode();
        for id in waiting.iter() {
            out.extend(self.addresses.written(&self.id, &self.addr, id, &body));
        }
        self.want_retry();
        if let Some(primary) = self.holds.at_mut(slot).and_then(|hold| hold.primary()) {
            primary.round = Some(Round { number, waiting, reads });
        }
    }

    /// A replica still stands at our revision.
    pub(super) fn confirmed(
        &mut self,
        now: Millis,
        from: &NodeId,
        span: Span,
        round: u64,
        out: &mut Out,
    ) {
        if round == 0 {
            return self.joiner_begun(now, from, span, out);
        }
        let Some(hold) = self.holds.exactly(span) else {
            return;
        };
        let Role::Primary(primary) = &mut hold.role else {
            return;
        };
        let Some(open) = primary.round.as_mut().filter(|open| open.number == round) else {
            return;
        };
        open.waiting.remove(from);
        if open.waiting.is_empty() {
            let reads = primary.round.take().map(|open| open.reads).unwrap_or_default();
            self.answer_reads(reads, out);
            self.open_round(span.0, out);
        }
    }

    /// What [`Planted::ReadsOnLease`] asks: whether the lease is good by this server's clock.
    fn has_lease(&self, now: Millis) -> bool {
        self.accepted_at.is_some_and(|at| now < at + 3 * self.config.heartbeat_ms)
    }

    fn answer_reads(&mut self, reads: Vec<PendingRead>, out: &mut Out) {
        for read in reads {
            let reply = match self.store.get(read.slot, read.key.as_bytes()) {
                Some(value) => Reply::status("ok").raw("value", value),
                None => Reply::status("not_found"),
            };
            self.reply(read.to, reply, Then::Keep, out);
        }
    }

    /// Takes the reads that wait in the ranges of `start..end`, to dispatch them anew.
    pub(super) fn take_reads(&mut self, start: Slot, end: Slot) -> Vec<PendingRead> {
        let mut reads = Vec::new();
        for hold in self.holds.iter_mut() {
            if hold.entry.end <= start || hold.entry.start >= end {
                continue;
            }
            if let Some(primary) = hold.primary() {
                reads.extend(primary.round.take().into_iter().flat_map(|round| round.reads));
                reads.append(&mut primary.next_reads);
            }
        }
        reads
    }

    /// Asks again where an answer is overdue, and answers who has waited too long.
    pub(super) fn retry_reads(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let span = hold.span();
        let Some(primary) = hold.primary() else {
            return;
        };
        let mut tired = Vec::new();
        let mut again = Vec::new();
        if let Some(round) = &mut primary.round {
            let (late, rest) =
                std::mem::take(&mut round.reads).into_iter().partition(|r| r.answer_by <= now);
            round.reads = rest;
            tired = late;
            again = round.waiting.iter().map(|id| (id.clone(), round.number)).collect();
        }
        let (late, rest) =
            std::mem::take(&mut primary.next_reads).into_iter().partition(|r| r.answer_by <= now);
        primary.next_reads = rest;
        tired.extend::<Vec<PendingRead>>(late);
        for (id, round) in again {
            self.send(&id, Body::Confirm { span, round }, out);
        }
        for read in tired {
            let reply =
                Reply::status("no").text("reason", "not every replica has answered in time");
            self.reply(read.to, reply, Then::Keep, out);
        }
    }
}
