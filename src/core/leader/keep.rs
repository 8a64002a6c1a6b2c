//! Keeping the record: nothing is told before it is on disk.
//!
//! After each step what has changed is given to the disk under a ticket. A reply, a push or a note
//! that may tell of it waits until the driver says that the ticket is persisted; what tells only of
//! what was decided before goes out at once. Leases are not in the record, so a heartbeat that
//! changes nothing neither writes nor waits.

use std::collections::{BTreeMap, BTreeSet};

use super::members::{Extension, Member};
use super::plan::{self, Range, State};
use super::probe::Absent;
use super::record::{Change, ExtensionRecord, MemberRecord, RangeRecord, Record, encode};
use super::{Leader, Out, Purpose};
use crate::core::assignment::NodeId;
use crate::core::machine::{Millis, Note, Output, Ticket};
use crate::core::planted::{Planted, planted};
use crate::core::wire::request::Command;

/// How much is appended at least before the whole record is written anew.
pub(super) const APPENDED_BYTES_MIN: usize = 1 << 20;

/// What a reply may tell of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tells {
    /// Nothing that is recorded.
    #[default]
    Nothing,
    /// Who holds locks.
    Locks,
    /// Epoch, members, assignment.
    View,
    /// All of it.
    All,
}

impl Tells {
    pub(super) fn of(command: &Command<'_>) -> Tells {
        match command {
            Command::LockGet { lock, .. } if super::locks::is_rebalancing(lock) => Tells::All,
            Command::LockGet { .. } | Command::LockRelease { .. } => Tells::Locks,
            Command::Heartbeat { .. } | Command::QueryServers | Command::Report { .. } => {
                Tells::View
            }
            Command::Stats => Tells::All,
            _ => Tells::Nothing,
        }
    }
}

/// What the disk has, and what waits for it.
#[derive(Debug)]
pub(super) struct Keeper {
    /// When this leader began, by its clock.
    pub(super) began_at: Millis,
    /// The record that it began with, until it has.
    found: Option<Record>,
    /// What was given to the disk, but for locks and who is denied.
    given: Record,
    /// The last ticket, and the last that is persisted.
    last: u64,
    persisted: u64,
    /// The last ticket that changed the view, and the last that changed locks.
    view_at: u64,
    locks_at: u64,
    /// What waits for a ticket.
    held: BTreeMap<u64, Vec<Output>>,
    /// How much was appended since the record was written whole, and how much that was.
    appended_bytes: usize,
    whole_bytes: usize,
}

impl Keeper {
    pub(super) fn new(found: Record) -> Self {
        Keeper {
            began_at: 0,
            found: Some(found),
            given: Record::default(),
            last: 0,
            persisted: 0,
            view_at: 0,
            locks_at: 0,
            held: BTreeMap::new(),
            appended_bytes: 0,
            whole_bytes: 0,
        }
    }

    /// How many effects wait for the disk.
    pub(super) fn held(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }

    /// Everything up to `ticket` is on disk.
    pub(super) fn persisted(&mut self, ticket: Ticket, out: &mut Out) {
        self.persisted = self.persisted.max(ticket.0);
        let waits = self.held.split_off(&(self.persisted + 1));
        let free = std::mem::replace(&mut self.held, waits);
        out.extend(free.into_values().flatten());
    }

    /// The ticket that what tells of `tells` waits for; `None` where all of that is on disk.
    fn waits_for(&self, tells: Tells) -> Option<u64> {
        let ticket = match tells {
            Tells::Nothing => 0,
            Tells::Locks => self.locks_at,
            Tells::View => self.view_at,
            Tells::All => self.locks_at.max(self.view_at),
        };
        (ticket > self.persisted && !planted(Planted::ToldBeforePersisted)).then_some(ticket)
    }
}

impl Leader {
    /// Takes up what the record says.
    pub(super) fn take_up(&mut self, now: Millis) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.began_at = now;
        let Some(record) = keeper.found.take() else { return };
        keeper.given =
            Record { denied: BTreeSet::new(), queues: BTreeMap::new(), ..record.clone() };
        let counts = record.counts;
        self.epoch = counts.epoch;
        self.revision = counts.revision;
        self.own_from = counts.own_from;
        self.recovering_since = counts.recovering.then_some(now);
        self.restarted_at = counts.restarted.then_some(now);
        self.vanished_at = counts.vanished.then_some(now);
        self.ranges = record.ranges.into_iter().map(|range| range_of(range, now)).collect();
        let lease_until =
            if planted(Planted::LeasesNotRenewed) { now } else { now + self.config.lease_ms };
        for member in record.members.into_values() {
            self.members.insert(member_of(member, now, lease_until, &record.keeping));
        }
        if !planted(Planted::DeniedForgotten) {
            self.members.deny(record.denied);
        }
        let absent = record.absent.into_iter();
        let absent = absent.map(|(id, (addr, gone))| {
            let keeps = Some(record.keeping.contains(&id));
            (id, Absent::new(addr, gone, keeps, now))
        });
        self.absent = absent.collect();
        if !planted(Planted::LocksForgotten) {
            self.locks = super::locks::Locks::new(record.queues);
        }
        self.leaver_waits = true;
        self.untold = true;
    }

    /// Whether a refusal proves that a server is gone. A leader that has come back from its record
    /// waits for those it has not heard yet: they may be starting too, or may not have heard of it.
    pub(super) fn refusal_counts(&self, now: Millis, heard_at: Option<Millis>) -> bool {
        self.keeper.as_ref().is_none_or(|keeper| {
            now >= keeper.began_at + self.config.lease_ms
                || heard_at.is_some_and(|at| at > keeper.began_at)
                || planted(Planted::LeasesNotRenewed)
        })
    }

    /// Whether it has a record of the ring, so that it has nothing to learn from servers.
    pub(super) fn knows_its_ring(&self) -> bool {
        let found = self.keeper.as_ref().and_then(|keeper| keeper.found.as_ref());
        found.is_some_and(|record| *record != Record::default() && !record.counts.listening)
    }

    /// Gives the disk what has changed in this step, and holds back what tells of what is not on
    /// disk. The step's effects are those from `from` on.
    pub(super) fn keep(&mut self, view_touched: bool, from: usize, out: &mut Out) {
        let Some(mut keeper) = self.keeper.take() else { return };
        let mut changes = self.locks.take_changes();
        let locks_changed = !changes.is_empty();
        if view_touched || keeper.given.counts != self.counts() {
            let view = self.view_record();
            let view_changes = keeper.given.view_changes(&view);
            if !view_changes.is_empty() {
                keeper.given = view;
                keeper.view_at = keeper.last + 1;
                changes.extend(view_changes);
            }
        }
        let effects: Vec<Output> = out.drain(from..).collect();
        if !changes.is_empty() {
            keeper.last += 1;
            if locks_changed {
                keeper.locks_at = keeper.last;
            }
            out.push(self.persist(&mut keeper, &changes));
        }
        for effect in effects {
            match keeper.waits_for(self.tells(&effect)) {
                Some(ticket) => keeper.held.entry(ticket).or_default().push(effect),
                None => out.push(effect),
            }
        }
        self.keeper = Some(keeper);
        self.reply_tells = Tells::Nothing;
    }

    fn persist(&self, keeper: &mut Keeper, changes: &[Change]) -> Output {
        let entry = encode(changes);
        keeper.appended_bytes += entry.len();
        let ticket = Ticket(keeper.last);
        if keeper.appended_bytes < APPENDED_BYTES_MIN.max(keeper.whole_bytes) {
            return Output::Persist { ticket, entry, whole: false };
        }
        let mut record = self.view_record();
        record.denied = self.members.denied().clone();
        record.queues = self.locks.queues();
        let entry = encode(&record.changes());
        (keeper.appended_bytes, keeper.whole_bytes) = (0, entry.len());
        Output::Persist { ticket, entry, whole: true }
    }

    /// What an effect may tell of.
    fn tells(&self, effect: &Output) -> Tells {
        match effect {
            Output::Reply { .. } => self.reply_tells,
            Output::Call { call, .. } => match self.calls.get(call) {
                Some(Purpose::Probe { .. }) => Tells::Nothing,
                _ => Tells::View,
            },
            Output::Note(Note::BadFrame { .. }) => Tells::Nothing,
            _ => Tells::View,
        }
    }

    fn counts(&self) -> super::record::Counts {
        let known = match (self.vanished_at, self.members.asked_since()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(at), Some(since)) => since > at + self.config.lease_ms,
        };
        super::record::Counts {
            epoch: self.epoch,
            revision: self.revision,
            own_from: self.own_from,
            listening: self.listens_until.is_some(),
            recovering: self.recovering_since.is_some(),
            restarted: self.restarted_at.is_some(),
            vanished: !known,
        }
    }

    /// The view as it is recorded.
    fn view_record(&self) -> Record {
        let members = self.members.in_ring_order().into_iter();
        let absent = self.absent.iter();
        let keeping = self.absent.iter().filter(|(_, absent)| self.may_keep(absent));
        let keeping = keeping.map(|(id, _)| id).chain(self.members.keeping());
        Record {
            counts: self.counts(),
            ranges: self.ranges.iter().map(recorded_range).collect(),
            members: members.map(|m| (m.addr.clone(), recorded_member(m))).collect(),
            absent: absent.map(|(id, a)| (id.clone(), (a.addr.clone(), a.gone))).collect(),
            denied: BTreeSet::new(),
            queues: BTreeMap::new(),
            keeping: keeping.cloned().collect(),
        }
    }
}

fn recorded_range(range: &Range) -> RangeRecord {
    let state = &range.state;
    RangeRecord {
        start: range.start,
        end: range.end,
        revision: state.revision,
        born: state.born,
        led_since: state.led_since,
        active: state.active.clone(),
        joining: state.joining.clone(),
        leaving: state.leaving.clone(),
        waiting: state.waiting_since.is_some(),
        claimed: state.claimed,
        unsure: state.unsure_since.is_some(),
    }
}

fn range_of(range: RangeRecord, now: Millis) -> Range {
    let state = State {
        revision: range.revision,
        born: range.born,
        led_since: range.led_since,
        active: range.active,
        joining: range.joining,
        leaving: range.leaving,
        waiting_since: range.waiting.then_some(now),
        claimed: range.claimed,
        unsure_since: range.unsure.then_some(now),
    };
    plan::Range { start: range.start, end: range.end, state }
}

fn recorded_member(member: &Member) -> MemberRecord {
    let extension = |known: &Extension| ExtensionRecord {
        id: known.id.clone(),
        was: known.was.clone(),
        vouches: known.vouches,
        leader_host: known.leader_host.clone(),
        leaving: known.leaving_since.is_some(),
        released: known.released,
    };
    MemberRecord {
        addr: member.addr.clone(),
        requestor: member.requestor.clone(),
        position: member.position,
        extension: member.extension.as_ref().map(extension),
    }
}

fn member_of(
    member: MemberRecord,
    now: Millis,
    lease_until: Millis,
    keeping: &BTreeSet<NodeId>,
) -> Member {
    let extension = |known: ExtensionRecord| Extension {
        keeps: keeping.contains(&known.id),
        id: known.id,
        was: known.was,
        vouches: known.vouches,
        leader_host: known.leader_host,
        acked: 0,
        epoch_told: 0,
        originals_told: false,
        push: None,
        push_after: 0,
        may_drop: false,
        leaving_since: known.leaving.then_some(now),
        released: known.released,
        leave_told: false,
    };
    Member {
        addr: member.addr,
        requestor: member.requestor,
        position: member.position,
        lease_until,
        heard_at: now,
        extension: member.extension.map(extension),
    }
}
