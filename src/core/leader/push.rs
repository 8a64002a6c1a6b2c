//! Telling the servers: pushes, what they acknowledged, and what may be deleted.

use std::collections::BTreeMap;

use super::heartbeat::reachable;
use super::plan::{Range, State};
use super::{Leader, Out, Purpose};
use crate::core::assignment::{
    AssignReply, Entry, Joiner, NodeId, Originals, Peer, Revision, Snapshot, Span,
};
use crate::core::machine::{CallError, Millis, Output, Target};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::ring::REPLICA_COUNT;
use crate::core::wire::json::Object;
use crate::core::wire::request::EXTENSION_VERSION;

/// After how long a push counts as not answered.
const PUSH_TIMEOUT_MS: Millis = 5_000;

impl Leader {
    /// Tells every server what it has not acknowledged yet.
    pub(super) fn pump(&mut self, now: Millis, out: &mut Out) {
        self.untold = false;
        self.find_drops();
        let wanted = self.wanted();
        self.push_at = None;
        let ids: Vec<NodeId> = self.members.ids().cloned().collect();
        for id in ids {
            let epoch = self.epoch;
            let Some(extension) = self.members.extension(&id) else {
                continue;
            };
            let news = extension.acked < wanted.get(&id).copied().unwrap_or(0)
                || extension.epoch_told < epoch
                || extension.may_drop
                || !extension.originals_told
                || (extension.leaving_since.is_some()
                    && !extension.leave_told
                    && self.may_leave(&id));
            if !news || extension.push.is_some() {
                continue;
            }
            let at = extension.push_after;
            if at > now {
                self.push_at = Some(self.push_at.map_or(at, |other| other.min(at)));
            } else {
                self.push(&id, out);
            }
        }
    }

    fn push(&mut self, id: &NodeId, out: &mut Out) {
        let Some(addr) = self.members.by_id(id).map(|member| member.addr.clone()) else {
            return;
        };
        let snapshot = self.snapshot(id);
        let message = Reply::new().text("cmd", "dht_assign").value("dht", &snapshot).finish();
        let call = self.call_id(Purpose::Push(id.clone()));
        let epoch = self.epoch;
        if let Some(extension) = self.members.extension_mut(id) {
            extension.push = Some((call, epoch));
            extension.originals_told = true;
            extension.leave_told |= snapshot.may_leave;
        }
        let (target, timeout_ms) = (Target::Addr(addr), PUSH_TIMEOUT_MS);
        out.push(Output::Call { call, target, message, timeout_ms, keep: true });
    }

    /// The answer to a push.
    pub(super) fn pushed(
        &mut self,
        now: Millis,
        id: &NodeId,
        result: Result<Vec<u8>, CallError>,
        out: &mut Out,
    ) {
        let retry_ms = self.config.retry_ms;
        let Some(extension) = self.members.extension_mut(id) else {
            return;
        };
        let told = extension.push.take().map_or(0, |(_, epoch)| epoch);
        self.untold = true;
        let answer: Option<AssignReply> = match &result {
            Ok(reply) => Object::parse(reply).ok().and_then(|object| object.decode("dht")),
            Err(_) => None,
        };
        if let Some(answer) = answer {
            extension.epoch_told = extension.epoch_told.max(told);
            extension.may_drop = false;
            self.acknowledged(id, answer.revision, &answer.dropped);
            return;
        }
        extension.push_after = now + retry_ms;
        extension.originals_told = false;
        extension.leave_told = false;
        // Refused, or answered by somebody to whom the push means nothing: who is there?
        if matches!(result, Ok(_) | Err(CallError::Refused)) {
            self.probe(id, out);
        }
    }

    /// All that a server has to know and has not acknowledged.
    pub(super) fn snapshot(&self, id: &NodeId) -> Snapshot {
        let Some(extension) = self.members.extension(id) else {
            return Snapshot::default();
        };
        let addr = self.members.by_id(id).map(|member| member.addr.clone()).unwrap_or_default();
        let mut snapshot = Snapshot {
            version: EXTENSION_VERSION,
            you: Some(id.clone()),
            addr,
            epoch: self.epoch,
            revision: self.revision,
            originals: self.originals(id, &extension.leader_host),
            may_leave: extension.leaving_since.is_some() && self.may_leave(id),
            ..Snapshot::default()
        };
        for range in &self.ranges {
            let state = &range.state;
            let leaves = state.leaving.contains(id);
            if state.revision > extension.acked && (leaves || state.names(id)) {
                snapshot.entries.push(self.entry(range, &extension.leader_host));
            }
            if leaves && self.may_drop(state) {
                snapshot.drop.push(Span(range.start, range.end, state.revision));
            }
        }
        snapshot
    }

    /// The entry of a range, with addresses for somebody who reaches us by `leader_host`.
    fn entry(&self, range: &Range, leader_host: &str) -> Entry {
        let addr = |id: &NodeId| reachable(&self.addr_of(id), leader_host);
        let state = &range.state;
        Entry {
            start: range.start,
            end: range.end,
            revision: state.revision,
            born: state.born,
            led_since: state.led_since,
            active: state.active.iter().map(|id| Peer(id.clone(), addr(id))).collect(),
            joining: state
                .joining
                .iter()
                .map(|(id, since)| Joiner(id.clone(), addr(id), *since))
                .collect(),
        }
    }

    /// Where a server is or was.
    pub(super) fn addr_of(&self, id: &NodeId) -> String {
        let member = self.members.by_id(id).map(|member| member.addr.clone());
        member.or_else(|| self.absent.get(id).map(|a| a.addr.clone())).unwrap_or_default()
    }

    /// The revision that each server must have acknowledged to know all that concerns it.
    fn wanted(&self) -> BTreeMap<NodeId, Revision> {
        let mut wanted: BTreeMap<NodeId, Revision> = BTreeMap::new();
        for Range { state, .. } in &self.ranges {
            for id in state.named().chain(&state.leaving) {
                let highest = wanted.entry(id.clone()).or_default();
                *highest = state.revision.max(*highest);
            }
        }
        wanted
    }

    /// Marks the servers that have something to delete, and may.
    fn find_drops(&mut self) {
        let mut droppers: Vec<NodeId> = Vec::new();
        for Range { state, .. } in &self.ranges {
            if !state.leaving.is_empty() && self.may_drop(state) {
                droppers.extend(state.leaving.iter().cloned());
            }
        }
        for id in droppers {
            if let Some(extension) = self.members.extension_mut(&id) {
                extension.may_drop = true;
            }
        }
    }

    /// Whether those who left a range may delete it: its whole active set has acknowledged the
    /// revision, so nobody of an older one can serve any more.
    fn may_drop(&self, state: &State) -> bool {
        state.unsure_since.is_none()
            && state.waiting_since.is_none()
            && state.active.iter().all(|id| {
                planted(Planted::DropUnacknowledged)
                    || self.members.extension(id).is_some_and(|known| known.acked >= state.revision)
            })
    }

    /// The original servers among the three of each slot of which `id` is the primary.
    fn originals(&self, id: &NodeId, leader_host: &str) -> Vec<Originals> {
        if !self.members.has_originals() {
            return Vec::new();
        }
        let ring = self.members.ring();
        let mut found = Vec::new();
        for range in self.ranges.iter().filter(|range| range.state.active.first() == Some(id)) {
            let bounds = ring.boundaries();
            let inner = bounds.into_iter().filter(|at| (range.start + 1..range.end).contains(at));
            let starts: Vec<_> = std::iter::once(range.start).chain(inner).collect();
            for (index, start) in starts.iter().enumerate() {
                let end = starts.get(index + 1).copied().unwrap_or(range.end);
                let addrs: Vec<String> = ring
                    .walk(*start)
                    .take(REPLICA_COUNT)
                    .filter(|(_, id)| id.is_none())
                    .map(|(addr, _)| reachable(&addr, leader_host))
                    .collect();
                if !addrs.is_empty() {
                    found.push(Originals(*start, end, addrs));
                }
            }
        }
        found
    }
}
