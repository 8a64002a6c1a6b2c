//! Requests that come twice, late, or too late.

use dht::core::assignment::{Entry, Span};
use dht::core::hash::{SLOT_COUNT, slot_of};
use dht::core::wire::cells::CellRef;
use dht::core::wire::json::Object;
use dht::core::wire::peer::{Body, RequestId, Version};

use super::stage::{Stage, entry, peer, replies, said_to};

const OK: &str = r#"{"status": "ok", "servers": ["here:1"]"#;

/// A request to write `key`, by client 7 under this number; `said` is more of what it says.
fn write_saying(number: u64, said: &str) -> String {
    let dht = format!(r#"{{"client": 7, "number": {number}, "revision": 2{said}}}"#);
    format!(r#"{{"cmd": "dht_write", "key": "key", "val": {number}, "dht": {dht}}}"#)
}

#[test]
fn a_first_try_that_comes_after_its_repetition_is_not_executed() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(2, 2, vec![me]));
    // Many requests need their repetition, because the first try is stuck on its way.
    for number in 1..=300 {
        let said = format!(r#", "repeated": true, "since": [2, {}]"#, number - 1);
        let out = stage.request(&write_saying(number, &said));
        assert!(replies(&out)[0].starts_with(OK), "{number}: {out:?}");
    }
    // Then all the first tries come.
    for number in 1..=300 {
        let out = replies(&stage.request(&write_saying(number, "")));
        let known = number > 300 - 128;
        assert_eq!(out[0].contains("ok"), known, "{number}: {out:?}");
        assert_eq!(out[0].contains("late"), !known, "{number}: {out:?}");
    }
    let read = r#"{"cmd": "dht_read", "key": "key", "dht": {"revision": 2}}"#;
    assert_eq!(replies(&stage.request(read)), [r#"{"status": "ok", "value": 300}"#]);
    // One that is new is told what to say, and is executed.
    let out = replies(&stage.request(&write_saying(301, "")));
    let reply = Object::parse(out[0].as_bytes()).unwrap();
    let since = reply.raw("since").expect("what to say");
    let out = replies(&stage.request(&write_saying(301, &format!(r#", "since": {since}"#))));
    assert!(out[0].starts_with(OK), "{out:?}");
}

#[test]
fn a_repetition_that_comes_too_late_is_unknown() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(2, 2, vec![me]));
    for number in 1..=129 {
        let out = replies(&stage.request(&write_saying(number, "")));
        assert!(out[0].starts_with(OK), "{out:?}");
    }
    let again = |number| write_saying(number, r#", "repeated": true"#);
    assert_eq!(replies(&stage.request(&again(1))), [r#"{"status": "forgotten"}"#]);
    assert!(replies(&stage.request(&again(2)))[0].contains("ok"));
    // First tries go on whatever was forgotten.
    assert!(replies(&stage.request(&write_saying(130, "")))[0].contains("ok"));
}

#[test]
fn a_request_from_before_a_loss_is_not_executed_after_it() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(2, 2, vec![me.clone()]));
    assert!(replies(&stage.request(&write_saying(1, "")))[0].starts_with(OK));
    // All is lost, and what was executed with it.
    stage.assign(Entry { born: 3, ..entry(3, 3, vec![me]) });
    let again = write_saying(1, r#", "repeated": true, "since": [2, 0]"#);
    assert_eq!(replies(&stage.request(&again)), [r#"{"status": "forgotten"}"#]);
    // Nor can a first try be told from one whose repetition was executed.
    let out = replies(&stage.request(&write_saying(1, r#", "since": [2, 0]"#)));
    assert!(out[0].contains("late") && out[0].contains(r#""since": [3,"#), "{out:?}");
    let read = r#"{"cmd": "dht_read", "key": "key", "dht": {"revision": 3}}"#;
    assert_eq!(replies(&stage.request(read)), [r#"{"status": "not_found"}"#]);
    let young = write_saying(2, r#", "repeated": true, "since": [3, 0]"#);
    assert!(replies(&stage.request(&young))[0].starts_with(OK));
}

/// What a replica answers a new primary that asks for its holdings, after these writes of one name,
/// which request 1, 2, … has ordered.
fn holdings_after(writes: &[u64]) -> Vec<(u16, u64)> {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(2, 2, vec![peer("b"), me]));
    let slot = slot_of(b"key");
    for sequence in writes.iter().copied() {
        let version = Version { revision: 2, sequence };
        let value = sequence.to_string();
        let prepare = Body::Prepare {
            span: Span(slot, slot + 1, 2),
            number: sequence,
            cell: CellRef::of("key", version, &value),
            id: RequestId { client: 7, number: sequence },
            repeated: false,
            voted: false,
        };
        stage.hear(&peer("b"), prepare);
    }
    let out = stage.hear(&peer("b"), Body::Ask { span: Span(0, SLOT_COUNT, 2) });
    let told = said_to(&out, "b").into_iter().find_map(|body| match body {
        Body::Holdings { slots, .. } => Some(slots),
        _ => None,
    });
    told.expect("its holdings")
}

#[test]
fn a_request_that_one_replica_alone_remembers_is_noticed_at_a_fail_over() {
    // The values are the same, since the later write stands. But who remembers request 1 answers a
    // retry of it, and who does not would execute it: a new primary has to ask for the slot.
    assert_ne!(holdings_after(&[1, 2]), holdings_after(&[2]));
    assert_eq!(holdings_after(&[1, 2]), holdings_after(&[2, 1]), "the order does not matter");
    // What was forgotten shows as well.
    let many: Vec<u64> = (1..=129).collect();
    assert_ne!(holdings_after(&many), holdings_after(&many[1..]));
}

#[test]
fn a_deposed_primary_says_since_when_a_write_may_have_happened() {
    let mut stage = Stage::new();
    let (me, b) = (stage.me(), peer("b"));
    stage.assign(entry(2, 2, vec![me.clone()]));
    stage.assign(entry(3, 2, vec![me.clone(), b.clone()]));
    // Neither is acknowledged: the other replica does not answer.
    assert_eq!(replies(&stage.request(&write_saying(1, ""))), Vec::<String>::new());
    assert_eq!(
        replies(&stage.request(&write_saying(2, r#", "repeated": true"#))),
        Vec::<String>::new()
    );
    let out = replies(&stage.assign(entry(4, 4, vec![b, me])));
    let unknown: Vec<&String> = out.iter().filter(|reply| reply.contains("unknown")).collect();
    assert_eq!(unknown.len(), 2, "{out:?}");
    // A first try cannot have got an earlier version; what a repetition repeats may have.
    assert!(unknown[0].contains(r#""since": [3,"#), "{unknown:?}");
    assert!(!unknown[1].contains("since"), "{unknown:?}");
}
