//! A ring of nodes in virtual time: what happens, event by event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::disk::Written;
use super::faults::Faults;
use super::invariants::{Broken, Expected, Heard, Invariants};
use super::network::{Caller, Flight, LinkId, Network};
use super::node::{Node, ProcessId, Program, ip_of};
use super::queue::{Event, Queue};
use super::rng::Rng;
use super::stored;
use super::trace::{Trace, shown, shown_input, shown_output};
use crate::core::machine::{Input, Millis, Note, Origin, Output, ReplyTo, Target};
use crate::core::wire::frame::PEER_MARK;

/// How many lines [`Cluster::trace`] keeps unless told otherwise.
const TRACE_LINES_MAX: usize = 2_000;

/// How many lines are shown of it when a rule is broken.
const TAIL_LINES: usize = 60;

/// How often a machine may ask to be woken at one point in time before that counts as a loop.
const WAKES_AT_ONCE_MAX: u32 = 1_000;

/// A simulated ring: nodes, network and clock. Nothing happens except in the methods that say so.
///
/// Panics where a machine breaks the contract of [`crate::core::machine`].
#[derive(Debug)]
pub struct Cluster {
    /// What the network does to messages.
    pub faults: Faults,
    pub(super) now: Millis,
    pub(super) queue: Queue,
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Node>,
    /// Index of each node by its name.
    pub(super) names: BTreeMap<String, usize>,
    pub(super) network: Network,
    pub(super) trace: Trace,
    /// Where machines find the view leader.
    pub(super) leader_addr: String,
    /// Counts outcomes of clients and answers to those outside.
    pub(super) ended: u64,
    pub(super) invariants: Invariants,
    /// Whether a rule that is broken ends the run and is told, and does not panic.
    judged_later: bool,
    /// Whether steps are judged at all.
    judged: bool,
}

impl Cluster {
    /// An empty cluster; `seed` decides all that chance decides.
    pub fn new(seed: u64) -> Self {
        Cluster {
            faults: Faults::default(),
            now: 0,
            queue: Queue::default(),
            rng: Rng::new(seed),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            network: Network::default(),
            trace: Trace::new(TRACE_LINES_MAX),
            leader_addr: "10.0.0.1:39000".to_string(),
            ended: 0,
            invariants: Invariants::new(Expected { crowd: usize::MAX, losses: true }),
            judged_later: false,
            judged: true,
        }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The last lines of what happened, one event each.
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    /// A digest of all that has happened; two runs with equal digests did the same.
    pub fn trace_digest(&self) -> u64 {
        self.trace.digest()
    }

    /// Keeps this many lines of trace; 0 keeps none, no digest either, and is faster.
    pub fn keep_trace(&mut self, lines_max: usize) {
        self.trace.lines_max = lines_max;
    }

    /// From now on a rule that is broken stops time, and [`Cluster::broken`] tells of it; without
    /// this it panics.
    pub fn judge_later(&mut self, expected: Expected) {
        self.judged_later = true;
        self.invariants = Invariants::new(expected);
    }

    /// Judges no step, from the start on, which is faster: the cost of judging one grows with how
    /// much the machines hold.
    pub fn judge_nothing(&mut self) {
        self.judged = false;
    }

    /// The first rule that was broken. Every step of every machine is judged, see
    /// `src/sim/invariants`.
    pub fn broken(&self) -> Option<&Broken> {
        self.invariants.broken()
    }

    /// How many operations of clients, and requests from outside, have ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// What a node's processes have said, each with its time, oldest first.
    pub fn notes(&self, name: &str) -> &[(Millis, Note)] {
        &self.nodes[self.index(name)].notes
    }

    /// Lets `span_ms` pass.
    pub fn advance(&mut self, span_ms: Millis) {
        self.run_until(|_| false, span_ms);
    }

    /// Lets time pass until `done`, asked after each event, says so; at most `within_ms`. Returns
    /// whether it did.
    pub fn run_until(&mut self, done: impl Fn(&Cluster) -> bool, within_ms: Millis) -> bool {
        let end = self.now + within_ms;
        while !done(self) {
            if !self.step(end) {
                return false;
            }
        }
        true
    }

    /// Lets the next event happen that is due at `end` or before. Where there is none, it is `end`
    /// now, and false; false too once a rule is broken.
    pub(super) fn step(&mut self, end: Millis) -> bool {
        if self.broken().is_some() {
            return false;
        }
        let Some((at, event)) = self.queue.pop(end) else {
            self.now = end;
            return false;
        };
        self.now = at;
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request(flight) => self.request_arrives(flight),
            Event::Reply(flight, result) => self.reply_arrives(flight, result),
            Event::Expire(flight) => self.patience_ends(flight),
            Event::Frame(link, message) => self.frame_arrives(link, message),
            Event::Closed(link) => self.owner_learns(link),
            Event::Synced(process) => self.synced(process),
            Event::Wake(process) => self.wake(process),
        }
    }

    /// Plans an event for when a message sent now to `to_ip` arrives.
    pub(super) fn after_latency(&mut self, from_ip: &str, to_ip: &str, event: Event) {
        let latency_ms = self.faults.latency_ms(&mut self.rng, from_ip, to_ip);
        self.queue.push(self.now + latency_ms, event);
    }

    fn frame_arrives(&mut self, id: LinkId, message: Vec<u8>) {
        let link = &mut self.network.links[id];
        if link.broken {
            return;
        }
        let peer_ip = self.nodes[link.owner.node].ip().to_string();
        let local_ip = ip_of(&link.addr).to_string();
        let open = link.peer.is_some();
        if self.faults.stops(&peer_ip, &local_ip)
            || (!open && self.faults.stops(&local_ip, &peer_ip))
        {
            link.broken = true;
            return self.queue.push(self.now + self.faults.silence_ms, Event::Closed(id));
        }
        let listener = self.network.listening.get(&link.addr).copied();
        let Some(peer) = link.peer.or(listener) else {
            return self.break_link(id);
        };
        link.peer = Some(peer);
        let to = ReplyTo(self.network.fresh());
        let origin = Origin { peer_ip: peer_ip.into(), local_ip: local_ip.into() };
        let (origin, message) = (Cow::Owned(origin), Cow::Owned(message));
        self.deliver(peer, Input::Frame { to, origin, message });
    }

    fn owner_learns(&mut self, id: LinkId) {
        let link = &self.network.links[id];
        let (owner, addr) = (link.owner, link.addr.clone());
        self.network.open.remove(&(owner, addr.clone()));
        self.deliver(owner, Input::Disconnected { addr });
    }

    fn wake(&mut self, process: ProcessId) {
        let now = self.now;
        let due = |node: &&Node| node.wake_at == Some(now) && !node.paused;
        if self.running(process).filter(due).is_none() {
            return;
        }
        let node = &mut self.nodes[process.node];
        node.wake_at = None;
        let local = node.clock.at(now);
        if node.program.as_ref().and_then(Program::deadline).is_none_or(|at| at > local) {
            return self.plan_wake(process);
        }
        let before = if node.woken.0 == self.now { node.woken.1 } else { 0 };
        node.woken = (self.now, before + 1);
        assert!(before < WAKES_AT_ONCE_MAX, "{} asks for ticks without end", node.name);
        self.deliver(process, Input::Tick);
    }

    /// Gives a process an input; if it is paused, later, and if it is dead, never.
    pub(super) fn deliver(&mut self, process: ProcessId, input: Input<'static>) {
        if self.running(process).is_none() {
            return;
        }
        let node = &mut self.nodes[process.node];
        if node.paused {
            return node.backlog.push_back(input);
        }
        self.trace.add(self.now, || format!("{} < {}", node.name, shown_input(&input)));
        let outputs = self.handle(process, input);
        self.perform(process, outputs);
    }

    /// Has a process take a step, which is judged.
    pub(super) fn handle(&mut self, process: ProcessId, input: Input<'_>) -> Vec<Output> {
        let mut outputs = Vec::new();
        let node = &mut self.nodes[process.node];
        let heard = Heard::of(node.clock.at(self.now), &input);
        let program = node.program.as_mut().expect("a running node has a program");
        program.machine().handle(node.clock.at(self.now), input, &mut outputs);
        if self.judged {
            self.invariants.look(self.now, process, &node.name, program, heard, &outputs);
            if let Err(what) = self.judge_stored(process, &outputs) {
                self.invariants.breaks(stored::RULE, self.now, what);
            }
        }
        if let Some(broken) = self.invariants.broken().filter(|_| !self.judged_later) {
            let trace = self.trace.text();
            let lines: Vec<&str> = trace.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            panic!("{tail}\n{broken}, at {} ms", broken.at);
        }
        outputs
    }

    /// Does what a process asked for.
    pub(super) fn perform(&mut self, process: ProcessId, outputs: Vec<Output>) {
        let mut left = false;
        for output in outputs {
            let name = &self.nodes[process.node].name;
            self.trace.add(self.now, || format!("{name} > {}", shown_output(&output)));
            match output {
                Output::Reply { to, message, then: _ } => self.send_reply(process, to, message),
                Output::Call { call, target, message, timeout_ms, keep } => {
                    let caller = Caller::Process(process, call);
                    let from_ip = self.nodes[process.node].ip().to_string();
                    let addr = match target {
                        Target::Leader => {
                            self.nodes[process.node].leader_asked_at = self.now;
                            self.leader_addr.clone()
                        }
                        Target::Addr(addr) => {
                            self.nodes[process.node].requests_to_servers += 1;
                            addr
                        }
                    };
                    let link = keep.then(|| self.network.link(process, &addr));
                    let flight = Flight { link, ..Flight::new(caller, from_ip, addr, message) };
                    self.launch(flight, timeout_ms);
                }
                Output::Send { addr, message } => self.send_frame(process, &addr, message),
                Output::Store { ticket, edits } => {
                    self.persist(process, ticket, Written::Edits(edits));
                }
                Output::Persist { ticket, entry, whole } => {
                    self.persist(process, ticket, Written::Entry(entry, whole));
                }
                Output::Note(note) => {
                    let now = self.now;
                    left |= note == Note::Left;
                    self.nodes[process.node].notes.push((now, note));
                }
            }
        }
        let node = &mut self.nodes[process.node];
        if let Some(Program::Client(client)) = &mut node.program {
            let before = node.outcomes.len();
            node.outcomes.extend(std::iter::from_fn(|| client.finished()));
            self.ended += (node.outcomes.len() - before) as u64;
        }
        if left {
            let name = self.nodes[process.node].name.clone();
            return self.crash(&name);
        }
        self.plan_wake(process);
    }

    fn send_reply(&mut self, process: ProcessId, to: ReplyTo, message: Vec<u8>) {
        let asked = self.network.asked.remove(&to);
        let name = &self.nodes[process.node].name;
        let Some((_, flight)) = asked.filter(|(asked, _)| *asked == process) else {
            panic!("{name} answers twice, or what has no reply: {}", shown(&message));
        };
        self.answer_flight(flight, Ok(message));
    }

    fn send_frame(&mut self, process: ProcessId, addr: &str, message: Vec<u8>) {
        assert_eq!(message.first(), Some(&PEER_MARK), "a frame of replicas begins with the mark");
        let id = self.network.link(process, addr);
        let from = self.nodes[process.node].ip().to_string();
        let latency_ms = self.faults.latency_ms(&mut self.rng, &from, ip_of(addr));
        if self.faults.loses_frame(&mut self.rng) {
            return;
        }
        let at = self.now + latency_ms;
        if let Some(late_ms) = self.faults.repeats_frame(&mut self.rng) {
            self.queue.push(at + late_ms, Event::Frame(id, message.clone()));
        }
        if let Some(late_ms) = self.faults.reorders_frame(&mut self.rng) {
            return self.queue.push(at + late_ms, Event::Frame(id, message));
        }
        let link = &mut self.network.links[id];
        link.last_arrival = link.last_arrival.max(at);
        self.queue.push(link.last_arrival, Event::Frame(id, message));
    }

    pub(super) fn plan_wake(&mut self, process: ProcessId) {
        let node = &mut self.nodes[process.node];
        let Some(at) = node.program.as_ref().and_then(Program::deadline) else {
            return;
        };
        let at = node.clock.when(at).max(self.now);
        if node.wake_at.is_none_or(|planned| at < planned) {
            node.wake_at = Some(at);
            self.queue.push(at, Event::Wake(process));
        }
    }
}
