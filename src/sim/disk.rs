//! A node's disk: it takes a while, and a crash loses what was not synced, or a part of it.

use super::cluster::Cluster;
use super::node::ProcessId;
use super::queue::Event;
use super::rng::Rng;
use crate::core::leader::record::Record;
use crate::core::machine::{Input, Millis, Output, Ticket};
use crate::core::record_log::{append_frame, file_header, frames};

/// The longest time that a sync takes, but for a few.
const SYNC_MS_MAX: Millis = 8;

/// How many of 100 syncs take long, and how long at most.
const SLOW_PERCENT: u64 = 2;
const SLOW_MS_MAX: Millis = 150;

/// A disk, with the file of one record.
#[derive(Debug)]
pub(super) struct Disk {
    rng: Rng,
    /// What is there whatever happens.
    file: Vec<u8>,
    /// What was given to it and not synced: the last goes last.
    waiting: Vec<(Ticket, Vec<u8>, bool)>,
    /// How much of that the sync covers that is under way.
    syncing: usize,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Disk { rng: Rng::new(seed), file: file_header(), waiting: Vec::new(), syncing: 0 }
    }

    /// What a process that starts finds.
    pub(super) fn read(&self) -> Record {
        let mut record = Record::default();
        for entry in frames(&self.file).expect("a crash damages nothing") {
            record.replay(entry).expect("what was written can be read");
        }
        record
    }

    /// The process has died: of what was not synced some is there, and the next is torn.
    pub(super) fn crash(&mut self) {
        let kept = self.rng.between(0, self.waiting.len() as u64) as usize;
        let (before, waiting) = (self.file.len(), std::mem::take(&mut self.waiting));
        waiting[..kept].iter().for_each(|entry| self.write(entry));
        if let Some((_, entry, false)) = waiting.get(kept) {
            let mut torn = Vec::new();
            append_frame(&mut torn, entry);
            let length = self.rng.between(0, torn.len() as u64 - 1) as usize;
            self.file.extend(&torn[..length]);
        }
        self.syncing = 0;
        // Whoever starts again writes a new file.
        let sound = frames(&self.file).expect("a crash damages nothing");
        let sound: Vec<Vec<u8>> = sound.into_iter().map(<[u8]>::to_vec).collect();
        debug_assert!(self.file.len() >= before || kept > 0);
        self.file = file_header();
        sound.iter().for_each(|entry| append_frame(&mut self.file, entry));
    }

    fn write(&mut self, (_, entry, whole): &(Ticket, Vec<u8>, bool)) {
        if *whole {
            self.file = file_header();
        }
        append_frame(&mut self.file, entry);
    }

    /// Begins a sync of all that waits; says how long it takes. `None`: nothing waits, or one is under
    /// way.
    fn begin(&mut self) -> Option<Millis> {
        if self.syncing > 0 || self.waiting.is_empty() {
            return None;
        }
        self.syncing = self.waiting.len();
        let slow = self.rng.chance(SLOW_PERCENT);
        Some(self.rng.between(0, if slow { SLOW_MS_MAX } else { SYNC_MS_MAX }))
    }

    /// The sync has ended; what it covered is there.
    fn end(&mut self) -> Option<Ticket> {
        let synced: Vec<_> = self.waiting.drain(..std::mem::take(&mut self.syncing)).collect();
        synced.iter().for_each(|entry| self.write(entry));
        synced.last().map(|(ticket, ..)| *ticket)
    }
}

impl Cluster {
    /// A process gives its disk an entry.
    pub(super) fn persist(
        &mut self,
        process: ProcessId,
        ticket: Ticket,
        entry: Vec<u8>,
        whole: bool,
    ) {
        let node = &mut self.nodes[process.node];
        let disk = node.disk.as_mut().expect("only a node with a disk writes");
        disk.waiting.push((ticket, entry, whole));
        self.begin_sync(process);
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
        let ticket = self.nodes[process.node].disk.as_mut().and_then(Disk::end);
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
