//! Directories that no node uses, looked at.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::core::wire::json::Object;
use crate::net::DiskError;
use crate::net::inspect::{Contents, export, inspect};

/// How many lines Python is given at once.
const LINES_AT_ONCE: usize = 1_000;

/// Says what is in a directory, and changes nothing there.
#[pyfunction]
#[pyo3(signature = (path))]
pub(super) fn check_data<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyDict>> {
    let contents = py.detach(|| inspect(&path)).map_err(|error| unusable(&error))?;
    let facts = PyDict::new(py);
    match contents {
        Contents::Server(server) => {
            let ranges: Vec<(u16, u16, u64)> =
                server.holds.iter().map(|hold| (hold.start, hold.end, hold.revision)).collect();
            facts.set_item("role", "server")?;
            facts.set_item("version", server.version)?;
            facts.set_item("identity", server.id.map(|id| id.to_string()))?;
            facts.set_item("earlier_identities", server.earlier_ids)?;
            facts.set_item("epoch", server.epoch)?;
            facts.set_item("ranges", ranges)?;
            facts.set_item("keys", server.keys)?;
            facts.set_item("key_bytes", server.key_bytes)?;
            facts.set_item("locals", server.locals)?;
            facts.set_item("local_bytes", server.local_bytes)?;
            facts.set_item("requests", server.requests)?;
            facts.set_item("torn_bytes", server.torn_bytes)?;
        }
        Contents::Leader(leader) => {
            let record = leader.record;
            facts.set_item("role", "view leader")?;
            facts.set_item("version", leader.version)?;
            facts.set_item("torn_bytes", leader.torn_bytes)?;
            facts.set_item("epoch", record.counts.epoch)?;
            facts.set_item("members", record.members.keys().collect::<Vec<_>>())?;
            facts.set_item("denied", record.denied.len())?;
            facts.set_item("locks", record.queues.len())?;
            facts.set_item("ranges", record.ranges.len())?;
        }
    }
    Ok(facts)
}

/// Gives the pairs of a server's directory to `write`, as lines of JSON.
#[pyfunction]
#[pyo3(signature = (path, write, *, local = false))]
pub(super) fn export_data(
    py: Python<'_>,
    path: PathBuf,
    write: &Bound<'_, PyAny>,
    local: bool,
) -> PyResult<()> {
    let write = write.clone().unbind();
    let mut lines = String::new();
    let mut waiting = 0;
    let mut failed = None;
    let mut give = |lines: &mut String, waiting: &mut usize| {
        *waiting = 0;
        let text = std::mem::take(lines);
        if failed.is_none() && !text.is_empty() {
            failed = Python::attach(|py| write.call1(py, (text,)).err());
        }
    };
    let exported = py.detach(|| {
        let done = export(&path, local, |name, value| {
            lines.push_str("{\"name\": ");
            name.write_json(&mut lines);
            lines.push_str(", \"value\": ");
            lines.push_str(value.as_str());
            lines.push_str("}\n");
            waiting += 1;
            if waiting == LINES_AT_ONCE {
                give(&mut lines, &mut waiting);
            }
        });
        give(&mut lines, &mut waiting);
        done
    });
    if let Some(error) = failed {
        return Err(error);
    }
    exported.map_err(|error| unusable(&error))
}

fn unusable(error: &DiskError) -> PyErr {
    PyOSError::new_err(error.to_string())
}

/// The name and the value of a line as [`export_data`] writes them, as JSON.
#[pyfunction]
#[pyo3(signature = (line))]
pub(super) fn read_pair(line: &str) -> PyResult<(String, String)> {
    let wanted = || PyValueError::new_err("not of the form {\"name\": STRING, \"value\": JSON}");
    let object = Object::parse(line.as_bytes()).map_err(|_| wanted())?;
    let name = object.text("name").ok_or_else(wanted)?;
    let value = object.json("value").ok_or_else(wanted)?;
    Ok((name.to_json(), value.as_str().to_owned()))
}
