//! Faults that are aimed: at the servers of one key, and at what the leader has half done.

use super::strain::Undo;
use super::{KEYS, Squeeze};
use crate::core::assignment::{NodeId, position_of};
use crate::core::hash::slot_of;
use crate::core::machine::Millis;
use crate::core::server::Server;
use crate::core::wire::json::Json;
use crate::sim::chaos::truth::three;
use crate::sim::chaos::world::LEADER;

/// How many identities are drawn for one that stands where it shall.
const DRAWS_MAX: usize = 12;

/// For how long a request is stuck at most: longer than a client waits before it sends it again.
const STALL_MS_MAX: Millis = 3_000;

impl Squeeze {
    /// A server joins that stands at this place among the three of a key, and dies so much later;
    /// gives its name.
    pub(super) fn visit(
        &mut self,
        key: &'static str,
        place: usize,
        for_ms: Millis,
    ) -> Option<String> {
        if !self.may_join() || !self.cluster.is_alive(LEADER) {
            return None;
        }
        let members = self.view()?.members;
        let mut seed = self.rng.bits();
        for _ in 0..DRAWS_MAX {
            let server = Server::new(self.config(seed));
            let requestor = Json::parse(server.audit().id().as_bytes()).ok()?;
            let mut ring = members.clone();
            ring.push((String::new(), position_of(&requestor)));
            if three(&ring, slot_of(key.as_bytes())).get(place).is_some_and(String::is_empty) {
                break;
            }
            seed = self.rng.bits();
        }
        let name = self.join(seed);
        if self.rng.chance(85) {
            self.later(for_ms, Undo::Kill(name.clone()));
        }
        Some(name)
    }

    /// The last of a key's servers loses its place and gets it back, several times in a second,
    /// while somebody is hard to reach.
    pub(super) fn flap(&mut self) {
        let key = *self.rng.pick(&KEYS);
        let mut in_ms = 0;
        let place = self.rng.between(0, 2) as usize;
        for _ in 0..self.rng.between(2, 4) {
            let for_ms = self.rng.between(15, 250);
            self.later(in_ms, Undo::Visit(key, place, for_ms));
            in_ms += for_ms + self.rng.between(15, 250);
        }
        if self.rng.chance(40) {
            let faults = &mut self.cluster.faults;
            faults.frame_late_max_ms = self.rng.between(100, 800);
            faults.frame_reorder_percent = 30;
            faults.frame_repeat_percent = 30;
            faults.frame_loss_percent = *self.rng.pick(&[0, 20]);
            faults.call_late_max_ms = self.rng.between(100, 900);
            faults.call_late_percent = 30;
            self.later(in_ms, Undo::Quiet);
        }
    }

    /// The last of a key's servers joins and is put off again and again, while a replica answers
    /// late: so writes wait through several revisions, and answers of one come in another.
    pub(super) fn flap_beside(&mut self) {
        let key = KEYS[0];
        let (active, _) = self.cluster.named_at(LEADER, slot_of(key.as_bytes()));
        let Some(name) = active.get(1).and_then(|id| self.name_of(id)) else { return };
        let mut in_ms = 0;
        for _ in 0..self.rng.between(3, 5) {
            let for_ms = self.rng.between(15, 70);
            self.later(in_ms, Undo::Visit(key, 2, for_ms));
            in_ms += for_ms + self.rng.between(15, 90);
        }
        let ip = self.cluster.ip(&name).to_string();
        let faults = &mut self.cluster.faults;
        faults.slow_down(&ip, self.rng.between(100, 400));
        faults.frame_late_max_ms = self.rng.between(50, 300);
        faults.frame_repeat_percent = 60;
        faults.frame_loss_percent = 30;
        self.later(in_ms, Undo::Hasten(ip));
        self.later(in_ms, Undo::Quiet);
    }

    /// Servers hear nothing of the leader for a while, and clients do: they know of a server that
    /// joins before its primary does, and their requests are broken off.
    pub(super) fn tell_late(&mut self) {
        let leader_ip = self.cluster.ip(LEADER).to_string();
        let others: Vec<String> =
            self.living().iter().map(|name| self.cluster.ip(name).to_string()).collect();
        for ip in &others {
            self.cluster.faults.cut_one_way(&leader_ip, ip);
        }
        let pairs = others.into_iter().map(|ip| (leader_ip.clone(), ip)).collect();
        let for_ms = self.rng.between(150, 600);
        self.later(for_ms, Undo::Mend(pairs));
        let place = self.rng.between(1, 2) as usize;
        self.visit(KEYS[0], place, for_ms);
        self.cluster.faults.call_loss_percent = 25;
        self.later(for_ms, Undo::Quiet);
    }

    /// Requests of clients are stuck for seconds while nothing else is wrong: they are sent again,
    /// executed, and forgotten, before the first of them arrives.
    pub(super) fn stall(&mut self) -> Result<(), String> {
        let faults = &mut self.cluster.faults;
        faults.call_late_clients = true;
        faults.call_late_percent = 60;
        faults.call_late_max_ms = STALL_MS_MAX;
        self.pass(STALL_MS_MAX / 2)?;
        self.undo(Undo::Quiet);
        self.pass(STALL_MS_MAX)
    }

    /// The storm ends in the middle of writes that come to nothing: their clients die, and so does
    /// the primary, which has told a joiner of them and nobody else; or it goes silent until others
    /// have taken over, and comes back with them.
    pub(super) fn last_blow(&mut self) -> Result<(), String> {
        let key = *self.rng.pick(&KEYS);
        let (active, _) = self.cluster.named_at(LEADER, slot_of(key.as_bytes()));
        let Some(name) = active.first().and_then(|id| self.name_of(id)) else { return Ok(()) };
        let (ip, leader_ip) =
            (self.cluster.ip(&name).to_string(), self.cluster.ip(LEADER).to_string());
        let dies = self.rng.chance(60);
        let mut silent_ms = self.rng.between(20, 80);
        if dies {
            self.cluster.faults.cut_one_way(&ip, &leader_ip);
            let place = self.rng.between(0, 2) as usize;
            self.visit(key, place, 60_000);
            self.pass(silent_ms)?;
            self.cluster.faults.frame_loss_percent = self.rng.between(40, 80);
        } else {
            let pairs: Vec<_> =
                self.ring_ips(&ip).into_iter().map(|other| (ip.clone(), other)).collect();
            self.undo(Undo::Cut(pairs));
            silent_ms += self.lease_ms + self.rng.between(100, 400);
        }
        let writes_ms = self.rng.between(5, 25);
        self.pass(writes_ms)?;
        self.resting = true;
        for number in 0..self.workers.len() {
            self.kill_client(number);
        }
        if dies {
            self.kill(&name);
        } else {
            self.pass(silent_ms)?;
        }
        Ok(())
    }

    /// Clients do not hear that their writes are done, and send them again; but meanwhile all that
    /// held them are dead, and nobody knows of the first try.
    pub(super) fn lose_answers(&mut self) {
        let key = *self.rng.pick(&KEYS);
        self.cluster.faults.call_loss_percent = self.rng.between(40, 70);
        let in_ms = self.rng.between(20, 80);
        self.later(in_ms, Undo::WipeOut(key));
    }

    /// All servers of a key die at once, and as many others come.
    pub(super) fn wipe_out(&mut self, key: &str) {
        self.undo(Undo::Quiet);
        let (active, _) = self.cluster.named_at(LEADER, slot_of(key.as_bytes()));
        let names: Vec<String> = active.iter().filter_map(|id| self.name_of(id)).collect();
        for name in &names {
            self.stats.faults += 1;
            self.cluster.crash(name);
            self.leaving.remove(name);
        }
        for name in names {
            if self.disks {
                let in_ms = self.rng.between(10, 600);
                self.later(in_ms, Undo::Restart(name));
            } else {
                let seed = self.rng.bits();
                self.join(seed);
            }
        }
    }

    /// Every process dies at once, the leader too where that may be; they come back with their disks,
    /// in any order, and some only when the storm is over.
    pub(super) fn fell_ring(&mut self) {
        let for_ms = self.rng.between(20, 500);
        self.behead(for_ms);
        for name in self.living() {
            self.kill(&name);
            if self.rng.chance(80) {
                let in_ms = self.rng.between(10, 600);
                self.later(in_ms, Undo::Restart(name));
            }
        }
    }

    /// The leader dies: at any time, or when it has told half of what it decided, or while those
    /// who know the newest cannot tell its successor.
    pub(super) fn strike_leader(&mut self) {
        let for_ms = self.rng.between(20, 500);
        match self.rng.between(0, 2) {
            0 => self.behead(for_ms),
            1 => self.half_told(),
            _ => self.knows_less(),
        }
    }

    /// A server joins, and the leader dies when that one has heard of it and hardly anybody else;
    /// it is not heard of for a while.
    fn half_told(&mut self) {
        let leader_ip = self.cluster.ip(LEADER).to_string();
        let key = *self.rng.pick(&KEYS);
        let place = self.rng.between(0, 2) as usize;
        let old = self.living();
        let Some(name) = self.visit(key, place, 20_000) else { return };
        let pairs: Vec<(String, String)> = old
            .iter()
            .map(|other| (leader_ip.clone(), self.cluster.ip(other).to_string()))
            .collect();
        pairs.iter().for_each(|(one, other)| self.cluster.faults.cut(one, other));
        let told_ms = self.rng.between(8, 40);
        self.later(told_ms, Undo::Mend(pairs));
        self.later(told_ms, Undo::Behead(30));
        let ip = self.cluster.ip(&name).to_string();
        let others: Vec<(String, String)> =
            self.ring_ips(&ip).into_iter().map(|other| (ip.clone(), other)).collect();
        self.later(told_ms, Undo::Cut(others.clone()));
        let silent_ms = told_ms + self.rng.between(1_300, 2_300);
        self.later(silent_ms, Undo::Mend(others));
        self.wait_for(silent_ms);
    }

    /// A server of a key is stopped until the ring has gone on without it; then the leader dies, and
    /// its successor hears of that one alone, at first.
    fn knows_less(&mut self) {
        let key = *self.rng.pick(&KEYS);
        let (active, _) = self.cluster.named_at(LEADER, slot_of(key.as_bytes()));
        let Some(id) = active.first() else { return };
        let Some(name) = self.name_of(id) else { return };
        let ip = self.cluster.ip(&name).to_string();
        let leader_ip = self.cluster.ip(LEADER).to_string();
        let ring = self.ring_ips(&ip);
        let peers: Vec<String> = ring.into_iter().filter(|other| *other != leader_ip).collect();
        let pairs = |one: &str| -> Vec<(String, String)> {
            peers.iter().map(|other| (one.to_string(), other.clone())).collect()
        };
        let (from_it, from_leader) = (pairs(&ip), pairs(&leader_ip));
        self.undo(Undo::Cut(from_it.clone()));
        self.cluster.pause(&name);
        let gone_ms = self.lease_ms + self.rng.between(300, 900);
        self.later(gone_ms, Undo::Behead(10));
        self.later(gone_ms, Undo::Cut(from_leader.clone()));
        self.later(gone_ms + 20, Undo::Resume(name));
        let heard_ms = gone_ms + self.rng.between(1_300, 2_300);
        self.later(heard_ms, Undo::Mend(from_leader));
        self.later(heard_ms, Undo::Mend(from_it));
        self.wait_for(heard_ms);
    }

    fn name_of(&self, id: &NodeId) -> Option<String> {
        self.living().into_iter().find(|name| self.cluster.identities(name).contains(id))
    }
}
