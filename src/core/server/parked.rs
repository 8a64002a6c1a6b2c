//! Requests for slots that this server does not serve, or not yet.

use super::holds::Role;
use super::reads::Read;
use super::writes::Write;
use super::{Out, Server};
use crate::core::assignment::Revision;
use crate::core::hash::{Slot, slot_of};
use crate::core::machine::{Millis, Then};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::wire::text::Text;

/// How long a request waits for this server to become the primary that the client takes it for.
const PARKED_MS: Millis = 1_000;

/// How many requests wait so at most.
pub(super) const PARKED_MAX: usize = 10_000;

/// A request that waits.
#[derive(Debug, Clone)]
pub(super) enum Parked {
    Write(Write),
    Read(Read),
}

impl Parked {
    fn key(&self) -> &Text {
        let (Parked::Write(Write { key, .. }) | Parked::Read(Read { key, .. })) = self;
        key
    }

    /// The revision that the client knows.
    fn revision(&self) -> Revision {
        match self {
            Parked::Write(write) => write.said.revision,
            Parked::Read(read) => read.said.revision,
        }
    }
}

impl Server {
    /// Whether this server serves a slot, and knows no less of it than a client does. One that
    /// knows less may have been replaced; and a write gets no version older than the revision
    /// under which its client first sent it, which is what tells a retry from a forgotten request.
    pub(super) fn serves_at(&mut self, slot: Slot, revision: Revision) -> bool {
        let knows = self.knows_newer(slot, revision) || planted(Planted::ServesWhileBehind);
        knows && self.serves(slot)
    }

    /// A request came that this server does not serve: it may soon, or somebody else does.
    pub(super) fn not_serving(&mut self, now: Millis, slot: Slot, parked: Parked, out: &mut Out) {
        if self.may_soon(slot, parked.revision()) && self.parked.len() < PARKED_MAX {
            if !self.knows_newer(slot, parked.revision()) {
                self.heartbeat(now, out);
            }
            self.parked.push((now + PARKED_MS, parked));
            return;
        }
        self.send_elsewhere(parked, out);
    }

    /// Whether this server may soon serve a slot for a client that knows this revision: it is its
    /// primary and reconciles, or there may be news of the slot that it has not heard.
    fn may_soon(&self, slot: Slot, revision: Revision) -> bool {
        let leads = self.holds.at(slot).is_some_and(|h| matches!(h.role, Role::Primary(_)));
        leads || (!self.knows_newer(slot, revision) && self.acked < revision)
    }

    fn send_elsewhere(&mut self, parked: Parked, out: &mut Out) {
        let (Parked::Write(Write { to, .. }) | Parked::Read(Read { to, .. })) = parked;
        let reply = Reply::status("no").text("reason", "moved");
        self.reply(to, reply, Then::Keep, out);
    }

    /// Tries parked requests again: something has changed, or their time is up.
    pub(super) fn dispatch_parked(&mut self, now: Millis, out: &mut Out) {
        let parked = std::mem::take(&mut self.parked);
        for (until, request) in parked {
            let slot = slot_of(request.key().as_bytes());
            if self.serves_at(slot, request.revision()) {
                match request {
                    Parked::Write(write) => self.write(now, write, out),
                    Parked::Read(read) => self.read(now, read, out),
                }
            } else if until <= now || !self.may_soon(slot, request.revision()) {
                self.send_elsewhere(request, out);
            } else {
                self.parked.push((until, request));
            }
        }
    }
}
