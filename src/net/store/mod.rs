//! A server's data on disk: an ordered map of bytes, kept by an engine in a file, with a log before it.
//!
//! The engine is redb; `docs/storage.md` says why. [`Store::open`] checks both files and changes
//! nothing in them; [`Store::release`] lets the engine write. Meanwhile the directory is locked against
//! other processes.

mod backend;
pub(super) mod header;
mod log;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use redb::TableDefinition;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError};

use self::backend::Backing;
use self::header::{HEADER_BYTES, HeaderError};
use self::log::{Log, Pending};
use super::directory::{self, DiskError};
use super::disk;
use super::writer::Writer;
use crate::core::machine::Edit;
use crate::core::record_log::{FILE_HEADER_BYTES, LogError};
use crate::core::server::data::Row;

/// The file with the data.
pub const FILE: &str = "server.data";

/// The file with what the former does not have yet.
const LOG_FILE: &str = "server.log";

/// The file that takes the place of the data once it is complete.
const NEW_FILE: &str = "server.data.new";

/// A file that is written and deleted at each start, to see whether the disk takes anything.
const PROBE_FILE: &str = "server.data.probe";

/// How much must be free at a start beside what the engine has written, in bytes.
const PROBE_BYTES: u64 = 65_536;

/// How much of its file the engine keeps in memory, in bytes. The server has all of it anyway.
const CACHE_BYTES: usize = 33_554_432;

/// How long the log may be before all of it goes to the engine, in bytes.
const LOG_BYTES_MAX: u64 = 4_194_304;

/// The number of the last batch of the log that is among the rows; its key has no meaning.
const APPLIED: TableDefinition<'_, u8, u64> = TableDefinition::new("applied");

/// The table with all rows.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// A directory that is locked, and the map in it.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    backing: Backing,
    database: Database,
    /// Written from [`Store::release`] on.
    log: Option<Log>,
    /// The number of the last batch.
    number: u64,
    /// What is in the log, and not among the rows.
    pending: Pending,
    /// How many bytes at the end of the log were cut off.
    torn_bytes: usize,
    /// Locked until it is closed, which is after the engine has closed its file: fields are dropped in
    /// their order.
    _lock: File,
}

impl Store {
    /// Opens a directory, which is made where there is none, and checks every page of its data.
    /// Nothing is written to data that were there before [`Store::release`].
    pub(super) fn open(path: &Path) -> Result<Store, DiskError> {
        let lock = directory::lock(path)?;
        directory::refuse_other(path, disk::FILE, "a view leader")?;
        let file = path.join(FILE);
        if !file.exists() {
            refuse_missing(path)?;
            let io = |error| DiskError::Io(path.display().to_string(), error);
            return Store::create(path, lock).map_err(io);
        }
        let io = |error| DiskError::Io(file.display().to_string(), error);
        let opened = OpenOptions::new().read(true).write(true).open(&file).map_err(io)?;
        Store::of(path, lock, opened)
    }

    /// Opens the data in a directory only to be looked at: nothing is ever written.
    pub(super) fn open_to_read(path: &Path) -> Result<Store, DiskError> {
        let lock = directory::lock_existing(path)?;
        let file = path.join(FILE);
        let io = |error| DiskError::Io(file.display().to_string(), error);
        let opened = File::open(&file).map_err(io)?;
        Store::of(path, lock, opened)
    }

    /// The version of its format.
    pub(super) fn version(&self) -> u32 {
        header::FORMAT_VERSION
    }

    /// How many bytes at the end of the log are no whole batch, and were cut off.
    pub(super) fn torn_bytes(&self) -> usize {
        self.torn_bytes
    }

    fn of(path: &Path, lock: File, mut file: File) -> Result<Store, DiskError> {
        let shown = path.join(FILE).display().to_string();
        let io = |error| DiskError::Io(shown.clone(), error);
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(HEADER_BYTES).read_to_end(&mut head).map_err(io)?;
        header::decode(&head).map_err(|error| DiskError::NoData(shown.clone(), error))?;
        if file.seek(SeekFrom::End(0)).map_err(io)? == HEADER_BYTES {
            return Err(DiskError::Damaged(shown, "it ends after its header".to_owned()));
        }
        let backing = Backing::holding(file).map_err(io)?;
        let opened = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(backing.clone());
        let database = opened.map_err(|error| unusable(&shown, error))?;
        let (log, number, pending) = (None, 0, Pending::default());
        let (path, torn_bytes, _lock) = (path.to_owned(), 0, lock);
        let mut store = Store { path, backing, database, log, number, pending, torn_bytes, _lock };
        store.take_up_log()?;
        Ok(store)
    }

    /// Adds to the rows what only the log has.
    fn take_up_log(&mut self) -> Result<(), DiskError> {
        let file = self.path.join(LOG_FILE);
        let shown = file.display().to_string();
        let damaged = |why: &str| DiskError::Damaged(shown.clone(), why.to_owned());
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DiskError::Missing(shown));
            }
            Err(error) => return Err(DiskError::Io(shown, error)),
        };
        let (batches, torn_bytes) = log::batches(&bytes).map_err(|error| match error {
            LogError::Newer(version) => {
                DiskError::NoData(shown.clone(), HeaderError::Newer(version))
            }
            LogError::NotOurs => damaged("it is no log of a server"),
            LogError::Damaged(at) => damaged(&format!("at byte {at}")),
        })?;
        self.torn_bytes = torn_bytes;
        self.number = self.applied().map_err(|error| damaged(&error.to_string()))?;
        let applied = self.number;
        for (number, edits) in batches.into_iter().skip_while(|(number, _)| *number <= applied) {
            if number != self.number + 1 {
                return Err(damaged("it does not go on where the data end"));
            }
            self.number = number;
            edits.into_iter().for_each(|edit| self.pending.take(edit));
        }
        self.apply().map_err(|error| damaged(&error.to_string()))
    }

    fn applied(&self) -> Result<u64, redb::Error> {
        let applied = self.database.begin_read()?.open_table(APPLIED)?.get(0)?;
        Ok(applied.map_or(0, |number| number.value()))
    }

    /// Makes an empty map: beside where it belongs, and then in its place.
    fn create(path: &Path, lock: File) -> io::Result<Store> {
        let new = path.join(NEW_FILE);
        let made = Log::create(&path.join(LOG_FILE)).and_then(|log| {
            let (backing, database) = create_file(&new)?;
            fs::rename(&new, path.join(FILE))?;
            lock.sync_all()?;
            Ok((backing, database, Some(log)))
        });
        let (backing, database, log) = made.inspect_err(|_| {
            let _ = fs::remove_file(&new);
            let _ = fs::remove_file(path.join(LOG_FILE));
        })?;
        let (number, pending) = (0, Pending::default());
        let (path, torn_bytes, _lock) = (path.to_owned(), 0, lock);
        Ok(Store { path, backing, database, log, number, pending, torn_bytes, _lock })
    }

    /// Gives all rows in the order of their keys to `take`, and returns what that returns.
    pub(super) fn with_rows<T>(
        &self,
        take: impl FnOnce(&mut dyn Iterator<Item = Row>) -> T,
    ) -> Result<T, DiskError> {
        let shown = self.path.join(FILE).display().to_string();
        let damaged = |why: String| DiskError::Damaged(shown.clone(), why);
        let reading = self.database.begin_read().map_err(|error| damaged(error.to_string()))?;
        let table = reading.open_table(ROWS).map_err(|error| damaged(error.to_string()))?;
        let mut range = table.range::<&[u8]>(..).map_err(|error| damaged(error.to_string()))?;
        let mut failed = None;
        let mut rows = std::iter::from_fn(|| {
            let row = match range.next()? {
                Ok((key, value)) => Row::decode(key.value(), value.value())
                    .map_err(|error| DiskError::SenselessRow(shown.clone(), error)),
                Err(error) => Err(damaged(error.to_string())),
            };
            row.map_err(|error| failed = Some(error)).ok()
        });
        let taken = take(&mut rows);
        failed.map_or(Ok(taken), Err)
    }

    /// From now on the engine writes to its file, what it has already written first, and the log begins
    /// anew. A disk that takes nothing is found before that.
    pub(super) fn release(&mut self) -> Result<(), DiskError> {
        let shown = self.path.display().to_string();
        self.try_release().map_err(|error| DiskError::Io(shown, error))
    }

    fn try_release(&mut self) -> io::Result<()> {
        if self.log.is_some() {
            return Ok(());
        }
        let mut log = Log::open(&self.path.join(LOG_FILE))?;
        let probe = self.path.join(PROBE_FILE);
        let tried = File::create(&probe).and_then(|mut file| {
            file.write_all(&vec![0; (self.backing.held_bytes() + PROBE_BYTES) as usize])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&probe);
        tried.and(removed)?;
        self.backing.release()?;
        log.begin_anew()?;
        self.log = Some(log);
        Ok(())
    }

    /// Gives the engine what only the log has.
    fn apply(&mut self) -> Result<(), redb::Error> {
        let pending = std::mem::take(&mut self.pending);
        if pending.rows.is_empty() && pending.ranges.is_empty() {
            return Ok(());
        }
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(ROWS)?;
            for (start, end) in &pending.ranges {
                table.retain_in(start.as_slice()..end.as_slice(), |_, _| false)?;
            }
            for (key, value) in &pending.rows {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                    None => drop(table.remove(key.as_slice())?),
                }
            }
            writing.open_table(APPLIED)?.insert(0, self.number)?;
        }
        writing.commit()?;
        Ok(())
    }
}

impl Writer for Store {
    type Work = Vec<Edit>;

    /// Appends all that waits to the log, as one batch.
    fn write(&mut self, batch: Vec<Vec<Edit>>) -> io::Result<()> {
        let log = self.log.as_mut().ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        self.number += 1;
        log.append(self.number, &batch)?;
        batch.into_iter().flatten().for_each(|edit| self.pending.take(edit));
        if log.bytes > LOG_BYTES_MAX {
            // The rows have the batch's number from here on, so that it is not taken twice.
            self.apply().map_err(said)?;
            if let Some(log) = &mut self.log {
                log.begin_anew()?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.as_ref().map_or(Ok(()), Log::sync)
    }
}

/// Refuses a directory whose data are gone: a log that has something belongs to them.
pub(super) fn refuse_missing(path: &Path) -> Result<(), DiskError> {
    let log = path.join(LOG_FILE).metadata();
    let some = log.is_ok_and(|found| found.len() > FILE_HEADER_BYTES as u64);
    let shown = path.join(FILE).display().to_string();
    if some { Err(DiskError::Missing(shown)) } else { Ok(()) }
}

fn create_file(path: &Path) -> io::Result<(Backing, Database)> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all(&header::encode())?;
    let backing = Backing::direct(file);
    let make = || -> Result<Database, redb::Error> {
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backing.clone())?;
        let writing = database.begin_write()?;
        writing.open_table(ROWS)?;
        writing.open_table(APPLIED)?;
        writing.commit()?;
        Ok(database)
    };
    let database = make().map_err(said)?;
    Ok((backing, database))
}

/// What the engine says, as an error of the system where it is one.
fn said(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn unusable(shown: &str, error: DatabaseError) -> DiskError {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            // The file is shorter than the engine says that it is.
            io::ErrorKind::UnexpectedEof => {
                DiskError::Damaged(shown.to_owned(), "it is cut off".to_owned())
            }
            io::ErrorKind::InvalidData => DiskError::Damaged(shown.to_owned(), error.to_string()),
            _ => DiskError::Io(shown.to_owned(), error),
        },
        error => DiskError::Damaged(shown.to_owned(), error.to_string()),
    }
}

#[cfg(test)]
mod tests;
