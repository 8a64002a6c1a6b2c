//! Letting the other tasks of a node's thread go first, once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::yield_now;

/// A turn that is given to the others, and with it a look at what has come meanwhile.
#[derive(Default)]
pub(super) struct Turn(Option<Pin<Box<dyn Future<Output = ()>>>>);

impl Turn {
    /// Whether it has been given, and is not over.
    pub(super) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Gives it, where that has not been done. Ready once it is over; the next call gives another.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let turn = self.0.get_or_insert_with(|| Box::pin(yield_now()));
        ready!(turn.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(())
    }
}
