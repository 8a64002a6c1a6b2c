//! How fast slots are given to joiners while clients work: a token bucket, which is open while nobody
//! asks for anything.
//!
//! A transfer that takes all it can get keeps clients waiting behind it. Paced, it lasts longer, and
//! they hardly notice. Two kinds do not wait: of a range that has one copy left, since that is in
//! danger; and what a new primary gives before it serves, since clients wait for just that.

use super::{Out, Server};
use crate::core::assignment::NodeId;
use crate::core::hash::Slot;
use crate::core::machine::Millis;

/// For how long nobody asks for anything before transfers go as fast as they can. A client that is far
/// away and asks for one thing after the other lets a round trip pass in between.
const QUIET_MS: Millis = 100;

/// After how long something is given again, once the allowance was used up. In shorter steps clients
/// lose more by servers that wake each other up for a little than by what is given.
const STEP_MS: u32 = 10;

/// For how long the rate lets what is on its way to one server grow. A write for that server waits
/// behind it, and where the way is slower than the rate, it is what bounds the transfer.
const FLIGHT_MS: usize = 50;

/// Units of allowance in a byte: with this many, it grows by the rate in every millisecond.
const UNITS_PER_BYTE: i64 = 1_000;

/// What a server may give to all joiners together.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// In bytes per second; 0: as fast as it goes.
    rate: i64,
    /// In units; below zero after a part that was larger than what there was.
    allowance: i64,
    /// Up to when the allowance has grown.
    grown_at: Millis,
    /// When a client last asked for something in which this server has a part.
    asked_at: Option<Millis>,
    /// When to go on with what waits; `None` while nothing does.
    due: Option<Millis>,
}

impl Pace {
    /// So many bytes per second; 0: no pace.
    pub(super) fn new(bytes_per_s: u64) -> Self {
        let rate = i64::try_from(bytes_per_s).unwrap_or(i64::MAX);
        Pace { rate, allowance: 0, grown_at: 0, asked_at: None, due: None }
    }

    /// A client asks for something, or waits for it still.
    pub(super) fn asked(&mut self, now: Millis) {
        self.asked_at = Some(now);
    }

    /// Whether a part may be given now. Where not, [`Pace::due`] is when to ask again.
    pub(super) fn allows(&mut self, now: Millis) -> bool {
        let Some(quiet_at) = self.quiet_at(now) else {
            // What is given meanwhile is not owed when clients come back.
            self.allowance = 0;
            self.grown_at = now;
            return true;
        };
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        self.grow(now);
        if self.allowance > 0 {
            return true;
        }
        let debt_ms = self.allowance.unsigned_abs() / self.rate.unsigned_abs();
        let again_at = now.saturating_add(debt_ms).saturating_add(STEP_MS.into());
        self.due = Some(again_at.min(quiet_at));
        false
    }

    /// How many bytes may be on their way to one server before no further part is sent.
    pub(super) fn flight_bytes_max(&self, now: Millis) -> usize {
        if self.quiet_at(now).is_none() {
            return usize::MAX;
        }
        let rate = usize::try_from(self.rate).unwrap_or(usize::MAX);
        (rate / 1_000).saturating_mul(FLIGHT_MS).max(1)
    }

    /// So many bytes were given.
    pub(super) fn spend(&mut self, bytes: usize) {
        let units = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(UNITS_PER_BYTE);
        self.allowance = self.allowance.saturating_sub(units);
    }

    /// When to go on with what waits; `None` while nothing does.
    pub(super) fn due(&self) -> Option<Millis> {
        self.due
    }

    /// Until when there is a pace, if there is one now.
    fn quiet_at(&self, now: Millis) -> Option<Millis> {
        let quiet_at = self.asked_at?.saturating_add(QUIET_MS);
        (self.rate > 0 && quiet_at > now).then_some(quiet_at)
    }

    /// What was not used for two steps is gone: it would be a rush after each lull. Two, as a step may
    /// come late.
    fn grow(&mut self, now: Millis) {
        let passed = i64::try_from(now.saturating_sub(self.grown_at)).unwrap_or(i64::MAX);
        let most = self.rate.saturating_mul((2 * STEP_MS).into());
        let grown = self.allowance.saturating_add(self.rate.saturating_mul(passed));
        self.allowance = grown.min(most);
        self.grown_at = now;
    }
}

impl Server {
    /// Goes on with transfers that had to wait for allowance.
    pub(super) fn go_on_giving(&mut self, now: Millis, out: &mut Out) {
        self.pace.due = None;
        let mut waiting: Vec<(usize, Slot, NodeId)> = Vec::new();
        for hold in self.holds.iter() {
            let (copies, start) = (hold.entry.active.len(), hold.entry.start);
            let joiners = hold.joiners(|sync| sync.waits_to_send());
            waiting.extend(joiners.map(|id| (copies, start, id.clone())));
        }
        // What lacks copies comes before what only changes owners.
        waiting.sort();
        for (_, slot, id) in waiting {
            self.send_parts(now, slot, &id, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives parts of these bytes whenever that is allowed, with a client that asks every
    /// millisecond; when each was given.
    fn given(rate: u64, parts: &[usize], until: Millis) -> Vec<Millis> {
        let mut pace = Pace::new(rate);
        let mut parts = parts.iter();
        let mut times = Vec::new();
        for now in 1_000..until {
            pace.asked(now);
            if pace.due().is_some_and(|due| due <= now) {
                pace.due = None;
            }
            while parts.len() > 0 && pace.allows(now) {
                times.push(now);
                pace.spend(*parts.next().expect("there is one"));
            }
        }
        times
    }

    #[test]
    fn a_megabyte_at_a_hundred_kilobytes_takes_ten_seconds() {
        let times = given(100_000, &[1_000; 1_000], 20_000);
        assert_eq!(times.len(), 1_000);
        let took = times.last().unwrap() - times[0];
        assert!((9_900..=10_100).contains(&took), "{took}");
    }

    #[test]
    fn a_part_that_is_larger_than_a_step_is_paid_for_afterwards() {
        let times = given(1_000, &[5_000, 1, 1], 20_000);
        assert_eq!(times.len(), 3);
        assert!((5_990..=6_020).contains(&times[1]), "{times:?}");
        assert!(times[2] <= times[1] + 30, "{times:?}");
    }

    #[test]
    fn nothing_waits_without_a_pace_or_without_clients() {
        let mut none = Pace::new(0);
        none.asked(5);
        none.spend(usize::MAX);
        assert!(none.allows(5));
        let mut quiet = Pace::new(1);
        assert!(quiet.allows(0), "nobody has asked yet");
        quiet.spend(1_000_000);
        quiet.asked(100);
        assert!(!quiet.allows(100));
        assert_eq!(quiet.due(), Some(100 + QUIET_MS), "nobody may ask again");
        assert!(quiet.allows(100 + QUIET_MS));
    }

    #[test]
    fn what_is_given_while_nobody_asks_is_not_owed_afterwards() {
        let mut pace = Pace::new(1_000_000);
        pace.asked(0);
        for now in QUIET_MS..2_000 {
            assert!(pace.allows(now));
            pace.spend(1_000);
        }
        pace.asked(2_000);
        let allowed = (2_000..).find(|now| pace.allows(*now)).expect("some day");
        assert!(allowed <= 2_000 + u64::from(2 * STEP_MS), "{allowed}");
    }

    #[test]
    fn no_more_is_on_its_way_than_a_moments_worth() {
        let mut pace = Pace::new(1_000_000);
        assert_eq!(pace.flight_bytes_max(0), usize::MAX, "nobody has asked yet");
        pace.asked(0);
        assert_eq!(pace.flight_bytes_max(1), 50_000);
        assert_eq!(pace.flight_bytes_max(QUIET_MS), usize::MAX);
        let mut slow = Pace::new(1);
        slow.asked(0);
        assert_eq!(slow.flight_bytes_max(1), 1, "one part at least");
    }

    proptest! {
        /// Over any time no more is given than the rate has, two steps and one part.
        #[test]
        fn the_rate_is_kept(
            rate in 1..100_000u64,
            parts in prop::collection::vec(1..5_000usize, 1..50),
        ) {
            let times = given(rate, &parts, 3_000);
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first + 1) {
                    let bytes: usize = parts[first..last].iter().sum();
                    let most = rate * (to - from + u64::from(2 * STEP_MS)) + 5_000 * 1_000;
                    prop_assert!(bytes as u64 * 1_000 <= most, "{bytes} in {} ms", to - from);
                }
            }
        }

        #[test]
        fn no_number_is_too_large(
            rate: u64,
            steps in prop::collection::vec((any::<u64>(), any::<usize>()), 1..20),
        ) {
            let mut pace = Pace::new(rate);
            for (now, bytes) in steps {
                pace.asked(now);
                if !pace.allows(now) {
                    prop_assert!(pace.due().is_some_and(|due| due > now || now == u64::MAX));
                }
                pace.spend(bytes);
            }
        }
    }
}
