//! What tests may look at past all faults.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::network::Caller;
use super::node::Program;
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::{Slot, slot_of};
use crate::core::leader::audit::RangeAudit;
use crate::core::machine::Millis;
use crate::core::server::audit::{HoldAudit, ServerAudit};
use crate::core::wire::cells::CellRef;

impl Cluster {
    /// Whether every kept-open connection of a living process leads somewhere, or its owner knows
    /// that it does not; and no living process waits for the answer to a request that a cut has
    /// swallowed.
    pub fn connections_are_sound(&self) -> bool {
        let lives = |caller: &Caller| matches!(caller, Caller::Process(process, _) if self.running(*process).is_some());
        if self.network.flights.values().any(|flight| flight.swallowed && lives(&flight.caller)) {
            return false;
        }
        let mut open = self.network.open.iter();
        open.all(|((owner, _), link)| {
            self.running(*owner).is_none() || !self.network.links[*link].broken
        })
    }

    /// How many requests a node's processes have sent to servers; those to the view leader are not
    /// counted.
    pub fn requests_to_servers(&self, name: &str) -> u64 {
        self.nodes[self.index(name)].requests_to_servers
    }

    /// When a node's processes last asked the view leader; 0: never.
    pub fn leader_asked_at(&self, name: &str) -> Millis {
        self.nodes[self.index(name)].leader_asked_at
    }

    /// Puts a line of one's own into the trace.
    pub fn remark(&mut self, what: impl FnOnce() -> String) {
        self.trace.add(self.now, || format!("-- {}", what()));
    }

    /// A server's identity, and those that it had before.
    pub fn identities(&self, name: &str) -> Vec<NodeId> {
        let Some(Program::Server(server)) = &self.nodes[self.index(name)].program else {
            return Vec::new();
        };
        let audit = server.audit();
        std::iter::once(audit.id()).chain(audit.was()).cloned().collect()
    }

    /// The active servers of a slot, primary first, and its joiners, as the view leader has them;
    /// nobody while none runs.
    pub fn named_at(&self, leader: &str, slot: Slot) -> (Vec<NodeId>, Vec<NodeId>) {
        let Some(Program::Leader(leader)) = &self.nodes[self.index(leader)].program else {
            return (Vec::new(), Vec::new());
        };
        let mut ranges = leader.audit().ranges();
        let range = ranges.find(|range| (range.start()..range.end()).contains(&slot));
        let joining =
            |range: &RangeAudit<'_>| range.joining().iter().map(|j| j.0.clone()).collect();
        range.map_or_else(Default::default, |range| (range.active().to_vec(), joining(&range)))
    }

    /// Whether the view leader relies on what it knows of a slot, or will once all servers but `others`
    /// are gone.
    pub fn relies_on(&self, leader: &str, slot: Slot, others: &[NodeId]) -> bool {
        let Some(Program::Leader(leader)) = &self.nodes[self.index(leader)].program else {
            return false;
        };
        let audit = leader.audit();
        let mut ranges = audit.ranges();
        let range = ranges.find(|range| (range.start()..range.end()).contains(&slot));
        range.is_some_and(|range| {
            let vouches = |id: &NodeId| others.contains(id) && audit.vouches(id);
            !range.is_unsure() || range.active().iter().any(vouches)
        })
    }

    /// Whether all that is amiss is that a restarted view leader waits for servers that are dead: of
    /// each range that it does not rely on a server is missing, and nobody there vouches that the
    /// range cannot have gone on with that one alone.
    pub fn waits_for_the_dead(&self, leader: &str) -> bool {
        let Some(Program::Leader(leader)) = &self.nodes[self.index(leader)].program else {
            return false;
        };
        let audit = leader.audit();
        let living: BTreeSet<&NodeId> = audit.members().map(|(id, _)| id).collect();
        let waits = |range: RangeAudit<'_>| {
            let active = range.active();
            let joining = range.joining().iter().map(|(id, _)| id);
            let dead = active.iter().chain(joining).any(|id| self.is_dead(id));
            dead && !active.iter().any(|id| living.contains(id) && audit.vouches(id))
        };
        let mut ranges = audit.ranges();
        audit.ranges().any(RangeAudit::is_unsure)
            && ranges.all(|range| if range.is_unsure() { waits(range) } else { range.is_settled() })
    }

    /// The servers that slots wait for, as the view leader has it.
    pub fn missed(&self, leader: &str) -> BTreeSet<NodeId> {
        let Some(Program::Leader(leader)) = &self.nodes[self.index(leader)].program else {
            return BTreeSet::new();
        };
        let audit = leader.audit();
        let waiting = audit.ranges().filter(|range| range.is_waiting() || range.is_unsure());
        waiting.flat_map(|range| range.active().iter().cloned()).collect()
    }

    /// Whether no process has this identity, or had it before.
    fn is_dead(&self, id: &NodeId) -> bool {
        !self.nodes.iter().any(|node| match &node.program {
            Some(Program::Server(server)) => {
                server.audit().id() == id || server.audit().was().contains(id)
            }
            _ => false,
        })
    }

    /// The active servers of a slot in the newest assignment of it that any living server knows.
    pub fn newest_at(&self, slot: Slot) -> Vec<NodeId> {
        let servers = self.nodes.iter().filter_map(|node| match &node.program {
            Some(Program::Server(server)) => Some(server.audit()),
            _ => None,
        });
        let entries = servers.flat_map(ServerAudit::holds).map(HoldAudit::entry);
        let here = entries.filter(|entry| (entry.start..entry.end).contains(&slot));
        let newest = here.max_by_key(|entry| entry.revision);
        newest
            .map(|entry| entry.active.iter().map(|peer| peer.id().clone()).collect())
            .unwrap_or_default()
    }

    /// The revision at which a slot last started empty, as the view leader has it; 0: never.
    pub fn born_at(&self, leader: &str, slot: Slot) -> Revision {
        let Some(Program::Leader(leader)) = &self.nodes[self.index(leader)].program else {
            return 0;
        };
        let mut ranges = leader.audit().ranges();
        let range = ranges.find(|range| (range.start()..range.end()).contains(&slot));
        range.map_or(0, RangeAudit::born)
    }

    /// The members of the view that speak the extension; none while no leader runs.
    pub fn members(&self, leader: &str) -> Vec<NodeId> {
        let Some(Program::Leader(leader)) = &self.nodes[self.index(leader)].program else {
            return Vec::new();
        };
        leader.audit().members().map(|(id, _)| id.clone()).collect()
    }

    /// The identity of the server that runs under a name. Asked for it, the server would send a
    /// heartbeat soon: looking must change nothing.
    pub fn identity(&self, name: &str) -> Option<NodeId> {
        match &self.nodes[self.index(name)].program {
            Some(Program::Server(server)) => Some(server.audit().id().clone()),
            _ => None,
        }
    }

    /// Whether a server knows anything of a ring: it was told of a range, or that it has none.
    pub fn has_adopted(&self, name: &str) -> bool {
        match &self.nodes[self.index(name)].program {
            Some(Program::Server(server)) => {
                server.audit().acked() > 0 || server.audit().holds().next().is_some()
            }
            _ => false,
        }
    }

    /// What the view leader under a name would tell clients of the view. Asked for it, it would
    /// remove whose lease has ended, even while it is stopped.
    pub fn view_of(&self, name: &str) -> Option<Vec<u8>> {
        match &self.nodes[*self.names.get(name)?].program {
            Some(Program::Leader(leader)) => Some(leader.audit().view()),
            _ => None,
        }
    }

    /// What waits at a server: requests, writes and reads; how many of each sort, where any.
    pub fn waiting_at(&self, name: &str) -> Vec<(&'static str, usize)> {
        let Some(Program::Server(server)) = &self.nodes[self.index(name)].program else {
            return Vec::new();
        };
        let sorts =
            ["requests parked", "writes not acknowledged", "writes trailing", "reads of one range"];
        let fills = server.audit().fills().into_iter().map(|fill| (fill.what, fill.len));
        fills.filter(|(what, len)| sorts.contains(what) && *len > 0).collect()
    }

    /// A server's copy of a key, with its version; `None` where it has none.
    pub fn copy_of(&self, name: &str, key: &str) -> Option<CellRef<'_>> {
        let Some(Program::Server(server)) = &self.nodes[self.index(name)].program else {
            return None;
        };
        let slot = slot_of(key.as_bytes());
        let mut cells = server.audit().cells();
        let found = cells.find(|(at, cell)| *at == slot && cell.name == key.as_bytes());
        found.map(|(_, cell)| cell)
    }
}
