//! A node: a name, an address, and the process that runs there, if any.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::clock::Clock;
use super::disk::Disk;
use crate::core::client::{Client, OpError, OpId, Outcome};
use crate::core::leader::Leader;
use crate::core::machine::{Input, Machine, Millis, Note};
use crate::core::server::Server;

/// One run of a node's program. A node that was killed and started again is another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId {
    /// Index of the node.
    pub(super) node: usize,
    /// Counts the node's processes, from 1.
    pub(super) run: u32,
}

/// What runs on a node.
pub(super) enum Program {
    /// The view leader.
    Leader(Box<Leader>),
    /// A server.
    Server(Box<Server>),
    /// Any other machine: a test's own.
    Machine(Box<dyn Machine + Send>),
    /// A client, which is given operations and has outcomes.
    Client(Box<Client>),
}

impl Program {
    pub(super) fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Program::Leader(leader) => leader.as_mut(),
            Program::Server(server) => server.as_mut(),
            Program::Machine(machine) => machine.as_mut(),
            Program::Client(client) => client.as_mut(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        match self {
            Program::Leader(leader) => leader.deadline(),
            Program::Server(server) => server.deadline(),
            Program::Machine(machine) => machine.deadline(),
            Program::Client(client) => client.deadline(),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::Leader(_) => "Leader",
            Program::Server(_) => "Server",
            Program::Machine(_) => "Machine",
            Program::Client(_) => "Client",
        })
    }
}

/// A node and what is known about it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// `ip:port`; where it listens, unless it is a client.
    pub(super) addr: String,
    /// Which of its processes runs, or ran last.
    pub(super) run: u32,
    /// `None`: no process runs.
    pub(super) program: Option<Program>,
    /// A stopped process (SIGSTOP): its inputs wait.
    pub(super) paused: bool,
    pub(super) backlog: VecDeque<Input<'static>>,
    /// Its own time, which its processes are given.
    pub(super) clock: Clock,
    /// When the next wake-up is planned.
    pub(super) wake_at: Option<Millis>,
    /// How often it was woken at this point in time.
    pub(super) woken: (Millis, u32),
    /// What its processes had to say, oldest first.
    pub(super) notes: Vec<(Millis, Note)>,
    /// Outcomes of a client's operations.
    pub(super) outcomes: BTreeMap<OpId, Result<Outcome, OpError>>,
    /// How many requests its processes have sent to servers.
    pub(super) requests_to_servers: u64,
    /// When its processes last asked the view leader.
    pub(super) leader_asked_at: Millis,
    /// What stays when its processes die.
    pub(super) disk: Option<Disk>,
}

impl Node {
    pub(super) fn new(name: &str) -> Self {
        Node {
            name: name.to_string(),
            addr: String::new(),
            run: 0,
            program: None,
            paused: false,
            backlog: VecDeque::new(),
            clock: Clock::default(),
            wake_at: None,
            woken: (0, 0),
            notes: Vec::new(),
            outcomes: BTreeMap::new(),
            requests_to_servers: 0,
            leader_asked_at: 0,
            disk: None,
        }
    }

    pub(super) fn ip(&self) -> &str {
        ip_of(&self.addr)
    }
}

/// The IP address in `ip:port`.
pub(super) fn ip_of(addr: &str) -> &str {
    addr.rsplit_once(':').map_or(addr, |(ip, _)| ip)
}
