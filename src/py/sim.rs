//! `SimCluster`: a whole ring in virtual time.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors::from_client;
use super::results::{parse, parse_key, to_ascii};
use super::seat::Seat;
use crate::core::client::{ClientConfig, Op, OpId, Outcome};
use crate::core::leader::LeaderConfig;
use crate::core::machine::{CallError, Millis};
use crate::core::server::ServerConfig;
use crate::core::wire::frame::FRAME_BYTES_MAX;
use crate::core::wire::request::only_reads;
use crate::net::{ClientError, error_reply};
use crate::sim::{Cluster, Expected, Rng};

/// The name of the view leader's node.
const LEADER: &str = "viewleader";

/// How long an operation is waited for, in virtual time; its own limit ends it long before.
const OPERATION_WAIT_MS: Millis = 31_536_000_000;

/// A ring of simulated nodes; every method that lets time pass runs with the interpreter released.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct SimCluster {
    seat: Seat,
    seed: u64,
    lease_ms: Millis,
    heartbeat_ms: Millis,
}

#[pymethods]
impl SimCluster {
    #[new]
    #[pyo3(signature = (seed, *, lease_ms = 30_000, heartbeat_ms = 10_000, trace_lines = 2_000,
        check_rules = false))]
    fn new(
        seed: u64,
        lease_ms: Millis,
        heartbeat_ms: Millis,
        trace_lines: usize,
        check_rules: bool,
    ) -> PyResult<Self> {
        if lease_ms == 0 || heartbeat_ms == 0 {
            return Err(PyValueError::new_err("lease_ms and heartbeat_ms are 1 or more"));
        }
        let mut cluster = Cluster::new(seed);
        cluster.keep_trace(trace_lines);
        cluster.judge_later(Expected { crowd: usize::MAX, losses: true });
        if !check_rules {
            cluster.judge_nothing();
        }
        Ok(SimCluster { seat: Seat::new(cluster), seed, lease_ms, heartbeat_ms })
    }

    /// Starts the view leader.
    #[pyo3(signature = (listen_ms = 400))]
    fn start_leader(&self, py: Python<'_>, listen_ms: Millis) -> PyResult<String> {
        let config = LeaderConfig { lease_ms: self.lease_ms, listen_ms, ..LeaderConfig::default() };
        self.seat.act(py, move |cluster| {
            cluster.spawn_leader(LEADER, config);
            cluster.leader_addr().to_owned()
        })
    }

    /// Starts a server; `number` tells its life from all others.
    #[pyo3(signature = (name, number))]
    fn start_server(&self, py: Python<'_>, name: &str, number: u64) -> PyResult<String> {
        let (seed, heartbeat_ms) = (self.draw(number), self.heartbeat_ms);
        self.seat.act(py, move |cluster| {
            let config =
                ServerConfig { seed, heartbeat_ms, quiet: true, ..ServerConfig::default() };
            cluster.spawn_server(name, config)
        })
    }

    /// Starts a client; `number` tells it from all others.
    #[pyo3(signature = (name, number, timeout_ms))]
    fn start_client(
        &self,
        py: Python<'_>,
        name: &str,
        number: u64,
        timeout_ms: Millis,
    ) -> PyResult<()> {
        let config = ClientConfig { id: self.draw(number), timeout_ms, ..ClientConfig::default() };
        self.seat.act(py, move |cluster| cluster.spawn_client_with(name, config))
    }

    /// Kills a node's process without a word.
    #[pyo3(signature = (name))]
    fn kill(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.seat.act(py, |cluster| cluster.crash(name))
    }

    /// Has a node's process stand still.
    #[pyo3(signature = (name))]
    fn pause(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.seat.act(py, |cluster| cluster.pause(name))
    }

    /// Lets a node's process go on.
    #[pyo3(signature = (name))]
    fn resume(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.seat.act(py, |cluster| cluster.resume(name))
    }

    /// Has a server leave the ring; whether it has ended in time.
    #[pyo3(signature = (name, timeout_ms))]
    fn leave(&self, py: Python<'_>, name: &str, timeout_ms: Millis) -> PyResult<bool> {
        self.seat.wait(
            py,
            |cluster| cluster.leave(name),
            |cluster, ()| !cluster.is_alive(name),
            |cluster, ()| !cluster.is_alive(name),
            timeout_ms,
        )
    }

    /// Whether a node's process runs, or stands still.
    #[pyo3(signature = (name))]
    fn is_alive(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        self.seat.look(py, |cluster| cluster.is_alive(name))
    }

    /// Nothing passes any more from one node's host to another's.
    #[pyo3(signature = (from_name, to_name))]
    fn cut(&self, py: Python<'_>, from_name: &str, to_name: &str) -> PyResult<()> {
        self.seat.act(py, |cluster| {
            let (from_ip, to_ip) =
                (cluster.ip(from_name).to_owned(), cluster.ip(to_name).to_owned());
            cluster.remark(|| format!("nothing passes from {from_name} to {to_name}"));
            cluster.faults.cut_one_way(&from_ip, &to_ip);
        })
    }

    /// Everything passes again.
    #[pyo3(signature = ())]
    fn heal(&self, py: Python<'_>) -> PyResult<()> {
        self.seat.act(py, |cluster| {
            cluster.remark(|| "everything passes again".to_owned());
            cluster.faults.mend_all();
        })
    }

    /// Lets time pass.
    #[pyo3(signature = (span_ms))]
    fn advance(&self, py: Python<'_>, span_ms: Millis) -> PyResult<()> {
        self.seat.wait(py, |_| (), |_, ()| false, |_, ()| (), span_ms)
    }

    /// The time.
    #[getter]
    fn now_ms(&self) -> Millis {
        self.seat.now_ms()
    }

    /// Sends a request from a client's host to an address, and waits for the reply.
    #[pyo3(signature = (name, address, request, timeout_ms))]
    fn ask(
        &self,
        py: Python<'_>,
        name: &str,
        address: &str,
        request: &str,
        timeout_ms: Millis,
    ) -> PyResult<String> {
        let (length, limit) = (request.len(), FRAME_BYTES_MAX);
        if length > limit {
            return Err(from_client(&ClientError::TooLarge { length, limit }));
        }
        let reply = self.seat.wait(
            py,
            |cluster| {
                let ip = cluster.ip(name).to_owned();
                cluster.ask_within(&ip, address, request, timeout_ms)
            },
            |cluster, ticket| cluster.is_answered(*ticket),
            |cluster, ticket| cluster.answer(ticket),
            timeout_ms,
        )?;
        match reply {
            Some(Ok(reply)) => to_ascii(reply.as_bytes()),
            Some(Err(CallError::Lost(_))) | None => {
                let reads = only_reads(request.as_bytes());
                Err(from_client(&ClientError::unanswered(address.to_owned(), reads)))
            }
            Some(Err(CallError::Refused | CallError::NotSent(_))) => {
                let error = ClientError::Unreachable(address.to_owned()).to_string();
                to_ascii(&error_reply(&error))
            }
        }
    }

    /// Stores values, all at once.
    #[pyo3(signature = (name, pairs))]
    fn setr_many(
        &self,
        py: Python<'_>,
        name: &str,
        pairs: Vec<(String, String)>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let op = |(key, value): (String, String)| {
            Ok(Op::Write { key: parse_key(&key)?, value: parse(&value)? })
        };
        let ops = pairs.into_iter().map(op).collect::<PyResult<Vec<Op>>>()?;
        self.operate(py, name, ops)
    }

    /// Reads names, all at once.
    #[pyo3(signature = (name, keys))]
    fn getr_many(&self, py: Python<'_>, name: &str, keys: Vec<String>) -> PyResult<Vec<Py<PyAny>>> {
        let op = |key: String| Ok(Op::Read { key: parse_key(&key)? });
        let ops = keys.into_iter().map(op).collect::<PyResult<Vec<Op>>>()?;
        self.operate(py, name, ops)
    }

    /// The addresses of the servers that have a copy of a name.
    #[pyo3(signature = (key))]
    fn holders(&self, py: Python<'_>, key: &str) -> PyResult<Vec<String>> {
        let key = parse_key(key)?;
        self.seat.look(py, |cluster| cluster.holders(&key))
    }

    /// What the view leader would tell an original client of the view; `None` where none runs.
    #[pyo3(signature = ())]
    fn view(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let view = self.seat.look(py, |cluster| cluster.view_of(LEADER))?;
        view.map(|view| to_ascii(&view)).transpose()
    }

    /// The last lines of what happened.
    #[pyo3(signature = ())]
    fn trace(&self, py: Python<'_>) -> PyResult<String> {
        self.seat.look(py, |cluster| cluster.trace())
    }

    fn __repr__(&self) -> String {
        format!("<SimCluster of seed {}, at {} ms>", self.seed, self.now_ms())
    }
}

impl SimCluster {
    /// A number that the seed and `number` decide; never 0, which stands for none.
    fn draw(&self, number: u64) -> u64 {
        // Not what the network draws, which begins with the seed itself.
        let start = Rng::new(!self.seed).bits();
        Rng::new(start.wrapping_add(number)).bits().max(1)
    }

    /// Has a client do operations, all at once; what became of each, errors as exceptions.
    fn operate(&self, py: Python<'_>, name: &str, ops: Vec<Op>) -> PyResult<Vec<Py<PyAny>>> {
        // How many of the first have ended: those are not looked at again.
        let ended = |cluster: &Cluster, (ids, past): &(Vec<OpId>, Cell<usize>)| {
            let rest = &ids[past.get()..];
            let more = rest.iter().take_while(|id| cluster.outcome(name, **id).is_some()).count();
            past.set(past.get() + more);
            more == rest.len()
        };
        let outcomes = self.seat.wait(
            py,
            |cluster| {
                let ids = ops.into_iter().map(|op| cluster.begin(name, op)).collect::<Vec<OpId>>();
                (ids, Cell::new(0))
            },
            ended,
            |cluster, (ids, _)| {
                let take = |id| cluster.take_outcome(name, id);
                ids.into_iter().map(take).collect::<Vec<_>>()
            },
            OPERATION_WAIT_MS,
        )?;
        let shown = |outcome| match outcome {
            Some(Ok(Outcome::Written { servers })) => Ok(servers.into_pyobject(py)?.unbind()),
            Some(Ok(Outcome::Value(value))) => {
                Ok(value.as_str().into_pyobject(py)?.into_any().unbind())
            }
            Some(Ok(Outcome::NotFound)) => Ok(py.None()),
            Some(Err(error)) => Ok(from_client(&ClientError::Op(error)).into_value(py).into_any()),
            None => Ok(from_client(&ClientError::Interrupted).into_value(py).into_any()),
        };
        outcomes.into_iter().map(shown).collect()
    }
}
