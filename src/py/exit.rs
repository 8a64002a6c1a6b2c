//! The interpreter's end: nobody may come back to it then.
//!
//! A thread that lets go of the interpreter, and wants it again while it ends, is ended by CPython in
//! the middle of whatever it does, which can take the process down. So a wait says that it waits, and
//! the end of the interpreter tells all waits to end, and waits for them.
//!
//! Calls of clients do more: what they came to, once nodes of this process are stopped, is nothing that
//! a thread should go on with. Once the interpreter is about to end, such a thread stays where it is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ThreadId, sleep};
use std::time::{Duration, Instant};

use pyo3::marker::Ungil;
use pyo3::prelude::*;

/// Threads in [`detach`] or [`detach_call`].
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether the interpreter is about to end, and all waits with it.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The thread that ends the interpreter, once it does: the only one whose calls still come back.
static LAST: OnceLock<ThreadId> = OnceLock::new();

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

/// Lets go of the interpreter while a client's `call` runs. It does not come back to any thread but the
/// one that ends the interpreter, once that is about to end.
pub(super) fn detach_call<T: Send>(py: Python<'_>, call: impl FnOnce() -> T + Send) -> T {
    WAITING.fetch_add(1, Ordering::SeqCst);
    let _back = Back;
    py.detach(|| {
        stay_if_ending();
        let result = call();
        stay_if_ending();
        result
    })
}

/// Keeps a thread inside of [`detach_call`] where it is, once the interpreter is about to end; it must
/// not hold the interpreter.
pub(super) fn stay_if_ending() {
    if LAST.get().is_none_or(|last| *last == thread::current().id()) {
        return;
    }
    WAITING.fetch_sub(1, Ordering::SeqCst);
    loop {
        thread::park();
    }
}

/// Runs when the interpreter is held again, whether or not the wait has panicked.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Says that this thread is about to end the interpreter: calls of clients come back to no other.
#[pyfunction]
#[pyo3(signature = ())]
pub(super) fn end_calls() {
    LAST.get_or_init(|| thread::current().id());
}

/// Keeps the calling thread where it is, once another one ends the interpreter; else does nothing.
#[pyfunction]
#[pyo3(signature = ())]
pub(super) fn stay_at_end(py: Python<'_>) {
    detach_call(py, || ());
}

/// Ends all waits, and those to come; whether they all ended within `timeout_ms`.
#[pyfunction]
#[pyo3(signature = (timeout_ms))]
pub(super) fn end_waits(py: Python<'_>, timeout_ms: u64) -> bool {
    end_calls();
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
