//! The second half: all faults are mended, and the ring must be whole again.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Plan;
use super::truth::three;
use super::workload::KEYS;
use super::world::{LEADER, World};
use crate::core::hash::slot_of;
use crate::core::machine::Millis;
use crate::core::wire::json::Object;

/// How long the ring may take to settle.
const SETTLE_MS: Millis = 120_000;

/// How long a vote stands.
const VOTES_MS: Millis = 10_000;

/// How long the last operations may take.
const LAST_MS: Millis = 20_000;

/// Ends all faults.
pub(super) fn heal(world: &mut World) {
    world.cluster.faults.heal();
    world.workload.over = true;
}

/// Waits until the ring is whole, and looks at every key and every client.
pub(super) fn check(world: &mut World, plan: &Plan) -> Result<(), String> {
    let end = world.cluster.now() + SETTLE_MS;
    loop {
        let mut why = whole(world);
        if why.is_empty() {
            // A write whose client has given up may still be on its way.
            why = placement(world).err().unwrap_or_default();
        }
        let idle = world.workload.is_idle() && world.originals.is_idle() && world.locks.are_idle();
        if why.is_empty() && idle {
            break;
        }
        if world.cluster.now() >= end {
            return Err(format!("not whole {SETTLE_MS} ms after the last fault: {why}"));
        }
        world.step(world.cluster.now() + 200, plan)?;
    }
    // Votes of clients that have died stand for a while.
    world.cluster.advance(VOTES_MS);
    let lock = r#"{"cmd": "lock_get", "lockid": "rebalancing", "requestor": "chaos"}"#;
    let granted = world.cluster.peek(LEADER, lock).unwrap_or_default();
    if !granted.contains("granted") {
        return Err(format!("a settled ring does not grant the rebalancing lock: {granted}"));
    }
    all_are_served(world, plan)?;
    world.losses.all_told()?;
    world.all_locks_can_be_had()?;
    nothing_waits(world)?;
    placement(world)
}

/// No server keeps a request, a write or a read waiting once every client was served.
fn nothing_waits(world: &mut World) -> Result<(), String> {
    for name in world.living().into_values() {
        let waiting = world.cluster.waiting_at(&name);
        if !waiting.is_empty() {
            return Err(format!("on a ring that is whole, {name} keeps {waiting:?}"));
        }
    }
    Ok(())
}

/// Why the ring is not whole yet; empty where it is.
pub(super) fn whole(world: &mut World) -> String {
    let Some(view) = world.view() else {
        return "no view leader".to_string();
    };
    let leaving = world.leaving();
    if !leaving.is_empty() {
        return format!("{leaving:?} have not left yet");
    }
    let living: BTreeSet<_> = world.living().into_keys().collect();
    let members = view.members.len();
    let listed: BTreeSet<_> = view.assignment.servers.iter().map(|(id, _, _)| id.clone()).collect();
    if members != living.len() || !listed.is_subset(&living) {
        return format!("{members} members, ranges name {listed:?}, and these live: {living:?}");
    }
    let slots: u32 = view.assignment.ranges.iter().map(|r| u32::from(r.1 - r.0)).sum();
    if slots != u32::from(crate::core::hash::SLOT_COUNT) {
        return format!("only {slots} slots are assigned");
    }
    if view.assignment.settled { String::new() } else { format!("not settled: {:?}", view) }
}

/// Every key is on its three servers, with one value and one version, and nowhere else.
fn placement(world: &mut World) -> Result<(), String> {
    let members = world.view().ok_or("no view leader")?.members;
    let living = world.living();
    for key in KEYS {
        let right: BTreeSet<String> =
            three(&members, slot_of(key.as_bytes())).into_iter().collect();
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for name in living.values() {
            let request = format!(r#"{{"cmd": "get", "key": "{key}"}}"#);
            let reply = world.cluster.peek(name, &request).unwrap_or_default();
            let object = Object::parse(reply.as_bytes()).map_err(|error| error.to_string())?;
            let copy = world.cluster.copy_of(name, key);
            if copy.map(|cell| cell.value()) != object.raw("value") {
                return Err(format!("{name} holds {copy:?} of key {key} and answers {reply}"));
            }
            if let Some(cell) = copy {
                // Value and version: equal values of two versions would part at the next fail-over.
                found.insert(world.cluster.addr(name).to_string(), format!("{cell:?}"));
            }
        }
        let holders: BTreeSet<String> = found.keys().cloned().collect();
        let values: BTreeSet<&String> = found.values().collect();
        if (holders != right && !found.is_empty()) || values.len() > 1 {
            return Err(format!("key {key} should be on {right:?} and is on {found:?}"));
        }
    }
    Ok(())
}

/// Every client writes and reads every key, and none fails.
fn all_are_served(world: &mut World, plan: &Plan) -> Result<(), String> {
    world.workload.failed.clear();
    for round in 0..KEYS.len() {
        for reads in [true, false] {
            for client in 0..world.clients() {
                let key = KEYS[(round + client) % KEYS.len()];
                let value = (!reads).then(|| world.workload.value());
                world.begin_op(client, key, value);
            }
            let end = world.cluster.now() + LAST_MS;
            while !world.workload.is_idle() {
                if world.cluster.now() >= end {
                    return Err("an operation does not end on a ring that is whole".to_string());
                }
                world.step(world.cluster.now() + 100, plan)?;
            }
        }
    }
    match world.workload.failed.first() {
        Some(failed) => Err(format!("an operation fails on a ring that is whole: {failed}")),
        None => Ok(()),
    }
}
