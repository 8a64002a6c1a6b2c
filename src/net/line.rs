//! A kept-open connection to one server, on which many calls are under way at once: the server
//! replies in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::dial::is_silent;
use super::exchange::{connect, ended, later};
use super::frames::Frames;
use super::limits::Limits;
use super::session::Returns;
use crate::core::machine::{CallError, CallId};
use crate::core::wire::frame;

/// How many calls of one connection wait for their replies; less than a server takes at once.
const WINDOW_CALLS_MAX: usize = 512;

/// How many bytes of such calls; a single one may be longer.
const WINDOW_BYTES_MAX: usize = 1024 * 1024;

/// How often the calls under way are looked at for those whose time is up.
const EXPIRY_POLL: Duration = Duration::from_millis(10);

/// A connection that is opened when it is needed, and again after it has failed. Dropping it ends
/// it.
#[derive(Debug)]
pub(super) struct Line {
    queue: Rc<Queue>,
    task: AbortHandle,
}

/// Calls of which nothing has been sent.
#[derive(Debug, Default)]
struct Queue {
    calls: RefCell<VecDeque<Call>>,
    bell: Notify,
}

#[derive(Debug)]
struct Call {
    id: CallId,
    message: Vec<u8>,
    deadline: Instant,
}

impl Line {
    /// A line to `host:port`; how its calls end is put into `returns`.
    pub(super) fn new(addr: String, limits: Limits, returns: Rc<Returns>) -> Self {
        let queue = Rc::new(Queue::default());
        let task = spawn_local(run(addr, limits, queue.clone(), returns)).abort_handle();
        Line { queue, task }
    }

    /// Makes a call.
    pub(super) fn call(&self, id: CallId, message: Vec<u8>, deadline: Instant) {
        self.queue.calls.borrow_mut().push_back(Call { id, message, deadline });
        self.queue.bell.notify_one();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Queue {
    fn deadline(&self) -> Option<Instant> {
        self.calls.borrow().front().map(|call| call.deadline)
    }

    /// Ends calls that were not sent.
    fn fail(&self, error: &CallError, returns: &Returns, which: impl Fn(&Call) -> bool) {
        self.calls.borrow_mut().retain(|call| {
            let fails = which(call);
            if fails {
                returns.give(call.id, Err(error.clone()));
            }
            !fails
        });
    }
}

/// Opens the connection whenever there is something to send, and talks until it ends.
async fn run(addr: String, limits: Limits, queue: Rc<Queue>, returns: Rc<Returns>) {
    loop {
        let Some(deadline) = queue.deadline() else {
            queue.bell.notified().await;
            continue;
        };
        let limit = later(Duration::from_millis(limits.connect_ms));
        match connect(&addr, deadline.min(limit)).await {
            Ok(stream) => {
                let mut talk = Talk::new(stream, limits.reply_bytes_max(), &queue, &returns);
                let error = talk.run().await;
                talk.end(&error.to_string());
            }
            Err(error) => queue.fail(&error, &returns, |_| true),
        }
    }
}

/// A connection while it is open.
struct Talk<'a> {
    stream: TcpStream,
    reply_bytes_max: usize,
    queue: &'a Queue,
    returns: &'a Returns,
    /// What is to be written; `out[..written]` has been.
    out: Vec<u8>,
    written: usize,
    flight: VecDeque<Flying>,
    flight_bytes: usize,
    frames: Frames,
    /// Whether nothing has been sent yet.
    fresh: bool,
    /// When something was received last.
    heard: Instant,
    looked: Instant,
}

/// A call that waits for its reply.
struct Flying {
    /// `None` once nobody waits for the reply any more; it still has its turn.
    id: Option<CallId>,
    bytes: usize,
    sent: Instant,
    deadline: Instant,
}

impl<'a> Talk<'a> {
    fn new(
        stream: TcpStream,
        reply_bytes_max: usize,
        queue: &'a Queue,
        returns: &'a Returns,
    ) -> Self {
        let now = Instant::now();
        Talk {
            stream,
            reply_bytes_max,
            queue,
            returns,
            out: Vec::new(),
            written: 0,
            flight: VecDeque::new(),
            flight_bytes: 0,
            frames: Frames::default(),
            fresh: true,
            heard: now,
            looked: now,
        }
    }

    /// Sends and receives until the connection fails; gives why.
    async fn run(&mut self) -> io::Error {
        loop {
            if let Err(error) = self.step() {
                return error;
            }
            let interest = if self.written < self.out.len() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            let waiting = !self.flight.is_empty() || self.queue.deadline().is_some();
            let look = self.looked + EXPIRY_POLL;
            tokio::select! {
                biased;
                ready = self.stream.ready(interest) => if let Err(error) = ready {
                    return error;
                },
                () = self.queue.bell.notified() => {}
                () = sleep_until(look), if waiting => {}
            }
        }
    }

    /// Does what can be done without waiting.
    fn step(&mut self) -> io::Result<()> {
        self.receive()?;
        self.expire()?;
        self.fill()?;
        self.write()
    }

    fn receive(&mut self) -> io::Result<()> {
        let stream = &self.stream;
        loop {
            match self.frames.read_with(|buffer| stream.try_read(buffer)) {
                Ok(0) => return Err(ended()),
                Ok(_) => self.heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
            while let Some(reply) = self
                .frames
                .next(self.reply_bytes_max, self.reply_bytes_max, <[u8]>::to_vec)
                .map_err(|error| invalid(format!("reply: {error}")))?
            {
                let Some(flying) = self.flight.pop_front() else {
                    return Err(invalid("a reply to nothing".to_owned()));
                };
                self.flight_bytes -= flying.bytes;
                if let Some(id) = flying.id {
                    self.returns.give(id, Ok(reply));
                }
            }
        }
    }

    /// Ends the calls whose time is up; fails where the connection has been silent all that time.
    fn expire(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now < self.looked + EXPIRY_POLL {
            return Ok(());
        }
        self.looked = now;
        let error = CallError::NotSent("other calls were in its way".to_owned());
        self.queue.fail(&error, self.returns, |call| call.deadline <= now);
        let mut silent = false;
        for flying in &mut self.flight {
            if flying.deadline <= now
                && let Some(id) = flying.id.take()
            {
                self.returns.give(id, Err(CallError::Lost("no reply in time".to_owned())));
                silent |= self.heard < flying.sent;
            }
        }
        if silent {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no reply in time"));
        }
        Ok(())
    }

    /// Takes what there is room for. From here on a call counts as sent.
    fn fill(&mut self) -> io::Result<()> {
        let mut calls = self.queue.calls.borrow_mut();
        let idle = self.flight.is_empty() && !self.fresh;
        if idle && !calls.is_empty() && !is_silent(&self.stream) {
            // Its end was on the way: nothing is sent, so nothing is in doubt.
            return Err(ended());
        }
        let now = Instant::now();
        while let Some(call) = calls.front() {
            let bytes = call.message.len();
            let room = self.flight.len() < WINDOW_CALLS_MAX
                && (self.flight.is_empty() || self.flight_bytes + bytes <= WINDOW_BYTES_MAX);
            if !room {
                break;
            }
            let Some(Call { id, message, deadline }) = calls.pop_front() else {
                break;
            };
            self.fresh = false;
            frame::append(&mut self.out, &message);
            self.flight.push_back(Flying { id: Some(id), bytes, sent: now, deadline });
            self.flight_bytes += bytes;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.try_write(&self.out[self.written..]) {
                Ok(0) => return Err(ended()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out.shrink_to(WINDOW_BYTES_MAX);
        self.written = 0;
        Ok(())
    }

    /// Whatever waits for a reply will not get it.
    fn end(&mut self, why: &str) {
        for id in self.flight.drain(..).filter_map(|flying| flying.id) {
            self.returns.give(id, Err(CallError::Lost(why.to_owned())));
        }
    }
}
