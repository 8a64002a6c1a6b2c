//! Drives the machines of [`crate::core`] in virtual time over a simulated network.
//!
//! A table of contents. A [`Cluster`] runs a whole ring on one thread: a discrete-event queue takes
//! the place of clock and sockets, and one seed decides all that chance decides, so a seed run
//! twice gives the same [`Cluster::trace`]. Half a minute of lease takes microseconds.
//!
//! What the network does to a message is decided in [`Faults`], and nowhere else.

mod ask;
mod calls;
pub mod chaos;
mod clock;
mod cluster;
mod disk;
mod faults;
pub mod history;
mod inspect;
mod invariants;
mod lifecycle;
pub mod linearize;
mod network;
mod node;
mod outside;
#[cfg(feature = "planted")]
pub mod planted;
mod queue;
mod rng;
mod stored;
#[cfg(test)]
mod tests;
mod trace;

pub use ask::Ticket;
pub use cluster::Cluster;
pub use faults::Faults;
pub use invariants::{Broken, Expected};
pub use outside::Ran;
pub use rng::Rng;
