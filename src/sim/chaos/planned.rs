//! Planned changes alone: servers join and leave one after the other under load, and clients must
//! not notice.
//!
//! There is no fault but latency. Every operation succeeds at once. One on a slot that keeps its
//! three servers takes a single request to a single server: no retry; only a client that has not
//! asked for the view since a change before may learn so of what moved then. Such a slot keeps its
//! revision, so nobody was disturbed. A key is never seen on a server that is neither one of the
//! three before the change nor of the three after it, and ends on the latter: no key moved that did
//! not have to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use super::converge::whole;
use super::plan::Plan;
use super::truth::three;
use super::world::World;
use super::{Options, Violation, guarded, judge_history};
use crate::core::hash::slot_of;
use crate::core::machine::Millis;
use crate::core::wire::json::Object;

/// How many keys there are.
const KEYS: u64 = 48;

/// How many changes follow one another.
const CHANGES: u64 = 4;

/// How long a change may take, and an operation.
const CHANGE_MS_MAX: Millis = 20_000;
const OPERATION_MS_MAX: Millis = 1_000;

/// The longest time that a client does nothing.
const THINK_MS_MAX: Millis = 40;

/// How long clients go on before a change and after it.
const AROUND_MS: Millis = 300;

/// How often the places of all keys are looked at.
const LOOK_MS: Millis = 40;

/// How many lines of trace are kept of a run that broke a rule.
const TRACE_LINES: usize = 3_000;

/// What happened in runs that broke no rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many servers joined or left.
    pub changes: u64,
    /// How many operations clients did meanwhile.
    pub operations: u64,
    /// How many of them were on slots that kept their servers.
    pub undisturbed: u64,
}

impl AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, one: &Stats) {
        self.changes += one.changes;
        self.operations += one.operations;
        self.undisturbed += one.undisturbed;
    }
}

/// Runs the planned changes of one seed.
pub fn run(seed: u64) -> Result<Stats, Box<Violation>> {
    let options = Options { originals: false, whole_ranges: false, ..Options::of(seed) };
    once(seed, &options).map_err(|violation| {
        let traced = Options { trace_lines: TRACE_LINES, ..options };
        once(seed, &traced).err().unwrap_or(violation)
    })
}

fn once(seed: u64, options: &Options) -> Result<Stats, Box<Violation>> {
    let mut world = World::new(seed ^ 0x91a2_2ed0, options);
    let mut stats = Stats::default();
    let act = |world: &mut World| changes(world, &mut stats).and_then(|()| judge_history(world));
    guarded(&mut world, act).map_err(|rule| {
        Box::new(Violation {
            seed,
            rule: format!("planned changes: {rule}"),
            at: world.cluster.now(),
            trace: world.cluster.trace(),
            history: world.history.to_json_lines(),
        })
    })?;
    Ok(stats)
}

fn changes(world: &mut World, stats: &mut Stats) -> Result<(), String> {
    world.begin();
    world.workload.keys = (0..KEYS).map(|number| format!("key {number}")).collect();
    // The clients learn the view only once it is whole, so that nobody has to ask twice.
    world.workload.resting = true;
    world.workload.think_ms_max = THINK_MS_MAX;
    until(world, CHANGE_MS_MAX, "the first ring", |world| whole(world).is_empty())?;
    for number in 0..KEYS {
        let value = world.workload.value();
        let key = format!("key {number}");
        world.begin_op((number % 8) as usize, &key, Some(value));
        until(world, OPERATION_MS_MAX, "a write", |world| world.workload.is_idle())?;
    }
    world.workload.ended.clear();
    let mut moved_at = BTreeMap::new();
    world.workload.resting = false;
    for number in 0..CHANGES {
        let before = Places::new(world)?;
        run_for(world, AROUND_MS)?;
        if number % 2 == seed_bit(world) {
            world.join();
        } else if !world.let_one_leave() {
            return Err("nobody may leave a ring that is whole".to_string());
        }
        stats.changes += 1;
        let seen = watch(world)?;
        run_for(world, AROUND_MS)?;
        judge(world, &before, &seen, &mut moved_at, stats)?;
    }
    Ok(())
}

/// Whether a join comes first: a ring that is large begins with a leave.
fn seed_bit(world: &mut World) -> u64 {
    u64::from(world.first_servers > 6)
}

/// Where the keys are, by the ring and by the view leader.
struct Places {
    /// By key, the addresses of its three servers.
    three: BTreeMap<String, BTreeSet<String>>,
    /// By key, the revision of its range.
    revisions: BTreeMap<String, u64>,
}

impl Places {
    fn new(world: &mut World) -> Result<Self, String> {
        let view = world.view().ok_or("no view leader")?;
        let (mut by_key, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        for key in world.workload.keys.clone() {
            let slot = slot_of(key.as_bytes());
            by_key.insert(key.clone(), three(&view.members, slot).into_iter().collect());
            let mut ranges = view.assignment.ranges.iter();
            let range = ranges.find(|range| range.0 <= slot && slot < range.1);
            revisions.insert(key, range.ok_or("a slot is nobody's")?.2);
        }
        Ok(Places { three: by_key, revisions })
    }
}

/// Lets a change happen; by key, the servers that it was ever seen on.
fn watch(world: &mut World) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    until(world, CHANGE_MS_MAX, "a planned change", |world| {
        for (addr, keys) in holdings(world) {
            for key in keys {
                seen.entry(key).or_default().insert(addr.clone());
            }
        }
        whole(world).is_empty()
    })?;
    Ok(seen)
}

/// By address, the keys that each living server holds.
fn holdings(world: &mut World) -> BTreeMap<String, BTreeSet<String>> {
    let mut holdings = BTreeMap::new();
    for (_, name) in world.living() {
        let reply = world.cluster.peek(&name, r#"{"cmd": "query_all_keys"}"#).unwrap_or_default();
        let keys = Object::parse(reply.as_bytes()).ok().and_then(|reply| reply.decode("result"));
        holdings.insert(world.cluster.addr(&name).to_string(), keys.unwrap_or_default());
    }
    holdings
}

/// Judges a change and the operations since the last one.
fn judge(
    world: &mut World,
    before: &Places,
    seen: &BTreeMap<String, BTreeSet<String>>,
    moved_at: &mut BTreeMap<String, Millis>,
    stats: &mut Stats,
) -> Result<(), String> {
    let after = Places::new(world)?;
    let stays = |key: &String| before.three[key] == after.three[key];
    for ended in std::mem::take(&mut world.workload.ended) {
        stats.operations += 1;
        if !ended.well || ended.took > OPERATION_MS_MAX {
            return Err(format!("an operation fails or is slow: {ended:?}"));
        }
        let knows = moved_at.get(&ended.key).is_none_or(|at| *at < ended.view_at);
        if stays(&ended.key) && knows {
            stats.undisturbed += 1;
            if ended.requests != 1 {
                return Err(format!("an operation on a slot that stays is retried: {ended:?}"));
            }
        }
    }
    let moved = after.three.keys().filter(|key| !stays(key));
    moved_at.extend(moved.map(|key| (key.clone(), world.cluster.now())));
    let holdings = holdings(world);
    for (key, right) in &after.three {
        if stays(key) && before.revisions[key] != after.revisions[key] {
            return Err(format!("{key} stays where it is, and its range was disturbed"));
        }
        let holders = holdings.iter().filter(|(_, keys)| keys.contains(key));
        let holders: BTreeSet<String> = holders.map(|(addr, _)| addr.clone()).collect();
        if holders != *right {
            return Err(format!("{key} should be on {right:?} and is on {holders:?}"));
        }
        let may: BTreeSet<String> = before.three[key].union(right).cloned().collect();
        if !seen[key].is_subset(&may) {
            return Err(format!("{key} moves from {:?} by {:?}", before.three[key], seen[key]));
        }
    }
    Ok(())
}

fn until(
    world: &mut World,
    within_ms: Millis,
    what: &str,
    mut done: impl FnMut(&mut World) -> bool,
) -> Result<(), String> {
    let end = world.cluster.now() + within_ms;
    while !done(world) {
        if world.cluster.now() >= end {
            let why = whole(world);
            return Err(format!("{what} is not done in {within_ms} ms: {why}"));
        }
        run_for(world, LOOK_MS)?;
    }
    Ok(())
}

fn run_for(world: &mut World, span_ms: Millis) -> Result<(), String> {
    let end = world.cluster.now() + span_ms;
    while world.cluster.now() < end {
        world.step(end, &Plan::nothing())?;
    }
    Ok(())
}
