//! Plain facts of a view leader, to be looked at from outside. Nothing here changes anything.

use super::Leader;
use super::plan::Range;
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::machine::Origin;
use crate::core::server::audit::Fill;

/// What a view leader shows of itself. Borrowed: nothing is copied before it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct LeaderAudit<'a> {
    leader: &'a Leader,
}

/// A range and who holds it, as the leader has decided or has heard.
#[derive(Debug, Clone, Copy)]
pub struct RangeAudit<'a> {
    range: &'a Range,
}

impl Leader {
    /// What this leader shows of itself.
    pub fn audit(&self) -> LeaderAudit<'_> {
        LeaderAudit { leader: self }
    }
}

impl<'a> LeaderAudit<'a> {
    /// What clients that speak the extension are told of the view.
    pub fn view(self) -> Vec<u8> {
        self.leader.query_servers(&Origin::default(), true)
    }

    /// The epoch.
    pub fn epoch(self) -> u64 {
        self.leader.epoch
    }

    /// The highest revision given out.
    pub fn revision(self) -> Revision {
        self.leader.revision
    }

    /// The ranges, in slot order; all slots are in one.
    pub fn ranges(self) -> impl Iterator<Item = RangeAudit<'a>> {
        self.leader.ranges.iter().map(|range| RangeAudit { range })
    }

    /// Whether servers of a ring before this leader's start may not have been heard.
    pub fn is_recovering(self) -> bool {
        self.leader.is_recovering()
    }

    /// Whether it has found that it was started again.
    pub fn is_restarted(self) -> bool {
        self.leader.restarted_at.is_some()
    }

    /// How often it has found that slots are lost.
    pub fn losses(self) -> u64 {
        self.leader.losses
    }

    /// Whether it keeps a record.
    pub fn has_record(self) -> bool {
        self.leader.keeper.is_some()
    }

    /// How long a server is believed alive.
    pub fn lease_ms(self) -> u64 {
        self.leader.config.lease_ms
    }

    /// Whether it gives up ranges whose servers are silent for long.
    pub fn gives_up(self) -> bool {
        self.leader.config.give_up_after_ms.is_some()
    }

    /// The members that speak the extension, each with the revision up to which it has adopted
    /// everything.
    pub fn members(self) -> impl Iterator<Item = (&'a NodeId, Revision)> {
        let members = &self.leader.members;
        members.ids().filter_map(|id| Some((id, members.extension(id)?.acked)))
    }

    /// Whether this server is known to have been in the view until the leader before ended.
    pub fn vouches(self, id: &NodeId) -> bool {
        self.leader.members.extension(id).is_some_and(|known| known.vouches)
    }

    /// How full everything is that others can make grow.
    pub fn fills(self) -> [Fill; 7] {
        let leader = self.leader;
        let (locks, queue) = leader.locks.len();
        let fill = |what, len, max| Fill { what, len, max };
        [
            fill("locks", locks, Some(super::locks::LOCKS_MAX)),
            fill("who waits for one lock", queue, Some(super::locks::WAITERS_MAX)),
            fill("ranges", leader.ranges.len(), Some(usize::from(SLOT_COUNT))),
            fill("calls", leader.calls.len(), None),
            fill("absent servers", leader.absent.len(), None),
            fill("suspects", leader.suspects.len(), None),
            fill("what waits for the disk", leader.keeper.as_ref().map_or(0, |k| k.held()), None),
        ]
    }
}

impl<'a> RangeAudit<'a> {
    /// First slot.
    pub fn start(self) -> Slot {
        self.range.start
    }

    /// One past the last slot.
    pub fn end(self) -> Slot {
        self.range.end
    }

    /// The revision of the assignment; 0: nobody was ever assigned.
    pub fn revision(self) -> Revision {
        self.range.state.revision
    }

    /// The revision at which the range last started empty.
    pub fn born(self) -> Revision {
        self.range.state.born
    }

    /// The servers whose copies count, primary first.
    pub fn active(self) -> &'a [NodeId] {
        &self.range.state.active
    }

    /// Who gets the data, and since which revision.
    pub fn joining(self) -> &'a [(NodeId, Revision)] {
        &self.range.state.joining
    }

    /// Who has left and has to delete the data.
    pub fn leaving(self) -> &'a [NodeId] {
        &self.range.state.leaving
    }

    /// Whether every key of the range is on its servers and nowhere else.
    pub fn is_settled(self) -> bool {
        self.range.state.is_settled()
    }

    /// Whether the assignment is one that a server has told, and that the leader does not rely on
    /// before all who are named in it were heard.
    pub fn is_unsure(self) -> bool {
        self.range.state.unsure_since.is_some()
    }

    /// Whether this very assignment was told by a server, and not decided by this leader.
    pub fn is_told(self) -> bool {
        self.range.state.claimed == Some(self.range.state.revision)
    }

    /// Whether no active server is alive.
    pub fn is_waiting(self) -> bool {
        self.range.state.waiting_since.is_some()
    }
}
