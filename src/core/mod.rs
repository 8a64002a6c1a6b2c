//! The protocol, as pure state machines: time and events in, effects out.
//!
//! A table of contents. Nothing in here knows tokio, pyo3, a clock or a socket; collections that
//! are iterated are ordered, so the same inputs always give the same outputs.

pub mod assignment;
pub mod client;
pub mod hash;
pub mod leader;
pub mod machine;
pub mod moves;
pub mod net_addr;
pub mod planted;
pub mod record_log;
pub mod reply;
pub mod ring;
pub mod server;
pub mod wire;
