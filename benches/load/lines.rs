//! Redis and memcached.

use std::net::SocketAddr;

use super::dialect::{Dialect, Op, Said, Taken, exactly, push_key, push_value};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Read a name that is there.
    Get,
    /// Write.
    Set,
    /// Write, and wait for two copies more.
    Setr,
}

impl Work {
    fn of(text: &str) -> Result<Work, String> {
        match text {
            "get" => Ok(Work::Get),
            "set" => Ok(Work::Set),
            "setr" => Ok(Work::Setr),
            _ => Err(format!("no work {text} in this dialect")),
        }
    }
}

/// What both have: where the parties are, what is asked of them, and room for the reply that must come.
#[derive(Debug)]
struct Asked {
    addresses: Vec<SocketAddr>,
    work: Work,
    wanted: Vec<u8>,
}

impl Asked {
    fn new(addresses: Vec<SocketAddr>, work: &str) -> Result<Self, String> {
        Ok(Asked { addresses, work: Work::of(work)?, wanted: Vec::new() })
    }
}

/// RESP, as Redis speaks it.
#[derive(Debug)]
pub(crate) struct Redis(Asked);

impl Redis {
    pub(crate) fn new(addresses: Vec<SocketAddr>, work: &str) -> Result<Self, String> {
        Asked::new(addresses, work).map(Redis)
    }
}

impl Dialect for Redis {
    fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    fn ask(&mut self, _said: &mut Said, op: &Op, out: &mut Vec<u8>) {
        let get = self.0.work == Work::Get;
        let command: &[u8] =
            if get { b"*2\r\n$3\r\nGET\r\n$16\r\n" } else { b"*3\r\n$3\r\nSET\r\n$16\r\n" };
        out.extend_from_slice(command);
        push_key(out, op.key);
        if !get {
            out.extend_from_slice(b"\r\n$32\r\n");
            push_value(out, op.key);
        }
        out.extend_from_slice(b"\r\n");
        if self.0.work == Work::Setr {
            out.extend_from_slice(b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$1\r\n0\r\n");
        }
    }

    fn take(
        &mut self,
        _said: &mut Said,
        bytes: &[u8],
        op: Option<&Op>,
        _out: &mut Vec<u8>,
    ) -> Result<Taken, String> {
        let Some(op) = op else { return Err("a reply to nothing".to_owned()) };
        match self.0.work {
            Work::Get => {
                self.0.wanted.clear();
                self.0.wanted.extend_from_slice(b"$32\r\n");
                push_value(&mut self.0.wanted, op.key);
                self.0.wanted.extend_from_slice(b"\r\n");
                exactly(bytes, &self.0.wanted)
            }
            Work::Set => exactly(bytes, b"+OK\r\n"),
            Work::Setr => exactly(bytes, b"+OK\r\n:2\r\n"),
        }
    }
}

/// The text protocol of memcached.
#[derive(Debug)]
pub(crate) struct Memcached(Asked);

impl Memcached {
    pub(crate) fn new(addresses: Vec<SocketAddr>, work: &str) -> Result<Self, String> {
        Asked::new(addresses, work).map(Memcached)
    }
}

impl Dialect for Memcached {
    fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    fn ask(&mut self, _said: &mut Said, op: &Op, out: &mut Vec<u8>) {
        if self.0.work == Work::Get {
            out.extend_from_slice(b"get ");
            push_key(out, op.key);
        } else {
            out.extend_from_slice(b"set ");
            push_key(out, op.key);
            out.extend_from_slice(b" 0 0 32\r\n");
            push_value(out, op.key);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn take(
        &mut self,
        _said: &mut Said,
        bytes: &[u8],
        op: Option<&Op>,
        _out: &mut Vec<u8>,
    ) -> Result<Taken, String> {
        let Some(op) = op else { return Err("a reply to nothing".to_owned()) };
        if self.0.work != Work::Get {
            return exactly(bytes, b"STORED\r\n");
        }
        self.0.wanted.clear();
        self.0.wanted.extend_from_slice(b"VALUE ");
        push_key(&mut self.0.wanted, op.key);
        self.0.wanted.extend_from_slice(b" 0 32\r\n");
        push_value(&mut self.0.wanted, op.key);
        self.0.wanted.extend_from_slice(b"\r\nEND\r\n");
        exactly(bytes, &self.0.wanted)
    }
}
