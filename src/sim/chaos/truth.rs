//! What is so in the ring, looked up past all faults: to choose victims, and to judge.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{LEADER, World};
use crate::core::assignment::{NodeId, ViewExtension};
use crate::core::hash::slot_of;
use crate::core::ring::REPLICA_COUNT;
use crate::core::wire::json::Object;

/// What the view leader has decided.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Address and position of each member.
    pub(super) members: Vec<(String, u16)>,
    pub(super) assignment: ViewExtension,
}

impl View {
    /// The address of a key's primary.
    pub(super) fn primary(&self, key: &str) -> Option<String> {
        let slot = slot_of(key.as_bytes());
        let mut ranges = self.assignment.ranges.iter();
        let range = ranges.find(|range| (range.0..range.1).contains(&slot))?;
        let (_, addr, _) = &self.assignment.servers[*range.3.first()? as usize];
        Some(addr.clone())
    }
}

impl World {
    /// What the view leader has decided; `None` while none runs.
    pub(super) fn view(&mut self) -> Option<View> {
        if !self.cluster.is_alive(LEADER) {
            return None;
        }
        let reply = self.cluster.view_of(LEADER)?;
        let reply = Object::parse(&reply).ok()?;
        Some(View { members: reply.decode("result")?, assignment: reply.decode("dht")? })
    }

    /// A server's identity.
    pub(super) fn identity(&mut self, name: &str) -> NodeId {
        self.cluster.identity(name).expect("a server has an identity")
    }

    /// The servers that live, by identity.
    pub(super) fn living(&mut self) -> BTreeMap<NodeId, String> {
        let names: Vec<String> = self.servers.iter().map(|server| server.name.clone()).collect();
        let alive: Vec<String> =
            names.into_iter().filter(|name| self.cluster.is_alive(name)).collect();
        alive.into_iter().map(|name| (self.identity(&name), name)).collect()
    }

    /// The servers that live and were asked to leave.
    pub(super) fn leaving(&self) -> Vec<String> {
        let leaving = self.servers.iter().filter(|server| server.leaves);
        let alive = leaving.filter(|server| self.cluster.is_alive(&server.name));
        alive.map(|server| server.name.clone()).collect()
    }

    /// The members that stay: what the ring that gives slots their servers is made of.
    pub(super) fn ring(&self, members: &[(String, u16)]) -> Vec<(String, u16)> {
        let leaving = self.leaving();
        let addrs: Vec<&str> = leaving.iter().map(|name| self.cluster.addr(name)).collect();
        members.iter().filter(|(addr, _)| !addrs.contains(&addr.as_str())).cloned().collect()
    }

    /// Who holds a key, primary first, while nothing moves; empty while something does.
    pub(super) fn holders(&mut self, key: &str) -> Vec<NodeId> {
        let settled = self.view().is_some_and(|view| view.assignment.settled);
        if settled { self.active(key) } else { Vec::new() }
    }

    /// The active servers of a key, primary first, as the view leader has it.
    pub(super) fn active(&mut self, key: &str) -> Vec<NodeId> {
        let Some(view) = self.view() else {
            return Vec::new();
        };
        let slot = slot_of(key.as_bytes());
        let range = view.assignment.ranges.iter().find(|range| (range.0..range.1).contains(&slot));
        let indices = range.map(|range| range.3.as_slice()).unwrap_or_default();
        indices.iter().map(|index| view.assignment.servers[*index as usize].0.clone()).collect()
    }

    /// For each range, the identities of those who hold it, and of those who will when what is
    /// under way has arrived: sets of which not all may fail together.
    pub(super) fn together(&mut self) -> BTreeSet<BTreeSet<NodeId>> {
        let Some(view) = self.view() else {
            return self.together_last.clone();
        };
        let ring = self.ring(&view.members);
        let sets = sets(&view, &ring);
        // A leader that was started again knows less than the one before, for a time.
        if view.assignment.settled && !sets.is_empty() {
            self.together_last = sets;
        } else {
            self.together_last.extend(sets);
        }
        self.together_last.clone()
    }
}

fn sets(view: &View, ring: &[(String, u16)]) -> BTreeSet<BTreeSet<NodeId>> {
    let named = &view.assignment.servers;
    let mut sets = BTreeSet::new();
    for range in &view.assignment.ranges {
        let ids = |indices: &[u32]| -> Vec<NodeId> {
            indices.iter().map(|index| named[*index as usize].0.clone()).collect()
        };
        let (active, joining) = (ids(&range.3), ids(&range.4));
        let target = three(ring, range.0);
        let wanted = |id: &&NodeId| {
            named.iter().any(|(known, addr, _)| known == *id && target.contains(addr))
        };
        sets.insert(active.iter().chain(&joining).filter(wanted).cloned().collect());
        sets.insert(active.into_iter().collect());
    }
    sets
}

/// The three servers of a slot by a plain linear scan: the highest position strictly below the
/// slot, else the highest of all; then up the ring. Equal positions: by address text.
pub(super) fn three(members: &[(String, u16)], slot: u16) -> Vec<String> {
    let mut sorted: Vec<(u16, &String)> = members.iter().map(|(addr, at)| (*at, addr)).collect();
    sorted.sort();
    let below = sorted.iter().rposition(|(at, _)| *at < slot);
    let Some(first) = below.or(sorted.len().checked_sub(1)) else {
        return Vec::new();
    };
    let count = sorted.len().min(REPLICA_COUNT);
    (0..count).map(|step| sorted[(first + step) % sorted.len()].1.clone()).collect()
}
