//! Processes begin, stop, go on and die.

use super::calls::closed;
use super::cluster::Cluster;
use super::disk::Disk;
use super::node::{Node, ProcessId, Program};
use crate::core::client::{Client, ClientConfig};
use crate::core::leader::{Leader, LeaderConfig};
use crate::core::machine::{Input, Machine, Millis};
use crate::core::planted::{Planted, planted};
use crate::core::server::{Server, ServerConfig};

/// How long a client's operation may take.
const CLIENT_TIMEOUT_MS: Millis = 5_000;

/// The port of a server that was given none: the original's first.
const SERVER_PORT: u16 = 38_000;

/// What calendars show when a simulation begins, in milliseconds since the beginning of 1970.
const BEGUN_MS: Millis = 1_750_000_000_000;

impl Cluster {
    /// Starts the view leader, where every machine looks for it.
    pub fn spawn_leader(&mut self, name: &str, config: LeaderConfig) {
        let config = self.started_now(config);
        let addr = self.leader_addr.clone();
        self.listen(name, &addr, Program::Leader(Box::new(Leader::new(config))));
    }

    /// Starts the view leader on a node with a disk, which is empty at first: it goes on from what its
    /// processes before have written there.
    pub fn spawn_leader_with_disk(&mut self, name: &str, config: LeaderConfig) {
        let config = self.started_now(config);
        let disk = self.take_disk(name).unwrap_or_else(|| Disk::of_leader(self.rng.bits()));
        let leader = Leader::with_record(config, disk.record());
        let addr = self.leader_addr.clone();
        self.listen_with(name, &addr, Program::Leader(Box::new(leader)), Some(disk));
    }

    /// Starts a server. A new name gets a host of its own, a name that ran before its old host; the
    /// port is the config's, or 38000. Returns its address.
    pub fn spawn_server(&mut self, name: &str, mut config: ServerConfig) -> String {
        let addr = self.place(name, &mut config);
        if planted(Planted::IdentityKept) {
            config.seed = self.names.get(name).map_or(self.nodes.len(), |index| *index) as u64;
        }
        self.listen(name, &addr, Program::Server(Box::new(Server::new(config))));
        addr
    }

    /// The same on a node with a disk, which is empty at first: it goes on with the data that its
    /// processes before have written there.
    pub fn spawn_server_with_disk(&mut self, name: &str, mut config: ServerConfig) -> String {
        let addr = self.place(name, &mut config);
        let disk = self.take_disk(name).unwrap_or_else(|| Disk::of_server(self.rng.bits()));
        let server = Server::with_data(config, disk.rows());
        self.listen_with(name, &addr, Program::Server(Box::new(server)), Some(disk));
        addr
    }

    /// Starts a client; `id` names it in request ids.
    pub fn spawn_client(&mut self, name: &str, id: u64) {
        self.spawn_hasty_client(name, id, CLIENT_TIMEOUT_MS);
    }

    /// The same; its operations may take so long.
    pub fn spawn_hasty_client(&mut self, name: &str, id: u64, timeout_ms: Millis) {
        self.spawn_client_with(name, ClientConfig { id, timeout_ms, ..ClientConfig::default() });
    }

    /// The same with options of one's choice.
    pub fn spawn_client_with(&mut self, name: &str, config: ClientConfig) {
        let addr = format!("{}:0", self.host_for(name));
        let program = Program::Client(Box::new(Client::new(config)));
        self.start(name, &addr, program);
    }

    /// Starts any machine, listening at `addr` (`ip:port`), which must be free. A name whose process
    /// has died may be used again, at the old address or another.
    pub fn spawn(&mut self, name: &str, addr: &str, machine: Box<dyn Machine + Send>) {
        self.listen(name, addr, Program::Machine(machine));
    }

    /// The same, of a leader that begins now.
    fn started_now(&self, config: LeaderConfig) -> LeaderConfig {
        LeaderConfig { started_ms: BEGUN_MS + self.now, ..config }
    }

    fn listen(&mut self, name: &str, addr: &str, program: Program) {
        self.listen_with(name, addr, program, None);
    }

    fn listen_with(&mut self, name: &str, addr: &str, program: Program, disk: Option<Disk>) {
        let free = !self.network.listening.contains_key(addr);
        assert!(free, "{addr} is taken");
        let process = self.start(name, addr, program);
        self.nodes[process.node].disk = disk;
        self.network.listening.insert(addr.to_string(), process);
        self.deliver(process, Input::Start);
    }

    fn start(&mut self, name: &str, addr: &str, program: Program) -> ProcessId {
        let next = self.nodes.len();
        let index = *self.names.entry(name.to_string()).or_insert(next);
        if index == next {
            self.nodes.push(Node::new(name));
        }
        let node = &mut self.nodes[index];
        assert!(node.program.is_none(), "{name} runs already");
        node.addr = addr.to_string();
        node.run += 1;
        node.outcomes.clear();
        node.program = Some(program);
        self.trace.add(self.now, || format!("{name} starts at {addr}"));
        ProcessId { node: index, run: node.run }
    }

    /// Kills a node's process without a word (`kill -9`). Those with an open connection to it learn
    /// that after a while, later ones are refused.
    pub fn crash(&mut self, name: &str) {
        let process = self.process(name);
        self.trace.add(self.now, || format!("{name} is killed"));
        let node = &mut self.nodes[process.node];
        node.program = None;
        node.paused = false;
        node.wake_at = None;
        node.backlog.clear();
        node.disk.iter_mut().for_each(Disk::crash);
        self.invariants.died(process);
        self.network.listening.retain(|_, listener| *listener != process);
        for flight in self.network.forget_asked_of(process) {
            self.answer_flight(flight, Err(closed()));
        }
        for link in self.network.links_to(process) {
            self.break_link(link);
        }
    }

    /// Asks a server to leave the ring: its process ends once its data are with others.
    pub fn leave(&mut self, name: &str) {
        let process = self.process(name);
        self.trace.add(self.now, || format!("{name} shall leave"));
        self.deliver(process, Input::Leave);
    }

    /// Stops a node's process (`kill -STOP`): its connections stay open, its inputs wait.
    pub fn pause(&mut self, name: &str) {
        let process = self.process(name);
        self.trace.add(self.now, || format!("{name} is stopped"));
        self.nodes[process.node].paused = true;
    }

    /// Lets a stopped process go on; it gets at once all that has waited.
    pub fn resume(&mut self, name: &str) {
        let process = self.process(name);
        self.trace.add(self.now, || format!("{name} goes on"));
        let node = &mut self.nodes[process.node];
        node.paused = false;
        node.wake_at = None;
        for input in std::mem::take(&mut node.backlog) {
            self.deliver(process, input);
        }
        self.plan_wake(process);
    }

    /// Sets how fast a node's clock runs, in thousandths of the right rate, and how far it jumps
    /// ahead. A clock never goes back.
    pub fn set_clock(&mut self, name: &str, rate: u64, ahead_ms: Millis) {
        let index = self.index(name);
        let node = &mut self.nodes[index];
        self.trace.add(self.now, || format!("{name} has a clock of {rate}, {ahead_ms} ahead"));
        node.clock.change(self.now, rate, ahead_ms);
        node.wake_at = None;
        if node.program.is_some() {
            self.plan_wake(ProcessId { node: index, run: self.nodes[index].run });
        }
    }

    /// Whether a process runs (or is stopped) under this name.
    pub fn is_alive(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name && node.program.is_some())
    }

    /// Whether a node's process is stopped.
    pub fn is_paused(&self, name: &str) -> bool {
        self.nodes[self.index(name)].paused
    }

    /// The names under which processes run, in the order in which they first began.
    pub fn alive(&self) -> Vec<&str> {
        let alive = self.nodes.iter().filter(|node| node.program.is_some());
        alive.map(|node| node.name.as_str()).collect()
    }

    /// A node's address, `ip:port`.
    pub fn addr(&self, name: &str) -> &str {
        &self.nodes[self.index(name)].addr
    }

    /// A node's host.
    pub fn ip(&self, name: &str) -> &str {
        self.nodes[self.index(name)].ip()
    }

    /// The node, if this very process of it runs.
    pub(super) fn running(&self, process: ProcessId) -> Option<&Node> {
        let node = &self.nodes[process.node];
        (node.run == process.run && node.program.is_some()).then_some(node)
    }

    /// The process that runs under this name; there must be one.
    pub(super) fn process(&self, name: &str) -> ProcessId {
        let node = self.index(name);
        assert!(self.nodes[node].program.is_some(), "{name} does not run");
        ProcessId { node, run: self.nodes[node].run }
    }

    pub(super) fn index(&self, name: &str) -> usize {
        *self.names.get(name).unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// Where a server of this name is to listen.
    fn place(&self, name: &str, config: &mut ServerConfig) -> String {
        if config.port == 0 {
            config.port = SERVER_PORT;
        }
        format!("{}:{}", self.host_for(name), config.port)
    }

    /// What the processes before have left on a node's disk.
    fn take_disk(&mut self, name: &str) -> Option<Disk> {
        let node = *self.names.get(name)?;
        self.nodes[node].disk.take()
    }

    fn host_for(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(node) => self.nodes[*node].ip().to_string(),
            None => match self.nodes.len() + 2 {
                number @ ..256 => format!("10.0.0.{number}"),
                number => format!("10.1.{}.{}", number / 256, number % 256),
            },
        }
    }
}
