//! What a server shows of the writes that it has under way, and of votes. Most steps change nothing
//! of these, and share what was shown before.

use std::sync::Arc;

use super::facts::Server;
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::{Millis, ReplyTo};
use crate::core::server::audit::{ServerAudit, WriteAudit};
use crate::core::wire::peer::{RequestId, Version};
use crate::core::wire::text::Text;

/// A write that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) slot: Slot,
    pub(super) key: Text,
    pub(super) id: RequestId,
    pub(super) version: Version,
    /// Under which it was last sent.
    pub(super) revision: Revision,
    /// Who must still hold it before it is acknowledged.
    pub(super) needed: Vec<NodeId>,
    pub(super) voted: bool,
    pub(super) acknowledged: bool,
    pub(super) replies: Vec<ReplyTo>,
}

/// A reservation of a name that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) key: Text,
    /// The address of the client.
    pub(super) owner: String,
    /// By the server's clock.
    pub(super) until: Millis,
}

/// The writes that a server has under way, in the order in which it gave out their numbers.
pub(super) fn look_at_writes(audit: ServerAudit<'_>, before: Option<&Server>) -> Arc<Vec<Write>> {
    let same = before.filter(|before| {
        let mut known = before.writes.iter();
        let all = audit.writes().all(|write| known.next().is_some_and(|old| old.shows(&write)));
        all && known.next().is_none()
    });
    same.map_or_else(|| Arc::new(audit.writes().map(Write::look).collect()), |b| b.writes.clone())
}

/// The reservations at a server.
pub(super) fn look_at_votes(audit: ServerAudit<'_>, before: Option<&Server>) -> Arc<Vec<Vote>> {
    let look = |(key, owner, until): (&Text, &str, Millis)| Vote {
        key: key.clone(),
        owner: owner.to_string(),
        until,
    };
    let shown = audit.votes();
    let same = before.filter(|before| {
        let known = before.votes.iter();
        known.map(|vote| (&vote.key, vote.owner.as_str(), vote.until)).eq(shown)
    });
    same.map_or_else(|| Arc::new(audit.votes().map(look).collect()), |before| before.votes.clone())
}

impl Write {
    fn look(audit: WriteAudit<'_>) -> Write {
        Write {
            slot: audit.slot,
            key: audit.key.clone(),
            id: audit.id,
            version: audit.version,
            revision: audit.revision,
            needed: audit.needed.to_vec(),
            voted: audit.voted,
            acknowledged: audit.acknowledged,
            replies: audit.replies.to_vec(),
        }
    }

    fn shows(&self, audit: &WriteAudit<'_>) -> bool {
        (self.slot, self.id, self.version) == (audit.slot, audit.id, audit.version)
            && (self.revision, self.acknowledged) == (audit.revision, audit.acknowledged)
            && self.replies == audit.replies
            && self.needed.iter().eq(audit.needed)
    }
}
