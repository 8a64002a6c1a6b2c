//! The storage server: slots, and its part in replicating them.
//!
//! The path of a frame: [`Server::handle`] → `frame` → `command`, for a request, or `message`, for
//! what another replica says. A write goes on in `writes`, a read in `reads`; `adopt` takes in what
//! the leader says; `sync` and `reconcile` move slots.

mod addresses;
mod adopt;
mod aside;
pub mod audit;
mod commands;
mod config;
pub mod data;
mod heartbeat;
mod holds;
mod ids;
mod keep;
mod leave;
mod leaves;
mod local;
mod messages;
mod originals;
mod pace;
mod parked;
mod pending;
mod progress;
mod reads;
mod reconcile;
mod replies;
mod said;
mod slot_data;
mod store;
mod sync;
mod transfer;
mod votes;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::addresses::Addresses;
pub use self::config::ServerConfig;
use self::holds::{Holds, Role};
use self::ids::Ids;
use self::keep::Keeper;
use self::leave::Leaving;
use self::local::Local;
use self::originals::Debts;
use self::pace::Pace;
use self::parked::Parked;
use self::pending::Writes;
use self::store::Store;
use self::votes::Votes;
use super::assignment::{Entry, NodeId, Revision, Span};
use super::client::{Client, ClientConfig, OpId};
use super::hash::{SLOT_COUNT, Slot};
use super::machine::{CallId, Input, Machine, Millis, Output, ReplyTo, Then};
use super::wire::peer::{Body, PeerMessage};
use super::wire::text::Text;

/// How long a client waits at a server before it is answered that nothing is known yet.
const ANSWER_WITHIN_MS: Millis = 10_000;

/// How long a replica that was taught a revision gets before messages are sent to it again.
const TAUGHT_RETRY_MS: Millis = 1;

/// After how long a forwarded write of an original client fails; its own timeout is 5 s.
const FORWARD_TIMEOUT_MS: Millis = 4_500;

/// A storage server; see the module's text.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    random: StdRng,
    /// This life's identity.
    id: NodeId,
    /// Earlier identities of this process, and of those before it on the same data.
    was: Vec<NodeId>,
    /// How often this process has taken a new one.
    renamed: u64,
    /// How others know this server; empty before the leader has said it.
    addr: Arc<str>,
    epoch: Option<u64>,
    /// Whether the leader has accepted this identity.
    registered: bool,
    /// Whether the leader speaks the extension; `None` before it has answered.
    leader_speaks: Option<bool>,
    /// Whether nobody listened where the leader should be, at the last heartbeat.
    leader_absent: bool,
    /// Everything up to this revision that concerns this server was adopted.
    acked: Revision,
    /// The highest revision that any leader has told of.
    told: Revision,
    /// Deleted, and the leader was not told.
    dropped: Vec<Span>,
    holds: Holds,
    store: Store,
    local: Local,
    votes: Votes,
    writes: Writes,
    debts: Debts,
    /// For each slot the joining for which it was wiped.
    joined: Vec<Revision>,
    /// Cells that came because this server joined their range.
    keys_received: u64,
    /// How fast joiners are given what they lack.
    pace: Pace,
    /// Requests that wait for this server to serve their slot, and until when.
    parked: Vec<(Millis, Parked)>,
    /// Where other servers are.
    addresses: Addresses,
    calls: BTreeMap<CallId, Purpose>,
    /// Counts calls, writes, rounds and chunks.
    counter: u64,
    heartbeat_at: Millis,
    heartbeat_call: Option<CallId>,
    /// When a heartbeat was accepted last.
    accepted_at: Option<Millis>,
    /// When the last heartbeat was sent.
    heartbeat_sent_at: Millis,
    /// When the last heartbeat was sent that was accepted under this identity: a leader has it in
    /// its view for a lease from then on at least.
    in_view_from: Option<Millis>,
    /// When the leader's address first refused connections since then: that leader is gone.
    leader_gone_at: Option<Millis>,
    /// When it was last said that heartbeats fail.
    heartbeat_failing_since: Option<Millis>,
    leaving: Leaving,
    /// Whether it was said that nobody can let this server go.
    leader_away_told: bool,
    /// When the leader was told last how far transfers are, and how many bytes were given then.
    progress_told: Option<(Millis, u64)>,
    report_call: Option<CallId>,
    report_again: bool,
    /// When to look for what was not acknowledged; `None` while nothing is owed.
    retry_at: Option<Millis>,
    retry_wanted: bool,
    /// Whether the next look sends all again, however lately it was sent: somebody refused it and
    /// has learned better.
    retry_all: bool,
    /// Writes what original clients send here.
    forwarder: Client,
    forwards: BTreeMap<OpId, Forward>,
    /// Its disk, where it has one.
    keeper: Option<Keeper>,
}

/// A `setr` of an original client that the primary is asked to write.
#[derive(Debug)]
struct Forward {
    to: ReplyTo,
    then: Then,
    key: Text,
    owner: String,
}

/// Why a call was made.
#[derive(Debug)]
enum Purpose {
    Heartbeat,
    /// The last heartbeat of a server that leaves.
    Goodbye,
    Report(Vec<(Span, Vec<NodeId>)>),
    /// Ask an original server for its vote.
    Vote {
        addr: String,
        key: Text,
    },
    /// Give an original server its copy.
    Copy {
        addr: String,
        key: Text,
    },
    /// The forwarder's own.
    Forward(CallId),
}

type Out = Vec<Output>;

impl Server {
    /// A server that holds nothing and has an identity drawn from the seed.
    pub fn new(config: ServerConfig) -> Self {
        let mut random = StdRng::seed_from_u64(config.seed);
        let id = random.random();
        let client = ClientConfig { id, timeout_ms: FORWARD_TIMEOUT_MS, ..ClientConfig::default() };
        let mut server = Server {
            random,
            id: "0".into(),
            was: Vec::new(),
            renamed: 0,
            addr: "".into(),
            epoch: None,
            registered: false,
            leader_speaks: None,
            leader_absent: false,
            acked: 0,
            told: 0,
            dropped: Vec::new(),
            holds: Holds::new(),
            store: Store::new(config.requests_remembered, config.part_bytes_max),
            local: Local::new(config.seed),
            votes: Votes::default(),
            writes: Writes::default(),
            debts: Debts::default(),
            joined: vec![0; usize::from(SLOT_COUNT)],
            keys_received: 0,
            pace: Pace::new(config.transfer_bytes_per_s),
            parked: Vec::new(),
            addresses: Addresses::default(),
            calls: BTreeMap::new(),
            counter: 0,
            heartbeat_at: 0,
            heartbeat_call: None,
            accepted_at: None,
            heartbeat_sent_at: 0,
            in_view_from: None,
            leader_gone_at: None,
            heartbeat_failing_since: None,
            leaving: Leaving::No,
            leader_away_told: false,
            progress_told: None,
            report_call: None,
            report_again: false,
            retry_at: None,
            retry_wanted: false,
            retry_all: false,
            forwarder: Client::new(client),
            forwards: BTreeMap::new(),
            keeper: None,
            config,
        };
        server.id = server.draw_identity();
        server
    }

    /// A server that keeps data on a disk, and goes on with the rows that it finds there; none where
    /// there is nothing yet. What it asks to be stored must be among the rows of the next start.
    pub fn with_data(config: ServerConfig, rows: impl IntoIterator<Item = data::Row>) -> Self {
        let mut server = Server::new(config);
        server.take_up(rows);
        server
    }

    /// A random float in `0..1`, as text: what the original draws.
    fn draw_identity(&mut self) -> NodeId {
        let float: f64 = self.random.random();
        format!("{float}").into()
    }

    fn epoch(&self) -> u64 {
        self.epoch.unwrap_or(0)
    }

    /// Whether this server answers reads and writes of a slot.
    fn serves(&mut self, slot: Slot) -> bool {
        let hold = self.holds.at_mut(slot);
        hold.and_then(|hold| hold.primary()).is_some_and(|primary| primary.serves())
    }

    /// Sends a message to another server.
    fn send(&mut self, id: &NodeId, body: Body<'_>, out: &mut Out) {
        let write = |head: &[u8]| PeerMessage::with(head, &body);
        let message = self.addresses.message(&self.id, &self.addr, id, write);
        self.push(&body, message, out);
    }

    /// Sends a message of this body, where its receiver is known.
    fn push(&mut self, body: &Body<'_>, message: Option<Output>, out: &mut Out) {
        let Some(message) = message else { return };
        if body.says_held() {
            self.promise(out);
        }
        out.push(message);
    }

    /// Learns where the servers of an entry are.
    fn learn_addresses(&mut self, entry: &Entry) {
        for peer in &entry.active {
            self.addresses.insert(peer.id(), peer.addr());
        }
        for joiner in &entry.joining {
            self.addresses.insert(joiner.id(), joiner.addr());
        }
    }

    /// Forgets the servers that no hold names any more.
    fn know_addresses(&mut self) {
        let entries: Vec<Entry> = self.holds.iter().map(|hold| hold.entry.clone()).collect();
        self.addresses.retain(|id| entries.iter().any(|entry| entry.names(id)));
        entries.iter().for_each(|entry| self.learn_addresses(entry));
    }

    fn call_id(&mut self, purpose: Purpose) -> CallId {
        let call = CallId(self.next_number());
        self.calls.insert(call, purpose);
        call
    }

    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Something was sent that wants an answer.
    fn want_retry(&mut self) {
        self.retry_wanted = true;
    }

    /// Sends again what was not answered in time.
    fn retry(&mut self, now: Millis, out: &mut Out) {
        self.retry_at = None;
        let all = std::mem::take(&mut self.retry_all);
        let patience_ms = if all { 0 } else { self.config.retry_ms };
        self.retry_writes(now, patience_ms, out);
        let busy: Vec<Slot> = self
            .holds
            .iter()
            .filter(|hold| matches!(&hold.role, Role::Primary(primary) if primary.is_busy()))
            .map(|hold| hold.entry.start)
            .collect();
        for slot in &busy {
            self.retry_reads(now, *slot, out);
            self.ask_holdings(*slot, out);
            self.pull(now, patience_ms, *slot, out);
            self.retry_syncs(now, patience_ms, *slot, out);
        }
        self.report_synced(out);
        self.report_progress(now, out);
        if !busy.is_empty() || self.writes.len() > 0 {
            self.want_retry();
        }
    }

    fn tick(&mut self, now: Millis, out: &mut Out) {
        if self.heartbeat_at <= now {
            self.heartbeat(now, out);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry(now, out);
        }
        if self.pace.due().is_some_and(|at| at <= now) {
            self.go_on_giving(now, out);
        }
        if self.parked.iter().any(|(until, _)| *until <= now) {
            self.dispatch_parked(now, out);
        }
        if self.debts.due().is_some_and(|at| at <= now) {
            self.pay(now, out);
        }
        if !self.votes.is_empty() {
            self.votes.expire(now);
        }
        self.drive_forwarder(now, |forwarder, out| forwarder.handle(now, Input::Tick, out), out);
    }

    /// The connection to an address has closed.
    fn disconnected(&mut self, now: Millis, addr: &str, out: &mut Out) {
        let lost = self.addresses.at(addr);
        if lost.is_empty() {
            // Nobody's but the leader's: is it still there, and does it still know us?
            self.heartbeat_soon(now);
        } else {
            self.report_refused(lost, out);
        }
    }
}

/// The active servers of an entry but the primary.
fn others(entry: &Entry) -> Ids {
    entry.active.iter().skip(1).map(|peer| peer.id().clone()).collect()
}

impl Machine for Server {
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Vec<Output>) {
        let persisted = match input {
            Input::Persisted { ticket } => Some(ticket),
            _ => None,
        };
        self.release(persisted, out);
        let from = out.len();
        match input {
            Input::Start => self.heartbeat(now, out),
            Input::Frame { to, origin, message } => self.frame(now, to, &origin, &message, out),
            Input::Returned { call, result } => match self.calls.remove(&call) {
                Some(Purpose::Heartbeat) => self.heartbeat_answered(now, result, out),
                Some(Purpose::Goodbye) => self.goodbye_answered(now, &result, out),
                Some(Purpose::Report(synced)) => self.report_answered(call, synced, &result, out),
                Some(Purpose::Vote { addr, key }) => self.voted(now, addr, key, &result, out),
                Some(Purpose::Copy { addr, key }) => {
                    self.settle(now, &addr, key, result.is_ok(), out);
                }
                Some(Purpose::Forward(call)) => {
                    let input = Input::Returned { call, result };
                    self.drive_forwarder(now, |client, out| client.handle(now, input, out), out);
                }
                None => {}
            },
            Input::Disconnected { addr } => self.disconnected(now, &addr, out),
            Input::Tick => self.tick(now, out),
            Input::Leave => self.leave(now, out),
            Input::Persisted { ticket } => self.persisted(now, ticket, out),
        }
        self.keep(from, out);
        if std::mem::take(&mut self.retry_wanted) && self.retry_at.is_none() {
            self.retry_at = Some(now + self.config.retry_ms);
        }
    }

    fn deadline(&self) -> Option<Millis> {
        let parked = self.parked.iter().map(|(until, _)| *until).min();
        let forwarder = self.forwarder.deadline();
        let paced = self.pace.due();
        let due =
            [Some(self.heartbeat_at), self.retry_at, paced, parked, self.debts.due(), forwarder];
        due.into_iter().flatten().min()
    }
}
