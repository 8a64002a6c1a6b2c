//! What is promised is on disk: judged after every step of a server that has one.
//!
//! Whatever a server says rests on who it is and on the ranges that it holds, so these are on its disk
//! before it says anything more. And a write that is acknowledged is on the disk of every active
//! server of its slot that lives: each of them may be the first to come back when all are killed.

use super::cluster::Cluster;
use super::disk::Disk;
use super::node::{ProcessId, Program};
use crate::core::assignment::{Entry, NodeId};
use crate::core::hash::Slot;
use crate::core::machine::Output;
use crate::core::server::Server;
use crate::core::server::audit::HoldAudit;
use crate::core::wire::peer::Version;
use crate::core::wire::text::Text;

/// The name of the rule.
pub(super) const RULE: &str = "what is promised is on disk";

impl Cluster {
    /// Judges a step of a process that has asked for these effects.
    pub(super) fn judge_stored(
        &self,
        process: ProcessId,
        outputs: &[Output],
    ) -> Result<(), String> {
        let node = &self.nodes[process.node];
        let (Some(Program::Server(server)), Some(disk)) = (&node.program, &node.disk) else {
            return Ok(());
        };
        let says = |output: &Output| {
            matches!(output, Output::Reply { .. } | Output::Call { .. } | Output::Send { .. })
        };
        if server.audit().asked_for(outputs).iter().any(says) && !stands(server, disk) {
            return Err(format!("{} acts by what its disk does not have", node.name));
        }
        for (slot, key, version) in self.invariants.acknowledged() {
            let Some(entry) = entry_at(server, *slot) else { continue };
            let own = server.audit().id();
            // What it says itself may still wait for its own disk, and is judged by that.
            let waits = server.audit().holds_back();
            self.all_have_stored(entry, *slot, key, *version, waits.then_some(own))?;
        }
        Ok(())
    }

    /// Whether every active server of a range that stands there, lives, and has a disk, has a write on
    /// it. One that stands elsewhere by now has had it before.
    fn all_have_stored(
        &self,
        entry: &Entry,
        slot: Slot,
        key: &Text,
        version: Version,
        but: Option<&NodeId>,
    ) -> Result<(), String> {
        for node in &self.nodes {
            let (Some(Program::Server(server)), Some(disk)) = (&node.program, &node.disk) else {
                continue;
            };
            let id = server.audit().id();
            let active = entry.active.iter().any(|peer| peer.id() == id) && but != Some(id);
            let same = |known: &Entry| known.revision == entry.revision;
            if !active || !entry_at(server, slot).is_some_and(same) {
                continue;
            }
            let stored = disk.version_of(slot, key);
            if stored < Some(version) {
                let name = &node.name;
                return Err(format!(
                    "{name} has {stored:?} of {key:?}, slot {slot}, and {version:?} is acknowledged"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a disk has who the server is, and what it holds.
fn stands(server: &Server, disk: &Disk) -> bool {
    let Some(standing) = disk.standing() else {
        return false;
    };
    standing.id.as_ref() == Some(server.audit().id())
        && standing.holds.iter().eq(server.audit().holds().map(HoldAudit::entry))
}

/// The assignment of a slot, as a server knows it.
fn entry_at(server: &Server, slot: Slot) -> Option<&Entry> {
    let mut entries = server.audit().holds().map(HoldAudit::entry);
    entries.find(|entry| (entry.start..entry.end).contains(&slot))
}
