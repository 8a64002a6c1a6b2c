//! The storage server's machine.

use super::machine::{Input, Machine, Millis, Output};

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
    /// The seed of the server's identity and of all else that it draws.
    pub seed: u64,
    /// Whether notes about single requests are left out.
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
            seed: 0,
            quiet: false,
        }
    }
}

/// A storage server; see the module's text.
#[derive(Debug)]
pub struct Server {
    _config: ServerConfig,
}

impl Server {
    /// A server that holds nothing and has an identity drawn from the seed.
    pub fn new(config: ServerConfig) -> Self {
        Server { _config: config }
    }
}

impl Machine for Server {
    fn handle(&mut self, _now: Millis, _input: Input, _out: &mut Vec<Output>) {}

    fn deadline(&self) -> Option<Millis> {
        None
    }
}
