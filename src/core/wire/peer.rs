//! What replicas say to one another: one-way messages, in postcard's wire format.
//!
//! Postcard because its format is specified and has no escapes: values pass as they are, and a
//! snapshot costs little more than its bytes. `docs/protocol.md` writes the messages down.

use serde::{Deserialize, Serialize};

use super::cells::CellRef;
use super::frame::PEER_MARK;
use super::json::Json;
use super::part::{Part, PartRef};
use super::received::Received;
use super::text::Text;
use crate::core::assignment::{Entry, NodeId, Peer, Revision, Span};
use crate::core::hash::Slot;

/// Orders the writes of a slot: the primary's revision, then its count. Unique, since a revision
/// has one primary.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// The revision under which the write was ordered.
    pub revision: Revision,
    /// Its place among the writes of that revision.
    pub sequence: u64,
}

/// Names a write for ever: a retry carries the same one.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RequestId {
    /// The client.
    pub client: u64,
    /// Its count.
    pub number: u64,
}

/// A value with its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Where it stands in the slot's order.
    pub version: Version,
    /// The value.
    pub value: Json,
}

/// A request that was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// The client's name for it.
    pub id: RequestId,
    /// The version that its write got.
    pub version: Version,
    /// Whether it was a repetition that was executed: then an earlier one may still come.
    pub repeated: bool,
}

/// One message between replicas. [`PeerMessage::with`] and [`Received`] are the same without copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerMessage<'a> {
    /// Who sends it, and where answers go.
    pub from: Peer,
    /// The identity it is meant for; another life at the same address ignores it.
    pub to: NodeId,
    /// What it says.
    pub body: Body<'a>,
}

/// What a message says. All but [`Body::Teach`] and [`Body::Behind`] are about a span of slots at
/// one revision, and are refused by a receiver that stands at another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body<'a> {
    /// The sender's entries; newer ones are adopted.
    Teach(Vec<Entry>),
    /// The receiver stands at an older revision than this, for these slots: teach it, and send
    /// again.
    Behind(Span),
    /// The primary wants this write held.
    Prepare {
        /// The slot, as a span of one.
        span: Span,
        /// The primary's name for the write.
        number: u64,
        /// The name, the version and the value; those of the frame.
        #[serde(borrow)]
        cell: CellRef<'a>,
        /// The client's name for the write.
        id: RequestId,
        /// Whether it is a repetition of a request that may still come.
        repeated: bool,
        /// Whether the votes of an original client back the write.
        voted: bool,
    },
    /// The write is held.
    Prepared {
        /// The revision of the prepare.
        revision: Revision,
        /// The primary's name for the write.
        number: u64,
    },
    /// Do you still stand at this revision?
    Confirm {
        /// The range.
        span: Span,
        /// The primary's name for the question; 0 asks a joiner whether it has begun.
        round: u64,
    },
    /// Yes.
    Confirmed {
        /// The range.
        span: Span,
        /// The primary's name for the question.
        round: u64,
    },
    /// A new primary asks what the receiver holds.
    Ask {
        /// The range.
        span: Span,
    },
    /// The fingerprints of the slots that are not empty.
    Holdings {
        /// The range.
        span: Span,
        /// Slot and fingerprint, ascending.
        slots: Vec<(Slot, u64)>,
    },
    /// Send me a slot's content from behind this name on.
    Pull {
        /// The slot, as a span of one.
        span: Span,
        /// The last name that is known.
        after: Option<Text>,
    },
    /// The answer to a pull.
    Pulled {
        /// The slot, as a span of one.
        span: Span,
        /// The name that the pull named.
        after: Option<Text>,
        /// The content from there on.
        part: Part,
    },
    /// Hold this part of a slot.
    Chunk {
        /// The slot, as a span of one.
        span: Span,
        /// The sender's name for the chunk.
        number: u64,
        /// The content.
        part: Part,
    },
    /// The chunk is held.
    ChunkHeld {
        /// The slot, as a span of one.
        span: Span,
        /// The sender's name for the chunk.
        number: u64,
    },
    /// Hold what you had of this slot before you joined, as though it came in a chunk: it is all that
    /// the sender has.
    Keep {
        /// The slot, as a span of one.
        span: Span,
        /// The sender's name for the chunk.
        number: u64,
        /// Of the content that is meant; another is not to be held.
        fingerprint: u64,
    },
}

impl Body<'_> {
    /// Whether it says that the sender holds something, which must then be so after a restart too.
    pub(in crate::core) fn says_held(&self) -> bool {
        let prepared = matches!(self, Body::Prepared { .. } | Body::ChunkHeld { .. });
        prepared || matches!(self, Body::Holdings { .. } | Body::Pulled { .. })
    }

    /// Whether a client waits for the answer to it, or for what it answers.
    pub(in crate::core) fn is_for_client(&self) -> bool {
        match self {
            Body::Prepare { .. } | Body::Prepared { .. } => true,
            Body::Confirm { round, .. } | Body::Confirmed { round, .. } => *round > 0,
            _ => false,
        }
    }
}

impl Body<'_> {
    /// The body's bytes, which are the same for all who get it.
    pub fn encode(&self) -> Vec<u8> {
        extend(Vec::with_capacity(self.room()), self)
    }

    /// How many bytes it takes, or a few more; fewer where entries are taught, holdings told, or a part is
    /// in it.
    fn room(&self) -> usize {
        let of_name = |name: &Text| name.as_bytes().len();
        BODY_BYTES
            + match self {
                Body::Pull { after, .. } | Body::Pulled { after, .. } => {
                    after.as_ref().map_or(0, of_name)
                }
                Body::Prepare { cell, .. } => cell.size(),
                _ => 0,
            }
    }
}

/// How many bytes there is room for at once in a body, beside cells and names: all the numbers of a
/// [`Body::Prepare`].
const BODY_BYTES: usize = 80;

fn extend(out: Vec<u8>, what: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(what, out).expect("peer messages have no form postcard lacks")
}

impl<'a> PeerMessage<'a> {
    /// The frame's message.
    pub fn encode(&self) -> Vec<u8> {
        Self::with(&Self::head(self.from.id(), self.from.addr(), &self.to), &self.body)
    }

    /// What stands before the body, in each message of one sender to one receiver.
    pub fn head(from: &str, addr: &str, to: &str) -> Vec<u8> {
        extend(vec![PEER_MARK], &(from, addr, to))
    }

    /// The frame's message of a head and a body. That of a body which was written before is just both.
    pub fn with(head: &[u8], body: &Body<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(head.len() + body.room());
        out.extend_from_slice(head);
        extend(out, body)
    }

    /// The same of a body that has a part, which is not in it yet.
    pub(in crate::core) fn with_part(head: &[u8], body: &Body<'_>, part: &PartRef<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(head.len() + body.room() + part.bytes_max());
        out.extend_from_slice(head);
        let mut out = extend(out, body);
        // The part is the last of a body, and what stands for it yet is an empty one.
        let before = out.len() - PartRef::empty_bytes();
        assert!(out[before..].iter().all(|byte| *byte == 0), "the part is not in the body yet");
        out.truncate(before);
        part.write(&mut out);
        out
    }

    /// Reads a frame's message; `None` where it is none.
    pub fn decode(message: &'a [u8]) -> Option<PeerMessage<'a>> {
        let Received { from: (id, addr), to, body } = Received::decode(message)?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let from = Peer(text(id)?.into(), text(addr)?.to_owned());
        Some(PeerMessage { from, to: text(to)?.into(), body })
    }
}
