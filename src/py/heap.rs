//! The heap of a process that is a server.

use pyo3::prelude::*;

use crate::net;

/// Has the heap of this process grow in large pages.
#[pyfunction]
#[pyo3(signature = ())]
pub(super) fn use_large_pages() {
    net::use_large_pages();
}
