//! A node's disk: it takes a while, and a crash loses what was not synced, or a part of it. A full one
//! takes nothing, and its process ends with the first write that fails.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::node::ProcessId;
use super::queue::Event;
use super::rng::Rng;
use crate::core::assignment::NodeId;
use crate::core::hash::Slot;
use crate::core::leader::record::Record;
use crate::core::machine::{Edit, Input, Millis, Output, Ticket};
use crate::core::record_log::{append_frame, file_header, frames};
use crate::core::server::data::{Row, Standing, cell_key};
use crate::core::wire::peer::Version;
use crate::core::wire::text::Text;

/// The longest time that a sync takes, but for a few.
const SYNC_MS_MAX: Millis = 8;

/// How many of 100 syncs take long unless told otherwise, and how long at most.
const SLOW_PERCENT: u64 = 2;
const SLOW_MS_MAX: Millis = 150;

/// A disk, with the record of a view leader or the rows of a server.
#[derive(Debug)]
pub(super) struct Disk {
    rng: Rng,
    /// What is there whatever happens.
    kept: Kept,
    /// What was given to it and not synced: the last goes last.
    waiting: Vec<(Ticket, Written)>,
    /// How much of that the sync covers that is under way.
    syncing: usize,
    /// How many of 100 syncs take long.
    slow_percent: u64,
    /// Whether it takes what is written.
    room: Room,
    /// The row of a server's standing, read.
    standing: Option<Standing>,
}

/// Whether a disk takes what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It does.
    Enough,
    /// The next write will fail.
    None,
    /// A write has failed, and the process has ended by it.
    Missed,
}

/// What is on a disk.
#[derive(Debug)]
enum Kept {
    /// The file of a view leader.
    Record(Vec<u8>),
    /// The map of a server.
    Rows(BTreeMap<Vec<u8>, Vec<u8>>),
}

/// What a machine has written in one step.
#[derive(Debug)]
pub(super) enum Written {
    /// An entry of a record, and whether it stands for all before it.
    Entry(Vec<u8>, bool),
    /// Changes of a map.
    Edits(Vec<Edit>),
}

impl Disk {
    /// The empty disk of a view leader.
    pub(super) fn of_leader(seed: u64) -> Self {
        Disk::new(seed, Kept::Record(file_header()))
    }

    /// The empty disk of a server.
    pub(super) fn of_server(seed: u64) -> Self {
        Disk::new(seed, Kept::Rows(BTreeMap::new()))
    }

    fn new(seed: u64, kept: Kept) -> Self {
        Disk {
            rng: Rng::new(seed),
            kept,
            waiting: Vec::new(),
            syncing: 0,
            slow_percent: SLOW_PERCENT,
            room: Room::Enough,
            standing: None,
        }
    }

    /// The record that a view leader finds when it starts.
    pub(super) fn record(&self) -> Record {
        let Kept::Record(file) = &self.kept else { panic!("it is the disk of a server") };
        let mut record = Record::default();
        for entry in frames(file).expect("a crash damages nothing") {
            record.replay(entry).expect("what was written can be read");
        }
        record
    }

    /// The rows that a server finds when it starts.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Kept::Rows(rows) = &self.kept else { panic!("it is the disk of a view leader") };
        let read = |(key, value): (&Vec<u8>, &Vec<u8>)| Row::decode(key, value);
        rows.iter().map(read).collect::<Result<_, _>>().expect("what was written can be read")
    }

    /// What a server would find of itself.
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// The version of a name that a server would find.
    pub(super) fn version_of(&self, slot: Slot, name: &Text) -> Option<Version> {
        let Kept::Rows(rows) = &self.kept else { return None };
        let key = cell_key(slot, name.as_bytes());
        match Row::decode(&key, rows.get(&key)?) {
            Ok(Row::Cell(_, _, cell)) => Some(cell.version),
            _ => None,
        }
    }

    /// The process has died: of what was not synced some is there, and the next is torn.
    pub(super) fn crash(&mut self) {
        let kept = self.rng.between(0, self.waiting.len() as u64) as usize;
        let waiting = std::mem::take(&mut self.waiting);
        waiting[..kept].iter().for_each(|(_, written)| self.write(written));
        self.syncing = 0;
        let Kept::Record(file) = &mut self.kept else { return };
        if let Some((_, Written::Entry(entry, false))) = waiting.get(kept) {
            let mut torn = Vec::new();
            append_frame(&mut torn, entry);
            let length = self.rng.between(0, torn.len() as u64 - 1) as usize;
            file.extend(&torn[..length]);
        }
        // Whoever starts again writes a new file.
        let sound = frames(file).expect("a crash damages nothing");
        let sound: Vec<Vec<u8>> = sound.into_iter().map(<[u8]>::to_vec).collect();
        *file = file_header();
        sound.iter().for_each(|entry| append_frame(file, entry));
    }

    fn write(&mut self, written: &Written) {
        match (&mut self.kept, written) {
            (Kept::Record(file), Written::Entry(entry, whole)) => {
                if *whole {
                    *file = file_header();
                }
                append_frame(file, entry);
            }
            (Kept::Rows(rows), Written::Edits(edits)) => {
                for edit in edits {
                    edit.apply(rows);
                    if let Edit::Put { key, value } = edit
                        && let Ok(Row::Standing(standing)) = Row::decode(key, value)
                    {
                        self.standing = Some(standing);
                    }
                }
            }
            _ => panic!("a machine writes what is another's"),
        }
    }

    /// Begins a sync of all that waits; says how long it takes. `None`: nothing waits, or one is under
    /// way.
    fn begin(&mut self) -> Option<Millis> {
        if self.syncing > 0 || self.waiting.is_empty() {
            return None;
        }
        self.syncing = self.waiting.len();
        let slow = self.rng.chance(self.slow_percent);
        Some(self.rng.between(0, if slow { SLOW_MS_MAX } else { SYNC_MS_MAX }))
    }

    /// The sync has ended; what it covered is there.
    fn end(&mut self) -> Option<Ticket> {
        let synced: Vec<_> = self.waiting.drain(..std::mem::take(&mut self.syncing)).collect();
        synced.iter().for_each(|(_, written)| self.write(written));
        synced.last().map(|(ticket, ..)| *ticket)
    }
}

impl Cluster {
    /// A process gives its disk something.
    pub(super) fn persist(&mut self, process: ProcessId, ticket: Ticket, written: Written) {
        let node = &mut self.nodes[process.node];
        let disk = node.disk.as_mut().expect("only a node with a disk writes");
        disk.waiting.push((ticket, written));
        self.begin_sync(process);
    }

    /// Has many syncs of a node's disk take long: so many of 100.
    pub fn slow_disk(&mut self, name: &str, percent: u64) {
        let index = self.index(name);
        if let Some(disk) = &mut self.nodes[index].disk {
            disk.slow_percent = percent;
        }
    }

    /// Fills a node's disk, or breaks it: its process will end with the next write.
    pub fn fill_disk(&mut self, name: &str) {
        let index = self.index(name);
        if let Some(disk) = &mut self.nodes[index].disk {
            disk.room = Room::None;
        }
    }

    /// A node's disk takes what is written again; whether its process has ended meanwhile because it did
    /// not.
    pub fn free_disk(&mut self, name: &str) -> bool {
        let index = self.index(name);
        let disk = self.nodes[index].disk.as_mut();
        disk.is_some_and(|disk| std::mem::replace(&mut disk.room, Room::Enough) == Room::Missed)
    }

    /// Empties the disk of a server that does not run, as though somebody had replaced it.
    pub fn wipe_disk(&mut self, name: &str) {
        assert!(!self.is_alive(name), "{name} runs");
        let index = self.index(name);
        self.nodes[index].disk = None;
    }

    /// The identities that a server has had, by its disk.
    pub fn stored_identities(&self, name: &str) -> Vec<NodeId> {
        let disk = self.nodes[self.index(name)].disk.as_ref();
        let standing = disk.and_then(Disk::standing);
        standing.map_or_else(Vec::new, |known| known.was.iter().chain(&known.id).cloned().collect())
    }

    fn begin_sync(&mut self, process: ProcessId) {
        let disk = self.nodes[process.node].disk.as_mut();
        if let Some(lasts_ms) = disk.and_then(Disk::begin) {
            self.queue.push(self.now + lasts_ms, Event::Synced(process));
        }
    }

    /// A sync of a process has ended; a stopped one learns that later.
    pub(super) fn synced(&mut self, process: ProcessId) {
        if self.running(process).is_none() {
            return;
        }
        let node = &mut self.nodes[process.node];
        if let Some(disk) = node.disk.as_mut().filter(|disk| disk.room == Room::None) {
            disk.room = Room::Missed;
            let name = node.name.clone();
            self.faults.refuses_write();
            self.trace.add(self.now, || format!("{name} cannot write to its disk"));
            return self.crash(&name);
        }
        let ticket = node.disk.as_mut().and_then(Disk::end);
        self.begin_sync(process);
        if let Some(ticket) = ticket {
            self.deliver(process, Input::Persisted { ticket });
        }
    }

    /// Whether a node's disk syncs.
    pub fn is_syncing(&self, name: &str) -> bool {
        self.nodes[self.index(name)].disk.as_ref().is_some_and(|disk| disk.syncing > 0)
    }

    /// Syncs at once, as though no time passed; what the process says then. For those who look at
    /// a process past all queues.
    pub(super) fn sync_at_once(&mut self, process: ProcessId) -> Vec<Output> {
        let Some(disk) = self.nodes[process.node].disk.as_mut() else { return Vec::new() };
        disk.syncing = disk.waiting.len();
        match disk.end() {
            Some(ticket) => self.handle(process, Input::Persisted { ticket }),
            None => Vec::new(),
        }
    }
}
