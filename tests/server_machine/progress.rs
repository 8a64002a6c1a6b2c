//! How far a primary is with a joiner: what it tells the leader, and whoever asks.

use std::sync::Arc;

use dht::core::assignment::{Joiner, Report, Span};
use dht::core::hash::SLOT_COUNT;
use dht::core::machine::{Input, Machine, Output};
use dht::core::wire::json::Object;
use dht::core::wire::peer::Body;

use super::stage::{Stage, entry, leader_call, peer, replies, said_to};
use super::write;

/// The parts that were sent to the joiner.
fn parts(out: &[Output]) -> Vec<(Span, u64)> {
    let parts = said_to(out, "j").into_iter().filter_map(|body| match body {
        Body::Chunk { span, number, .. } => Some((span, number)),
        _ => None,
    });
    parts.collect()
}

/// What the leader is told at `now`, if anything: bytes given and bytes in all.
fn told(stage: &mut Stage, now: u64) -> Option<(u64, u64)> {
    stage.now = now;
    let mut out = Vec::new();
    stage.server.handle(now, Input::Tick, &mut out);
    let (_, message) = leader_call(&out, "dht_report")?;
    let report: Report = Object::parse(&message).unwrap().decode("dht")?;
    let given = report.given.first()?;
    assert_eq!((given.0, given.1, &*given.2), (0, SLOT_COUNT, "j"));
    Some((given.3, given.4))
}

#[test]
fn the_leader_is_told_once_a_second_what_has_come_further() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(1, 1, vec![me.clone()]));
    for number in 100..300 {
        stage.request(&write(&format!("k{number}"), number));
    }
    let mut joins = entry(2, 1, vec![me]);
    joins.joining = vec![Joiner(Arc::from("j"), "j:1".into(), 2)];
    let mut out = stage.assign(joins);
    out.extend(stage.hear(&peer("j"), Body::Confirmed { span: Span(0, SLOT_COUNT, 2), round: 0 }));
    let sent = parts(&out);
    assert!(sent.len() > 10);
    assert_eq!(told(&mut stage, 500), None, "the first look");
    for (span, number) in &sent[..10] {
        stage.hear(&peer("j"), Body::ChunkHeld { span: *span, number: *number });
    }
    assert_eq!(told(&mut stage, 1_000), None, "less than a second after it");
    let (given, all) = told(&mut stage, 1_500).expect("it has come further");
    // 200 names of four bytes, with values of three.
    assert_eq!(all, 200 * 7);
    assert!((10 * 7..20 * 7).contains(&given), "{given}");
    assert_eq!(told(&mut stage, 2_500), None, "it has come no further");
    let stats = replies(&stage.request(r#"{"cmd": "dht_stats"}"#)).remove(0);
    let says = format!(r#""bytes_done":{given},"bytes":{all}}}]"#);
    assert!(stats.contains(&says) && stats.contains(r#""to":"j:1","slots_done":10,"#), "{stats}");
}
