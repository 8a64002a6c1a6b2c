//! Where one JSON value ends and the next begins.

use smallvec::SmallVec;

use super::json::{Fields, JSON_DEPTH_MAX, Json, JsonError};

/// What closes the arrays and objects that are open, the innermost last; few nest deeper than has room
/// without an allocation.
type Open = SmallVec<[u8; 16]>;

/// Walks over JSON text without building anything; depth is kept on the heap, so no input can
/// exhaust the stack.
pub(in crate::core) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether a string had an escape.
    escaped: bool,
}

impl<'a> Scanner<'a> {
    pub(in crate::core) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0, escaped: false }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether a string that was walked over had an escape. Few have, and what is certain not to need not
    /// be looked for again.
    pub(super) fn escaped(&self) -> bool {
        self.escaped
    }

    /// Takes these bytes, where they are next; whether they are.
    pub(in crate::core) fn take(&mut self, bytes: &str) -> bool {
        let next = self.text.as_bytes()[self.at..].starts_with(bytes.as_bytes());
        self.at += if next { bytes.len() } else { 0 };
        next
    }

    /// Whether nothing is left, not even white space.
    pub(in crate::core) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn broken<T>(&self) -> Result<T, JsonError> {
        Err(JsonError::Broken(self.at))
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.broken();
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.broken() }
    }

    /// One object, its values skipped over.
    pub(super) fn object(&mut self, fields: &mut Fields<'a>) -> Result<(), JsonError> {
        self.expect(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(b':')?;
            fields.push(name, self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.expect(b'}')
    }

    /// One array, its items as text.
    pub(super) fn array(&mut self) -> Result<Vec<Json>, JsonError> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(Json::from_raw(self.value()?));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.expect(b']')?;
        Ok(items)
    }

    /// Any value; returns its text, without the white space before it.
    pub(super) fn value(&mut self) -> Result<&'a str, JsonError> {
        self.space();
        let start = self.at;
        if self.peek() == Some(b'"') {
            // Most are strings, and nothing is open around them.
            self.string()?;
            return Ok(&self.text[start..self.at]);
        }
        let mut open = Open::new();
        loop {
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.push(&mut open, b'}')?;
                        self.name()?;
                        continue;
                    }
                    self.at += 1;
                }
                Some(b'[') => {
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b']') {
                        self.push(&mut open, b']')?;
                        continue;
                    }
                    self.at += 1;
                }
                Some(b'"') => drop(self.string()?),
                _ => self.atom()?,
            }
            // A value has ended: close what it closes, or go on to its neighbour.
            loop {
                let Some(closer) = open.last().copied() else {
                    return Ok(&self.text[start..self.at]);
                };
                self.space();
                if self.peek() == Some(closer) {
                    self.at += 1;
                    open.pop();
                    continue;
                }
                self.expect(b',')?;
                if closer == b'}' {
                    self.space();
                    self.name()?;
                }
                break;
            }
        }
    }

    fn push(&self, open: &mut Open, closer: u8) -> Result<(), JsonError> {
        if open.len() >= JSON_DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        open.push(closer);
        Ok(())
    }

    /// A field's name and the colon after it.
    fn name(&mut self) -> Result<(), JsonError> {
        self.string()?;
        self.space();
        self.expect(b':')
    }

    /// A string; returns what stands between its quotes.
    pub(super) fn string(&mut self) -> Result<&'a str, JsonError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return self.broken(),
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at - 1])
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.escaped = true;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                    return self.broken();
                }
                self.at += 5;
            }
            _ => return self.broken(),
        }
        Ok(())
    }

    /// A whole number; `None` where none is next that fits.
    pub(in crate::core) fn number(&mut self) -> Option<u64> {
        let start = self.at;
        self.atom().ok()?;
        self.text[start..self.at].parse().ok()
    }

    /// A number or a literal.
    fn atom(&mut self) -> Result<(), JsonError> {
        const LITERALS: [&str; 6] = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            let rest = &self.text[self.at..];
            if let Some(literal) = LITERALS.iter().find(|literal| rest.starts_with(**literal)) {
                self.at += literal.len();
                return Ok(());
            }
        }
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.broken(),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.broken() } else { Ok(()) }
    }
}

/// How many bytes stand before the first that ends a string, escapes, or may not be in one.
///
/// Eight at a time: a value of 32 bytes takes a quarter of what it takes byte by byte.
fn plain_bytes(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = ends_within(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = &text[at..];
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// The lowest byte whose high bit is set here is below the bound; those above may be set by its borrow
/// (Mycroft's test).
fn below(word: u64, bound: u64) -> u64 {
    word.wrapping_sub(ONES * bound) & !word & HIGHS
}

/// The same of what ends a string, escapes, or may not be in one.
fn ends_within(word: u64) -> u64 {
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let escape = below(word ^ (ONES * u64::from(b'\\')), 1);
    quote | escape | below(word, 0x20)
}

/// Whether a text stands as it is between the quotes of an ASCII JSON string.
pub(in crate::core) fn is_plain(text: &[u8]) -> bool {
    let plain = |word| {
        let word = u64::from_le_bytes(word);
        let delete = below(word ^ (ONES * 0x7f), 1);
        ends_within(word) | delete | (word & HIGHS) == 0
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().all(|word| plain(*word)) && plain(last)
}

#[cfg(test)]
mod tests {
    use super::{is_plain, plain_bytes};

    #[test]
    fn a_text_needs_escapes_where_one_of_its_bytes_does() {
        for byte in 0..=u8::MAX {
            let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for length in 1..20 {
                for at in 0..length {
                    for around in [b' ', b'~', b'!', b'#'] {
                        let mut text = vec![around; length];
                        text[at] = byte;
                        assert_eq!(is_plain(&text), plain, "{byte:#x} at {at} of {length}");
                    }
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn a_string_ends_where_it_does_byte_by_byte() {
        for end in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for before in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                for length in 0..20 {
                    let mut text = vec![before; length];
                    assert_eq!(plain_bytes(&text), length);
                    text.push(end);
                    text.extend([b'"', b'x', 0, b'\\', 0x80, b'"', b'x', b'x', b'x']);
                    assert_eq!(plain_bytes(&text), length, "{before:#x}, then {end:#x}");
                }
            }
        }
    }
}
