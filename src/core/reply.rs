//! Replies, written as the original's `json.dumps` would: `", "` and `": "` between the parts.

use std::fmt::Display;
use std::fmt::Write;

use super::wire::text::Text;

/// A reply in the making; fields stand in the order in which they are added.
///
/// ```
/// use dht::core::reply::Reply;
/// let reply = Reply::status("ok").number("epoch", 3).finish();
/// assert_eq!(reply, br#"{"status": "ok", "epoch": 3}"#);
/// ```
#[derive(Debug, Default)]
pub struct Reply(String);

impl Reply {
    /// A reply without fields.
    pub fn new() -> Self {
        Reply::default()
    }

    /// A reply whose first field is `status`.
    pub fn status(status: &str) -> Self {
        Reply::new().text("status", status)
    }

    /// Adds a string.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &Text::from(value).to_json())
    }

    /// Adds a number.
    pub fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// Adds a value that is JSON text already.
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        let between = if self.0.is_empty() { "{" } else { ", " };
        write!(self.0, "{between}\"{name}\": {json}").expect("writing to a string cannot fail");
        self
    }

    /// Adds a value that serde writes.
    pub fn value(self, name: &str, value: &impl serde::Serialize) -> Self {
        let json = serde_json::to_string(value).expect("wire types have no form JSON lacks");
        self.raw(name, &json)
    }

    /// Says, to a sender that has said it of itself, that the connection is kept open.
    pub fn keeps(self, extended: bool) -> Self {
        if extended { self.raw("dht", r#"{"version": 1}"#) } else { self }
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0.into_bytes()
    }
}

/// The reply to a request that cannot be answered; every original client takes it for a failure.
pub fn error(why: &impl Display) -> Vec<u8> {
    Reply::new().text("error", &why.to_string()).finish()
}
