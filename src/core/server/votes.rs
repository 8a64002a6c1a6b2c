//! The original's two-phase commit, with its power to decide taken away: a vote is a reservation
//! of a key with a deadline, and nothing is written before the primary is asked.

use std::collections::BTreeMap;

use crate::core::assignment::Revision;
use crate::core::machine::Millis;
use crate::core::planted::{Planted, planted};
use crate::core::wire::json::Json;
use crate::core::wire::peer::RequestId;
use crate::core::wire::text::Text;

/// How many reservations a server keeps; a vote beyond that is "no".
pub(super) const VOTES_MAX: usize = 100_000;

/// How many ended transactions of one key are remembered until their deadline.
const PAST_MAX: usize = 16;

/// The reservations of a server.
#[derive(Debug, Default)]
pub(super) struct Votes {
    votes: BTreeMap<Text, Vote>,
}

/// The state of one name.
#[derive(Debug, Default)]
struct Vote {
    /// Who reserved it, by address, and until when.
    owner: Option<(String, Millis)>,
    /// What the owner's transaction has written, once it has: the first `setr` to reach any
    /// replica writes, the others of the same transaction have no effect.
    written: Option<Written>,
    /// What transactions before it have written whose votes stand no longer, by address, and until
    /// when that is remembered: their last `setr` may still come.
    past: BTreeMap<String, (Written, Millis)>,
}

/// A write that votes back, as its replicas know it: held, and perhaps not by all yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) value: Json,
    /// Whoever asks for it again does so by this name, lest it be executed twice.
    pub(super) id: RequestId,
    /// Under which it was ordered.
    pub(super) revision: Revision,
}

impl Votes {
    /// Votes on a write of `key` by the client at `owner`; true for yes.
    pub(super) fn request(
        &mut self,
        now: Millis,
        until: Millis,
        key: &Text,
        owner: &str,
        being_written: bool,
    ) -> bool {
        if self.votes.len() >= VOTES_MAX && !self.votes.contains_key(key) {
            self.expire(now);
            if self.votes.len() >= VOTES_MAX {
                return false;
            }
        }
        let vote = self.votes.entry(key.clone()).or_default();
        vote.expire(now);
        let taken = vote.is_open() && !planted(Planted::VoteGivenTwice);
        if being_written || taken {
            return false;
        }
        vote.pass();
        vote.past.remove(owner);
        vote.owner = Some((owner.to_string(), until));
        true
    }

    /// The client at `owner` gives its vote back. Clients of one address count as
    /// one: nothing better is known of an original client.
    pub(super) fn deny(&mut self, now: Millis, key: &Text, owner: &str) {
        let Some(vote) = self.votes.get_mut(key) else {
            return;
        };
        vote.expire(now);
        if vote.owner.as_ref().is_some_and(|(holder, _)| holder == owner) {
            vote.pass();
        }
        self.tidy(key);
    }

    /// Whether a vote stands in the way of a write that no vote backs.
    pub(super) fn blocks(&mut self, now: Millis, key: &Text) -> bool {
        let Some(vote) = self.votes.get_mut(key) else {
            return false;
        };
        vote.expire(now);
        let blocked = vote.is_open() && !planted(Planted::VotesBlockNobody);
        self.tidy(key);
        blocked
    }

    /// Whether the client at `owner` has a vote that was not used.
    pub(super) fn backs(&mut self, now: Millis, key: &Text, owner: &str) -> bool {
        let Some(vote) = self.votes.get_mut(key) else {
            return false;
        };
        vote.expire(now);
        vote.is_open() && vote.owner.as_ref().is_some_and(|(holder, _)| holder == owner)
    }

    /// A write of `key` is held here that an original client's votes back: its transaction has
    /// had its effect. Votes exclude each other at each server and a client writes only with all
    /// three, so a vote that stands here is this client's, by whatever address it is known here.
    pub(super) fn written(&mut self, key: &Text, written: Written) {
        let vote = self.votes.get_mut(key).filter(|vote| vote.owner.is_some());
        if let Some(vote) = vote.filter(|_| !planted(Planted::WrittenVoteForgotten)) {
            vote.written = Some(written);
        }
    }

    /// The write of this value that the vote of a transaction stands for, where there is one. That
    /// it is held here does not say that it was acknowledged: only the primary knows.
    pub(super) fn begun(
        &mut self,
        now: Millis,
        key: &Text,
        owner: &str,
        value: &Json,
    ) -> Option<Written> {
        let vote = self.votes.get_mut(key)?;
        vote.expire(now);
        let own = vote.owner.as_ref().is_some_and(|(holder, _)| holder == owner);
        let written = if own { vote.written.as_ref() } else { vote.past.get(owner).map(|p| &p.0) };
        written.filter(|written| written.value == *value).cloned()
    }

    /// The write of this value that was held here, where it seems to be asked for by the same
    /// transaction once more. What was held may have been wiped since.
    pub(super) fn repeated(&mut self, now: Millis, key: &Text, value: &Json) -> Option<RequestId> {
        let vote = self.votes.get_mut(key)?;
        vote.expire(now);
        let open = vote.is_open();
        let past = vote.past.values().map(|(written, _)| written).filter(|_| !open);
        let held = vote.written.iter().chain(past.filter(|_| vote.written.is_none()));
        held.filter(|written| written.value == *value).map(|written| written.id).next()
    }

    /// Releases the vote of `owner` after its write.
    pub(super) fn release(&mut self, key: &Text, owner: &str) {
        let Some(vote) = self.votes.get_mut(key) else {
            return;
        };
        if vote.owner.as_ref().is_some_and(|(holder, _)| holder == owner) {
            vote.pass();
        }
        self.tidy(key);
    }

    /// Forgets what has passed its deadline.
    pub(super) fn expire(&mut self, now: Millis) {
        self.votes.retain(|_, vote| {
            vote.expire(now);
            !vote.is_empty()
        });
    }

    /// The reservations that stand in others' way, if their deadline has not passed.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Text, &str, Millis)> {
        let open = self.votes.iter().filter(|(_, vote)| vote.is_open());
        open.filter_map(|(key, vote)| {
            let (owner, until) = vote.owner.as_ref()?;
            Some((key, owner.as_str(), *until))
        })
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.votes.is_empty()
    }

    /// How many names are reserved, or were.
    pub(super) fn len(&self) -> usize {
        self.votes.len()
    }

    fn tidy(&mut self, key: &Text) {
        if self.votes.get(key).is_some_and(Vote::is_empty) {
            self.votes.remove(key);
        }
    }
}

impl Vote {
    /// The vote stands no longer; what it has written is remembered until its deadline.
    fn pass(&mut self) {
        if let Some(((owner, until), written)) = self.owner.take().zip(self.written.take()) {
            if self.past.len() >= PAST_MAX {
                self.past.pop_first();
            }
            self.past.insert(owner, (written, until));
        }
        self.owner = None;
        self.written = None;
    }

    fn expire(&mut self, now: Millis) {
        let stands = |until: &Millis| planted(Planted::VotesNeverExpire) || *until > now;
        if self.owner.as_ref().is_some_and(|(_, until)| !stands(until)) {
            self.owner = None;
            self.written = None;
        }
        self.past.retain(|_, (_, until)| *until > now);
    }

    /// Whether the reservation stands in others' way.
    fn is_open(&self) -> bool {
        self.owner.is_some() && self.written.is_none()
    }

    fn is_empty(&self) -> bool {
        self.owner.is_none() && self.past.is_empty()
    }
}
