//! What all tasks of a node share: the machine, and the way of its outputs into the world.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::connection::{Answer, Connections, Conversation};
use super::dial::{self, Dialer};
use super::disk::RecordEntry;
use super::hold::Hold;
use super::hosts::Hosts;
use super::limits::Limits;
use super::node::Failure;
use super::notes::NoteSink;
use super::peer::{self, Peers};
use super::writer::Job;
use crate::core::machine::{Edit, Input, Machine, Millis, Note, Output, ReplyTo, Ticket};

/// How a node's thread is ended from another thread, and how it ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Notified once: the node shall end.
    pub(super) stop: Notify,
    /// Notified once: the node shall leave the ring, and then end.
    pub(super) leave: Notify,
    /// Whether the node stands still.
    pub(super) hold: Hold,
    /// Whether the machine panicked, or its disk takes nothing. What it holds is not to be trusted then,
    /// so the node ends.
    pub(super) failed: AtomicBool,
    /// What its disk says, where that is why.
    pub(super) disk_failure: Mutex<Option<String>>,
    ended: Mutex<bool>,
    ended_now: Condvar,
}

impl Ending {
    /// Why the node has ended by itself.
    pub(super) fn failure(&self) -> Option<Failure> {
        let disk = self.disk_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let panicked = || self.failed.load(Ordering::SeqCst).then_some(Failure::Panicked);
        disk.map(Failure::Disk).or_else(panicked)
    }

    /// The node's thread is about to end.
    pub(super) fn end(&self) {
        self.hold.end();
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended_now.notify_all();
    }

    /// Waits until the node's thread ends, at most `timeout`; whether it did.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.ended_now.wait_timeout_while(ended, timeout, |ended| !*ended);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Where what is to be written goes.
#[derive(Debug)]
pub(super) enum Jobs {
    /// The node has no disk.
    None,
    /// A view leader's record.
    Record(Sender<Job<RecordEntry>>),
    /// A server's data.
    Rows(Sender<Job<Vec<Edit>>>),
}

/// The machine and its surroundings; lives on the node's thread.
///
/// No task holds a borrow across an await, and carrying out an output never calls the machine, so
/// [`Driver::give`] is never entered twice.
pub(super) struct Driver {
    machine: RefCell<Box<dyn Machine>>,
    /// An empty vector whose room is used again.
    spare: Cell<Vec<Output>>,
    started: Instant,
    /// The moment that the timer waits for.
    armed: Cell<Option<Millis>>,
    rearm: Notify,
    /// Who waits for which reply. Each is also in its conversation's queue.
    replies: RefCell<Waiting>,
    /// The request of this step, until its reply comes.
    asking: Cell<Option<ReplyTo>>,
    /// That reply.
    answered: Cell<Option<Answer>>,
    reply_next: Cell<u64>,
    notes: NoteSink,
    ending: Arc<Ending>,
    /// What is to be written, where the node has a disk.
    disk: Jobs,
    pub(super) limits: Limits,
    pub(super) connections: Connections,
    pub(super) dialer: Dialer,
    pub(super) peers: Peers,
}

impl Driver {
    pub(super) fn new(
        machine: Box<dyn Machine>,
        leader: Hosts,
        limits: Limits,
        notes: NoteSink,
        ending: Arc<Ending>,
        disk: Jobs,
    ) -> Rc<Self> {
        Rc::new(Driver {
            machine: RefCell::new(machine),
            spare: Cell::default(),
            started: Instant::now(),
            armed: Cell::new(None),
            rearm: Notify::new(),
            replies: RefCell::default(),
            asking: Cell::default(),
            answered: Cell::default(),
            reply_next: Cell::new(0),
            notes,
            ending,
            disk,
            limits,
            connections: Connections::default(),
            dialer: Dialer::new(leader),
            peers: Peers::default(),
        })
    }

    /// The time as the machine knows it: milliseconds since the node started.
    pub(super) fn now(&self) -> Millis {
        self.at(Instant::now())
    }

    /// A moment as the machine knows it.
    pub(super) fn at(&self, moment: Instant) -> Millis {
        let since = moment.duration_since(self.started);
        since.as_secs() * 1_000 + u64::from(since.subsec_millis())
    }

    /// Gives the machine an event and carries out what it asks for.
    pub(super) fn give(self: &Rc<Self>, input: Input<'_>) {
        self.step(self.now(), input);
        self.arm();
    }

    /// Gives the machine a request. Its reply mostly comes in the same step, and is returned; where it
    /// does not, it goes to the conversation later. For many requests at one moment, [`Driver::arm`] is
    /// called once after the last.
    pub(super) fn ask(
        self: &Rc<Self>,
        now: Millis,
        conversation: &Rc<Conversation>,
        to: ReplyTo,
        input: Input<'_>,
    ) -> Option<Answer> {
        self.asking.set(Some(to));
        self.step(now, input);
        if self.asking.take().is_some() {
            self.replies.borrow_mut().insert(to, conversation.clone());
        }
        self.answered.take()
    }

    /// Has the timer wait for the machine's deadline, where that is earlier than what it waits for.
    pub(super) fn arm(&self) {
        let deadline = self.machine.borrow().deadline();
        if deadline.is_some_and(|at| self.armed.get().is_none_or(|armed| at < armed)) {
            self.armed.set(deadline);
            self.rearm.notify_one();
        }
    }

    /// One step of the machine. `now` may be a moment ago, and is never before that of the last step.
    pub(super) fn step(self: &Rc<Self>, now: Millis, input: Input<'_>) {
        if self.ending.failed.load(Ordering::Relaxed) {
            return;
        }
        let _guard = StopOnPanic(&self.ending);
        let mut outputs = self.spare.take();
        self.machine.borrow_mut().handle(now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        self.spare.set(outputs);
    }

    fn carry_out(self: &Rc<Self>, output: Output) {
        match output {
            Output::Reply { to, message, then } => {
                if self.asking.get() == Some(to) {
                    self.asking.set(None);
                    self.answered.set(Some((message, then)));
                    return;
                }
                // Nobody waits where the connection has closed meanwhile.
                if let Some(conversation) = self.replies.borrow_mut().remove(&to) {
                    conversation.answer(to, (message, then));
                }
            }
            Output::Call { call, target, message, timeout_ms, keep } => {
                let timeout = Duration::from_millis(timeout_ms);
                let request = dial::Request { call, target, message, timeout, keep };
                tokio::task::spawn_local(dial::call(self.clone(), request));
            }
            Output::Send { addr, message } => peer::send(self, addr, &message),
            Output::Persist { ticket, entry, whole } => {
                let Jobs::Record(jobs) = &self.disk else { panic!("no record was opened") };
                // Where nobody takes it any more, that is told by `persisted`.
                let _ = jobs.send(Job { ticket, work: RecordEntry { entry, whole } });
            }
            Output::Store { ticket, edits } => {
                let Jobs::Rows(jobs) = &self.disk else { panic!("no data were opened") };
                let _ = jobs.send(Job { ticket, work: edits });
            }
            Output::Note(note) => {
                let left = note == Note::Left;
                self.notes.put(note);
                if left {
                    self.ending.stop.notify_one();
                }
            }
        }
    }

    /// Tells the machine what its disk has, until the disk fails. Then the node ends: it must answer
    /// nothing that is not on disk.
    pub(super) async fn persisted(
        self: Rc<Self>,
        mut synced: UnboundedReceiver<Result<Ticket, String>>,
    ) {
        let why = loop {
            match synced.recv().await {
                Some(Ok(ticket)) => self.give(Input::Persisted { ticket }),
                Some(Err(why)) => break why,
                None => break "its thread has ended".to_owned(),
            }
        };
        *self.ending.disk_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.ending.failed.store(true, Ordering::SeqCst);
        self.ending.stop.notify_one();
    }

    /// Hands over a note of the driver's own.
    pub(super) fn note(&self, note: Note) {
        self.notes.put(note);
    }

    /// A name for the next request that comes in.
    pub(super) fn reply_id(&self) -> ReplyTo {
        let id = self.reply_next.get();
        self.reply_next.set(id + 1);
        ReplyTo(id)
    }

    /// Nobody waits for this reply any more.
    pub(super) fn forget_reply(&self, to: ReplyTo) {
        self.replies.borrow_mut().remove(&to);
    }

    /// Keeps the machine's time until the node shall end.
    pub(super) async fn run(self: Rc<Self>) {
        self.give(Input::Start);
        loop {
            let deadline = self.machine.borrow().deadline();
            self.armed.set(deadline);
            let wait = async {
                match deadline {
                    // A deadline that is past is still waited for a moment, so that a machine that
                    // does not move it cannot keep the others from their turn.
                    Some(at) => {
                        let at = self.started + Duration::from_millis(at.min(FOREVER_MS));
                        sleep_until(at.max(Instant::now() + Duration::from_micros(1))).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.ending.stop.notified() => return,
                () = self.ending.hold.asked.notified() => self.ending.hold.stand(),
                () = self.ending.leave.notified() => self.give(Input::Leave),
                () = self.rearm.notified() => {}
                () = wait => self.give(Input::Tick),
            }
        }
    }
}

/// Who waits for a reply, by a number of ours. The numbers ascend and nobody else draws them, so they are
/// spread by a multiplication, which takes a tenth of the 20 ns of the standard hasher.
type Waiting = HashMap<ReplyTo, Rc<Conversation>, BuildHasherDefault<Spread>>;

/// Fibonacci hashing of one `u64`.
#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A span that no node lives to see, and that no clock overflows with.
const FOREVER_MS: Millis = 100 * 365 * 24 * 3_600_000;

/// Ends the node where the machine panics: half-changed state must not serve anybody.
struct StopOnPanic<'a>(&'a Ending);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::SeqCst);
            self.0.stop.notify_one();
        }
    }
}
