//! The one thread of this process that carries the calls of all its clients.

use std::io;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::net::{ClientOptions, Engine, Remote};

/// The thread, and the process that it runs in. It is locked by threads that hold the interpreter,
/// as whoever forks does too: no child is born with the lock taken.
static ENGINE: Mutex<Option<(u32, Engine)>> = Mutex::new(None);

/// A client on the thread, which is started by the first; again in a forked child, where the
/// parent's is not.
pub(super) fn open(_py: Python<'_>, options: ClientOptions) -> PyResult<Remote> {
    open_here(options).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
        _ => PyOSError::new_err(format!("can't start the thread of the client: {error}")),
    })
}

fn open_here(options: ClientOptions) -> io::Result<Remote> {
    let process = std::process::id();
    let mut engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, engine)) = &*engine
        && *owner == process
    {
        return engine.open(options);
    }
    let started = Engine::start()?;
    let remote = started.open(options);
    // The parent's may be in any state: it is left as it is.
    std::mem::forget(engine.replace((process, started)));
    remote
}
