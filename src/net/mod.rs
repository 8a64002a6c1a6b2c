//! Drives a machine over TCP: one thread per node, one connection task per socket.
//!
//! A table of contents. [`Node`] runs a view leader or a server; [`BlockingClient`] is what a
//! program calls, and [`Remote`] what it asks for many things at once. What a frame means is not known here; see [`crate::core`].

mod alarm;
mod batches;
mod blocking;
mod calls;
mod client;
mod connection;
mod dial;
mod directory;
mod disk;
mod driver;
mod engine;
mod exchange;
mod frames;
mod gather;
mod heap;
mod hold;
mod hosts;
pub mod inspect;
mod limits;
mod line;
mod listener;
mod node;
mod notes;
mod peer;
mod pool;
mod remote;
mod runtime;
mod sending;
mod session;
mod store;
mod turn;
mod writer;

pub use client::{BlockingClient, ClientError, ClientOptions, StopCheck};
pub use directory::{DiskError, FSYNC_INTERVAL_MS_MAX, Fsync, FsyncError};
pub use disk::FILE as RECORD_FILE;
pub use engine::Engine;
pub use heap::use_large_pages;
pub use hosts::{SERVER_PORTS, VIEWLEADER_PORTS};
pub use limits::Limits;
pub use node::{Failure, LeaderOptions, Listener, Node, NodeOptions, ServerOptions};
pub use remote::{Answer, Done, Party, Remote, Ticket, Work};
pub use store::FILE as DATA_FILE;
pub use store::header::HeaderError;

use crate::core::wire::text::Text;

/// The reply that says what is wrong, as every client of the original understands it.
pub(crate) fn error_reply(why: &str) -> Vec<u8> {
    format!(r#"{{"error": {}}}"#, Text::from(why).to_json()).into_bytes()
}
