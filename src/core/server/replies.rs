//! What clients are told of writes.

use super::{Out, Server};
use crate::core::assignment::Revision;
use crate::core::hash::Slot;
use crate::core::machine::{Output, ReplyTo, Then};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::wire::peer::Version;

impl Server {
    /// Answers a write that is acknowledged.
    pub(super) fn reply_written(&mut self, to: ReplyTo, slot: Slot, out: &mut Out) {
        let Some(hold) = self.holds.at(slot) else {
            return;
        };
        let servers = hold.entry.active.iter().map(|peer| peer.addr());
        let reply = Reply::status("ok").texts("servers", servers);
        let reply = reply.value("since", &self.latest(slot));
        self.reply(to, reply, Then::Keep, out);
    }

    /// A version lower than any that a write has got since the slot's range last started empty.
    pub(super) fn born(&self, slot: Slot) -> Version {
        let revision = self.holds.at(slot).map_or(0, |hold| hold.entry.born);
        Version { revision, sequence: 0 }
    }

    /// A version of the slot that is lower than any that a write gets which is ordered from now on.
    pub(super) fn latest(&self, slot: Slot) -> (Revision, u64) {
        (self.holds.seen(slot), self.counter)
    }

    /// Says that a write may have happened; and what a retry may say as its `since`, so that it is not
    /// in doubt merely because its client knew little of the slot.
    pub(super) fn reply_unknown(
        &mut self,
        to: ReplyTo,
        why: &str,
        since: Option<(Revision, u64)>,
        out: &mut Out,
    ) {
        let status = if planted(Planted::UnknownSaidFailed) { "no" } else { "unknown" };
        let mut reply = Reply::status(status).text("reason", why);
        if let Some(since) = since {
            reply = reply.value("since", &since);
        }
        self.reply(to, reply, Then::Keep, out);
    }

    /// Answers a frame.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: Reply, then: Then, out: &mut Out) {
        out.push(Output::Reply { to, message: reply.finish(), then });
    }
}
