//! JSON as Python reads and writes it, with values kept as text.
//!
//! A value is never interpreted: it goes out as it came in, so `1.0` stays `1.0` and a 40-digit
//! integer survives. Two things set Python's JSON apart from RFC 8259, and are the reason for a
//! scanner of our own: `NaN`, `Infinity` and `-Infinity` are numbers, and `"\ud800"` is a string.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::scanner::Scanner;
use super::text::{Text, push_escaped, push_wtf8};

/// How deep arrays and objects may nest, about what Python's own parser allows.
pub const JSON_DEPTH_MAX: usize = 900;

/// How many fields there is room for without an allocation: as many as most requests have.
const FIELDS_USUAL: usize = 4;

/// What is wrong with a text that should have been JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("message is not UTF-8")]
    NotUtf8,
    /// The text is not JSON from this byte on.
    #[error("broken JSON at byte {0}")]
    Broken(usize),
    /// Arrays and objects nest deeper than [`JSON_DEPTH_MAX`].
    #[error("JSON nested deeper than {JSON_DEPTH_MAX}")]
    TooDeep,
    /// JSON, but not an object.
    #[error("message is not a JSON object")]
    NotObject,
}

/// One JSON value as ASCII text, checked but not interpreted.
///
/// Two values are equal when their texts are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Json(Box<str>);

impl Json {
    /// Checks `text` and keeps it, without the white space around it and with what is not ASCII
    /// escaped.
    ///
    /// ```
    /// use dht::core::wire::json::Json;
    /// assert_eq!(Json::parse(b" [1.0, \"\xc3\xa9\"] ").unwrap().as_str(), r#"[1.0, "\u00e9"]"#);
    /// ```
    pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
        let text = std::str::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.end()?;
        Ok(Json::from_raw(value))
    }

    /// Keeps a text that a scanner has accepted.
    pub(in crate::core) fn from_raw(raw: &str) -> Json {
        Json(to_ascii(raw).into())
    }

    /// The JSON string of `text`.
    pub fn string(text: &Text) -> Json {
        Json(text.to_json().into())
    }

    /// The value's text, ASCII only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The content of a JSON string; `None` for any other value.
    pub fn to_text(&self) -> Option<Text> {
        decode_string(&self.0)
    }

    /// What Python's `str` gives of a scalar: a number's text, a string's content, `True`, `None`.
    /// Arrays and objects give `None`.
    pub fn scalar_str(&self) -> Option<Text> {
        match self.0.as_bytes()[0] {
            b'[' | b'{' => None,
            b'"' => self.to_text(),
            b't' => Some("True".into()),
            b'f' => Some("False".into()),
            b'n' => Some("None".into()),
            _ if &*self.0 == "NaN" => Some("nan".into()),
            _ if &*self.0 == "Infinity" => Some("inf".into()),
            _ if &*self.0 == "-Infinity" => Some("-inf".into()),
            _ => Some((&*self.0).into()),
        }
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A JSON object whose values are still text. Of two fields of one name the last counts, as in
/// Python.
#[derive(Debug, Clone, Default)]
pub struct Object<'a> {
    fields: Fields<'a>,
    /// Whether a string in it has an escape.
    escaped: bool,
}

/// Names, as they were written but for the quotes, and values.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields<'a> {
    first: [(&'a str, &'a str); FIELDS_USUAL],
    count: usize,
    more: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    pub(super) fn push(&mut self, name: &'a str, value: &'a str) {
        match self.first.get_mut(self.count) {
            Some(place) => *place = (name, value),
            None => self.more.push((name, value)),
        }
        self.count += 1;
    }

    /// All of them, the last first.
    fn latest_first(&self) -> impl Iterator<Item = &(&'a str, &'a str)> {
        let first = &self.first[..self.count.min(FIELDS_USUAL)];
        self.more.iter().rev().chain(first.iter().rev())
    }
}

impl<'a> Object<'a> {
    /// Reads a message.
    pub fn parse(message: &'a [u8]) -> Result<Object<'a>, JsonError> {
        Object::read(std::str::from_utf8(message).map_err(|_| JsonError::NotUtf8)?)
    }

    /// Reads a message that is text.
    pub(super) fn read(text: &'a str) -> Result<Object<'a>, JsonError> {
        let mut scanner = Scanner::new(text);
        scanner.space();
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            scanner.end()?;
            return Err(JsonError::NotObject);
        }
        let mut object = Object::default();
        scanner.object(&mut object.fields)?;
        scanner.end()?;
        object.escaped = scanner.escaped();
        Ok(object)
    }

    /// The field's value as it was written (it may hold UTF-8).
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        let named = |field: &str| field == name || (self.escaped && means(field, name));
        let found = self.fields.latest_first().find(|(field, _)| named(field));
        found.map(|(_, value)| *value)
    }

    /// The field's value in ASCII.
    pub fn json(&self, name: &str) -> Option<Json> {
        self.raw(name).map(Json::from_raw)
    }

    /// The same; copied only where it is not in ASCII.
    pub fn ascii(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).map(to_ascii)
    }

    /// The field's value, where it is a string.
    pub fn text(&self, name: &str) -> Option<Text> {
        Some(Text::from_wtf8(self.word(name)?.into_owned()))
    }

    /// The bytes of the field's value, where it is a string. Only one with escapes is copied.
    pub fn word(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let inner = inner(self.raw(name)?)?;
        if self.escaped { decode_inner(inner) } else { Some(Cow::Borrowed(inner)) }
    }

    /// The field's value, where it is a whole number that fits.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.raw(name)?.parse().ok()
    }

    /// The field's value read by serde; `None` where it is missing or of another form.
    pub fn decode<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// The items of the field's value, where it is an array.
    pub fn array(&self, name: &str) -> Option<Vec<Json>> {
        let mut scanner = Scanner::new(self.raw(name)?);
        scanner.array().ok()
    }
}

/// A text that a scanner has accepted, with what is not ASCII escaped.
pub(super) fn to_ascii(raw: &str) -> Cow<'_, str> {
    if raw.is_ascii() {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len() * 2);
    for char in raw.chars() {
        // Only a string holds characters beyond ASCII, and there an escape means the same.
        if char.is_ascii() { out.push(char) } else { push_escaped(&mut out, char as u32) }
    }
    Cow::Owned(out)
}

/// Whether the inside of a JSON string means this name.
fn means(written: &str, name: &str) -> bool {
    decode_inner(written.as_bytes()).is_some_and(|meant| *meant == *name.as_bytes())
}

/// Decodes a JSON string that a scanner has accepted; `None` for another value.
fn decode_string(raw: &str) -> Option<Text> {
    Some(Text::from_wtf8(decode_inner(inner(raw)?)?.into_owned()))
}

/// What stands between the quotes of a JSON string.
fn inner(raw: &str) -> Option<&[u8]> {
    match raw.as_bytes() {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => None,
    }
}

/// What the inside of a JSON string means, in WTF-8. Only where it has escapes it is copied.
fn decode_inner(inner: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (code, used) = decode_escape(&rest[at..])?;
        push_wtf8(&mut out, code);
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest);
    Some(Cow::Owned(out))
}

/// The code point of the escape at the start of `bytes`, and how many bytes it takes.
fn decode_escape(bytes: &[u8]) -> Option<(u32, usize)> {
    let simple = |code| Some((code, 2));
    match bytes.get(1)? {
        b'b' => simple(0x08),
        b'f' => simple(0x0c),
        b'n' => simple(0x0a),
        b'r' => simple(0x0d),
        b't' => simple(0x09),
        b'u' => {
            let high = hex4(bytes.get(2..6)?)?;
            if (0xd800..0xdc00).contains(&high) && bytes.get(6..8) == Some(b"\\u") {
                let low = bytes.get(8..12).and_then(hex4);
                if let Some(low) = low.filter(|low| (0xdc00..0xe000).contains(low)) {
                    return Some((0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12));
                }
            }
            Some((high, 6))
        }
        other => simple(u32::from(*other)),
    }
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | (*digit as char).to_digit(16)?))
}
