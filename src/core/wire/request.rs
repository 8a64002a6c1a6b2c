//! Requests, as types. What cannot be understood is an error that says what is missing.

use std::borrow::Cow;

use thiserror::Error;

use super::json::{Json, JsonError, Object};
use super::text::Text;
use super::usual;

/// The version of the extension that our own parties speak, in the field `dht`.
pub const EXTENSION_VERSION: u64 = 1;

/// The version of this program, as people know it.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a message is not a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It is not JSON, or no object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It does not say what it wants.
    #[error("no cmd in message")]
    NoCommand,
    /// It wants what nobody here does.
    #[error("unknown cmd {0}")]
    UnknownCommand(Text),
    /// A field is missing or not of the form it must have.
    #[error("{command} needs the field {field}")]
    Field {
        /// The command.
        command: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// A request that was understood.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is asked for.
    pub command: Command<'a>,
    /// Whether the sender announced the extension, and so keeps its connection open.
    pub extended: bool,
}

/// What a request asks for; the original's commands first, then ours.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are the message's own, see docs/protocol.md")]
pub enum Command<'a> {
    /// Store on this server alone.
    Set { key: Cow<'a, [u8]>, value: Cow<'a, str> },
    /// What this server holds.
    Get { key: Cow<'a, [u8]> },
    /// The names that this server holds.
    QueryAllKeys,
    /// Print words.
    Print { words: Vec<Json> },
    /// The original's first phase: vote on a write.
    SetrRequest { key: Text },
    /// The original's second phase: write.
    Setr { key: Text, value: Json },
    /// The original's second phase: give the vote back.
    SetrDeny { key: Text },
    /// Nothing; the original uses it inside a program, and answers it.
    Timeout,
    /// A server renews its lease.
    Heartbeat { port: u16, requestor: Json, extension: Option<&'a str> },
    /// The servers of the view; with the extension the assignment too.
    QueryServers,
    /// Take a lock, or queue for it.
    LockGet { lock: Json, requestor: Json },
    /// Release a lock, or leave its queue.
    LockRelease { lock: Json, requestor: Json },
    /// Ours: write to all replicas, through the primary.
    Write { key: Text, value: Json, extension: &'a str },
    /// Ours: read at the primary, confirmed.
    Read { key: Text, extension: &'a str },
    /// Ours: the leader tells a server its ranges.
    Assign { extension: &'a str },
    /// Ours: a server tells the leader what it found.
    Report { extension: &'a str },
    /// Ours: who is there?
    Hello,
    /// Ours: figures of a server.
    Stats,
    /// Ours: what a view leader knows of everything, in full.
    Status,
    /// Ours: a server shall hand over what it holds, leave the ring, and end.
    Leave,
}

impl<'a> Request<'a> {
    /// Reads a message.
    ///
    /// ```
    /// use dht::core::wire::request::Request;
    /// let error = Request::parse(br#"{"cmd": "get"}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "get needs the field key");
    /// ```
    pub fn parse(message: &'a [u8]) -> Result<Request<'a>, RequestError> {
        let text = std::str::from_utf8(message).map_err(|_| JsonError::NotUtf8)?;
        usual::request(text).map_or_else(|| Request::by_fields(text), Ok)
    }

    /// Reads a message whose fields stand in any order.
    pub(super) fn by_fields(text: &'a str) -> Result<Request<'a>, RequestError> {
        let object = Object::read(text)?;
        let name = object.word("cmd").ok_or(RequestError::NoCommand)?;
        let extension = object.raw("dht");
        let command = Command::parse(&name, extension, &object)?;
        Ok(Request { command, extended: extension.is_some_and(announces) })
    }
}

/// Whether a field `dht` of this value announces the extension.
pub(super) fn announces(raw: &str) -> bool {
    raw != "null" && raw != "false"
}

/// Whether a request changes nothing, so that it may be sent any number of times.
pub fn only_reads(message: &[u8]) -> bool {
    Request::parse(message).is_ok_and(|request| request.command.only_reads())
}

impl<'a> Command<'a> {
    /// Whether a client asks for something that is stored, or wants it stored.
    pub fn is_of_data(&self) -> bool {
        matches!(
            self,
            Command::Set { .. }
                | Command::Get { .. }
                | Command::QueryAllKeys
                | Command::SetrRequest { .. }
                | Command::Setr { .. }
                | Command::Write { .. }
                | Command::Read { .. }
        )
    }

    /// Whether it changes nothing, so that it may be sent any number of times.
    pub fn only_reads(&self) -> bool {
        matches!(
            self,
            Command::Get { .. }
                | Command::QueryAllKeys
                | Command::QueryServers
                | Command::Read { .. }
                | Command::Hello
                | Command::Stats
                | Command::Status
        )
    }

    fn parse(
        name: &[u8],
        extension: Option<&'a str>,
        object: &Object<'a>,
    ) -> Result<Command<'a>, RequestError> {
        let field = |command, field| RequestError::Field { command, field };
        let key = |command| object.text("key").ok_or(field(command, "key"));
        let bytes = |command| object.word("key").ok_or(field(command, "key"));
        let value = |command| object.json("val").ok_or(field(command, "val"));
        let lock = |command| object.json("lockid").ok_or(field(command, "lockid"));
        let requestor = |command| object.json("requestor").ok_or(field(command, "requestor"));
        let needs = |command| extension.ok_or(field(command, "dht"));
        Ok(match name {
            b"set" => {
                let key = bytes("set")?;
                Command::Set { key, value: object.ascii("val").ok_or(field("set", "val"))? }
            }
            b"get" => Command::Get { key: bytes("get")? },
            b"query_all_keys" => Command::QueryAllKeys,
            b"print" => {
                let words = object.array("text").ok_or(field("print", "text"))?;
                Command::Print { words }
            }
            b"setr_request" => Command::SetrRequest { key: key("setr_request")? },
            b"setr" => Command::Setr { key: key("setr")?, value: value("setr")? },
            b"setr_deny" => Command::SetrDeny { key: key("setr_deny")? },
            b"timeout" => Command::Timeout,
            b"heartbeat" => {
                let port = object.number("port").and_then(|port| u16::try_from(port).ok());
                let port = port.ok_or(field("heartbeat", "port"))?;
                let requestor = requestor("heartbeat")?;
                if requestor.scalar_str().is_none() {
                    return Err(field("heartbeat", "requestor"));
                }
                Command::Heartbeat { port, requestor, extension }
            }
            b"query_servers" => Command::QueryServers,
            b"lock_get" => {
                Command::LockGet { lock: lock("lock_get")?, requestor: requestor("lock_get")? }
            }
            b"lock_release" => Command::LockRelease {
                lock: lock("lock_release")?,
                requestor: requestor("lock_release")?,
            },
            b"dht_write" => Command::Write {
                key: key("dht_write")?,
                value: value("dht_write")?,
                extension: needs("dht_write")?,
            },
            b"dht_read" => Command::Read { key: key("dht_read")?, extension: needs("dht_read")? },
            b"dht_assign" => Command::Assign { extension: needs("dht_assign")? },
            b"dht_report" => Command::Report { extension: needs("dht_report")? },
            b"dht_hello" => Command::Hello,
            b"dht_stats" => Command::Stats,
            b"dht_status" => Command::Status,
            b"dht_leave" => Command::Leave,
            _ => return Err(RequestError::UnknownCommand(Text::from_wtf8(name.to_vec()))),
        })
    }
}
