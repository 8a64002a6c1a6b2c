//! The interpreter's end: nobody may come back to it then.
//!
//! A thread that lets go of the interpreter, and wants it again while it ends, is ended by CPython in
//! the middle of whatever it does, which can take the process down. So a wait says that it waits, and
//! the end of the interpreter tells all waits to end, and waits for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyo3::marker::Ungil;
use pyo3::prelude::*;

/// Threads in [`detach`].
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether the interpreter is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Lets go of the interpreter while `wait` runs, which takes [`super::node::SLICE`] at most; `None`,
/// without running it, once the interpreter is about to end.
pub(super) fn detach<T: Ungil>(py: Python<'_>, wait: impl FnOnce() -> T + Ungil) -> Option<T> {
    if ENDING.load(Ordering::SeqCst) {
        return None;
    }
    WAITING.fetch_add(1, Ordering::SeqCst);
    let _back = Back;
    Some(py.detach(wait))
}

/// Runs when the interpreter is held again, whether or not the wait has panicked.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends all waits, and those to come; whether they all ended within `timeout_ms`.
#[pyfunction]
#[pyo3(signature = (timeout_ms))]
pub(super) fn end_waits(py: Python<'_>, timeout_ms: u64) -> bool {
    ENDING.store(true, Ordering::SeqCst);
    let started = Instant::now();
    while WAITING.load(Ordering::SeqCst) > 0 {
        if started.elapsed() >= Duration::from_millis(timeout_ms) {
            return false;
        }
        py.detach(|| sleep(Duration::from_millis(1)));
    }
    true
}
