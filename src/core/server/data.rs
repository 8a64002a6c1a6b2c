//! What a server keeps on its disk: rows of an ordered map, and their bytes.
//!
//! The map is all that a driver knows. Its keys sort so that the slots of a range lie together, and
//! that a range is deleted by its bounds. `docs/storage.md` writes the bytes down.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::core::assignment::{Entry, NodeId, Revision};
use crate::core::hash::{SLOT_COUNT, Slot};
use crate::core::machine::Edit;
use crate::core::planted::{Planted, planted};
use crate::core::wire::cells::CellRef;
use crate::core::wire::json::Json;
use crate::core::wire::peer::{Cell, Executed, RequestId, Version};
use crate::core::wire::recent::Recent;
use crate::core::wire::text::Text;

/// The first byte of a key: what kind of row it is.
mod kind {
    pub(super) const STANDING: u8 = 1;
    pub(super) const CELL: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const MEMORY: u8 = 4;
    pub(super) const LOCAL: u8 = 5;
}

/// Why a row is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("its {0} cannot be")]
pub struct DataError(pub &'static str);

/// A row.
///
/// ```
/// use dht::core::server::data::{Local, Row};
/// let value = dht::core::wire::json::Json::parse(b"[1]").unwrap();
/// let row = Row::Local("name".into(), Local { value, overtaken: false, without_ring: false });
/// let (key, value) = row.encode();
/// assert_eq!(Row::decode(&key, &value), Ok(row));
/// assert!(Row::decode(&[99], &value).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Who the server is, and what it was told. There is one such row.
    Standing(Standing),
    /// A replicated value: slot and name.
    Cell(Slot, Text, Cell),
    /// A request that was executed and is remembered.
    Request(Slot, Executed),
    /// What a slot has forgotten of requests.
    Memory(Slot, Memory),
    /// A value that is the server's own.
    Local(Text, Local),
}

/// Who a server is, and what it was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The identity of the process that wrote this.
    pub id: Option<NodeId>,
    /// Those before it, oldest first.
    pub was: Vec<NodeId>,
    /// The highest epoch that it was told.
    pub epoch: u64,
    /// The highest revision that it has ever seen, of ranges that it has deleted too.
    pub seen: Revision,
    /// Its ranges, in slot order.
    pub holds: Vec<Entry>,
}

/// What a slot has forgotten of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The highest version of a request that was forgotten.
    pub forgotten: Version,
    /// The same among those that were executed when they were repeated.
    pub forgotten_repeats: Version,
}

/// A value that is the server's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// The value.
    pub value: Json,
    /// Whether a replicated value of the same name came later: `get` shows the later of two.
    pub overtaken: bool,
    /// Whether `setr` stored it: it is not the server's own, and a ring knows nothing of it.
    pub without_ring: bool,
}

impl Row {
    /// The key and the value.
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Row::Standing(standing) => (vec![kind::STANDING], bytes(standing)),
            Row::Cell(slot, name, cell) => (cell_key(*slot, name.as_bytes()), bytes(cell)),
            Row::Request(slot, executed) => {
                let value = bytes(&(executed.version, executed.repeated));
                (request_key(*slot, executed.id), value)
            }
            Row::Memory(slot, memory) => (slot_key(kind::MEMORY, *slot), bytes(memory)),
            Row::Local(name, local) => (local_key(name.as_bytes()), bytes(local)),
        }
    }

    /// Reads a row.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Row, DataError> {
        let (kind, rest) = key.split_first().ok_or(DataError("key"))?;
        match *kind {
            kind::STANDING if rest.is_empty() => Ok(Row::Standing(read_standing(value)?)),
            kind::CELL => {
                let (slot, name) = split_slot(rest)?;
                Ok(Row::Cell(slot, Text::from_wtf8(name.to_vec()), read(value)?))
            }
            kind::REQUEST => {
                let (slot, id) = split_slot(rest)?;
                let id: [u8; 16] = id.try_into().map_err(|_| DataError("request"))?;
                let id = u128::from_be_bytes(id);
                let id = RequestId { client: (id >> 64) as u64, number: id as u64 };
                let (version, repeated) = read(value)?;
                Ok(Row::Request(slot, Executed { id, version, repeated }))
            }
            kind::MEMORY => match split_slot(rest)? {
                (slot, []) => Ok(Row::Memory(slot, read(value)?)),
                _ => Err(DataError("key")),
            },
            kind::LOCAL => Ok(Row::Local(Text::from_wtf8(rest.to_vec()), read(value)?)),
            _ => Err(DataError("kind of a row")),
        }
    }
}

/// The edits that the disk was not given yet; none, where there is no disk.
#[derive(Debug, Default)]
pub(super) struct Log(Option<Vec<Edit>>);

impl Log {
    /// From now on edits are kept.
    pub(super) fn open(&mut self) {
        self.0.get_or_insert_default();
    }

    /// All edits since this was asked last.
    pub(super) fn take(&mut self) -> Vec<Edit> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Who the server is.
    pub(super) fn standing(&mut self, standing: &Standing) {
        self.push(|| put(vec![kind::STANDING], standing));
    }

    /// A name has this value.
    pub(super) fn cell(&mut self, slot: Slot, cell: CellRef<'_>) {
        self.push(|| Edit::Put { key: cell_key(slot, cell.name), value: cell.to_row() });
    }

    /// A request is remembered.
    pub(super) fn request(&mut self, slot: Slot, executed: Executed) {
        let value = (executed.version, executed.repeated);
        if planted(Planted::RequestsNotStored) {
            return;
        }
        self.push(|| put(request_key(slot, executed.id), &value));
    }

    /// The same of several.
    pub(super) fn requests(&mut self, slot: Slot, all: &Recent) {
        if self.0.is_some() {
            all.iter().for_each(|executed| self.request(slot, executed));
        }
    }

    /// A request is forgotten.
    pub(super) fn forget_request(&mut self, slot: Slot, id: RequestId) {
        self.push(|| Edit::Remove { key: request_key(slot, id) });
    }

    /// This is what the slot has forgotten.
    pub(super) fn memory(&mut self, slot: Slot, memory: &Memory) {
        self.push(|| put(slot_key(kind::MEMORY, slot), memory));
    }

    /// The server's own value of a name, which is made where there is a disk.
    pub(super) fn local(&mut self, name: &[u8], local: impl FnOnce() -> Local) {
        self.push(|| put(local_key(name), &local()));
    }

    /// The server has no own value of a name.
    pub(super) fn forget_local(&mut self, name: &[u8]) {
        self.push(|| Edit::Remove { key: local_key(name) });
    }

    /// The slots `start..end` are deleted.
    pub(super) fn wipe(&mut self, start: Slot, end: Slot) {
        for kind in [kind::CELL, kind::REQUEST, kind::MEMORY] {
            let (start, end) = (slot_key(kind, start), slot_key(kind, end));
            self.push(|| Edit::RemoveRange { start, end });
        }
    }

    fn push(&mut self, edit: impl FnOnce() -> Edit) {
        if let Some(edits) = &mut self.0 {
            edits.push(edit());
        }
    }
}

fn put(key: Vec<u8>, value: &impl Serialize) -> Edit {
    Edit::Put { key, value: bytes(value) }
}

/// The key of a replicated value.
pub fn cell_key(slot: Slot, name: &[u8]) -> Vec<u8> {
    let mut key = slot_key(kind::CELL, slot);
    key.extend(name);
    key
}

fn request_key(slot: Slot, id: RequestId) -> Vec<u8> {
    let mut key = slot_key(kind::REQUEST, slot);
    key.extend(id.client.to_be_bytes());
    key.extend(id.number.to_be_bytes());
    key
}

fn local_key(name: &[u8]) -> Vec<u8> {
    let mut key = vec![kind::LOCAL];
    key.extend(name);
    key
}

fn slot_key(kind: u8, slot: Slot) -> Vec<u8> {
    let [high, low] = slot.to_be_bytes();
    vec![kind, high, low]
}

fn split_slot(rest: &[u8]) -> Result<(Slot, &[u8]), DataError> {
    let (slot, rest) = rest.split_first_chunk().ok_or(DataError("slot"))?;
    let slot = Slot::from_be_bytes(*slot);
    if slot >= SLOT_COUNT {
        return Err(DataError("slot"));
    }
    Ok((slot, rest))
}

fn read_standing(value: &[u8]) -> Result<Standing, DataError> {
    let standing: Standing = read(value)?;
    let holds = &standing.holds;
    let valid = |entry: &Entry| entry.is_valid() && !entry.active.is_empty();
    let sorted = holds.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if !holds.iter().all(valid) || !sorted {
        return Err(DataError("ranges"));
    }
    Ok(standing)
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a row has a form in bytes")
}

fn read<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, DataError> {
    let (value, rest) = postcard::take_from_bytes(value).map_err(|_| DataError("encoding"))?;
    if rest.is_empty() { Ok(value) } else { Err(DataError("length")) }
}
