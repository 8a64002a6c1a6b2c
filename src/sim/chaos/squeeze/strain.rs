//! What happens in a storm, and when it ends again.

use super::{KEYS, Squeeze};
use crate::core::assignment::NodeId;
use crate::core::hash::slot_of;
use crate::core::machine::Millis;
use crate::sim::chaos::world::LEADER;

/// How many servers live at most.
const SERVERS_MAX: usize = 6;

/// How long frames are late at most that are repeated or overtaken.
const FRAME_LATE_MS_MAX: Millis = 2_500;

/// How long requests are held up at most: less than the lease where leaders restart.
const CALL_LATE_MS_MAX: Millis = 2_500;

/// How a fault ends, or what follows it.
#[derive(Debug, Clone)]
pub(super) enum Undo {
    /// A server is killed, where that may be.
    Kill(String),
    /// A server starts again at its old address.
    Restart(String),
    /// A server goes on.
    Resume(String),
    /// Nothing separates these pairs any more.
    Mend(Vec<(String, String)>),
    /// Nothing passes between these pairs.
    Cut(Vec<(String, String)>),
    /// A host is as fast as others.
    Hasten(String),
    /// Messages arrive again, once and in order.
    Quiet,
    /// The leader starts again.
    Lead,
    /// The leader is killed; it starts again so much later.
    Behead(Millis),
    /// One of a key's servers comes to its place again, and stays so long.
    Visit(&'static str, usize, Millis),
    /// All servers of a key die, and others come.
    WipeOut(&'static str),
}

impl Squeeze {
    /// Strikes again and again, for a second or a few.
    pub(super) fn storm(&mut self) -> Result<(), String> {
        if !self.leader_restarts && self.rng.chance(30) {
            self.stall()?;
        }
        let span_ms = self.rng.between(800, 2_000) + 2 * self.lease_ms.min(1_000);
        self.storm_until = self.cluster.now() + span_ms;
        let pause_ms_max = *self.rng.pick(&[150, 300, 600]);
        let mut strike_at = self.cluster.now();
        let blow_at = self.rng.chance(50).then_some(strike_at + span_ms / 2);
        while self.cluster.now() < self.storm_until {
            let end = self.storm_until;
            let undo_at = self.undos.first_key_value().map_or(end, |((at, _), _)| *at);
            self.step(undo_at.min(strike_at).min(end))?;
            self.undo_due();
            if strike_at <= self.cluster.now() {
                strike_at = self.cluster.now() + self.rng.between(20, pause_ms_max);
                if blow_at.is_some_and(|at| at <= self.cluster.now()) {
                    return self.last_blow();
                }
                self.strike();
                strike_at = strike_at.max(std::mem::take(&mut self.strike_after));
            }
        }
        Ok(())
    }

    /// Nothing else strikes for so long, and the storm lasts until then.
    pub(super) fn wait_for(&mut self, for_ms: Millis) {
        self.strike_after = self.cluster.now() + for_ms;
        self.storm_until = self.storm_until.max(self.strike_after + 1);
    }

    /// Time passes, and nothing new strikes.
    pub(super) fn pass(&mut self, for_ms: Millis) -> Result<(), String> {
        let end = self.cluster.now() + for_ms;
        while self.cluster.now() < end {
            self.step(end)?;
        }
        Ok(())
    }

    /// Something happens `in_ms` from now.
    pub(super) fn later(&mut self, in_ms: Millis, undo: Undo) {
        let key = (self.cluster.now() + in_ms, self.number());
        self.undos.insert(key, undo);
    }

    fn undo_due(&mut self) {
        while let Some(entry) = self.undos.first_entry() {
            if entry.key().0 > self.cluster.now() {
                return;
            }
            let undo = entry.remove();
            self.undo(undo);
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Kill(name) => self.kill(&name),
            Undo::Restart(name) => self.restart(&name),
            Undo::Resume(name) => {
                if self.cluster.is_alive(&name) && self.cluster.is_paused(&name) {
                    self.cluster.resume(&name);
                }
            }
            Undo::Mend(pairs) => {
                pairs.iter().for_each(|(one, other)| self.cluster.faults.mend(one, other));
            }
            Undo::Cut(pairs) => {
                pairs.iter().for_each(|(one, other)| self.cluster.faults.cut(one, other));
            }
            Undo::Hasten(ip) => self.cluster.faults.slow_down(&ip, 0),
            Undo::Quiet => self.quiet(),
            Undo::Lead => self.lead(),
            Undo::Behead(for_ms) => self.behead(for_ms),
            Undo::Visit(key, place, for_ms) => {
                self.visit(key, place, for_ms);
            }
            Undo::WipeOut(key) => self.wipe_out(key),
        }
    }

    fn quiet(&mut self) {
        let faults = &mut self.cluster.faults;
        faults.frame_loss_percent = 0;
        faults.frame_repeat_percent = 0;
        faults.frame_reorder_percent = 0;
        faults.call_loss_percent = 0;
        faults.call_late_percent = 0;
        faults.call_late_clients = false;
    }

    /// Ends all that goes on.
    pub(super) fn heal(&mut self) {
        for undo in std::mem::take(&mut self.undos).into_values() {
            if matches!(undo, Undo::Resume(_) | Undo::Lead) {
                self.undo(undo);
            }
        }
        self.cluster.faults.heal();
        if !self.cluster.is_alive(LEADER) {
            self.start_leader();
        }
        let leaving = std::mem::take(&mut self.leaving);
        self.leaving = leaving.into_iter().filter(|name| self.cluster.is_alive(name)).collect();
    }

    /// Starts the dead servers again whose disks have what a range waits for.
    pub(super) fn revive_missed(&mut self) {
        if !self.disks {
            return;
        }
        let missed = self.cluster.missed(LEADER);
        for name in self.servers.clone() {
            if !self.cluster.is_alive(&name)
                && self.cluster.stored_identities(&name).iter().any(|id| missed.contains(id))
            {
                let seed = self.rng.bits();
                self.start_server(&name, seed);
            }
        }
    }

    /// Whether the ring can do without a server: every key keeps a holder that lives.
    pub(super) fn may_kill(&self, name: &str) -> bool {
        if self.spares_nobody || self.record {
            return self.record || self.living().len() > 1;
        }
        let others: Vec<NodeId> = self
            .living()
            .iter()
            .filter(|other| *other != name)
            .flat_map(|other| self.counts_as(other))
            .collect();
        // Without a leader nobody knows who counts; and one that was started again may know less
        // than the server that would be killed.
        let mut slots = (0..10_000).step_by(25).chain(KEYS.map(|key| slot_of(key.as_bytes())));
        let remains = |active: Vec<NodeId>| active.iter().any(|id| others.contains(id));
        self.cluster.is_alive(LEADER)
            && slots.all(|slot| {
                let (active, _) = self.cluster.named_at(LEADER, slot);
                remains(active)
                    && (!self.leader_restarts
                        || (remains(self.cluster.newest_at(slot))
                            && self.cluster.relies_on(LEADER, slot, &others)))
            })
    }

    /// The identities under which a server's copy counts. A restarted leader does not know whether
    /// a range has moved on from one that is denied by now, and does not go on with it alone.
    fn counts_as(&self, name: &str) -> Vec<NodeId> {
        let mut identities = self.cluster.identities(name);
        if self.leader_restarts {
            identities.truncate(1);
        }
        identities
    }

    pub(super) fn kill(&mut self, name: &str) {
        if self.cluster.is_alive(name) && self.may_kill(name) {
            self.stats.faults += 1;
            self.cluster.crash(name);
            self.leaving.remove(name);
        }
    }

    fn restart(&mut self, name: &str) {
        if !self.cluster.is_alive(name) && self.may_join() {
            let seed = self.rng.bits();
            self.start_server(name, seed);
            // Another life: it was not asked to leave.
            self.leaving.remove(name);
        }
    }

    /// Whether there is room for another server. One that is new, and that a restarted leader hears
    /// before any other, would make it the leader of a new ring.
    pub(super) fn may_join(&self) -> bool {
        let heard = !self.cluster.members(LEADER).is_empty();
        heard && self.living().len() < SERVERS_MAX
    }

    /// The leader dies, where it may, and comes back.
    pub(super) fn behead(&mut self, for_ms: Millis) {
        let alive = self.leader_restarts && self.cluster.is_alive(LEADER);
        if alive && self.is_assigned() && self.all_are_members() {
            self.stats.faults += 1;
            self.quiet();
            self.cluster.crash(LEADER);
            self.later(for_ms, Undo::Lead);
        }
    }

    /// Whether servers hold every key: else nobody knows what the leader knew.
    fn is_assigned(&self) -> bool {
        let held = |slot| !self.cluster.named_at(LEADER, slot).0.is_empty();
        KEYS.iter().all(|key| held(slot_of(key.as_bytes())))
    }

    /// Whether nobody is new, except one that is stopped: one that is, and that a restarted leader
    /// hears before all others, would make it the leader of a new ring.
    fn all_are_members(&self) -> bool {
        let members = self.cluster.members(LEADER);
        self.living().iter().filter(|name| !self.cluster.is_paused(name)).all(|name| {
            let known = self.cluster.identities(name).iter().any(|id| members.contains(id));
            // One that joined, and was not told so, does not know that there is a ring.
            known && self.cluster.has_adopted(name)
        })
    }

    fn lead(&mut self) {
        if !self.cluster.is_alive(LEADER) {
            self.start_leader();
        }
    }

    /// One fault, drawn at random.
    fn strike(&mut self) {
        self.stats.faults += 1;
        let Some(name) = self.any_server() else { return };
        let ip = self.cluster.ip(&name).to_string();
        let leader_ip = self.cluster.ip(LEADER).to_string();
        match self.rng.between(0, 16) {
            0..=2 => self.weather(),
            3..=6 => {
                let key = *self.rng.pick(&KEYS);
                let (place, for_ms) = (self.rng.between(0, 2), self.rng.between(20, 500));
                self.visit(key, place as usize, for_ms);
            }
            7 => {
                self.kill(&name);
                let in_ms = self.rng.between(20, 500);
                self.later(in_ms, Undo::Restart(name));
            }
            8 => {
                let for_ms = self.around_lease();
                self.cluster.pause(&name);
                self.later(for_ms, Undo::Resume(name));
            }
            9 | 11 if self.leader_restarts => self.strike_leader(),
            9 => {
                let for_ms = self.around_lease();
                self.separate(&ip, &[leader_ip], for_ms);
            }
            10 => {
                let other = self.any_server().unwrap_or_default();
                let other = self.cluster.ip(&other).to_string();
                let for_ms = self.rng.between(50, 800);
                self.separate(&ip, &[other], for_ms);
            }
            11 => {
                let for_ms = self.around_lease();
                let others = self.ring_ips(&ip);
                self.separate(&ip, &others, for_ms);
            }
            12 => {
                let by_ms = self.rng.between(20, 400);
                self.cluster.faults.slow_down(&ip, by_ms);
                let for_ms = self.rng.between(100, 800);
                self.later(for_ms, Undo::Hasten(ip));
            }
            13 => {
                let number = self.rng.between(0, self.workers.len() as u64 - 1) as usize;
                self.kill_client(number);
                if self.living().len() > 3 && self.rng.chance(40) && self.leaving.is_empty() {
                    self.cluster.leave(&name);
                    self.leaving.insert(name);
                }
            }
            14 => {
                if self.rng.chance(50) {
                    self.flap_beside();
                } else {
                    self.tell_late();
                }
            }
            15 if self.record && self.rng.chance(50) => self.fell_ring(),
            15 if self.spares_nobody || self.record => self.lose_answers(),
            _ if self.leader_restarts => self.strike_leader(),
            _ => self.flap(),
        }
    }

    fn around_lease(&mut self) -> Millis {
        let lease_ms = self.lease_ms;
        // A restarted leader believes that it hears of everybody within a lease.
        if self.leader_restarts {
            return self.rng.between(50, 800);
        }
        self.rng.between(lease_ms / 6, 2 * lease_ms)
    }

    /// Frames and requests are lost, repeated and late for a while.
    fn weather(&mut self) {
        let late_max_ms = if self.leader_restarts { 800 } else { CALL_LATE_MS_MAX };
        let rng = &mut self.rng;
        let faults = &mut self.cluster.faults;
        faults.frame_loss_percent = *rng.pick(&[0, 0, 5, 20]);
        faults.frame_repeat_percent = *rng.pick(&[0, 10, 40]);
        faults.frame_reorder_percent = *rng.pick(&[0, 10, 40]);
        faults.frame_late_max_ms = *rng.pick(&[50, 300, 1_000, FRAME_LATE_MS_MAX]);
        faults.call_loss_percent = *rng.pick(&[0, 0, 5, 15]);
        faults.call_late_percent = *rng.pick(&[0, 5, 20, 40]);
        faults.call_late_max_ms = *rng.pick(&[200, 800, late_max_ms]);
        let for_ms = rng.between(200, 1_500);
        self.later(for_ms, Undo::Quiet);
    }

    /// A host and others do not reach each other, or only one way.
    pub(super) fn separate(&mut self, ip: &str, others: &[String], for_ms: Millis) {
        let way = self.rng.between(0, 3);
        let faults = &mut self.cluster.faults;
        let others: Vec<&String> = others.iter().filter(|other| *other != ip).collect();
        for other in &others {
            match way {
                0 => faults.cut_one_way(ip, other),
                1 => faults.cut_one_way(other, ip),
                _ => faults.cut(ip, other),
            }
        }
        let pairs = others.into_iter().map(|other| (ip.to_string(), other.clone())).collect();
        self.later(for_ms, Undo::Mend(pairs));
    }

    /// The hosts of the leader and of all servers but one.
    pub(super) fn ring_ips(&self, but: &str) -> Vec<String> {
        let names = self.servers.iter().map(String::as_str).chain([LEADER]);
        let ips = names.map(|name| self.cluster.ip(name).to_string());
        ips.filter(|ip| ip != but).collect()
    }

    pub(super) fn any_server(&mut self) -> Option<String> {
        let living = self.living();
        (!living.is_empty()).then(|| self.rng.pick(&living).clone())
    }

    /// A client dies in the middle of what it does, and another takes its place.
    pub(super) fn kill_client(&mut self, number: usize) {
        let (id, process) = (self.number(), self.number());
        let timeout_ms = *self.rng.pick(&[700, 1_500, 5_000]);
        let worker = &mut self.workers[number];
        self.cluster.crash(&worker.name);
        if worker.op.take().is_some() {
            let outcome = crate::sim::history::Outcome::Unknown;
            self.history.end(self.cluster.now(), worker.process, outcome);
            worker.process = process;
        }
        self.cluster.spawn_hasty_client(&worker.name, id, timeout_ms);
    }
}
