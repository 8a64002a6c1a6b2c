//! Planned leaves: a server goes when nothing depends on it any more.
//!
//! A server that wants to leave says so in each heartbeat. It is no longer in the ring that gives
//! slots their servers, so others join its ranges, become active, and it drops them, as after any
//! change. Then it is told that it may leave; with its last heartbeat it is no member any more.

use super::{Leader, Out};
use crate::core::assignment::{HeartbeatExtension, NodeId};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};

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
        if said.leaving && !std::mem::replace(&mut extension.leaving, true) {
            self.replan(now, out);
        }
    }

    /// Whether nothing depends on this server: no range is or was on it. Where nobody stays there
    /// is nobody to wait for, unless servers may still come back that were not asked to leave.
    pub(super) fn may_leave(&self, id: &NodeId) -> bool {
        let nobody_comes = self.absent.values().all(|absent| absent.gone);
        if self.members.nobody_stays() && nobody_comes && !self.is_recovering() {
            return true;
        }
        let depends = |state: &super::plan::State| state.names(id) || state.leaving.contains(id);
        let needed = self.ranges.iter().any(|range| depends(&range.state));
        !self.is_recovering() && (!needed || planted(Planted::LeavesWhileNeeded))
    }
}
