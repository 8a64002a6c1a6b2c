//! Drives a machine over TCP: one thread per node, one connection task per socket.
//!
//! A table of contents. [`Node`] runs a view leader or a server; [`BlockingClient`] is what a
//! program calls. What a frame means is not known here; see [`crate::core`].

mod blocking;
mod client;
mod connection;
mod dial;
mod driver;
mod exchange;
mod frames;
mod hold;
mod hosts;
mod limits;
mod listener;
mod node;
mod notes;
mod peer;

pub use client::{BlockingClient, ClientError, ClientOptions, StopCheck};
pub use hosts::{SERVER_PORTS, VIEWLEADER_PORTS};
pub use limits::Limits;
pub use node::{LeaderOptions, Listener, Node, NodeOptions, ServerOptions};

use crate::core::wire::text::Text;

/// The reply that says what is wrong, as every client of the original understands it.
pub(crate) fn error_reply(why: &str) -> Vec<u8> {
    format!(r#"{{"error": {}}}"#, Text::from(why).to_json()).into_bytes()
}
