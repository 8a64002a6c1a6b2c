//! A leader that was started again: what it may decide before it has heard everybody.

use super::Leader;
use super::plan::{Census, State};
use super::probe::Absent;
use crate::core::assignment::{HeartbeatExtension, Revision};
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};

/// How long a restarted leader listens before it changes anything that servers tell of. They notice
/// that it was gone by their connections, and tell it again at once.
const RECOVERY_GRACE_MS: Millis = 1_000;

/// The distance of a restarted leader's revisions from those that it heard of, where its clock shows
/// that they are still to come. The leader before it may have given out higher ones that nobody who
/// was heard knows.
const REVISION_LEAP: Revision = 1 << 32;

/// How many revisions a leader may give out for each millisecond of its life, and still have given out
/// none as high as those of one that is started after its end.
const REVISIONS_PER_MS: Revision = 1 << 13;

/// From when on the time of a start is counted: the beginning of 2020, in milliseconds since 1970.
const COUNTED_FROM_MS: Millis = 1_577_836_800_000;

/// The longest time since then that revisions show, 2^40 less one, to the year 2054: up to there a revision is
/// below 2^53, which every reader of JSON understands.
const COUNTED_MS_MAX: Millis = 1_099_511_627_775;

impl Leader {
    /// A revision above all that leaders before this one have given out, of which servers that were
    /// heard know `heard`; as far as the clock of their host has never shown a later time.
    ///
    /// They may all have slept while the last leader led others. No distance from what they know is
    /// certainly enough then: two leaders that hear the same would go on from the same revision. What
    /// tells the two apart is when each was started.
    pub(super) fn above_all_given_out(&self, heard: Revision) -> Revision {
        if planted(Planted::RevisionsReused) {
            return heard;
        }
        let started_ms = self.config.started_ms;
        let counted_ms = started_ms.saturating_sub(COUNTED_FROM_MS).min(COUNTED_MS_MAX);
        let by_clock = counted_ms * REVISIONS_PER_MS;
        if by_clock > heard {
            return by_clock;
        }
        // Most likely another one than that of a leader which was started at another time.
        let apart = (started_ms % (REVISION_LEAP / REVISIONS_PER_MS)) * REVISIONS_PER_MS;
        heard + REVISION_LEAP + apart
    }

    /// Recovery ends when every range was told of by a server and each had time to tell, or after
    /// a full lease.
    pub(super) fn end_recovery(&mut self, now: Millis) {
        self.recovery_at = None;
        let Some(since) = self.recovering_since else { return };
        let told = |state: &State| state.claimed.is_some() && state.unsure_since.is_none();
        let all_told = self.ranges.iter().all(|range| told(&range.state));
        let (grace, lease) = (since + RECOVERY_GRACE_MS, since + self.config.lease_ms);
        if now >= lease || (all_told && now >= grace) {
            self.recovering_since = None;
        } else {
            self.recovery_at = [grace, lease].into_iter().find(|at| *at > now);
        }
    }

    /// Whether a server that joins was in the view of the leader before until that one ended: less
    /// than a lease had passed since a heartbeat of it was accepted. So no range has gone on without
    /// it, as far as its clock is right to a tenth.
    pub(super) fn vouches(&self, said: &HeartbeatExtension) -> bool {
        let trusted_ms = self.config.lease_ms - self.config.lease_ms / 10;
        said.silent_ms.is_some_and(|silent_ms| silent_ms < trusted_ms)
    }

    /// Whether servers of a ring before may not have been heard.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovering_since.is_some() || self.listens_until.is_some()
    }

    /// Whether a server will certainly not come back with its data. Of one that was never heard nobody
    /// knows whether it has a disk: it is like the others then.
    pub(super) fn is_lost(&self, absent: &Absent) -> bool {
        absent.gone && !self.may_keep(absent)
    }

    /// Whether a server that is not there may have its data on disk.
    pub(super) fn may_keep(&self, absent: &Absent) -> bool {
        absent.keeps.unwrap_or_else(|| self.members.any_keeps())
    }

    /// What the plan has to know of the servers.
    pub(super) fn census(&self, now: Millis) -> Census {
        let passed = |since: Option<Millis>, span| since.is_none_or(|since| now >= since + span);
        let members = || self.members.ids().filter_map(|id| self.members.extension(id));
        let vouching = members().filter(|extension| extension.vouches);
        let absent_lost = self.absent.iter().filter(|(_, absent)| self.is_lost(absent));
        Census {
            live: self.members.ids().cloned().collect(),
            gone: self.absent.iter().filter(|(_, a)| a.gone).map(|(id, _)| id.clone()).collect(),
            lost: absent_lost.map(|(id, _)| id.clone()).collect(),
            vouching: vouching.map(|extension| extension.id.clone()).collect(),
            renamed: members().flat_map(|extension| extension.was.iter().cloned()).collect(),
            now,
            give_up_after_ms: self.config.give_up_after_ms,
            recovering: self.is_recovering(),
            may_resolve: passed(self.recovering_since, RECOVERY_GRACE_MS),
            gone_counts: passed(self.restarted_at, self.config.lease_ms),
        }
    }
}
