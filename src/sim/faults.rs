//! What the network does to messages: the one place where it is decided.

use std::collections::BTreeSet;

use super::rng::Rng;
use crate::core::machine::Millis;

/// How slow the network is, and who cannot reach whom. May be changed at any time; a message is
/// judged when it arrives.
#[derive(Debug, Clone)]
pub struct Faults {
    /// The least time that a message is under way.
    pub latency_min_ms: Millis,
    /// The longest time that a message is under way.
    pub latency_max_ms: Millis,
    /// After how long a sender learns that its kept-open connection leads nowhere, where nobody
    /// answers at all.
    pub silence_ms: Millis,
    /// Pairs of hosts between which nothing passes, each in ascending order.
    cuts: BTreeSet<(String, String)>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults { latency_min_ms: 1, latency_max_ms: 5, silence_ms: 5_000, cuts: BTreeSet::new() }
    }
}

impl Faults {
    /// From now on nothing passes between these two hosts, in either direction.
    pub fn cut(&mut self, ip: &str, other_ip: &str) {
        self.cuts.insert(pair(ip, other_ip));
    }

    /// Everything passes again between these two hosts.
    pub fn mend(&mut self, ip: &str, other_ip: &str) {
        self.cuts.remove(&pair(ip, other_ip));
    }

    /// Everything passes again between all hosts.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// Whether nothing passes between these two hosts.
    pub fn is_cut(&self, ip: &str, other_ip: &str) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&pair(ip, other_ip))
    }

    /// Draws how long one message is under way.
    pub(super) fn latency_ms(&self, rng: &mut Rng) -> Millis {
        rng.between(self.latency_min_ms, self.latency_max_ms)
    }
}

fn pair(ip: &str, other_ip: &str) -> (String, String) {
    let (low, high) = if ip <= other_ip { (ip, other_ip) } else { (other_ip, ip) };
    (low.to_string(), high.to_string())
}
