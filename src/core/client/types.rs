//! What a client is asked for, and how it ends.

use thiserror::Error;

use crate::core::machine::Millis;
use crate::core::wire::frame::FRAME_BYTES_MAX;
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// Names an operation of a [`super::Client`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What a client wants of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Store on the key's three servers.
    Write {
        /// The name.
        key: Text,
        /// The value.
        value: Json,
    },
    /// Read the last acknowledged value.
    Read {
        /// The name.
        key: Text,
    },
}

impl Op {
    pub(super) fn key(&self) -> &Text {
        let (Op::Write { key, .. } | Op::Read { key }) = self;
        key
    }
}

/// How an operation ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The write is acknowledged by these servers, primary first.
    Written {
        /// Their addresses.
        servers: Vec<String>,
    },
    /// The value.
    Value(Json),
    /// The name has no value.
    NotFound,
}

/// How an operation failed. All but [`OpError::Unknown`] mean that it did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpError {
    /// Did not happen: no view leader answered.
    #[error(
        "can't connect to view leader ({0}); start viewleader.py, or name its host with --viewleader"
    )]
    NoViewLeader(String),
    /// Did not happen: the view has no server.
    #[error("no servers in the view; start server.py")]
    NoServers,
    /// Did not happen: another client holds a vote on this key, or writes it.
    #[error("key already being set")]
    Busy,
    /// Did not happen: an original server voted in another epoch.
    #[error("server with wrong epoch")]
    WrongEpoch,
    /// Did not happen: nobody could serve it in time.
    #[error("not done: {0}; try again")]
    NotDone(String),
    /// Did not happen: the message is over a limit.
    #[error("{0}")]
    TooLarge(String),
    /// May have happened: no answer came in time.
    #[error("outcome unknown: {0}; read the key before writing it again")]
    Unknown(String),
}

/// Why an operation has not succeeded yet.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    Leader(String),
    NoServers,
    NoTime,
    Other(String),
}

impl Trouble {
    /// The error that it is where time has run out.
    pub(super) fn into_error(self) -> OpError {
        match self {
            Trouble::Leader(why) => OpError::NoViewLeader(why),
            Trouble::NoServers => OpError::NoServers,
            Trouble::NoTime => OpError::NotDone("no time".to_string()),
            Trouble::Other(why) => OpError::NotDone(why),
        }
    }
}

/// A client's options.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Names this client in request ids; two living clients must not share it.
    pub id: u64,
    /// After how long an operation fails.
    pub timeout_ms: Millis,
    /// The longest message that is sent.
    pub message_bytes_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig { id: 0, timeout_ms: 5_000, message_bytes_max: FRAME_BYTES_MAX }
    }
}

impl OpError {
    /// The same where an earlier try may have been executed.
    pub(super) fn in_doubt(self) -> OpError {
        match self {
            OpError::Unknown(why)
            | OpError::NotDone(why)
            | OpError::NoViewLeader(why)
            | OpError::TooLarge(why) => OpError::Unknown(why),
            error => OpError::Unknown(error.to_string()),
        }
    }
}
