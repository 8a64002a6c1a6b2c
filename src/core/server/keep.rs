//! Keeping what was promised: nothing is said before what it rests on is on disk.
//!
//! A write is on disk before it counts as held. The primary gives it to its own disk when it gives it
//! to the replicas, and waits for it as for one of them; a replica's answer waits in here. Whatever
//! else is said waits for the server's standing alone: who it is, which ranges it holds, which
//! revisions it has seen. That changes only with the view, so that reads and heartbeats hardly ever
//! wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::data::{Row, Standing};
use super::heartbeat::{IDENTITIES_MAX, IDENTITIES_TOLD_MAX};
use super::ids::Ids;
use super::{Out, Server};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::{Slot, slot_of};
use crate::core::machine::{Millis, Output, Ticket};
use crate::core::planted::{Planted, planted};

/// How many identities are drawn at most for one that stands where the one before stood. One in
/// 10,000 does, so that this fails less than once in 10^8 restarts; the server then moves.
const DRAWS_MAX: usize = 200_000;

/// How many messages to replicas wait for the disk at most. Beyond that they are lost, as messages may
/// be: whoever wants an answer asks again.
pub(super) const MESSAGES_HELD_MAX: usize = 10_000;

/// How many bytes they have at most, but for one that is longer.
const MESSAGES_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the disk has, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// The last ticket, and the last that is persisted.
    last: u64,
    persisted: u64,
    /// The last ticket that changed the standing, and which that was.
    standing_at: u64,
    stamp: Option<Stamp>,
    /// The writes of this server that its own disk does not have: the ticket, and the write's number.
    writes: VecDeque<(u64, u64)>,
    /// Which effects of this step say that something is held.
    promises: BTreeSet<usize>,
    /// What waits for a ticket.
    held: BTreeMap<u64, Vec<Output>>,
    /// Digests of the messages to replicas that are among it, and the bytes of these.
    messages: BTreeSet<u64>,
    message_bytes: usize,
    /// How many effects of this step had waited, and where those are that wait from now on.
    released: usize,
    fresh: Vec<(u64, usize)>,
}

/// Tells one standing from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    holds: u64,
    renamed: u64,
    epoch: Option<u64>,
    told: Revision,
    was: usize,
}

/// Where an identity stands on the ring.
fn place_of(id: &NodeId) -> Slot {
    slot_of(id.as_bytes())
}

/// Tells one message from another. Two that are taken for one cost a repetition.
fn digest(addr: &str, message: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (addr, message).hash(&mut hasher);
    hasher.finish()
}

impl Keeper {
    /// Whether anything waits for the disk.
    pub(super) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many messages to replicas wait for the disk.
    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Has an effect wait for a ticket.
    fn hold(&mut self, ticket: u64, effect: Output) {
        if let Output::Send { addr, message } = &effect {
            let bytes = self.message_bytes + message.len();
            let too_long = bytes > MESSAGES_HELD_BYTES_MAX && !self.messages.is_empty();
            let full = self.messages.len() >= MESSAGES_HELD_MAX || too_long;
            // What is sent again while the first still waits need not be sent twice.
            if full || !self.messages.insert(digest(addr, message)) {
                return;
            }
            self.message_bytes = bytes;
        }
        let waiting = self.held.entry(ticket).or_default();
        self.fresh.push((ticket, waiting.len()));
        waiting.push(effect);
    }

    /// How many of the effects of the last step had waited: they come first.
    pub(super) fn released(&self) -> usize {
        self.released
    }

    /// The effects of the last step that wait.
    pub(super) fn fresh(&self) -> impl Iterator<Item = &Output> {
        self.fresh.iter().filter_map(|(ticket, index)| self.held.get(ticket)?.get(*index))
    }
}

impl Server {
    /// Takes up what an earlier process has stored. Its identity ended with it: nothing that it
    /// confirmed binds this one, and nobody counts on it before the leader has given it a part again.
    pub(super) fn take_up(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.keeper = Some(Keeper::default());
        self.store.log.open();
        self.local.log.open();
        for row in rows {
            match row {
                Row::Standing(standing) => self.stand_again(standing),
                Row::Cell(slot, key, cell) => {
                    self.store.apply_stored(slot, cell.named(&key));
                }
                // Each request has one row.
                Row::Request(slot, executed) => self.store.remember_new(slot, executed),
                Row::Memory(slot, memory) => self.store.forget(slot, memory),
                Row::Local(key, value) => self.local.load(key, value),
            }
        }
    }

    fn stand_again(&mut self, standing: Standing) {
        self.holds.restore(standing.holds);
        self.epoch = (standing.epoch > 0).then_some(standing.epoch);
        self.told = standing.seen;
        self.was = standing.was;
        if planted(Planted::IdentityReused)
            && let Some(id) = standing.id
        {
            self.id = id;
            return;
        }
        let place = standing.id.as_ref().map(place_of);
        self.was.extend(standing.id);
        if standing.seen > 0 {
            // There was a view leader of ours, and what is written is decided there.
            self.leader_speaks = Some(true);
        }
        if self.was.len() > IDENTITIES_MAX {
            self.was.remove(0);
        }
        // At the same place on the ring it gets the same ranges again, and has most of them already.
        for _ in 0..DRAWS_MAX {
            let moves = place.is_some_and(|place| place_of(&self.id) != place);
            if !moves && !self.was.contains(&self.id) {
                return;
            }
            self.id = self.draw_identity();
        }
    }

    /// A leader has accepted this identity, and so has seen to what waited for the earlier ones. Of
    /// these the latest are kept, and those that holds name. Before, none may be forgotten: a range
    /// may wait for one that never learned of it.
    pub(super) fn forget_identities(&mut self) {
        let surplus = self.was.len().saturating_sub(IDENTITIES_TOLD_MAX);
        let named = |id: &NodeId| self.holds.iter().any(|hold| hold.entry.names(id));
        let was = std::mem::take(&mut self.was).into_iter().enumerate();
        let kept = was.filter(|(index, id)| *index >= surplus || named(id));
        self.was = kept.map(|(_, id)| id).collect();
    }

    /// What is pushed next says that something is held: it waits until that is on disk.
    pub(super) fn promise(&mut self, out: &Out) {
        if let Some(keeper) = &mut self.keeper {
            keeper.promises.insert(out.len());
        }
    }

    /// A write needs this server's own disk too, where there is one.
    pub(super) fn needs_own_disk(&mut self, number: u64, needed: &mut Ids) {
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !planted(Planted::OwnDiskForgotten)) {
            // What this step changes gets the next ticket.
            keeper.writes.push_back((keeper.last + 1, number));
            needed.insert(self.id.clone());
        }
    }

    /// Everything up to `ticket` is on disk.
    pub(super) fn persisted(&mut self, now: Millis, ticket: Ticket, out: &mut Out) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.persisted = keeper.persisted.max(ticket.0);
        let persisted = keeper.persisted;
        let done = keeper.writes.partition_point(|(ticket, _)| *ticket <= persisted);
        let done: Vec<u64> = keeper.writes.drain(..done).map(|(_, number)| number).collect();
        for number in done {
            self.held_here(now, number, out);
        }
    }

    /// What waited for the disk, and need not wait any longer.
    pub(super) fn release(&mut self, ticket: Option<Ticket>, out: &mut Out) {
        let Some(keeper) = &mut self.keeper else { return };
        let before = out.len();
        if let Some(ticket) = ticket {
            let waits = keeper.held.split_off(&(ticket.0 + 1));
            let free = std::mem::replace(&mut keeper.held, waits);
            for effect in free.into_values().flatten() {
                if let Output::Send { addr, message } = &effect {
                    keeper.messages.remove(&digest(addr, message));
                    keeper.message_bytes -= message.len();
                }
                out.push(effect);
            }
        }
        keeper.released = out.len() - before;
        keeper.fresh.clear();
    }

    /// Gives the disk what has changed in this step, and holds back what rests on what is not on disk.
    /// The step's effects are those from `from` on.
    pub(super) fn keep(&mut self, from: usize, out: &mut Out) {
        let Some(mut keeper) = self.keeper.take() else { return };
        let stamp = self.stamp();
        let stands_anew = keeper.stamp.replace(stamp) != Some(stamp);
        if stands_anew {
            self.store.log.standing(&self.standing());
        }
        let mut edits = self.store.log.take();
        edits.extend(self.local.log.take());
        let effects: Vec<Output> = out.drain(from..).collect();
        if !edits.is_empty() {
            keeper.last += 1;
            if stands_anew {
                keeper.standing_at = keeper.last;
            }
            out.push(Output::Store { ticket: Ticket(keeper.last), edits });
        }
        let promises = std::mem::take(&mut keeper.promises);
        for (index, effect) in (from..).zip(effects) {
            let promise = promises.contains(&index) && !planted(Planted::HeldBeforePersisted);
            let stands = !planted(Planted::StandingNotAwaited);
            let ticket = match (promise, stands) {
                (true, _) => keeper.last,
                (false, true) => keeper.standing_at,
                (false, false) => 0,
            };
            if ticket > keeper.persisted {
                keeper.hold(ticket, effect);
            } else {
                out.push(effect);
            }
        }
        self.keeper = Some(keeper);
    }

    fn stamp(&self) -> Stamp {
        let (holds, renamed) = (self.holds.stamp(), self.renamed);
        Stamp { holds, renamed, epoch: self.epoch, told: self.told, was: self.was.len() }
    }

    fn standing(&self) -> Standing {
        Standing {
            id: Some(self.id.clone()),
            was: self.was.clone(),
            epoch: self.epoch(),
            seen: self.holds.seen_max().max(self.told),
            holds: self.holds.iter().map(|hold| hold.entry.clone()).collect(),
        }
    }
}
