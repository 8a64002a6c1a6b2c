//! What the directories of view leaders and servers have in common: the lock, and why one is not used.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::store::header::HeaderError;
use crate::core::leader::record::RecordError;
use crate::core::record_log::LogError;
use crate::core::server::data::DataError;

/// When what was written is synced to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before anybody is told of it. Nothing that was told is lost with the power.
    #[default]
    Always,
    /// So long after it at most. What was told in the last such span may be lost.
    Interval(Duration),
    /// Never: the system does so some time later. Nothing is lost where only the process ends.
    Never,
}

/// The longest interval between two syncs: an hour, in milliseconds.
pub const FSYNC_INTERVAL_MS_MAX: u64 = 3_600_000;

/// Text that names no [`Fsync`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "fsync is \"always\", \"interval:MS\" with MS from 1 to {FSYNC_INTERVAL_MS_MAX}, or \"never\""
)]
pub struct FsyncError;

impl FromStr for Fsync {
    type Err = FsyncError;

    /// ```
    /// use std::time::Duration;
    /// use dht::net::Fsync;
    /// assert_eq!("interval:50".parse(), Ok(Fsync::Interval(Duration::from_millis(50))));
    /// assert!("interval:0".parse::<Fsync>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, FsyncError> {
        match text {
            "always" => return Ok(Fsync::Always),
            "never" => return Ok(Fsync::Never),
            _ => {}
        }
        let digits = text.strip_prefix("interval:").ok_or(FsyncError)?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let interval_ms = plain.then(|| digits.parse().ok()).flatten().ok_or(FsyncError)?;
        if !(1..=FSYNC_INTERVAL_MS_MAX).contains(&interval_ms) {
            return Err(FsyncError);
        }
        Ok(Fsync::Interval(Duration::from_millis(interval_ms)))
    }
}

/// Why a directory is not used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Another process has it.
    #[error("{0} is in use by another process; stop that one, or choose another directory")]
    InUse(String),
    /// It belongs to the other kind of node.
    #[error("{0} belongs to {1}; nothing was changed; choose another directory")]
    OtherRole(String, &'static str),
    /// Neither a server nor a view leader has written there.
    #[error(
        "{0} has neither a server's data nor a view leader's record; name the --data-dir of one"
    )]
    Empty(String),
    /// The file is no record that this program reads.
    #[error("{0}: {1}; nothing was changed; {hint}", hint = log_hint(.1))]
    Unreadable(String, LogError),
    /// A file of a server's data is missing, and another is there.
    #[error("{0}: the file is missing; nothing was changed; {DATA_HINT}")]
    Missing(String),
    /// What was named is a file.
    #[error("{0} is no directory; choose another name, or move the file away")]
    NoDirectory(String),
    /// There is nothing of the name that was given.
    #[error("{0}: there is no such directory; name the --data-dir of a server or a view leader")]
    Absent(String),
    /// No name was given.
    #[error("the name of the directory is empty; give one, such as ./data")]
    Unnamed,
    /// Its checksums are right, and what the record says cannot be.
    #[error("{0}: {1}; nothing was changed; {hint}", hint = log_hint(&LogError::NotOurs))]
    Senseless(String, RecordError),
    /// The file does not begin as a server's data do.
    #[error("{0}: {1}; nothing was changed; {hint}", hint = header_hint(*.1))]
    NoData(String, HeaderError),
    /// The engine's checksums do not agree with the file.
    #[error("{0}: it is damaged ({1}); nothing was changed; {DATA_HINT}")]
    Damaged(String, String),
    /// The checksums are right, and what a row says cannot be.
    #[error("{0}: {1}; nothing was changed; {DATA_HINT}")]
    SenselessRow(String, DataError),
    /// The system does not let us.
    #[error("{0}: {1}; {hint}", hint = io_hint(.1))]
    Io(String, io::Error),
}

/// What to do about a server's data that are not read.
const DATA_HINT: &str =
    "put a sound copy in its place, or choose another directory and let the ring fill it";

const NEWER_HINT: &str = "start the newer program, or choose another directory";

fn io_hint(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => "make room there, or choose another directory",
        Kind::FileTooLarge => "raise the limit on the size of files, as `ulimit -f` shows it",
        Kind::ReadOnlyFilesystem => "mount it to be written, or choose another directory",
        Kind::PermissionDenied => "let this user read and write there, or choose another directory",
        _ => "mend that, or choose another directory",
    }
}

fn log_hint(error: &LogError) -> &'static str {
    match error {
        LogError::Newer(_) => NEWER_HINT,
        LogError::NotOurs | LogError::Damaged(_) => {
            "put a sound copy in its place, or choose another directory and let the servers tell"
        }
    }
}

fn header_hint(error: HeaderError) -> &'static str {
    match error {
        HeaderError::Newer(_) => NEWER_HINT,
        HeaderError::NotOurs | HeaderError::Damaged => DATA_HINT,
    }
}

/// Makes a directory where there is none, and locks it until what this returns is closed.
pub(super) fn lock(path: &Path) -> Result<File, DiskError> {
    check_name(path)?;
    fs::create_dir_all(path).map_err(|error| DiskError::Io(path.display().to_string(), error))?;
    lock_existing(path)
}

/// Refuses what is no name of a directory.
pub(super) fn check_name(path: &Path) -> Result<(), DiskError> {
    if path.as_os_str().is_empty() {
        return Err(DiskError::Unnamed);
    }
    // Of what cannot be looked at, the system tells more where it is opened.
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(DiskError::NoDirectory(path.display().to_string())),
        _ => Ok(()),
    }
}

/// Locks a directory that is there.
pub(super) fn lock_existing(path: &Path) -> Result<File, DiskError> {
    check_name(path)?;
    let shown = path.display().to_string();
    let lock = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DiskError::Absent(shown.clone()),
        _ => DiskError::Io(shown.clone(), error),
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DiskError::InUse(shown)),
        Err(TryLockError::Error(error)) => Err(DiskError::Io(shown, error)),
    }
}

/// Refuses a directory that has the other kind of node's `file`.
pub(super) fn refuse_other(path: &Path, file: &str, who: &'static str) -> Result<(), DiskError> {
    if path.join(file).exists() {
        return Err(DiskError::OtherRole(path.display().to_string(), who));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_system_says_what_to_do() {
        // As Linux numbers them: no space, too large, read-only, not permitted, and another.
        for (number, advice) in [
            (28, "make room there"),
            (27, "raise the limit on the size of files"),
            (30, "mount it to be written"),
            (13, "let this user read and write there"),
            (5, "mend that, or choose another directory"),
        ] {
            let error = io::Error::from_raw_os_error(number);
            let said = DiskError::Io("data".to_owned(), error).to_string();
            let wanted = format!("(os error {number}); {advice}");
            assert!(said.starts_with("data: ") && said.contains(&wanted), "{said}");
        }
    }
}
