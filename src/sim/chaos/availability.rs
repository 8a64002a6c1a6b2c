//! Whether clients are served: an operation succeeds, and soon, unless a fault explains that it
//! does not.
//!
//! Trouble begins with a fault and lasts until every fault is over and the ring is whole again,
//! which must come within [`RECOVERY_MS_MAX`]. An operation that was begun while there was no
//! trouble, and ended before the next, has no excuse: it must succeed within [`LATENCY_MS_MAX`].
//! One that was begun in trouble may fail, but must end soon after that is over.
//! Servers that join or leave as planned are no trouble, nor are messages that arrive twice and
//! clients that die.
//!
//! One failure is by contract and needs no fault: another client's vote on the key stands
//! (`key already being set`, docs/replication.md, "The original's two-phase commit").

use super::converge::whole;
use super::plan::Plan;
use super::world::World;
use crate::core::machine::Millis;

/// How long the ring may take to be whole again after the last fault: a server that the leader took
/// for dead is found within a lease, one that died while the leader was away is waited for as long,
/// and its slots are then given to others.
pub(super) const RECOVERY_MS_MAX: Millis = 30_000;

/// How long an operation may take that no fault touches.
pub(super) const LATENCY_MS_MAX: Millis = 1_500;

/// How long the seven requests of an original client's `setr` may take together: each of the last
/// three may meet a server with an old route, and wait a second where it leads.
pub(super) const DIALOGUE_MS_MAX: Millis = 4_500;

/// How long an operation may take that another client's votes hold up: until its client gives up.
const HELD_MS_MAX: Millis = 5_500;

/// How long the last request may still be waited for that was sent while something was amiss.
const ATTEMPT_MS: Millis = 1_000;

/// How often a ring that is not whole is looked at.
const LOOK_MS: Millis = 100;

/// What is known about trouble.
#[derive(Debug, Default)]
pub(super) struct Availability {
    /// When a fault last began, lasted or ended.
    troubled_at: Millis,
    /// Since when nothing is amiss.
    sound_since: Option<Millis>,
    look_at: Millis,
    /// Operations that failed and that a fault explains.
    pub(super) explained: u64,
    /// Operations that no fault touched.
    pub(super) untroubled: u64,
    /// The slowest of these.
    pub(super) slowest_ms: Millis,
    /// The longest time that the ring took to be whole again.
    pub(super) recovery_ms_max: Millis,
    /// An operation that had no excuse.
    unexplained: Option<String>,
}

/// How an operation went, for those who judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    /// Another client's vote or write stood in the way.
    Refused,
    Badly,
}

impl Availability {
    /// When a ring that is not whole is looked at.
    pub(super) fn next_at(&self) -> Millis {
        if self.sound_since.is_none() { self.look_at } else { Millis::MAX }
    }

    /// Whether nothing is amiss.
    pub(super) fn is_sound(&self) -> bool {
        self.sound_since.is_some()
    }
}

impl World {
    /// A fault begins or ends.
    pub(super) fn trouble(&mut self) {
        self.availability.troubled_at = self.cluster.now();
        self.availability.sound_since = None;
    }

    /// Looks whether the ring is whole again, and says so if it is late.
    pub(super) fn look_for_trouble(&mut self, plan: &Plan) -> Result<(), String> {
        if let Some(unexplained) = self.availability.unexplained.take() {
            return Err(format!("availability: {unexplained}"));
        }
        if plan.troubles() {
            self.trouble();
        }
        let now = self.cluster.now();
        if self.availability.is_sound() || now < self.availability.look_at {
            return Ok(());
        }
        self.availability.look_at = now + LOOK_MS;
        if plan.troubles() {
            return Ok(());
        }
        let why = whole(self);
        let took = now - self.availability.troubled_at;
        if why.is_empty() && self.cluster.connections_are_sound() {
            self.availability.sound_since = Some(now);
            self.availability.recovery_ms_max = self.availability.recovery_ms_max.max(took);
        } else if took > RECOVERY_MS_MAX {
            let why = if why.is_empty() { "broken connections".to_string() } else { why };
            return Err(format!("availability: not whole {took} ms after the last fault: {why}"));
        }
        Ok(())
    }

    /// An operation has ended that began at `called`. `held` says that another client's votes may
    /// have stood in the way: they stop a retry too, which may have been executed and so is not
    /// refused, but goes on until its client gives up.
    pub(super) fn judge(
        &mut self,
        called: Millis,
        within_ms: Millis,
        went: Went,
        held: bool,
        what: impl FnOnce() -> String,
    ) {
        self.availability.judge(self.cluster.now(), called, within_ms, went, held, what);
    }
}

impl Availability {
    fn judge(
        &mut self,
        now: Millis,
        called: Millis,
        within_ms: Millis,
        went: Went,
        held: bool,
        what: impl FnOnce() -> String,
    ) {
        let took = now - called;
        if self.sound_since.is_none_or(|since| called < since) {
            let after = self.sound_since.map_or(0, |since| now - since);
            if !held && went != Went::Refused && after > within_ms + ATTEMPT_MS {
                let what = what();
                let what = format!("still under way {after} ms after the ring was whole: {what}");
                self.unexplained.get_or_insert(what);
            }
            self.explained += u64::from(went != Went::Well);
            return;
        }
        self.untroubled += 1;
        if !held {
            self.slowest_ms = self.slowest_ms.max(took);
        }
        let within_ms = if held { HELD_MS_MAX } else { within_ms };
        if went == Went::Badly || took > within_ms {
            let what = what();
            let what = format!("no fault explains this, begun at {called}, {took} ms long: {what}");
            self.unexplained.get_or_insert(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether nothing explains how an operation went that took so long, on a ring that is well.
    fn is_unexplained(took_ms: Millis, went: Went, held: bool) -> bool {
        let mut seen = Availability { sound_since: Some(1_000), ..Availability::default() };
        seen.judge(2_000 + took_ms, 2_000, LATENCY_MS_MAX, went, held, String::new);
        seen.unexplained.is_some()
    }

    #[test]
    fn another_clients_vote_explains_a_refusal_and_a_wait_and_nothing_else() {
        assert!(!is_unexplained(5_000, Went::Refused, true));
        assert!(!is_unexplained(5_000, Went::Well, true));
        assert!(is_unexplained(5_000, Went::Badly, true));
        assert!(is_unexplained(6_000, Went::Well, true), "its client has given up by then");
        assert!(is_unexplained(5_000, Went::Well, false));
        assert!(is_unexplained(5_000, Went::Refused, false));
    }
}
