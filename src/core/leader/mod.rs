//! The view leader: members and leases, epochs, locks, and which server holds which slots.
//!
//! The configuration master of Vertical Paxos II (Lamport, Malkhi, Zhou, PODC 2009) and PacificA
//! (Lin et al., MSR-TR-2008-25). It is never asked during a read or a write. The path of a frame:
//! [`Leader::handle`] → `answer` → `heartbeat`, `report`, … → `replan` where the view changed →
//! `pump`, which tells the servers.

pub mod audit;
mod heartbeat;
mod keep;
mod leave;
mod locks;
mod lost;
mod members;
mod plan;
mod probe;
mod progress;
mod push;
pub mod record;
mod recovery;
mod removal;
mod stats;
mod status;
mod view;

use std::collections::BTreeMap;

use self::keep::{Keeper, Tells};
use self::locks::Locks;
use self::lost::Lost;
use self::members::Members;
use self::plan::Range;
use self::probe::{Absent, Suspect};
use self::progress::Progress;
use self::record::Record;
use super::assignment::{NodeId, Report, Revision};
use super::machine::{CallId, Input, Machine, Millis, Note, Origin, Output, ReplyTo, Then};
use super::planted::{Planted, planted};
use super::reply::{self, Reply};
use super::wire::request::{Command, Request};

/// A view leader's options.
#[derive(Debug, Clone)]
pub struct LeaderConfig {
    /// How long a server is believed alive after its last heartbeat.
    pub lease_ms: Millis,
    /// How long a leader listens after its start before it takes the ring for a new one. Servers of
    /// a ring before have noticed the end of the leader before it, and send heartbeats more often
    /// than this. 0 is for a ring that is certainly new.
    pub listen_ms: Millis,
    /// How long to wait before something that failed is tried again.
    pub retry_ms: Millis,
    /// After how long a range whose holders merely stay silent starts again empty; `None`: never.
    pub give_up_after_ms: Option<Millis>,
    /// The host that others reach servers on the leader's own host by; `None`: the leader's address
    /// as each asker sees it.
    pub advertise: Option<String>,
    /// When it was started, in milliseconds since the beginning of 1970 by its host's clock; 0 where
    /// that is not known. It has a part in the revisions of a leader that was started again, beside
    /// what servers tell: see `docs/replication.md`, "A restarted view leader".
    pub started_ms: Millis,
}

impl Default for LeaderConfig {
    fn default() -> Self {
        LeaderConfig {
            lease_ms: 30_000,
            listen_ms: 400,
            retry_ms: 500,
            give_up_after_ms: None,
            advertise: None,
            started_ms: 0,
        }
    }
}

/// The view leader; see the module's text.
///
/// ```
/// use dht::core::leader::{Leader, LeaderConfig};
/// use dht::core::machine::{Input, Machine, Origin, Output, ReplyTo};
///
/// let mut leader = Leader::new(LeaderConfig::default());
/// let (origin, message) = (Origin::default(), br#"{"cmd": "query_servers"}"#);
/// let mut out = Vec::new();
/// leader.handle(0, Input::frame(ReplyTo(1), &origin, message), &mut out);
/// let Output::Reply { message, .. } = &out[0] else { panic!() };
/// assert_eq!(message, br#"{"result": [], "epoch": 0}"#);
/// ```
#[derive(Debug)]
pub struct Leader {
    config: LeaderConfig,
    /// +1 for each server that joins, +1 for each sweep that removes some. Never goes back.
    epoch: u64,
    /// The highest revision given out. Never goes back.
    revision: Revision,
    members: Members,
    /// When a server was removed last that had not said that it wanted to leave.
    vanished_at: Option<Millis>,
    /// Whether somebody wants to leave, and those that stay were not all heard since.
    leaver_waits: bool,
    /// Sorted, without gaps, over all slots.
    ranges: Vec<Range>,
    /// Servers that ranges name and that are not members.
    absent: BTreeMap<NodeId, Absent>,
    /// Members that did not answer when they were asked whether they are there.
    suspects: BTreeMap<NodeId, Suspect>,
    locks: Locks,
    calls: BTreeMap<CallId, Purpose>,
    next_call: u64,
    /// Whether `Rebalancing...` was said, and `Rebalancing complete` not yet.
    rebalancing: bool,
    /// How far that is.
    progress: Progress,
    /// When it was found that this leader was started again: no range is changed that no server
    /// has told of, until all were, or a full lease has passed in which each living server must
    /// have been heard.
    recovering_since: Option<Millis>,
    /// When it was found that this leader was started again.
    restarted_at: Option<Millis>,
    /// When recovery may go on.
    recovery_at: Option<Millis>,
    /// Revisions from here on are this leader's own; lower ones were given out before its start.
    own_from: Revision,
    /// No slot is given away before then: this may be a leader that was started again, and the
    /// servers of its ring come first.
    listens_until: Option<Millis>,
    /// How many slots had no living holder when that was looked at last.
    slots_waiting: u32,
    /// Whether the view had original servers when it was last looked at.
    had_originals: bool,
    /// Whether somebody may have to be told something.
    untold: bool,
    /// When a push that failed is tried again.
    push_at: Option<Millis>,
    /// When this leader wanted to be woken at the latest.
    wanted_at: Option<Millis>,
    /// How often slots were lost.
    losses: u64,
    /// Its record on disk, where it has one.
    keeper: Option<Keeper>,
    /// What the reply of this step may tell of.
    reply_tells: Tells,
}

/// Why a call was made.
#[derive(Debug)]
enum Purpose {
    /// To tell a server its ranges.
    Push(NodeId),
    /// To learn whether a server is still there; how often it refused already.
    Probe { id: NodeId, refusals: u32 },
}

impl Leader {
    /// A leader that knows no server yet.
    pub fn new(config: LeaderConfig) -> Self {
        Leader {
            config,
            epoch: 0,
            revision: 0,
            members: Members::default(),
            vanished_at: None,
            leaver_waits: false,
            ranges: plan::unassigned(),
            absent: BTreeMap::new(),
            suspects: BTreeMap::new(),
            locks: Locks::default(),
            calls: BTreeMap::new(),
            next_call: 0,
            rebalancing: false,
            progress: Progress::default(),
            recovering_since: None,
            restarted_at: None,
            recovery_at: None,
            own_from: 0,
            listens_until: None,
            slots_waiting: 0,
            had_originals: false,
            untold: false,
            push_at: None,
            wanted_at: None,
            losses: 0,
            keeper: None,
            reply_tells: Tells::Nothing,
        }
    }

    /// A leader that keeps a record, and goes on from the one it finds; an empty one where there is
    /// none yet. What it asks to be persisted must be given to [`Record::replay`] before the next
    /// start.
    pub fn with_record(config: LeaderConfig, record: Record) -> Self {
        Leader { keeper: Some(Keeper::new(record)), ..Leader::new(config) }
    }

    fn start(&mut self, now: Millis, out: &mut Out) {
        let knows = self.knows_its_ring();
        self.take_up(now);
        if !knows && !planted(Planted::ListensToNobody) {
            self.listens_until = Some(now + self.config.listen_ms);
        }
        self.end_recovery(now);
        self.tell_waiting(now, out);
    }

    fn frame(&mut self, now: Millis, to: ReplyTo, origin: &Origin, message: &[u8], out: &mut Out) {
        let request = match Request::parse(message) {
            Ok(request) => request,
            Err(error) => {
                let why = error.to_string();
                out.push(Output::Note(Note::BadFrame { peer_ip: origin.peer_ip.to_string(), why }));
                let message = reply::error(&error);
                return out.push(Output::Reply { to, message, then: Then::Close });
            }
        };
        self.reply_tells = Tells::of(&request.command);
        let then = if request.extended { Then::Keep } else { Then::Linger };
        let (message, then) = match self.answer(now, origin, &request, out) {
            Ok(message) => (message, then),
            Err(error) => (reply::error(&error), Then::Close),
        };
        out.push(Output::Reply { to, message, then });
    }

    fn answer(
        &mut self,
        now: Millis,
        origin: &Origin,
        request: &Request<'_>,
        out: &mut Out,
    ) -> Result<Vec<u8>, String> {
        match &request.command {
            Command::Heartbeat { port, requestor, extension } => {
                Ok(self.heartbeat(now, origin, *port, requestor, *extension, out))
            }
            Command::QueryServers => {
                self.sweep(now, out);
                Ok(self.query_servers(origin, request.extended))
            }
            Command::LockGet { lock, requestor } => {
                let settled = self.is_settled();
                let granted = self.locks.get(lock.clone(), requestor, settled);
                let status = if granted { "granted" } else { "retry" };
                Ok(Reply::status(status).keeps(request.extended).finish())
            }
            Command::LockRelease { lock, requestor } => {
                let status = if self.locks.release(lock, requestor) { "ok" } else { "unknown" };
                Ok(Reply::status(status).keeps(request.extended).finish())
            }
            Command::Report { extension } => {
                let report = serde_json::from_str(extension)
                    .map_err(|error| format!("broken dht_report: {error}"))?;
                self.report(now, &report, out);
                Ok(Reply::status("ok").finish())
            }
            Command::Hello => {
                let hello = r#"{"version":1,"role":"viewleader"}"#;
                Ok(Reply::status("ok").raw("dht", hello).finish())
            }
            Command::Stats => {
                self.sweep(now, out);
                Ok(self.stats())
            }
            Command::Status => {
                self.sweep(now, out);
                Ok(self.status(now, origin))
            }
            _ => Err("this is a view leader; the command is one for servers".to_string()),
        }
    }

    /// A server tells what it found.
    fn report(&mut self, now: Millis, report: &Report, out: &mut Out) {
        let Some(reporter) = report.id.as_ref().filter(|id| self.members.by_id(id).is_some())
        else {
            return;
        };
        let next = self.revision + 1;
        let mut activated = false;
        for (span, joiners) in &report.synced {
            if span.0 >= span.1 {
                continue;
            }
            plan::cut(&mut self.ranges, &[span.0, span.1]);
            for index in plan::within(&self.ranges, span.0, span.1) {
                let state = &mut self.ranges[index].state;
                // Only the primary of the very assignment that the report is about is believed, and
                // only where no server may know a newer one.
                if plan::is_sure(state, span.2) && state.active.first() == Some(reporter) {
                    activated |= plan::activate(state, joiners, next);
                }
            }
        }
        if activated {
            self.revision = next;
            self.replan(now, out);
        }
        for id in &report.refused {
            self.probe(id, out);
        }
        if !report.given.is_empty() {
            self.progress.hear(reporter, &report.given);
            self.tell_progress(now, out);
        }
    }

    /// Brings the assignment a step nearer to what the ring wants.
    fn replan(&mut self, now: Millis, out: &mut Out) {
        self.leaver_waits = self.members.release_leavers();
        let ring = self.members.ring();
        plan::cut(&mut self.ranges, &ring.boundaries());
        self.end_recovery(now);
        let census = self.census(now);
        let next = self.revision + 1;
        let mut lost = Lost::default();
        // Where nobody does, the whole ring would be asked for nothing, for each range.
        let speaks = self.members.ids().next().is_some();
        for range in &mut self.ranges {
            plan::resolve(&mut range.state, &census, next);
            let target = if speaks { plan::target(&ring, range.start) } else { Vec::new() };
            let mut new = plan::advance(&range.state, &target, &census, next);
            if new.waiting_since.is_some() && take_back(&self.members, &mut new, next) {
                new = plan::advance(&new, &target, &census, next);
            }
            // A restarted leader does not know who held a range that nobody has told of.
            let was_held = !range.state.active.is_empty() || self.restarted_at.is_some();
            if new.born != range.state.born && was_held {
                lost.add(range, &self.absent);
            }
            if new.revision == next {
                self.revision = next;
            }
            range.state = new;
        }
        plan::merge(&mut self.ranges);
        // The last range may just have been resolved.
        self.end_recovery(now);
        self.losses += u64::from(lost.tell(out));
        self.tell_waiting(now, out);
        let ranges = &self.ranges;
        self.absent.retain(|id, _| ranges.iter().any(|range| range.state.names(id)));
        let originals = self.members.has_originals();
        if originals || self.had_originals {
            self.members.extensions_mut().for_each(|extension| extension.originals_told = false);
        }
        self.had_originals = originals;
        self.untold = true;
    }

    fn is_settled(&self) -> bool {
        self.recovering_since.is_none() && self.ranges.iter().all(|range| range.state.is_settled())
    }

    /// Says when keys begin to move, and when all are where they belong.
    fn tell_rebalancing(&mut self, now: Millis, out: &mut Out) {
        let settled = self.is_settled();
        if self.rebalancing == settled {
            self.rebalancing = !settled;
            let note = if settled { Note::RebalancingComplete } else { Note::Rebalancing };
            out.push(Output::Note(note));
            self.progress = Progress::default();
        }
        self.tell_progress(now, out);
    }

    /// A leader that was stopped for a while has heard nobody meanwhile, and that is nobody's fault:
    /// leases that ran out then are good for a little longer. Else it would remove every server.
    fn forgive_own_sleep(&mut self, now: Millis) {
        let grace = self.config.lease_ms / 3;
        if self.wanted_at.is_some_and(|at| now > at.saturating_add(grace)) {
            self.members.extend_leases(now + grace);
        }
    }

    fn next_deadline(&self) -> Option<Millis> {
        let lease = self.members.first_overdue();
        let probe = self.absent.values().filter_map(|absent| absent.probe_at()).min();
        let suspect = self.suspects.values().map(|suspect| suspect.ask_at).min();
        [lease, probe, suspect, self.push_at, self.recovery_at, self.listens_until]
            .into_iter()
            .flatten()
            .min()
    }

    fn call_id(&mut self, purpose: Purpose) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.calls.insert(call, purpose);
        call
    }
}

/// Where effects are appended.
type Out = Vec<Output>;

/// Why a member was removed whose process is certainly gone.
const GONE: &str = "gone";

/// Why a member was removed whose process has ended, and whose data another has.
const RESTARTED: &str = "restarted";

/// Why a member was removed that wanted to leave, and has.
const LEFT: &str = "left";

impl Machine for Leader {
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Vec<Output>) {
        if let Input::Persisted { ticket } = input {
            return self.keeper.iter_mut().for_each(|keeper| keeper.persisted(ticket, out));
        }
        let from = out.len();
        self.forgive_own_sleep(now);
        match input {
            Input::Start => self.start(now, out),
            Input::Frame { to, origin, message } => self.frame(now, to, &origin, &message, out),
            Input::Returned { call, result } => match self.calls.remove(&call) {
                Some(Purpose::Push(id)) => self.pushed(now, &id, result, out),
                Some(Purpose::Probe { id, refusals }) => {
                    self.probed(now, &id, refusals, result, out);
                }
                None => {}
            },
            Input::Disconnected { addr } => self.disconnected(&addr, out),
            Input::Tick => self.tick(now, out),
            Input::Leave | Input::Persisted { .. } => {}
        }
        let view_touched = self.untold;
        if self.untold {
            self.tell_rebalancing(now, out);
            self.pump(now, out);
        }
        self.keep(view_touched, from, out);
        self.wanted_at = self.next_deadline();
    }

    fn deadline(&self) -> Option<Millis> {
        self.wanted_at
    }
}

/// Hands a waiting range to a living server that held it under an earlier identity.
fn take_back(members: &Members, state: &mut plan::State, next: Revision) -> bool {
    let mut extensions = members.ids().filter_map(|id| members.extension(id));
    extensions.any(|held| plan::take_back(state, &held.was, &held.id, next))
}
