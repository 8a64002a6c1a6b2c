//! `dht_status`: all that this leader knows of the ring, for people who look after it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Leader;
use super::heartbeat::reachable;
use super::plan::{Range, State};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::{Millis, Origin};
use crate::core::reply::Reply;
use crate::core::wire::json::Json;
use crate::core::wire::request::{EXTENSION_VERSION, PROGRAM_VERSION};

#[derive(Debug, Serialize)]
struct Status<'a> {
    version: u64,
    /// The version of this program.
    program: &'static str,
    epoch: u64,
    revision: Revision,
    settled: bool,
    /// Whether servers of a ring before this leader's start may not have been heard yet.
    recovering: bool,
    /// How far a rebalance is; `None` where none is under way.
    percent: Option<u8>,
    members: Vec<MemberStatus<'a>>,
    ranges: Vec<RangeStatus>,
    /// How many locks are held.
    locks_held: usize,
}

/// A server of the view, in ring order.
#[derive(Debug, Serialize)]
struct MemberStatus<'a> {
    addr: String,
    /// The identity; `None` for an original server.
    id: Option<&'a NodeId>,
    position: Slot,
    lease_left_ms: Millis,
    slots_primary: u64,
    leaving: bool,
}

/// A range, and the addresses of who holds it, primary first.
#[derive(Debug, Serialize)]
struct RangeStatus {
    start: Slot,
    end: Slot,
    revision: Revision,
    /// `settled`, `syncing`, `dropping` or `waiting`.
    state: &'static str,
    active: Vec<String>,
    joining: Vec<String>,
    leaving: Vec<String>,
}

/// How many locks are told, the first by their names' JSON text. More are only counted.
const LOCKS_TOLD_MAX: usize = 1_000;

/// How many of those who queue for one lock are told, the first in order. More are only counted.
const WAITERS_TOLD_MAX: usize = 100;

impl Leader {
    /// The reply to `dht_status`.
    pub(super) fn status(&mut self, now: Millis, origin: &Origin) -> Vec<u8> {
        let percent = self.percent();
        let leader_host = self.leader_host(origin);
        let assigned = self.ranges.iter().filter(|range| !range.state.active.is_empty());
        let status = Status {
            version: EXTENSION_VERSION,
            program: PROGRAM_VERSION,
            epoch: self.epoch,
            revision: self.revision,
            settled: self.is_settled(),
            recovering: self.is_recovering(),
            percent,
            members: self.member_statuses(now, &leader_host),
            ranges: assigned.map(|range| self.range_status(range, &leader_host)).collect(),
            locks_held: self.locks.len().0,
        };
        Reply::status("ok").value("dht", &status).raw("locks", &self.lock_statuses()).finish()
    }

    fn member_statuses(&self, now: Millis, leader_host: &str) -> Vec<MemberStatus<'_>> {
        let mut slots: BTreeMap<&NodeId, u64> = BTreeMap::new();
        for range in &self.ranges {
            if let Some(primary) = range.state.active.first() {
                *slots.entry(primary).or_default() += u64::from(range.end - range.start);
            }
        }
        let members = self.members.in_ring_order();
        let status = members.into_iter().map(|member| {
            let known = member.extension.as_ref();
            MemberStatus {
                addr: reachable(&member.addr, leader_host),
                id: known.map(|known| &known.id),
                position: member.position,
                lease_left_ms: member.lease_until.saturating_sub(now),
                slots_primary: known.and_then(|known| slots.get(&known.id)).copied().unwrap_or(0),
                leaving: known.is_some_and(|known| known.leaving_since.is_some()),
            }
        });
        status.collect()
    }

    /// A JSON array of the locks. Their names may be what standard JSON lacks, such as `NaN`.
    fn lock_statuses(&self) -> String {
        let told = self.locks.all().take(LOCKS_TOLD_MAX).filter_map(|(lock, queue)| {
            let (lock, holder) = (lock.as_str(), queue.front()?.as_str());
            let waiting = queue.len() - 1;
            let names: Vec<&str> =
                queue.iter().skip(1).take(WAITERS_TOLD_MAX).map(Json::as_str).collect();
            let names = names.join(", ");
            Some(format!(
                r#"{{"lock": {lock}, "holder": {holder}, "waiting": {waiting}, "queue": [{names}]}}"#
            ))
        });
        format!("[{}]", told.collect::<Vec<_>>().join(", "))
    }

    fn range_status(&self, range: &Range, leader_host: &str) -> RangeStatus {
        let addr = |id: &NodeId| reachable(&self.addr_of(id), leader_host);
        let state = &range.state;
        RangeStatus {
            start: range.start,
            end: range.end,
            revision: state.revision,
            state: state_name(state),
            active: state.active.iter().map(addr).collect(),
            joining: state.joining.iter().map(|(id, _)| addr(id)).collect(),
            leaving: state.leaving.iter().map(addr).collect(),
        }
    }
}

fn state_name(state: &State) -> &'static str {
    if state.waiting_since.is_some() || state.unsure_since.is_some() {
        "waiting"
    } else if !state.joining.is_empty() {
        "syncing"
    } else if !state.leaving.is_empty() {
        "dropping"
    } else {
        "settled"
    }
}
