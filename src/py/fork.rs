//! Threads and sockets do not survive a fork; who tries to use them there is told.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The process that something belongs to.
#[derive(Debug)]
pub(super) struct Home(u32);

impl Home {
    /// This process.
    pub(super) fn here() -> Self {
        Home(std::process::id())
    }

    /// Whether this is still that process.
    pub(super) fn is_here(&self) -> bool {
        self.0 == std::process::id()
    }

    /// Fails in a forked child.
    pub(super) fn check(&self, what: &str) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(format!(
            "this {what} belongs to the parent process and does not work in a forked child; \
             use multiprocessing's \"spawn\" start method, or create it in the child"
        )))
    }
}
