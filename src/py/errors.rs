//! Errors as Python sees them.

use std::io;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::core::client::OpError;
use crate::net::{ClientError, DiskError};

/// The package's own exceptions, which have several bases and are therefore classes of Python.
mod classes {
    pyo3::import_exception!(dht.errors, Busy);
    pyo3::import_exception!(dht.errors, DhtError);
    pyo3::import_exception!(dht.errors, MessageTooLarge);
    pyo3::import_exception!(dht.errors, NoServers);
    pyo3::import_exception!(dht.errors, NoViewLeader);
    pyo3::import_exception!(dht.errors, NotDone);
    pyo3::import_exception!(dht.errors, OutcomeUnknown);
    pyo3::import_exception!(dht.errors, ServerUnreachable);
    pyo3::import_exception!(dht.errors, WrongEpoch);
}

pub(super) use classes::{
    Busy, DhtError, MessageTooLarge, NoServers, NoViewLeader, NotDone, OutcomeUnknown,
    ServerUnreachable, WrongEpoch,
};

/// Makes the exceptions known in the native module too.
pub(super) fn export(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Busy", py.get_type::<Busy>())?;
    module.add("DhtError", py.get_type::<DhtError>())?;
    module.add("MessageTooLarge", py.get_type::<MessageTooLarge>())?;
    module.add("NoServers", py.get_type::<NoServers>())?;
    module.add("NoViewLeader", py.get_type::<NoViewLeader>())?;
    module.add("NotDone", py.get_type::<NotDone>())?;
    module.add("OutcomeUnknown", py.get_type::<OutcomeUnknown>())?;
    module.add("WrongEpoch", py.get_type::<WrongEpoch>())
}

/// The exception for a failed call of the client.
pub(super) fn from_client(error: &ClientError) -> PyErr {
    let text = with_arguments(&error.to_string());
    match error {
        ClientError::Interrupted => PyRuntimeError::new_err(text),
        ClientError::Closed => PyValueError::new_err(text),
        ClientError::TooLarge { .. } => MessageTooLarge::new_err(text),
        ClientError::Unreachable(_) => ServerUnreachable::new_err(text),
        ClientError::Unanswered(_) | ClientError::UnansweredRead(_) | ClientError::Abandoned => {
            OutcomeUnknown::new_err(text)
        }
        ClientError::Op(error) => match error {
            OpError::NoViewLeader(_) => NoViewLeader::new_err(text),
            OpError::NoServers => NoServers::new_err(text),
            OpError::Busy => Busy::new_err(text),
            OpError::WrongEpoch => WrongEpoch::new_err(text),
            OpError::NotDone(_) => NotDone::new_err(text),
            OpError::TooLarge(_) => MessageTooLarge::new_err(text),
            OpError::Unknown(_) => OutcomeUnknown::new_err(text),
        },
    }
}

/// The same text with the names of Python's arguments in place of the commands' options.
fn with_arguments(text: &str) -> String {
    text.replace("--viewleader", "`viewleader`")
        .replace("--max-message-size", "`message_bytes_max`")
}

/// The exception for a node that cannot start: `ValueError` for an address of a wrong form, else
/// the `OSError` for a port that cannot be listened on, with the system's `errno`.
pub(super) fn from_listen(error: &io::Error, bind: &str, port: u16) -> PyErr {
    if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() {
        return PyValueError::new_err(error.to_string());
    }
    if error.get_ref().is_some_and(|inner| inner.is::<DiskError>()) {
        return PyOSError::new_err(error.to_string());
    }
    let host = if bind.is_empty() { "any address" } else { bind };
    let why = error.to_string();
    match error.raw_os_error() {
        // Python chooses the subclass by the number, such as PermissionError, and shows it itself.
        Some(errno) => {
            let why = why.trim_end_matches(&format!(" (os error {errno})"));
            PyOSError::new_err((errno, format!("can't listen on port {port} of {host}: {why}")))
        }
        None => PyOSError::new_err(format!("can't listen on port {port} of {host}: {why}")),
    }
}
