//! Planned leaves: a server goes when nothing depends on it any more.
//!
//! A server that wants to leave says so in each heartbeat. It is no longer in the ring that gives
//! slots their servers, so others join its ranges, become active, and it drops them, as after any
//! change. Then it is told that it may leave; with its last heartbeat it is no member any more.

use super::members::Member;
use super::{Leader, Out};
use crate::core::assignment::{HeartbeatExtension, NodeId};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::ring::REPLICA_COUNT;

impl Leader {
    /// A member says whether it wants to leave. One that says goodbye and may not is told so by
    /// the reply, which has a snapshot.
    pub(super) fn wants_to_leave(
        &mut self,
        now: Millis,
        id: &NodeId,
        said: &HeartbeatExtension,
        out: &mut Out,
    ) {
        let Some(extension) = self.members.extension_mut(id) else {
            return;
        };
        // One that was let go, and is needed again, has to be told once more.
        extension.leave_told &= !said.left;
        if said.leaving && extension.leaving_since.is_none() {
            extension.leaving_since = Some(now);
            // Those that stay say that they are there.
            let stay: Vec<NodeId> = self.members.stayers().filter_map(Member::id).collect();
            if stay.len() < REPLICA_COUNT {
                stay.iter().for_each(|id| self.probe(id, out));
            }
            self.replan(now, out);
        } else {
            self.heard(now, id, out);
        }
    }

    /// A member is there: who wants to leave may have waited for that.
    pub(super) fn heard(&mut self, now: Millis, id: &NodeId, out: &mut Out) {
        if let Some(member) = self.members.by_id_mut(id) {
            member.heard_at = now;
        }
        if self.leaver_waits && !self.members.release_leavers() {
            self.replan(now, out);
        }
    }

    /// Whether nothing depends on this server: no range is or was on it. Or the ring is to end.
    pub(super) fn may_leave(&self, id: &NodeId) -> bool {
        if self.is_to_end() {
            return true;
        }
        let depends = |state: &super::plan::State| state.names(id) || state.leaving.contains(id);
        let needed = self.ranges.iter().any(|range| depends(&range.state));
        !self.is_recovering() && (!needed || planted(Planted::LeavesWhileNeeded))
    }

    /// Whether all servers shall leave, so that there is nobody to wait for. Not where servers may
    /// still come back that were not asked to leave. Nor where one has vanished less than a lease
    /// before, or later: whoever asked the others may have counted on it. Then a new one has to come.
    fn is_to_end(&self) -> bool {
        let nobody_comes = self.absent.values().all(|absent| absent.left || self.is_lost(absent));
        let lease_ms = self.config.lease_ms;
        let known = |vanished_at: Millis| {
            self.members.asked_since().is_some_and(|since| since > vanished_at + lease_ms)
        };
        self.members.nobody_stays()
            && nobody_comes
            && !self.is_recovering()
            && self.vanished_at.is_none_or(known)
    }
}
