//! Inflicting faults and mending them.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::Kind;
use super::plan::Undo;
use super::workload::KEYS;
use super::world::{LEADER, LEASE_MS, Third, World};
use crate::core::assignment::NodeId;
use crate::core::hash::slot_of;
use crate::core::machine::Millis;
use crate::sim::Cluster;

/// How many servers live at least and at most, those that leave not counted.
pub(super) const SERVERS_MIN: usize = 5;
pub(super) const SERVERS_MAX: usize = 9;

/// How long the end of a leader with a record waits for a sync to be under way.
pub(super) const SYNC_WAIT_MS: Millis = 300;

/// How many of 100 servers that are started again, and have a disk, have an empty one.
const WIPED_PERCENT: u64 = 30;

/// How many of 100 ends of a leader with a record come from a full disk.
const LEADER_DISK_FULL_PERCENT: u64 = 30;

/// The longest time that a fault lasts which is not to end a lease.
const SHORT_MS_MAX: Millis = 4_000;

/// When a fault ends, and how.
pub(super) type Undos = Vec<(Millis, Undo)>;

impl World {
    /// Lets a fault happen; `None` where it cannot happen now. Returns when it ends, and how.
    pub(super) fn inflict(&mut self, kind: Kind) -> Option<Undos> {
        let now = self.cluster.now();
        let over = now + self.rng.between(500, SHORT_MS_MAX);
        let long = now + LEASE_MS + self.rng.between(500, SHORT_MS_MAX);
        let one = |at, undo| Some(vec![(at, undo)]);
        match kind {
            Kind::Crash => self.kill(1, SERVERS_MIN).map(|_| Vec::new()),
            Kind::CrashTwo => self.kill_two_of_three().then(Vec::new),
            Kind::CrashAll => self.kill_all_of_a_range().then(Vec::new),
            Kind::SilenceAll => self.silence_all_of_a_range(),
            Kind::ReviveAll => self.revive_all_of_a_range(),
            Kind::ReviveRing => self.revive_ring(over),
            Kind::DiskFull => {
                let name = self.victim(over)?;
                let is_written = KEYS.iter().any(|key| self.cluster.copy_of(&name, key).is_some());
                if self.leaving().contains(&name) || !is_written {
                    return None;
                }
                self.cluster.fill_disk(&name);
                one(over, Undo::FreeDisk(name))
            }
            Kind::Restart => {
                let name = self.kill(1, SERVERS_MIN)?.remove(0);
                if self.server_disks && self.rng.chance(WIPED_PERCENT) {
                    self.cluster.wipe_disk(&name);
                    *self.faults.entry("DiskReplaced".to_string()).or_default() += 1;
                }
                one(now + self.rng.between(0, 2_000), Undo::StartServer(name, 0))
            }
            Kind::Move => {
                let name = self.kill(1, SERVERS_MIN)?.remove(0);
                let port = 38_001 + self.rng.between(0, 8) as u16;
                one(now + self.rng.between(0, 2_000), Undo::StartServer(name, port))
            }
            Kind::Join => {
                (self.living().len() < SERVERS_MAX).then(|| self.join())?;
                Some(Vec::new())
            }
            Kind::Leave => self.let_one_leave().then(Vec::new),
            Kind::Pause => {
                let name = self.victim(over)?;
                self.cluster.pause(&name);
                one(over, Undo::Resume(name))
            }
            Kind::LongPause => {
                let name = self.victim(long)?;
                self.cluster.pause(&name);
                one(long, Undo::Resume(name))
            }
            Kind::LeaderPause => {
                let until = if self.rng.chance(50) { over } else { long };
                self.trouble_leader(until)?;
                self.cluster.pause(LEADER);
                one(until, Undo::Resume(LEADER.to_string()))
            }
            Kind::LeaderRestart => {
                self.trouble_leader(over + LEASE_MS)?;
                if self.leader_record {
                    self.end_leader_at_its_disk();
                }
                // With its servers, or without one that dies meanwhile.
                let sound = self.sound();
                let ids: Vec<&NodeId> = sound.keys().collect();
                let victim = *self.rng.pick(&ids);
                let may = self.staying() > SERVERS_MIN
                    && self.can_do_without(&BTreeSet::from([victim]), &ids);
                self.crash_leader();
                if may && self.rng.chance(40) {
                    self.cluster.crash(&sound[victim].clone());
                    *self.faults.entry("CrashWhileNoLeader".to_string()).or_default() += 1;
                }
                one(now + self.rng.between(0, SHORT_MS_MAX), Undo::StartLeader)
            }
            Kind::Cut | Kind::CutOneWay | Kind::Isolate | Kind::CutFromLeader => {
                let until = if self.rng.chance(30) { long } else { over + 2_000 };
                self.partition(kind, until)
            }
            Kind::Slow => {
                let name = self.victim(over)?;
                let ip = self.cluster.ip(&name).to_string();
                let by_ms = self.rng.between(20, 800);
                self.cluster.faults.slow_down(&ip, by_ms);
                one(over, Undo::Hasten(ip))
            }
            Kind::Drift => {
                let name = self.clock_victim(long)?;
                let rate = *self.rng.pick(&[500, 900, 1_100, 1_500, 2_500]);
                self.cluster.set_clock(&name, rate, 0);
                self.clocks_wrong_until = self.clocks_wrong_until.max(long);
                one(long, Undo::Clock(name))
            }
            Kind::Jump => {
                let name = self.clock_victim(over)?;
                let ahead_ms = self.rng.between(100, 3 * LEASE_MS);
                self.cluster.set_clock(&name, 1_000, ahead_ms);
                self.clocks_wrong_until = self.clocks_wrong_until.max(now);
                // Leases that end early by it end within one.
                one(now + LEASE_MS, Undo::Clock(name))
            }
            Kind::Loss | Kind::Repeat | Kind::Reorder | Kind::CallLoss => {
                self.burst(kind);
                one(over + 2_000, Undo::Quiet(kind))
            }
            Kind::ClientCrash => {
                let client = self.kill_client();
                one(over, Undo::StartClient(client))
            }
            Kind::DeadVoter => {
                self.die_with_votes();
                Some(Vec::new())
            }
            Kind::DeadWriter => {
                self.die_while_writing();
                Some(Vec::new())
            }
            Kind::FailOver => self.fail_over(),
            Kind::Flap => self.flap(),
            Kind::OldPrimary => self.old_primary(),
            Kind::DeadHolder => {
                let actor = self.kill_holder()?;
                one(over, Undo::StartActor(actor))
            }
        }
    }

    /// Has the view leader's disk fill, so that it ends, or waits for the middle of a sync.
    fn end_leader_at_its_disk(&mut self) {
        let full = self.rng.chance(LEADER_DISK_FULL_PERCENT);
        if full {
            self.cluster.fill_disk(LEADER);
        }
        self.call_witness();
        let reached = |cluster: &Cluster| match full {
            true => !cluster.is_alive(LEADER),
            false => cluster.is_syncing(LEADER),
        };
        self.cluster.run_until(reached, SYNC_WAIT_MS);
    }

    /// Messages are lost, repeated or late from now on.
    pub(super) fn burst(&mut self, kind: Kind) {
        let percent = self.rng.between(3, 40);
        let faults = &mut self.cluster.faults;
        match kind {
            Kind::Loss => faults.frame_loss_percent = percent,
            Kind::Repeat => faults.frame_repeat_percent = percent,
            Kind::Reorder => faults.frame_reorder_percent = percent,
            _ => faults.call_loss_percent = percent / 2,
        }
        self.cluster.faults.frame_late_max_ms = self.rng.between(5, 5_000);
    }

    /// Whether faults of this kind have met a message.
    pub(super) fn has_met(&self, kind: Kind) -> bool {
        kind.has_met(self.cluster.faults.happened()) || kind.has_met(&self.faults)
    }

    /// Ends a fault, or goes on with one; gives what ends that.
    pub(super) fn undo(&mut self, undo: Undo) -> Option<(Millis, Undo)> {
        match undo {
            Undo::Fall(key, fall) => return self.fall(key, fall),
            Undo::Visit(for_ms) => return self.visit(for_ms),
            Undo::Fade(name) => self.fade(&name),
            Undo::FallBehind(key) => self.fall_behind(key),
            Undo::CutFromRing(name) => self.cut_from_ring(&name),
            Undo::BackToRing(name) => self.back_to_ring(&name),
            Undo::Rush(key, for_ms) => self.rush(key, self.cluster.now() + for_ms),
            Undo::Resume(name) if !self.cluster.is_alive(&name) => {}
            Undo::Resume(name) => self.cluster.resume(&name),
            Undo::Mend(pairs) => {
                pairs.iter().for_each(|(one, other)| self.cluster.faults.mend(one, other));
            }
            Undo::Hasten(ip) => self.cluster.faults.slow_down(&ip, 0),
            Undo::Clock(name) => self.cluster.set_clock(&name, 1_000, 0),
            Undo::Quiet(kind) => {
                let faults = &mut self.cluster.faults;
                match kind {
                    Kind::Loss => faults.frame_loss_percent = 0,
                    Kind::Repeat => faults.frame_repeat_percent = 0,
                    Kind::Reorder => faults.frame_reorder_percent = 0,
                    _ => faults.call_loss_percent = 0,
                }
            }
            Undo::StartServer(name, port) => self.start_server(&name, port),
            Undo::Revive(name) => self.start_server(&name, 0),
            Undo::FreeDisk(name) => {
                if self.cluster.free_disk(&name) {
                    self.start_server(&name, 0);
                }
            }
            Undo::StartLeader => {
                self.start_leader();
                self.call_witness();
            }
            Undo::StartClient(client) => self.start_client(client),
            Undo::StartActor(actor) => self.start_actor(actor),
        }
        None
    }

    /// Servers that live and have no trouble, by identity.
    pub(super) fn sound(&mut self) -> BTreeMap<NodeId, String> {
        let now = self.cluster.now();
        let mut living = self.living();
        living.retain(|_, name| {
            self.servers.iter().any(|s| s.name == *name && s.troubled_until < now)
        });
        living
    }

    /// Whether each range keeps a sound holder without these.
    pub(super) fn can_do_without(
        &mut self,
        victims: &BTreeSet<&NodeId>,
        sound: &[&NodeId],
    ) -> bool {
        let together = self.together();
        !together.is_empty()
            && together
                .iter()
                .all(|set| set.iter().any(|id| sound.contains(&id) && !victims.contains(id)))
    }

    /// How many servers live and do not leave.
    pub(super) fn staying(&mut self) -> usize {
        self.living().len() - self.leaving().len()
    }

    /// Kills servers whose death leaves every range a holder that is well.
    fn kill(&mut self, count: usize, more_than: usize) -> Option<Vec<String>> {
        if self.leader_troubled_until >= self.cluster.now() || self.staying() <= more_than {
            return None;
        }
        let sound = self.sound();
        let ids: Vec<&NodeId> = sound.keys().collect();
        if ids.len() < count {
            return None;
        }
        for _ in 0..8 {
            let mut victims = BTreeSet::new();
            while victims.len() < count {
                victims.insert(*self.rng.pick(&ids));
            }
            if self.can_do_without(&victims, &ids) {
                let names: Vec<String> = victims.iter().map(|id| sound[*id].clone()).collect();
                names.iter().for_each(|name| self.cluster.crash(name));
                return Some(names);
            }
        }
        None
    }

    /// Kills two of the three servers of a key at once; the third has to answer.
    fn kill_two_of_three(&mut self) -> bool {
        if self.leader_troubled_until >= self.cluster.now() || self.staying() < SERVERS_MIN + 2 {
            return false;
        }
        let key = *self.rng.pick(&KEYS);
        let sound = self.sound();
        let ids: Vec<&NodeId> = sound.keys().collect();
        let holders = self.holders(key);
        let third = self.rng.between(0, 2) as usize;
        if holders.len() != 3 {
            return false;
        }
        let two: Vec<&NodeId> = holders.iter().filter(|id| **id != holders[third]).collect();
        let victims: BTreeSet<&NodeId> = two.into_iter().collect();
        if !victims.iter().all(|id| sound.contains_key(*id)) || !self.can_do_without(&victims, &ids)
        {
            return false;
        }
        let Some(name) = sound.get(&holders[third]).cloned() else { return false };
        victims.iter().for_each(|id| self.cluster.crash(&sound[*id]));
        let version = self.cluster.copy_of(&name, key).map(|cell| cell.version);
        let born = self.cluster.born_at(LEADER, slot_of(key.as_bytes()));
        self.thirds.push(Third { key, name, version, born });
        true
    }

    /// Asks a server to leave whose ranges others can take.
    pub(super) fn let_one_leave(&mut self) -> bool {
        if self.staying() <= SERVERS_MIN {
            return false;
        }
        let mut sound = self.sound();
        let leaving = self.leaving();
        sound.retain(|_, name| !leaving.contains(name));
        let names: Vec<&String> = sound.values().collect();
        if names.is_empty() {
            return false;
        }
        let name = (*self.rng.pick(&names)).clone();
        let server = self.servers.iter_mut().find(|server| server.name == name);
        server.expect("it is one of ours").leaves = true;
        self.cluster.leave(&name);
        true
    }

    /// A server that may lose its lease from now on; in trouble until then and a lease longer.
    pub(super) fn victim(&mut self, until: Millis) -> Option<String> {
        if self.leader_troubled_until >= self.cluster.now() {
            return None;
        }
        let sound = self.sound();
        let ids: Vec<&NodeId> = sound.keys().collect();
        if ids.is_empty() {
            return None;
        }
        for _ in 0..8 {
            let id = *self.rng.pick(&ids);
            if self.can_do_without(&BTreeSet::from([id]), &ids) {
                let name = sound[id].clone();
                let server = self.servers.iter_mut().find(|server| server.name == name)?;
                server.troubled_until = until + 2 * LEASE_MS;
                return Some(name);
            }
        }
        None
    }

    /// The leader may expire anybody from now on: nobody may be dead without its knowledge.
    pub(super) fn trouble_leader(&mut self, until: Millis) -> Option<()> {
        let now = self.cluster.now();
        if self.leader_troubled_until >= now || !self.cluster.is_alive(LEADER) {
            return None;
        }
        let sound = self.sound();
        let all_well =
            self.together().iter().all(|set| set.iter().all(|id| sound.contains_key(id)));
        if !all_well {
            return None;
        }
        self.leader_troubled_until = until + 2 * LEASE_MS;
        Some(())
    }

    fn clock_victim(&mut self, until: Millis) -> Option<String> {
        if self.rng.chance(30) {
            self.trouble_leader(until)?;
            return Some(LEADER.to_string());
        }
        self.victim(until)
    }
}
