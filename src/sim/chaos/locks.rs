//! Clients that take locks of the view leader as the original's do, and die with them.
//!
//! Without a record locks live in the leader's memory, so a leader that was started again has
//! forgotten them, and a lock binds only while the leader that granted it lives. Everything is judged
//! within one life of the leader, and only by replies to requests that were sent and answered within
//! it. With a record all lives are one:
//!
//! 1. From a granted reply until the holder sends its release, nobody else sees itself granted.
//! 2. First come, first served: whoever was answered before another asked for the first time is
//!    granted the lock, or gives up its place, before the other is granted it.
//! 3. A holder that asks again is granted the lock again.
//! 4. The first release of a holder is answered `ok`.
//!
//! At the end every lock can be had at once by somebody new.

use std::collections::BTreeMap;

use super::availability::{LATENCY_MS_MAX, Went};
use super::world::{LEADER, World};
use crate::core::machine::{CallError, Millis};
use crate::core::wire::json::Object;
use crate::sim::Ticket;

/// How many clients take locks, and how many locks there are.
const ACTORS: usize = 5;
const LOCKS: u64 = 2;

/// The longest times between two locks, two requests, and until a lock is given back.
const THINK_MS_MAX: Millis = 2_000;
const RETRY_MS_MAX: Millis = 700;
const HOLD_MS_MAX: Millis = 1_500;

/// How many of 100 times somebody who waits for a lock waits no longer.
const GIVES_UP_PERCENT: u64 = 15;

const LEADER_ADDR: &str = "10.0.0.1:39000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Getting,
    Holding,
    /// Gives the lock back; how often it has asked before.
    Releasing(u32),
    /// Dead; then somebody releases the lock in its name.
    Dead,
}

/// A client that takes one lock after the other.
#[derive(Debug)]
struct Actor {
    number: usize,
    /// Its name at the leader; another one in each life.
    requestor: String,
    lock: String,
    state: State,
    ticket: Option<Ticket>,
    /// When and in which life of the leader it asked.
    asked_at: Millis,
    asked_in: u64,
    /// When it first asked for this lock.
    first_asked: u64,
    next_at: Millis,
}

/// A place in the queue of a lock, as its owner knows of it.
#[derive(Debug)]
struct Place {
    /// In which life of the leader.
    life: u64,
    /// When the owner was first answered in it.
    heard: u64,
    granted: bool,
}

/// All clients that take locks, and what they know.
#[derive(Debug)]
pub(super) struct Locks {
    actors: Vec<Actor>,
    lives: u64,
    /// By lock and requestor.
    places: BTreeMap<(String, String), Place>,
    /// Counts requests and answers, so that each has a moment of its own.
    moment: u64,
    /// How many locks were granted.
    pub(super) grants: u64,
}

impl Locks {
    pub(super) fn new() -> Self {
        let actor = |number| Actor {
            number,
            requestor: format!("actor {number}"),
            lock: String::new(),
            state: State::Idle,
            ticket: None,
            asked_at: 0,
            asked_in: 0,
            first_asked: 0,
            next_at: 4_000,
        };
        let actors = (1..=ACTORS).map(actor).collect();
        Locks { actors, lives: 0, places: BTreeMap::new(), moment: 0, grants: 0 }
    }

    /// When somebody does something.
    pub(super) fn next_at(&self) -> Millis {
        let free = self.actors.iter().filter(|a| a.ticket.is_none() && a.state != State::Dead);
        free.map(|actor| actor.next_at).min().unwrap_or(Millis::MAX)
    }

    /// Whether nobody holds a lock or waits for one, now that none is asked for any more.
    pub(super) fn are_idle(&self) -> bool {
        self.actors.iter().all(|actor| actor.state == State::Idle)
    }

    fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

impl World {
    /// Kills somebody who holds a lock, where there is one; says whom.
    pub(super) fn kill_holder(&mut self) -> Option<usize> {
        let mut actors = self.locks.actors.iter_mut();
        let actor = actors.find(|actor| actor.state == State::Holding)?;
        actor.state = State::Dead;
        actor.ticket = None;
        Some(actor.number - 1)
    }

    /// Somebody releases the lock of one that died; after that it lives again, under a new name.
    pub(super) fn start_actor(&mut self, number: usize) {
        self.locks.actors[number].state = State::Releasing(0);
        self.locks.actors[number].next_at = self.cluster.now();
    }

    /// Somebody new asks for a lock that nobody gives back: whoever was told that it has it has it for
    /// ever, where the leader keeps a record.
    pub(super) fn call_witness(&mut self) {
        if self.leader_record {
            let request = format!(
                r#"{{"cmd": "lock_get", "lockid": "for ever", "requestor": "witness {}"}}"#,
                self.leader_changes
            );
            self.cluster.ask("10.0.6.1", LEADER_ADDR, &request);
        }
    }

    /// Takes in what was answered, and asks on.
    pub(super) fn drive_locks(&mut self) -> Result<(), String> {
        let now = self.cluster.now();
        for number in 0..self.locks.actors.len() {
            let actor = &mut self.locks.actors[number];
            match actor.ticket {
                Some(ticket) => {
                    if let Some(answer) = self.cluster.answer(ticket) {
                        self.locks.actors[number].ticket = None;
                        self.lock_answer(number, answer)?;
                    }
                }
                None if actor.next_at <= now => self.lock_step(number),
                None => {}
            }
        }
        Ok(())
    }

    fn lock_step(&mut self, number: usize) {
        let (moment, life) = (self.locks.moment(), self.lock_life());
        let actor = &mut self.locks.actors[number];
        match actor.state {
            State::Dead => return,
            State::Idle if self.workload.over => {
                actor.next_at = Millis::MAX;
                return;
            }
            State::Idle => {
                actor.lock = format!("lock {}", self.rng.between(1, LOCKS));
                actor.first_asked = moment;
                actor.state = State::Getting;
            }
            State::Holding => actor.state = State::Releasing(0),
            // Whoever waits no longer gives its place back, and nobody else's lock.
            State::Getting if self.rng.chance(GIVES_UP_PERCENT) => {
                actor.state = State::Releasing(1);
            }
            State::Getting | State::Releasing(_) => {}
        }
        let cmd = if actor.state == State::Getting { "lock_get" } else { "lock_release" };
        let (lock, requestor) = (&actor.lock, &actor.requestor);
        let request =
            format!(r#"{{"cmd": "{cmd}", "lockid": "{lock}", "requestor": "{requestor}"}}"#);
        actor.asked_at = self.cluster.now();
        actor.asked_in = life;
        let ip = format!("10.0.5.{}", actor.number);
        actor.ticket = Some(self.cluster.ask(&ip, LEADER_ADDR, &request));
        if let State::Releasing(tries) = actor.state {
            // From now on the lock may be another's.
            let key = (lock.clone(), requestor.clone());
            let place = self.locks.places.remove(&key);
            let held = place.is_some_and(|place| place.granted && place.life == life);
            if tries == 0 && !held {
                // What is answered tells nothing.
                self.locks.actors[number].state = State::Releasing(1);
            }
        }
    }

    fn lock_answer(
        &mut self,
        number: usize,
        answer: Result<String, CallError>,
    ) -> Result<(), String> {
        let now = self.cluster.now();
        let actor = &self.locks.actors[number];
        let (asked_at, requestor) = (actor.asked_at, actor.requestor.clone());
        let went = if answer.is_ok() { Went::Well } else { Went::Badly };
        self.judge(asked_at, LATENCY_MS_MAX, went, false, || {
            format!("a lock request of {requestor}: {answer:?}")
        });
        let status = answer.ok().and_then(|text| {
            let object = Object::parse(text.as_bytes()).ok()?;
            object.text("status")?.as_str().map(str::to_string)
        });
        let same_life = self.locks.actors[number].asked_in == self.lock_life();
        let state = self.locks.actors[number].state;
        match (state, status.as_deref()) {
            (State::Getting, Some("granted")) => {
                self.granted(number, same_life)?;
                let hold_ms = self.rng.between(0, HOLD_MS_MAX);
                let actor = &mut self.locks.actors[number];
                actor.state = State::Holding;
                actor.next_at = now + hold_ms;
            }
            (State::Getting, status) => {
                if same_life && status.is_some() {
                    self.queued(number)?;
                }
                let pause_ms = self.rng.between(50, RETRY_MS_MAX);
                self.locks.actors[number].next_at = now + pause_ms;
            }
            (State::Releasing(tries), Some(status)) => {
                if tries == 0 && same_life && status != "ok" {
                    return Err(format!("locks: a release of {requestor} is answered {status}"));
                }
                self.locks.lives += 1;
                let name = format!("actor {} {}", number + 1, self.locks.lives);
                let think_ms = self.rng.between(0, THINK_MS_MAX);
                let actor = &mut self.locks.actors[number];
                actor.state = State::Idle;
                actor.requestor = name;
                actor.next_at = now + think_ms;
            }
            (State::Releasing(tries), None) => {
                let pause_ms = self.rng.between(50, RETRY_MS_MAX);
                let actor = &mut self.locks.actors[number];
                actor.state = State::Releasing(tries + 1);
                actor.next_at = now + pause_ms;
            }
            (State::Idle | State::Holding | State::Dead, _) => {}
        }
        Ok(())
    }

    /// The actor has a place in the queue, since now at the latest.
    fn queued(&mut self, number: usize) -> Result<(), String> {
        let life = self.lock_life();
        let moment = self.locks.moment();
        let actor = &self.locks.actors[number];
        let key = (actor.lock.clone(), actor.requestor.clone());
        let place = self.locks.places.entry(key);
        let place = place.or_insert(Place { life, heard: moment, granted: false });
        if place.life != life {
            *place = Place { life, heard: moment, granted: false };
        }
        if place.granted {
            return Err(format!(
                "locks: {} holds {} and is told to wait",
                actor.requestor, actor.lock
            ));
        }
        Ok(())
    }

    fn granted(&mut self, number: usize, same_life: bool) -> Result<(), String> {
        self.locks.grants += 1;
        if !same_life {
            // By which leader nobody knows.
            return Ok(());
        }
        self.queued(number)?;
        let life = self.lock_life();
        let actor = &self.locks.actors[number];
        let key = (actor.lock.clone(), actor.requestor.clone());
        for ((lock, other), place) in &self.locks.places {
            if *lock != key.0 || *other == key.1 || place.life != life {
                continue;
            }
            if place.granted {
                return Err(format!("locks: {} is granted {lock}, which {other} holds", key.1));
            }
            if place.heard < actor.first_asked {
                return Err(format!(
                    "locks: {} is granted {lock} before {other}, who came first",
                    key.1
                ));
            }
        }
        if let Some(place) = self.locks.places.get_mut(&key) {
            place.granted = true;
        }
        Ok(())
    }

    /// On a ring that is whole, when nobody holds a lock, somebody new gets every one at once.
    pub(super) fn all_locks_can_be_had(&mut self) -> Result<(), String> {
        for number in 1..=LOCKS {
            for cmd in ["lock_get", "lock_release"] {
                let request = format!(
                    r#"{{"cmd": "{cmd}", "lockid": "lock {number}", "requestor": "the last"}}"#
                );
                let reply = self.cluster.peek(LEADER, &request).unwrap_or_default();
                if !(reply.contains("granted") || reply.contains("ok")) {
                    return Err(format!("locks: {request} on a free lock is answered {reply}"));
                }
            }
        }
        Ok(())
    }
}
