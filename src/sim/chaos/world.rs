//! A run: the ring, its clients, and what is known about them.

use std::collections::{BTreeMap, BTreeSet};

use super::availability::Availability;
use super::locks::Locks;
use super::losses::Losses;
use super::original::Originals;
use super::plan::Plan;
use super::workload::Workload;
use super::{Options, Stats};
use crate::core::assignment::{NodeId, Revision};
use crate::core::leader::LeaderConfig;
use crate::core::machine::Millis;
use crate::core::server::ServerConfig;
use crate::core::wire::peer::Version;
use crate::sim::history::{History, Outcome};
use crate::sim::{Cluster, Expected, Rng};

/// The view leader's name.
pub(super) const LEADER: &str = "leader";

/// A lease; shorter than the original's, so that a run is.
pub(super) const LEASE_MS: Millis = 6_000;

/// How often a server renews its lease.
const HEARTBEAT_MS: Millis = 2_000;

/// What servers give to joiners where that is slow: a slot takes a tenth of a second.
const SLOW_TRANSFER_BYTES_PER_S: u64 = 5_000;

/// How many may wait in any one queue: more than all clients can have under way, than the servers of
/// a ring ask one another besides, and than clients in a rush can write while a joiner is silent:
/// such writes are acknowledged without it, and wait for it until it answers or is removed.
const CROWD_MAX: usize = 1_000;

/// A server that ran or runs.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) name: String,
    /// It may lose its lease until then, if it has not already.
    pub(super) troubled_until: Millis,
    /// It was asked to leave.
    pub(super) leaves: bool,
}

/// The server that was left of a key's three, when the two others were killed at once.
#[derive(Debug)]
pub(super) struct Third {
    pub(super) key: &'static str,
    pub(super) name: String,
    /// Of its copy of the key at that moment, if it had one.
    pub(super) version: Option<Version>,
    /// When the key's slot had last started empty.
    pub(super) born: Revision,
}

/// All that a run is about.
#[derive(Debug)]
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) rng: Rng,
    pub(super) history: History,
    pub(super) servers: Vec<ServerState>,
    /// The leader may expire servers that live until then.
    pub(super) leader_troubled_until: Millis,
    /// Until when a clock ran wrong or jumped.
    pub(super) clocks_wrong_until: Millis,
    /// How often each kind of fault happened.
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) workload: Workload,
    pub(super) originals: Originals,
    pub(super) availability: Availability,
    pub(super) locks: Locks,
    pub(super) losses: Losses,
    /// What was left where two of a key's three servers were killed at once.
    pub(super) thirds: Vec<Third>,
    /// Whether the view leader keeps a record.
    pub(super) leader_record: bool,
    /// Whether servers keep their data.
    pub(super) server_disks: bool,
    /// How many bytes per second servers give to joiners while clients work.
    transfer_bytes_per_s: u64,
    /// Grows whenever the view leader is killed or started.
    pub(super) leader_changes: u64,
    pub(super) servers_max: usize,
    /// How many servers there were at the start.
    pub(super) first_servers: u64,
    pub(super) together_last: BTreeSet<BTreeSet<NodeId>>,
}

impl World {
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut rng = Rng::new(seed ^ 0x000c_4a05);
        let mut cluster = Cluster::new(rng.bits());
        cluster.keep_trace(options.trace_lines);
        // What is on a disk is not lost.
        let losses = options.whole_ranges && !options.server_disks;
        cluster.judge_later(Expected { crowd: CROWD_MAX, losses });
        let originals = if options.originals { 2 } else { 0 };
        World {
            cluster,
            history: History::new(),
            servers: Vec::new(),
            leader_troubled_until: 0,
            clocks_wrong_until: 0,
            faults: BTreeMap::new(),
            workload: Workload::new(),
            originals: Originals::new(originals),
            availability: Availability::default(),
            locks: Locks::new(),
            losses: Losses::default(),
            thirds: Vec::new(),
            leader_record: options.leader_record,
            server_disks: options.server_disks,
            transfer_bytes_per_s: match seed % 3 {
                0 => SLOW_TRANSFER_BYTES_PER_S,
                _ => ServerConfig::default().transfer_bytes_per_s,
            },
            leader_changes: 0,
            servers_max: 0,
            first_servers: 0,
            together_last: BTreeSet::new(),
            rng,
        }
    }

    /// Starts a ring of 5 to 9 servers and its clients.
    pub(super) fn begin(&mut self) {
        self.start_leader();
        self.first_servers = self.rng.between(5, 9);
        for _ in 0..self.first_servers {
            self.join();
            let pause_ms = self.rng.between(0, 300);
            self.cluster.advance(pause_ms);
        }
        self.begin_workload();
    }

    pub(super) fn start_leader(&mut self) {
        self.leader_changes += 1;
        let config = LeaderConfig { lease_ms: LEASE_MS, ..LeaderConfig::default() };
        if self.leader_record {
            self.cluster.spawn_leader_with_disk(LEADER, config);
        } else {
            self.cluster.spawn_leader(LEADER, config);
        }
    }

    /// Names the time for which a lock binds: the life of a leader, or all of them where it keeps a
    /// record.
    pub(super) fn lock_life(&self) -> u64 {
        if self.leader_record { 0 } else { self.leader_changes }
    }

    pub(super) fn crash_leader(&mut self) {
        self.leader_changes += 1;
        // Its disk may have ended it already.
        if !self.cluster.free_disk(LEADER) {
            self.cluster.crash(LEADER);
        }
    }

    /// Starts a server under a new name.
    pub(super) fn join(&mut self) {
        let name = format!("s{}", self.servers.len() + 1);
        self.servers.push(ServerState { name: name.clone(), troubled_until: 0, leaves: false });
        self.start_server(&name, 0);
    }

    /// Starts a server; port 0: the original's first.
    pub(super) fn start_server(&mut self, name: &str, port: u16) {
        let server = self.servers.iter_mut().find(|server| server.name == name);
        server.expect("it is one of ours").leaves = false;
        let (seed, heartbeat_ms) = (self.rng.bits(), HEARTBEAT_MS);
        let transfer_bytes_per_s = self.transfer_bytes_per_s;
        let config = ServerConfig {
            port,
            seed,
            heartbeat_ms,
            transfer_bytes_per_s,
            ..ServerConfig::default()
        };
        if self.server_disks {
            self.cluster.spawn_server_with_disk(name, config);
        } else {
            self.cluster.spawn_server(name, config);
        }
        self.servers_max = self.servers_max.max(self.living().len());
    }

    /// Lets time pass until something has ended or is due, and lets the clients go on.
    pub(super) fn step(&mut self, until: Millis, plan: &Plan) -> Result<(), String> {
        let now = self.cluster.now();
        let due = [
            until,
            self.workload.next_at(),
            self.originals.next_at(),
            self.locks.next_at(),
            self.availability.next_at(),
        ];
        let due = due.into_iter().min().unwrap_or(until).max(now);
        let ended = self.cluster.ended();
        self.cluster.run_until(|cluster| cluster.ended() > ended, due - now);
        // First, so that the history has a loss before what clients see of it.
        self.look_for_losses()?;
        self.drive_workload();
        self.drive_originals();
        self.drive_locks()?;
        self.look_for_trouble(plan)?;
        self.look_at_rebalancing()?;
        self.cluster.broken().map_or(Ok(()), |broken| Err(broken.to_string()))
    }

    /// What happened.
    pub(super) fn stats(&self) -> Stats {
        let operations = self.history.operations();
        let ended = |wanted: fn(&Outcome) -> bool| {
            operations.iter().filter(|operation| wanted(&operation.outcome)).count()
        };
        let mut faults = self.faults.clone();
        let met = self.cluster.faults.happened().iter();
        faults.extend(met.map(|(kind, count)| (kind.to_string(), *count)));
        Stats {
            servers_max: self.servers_max,
            explained: self.availability.explained,
            untroubled: self.availability.untroubled,
            slowest_ms: self.availability.slowest_ms,
            recovery_ms_max: self.availability.recovery_ms_max,
            grants: self.locks.grants,
            operations: operations.len(),
            succeeded: ended(|outcome| matches!(outcome, Outcome::Done(_))),
            unknown: ended(|outcome| matches!(outcome, Outcome::Unknown)),
            faults,
            lasted_ms: self.cluster.now(),
            digest: self.cluster.trace_digest(),
        }
    }
}
