//! What is in a directory that no node uses: a look that changes nothing.

use std::path::Path;

use super::directory::DiskError;
use super::store::{self, Store};
use super::{RECORD_FILE, disk};
use crate::core::assignment::{Entry, NodeId};
use crate::core::leader::record::Record;
use crate::core::server::data::{Row, Standing};
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// What a directory has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// A server's data.
    Server(Box<ServerContents>),
    /// A view leader's record.
    Leader(Box<LeaderContents>),
}

/// What a view leader has on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderContents {
    /// The version of the format.
    pub version: u32,
    /// How many bytes at the end are no whole change, and are cut off.
    pub torn_bytes: u64,
    /// The record.
    pub record: Record,
}

/// What a server has on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerContents {
    /// The version of the format.
    pub version: u32,
    /// The identity of the last process that wrote it.
    pub id: Option<NodeId>,
    /// How many identities there were before it, as far as they are remembered.
    pub earlier_ids: u64,
    /// The highest epoch that it was told.
    pub epoch: u64,
    /// Its ranges, in slot order.
    pub holds: Vec<Entry>,
    /// How many replicated values there are.
    pub keys: u64,
    /// The bytes of their names and values.
    pub key_bytes: u64,
    /// How many values are the server's own.
    pub locals: u64,
    /// The bytes of their names and values.
    pub local_bytes: u64,
    /// How many requests are remembered.
    pub requests: u64,
    /// How many bytes at the end of the log are no whole change, and are cut off.
    pub torn_bytes: u64,
}

/// Looks at a directory: every page and every row is checked, and nothing is changed.
pub fn inspect(path: &Path) -> Result<Contents, DiskError> {
    if path.join(RECORD_FILE).exists() {
        return Ok(Contents::Leader(Box::new(disk::look(path)?)));
    }
    let store = open(path)?;
    let mut found = ServerContents {
        version: store.version(),
        torn_bytes: store.torn_bytes() as u64,
        ..ServerContents::default()
    };
    store.with_rows(|rows| rows.for_each(|row| found.count(row)))?;
    Ok(Contents::Server(Box::new(found)))
}

/// Gives each pair in a server's directory to `take`, in the order of the file: replicated ones, or
/// those of the server alone.
pub fn export(
    path: &Path,
    local: bool,
    mut take: impl FnMut(&Text, &Json),
) -> Result<(), DiskError> {
    if path.join(RECORD_FILE).exists() {
        return Err(DiskError::OtherRole(path.display().to_string(), "a view leader"));
    }
    open(path)?.with_rows(|rows| {
        rows.for_each(|row| match row {
            Row::Cell(_, name, cell) if !local => take(&name, &cell.value),
            Row::Local(name, own) if local => take(&name, &own.value),
            _ => {}
        });
    })
}

fn open(path: &Path) -> Result<Store, DiskError> {
    if path.is_dir() && !path.join(store::FILE).exists() {
        store::refuse_missing(path)?;
        return Err(DiskError::Empty(path.display().to_string()));
    }
    Store::open_to_read(path)
}

impl ServerContents {
    fn count(&mut self, row: Row) {
        match row {
            Row::Standing(Standing { id, was, epoch, holds, .. }) => {
                self.id = id;
                self.earlier_ids = was.len() as u64;
                self.epoch = epoch;
                self.holds = holds;
            }
            Row::Cell(_, name, cell) => {
                self.keys += 1;
                self.key_bytes += bytes(&name, &cell.value);
            }
            Row::Local(name, own) => {
                self.locals += 1;
                self.local_bytes += bytes(&name, &own.value);
            }
            Row::Request(..) => self.requests += 1,
            Row::Memory(..) => {}
        }
    }
}

fn bytes(name: &Text, value: &Json) -> u64 {
    (name.as_bytes().len() + value.as_str().len()) as u64
}
