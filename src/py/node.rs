//! `Node`: a running view leader or server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::errors::from_listen;
use super::exit;
use super::fork::Home;
use super::listener::Listener;
use super::notes::describe;
use crate::core::leader::LeaderConfig;
use crate::core::machine::Millis;
use crate::core::server::ServerConfig;
use crate::net::{
    self, Failure, Fsync, FsyncError, LeaderOptions, Limits, NodeOptions, ServerOptions,
};

/// How long a wait lets signals wait.
pub(super) const SLICE: Duration = Duration::from_millis(50);

/// A view leader or a server that runs on a thread of its own, which never touches Python.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct Node {
    /// `None` only while this is dropped.
    node: Option<net::Node>,
    home: Home,
}

#[pymethods]
impl Node {
    /// Starts a view leader.
    #[staticmethod]
    #[pyo3(signature = (*, bind = "", port = 0, advertise = None, lease_ms = 30_000,
        listen_ms = 400, give_up_after_ms = None, message_bytes_max = 16_777_216, quiet = false,
        data_dir = None, fsync = "always"))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn viewleader(
        py: Python<'_>,
        bind: &str,
        port: u16,
        advertise: Option<String>,
        lease_ms: Millis,
        listen_ms: Millis,
        give_up_after_ms: Option<Millis>,
        message_bytes_max: usize,
        quiet: bool,
        data_dir: Option<PathBuf>,
        fsync: &str,
    ) -> PyResult<Self> {
        let fsync = read_fsync(fsync)?;
        let node = listen_options(bind, port, quiet, message_bytes_max);
        let config = LeaderConfig {
            lease_ms,
            listen_ms,
            give_up_after_ms,
            advertise,
            ..LeaderConfig::default()
        };
        let options = LeaderOptions { node, config, data_dir, fsync };
        let node = py.detach(|| net::Node::spawn_leader(options));
        node.map(Node::new).map_err(|error| from_listen(&error, bind, port))
    }

    /// Starts a server.
    #[staticmethod]
    #[pyo3(signature = (*, viewleader = "localhost", bind = "", port = 0, advertise = None,
        heartbeat_ms = 10_000, transfer_bytes_per_s = 16_777_216, message_bytes_max = 16_777_216,
        quiet = false, data_dir = None, fsync = "always"))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn server(
        py: Python<'_>,
        viewleader: &str,
        bind: &str,
        port: u16,
        advertise: Option<String>,
        heartbeat_ms: Millis,
        transfer_bytes_per_s: u64,
        message_bytes_max: usize,
        quiet: bool,
        data_dir: Option<PathBuf>,
        fsync: &str,
    ) -> PyResult<Self> {
        let fsync = read_fsync(fsync)?;
        let node = listen_options(bind, port, quiet, message_bytes_max);
        let node = NodeOptions { viewleader: viewleader.to_owned(), ..node };
        let config = ServerConfig {
            advertise,
            heartbeat_ms,
            transfer_bytes_per_s,
            quiet,
            ..ServerConfig::default()
        };
        let options = ServerOptions { node, config, data_dir, fsync };
        let node = py.detach(|| net::Node::spawn_server(options));
        node.map(Node::new).map_err(|error| from_listen(&error, bind, port))
    }

    /// The port that it listens on.
    #[getter]
    fn port(&self) -> u16 {
        self.node().port()
    }

    /// `HOST:PORT` that this machine can reach it by.
    #[getter]
    fn address(&self) -> &str {
        self.node().address()
    }

    /// Waits for notes.
    #[pyo3(signature = (timeout_ms))]
    fn notes(
        &self,
        py: Python<'_>,
        timeout_ms: Millis,
    ) -> PyResult<Option<Vec<(&'static str, String)>>> {
        self.home.check("Node")?;
        let started = Instant::now();
        let timeout = Duration::from_millis(timeout_ms);
        loop {
            let rest = timeout.saturating_sub(started.elapsed());
            let taken = exit::detach(py, || {
                let notes = self.node().notes(rest.min(SLICE));
                notes.map(|notes| notes.iter().map(describe).collect::<Vec<_>>())
            });
            let Some(notes) = taken else { return Ok(None) };
            py.check_signals()?;
            match notes {
                Some(notes) if notes.is_empty() && rest > SLICE => {}
                Some(notes) => return Ok(Some(notes)),
                None => return self.node().failure().map_or(Ok(None), |why| Err(failed(&why))),
            }
        }
    }

    /// A reader of its own, which takes every note from now on.
    #[pyo3(signature = ())]
    fn listen(&self) -> PyResult<Listener> {
        self.home.check("Node")?;
        Ok(Listener::new(self.node().listen()))
    }

    /// Asks a server to leave the ring, and waits until it has; false where time runs out first.
    #[pyo3(signature = (timeout_ms))]
    fn leave(&self, py: Python<'_>, timeout_ms: Millis) -> PyResult<bool> {
        self.home.check("Node")?;
        self.node().leave();
        let started = Instant::now();
        let timeout = Duration::from_millis(timeout_ms);
        loop {
            let rest = timeout.saturating_sub(started.elapsed());
            let ended = exit::detach(py, || self.node().wait(rest.min(SLICE)));
            let Some(ended) = ended else { return Ok(false) };
            if ended {
                return self.node().failure().map_or(Ok(true), |why| Err(failed(&why)));
            }
            py.check_signals()?;
            if rest.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Has the node stand still, and waits until it does.
    #[pyo3(signature = ())]
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check("Node")?;
        while !py.detach(|| self.node().pause(SLICE)) {
            py.check_signals().inspect_err(|_| self.node().resume())?;
        }
        Ok(())
    }

    /// Lets a node go on that stands still.
    #[pyo3(signature = ())]
    fn resume(&self) -> PyResult<()> {
        self.home.check("Node")?;
        self.node().resume();
        Ok(())
    }

    /// Ends the node and waits for its thread.
    #[pyo3(signature = ())]
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check("Node")?;
        py.detach(|| self.node().stop());
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<Node at {}>", self.node().address())
    }
}

impl Node {
    fn new(node: net::Node) -> Self {
        Node { node: Some(node), home: Home::here() }
    }

    fn node(&self) -> &net::Node {
        self.node.as_ref().expect("a node is there until it is dropped")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let node = self.node.take();
        if self.home.is_here() {
            // Waits for the thread, which does not need the interpreter.
            Python::attach(|py| py.detach(|| drop(node)));
        } else {
            // A forked child has the handle but not the thread.
            std::mem::forget(node);
        }
    }
}

pub(super) fn failed(why: &Failure) -> PyErr {
    PyRuntimeError::new_err(match why {
        Failure::Panicked => {
            "the node has failed; its panic message is on standard error".to_owned()
        }
        Failure::Disk(why) => {
            format!("stopped, as the disk cannot be written: {why}; mend that and start again")
        }
    })
}

fn read_fsync(text: &str) -> PyResult<Fsync> {
    text.parse().map_err(|error: FsyncError| PyValueError::new_err(error.to_string()))
}

fn listen_options(bind: &str, port: u16, quiet: bool, message_bytes_max: usize) -> NodeOptions {
    let limits = Limits { message_bytes_max, ..Limits::default() };
    NodeOptions { bind: bind.to_owned(), port, quiet, limits, ..NodeOptions::default() }
}
