//! Writing: the primary orders, prepares at all replicas, and acknowledges when all hold it.

use serde::Deserialize;
use smallvec::smallvec;

use super::pending::PendingWrite;
use super::votes::Written;
use super::{Out, Parked, Server};
use crate::core::assignment::{NodeId, Revision, Span};
use crate::core::hash::{Slot, slot_of};
use crate::core::machine::{Millis, ReplyTo, Then};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::wire::cells::CellRef;
use crate::core::wire::json::Json;
use crate::core::wire::peer::{Body, Cell, Executed, RequestId, Version};
use crate::core::wire::text::Text;

/// How many writes may wait for replicas at once; more are refused, and did not happen.
pub(super) const WRITES_PENDING_MAX: usize = 100_000;

/// How many bytes such writes may have; a write is taken while there are fewer.
pub(super) const WRITES_PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many bytes of writes are sent again at once.
const RESEND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many acknowledged writes may be on their way to joiners. Beyond that their slots are given
/// to the joiners once more, as a whole.
pub(super) const WRITES_TRAILING_MAX: usize = 10_000;

/// The field `dht` of `dht_write`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct WriteExtension {
    /// The client's name.
    pub(super) client: u64,
    /// The client's count of its requests.
    pub(super) number: u64,
    /// The revision that the client knows for the slot.
    pub(super) revision: Revision,
    /// Revision and sequence of a version that is lower than any that this request can have got,
    /// however often it was sent. Left out: the revision above.
    #[serde(default)]
    pub(super) since: Option<(Revision, u64)>,
    /// Whether it was sent before and may have been executed.
    #[serde(default)]
    pub(super) repeated: bool,
    /// Whether the votes of an original client back the write.
    #[serde(default)]
    pub(super) voted: bool,
}

impl WriteExtension {
    /// What [`WriteExtension::since`] says.
    fn since(&self) -> Version {
        let (revision, sequence) = self.since.unwrap_or((self.revision, 0));
        Version { revision, sequence }
    }
}

/// A client's wish to write.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) to: ReplyTo,
    pub(super) key: Text,
    pub(super) value: Json,
    pub(super) said: WriteExtension,
}

impl Server {
    /// Orders a write where this server serves its slot as primary; else says who does, or waits.
    pub(super) fn write(&mut self, now: Millis, write: Write, out: &mut Out) {
        let slot = slot_of(write.key.as_bytes());
        if !self.serves_at(slot, write.said.revision) {
            return self.not_serving(now, slot, Parked::Write(write), out);
        }
        let id = RequestId { client: write.said.client, number: write.said.number };
        if let Some(pending) = self.writes.same(id) {
            pending.replies.push(write.to);
            return;
        }
        if self.store.recalls(slot, id) {
            return self.reply_written(write.to, slot, out);
        }
        let since = write.said.since();
        // When the range began anew, what it remembered was lost with its data.
        let born = !planted(Planted::BirthForgetsNothing) && since < self.born(slot);
        let forgotten = since < self.store.forgotten(slot) && !planted(Planted::ForgottenIsNew);
        let forgotten = forgotten || born;
        if write.said.repeated && forgotten {
            let reply = Reply::status("forgotten");
            return self.reply(write.to, reply, Then::Keep, out);
        }
        let late = since < self.store.forgotten_repeats(slot) && !planted(Planted::LateTryTaken);
        if !write.said.repeated && (late || born) {
            // A first try that comes this late may be one that was repeated since, and executed.
            let reply = Reply::status("no").text("reason", "late");
            let reply = reply.value("since", &self.latest(slot));
            return self.reply(write.to, reply, Then::Keep, out);
        }
        if write.said.voted && self.joins_twin(now, slot, &write, out) {
            return;
        }
        if !write.said.voted && self.votes.blocks(now, &write.key) {
            let reply = Reply::status("no").text("reason", "busy");
            return self.reply(write.to, reply, Then::Keep, out);
        }
        let (count, bytes) = self.writes.waiting();
        if count >= WRITES_PENDING_MAX || bytes >= WRITES_PENDING_BYTES_MAX {
            let reply = Reply::status("no").text("reason", "too many writes wait");
            return self.reply(write.to, reply, Then::Keep, out);
        }
        self.order(now, slot, id, write, out);
    }

    /// A transaction of an original client asks for its write again, and of another server than
    /// before, which does not know the write's name: it is executed once. True where that is so.
    fn joins_twin(&mut self, now: Millis, slot: Slot, write: &Write, out: &mut Out) -> bool {
        let same = |w: &&mut Box<PendingWrite>| {
            w.voted && w.slot == slot && w.key == write.key && w.cell.value == write.value
        };
        let twin = self.writes.pending.values_mut().filter(|w| !w.needed.is_empty()).find(same);
        if let Some(twin) = twin {
            twin.replies.push(write.to);
            return true;
        }
        let before = self.votes.repeated(now, &write.key, &write.value);
        let done = before.is_some_and(|id| self.store.recalls(slot, id));
        if done {
            self.reply_written(write.to, slot, out);
        }
        done
    }

    /// Gives a write its version and sends it to all who must hold it.
    fn order(&mut self, now: Millis, slot: Slot, id: RequestId, write: Write, out: &mut Out) {
        let Some(hold) = self.holds.at(slot) else {
            return;
        };
        let (mut needed, mut trailing) = (hold.needed(), hold.unsynced());
        if planted(Planted::WriteWithoutSynced) {
            let active = super::others(&hold.entry);
            trailing.extend(needed.iter().filter(|id| !active.contains(id)).cloned());
            needed = active;
        }
        let revision = hold.entry.revision;
        let number = self.next_number();
        // One counter for all slots: higher for later writes, which is all that a slot needs.
        let version = Version { revision, sequence: number };
        let Write { to, key, value, said } = write;
        if planted(Planted::PrimaryStoresFirst) {
            self.store.apply(slot, CellRef::new(&key, version, &value));
        }
        self.needs_own_disk(number, &mut needed);
        let pending = PendingWrite {
            slot,
            key,
            cell: Cell { version, value },
            id,
            repeated: said.repeated,
            voted: said.voted,
            replies: smallvec![to],
            needed,
            trailing,
            revision,
            sent_at: now,
            answer_by: now + super::ANSWER_WITHIN_MS,
        };
        self.store.store_ahead(slot, pending.cell.named(&pending.key), pending.executed());
        self.writes.insert(number, pending);
        self.send_prepares(now, number, out);
        self.check_written(now, number, out);
    }

    /// Sends a write to all who have not said that they hold it.
    fn send_prepares(&mut self, now: Millis, number: u64, out: &mut Out) {
        let Some(write) = self.writes.pending.get_mut(&number) else {
            return;
        };
        write.sent_at = now;
        let write = &*write;
        let body = Body::Prepare {
            span: Span(write.slot, write.slot + 1, write.revision),
            number,
            cell: write.cell.named(&write.key),
            id: write.id,
            repeated: write.repeated,
            voted: write.voted,
        };
        let body = body.encode();
        debug_assert!(!write.trailing.iter().any(|id| write.needed.contains(id)), "sent twice");
        for id in write.needed.iter().chain(write.trailing.iter()).filter(|id| **id != self.id) {
            out.extend(self.addresses.written(&self.id, &self.addr, id, &body));
            self.retry_wanted = true;
        }
    }

    /// A primary wants a write held.
    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(super) fn prepare(
        &mut self,
        from: &NodeId,
        span: Span,
        number: u64,
        cell: CellRef<'_>,
        executed: Executed,
        voted: bool,
        out: &mut Out,
    ) {
        let slot = span.0;
        if self.store.apply(slot, cell) {
            self.local.overtake(cell.name);
            self.note_setting(cell.name, cell.value(), out);
        }
        if !planted(Planted::ReplicasForgetRequests) {
            self.store.remember(slot, executed);
        }
        if voted {
            self.votes.written(&cell.to_name(), written(cell, executed.id));
        }
        self.send(from, Body::Prepared { revision: span.2, number }, out);
    }

    /// A replica or joiner holds a write.
    pub(super) fn prepared(
        &mut self,
        now: Millis,
        from: &NodeId,
        revision: Revision,
        number: u64,
        out: &mut Out,
    ) {
        let Some(write) = self.writes.pending.get_mut(&number) else {
            return;
        };
        if write.revision != revision && !planted(Planted::OldAnswersCount) {
            return;
        }
        let slot = write.slot;
        let was_needed = write.needed.remove(from);
        write.trailing.remove(from);
        if was_needed {
            self.check_written(now, number, out);
        } else {
            self.forget_delivered(number);
        }
        if self.sync_mut(slot, from).is_some() {
            self.check_synced(slot, out);
        }
    }

    /// This server's own disk has a write.
    pub(super) fn held_here(&mut self, now: Millis, number: u64, out: &mut Out) {
        let write = self.writes.pending.get_mut(&number);
        if write.is_some_and(|write| write.needed.remove(&self.id)) {
            self.check_written(now, number, out);
        }
    }

    /// Acknowledges a write that all who must hold it hold.
    fn check_written(&mut self, now: Millis, number: u64, out: &mut Out) {
        let Some(write) = self.writes.pending.get_mut(&number) else {
            return;
        };
        if planted(Planted::AckBeforeAll) && write.needed.len() == 1 {
            write.trailing.extend(std::mem::take(&mut write.needed).iter().cloned());
        }
        if !write.needed.is_empty() {
            return;
        }
        let Some(mut write) = self.writes.remove(number) else { return };
        let (slot, key, cell) = (write.slot, &write.key, &write.cell);
        let mut overtakes = false;
        if self.store.apply_stored(slot, cell.named(key)) {
            overtakes = self.local.overtake(key.as_bytes());
            self.note_setting(key.as_bytes(), cell.value.as_str(), out);
        }
        self.store.remember_stored(slot, write.executed());
        if write.voted {
            self.votes.written(key, written(cell.named(key), write.id));
        }
        for to in write.replies.drain(..) {
            if overtakes {
                // After a restart too, `get` shows this value and not the server's own.
                self.promise(out);
            }
            self.reply_written(to, slot, out);
        }
        self.copy_to_originals(now, slot, &write.key, out);
        if write.trailing.is_empty() {
            return self.writes.reuse(write);
        }
        // Joiners still have to hold it, and nobody waits for that.
        self.writes.pending.insert(number, write);
        if self.writes.len() - self.writes.waiting.len() > WRITES_TRAILING_MAX {
            self.shed_trailing();
        }
    }

    /// Joiners are far behind: they get the slots of acknowledged writes as a whole, once more.
    fn shed_trailing(&mut self) {
        let acknowledged: Vec<u64> = self
            .writes
            .pending
            .iter()
            .filter(|(_, write)| write.needed.is_empty())
            .map(|(number, _)| *number)
            .collect();
        for number in acknowledged {
            let Some(write) = self.writes.remove(number) else { continue };
            for id in write.trailing.iter() {
                if let Some(sync) = self.sync_mut(write.slot, id) {
                    // What is on its way lacks the write, and its answer must not stand for it.
                    sync.send_again(write.slot);
                    sync.closing = false;
                }
            }
        }
    }

    /// Forgets a write that everybody holds.
    fn forget_delivered(&mut self, number: u64) {
        let write = self.writes.pending.get(&number);
        if write.is_some_and(|write| write.needed.is_empty() && write.trailing.is_empty()) {
            self.writes.remove(number);
        }
    }

    /// A new revision has begun, and this server is still the primary: pending writes are sent
    /// again under it, to whom it names.
    pub(super) fn resend_writes(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at(slot) else {
            return;
        };
        let Span(start, end, revision) = hold.span();
        let (needed, unsynced, behind) = (hold.needed(), hold.unsynced(), hold.behind());
        for number in self.writes.within(start, end) {
            let Some(write) = self.writes.pending.get_mut(&number) else {
                continue;
            };
            if write.revision == revision {
                continue;
            }
            write.revision = revision;
            if write.needed.is_empty() {
                // Acknowledged already; a joiner that is new gets it with its slot.
                write.trailing.retain(|id| behind.contains(id));
                self.forget_delivered(number);
            } else {
                if planted(Planted::PendingNotSentAgain) {
                    write.needed.retain(|id| needed.contains(id));
                } else {
                    let own = write.needed.contains(&self.id).then(|| self.id.clone());
                    write.needed = needed.iter().cloned().chain(own).collect();
                    write.trailing = unsynced.clone();
                }
                self.check_written(now, number, out);
            }
            self.send_prepares(now, number, out);
        }
    }

    /// This server is no longer the primary of `start..end`: what it prepared counts as held, for
    /// the new primary to finish, and clients are sent there.
    pub(super) fn hand_over_writes(&mut self, start: Slot, end: Slot, out: &mut Out) {
        for number in self.writes.within(start, end) {
            let Some(write) = self.writes.remove(number) else {
                continue;
            };
            if self.store.apply_stored(write.slot, write.cell.named(&write.key)) {
                self.local.overtake(write.key.as_bytes());
            }
            self.store.remember_stored(write.slot, write.executed());
            let since = write.since();
            for to in write.replies {
                self.reply_unknown(to, "another server took over", since, out);
            }
        }
    }

    /// Sends again what was not acknowledged in time, and answers who has waited too long.
    pub(super) fn retry_writes(&mut self, now: Millis, patience_ms: Millis, out: &mut Out) {
        let late: Vec<u64> = self
            .writes
            .pending
            .iter()
            .filter(|(_, write)| write.sent_at + patience_ms <= now)
            .map(|(number, _)| *number)
            .collect();
        let mut bytes = 0;
        for number in late {
            // What waits for a slow connection must stay well below what its queue takes.
            bytes += self.writes.pending.get(&number).map_or(0, |write| write.bytes());
            self.send_prepares(now, number, out);
            if bytes >= RESEND_BYTES_MAX {
                break;
            }
        }
        let mut tired = Vec::new();
        for write in self.writes.pending.values_mut().filter(|write| write.answer_by <= now) {
            let since = write.since();
            tired.extend(write.replies.drain(..).map(|to| (to, since)));
        }
        for (to, since) in tired {
            self.reply_unknown(to, "not every replica has answered in time", since, out);
        }
    }
}

/// What a vote knows of the write that it backs.
fn written(cell: CellRef<'_>, id: RequestId) -> Written {
    Written { value: Json::from_raw(cell.value()), id, revision: cell.version.revision }
}
