//! Hashing and placement.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::core::hash::{SLOT_COUNT, Slot, slot_of};
use crate::core::ring::Ring;

/// The slot of a name, 0 to 9999. A lone surrogate counts with the bytes of `surrogatepass`.
#[pyfunction]
#[pyo3(signature = (name))]
pub(super) fn hash_key(name: &Bound<'_, PyString>) -> PyResult<Slot> {
    if let Ok(text) = name.to_str() {
        return Ok(slot_of(text.as_bytes()));
    }
    let bytes = name.call_method1("encode", ("utf-8", "surrogatepass"))?;
    Ok(slot_of(bytes.extract()?))
}

/// The addresses of the servers that hold a slot, primary first, of `(address, position)` pairs.
#[pyfunction]
#[pyo3(signature = (servers, slot))]
pub(super) fn ring_replicas(servers: Vec<(String, Slot)>, slot: Slot) -> PyResult<Vec<String>> {
    let positions = servers.iter().map(|(_, position)| *position);
    if let Some(wrong) = positions.chain([slot]).find(|slot| *slot >= SLOT_COUNT) {
        return Err(PyValueError::new_err(format!("{wrong} is not in 0..{SLOT_COUNT}")));
    }
    Ok(Ring::new(servers).replicas(slot))
}
