//! What must hold at every moment, looked at after every step of a machine.
//!
//! After each event that a machine was given, [`Invariants::look`] takes down what that machine
//! shows (`facts`), and has each rule judge the step: against what the machine showed before, and
//! against what all others have shown so far (`ring`). So a step costs what one machine costs. One
//! rule is one file, and says there what it states, and why that is so.

mod acknowledged;
mod activation;
mod answers;
mod beginnings;
mod bounds;
mod confirmations;
mod copies;
mod decider;
mod denied;
mod dialogue;
mod drops;
mod facts;
mod ghosts;
mod growth;
mod honest;
mod identities;
mod lineage;
mod locks;
mod lost;
#[cfg(test)]
mod made_up;
mod meaning;
mod once;
mod orders;
mod reconciled;
mod recorded;
mod restarts;
mod ring;
mod served;
mod slots;
mod synced;
mod transactions;
mod versions;
mod votes;

use std::fmt;

pub(super) use self::dialogue::Heard;
use self::dialogue::Told;
use self::ring::Ring;
use super::node::{ProcessId, Program};
use crate::core::assignment::NodeId;
use crate::core::hash::Slot;
use crate::core::machine::{Millis, Output};
use crate::core::wire::peer::Version;
use crate::core::wire::text::Text;

/// A rule that a step broke.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which.
    pub rule: &'static str,
    /// When.
    pub at: Millis,
    /// How: names servers, slots and revisions.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What a run may do beyond what always holds.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// How many may wait in any one queue. The machines' own limits are far higher than what a few
    /// clients can fill.
    pub crowd: usize,
    /// Whether all who hold a range may die.
    pub losses: bool,
}

/// `Err` says how a rule is broken.
type Verdict = Result<(), String>;

/// A step of a server.
#[derive(Debug)]
struct ServerStep<'a> {
    process: ProcessId,
    /// The time by the server's clock.
    local: Millis,
    /// What the server showed before; `None` at its first step.
    before: Option<&'a facts::Server>,
    after: &'a facts::Server,
    told: &'a [Told],
    /// The slots whose contents or whose range changed, of those that hold anything anywhere.
    slots: Vec<Slot>,
}

impl<'a> ServerStep<'a> {
    /// The server's ranges that are not as they were.
    fn changed(&self) -> impl Iterator<Item = &'a facts::Hold> {
        let after = self.after;
        let before = self.before;
        let moved =
            before.is_none_or(|before| !std::sync::Arc::ptr_eq(&before.holds, &after.holds));
        let same = move |hold: &&facts::Hold| {
            before.is_some_and(|before| before.at(hold.start) == Some(*hold))
        };
        after.holds.iter().filter(move |hold| moved && !same(hold))
    }

    /// What the server was in the pieces of a range.
    fn pieces(&self, start: Slot, end: Slot) -> Vec<(Slot, Slot, Option<&'a facts::Hold>)> {
        self.before.map_or_else(|| vec![(start, end, None)], |before| before.pieces(start, end))
    }
}

/// A step of a view leader.
#[derive(Debug)]
struct LeaderStep<'a> {
    process: ProcessId,
    before: Option<&'a facts::Leader>,
    after: &'a facts::Leader,
    told: &'a [Told],
    /// The time by the leader's clock.
    local: Millis,
}

impl<'a> LeaderStep<'a> {
    /// The ranges that are not as they were. What a leader has found in its record is as it was.
    fn changed(&self) -> impl Iterator<Item = &'a facts::Range> {
        let after = self.after;
        let before = self.before;
        let moved =
            before.is_none_or(|before| !std::sync::Arc::ptr_eq(&before.ranges, &after.ranges));
        let found = before.is_none() && after.recorded;
        let same = move |range: &&facts::Range| {
            found || before.is_some_and(|before| before.at(range.start) == *range)
        };
        after.ranges.iter().filter(move |range| moved && !same(range))
    }
}

/// A statement about every step, with what it has to remember.
trait Rule: fmt::Debug + Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Judges a step of a server. `ring` has the server as it is after the step.
    fn server(&mut self, _ring: &Ring, _step: &ServerStep<'_>) -> Verdict {
        Ok(())
    }

    /// Judges a step of a view leader. `ring` has the leader as it is after the step.
    fn leader(&mut self, _ring: &Ring, _step: &LeaderStep<'_>) -> Verdict {
        Ok(())
    }
}

/// All rules, and all that machines have shown.
#[derive(Debug)]
pub(super) struct Invariants {
    rules: Vec<Box<dyn Rule>>,
    ring: Ring,
    broken: Option<Broken>,
    /// The writes that were acknowledged in the last step: slot, name and version.
    acknowledged: Vec<(Slot, Text, Version)>,
}

impl Invariants {
    pub(super) fn new(expected: Expected) -> Self {
        let mut rules: Vec<Box<dyn Rule>> = vec![
            Box::new(identities::Identities::default()),
            Box::new(growth::Growth::default()),
            Box::new(meaning::Meaning),
            Box::new(decider::Decider::default()),
            Box::new(lineage::Lineage::default()),
            Box::new(copies::Copies),
            Box::new(drops::Drops),
            Box::new(versions::Versions::default()),
            Box::new(reconciled::Reconciled),
            Box::new(confirmations::Confirmations),
            Box::new(honest::Honest::default()),
            Box::new(once::Once::default()),
            Box::new(served::Served),
            Box::new(acknowledged::Acknowledged),
            Box::new(synced::Synced),
            Box::new(ghosts::Ghosts),
            Box::new(answers::Answers),
            Box::new(beginnings::Beginnings),
            Box::new(activation::Activation),
            Box::new(denied::Denied::default()),
            Box::new(restarts::Restarts::default()),
            Box::new(recorded::Recorded::default()),
            Box::new(votes::Votes),
            Box::new(transactions::Transactions::default()),
            Box::new(locks::Locks::default()),
            Box::new(bounds::Bounds { crowd: expected.crowd }),
        ];
        if !expected.losses {
            rules.push(Box::new(lost::Lost));
        }
        Invariants { rules, ring: Ring::default(), broken: None, acknowledged: Vec::new() }
    }

    /// The first rule that was broken.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// The writes that were acknowledged in the last step: slot, name and version.
    pub(super) fn acknowledged(&self) -> &[(Slot, Text, Version)] {
        &self.acknowledged
    }

    /// A rule that is judged elsewhere is broken.
    pub(super) fn breaks(&mut self, rule: &'static str, at: Millis, what: String) {
        self.broken.get_or_insert(Broken { rule, at, what });
    }

    /// A process took a step: it heard something, and asks for these effects.
    pub(super) fn look(
        &mut self,
        at: Millis,
        process: ProcessId,
        name: &str,
        program: &Program,
        heard: Heard,
        outputs: &[Output],
    ) {
        if self.broken.is_some() {
            return;
        }
        self.acknowledged.clear();
        let (rules, ring) = (&mut self.rules, &mut self.ring);
        let verdict = match program {
            Program::Server(server) => {
                let before = ring.servers.remove(&process);
                let local = heard.local;
                ring.dialogue.hear(process, heard, before.as_ref());
                let decided = server.audit().decided(outputs);
                let told = ring.dialogue.told(Some(server), decided);
                self.acknowledged.extend(told.iter().filter_map(acknowledged));
                let after = facts::Server::look(name, server.audit(), before.as_ref());
                judge_server(rules, ring, process, before.as_ref(), after, (local, &told))
            }
            Program::Leader(leader) => {
                let before = ring.leader.take().filter(|(known, _)| *known == process);
                let before = before.map(|(_, leader)| leader);
                let local = heard.local;
                ring.dialogue.hear(process, heard, None);
                let mut told = ring.dialogue.told(None, outputs.iter());
                let after = facts::Leader::look(leader.audit(), before.as_ref());
                if after.losses > before.as_ref().map_or(0, |before| before.losses) {
                    told.push(Told::Lost);
                }
                judge_leader(rules, ring, process, before.as_ref(), after, (local, &told))
            }
            Program::Client(_) | Program::Machine(_) => Ok(()),
        };
        if let Err((rule, what)) = verdict {
            self.broken = Some(Broken { rule, at, what: format!("{what} (a step of {name})") });
        }
    }

    /// A process has died.
    pub(super) fn died(&mut self, process: ProcessId) {
        self.ring.died(process);
    }
}

fn acknowledged(told: &Told) -> Option<(Slot, Text, Version)> {
    match told {
        Told::Acknowledged { slot, key, version, .. } => Some((*slot, key.clone(), (*version)?)),
        _ => None,
    }
}

type Judged = Result<(), (&'static str, String)>;

fn judge_server(
    rules: &mut [Box<dyn Rule>],
    ring: &mut Ring,
    process: ProcessId,
    before: Option<&facts::Server>,
    after: facts::Server,
    (local, told): (Millis, &[Told]),
) -> Judged {
    ring.take_in(process, before, after, told);
    let after = &ring.servers[&process];
    let mut step = ServerStep { process, local, before, after, told, slots: Vec::new() };
    step.slots = ring.slots_of(&step);
    for rule in rules {
        rule.server(ring, &step).map_err(|what| (rule.name(), what))?;
    }
    Ok(())
}

fn judge_leader(
    rules: &mut [Box<dyn Rule>],
    ring: &mut Ring,
    process: ProcessId,
    before: Option<&facts::Leader>,
    after: facts::Leader,
    (local, told): (Millis, &[Told]),
) -> Judged {
    if before.is_none() && after.recorded {
        ring.forget_above(after.revision);
    }
    ring.leader = Some((process, after));
    let after = &ring.leader.as_ref().expect("it was just put there").1;
    let step = LeaderStep { process, before, after, told, local };
    let changed: Vec<_> = step.changed().cloned().collect();
    ring.learn_ranges(&changed);
    let after = &ring.leader.as_ref().expect("it was just put there").1;
    let step = LeaderStep { process, before, after, told, local };
    for rule in rules {
        rule.leader(ring, &step).map_err(|what| (rule.name(), what))?;
    }
    Ok(())
}

/// Identities in words.
fn words(ids: &[NodeId], ring: &Ring) -> String {
    let words: Vec<String> = ids.iter().map(|id| ring.name_of(id)).collect();
    words.join(", ")
}
