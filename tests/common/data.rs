//! Reads the data files that several test programs share.

use std::path::PathBuf;

/// The lines of a file in `tests/data`, split at tabs; `#` begins a remark.
pub(crate) fn read_data(name: &str) -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(|line| line.split('\t').map(String::from).collect()).collect()
}

/// The bytes that a data file shows with `%XX` for what is not printable.
pub(crate) fn unescape(shown: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        out.push(u8::from_str_radix(&after[..2], 16).expect("two hex digits after %"));
        rest = &after[2..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
