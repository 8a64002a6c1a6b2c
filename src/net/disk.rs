//! The disk of a view leader: its record in a directory, and a thread that writes and syncs.
//!
//! The directory has one file, [`FILE`]; its bytes are those of [`crate::core::record_log`]. Opening
//! it writes the whole record anew, beside the old file and then in its place, so a disk that takes
//! nothing is found at the start, and a file that cannot be read stays as it is. Meanwhile the
//! directory itself is locked against other processes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::directory::{self, DiskError};
use super::inspect::LeaderContents;
use super::store;
use super::writer::Writer;
use crate::core::leader::record::Record;
use crate::core::record_log::{append_frame, file_header, frames, torn_bytes, version};

/// The file with the record.
pub const FILE: &str = "leader.record";

/// The file that takes its place once it is complete.
const NEW_FILE: &str = "leader.record.new";

/// What the record is written to: a file, or what a test has in its place.
pub(super) trait Medium: Send {
    /// Appends bytes.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts a file with these bytes in the place of all that was appended, and syncs it.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once all that was appended stays whatever happens.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory that is locked, and the file in it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked until it is closed.
    lock: File,
    file: Option<File>,
}

impl Directory {
    /// Opens a directory, which is made where there is none, and reads its record.
    pub(super) fn open(path: &Path) -> Result<(Directory, Record), DiskError> {
        let lock = directory::lock(path)?;
        directory::refuse_other(path, store::FILE, "a server")?;
        let io = |error: io::Error| DiskError::Io(path.display().to_string(), error);
        let file = path.join(FILE);
        let record = match fs::read(&file) {
            Ok(bytes) => read(&bytes, &file.display().to_string())?.record,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(error) => return Err(DiskError::Io(file.display().to_string(), error)),
        };
        let mut directory = Directory { path: path.to_owned(), lock, file: None };
        let entry: Vec<u8> = record.changes().iter().flat_map(|change| change.encode()).collect();
        let mut whole = file_header();
        append_frame(&mut whole, &entry);
        directory.replace(&whole).map_err(io)?;
        Ok((directory, record))
    }
}

/// Reads the record in a directory, and changes nothing.
pub(super) fn look(path: &Path) -> Result<LeaderContents, DiskError> {
    let _lock = directory::lock_existing(path)?;
    let file = path.join(FILE);
    let shown = file.display().to_string();
    let bytes = fs::read(&file).map_err(|error| DiskError::Io(shown.clone(), error))?;
    read(&bytes, &shown)
}

fn read(bytes: &[u8], shown: &str) -> Result<LeaderContents, DiskError> {
    let mut record = Record::default();
    let entries = frames(bytes).map_err(|error| DiskError::Unreadable(shown.to_owned(), error))?;
    for entry in &entries {
        let taken = record.replay(entry);
        taken.map_err(|error| DiskError::Senseless(shown.to_owned(), error))?;
    }
    let torn_bytes = torn_bytes(bytes, &entries) as u64;
    Ok(LeaderContents { version: version(bytes), torn_bytes, record })
}

impl Medium for Directory {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().ok_or(io::ErrorKind::NotFound)?.write_all(bytes)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let new = self.path.join(NEW_FILE);
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            // Also where nothing is synced otherwise: an empty file must not take the old one's place.
            file.sync_all()?;
            fs::rename(&new, self.path.join(FILE))?;
            self.lock.sync_all()?;
            Ok(file)
        });
        match written {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                let _ = fs::remove_file(&new);
                return Err(error);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// An entry of the record, and whether it stands for all before it.
#[derive(Debug)]
pub(super) struct RecordEntry {
    pub(super) entry: Vec<u8>,
    pub(super) whole: bool,
}

impl<M: Medium> Writer for M {
    type Work = RecordEntry;

    /// Writes all that waits as one frame. What comes before a whole record is in that.
    fn write(&mut self, batch: Vec<RecordEntry>) -> io::Result<()> {
        let whole = batch.iter().rposition(|job| job.whole);
        let payload: Vec<u8> =
            batch[whole.unwrap_or(0)..].iter().flat_map(|job| &job.entry).copied().collect();
        let mut bytes = if whole.is_some() { file_header() } else { Vec::new() };
        append_frame(&mut bytes, &payload);
        if whole.is_some() { self.replace(&bytes) } else { self.append(&bytes) }
    }

    fn sync(&mut self) -> io::Result<()> {
        Medium::sync(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::leader::record::{Change, Counts};
    use crate::core::machine::Ticket;
    use crate::net::directory::Fsync;
    use crate::net::writer::{Job, work};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};

    /// A directory of a test's own, removed at its end.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dht-disk-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Temporary(path)
        }

        fn open(&self) -> Result<(Directory, Record), DiskError> {
            Directory::open(&self.0)
        }

        fn error(&self) -> String {
            self.open().map(|(_, record)| record).expect_err("it cannot be used").to_string()
        }

        fn file(&self) -> PathBuf {
            self.0.join(FILE)
        }

        /// Writes entries as a leader would: each one a batch.
        fn write(&self, epochs: &[u64]) {
            let (mut directory, _) = self.open().unwrap();
            epochs.iter().for_each(|at| directory.write(vec![job(*at, false).work]).unwrap());
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn job(epoch: u64, whole: bool) -> Job<RecordEntry> {
        let entry = Change::Counts(Counts { epoch, ..Counts::default() }).encode();
        Job { ticket: Ticket(epoch), work: RecordEntry { entry, whole } }
    }

    #[test]
    fn what_was_written_is_found() {
        let at = Temporary::new("found");
        assert_eq!(at.open().unwrap().1, Record::default());
        at.write(&[1, 2]);
        at.write(&[3]);
        assert_eq!(at.open().unwrap().1.counts.epoch, 3);
        let (mut directory, _) = at.open().unwrap();
        let jobs = [job(4, false), job(5, true), job(6, false)];
        directory.write(jobs.map(|job| job.work).into()).unwrap();
        drop(directory);
        assert_eq!(at.open().unwrap().1.counts.epoch, 6);
    }

    #[test]
    fn a_torn_end_is_cut_off() {
        let at = Temporary::new("torn");
        at.write(&[1, 2]);
        let bytes = fs::read(at.file()).unwrap();
        fs::write(at.file(), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(at.open().unwrap().1.counts.epoch, 1);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_stays() {
        let at = Temporary::new("unreadable");
        at.write(&[1, 2, 3]);
        let sound = fs::read(at.file()).unwrap();
        let mut damaged = sound.clone();
        damaged[40] ^= 1;
        let mut newer = sound.clone();
        newer[8..16].copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
        for (bytes, word) in [(damaged, "is damaged at byte"), (newer, "is damaged at byte 0")] {
            fs::write(at.file(), &bytes).unwrap();
            let error = at.error();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
            assert_eq!(fs::read(at.file()).unwrap(), bytes);
            assert_eq!(fs::read_dir(&at.0).unwrap().count(), 1);
        }
        fs::write(at.file(), b"{}").unwrap();
        assert!(at.error().contains("no record"));
    }

    #[test]
    fn one_process_at_a_time() {
        let at = Temporary::new("locked");
        let first = at.open().unwrap();
        assert!(at.error().contains("in use by another process"));
        drop(first);
        at.open().unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_said() {
        let error = Directory::open(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.starts_with("/proc: "), "{error}");
        let error = Directory::open(Path::new("/dev/null/d")).unwrap_err();
        assert!(error.to_string().starts_with("/dev/null/d: "));
    }

    /// Takes down what is done to it, and fails when there is too much.
    #[derive(Clone)]
    struct Frail {
        done: Arc<Mutex<Vec<&'static str>>>,
        left: usize,
    }

    impl Frail {
        fn act(&mut self, what: &'static str) -> io::Result<()> {
            self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            self.done.lock().unwrap().push(what);
            Ok(())
        }
    }

    impl Medium for Frail {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            self.act("append")
        }

        fn replace(&mut self, _: &[u8]) -> io::Result<()> {
            self.act("replace")
        }

        fn sync(&mut self) -> io::Result<()> {
            self.act("sync")
        }
    }

    fn worked(
        left: usize,
        jobs: Vec<Job<RecordEntry>>,
    ) -> (Vec<&'static str>, Vec<Result<Ticket, String>>) {
        let frail = Frail { done: Arc::default(), left };
        let (told, answers) = channel();
        let (sender, queue) = channel();
        jobs.into_iter().for_each(|job| sender.send(job).unwrap());
        drop(sender);
        let done = frail.done.clone();
        work(frail, Fsync::Always, &queue, &|result| told.send(result).unwrap());
        let done = done.lock().unwrap().clone();
        (done, answers.try_iter().collect())
    }

    #[test]
    fn all_that_waits_shares_a_sync() {
        let (done, answers) = worked(9, vec![job(1, false), job(2, false), job(3, false)]);
        assert_eq!(done, ["append", "sync"]);
        assert_eq!(answers, [Ok(Ticket(3))]);
        assert_eq!(worked(9, vec![job(1, false), job(2, true)]).0, ["replace", "sync"]);
    }

    #[test]
    fn nothing_is_confirmed_that_failed() {
        for left in 0..2 {
            let (_, answers) = worked(left, vec![job(1, false)]);
            assert!(matches!(&answers[..], [Err(_)]), "{answers:?}");
        }
    }
}
