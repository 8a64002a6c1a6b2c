//! JSON texts as Python values.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyType};

use super::results::parse;
use crate::core::wire::json::Json;

/// The longest integer that Python is asked to convert; its own limit is 4,300 digits by default.
const DIGITS_MAX: usize = 4_000;

/// Returns what `json.loads` gives of a text, with integers that are too long for it as
/// `dht._json.Digits`. It costs less than `json.loads`, which needs a decoder of its own for that,
/// and no import of `json`.
#[pyfunction]
#[pyo3(signature = (text))]
pub(super) fn read_json<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let json = parse(text)?;
    Reader { py, text: json.as_str(), at: 0 }.read()
}

/// What is being filled, innermost last: no nesting can exhaust the stack.
enum Open<'py> {
    List(Bound<'py, PyList>),
    Dict(Bound<'py, PyDict>, Bound<'py, PyString>),
}

/// Reads a text that was checked, so what stands at a place can be told by its first byte.
struct Reader<'py, 'a> {
    py: Python<'py>,
    text: &'a str,
    at: usize,
}

impl<'py> Reader<'py, '_> {
    fn read(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let mut open = Vec::new();
        loop {
            let mut value = match self.peek() {
                b'[' => {
                    let list = PyList::empty(self.py);
                    if !self.opens_empty(b']') {
                        open.push(Open::List(list));
                        continue;
                    }
                    list.into_any()
                }
                b'{' => {
                    let dict = PyDict::new(self.py);
                    if !self.opens_empty(b'}') {
                        let name = self.name()?;
                        open.push(Open::Dict(dict, name));
                        continue;
                    }
                    dict.into_any()
                }
                b'"' => self.string()?.into_any(),
                _ => self.atom()?,
            };
            // A value has ended: close what it closes, or go on to its neighbour.
            loop {
                match open.pop() {
                    None => return Ok(value),
                    Some(Open::List(list)) => {
                        list.append(value)?;
                        if self.skips_comma() {
                            open.push(Open::List(list));
                            break;
                        }
                        value = list.into_any();
                    }
                    Some(Open::Dict(dict, name)) => {
                        dict.set_item(name, value)?;
                        if self.skips_comma() {
                            let name = self.name()?;
                            open.push(Open::Dict(dict, name));
                            break;
                        }
                        value = dict.into_any();
                    }
                }
            }
        }
    }

    /// The byte that comes next, white space aside; 0 at the end.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(|byte| space(byte)).count();
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Steps over what opens an array or an object; whether it is closed again at once.
    fn opens_empty(&mut self, closer: u8) -> bool {
        self.at += 1;
        let empty = self.peek() == closer;
        self.at += usize::from(empty);
        empty
    }

    /// Steps over a comma, or over what closes; whether it was a comma.
    fn skips_comma(&mut self) -> bool {
        let comma = self.peek() == b',';
        self.at += 1;
        comma
    }

    /// A field's name and the colon after it.
    fn name(&mut self) -> PyResult<Bound<'py, PyString>> {
        self.peek();
        let name = self.string()?;
        self.peek();
        self.at += 1;
        Ok(name)
    }

    fn string(&mut self) -> PyResult<Bound<'py, PyString>> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        loop {
            let stops = |byte: &u8| matches!(byte, b'"' | b'\\');
            end +=
                bytes.get(end..).and_then(|rest| rest.iter().position(stops)).ok_or_else(broken)?;
            if bytes[end] == b'"' {
                break;
            }
            end += 2;
        }
        self.at = end + 1;
        let inner = &self.text[start + 1..end];
        if !inner.contains('\\') {
            return Ok(PyString::new(self.py, inner));
        }
        let text = Json::parse(&bytes[start..=end]).ok().and_then(|json| json.to_text());
        let text = PyBytes::new(self.py, text.ok_or_else(broken)?.as_bytes());
        PyString::from_encoded_object(&text, Some(c"utf-8"), Some(c"surrogatepass"))
    }

    /// A number or a literal.
    fn atom(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let ends = |char: char| matches!(char, ',' | ']' | '}' | ' ' | '\t' | '\n' | '\r');
        let rest = &self.text[self.at..];
        let text = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += text.len();
        match text {
            "null" => return Ok(self.py.None().into_bound(self.py)),
            "true" | "false" => {
                return Ok(PyBool::new(self.py, text == "true").to_owned().into_any());
            }
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(number.into_pyobject(self.py)?.into_any());
        }
        if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E' | b'N' | b'I')) {
            // Both round correctly; `inf` and `NaN` are words of both.
            let number = text.parse::<f64>().map_err(|_| broken())?;
            return Ok(PyFloat::new(self.py, number).into_any());
        }
        if text.len() > DIGITS_MAX {
            return digits(self.py)?.call1((text,));
        }
        self.py.get_type::<PyInt>().call1((text,))
    }
}

/// The class of integers that Python does not convert.
fn digits(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DIGITS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DIGITS.import(py, "dht._json", "Digits")
}

fn broken() -> PyErr {
    PyValueError::new_err("not a JSON text")
}
