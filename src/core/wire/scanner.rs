//! Where one JSON value ends and the next begins.

use super::json::{Fields, JSON_DEPTH_MAX, Json, JsonError};

/// Walks over JSON text without building anything; depth is kept on the heap, so no input can
/// exhaust the stack.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether a string had an escape.
    escaped: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
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
            let start = self.at;
            self.string()?;
            let name = &self.text[start + 1..self.at - 1];
            self.space();
            self.expect(b':')?;
            self.space();
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
            self.space();
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

    /// Any value; returns its text.
    pub(super) fn value(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            // Most are strings, and nothing is open around them.
            self.string()?;
            return Ok(&self.text[start..self.at]);
        }
        let mut open: Vec<u8> = Vec::new();
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
                Some(b'"') => self.string()?,
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

    fn push(&self, open: &mut Vec<u8>, closer: u8) -> Result<(), JsonError> {
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

    fn string(&mut self) -> Result<(), JsonError> {
        self.expect(b'"')?;
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return self.broken(),
            }
        }
        self.at += 1;
        Ok(())
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

    /// A number or a literal.
    fn atom(&mut self) -> Result<(), JsonError> {
        const LITERALS: [&str; 6] = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
        let rest = &self.text[self.at..];
        if let Some(literal) = LITERALS.iter().find(|literal| rest.starts_with(**literal)) {
            self.at += literal.len();
            return Ok(());
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
    let ones = u64::MAX / 255;
    let highs = ones << 7;
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        // The lowest byte whose high bit is set here is below the bound; those above may be set by its
        // borrow (Mycroft's test).
        let below = |word: u64, bound: u64| word.wrapping_sub(ones * bound) & !word & highs;
        let quote = below(word ^ (ones * u64::from(b'"')), 1);
        let escape = below(word ^ (ones * u64::from(b'\\')), 1);
        let found = quote | escape | below(word, 0x20);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = &text[at..];
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::plain_bytes;

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
