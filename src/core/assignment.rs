//! Who holds which slots: what the view leader decides and the servers learn.
//!
//! The types are also their own wire form (JSON, see `docs/protocol.md`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hash::{SLOT_COUNT, Slot, slot_of};
use super::wire::json::Json;

/// A server's identity for one life: the JSON text of its `requestor`, such as `0.8444218515250481`.
pub type NodeId = Arc<str>;

/// Counts changes of the assignment. Each change of a range gives it a higher one; ranges that do
/// not change keep theirs.
pub type Revision = u64;

/// A server and where it is reached, in JSON `[id, "host:port"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer(pub NodeId, pub String);

impl Peer {
    /// The identity.
    pub fn id(&self) -> &NodeId {
        &self.0
    }

    /// `host:port`.
    pub fn addr(&self) -> &str {
        &self.1
    }
}

/// A server that is getting a range's data, in JSON `[id, "host:port", since]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joiner(pub NodeId, pub String, pub Revision);

impl Joiner {
    /// The identity.
    pub fn id(&self) -> &NodeId {
        &self.0
    }

    /// `host:port`.
    pub fn addr(&self) -> &str {
        &self.1
    }

    /// The revision at which this joining began. Data from before it is worth nothing: the joiner
    /// wipes it.
    pub fn since(&self) -> Revision {
        self.2
    }

    /// Without the revision.
    pub fn peer(&self) -> Peer {
        Peer(self.0.clone(), self.1.clone())
    }
}

/// The assignment of the slots `start..end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// First slot.
    pub start: Slot,
    /// One past the last slot. Invariant: `start < end <= SLOT_COUNT`.
    pub end: Slot,
    /// The revision of this assignment.
    pub revision: Revision,
    /// The revision at which the range last started empty.
    pub born: Revision,
    /// The revision at which the first of `active` became the primary. A primary of an older
    /// revision goes on without reconciling only where it has led ever since.
    pub led_since: Revision,
    /// The servers whose copies count, primary first.
    pub active: Vec<Peer>,
    /// The servers that are getting the data.
    pub joining: Vec<Joiner>,
}

impl Entry {
    /// Whether the entry is one that can be (peers send them, so it is asked, not asserted).
    pub fn is_valid(&self) -> bool {
        self.start < self.end && self.end <= SLOT_COUNT
    }

    /// The same assignment for a part of the slots.
    pub fn part(&self, start: Slot, end: Slot) -> Entry {
        Entry { start, end, ..self.clone() }
    }

    /// Whether the server holds or gets this range.
    pub fn names(&self, id: &str) -> bool {
        self.active.iter().any(|peer| &**peer.id() == id)
            || self.joining.iter().any(|joiner| &**joiner.id() == id)
    }
}

/// Slots `start..end` at a revision, in JSON `[start, end, revision]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span(pub Slot, pub Slot, pub Revision);

/// Original servers that want copies of `start..end`, in JSON `[start, end, ["host:port", …]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Originals(pub Slot, pub Slot, pub Vec<String>);

/// What the leader tells one server: in the reply to its heartbeat and in pushes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The extension's version.
    pub version: u64,
    /// The server that is meant.
    pub you: Option<NodeId>,
    /// How that server is known to others.
    pub addr: String,
    /// The epoch.
    pub epoch: u64,
    /// All entries that concern the server, up to this revision, are in here or were acknowledged.
    pub revision: Revision,
    /// What changed for the server since the revision that it acknowledged.
    pub entries: Vec<Entry>,
    /// What the server has left and may delete now.
    pub drop: Vec<Span>,
    /// Original servers to be given copies by the primary.
    pub originals: Vec<Originals>,
    /// The leader does not know this server and wants to hear what it holds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tell: bool,
    /// Nothing depends any more on this server, which has said that it is leaving: it may go.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_leave: bool,
}

/// What a server tells the leader in its heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatExtension {
    /// The extension's version.
    pub version: u64,
    /// The `host` or `host:port` that others reach this server by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// The highest epoch that the server knows.
    #[serde(default)]
    pub epoch: u64,
    /// The revision up to which it has adopted everything that concerns it.
    #[serde(default)]
    pub revision: Revision,
    /// The highest revision that it has ever seen.
    #[serde(default)]
    pub seen: Revision,
    /// What it has deleted since it was told to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Span>,
    /// Identities that this process had before, with its data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub was: Vec<NodeId>,
    /// What it holds; `None` where the leader knows already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Vec<Entry>>,
    /// For how long the leader may have thought that it had lost this server, in milliseconds: since
    /// it sent the last heartbeat that was accepted under this identity, until the leader's address
    /// refused connections, or until now. `None`: none was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// It wants to leave the ring, and waits until its data are with others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// It was told that it may leave, and does: this is its last heartbeat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// It keeps its data on disk: where its process ends, it may come back with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps: bool,
}

impl HeartbeatExtension {
    /// A restarted leader goes on from no revision higher than this.
    pub const SEEN_MAX: Revision = 1 << 60;

    /// Whether the numbers are such that counting on from them never overflows.
    pub fn is_sane(&self) -> bool {
        const COUNT_MAX: u64 = 1 << 61;
        let holds = self.holds.iter().flatten().map(|entry| entry.revision);
        holds.chain([self.seen, self.revision, self.epoch]).all(|count| count < COUNT_MAX)
    }
}

/// The answer to a push.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignReply {
    /// The revision up to which everything was adopted.
    pub revision: Revision,
    /// What was deleted.
    #[serde(default)]
    pub dropped: Vec<Span>,
}

/// What a server found and the leader should know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The extension's version.
    pub version: u64,
    /// Who reports.
    pub id: Option<NodeId>,
    /// Joiners that hold all that the primary holds: where, at which revision, who.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synced: Vec<(Span, Vec<NodeId>)>,
    /// Servers that refused a connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<NodeId>,
    /// How far the reporter is with giving ranges to joiners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

/// How far a primary is with giving the slots `start..end` to a joiner, in JSON
/// `[start, end, identity, bytes given, bytes in all]`. A fact for people: nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given(pub Slot, pub Slot, pub NodeId, pub u64, pub u64);

/// The answer to [`super::wire::request::Command::Hello`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// The identity that answers.
    pub id: Option<NodeId>,
    /// Identities that the same process had before.
    #[serde(default)]
    pub was: Vec<NodeId>,
}

/// A range as clients see it, in JSON `[start, end, revision, [active…], [joining…], waiting]` with
/// indices into [`ViewExtension::servers`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRange(pub Slot, pub Slot, pub Revision, pub Vec<u32>, pub Vec<u32>, pub bool);

/// The whole assignment, for clients: the field `dht` in the reply to `query_servers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewExtension {
    /// The extension's version.
    pub version: u64,
    /// The highest revision given out.
    pub revision: Revision,
    /// Whether every key is on its servers and nothing moves.
    pub settled: bool,
    /// `[id, "host:port", position]` of each server that a range names.
    pub servers: Vec<(NodeId, String, Slot)>,
    /// The ranges in slot order; slots that nobody was ever given are left out.
    pub ranges: Vec<ViewRange>,
}

/// Where a server with this requestor stands on the ring. `requestor` must be a scalar.
pub fn position_of(requestor: &Json) -> Slot {
    let text = requestor.scalar_str().expect("a heartbeat's requestor is checked to be a scalar");
    slot_of(text.as_bytes())
}
