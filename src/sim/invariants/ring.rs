//! What all machines have shown so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dialogue::{Dialogue, Told};
use super::facts::{Hold, Leader, Range, Server};
use super::slots::SlotMap;
use super::{ServerStep, Verdict};
use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::wire::peer::Version;
use crate::core::wire::text::Text;
use crate::sim::node::ProcessId;

/// What is known of all machines.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The servers that live, as they were after their last step.
    pub(super) servers: BTreeMap<ProcessId, Server>,
    /// Those that have died, as they were.
    pub(super) dead: Vec<Server>,
    /// The view leader that lives.
    pub(super) leader: Option<(ProcessId, Leader)>,
    pub(super) dialogue: Dialogue,
    /// The last acknowledged write of each name.
    pub(super) acked: BTreeMap<Slot, BTreeMap<Text, Ack>>,
    /// Every assignment that anybody has shown, by revision.
    pub(super) configs: BTreeMap<Revision, Vec<Config>>,
    /// The slots in which anybody has ever held anything.
    filled: BTreeSet<Slot>,
    /// The node of each identity.
    names: BTreeMap<NodeId, String>,
}

/// An acknowledged write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) version: Version,
    /// The revision at which the primary stood that acknowledged it.
    pub(super) revision: Revision,
}

/// Who holds some slots at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) start: Slot,
    pub(super) end: Slot,
    pub(super) born: Revision,
    pub(super) active: Vec<NodeId>,
    pub(super) joining: Vec<(NodeId, Revision)>,
}

impl Config {
    pub(super) fn of(hold: &Hold) -> Config {
        let Hold { start, end, born, active, joining, .. } = hold.clone();
        Config { start, end, born, active, joining }
    }

    fn of_range(range: &Range) -> Config {
        let Range { start, end, born, active, joining, .. } = range.clone();
        Config { start, end, born, active, joining }
    }

    /// Whether the two say the same where both say something.
    pub(super) fn agrees(&self, other: &Config) -> bool {
        self.end <= other.start
            || other.end <= self.start
            || (self.born == other.born
                && self.active == other.active
                && self.joining == other.joining)
    }

    fn covers(&self, other: &Config) -> bool {
        self.start <= other.start && other.end <= self.end && self.agrees(other)
    }

    /// Whether it names the server, under this identity.
    pub(super) fn names(&self, id: &NodeId) -> bool {
        self.active.contains(id) || self.joining.iter().any(|(joiner, _)| joiner == id)
    }
}

impl Ring {
    /// A server is so now, and has said this.
    pub(super) fn take_in(
        &mut self,
        process: ProcessId,
        before: Option<&Server>,
        after: Server,
        told: &[Told],
    ) {
        self.names.entry(after.id.clone()).or_insert_with(|| after.name.clone());
        if before.is_none_or(|before| !Arc::ptr_eq(&before.cells, &after.cells)) {
            self.filled.extend(after.cells.keys());
        }
        if before.is_none_or(|before| !Arc::ptr_eq(&before.holds, &after.holds)) {
            for hold in after.holds.iter() {
                if before.is_none_or(|before| before.at(hold.start) != Some(hold)) {
                    self.learn(hold.revision, Config::of(hold));
                }
            }
        }
        for told in told {
            let Told::Acknowledged { slot, key, version: Some(version), .. } = told else {
                continue;
            };
            let hold = after.at(*slot).or_else(|| before?.at(*slot));
            let revision = hold.map_or(version.revision, |hold| hold.revision);
            let acked = self.acked.entry(*slot).or_default();
            let last = acked.entry(key.clone()).or_insert(Ack { version: *version, revision });
            if last.version < *version {
                *last = Ack { version: *version, revision };
            }
        }
        self.servers.insert(process, after);
    }

    /// The leader knows ranges so.
    pub(super) fn learn_ranges(&mut self, ranges: &[Range]) {
        for range in ranges.iter().filter(|range| !range.active.is_empty()) {
            self.learn(range.revision, Config::of_range(range));
        }
    }

    /// A leader has come back from its record. What the one before had decided after that was told to
    /// nobody, so those revisions may mean something else now.
    pub(super) fn forget_above(&mut self, revision: Revision) {
        self.configs.split_off(&(revision + 1));
    }

    fn learn(&mut self, revision: Revision, config: Config) {
        let known = self.configs.entry(revision).or_default();
        if !known.iter().any(|other| other.covers(&config)) {
            known.push(config);
        }
    }

    /// A process has died.
    pub(super) fn died(&mut self, process: ProcessId) {
        self.dead.extend(self.servers.remove(&process));
        self.leader.take_if(|(leader, _)| *leader == process);
        self.dialogue.forget(process);
    }

    /// The server that lives under an identity.
    pub(super) fn living(&self, id: &NodeId) -> Option<&Server> {
        self.servers.values().find(|server| server.id == *id)
    }

    /// The server that has or had an identity, last.
    pub(super) fn anybody(&self, id: &NodeId) -> Option<&Server> {
        let all = self.servers.values().chain(self.dead.iter().rev());
        all.into_iter().find(|server| server.is_or_was(id))
    }

    /// Whether in each of some slots the last process that has or had an identity has stood at a revision
    /// or a later one; where it holds nothing, one before it. One that came back with its disk has
    /// forgotten where it stood in what it had deleted.
    pub(super) fn has_stood(&self, id: &NodeId, at: (Slot, Slot), from: Revision) -> bool {
        let Some(last) = self.anybody(id) else { return false };
        let before: Vec<&Server> = self.dead.iter().filter(|dead| dead.is_or_was(id)).collect();
        let stood = |slot| {
            let stood = |server: &&Server| *server.seen.at(slot) >= from;
            stood(&last) || (last.at(slot).is_none() && before.iter().any(stood))
        };
        Ring::has_adopted(&last.seen, at, from) || (at.0..at.1).all(stood)
    }

    /// An identity in words.
    pub(super) fn name_of(&self, id: &NodeId) -> String {
        self.names.get(id).map_or_else(|| id.to_string(), |name| format!("{name} ({id})"))
    }

    /// Whether every slot of a range has been adopted at a revision or a later one.
    pub(super) fn has_adopted(seen: &SlotMap<Revision>, at: (Slot, Slot), from: Revision) -> bool {
        seen.over(at.0, at.1).all(|(_, _, revision)| *revision >= from)
    }

    /// The slots of a step that have changed, of those in which anybody holds anything.
    pub(super) fn slots_of(&self, step: &ServerStep<'_>) -> Vec<Slot> {
        let mut slots = BTreeSet::new();
        let empty = Arc::default();
        let (old, new) = (step.before.map_or(&empty, |b| &b.cells), &step.after.cells);
        if !Arc::ptr_eq(old, new) {
            let both: BTreeSet<&Slot> = old.keys().chain(new.keys()).collect();
            slots.extend(both.into_iter().filter(|slot| old.get(slot) != new.get(slot)));
        }
        for hold in step.changed() {
            slots.extend(self.filled.range(hold.start..hold.end));
        }
        slots.extend(step.told.iter().filter_map(|told| match told {
            Told::Acknowledged { slot, .. } => Some(*slot),
            _ => None,
        }));
        slots.into_iter().collect()
    }

    /// Judges what a server holds of a name against what it must hold at least.
    pub(super) fn holds_at_least(
        server: &Server,
        slot: Slot,
        key: &Text,
        least: Version,
        why: impl FnOnce() -> String,
    ) -> Verdict {
        let held = server.version(slot, key);
        if held >= least {
            return Ok(());
        }
        let Server { name, id, .. } = server;
        Err(format!(
            "{name} ({id}) holds {held:?} of {key:?}, slot {slot}, not {least:?}: {}",
            why()
        ))
    }
}
