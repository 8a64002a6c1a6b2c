//! A small ring under much harsher faults than chaos has: the other run of each seed.
//!
//! Three to six servers with a very short lease, a few keys that everybody wants, memories of one to
//! three requests, and servers that come, go and fall silent many times a second, at the worst places
//! of the ring for the keys. Requests and frames are held up for so long that the ring has changed
//! when they arrive. So rules matter that large rings hardly ever need.
//!
//! A run has several rounds: a storm, and a calm in which all is healed, nobody writes, and every
//! key must be on its three servers with one value and version, which clients then read. What a
//! round has left half done is therefore seen before newer writes hide it. All that clients saw
//! must be linearizable; where the leader has said that slots are lost, their keys are erased.

mod calm;
mod strain;
mod strike;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::strain::Undo;
use super::Violation;
use super::world::LEADER;
use crate::core::assignment::{NodeId, Revision};
use crate::core::client::{Op, OpError, OpId, Outcome as Ended};
use crate::core::hash::slot_of;
use crate::core::leader::LeaderConfig;
use crate::core::machine::{Millis, Note};
use crate::core::server::ServerConfig;
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;
use crate::sim::history::{Action, History, Outcome};
use crate::sim::linearize::{Verdict, check};
use crate::sim::{Cluster, Expected, Rng};

/// The keys: three of one slot, and one of another.
const KEYS: [&str; 4] = ["k154", "k743", "k784", "k2"];

/// How many storms a run has.
const ROUNDS: u64 = 3;

/// The longest time that a client does nothing.
const THINK_MS_MAX: Millis = 30;

/// How many may wait in any one queue.
const CROWD_MAX: usize = 2_000;

/// How many lines of trace are kept of a run that broke a rule.
const TRACE_LINES: usize = 20_000;

/// What happened in runs that broke no rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many operations clients began.
    pub operations: u64,
    /// How many of them may or may not have happened.
    pub unknown: u64,
    /// How many faults there were, not counting those of single messages.
    pub faults: u64,
    /// How often the leader said that slots are lost.
    pub losses: u64,
    /// How many runs ended because a restarted leader waits for servers that are dead.
    pub waiting: u64,
    /// The longest time that the ring took to be whole again.
    pub recovery_ms_max: Millis,
    /// A digest of all that happened; 0 unless traces were kept.
    pub digest: u64,
}

impl AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, one: &Stats) {
        self.operations += one.operations;
        self.unknown += one.unknown;
        self.faults += one.faults;
        self.losses += one.losses;
        self.waiting += one.waiting;
        self.recovery_ms_max = self.recovery_ms_max.max(one.recovery_ms_max);
        self.digest ^= one.digest;
    }
}

/// Runs the squeeze of one seed.
pub fn run(seed: u64) -> Result<Stats, Box<Violation>> {
    once(seed, 0).map_err(|violation| once(seed, TRACE_LINES).err().unwrap_or(violation))
}

/// Runs the squeeze of one seed twice; the two must do the same to the last byte of their traces.
pub fn run_twice(seed: u64) -> Result<Stats, Box<Violation>> {
    let (first, again) = (once(seed, TRACE_LINES)?, once(seed, TRACE_LINES)?);
    if first == again {
        return Ok(Stats { digest: 0, ..first });
    }
    let rule = format!("the same seed does something else: {first:?}, {again:?}");
    let (trace, history) = (String::new(), String::new());
    Err(Box::new(Violation { seed, rule, at: 0, trace, history }))
}

fn once(seed: u64, trace_lines: usize) -> Result<Stats, Box<Violation>> {
    let mut squeeze = Squeeze::new(seed, trace_lines);
    let result = catch_unwind(AssertUnwindSafe(|| squeeze.rounds()));
    let broken = squeeze.cluster.broken().map(ToString::to_string);
    let rule = match broken.map_or(result, |rule| Ok(Err(rule))) {
        Ok(Ok(())) => return Ok(squeeze.stats()),
        Ok(Err(rule)) => rule,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("a machine panics: {}", text.unwrap_or("without a word"))
        }
    };
    Err(Box::new(Violation {
        seed,
        rule: format!("squeeze: {rule}"),
        at: squeeze.cluster.now(),
        trace: squeeze.cluster.trace(),
        history: squeeze.history.to_json_lines(),
    }))
}

/// A client.
#[derive(Debug)]
struct Worker {
    name: String,
    /// Its name in the history.
    process: u64,
    op: Option<OpId>,
    next_at: Millis,
}

/// All that a run is about.
#[derive(Debug)]
struct Squeeze {
    cluster: Cluster,
    rng: Rng,
    history: History,
    /// The names of all servers that ever ran.
    servers: Vec<String>,
    /// Those that were asked to leave.
    leaving: BTreeSet<String>,
    workers: Vec<Worker>,
    /// Whether the leader dies now and then; its leases are longer then, since a restarted one
    /// believes that it hears of every server within one.
    leader_restarts: bool,
    /// Whether the last holder of a range may be killed.
    spares_nobody: bool,
    /// Whether servers keep their data on disks.
    disks: bool,
    /// Whether the leader keeps a record too: all that dies then may come back as it was, and nothing is
    /// ever lost.
    record: bool,
    /// How many of 100 syncs of a server's disk take long.
    slow_syncs: u64,
    lease_ms: Millis,
    /// The storm goes on until then.
    storm_until: Millis,
    /// Nothing else strikes before then.
    strike_after: Millis,
    remembered: usize,
    /// How many bytes of a slot go into one part.
    part_bytes_max: usize,
    /// How many bytes per second are given to joiners while clients work.
    transfer_bytes_per_s: u64,
    /// What ends, and when.
    undos: BTreeMap<(Millis, u64), Undo>,
    /// Clients begin nothing for now.
    resting: bool,
    /// Who was a member of this leader's view, and who is no more.
    members: BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
    notes_seen: usize,
    /// At which revision each key's slot last started empty.
    born: BTreeMap<&'static str, Revision>,
    counter: u64,
    stats: Stats,
}

impl Squeeze {
    fn new(seed: u64, trace_lines: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x5c0e_e2e5);
        let mut cluster = Cluster::new(rng.bits());
        cluster.keep_trace(trace_lines);
        let leader_restarts = seed.is_multiple_of(3);
        let spares_nobody = !leader_restarts && seed % 4 == 1;
        let disks = seed % 4 == 3;
        let record = disks && seed % 8 == 3;
        let slow_syncs = if disks { *rng.pick(&[2, 30, 60]) } else { 0 };
        cluster.judge_later(Expected { crowd: CROWD_MAX, losses: !record });
        let lease_ms = if leader_restarts { 6_000 } else { *rng.pick(&[600, 600, 1_000, 1_600]) };
        let remembered = rng.between(1, 3) as usize;
        let usual = ServerConfig::default();
        Squeeze {
            cluster,
            history: History::new(),
            servers: Vec::new(),
            leaving: BTreeSet::new(),
            workers: Vec::new(),
            leader_restarts,
            spares_nobody,
            disks,
            record,
            slow_syncs,
            lease_ms,
            storm_until: 0,
            strike_after: 0,
            remembered,
            // Not drawn, so that each seed's events are the same with parts of one name as without.
            part_bytes_max: if seed % 5 < 2 { 1 } else { usual.part_bytes_max },
            transfer_bytes_per_s: if seed % 7 < 3 { 3_000 } else { usual.transfer_bytes_per_s },
            undos: BTreeMap::new(),
            resting: false,
            members: BTreeSet::new(),
            removed: BTreeSet::new(),
            notes_seen: 0,
            born: BTreeMap::new(),
            counter: 0,
            stats: Stats::default(),
            rng,
        }
    }

    fn rounds(&mut self) -> Result<(), String> {
        self.start_leader();
        for _ in 0..self.rng.between(3, 5) {
            let seed = self.rng.bits();
            self.join(seed);
        }
        self.begin_clients();
        for round in 0..=ROUNDS {
            if !self.calm()? {
                break;
            }
            if round < ROUNDS {
                self.storm()?;
            }
        }
        match check(&self.history) {
            Verdict::Linearizable => Ok(()),
            Verdict::Violation(violation) => Err(format!("not linearizable: {violation}")),
            Verdict::Undecided { keys } => Err(format!("the checker cannot decide {keys:?}")),
        }
    }

    fn stats(&self) -> Stats {
        let operations = self.history.operations();
        let unknown = operations.iter().filter(|one| one.outcome == Outcome::Unknown).count();
        Stats {
            operations: operations.len() as u64,
            unknown: unknown as u64,
            digest: self.cluster.trace_digest(),
            ..self.stats.clone()
        }
    }

    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn start_leader(&mut self) {
        let (lease_ms, retry_ms) = (self.lease_ms, self.retry_ms());
        let config = LeaderConfig { lease_ms, retry_ms, ..LeaderConfig::default() };
        self.members.clear();
        self.removed.clear();
        if self.record {
            self.cluster.spawn_leader_with_disk(LEADER, config);
        } else {
            self.cluster.spawn_leader(LEADER, config);
        }
    }

    fn retry_ms(&self) -> Millis {
        (self.lease_ms / 8).min(150)
    }

    /// The options of a server; the seed decides where it stands on the ring.
    fn config(&self, seed: u64) -> ServerConfig {
        ServerConfig {
            heartbeat_ms: self.lease_ms / 6,
            retry_ms: self.retry_ms(),
            requests_remembered: self.remembered,
            part_bytes_max: self.part_bytes_max,
            transfer_bytes_per_s: self.transfer_bytes_per_s,
            seed,
            quiet: true,
            ..ServerConfig::default()
        }
    }

    /// Starts a server under a new name, and tells it.
    fn join(&mut self, seed: u64) -> String {
        let name = format!("s{}", self.servers.len() + 1);
        self.servers.push(name.clone());
        self.start_server(&name, seed);
        name
    }

    /// Starts a server, with its disk where it has one.
    fn start_server(&mut self, name: &str, seed: u64) {
        let config = self.config(seed);
        if self.disks {
            self.cluster.spawn_server_with_disk(name, config);
            self.cluster.slow_disk(name, self.slow_syncs);
        } else {
            self.cluster.spawn_server(name, config);
        }
    }

    /// The servers that live.
    fn living(&self) -> Vec<String> {
        self.servers.iter().filter(|name| self.cluster.is_alive(name)).cloned().collect()
    }

    fn begin_clients(&mut self) {
        for number in 0..self.rng.between(3, 6) {
            let name = format!("c{}", number + 1);
            let (id, process) = (self.number(), self.number());
            let timeout_ms = *self.rng.pick(&[700, 1_500, 5_000]);
            self.cluster.spawn_hasty_client(&name, id, timeout_ms);
            self.workers.push(Worker { name, process, op: None, next_at: 0 });
        }
    }

    /// Lets time pass until something has ended or is due, and lets the clients go on.
    fn step(&mut self, until: Millis) -> Result<(), String> {
        let now = self.cluster.now();
        let idle = self.workers.iter().filter(|worker| worker.op.is_none() && !self.resting);
        let due = idle.map(|worker| worker.next_at).min().unwrap_or(until).min(until).max(now);
        let (ended, notes) = (self.cluster.ended(), self.notes_seen);
        let heard =
            |cluster: &Cluster| cluster.ended() > ended || cluster.notes(LEADER).len() > notes;
        self.cluster.run_until(heard, due - now);
        self.look_at_leader()?;
        for number in 0..self.workers.len() {
            self.drive(number);
        }
        self.cluster.broken().map_or(Ok(()), |broken| Err(broken.to_string()))
    }

    /// Takes in what the leader has said: of slots that are lost, the keys are erased at once. Who
    /// has been removed once must never be a member of its view again.
    fn look_at_leader(&mut self) -> Result<(), String> {
        let now = self.cluster.now();
        let new = self.cluster.notes(LEADER)[self.notes_seen..].to_vec();
        self.notes_seen += new.len();
        if new.iter().any(|(_, note)| matches!(note, Note::Lost { .. })) {
            self.stats.losses += 1;
            for key in KEYS {
                let born = self.cluster.born_at(LEADER, slot_of(key.as_bytes()));
                // Nobody has served it since its holders died: it is erased at this moment.
                if self.born.insert(key, born).is_some_and(|before| born > before) {
                    let process = self.number();
                    self.history.call(now, process, key, Action::Erase);
                    self.history.end(now, process, Outcome::Done(None));
                }
            }
        }
        if !new.is_empty() && self.cluster.is_alive(LEADER) {
            let members: BTreeSet<NodeId> = self.cluster.members(LEADER).into_iter().collect();
            self.removed.extend(self.members.difference(&members).cloned());
            if let Some(id) = members.intersection(&self.removed).next() {
                return Err(format!("{id} was removed from the view, and is a member again"));
            }
            self.members = members;
        }
        Ok(())
    }

    fn drive(&mut self, number: usize) {
        let now = self.cluster.now();
        let worker = &self.workers[number];
        if let Some(op) = worker.op {
            let Some(result) = self.cluster.outcome(&worker.name, op).cloned() else { return };
            let outcome = outcome_of(result);
            let fresh = self.number();
            let think_ms = self.rng.between(0, THINK_MS_MAX);
            let worker = &mut self.workers[number];
            worker.op = None;
            worker.next_at = now + think_ms;
            self.history.end(now, worker.process, outcome);
            worker.process = fresh;
        }
        if !self.resting && self.workers[number].next_at <= now {
            let key = if self.rng.chance(60) { KEYS[0] } else { *self.rng.pick(&KEYS) };
            let writes = self.rng.chance(60);
            self.begin(number, key, writes);
        }
    }

    fn begin(&mut self, number: usize, key: &str, writes: bool) {
        let value = format!("\"v{}\"", self.number());
        let name = Text::from(key);
        let (op, action) = if writes {
            let json = Json::parse(value.as_bytes()).expect("values are JSON");
            (Op::Write { key: name, value: json }, Action::Put(value))
        } else {
            (Op::Read { key: name }, Action::Get)
        };
        let worker = &mut self.workers[number];
        self.history.call(self.cluster.now(), worker.process, key, action);
        worker.op = Some(self.cluster.begin(&worker.name, op));
    }
}

fn outcome_of(result: Result<Ended, OpError>) -> Outcome {
    match result {
        Ok(Ended::Value(value)) => Outcome::Done(Some(value.as_str().to_string())),
        Ok(Ended::Written { .. } | Ended::NotFound) => Outcome::Done(None),
        Err(OpError::Unknown(_)) => Outcome::Unknown,
        Err(_) => Outcome::NotDone,
    }
}
