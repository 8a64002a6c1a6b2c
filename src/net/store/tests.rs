//! Directories of servers: what is written is found, and what cannot be used stays as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::core::server::data::Local;
use crate::core::wire::json::Json;

/// A directory of a test's own, removed at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dht-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Temporary(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn open(&self) -> Result<Store, DiskError> {
        Store::open(&self.0)
    }

    /// Opens it, and lets `act` write.
    fn write(&self, act: impl FnOnce(&mut Store)) {
        let mut store = self.open().unwrap();
        store.release().unwrap();
        act(&mut store);
    }

    /// The names of its rows.
    fn names(&self) -> Result<Vec<String>, DiskError> {
        let store = self.open()?;
        store.with_rows(|rows| {
            rows.map(|row| match row {
                Row::Local(name, _) => name.as_str().unwrap().to_owned(),
                other => panic!("{other:?} was never written"),
            })
            .collect()
        })
    }

    /// All files and their bytes.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn row(name: &str) -> (Vec<u8>, Vec<u8>) {
    let value = Json::parse(b"\"some value that takes room\"").unwrap();
    Row::Local(name.into(), Local { value, overtaken: false, without_ring: false }).encode()
}

fn put(name: &str) -> Edit {
    let (key, value) = row(name);
    Edit::Put { key, value }
}

fn names(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|number| format!("name{number:05}")).collect()
}

fn puts(names: &[String]) -> Vec<Edit> {
    names.iter().map(|name| put(name)).collect()
}

#[test]
fn what_was_written_is_found() {
    let at = Temporary::new("found");
    at.write(|store| {
        store.write(vec![puts(&names(0..300)), puts(&names(300..301))]).unwrap();
        let (start, end) = (row("name00010").0, row("name00290").0);
        let gone = row("name00300").0;
        let edits = vec![Edit::RemoveRange { start, end }, Edit::Remove { key: gone }];
        store.write(vec![edits]).unwrap();
        store.write(vec![puts(&names(20..21))]).unwrap();
        store.sync().unwrap();
    });
    for _ in 0..2 {
        assert_eq!(at.names().unwrap(), names((0..10).chain(20..21).chain(290..300)));
        at.write(|_| {});
    }
}

#[test]
fn a_long_log_goes_to_the_engine() {
    let at = Temporary::new("long");
    at.write(|store| {
        for round in 0..24 {
            store.write(vec![puts(&names(round * 4_000..(round + 1) * 4_000))]).unwrap();
        }
        assert!(store.log.as_ref().unwrap().bytes < LOG_BYTES_MAX);
        assert!(store.applied().unwrap() > 10);
    });
    assert_eq!(at.names().unwrap(), names(0..96_000));
}

#[test]
fn a_log_that_the_engine_has_already_is_not_taken_twice() {
    let at = Temporary::new("twice");
    at.write(|store| store.write(vec![puts(&names(0..10))]).unwrap());
    let log = at.0.join(LOG_FILE);
    let old = fs::read(&log).unwrap();
    at.write(|_| {});
    assert_eq!(fs::read(&log).unwrap().len(), FILE_HEADER_BYTES);
    at.write(|store| {
        let gone = Edit::Remove { key: row("name00003").0 };
        store.write(vec![vec![gone]]).unwrap();
    });
    let wanted = names((0..3).chain(4..10));
    assert_eq!(at.names().unwrap(), wanted);
    at.write(|_| {});
    // As a crash leaves it before the log begins anew.
    fs::write(&log, &old).unwrap();
    assert_eq!(at.names().unwrap(), wanted);
    fs::write(&log, &old[..old.len() - 1]).unwrap();
    assert_eq!(at.names().unwrap(), wanted);
}

#[test]
fn a_log_with_a_gap_or_alone_is_damage() {
    let at = Temporary::new("gap");
    at.write(|store| {
        for name in names(0..3) {
            store.write(vec![vec![put(&name)]]).unwrap();
        }
    });
    let log = at.0.join(LOG_FILE);
    let whole = fs::read(&log).unwrap();
    let frame = (whole.len() - FILE_HEADER_BYTES) / 3;
    let cut = |from: usize, to: usize| {
        let (from, to) = (FILE_HEADER_BYTES + from * frame, FILE_HEADER_BYTES + to * frame);
        [&whole[..from], &whole[to..]].concat()
    };
    for (bytes, names_left) in [(cut(2, 3), 0..2), (cut(0, 3), 0..0)] {
        fs::write(&log, bytes).unwrap();
        assert_eq!(at.names().unwrap(), names(names_left), "a torn end");
    }
    for bytes in [cut(0, 1), cut(1, 2)] {
        fs::write(&log, bytes).unwrap();
        assert!(at.names().unwrap_err().to_string().contains("does not go on"));
    }
    fs::write(&log, [b"x", &whole[1..]].concat()).unwrap();
    let foreign = at.names().unwrap_err().to_string();
    assert!(foreign.contains("no log of a server") && !foreign.contains("leader"), "{foreign}");
    fs::write(&log, &whole).unwrap();
    fs::rename(at.file(), at.0.join("elsewhere")).unwrap();
    assert!(at.names().unwrap_err().to_string().contains("server.data: the file is missing"));
    fs::rename(at.0.join("elsewhere"), at.file()).unwrap();
    fs::remove_file(&log).unwrap();
    assert!(at.names().unwrap_err().to_string().contains("server.log: the file is missing"));
}

#[test]
fn opening_changes_nothing_before_it_is_released() {
    let at = Temporary::new("untouched");
    at.write(|store| store.write(vec![puts(&names(0..5_000))]).unwrap());
    let before = at.content();
    for _ in 0..2 {
        let mut store = at.open().unwrap();
        assert!(store.backing.held_bytes() > 0);
        assert!(store.write(vec![puts(&names(0..1))]).is_err());
        assert_eq!(at.content(), before, "what is held back is not in the file");
        drop(store);
        assert_eq!(at.content(), before);
    }
    at.write(|store| store.write(vec![puts(&names(5_000..5_010))]).unwrap());
    assert_ne!(at.content()[&at.file()], before[&at.file()]);
    assert_eq!(at.names().unwrap(), names(0..5_010), "what was held back comes first");
}

#[test]
fn what_is_damaged_is_said_and_stays() {
    let at = Temporary::new("damaged");
    at.write(|store| store.write(vec![puts(&names(0..400))]).unwrap());
    at.write(|_| {});
    let sound = fs::read(at.file()).unwrap();
    let wanted = at.names().unwrap();
    let mut noticed = 0;
    for position in (0..sound.len()).step_by(997).filter(|position| sound[*position] != 0) {
        let mut damaged = sound.clone();
        damaged[position] ^= 1;
        fs::write(at.file(), &damaged).unwrap();
        match at.names() {
            // Not every page is in use.
            Ok(names) => assert_eq!(names, wanted, "byte {position}"),
            Err(error) => {
                noticed += 1;
                let text = error.to_string();
                assert!(text.contains("damaged") || text.contains("no server's"), "{text}");
                assert!(text.contains("nothing was changed") && !text.contains('\n'), "{text}");
            }
        }
        assert_eq!(fs::read(at.file()).unwrap(), damaged, "byte {position}");
    }
    assert!(noticed > 5, "{noticed} were noticed");
    for length in [0, 10, HEADER_BYTES as usize, HEADER_BYTES as usize + 100, sound.len() / 2] {
        fs::write(at.file(), &sound[..length]).unwrap();
        let error = at.names().unwrap_err().to_string();
        assert!(error.contains("nothing was changed"), "{length}: {error}");
        assert_eq!(fs::read(at.file()).unwrap(), &sound[..length]);
    }
}

#[test]
fn a_row_that_cannot_be_is_said() {
    let at = Temporary::new("senseless");
    let bad = Edit::Put { key: vec![99], value: vec![] };
    at.write(|store| store.write(vec![vec![bad]]).unwrap());
    let error = at.names().unwrap_err().to_string();
    assert!(error.contains("its kind of a row cannot be"), "{error}");
}

#[test]
fn a_file_is_complete_before_it_has_its_name() {
    let at = Temporary::new("torn");
    fs::create_dir_all(&at.0).unwrap();
    fs::write(at.0.join(NEW_FILE), b"half of a header").unwrap();
    at.write(|store| store.write(vec![puts(&names(0..3))]).unwrap());
    assert_eq!(at.names().unwrap(), names(0..3));
    assert_eq!(at.content().into_keys().collect::<Vec<_>>(), [at.file(), at.0.join(LOG_FILE)]);
}

#[test]
fn a_directory_has_one_owner_of_one_kind() {
    let at = Temporary::new("owner");
    let first = at.open().unwrap();
    assert!(at.open().unwrap_err().to_string().contains("in use by another process"));
    drop(first);
    at.open().unwrap();
    fs::rename(at.file(), at.0.join(disk::FILE)).unwrap();
    assert!(at.open().unwrap_err().to_string().contains("belongs to a view leader"));
}
