//! The view leader's machine.

use super::machine::{Input, Machine, Millis, Output};

/// A view leader's options.
#[derive(Debug, Clone)]
pub struct LeaderConfig {
    /// How long a server is believed alive after its last heartbeat.
    pub lease_ms: Millis,
    /// How long to wait before something that failed is tried again.
    pub retry_ms: Millis,
    /// After how long a range whose holders merely stay silent starts again empty; `None`: never.
    pub give_up_after_ms: Option<Millis>,
    /// The host that others reach servers on the leader's own host by; `None`: the leader's address
    /// as each asker sees it.
    pub advertise: Option<String>,
}

impl Default for LeaderConfig {
    fn default() -> Self {
        LeaderConfig { lease_ms: 30_000, retry_ms: 500, give_up_after_ms: None, advertise: None }
    }
}

/// The view leader; see the module's text.
#[derive(Debug)]
pub struct Leader {
    _config: LeaderConfig,
}

impl Leader {
    /// A leader that knows no server yet.
    pub fn new(config: LeaderConfig) -> Self {
        Leader { _config: config }
    }
}

impl Machine for Leader {
    fn handle(&mut self, _now: Millis, _input: Input, _out: &mut Vec<Output>) {}

    fn deadline(&self) -> Option<Millis> {
        None
    }
}
