//! What a program asks of an [`super::Engine`], and how it is told: nothing here waits but
//! [`Remote::ask`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};

use tokio::sync::mpsc::UnboundedSender;

use super::blocking::SLICE;
use super::client::{ClientError, StopCheck};
use crate::core::client::{Op, OpError, Outcome};

/// Names what was asked for, within one [`Remote`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Whom a plain request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// The client's server.
    Server,
    /// The view leader.
    ViewLeader,
    /// `host:port`.
    Addr(String),
}

/// What can be asked for.
#[derive(Debug)]
pub enum Work {
    /// Operations on the ring, all at once and in no order.
    Ops(Vec<Op>),
    /// One request that is sent as it is.
    Call(Party, Vec<u8>),
}

/// How it ended.
#[derive(Debug)]
pub enum Answer {
    /// Each operation's end, in the order in which they were asked for.
    Ops(Vec<Result<Outcome, OpError>>),
    /// The reply.
    Call(Result<Vec<u8>, ClientError>),
    /// The client was closed before.
    Abandoned,
}

/// Is told the answer once, in any case. It is called on the engine's thread, so it must neither
/// wait nor touch Python.
pub struct Done(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Done {
    /// Calls `tell` with the answer.
    pub fn new(tell: impl FnOnce(Answer) + Send + 'static) -> Self {
        Done(Some(Box::new(tell)))
    }

    pub(super) fn tell(mut self, answer: Answer) {
        if let Some(tell) = self.0.take() {
            tell(answer);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Answer::Abandoned);
        }
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Done")
    }
}

/// What goes to a session.
#[derive(Debug)]
pub(super) enum Command {
    Begin(Ticket, Work, Done),
    Cancel(Ticket),
}

/// A client whose calls are carried by an engine; any thread may use it. Dropping it closes it.
#[derive(Debug)]
pub struct Remote {
    /// `None` only while this is dropped.
    commands: Option<UnboundedSender<Command>>,
    next: AtomicU64,
    process: u32,
}

impl Remote {
    pub(super) fn new(commands: UnboundedSender<Command>) -> Self {
        let process = std::process::id();
        Remote { commands: Some(commands), next: AtomicU64::new(1), process }
    }

    /// Begins something; `done` makes of its ticket whom to tell how it ends, perhaps before this
    /// returns.
    pub fn begin(&self, work: Work, done: impl FnOnce(Ticket) -> Done) -> Ticket {
        let ticket = Ticket(self.next.fetch_add(1, Ordering::Relaxed));
        self.send(Command::Begin(ticket, work, done(ticket)));
        ticket
    }

    /// Nobody wants the answer any more; `done` may still be told one. What was sent may have
    /// happened, and is not tried again.
    pub fn cancel(&self, ticket: Ticket) {
        self.send(Command::Cancel(ticket));
    }

    /// Begins something and waits for its end, or until `stop` says so.
    pub fn ask(&self, work: Work, stop: StopCheck) -> Result<Answer, ClientError> {
        let (sender, receiver) = channel();
        let tell = move |answer| {
            // Nobody listens where the wait was given up.
            let _ = sender.send(answer);
        };
        let ticket = self.begin(work, |_| Done::new(tell));
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(Answer::Abandoned) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(ClientError::Abandoned);
                }
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) if stop() => {
                    self.cancel(ticket);
                    return Err(ClientError::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // Where the session has ended, the command is dropped, and its `Done` told so.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // In a forked child the engine's thread is not there, and may have held a lock.
        if self.process != std::process::id() {
            std::mem::forget(self.commands.take());
        }
    }
}
