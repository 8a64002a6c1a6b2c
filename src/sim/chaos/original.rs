//! Clients that know only the original's two-phase commit: votes of all three servers, then the
//! value to all three.

use std::collections::VecDeque;

use super::availability::{DIALOGUE_MS_MAX, Went};
use super::truth::three;
use super::workload::KEYS;
use super::world::World;
use crate::core::hash::slot_of;
use crate::core::machine::{CallError, Millis};
use crate::core::wire::json::Object;
use crate::sim::Ticket;
use crate::sim::history::{Action, Outcome};

/// The longest time that such a client does nothing.
const THINK_MS_MAX: Millis = 6_000;

/// How long a server keeps a vote.
const VOTES_MS: Millis = 10_000;

/// How long it keeps one where its clock runs at half the rate.
const SLOW_VOTES_MS: Millis = 2 * VOTES_MS;

/// How much later a server that is stopped may take in a request for a vote.
const LATE_MS: Millis = 10_000;

/// Where the view leader listens.
const LEADER_ADDR: &str = "10.0.0.1:39000";

/// A client of the original.
#[derive(Debug)]
struct Original {
    ip: String,
    process: u64,
    key: String,
    value: String,
    step: Step,
    /// When it asked for the first vote.
    voted_at: Millis,
    /// How far the assignment was when it asked for the view; `None` where the key's primary is not
    /// among those whose votes it takes.
    revision: Option<u64>,
    /// The name in the history of what its last `setr` does in addition.
    again: u64,
    /// The request that it waits for.
    ticket: Option<Ticket>,
    next_at: Millis,
    /// When it began, and what it was refused by.
    called: Millis,
    refused: bool,
    /// Where all that it asks for its votes' end was answered, nothing of them stands any more.
    all_answered: bool,
    /// It dies in the middle of its `setr`s, the first time that it comes so far.
    dies: bool,
    dead: bool,
}

#[derive(Debug)]
enum Step {
    Idle,
    View,
    Vote { ask: VecDeque<String>, voted: Vec<String> },
    Write { ask: VecDeque<String>, written: usize },
    Deny { ask: VecDeque<String> },
}

/// All of them.
#[derive(Debug)]
pub(super) struct Originals {
    clients: Vec<Original>,
    dead: u64,
    /// Until when votes may stand on a key; `None` while the client goes on.
    votes: Vec<(String, usize, Option<Millis>)>,
}

impl Originals {
    pub(super) fn new(count: usize) -> Self {
        let client = |number: usize| {
            Original::new(format!("10.0.3.{number}"), 1_000_000 + number as u64, 5_000)
        };
        let clients = (1..=count).map(client).collect();
        Originals { clients, dead: 0, votes: Vec::new() }
    }

    /// Whether votes of such a client may have stood on a key at or after `since`.
    pub(super) fn may_block(&self, key: &str, since: Millis) -> bool {
        let on_key = self.votes.iter().filter(|(voted, _, _)| voted == key);
        on_key.into_iter().any(|(_, _, until)| until.is_none_or(|until| until >= since))
    }

    /// When one begins something.
    pub(super) fn next_at(&self) -> Millis {
        let idle = self.clients.iter().filter(|c| matches!(c.step, Step::Idle) && !c.dead);
        idle.map(|client| client.next_at).min().unwrap_or(Millis::MAX)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| matches!(client.step, Step::Idle) || client.dead)
    }
}

impl Original {
    fn new(ip: String, process: u64, next_at: Millis) -> Self {
        Original {
            ip,
            process,
            key: String::new(),
            value: String::new(),
            step: Step::Idle,
            voted_at: 0,
            revision: None,
            again: 0,
            ticket: None,
            next_at,
            called: 0,
            refused: false,
            all_answered: true,
            dies: false,
            dead: false,
        }
    }
}

impl World {
    /// Takes in what was answered, and asks on.
    pub(super) fn drive_originals(&mut self) {
        for number in 0..self.originals.clients.len() {
            let client = &mut self.originals.clients[number];
            if client.dead {
                continue;
            }
            match client.ticket {
                Some(ticket) => {
                    if let Some(answer) = self.cluster.answer(ticket) {
                        client.ticket = None;
                        self.heard(number, answer);
                    }
                }
                None if client.next_at <= self.cluster.now() => self.begin_setr(number),
                None => {}
            }
        }
    }

    fn begin_setr(&mut self, number: usize) {
        // Before the leader answers: its answer may be old when it arrives.
        let revision = self.view().map(|view| view.assignment.revision);
        let client = &mut self.originals.clients[number];
        if self.workload.over {
            client.next_at = Millis::MAX;
            return;
        }
        client.key = self.rng.pick(&KEYS).to_string();
        client.value = self.workload.value();
        client.step = Step::View;
        client.revision = revision;
        client.called = self.cluster.now();
        client.refused = false;
        client.all_answered = true;
        self.workload.begun += 1;
        let action = Action::Put(client.value.clone());
        self.history.call(self.cluster.now(), client.process, &client.key, action);
        let request = r#"{"cmd": "query_servers"}"#;
        client.ticket = Some(self.cluster.ask(&client.ip, LEADER_ADDR, request));
    }

    fn heard(&mut self, number: usize, answer: Result<String, CallError>) {
        let view = self.view();
        let revision = view.as_ref().map(|view| view.assignment.revision);
        let client = &mut self.originals.clients[number];
        let primary = view.and_then(|view| view.primary(&client.key));
        let reply = answer.as_ref().ok().and_then(|text| Object::parse(text.as_bytes()).ok());
        let reply = reply.filter(|reply| reply.raw("error").is_none());
        match &mut client.step {
            Step::Idle => {}
            Step::View => {
                let members: Option<Vec<(String, u16)>> =
                    reply.and_then(|reply| reply.decode("result"));
                let members = members.unwrap_or_default();
                let servers = three(&members, slot_of(client.key.as_bytes()));
                if !primary.is_some_and(|primary| servers.contains(&primary)) {
                    // The primary will not vote: while somebody leaves, others are in its place.
                    client.revision = None;
                }
                client.voted_at = self.cluster.now();
                self.originals.votes.push((client.key.clone(), number, None));
                client.step = Step::Vote { ask: servers.into(), voted: Vec::new() };
            }
            Step::Vote { ask, voted } => {
                let server = ask.pop_front().unwrap_or_default();
                let yes = reply
                    .as_ref()
                    .map(|reply| reply.text("reply").is_some_and(|r| r.as_bytes() == b"ok"));
                match yes {
                    Some(true) => voted.push(server),
                    // Nobody is there to vote, or to hold the value.
                    None => client.all_answered = false,
                    Some(false) => {
                        client.refused = true;
                        let ask = std::mem::take(voted).into();
                        client.step = Step::Deny { ask };
                    }
                }
            }
            Step::Write { ask, written } => {
                ask.pop_front();
                *written += usize::from(reply.is_some());
                client.all_answered &= reply.is_some();
                // Where the vote has passed by some server's clock, or the key has a new primary
                // that never voted, the request cannot be told from a write of its own; nor can one
                // without an answer, which may come to its server much later.
                let late = self.cluster.now() >= client.voted_at + VOTES_MS;
                let moved = client.revision.is_none() || revision != client.revision;
                let clocks = client.voted_at <= self.clocks_wrong_until;
                if reply.is_some() && !late && !moved && !clocks {
                    self.history.end(self.cluster.now(), client.again, Outcome::NotDone);
                }
            }
            Step::Deny { ask } => {
                ask.pop_front();
                client.all_answered &= reply.is_some();
            }
        }
        self.ask_on(number);
    }

    fn ask_on(&mut self, number: usize) {
        let client = &mut self.originals.clients[number];
        if let Step::Vote { ask, voted } = &mut client.step
            && ask.is_empty()
            && !voted.is_empty()
        {
            let ask = std::mem::take(voted).into();
            client.step = Step::Write { ask, written: 0 };
        }
        let key = format!("\"{}\"", client.key);
        let (ask, request) = match &client.step {
            Step::Vote { ask, .. } => (ask, format!(r#"{{"cmd": "setr_request", "key": {key}}}"#)),
            Step::Deny { ask } => (ask, format!(r#"{{"cmd": "setr_deny", "key": {key}}}"#)),
            Step::Write { ask, .. } => {
                let value = &client.value;
                (ask, format!(r#"{{"cmd": "setr", "key": {key}, "val": {value}}}"#))
            }
            Step::Idle | Step::View => return,
        };
        if let Some(addr) = ask.front() {
            if client.dies && matches!(client.step, Step::Write { written, .. } if written > 0) {
                return self.die_between_setrs(number);
            }
            if matches!(client.step, Step::Write { .. }) {
                // What this request does beyond the first: nothing, as far as votes are known.
                client.again = 2_000_000 + self.workload.process();
                let action = Action::Put(client.value.clone());
                self.history.call(self.cluster.now(), client.again, &client.key, action);
            }
            client.ticket = Some(self.cluster.ask(&client.ip, addr, &request));
            return;
        }
        let outcome = match client.step {
            Step::Write { written, .. } if written > 0 => Outcome::Done(None),
            Step::Write { .. } => Outcome::Unknown,
            _ => Outcome::NotDone,
        };
        let now = self.cluster.now();
        let unknown = outcome == Outcome::Unknown;
        let (called, refused, dies) = (client.called, client.refused, client.dies);
        let (key, ip) = (client.key.clone(), client.ip.clone());
        self.history.end(now, client.process, outcome.clone());
        if unknown {
            client.process = 2_000_000 + self.workload.process();
        }
        client.step = Step::Idle;
        let think_ms = if dies { THINK_MS_MAX / 10 } else { THINK_MS_MAX };
        client.next_at = now + self.rng.between(0, think_ms);
        let all_answered = client.all_answered;
        self.end_votes(number, all_answered);
        let went = match outcome {
            Outcome::Done(_) => Went::Well,
            // Somebody else had voted, or was writing.
            Outcome::NotDone if refused => Went::Refused,
            _ => Went::Badly,
        };
        self.judge(called, DIALOGUE_MS_MAX, went, false, || {
            format!("setr of the original at {ip}, key {key}")
        });
    }

    /// The votes of a client's transaction end: at once where everybody was told, else in time.
    fn end_votes(&mut self, number: usize, told: bool) {
        let now = self.cluster.now();
        let wrong_clocks = self.clocks_wrong_until >= self.originals.clients[number].voted_at;
        let stands_ms = if wrong_clocks { SLOW_VOTES_MS } else { VOTES_MS };
        let until = if told { now } else { now + LATE_MS + stands_ms };
        let votes = self.originals.votes.iter_mut();
        for vote in votes.filter(|(_, voter, until)| *voter == number && until.is_none()) {
            vote.2 = Some(until);
        }
    }

    /// A new client comes that will die in the middle of its `setr`s.
    pub(super) fn die_while_writing(&mut self) {
        self.originals.dead += 1;
        let ip = format!("10.0.4.{}", self.originals.dead);
        let process = 2_000_000 + self.workload.process();
        let client = Original::new(ip, process, self.cluster.now());
        self.originals.clients.push(Original { dies: true, ..client });
    }

    fn die_between_setrs(&mut self, number: usize) {
        let client = &mut self.originals.clients[number];
        client.dead = true;
        self.history.end(self.cluster.now(), client.process, Outcome::Unknown);
        *self.faults.entry("setr broken off".to_string()).or_default() += 1;
        self.end_votes(number, false);
    }

    /// A client takes the votes of a key's three servers and is never heard of again.
    pub(super) fn die_with_votes(&mut self) {
        self.originals.dead += 1;
        let ip = format!("10.0.4.{}", self.originals.dead);
        let key = *self.rng.pick(&KEYS);
        let members = self.view().map(|view| view.members).unwrap_or_default();
        let request = format!(r#"{{"cmd": "setr_request", "key": "{key}"}}"#);
        for addr in three(&members, slot_of(key.as_bytes())) {
            self.cluster.ask(&ip, &addr, &request);
        }
        let until = self.cluster.now() + LATE_MS + SLOW_VOTES_MS;
        self.originals.votes.push((key.to_string(), usize::MAX, Some(until)));
    }
}
