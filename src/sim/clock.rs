//! A node's clock: it never goes back, and may run at another rate than the world's, or jump.

use crate::core::machine::Millis;

/// The rate of a clock that is right, in thousandths.
pub(super) const RATE_RIGHT: u64 = 1_000;

/// Maps the time of the simulation to a node's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Since when the rate holds, in the time of the simulation.
    since: Millis,
    /// What the clock showed then.
    shown: Millis,
    /// How many seconds it shows in a thousand. Never 0.
    rate: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { since: 0, shown: 0, rate: RATE_RIGHT }
    }
}

impl Clock {
    /// What the clock shows at `now`.
    pub(super) fn at(&self, now: Millis) -> Millis {
        self.shown + (now - self.since) * self.rate / RATE_RIGHT
    }

    /// When the clock shows `shown` or more.
    pub(super) fn when(&self, shown: Millis) -> Millis {
        let ahead = shown.saturating_sub(self.shown);
        self.since + (ahead.saturating_mul(RATE_RIGHT)).div_ceil(self.rate)
    }

    /// From `now` on the clock runs at `rate`, and shows `ahead_ms` more than it did.
    pub(super) fn change(&mut self, now: Millis, rate: u64, ahead_ms: Millis) {
        assert!(rate > 0, "a clock does not stand");
        *self = Clock { since: now, shown: self.at(now) + ahead_ms, rate };
    }
}
