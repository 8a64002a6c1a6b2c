//! Replies, written as the original's `json.dumps` would: `", "` and `": "` between the parts.

use std::fmt::Display;

use super::wire::scanner::is_plain;
use super::wire::text::Text;

/// How much room a reply begins with: that of a short value, or of three addresses, so that most need no
/// more.
const ROOM_BYTES: usize = 192;

/// A reply in the making; fields stand in the order in which they are added.
///
/// ```
/// use dht::core::reply::Reply;
/// let reply = Reply::status("ok").number("epoch", 3).finish();
/// assert_eq!(reply, br#"{"status": "ok", "epoch": 3}"#);
/// ```
#[derive(Debug)]
pub struct Reply(Vec<u8>);

impl Default for Reply {
    fn default() -> Self {
        Reply::new()
    }
}

impl Reply {
    /// A reply without fields.
    pub fn new() -> Self {
        let mut message = Vec::with_capacity(ROOM_BYTES);
        message.push(b'{');
        Reply(message)
    }

    /// A reply whose first field is `status`.
    #[inline]
    pub fn status(status: &str) -> Self {
        Reply::new().text("status", status)
    }

    /// Adds a string.
    #[inline]
    pub fn text(self, name: &str, value: &str) -> Self {
        let mut reply = self.named(name);
        reply.push_text(value);
        reply
    }

    /// Adds a list of strings, with no space between them.
    pub fn texts<'a>(self, name: &str, values: impl Iterator<Item = &'a str>) -> Self {
        let mut reply = self.named(name);
        reply.0.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                reply.0.push(b',');
            }
            reply.push_text(value);
        }
        reply.0.push(b']');
        reply
    }

    #[inline]
    fn push_text(&mut self, text: &str) {
        // Most texts are words of ours, which need no escapes.
        if is_plain(text.as_bytes()) {
            self.0.push(b'"');
            self.0.extend_from_slice(text.as_bytes());
            self.0.push(b'"');
        } else {
            self.0.extend_from_slice(Text::from(text).to_json().as_bytes());
        }
    }

    /// Adds a number.
    pub fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// Adds a value that is JSON text already.
    pub fn raw(self, name: &str, json: &str) -> Self {
        self.raw_bytes(name, json.as_bytes())
    }

    /// The same, where the text is at hand as bytes: it need not be looked through for this.
    #[inline]
    pub fn raw_bytes(self, name: &str, json: &[u8]) -> Self {
        let mut reply = self.named(name);
        reply.0.extend_from_slice(json);
        reply
    }

    /// Begins a field.
    #[inline]
    fn named(mut self, name: &str) -> Self {
        self.0.extend_from_slice(if self.0.len() == 1 { b"\"" } else { b", \"" });
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\": ");
        self
    }

    /// Adds a value that serde writes.
    pub fn value(self, name: &str, value: &impl serde::Serialize) -> Self {
        let mut reply = self.named(name);
        serde_json::to_writer(&mut reply.0, value).expect("wire types have no form JSON lacks");
        reply
    }

    /// Says, to a sender that has said it of itself, that the connection is kept open.
    pub fn keeps(self, extended: bool) -> Self {
        if extended { self.raw("dht", r#"{"version": 1}"#) } else { self }
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// The reply to a request that cannot be answered; every original client takes it for a failure.
pub fn error(why: &impl Display) -> Vec<u8> {
    Reply::new().text("error", &why.to_string()).finish()
}
