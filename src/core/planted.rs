//! Planted bugs: each takes one rule of the protocol away. A suite that does not notice is too weak.
//!
//! They exist only with the cargo feature `planted`, which is for tests and is in no wheel. Without
//! it `planted` is a constant, and the compiler leaves nothing of the places that ask it. With it
//! one bug at most is there, for as long as a closure given to `with` runs, on its thread.

/// Lists the bugs, each with the rule that it removes; sections are those of `docs/replication.md`.
macro_rules! bugs {
    ($($name:ident: $section:literal, $rule:literal;)*) => {
        /// A rule of the protocol that is not kept.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Planted {
            $(#[doc = concat!("Removed (", $section, "): ", $rule)] $name,)*
        }

        impl Planted {
            /// All of them, in the order of the document.
            pub const ALL: &[Planted] = &[$(Planted::$name),*];

            /// Where the document has the rule that is removed.
            pub fn section(self) -> &'static str {
                match self { $(Planted::$name => $section,)* }
            }

            /// The rule that is removed.
            pub fn rule(self) -> &'static str {
                match self { $(Planted::$name => $rule,)* }
            }
        }
    };
}

bugs! {
    IdentityKept: "Words", "A restarted process has another identity.";
    LastHolderRemoved: "View leader", "`active` never loses its last member.";
    ActivatedUnsynced: "View leader", "Joiners become active only on the primary's report.";
    OldReportsBelieved: "View leader", "A report must name the range's current revision.";
    LeaversGoFirst: "View leader", "Leavers stay active until all joiners are.";
    DropUnacknowledged: "View leader",
        "A leaver deletes only after every active server has acknowledged the revision without it.";
    SinceKept: "View leader", "`since` starts anew when the primary changes.";
    BirthWipesNothing: "View leader", "A new `born` means: wipe.";
    GrantedWhileMoving: "View leader", "The lock `rebalancing` is granted only when all is settled.";
    WaiterReleases: "View leader", "Who leaves a lock's queue releases nobody else's lock.";
    LedAlways: "Server in a range", "A primary goes on serving only if nobody else led meanwhile.";
    DropWhileActive: "Server in a range", "Only one that has left deletes.";
    OldOrdersObeyed: "Server in a range", "A server at a newer revision refuses (sealing).";
    OlderEntriesAdopted: "Server in a range", "Only newer entries are adopted.";
    DropForgetsRevision: "Server in a range",
        "The highest revision seen is kept after the data were deleted.";
    AckBeforeAll: "Writing", "A write waits for all of `active`.";
    WriteWithoutSynced: "Writing", "A write waits for every joiner reported synced.";
    PrimaryStoresFirst: "Writing", "The primary stores last.";
    OldAnswersCount: "Writing", "Only answers under the write's present revision count.";
    PendingNotSentAgain: "Writing", "Under a new revision, pending writes are sent again.";
    OlderOverwrites: "Writing", "The higher version stays.";
    UnknownSaidFailed: "Writing", "A deposed primary tells its clients `unknown`.";
    LostSaidFailed: "Writing", "A client never calls failed what may have happened.";
    RetriedUnderNewName: "Writing", "A retry carries the request id of the first try.";
    ReplicasForgetRequests: "Writing", "Each slot remembers its requests, at every replica.";
    RequestsNotHandedOn: "Writing", "Requests are handed on with the slot's data.";
    ForgottenIsNew: "Writing", "A retry that may have been forgotten is answered `unknown`.";
    BirthForgetsNothing: "Writing",
        "A retry whose first try is older than the range's birth is answered `unknown`.";
    LateTryTaken: "Writing", "A first try that may have been retried and forgotten is refused.";
    ServesWhileBehind: "Writing", "A write gets no version older than its client's revision.";
    ReadUnconfirmed: "Reading", "A read is confirmed by every other active server.";
    ConfirmWithoutSynced: "Reading", "A read is confirmed by every joiner reported synced.";
    ConfirmationReused: "Reading", "A read that comes while a question is open waits for the next.";
    ReadsOnLease: "Reading", "No clock in any promise: a lease confirms nothing.";
    ServeWithoutReconcile: "Reconcile", "A new primary reconciles before it serves.";
    ReconcileWithoutLast: "Reconcile", "It asks all other active servers.";
    ReconcileTakesNothing: "Reconcile", "It takes the highest version, and aborts nothing.";
    ReconcileGivesNothing: "Reconcile", "It gives the result to all before it serves.";
    JoinerKeepsOld: "Moving", "A joiner first deletes what it has from before `since`.";
    AsideUnchecked: "Moving", "A joiner holds what it had before only where the primary has the same.";
    SyncedUnbegun: "Moving", "A synced joiner has shown that it stands at the revision.";
    SyncedUndelivered: "Moving", "A synced joiner has every part.";
    PartsLeftOut: "Moving", "A slot is delivered when its last part is.";
    SyncedWhileTrailing: "Moving", "A synced joiner holds every write acknowledged meanwhile.";
    SyncedWithoutPending: "Moving", "Once a joiner is synced, pending writes need it too.";
    DeniedReturns: "Who is dead", "An identity whose lease has ended is denied for ever.";
    DeniedServes: "Who is dead", "A server that is denied keeps its data unserved.";
    SilenceIsDeath: "Who is dead", "One that does not answer is not certainly gone.";
    LeavesWhileNeeded: "A planned leave", "A server may leave once no range names it.";
    VoteIsWrite: "Two-phase commit", "A `setr` is answered when the write is acknowledged.";
    WrittenVoteForgotten: "Two-phase commit", "A transaction's write is executed once.";
    VotesNeverExpire: "Two-phase commit", "A vote runs out.";
    VoteGivenTwice: "Two-phase commit", "A vote is refused while another reservation stands.";
    VotesBlockNobody: "Two-phase commit", "Reservations stop our own clients too.";
    LastClaimWins: "Restarted leader", "Of each range it takes the highest revision it hears of.";
    ResolvedUnheard: "Restarted leader",
        "A range stays until all that it names were heard, or are certainly gone.";
    GivenAwayEarly: "Restarted leader", "Slots that nobody has told of are given to nobody.";
    ListensToNobody: "Restarted leader", "A leader listens before it takes its ring for a new one.";
    EpochStartsAnew: "Restarted leader", "It goes on from the highest epoch that it hears of.";
    RevisionsReused: "Restarted leader", "Its revisions are higher than any given out before.";
    LeaverNotTold: "Restarted leader", "One that holds what has moved on is told to delete it.";
    ToldBeforePersisted: "Record", "Nothing is told before it is on disk.";
    LocksForgotten: "Record", "A lock is held across a restart.";
    DeniedForgotten: "Record", "A denied identity is denied across a restart.";
    LeasesNotRenewed: "Record", "After a restart each member has a full lease.";
    OwnDiskForgotten: "Data on disk", "A write is on the primary's own disk before it is acknowledged.";
    HeldBeforePersisted: "Data on disk", "A replica says that it holds a write once its disk has it.";
    StandingNotAwaited: "Data on disk", "A server acts by an assignment once its disk has it.";
    IdentityReused: "Data on disk", "A server that restarts takes a new identity.";
    DiskNotTold: "Data on disk", "A range whose holders have disks waits for them.";
    RequestsNotStored: "Data on disk", "Requests are remembered across a restart.";
}

/// Whether this bug is there: never.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn planted(_: Planted) -> bool {
    false
}

#[cfg(feature = "planted")]
pub(crate) use self::choice::planted;
#[cfg(feature = "planted")]
pub use self::choice::with;

#[cfg(feature = "planted")]
mod choice {
    use std::cell::Cell;

    use super::Planted;

    thread_local! {
        static CHOICE: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Whether this bug is there.
    pub(crate) fn planted(bug: Planted) -> bool {
        CHOICE.get() == Some(bug)
    }

    /// Runs something on this thread with a bug, or with none.
    pub fn with<T>(bug: Option<Planted>, run: impl FnOnce() -> T) -> T {
        /// Takes the bug away again, also where `run` panics.
        struct Before(Option<Planted>);
        impl Drop for Before {
            fn drop(&mut self) {
                CHOICE.set(self.0);
            }
        }
        let _before = Before(CHOICE.replace(bug));
        run()
    }
}
