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
        Store::open(&self.0, Fsync::Always)
    }

    /// Opens it, and lets `act` write.
    fn write(&self, fsync: Fsync, act: impl FnOnce(&mut Store)) {
        let mut store = Store::open(&self.0, fsync).unwrap();
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
    for fsync in [Fsync::Always, Fsync::Never, Fsync::Interval(std::time::Duration::from_secs(9))] {
        let at = Temporary::new("found");
        at.write(fsync, |store| {
            store.write(vec![puts(&names(0..300)), puts(&names(300..301))]).unwrap();
            let (start, end) = (row("name00010").0, row("name00290").0);
            let gone = row("name00300").0;
            let edits = vec![Edit::RemoveRange { start, end }, Edit::Remove { key: gone }];
            store.write(vec![edits]).unwrap();
            store.sync().unwrap();
        });
        assert_eq!(at.names().unwrap(), names((0..10).chain(290..300)));
    }
}

#[test]
fn opening_changes_nothing_before_it_is_released() {
    let at = Temporary::new("untouched");
    at.write(Fsync::Always, |store| store.write(vec![puts(&names(0..500))]).unwrap());
    let before = at.content();
    for _ in 0..2 {
        let mut store = at.open().unwrap();
        store.write(vec![puts(&names(500..3_000))]).unwrap();
        assert_eq!(at.content(), before, "what is held back is not in the file");
        drop(store);
        assert_eq!(at.content(), before);
    }
    let mut store = at.open().unwrap();
    store.write(vec![puts(&names(500..3_000))]).unwrap();
    store.release().unwrap();
    store.write(vec![puts(&names(3_000..3_010))]).unwrap();
    drop(store);
    assert_eq!(at.names().unwrap(), names(0..3_010), "what was held back comes first");
}

#[test]
fn what_is_damaged_is_said_and_stays() {
    let at = Temporary::new("damaged");
    at.write(Fsync::Always, |store| store.write(vec![puts(&names(0..400))]).unwrap());
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
    at.write(Fsync::Always, |store| store.write(vec![vec![bad]]).unwrap());
    let error = at.names().unwrap_err().to_string();
    assert!(error.contains("its kind of a row cannot be"), "{error}");
}

#[test]
fn a_file_is_complete_before_it_has_its_name() {
    let at = Temporary::new("torn");
    fs::create_dir_all(&at.0).unwrap();
    fs::write(at.0.join(NEW_FILE), b"half of a header").unwrap();
    at.write(Fsync::Always, |store| store.write(vec![puts(&names(0..3))]).unwrap());
    assert_eq!(at.names().unwrap(), names(0..3));
    assert_eq!(at.content().into_keys().collect::<Vec<_>>(), [at.file()]);
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
