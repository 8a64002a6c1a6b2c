//! The checker of histories.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::sim::history::History;
use crate::sim::linearize::{Verdict, check_within};

/// Judges a history of one event a line: its number of operations, a verdict, and why.
#[pyfunction]
#[pyo3(signature = (lines, steps_max = 2_000_000))]
pub(super) fn judge_history(
    py: Python<'_>,
    lines: &str,
    steps_max: u64,
) -> PyResult<(usize, &'static str, String)> {
    py.detach(|| {
        let history = History::from_json_lines(lines).map_err(|error| error.to_string())?;
        let (verdict, why) = match check_within(&history, steps_max) {
            Verdict::Linearizable => ("linearizable", String::new()),
            Verdict::Violation(violation) => ("violation", violation.to_string()),
            Verdict::Undecided { keys } => {
                ("undecided", format!("{steps_max} steps did not settle {keys:?}"))
            }
        };
        Ok((history.len(), verdict, why))
    })
    .map_err(|why: String| PyValueError::new_err(why))
}
