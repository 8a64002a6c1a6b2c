//! What the ring's operations came to, as Python values.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use super::errors::from_client;
use crate::core::client::{Op, OpError, Outcome};
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;
use crate::net::ClientError;

/// What became of operations, in their order: a list of addresses, a JSON text, `None`, or an
/// exception that was not raised.
pub(super) fn from_ops(
    py: Python<'_>,
    ends: Vec<Result<Outcome, OpError>>,
) -> PyResult<Vec<Py<PyAny>>> {
    ends.into_iter()
        .map(|end| match end {
            Ok(Outcome::Written { servers }) => Ok(servers.into_pyobject(py)?.unbind()),
            Ok(Outcome::Value(value)) => Ok(value.as_str().into_pyobject(py)?.into_any().unbind()),
            Ok(Outcome::NotFound) => Ok(py.None()),
            Err(error) => {
                let error = from_client(&ClientError::Op(error));
                Ok(error.into_value(py).into_any())
            }
        })
        .collect()
}

/// Writes of JSON texts under JSON strings.
pub(super) fn writes(pairs: &[(PyBackedStr, PyBackedStr)]) -> PyResult<Vec<Op>> {
    let write = |(key, value): &(PyBackedStr, PyBackedStr)| {
        Ok(Op::Write { key: parse_key(key)?, value: parse(value)? })
    };
    pairs.iter().map(write).collect()
}

/// Reads of JSON strings.
pub(super) fn reads(keys: &[PyBackedStr]) -> PyResult<Vec<Op>> {
    keys.iter().map(|key| Ok(Op::Read { key: parse_key(key)? })).collect()
}

/// Checks a JSON text.
pub(super) fn parse(text: &str) -> PyResult<Json> {
    Json::parse(text.as_bytes())
        .map_err(|error| PyValueError::new_err(format!("not a JSON text: {error}")))
}

/// Checks a name.
pub(super) fn parse_key(text: &str) -> PyResult<Text> {
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if let Some(name) = plain.filter(|name| name.bytes().all(is_plain)) {
        return Ok(Text::from(name)); // as most names are: there is nothing to decode
    }
    parse(text)?.to_text().ok_or_else(|| PyValueError::new_err("the key is not a JSON string"))
}

/// A reply with what is not ASCII escaped.
pub(super) fn to_ascii(reply: &[u8]) -> PyResult<String> {
    Ok(parse(&String::from_utf8_lossy(reply))?.as_str().to_owned())
}
