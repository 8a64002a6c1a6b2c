//! `Listener`: takes the notes of a node, beside others who do so too.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::exit;
use super::fork::Home;
use super::node::{SLICE, failed};
use super::notes::describe;
use crate::core::machine::Millis;
use crate::net;

/// A reader of a node's notes; it does not keep the node running.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct Listener {
    listener: net::Listener,
    home: Home,
}

impl Listener {
    pub(super) fn new(listener: net::Listener) -> Self {
        Listener { listener, home: Home::here() }
    }
}

#[pymethods]
impl Listener {
    /// Waits for notes; `None` once the node has stopped and all were taken.
    #[pyo3(signature = (timeout_ms))]
    fn take(
        &self,
        py: Python<'_>,
        timeout_ms: Millis,
    ) -> PyResult<Option<Vec<(&'static str, String)>>> {
        self.home.check("event stream")?;
        let started = Instant::now();
        let timeout = Duration::from_millis(timeout_ms);
        loop {
            let rest = timeout.saturating_sub(started.elapsed());
            let taken = exit::detach(py, || {
                let notes = self.listener.take(rest.min(SLICE));
                notes.map(|notes| notes.iter().map(describe).collect::<Vec<_>>())
            });
            match taken {
                Some(Some(notes)) if !notes.is_empty() => return Ok(Some(notes)),
                Some(Some(_)) => py.check_signals()?,
                Some(None) => {
                    return self.listener.failure().map_or(Ok(None), |why| Err(failed(&why)));
                }
                None => return Ok(None),
            }
            if rest <= SLICE {
                return Ok(Some(Vec::new()));
            }
        }
    }

    /// How many notes were dropped because too many waited.
    #[getter]
    fn missed(&self) -> u64 {
        self.listener.missed()
    }

    /// Takes no further notes in.
    #[pyo3(signature = ())]
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check("event stream")?;
        py.detach(|| self.listener.close());
        Ok(())
    }
}
