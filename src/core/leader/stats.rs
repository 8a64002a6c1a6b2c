//! `dht_stats`: what this leader holds, in figures.

use super::Leader;
use super::plan::Range;
use crate::core::reply::Reply;
use crate::core::wire::request::EXTENSION_VERSION;

impl Leader {
    /// The reply to `dht_stats`.
    pub(super) fn stats(&self) -> Vec<u8> {
        let (mut settled, mut moving, mut waiting) = (0, 0, 0);
        for Range { start, end, state } in &self.ranges {
            let slots = u64::from(end - start);
            if state.waiting_since.is_some() {
                waiting += slots;
            } else if !state.is_settled() {
                moving += slots;
            } else if !state.active.is_empty() {
                settled += slots;
            }
        }
        let (locks, queue_longest) = self.locks.len();
        Reply::status("ok")
            .number("epoch", self.epoch)
            .number("revision", self.revision)
            .number("members", self.members.in_ring_order().len() as u64)
            .number("slots_settled", settled)
            .number("slots_moving", moving)
            .number("slots_waiting", waiting)
            .number("locks", locks as u64)
            .number("lock_queue_longest", queue_longest as u64)
            .raw("dht", &format!("{{\"version\": {EXTENSION_VERSION}}}"))
            .finish()
    }
}
