//! `Client`: the blocking client.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use super::engine;
use super::errors::from_client;
use super::exit;
use super::fork::Home;
use super::results::{from_ops, parse, parse_key, reads, to_ascii, writes};
use crate::core::client::Op;
use crate::core::machine::Millis;
use crate::net::{
    Answer, BlockingClient, ClientError, ClientOptions, Remote, StopCheck, Work, error_reply,
};

/// A client that any thread may use; all its methods block with the interpreter released.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct Client {
    client: BlockingClient,
    options: ClientOptions,
    /// What carries the calls that name many names; begun by the first of them. Locked for a moment
    /// only, by threads that hold the interpreter.
    remote: Mutex<Option<Arc<Remote>>>,
    home: Home,
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (viewleader = "localhost", server = "localhost", timeout_ms = 5_000,
        message_bytes_max = 16_777_216))]
    fn new(
        viewleader: &str,
        server: &str,
        timeout_ms: Millis,
        message_bytes_max: usize,
    ) -> PyResult<Self> {
        let (viewleader, server) = (viewleader.to_owned(), server.to_owned());
        let options = ClientOptions { viewleader, server, timeout_ms, message_bytes_max };
        let client = BlockingClient::new(options.clone())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Client { client, options, remote: Mutex::default(), home: Home::here() })
    }

    /// Sends one request to the server.
    #[pyo3(signature = (request))]
    fn call_server(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        self.call(py, |stop| self.client.call_server(request.as_bytes(), stop))
    }

    /// Sends one request to the view leader.
    #[pyo3(signature = (request))]
    fn call_viewleader(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        self.call(py, |stop| self.client.call_viewleader(request.as_bytes(), stop))
    }

    /// Sends one request to any server.
    #[pyo3(signature = (address, request, timeout_ms = None))]
    fn call_address(
        &self,
        py: Python<'_>,
        address: &str,
        request: &str,
        timeout_ms: Option<Millis>,
    ) -> PyResult<String> {
        let timeout_ms = timeout_ms.unwrap_or(Millis::MAX);
        self.call(py, |stop| {
            self.client.call_address(address, request.as_bytes(), timeout_ms, stop)
        })
    }

    /// Stores a value on the key's servers.
    #[pyo3(signature = (key, value))]
    fn setr(&self, py: Python<'_>, key: &str, value: &str) -> PyResult<Vec<String>> {
        let (key, value) = (parse_key(key)?, parse(value)?);
        self.run(py, |stop| self.client.setr(key, value, stop))
    }

    /// Reads the last acknowledged value.
    #[pyo3(signature = (key))]
    fn getr(&self, py: Python<'_>, key: &str) -> PyResult<Option<String>> {
        let key = parse_key(key)?;
        let value = self.run(py, |stop| self.client.getr(key, stop))?;
        Ok(value.map(|value| value.as_str().to_owned()))
    }

    /// Stores many values at once.
    #[pyo3(signature = (pairs))]
    fn setr_many(
        &self,
        py: Python<'_>,
        pairs: Vec<(PyBackedStr, PyBackedStr)>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.many(py, || writes(&pairs))
    }

    /// Reads many names at once.
    #[pyo3(signature = (keys))]
    fn getr_many(&self, py: Python<'_>, keys: Vec<PyBackedStr>) -> PyResult<Vec<Py<PyAny>>> {
        self.many(py, || reads(&keys))
    }

    /// Waits; a signal ends it.
    #[pyo3(signature = (seconds))]
    fn sleep(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let span = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err("a wait is a number of seconds, 0 or more"))?;
        self.run(py, |stop| self.client.sleep(span, stop))
    }

    /// Whether threads may call at once without changing what happens.
    #[getter]
    fn real(&self) -> bool {
        true
    }

    /// Seconds since the client was made.
    #[pyo3(signature = ())]
    fn monotonic(&self) -> f64 {
        self.client.age().as_secs_f64()
    }

    /// Closes the connections.
    #[pyo3(signature = ())]
    fn close(&self, py: Python<'_>) {
        if self.home.is_here() {
            drop(self.remote.lock().unwrap_or_else(PoisonError::into_inner).take());
            exit::detach_call(py, || self.client.close());
        }
    }
}

impl Client {
    /// Makes a call of which the original's callers expect a reply in any case: where nobody is
    /// reached, it says so.
    fn call(
        &self,
        py: Python<'_>,
        call: impl FnOnce(StopCheck) -> Result<Vec<u8>, ClientError> + Send,
    ) -> PyResult<String> {
        let reply = self.run(py, |stop| match call(stop) {
            Err(error @ ClientError::Unreachable(_)) => Ok(error_reply(&error.to_string())),
            result => result,
        })?;
        to_ascii(&reply)
    }

    /// Does many operations at once.
    fn many(
        &self,
        py: Python<'_>,
        ops: impl FnOnce() -> PyResult<Vec<Op>> + Send,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.home.check("Client")?;
        let ops = py.detach(ops)?;
        self.client.check_open().map_err(|error| from_client(&error))?;
        let remote = self.remote(py)?;
        match self.run(py, |stop| remote.ask(Work::Ops(ops), stop))? {
            Answer::Ops(ends) => from_ops(py, ends),
            Answer::Call(_) | Answer::Abandoned => unreachable!("operations end as operations"),
        }
    }

    fn remote(&self, py: Python<'_>) -> PyResult<Arc<Remote>> {
        let mut remote = self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remote) = &*remote {
            return Ok(remote.clone());
        }
        let opened = Arc::new(engine::open(py, self.options.clone())?);
        *remote = Some(opened.clone());
        Ok(opened)
    }

    /// Runs `call` without the interpreter, which it asks for signals while it blocks. What a
    /// signal handler raises, such as KeyboardInterrupt, is what the caller gets.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(StopCheck) -> Result<T, ClientError> + Send,
    ) -> PyResult<T> {
        self.home.check("Client")?;
        exit::detach_call(py, || {
            let raised = RefCell::new(None);
            let stop = || {
                exit::stay_if_ending();
                match Python::attach(|py| py.check_signals()) {
                    Ok(()) => false,
                    Err(error) => {
                        raised.replace(Some(error));
                        true
                    }
                }
            };
            let result = call(&stop);
            result.map_err(|error| raised.take().unwrap_or_else(|| from_client(&error)))
        })
    }
}
