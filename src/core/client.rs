//! The client: routes a write or a read to the primary, and retries what is safe to retry.
//!
//! With a view leader that does not speak our extension, or a slot of which no server does, it
//! holds the original's dialogue instead (`dialogue.rs`).

mod answers;
mod dialogue;
mod routes;
mod types;
mod versions;

use std::collections::{BTreeMap, VecDeque};

use self::dialogue::Dialogue;
use self::routes::{Route, Routes};
use self::types::Trouble;
pub use self::types::{ClientConfig, Op, OpError, OpId, Outcome};
use self::versions::Versions;
use super::assignment::Revision;
use super::hash::{Slot, slot_of};
use super::machine::{CallError, CallId, Input, Machine, Millis, Output, Target};
use super::planted::{Planted, planted};
use super::reply::Reply;
use super::wire::frame::FrameError;
use super::wire::peer::RequestId;
use super::wire::request::EXTENSION_VERSION;

/// How long to wait before something that was refused is tried again; doubled each time.
const BACKOFF_FIRST_MS: Millis = 5;

/// The longest such wait.
const BACKOFF_MAX_MS: Millis = 200;

/// How long one server is waited for before the view is asked again: it may have been replaced. The
/// request's id makes it safe to ask another one the same.
const ATTEMPT_MS: Millis = 1_000;

/// By how much a retry may be longer than the first try. What would leave no room for one is not
/// begun: it could end in doubt although nothing but its length is wrong.
const RETRY_BYTES_MAX: usize = 100;

/// The client's machine; see the module's text.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    routes: Routes,
    versions: Versions,
    /// Each in a box: thousands may be under way, and a map moves what it holds when one ends.
    ops: BTreeMap<OpId, Box<Running>>,
    calls: BTreeMap<CallId, OpId>,
    counter: u64,
    /// Whether any operation may wait for its next try. While none does, which is most of the time,
    /// nobody has to look at all of them for it.
    pauses: bool,
    finished: VecDeque<(OpId, Result<Outcome, OpError>)>,
}

/// An operation that has not ended.
#[derive(Debug)]
struct Running {
    op: Op,
    slot: Slot,
    /// The request's name, the same in every retry.
    request: RequestId,
    /// Whether the votes of an original client back the write.
    voted: bool,
    /// When it fails.
    until: Millis,
    /// Revision and sequence of a version lower than any that the write can have got.
    since: (Revision, u64),
    /// Whether a write was sent whose fate is not known.
    maybe: bool,
    backoff_ms: Millis,
    /// What went wrong last; told where nothing else is known.
    trouble: Trouble,
    step: Step,
}

/// What an operation waits for.
#[derive(Debug)]
enum Step {
    /// The view.
    View,
    /// The primary's answer.
    Primary { addr: String },
    /// Its next try.
    Pause { until: Millis },
    /// An original server's answer.
    Dialogue(Dialogue),
}

impl Client {
    /// A client that knows no view yet.
    pub fn new(config: ClientConfig) -> Self {
        Client {
            config,
            routes: Routes::default(),
            versions: Versions::default(),
            ops: BTreeMap::new(),
            calls: BTreeMap::new(),
            counter: 0,
            pauses: false,
            finished: VecDeque::new(),
        }
    }

    /// Begins an operation; its outcome comes from [`Client::finished`].
    pub fn begin(&mut self, now: Millis, op: Op, out: &mut Vec<Output>) -> OpId {
        self.begin_voted(now, op, false, None, out)
    }

    /// Begins an operation of an original client, whose votes back it where `voted`. Where it was
    /// `begun` before by somebody, under that name and at that revision, it is not executed twice.
    pub fn begin_voted(
        &mut self,
        now: Millis,
        op: Op,
        voted: bool,
        begun: Option<(RequestId, Revision)>,
        out: &mut Vec<Output>,
    ) -> OpId {
        self.counter += 1;
        let id = OpId(self.counter);
        let own = RequestId { client: self.config.id, number: self.counter };
        let running = Running {
            slot: slot_of(op.key().as_bytes()),
            op,
            request: begun.map_or(own, |(request, _)| request),
            voted,
            until: now + self.config.timeout_ms,
            since: begun.map_or((0, 0), |(_, revision)| (revision, 0)),
            maybe: begun.is_some(),
            backoff_ms: BACKOFF_FIRST_MS,
            trouble: Trouble::NoTime,
            step: Step::View,
        };
        self.ops.insert(id, Box::new(running));
        self.go(now, id, out);
        id
    }

    /// Takes an operation that has ended, oldest first.
    pub fn finished(&mut self) -> Option<(OpId, Result<Outcome, OpError>)> {
        self.finished.pop_front()
    }

    /// Forgets an operation: nobody wants to know how it ends. What was sent may have happened.
    pub fn abandon(&mut self, id: OpId) {
        self.ops.remove(&id);
    }

    /// Takes the next step: to the primary where the route is known, else to the leader.
    fn go(&mut self, now: Millis, id: OpId, out: &mut Vec<Output>) {
        let Some(running) = self.ops.get_mut(&id) else {
            return;
        };
        if now >= running.until {
            return self.give_up(id);
        }
        match self.routes.find(running.slot) {
            None => self.ask_view(now, id, out),
            Some(Route::NoServers) => {
                running.trouble = Trouble::NoServers;
                // Where there were servers before, the leader was started again, or they were.
                if self.routes.had_servers() {
                    self.pause_on(now, id);
                } else {
                    self.routes.forget();
                    self.give_up(id);
                }
            }
            Some(Route::Originals { servers, epoch }) => {
                running.step = Step::Dialogue(Dialogue::new(servers, epoch));
                self.converse(now, id, None, out);
            }
            Some(Route::Waiting { holders }) => {
                let holders = holders.join(" or ");
                let holders = if holders.is_empty() { "its servers".to_string() } else { holders };
                self.pause(now, id, format!("the key waits for {holders} to come back"));
            }
            Some(Route::Primary { addr, revision }) => {
                running.step = Step::Primary { addr: addr.clone() };
                if planted(Planted::RetriedUnderNewName) && running.maybe {
                    self.counter += 1;
                    running.request.number = self.counter;
                }
                if !running.maybe && matches!(running.op, Op::Write { .. }) {
                    // Every earlier try is known to have come to nothing.
                    running.since = running.since.max(self.versions.known(revision, &addr));
                }
                let first = !running.maybe;
                let message = self.message(id, revision);
                let (length, limit) =
                    (message.len() + RETRY_BYTES_MAX, self.config.message_bytes_max);
                if first && length > limit {
                    let error = FrameError::TooLong { length, limit };
                    return self.finish(id, Err(OpError::TooLarge(error.to_string())));
                }
                self.call(now, id, Target::Addr(addr), message, true, out);
            }
        }
    }

    fn ask_view(&mut self, now: Millis, id: OpId, out: &mut Vec<Output>) {
        if let Some(running) = self.ops.get_mut(&id) {
            running.step = Step::View;
            let request = Reply::new().text("cmd", "query_servers");
            let request = request.number("dht", EXTENSION_VERSION);
            self.call(now, id, Target::Leader, request.finish(), true, out);
        }
    }

    /// The request to the primary.
    fn message(&self, id: OpId, revision: u64) -> Vec<u8> {
        let running = &self.ops[&id];
        let key = running.op.key().to_json();
        match &running.op {
            Op::Read { .. } => {
                let said = format!(r#"{{"revision": {revision}}}"#);
                Reply::new().text("cmd", "dht_read").raw("key", &key).raw("dht", &said).finish()
            }
            Op::Write { value, .. } => {
                let mut said = Reply::new()
                    .number("client", running.request.client)
                    .number("number", running.request.number)
                    .number("revision", revision);
                if running.since != (revision, 0) {
                    said = said.value("since", &running.since);
                }
                if running.maybe {
                    said = said.raw("repeated", "true");
                }
                if running.voted {
                    said = said.raw("voted", "true");
                }
                let said = String::from_utf8(said.finish()).expect("replies are ASCII");
                let request = Reply::new().text("cmd", "dht_write").raw("key", &key);
                request.raw("val", value.as_str()).raw("dht", &said).finish()
            }
        }
    }

    fn call(
        &mut self,
        now: Millis,
        id: OpId,
        target: Target,
        message: Vec<u8>,
        keep: bool,
        out: &mut Vec<Output>,
    ) {
        self.counter += 1;
        let call = CallId(self.counter);
        self.calls.insert(call, id);
        let timeout_ms = self.ops[&id].until.saturating_sub(now).clamp(1, ATTEMPT_MS);
        out.push(Output::Call { call, target, message, timeout_ms, keep });
    }

    fn returned(
        &mut self,
        now: Millis,
        id: OpId,
        result: Result<Vec<u8>, CallError>,
        out: &mut Vec<Output>,
    ) {
        match self.ops.get_mut(&id).map(|running| &mut running.step) {
            Some(Step::View) => self.learn_view(now, id, result, out),
            Some(Step::Primary { addr }) => {
                let addr = std::mem::take(addr); // the answer ends this step in any case
                self.primary_answered(now, id, addr, result);
            }
            Some(Step::Dialogue(_)) => self.converse(now, id, Some(result), out),
            Some(Step::Pause { .. }) | None => {}
        }
    }

    fn learn_view(
        &mut self,
        now: Millis,
        id: OpId,
        result: Result<Vec<u8>, CallError>,
        out: &mut Vec<Output>,
    ) {
        let refused = matches!(result, Err(CallError::Refused | CallError::NotSent(_)));
        let learned = match &result {
            Ok(reply) => self.routes.learn(reply),
            Err(error) => Err(error.to_string()),
        };
        match learned {
            Ok(()) => self.go(now, id, out),
            Err(why) => {
                let Some(running) = self.ops.get_mut(&id) else {
                    return;
                };
                running.trouble = Trouble::Leader(why);
                // Nobody is there at all: waiting would only delay the news. One that is silent may
                // not be the leader; the next search goes on behind it.
                let first = !running.maybe && running.backoff_ms == BACKOFF_FIRST_MS;
                if first && refused { self.give_up(id) } else { self.pause_on(now, id) }
            }
        }
    }

    /// Waits, and then tries again with a new view.
    fn pause(&mut self, now: Millis, id: OpId, why: String) {
        if let Some(running) = self.ops.get_mut(&id) {
            running.trouble = Trouble::Other(why);
        }
        self.pause_on(now, id);
    }

    fn pause_on(&mut self, now: Millis, id: OpId) {
        self.routes.forget();
        let Some(running) = self.ops.get_mut(&id) else {
            return;
        };
        self.pauses = true;
        running.step = Step::Pause { until: (now + running.backoff_ms).min(running.until) };
        running.backoff_ms = (running.backoff_ms * 2).min(BACKOFF_MAX_MS);
    }

    /// Ends an operation that did not succeed in time.
    fn give_up(&mut self, id: OpId) {
        let Some(running) = self.ops.get(&id) else {
            return;
        };
        let error = running.trouble.clone().into_error();
        self.finish(id, Err(error));
    }

    fn finish(&mut self, id: OpId, result: Result<Outcome, OpError>) {
        let Some(running) = self.ops.remove(&id) else {
            return;
        };
        // Whatever ended the last try, an earlier one may have been executed.
        let result = match result {
            Err(error) if running.maybe => Err(error.in_doubt()),
            result => result,
        };
        self.finished.push_back((id, result));
    }
}

impl Machine for Client {
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Returned { call, result } => {
                if let Some(id) = self.calls.remove(&call) {
                    self.returned(now, id, result, out);
                }
            }
            Input::Leave | Input::Persisted { .. } => {}
            Input::Tick => {
                let due: Vec<OpId> = self
                    .ops
                    .iter()
                    .filter(|(_, r)| matches!(r.step, Step::Pause { until } if until <= now))
                    .map(|(id, _)| *id)
                    .collect();
                for id in due {
                    self.go(now, id, out);
                }
                self.pauses = self.ops.values().any(|r| matches!(r.step, Step::Pause { .. }));
            }
            Input::Start | Input::Frame { .. } | Input::Disconnected { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Millis> {
        if !self.pauses {
            return None;
        }
        let pauses = self.ops.values().filter_map(|running| match running.step {
            Step::Pause { until } => Some(until),
            _ => None,
        });
        pauses.min()
    }
}
