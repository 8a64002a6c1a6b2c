//! A distributed hash table with one pure protocol core and many drivers.
//!
//! The view leader, the storage servers and the client are state machines in [`core`]: they take
//! the time and an event and return effects, and never touch a clock, a socket or a global random
//! generator. [`sim`] drives them in virtual time, [`net`] over TCP, and `py` offers the result to
//! Python. `docs/architecture.md` tells how the parts fit, `docs/protocol.md` what they say to one
//! another.

pub mod core;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "python")]
mod py;
pub mod sim;
