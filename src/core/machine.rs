//! What goes into a machine and what comes out: the contract between the core and its drivers.
//!
//! A machine is given the time and an [`Input`] and appends [`Output`]s. The same state and the
//! same inputs give the same outputs. A driver (TCP, simulator) moves bytes and keeps time, and
//! understands neither. Losing, delaying, repeating or reordering what a machine sends costs
//! time, never data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::wire::json::Json;
use super::wire::text::Text;

/// A point in time or a span, in milliseconds. Points count from any fixed moment, and never go
/// back.
pub type Millis = u64;

/// Names a request that waits for its reply; chosen by the driver, unique while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// Names a call that the machine made; chosen by the machine, unique while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names what was given to the disk; chosen by the machine, higher each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Where a frame came from, as the receiver's socket saw it: IP addresses without ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The sender's address, such as `127.0.0.1`. Shared by all frames of a connection.
    pub peer_ip: Arc<str>,
    /// The receiver's own address on that connection.
    pub local_ip: Arc<str>,
}

/// Why a call has no reply. The variants keep "did not happen" and "may have happened" apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Nobody listens at the address (connection refused, or a connection to oneself): the
    /// request was not delivered.
    Refused,
    /// The request was not delivered for another reason, such as a timeout while connecting.
    NotSent(String),
    /// The request was sent, wholly or in part, and no reply came: it may have happened.
    Lost(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused => f.write_str("connection refused"),
            CallError::NotSent(why) | CallError::Lost(why) => f.write_str(why),
        }
    }
}

/// An event, as a machine sees it.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// The node has started and listens; given once, first.
    Start,
    /// A frame came in on a connection that somebody else opened. A frame of replicas (first byte
    /// [`super::wire::frame::PEER_MARK`]) gets no reply; any other gets exactly one.
    Frame {
        /// Names the reply.
        to: ReplyTo,
        /// Who sent it.
        origin: Cow<'a, Origin>,
        /// The message, without its length.
        message: Cow<'a, [u8]>,
    },
    /// A call ended: the reply's message, or why there is none. Given exactly once for each
    /// [`Output::Call`].
    Returned {
        /// Which call.
        call: CallId,
        /// Its reply.
        result: Result<Vec<u8>, CallError>,
    },
    /// The kept-open connection to this address has closed, or could not be opened. What was
    /// given to [`Output::Send`] may be lost.
    Disconnected {
        /// `host:port`, as it stood in the output.
        addr: String,
    },
    /// The node shall leave the ring for good, its data given to others first. A server says
    /// [`Note::Left`] once nothing depends on it any more; other machines ignore it.
    Leave,
    /// What was given to the disk under this ticket, and under all before it, is there and stays,
    /// whatever happens. Only a machine that asks for [`Output::Persist`] or [`Output::Store`] is given it.
    Persisted {
        /// The highest such ticket.
        ticket: Ticket,
    },
    /// Time has passed; given when [`Machine::deadline`] is due. Harmless at any other time.
    Tick,
}

impl<'a> Input<'a> {
    /// A frame that stays with the driver: it lies in what a connection has read, and is not copied.
    pub fn frame(to: ReplyTo, origin: &'a Origin, message: &'a [u8]) -> Self {
        Input::Frame { to, origin: Cow::Borrowed(origin), message: Cow::Borrowed(message) }
    }
}

/// Whom a call goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The view leader that the node was configured with (one address, or a host whose ports are
    /// tried in order until one gives a reply without `error`).
    Leader,
    /// A server, `host:port`.
    Addr(String),
}

/// An effect that a machine asks for.
#[derive(Debug, Clone)]
pub enum Output {
    /// Answers a frame. The connection is kept where `keep`, else closed by the listener's rules.
    Reply {
        /// Which frame.
        to: ReplyTo,
        /// The reply, a JSON object.
        message: Vec<u8>,
        /// What becomes of the connection.
        then: Then,
    },
    /// Sends a request and waits for its reply, on a pooled connection where `keep`, else on one
    /// of its own, as the original does.
    Call {
        /// Comes back in [`Input::Returned`].
        call: CallId,
        /// To whom.
        target: Target,
        /// The request.
        message: Vec<u8>,
        /// After how long the call ends without a reply.
        timeout_ms: Millis,
        /// Whether the other party announced that it keeps connections open.
        keep: bool,
    },
    /// Sends a frame that has no reply on the kept-open connection to a server, opening it where
    /// needed. Frames to one address arrive in order or not at all.
    Send {
        /// `host:port`; shared by all that goes there.
        addr: Arc<str>,
        /// The frame's message.
        message: Vec<u8>,
    },
    /// Writes an entry to the node's disk, after all that was given before. A crash may lose the last
    /// entries, each wholly and all after it, as long as [`Input::Persisted`] was not given.
    Persist {
        /// Comes back in [`Input::Persisted`].
        ticket: Ticket,
        /// The entry.
        entry: Vec<u8>,
        /// Whether the entry stands for all before it too, which may be forgotten then.
        whole: bool,
    },
    /// Changes the map that the node keeps on its disk, after all that was given before. A crash may
    /// lose the last such outputs, each wholly and all after it, as long as [`Input::Persisted`] was
    /// not given.
    Store {
        /// Comes back in [`Input::Persisted`].
        ticket: Ticket,
        /// What to do, in this order, all or nothing.
        edits: Vec<Edit>,
    },
    /// Something that a person may want to know.
    Note(Note),
}

/// A change of the ordered map that a node keeps on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The key has this value from now on.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// The key has none.
    Remove {
        /// The key.
        key: Vec<u8>,
    },
    /// No key from `start` on and below `end` has one.
    RemoveRange {
        /// The first key.
        start: Vec<u8>,
        /// Above the last key.
        end: Vec<u8>,
    },
}

impl Edit {
    /// Does it to a map in memory.
    pub fn apply(&self, rows: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        match self {
            Edit::Put { key, value } => {
                rows.insert(key.clone(), value.clone());
            }
            Edit::Remove { key } => {
                rows.remove(key);
            }
            Edit::RemoveRange { start, end } => {
                let within = rows.range(start.clone()..end.clone());
                let keys: Vec<Vec<u8>> = within.map(|(key, _)| key.clone()).collect();
                keys.iter().for_each(|key| drop(rows.remove(key)));
            }
        }
    }
}

/// What becomes of a connection after a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The request announced our extension: the connection stays open.
    Keep,
    /// A plain request: a further frame is served if it comes soon, else the connection is closed.
    Linger,
    /// The request was not understood: close.
    Close,
}

/// A fact for people; Python makes the printed line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A server stored a value.
    Setting {
        /// The name.
        key: Text,
        /// The value.
        value: Json,
    },
    /// A server was asked for a name that it has.
    Querying {
        /// The name.
        key: Text,
    },
    /// A server was asked for a name that it does not have.
    NotFound {
        /// The name.
        key: Text,
    },
    /// A server was asked for all its keys.
    AllKeys,
    /// A server was asked to print words.
    Printing {
        /// The words, joined by Python.
        words: Vec<Json>,
    },
    /// A heartbeat got no reply, or an error.
    HeartbeatFailed {
        /// What is wrong.
        why: String,
    },
    /// The view leader answered `retry` or `deny` to a heartbeat.
    LeaseRefused {
        /// The reply's status.
        status: String,
        /// The server's address as far as it is known.
        addr: String,
    },
    /// A server was removed from the view though its lease was good: the leader cannot reach it at
    /// the address that it is known by.
    Unreachable {
        /// That address.
        addr: String,
    },
    /// A server that was denied has taken a new identity.
    Renamed {
        /// The new one.
        requestor: Json,
    },
    /// A server was asked to leave, and hands over what it holds.
    Leaving,
    /// A server wants to leave, and nobody listens where its view leader was: whoever asked it may
    /// want to wait no longer. It goes on trying.
    LeaderAway,
    /// A server leaves, and nobody has what it holds: no other stays, and it has no disk.
    NotHandedOver {
        /// How many names end with it.
        keys: u64,
    },
    /// A server that was asked to leave has left: its process may end now, and nothing that it is
    /// given later matters.
    Left,
    /// The leader took a server into the view.
    Joined {
        /// Its address.
        addr: String,
        /// Its position on the ring.
        position: u16,
        /// The epoch that began.
        epoch: u64,
    },
    /// The leader removed a server from the view.
    Failed {
        /// Its address.
        addr: String,
        /// Why: `lease expired`, `gone`, `restarted` or `left`.
        why: &'static str,
        /// The epoch that began.
        epoch: u64,
    },
    /// Keys have begun to move.
    Rebalancing,
    /// How far a long rebalance is.
    RebalancingProgress {
        /// How much of all that had to move is in place, below 100.
        percent: u8,
    },
    /// Every key is on its three servers.
    RebalancingComplete,
    /// Slots have no living holder and wait for one to come back.
    Waiting {
        /// How many slots.
        slots: u32,
        /// For any of these addresses.
        holders: Vec<String>,
    },
    /// Slots whose every holder is certainly gone start again empty.
    Lost {
        /// How many slots.
        slots: u32,
        /// Who held them.
        holders: Vec<String>,
    },
    /// The leader was started again, and learns the assignment from the servers.
    Recovering,
    /// A frame was refused.
    BadFrame {
        /// Who sent it.
        peer_ip: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A state machine of the protocol.
pub trait Machine {
    /// Takes one event at `now` and appends its effects. `now` never goes back.
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Vec<Output>);

    /// When [`Input::Tick`] is wanted next; `None` for never.
    fn deadline(&self) -> Option<Millis>;
}
