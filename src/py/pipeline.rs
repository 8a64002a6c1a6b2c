//! `Pipeline`: calls that nobody waits for in Rust. Each has a ticket, and whoever watches a file
//! descriptor learns that some have ended.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::queue::SegQueue;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use super::engine;
use super::errors::from_client;
use super::exit;
use super::fork::Home;
use super::results::{from_ops, reads, to_ascii, writes};
use crate::core::machine::Millis;
use crate::net::{
    Answer, ClientError, ClientOptions, Done, Party, Remote, Ticket, Work, error_reply,
};

/// The engine's thread puts ends in, Python takes them out on a thread of its own choice: no thread
/// of Rust's ever touches the interpreter.
#[derive(Debug)]
struct Finished {
    ends: SegQueue<(u64, Answer)>,
    /// Whether a byte waits in the bell.
    rung: AtomicBool,
    bell: UnixStream,
}

impl Finished {
    fn put(&self, ticket: u64, answer: Answer) {
        self.ends.push((ticket, answer));
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It fails only where the other end is gone, and with it everybody who could listen.
            let _ = (&self.bell).write(&[0]);
        }
    }
}

/// Many calls at once; all its methods return at once, and any thread may use them.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct Pipeline {
    /// `None` once it is closed.
    remote: Mutex<Option<Remote>>,
    finished: Arc<Finished>,
    ear: UnixStream,
    home: Home,
}

#[pymethods]
impl Pipeline {
    #[new]
    #[pyo3(signature = (viewleader = "localhost", server = "localhost", timeout_ms = 5_000,
        message_bytes_max = 16_777_216))]
    fn new(
        py: Python<'_>,
        viewleader: &str,
        server: &str,
        timeout_ms: Millis,
        message_bytes_max: usize,
    ) -> PyResult<Self> {
        let (viewleader, server) = (viewleader.to_owned(), server.to_owned());
        let options = ClientOptions { viewleader, server, timeout_ms, message_bytes_max };
        let failed = |error: std::io::Error| PyOSError::new_err(error.to_string());
        let (ear, bell) = UnixStream::pair().map_err(failed)?;
        ear.set_nonblocking(true).map_err(failed)?;
        bell.set_nonblocking(true).map_err(failed)?;
        let finished =
            Arc::new(Finished { ends: SegQueue::new(), rung: AtomicBool::new(false), bell });
        let remote = Mutex::new(Some(engine::open(py, options)?));
        Ok(Pipeline { remote, finished, ear, home: Home::here() })
    }

    /// What to watch: it is readable when calls have ended.
    #[pyo3(signature = ())]
    fn fileno(&self) -> i32 {
        self.ear.as_raw_fd()
    }

    /// Begins to store values.
    #[pyo3(signature = (pairs))]
    fn setr_many(&self, pairs: Vec<(PyBackedStr, PyBackedStr)>) -> PyResult<u64> {
        self.begin(Work::Ops(writes(&pairs)?))
    }

    /// Begins to read names.
    #[pyo3(signature = (keys))]
    fn getr_many(&self, keys: Vec<PyBackedStr>) -> PyResult<u64> {
        self.begin(Work::Ops(reads(&keys)?))
    }

    /// Begins a request to the server.
    #[pyo3(signature = (request))]
    fn call_server(&self, request: String) -> PyResult<u64> {
        self.begin(Work::Call(Party::Server, request.into_bytes()))
    }

    /// Begins a request to the view leader.
    #[pyo3(signature = (request))]
    fn call_viewleader(&self, request: String) -> PyResult<u64> {
        self.begin(Work::Call(Party::ViewLeader, request.into_bytes()))
    }

    /// Begins a request to any server.
    #[pyo3(signature = (address, request))]
    fn call_address(&self, address: String, request: String) -> PyResult<u64> {
        self.begin(Work::Call(Party::Addr(address), request.into_bytes()))
    }

    /// Gives a call up.
    #[pyo3(signature = (ticket))]
    fn cancel(&self, ticket: u64) {
        if self.home.is_here()
            && let Some(remote) = &*self.remote()
        {
            remote.cancel(Ticket(ticket));
        }
    }

    /// Takes what has ended, oldest first.
    #[pyo3(signature = ())]
    fn finished(&self, py: Python<'_>) -> PyResult<Vec<(u64, Py<PyAny>)>> {
        self.home.check("AsyncClient")?;
        exit::detach_call(py, || ()); // an end that comes with the interpreter's is nobody's
        while (&self.ear).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        // From here on whoever puts an end in rings again, so that none is overlooked.
        self.finished.rung.store(false, Ordering::SeqCst);
        let mut ends = Vec::new();
        while let Some((ticket, answer)) = self.finished.ends.pop() {
            ends.push((ticket, from_answer(py, answer)?));
        }
        Ok(ends)
    }

    /// Closes the connections; what has not ended ends so.
    #[pyo3(signature = ())]
    fn close(&self) {
        if self.home.is_here() {
            drop(self.remote().take());
        }
    }
}

impl Pipeline {
    fn begin(&self, work: Work) -> PyResult<u64> {
        self.home.check("AsyncClient")?;
        let finished = self.finished.clone();
        let remote = self.remote();
        let Some(remote) = &*remote else {
            return Err(from_client(&ClientError::Closed));
        };
        Ok(remote
            .begin(work, move |ticket| Done::new(move |answer| finished.put(ticket.0, answer)))
            .0)
    }

    /// Held for a moment only, by threads that hold the interpreter.
    fn remote(&self) -> MutexGuard<'_, Option<Remote>> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a call's end: a list of operations' ends, a reply, or an exception.
fn from_answer(py: Python<'_>, answer: Answer) -> PyResult<Py<PyAny>> {
    let error = match answer {
        Answer::Ops(ends) => return Ok(from_ops(py, ends)?.into_pyobject(py)?.unbind()),
        Answer::Call(Ok(reply)) => match to_ascii(&reply) {
            Ok(reply) => return Ok(reply.into_pyobject(py)?.into_any().unbind()),
            Err(error) => error,
        },
        Answer::Call(Err(error @ ClientError::Unreachable(_))) => {
            let reply = to_ascii(&error_reply(&error.to_string()))?;
            return Ok(reply.into_pyobject(py)?.into_any().unbind());
        }
        Answer::Call(Err(error)) => from_client(&error),
        Answer::Abandoned => from_client(&ClientError::Abandoned),
    };
    Ok(error.into_value(py).into_any())
}
