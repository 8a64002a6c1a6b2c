//! Names with their values, packed one behind the other: no allocation and no pointer for a name.
//!
//! A cell is the name's length, the name, the version's two numbers, the value's length and the value:
//! what postcard makes of a name and a [`Cell`], with lengths and numbers as LEB128 (DWARF 5, section
//! 7.6). What stands behind the name is, byte for byte, the cell's row on disk.

use std::fmt;
use std::ops::Range;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json::Json;
use super::number::{number_size, put_number, take_bytes, take_number};
use super::peer::{Cell, Version};
use super::text::Text;

/// A name, its version and its value, wherever they lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CellRef<'a> {
    /// The name, in WTF-8.
    pub name: &'a [u8],
    /// Where the value stands in the slot's order.
    pub version: Version,
    value: &'a [u8],
}

impl<'a> CellRef<'a> {
    /// Of this name, version and value.
    pub fn new(name: &'a Text, version: Version, value: &'a Json) -> Self {
        CellRef { name: name.as_bytes(), version, value: value.as_str().as_bytes() }
    }

    /// Of a name without lone surrogates, and a value's text.
    ///
    /// # Panics
    ///
    /// If the value is not ASCII.
    pub fn of(name: &'a str, version: Version, value: &'a str) -> Self {
        assert!(value.is_ascii(), "a value is ASCII");
        CellRef { name: name.as_bytes(), version, value: value.as_bytes() }
    }

    /// The value's text, ASCII only.
    pub fn value(&self) -> &'a str {
        std::str::from_utf8(self.value).expect("a value is ASCII")
    }

    /// Whether a cell that somebody else has packed may be held.
    pub(super) fn value_is_ascii(&self) -> bool {
        self.value.is_ascii()
    }

    /// How many bytes the name and the value have.
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len()
    }

    /// The name, on its own.
    pub fn to_name(&self) -> Text {
        Text::from_wtf8(self.name.to_vec())
    }

    /// What postcard makes of the version and the value as a [`Cell`].
    pub fn to_row(&self) -> Vec<u8> {
        let name = number_size(self.name.len() as u64) + self.name.len();
        let mut row = vec![0; self.packed_size() - name];
        self.write_row(&mut row);
        row
    }

    /// How many bytes the cell takes among others.
    pub(in crate::core) fn packed_size(&self) -> usize {
        let Version { revision, sequence } = self.version;
        let lengths = number_size(self.name.len() as u64) + number_size(self.value.len() as u64);
        lengths + number_size(revision) + number_size(sequence) + self.size()
    }

    fn write(&self, out: &mut [u8]) {
        let out = put_number(out, self.name.len() as u64);
        let (name, out) = out.split_at_mut(self.name.len());
        name.copy_from_slice(self.name);
        self.write_row(out);
    }

    fn write_row(&self, out: &mut [u8]) {
        let out = put_number(out, self.version.revision);
        let out = put_number(out, self.version.sequence);
        put_number(out, self.value.len() as u64).copy_from_slice(self.value);
    }
}

/// As postcard writes a name and a [`Cell`].
impl Serialize for CellRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let CellRef { name, version, value } = self;
        (Bytes(name), version, Bytes(value)).serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for CellRef<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, version, value) = <(&[u8], Version, &[u8])>::deserialize(deserializer)?;
        if !value.is_ascii() {
            return Err(D::Error::custom("a value is ASCII"));
        }
        Ok(CellRef { name, version, value })
    }
}

/// Bytes in one piece, which serde would write one by one.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl fmt::Debug for CellRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { revision, sequence } = self.version;
        write!(f, "{:?} = {} at {revision}.{sequence}", self.to_name(), self.value())
    }
}

impl Cell {
    /// The cell under a name.
    pub fn named<'a>(&'a self, name: &'a Text) -> CellRef<'a> {
        CellRef::new(name, self.version, &self.value)
    }
}

/// Cells in ascending order of their names, each name once.
///
/// ```
/// use dht::core::wire::{cells::{CellRef, Cells}, json::Json, peer::Version};
/// let (name, value) = ("name".into(), Json::parse(b"[1]").unwrap());
/// let mut cells = Cells::default();
/// cells.push(CellRef::new(&name, Version { revision: 1, sequence: 2 }, &value));
/// assert_eq!(cells.iter().next().unwrap().value(), "[1]");
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Cells {
    /// Invariant: whole cells, names ascending, values ASCII.
    bytes: Vec<u8>,
    /// Where the last cell begins.
    last: usize,
}

/// Where a name stands among cells, or would stand.
#[derive(Debug, Clone, Default)]
pub(in crate::core) struct Place {
    /// The bytes of the cell; empty, where the name has none.
    at: Range<usize>,
    /// Its version, and the bytes of its name and value.
    pub(in crate::core) held: Option<(Version, usize)>,
}

impl Place {
    /// Whether it is behind all of these cells.
    pub(in crate::core) fn is_end_of(&self, cells: &Cells) -> bool {
        self.at.start == cells.bytes.len()
    }
}

impl Cells {
    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Reads where a name will be looked for first; what it gives means nothing.
    pub(in crate::core) fn touch(&self) -> u8 {
        self.bytes.get(self.last).copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether there are two or more.
    pub(in crate::core) fn is_several(&self) -> bool {
        self.last > 0
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = CellRef<'_>> {
        self.starting_at(0)
    }

    /// The first.
    pub fn first(&self) -> Option<CellRef<'_>> {
        self.iter().next()
    }

    /// The last.
    pub fn last(&self) -> Option<CellRef<'_>> {
        self.starting_at(self.last).next()
    }

    /// Those with names above this one.
    pub fn after(&self, name: &[u8]) -> impl Iterator<Item = CellRef<'_>> {
        self.run_after(name).iter()
    }

    /// All of them.
    pub(in crate::core) fn run(&self) -> Run<'_> {
        Run(&self.bytes)
    }

    /// Those with names above this one.
    pub(in crate::core) fn run_after(&self, name: &[u8]) -> Run<'_> {
        Run(&self.bytes[self.find(name).at.end..])
    }

    /// The one of this name.
    pub fn get(&self, name: &[u8]) -> Option<CellRef<'_>> {
        let place = self.find(name);
        place.held.and_then(|_| self.starting_at(place.at.start).next())
    }

    /// Appends a cell.
    ///
    /// # Panics
    ///
    /// If its name is not above the last one's.
    pub fn push(&mut self, cell: CellRef<'_>) {
        assert!(self.last().is_none_or(|last| last.name < cell.name), "names ascend");
        self.last = self.bytes.len();
        self.bytes.resize(self.last + cell.packed_size(), 0);
        cell.write(&mut self.bytes[self.last..]);
    }

    /// Where a name is, or belongs.
    pub(in crate::core) fn find(&self, name: &[u8]) -> Place {
        if self.last().is_none_or(|last| last.name < name) {
            // Names often come in order.
            return Place { at: self.bytes.len()..self.bytes.len(), held: None };
        }
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let start = self.bytes.len() - rest.len();
            let cell = take_cell(&mut rest).expect("cells are whole");
            if cell.name >= name {
                let same = cell.name == name;
                let end = if same { self.bytes.len() - rest.len() } else { start };
                return Place { at: start..end, held: same.then_some((cell.version, cell.size())) };
            }
        }
        Place { at: self.bytes.len()..self.bytes.len(), held: None }
    }

    /// Puts a cell where its name is, or belongs. Room grows by `step` bytes more than are needed.
    pub(in crate::core) fn put(&mut self, place: &Place, cell: CellRef<'_>, step: usize) {
        let Range { start, end } = place.at;
        let (before, after) = (self.bytes.len(), start + cell.packed_size());
        let len = before - end + after;
        if len > self.bytes.capacity() {
            self.bytes.reserve_exact(len - before + step);
        }
        self.bytes.resize(len.max(before), 0);
        self.bytes.copy_within(end..before, after);
        self.bytes.truncate(len);
        cell.write(&mut self.bytes[start..after]);
        self.last = if end < before { self.last + after - end } else { start };
    }

    /// The same cells in runs that have so many bytes at most, but for those that are a single cell.
    /// Tells of each cell on the way: to find where it ends is what takes the time.
    pub(in crate::core) fn runs(
        &self,
        bytes_max: usize,
        mut each: impl FnMut(CellRef<'_>),
    ) -> Vec<Cells> {
        let mut runs = Vec::with_capacity(self.bytes.len() / bytes_max + 1);
        let (mut rest, mut start, mut last) = (&self.bytes[..], 0, 0);
        while !rest.is_empty() {
            let at = self.bytes.len() - rest.len();
            each(take_cell(&mut rest).expect("cells are whole"));
            if at > start && self.bytes.len() - rest.len() - start > bytes_max {
                runs.push(Cells { bytes: self.bytes[start..at].to_vec(), last: last - start });
                start = at;
            }
            last = at;
        }
        if !self.is_empty() {
            runs.push(Cells { bytes: self.bytes[start..].to_vec(), last: last - start });
        }
        runs
    }

    /// Takes away the cells from about the middle on; there are two or more.
    pub(in crate::core) fn split(&mut self) -> Cells {
        let mut rest = &self.bytes[..];
        let (mut at, mut last) = (0, 0);
        while at < self.bytes.len() / 2 && at < self.last {
            last = at;
            take_cell(&mut rest).expect("cells are whole");
            at = self.bytes.len() - rest.len();
        }
        assert!(at > 0, "one cell is not split");
        let tail = Cells { bytes: self.bytes[at..].to_vec(), last: self.last - at };
        self.bytes.truncate(at);
        self.bytes.shrink_to_fit();
        self.last = last;
        tail
    }

    fn starting_at(&self, start: usize) -> impl Iterator<Item = CellRef<'_>> {
        Run(&self.bytes[start..]).iter()
    }

    /// Cells that somebody else has packed; `None` where they are none.
    fn read(bytes: &[u8]) -> Option<Cells> {
        let (mut rest, mut last) = (bytes, 0);
        let mut before: Option<&[u8]> = None;
        while !rest.is_empty() {
            last = bytes.len() - rest.len();
            let cell = take_cell(&mut rest)?;
            if !cell.value.is_ascii() || before.is_some_and(|before| before >= cell.name) {
                return None;
            }
            before = Some(cell.name);
        }
        Some(Cells { bytes: bytes.to_vec(), last })
    }
}

/// Whole cells that lie one behind the other.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::core) struct Run<'a>(&'a [u8]);

impl<'a> Run<'a> {
    /// Their bytes.
    pub(in crate::core) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// In order.
    pub(in crate::core) fn iter(self) -> impl Iterator<Item = CellRef<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| take_cell(&mut rest).expect("cells are whole"))
        })
    }

    /// As many from the front as have so many bytes together.
    pub(in crate::core) fn up_to(self, bytes_max: usize) -> Run<'a> {
        if self.0.len() <= bytes_max {
            return self;
        }
        let mut end = 0;
        for cell in self.iter() {
            if end + cell.packed_size() > bytes_max {
                break;
            }
            end += cell.packed_size();
        }
        Run(&self.0[..end])
    }

    /// The first alone.
    pub(in crate::core) fn first(self) -> Run<'a> {
        Run(&self.0[..self.iter().next().map_or(0, |cell| cell.packed_size())])
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Cells::read(bytes).ok_or_else(|| D::Error::custom("these are no packed cells"))
    }
}

/// Takes a cell from the front; its value may be of any bytes.
pub(super) fn take_cell<'a>(rest: &mut &'a [u8]) -> Option<CellRef<'a>> {
    let name = take_bytes(rest)?;
    let version = Version { revision: take_number(rest)?, sequence: take_number(rest)? };
    Some(CellRef { name, version, value: take_bytes(rest)? })
}
