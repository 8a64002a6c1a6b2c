//! The kinds of faults.

use std::collections::BTreeMap;

use super::Options;

/// What can happen to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A server is killed for good.
    Crash,
    /// Two of the servers of a range are killed at once.
    CrashTwo,
    /// A server is killed, and started again with nothing where it was.
    Restart,
    /// A server is killed, and started again with nothing at another port of its host.
    Move,
    /// A new server joins.
    Join,
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
    /// The primary of a key that everybody writes falls while frames are lost, and then the next.
    FailOver,
    /// Servers join and die at once, while a primary is slow to reach.
    Flap,
    /// A primary reaches clients and nobody else.
    OldPrimary,
}

impl Kind {
    const ALL: [Kind; 25] = [
        Kind::Crash,
        Kind::CrashTwo,
        Kind::Restart,
        Kind::Move,
        Kind::Join,
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
        Kind::FailOver,
        Kind::Flap,
        Kind::OldPrimary,
    ];

    /// The kinds that a run has.
    pub(super) fn of(options: &Options) -> Vec<Kind> {
        let wanted = |kind: &Kind| match kind {
            Kind::LeaderRestart => options.leader_restarts,
            Kind::DeadVoter => options.originals,
            _ => true,
        };
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    /// Whether such a fault has met a message, where that is its nature, by the network's counts.
    pub(super) fn has_met(self, counts: &BTreeMap<&'static str, u64>) -> bool {
        let meets = self.meets();
        meets.is_empty() || meets.iter().any(|what| counts.contains_key(what))
    }

    /// What the network counts where such a fault meets a message.
    fn meets(self) -> &'static [&'static str] {
        match self {
            Kind::Cut | Kind::Isolate | Kind::CutFromLeader => &["cut"],
            Kind::CutOneWay => &["cut one way"],
            Kind::Slow => &["slowed down"],
            Kind::Loss => &["frame lost"],
            Kind::Repeat => &["frame repeated"],
            Kind::Reorder => &["frame overtaken"],
            Kind::CallLoss => &["request lost", "reply lost"],
            _ => &[],
        }
    }
}
