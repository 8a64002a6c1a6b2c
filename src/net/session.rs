//! One client on an engine: its machine, which has many operations under way, and its connections.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::batches::Batches;
use super::calls::Calls;
use super::client::{ClientError, ClientOptions};
use super::exchange::later;
use super::hosts::{Hosts, Round};
use super::limits::Limits;
use super::line::Line;
use super::node::random_u64;
use super::pool::Reuse;
use super::remote::{Answer, Command, Done, Party, Ticket, Work};
use crate::core::client::{Client, ClientConfig};
use crate::core::machine::{CallError, CallId, Input, Machine, Millis, Output, Target};

/// Whom a client speaks to.
#[derive(Debug, Clone)]
pub(super) struct Parties {
    pub(super) viewleader: Arc<Hosts>,
    pub(super) server: Arc<Hosts>,
}

/// What has ended and was not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Returns {
    ends: RefCell<VecDeque<End>>,
    bell: Notify,
}

#[derive(Debug)]
enum End {
    /// A call of the machine.
    Call(CallId, Result<Vec<u8>, CallError>),
    /// The search for the view leader.
    View(Result<Vec<u8>, CallError>),
    /// A plain request.
    Plain(Ticket, Result<Vec<u8>, ClientError>),
}

impl Returns {
    /// A call of the machine has ended.
    pub(super) fn give(&self, call: CallId, result: Result<Vec<u8>, CallError>) {
        self.put(End::Call(call, result));
    }

    fn put(&self, end: End) {
        self.ends.borrow_mut().push_back(end);
        self.bell.notify_one();
    }

    fn take(&self) -> Option<End> {
        self.ends.borrow_mut().pop_front()
    }
}

/// See the module's text.
pub(super) struct Session {
    timeout_ms: Millis,
    message_bytes_max: usize,
    parties: Parties,
    limits: Limits,
    calls: Calls,
    started: Instant,
    machine: Client,
    outputs: Vec<Output>,
    batches: Batches,
    lines: BTreeMap<String, Line>,
    returns: Rc<Returns>,
    /// The calls that wait for the one question to the view leader that is under way.
    asking: Vec<CallId>,
    plain: HashMap<Ticket, (AbortHandle, Done)>,
}

impl Session {
    /// A client that knows no view yet.
    pub(super) fn new(options: ClientOptions, parties: Parties) -> Self {
        let message_bytes_max = options.message_bytes_max.min(i32::MAX as usize);
        let timeout_ms = options.timeout_ms;
        let config = ClientConfig { id: random_u64(), timeout_ms, message_bytes_max };
        let limits = Limits { message_bytes_max: options.message_bytes_max, ..Limits::default() };
        Session {
            timeout_ms,
            message_bytes_max,
            parties,
            calls: Calls::new(&limits),
            limits,
            started: Instant::now(),
            machine: Client::new(config),
            outputs: Vec::new(),
            batches: Batches::new(timeout_ms),
            lines: BTreeMap::new(),
            returns: Rc::default(),
            asking: Vec::new(),
            plain: HashMap::new(),
        }
    }

    /// Does what is asked for until the client is closed. What has not ended by then is told so.
    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let returns = self.returns.clone();
        loop {
            let deadline = self.machine.deadline();
            let at = deadline.map_or_else(Instant::now, |at| {
                self.started + Duration::from_millis(at.max(self.now() + 1))
            });
            tokio::select! {
                biased;
                () = returns.bell.notified() => {}
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
                () = sleep_until(at), if deadline.is_some() => {
                    self.machine.handle(self.now(), Input::Tick, &mut self.outputs);
                }
            }
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            self.turn();
        }
        for (task, _done) in self.plain.into_values() {
            task.abort();
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Begin(ticket, Work::Ops(ops), done) => self.batches.add(ticket, ops, done),
            Command::Begin(ticket, Work::Call(party, message), done) => {
                self.call_plain(ticket, party, message, done);
            }
            Command::Cancel(ticket) => {
                if let Some((task, _done)) = self.plain.remove(&ticket) {
                    // Its connection closes with it, so its reply reaches nobody.
                    task.abort();
                }
                for op in self.batches.cancel(ticket) {
                    self.machine.abandon(op);
                }
            }
        }
    }

    /// Goes on until there is nothing to do but wait.
    fn turn(&mut self) {
        loop {
            let at = Instant::now();
            let now = self.at(at);
            while let Some(end) = self.returns.take() {
                self.ended(now, end);
            }
            self.carry_out(at);
            // Where the view is being asked for, every further operation would ask for it too.
            while self.asking.is_empty()
                && let Some((place, op)) = self.batches.next(now)
            {
                let id = self.machine.begin(now, op, &mut self.outputs);
                self.batches.begun(id, place);
                self.carry_out(at);
            }
            let mut any = false;
            while let Some((id, result)) = self.machine.finished() {
                any = true;
                let named = result.map_err(|error| self.parties.viewleader.name_in(error));
                self.batches.finish(now, id, named);
            }
            if !any {
                return;
            }
        }
    }

    fn ended(&mut self, now: Millis, end: End) {
        match end {
            End::Call(call, result) => self.returned(now, call, result),
            End::View(result) => {
                for call in std::mem::take(&mut self.asking) {
                    self.returned(now, call, result.clone());
                }
            }
            End::Plain(ticket, result) => {
                if let Some((_, done)) = self.plain.remove(&ticket) {
                    done.tell(Answer::Call(result));
                }
            }
        }
    }

    fn returned(&mut self, now: Millis, call: CallId, result: Result<Vec<u8>, CallError>) {
        self.machine.handle(now, Input::Returned { call, result }, &mut self.outputs);
    }

    /// Makes the calls that the machine has asked for; asking for the time once for all of them
    /// saves a read of the clock for each.
    fn carry_out(&mut self, now: Instant) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            // A client asks for nothing but calls.
            if let Output::Call { call, target, message, timeout_ms, keep } = output {
                let span = Duration::from_millis(timeout_ms);
                let deadline = now.checked_add(span).unwrap_or_else(|| later(span));
                match target {
                    Target::Leader => self.ask_view(call, message, deadline),
                    Target::Addr(addr) if keep => self.line(addr).call(call, message, deadline),
                    Target::Addr(addr) => self.call_alone(call, addr, message, deadline),
                }
            }
        }
        self.outputs = outputs;
    }

    fn line(&mut self, addr: String) -> &Line {
        let (limits, returns) = (&self.limits, &self.returns);
        self.lines
            .entry(addr)
            .or_insert_with_key(|addr| Line::new(addr.clone(), limits.clone(), returns.clone()))
    }

    /// Asks for the view, once for all who want it: the machine's only question to the leader.
    fn ask_view(&mut self, call: CallId, message: Vec<u8>, deadline: Instant) {
        self.asking.push(call);
        if self.asking.len() > 1 {
            return;
        }
        let (hosts, calls) = (self.parties.viewleader.clone(), self.calls.clone());
        let returns = self.returns.clone();
        spawn_local(async move {
            let mut search = hosts.search();
            while Instant::now() < deadline
                && let Some(addr) = search.next()
            {
                let result = calls.call(addr, &message, Reuse::Any, deadline).await;
                if let Some(reply) = search.judge(result) {
                    return returns.put(End::View(Ok(reply)));
                }
            }
            returns.put(End::View(search.give_up()));
        });
    }

    /// A call to a party that does not keep connections open.
    fn call_alone(&self, call: CallId, addr: String, message: Vec<u8>, deadline: Instant) {
        let (calls, returns) = (self.calls.clone(), self.returns.clone());
        spawn_local(async move {
            returns.give(call, calls.call(&addr, &message, Reuse::Never, deadline).await);
        });
    }

    /// A request that is no operation on the ring; cancelled by ending its task.
    fn call_plain(&mut self, ticket: Ticket, party: Party, message: Vec<u8>, done: Done) {
        let (length, limit) = (message.len(), self.message_bytes_max);
        if length > limit {
            return done.tell(Answer::Call(Err(ClientError::TooLarge { length, limit })));
        }
        let hosts = match party {
            Party::Server => self.parties.server.clone(),
            Party::ViewLeader => self.parties.viewleader.clone(),
            Party::Addr(addr) => Arc::new(Hosts::one(addr)),
        };
        let (calls, returns) = (self.calls.clone(), self.returns.clone());
        let reuse = Reuse::of(&message);
        let timeout = Duration::from_millis(self.timeout_ms);
        let task = spawn_local(async move {
            let mut round = Round::new(&hosts, &message);
            for addr in &hosts.addrs {
                let result = calls.call(addr, &message, reuse, later(timeout)).await;
                if let Some(reply) = round.judge(result) {
                    return returns.put(End::Plain(ticket, Ok(reply)));
                }
            }
            returns.put(End::Plain(ticket, Err(round.give_up())));
        });
        self.plain.insert(ticket, (task.abort_handle(), done));
    }

    fn now(&self) -> Millis {
        self.at(Instant::now())
    }

    /// A moment as the machine knows it.
    fn at(&self, moment: Instant) -> Millis {
        moment.duration_since(self.started).as_millis() as Millis
    }
}
