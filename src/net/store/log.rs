//! What the engine's file does not have yet: a log beside it, which is synced in its stead.
//!
//! A batch is one frame at the end of the log. That is a few hundred bytes where the engine would
//! write whole pages. Once the log is long, all of it goes to the engine at once, and it begins anew.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::core::machine::Edit;
use crate::core::record_log::{self, DATA_LOG, FILE_HEADER_BYTES, LogError};

/// What is to be done to the rows, in two steps: ranges are removed first, then rows are set.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) ranges: Vec<(Vec<u8>, Vec<u8>)>,
    /// The value of a key, or that it has none.
    pub(super) rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Pending {
    /// Takes in an edit that comes after all before.
    pub(super) fn take(&mut self, edit: Edit) {
        match edit {
            Edit::Put { key, value } => drop(self.rows.insert(key, Some(value))),
            Edit::Remove { key } => drop(self.rows.insert(key, None)),
            Edit::RemoveRange { start, end } if start < end => {
                let rest = self.rows.split_off(&start);
                let kept = rest.into_iter().filter(|(key, _)| *key >= end);
                self.rows.extend(kept);
                self.ranges.push((start, end));
            }
            Edit::RemoveRange { .. } => {}
        }
    }
}

/// A log that is written.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// How long it is.
    pub(super) bytes: u64,
}

impl Log {
    /// Makes an empty log, and syncs it.
    pub(super) fn create(path: &Path) -> io::Result<Log> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(&record_log::header(DATA_LOG))?;
        let mut log = Log { file, bytes: 0 };
        log.begin_anew()?;
        Ok(log)
    }

    /// Opens a log to be written.
    pub(super) fn open(path: &Path) -> io::Result<Log> {
        Ok(Log { file: OpenOptions::new().write(true).open(path)?, bytes: 0 })
    }

    /// Forgets all but the header, and syncs that.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        self.bytes = FILE_HEADER_BYTES as u64;
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.sync_data()
    }

    /// Appends a batch.
    pub(super) fn append(&mut self, number: u64, batch: &[Vec<Edit>]) -> io::Result<()> {
        let mut frame = Vec::new();
        record_log::append_frame(&mut frame, &encode(number, batch.iter().flatten()));
        self.file.write_all(&frame)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Returns once all stays.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Edits, and their number.
pub(super) type Batch = (u64, Vec<Edit>);

/// The batches in a log, oldest first, and how many bytes at its end are cut off.
pub(super) fn batches(file: &[u8]) -> Result<(Vec<Batch>, usize), LogError> {
    let frames = record_log::frames_of(DATA_LOG, file)?;
    let torn_bytes = record_log::torn_bytes(file, &frames);
    let batches = frames.into_iter().map(|frame| decode(frame).ok_or(LogError::Damaged(0)));
    Ok((batches.collect::<Result<_, _>>()?, torn_bytes))
}

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_RANGE: u8 = 3;

fn encode<'a>(number: u64, edits: impl Iterator<Item = &'a Edit>) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    for edit in edits {
        match edit {
            Edit::Put { key, value } => push(&mut out, PUT, &[key, value]),
            Edit::Remove { key } => push(&mut out, REMOVE, &[key]),
            Edit::RemoveRange { start, end } => push(&mut out, REMOVE_RANGE, &[start, end]),
        }
    }
    out
}

fn push(out: &mut Vec<u8>, kind: u8, parts: &[&Vec<u8>]) {
    out.push(kind);
    for part in parts {
        let length = u32::try_from(part.len()).expect("a row is shorter than 4 GiB");
        out.extend(length.to_le_bytes());
        out.extend(*part);
    }
}

fn decode(payload: &[u8]) -> Option<(u64, Vec<Edit>)> {
    let (number, mut rest) = payload.split_first_chunk()?;
    let mut edits = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        rest = behind;
        edits.push(match *kind {
            PUT => Edit::Put { key: part(&mut rest)?, value: part(&mut rest)? },
            REMOVE => Edit::Remove { key: part(&mut rest)? },
            REMOVE_RANGE => Edit::RemoveRange { start: part(&mut rest)?, end: part(&mut rest)? },
            _ => return None,
        });
    }
    Some((u64::from_le_bytes(*number), edits))
}

fn part(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, behind) = rest.split_first_chunk()?;
    let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(part.to_vec())
}
