//! Plain facts of a server, to be looked at from outside: by the simulator's invariants after each
//! step, and by whoever shows a server's state. Nothing here changes anything.

use super::Server;
use super::holds::{Hold, Role};
use super::keep::Keeper;
use crate::core::assignment::{Entry, NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::{Millis, Output, ReplyTo};
use crate::core::wire::cells::CellRef;
use crate::core::wire::peer::{RequestId, Version};
use crate::core::wire::text::Text;

/// What a server shows of itself. Borrowed: nothing is copied before it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ServerAudit<'a> {
    server: &'a Server,
}

/// What a server is in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Leads the range, and does not serve yet: it still reconciles.
    Reconciling,
    /// Orders writes and answers reads.
    Serving,
    /// Holds a copy that counts.
    Replica,
    /// Gets the data.
    Joiner,
    /// Has left, and keeps the data until it may delete them.
    Left,
}

impl Part {
    /// Whether the server's copy counts.
    pub fn is_active(self) -> bool {
        matches!(self, Part::Reconciling | Part::Serving | Part::Replica)
    }
}

/// A range that a server knows its part in.
#[derive(Debug, Clone, Copy)]
pub struct HoldAudit<'a> {
    hold: &'a Hold,
}

/// A confirmation that is under way.
#[derive(Debug, Clone, Copy)]
pub struct RoundAudit<'a> {
    /// Its number; a server's numbers only grow.
    pub number: u64,
    /// Who has not confirmed yet.
    pub waiting: &'a [NodeId],
}

/// A write that is under way at its primary.
#[derive(Debug, Clone, Copy)]
pub struct WriteAudit<'a> {
    /// Where.
    pub slot: Slot,
    /// The client's name for it.
    pub id: RequestId,
    /// The name that is written.
    pub key: &'a Text,
    /// Its place in the slot's order.
    pub version: Version,
    /// The revision under which it was last sent.
    pub revision: Revision,
    /// Who must still say that it holds it before it is acknowledged.
    pub needed: &'a [NodeId],
    /// Whether the votes of an original client back it.
    pub voted: bool,
    /// Whether clients were told that it is done.
    pub acknowledged: bool,
    /// Who waits for the answer.
    pub replies: &'a [ReplyTo],
}

/// How full a collection is that others can make grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// What is in it.
    pub what: &'static str,
    /// How many there are.
    pub len: usize,
    /// How many there may be; `None`: nothing bounds it but the time that each stays.
    pub max: Option<usize>,
}

impl Server {
    /// What this server shows of itself.
    pub fn audit(&self) -> ServerAudit<'_> {
        ServerAudit { server: self }
    }
}

impl<'a> ServerAudit<'a> {
    /// The present identity.
    pub fn id(self) -> &'a NodeId {
        &self.server.id
    }

    /// The identities that this process had before.
    pub fn was(self) -> &'a [NodeId] {
        &self.server.was
    }

    /// The highest epoch that the server was told.
    pub fn epoch(self) -> u64 {
        self.server.epoch()
    }

    /// The revision up to which it has adopted everything that concerns it.
    pub fn acked(self) -> Revision {
        self.server.acked
    }

    /// The number that it has given out last, to a write, a confirmation or a call.
    pub fn counter(self) -> u64 {
        self.server.counter
    }

    /// Its ranges, in slot order.
    pub fn holds(self) -> impl Iterator<Item = HoldAudit<'a>> {
        self.server.holds.iter().map(|hold| HoldAudit { hold })
    }

    /// The highest revision at which it has ever stood in a slot, its range deleted or not.
    pub fn seen(self, slot: Slot) -> Revision {
        self.server.holds.seen(slot)
    }

    /// Grows with every change of the replicated values, deletions included.
    pub fn changes(self) -> u64 {
        self.server.store.changes()
    }

    /// The replicated values, slot by slot.
    pub fn cells(self) -> impl Iterator<Item = (Slot, CellRef<'a>)> {
        self.server.store.all_cells()
    }

    /// The version under which a request was executed, where that is remembered.
    pub fn executed(self, slot: Slot, id: RequestId) -> Option<Version> {
        self.server.store.version_of(slot, id)
    }

    /// The writes that this server has ordered and that not everybody holds yet.
    pub fn writes(self) -> impl Iterator<Item = WriteAudit<'a>> {
        self.server.writes.pending.values().map(|write| WriteAudit {
            slot: write.slot,
            id: write.id,
            key: &write.key,
            version: write.cell.version,
            revision: write.revision,
            needed: &write.needed,
            voted: write.voted,
            acknowledged: write.needed.is_empty(),
            replies: &write.replies,
        })
    }

    /// The reservations of names that stand in others' way until their deadline, by this server's
    /// clock: name, address of the client, deadline.
    pub fn votes(self) -> impl Iterator<Item = (&'a Text, &'a str, Millis)> {
        self.server.votes.open()
    }

    /// Whether it is in a view whose leader decides who writes; else it is on its own.
    pub fn is_led(self) -> bool {
        self.server.leader_speaks == Some(true)
    }

    /// What the last step has decided to do: `outputs` are what it has asked for. What had waited for the
    /// disk was decided before; what waits for it is decided already.
    pub fn decided(self, outputs: &'a [Output]) -> impl Iterator<Item = &'a Output> {
        let keeper = self.server.keeper.as_ref();
        let new = &outputs[keeper.map_or(0, Keeper::released)..];
        new.iter().chain(keeper.into_iter().flat_map(Keeper::fresh))
    }

    /// What the last step has decided to do and need not wait with.
    pub fn asked_for(self, outputs: &[Output]) -> &[Output] {
        &outputs[self.server.keeper.as_ref().map_or(0, Keeper::released)..]
    }

    /// Whether something that it has decided waits for its disk.
    pub fn holds_back(self) -> bool {
        self.server.keeper.as_ref().is_some_and(Keeper::holds_back)
    }

    /// How full everything is that others can make grow.
    pub fn fills(self) -> [Fill; 13] {
        let server = self.server;
        let fill = |what, len, max| Fill { what, len, max };
        let (waiting, bytes) = server.writes.waiting();
        let trailing = server.writes.len() - waiting;
        let reads = |hold: &Hold| match &hold.role {
            Role::Primary(p) => {
                p.next_reads.len().max(p.round.as_ref().map_or(0, |round| round.reads.len()))
            }
            _ => 0,
        };
        let replies = server.writes.pending.values().map(|write| write.replies.len());
        [
            fill("requests parked", server.parked.len(), Some(super::parked::PARKED_MAX)),
            fill("writes not acknowledged", waiting, Some(super::writes::WRITES_PENDING_MAX)),
            // One more is taken while there is room.
            fill(
                "bytes of writes not acknowledged",
                bytes.saturating_sub(server.writes.largest()),
                Some(super::writes::WRITES_PENDING_BYTES_MAX),
            ),
            fill("writes trailing", trailing, Some(super::writes::WRITES_TRAILING_MAX)),
            fill("who waits for one write", replies.max().unwrap_or(0), None),
            fill(
                "reads of one range",
                server.holds.iter().map(reads).max().unwrap_or(0),
                Some(super::reads::READS_WAITING_MAX),
            ),
            fill("names voted on", server.votes.len(), Some(super::votes::VOTES_MAX)),
            fill("earlier identities", server.was.len(), Some(super::heartbeat::IDENTITIES_MAX)),
            fill("addresses", server.addresses.len(), None),
            fill("requests remembered twice", server.store.remembered_twice(), Some(0)),
            fill("calls", server.calls.len(), None),
            fill("writes forwarded", server.forwards.len(), None),
            fill(
                "messages that wait for the disk",
                server.keeper.as_ref().map_or(0, Keeper::messages),
                Some(super::keep::MESSAGES_HELD_MAX),
            ),
        ]
    }
}

impl<'a> HoldAudit<'a> {
    /// The assignment.
    pub fn entry(self) -> &'a Entry {
        &self.hold.entry
    }

    /// What the server is in it.
    pub fn part(self) -> Part {
        match &self.hold.role {
            Role::Primary(primary) if primary.serves() => Part::Serving,
            Role::Primary(_) => Part::Reconciling,
            Role::Replica => Part::Replica,
            Role::Joiner => Part::Joiner,
            Role::Left => Part::Left,
        }
    }

    /// The joiners that the primary counts as synced.
    pub fn synced(self) -> impl Iterator<Item = &'a NodeId> {
        self.hold.joiners(|sync| sync.synced)
    }

    /// The joiners that every new write needs, and that may still lack acknowledged ones.
    pub fn closing(self) -> impl Iterator<Item = &'a NodeId> {
        self.hold.joiners(|sync| sync.closing && !sync.synced)
    }

    /// The confirmation that is under way.
    pub fn round(self) -> Option<RoundAudit<'a>> {
        let round = self.hold.round()?;
        Some(RoundAudit { number: round.number, waiting: &round.waiting })
    }

    /// The reads that this confirmation will answer.
    pub fn reads(self) -> impl Iterator<Item = ReplyTo> + 'a {
        self.hold.round().into_iter().flat_map(|round| round.reads.iter().map(|read| read.to))
    }
}
