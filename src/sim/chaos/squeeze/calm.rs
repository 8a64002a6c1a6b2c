//! After a storm: the ring must be whole again, with every key where it belongs.

use std::collections::BTreeSet;

use super::{KEYS, Squeeze};
use crate::core::hash::{SLOT_COUNT, slot_of};
use crate::core::machine::{Millis, Note};
use crate::core::wire::json::Object;
use crate::sim::chaos::truth::{View, three};
use crate::sim::chaos::world::LEADER;

/// How long the ring may take to be whole again after a storm.
const CALM_MS_MAX: Millis = 60_000;

/// How often a ring that is not whole is looked at.
const LOOK_MS: Millis = 50;

/// How long the last operations may take.
const LAST_MS: Millis = 20_000;

impl Squeeze {
    /// Ends all faults; the ring must become whole, and hold what it acknowledged. False where it
    /// cannot: a restarted leader waits for servers that are dead, and says so.
    pub(super) fn calm(&mut self) -> Result<bool, String> {
        self.heal();
        self.resting = true;
        let begun = self.cluster.now();
        let idle = |squeeze: &Squeeze| squeeze.workers.iter().all(|worker| worker.op.is_none());
        loop {
            if self.living().is_empty() {
                // All were asked to leave, or were killed as the last: a ring begins with a server.
                let seed = self.rng.bits();
                self.join(seed);
            }
            self.revive_missed();
            let why = self.not_whole();
            if why.is_empty() && idle(self) {
                break;
            }
            let took = self.cluster.now() - begun;
            if took > CALM_MS_MAX && self.cluster.waits_for_the_dead(LEADER) && self.was_told() {
                self.stats.waiting += 1;
                return Ok(false);
            }
            if took > CALM_MS_MAX {
                return Err(format!("not whole {took} ms after the last fault: {why}"));
            }
            self.step(self.cluster.now() + LOOK_MS)?;
        }
        let took = self.cluster.now() - begun;
        self.stats.recovery_ms_max = self.stats.recovery_ms_max.max(took);
        for key in KEYS {
            for number in 0..self.workers.len() {
                self.begin(number, key, false);
            }
            let end = self.cluster.now() + LAST_MS;
            while !idle(self) {
                if self.cluster.now() >= end {
                    return Err("a read does not end on a ring that is whole".to_string());
                }
                self.step(self.cluster.now() + LOOK_MS)?;
            }
        }
        for key in KEYS {
            self.born.insert(key, self.cluster.born_at(LEADER, slot_of(key.as_bytes())));
        }
        self.resting = false;
        Ok(true)
    }

    /// Whether the leader has said that slots wait.
    fn was_told(&self) -> bool {
        let notes = self.cluster.notes(LEADER).iter();
        notes.rev().any(|(_, note)| matches!(note, Note::Waiting { .. }))
    }

    pub(super) fn view(&mut self) -> Option<View> {
        let reply = self.cluster.peek(LEADER, r#"{"cmd": "query_servers", "dht": 1}"#)?;
        let reply = Object::parse(reply.as_bytes()).ok()?;
        Some(View { members: reply.decode("result")?, assignment: reply.decode("dht")? })
    }

    /// Why the ring is not whole yet; empty where it is, with each key on its three servers.
    fn not_whole(&mut self) -> String {
        let Some(view) = self.view() else {
            return "the leader does not answer".to_string();
        };
        let living = self.living();
        let slots: u32 = view.assignment.ranges.iter().map(|r| u32::from(r.1 - r.0)).sum();
        let leave = self.leaving.iter().any(|name| self.cluster.is_alive(name));
        let settled = view.assignment.settled && slots == u32::from(SLOT_COUNT);
        if !settled || leave || view.members.len() != living.len() {
            let members = view.members.len();
            return format!("{members} members of {living:?}, {:?}", view.assignment.ranges);
        }
        for key in KEYS {
            let right = three(&view.members, slot_of(key.as_bytes()));
            let (mut copies, mut places) = (BTreeSet::new(), BTreeSet::new());
            for name in &living {
                if let Some(cell) = self.cluster.copy_of(name, key) {
                    copies.insert(format!("{cell:?}"));
                    places.insert(self.cluster.addr(name).to_string());
                }
            }
            let right: BTreeSet<String> = right.into_iter().collect();
            if copies.len() > 1 || (!places.is_empty() && places != right) {
                return format!("{key} is on {places:?}, not {right:?}, as {copies:?}");
            }
        }
        String::new()
    }
}
