//! Clients that write and read a few keys, one operation at a time each.

use super::availability::{LATENCY_MS_MAX, Went};
use super::world::World;
use crate::core::client::{Op, OpError, OpId, Outcome as Ended};
use crate::core::machine::Millis;
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;
use crate::sim::history::{Action, Outcome};

/// How many clients there are.
const CLIENTS: usize = 8;

/// The keys; few, so that clients meet.
pub(super) const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The longest time that a client does nothing.
const THINK_MS_MAX: Millis = 1_200;

/// The same in a rush.
const RUSH_THINK_MS_MAX: Millis = 15;

/// A client.
#[derive(Debug)]
struct Worker {
    /// The name of its node.
    name: String,
    /// Its name in the history.
    process: u64,
    /// What it waits for.
    op: Option<OpId>,
    /// What that is, and since when.
    doing: (String, Millis),
    /// How many requests its node had sent to servers before.
    requests_before: u64,
    /// When it had last asked for the view before.
    view_at: Millis,
    /// When it begins something.
    next_at: Millis,
    alive: bool,
}

/// How an operation went, for runs that look at each.
#[derive(Debug)]
#[expect(dead_code, reason = "the name is told where an operation broke a rule")]
pub(super) struct EndedOp {
    pub(super) key: String,
    name: String,
    pub(super) well: bool,
    pub(super) took: Millis,
    /// How many requests it took.
    pub(super) requests: u64,
    /// When its client had last asked for the view before it.
    pub(super) view_at: Millis,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Workload {
    workers: Vec<Worker>,
    /// How many operations were begun, by clients of any kind.
    pub(super) begun: usize,
    processes: u64,
    client_ids: u64,
    values: u64,
    /// No operation is begun any more.
    pub(super) over: bool,
    /// Operations that failed and when, since that was looked at last.
    pub(super) failed: Vec<String>,
    /// A key that nearly all go for, and until when.
    rush: Option<(&'static str, Millis)>,
    /// The keys that they use.
    pub(super) keys: Vec<String>,
    /// They begin nothing for now.
    pub(super) resting: bool,
    /// The longest time that a client does nothing.
    pub(super) think_ms_max: Millis,
    /// All that ended since that was looked at last.
    pub(super) ended: Vec<EndedOp>,
}

impl Workload {
    pub(super) fn new() -> Self {
        Workload {
            workers: Vec::new(),
            begun: 0,
            processes: 0,
            client_ids: 0,
            values: 0,
            over: false,
            failed: Vec::new(),
            rush: None,
            keys: KEYS.iter().map(ToString::to_string).collect(),
            resting: false,
            think_ms_max: THINK_MS_MAX,
            ended: Vec::new(),
        }
    }

    /// When a client begins something.
    pub(super) fn next_at(&self) -> Millis {
        let idle = self
            .workers
            .iter()
            .filter(|w| w.op.is_none() && w.alive && !self.over && !self.resting);
        idle.map(|worker| worker.next_at).min().unwrap_or(Millis::MAX)
    }

    /// A name for somebody who does one operation at a time.
    pub(super) fn process(&mut self) -> u64 {
        self.processes += 1;
        self.processes
    }

    /// A value that nobody else writes.
    pub(super) fn value(&mut self) -> String {
        self.values += 1;
        format!("\"v{}\"", self.values)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.workers.iter().all(|worker| worker.op.is_none())
    }
}

impl World {
    /// Starts the clients.
    pub(super) fn begin_workload(&mut self) {
        for number in 0..CLIENTS {
            let process = self.workload.process();
            let name = format!("c{}", number + 1);
            let next_at = self.cluster.now() + self.rng.between(0, THINK_MS_MAX);
            let worker = Worker {
                name,
                process,
                op: None,
                doing: (String::new(), 0),
                requests_before: 0,
                view_at: 0,
                next_at,
                alive: false,
            };
            self.workload.workers.push(worker);
            self.start_client(number);
        }
    }

    /// Starts a client, again or for the first time.
    pub(super) fn start_client(&mut self, number: usize) {
        self.workload.client_ids += 1;
        let id = self.workload.client_ids;
        let worker = &mut self.workload.workers[number];
        worker.alive = true;
        self.cluster.spawn_client(&worker.name, id);
    }

    /// Kills a client; what it was doing nobody will know.
    pub(super) fn kill_client(&mut self) -> usize {
        let alive: Vec<usize> =
            (0..CLIENTS).filter(|number| self.workload.workers[*number].alive).collect();
        let number = *self.rng.pick(&alive);
        let process = self.workload.process();
        let worker = &mut self.workload.workers[number];
        worker.alive = false;
        self.cluster.crash(&worker.name);
        if worker.op.take().is_some() {
            self.history.end(self.cluster.now(), worker.process, Outcome::Unknown);
            worker.process = process;
        }
        number
    }

    /// For a while all clients work without a break, nearly always on this key.
    pub(super) fn rush(&mut self, key: &'static str, until: Millis) {
        let now = self.cluster.now();
        self.workload.rush = Some((key, until));
        for worker in &mut self.workload.workers {
            worker.next_at = worker.next_at.min(now + self.rng.between(0, RUSH_THINK_MS_MAX));
        }
    }

    /// Takes in what has ended, and begins what is due.
    pub(super) fn drive_workload(&mut self) {
        let now = self.cluster.now();
        for number in 0..self.workload.workers.len() {
            let worker = &self.workload.workers[number];
            if let Some(op) = worker.op {
                let Some(result) = self.cluster.outcome(&worker.name, op).cloned() else {
                    continue;
                };
                self.end(number, result);
            }
            if self.workload.over || self.workload.resting {
                continue;
            }
            let worker = &self.workload.workers[number];
            if worker.alive && worker.op.is_none() && worker.next_at <= now {
                self.begin_one(number);
            }
        }
    }

    fn end(&mut self, number: usize, result: Result<Ended, OpError>) {
        let now = self.cluster.now();
        let rushes = self.workload.rush.is_some_and(|(_, until)| now < until);
        let think_ms_max = if rushes { RUSH_THINK_MS_MAX } else { self.workload.think_ms_max };
        let think_ms = self.rng.between(0, think_ms_max);
        let fresh = self.workload.process();
        let worker = &mut self.workload.workers[number];
        worker.op = None;
        worker.next_at = now + think_ms;
        if let Err(error) = &result {
            self.workload.failed.push(format!("{} at {now}: {error}", worker.name));
        }
        let (key, called) = worker.doing.clone();
        let voted_on = self.originals.may_block(&key, called);
        let went = match &result {
            Ok(_) => Went::Well,
            Err(OpError::Busy) if voted_on => Went::Refused,
            Err(OpError::Unknown(why)) if why == "busy" && voted_on => Went::Refused,
            // Begun with a route from before a loss: who was asked first may have died after it.
            Err(OpError::Unknown(why))
                if why.contains("older than") && self.losses.any_since(worker.view_at) =>
            {
                Went::Refused
            }
            Err(_) => Went::Badly,
        };
        let name = worker.name.clone();
        let requests = self.cluster.requests_to_servers(&name) - worker.requests_before;
        let view_at = worker.view_at;
        let (well, took) = (went == Went::Well, now - called);
        let ended = EndedOp { key: key.clone(), name: name.clone(), well, took, requests, view_at };
        self.workload.ended.push(ended);
        let held = voted_on && !matches!(result, Ok(Ended::Value(_) | Ended::NotFound));
        self.judge(called, LATENCY_MS_MAX, went, held, || format!("{name}, key {key}: {result:?}"));
        let worker = &mut self.workload.workers[number];
        let outcome = match result {
            Ok(Ended::Value(value)) => Outcome::Done(Some(value.as_str().to_string())),
            Ok(Ended::Written { .. } | Ended::NotFound) => Outcome::Done(None),
            Err(OpError::Unknown(_)) => Outcome::Unknown,
            Err(_) => Outcome::NotDone,
        };
        let unknown = outcome == Outcome::Unknown;
        self.history.end(now, worker.process, outcome);
        if unknown {
            worker.process = fresh;
        }
    }

    fn begin_one(&mut self, number: usize) {
        let now = self.cluster.now();
        let rush = self.workload.rush.filter(|(_, until)| now < *until && self.rng.chance(85));
        let any = || self.rng.pick(&self.workload.keys).clone();
        let key = rush.map_or_else(any, |(key, _)| key.to_string());
        let value =
            self.rng.chance(if rush.is_some() { 65 } else { 50 }).then(|| self.workload.value());
        self.begin_op(number, &key, value);
    }

    /// Has a client that is idle write a value, or read.
    pub(super) fn begin_op(&mut self, number: usize, key: &str, value: Option<String>) {
        let now = self.cluster.now();
        self.workload.begun += 1;
        let worker = &mut self.workload.workers[number];
        let name = Text::from(key);
        let (op, action) = match value {
            Some(value) => {
                let json = Json::parse(value.as_bytes()).expect("values are JSON");
                (Op::Write { key: name, value: json }, Action::Put(value))
            }
            None => (Op::Read { key: name }, Action::Get),
        };
        self.history.call(now, worker.process, key, action);
        worker.doing = (key.to_string(), now);
        worker.view_at = self.cluster.leader_asked_at(&worker.name);
        worker.requests_before = self.cluster.requests_to_servers(&worker.name);
        worker.op = Some(self.cluster.begin(&worker.name, op));
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.workload.workers.len()
    }
}
