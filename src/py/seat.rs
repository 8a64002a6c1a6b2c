//! A simulated cluster that threads use in turns: each call has it for itself, from its beginning
//! to its end, without the interpreter.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use pyo3::create_exception;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::prelude::*;

use super::fork::Home;
use crate::core::machine::Millis;
use crate::sim::{Cluster, Ran};

create_exception!(dht, BrokenRule, PyAssertionError, "The simulated ring broke a rule.");

/// How long a call lets signals wait, and how long it waits for its turn before it looks at them.
const SLICE: Duration = Duration::from_millis(20);

/// How many events happen between two looks at the time.
const EVENTS_AT_ONCE: usize = 200;

/// How many lines of the trace an error shows.
const TAIL_LINES: usize = 40;

/// Whose turn it is.
#[derive(Debug)]
enum Turn {
    /// Nobody's.
    Free(Box<Cluster>),
    /// A call of this thread.
    Taken(ThreadId),
    /// Nobody's any more: the simulator panicked, with this text.
    Lost(String),
}

/// The cluster and whose turn it is.
///
/// The lock is held for moments only, never while the cluster runs or the interpreter is waited
/// for.
#[derive(Debug)]
pub(super) struct Seat {
    turn: Mutex<Turn>,
    freed: Condvar,
    now_ms: AtomicU64,
    home: Home,
}

/// What a portion of a call came to.
pub(super) enum Portion<T> {
    /// The call has ended.
    Done(T),
    /// It goes on.
    More,
}

/// Why a call has no result.
enum Failure {
    Raised(PyErr),
    Panicked(String),
    Broken(String),
}

impl Seat {
    pub(super) fn new(cluster: Cluster) -> Self {
        Seat {
            turn: Mutex::new(Turn::Free(Box::new(cluster))),
            freed: Condvar::new(),
            now_ms: AtomicU64::new(0),
            home: Home::here(),
        }
    }

    /// The time in the cluster when the last call ended, whoever's turn it is.
    pub(super) fn now_ms(&self) -> Millis {
        self.now_ms.load(Ordering::Acquire)
    }

    /// Looks at the cluster, even at one that has broken a rule.
    pub(super) fn look<T: Send>(
        &self,
        py: Python<'_>,
        look: impl Fn(&Cluster) -> T + Send,
    ) -> PyResult<T> {
        self.home.check("cluster")?;
        let cluster = self.take(py)?;
        let (cluster, seen) = py.detach(move || {
            let seen = look(&cluster);
            (cluster, seen)
        });
        self.give_back(Turn::Free(cluster));
        Ok(seen)
    }

    /// Does one thing with the cluster.
    pub(super) fn act<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Cluster) -> T + Send,
    ) -> PyResult<T> {
        let mut act = Some(act);
        self.run(py, move |cluster| {
            let act = act.take().expect("a call that has ended is not continued");
            Portion::Done(act(cluster))
        })
    }

    /// Lets time pass until `done`, at most until `end`, told by the time at the beginning; whether
    /// it is done. Then `take`.
    pub(super) fn wait<S: Send, T: Send>(
        &self,
        py: Python<'_>,
        begin: impl FnOnce(&mut Cluster) -> S + Send,
        done: impl Fn(&Cluster, &S) -> bool + Send,
        take: impl FnOnce(&mut Cluster, S) -> T + Send,
        within_ms: Millis,
    ) -> PyResult<T> {
        let (mut begin, mut take) = (Some(begin), Some(take));
        let mut running: Option<(S, Millis)> = None;
        self.run(py, move |cluster| {
            if let Some(begin) = begin.take() {
                let end = cluster.now().saturating_add(within_ms);
                running = Some((begin(cluster), end));
            }
            let (state, end) = running.as_ref().expect("it has begun");
            match cluster.run_some(|cluster| done(cluster, state), *end, EVENTS_AT_ONCE) {
                Ran::More => Portion::More,
                Ran::Done | Ran::TimeUp => {
                    let take = take.take().expect("a call ends once");
                    let (state, _) = running.take().expect("it has begun");
                    Portion::Done(take(cluster, state))
                }
            }
        })
    }

    /// Runs a call in portions, and looks at signals in between.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        mut portion: impl FnMut(&mut Cluster) -> Portion<T> + Send,
    ) -> PyResult<T> {
        self.home.check("cluster")?;
        let mut cluster = self.take(py)?;
        let (cluster, result) = py.detach(move || {
            let result = drive(&mut cluster, &mut portion);
            (cluster, result)
        });
        self.now_ms.fetch_max(cluster.now(), Ordering::AcqRel);
        let lost = match &result {
            Err(Failure::Panicked(why)) => Some(why.clone()),
            _ => None,
        };
        self.give_back(lost.map_or(Turn::Free(cluster), Turn::Lost));
        result.map_err(|failure| match failure {
            Failure::Raised(error) => error,
            Failure::Panicked(why) => lost_error(&why),
            Failure::Broken(text) => BrokenRule::new_err(text),
        })
    }

    /// Waits for this thread's turn.
    fn take(&self, py: Python<'_>) -> PyResult<Box<Cluster>> {
        let me = std::thread::current().id();
        loop {
            let taken = py.detach(|| {
                let mut turn = self.lock();
                if matches!(&*turn, Turn::Taken(other) if *other != me) {
                    let wait = self.freed.wait_timeout(turn, SLICE);
                    turn = wait.unwrap_or_else(PoisonError::into_inner).0;
                }
                match &*turn {
                    Turn::Lost(why) => return Err(lost_error(why)),
                    Turn::Taken(owner) if *owner == me => return Err(entered_twice()),
                    Turn::Taken(_) => return Ok(None),
                    Turn::Free(_) => {}
                }
                match std::mem::replace(&mut *turn, Turn::Taken(me)) {
                    Turn::Free(cluster) => Ok(Some(cluster)),
                    Turn::Taken(_) | Turn::Lost(_) => unreachable!("it was free"),
                }
            })?;
            if let Some(cluster) = taken {
                return Ok(cluster);
            }
            py.check_signals()?;
        }
    }

    fn give_back(&self, turn: Turn) {
        *self.lock() = turn;
        self.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drive<T>(
    cluster: &mut Cluster,
    portion: &mut impl FnMut(&mut Cluster) -> Portion<T>,
) -> Result<T, Failure> {
    let mut looked = Instant::now();
    loop {
        // What a panic leaves half done is not used again.
        let came = catch_unwind(AssertUnwindSafe(|| portion(cluster)))
            .map_err(|panic| Failure::Panicked(panic_text(&*panic)))?;
        if let Some(broken) = cluster.broken() {
            return Err(Failure::Broken(broken_text(cluster, &broken.to_string(), broken.at)));
        }
        if let Portion::Done(value) = came {
            return Ok(value);
        }
        if looked.elapsed() >= SLICE {
            looked = Instant::now();
            // `None` where the interpreter ends meanwhile: nobody waits for this call then.
            if let Some(Err(error)) = Python::try_attach(|py| py.check_signals()) {
                return Err(Failure::Raised(error));
            }
        }
    }
}

fn broken_text(cluster: &Cluster, what: &str, at: Millis) -> String {
    let trace = cluster.trace();
    let lines: Vec<&str> = trace.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    format!("the ring broke a rule at {at} ms: {what}\nthe end of the trace:\n{tail}")
}

fn lost_error(why: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "the simulator has failed, and this cluster is of no use any more; make another: {why}"
    ))
}

fn entered_twice() -> PyErr {
    PyRuntimeError::new_err(
        "a signal handler or finalizer may not use a virtual cluster that its own thread is using",
    )
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given").to_owned()
}
