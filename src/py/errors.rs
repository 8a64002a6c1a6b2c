//! Errors as Python sees them.

use std::io;

use pyo3::create_exception;
use pyo3::exceptions::{PyConnectionError, PyException, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::core::client::OpError;
use crate::net::ClientError;

create_exception!(dht, DhtError, PyException, "Base of what can go wrong with the ring.");
create_exception!(dht, NoViewLeader, DhtError, "Did not happen: no view leader answered.");
create_exception!(dht, NoServers, DhtError, "Did not happen: the view has no server.");
create_exception!(dht, Busy, DhtError, "Did not happen: somebody else writes this key.");
create_exception!(dht, WrongEpoch, DhtError, "Did not happen: a server voted in another epoch.");
create_exception!(dht, NotDone, DhtError, "Did not happen: nobody could serve it in time.");
create_exception!(dht, MessageTooLarge, DhtError, "Did not happen: a message is over the limit.");
create_exception!(dht, OutcomeUnknown, DhtError, "May have happened: no answer came in time.");

/// The exception for a failed call of the client.
pub(super) fn from_client(error: &ClientError) -> PyErr {
    let text = error.to_string();
    match error {
        ClientError::Interrupted => PyRuntimeError::new_err(text),
        ClientError::Closed => PyValueError::new_err(text),
        ClientError::TooLarge { .. } => MessageTooLarge::new_err(text),
        ClientError::Unreachable(_) => PyConnectionError::new_err(text),
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

/// The exception for a node that cannot start: `ValueError` for an address of a wrong form, else
/// the `OSError` for a port that cannot be listened on, with the system's `errno`.
pub(super) fn from_listen(error: &io::Error, bind: &str, port: u16) -> PyErr {
    if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() {
        return PyValueError::new_err(error.to_string());
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
