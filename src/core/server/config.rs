//! The options of a storage server.

use super::store;
use crate::core::machine::Millis;

/// A storage server's options.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The port that the server listens on.
    pub port: u16,
    /// The `host` or `host:port` that others reach this server by; `None`: as the leader sees it.
    pub advertise: Option<String>,
    /// How often the lease is renewed.
    pub heartbeat_ms: Millis,
    /// How long a vote of the original's two-phase commit reserves a key.
    pub reservation_ms: Millis,
    /// How long to wait before a message that was not acknowledged is sent again.
    pub retry_ms: Millis,
    /// How many requests a slot remembers, so that a retry is answered and not executed again; and
    /// as many of those whose retry was executed. Fewer: more retries end in doubt.
    pub requests_remembered: usize,
    /// How many bytes of names and values go into one part of a slot that another server is given, but
    /// for one that is larger alone.
    pub part_bytes_max: usize,
    /// How many bytes per second are given to joiners while clients work, to all of them together;
    /// 0: as many as it can.
    pub transfer_bytes_per_s: u64,
    /// The seed of the server's identity and of all else that it draws.
    pub seed: u64,
    /// Whether notes about single requests are left out, `print` excepted.
    pub quiet: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            port: 0,
            advertise: None,
            heartbeat_ms: 10_000,
            reservation_ms: 10_000,
            retry_ms: 500,
            requests_remembered: store::REQUESTS_REMEMBERED,
            part_bytes_max: 256 * 1024,
            transfer_bytes_per_s: 16 * 1024 * 1024,
            seed: 0,
            quiet: false,
        }
    }
}
