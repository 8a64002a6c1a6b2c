//! What the network does to messages: the one place where it is decided.

use std::collections::{BTreeMap, BTreeSet};

use super::rng::Rng;
use crate::core::machine::Millis;

/// How slow the network is, who cannot reach whom, and what becomes of messages on their way. May
/// be changed at any time; a message is judged when it arrives, except for its latency.
#[derive(Debug, Clone)]
pub struct Faults {
    /// The least time that a message is under way.
    pub latency_min_ms: Millis,
    /// The longest time that a message is under way.
    pub latency_max_ms: Millis,
    /// After how long a sender learns that its kept-open connection leads nowhere, where nobody
    /// answers at all.
    pub silence_ms: Millis,
    /// How many of 100 frames of replicas are lost, without a word to anybody.
    pub frame_loss_percent: u64,
    /// How many of 100 frames of replicas arrive twice, the second time late.
    pub frame_repeat_percent: u64,
    /// How many of 100 frames of replicas are overtaken by later ones.
    pub frame_reorder_percent: u64,
    /// The longest time by which a frame is late that is repeated or overtaken.
    pub frame_late_max_ms: Millis,
    /// How many of 100 requests are lost on their way, and as many replies on theirs. The
    /// connection breaks: whoever waits on it learns that a reply will not come.
    pub call_loss_percent: u64,
    /// How many of 100 requests are held up on their way, and as many replies, as by a connection
    /// that stalls. A request that is held up arrives though its caller has given it up.
    pub call_late_percent: u64,
    /// The longest time by which a request or a reply is held up.
    pub call_late_max_ms: Millis,
    /// Whether that meets requests of clients alone.
    pub call_late_clients: bool,
    /// From which host to which nothing passes.
    cuts: BTreeSet<(String, String)>,
    /// What is added to the latency of messages from and to a host.
    slow: BTreeMap<String, Millis>,
    /// How often each kind of fault has met a message.
    happened: BTreeMap<&'static str, u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            latency_min_ms: 1,
            latency_max_ms: 5,
            silence_ms: 5_000,
            frame_loss_percent: 0,
            frame_repeat_percent: 0,
            frame_reorder_percent: 0,
            frame_late_max_ms: 1_000,
            call_loss_percent: 0,
            call_late_percent: 0,
            call_late_max_ms: 1_000,
            call_late_clients: false,
            cuts: BTreeSet::new(),
            slow: BTreeMap::new(),
            happened: BTreeMap::new(),
        }
    }
}

impl Faults {
    /// From now on nothing passes between these two hosts, in either direction.
    pub fn cut(&mut self, ip: &str, other_ip: &str) {
        self.cut_one_way(ip, other_ip);
        self.cut_one_way(other_ip, ip);
    }

    /// From now on nothing passes from the first host to the second.
    pub fn cut_one_way(&mut self, from_ip: &str, to_ip: &str) {
        self.cuts.insert((from_ip.to_string(), to_ip.to_string()));
    }

    /// Everything passes again between these two hosts.
    pub fn mend(&mut self, ip: &str, other_ip: &str) {
        self.cuts
            .retain(|(from, to)| (from != ip || to != other_ip) && (from != other_ip || to != ip));
    }

    /// Everything passes again between all hosts.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// Whether nothing passes from the first host to the second.
    pub fn is_cut(&self, from_ip: &str, to_ip: &str) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from_ip.to_string(), to_ip.to_string()))
    }

    /// From now on messages from and to this host take so much longer; 0: no longer.
    pub fn slow_down(&mut self, ip: &str, by_ms: Millis) {
        if by_ms == 0 {
            self.slow.remove(ip);
        } else {
            self.slow.insert(ip.to_string(), by_ms);
        }
    }

    /// No message is lost, repeated, overtaken, held up or cut off any more. Latencies stay.
    pub fn heal(&mut self) {
        let healed = Faults {
            latency_min_ms: self.latency_min_ms,
            latency_max_ms: self.latency_max_ms,
            silence_ms: self.silence_ms,
            happened: std::mem::take(&mut self.happened),
            ..Faults::default()
        };
        *self = healed;
    }

    /// How often each kind of fault has met a message.
    pub fn happened(&self) -> &BTreeMap<&'static str, u64> {
        &self.happened
    }

    /// Counts a write that failed.
    pub(super) fn refuses_write(&mut self) {
        self.count("write refused");
    }

    /// Counts a message that could not pass from one host to another; says whether that is so.
    pub(super) fn stops(&mut self, from_ip: &str, to_ip: &str) -> bool {
        let cut = self.is_cut(from_ip, to_ip);
        if cut {
            let both = self.is_cut(to_ip, from_ip);
            self.count(if both { "cut" } else { "cut one way" });
        }
        cut
    }

    /// Draws how long one message between these hosts is under way.
    pub(super) fn latency_ms(&mut self, rng: &mut Rng, from_ip: &str, to_ip: &str) -> Millis {
        let mut latency_ms = rng.between(self.latency_min_ms, self.latency_max_ms);
        if !self.slow.is_empty() {
            let slow = [from_ip, to_ip].into_iter().filter_map(|ip| self.slow.get(ip));
            let extra_ms: Millis = slow.sum();
            if extra_ms > 0 {
                self.count("slowed down");
                latency_ms += rng.between(extra_ms / 2, extra_ms);
            }
        }
        latency_ms
    }

    /// Draws whether a frame is lost.
    pub(super) fn loses_frame(&mut self, rng: &mut Rng) -> bool {
        self.draw(rng, self.frame_loss_percent, "frame lost")
    }

    /// Draws whether a frame is overtaken: by how long it is late.
    pub(super) fn reorders_frame(&mut self, rng: &mut Rng) -> Option<Millis> {
        let late = self.draw(rng, self.frame_reorder_percent, "frame overtaken");
        late.then(|| rng.between(1, self.frame_late_max_ms))
    }

    /// Draws whether a frame arrives twice: by how long the second one is late.
    pub(super) fn repeats_frame(&mut self, rng: &mut Rng) -> Option<Millis> {
        let twice = self.draw(rng, self.frame_repeat_percent, "frame repeated");
        twice.then(|| rng.between(1, self.frame_late_max_ms))
    }

    /// Draws whether a request is lost.
    pub(super) fn loses_request(&mut self, rng: &mut Rng) -> bool {
        self.draw(rng, self.call_loss_percent, "request lost")
    }

    /// Draws whether a reply is lost.
    pub(super) fn loses_reply(&mut self, rng: &mut Rng) -> bool {
        self.draw(rng, self.call_loss_percent, "reply lost")
    }

    /// Draws whether a request or a reply is held up: for how long.
    pub(super) fn holds_up_call(&mut self, rng: &mut Rng) -> Option<Millis> {
        let late = self.draw(rng, self.call_late_percent, "call held up");
        late.then(|| rng.between(1, self.call_late_max_ms))
    }

    /// Draws nothing where the chance is zero, so that runs without faults need no luck.
    fn draw(&mut self, rng: &mut Rng, percent: u64, kind: &'static str) -> bool {
        let happens = percent > 0 && rng.chance(percent);
        if happens {
            self.count(kind);
        }
        happens
    }

    fn count(&mut self, kind: &'static str) {
        *self.happened.entry(kind).or_default() += 1;
    }
}
