//! Clients that write and read a few keys, one operation at a time each.

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
    /// When it begins something.
    next_at: Millis,
    alive: bool,
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
    /// A key that nearly all go for, and until when.
    rush: Option<(&'static str, Millis)>,
    /// Operations that failed and when, since that was looked at last.
    pub(super) failed: Vec<String>,
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
            rush: None,
            failed: Vec::new(),
        }
    }

    /// When a client begins something.
    pub(super) fn next_at(&self) -> Millis {
        let idle = self.workers.iter().filter(|w| w.op.is_none() && w.alive && !self.over);
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
            let worker = Worker { name, process, op: None, next_at, alive: false };
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
            let worker = &self.workload.workers[number];
            if worker.alive && worker.op.is_none() && worker.next_at <= now && !self.workload.over {
                self.begin_one(number);
            }
        }
    }

    fn end(&mut self, number: usize, result: Result<Ended, OpError>) {
        let now = self.cluster.now();
        let rushes = self.workload.rush.is_some_and(|(_, until)| now < until);
        let think_ms = self.rng.between(0, if rushes { RUSH_THINK_MS_MAX } else { THINK_MS_MAX });
        let fresh = self.workload.process();
        let worker = &mut self.workload.workers[number];
        worker.op = None;
        worker.next_at = now + think_ms;
        if let Err(error) = &result {
            self.workload.failed.push(format!("{} at {now}: {error}", worker.name));
        }
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

    /// For a while all clients work without a break, nearly always on this key.
    pub(super) fn rush(&mut self, key: &'static str, until: Millis) {
        let now = self.cluster.now();
        self.workload.rush = Some((key, until));
        for worker in &mut self.workload.workers {
            worker.next_at = worker.next_at.min(now + self.rng.between(0, RUSH_THINK_MS_MAX));
        }
    }

    fn begin_one(&mut self, number: usize) {
        let now = self.cluster.now();
        let rush = self.workload.rush.filter(|(_, until)| now < *until && self.rng.chance(85));
        let key = rush.map_or_else(|| *self.rng.pick(&KEYS), |(key, _)| key);
        let value =
            self.rng.chance(if rush.is_some() { 65 } else { 50 }).then(|| self.workload.value());
        self.begin_op(number, key, value);
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
        worker.op = Some(self.cluster.begin(&worker.name, op));
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.workload.workers.len()
    }
}
