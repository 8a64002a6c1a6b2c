//! What a view leader writes down, as plain data: the record and its changes.
//!
//! Times are not in it: they mean nothing after a restart. Whoever was a member is one again, with a
//! full lease. Nor is what servers acknowledged: they are told once more, and say it again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::wire::json::Json;

/// Why bytes that were sound on disk are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("its {0} cannot be")]
pub struct RecordError(&'static str);

/// All that a view leader stands by after a restart.
///
/// ```
/// use dht::core::leader::record::{Change, Counts, Record};
/// let entry = Change::Counts(Counts { epoch: 3, ..Counts::default() }).encode();
/// let mut record = Record::default();
/// record.replay(&entry).unwrap();
/// assert_eq!(record.counts.epoch, 3);
/// assert!(record.replay(&[200]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Numbers and switches.
    pub counts: Counts,
    /// The assignment, sorted, over all slots.
    pub ranges: Vec<RangeRecord>,
    /// The members, by address.
    pub members: BTreeMap<String, MemberRecord>,
    /// Requestors that are denied for ever.
    pub denied: BTreeSet<Json>,
    /// Servers that ranges name and that are not members: the address, and whether each is certainly
    /// gone.
    pub absent: BTreeMap<NodeId, (String, bool)>,
    /// Who holds each lock, and waits for it, first come first.
    pub queues: BTreeMap<Json, Vec<Json>>,
    /// Servers, members or not, that keep their data on disk.
    pub keeping: BTreeSet<NodeId>,
}

impl Default for Record {
    fn default() -> Self {
        Record {
            counts: Counts::default(),
            ranges: vec![RangeRecord { end: SLOT_COUNT, ..RangeRecord::default() }],
            members: BTreeMap::new(),
            denied: BTreeSet::new(),
            absent: BTreeMap::new(),
            queues: BTreeMap::new(),
            keeping: BTreeSet::new(),
        }
    }
}

/// Numbers and switches of a leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The epoch.
    pub epoch: u64,
    /// The highest revision given out.
    pub revision: Revision,
    /// Revisions from here on are the own ones of a leader that was once started without a record.
    pub own_from: Revision,
    /// It still listens for servers of a ring before.
    pub listening: bool,
    /// It was started without a record on a ring that ran, and learns what servers hold.
    pub recovering: bool,
    /// It was so once.
    pub restarted: bool,
    /// A server vanished, and those that want to leave may have counted on it.
    pub vanished: bool,
}

/// Who holds the slots `start..end`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRecord {
    /// First slot.
    pub start: Slot,
    /// One past the last slot.
    pub end: Slot,
    /// The revision of the assignment.
    pub revision: Revision,
    /// The revision at which the range last started empty.
    pub born: Revision,
    /// The revision at which the first of `active` became it.
    pub led_since: Revision,
    /// The servers whose copies count, primary first.
    pub active: Vec<NodeId>,
    /// Who gets the data, and since which revision.
    pub joining: Vec<(NodeId, Revision)>,
    /// Who has to delete the data.
    pub leaving: Vec<NodeId>,
    /// Whether no active server is alive.
    pub waiting: bool,
    /// The revision at which a server told of it, where a leader had no record.
    pub claimed: Option<Revision>,
    /// Whether not everybody whom it names was heard since.
    pub unsure: bool,
}

/// A member of the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// `host:port`.
    pub addr: String,
    /// Its identity.
    pub requestor: Json,
    /// Its position on the ring.
    pub position: Slot,
    /// `None` for an original server.
    pub extension: Option<ExtensionRecord>,
}

/// A member that speaks the extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionRecord {
    /// The identity, as ranges name it.
    pub id: NodeId,
    /// Earlier identities of the same process.
    pub was: Vec<NodeId>,
    /// Whether it was in the view of a leader without a record until that one ended.
    pub vouches: bool,
    /// How it reaches the leader's host.
    pub leader_host: String,
    /// It wants to leave.
    pub leaving: bool,
    /// Others may take over from it.
    pub released: bool,
}

/// A change of the record. An entry on disk is one such after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The numbers and switches are so.
    Counts(Counts),
    /// These slots are assigned so.
    Range(RangeRecord),
    /// A member is new, or another than before.
    Member(MemberRecord),
    /// The member at this address is removed, and denied from now on.
    Removed(String),
    /// This requestor is denied.
    Denied(Json),
    /// A server that ranges name is no member; its address, and whether it is certainly gone.
    Absent(NodeId, String, bool),
    /// No range names it any more, or it is a member.
    Forgotten(NodeId),
    /// Somebody, the second, takes the last place in the queue of a lock, the first.
    Queued(Json, Json),
    /// Somebody leaves it.
    Unqueued(Json, Json),
    /// A server keeps its data on disk.
    Keeps(NodeId),
    /// It is known no more.
    KeepsNot(NodeId),
}

impl Change {
    /// The change as bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a change has a form in bytes")
    }
}

impl Record {
    /// Takes in an entry: any number of changes.
    pub fn replay(&mut self, entry: &[u8]) -> Result<(), RecordError> {
        let mut rest = entry;
        while !rest.is_empty() {
            let (change, behind) =
                postcard::take_from_bytes(rest).map_err(|_| RecordError("encoding"))?;
            self.apply(change)?;
            rest = behind;
        }
        Ok(())
    }

    /// Takes in a change.
    pub fn apply(&mut self, change: Change) -> Result<(), RecordError> {
        match change {
            Change::Counts(counts) => self.counts = counts,
            Change::Range(range) => self.assign(range)?,
            Change::Member(member) => {
                if member.position >= SLOT_COUNT {
                    return Err(RecordError("position of a member"));
                }
                self.members.insert(member.addr.clone(), member);
            }
            Change::Removed(addr) => {
                let member = self.members.remove(&addr);
                self.denied.insert(member.ok_or(RecordError("removed member"))?.requestor);
            }
            Change::Denied(requestor) => {
                self.denied.insert(requestor);
            }
            Change::Absent(id, addr, gone) => {
                self.absent.insert(id, (addr, gone));
            }
            Change::Forgotten(id) => {
                self.absent.remove(&id);
            }
            Change::Queued(lock, requestor) => {
                self.queues.entry(lock).or_default().push(requestor);
            }
            Change::Unqueued(lock, requestor) => self.unqueue(&lock, &requestor)?,
            Change::Keeps(id) => {
                self.keeping.insert(id);
            }
            Change::KeepsNot(id) => {
                self.keeping.remove(&id);
            }
        }
        Ok(())
    }

    /// The record as changes of an empty one.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::Counts(self.counts)];
        changes.extend(self.ranges.iter().cloned().map(Change::Range));
        changes.extend(self.members.values().cloned().map(Change::Member));
        changes.extend(self.denied.iter().cloned().map(Change::Denied));
        let absent = self.absent.iter();
        changes
            .extend(absent.map(|(id, (at, gone))| Change::Absent(id.clone(), at.clone(), *gone)));
        for (lock, queue) in &self.queues {
            let queued = |requestor: &Json| Change::Queued(lock.clone(), requestor.clone());
            changes.extend(queue.iter().map(queued));
        }
        changes.extend(self.keeping.iter().cloned().map(Change::Keeps));
        changes
    }

    /// What has to be applied to this record, so that it shows what `new` shows of the view: all but
    /// locks and who is denied.
    pub(super) fn view_changes(&self, new: &Record) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.counts != new.counts {
            changes.push(Change::Counts(new.counts));
        }
        let gone = self.members.iter().filter(|(addr, member)| {
            new.members.get(*addr).is_none_or(|now| now.requestor != member.requestor)
        });
        changes.extend(gone.map(|(addr, _)| Change::Removed(addr.clone())));
        let members = new.members.iter();
        let other = members.filter(|(addr, member)| self.members.get(*addr) != Some(*member));
        changes.extend(other.map(|(_, member)| Change::Member(member.clone())));
        let forgotten = self.absent.keys().filter(|id| !new.absent.contains_key(*id));
        changes.extend(forgotten.cloned().map(Change::Forgotten));
        let absent = new.absent.iter().filter(|(id, now)| self.absent.get(*id) != Some(*now));
        changes
            .extend(absent.map(|(id, (at, gone))| Change::Absent(id.clone(), at.clone(), *gone)));
        let same = |range: &&RangeRecord| {
            let at = self.ranges.binary_search_by_key(&range.start, |known| known.start);
            at.is_ok_and(|at| self.ranges[at] == **range)
        };
        let ranges = new.ranges.iter().filter(|range| !same(range));
        changes.extend(ranges.cloned().map(Change::Range));
        changes.extend(new.keeping.difference(&self.keeping).cloned().map(Change::Keeps));
        changes.extend(self.keeping.difference(&new.keeping).cloned().map(Change::KeepsNot));
        changes
    }

    fn assign(&mut self, new: RangeRecord) -> Result<(), RecordError> {
        if new.start >= new.end || new.end > SLOT_COUNT {
            return Err(RecordError("range of slots"));
        }
        let at = self.ranges.partition_point(|range| range.end <= new.start);
        let past = self.ranges.partition_point(|range| range.start < new.end);
        let (first, last) = (&self.ranges[at], &self.ranges[past - 1]);
        let below =
            (first.start < new.start).then(|| RangeRecord { end: new.start, ..first.clone() });
        let above = (last.end > new.end).then(|| RangeRecord { start: new.end, ..last.clone() });
        let pieces = below.into_iter().chain([new]).chain(above);
        self.ranges.splice(at..past, pieces.collect::<Vec<_>>());
        Ok(())
    }

    fn unqueue(&mut self, lock: &Json, requestor: &Json) -> Result<(), RecordError> {
        let unknown = RecordError("queue of a lock");
        let queue = self.queues.get_mut(lock).ok_or(unknown)?;
        let place = queue.iter().position(|waiting| waiting == requestor).ok_or(unknown)?;
        queue.remove(place);
        if queue.is_empty() {
            self.queues.remove(lock);
        }
        Ok(())
    }
}

/// Changes as an entry.
pub(super) fn encode(changes: &[Change]) -> Vec<u8> {
    changes.iter().flat_map(Change::encode).collect()
}
