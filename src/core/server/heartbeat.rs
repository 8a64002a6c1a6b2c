//! Heartbeats and reports: what this server tells the leader.

use super::holds::{Hold, Role};
use super::leave::Leaving;
use super::{Out, Purpose, Server};
use crate::core::assignment::{HeartbeatExtension, NodeId, Report, Snapshot, Span};
use crate::core::machine::{CallError, CallId, Millis, Note, Output, Target};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::wire::json::Object;
use crate::core::wire::request::EXTENSION_VERSION;

/// After how long a heartbeat or a report counts as not answered at the latest.
const HEARTBEAT_TIMEOUT_MS: Millis = 5_000;

/// At the earliest. In between it is the time from one heartbeat to the next, so that one that was
/// swallowed on its way does not cost the lease.
const HEARTBEAT_TIMEOUT_LEAST_MS: Millis = 1_000;

/// How soon a heartbeat that failed, or was answered `retry`, is sent again.
const HEARTBEAT_RETRY_MS: Millis = 200;

/// How many earlier identities are told once a leader has accepted a later one; more only where ranges
/// name them.
pub(super) const IDENTITIES_TOLD_MAX: usize = 16;

/// How many are told in any case. A server that is denied or started so often without being accepted
/// in between forgets the first.
pub(super) const IDENTITIES_MAX: usize = 4_096;

impl Server {
    /// Renews the lease.
    pub(super) fn heartbeat(&mut self, now: Millis, out: &mut Out) {
        self.heartbeat_at = now + self.config.heartbeat_ms;
        if self.heartbeat_call.is_some() || self.leaving >= Leaving::Goodbye {
            return;
        }
        let call = self.send_heartbeat(now, Purpose::Heartbeat, out);
        self.heartbeat_call = Some(call);
        self.heartbeat_sent_at = now;
    }

    /// Tells the leader all that heartbeats tell.
    pub(super) fn send_heartbeat(
        &mut self,
        now: Millis,
        purpose: Purpose,
        out: &mut Out,
    ) -> CallId {
        let extension = HeartbeatExtension {
            version: EXTENSION_VERSION,
            advertise: self.config.advertise.clone(),
            epoch: self.epoch.unwrap_or(0),
            revision: self.acked,
            seen: self.holds.seen_max().max(self.told),
            dropped: std::mem::take(&mut self.dropped),
            was: self.was.clone(),
            silent_ms: self.in_view_from.filter(|_| !self.registered).map(|from| {
                let until = self.leader_gone_at.unwrap_or(now);
                until.saturating_sub(from)
            }),
            holds: (!self.registered)
                .then(|| self.holds.iter().map(|hold| hold.entry.clone()).collect()),
            leaving: self.leaving != Leaving::No,
            left: self.leaving == Leaving::Goodbye,
            keeps: self.keeper.is_some() && !planted(Planted::DiskNotTold),
        };
        let message = Reply::new()
            .text("cmd", "heartbeat")
            .number("port", u64::from(self.config.port))
            .raw("requestor", &self.id)
            .value("dht", &extension)
            .finish();
        let keep = self.leader_speaks == Some(true);
        let call = self.call_id(purpose);
        let timeout_ms = self.heartbeat_timeout_ms();
        out.push(Output::Call { call, target: Target::Leader, message, timeout_ms, keep });
        call
    }

    fn heartbeat_timeout_ms(&self) -> Millis {
        self.config.heartbeat_ms.clamp(HEARTBEAT_TIMEOUT_LEAST_MS, HEARTBEAT_TIMEOUT_MS)
    }

    /// The leader does not know this server: tells it at once what this server holds.
    pub(super) fn tell_all(&mut self, now: Millis, out: &mut Out) {
        self.registered = false;
        self.acked = 0;
        self.heartbeat(now, out);
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
        self.leader_absent = matches!(result, Err(CallError::Refused | CallError::NotSent(_)));
        if matches!(result, Err(CallError::Refused)) {
            self.leader_gone_at.get_or_insert(now);
            self.leader_is_away(now, out);
        }
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
                self.accepted_at = Some(now);
                self.in_view_from = Some(self.heartbeat_sent_at);
                self.leader_gone_at = None;
                self.leader_away_told = false;
                if !std::mem::replace(&mut self.registered, true) {
                    self.forget_identities();
                    self.forget_reports();
                }
                self.meets_leader(snapshot.is_some());
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
                    return self.tell_all(now, out);
                }
                self.lease_refused(now, status, out);
                self.heartbeat_at = self.heartbeat_at.min(soon);
            }
        }
    }

    /// The leader is there, and speaks the extension or does not.
    pub(super) fn meets_leader(&mut self, speaks: bool) {
        if self.leader_speaks.replace(speaks) != Some(true) && speaks {
            self.local.join_ring();
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
            let addr = self.addr.to_string();
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
        if self.was.len() > IDENTITIES_MAX {
            self.was.remove(0);
        }
        while self.was.contains(&self.id) {
            self.id = self.draw_identity();
        }
        self.renamed += 1;
        let requestor = crate::core::wire::json::Json::parse(self.id.as_bytes());
        let requestor = requestor.expect("an identity is drawn as a JSON number");
        out.push(Output::Note(Note::Renamed { requestor }));
        self.registered = false;
        self.in_view_from = None;
        self.acked = 0;
        self.dropped.clear();
        let spans: Vec<Span> = self.holds.iter().map(Hold::span).collect();
        for Span(start, end, _) in spans {
            self.hand_over_writes(start, end, out);
            let reads = self.take_reads(start, end);
            if let Some(hold) = self.holds.at_mut(start).filter(|_| !planted(Planted::DeniedServes))
            {
                hold.role = Role::Left;
            }
            self.read_anew(now, reads, out);
        }
        let regular = 2 * self.config.heartbeat_ms;
        if self.accepted_at.take().is_some_and(|accepted| now < accepted + regular) {
            // We were in time, so the leader has found nobody at our address: joining again at
            // once would only repeat that.
            let addr = self.addr.to_string();
            out.push(Output::Note(Note::Unreachable { addr }));
        } else {
            self.heartbeat(now, out);
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
        let report = Report { version: EXTENSION_VERSION, id, synced, ..Report::default() };
        self.report_call = Some(self.call_report(report, out));
    }

    /// Tells the leader that a server refuses connections.
    pub(super) fn report_refused(&mut self, ids: Vec<NodeId>, out: &mut Out) {
        let id = Some(self.id.clone());
        let report = Report { version: EXTENSION_VERSION, id, refused: ids, ..Report::default() };
        self.call_report(report, out);
    }

    pub(super) fn call_report(&mut self, report: Report, out: &mut Out) -> CallId {
        let message = Reply::new().text("cmd", "dht_report").value("dht", &report).finish();
        let call = self.call_id(Purpose::Report(report.synced));
        let timeout_ms = self.heartbeat_timeout_ms();
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
        call: CallId,
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
}
