//! The way of notes from a node's thread to whoever reads them.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::time::Duration;

use crate::core::machine::Note;

/// How many notes are given to the reader at once.
const BATCH_MAX: usize = 1_000;

/// The node's end.
#[derive(Debug)]
pub(super) struct NoteSink {
    sender: Sender<Note>,
    notes_max: usize,
    quiet: bool,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct NoteSource(Receiver<Note>);

/// Both ends. `quiet` leaves out notes about single requests.
pub(super) fn channel(notes_max: usize, quiet: bool) -> (NoteSink, NoteSource) {
    let (sender, receiver) = unbounded();
    (NoteSink { sender, notes_max, quiet }, NoteSource(receiver))
}

impl NoteSink {
    /// Hands a note over, or drops it where too many wait: nobody may be reading.
    pub(super) fn put(&self, note: Note) {
        let single = is_single(&note);
        let limit = if single { self.notes_max } else { self.notes_max.saturating_mul(2) };
        let quiet = self.quiet && !matches!(note, Note::Printing { .. } | Note::BadFrame { .. });
        if (single && quiet) || self.sender.len() >= limit {
            return;
        }
        // Without a reader nobody wants the note.
        let _ = self.sender.send(note);
    }
}

impl NoteSource {
    /// Waits for notes up to `timeout`; none where there are none, `None` once the node has ended
    /// and all are read.
    pub(super) fn take(&self, timeout: Duration) -> Option<Vec<Note>> {
        let first = match self.0.recv_timeout(timeout) {
            Ok(note) => note,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let more = self.0.try_iter().take(BATCH_MAX - 1);
        Some(std::iter::once(first).chain(more).collect())
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
        let (sink, source) = channel(3, false);
        for _ in 0..10 {
            sink.put(Note::AllKeys);
        }
        sink.put(Note::Rebalancing);
        let notes = source.take(Duration::ZERO).unwrap();
        assert_eq!(notes, [Note::AllKeys, Note::AllKeys, Note::AllKeys, Note::Rebalancing]);
        assert_eq!(source.take(Duration::ZERO), Some(Vec::new()));
        drop(sink);
        assert_eq!(source.take(Duration::ZERO), None);
    }

    #[test]
    fn quiet_leaves_single_requests_out() {
        let (sink, source) = channel(3, true);
        sink.put(Note::AllKeys);
        sink.put(Note::Printing { words: Vec::new() });
        sink.put(Note::RebalancingComplete);
        let notes = source.take(Duration::ZERO).unwrap();
        assert_eq!(notes, [Note::Printing { words: Vec::new() }, Note::RebalancingComplete]);
    }
}
