//! Queues are bounded.
//!
//! Everything that peers or clients can make grow stays under the limit that the machine names for
//! it, and, where it is known how few ask, under what so few can fill: that shows what is never
//! emptied long before a limit is met. A limit of zero is a rule of its own: a server, which does not look
//! for a request that has the newest version, counts in builds with assertions where it should have.

use super::ring::Ring;
use super::{LeaderStep, Rule, ServerStep, Verdict};
use crate::core::server::audit::Fill;

/// `crowd` is how many may wait in any one queue at most.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) crowd: usize,
}

/// What is counted in bytes, and grows with the length of values.
const BYTES: &str = "bytes";

/// What grows with the ring, and not with those who ask.
const OF_THE_RING: [&str; 3] = ["ranges", "addresses", "absent servers"];

impl Bounds {
    fn judge(&self, name: &str, fills: &[Fill]) -> Verdict {
        for Fill { what, len, max } in fills {
            let crowded = *len > self.crowd && !what.starts_with(BYTES);
            if max.is_some_and(|max| *len > max) || (crowded && !OF_THE_RING.contains(what)) {
                return Err(format!("{name} has {len} {what}, limit {max:?}"));
            }
        }
        Ok(())
    }
}

impl Rule for Bounds {
    fn name(&self) -> &'static str {
        "queues are bounded"
    }

    fn server(&mut self, _: &Ring, step: &ServerStep<'_>) -> Verdict {
        self.judge(&step.after.name, &step.after.fills)
    }

    fn leader(&mut self, _: &Ring, step: &LeaderStep<'_>) -> Verdict {
        self.judge("the leader", &step.after.fills)
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{Play, fires, server};
    use super::*;

    fn filled(
        what: &'static str,
        len: usize,
        max: Option<usize>,
    ) -> crate::sim::invariants::facts::Server {
        let mut server = server("a", Vec::new());
        server.fills = vec![Fill { what, len, max }];
        server
    }

    #[test]
    fn a_queue_is_under_its_limit() {
        let mut play = Play::new(Bounds { crowd: 100 });
        play.shows(filled("requests parked", 10, Some(10))).unwrap();
        play.shows(filled("bytes of writes", 1_000, Some(2_000))).unwrap();
        play.shows(filled("calls", 100, None)).unwrap();
        play.shows(filled("addresses", 200, None)).unwrap();
    }

    #[test]
    fn a_queue_is_over_it() {
        let mut play = Play::new(Bounds { crowd: 100 });
        fires(play.shows(filled("requests parked", 11, Some(10))), "11 requests parked");
        fires(play.shows(filled("bytes of writes", 2_001, Some(2_000))), "2001 bytes");
        fires(play.shows(filled("calls", 101, None)), "101 calls");
        fires(play.shows(filled("requests remembered twice", 1, Some(0))), "1 requests");
    }
}
