//! Waking the one task of a node's thread that waits for something, from another task of it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// Whom to wake. All on one thread, and a task that is at work already is not woken: what `Notify` does
/// with locks and lists.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Whether the task waits.
    set: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Alarm {
    /// The task has nothing left to do, and is to be woken when something comes.
    pub(super) fn set(&self, context: &Context<'_>) {
        self.set.set(true);
        let mut task = self.task.borrow_mut();
        match &mut *task {
            // The same task has the same waker each time.
            Some(known) => known.clone_from(context.waker()),
            None => *task = Some(context.waker().clone()),
        }
    }

    /// The task is at work, and will see what comes.
    pub(super) fn off(&self) {
        self.set.set(false);
    }

    /// Something has come.
    pub(super) fn ring(&self) {
        if self.set.replace(false)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }
}
