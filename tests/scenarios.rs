//! Scripted scenarios: `tests/scenarios/*.txt` hold commands and what they print, and every file is
//! run on a simulated ring of the real machines.
//!
//! ```text
//! # Why this is looked at.
//! spawn server s1 seed=1
//! settle
//! ----
//! settled
//! ```
//!
//! A block is one or more commands, `----`, and their output up to an empty line. `#` begins a
//! remark. `REWRITE=1 cargo test --test scenarios` writes what is printed now into the files: read
//! the difference and keep it only if you understand every line.
//!
//! Commands (times in ms unless `s` is said; a ring has one view leader, named `leader`):
//!
//! - `spawn leader [lease=SECONDS] [give_up=SECONDS] [record=1]`, `spawn server NAME [seed=N] [port=N]
//!   [heartbeat=SECONDS] [disk=1]`, `spawn client NAME`; `kill NAME`, `pause NAME`, `resume NAME`;
//!   `leave NAME`: asks a server to leave, and waits until it has; `ask-to-leave NAME` does not
//!   wait; `left NAME` says whether it has
//! - `cut NAME NAME`, `mend`, `latency MIN MAX`: what the network does
//! - `advance MS`; `settle`: let time pass until the ring is settled
//! - `send NAME [from=IP] JSON`: a request as an original client makes it, and its reply
//! - `heartbeat IP PORT REQUESTOR`: one from a host where nobody listens
//! - `view`: epoch and servers in ring order; `where KEY`: who answers a plain `get` for it
//! - `setr CLIENT KEY VALUE`, `getr CLIENT KEY`; `fill CLIENT N`: store N keys; `check CLIENT N`:
//!   every one of them is on its three servers and nowhere else, and reads back
//! - `notes NAME`: what a node has said since it was last asked

#[path = "common/ring_view.rs"]
mod ring_view;
#[path = "common/script.rs"]
mod script;
#[path = "common/twin.rs"]
mod twin;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use script::Stage;

/// Runs a file; returns what it should be.
fn play(path: &Path) -> (String, String) {
    let text = std::fs::read_to_string(path).expect("a scenario can be read");
    let (mut stage, mut played) = (Stage::new(), String::new());
    let mut lines = text.lines().peekable();
    while lines.peek().is_some() {
        let mut output = String::new();
        while let Some(line) = lines.next_if(|line| *line != "----") {
            let _ = writeln!(played, "{line}");
            if !line.is_empty() && !line.starts_with('#') {
                output += &stage.run(line);
            }
        }
        if lines.next().is_none() {
            assert_eq!(output, "", "{}: the last output has no ----", path.display());
            break;
        }
        played += "----\n";
        played += &output;
        while lines.next_if(|line| !line.is_empty()).is_some() {}
    }
    (text, played)
}

#[test]
fn scenarios_print_what_they_should() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(&folder).expect("tests/scenarios is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    // SCENARIO=locks runs one file alone.
    let only = std::env::var("SCENARIO").ok();
    paths.retain(|path| only.as_ref().is_none_or(|name| path.file_stem() == Some(name.as_ref())));
    paths.sort();
    assert!(!paths.is_empty());
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut wrong = String::new();
    for path in paths {
        let (written, played) = play(&path);
        if written != played && rewrite {
            std::fs::write(&path, &played).expect("a scenario can be written");
        } else if written != played {
            let _ = writeln!(wrong, "{}:\n{}", path.display(), difference(&written, &played));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The first lines that differ.
fn difference(written: &str, played: &str) -> String {
    let same = written.lines().zip(played.lines()).take_while(|(one, other)| one == other).count();
    let rest = |text: &str, sign: &str| -> String {
        let lines = text.lines().skip(same).take(6);
        lines.map(|line| format!("  {sign} {line}\n")).collect()
    };
    format!("from line {}\n{}{}", same + 1, rest(written, "-"), rest(played, "+"))
}
