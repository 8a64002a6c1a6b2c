//! The server's machine, fed by hand: what once went wrong, at the smallest scale at which it did.

#[path = "server_machine/kept.rs"]
mod kept;
#[path = "server_machine/leaving.rs"]
mod leaving;
#[path = "server_machine/pace.rs"]
mod pace;
#[path = "server_machine/progress.rs"]
mod progress;
#[path = "server_machine/reads.rs"]
mod reads;
#[path = "server_machine/requests.rs"]
mod requests;
#[path = "server_machine/stage.rs"]
mod stage;

use std::sync::Arc;

use dht::core::assignment::{Entry, Joiner, NodeId, Report, Span};
use dht::core::hash::{SLOT_COUNT, slot_of};
use dht::core::machine::{CallError, Input, Machine, Note, Origin, Output, ReplyTo};
use dht::core::server::{Server, ServerConfig};
use dht::core::wire::cells::CellRef;
use dht::core::wire::json::{Json, Object};
use dht::core::wire::part::Part;
use dht::core::wire::peer::{Body, Cell, Version};
use dht::core::wire::text::Text;
use stage::{READ, Stage, entry, leader_call, peer, replies, said_to};

#[test]
fn a_primary_left_alone_while_it_reconciles_serves() {
    let mut stage = Stage::new();
    let me = stage.me();
    let out = stage.assign(entry(5, 5, vec![me.clone(), peer("b")]));
    assert!(said_to(&out, "b").iter().any(|body| matches!(body, Body::Ask { .. })));
    assert_eq!(replies(&stage.request(READ)), Vec::<String>::new(), "it reconciles first");
    // The only server that it could ask dies.
    let out = stage.assign(entry(6, 5, vec![me]));
    assert!(replies(&out).contains(&r#"{"status": "not_found"}"#.to_string()), "{out:?}");
}

#[test]
fn a_read_is_answered_from_its_own_slot() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(1, 1, vec![me]));
    let write = r#"{"cmd": "dht_write", "key": "k", "val": 7,
        "dht": {"client": 1, "number": 1, "revision": 1}}"#;
    assert_eq!(
        replies(&stage.request(write)),
        [r#"{"status": "ok", "servers": ["here:1"], "since": [1,2]}"#]
    );
    // Shared with a read of the range's first slot, and confirmed by another server.
    let me = stage.me();
    stage.assign(entry(2, 1, vec![me, peer("b")]));
    assert!(slot_of(b"k") > 0);
    let out = stage.request(READ);
    let round = said_to(&out, "b").into_iter().find_map(|body| match body {
        Body::Confirm { round, .. } => Some(round),
        _ => None,
    });
    let confirmed = Body::Confirmed { span: Span(0, SLOT_COUNT, 2), round: round.unwrap() };
    let out = stage.hear(&peer("b"), confirmed);
    assert_eq!(replies(&out), [r#"{"status": "ok", "value": 7}"#]);
}

#[test]
fn the_piece_beside_a_cut_reports_its_joiner() {
    let mut stage = Stage::new();
    let me = stage.me();
    let mut joined = entry(2, 1, vec![me.clone()]);
    stage.assign(entry(1, 1, vec![me.clone()]));
    // One value in the upper half, so that the joiner has something to get there.
    let slot = slot_of(b"k");
    let cut = slot - 1;
    let write = r#"{"cmd": "dht_write", "key": "k", "val": 7,
        "dht": {"client": 1, "number": 1, "revision": 1}}"#;
    stage.request(write);
    joined.joining = vec![Joiner(Arc::from("j"), "j:1".into(), 2)];
    stage.assign(joined.clone());
    let span = Span(0, SLOT_COUNT, 2);
    let out = stage.hear(&peer("j"), Body::Confirmed { span, round: 0 });
    assert!(leader_call(&out, "dht_report").is_none(), "the value is still on its way");
    // Only the upper half gets a new revision: the lower one lacks nothing any more.
    let upper = Entry { revision: 3, ..joined.part(cut, SLOT_COUNT) };
    let out = stage.assign(upper);
    let (_, report) = leader_call(&out, "dht_report").expect("the lower piece is synced");
    let report: Report = Object::parse(&report).unwrap().decode("dht").unwrap();
    assert_eq!(report.synced, [(Span(0, cut, 2), vec![NodeId::from("j")])]);
}

#[test]
fn a_leader_that_does_not_know_us_is_told_what_we_hold() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(4, 4, vec![me]));
    let mut out = Vec::new();
    stage.server.handle(10_000, Input::Tick, &mut out);
    let (call, _) = leader_call(&out, "heartbeat").expect("a heartbeat is due");
    let reply = br#"{"status": "retry", "epoch": 0, "dht": {"version":1,"tell":true}}"#.to_vec();
    let mut out = Vec::new();
    stage.server.handle(10_001, Input::Returned { call, result: Ok(reply) }, &mut out);
    let (_, again) = leader_call(&out, "heartbeat").expect("it answers at once");
    let again = String::from_utf8(again).unwrap();
    assert!(again.contains(r#""holds":[{"start":0,"end":10000,"revision":4"#), "{again}");
}

#[test]
fn a_joiner_forgets_what_it_held_before() {
    let mut stage = Stage::new();
    let me = stage.me();
    let slot = slot_of(b"k");
    stage.assign(entry(1, 1, vec![peer("p"), me.clone()]));
    let cell = |sequence, value: &str| Cell {
        version: Version { revision: 1, sequence },
        value: Json::parse(value.as_bytes()).unwrap(),
    };
    let prepare = Body::Prepare {
        span: Span(slot, slot + 1, 1),
        number: 1,
        cell: CellRef::of("k", Version { revision: 1, sequence: 9 }, "\"never acknowledged\""),
        id: Default::default(),
        repeated: false,
        voted: false,
    };
    stage.hear(&peer("p"), prepare);
    let mut joins = entry(3, 2, vec![peer("q")]);
    joins.joining = vec![Joiner(me.0.clone(), me.1.clone(), 3)];
    stage.assign(joins);
    let get = r#"{"cmd": "get", "key": "k"}"#;
    assert_eq!(replies(&stage.request(get)), [r#"{"status": "not_found"}"#]);
    // What the primary gives counts, though its version is lower.
    let mut part = Part { last: true, ..Part::default() };
    part.cells.push(cell(2, "1").named(&Text::from("k")));
    let out =
        stage.hear(&peer("q"), Body::Chunk { span: Span(slot, slot + 1, 3), number: 5, part });
    let held = said_to(&out, "q");
    assert_eq!(held, [Body::ChunkHeld { span: Span(slot, slot + 1, 3), number: 5 }]);
    assert_eq!(replies(&stage.request(get)), [r#"{"status": "ok", "value": 1}"#]);
}

#[test]
fn a_deposed_primary_gets_no_confirmation_and_learns_why() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(1, 1, vec![peer("old"), me.clone(), peer("new")]));
    stage.assign(entry(2, 2, vec![peer("new"), me]));
    // The old primary's address is not in the entry any more: it comes with its message.
    let span = Span(0, SLOT_COUNT, 1);
    let out = stage.hear(&peer("old"), Body::Confirm { span, round: 7 });
    let said = said_to(&out, "old");
    let taught = said.iter().any(|body| matches!(body, Body::Teach(e) if e[0].revision == 2));
    assert!(taught, "{said:?}");
    assert!(!said.iter().any(|body| matches!(body, Body::Confirmed { .. })), "{said:?}");
}

#[test]
fn a_server_that_the_leader_cannot_reach_does_not_rush_back() {
    let mut stage = Stage::new();
    let mut out = Vec::new();
    stage.server.handle(10_000, Input::Tick, &mut out);
    let (call, _) = leader_call(&out, "heartbeat").expect("a heartbeat is due");
    let mut out = Vec::new();
    let deny = Ok(br#"{"status": "deny"}"#.to_vec());
    stage.server.handle(10_001, Input::Returned { call, result: deny }, &mut out);
    let told = |output: &Output| matches!(output, Output::Note(Note::Unreachable { addr }) if addr == "here:1");
    assert!(out.iter().any(told), "{out:?}");
    assert!(leader_call(&out, "heartbeat").is_none());
    assert_eq!(stage.server.deadline(), Some(20_000), "it tries again with the next heartbeat");
}

#[test]
fn a_server_that_slept_through_its_lease_joins_again_at_once() {
    let mut stage = Stage::new();
    let mut out = Vec::new();
    stage.server.handle(40_000, Input::Tick, &mut out);
    let (call, _) = leader_call(&out, "heartbeat").expect("a heartbeat is due");
    let mut out = Vec::new();
    let deny = Ok(br#"{"status": "deny"}"#.to_vec());
    stage.server.handle(40_001, Input::Returned { call, result: deny }, &mut out);
    let (_, again) = leader_call(&out, "heartbeat").expect("it joins again");
    let again = String::from_utf8(again).unwrap();
    assert!(again.contains(&format!(r#""was":["{}"]"#, stage.id)), "{again}");
}

/// A primary alone, with one value under `k` and a joiner that has begun.
fn with_joiner() -> (Stage, Vec<Output>) {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(1, 1, vec![me.clone()]));
    stage.request(&write("k", 1));
    let mut joins = entry(2, 1, vec![me]);
    joins.joining = vec![Joiner(Arc::from("j"), "j:1".into(), 2)];
    let mut out = stage.assign(joins);
    out.extend(stage.hear(&peer("j"), Body::Confirmed { span: Span(0, SLOT_COUNT, 2), round: 0 }));
    (stage, out)
}

fn write(key: &str, number: u64) -> String {
    format!(
        r#"{{"cmd": "dht_write", "key": "{key}", "val": {number},
        "dht": {{"client": 1, "number": {number}, "revision": 1}}}}"#
    )
}

/// The numbers of the chunks, or of the prepares, that were sent to the joiner.
fn numbers(out: &[Output], chunks: bool) -> Vec<u64> {
    let numbers = said_to(out, "j").into_iter().filter_map(|body| match body {
        Body::Chunk { number, .. } if chunks => Some(number),
        Body::Prepare { number, .. } if !chunks => Some(number),
        _ => None,
    });
    numbers.collect()
}

#[test]
fn a_server_that_an_entry_names_twice_gets_a_write_once() {
    let mut stage = Stage::new();
    let mut strange = entry(1, 1, vec![stage.me(), peer("j")]);
    strange.joining = vec![Joiner("j".into(), "j:1".to_owned(), 1)];
    stage.assign(strange);
    assert_eq!(numbers(&stage.request(&write("k", 1)), false).len(), 1);
}

#[test]
fn a_part_that_is_sent_again_keeps_its_number() {
    let (mut stage, out) = with_joiner();
    let first = numbers(&out, true);
    stage.now = 600;
    let mut out = Vec::new();
    stage.server.handle(stage.now, Input::Tick, &mut out);
    assert_eq!(numbers(&out, true), first, "the same part, since no answer came in time");
    // The answer to the first copy counts, however slow the way is.
    let slot = slot_of(b"k");
    let held = Body::ChunkHeld { span: Span(slot, slot + 1, 2), number: first[0] };
    assert!(leader_call(&stage.hear(&peer("j"), held), "dht_report").is_some());
}

#[test]
fn steady_writes_do_not_keep_a_joiner_from_being_synced() {
    let (mut stage, out) = with_joiner();
    let slot = slot_of(b"k");
    // A write is acknowledged, and on its way to the joiner, when the last slot arrives there.
    let first = stage.request(&write("k", 2));
    assert_eq!(replies(&first).len(), 1, "the primary is alone");
    let held = Body::ChunkHeld { span: Span(slot, slot + 1, 2), number: numbers(&out, true)[0] };
    assert!(leader_call(&stage.hear(&peer("j"), held), "dht_report").is_none());
    // The next one waits for the joiner already, so that an end is in sight.
    let second = stage.request(&write("k", 3));
    assert_eq!(replies(&second), Vec::<String>::new());
    let prepared = |out: &[Output]| Body::Prepared { revision: 2, number: numbers(out, false)[0] };
    let out = stage.hear(&peer("j"), prepared(&first));
    assert!(leader_call(&out, "dht_report").is_some(), "it holds all that was acknowledged");
    assert_eq!(replies(&stage.hear(&peer("j"), prepared(&second))).len(), 1);
}

#[test]
fn a_new_revision_does_not_make_a_joiner_synced_that_lacks_a_write() {
    let (mut stage, out) = with_joiner();
    let slot = slot_of(b"k");
    let first = stage.request(&write("k", 2));
    assert_eq!(replies(&first).len(), 1, "the primary is alone, and the joiner gets it later");
    let held = Body::ChunkHeld { span: Span(slot, slot + 1, 2), number: numbers(&out, true)[0] };
    stage.hear(&peer("j"), held);
    // Something else changes while only that write is missing.
    let mut joins = entry(3, 1, vec![stage.me()]);
    joins.joining = [("j", 2), ("other", 3)]
        .map(|(name, since)| Joiner(Arc::from(name), format!("{name}:1"), since))
        .to_vec();
    let out = stage.assign(joins);
    assert!(leader_call(&out, "dht_report").is_none(), "it still lacks the write");
    let number = numbers(&out, false)[0];
    let out = stage.hear(&peer("j"), Body::Prepared { revision: 3, number });
    let (_, report) = leader_call(&out, "dht_report").expect("now it lacks nothing");
    assert!(String::from_utf8_lossy(&report).contains(r#"["j"]"#));
}

#[test]
fn a_deposed_and_reinstated_primary_hands_its_writes_over() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(1, 1, vec![me.clone(), peer("b")]));
    assert_eq!(replies(&stage.request(&write("k", 1))), Vec::<String>::new());
    // It missed the revision in which another led: what it has prepared is finished by reconciling.
    let out = stage.assign(entry(3, 3, vec![me, peer("b")]));
    assert!(replies(&out)[0].starts_with(r#"{"status": "unknown""#), "{out:?}");
    let stats = replies(&stage.request(r#"{"cmd": "dht_stats"}"#)).remove(0);
    assert!(stats.contains(r#""pending": 0"#) && stats.contains(r#""keys": 1"#), "{stats}");
}

#[test]
fn a_goodbye_that_is_not_taken_is_taken_back() {
    let mut stage = Stage::new();
    let snapshot = |stage: &Stage, may_leave| {
        let snapshot = stage.snapshot(0, Vec::new());
        let said = snapshot.replace('}', &format!(r#","may_leave":{may_leave}}}"#));
        format!(r#"{{"status": "ok", "epoch": 1, "dht": {said}}}"#).into_bytes()
    };
    let left = |out: &[Output]| out.iter().any(|o| matches!(o, Output::Note(Note::Left)));
    let mut out = Vec::new();
    stage.server.handle(0, Input::Leave, &mut out);
    for taken in [false, true] {
        let (call, asks) = leader_call(&out, "heartbeat").expect("it asks to leave");
        assert!(String::from_utf8_lossy(&asks).contains(r#""leaving":true"#));
        out.clear();
        let result = Ok(snapshot(&stage, true));
        stage.server.handle(1, Input::Returned { call, result }, &mut out);
        let (call, goodbye) = leader_call(&out, "heartbeat").expect("it says goodbye");
        assert!(String::from_utf8_lossy(&goodbye).contains(r#""left":true"#) && !left(&out));
        out.clear();
        let answer = br#"{"status": "ok", "epoch": 2}"#.to_vec();
        let result = Ok(if taken { answer } else { snapshot(&stage, false) });
        stage.server.handle(2, Input::Returned { call, result }, &mut out);
        assert_eq!(left(&out), taken);
        stage.server.handle(30_000, Input::Tick, &mut out);
    }
    assert!(leader_call(&out, "heartbeat").is_none(), "who has left says nothing more");
}

#[test]
fn slots_that_do_not_exist_are_nobodys() {
    let mut stage = Stage::new();
    let you = &stage.id;
    let assign = format!(
        r#"{{"cmd": "dht_assign", "dht": {{"version": 1, "you": "{you}", "revision": 1,
        "originals": [[0, 60000, ["o:1"]], [5, 5, ["o:1"]]], "drop": [[9000, 60000, 1]]}}}}"#
    );
    assert!(replies(&stage.request(&assign))[0].starts_with(r#"{"status": "ok""#));
}

#[test]
fn an_old_part_does_not_stand_for_writes_that_were_shed() {
    let (mut stage, out) = with_joiner();
    let slot = slot_of(b"k");
    // The part that holds the first value is on its way to a joiner that is silent.
    let first = numbers(&out, true)[0];
    // Writes of other slots fill what may trail; one of them is a later value of `k`.
    let mut last = stage.request(&write("k", 2));
    for number in 3..=10_002 {
        last = stage.request(&write("k", number));
    }
    assert_eq!(replies(&last).len(), 1, "acknowledged: the primary is alone");
    stage.now = 600;
    let mut out = Vec::new();
    stage.server.handle(stage.now, Input::Tick, &mut out);
    let again = numbers(&out, true);
    // What is answered now is the part that was sent before any of these writes.
    let held = Body::ChunkHeld { span: Span(slot, slot + 1, 2), number: first };
    let out = stage.hear(&peer("j"), held);
    assert!(
        leader_call(&out, "dht_report").is_none(),
        "the joiner has shown the first part only, {first}; sent again: {again:?}"
    );
}

#[test]
fn what_setr_stored_without_a_ring_is_not_shown_in_one() {
    let config = ServerConfig { seed: 1, port: 1, ..ServerConfig::default() };
    let mut server = Server::new(config);
    let mut out = Vec::new();
    server.handle(0, Input::Start, &mut out);
    let (call, _) = leader_call(&out, "heartbeat").expect("a heartbeat");
    out.clear();
    server.handle(0, Input::Returned { call, result: Err(CallError::Refused) }, &mut out);
    let ask = |server: &mut Server, message: &str| {
        let (to, origin) = (ReplyTo(1), Origin::default());
        let mut out = Vec::new();
        server.handle(1, Input::frame(to, &origin, message.as_bytes()), &mut out);
        replies(&out).concat()
    };
    // As in the original: there is nobody to ask.
    assert_eq!(ask(&mut server, r#"{"cmd": "setr", "key": "a", "val": 1}"#), "{}");
    assert_eq!(ask(&mut server, r#"{"cmd": "set", "key": "b", "val": 2}"#), r#"{"status": "ok"}"#);
    let get = |key| format!(r#"{{"cmd": "get", "key": "{key}"}}"#);
    assert_eq!(ask(&mut server, &get("a")), r#"{"status": "ok", "value": 1}"#);
    // Then there is a ring, in which nobody has written it.
    server.handle(300, Input::Tick, &mut out);
    let (call, message) = leader_call(&out, "heartbeat").expect("another heartbeat");
    let id = Object::parse(&message).unwrap().json("requestor").unwrap();
    let dht = format!(r#"{{"version": 1, "you": "{}", "addr": "here:1"}}"#, id.as_str());
    let reply = format!(r#"{{"status": "ok", "epoch": 1, "dht": {dht}}}"#);
    server.handle(300, Input::Returned { call, result: Ok(reply.into_bytes()) }, &mut out);
    assert_eq!(ask(&mut server, &get("a")), r#"{"status": "not_found"}"#);
    assert_eq!(ask(&mut server, &get("b")), r#"{"status": "ok", "value": 2}"#);
}

#[test]
fn a_heartbeat_is_waited_for_until_the_next() {
    let waits = |heartbeat_ms| {
        let config = ServerConfig { seed: 1, port: 1, heartbeat_ms, ..ServerConfig::default() };
        let mut out = Vec::new();
        Server::new(config).handle(0, Input::Start, &mut out);
        out.iter().find_map(|output| match output {
            Output::Call { timeout_ms, .. } => Some(*timeout_ms),
            _ => None,
        })
    };
    // One that was swallowed is sent again before the lease ends, also where leases are short.
    assert_eq!(waits(2_000), Some(2_000));
    assert_eq!(waits(100), Some(1_000), "but not before an answer can come");
    assert_eq!(waits(10_000), Some(5_000));
}
