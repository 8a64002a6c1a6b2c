//! A planned leave: this server asks to go, and goes when the leader says that it may.

use super::{Out, Purpose, Server};
use crate::core::assignment::Snapshot;
use crate::core::machine::{CallError, Millis, Note, Output};
use crate::core::wire::json::Object;

/// How long the view leader's address refuses connections before a server that wants to leave says
/// so. A leader that is started again is back by then.
const LEADER_AWAY_MS: Millis = 3_000;

/// How far a planned leave is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaving {
    /// None is planned.
    No,
    /// Every heartbeat says that this server wants to leave.
    Asked,
    /// It may leave, and says goodbye.
    Goodbye,
    /// It has left.
    Left,
}

impl Server {
    /// This server shall leave. One that no leader of ours has taken into a view, and that found nothing
    /// on its disk, has nothing that others could need.
    pub(super) fn leave(&mut self, now: Millis, out: &mut Out) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Asked;
        out.push(Output::Note(Note::Leaving));
        if self.leader_speaks != Some(true) && self.holds.iter().next().is_none() {
            return self.left(out);
        }
        self.heartbeat(now, out);
        // One that was under way did not say it yet.
        self.heartbeat_soon(now);
    }

    /// The leader lets this server go.
    pub(super) fn may_leave(&mut self, now: Millis, out: &mut Out) {
        if self.leaving != Leaving::Asked {
            return;
        }
        self.leaving = Leaving::Goodbye;
        self.send_heartbeat(now, Purpose::Goodbye, out);
    }

    /// The leader has answered the goodbye, or has not. One that answers with more than a status
    /// needs this server again, since something has changed meanwhile; one that does not answer
    /// finds out later that nobody is here.
    pub(super) fn goodbye_answered(
        &mut self,
        now: Millis,
        result: &Result<Vec<u8>, CallError>,
        out: &mut Out,
    ) {
        let reply = result.as_ref().ok().and_then(|reply| Object::parse(reply).ok());
        let Some(snapshot) = reply.and_then(|reply| reply.decode::<Snapshot>("dht")) else {
            return self.left(out);
        };
        self.leaving = Leaving::Asked;
        if snapshot.tell {
            self.tell_all(now, out);
        } else {
            self.adopt(now, snapshot, out);
        }
    }

    /// A heartbeat was refused: says once that nobody is there who could let this server go.
    pub(super) fn leader_is_away(&mut self, now: Millis, out: &mut Out) {
        let gone = self.leader_gone_at.is_some_and(|at| now >= at + LEADER_AWAY_MS);
        if gone && self.leaving == Leaving::Asked && !self.leader_away_told {
            self.leader_away_told = true;
            out.push(Output::Note(Note::LeaderAway));
        }
    }

    fn left(&mut self, out: &mut Out) {
        if self.leaving != Leaving::Left {
            self.leaving = Leaving::Left;
            // What others have taken over it has dropped.
            let keys = self.store.keys() as u64;
            if keys > 0 && self.keeper.is_none() {
                out.push(Output::Note(Note::NotHandedOver { keys }));
            }
            out.push(Output::Note(Note::Left));
        }
    }
}
