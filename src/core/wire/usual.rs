//! The requests that nearly all load is made of, written as nearly all clients write them.
//!
//! These are `get`, `set`, `dht_read` and `dht_write` with their fields in this order, spaced as Python
//! does, and a name without escapes. Such a one is read in a single pass, without a list of fields to look
//! things up in, which spares a `set` a sixth of the 5,800 instructions that a server computes for it.
//! Whatever differs is left to [`super::json::Object`], and every error is found there.

use std::borrow::Cow;

use super::json::{Json, to_ascii};
use super::request::{Command, Request, announces};
use super::scanner::Scanner;
use super::text::Text;

/// Reads a request that is written as usual; `None` for all others, whole or broken.
pub(super) fn request(text: &str) -> Option<Request<'_>> {
    let mut fields = Fields(Scanner::new(text));
    let cmd = fields.word("{\"cmd\": ")?;
    let key = fields.word(", \"key\": ")?.as_bytes();
    let value = fields.value(", \"val\": ")?;
    let dht = fields.value(", \"dht\": ")?;
    if !fields.0.take("}") || !fields.0.is_at_end() {
        return None;
    }
    let own = |key: &[u8]| Text::from_wtf8(key.to_vec());
    let command = match (cmd, value, dht) {
        ("get", None, _) => Command::Get { key: Cow::Borrowed(key) },
        ("set", Some(value), _) => Command::Set { key: Cow::Borrowed(key), value: to_ascii(value) },
        ("dht_read", None, Some(extension)) => Command::Read { key: own(key), extension },
        ("dht_write", Some(value), Some(extension)) => {
            Command::Write { key: own(key), value: Json::from_raw(value), extension }
        }
        _ => return None,
    };
    Some(Request { command, extended: dht.is_some_and(announces) })
}

/// What has not been read yet.
struct Fields<'a>(Scanner<'a>);

impl<'a> Fields<'a> {
    /// A string without escapes, behind this.
    fn word(&mut self, name: &str) -> Option<&'a str> {
        self.0.take(name).then_some(())?;
        let word = self.0.string().ok()?;
        (!self.0.escaped()).then_some(word)
    }

    /// Any value, behind this; `Some(None)` where something else stands here.
    fn value(&mut self, name: &str) -> Option<Option<&'a str>> {
        if self.0.take(name) { self.0.value().ok().map(Some) } else { Some(None) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the long way makes of it, as text.
    fn by_fields(text: &str) -> Option<String> {
        Request::by_fields(text).ok().map(|request| format!("{request:?}"))
    }

    #[test]
    fn what_clients_write_is_as_usual() {
        for text in [
            r#"{"cmd": "get", "key": "apple"}"#,
            r#"{"cmd": "get", "key": "apple", "dht": 1}"#,
            r#"{"cmd": "set", "key": "", "val": {"a": [1, "\""]}}"#,
            r#"{"cmd": "set", "key": "é", "val": "é", "dht": false}"#,
            r#"{"cmd": "dht_read", "key": "k", "dht": {"revision": 1}}"#,
            r#"{"cmd": "dht_write", "key": "k", "val": NaN, "dht": {"client": 7}}"#,
            // White space before a value is no part of it.
            r#"{"cmd": "set", "key": "k", "val":  1}"#,
            "{\"cmd\": \"set\", \"key\": \"k\", \"val\": \n\"abc\"}",
            r#"{"cmd": "dht_write", "key": "k", "val":  {"a":1}, "dht": {"client": 7}}"#,
            r#"{"cmd": "get", "key": "k", "dht":  null}"#,
        ] {
            let usual = request(text).map(|request| format!("{request:?}"));
            assert_eq!(usual, by_fields(text), "{text}");
            assert!(usual.is_some(), "{text}");
        }
    }

    #[test]
    fn what_differs_is_left_to_others() {
        for text in [
            r#"{"cmd":"get", "key": "apple"}"#,
            r#"{"key": "apple", "cmd": "get"}"#,
            r#"{"cmd": "get", "key": "\u0041"}"#,
            r#"{"cmd": "get", "key": 1}"#,
            r#"{"cmd": "get", "key": "k", "val": 1}"#,
            r#"{"cmd": "get", "key": "k", "key": "l"}"#,
            r#"{"cmd": "set", "key": "k"}"#,
            r#"{"cmd": "dht_read", "key": "k"}"#,
            r#"{"cmd": "dht_write", "key": "k", "val": 1}"#,
            r#"{"cmd": "setr", "key": "k", "val": 1}"#,
            r#"{"cmd": "get", "key": "apple"} "#,
            r#"{"cmd": "get", "key": "apple"}x"#,
        ] {
            assert!(request(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_read_the_same(
            cmd in prop::sample::select(&["get", "set", "dht_read", "dht_write", "setr"][..]),
            key in "[ -~\u{e9}\u{1f34f}]{0,20}",
            value in prop::option::of(r#"[ \n]?("[ !#-Z]{0,40}"|-?[0-9]{1,9}|\[true,"\\n"\]|nul)"#),
            dht in prop::option::of(r#"[ \n]?(null|1|\{"revision": [0-9]{1,9}\}|\{"a":1)"#),
            at in any::<usize>(),
            byte in prop::sample::select(&b" \"\\,:{}a0\n"[..]),
        ) {
            let field = |name, value: &Option<String>| match value {
                Some(value) => format!(", \"{name}\": {value}"),
                None => String::new(),
            };
            let (value, dht) = (field("val", &value), field("dht", &dht));
            let text = format!(r#"{{"cmd": "{cmd}", "key": "{key}"{value}{dht}}}"#);
            let mut bytes = text.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            for text in [text, String::from_utf8_lossy(&bytes).into_owned()] {
                if let Some(usual) = request(&text) {
                    prop_assert_eq!(Some(format!("{usual:?}")), by_fields(&text));
                }
            }
        }
    }
}
