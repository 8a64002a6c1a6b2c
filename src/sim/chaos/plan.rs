//! Which faults happen when, and when each is over.

use std::collections::{BTreeMap, VecDeque};

use super::Options;
use super::faults::Kind;
use super::pressure::Fall;
use super::world::World;
use crate::core::machine::Millis;
use crate::sim::Rng;

/// The longest time between the beginnings of two faults.
const GAP_MS_MAX: Millis = 3_000;

/// By how much a burst of lost messages is prolonged that has met none.
const BURST_LONGER_MS: Millis = 1_000;

/// What mends a fault.
#[derive(Debug, Clone)]
pub(super) enum Undo {
    Resume(String),
    Mend(Vec<(String, String)>),
    Hasten(String),
    Clock(String),
    Quiet(Kind),
    StartServer(String, u16),
    /// The same, of a server that is missed: it has on its disk what nobody else has.
    Revive(String),
    /// There is room on a server's disk again.
    FreeDisk(String),
    StartLeader,
    StartClient(usize),
    StartActor(usize),
    /// Not the end of a fault, but its next step: see `pressure`.
    Fall(&'static str, Fall),
    FallBehind(&'static str),
    Visit(Millis),
    Fade(String),
    CutFromRing(String),
    BackToRing(String),
    Rush(&'static str, Millis),
}

impl Undo {
    /// Whether operations may fail until then.
    fn troubles(&self) -> bool {
        // What is still to begin again is not missed any more: its end was the trouble.
        !matches!(
            self,
            Undo::Quiet(Kind::Repeat)
                | Undo::StartClient(_)
                | Undo::StartActor(_)
                | Undo::StartServer(_, _)
        )
    }
}

/// In how many storms the faults come.
const STORMS: usize = 3;

/// The faults to come and those that last.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of the storms to come.
    later: Vec<VecDeque<Kind>>,
    to_come: VecDeque<Kind>,
    next_at: Millis,
    lasting: Vec<(Millis, Undo)>,
    planned: Vec<Kind>,
    happened: BTreeMap<Kind, u64>,
}

impl Plan {
    /// Each kind once, and more of any kind, in random order.
    pub(super) fn new(rng: &mut Rng, options: &Options) -> Self {
        let planned = Kind::of(options);
        let mut kinds = planned.clone();
        while kinds.len() < options.faults_min {
            kinds.push(*rng.pick(&planned));
        }
        let mut later = vec![VecDeque::new(); STORMS];
        while !kinds.is_empty() {
            let at = rng.between(0, kinds.len() as u64 - 1) as usize;
            later[kinds.len() % STORMS].push_back(kinds.swap_remove(at));
        }
        Plan {
            later,
            to_come: VecDeque::new(),
            next_at: 8_000,
            lasting: Vec::new(),
            planned,
            happened: BTreeMap::new(),
        }
    }

    /// No faults at all.
    pub(super) fn nothing() -> Self {
        Plan {
            later: Vec::new(),
            to_come: VecDeque::new(),
            next_at: 0,
            lasting: Vec::new(),
            planned: Vec::new(),
            happened: BTreeMap::new(),
        }
    }

    /// Begins the next storm; false where there is none.
    pub(super) fn begin_storm(&mut self, now: Millis) -> bool {
        self.next_at = self.next_at.max(now);
        let storm = self.later.pop();
        let is_one = storm.is_some();
        self.to_come = storm.unwrap_or_default();
        is_one
    }

    /// Whether the storm is over: all its faults have happened and are mended.
    pub(super) fn is_over(&self) -> bool {
        self.to_come.is_empty() && self.lasting.is_empty()
    }

    /// Whether a fault lasts for which operations may fail.
    pub(super) fn troubles(&self) -> bool {
        self.lasting.iter().any(|(_, undo)| undo.troubles())
    }

    /// When something is to be done.
    pub(super) fn next_at(&self) -> Millis {
        let over = self.lasting.iter().map(|(at, _)| *at).min();
        let next = (!self.to_come.is_empty()).then_some(self.next_at);
        over.into_iter().chain(next).min().unwrap_or(Millis::MAX)
    }

    /// Mends what is over, and inflicts what is due.
    pub(super) fn go_on(&mut self, world: &mut World) {
        let now = world.cluster.now();
        let (over, lasting) =
            std::mem::take(&mut self.lasting).into_iter().partition(|(at, _)| *at <= now);
        self.lasting = lasting;
        for (_, undo) in over {
            match undo {
                // A burst ends when it has met somebody.
                Undo::Quiet(kind) if !world.has_met(kind) => {
                    // Another fault may have ended it meanwhile.
                    world.burst(kind);
                    self.lasting.push((now + BURST_LONGER_MS, Undo::Quiet(kind)));
                }
                // Nothing was written to this disk: another has to be full.
                undo @ Undo::FreeDisk(_) if !world.has_met(Kind::DiskFull) => {
                    self.to_come.push_back(Kind::DiskFull);
                    self.lasting.extend(world.undo(undo));
                }
                undo => {
                    if undo.troubles() {
                        world.trouble();
                    }
                    world.cluster.remark(|| format!("over: {undo:?}"));
                    self.lasting.extend(world.undo(undo));
                }
            }
        }
        if self.later.is_empty() && self.is_over() {
            // What met nothing, such as a cut where nothing passed, has to happen once more.
            let unmet = self.planned.iter().filter(|kind| !world.has_met(**kind));
            self.to_come.extend(unmet);
        }
        if now < self.next_at || self.to_come.is_empty() {
            return;
        }
        self.next_at = now + world.rng.between(50, GAP_MS_MAX);
        // The first that can happen now; what cannot waits for its time.
        for _ in 0..self.to_come.len() {
            let Some(kind) = self.to_come.pop_front() else {
                return;
            };
            match world.inflict(kind) {
                Some(undos) => {
                    if kind.troubles() {
                        world.trouble();
                    }
                    world.cluster.remark(|| format!("{kind:?} it is, until {undos:?}"));
                    *self.happened.entry(kind).or_default() += 1;
                    *world.faults.entry(format!("{kind:?}")).or_default() += 1;
                    self.lasting.extend(undos);
                    return;
                }
                None => self.to_come.push_back(kind),
            }
        }
        // Perhaps too few are left to lose any, or too many for another.
        if world.inflict(Kind::Join).is_none() {
            world.inflict(Kind::Leave);
        }
    }

    /// Lets a fault happen that is no excuse for anything.
    pub(super) fn inflict_harmless(&mut self, world: &mut World) {
        let harmless: Vec<Kind> = Kind::harmless(&self.planned);
        let kind = *world.rng.pick(&harmless);
        if let Some(undos) = world.inflict(kind) {
            *world.faults.entry(format!("{kind:?}")).or_default() += 1;
            self.lasting.extend(undos);
        }
    }

    /// Whether every kind that was planned did happen, and met a message where that is its nature.
    pub(super) fn covers(&self, world: &World) -> Result<(), String> {
        for kind in &self.planned {
            if !world.has_met(*kind) || !self.happened.contains_key(kind) {
                return Err(format!("coverage: {kind:?} did not happen"));
            }
        }
        Ok(())
    }
}
