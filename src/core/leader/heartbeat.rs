//! Heartbeats: leases, joins, and what a server says it holds.

use super::members::{Extension, Member};
use super::probe::Absent;
use super::{LEFT, Leader, Out, RESTARTED, plan};
use crate::core::assignment::{Entry, HeartbeatExtension, NodeId, Revision, Span, position_of};
use crate::core::machine::{Millis, Note, Origin, Output};
use crate::core::net_addr::{host_of, is_loopback, with_port};
use crate::core::planted::{Planted, planted};
use crate::core::reply::Reply;
use crate::core::wire::json::Json;

impl Leader {
    /// Renews a lease, or takes a server into the view.
    pub(super) fn heartbeat(
        &mut self,
        now: Millis,
        origin: &Origin,
        port: u16,
        requestor: &Json,
        extension: Option<&str>,
        out: &mut Out,
    ) -> Vec<u8> {
        self.sweep(now, out);
        if self.members.is_expired(requestor) && !planted(Planted::DeniedReturns) {
            return Reply::status("deny").finish();
        }
        let extension: Option<HeartbeatExtension> =
            extension.and_then(|raw| serde_json::from_str(raw).ok());
        let extension = extension.filter(HeartbeatExtension::is_sane);
        let advertise = extension.as_ref().and_then(|extension| extension.advertise.as_ref());
        let addr = with_port(advertise.map_or(&*origin.peer_ip, String::as_str), port);
        let lease_until = now + self.config.lease_ms;
        let ended = self.ended_before(extension.as_ref());
        let goes_on = |member: &&mut Member| !member.id().is_some_and(|id| ended.contains(&id));
        match self.members.at(&addr).filter(goes_on) {
            Some(member) if member.requestor == *requestor => {
                member.lease_until = lease_until;
                member.heard_at = now;
                if let (Some(said), Some(known)) = (&extension, &mut member.extension) {
                    let id = known.id.clone();
                    // A record of an older version says nothing of disks.
                    self.untold |= said.keeps && !known.keeps;
                    known.keeps |= said.keeps;
                    self.acknowledged(&id, said.revision, &said.dropped);
                    if said.left && self.may_leave(&id) {
                        self.remove(now, &[addr], LEFT, out);
                        return Reply::status("ok").number("epoch", self.epoch).finish();
                    }
                    self.wants_to_leave(now, &id, said, out);
                }
            }
            Some(other) => {
                // Where both speak the extension we can ask the address who is there.
                let holder = other.extension.as_ref().map(|known| known.id.clone());
                if let Some(holder) = holder.filter(|_| extension.is_some()) {
                    self.probe(&holder, out);
                }
                return Reply::status("retry").number("epoch", self.epoch).finish();
            }
            None => {
                let id: NodeId = requestor.as_str().into();
                if self.members.by_id(&id).is_some() {
                    // One identity at two addresses: the first has it until its lease ends.
                    return Reply::status("retry").number("epoch", self.epoch).finish();
                }
                let tells = |said: &&HeartbeatExtension| said.revision > 0 && said.holds.is_none();
                if let Some(said) = extension.as_ref().filter(tells) {
                    // Until it has told, a new server must not be given what it holds.
                    self.notice_restart(now, said.seen.max(said.revision), out);
                    self.end_recovery(now);
                    let tell = r#"{"version":1,"tell":true}"#;
                    let retry = Reply::status("retry").number("epoch", self.epoch);
                    return retry.raw("dht", tell).finish();
                }
                let member = Member {
                    position: position_of(requestor),
                    requestor: requestor.clone(),
                    lease_until,
                    heard_at: now,
                    extension: extension.as_ref().map(|said| Extension {
                        id: id.clone(),
                        was: said.was.clone(),
                        vouches: self.vouches(said),
                        keeps: said.keeps,
                        leader_host: self.leader_host(origin),
                        acked: 0,
                        epoch_told: 0,
                        originals_told: false,
                        push: None,
                        push_after: 0,
                        may_drop: false,
                        leaving_since: said.leaving.then_some(now),
                        released: false,
                        leave_told: false,
                    }),
                    addr: addr.clone(),
                };
                let known = ended.iter().filter_map(|id| self.members.by_id(id));
                let addrs: Vec<String> = known.map(|member| member.addr.clone()).collect();
                self.take_out(now, &addrs, RESTARTED, out);
                self.succeed(&ended, &member);
                self.join(now, member, extension, out);
            }
        }
        let reply = Reply::status("ok").number("epoch", self.epoch);
        match extension_id(requestor, &self.members) {
            Some(id) => reply.value("dht", &self.snapshot(&id)).finish(),
            None => reply.finish(),
        }
    }

    /// The members that this server was before: those processes have ended, and this one has their
    /// data. They must not be counted on beside it, least of all where it is told to delete what it
    /// holds.
    fn ended_before(&self, said: Option<&HeartbeatExtension>) -> Vec<NodeId> {
        let was = said.map_or(&[][..], |said| &said.was);
        was.iter().filter(|id| self.members.by_id(id).is_some()).cloned().collect()
    }

    /// A member has come back under another identity, before anybody has gone on without it: it takes
    /// the place of the one that it was. It holds all that was acknowledged, since that needed it.
    fn succeed(&mut self, olds: &[NodeId], member: &Member) {
        let Some(id) = member.id().filter(|_| !olds.is_empty()) else { return };
        let next = self.revision + 1;
        for range in &mut self.ranges {
            if plan::succeed(&mut range.state, olds, &id, next) {
                self.revision = next;
            }
        }
    }

    fn join(
        &mut self,
        now: Millis,
        member: Member,
        said: Option<HeartbeatExtension>,
        out: &mut Out,
    ) {
        let (addr, position) = (member.addr.clone(), member.position);
        let id = member.extension.as_ref().map(|extension| extension.id.clone());
        self.members.insert(member);
        if let Some((id, said)) = id.zip(said) {
            if !planted(Planted::EpochStartsAnew) {
                self.epoch = self.epoch.max(said.epoch);
            }
            self.notice_restart(now, said.seen, out);
            self.absent.remove(&id);
            self.hear(now, &id, &said);
        }
        self.epoch += 1;
        out.push(Output::Note(Note::Joined { addr, position, epoch: self.epoch }));
        self.replan(now, out);
    }

    /// A server knows a revision: where it is news, we were started again.
    fn notice_restart(&mut self, now: Millis, seen: Revision, out: &mut Out) {
        if seen <= self.revision || seen >= HeartbeatExtension::SEEN_MAX {
            return;
        }
        // A revision that was used must not be used again.
        self.revision = self.above_all_given_out(seen);
        // The ring before has others that were not heard yet, and hold what this one does not.
        self.recovering_since.get_or_insert(now);
        self.restarted_at.get_or_insert(now);
        self.own_from = self.revision + 1;
        out.push(Output::Note(Note::Recovering));
    }

    /// Takes in what a server that was not a member says it holds.
    fn hear(&mut self, now: Millis, id: &NodeId, said: &HeartbeatExtension) {
        let holds = said.holds.as_deref().unwrap_or_default();
        for entry in holds.iter().filter(|entry| entry.is_valid()) {
            plan::cut(&mut self.ranges, &[entry.start, entry.end]);
            for index in plan::within(&self.ranges, entry.start, entry.end) {
                self.hear_entry(now, index, id, entry);
            }
        }
        let next = self.revision + 1;
        for range in &mut self.ranges {
            if plan::take_back(&mut range.state, &said.was, id, next) {
                self.revision = next;
            }
        }
    }

    /// One entry that a server knows, for one range of ours.
    fn hear_entry(&mut self, now: Millis, index: usize, id: &NodeId, entry: &Entry) {
        let state = &mut self.ranges[index].state;
        // After a restart, what a server knows of the ring before counts more than what this
        // leader has made of less. But where all whom the ring before named were heard, nothing newer
        // of that ring can ever have been in effect.
        let resolved = state.claimed.is_some() && state.unsure_since.is_none();
        let recovering = self.recovering_since.is_some() && !resolved;
        let older_ring = recovering && entry.revision < self.own_from;
        let known = if older_ring { state.claimed.unwrap_or(0) } else { state.revision };
        let known = if planted(Planted::LastClaimWins) { entry.revision - 1 } else { known };
        if entry.revision <= known {
            let told = planted(Planted::LeaverNotTold) || state.leaving.contains(id);
            if !state.names(id) && !told {
                // It has data of a range that has moved on: it shall delete them.
                state.leaving.push(id.clone());
            }
            return;
        }
        // We were started again and know less than the servers.
        if self.revision < entry.revision {
            self.revision = self.above_all_given_out(entry.revision);
        }
        let state = &mut self.ranges[index].state;
        let named = |id: &NodeId| entry.names(id);
        let leaving = state.named().chain(&state.leaving).filter(|id| !named(id));
        let mut leaving: Vec<NodeId> = leaving.cloned().collect();
        if !named(id) && !leaving.contains(id) {
            leaving.push(id.clone());
        }
        *state = plan::State {
            revision: entry.revision,
            born: entry.born,
            led_since: entry.led_since,
            active: entry.active.iter().map(|peer| peer.id().clone()).collect(),
            joining: entry.joining.iter().map(|j| (j.id().clone(), j.since())).collect(),
            leaving,
            waiting_since: None,
            claimed: Some(entry.revision),
            unsure_since: Some(now),
        };
        let teller = self.members.extension(id);
        let keeps = teller.filter(|teller| teller.keeps).map(|_| true);
        let joiners = entry.joining.iter().map(|joiner| joiner.peer());
        for peer in entry.active.iter().cloned().chain(joiners) {
            if self.members.by_id(peer.id()).is_none() {
                // Nobody knows whether it has a disk: it is like the one that tells of it.
                let absent = || Absent::new(peer.addr().to_string(), false, keeps, now);
                self.absent.entry(peer.id().clone()).or_insert_with(absent);
            }
        }
    }

    /// A server has adopted everything up to `revision`, and deleted what it was told to.
    pub(super) fn acknowledged(&mut self, id: &NodeId, revision: u64, dropped: &[Span]) {
        let Some(extension) = self.members.extension_mut(id) else {
            return;
        };
        if revision > extension.acked {
            extension.acked = revision;
            self.untold = true;
        }
        for span in dropped.iter().filter(|span| span.0 < span.1) {
            plan::cut(&mut self.ranges, &[span.0, span.1]);
            for index in plan::within(&self.ranges, span.0, span.1) {
                let state = &mut self.ranges[index].state;
                if state.revision == span.2 {
                    state.leaving.retain(|leaver| leaver != id);
                }
            }
            self.untold = true;
        }
        if !dropped.is_empty() {
            plan::merge(&mut self.ranges);
        }
    }

    /// How the sender of a frame reaches this host; empty where it is this host.
    pub(super) fn leader_host(&self, origin: &Origin) -> String {
        if is_loopback(&origin.peer_ip) {
            return String::new();
        }
        self.config.advertise.clone().unwrap_or_else(|| origin.local_ip.to_string())
    }
}

/// `addr` as somebody reaches it who reaches the leader's host by `leader_host`: a server on the
/// leader's own host is registered as loopback, which means another machine elsewhere.
pub(super) fn reachable(addr: &str, leader_host: &str) -> String {
    let host = host_of(addr);
    if leader_host.is_empty() || !is_loopback(host) {
        return addr.to_string();
    }
    format!("{leader_host}{}", &addr[host.len()..])
}

fn extension_id(requestor: &Json, members: &super::Members) -> Option<NodeId> {
    members.extension(requestor.as_str()).map(|extension| extension.id.clone())
}
