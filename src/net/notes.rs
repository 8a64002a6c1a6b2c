//! The way of notes from a node's thread to whoever reads them: any number of readers, each of which
//! gets every note from its beginning on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::core::machine::Note;

/// How many notes are given to the reader at once.
const BATCH_MAX: usize = 1_000;

/// The node's end. When it is dropped, readers take what they have left, and end.
#[derive(Debug)]
pub(super) struct NoteSink {
    hub: Hub,
    notes_max: usize,
    quiet: bool,
}

/// Where readers enter and leave; what they do is never waited for.
#[derive(Debug, Clone, Default)]
pub(super) struct Hub(Arc<Mutex<Readers>>);

#[derive(Debug, Default)]
struct Readers {
    next: u64,
    queues: Vec<Queue>,
    ended: bool,
}

/// The way to one reader.
#[derive(Debug)]
struct Queue {
    reader: u64,
    sender: Sender<Note>,
    missed: Arc<AtomicU64>,
}

/// A reader's end. Dropping it ends the reading.
#[derive(Debug)]
pub(super) struct NoteSource {
    hub: Hub,
    reader: u64,
    receiver: Receiver<Note>,
    missed: Arc<AtomicU64>,
}

/// The node's end, and where readers enter. `quiet` leaves out notes about single requests.
pub(super) fn channel(notes_max: usize, quiet: bool) -> (NoteSink, Hub) {
    let hub = Hub::default();
    (NoteSink { hub: hub.clone(), notes_max, quiet }, hub)
}

impl NoteSink {
    /// Hands a note to each reader, or drops it where too many wait: nobody may be reading.
    pub(super) fn put(&self, note: Note) {
        let single = is_single(&note);
        let limit = if single { self.notes_max } else { self.notes_max.saturating_mul(2) };
        let quiet = self.quiet && !matches!(note, Note::Printing { .. } | Note::BadFrame { .. });
        if single && quiet {
            return;
        }
        let readers = self.hub.lock();
        if let Some((last, others)) = readers.queues.split_last() {
            for queue in others {
                queue.put(note.clone(), limit);
            }
            last.put(note, limit);
        }
    }
}

impl Drop for NoteSink {
    fn drop(&mut self) {
        let mut readers = self.hub.lock();
        readers.ended = true;
        readers.queues.clear();
    }
}

impl Queue {
    fn put(&self, note: Note, limit: usize) {
        if self.sender.len() >= limit {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A reader that has just left does not want the note.
        let _ = self.sender.send(note);
    }
}

impl Hub {
    /// A reader of every note from now on; of none once the node has ended.
    pub(super) fn enter(&self) -> NoteSource {
        let (sender, receiver) = unbounded();
        let missed = Arc::<AtomicU64>::default();
        let mut readers = self.lock();
        let reader = readers.next;
        readers.next += 1;
        if !readers.ended {
            readers.queues.push(Queue { reader, sender, missed: missed.clone() });
        }
        NoteSource { hub: self.clone(), reader, receiver, missed }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Readers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NoteSource {
    /// Waits for notes up to `timeout`; none where there are none, `None` once the node has ended
    /// or the source was closed, and all are read.
    pub(super) fn take(&self, timeout: Duration) -> Option<Vec<Note>> {
        let first = match self.receiver.recv_timeout(timeout) {
            Ok(note) => note,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let more = self.receiver.try_iter().take(BATCH_MAX - 1);
        Some(std::iter::once(first).chain(more).collect())
    }

    /// How many notes were dropped because too many waited to be taken.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Takes no further notes in; whoever waits in [`NoteSource::take`] goes on at once.
    pub(super) fn close(&self) {
        self.hub.lock().queues.retain(|queue| queue.reader != self.reader);
    }
}

impl Drop for NoteSource {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether the note is about one request, of which anybody may send any number.
fn is_single(note: &Note) -> bool {
    matches!(
        note,
        Note::Setting { .. }
            | Note::Querying { .. }
            | Note::NotFound { .. }
            | Note::AllKeys
            | Note::Printing { .. }
            | Note::BadFrame { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_notes_do_not_grow() {
        let (sink, hub) = channel(3, false);
        let source = hub.enter();
        for _ in 0..10 {
            sink.put(Note::AllKeys);
        }
        sink.put(Note::Rebalancing);
        let notes = source.take(Duration::ZERO).unwrap();
        assert_eq!(notes, [Note::AllKeys, Note::AllKeys, Note::AllKeys, Note::Rebalancing]);
        assert_eq!(source.take(Duration::ZERO), Some(Vec::new()));
        assert_eq!(source.missed(), 7);
        drop(sink);
        assert_eq!(source.take(Duration::ZERO), None);
    }

    #[test]
    fn quiet_leaves_single_requests_out() {
        let (sink, hub) = channel(3, true);
        let source = hub.enter();
        sink.put(Note::AllKeys);
        sink.put(Note::Printing { words: Vec::new() });
        sink.put(Note::RebalancingComplete);
        let notes = source.take(Duration::ZERO).unwrap();
        assert_eq!(notes, [Note::Printing { words: Vec::new() }, Note::RebalancingComplete]);
    }
    #[test]
    fn each_reader_gets_every_note_from_its_beginning_on() {
        let (sink, hub) = channel(3, false);
        let early = hub.enter();
        sink.put(Note::Rebalancing);
        let late = hub.enter();
        sink.put(Note::Left);
        assert_eq!(early.take(Duration::ZERO).unwrap(), [Note::Rebalancing, Note::Left]);
        assert_eq!(late.take(Duration::ZERO).unwrap(), [Note::Left]);
        early.close();
        sink.put(Note::Recovering);
        assert_eq!(early.take(Duration::ZERO), None);
        drop(sink);
        assert_eq!(late.take(Duration::ZERO).unwrap(), [Note::Recovering]);
        assert_eq!(late.take(Duration::ZERO), None);
        assert_eq!(hub.enter().take(Duration::from_secs(60)), None, "the node has ended");
    }

    #[test]
    fn whoever_waits_is_woken_by_the_close() {
        let (_sink, hub) = channel(3, false);
        let source = hub.enter();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| source.take(Duration::from_secs(60)));
            source.close();
            assert_eq!(waiter.join().unwrap(), None);
        });
    }

    #[test]
    fn a_reader_that_leaves_is_forgotten() {
        let (sink, hub) = channel(3, false);
        drop(hub.enter());
        let stays = hub.enter();
        drop(hub.enter());
        assert_eq!(hub.lock().queues.len(), 1);
        sink.put(Note::Left);
        assert_eq!(stays.take(Duration::ZERO).unwrap(), [Note::Left]);
    }
}
