//! Faults at the worst moment: several that belong together, at the servers of one key, while all
//! clients rush to it. Single faults at random hardly ever meet a write that is half done.

use std::collections::BTreeSet;

use super::faults::Kind;
use super::inflict::{SERVERS_MAX, SERVERS_MIN, Undos};
use super::plan::Undo;
use super::workload::KEYS;
use super::world::{LEADER, LEASE_MS, World};
use crate::core::assignment::NodeId;
use crate::core::machine::Millis;

/// What becomes of a server in the middle of a rush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fall {
    /// It is killed.
    Killed,
    /// It stops for longer than a lease.
    Stopped,
}

impl World {
    /// Frames between replicas are lost and late while everybody writes one key; then its primary
    /// falls, and soon after that the next.
    pub(super) fn fail_over(&mut self) -> Option<Undos> {
        let now = self.cluster.now();
        let key = *self.rng.pick(&KEYS);
        self.sound_holders(key)?;
        let rush_ms = self.rng.between(400, 1_500);
        self.rush(key, now + rush_ms);
        let faults = &mut self.cluster.faults;
        faults.frame_loss_percent = self.rng.between(0, 30);
        faults.frame_reorder_percent = self.rng.between(0, 50);
        faults.frame_repeat_percent = self.rng.between(0, 20);
        faults.frame_late_max_ms = self.rng.between(5, 800);
        let mut undos = vec![
            (now + rush_ms, Undo::Quiet(Kind::Loss)),
            (now + rush_ms, Undo::Quiet(Kind::Reorder)),
            (now + rush_ms, Undo::Quiet(Kind::Repeat)),
        ];
        let mut at = now;
        for _ in 0..self.rng.between(1, 2) {
            at += self.rng.between(30, rush_ms);
            let fall = if self.rng.chance(70) { Fall::Killed } else { Fall::Stopped };
            undos.push((at, Undo::Fall(key, fall)));
        }
        if self.rng.chance(50) {
            undos.extend(self.deafen_client(key, now + rush_ms));
        }
        Some(undos)
    }

    /// Servers come and go faster than data can move, while the primary of a key is slow to reach.
    pub(super) fn flap(&mut self) -> Option<Undos> {
        let now = self.cluster.now();
        let key = *self.rng.pick(&KEYS);
        let (_, primary) = self.sound_holders(key)?.swap_remove(0);
        let until = now + self.rng.between(1_000, 4_000);
        self.trouble_server(&primary, until);
        let ip = self.cluster.ip(&primary).to_string();
        self.cluster.faults.slow_down(&ip, self.rng.between(50, 800));
        self.rush(key, now + 600);
        let mut undos = vec![(until, Undo::Hasten(ip))];
        let mut at = now;
        while at < until {
            undos.push((at, Undo::Visit(self.rng.between(30, 700))));
            at += self.rng.between(50, 900);
        }
        if self.rng.chance(60) {
            undos.push((now + self.rng.between(0, 400), Undo::FallBehind(key)));
        }
        Some(undos)
    }

    /// The primary of a key reaches the clients and nobody else, for longer than a lease, perhaps
    /// with a slow clock; perhaps it had just been left alone.
    pub(super) fn old_primary(&mut self) -> Option<Undos> {
        let now = self.cluster.now();
        let key = *self.rng.pick(&KEYS);
        let holders = self.sound_holders(key)?;
        let (_, primary) = holders[0].clone();
        let (cut_at, until) = (now + self.rng.between(0, 1_500), now + LEASE_MS + 4_500);
        self.trouble_server(&primary, until);
        let mut undos = Vec::new();
        if self.rng.chance(50) {
            self.cluster.set_clock(&primary, *self.rng.pick(&[400, 700, 900]), 0);
            self.clocks_wrong_until = self.clocks_wrong_until.max(until);
            undos.push((until, Undo::Clock(primary.clone())));
        }
        if self.rng.chance(60) {
            let ip = self.cluster.ip(LEADER).to_string();
            self.cluster.faults.slow_down(&ip, self.rng.between(50, 400));
            undos.push((cut_at + 1_000, Undo::Hasten(ip)));
            undos.push((now, Undo::FallBehind(key)));
            if self.rng.chance(60) {
                undos.push((now, Undo::FallBehind(key)));
            }
        }
        undos.push((cut_at, Undo::CutFromRing(primary.clone())));
        undos.push((until, Undo::BackToRing(primary)));
        for rush_at in [cut_at, cut_at + LEASE_MS - 300] {
            undos.push((rush_at, Undo::Rush(key, 900)));
        }
        Some(undos)
    }

    /// Cuts a server off from the leader and all other servers; clients reach it.
    pub(super) fn cut_from_ring(&mut self, name: &str) {
        let ip = self.cluster.ip(name).to_string();
        for other in self.ring_ips().into_iter().filter(|other| *other != ip) {
            self.cluster.faults.cut(&ip, &other);
        }
    }

    /// It reaches them again, those included that have come since this was planned.
    pub(super) fn back_to_ring(&mut self, name: &str) {
        let ip = self.cluster.ip(name).to_string();
        for other in self.ring_ips() {
            self.cluster.faults.mend(&ip, &other);
        }
    }

    /// A new server joins, and dies so much later.
    pub(super) fn visit(&mut self, for_ms: Millis) -> Option<(Millis, Undo)> {
        if self.living().len() >= SERVERS_MAX || !self.cluster.is_alive(LEADER) {
            return None;
        }
        self.join();
        let name = self.servers.last()?.name.clone();
        Some((self.cluster.now() + for_ms, Undo::Fade(name)))
    }

    /// A server is killed, where its ranges have others.
    pub(super) fn fade(&mut self, name: &str) {
        let sound = self.sound();
        let ids: Vec<&NodeId> = sound.keys().collect();
        let Some(id) = ids.iter().find(|id| sound[**id] == name).copied() else { return };
        if self.is_quiet() && self.can_do_without(&BTreeSet::from([id]), &ids) {
            self.cluster.crash(name);
        }
    }

    /// The present primary of a key falls, where it can be done without; gives when it comes back.
    pub(super) fn fall(&mut self, key: &'static str, fall: Fall) -> Option<(Millis, Undo)> {
        let (id, name) = self.sound_holders(key)?.swap_remove(0);
        self.may_fall(&id)?;
        match fall {
            Fall::Killed => {
                self.cluster.crash(&name);
                None
            }
            Fall::Stopped => {
                let until = self.cluster.now() + LEASE_MS + self.rng.between(500, 2_000);
                self.trouble_server(&name, until);
                self.cluster.pause(&name);
                Some((until, Undo::Resume(name)))
            }
        }
    }

    /// A server of a key that is not its primary is killed, where it can be done without.
    pub(super) fn fall_behind(&mut self, key: &'static str) {
        let Some((id, name)) = self.sound_holders(key).and_then(|mut holders| holders.pop()) else {
            return;
        };
        let is_primary = self.active(key).first() == Some(&id);
        if !is_primary && self.may_fall(&id).is_some() {
            self.cluster.crash(&name);
        }
    }

    fn may_fall(&mut self, id: &NodeId) -> Option<()> {
        let sound = self.sound();
        let ids: Vec<&NodeId> = sound.keys().collect();
        let enough = self.staying() > SERVERS_MIN;
        (enough && self.can_do_without(&BTreeSet::from([id]), &ids)).then_some(())
    }

    /// A client reaches the primary of a key and does not hear its answers.
    fn deafen_client(&mut self, key: &str, until: Millis) -> Option<(Millis, Undo)> {
        let (_, primary) = self.sound_holders(key)?.swap_remove(0);
        let from = self.cluster.ip(&primary).to_string();
        let client = format!("c{}", self.rng.between(1, self.clients() as u64));
        let to = self.cluster.ip(&client).to_string();
        self.cluster.faults.cut_one_way(&from, &to);
        Some((until, Undo::Mend(vec![(from, to)])))
    }

    /// Who holds a key, primary first, where all of them are well.
    fn sound_holders(&mut self, key: &str) -> Option<Vec<(NodeId, String)>> {
        if !self.is_quiet() {
            return None;
        }
        let sound = self.sound();
        let active = self.active(key);
        let named = active.iter().map(|id| Some((id.clone(), sound.get(id)?.clone())));
        named.collect::<Option<Vec<_>>>().filter(|holders| !holders.is_empty())
    }

    /// Whether the leader is there and believes nobody dead who lives.
    fn is_quiet(&self) -> bool {
        self.leader_troubled_until < self.cluster.now() && self.cluster.is_alive(LEADER)
    }

    fn trouble_server(&mut self, name: &str, until: Millis) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.name == name) {
            server.troubled_until = until + 2 * LEASE_MS;
        }
    }

    /// The hosts of the leader and of all servers.
    fn ring_ips(&self) -> BTreeSet<String> {
        let names = self.servers.iter().map(|server| server.name.as_str()).chain([LEADER]);
        names.map(|name| self.cluster.ip(name).to_string()).collect()
    }
}
