//! The kinds of faults.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::Options;

/// What can happen to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A server is killed for good.
    Crash,
    /// Two of the servers of a range are killed at once.
    CrashTwo,
    /// A server is killed, and started again where it was: with nothing, or with its disk.
    Restart,
    /// The same at another port of its host.
    Move,
    /// All servers of a range are killed at once: what it held is lost.
    CrashAll,
    /// All servers of a range are silent for longer than a lease, and come back.
    SilenceAll,
    /// All servers of a range are killed at once, and started again with their disks.
    ReviveAll,
    /// Every process of the ring is killed at once, and started again with its disk, in any order.
    ReviveRing,
    /// A server's disk is full or broken: its process ends with the next write, and is started again once
    /// there is room.
    DiskFull,
    /// A new server joins.
    Join,
    /// A server leaves as planned.
    Leave,
    /// A server stops for less than a lease.
    Pause,
    /// A server stops for longer than a lease.
    LongPause,
    /// The view leader stops for a while.
    LeaderPause,
    /// The view leader is killed, and started again with nothing.
    LeaderRestart,
    /// Two hosts do not reach one another.
    Cut,
    /// One host does not reach another, which reaches it.
    CutOneWay,
    /// A server reaches nobody.
    Isolate,
    /// A server does not reach the view leader.
    CutFromLeader,
    /// A server is slow to reach.
    Slow,
    /// A server's or the leader's clock runs fast or slow.
    Drift,
    /// A server's or the leader's clock jumps ahead.
    Jump,
    /// Frames of replicas are lost.
    Loss,
    /// Frames of replicas arrive twice.
    Repeat,
    /// Frames of replicas overtake one another.
    Reorder,
    /// Requests and replies are lost.
    CallLoss,
    /// A client is killed.
    ClientCrash,
    /// A client of the original dies with the votes in its hand.
    DeadVoter,
    /// A client of the original dies when it has given the value to some of the three servers.
    DeadWriter,
    /// The primary of a key that everybody writes falls while frames are lost, and then the next.
    FailOver,
    /// Servers join and die at once, while a primary is slow to reach.
    Flap,
    /// A primary reaches clients and nobody else.
    OldPrimary,
    /// A client that holds a lock dies; later somebody releases the lock in its name.
    DeadHolder,
}

impl Kind {
    const ALL: [Kind; 33] = [
        Kind::Crash,
        Kind::CrashTwo,
        Kind::Restart,
        Kind::Move,
        Kind::CrashAll,
        Kind::SilenceAll,
        Kind::ReviveAll,
        Kind::ReviveRing,
        Kind::DiskFull,
        Kind::Join,
        Kind::Leave,
        Kind::Pause,
        Kind::LongPause,
        Kind::LeaderPause,
        Kind::LeaderRestart,
        Kind::Cut,
        Kind::CutOneWay,
        Kind::Isolate,
        Kind::CutFromLeader,
        Kind::Slow,
        Kind::Drift,
        Kind::Jump,
        Kind::Loss,
        Kind::Repeat,
        Kind::Reorder,
        Kind::CallLoss,
        Kind::ClientCrash,
        Kind::DeadVoter,
        Kind::DeadWriter,
        Kind::DeadHolder,
        Kind::FailOver,
        Kind::Flap,
        Kind::OldPrimary,
    ];

    /// The kinds that a run has.
    pub(super) fn of(options: &Options) -> Vec<Kind> {
        let wanted = |kind: &Kind| match kind {
            Kind::LeaderRestart => options.leader_restarts,
            Kind::DeadVoter | Kind::DeadWriter => options.originals,
            Kind::CrashAll => options.whole_ranges && !options.server_disks,
            Kind::SilenceAll => options.whole_ranges,
            Kind::ReviveAll | Kind::DiskFull => options.server_disks,
            Kind::ReviveRing => options.server_disks && options.leader_record,
            _ => true,
        };
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    /// Those of `kinds` for which no operation may fail; joins and leaves, which are planned, are
    /// not among them.
    pub(super) fn harmless(kinds: &[Kind]) -> Vec<Kind> {
        let planned = [Kind::Join, Kind::Leave];
        let harmless = kinds.iter().filter(|kind| !kind.troubles() && !planned.contains(kind));
        harmless.copied().collect()
    }

    /// Whether operations of clients may fail while it lasts and until the ring has recovered.
    pub(super) fn troubles(self) -> bool {
        !matches!(
            self,
            Kind::Join
                | Kind::Leave
                | Kind::Repeat
                | Kind::ClientCrash
                | Kind::DeadVoter
                | Kind::DeadWriter
                | Kind::DeadHolder
        )
    }

    /// Whether such a fault has met a message, where that is its nature, by the counts of faults.
    pub(super) fn has_met<T>(self, counts: &BTreeMap<T, u64>) -> bool
    where
        T: Ord + Borrow<str>,
    {
        let meets = self.meets();
        meets.is_empty() || meets.iter().any(|what| counts.contains_key(*what))
    }

    /// What is counted where such a fault meets a message, or a client is where it is to die.
    pub(super) fn meets(self) -> &'static [&'static str] {
        match self {
            Kind::Cut | Kind::Isolate | Kind::CutFromLeader => &["cut"],
            Kind::CutOneWay => &["cut one way"],
            Kind::Slow => &["slowed down"],
            Kind::Loss => &["frame lost"],
            Kind::Repeat => &["frame repeated"],
            Kind::Reorder => &["frame overtaken"],
            Kind::CallLoss => &["request lost", "reply lost"],
            Kind::DeadWriter => &["setr broken off"],
            Kind::DiskFull => &["write refused"],
            _ => &[],
        }
    }
}
