//! `Client`: the blocking client.

use std::cell::RefCell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors::from_client;
use super::fork::Home;
use crate::core::machine::Millis;
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;
use crate::net::{BlockingClient, ClientError, ClientOptions, StopCheck, error_reply};

/// A client that any thread may use; all its methods block with the interpreter released.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct Client {
    client: BlockingClient,
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
        let client = BlockingClient::new(options)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Client { client, home: Home::here() })
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

    /// Closes the connections.
    #[pyo3(signature = ())]
    fn close(&self, py: Python<'_>) {
        if self.home.is_here() {
            py.detach(|| self.client.close());
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

    /// Runs `call` without the interpreter, which it asks for signals while it blocks. What a
    /// signal handler raises, such as KeyboardInterrupt, is what the caller gets.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(StopCheck) -> Result<T, ClientError> + Send,
    ) -> PyResult<T> {
        self.home.check("Client")?;
        py.detach(|| {
            let raised = RefCell::new(None);
            let stop = || match Python::attach(|py| py.check_signals()) {
                Ok(()) => false,
                Err(error) => {
                    raised.replace(Some(error));
                    true
                }
            };
            let result = call(&stop);
            result.map_err(|error| raised.take().unwrap_or_else(|| from_client(&error)))
        })
    }
}

pub(super) fn parse(text: &str) -> PyResult<Json> {
    Json::parse(text.as_bytes())
        .map_err(|error| PyValueError::new_err(format!("not a JSON text: {error}")))
}

pub(super) fn parse_key(text: &str) -> PyResult<Text> {
    parse(text)?.to_text().ok_or_else(|| PyValueError::new_err("the key is not a JSON string"))
}

/// A reply with what is not ASCII escaped.
pub(super) fn to_ascii(reply: &[u8]) -> PyResult<String> {
    Ok(parse(&String::from_utf8_lossy(reply))?.as_str().to_owned())
}
