//! Standing still: a node's thread waits, and with it everything that the node does.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Whether a node stands still, as its thread and those who ask for it see it.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Notified: the node's thread shall call [`Hold::stand`].
    pub(super) asked: Notify,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it shall stand still.
    wanted: bool,
    /// Whether it does.
    stands: bool,
    /// Whether the node has ended.
    ended: bool,
}

impl Hold {
    /// Asks the node to stand still, and waits until it does or has ended, at most `timeout`;
    /// whether that is so.
    pub(super) fn ask(&self, timeout: Duration) -> bool {
        let mut state = self.state();
        state.wanted = true;
        self.asked.notify_one();
        let waits = |state: &mut State| state.wanted && !state.stands && !state.ended;
        let wait = self.changed.wait_timeout_while(state, timeout, waits);
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The node shall go on.
    pub(super) fn go_on(&self) {
        self.state().wanted = false;
        self.changed.notify_all();
    }

    /// On the node's thread: stands still for as long as that is wanted.
    pub(super) fn stand(&self) {
        let mut state = self.state();
        state.stands = true;
        self.changed.notify_all();
        let wanted = |state: &mut State| state.wanted;
        let wait = self.changed.wait_while(state, wanted);
        wait.unwrap_or_else(PoisonError::into_inner).stands = false;
    }

    /// The node has ended: nobody needs to wait for it to stand still.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
