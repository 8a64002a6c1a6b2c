//! The blocking client: what a program calls. Plain sockets, pooled and kept open; any thread may
//! use it at any time.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::blocking::{Interrupted, Patience, connect, exchange, is_silent};
use super::hosts::{Hosts, Round, SERVER_PORTS, VIEWLEADER_PORTS};
use super::limits::Limits;
use super::node::random_u64;
use super::pool::{Kept, Pool, Reuse};
use crate::core::client::{Client, ClientConfig, Op, OpError, Outcome};
use crate::core::machine::{CallError, Input, Machine, Millis, Output, Target};
use crate::core::wire::frame::FRAME_BYTES_MAX;
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// A client's options.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `HOST:PORT`, or `HOST`, whose ports [`VIEWLEADER_PORTS`] are tried in order.
    pub viewleader: String,
    /// `HOST:PORT`, or `HOST`, whose ports [`SERVER_PORTS`] are tried in order.
    pub server: String,
    /// After how long an operation fails, and how long one party may take for a reply.
    pub timeout_ms: Millis,
    /// The longest message that is sent.
    pub message_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            viewleader: "localhost".to_owned(),
            server: "localhost".to_owned(),
            timeout_ms: 5_000,
            message_bytes_max: FRAME_BYTES_MAX,
        }
    }
}

/// Why a client's call has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The caller's own wish; of a write it is not known whether it happened.
    #[error("interrupted")]
    Interrupted,
    /// Did not happen: the client was closed before.
    #[error("the client is closed; make a new one")]
    Closed,
    /// Did not happen: the message is over the limit.
    #[error("message of {length} bytes is over the limit of {limit}; see --max-message-size")]
    TooLarge {
        /// How long it is.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// None of the ports gave a reply without `error`.
    #[error("can't connect to {0}")]
    Unreachable(String),
    /// May have happened: the request was sent, and none of the ports gave a reply in time.
    #[error("no reply from {0}; it may have happened, so look before you ask again")]
    Unanswered(String),
    /// The same of a request that only reads.
    #[error("no reply from {0}; it was to read only, so nothing was changed: ask again")]
    UnansweredRead(String),
    /// May have happened: the client was closed, or its process is about to end.
    #[error("the client was closed before the answer; what was asked for may have happened")]
    Abandoned,
    /// An operation on the ring failed.
    #[error(transparent)]
    Op(#[from] OpError),
}

impl ClientError {
    /// No reply came from `name` to a request that was sent, and that only `reads`.
    pub fn unanswered(name: String, reads: bool) -> Self {
        if reads { ClientError::UnansweredRead(name) } else { ClientError::Unanswered(name) }
    }
}

impl From<Interrupted> for ClientError {
    fn from(_: Interrupted) -> Self {
        ClientError::Interrupted
    }
}

/// Asked every 50 ms while a call blocks; true gives the call up.
pub type StopCheck<'a> = &'a dyn Fn() -> bool;

/// See the module's text.
#[derive(Debug)]
pub struct BlockingClient {
    options: ClientOptions,
    limits: Limits,
    viewleader: Hosts,
    server: Hosts,
    started: Instant,
    /// Machines at rest. Each operation has one for itself, so that threads never wait for one
    /// another; it keeps what it has learnt of the view for the next.
    machines: Mutex<Vec<Client>>,
    /// Connections at rest.
    pool: Mutex<Pool<TcpStream>>,
    closed: AtomicBool,
}

impl BlockingClient {
    /// A client that connects with its first call; `InvalidInput` for an address that cannot be
    /// understood.
    pub fn new(options: ClientOptions) -> io::Result<Self> {
        let limits = Limits { message_bytes_max: options.message_bytes_max, ..Limits::default() };
        Ok(BlockingClient {
            pool: Mutex::new(Pool::new(limits.pooled_max)),
            limits,
            viewleader: Hosts::parse(&options.viewleader, VIEWLEADER_PORTS)?,
            server: Hosts::parse(&options.server, SERVER_PORTS)?,
            started: Instant::now(),
            machines: Mutex::default(),
            closed: AtomicBool::new(false),
            options,
        })
    }

    /// Sends one request to the server and gives its reply; the ports are tried in order until one
    /// replies without `error`. Where one port was named, its reply is given whatever it says.
    pub fn call_server(&self, request: &[u8], stop: StopCheck) -> Result<Vec<u8>, ClientError> {
        self.call_range(&self.server, request, self.options.timeout_ms, stop)
    }

    /// The same, to the view leader.
    pub fn call_viewleader(&self, request: &[u8], stop: StopCheck) -> Result<Vec<u8>, ClientError> {
        self.call_range(&self.viewleader, request, self.options.timeout_ms, stop)
    }

    /// The same, to a server at `host:port`, for at most `timeout_ms` where that is shorter than the
    /// client's own.
    pub fn call_address(
        &self,
        addr: &str,
        request: &[u8],
        timeout_ms: Millis,
        stop: StopCheck,
    ) -> Result<Vec<u8>, ClientError> {
        let timeout_ms = timeout_ms.min(self.options.timeout_ms);
        self.call_range(&Hosts::one(addr.to_owned()), request, timeout_ms, stop)
    }

    /// Stores a value on the key's servers; gives their addresses, primary first.
    pub fn setr(
        &self,
        key: Text,
        value: Json,
        stop: StopCheck,
    ) -> Result<Vec<String>, ClientError> {
        match self.perform(Op::Write { key, value }, stop)? {
            Outcome::Written { servers } => Ok(servers),
            Outcome::Value(_) | Outcome::NotFound => unreachable!("a write reads nothing"),
        }
    }

    /// Reads the last acknowledged value; `None` where the key has none.
    pub fn getr(&self, key: Text, stop: StopCheck) -> Result<Option<Json>, ClientError> {
        match self.perform(Op::Read { key }, stop)? {
            Outcome::Value(value) => Ok(Some(value)),
            Outcome::NotFound => Ok(None),
            Outcome::Written { .. } => unreachable!("a read writes nothing"),
        }
    }

    /// Waits; a wait of no length still asks `stop`.
    pub fn sleep(&self, span: Duration, stop: StopCheck) -> Result<(), ClientError> {
        if stop() {
            return Err(ClientError::Interrupted);
        }
        Ok(self.patience(span.as_millis() as Millis, stop).sleep()?)
    }

    /// How long this client has been there.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Fails once the client is closed.
    pub fn check_open(&self) -> Result<(), ClientError> {
        self.check(0)
    }

    /// Closes the connections; every later call fails. What runs meanwhile runs on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        lock(&self.pool).clear();
        lock(&self.machines).clear();
    }

    fn call_range(
        &self,
        hosts: &Hosts,
        request: &[u8],
        timeout_ms: Millis,
        stop: StopCheck,
    ) -> Result<Vec<u8>, ClientError> {
        self.check(request.len())?;
        let mut round = Round::new(hosts, request);
        let reuse = Reuse::of(request);
        for addr in &hosts.addrs {
            let patience = self.patience(timeout_ms, stop);
            if let Some(reply) = round.judge(self.exchange(addr, request, reuse, patience)?) {
                return Ok(reply);
            }
        }
        Err(round.give_up())
    }

    /// Runs an operation on a machine of its own.
    fn perform(&self, op: Op, stop: StopCheck) -> Result<Outcome, ClientError> {
        self.check(0)?;
        let spare = lock(&self.machines).pop();
        let mut machine = spare.unwrap_or_else(|| {
            let timeout_ms = self.options.timeout_ms;
            let message_bytes_max = self.message_bytes_max();
            Client::new(ClientConfig { id: random_u64(), timeout_ms, message_bytes_max })
        });
        let (result, at_rest) = self.drive(&mut machine, op, stop)?;
        if at_rest && !self.closed.load(Ordering::SeqCst) {
            lock(&self.machines).push(machine);
        }
        Ok(result.map_err(|error| self.viewleader.name_in(error))?)
    }

    /// Drives the machine until the operation ends: how, and whether nothing is left to do.
    fn drive(
        &self,
        machine: &mut Client,
        op: Op,
        stop: StopCheck,
    ) -> Result<(Result<Outcome, OpError>, bool), ClientError> {
        let mut outputs = Vec::new();
        let mut queue = VecDeque::new();
        let id = machine.begin(self.now(), op, &mut outputs);
        loop {
            queue.extend(outputs.drain(..));
            if let Some((ended, result)) = machine.finished() {
                if ended == id {
                    return Ok((result, queue.is_empty()));
                }
                continue;
            }
            let input = match queue.pop_front() {
                Some(output) => match self.carry_out(output, stop)? {
                    Some(input) => input,
                    None => continue,
                },
                None => match machine.deadline() {
                    Some(at) => {
                        let span_ms = at.saturating_sub(self.now()).max(1);
                        self.patience(span_ms, stop).sleep()?;
                        Input::Tick
                    }
                    None => {
                        let why = "nothing is under way".to_owned();
                        return Ok((Err(OpError::Unknown(why)), false));
                    }
                },
            };
            machine.handle(self.now(), input, &mut outputs);
        }
    }

    /// Makes a call; a client asks for nothing else.
    fn carry_out(
        &self,
        output: Output,
        stop: StopCheck,
    ) -> Result<Option<Input<'static>>, ClientError> {
        let Output::Call { call, target, message, timeout_ms, keep } = output else {
            return Ok(None);
        };
        self.check(message.len())?;
        let patience = self.patience(timeout_ms, stop);
        let result = match target {
            Target::Addr(addr) => {
                let reuse = if keep { Reuse::Known } else { Reuse::Never };
                self.exchange(&addr, &message, reuse, patience)?
            }
            Target::Leader => self.search(&message, patience)?,
        };
        Ok(Some(Input::Returned { call, result }))
    }

    /// Asks the view leader's addresses in order until one gives a reply without `error`; a machine
    /// only asks for the view.
    fn search(
        &self,
        message: &[u8],
        patience: Patience<'_>,
    ) -> Result<Result<Vec<u8>, CallError>, Interrupted> {
        let mut search = self.viewleader.search();
        while Instant::now() < patience.deadline
            && let Some(addr) = search.next()
        {
            let result = self.exchange(addr, message, Reuse::Any, patience)?;
            if let Some(reply) = search.judge(result) {
                return Ok(Ok(reply));
            }
        }
        Ok(search.give_up())
    }

    /// One request and its reply.
    fn exchange(
        &self,
        addr: &str,
        message: &[u8],
        reuse: Reuse,
        patience: Patience<'_>,
    ) -> Result<Result<Vec<u8>, CallError>, Interrupted> {
        if let Some(kept) = self.take(addr, reuse) {
            match exchange(&kept.stream, message, self.limits.reply_bytes_max(), patience)? {
                Err(error) if reuse.again(&error) && Instant::now() < patience.deadline => {}
                result => {
                    if result.is_ok() {
                        self.put(addr, kept.further());
                    }
                    return Ok(result);
                }
            }
        }
        let limit = Duration::from_millis(self.limits.connect_ms);
        let stream = match connect(addr, patience.at_most(limit))? {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let result = exchange(&stream, message, self.limits.reply_bytes_max(), patience)?;
        if let Ok(reply) = &result
            && reuse != Reuse::Never
        {
            self.put(addr, Kept::first(stream, reuse, reply));
        }
        Ok(result)
    }

    /// Takes a pooled connection that is still open, or on which it does no harm if it is not.
    fn take(&self, addr: &str, reuse: Reuse) -> Option<Kept<TcpStream>> {
        loop {
            let kept = lock(&self.pool).take(addr, reuse)?;
            if kept.needs_no_look(reuse) || is_silent(&kept.stream) {
                return Some(kept);
            }
        }
    }

    fn put(&self, addr: &str, kept: Kept<TcpStream>) {
        let mut pool = lock(&self.pool);
        if !self.closed.load(Ordering::SeqCst) {
            pool.put(addr, kept);
        }
    }

    /// The longest message that may be sent: what was asked for, or what a header can say.
    fn message_bytes_max(&self) -> usize {
        self.options.message_bytes_max.min(i32::MAX as usize)
    }

    /// Fails where a message of this length must not be sent.
    fn check(&self, length: usize) -> Result<(), ClientError> {
        let limit = self.message_bytes_max();
        if self.closed.load(Ordering::SeqCst) {
            return Err(ClientError::Closed);
        }
        if length > limit {
            return Err(ClientError::TooLarge { length, limit });
        }
        Ok(())
    }

    fn patience<'a>(&self, span_ms: Millis, stop: StopCheck<'a>) -> Patience<'a> {
        let span = Duration::from_millis(span_ms).min(Duration::from_secs(365 * 24 * 3600));
        Patience { deadline: Instant::now() + span, stop }
    }

    fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }
}

/// What a panicking thread leaves behind is whole: nothing here is changed in steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
