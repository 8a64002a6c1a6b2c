//! Drives the machines of [`crate::core`] in virtual time over a simulated network.
