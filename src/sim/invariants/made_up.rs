//! Made-up facts, to show that a rule is broken by what breaks it, and by nothing else.

use std::sync::Arc;

use super::dialogue::Told;
use super::facts::{Hold, Leader, Range, Server};
use super::orders::Write;
use super::ring::Ring;
use super::slots::SlotMap;
use super::{Rule, judge_leader, judge_server};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::{Millis, ReplyTo};
use crate::core::server::audit::Part;
use crate::core::wire::peer::{RequestId, Version};
use crate::core::wire::text::Text;
use crate::sim::node::ProcessId;

/// A ring whose machines show what they are told to show, judged by one rule.
#[derive(Debug)]
pub(super) struct Play {
    rules: Vec<Box<dyn Rule>>,
    pub(super) ring: Ring,
    leaders: u32,
    /// Who is in the leader's view.
    pub(super) members: Vec<NodeId>,
    /// The time by the clock of whoever takes a step.
    pub(super) local: Millis,
    /// Whether leaders keep a record.
    pub(super) recorded: bool,
}

/// The request of this number.
pub(super) fn request(number: u64) -> RequestId {
    RequestId { client: 1, number }
}

/// A version of this revision and place.
pub(super) fn version(revision: Revision, sequence: u64) -> Version {
    Version { revision, sequence }
}

fn ids(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| (*name).into()).collect()
}

/// A part in slots 0..100, which were born at revision 1.
pub(super) fn hold(revision: Revision, active: &[&str], part: Part) -> Hold {
    Hold {
        start: 0,
        end: 100,
        revision,
        born: 1,
        led_since: 1,
        active: ids(active),
        joining: Vec::new(),
        part,
        synced: Vec::new(),
        closing: Vec::new(),
        round: None,
    }
}

/// A leader's range, slots 0..100, born at revision 1; nobody has the others.
pub(super) fn range(revision: Revision, active: &[&str]) -> Range {
    Range {
        start: 0,
        end: 100,
        revision,
        born: 1,
        active: ids(active),
        joining: Vec::new(),
        leaving: Vec::new(),
        unsure: false,
        told: false,
        waiting: false,
    }
}

/// The same as somebody told it, before the leader is sure of it.
pub(super) fn told_range(revision: Revision, active: &[&str]) -> Range {
    Range { unsure: true, told: true, ..range(revision, active) }
}

/// A server with this identity, which is also the name of its node.
pub(super) fn server(id: &str, holds: Vec<Hold>) -> Server {
    let mut seen = SlotMap::new(0);
    holds.iter().for_each(|hold| seen.fill(hold.start, hold.end, hold.revision));
    Server {
        name: id.to_string(),
        id: id.into(),
        was: Vec::new(),
        epoch: 1,
        acked: 0,
        counter: 0,
        holds: Arc::new(holds),
        changes: 0,
        cells: Arc::default(),
        writes: Arc::default(),
        votes: Arc::default(),
        led: true,
        fills: Vec::new(),
        seen: Arc::new(seen),
    }
}

impl Server {
    /// The same with a value of `key` in slot 7; the value is named by a number.
    pub(super) fn with(mut self, key: &str, version: Version, value: u64) -> Server {
        let cells = Arc::make_mut(&mut self.cells).entry(7).or_default();
        cells.insert(Text::from(key), (version, value));
        self
    }

    /// The same with a write under way in slot 7 for which `to` waits.
    pub(super) fn writing(mut self, number: u64, version: Version, to: u64) -> Server {
        let write = Write {
            slot: 7,
            key: Text::from("k"),
            id: request(number),
            version,
            revision: version.revision,
            needed: Vec::new(),
            voted: false,
            acknowledged: false,
            replies: vec![ReplyTo(to)],
        };
        Arc::make_mut(&mut self.writes).push(write);
        self
    }

    /// The same under an identity that was drawn later.
    pub(super) fn renamed(mut self, id: &str) -> Server {
        self.was.push(std::mem::replace(&mut self.id, id.into()));
        self
    }
}

/// A write to `key` in slot 7 is acknowledged.
pub(super) fn acknowledged(key: &str, number: u64, version: Version) -> Told {
    let (key, version) = (Text::from(key), Some(version));
    Told::Acknowledged {
        slot: 7 as Slot,
        key,
        id: request(number),
        version,
        value: 1,
        voted: false,
    }
}

impl Play {
    pub(super) fn new(rule: impl Rule + 'static) -> Play {
        Play {
            rules: vec![Box::new(rule)],
            ring: Ring::default(),
            leaders: 1,
            members: Vec::new(),
            local: 0,
            recorded: false,
        }
    }

    /// A server takes a step after which it is so, and says this.
    pub(super) fn says(&mut self, after: Server, told: &[Told]) -> Result<(), String> {
        let node = after.name.bytes().map(usize::from).sum();
        let process = ProcessId { node, run: 1 };
        let before = self.ring.servers.remove(&process);
        let mut after = after;
        if let Some(before) = &before {
            let mut seen = before.seen.clone();
            for hold in after.holds.iter() {
                Arc::make_mut(&mut seen).fill(hold.start, hold.end, hold.revision);
            }
            after.seen = seen;
        }
        let said = (self.local, told);
        judge_server(&mut self.rules, &mut self.ring, process, before.as_ref(), after, said)
            .map_err(|(_, what)| what)
    }

    /// A server takes a step after which it is so.
    pub(super) fn shows(&mut self, after: Server) -> Result<(), String> {
        self.says(after, &[])
    }

    /// A server's process dies.
    pub(super) fn dies(&mut self, id: &str) {
        let node = id.bytes().map(usize::from).sum();
        self.ring.died(ProcessId { node, run: 1 });
    }

    /// The leader dies, and another one is started.
    pub(super) fn leader_restarts(&mut self) {
        self.ring.leader = None;
        self.leaders += 1;
    }

    /// The leader takes a step after which its first range is so, and says this.
    pub(super) fn leads(&mut self, epoch: u64, first: Range, told: &[Told]) -> Result<(), String> {
        let process = ProcessId { node: 0, run: self.leaders };
        let before = self.ring.leader.take().map(|(_, leader)| leader);
        let mut rest = range(0, &[]);
        (rest.start, rest.end, rest.born) = (100, crate::core::hash::SLOT_COUNT, 0);
        let after = Leader {
            epoch,
            revision: first.revision,
            recovering: false,
            restarted: self.leaders > 1 && !self.recorded,
            gives_up: false,
            recorded: self.recorded,
            lease_ms: 6_000,
            losses: 0,
            ranges: Arc::new(vec![first, rest]),
            members: self.members.iter().map(|id| (id.clone(), 0)).collect(),
            fills: Vec::new(),
        };
        judge_leader(
            &mut self.rules,
            &mut self.ring,
            process,
            before.as_ref(),
            after,
            (self.local, told),
        )
        .map_err(|(_, what)| what)
    }
}

/// The error that must have come, with this word in it.
#[track_caller]
pub(super) fn fires(verdict: Result<(), String>, word: &str) {
    let what = verdict.expect_err("the rule is broken, and nobody says so");
    assert!(what.contains(word), "{what}");
}
