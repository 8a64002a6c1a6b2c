//! Between storms: the ring must be whole again in time, and then everything succeeds, while
//! servers join and leave as planned.

use super::inflict::SERVERS_MAX;
use super::plan::Plan;
use super::world::{LEADER, Third, World};
use crate::core::hash::slot_of;
use crate::core::machine::Millis;

/// How long a calm lasts at least once the ring is whole.
const CALM_MS: Millis = 6_000;

/// How many faults there are in it that are no excuse.
const HARMLESS: usize = 2;

/// How long a planned change may take.
const CHANGE_MS_MAX: Millis = 20_000;

/// How often somebody looks whether it is done.
const LOOK_MS: Millis = 100;

/// Lets a calm pass.
pub(super) fn pass(world: &mut World, plan: &mut Plan) -> Result<(), String> {
    // The wait has a limit of its own.
    while !world.availability.is_sound() {
        step(world, plan, world.cluster.now() + LOOK_MS)?;
    }
    the_third_answers(world)?;
    let end = world.cluster.now() + CALM_MS;
    for _ in 0..HARMLESS {
        plan.inflict_harmless(world);
    }
    let join_first = world.rng.chance(50);
    for joins in [join_first, !join_first] {
        let changes = if joins {
            let room = world.living().len() < SERVERS_MAX;
            room.then(|| world.join()).is_some()
        } else {
            world.let_one_leave()
        };
        if changes {
            let what = if joins { "PlannedJoin" } else { "PlannedLeave" };
            *world.faults.entry(what.to_string()).or_default() += 1;
            until_whole(world, plan)?;
        }
    }
    while world.cluster.now() < end {
        step(world, plan, end)?;
    }
    while !plan.is_over() {
        step(world, plan, end + CHANGE_MS_MAX)?;
    }
    Ok(())
}

fn step(world: &mut World, plan: &mut Plan, until: Millis) -> Result<(), String> {
    world.step(until.min(plan.next_at()), plan)?;
    plan.go_on(world);
    Ok(())
}

fn until_whole(world: &mut World, plan: &mut Plan) -> Result<(), String> {
    let end = world.cluster.now() + CHANGE_MS_MAX;
    loop {
        step(world, plan, world.cluster.now() + LOOK_MS)?;
        let why = super::converge::whole(world);
        if why.is_empty() {
            return Ok(());
        }
        if world.cluster.now() >= end {
            return Err(format!("a planned change takes over {CHANGE_MS_MAX} ms: {why}"));
        }
    }
}

/// What the third of a key's servers had, when the two others were killed at once, the ring still
/// has, or something newer: at whoever answers for the key now. Unless all was lost since.
fn the_third_answers(world: &mut World) -> Result<(), String> {
    let living = world.living();
    for Third { key, name, version, born } in std::mem::take(&mut world.thirds) {
        let primary = world.holders(key).first().and_then(|id| living.get(id)).cloned();
        let primary = primary.ok_or("nobody answers on a ring that is whole")?;
        if world.cluster.born_at(LEADER, slot_of(key.as_bytes())) != born {
            continue;
        }
        let now = world.cluster.copy_of(&primary, key).map(|cell| cell.version);
        if now < version {
            return Err(format!(
                "{name} alone was left with key {key} of version {version:?}; now {primary} has {now:?}"
            ));
        }
        *world.faults.entry("third answers".to_string()).or_default() += 1;
    }
    Ok(())
}
