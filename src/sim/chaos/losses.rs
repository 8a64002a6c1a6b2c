//! What may be lost: the slots of which every server is killed, from then until the view leader
//! says so, and nothing else.
//!
//! For the history such a loss is an operation on each key of those slots that erases it, called
//! when the servers were killed and done when the leader has said `Lost`. So a read sees the old
//! value, or none, or what was written after the loss, and never the old value again once anybody
//! has seen it gone. The leader must tell of exactly as many slots as had all their servers killed.
//! Servers that are merely silent lose nothing: they come back, and a `Lost` without a killing is a
//! violation.

use std::collections::BTreeSet;

use super::inflict::{SERVERS_MIN, SYNC_WAIT_MS, Undos};
use super::plan::Undo;
use super::workload::KEYS;
use super::world::{LEADER, LEASE_MS, World};
use crate::core::assignment::NodeId;
use crate::core::hash::slot_of;
use crate::core::machine::{Millis, Note};
use crate::sim::history::{Action, Outcome};

/// How much longer than a lease all servers of a range are silent at most.
const SILENT_MS_MAX: Millis = 4_000;

/// How long a process is away at most that is killed with all others who hold what it holds.
const AWAY_MS_MAX: Millis = 9_000;

/// Losses that the leader has to tell of, and how far it has.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// How many slots are lost that the leader has not told of.
    slots_untold: u32,
    /// Under which names the history has the erasures of keys that are lost.
    erasing: Vec<u64>,
    notes_seen: usize,
    /// When the leader last said that slots are lost.
    said_at: Option<Millis>,
}

impl Losses {
    /// Whether slots were lost since then, as far as the leader has said.
    pub(super) fn any_since(&self, at: Millis) -> bool {
        self.said_at.is_some_and(|said_at| said_at >= at)
    }

    /// Whether the leader has told of every loss.
    pub(super) fn all_told(&self) -> Result<(), String> {
        match self.slots_untold {
            0 => Ok(()),
            slots => Err(format!("losses: nobody was told that {slots} slots are lost")),
        }
    }
}

impl World {
    /// Kills all servers of a key's range at once, on a ring on which nothing moves.
    pub(super) fn kill_all_of_a_range(&mut self) -> bool {
        if self.staying() < SERVERS_MIN + 3 {
            return false;
        }
        let Some(victims) = self.all_of_a_range() else {
            return false;
        };
        let Some(view) = self.view() else {
            return false;
        };
        let sound = self.sound();
        let named = &view.assignment.servers;
        let is_victim = |index: &u32| victims.contains_key(&named[*index as usize].0);
        let (lost, kept): (Vec<_>, Vec<_>) =
            view.assignment.ranges.iter().partition(|range| range.3.iter().all(is_victim));
        // Whoever is left of another range may be cut off, and taken for dead before the victims are:
        // that range would be lost too.
        let is_sound = |index: &u32| sound.contains_key(&named[*index as usize].0);
        if !kept.iter().all(|range| range.3.iter().any(|at| !is_victim(at) && is_sound(at))) {
            return false;
        }
        self.losses.slots_untold = lost.iter().map(|range| u32::from(range.1 - range.0)).sum();
        for key in KEYS {
            let slot = slot_of(key.as_bytes());
            if lost.iter().any(|range| range.0 <= slot && slot < range.1) {
                let process = 3_000_000 + self.workload.process();
                self.history.call(self.cluster.now(), process, key, Action::Erase);
                self.losses.erasing.push(process);
            }
        }
        victims.values().for_each(|name| self.cluster.crash(name));
        true
    }

    /// Kills all servers of a key's range at once; they come back with their disks.
    pub(super) fn revive_all_of_a_range(&mut self) -> Option<Undos> {
        let victims = self.all_of_a_range()?;
        let now = self.cluster.now();
        let mut undos = Vec::new();
        for name in victims.into_values() {
            self.cluster.crash(&name);
            undos.push((now + self.rng.between(0, AWAY_MS_MAX), Undo::Revive(name)));
        }
        Some(undos)
    }

    /// Kills every process of the ring at once, clients left alone; they come back with their disks.
    pub(super) fn revive_ring(&mut self, until: Millis) -> Option<Undos> {
        self.trouble_leader(until + LEASE_MS)?;
        self.call_witness();
        self.cluster.run_until(|cluster| cluster.is_syncing(LEADER), SYNC_WAIT_MS);
        self.crash_leader();
        let now = self.cluster.now();
        let mut undos = vec![(now + self.rng.between(0, AWAY_MS_MAX), Undo::StartLeader)];
        for name in self.living().into_values() {
            self.cluster.crash(&name);
            undos.push((now + self.rng.between(0, AWAY_MS_MAX), Undo::Revive(name)));
        }
        Some(undos)
    }

    /// Stops all servers of a key's range, or cuts them off, for longer than a lease.
    pub(super) fn silence_all_of_a_range(&mut self) -> Option<Undos> {
        let victims = self.all_of_a_range()?;
        let now = self.cluster.now();
        let cut_off = self.rng.chance(50);
        let alive: Vec<String> = self.cluster.alive().into_iter().map(String::from).collect();
        let mut undos = Vec::new();
        for name in victims.values() {
            let until = now + LEASE_MS + self.rng.between(500, SILENT_MS_MAX);
            let server = self.servers.iter_mut().find(|server| server.name == *name)?;
            server.troubled_until = until + 2 * LEASE_MS;
            if !cut_off {
                self.cluster.pause(name);
                undos.push((until, Undo::Resume(name.clone())));
                continue;
            }
            let ip = self.cluster.ip(name).to_string();
            let others = alive.iter().map(|other| self.cluster.ip(other).to_string());
            let pairs: Vec<(String, String)> =
                others.filter(|other| *other != ip).map(|other| (ip.clone(), other)).collect();
            pairs.iter().for_each(|(one, other)| self.cluster.faults.cut(one, other));
            undos.push((until, Undo::Mend(pairs)));
        }
        Some(undos)
    }

    /// The servers of a key, all of them well, with their names; only while nothing moves and the
    /// leader is well.
    fn all_of_a_range(&mut self) -> Option<std::collections::BTreeMap<NodeId, String>> {
        let sound = self.sound();
        if self.leader_troubled_until >= self.cluster.now() || self.losses.slots_untold > 0 {
            return None;
        }
        // Nor may anybody be away whom some range still waits for.
        let ids: Vec<&NodeId> = sound.keys().collect();
        if !self.can_do_without(&BTreeSet::new(), &ids) {
            return None;
        }
        let key = *self.rng.pick(&KEYS);
        let holders = self.holders(key);
        let victims = holders.iter().map(|id| Some((id.clone(), sound.get(id)?.clone())));
        victims.collect::<Option<_>>().filter(|_| !holders.is_empty())
    }

    /// Takes in what the leader says is lost.
    pub(super) fn look_for_losses(&mut self) -> Result<(), String> {
        let notes = self.cluster.notes(LEADER);
        let new = &notes[self.losses.notes_seen.min(notes.len())..];
        self.losses.notes_seen = notes.len();
        for (at, note) in new {
            let Note::Lost { slots, holders } = note else {
                continue;
            };
            let Some(left) = self.losses.slots_untold.checked_sub(*slots) else {
                return Err(format!("losses: at {at} {slots} slots of {holders:?} are lost"));
            };
            self.losses.slots_untold = left;
            self.losses.said_at = Some(*at);
        }
        if self.losses.slots_untold == 0 {
            for process in std::mem::take(&mut self.losses.erasing) {
                self.history.end(self.cluster.now(), process, Outcome::Done(None));
            }
        }
        Ok(())
    }
}
