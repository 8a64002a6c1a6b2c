//! How fast a primary gives slots to a joiner.

use std::sync::Arc;

use dht::core::assignment::{Entry, Joiner, Span};
use dht::core::hash::{SLOT_COUNT, slot_of};
use dht::core::machine::{Input, Machine, Output};
use dht::core::server::{Server, ServerConfig};
use dht::core::wire::peer::Body;

use super::stage::{READ, Stage, entry, peer, said_to};

/// Bytes of each value, unless said otherwise.
const VALUE_BYTES: usize = 300;

/// Three names of one slot.
const TOGETHER: [&str; 3] = ["k154", "k743", "k784"];

/// A primary that holds these names, and the joiner to which it gives them.
struct Giving {
    stage: Stage,
    /// The names that the joiner was given.
    names: Vec<String>,
    /// How many parts they came in.
    parts: usize,
    /// How many bytes the parts had, without the requests that the slots remember.
    bytes: usize,
}

impl Giving {
    /// A primary with these options; `others` hold copies besides it.
    fn new(config: ServerConfig, names: &[String], others: &[&str]) -> Self {
        Giving::to(&["j"], config, names, VALUE_BYTES, others)
    }

    /// The same with these joiners, and values of so many bytes.
    fn to(
        joiners: &[&str],
        config: ServerConfig,
        names: &[String],
        value_bytes: usize,
        others: &[&str],
    ) -> Self {
        let config = ServerConfig { seed: 1, port: 1, ..config };
        let mut stage = Stage::with(Server::new(config), |_, _| ());
        stage.assign(entry(1, 1, vec![stage.me()]));
        for (number, name) in names.iter().enumerate() {
            stage.request(&write(name, number, value_bytes));
        }
        let active = [stage.me()].into_iter().chain(others.iter().map(|name| peer(name)));
        let joins = |name: &&str| Joiner(Arc::from(*name), format!("{name}:1"), 2);
        let joining = joiners.iter().map(joins).collect();
        stage.now = 1_000;
        stage.assign(Entry { joining, ..entry(2, 1, active.collect()) });
        Giving { stage, names: Vec::new(), parts: 0, bytes: 0 }
    }

    /// The joiner begins, and acknowledges each part at once; for how many ms parts came.
    /// A client asks for something every `asks_every_ms`.
    fn until_given(&mut self, names: usize, asks_every_ms: u64) -> u64 {
        let began = self.stage.now;
        let mut out = Vec::new();
        if asks_every_ms > 0 {
            out.extend(self.ask());
        }
        out.extend(self.begin("j"));
        while self.names.len() < names && self.stage.now < began + 60_000 {
            out = self.take(&out);
            if out.is_empty() {
                out = self.wait(asks_every_ms);
            }
        }
        self.stage.now - began
    }

    /// A client asks for something.
    fn ask(&mut self) -> Vec<Output> {
        self.stage.request(r#"{"cmd": "get", "key": "x"}"#)
    }

    /// A joiner says that it has begun.
    fn begin(&mut self, joiner: &str) -> Vec<Output> {
        let span = Span(0, SLOT_COUNT, 2);
        self.stage.hear(&peer(joiner), Body::Confirmed { span, round: 0 })
    }

    /// A millisecond passes.
    fn wait(&mut self, asks_every_ms: u64) -> Vec<Output> {
        self.stage.now += 1;
        let mut out = Vec::new();
        if asks_every_ms > 0 && self.stage.now.is_multiple_of(asks_every_ms) {
            out.extend(self.ask());
        }
        if self.stage.server.deadline().is_some_and(|at| at <= self.stage.now) {
            self.stage.server.handle(self.stage.now, Input::Tick, &mut out);
        }
        out
    }

    /// The joiner takes what it is given; what the primary does then.
    fn take(&mut self, out: &[Output]) -> Vec<Output> {
        let mut then = Vec::new();
        for body in said_to(out, "j") {
            let Body::Chunk { span, number, part } = body else { continue };
            self.parts += 1;
            self.bytes += part.cells.bytes();
            let names = part.cells.iter().map(|cell| String::from_utf8_lossy(cell.name).into());
            self.names.extend(names);
            then.extend(self.stage.hear(&peer("j"), Body::ChunkHeld { span, number }));
        }
        then
    }
}

/// A client's message that writes.
fn write(name: &str, number: usize, value_bytes: usize) -> String {
    let value = "x".repeat(value_bytes - 2);
    let extension = format!(r#"{{"client": 1, "number": {number}, "revision": 1}}"#);
    format!(r#"{{"cmd": "dht_write", "key": "{name}", "val": "{value}", "dht": {extension}}}"#)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("k{number}")).collect()
}

fn rate(transfer_bytes_per_s: u64) -> ServerConfig {
    ServerConfig { transfer_bytes_per_s, ..ServerConfig::default() }
}

#[test]
fn a_joiner_is_given_no_more_than_the_rate_while_clients_ask() {
    let mut giving = Giving::new(rate(100_000), &names(400), &["r"]);
    let took_ms = giving.until_given(400, 5);
    giving.names.sort();
    giving.names.dedup();
    assert_eq!(giving.names.len(), 400);
    // The requests that slots remember count too.
    let least_ms = giving.bytes as u64 / 100;
    let most_ms = least_ms * 13 / 10;
    assert!((least_ms..most_ms).contains(&took_ms), "{took_ms} for {} bytes", giving.bytes);
}

#[test]
fn it_is_given_all_at_once_while_nobody_asks() {
    let mut giving = Giving::new(rate(1_000), &names(400), &["r"]);
    assert_eq!(giving.until_given(400, 0), 0);
    // And where somebody asks once in a while, it waits no longer than until that is over.
    let mut giving = Giving::new(rate(1), &names(400), &["r"]);
    assert_eq!(giving.until_given(400, 1_000), 100);
}

#[test]
fn other_servers_requests_for_clients_count() {
    let mut giving = Giving::new(rate(1_000), &names(40), &["r"]);
    let other = Entry { start: 5_000, ..entry(3, 3, vec![peer("p"), giving.stage.me()]) };
    giving.stage.assign(other);
    giving.stage.hear(&peer("p"), Body::Confirm { span: Span(5_000, SLOT_COUNT, 3), round: 1 });
    let low = names(40).iter().filter(|name| slot_of(name.as_bytes()) < 5_000).count();
    assert!(low > 1, "more than one is given of what is left");
    let span = Span(0, 5_000, 2);
    let out = giving.stage.hear(&peer("j"), Body::Confirmed { span, round: 0 });
    giving.take(&out);
    assert_eq!(giving.parts, 1, "the others wait");
}

#[test]
fn a_client_that_waits_for_its_answer_counts() {
    let mut giving = Giving::new(rate(1), &names(40), &["r"]);
    let out = giving.stage.request(READ);
    let round = said_to(&out, "r").into_iter().find_map(|body| match body {
        Body::Confirm { round, .. } => Some(round),
        _ => None,
    });
    let confirmed = Body::Confirmed { span: Span(0, SLOT_COUNT, 2), round: round.unwrap() };
    // The other server is far away: by its answer the request has long come.
    giving.stage.now += 90;
    giving.stage.hear(&peer("r"), confirmed);
    giving.stage.now += 90;
    let out = giving.begin("j");
    giving.take(&out);
    assert!(giving.parts <= 1, "the others wait: {}", giving.parts);
}

#[test]
fn the_last_copy_does_not_wait() {
    let mut giving = Giving::new(rate(1), &names(400), &[]);
    assert_eq!(giving.until_given(400, 1), 0);
}

#[test]
fn without_a_rate_nothing_waits() {
    let mut giving = Giving::new(rate(0), &names(400), &["r"]);
    assert_eq!(giving.until_given(400, 1), 0);
}

#[test]
fn the_parts_of_one_slot_keep_the_rate_too() {
    let names = TOGETHER.map(String::from);
    assert!(names.iter().all(|name| slot_of(name.as_bytes()) == slot_of(b"k154")));
    let config = ServerConfig { part_bytes_max: 1, ..rate(100) };
    let mut giving = Giving::new(config, &names, &["r"]);
    let took_ms = giving.until_given(3, 5);
    assert_eq!((giving.parts, &giving.names[..]), (3, &names[..]));
    // The third is given once the first two are paid for.
    let least_ms = giving.bytes as u64 * 10 * 2 / 3 - 20;
    assert!((least_ms..least_ms * 2).contains(&took_ms), "{took_ms} for {} bytes", giving.bytes);
}

#[test]
fn what_is_sent_again_counts() {
    let names = names(20);
    let joiners = ["j", "silent"];
    let mut giving = Giving::to(&joiners, rate(10_000), &names, 3_000, &["r"]);
    giving.ask();
    let mut out = giving.begin("silent");
    out.extend(giving.begin("j"));
    let mut to_silent = 0;
    let began = giving.stage.now;
    while giving.stage.now < began + 4_000 {
        let parts = said_to(&out, "silent").into_iter();
        to_silent += parts.filter(|body| matches!(body, Body::Chunk { .. })).count();
        out = giving.take(&out);
        if out.is_empty() {
            out = giving.wait(5);
        }
    }
    assert!(to_silent >= 7, "it is sent again: {to_silent}");
    assert!((3..10).contains(&giving.parts), "the other goes on: {}", giving.parts);
    let bytes = 3_000 * (to_silent + giving.parts);
    assert!(bytes <= 4 * 10_000 + 3_000, "{bytes} in 4 s");
}

#[test]
fn what_was_given_before_a_new_revision_is_not_given_again() {
    let names = TOGETHER.map(String::from);
    let config = ServerConfig { part_bytes_max: 1, ..rate(0) };
    let mut giving = Giving::new(config, &names, &["r"]);
    let out = giving.begin("j");
    // The first is acknowledged, and the second is on its way when the revision changes.
    let out = giving.take(&out);
    assert_eq!(giving.names, names[..1]);
    assert_eq!(said_to(&out, "j").len(), 1);
    let joining = vec![Joiner(Arc::from("j"), "j:1".into(), 2)];
    let active = vec![giving.stage.me(), peer("r")];
    let mut out = giving.stage.assign(Entry { joining, ..entry(3, 1, active) });
    for _ in 0..3 {
        out = giving.take(&out);
    }
    assert_eq!(giving.names, names);
}
