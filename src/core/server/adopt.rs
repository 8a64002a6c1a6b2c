//! Heartbeats, and what the leader says: this server's place in the ring.

use super::holds::{Hold, Primary, Reconcile, Role};
use super::reads::{Read, ReadExtension};
use super::{Out, Purpose, Server};
use crate::core::assignment::{
    AssignReply, Entry, HeartbeatExtension, NodeId, Report, Revision, Snapshot, Span,
};
use crate::core::machine::{CallError, Millis, Note, Output, Target};
use crate::core::reply::Reply;
use crate::core::wire::json::Object;
use crate::core::wire::peer::Body;
use crate::core::wire::request::EXTENSION_VERSION;

/// After how long a heartbeat counts as not answered.
const HEARTBEAT_TIMEOUT_MS: Millis = 5_000;

/// How soon a heartbeat that failed, or was answered `retry`, is sent again.
const HEARTBEAT_RETRY_MS: Millis = 200;

/// How many earlier identities are told; older ones have no range that waits for them.
const IDENTITIES_TOLD_MAX: usize = 16;

impl Server {
    /// Renews the lease.
    pub(super) fn heartbeat(&mut self, now: Millis, out: &mut Out) {
        self.heartbeat_at = now + self.config.heartbeat_ms;
        if self.heartbeat_call.is_some() {
            return;
        }
        let extension = HeartbeatExtension {
            version: EXTENSION_VERSION,
            advertise: self.config.advertise.clone(),
            epoch: self.epoch.unwrap_or(0),
            revision: self.acked,
            seen: self.holds.seen_max(),
            dropped: std::mem::take(&mut self.dropped),
            was: self.was.clone(),
            holds: (!self.registered)
                .then(|| self.holds.iter().map(|hold| hold.entry.clone()).collect()),
        };
        let message = Reply::new()
            .text("cmd", "heartbeat")
            .number("port", u64::from(self.config.port))
            .raw("requestor", &self.id)
            .value("dht", &extension)
            .finish();
        let keep = self.leader_speaks == Some(true);
        let call = self.call_id(Purpose::Heartbeat);
        self.heartbeat_call = Some(call);
        let timeout_ms = HEARTBEAT_TIMEOUT_MS;
        out.push(Output::Call { call, target: Target::Leader, message, timeout_ms, keep });
    }

    /// Renews the lease before its time.
    pub(super) fn heartbeat_soon(&mut self, now: Millis) {
        self.heartbeat_at = self.heartbeat_at.min(now + HEARTBEAT_RETRY_MS);
    }

    /// The answer to a heartbeat.
    pub(super) fn heartbeat_answered(
        &mut self,
        now: Millis,
        result: Result<Vec<u8>, CallError>,
        out: &mut Out,
    ) {
        self.heartbeat_call = None;
        let soon = now + HEARTBEAT_RETRY_MS.min(self.config.heartbeat_ms);
        let reply = match &result {
            Ok(reply) => Object::parse(reply).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(why) => return self.heartbeat_failed(now, soon, why, out),
        };
        if let Some(why) = reply.text("error") {
            return self.heartbeat_failed(now, soon, why.to_string(), out);
        }
        let snapshot: Option<Snapshot> = reply.decode("dht");
        let status = reply.text("status").map(|status| status.to_string()).unwrap_or_default();
        match &*status {
            "ok" => {
                self.heartbeat_failing_since = None;
                if !std::mem::replace(&mut self.registered, true) {
                    self.forget_reports();
                }
                self.leader_speaks = Some(snapshot.is_some());
                let epoch = reply.number("epoch").unwrap_or(0);
                // A leader that knows nothing of us may have begun to count anew.
                self.epoch = Some(if self.acked == 0 { epoch } else { epoch.max(self.epoch()) });
                if let Some(snapshot) = snapshot {
                    self.adopt(now, snapshot, out);
                }
            }
            "deny" => self.rename(now, status, out),
            _ => {
                if snapshot.is_some_and(|snapshot| snapshot.tell) {
                    self.registered = false;
                    self.acked = 0;
                    return self.heartbeat(now, out);
                }
                self.lease_refused(now, status, out);
                self.heartbeat_at = self.heartbeat_at.min(soon);
            }
        }
    }

    /// Says so once, and then as often as the original would, while heartbeats fail.
    fn heartbeat_failed(&mut self, now: Millis, soon: Millis, why: String, out: &mut Out) {
        self.heartbeat_at = self.heartbeat_at.min(soon);
        if self.may_complain(now) {
            out.push(Output::Note(Note::HeartbeatFailed { why }));
        }
    }

    fn lease_refused(&mut self, now: Millis, status: String, out: &mut Out) {
        if self.may_complain(now) {
            let addr = self.addr.clone();
            out.push(Output::Note(Note::LeaseRefused { status, addr }));
        }
    }

    fn may_complain(&mut self, now: Millis) -> bool {
        let due =
            self.heartbeat_failing_since.is_none_or(|at| now >= at + self.config.heartbeat_ms);
        if due {
            self.heartbeat_failing_since = Some(now);
        }
        due
    }

    /// Our lease has ended, and with it this identity. The data stay, for ranges that wait for
    /// them; nothing is served before the leader says so under the new identity.
    fn rename(&mut self, now: Millis, status: String, out: &mut Out) {
        self.lease_refused(now, status, out);
        self.was.push(self.id.clone());
        if self.was.len() > IDENTITIES_TOLD_MAX {
            self.was.remove(0);
        }
        self.id = self.draw_identity();
        let requestor = crate::core::wire::json::Json::parse(self.id.as_bytes());
        let requestor = requestor.expect("an identity is drawn as a JSON number");
        out.push(Output::Note(Note::Renamed { requestor }));
        self.registered = false;
        self.acked = 0;
        self.dropped.clear();
        let spans: Vec<Span> = self.holds.iter().map(Hold::span).collect();
        for Span(start, end, _) in spans {
            self.hand_over_writes(start, end, out);
            let reads = self.take_reads(start, end);
            if let Some(hold) = self.holds.at_mut(start) {
                hold.role = Role::Left;
            }
            self.read_anew(now, reads, out);
        }
        self.heartbeat(now, out);
    }

    /// The leader tells us our ranges.
    pub(super) fn assign(&mut self, now: Millis, snapshot: Snapshot, out: &mut Out) -> AssignReply {
        self.leader_speaks = Some(true);
        self.adopt(now, snapshot, out);
        AssignReply { revision: self.acked, dropped: std::mem::take(&mut self.dropped) }
    }

    /// Takes in what the leader says, where it is meant for this identity.
    fn adopt(&mut self, now: Millis, snapshot: Snapshot, out: &mut Out) {
        if snapshot.you.as_ref() != Some(&self.id) {
            return;
        }
        self.addr = snapshot.addr;
        self.epoch = Some(snapshot.epoch.max(self.epoch()));
        self.adopt_entries(now, &snapshot.entries, out);
        self.acked = self.acked.max(snapshot.revision);
        for span in snapshot.drop {
            for (start, end) in self.holds.drop_left(span) {
                self.store.wipe(start, end);
            }
            self.dropped.push(span);
        }
        self.owe(now, snapshot.originals, out);
        self.dispatch_parked(now, out);
    }

    /// Adopts what is newer than what this server knows.
    pub(super) fn adopt_entries(&mut self, now: Millis, entries: &[Entry], out: &mut Out) {
        for entry in entries.iter().filter(|entry| entry.is_valid() && !entry.active.is_empty()) {
            let reads = self.take_reads(entry.start, entry.end);
            let changed = self.holds.adopt(entry);
            let starts: Vec<_> = changed.iter().map(|(piece, _)| piece.start).collect();
            for (piece, old) in changed {
                self.change(piece, old, out);
            }
            for start in starts {
                self.begin(now, start, out);
            }
            // A piece beside a cut may have lost all that its joiners still lacked.
            for beside in [entry.start.checked_sub(1), Some(entry.end)].into_iter().flatten() {
                self.check_synced(beside, out);
                self.reconcile_step(now, beside, out);
            }
            self.read_anew(now, reads, out);
        }
        if !entries.is_empty() {
            self.know_addresses();
            self.dispatch_parked(now, out);
        }
    }

    /// Gives this server its role in a piece of a new entry.
    fn change(&mut self, entry: Entry, old: Option<Hold>, out: &mut Out) {
        let (start, end) = (entry.start, entry.end);
        if old.as_ref().is_some_and(|old| old.entry.born != entry.born) {
            self.hand_over_writes(start, end, out);
            self.store.wipe(start, end);
        }
        let role = self.role(&entry, old);
        if !matches!(role, Role::Primary(_)) {
            self.hand_over_writes(start, end, out);
        }
        if let Role::Joiner = role {
            let since = entry.joining.iter().find(|joiner| *joiner.id() == self.id);
            let since = since.map_or(entry.revision, |joiner| joiner.since());
            let fresh = (start..end).any(|slot| self.joined[usize::from(slot)] != since);
            if fresh {
                // What is left of an earlier time may hold writes that never were.
                self.store.wipe(start, end);
                self.joined[usize::from(start)..usize::from(end)].fill(since);
            }
        }
        self.holds.insert(Hold { entry, role });
    }

    /// What this server is in an entry, given what it was in these slots.
    fn role(&self, entry: &Entry, old: Option<Hold>) -> Role {
        if entry.active[0].id() == &self.id {
            let led = old.filter(|old| old.entry.revision >= entry.led_since);
            if let Some(Hold { role: Role::Primary(mut primary), .. }) = led {
                if let Some(reconcile) = &mut primary.reconcile {
                    *reconcile = Reconcile { asked: others(entry), ..Reconcile::default() };
                }
                return Role::Primary(primary);
            }
            // At its birth a range is empty everywhere.
            let asked = others(entry);
            let alone = asked.is_empty() || entry.born == entry.revision;
            let reconcile = (!alone).then(|| Reconcile { asked, ..Reconcile::default() });
            Role::Primary(Box::new(Primary { reconcile, ..Primary::default() }))
        } else if entry.active.iter().any(|peer| *peer.id() == self.id) {
            Role::Replica
        } else if entry.joining.iter().any(|joiner| *joiner.id() == self.id) {
            Role::Joiner
        } else {
            Role::Left
        }
    }

    /// Begins what a new revision asks of a primary.
    fn begin(&mut self, now: Millis, slot: u16, out: &mut Out) {
        let Some(hold) = self.holds.at_mut(slot) else {
            return;
        };
        let entry = hold.entry.clone();
        let Role::Primary(primary) = &hold.role else {
            return;
        };
        if primary.serves() {
            let named = entry.active.iter().map(|peer| peer.id());
            let named = named.chain(entry.joining.iter().map(|joiner| joiner.id()));
            let others: Vec<NodeId> = named.filter(|id| **id != self.id).cloned().collect();
            self.know_addresses();
            for id in others {
                self.send(&id, Body::Teach(vec![entry.clone()]), out);
            }
            self.start_syncs(now, slot, out);
            self.resend_writes(now, slot, out);
        } else {
            self.know_addresses();
            self.ask_holdings(slot, out);
            // Nobody may be left to ask.
            self.reconcile_step(now, slot, out);
        }
    }

    fn read_anew(&mut self, now: Millis, reads: Vec<super::holds::PendingRead>, out: &mut Out) {
        for read in reads {
            let said = ReadExtension::default();
            self.read(now, Read { to: read.to, key: read.key, said }, out);
        }
    }

    /// Tells the leader of joiners that are synced, until it has heard.
    pub(super) fn report_synced(&mut self, out: &mut Out) {
        if self.report_call.is_some() {
            self.report_again = true;
            return;
        }
        let mut synced = Vec::new();
        for hold in self.holds.iter() {
            let Role::Primary(primary) = &hold.role else {
                continue;
            };
            let done = primary.syncs.iter().filter(|(_, sync)| sync.synced && !sync.reported);
            let ids: Vec<NodeId> = done.map(|(id, _)| id.clone()).collect();
            if !ids.is_empty() {
                synced.push((hold.span(), ids));
            }
        }
        if synced.is_empty() {
            return;
        }
        self.report_again = false;
        let id = Some(self.id.clone());
        let report = Report { version: EXTENSION_VERSION, id, synced, refused: Vec::new() };
        self.report_call = Some(self.call_report(report, out));
    }

    /// Tells the leader that a server refuses connections.
    pub(super) fn report_refused(&mut self, ids: Vec<NodeId>, out: &mut Out) {
        let (id, synced) = (Some(self.id.clone()), Vec::new());
        let report = Report { version: EXTENSION_VERSION, id, synced, refused: ids };
        self.call_report(report, out);
    }

    fn call_report(&mut self, report: Report, out: &mut Out) -> crate::core::machine::CallId {
        let message = Reply::new().text("cmd", "dht_report").value("dht", &report).finish();
        let call = self.call_id(Purpose::Report(report.synced));
        let timeout_ms = HEARTBEAT_TIMEOUT_MS;
        out.push(Output::Call { call, target: Target::Leader, message, timeout_ms, keep: true });
        call
    }

    /// A leader that did not know us has heard no report.
    fn forget_reports(&mut self) {
        for hold in self.holds.iter_mut() {
            if let Role::Primary(primary) = &mut hold.role {
                primary.syncs.values_mut().for_each(|sync| sync.reported = false);
            }
        }
        self.want_retry();
    }

    /// The leader has heard a report, or has not.
    pub(super) fn report_answered(
        &mut self,
        call: crate::core::machine::CallId,
        synced: Vec<(Span, Vec<NodeId>)>,
        result: &Result<Vec<u8>, CallError>,
        out: &mut Out,
    ) {
        if self.report_call != Some(call) {
            return;
        }
        self.report_call = None;
        if result.is_ok() {
            for (span, ids) in synced {
                let Some(hold) = self.holds.exactly(span) else {
                    continue;
                };
                let Some(primary) = hold.primary() else {
                    continue;
                };
                for id in ids {
                    if let Some(sync) = primary.syncs.get_mut(&id) {
                        sync.reported = true;
                    }
                }
            }
        }
        if self.report_again {
            self.report_synced(out);
        }
        self.want_retry();
    }

    /// What the leader needs to be told again, if anything.
    pub(super) fn knows_newer(&self, slot: u16, revision: Revision) -> bool {
        self.holds.seen(slot) >= revision
    }
}

/// The active servers but the primary.
fn others(entry: &Entry) -> std::collections::BTreeSet<NodeId> {
    super::others(entry)
}
