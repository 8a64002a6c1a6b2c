//! A server's data on disk: an ordered map of bytes, kept by an engine in one file of a directory.
//!
//! The engine is redb; `docs/storage.md` says why. [`Store::open`] checks the whole file and changes
//! nothing in it; [`Store::release`] lets the engine write. Meanwhile the directory is locked against
//! other processes.

mod backend;
pub(super) mod header;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, StorageError};
use redb::{Table, TableDefinition};

use self::backend::Backing;
use self::header::HEADER_BYTES;
use super::directory::{self, DiskError, Fsync};
use super::disk;
use super::writer::Writer;
use crate::core::machine::Edit;
use crate::core::server::data::Row;

/// The file with the data.
pub const FILE: &str = "server.data";

/// The file that takes its place once it is complete.
const NEW_FILE: &str = "server.data.new";

/// A file that is written and deleted at each start, to see whether the disk takes anything.
const PROBE_FILE: &str = "server.data.probe";

/// How much must be free at a start beside what the engine has written, in bytes.
const PROBE_BYTES: u64 = 65_536;

/// How much of its file the engine keeps in memory, in bytes. The server has all of it anyway.
const CACHE_BYTES: usize = 33_554_432;

/// The only table: all rows.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// That table, while it is changed.
type Rows<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// A directory that is locked, and the map in it.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    fsync: Fsync,
    backing: Backing,
    database: Database,
    /// Locked until it is closed, which is after the engine has closed its file: fields are dropped in
    /// their order.
    _lock: File,
}

impl Store {
    /// Opens a directory, which is made where there is none, and checks every page of its data.
    /// Nothing is written to data that were there before [`Store::release`].
    pub(super) fn open(path: &Path, fsync: Fsync) -> Result<Store, DiskError> {
        let lock = directory::lock(path)?;
        directory::refuse_other(path, disk::FILE, "a view leader")?;
        let file = path.join(FILE);
        if !file.exists() {
            let io = |error| DiskError::Io(path.display().to_string(), error);
            return Store::create(path, lock, fsync).map_err(io);
        }
        let io = |error| DiskError::Io(file.display().to_string(), error);
        let opened = OpenOptions::new().read(true).write(true).open(&file).map_err(io)?;
        Store::of(path, lock, opened, fsync)
    }

    /// Opens the data in a directory only to be looked at: nothing is ever written.
    pub(super) fn open_to_read(path: &Path) -> Result<Store, DiskError> {
        let lock = directory::lock_existing(path)?;
        let file = path.join(FILE);
        let io = |error| DiskError::Io(file.display().to_string(), error);
        let opened = File::open(&file).map_err(io)?;
        Store::of(path, lock, opened, Fsync::Never)
    }

    /// The version of its format.
    pub(super) fn version(&self) -> u32 {
        header::FORMAT_VERSION
    }

    fn of(path: &Path, lock: File, mut file: File, fsync: Fsync) -> Result<Store, DiskError> {
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
        Ok(Store { path: path.to_owned(), fsync, backing, database, _lock: lock })
    }

    /// Makes an empty map: beside where it belongs, and then in its place.
    fn create(path: &Path, lock: File, fsync: Fsync) -> io::Result<Store> {
        let new = path.join(NEW_FILE);
        let made = create_file(&new).and_then(|(backing, database)| {
            fs::rename(&new, path.join(FILE))?;
            lock.sync_all()?;
            Ok((backing, database))
        });
        let (backing, database) = made.inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })?;
        Ok(Store { path: path.to_owned(), fsync, backing, database, _lock: lock })
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

    /// From now on the engine writes to its file, what it has already written first. A disk that takes
    /// nothing is found before that.
    pub(super) fn release(&self) -> Result<(), DiskError> {
        let probe = self.path.join(PROBE_FILE);
        let tried = File::create(&probe).and_then(|mut file| {
            file.write_all(&vec![0; (self.backing.held_bytes() + PROBE_BYTES) as usize])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&probe);
        let released = tried.and(removed).and_then(|()| self.backing.release());
        if self.fsync == Fsync::Never {
            self.backing.sync_no_more();
        }
        released.map_err(|error| DiskError::Io(self.path.display().to_string(), error))
    }

    fn commit(&self, batch: &[Vec<Edit>], durability: Durability) -> Result<(), redb::Error> {
        let mut writing = self.database.begin_write()?;
        writing.set_durability(durability)?;
        {
            let mut table = writing.open_table(ROWS)?;
            batch.iter().flatten().try_for_each(|edit| apply(&mut table, edit))?;
        }
        writing.commit()?;
        Ok(())
    }
}

impl Writer for Store {
    type Work = Vec<Edit>;

    /// Applies all that waits as one transaction, which the engine syncs where each is to be.
    fn write(&mut self, batch: Vec<Vec<Edit>>) -> io::Result<()> {
        let durability = match self.fsync {
            Fsync::Always | Fsync::Never => Durability::Immediate,
            Fsync::Interval(_) => Durability::None,
        };
        self.commit(&batch, durability).map_err(said)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.fsync {
            Fsync::Always | Fsync::Never => Ok(()),
            Fsync::Interval(_) => self.commit(&[], Durability::Immediate).map_err(said),
        }
    }
}

fn apply(table: &mut Rows<'_>, edit: &Edit) -> Result<(), StorageError> {
    match edit {
        Edit::Put { key, value } => table.insert(key.as_slice(), value.as_slice()).map(drop),
        Edit::Remove { key } => table.remove(key.as_slice()).map(drop),
        Edit::RemoveRange { start, end } if start < end => {
            table.retain_in(start.as_slice()..end.as_slice(), |_, _| false)
        }
        Edit::RemoveRange { .. } => Ok(()),
    }
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
