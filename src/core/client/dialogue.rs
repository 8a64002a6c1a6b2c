//! The original's dialogue with a key's three servers, for rings that know nothing better.

use std::collections::VecDeque;

use super::{Client, Op, OpError, OpId, Outcome, Step};
use crate::core::machine::{CallError, Millis, Output, Target};
use crate::core::reply::Reply;
use crate::core::wire::json::Object;

/// How far a dialogue is.
#[derive(Debug)]
pub(super) struct Dialogue {
    servers: Vec<String>,
    epoch: u64,
    phase: Phase,
    /// Whom to talk to next in this phase; the first was talked to last.
    queue: VecDeque<String>,
    /// Those that hold the value.
    written: Vec<String>,
    /// Those that voted yes.
    votes: Vec<String>,
}

#[derive(Debug)]
enum Phase {
    Read,
    Vote,
    Write,
    /// Giving the votes back, for this reason.
    Deny(OpError),
}

impl Dialogue {
    pub(super) fn new(servers: Vec<String>, epoch: u64) -> Self {
        let (phase, queue) = (Phase::Vote, VecDeque::new());
        Dialogue { servers, epoch, phase, queue, written: Vec::new(), votes: Vec::new() }
    }
}

impl Client {
    /// Takes what the last server said (nothing at the start), and asks the next.
    pub(super) fn converse(
        &mut self,
        now: Millis,
        id: OpId,
        said: Option<Result<Vec<u8>, CallError>>,
        out: &mut Vec<Output>,
    ) {
        let Some(running) = self.ops.get_mut(&id) else {
            return;
        };
        let Step::Dialogue(dialogue) = &mut running.step else {
            return;
        };
        let ended = match said {
            None => {
                if let Op::Read { .. } = running.op {
                    dialogue.phase = Phase::Read;
                }
                dialogue.queue = dialogue.servers.iter().cloned().collect();
                None
            }
            Some(result) => dialogue.hear(result),
        };
        let ended = ended.or_else(|| dialogue.next_phase());
        if let Some(result) = ended {
            return self.finish(id, result);
        }
        let Some(addr) = dialogue.queue.front().cloned() else {
            return;
        };
        let key = running.op.key().to_json();
        let request = |cmd: &str| Reply::new().text("cmd", cmd).raw("key", &key);
        let request = match (&dialogue.phase, &running.op) {
            (Phase::Write, Op::Write { value, .. }) => request("setr").raw("val", value.as_str()),
            (Phase::Vote, _) => request("setr_request"),
            (Phase::Deny(_), _) => request("setr_deny"),
            _ => request("get"),
        };
        self.call(now, id, Target::Addr(addr), request.finish(), false, out);
    }
}

impl Dialogue {
    /// Takes a server's answer; gives the outcome where it decides.
    fn hear(&mut self, result: Result<Vec<u8>, CallError>) -> Option<Result<Outcome, OpError>> {
        let server = self.queue.pop_front().unwrap_or_default();
        let lost = matches!(result, Err(CallError::Lost(_)));
        let reply = result.ok();
        let reply = reply.as_ref().and_then(|reply| Object::parse(reply).ok());
        let reply = reply.filter(|reply| reply.raw("error").is_none());
        match self.phase {
            Phase::Read => {
                let reply = reply?;
                let status = reply.text("status");
                let is =
                    |name: &str| status.as_ref().is_some_and(|s| s.as_bytes() == name.as_bytes());
                match reply.json("value").filter(|_| is("ok")) {
                    Some(value) => Some(Ok(Outcome::Value(value))),
                    None => is("not_found").then_some(Ok(Outcome::NotFound)),
                }
            }
            Phase::Vote => {
                match reply {
                    // A dead server has no vote; the others hold the value. One that may have
                    // voted is asked to forget it where the votes are given back.
                    None => {
                        self.servers.retain(|other| *other != server);
                        if lost {
                            self.votes.push(server);
                        }
                    }
                    Some(reply) if reply.text("reply").is_some_and(|r| r.as_bytes() == b"ok") => {
                        self.votes.push(server);
                        if reply.number("epoch") != Some(self.epoch) {
                            self.deny(OpError::WrongEpoch);
                        }
                    }
                    Some(_) => self.deny(OpError::Busy),
                }
                None
            }
            Phase::Write => {
                if reply.is_some() {
                    self.written.push(server);
                }
                None
            }
            Phase::Deny(_) => None,
        }
    }

    fn deny(&mut self, why: OpError) {
        self.phase = Phase::Deny(why);
        self.queue = self.votes.iter().cloned().collect();
    }

    /// Goes on where a phase has ended; gives the outcome after the last.
    fn next_phase(&mut self) -> Option<Result<Outcome, OpError>> {
        if !self.queue.is_empty() {
            return None;
        }
        let nobody = || OpError::NotDone("none of the key's servers answers".to_string());
        match &self.phase {
            Phase::Read => Some(Err(nobody())),
            Phase::Vote if self.servers.is_empty() => Some(Err(nobody())),
            Phase::Vote => {
                self.phase = Phase::Write;
                self.queue = self.servers.iter().cloned().collect();
                None
            }
            Phase::Write if self.written.is_empty() => {
                Some(Err(OpError::Unknown("no server has answered the write".to_string())))
            }
            Phase::Write => Some(Ok(Outcome::Written { servers: self.written.clone() })),
            Phase::Deny(why) => Some(Err(why.clone())),
        }
    }
}
