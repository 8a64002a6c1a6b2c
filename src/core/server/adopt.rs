//! What the leader says: this server's place in the ring.

use super::holds::{Hold, Primary, Reconcile, Role};
use super::reads::{Read, ReadExtension};
use super::{Out, Server, others};
use crate::core::assignment::{AssignReply, Entry, NodeId, Revision, Snapshot};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::peer::Body;

/// What [`Planted::LedAlways`] notes of a slot that this server has led: it takes itself for the one
/// that led ever since. To forget `led_since` alone would show nowhere, because another rule covers
/// it: whoever leads meanwhile serves only after this server has answered it, as a replica.
const LED: Revision = Revision::MAX;

impl Server {
    /// The leader tells us our ranges.
    pub(super) fn assign(&mut self, now: Millis, snapshot: Snapshot, out: &mut Out) -> AssignReply {
        self.meets_leader(true);
        self.adopt(now, snapshot, out);
        AssignReply { revision: self.acked, dropped: std::mem::take(&mut self.dropped) }
    }

    /// Takes in what the leader says, where it is meant for this identity.
    pub(super) fn adopt(&mut self, now: Millis, snapshot: Snapshot, out: &mut Out) {
        if snapshot.you.as_ref() != Some(&self.id) {
            return;
        }
        if *self.addr != *snapshot.addr {
            self.addr = snapshot.addr.into();
        }
        self.epoch = Some(snapshot.epoch.max(self.epoch()));
        self.adopt_entries(now, &snapshot.entries, out);
        self.acked = self.acked.max(snapshot.revision);
        self.told = self.told.max(snapshot.revision);
        for span in snapshot.drop {
            for (start, end) in self.holds.drop_left(span) {
                self.store.wipe(start, end);
            }
            self.dropped.push(span);
        }
        self.owe(now, snapshot.originals, out);
        if snapshot.may_leave {
            self.may_leave(now, out);
        }
        self.dispatch_parked(now, out);
    }

    /// Adopts what is newer than what this server knows.
    pub(super) fn adopt_entries(&mut self, now: Millis, entries: &[Entry], out: &mut Out) {
        let mut any = false;
        for entry in entries.iter().filter(|entry| entry.is_valid() && !entry.active.is_empty()) {
            if !self.holds.is_news(entry) {
                // Nothing is asked anew for it: who is slow to reach has many questions of earlier revisions
                // under way, and each is answered by what is known here by then.
                continue;
            }
            any = true;
            let reads = self.take_reads(entry.start, entry.end);
            let changed = self.holds.adopt(entry);
            let starts: Vec<_> = changed.iter().map(|(piece, _)| piece.start).collect();
            for (piece, old) in changed {
                self.change(piece, old, out);
            }
            for start in starts {
                self.begin(now, start, out);
            }
            // A piece beside a cut may have lost all that its joiners still lacked.
            for beside in [entry.start.checked_sub(1), Some(entry.end)].into_iter().flatten() {
                self.check_synced(beside, out);
                self.reconcile_step(now, beside, out);
            }
            self.read_anew(now, reads, out);
        }
        if any {
            self.holds.merge();
            self.know_addresses();
            // Joiners that were synced before are so at a new revision too.
            self.report_synced(out);
            self.dispatch_parked(now, out);
        }
    }

    /// Gives this server its role in a piece of a new entry.
    fn change(&mut self, entry: Entry, old: Option<Hold>, out: &mut Out) {
        let (start, end) = (entry.start, entry.end);
        let reborn = old.as_ref().is_some_and(|old| old.entry.born != entry.born);
        if reborn && !planted(Planted::BirthWipesNothing) {
            self.hand_over_writes(start, end, out);
            self.store.wipe(start, end);
        }
        let led_on = old.as_ref().is_some_and(|old| {
            matches!(old.role, Role::Primary(_)) && old.entry.revision >= entry.led_since
        });
        let role = self.role(&entry, old);
        if !(led_on && matches!(role, Role::Primary(_))) {
            self.hand_over_writes(start, end, out);
        }
        self.learn_addresses(&entry);
        if let Role::Joiner = role {
            let since = entry.joining.iter().find(|joiner| *joiner.id() == self.id);
            let since = since.map_or(entry.revision, |joiner| joiner.since());
            let fresh = (start..end).any(|slot| self.joined[usize::from(slot)] != since);
            if fresh && !planted(Planted::JoinerKeepsOld) {
                // What is left of an earlier time may hold writes that never were.
                self.store.set_aside(start, end);
                self.joined[usize::from(start)..usize::from(end)].fill(since);
            }
        }
        if !matches!(role, Role::Joiner) {
            self.store.drop_aside(start, end);
        }
        if planted(Planted::LedAlways) && matches!(role, Role::Primary(_)) {
            self.joined[usize::from(start)..usize::from(end)].fill(LED);
        }
        self.holds.insert(Hold { entry, role });
    }

    /// What this server is in an entry, given what it was in these slots.
    fn role(&self, entry: &Entry, old: Option<Hold>) -> Role {
        if entry.active[0].id() == &self.id {
            let led = old.filter(|old| old.entry.revision >= entry.led_since);
            if let Some(Hold { role: Role::Primary(mut primary), .. }) = led {
                if let Some(reconcile) = &mut primary.reconcile {
                    *reconcile = Reconcile { asked: others(entry), ..Reconcile::default() };
                }
                return Role::Primary(primary);
            }
            // At its birth a range is empty everywhere.
            let asked = others(entry);
            let alone = asked.is_empty() || entry.born == entry.revision;
            let alone = alone || planted(Planted::ServeWithoutReconcile);
            let led_before = planted(Planted::LedAlways)
                && (entry.start..entry.end).all(|slot| self.joined[usize::from(slot)] == LED);
            let alone = alone || led_before;
            let reconcile = (!alone).then(|| Reconcile { asked, ..Reconcile::default() });
            Role::Primary(Box::new(Primary { reconcile, ..Primary::default() }))
        } else if entry.active.iter().any(|peer| *peer.id() == self.id) {
            Role::Replica
        } else if entry.joining.iter().any(|joiner| *joiner.id() == self.id) {
            Role::Joiner
        } else {
            Role::Left
        }
    }

    /// Begins what a new revision asks of a primary.
    fn begin(&mut self, now: Millis, slot: u16, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let entry = hold.entry.clone();
        let Role::Primary(primary) = &hold.role else {
            return;
        };
        if primary.serves() {
            let named = entry.active.iter().map(|peer| peer.id());
            let named = named.chain(entry.joining.iter().map(|joiner| joiner.id()));
            let others: Vec<NodeId> = named.filter(|id| **id != self.id).cloned().collect();
            for id in others {
                self.send(&id, Body::Teach(vec![entry.clone()]), out);
            }
            self.start_syncs(now, slot, out);
            self.resend_writes(now, slot, out);
        } else {
            self.ask_holdings(slot, out);
            // Nobody may be left to ask.
            self.reconcile_step(now, slot, out);
        }
    }

    pub(super) fn read_anew(
        &mut self,
        now: Millis,
        reads: Vec<super::holds::PendingRead>,
        out: &mut Out,
    ) {
        for read in reads {
            let said = ReadExtension::default();
            self.read(now, Read { to: read.to, key: read.key, said }, out);
        }
    }

    /// What the leader needs to be told again, if anything.
    pub(super) fn knows_newer(&self, slot: u16, revision: Revision) -> bool {
        self.holds.seen(slot) >= revision
    }
}
