//! What a protocol must say of itself to be driven.

use std::net::SocketAddr;
use std::time::Instant;

/// The names have 16 bytes and the values 32, quotes included.
pub(crate) const KEY_BYTES: usize = 16;

/// What a client wants done, and since when.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    /// Whose it is, counted from 0.
    pub(crate) client: usize,
    /// Counts the operations of all clients.
    pub(crate) number: u64,
    /// Which name it is about.
    pub(crate) key: u64,
    /// Whether it was sent before.
    pub(crate) repeated: bool,
    /// When it was sent first.
    pub(crate) began: Instant,
}

/// What a connection has to remember.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// How many requests were said on it.
    pub(crate) requests: u32,
    /// How many replies have come.
    pub(crate) replies: u32,
    /// The reply so far, where it comes in pieces.
    pub(crate) answer: Vec<u8>,
}

/// What stands at the start of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Not all of anything.
    More,
    /// So many bytes that answer nothing.
    Skip(usize),
    /// So many bytes: the right answer.
    Done(usize),
    /// So many bytes: not now, or not here; the operation is to be sent again.
    Again(usize),
}

/// A protocol, and the parties that speak it.
pub(crate) trait Dialect {
    /// Where the parties are. It may grow.
    fn addresses(&self) -> &[SocketAddr];

    /// What a connection begins with.
    fn hello(&self, _out: &mut Vec<u8>) {}

    /// Which of the parties an operation goes to.
    fn route(&self, op: &Op) -> usize {
        op.client % self.addresses().len()
    }

    /// Appends the request.
    fn ask(&mut self, said: &mut Said, op: &Op, out: &mut Vec<u8>);

    /// Takes what stands at the start of `bytes`, as the answer to the oldest operation of the
    /// connection that was not answered. What the protocol wants said to it is appended to `out`.
    fn take(
        &mut self,
        said: &mut Said,
        bytes: &[u8],
        op: Option<&Op>,
        out: &mut Vec<u8>,
    ) -> Result<Taken, String>;

    /// Learns where things are now, before operations are sent again.
    fn learn(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// The slot of an operation's name, and whether the servers of that slot have changed since the
    /// beginning.
    fn place(&self, _op: &Op) -> (u16, bool) {
        (0, false)
    }
}

/// Appends the name of this number.
pub(crate) fn push_key(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(b"key-");
    push_digits(out, number);
}

/// Appends the value that the name of this number has, a JSON string.
pub(crate) fn push_value(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(b"\"value-");
    push_digits(out, number);
    out.extend_from_slice(b"xxxxxxxxxxxx\"");
}

fn push_digits(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; KEY_BYTES - 4];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// What came at the start of `bytes` where exactly `wanted` must.
pub(crate) fn exactly(bytes: &[u8], wanted: &[u8]) -> Result<Taken, String> {
    let length = bytes.len().min(wanted.len());
    if bytes[..length] != wanted[..length] {
        return Err(wrong(bytes));
    }
    Ok(if length == wanted.len() { Taken::Done(length) } else { Taken::More })
}

/// The reply was not what it must be.
pub(crate) fn wrong(reply: &[u8]) -> String {
    let shown = &reply[..reply.len().min(300)];
    format!("a wrong reply: {}", String::from_utf8_lossy(shown))
}
