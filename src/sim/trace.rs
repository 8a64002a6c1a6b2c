//! What happened, as lines of text: to compare two runs, and to read after one that failed.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::core::machine::{CallError, Input, Millis, Output, Target, Then};
use crate::core::wire::frame::PEER_MARK;

/// How many characters of a message a line shows.
const MESSAGE_SHOWN_MAX: usize = 200;

/// The last lines, and a digest of all.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) lines_max: usize,
    lines: VecDeque<String>,
    digest: u64,
}

impl Trace {
    pub(super) fn new(lines_max: usize) -> Self {
        Trace { lines_max, lines: VecDeque::new(), digest: FNV_START }
    }

    /// Adds a line; `what` is asked only where traces are kept.
    pub(super) fn add(&mut self, now: Millis, what: impl FnOnce() -> String) {
        if self.lines_max == 0 {
            return;
        }
        let line = format!("{now:>8} {}", what());
        self.digest = fnv(self.digest, line.as_bytes());
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let _ = writeln!(out, "{line}");
        }
        out
    }
}

/// A message as a line shows it: JSON as it is, a frame of replicas by its length and digest.
pub(super) fn shown(message: &[u8]) -> String {
    if message.first() == Some(&PEER_MARK) {
        return format!("<{} bytes {:08x}>", message.len(), fnv(FNV_START, message) as u32);
    }
    let text = String::from_utf8_lossy(message);
    match text.char_indices().nth(MESSAGE_SHOWN_MAX) {
        Some((end, _)) => format!("{}... {} bytes", &text[..end], message.len()),
        None => text.into_owned(),
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: enough to tell two traces apart.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

pub(super) fn shown_result(result: &Result<Vec<u8>, CallError>) -> String {
    match result {
        Ok(message) => shown(message),
        Err(error) => format!("{error:?}"),
    }
}

pub(super) fn shown_input(input: &Input<'_>) -> String {
    match input {
        Input::Start => "start".to_string(),
        Input::Frame { origin, message, .. } => {
            format!("from {} {}", origin.peer_ip, shown(message))
        }
        Input::Returned { call, result } => format!("{} returned {}", call.0, shown_result(result)),
        Input::Disconnected { addr } => format!("disconnected {addr}"),
        Input::Tick => "tick".to_string(),
        Input::Leave => "leave".to_string(),
        Input::Persisted { ticket } => format!("persisted {}", ticket.0),
    }
}

pub(super) fn shown_output(output: &Output) -> String {
    match output {
        Output::Reply { message, then: Then::Close, .. } => {
            format!("last reply {}", shown(message))
        }
        Output::Reply { message, .. } => format!("reply {}", shown(message)),
        Output::Call { call, target, message, .. } => {
            let to = match target {
                Target::Leader => "leader",
                Target::Addr(addr) => addr,
            };
            format!("call {} to {to} {}", call.0, shown(message))
        }
        Output::Send { addr, message } => format!("send to {addr} {}", shown(message)),
        Output::Persist { ticket, entry, whole } => {
            let what = if *whole { "whole " } else { "" };
            format!("persist {} {what}{} bytes", ticket.0, entry.len())
        }
        Output::Store { ticket, edits } => format!("store {}: {} edits", ticket.0, edits.len()),
        Output::Note(note) => format!("note {note:?}"),
    }
}
