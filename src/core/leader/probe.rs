//! Is a server that fell silent certainly gone? We ask its address.

use super::{GONE, Leader, Out, Purpose, RESTARTED};
use crate::core::assignment::{HelloReply, NodeId};
use crate::core::machine::{CallError, Millis, Output, Target};
use crate::core::planted::{Planted, planted};
use crate::core::wire::json::Object;

/// How often the address of a server that a range waits for is asked.
const PROBE_INTERVAL_MS: Millis = 1_000;

/// After how long a question counts as not answered.
const PROBE_TIMEOUT_MS: Millis = 2_000;

/// How many refusals in a row prove that the process is gone.
const REFUSALS_NEEDED: u32 = 2;

/// A process that is being killed closes its sockets one after the other: for a moment its
/// address neither answers nor refuses. So a member that did not answer is asked again, after this
/// time, doubled each time.
const SUSPECT_RETRY_MS: Millis = 25;

/// How often it is asked again before its lease decides.
const SUSPECT_RETRIES_MAX: u32 = 7;

/// The question.
const HELLO: &[u8] = br#"{"cmd": "dht_hello", "dht": 1}"#;

/// A server that a range names and that is no member.
#[derive(Debug)]
pub(super) struct Absent {
    /// Where it was.
    pub(super) addr: String,
    /// Certainly gone, with what it held in memory.
    pub(super) gone: bool,
    /// Whether it keeps its data on disk, and may come back with them; `None`: it was never heard.
    pub(super) keeps: Option<bool>,
    /// It is gone because it was to leave.
    pub(super) left: bool,
    /// When to ask next.
    probe_after: Millis,
}

impl Absent {
    pub(super) fn new(addr: String, gone: bool, keeps: Option<bool>, now: Millis) -> Self {
        Absent { addr, gone, keeps, left: false, probe_after: now }
    }

    /// When its address is asked next.
    pub(super) fn probe_at(&self) -> Option<Millis> {
        (!self.gone).then_some(self.probe_after)
    }
}

/// A member that did not answer.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    /// How often it was asked again.
    retries: u32,
    /// When to ask next.
    pub(super) ask_at: Millis,
}

impl Leader {
    /// Asks a server's address who is there.
    pub(super) fn probe(&mut self, id: &NodeId, out: &mut Out) {
        self.suspects.remove(id);
        self.ask(id, 0, out);
    }

    fn ask(&mut self, id: &NodeId, refusals: u32, out: &mut Out) {
        let asked = self
            .calls
            .values()
            .any(|purpose| matches!(purpose, Purpose::Probe { id: asked, .. } if asked == id));
        let member = self.members.by_id(id).map(|member| member.addr.clone());
        let absent = self.absent.get(id).filter(|absent| !absent.gone);
        let Some(addr) = member.or_else(|| absent.map(|absent| absent.addr.clone())) else {
            return;
        };
        if asked {
            return;
        }
        let call = self.call_id(Purpose::Probe { id: id.clone(), refusals });
        out.push(Output::Call {
            call,
            target: Target::Addr(addr),
            message: HELLO.to_vec(),
            timeout_ms: PROBE_TIMEOUT_MS,
            keep: false,
        });
    }

    /// The answer to a question.
    pub(super) fn probed(
        &mut self,
        now: Millis,
        id: &NodeId,
        refusals: u32,
        result: Result<Vec<u8>, CallError>,
        out: &mut Out,
    ) {
        match result {
            Err(CallError::Refused) if refusals + 1 < REFUSALS_NEEDED => {
                self.ask(id, refusals + 1, out);
            }
            Err(CallError::Refused) => {
                let heard_at = self.members.by_id(id).map(|member| member.heard_at);
                if self.refusal_counts(now, heard_at) {
                    self.certainly_gone(now, id, out);
                } else {
                    self.suspect(now, id);
                }
            }
            Ok(reply) => match hello(&reply) {
                Some(hello) if hello.id.as_ref() == Some(id) => {
                    self.suspects.remove(id);
                    self.heard(now, id, out);
                }
                Some(hello) if hello.was.contains(id) => self.follow(now, id, out),
                _ => self.certainly_gone(now, id, out),
            },
            Err(_) if planted(Planted::SilenceIsDeath) => self.certainly_gone(now, id, out),
            Err(CallError::NotSent(_) | CallError::Lost(_)) => self.suspect(now, id),
        }
    }

    /// A member did not answer: it is asked again a few times, and then its lease decides.
    fn suspect(&mut self, now: Millis, id: &NodeId) {
        if self.members.by_id(id).is_none() {
            return;
        }
        let suspect = self.suspects.entry(id.clone()).or_default();
        if suspect.retries >= SUSPECT_RETRIES_MAX {
            self.suspects.remove(id);
            return;
        }
        suspect.ask_at = now + (SUSPECT_RETRY_MS << suspect.retries);
        suspect.retries += 1;
    }

    fn certainly_gone(&mut self, now: Millis, id: &NodeId, out: &mut Out) {
        self.suspects.remove(id);
        if let Some(addr) = self.members.by_id(id).map(|member| member.addr.clone()) {
            self.remove(now, &[addr], GONE, out);
        } else if let Some(absent) = self.absent.get_mut(id) {
            absent.gone = true;
            self.replan(now, out);
        }
    }

    /// An identity has ended, and another has its data.
    pub(super) fn follow(&mut self, now: Millis, id: &NodeId, out: &mut Out) {
        if let Some(addr) = self.members.by_id(id).map(|member| member.addr.clone()) {
            self.remove(now, &[addr], RESTARTED, out);
        }
    }

    /// A kept-open connection to a server has closed.
    pub(super) fn disconnected(&mut self, addr: &str, out: &mut Out) {
        let member = self.members.at(addr).and_then(|member| member.extension.as_ref());
        if let Some(id) = member.map(|extension| extension.id.clone()) {
            self.probe(&id, out);
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Millis, out: &mut Out) {
        if self.members.first_overdue().is_some_and(|due| due <= now) {
            self.sweep(now, out);
        }
        let suspects = self.suspects.iter().filter(|(_, suspect)| suspect.ask_at <= now);
        let suspects: Vec<NodeId> = suspects.map(|(id, _)| id.clone()).collect();
        for id in suspects {
            if let Some(suspect) = self.suspects.get_mut(&id) {
                suspect.ask_at = Millis::MAX;
            }
            self.ask(&id, 0, out);
        }
        let due: Vec<NodeId> = self
            .absent
            .iter()
            .filter(|(_, absent)| absent.probe_at().is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.ask(&id, 0, out);
            if let Some(absent) = self.absent.get_mut(&id) {
                absent.probe_after = now + PROBE_INTERVAL_MS;
            }
        }
        let gives_up = self.config.give_up_after_ms.is_some() && self.slots_waiting > 0;
        let unsure = self.ranges.iter().any(|range| range.state.unsure_since.is_some());
        let listened = self.listens_until.is_some_and(|until| until <= now);
        if listened {
            self.listens_until = None;
        }
        if gives_up || unsure || listened || self.recovering_since.is_some() {
            self.replan(now, out);
        }
        self.untold = true;
    }
}

/// Who answered, and who it was before, with the same data.
fn hello(reply: &[u8]) -> Option<HelloReply> {
    Object::parse(reply).ok().and_then(|object| object.decode("dht"))
}
