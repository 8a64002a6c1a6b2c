//! Hashing of names.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::core::hash::{Slot, slot_of};

/// The slot of a name, 0 to 9999. A lone surrogate counts with the bytes of `surrogatepass`.
#[pyfunction]
#[pyo3(signature = (name))]
pub(super) fn hash_key(name: &Bound<'_, PyString>) -> PyResult<Slot> {
    Ok(slot_of(&bytes_of(name)?))
}

/// What is hashed of a name.
pub(super) fn bytes_of<'a>(name: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = name.to_str() {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let bytes = name.call_method1("encode", ("utf-8", "surrogatepass"))?;
    Ok(Cow::Owned(bytes.extract()?))
}
