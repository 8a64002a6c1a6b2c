//! The lock `rebalancing` shows a rebalance: nobody is granted it while keys move.

use super::world::{LEADER, World};

/// In how many of 100 steps somebody asks for it.
const ASKS_PERCENT: u64 = 3;

impl World {
    /// Asks for the lock now and then, and gives it back, or the place in its queue.
    pub(super) fn look_at_rebalancing(&mut self) -> Result<(), String> {
        if !self.rng.chance(ASKS_PERCENT) || self.cluster.is_paused(LEADER) {
            return Ok(());
        }
        let Some(view) = self.view() else {
            return Ok(());
        };
        let mut ask = |cmd: &str| {
            let lock = r#""lockid": "rebalancing", "requestor": "somebody""#;
            self.cluster.peek(LEADER, &format!(r#"{{"cmd": "{cmd}", {lock}}}"#)).unwrap_or_default()
        };
        let granted = ask("lock_get").contains("granted");
        ask("lock_release");
        if granted && !view.assignment.settled {
            return Err("the lock rebalancing is granted while keys move".to_string());
        }
        Ok(())
    }
}
