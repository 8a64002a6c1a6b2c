//! The server's machine, fed by hand: what once went wrong, at the smallest scale at which it did.

use std::sync::Arc;

use dht::core::assignment::{Entry, Joiner, NodeId, Peer, Report, Snapshot, Span};
use dht::core::hash::{SLOT_COUNT, slot_of};
use dht::core::machine::{CallId, Input, Machine, Note, Origin, Output, ReplyTo, Target};
use dht::core::server::{Server, ServerConfig};
use dht::core::wire::json::{Json, Object};
use dht::core::wire::peer::{Body, Cell, Part, PeerMessage, Version};
use dht::core::wire::text::Text;

/// A server with a leader played by the test.
struct Stage {
    server: Server,
    id: NodeId,
    now: u64,
    replies: u64,
}

impl Stage {
    /// A server that the leader has accepted.
    fn new() -> Self {
        let mut server = Server::new(ServerConfig { seed: 1, port: 1, ..ServerConfig::default() });
        let mut out = Vec::new();
        server.handle(0, Input::Start, &mut out);
        let (call, message) = leader_call(&out, "heartbeat").expect("a heartbeat at the start");
        let id = Object::parse(&message).unwrap().json("requestor").unwrap();
        let mut stage = Stage { server, id: Arc::from(id.as_str()), now: 0, replies: 0 };
        let snapshot = stage.snapshot(0, Vec::new());
        let reply = format!(r#"{{"status": "ok", "epoch": 1, "dht": {snapshot}}}"#);
        let result = Ok(reply.into_bytes());
        stage.server.handle(0, Input::Returned { call, result }, &mut Vec::new());
        stage
    }

    fn snapshot(&self, revision: u64, entries: Vec<Entry>) -> String {
        let you = Some(self.id.clone());
        let addr = "here:1".to_string();
        let snapshot =
            Snapshot { version: 1, you, addr, epoch: 1, revision, entries, ..Snapshot::default() };
        serde_json::to_string(&snapshot).unwrap()
    }

    /// The leader assigns a range; returns what the server did.
    fn assign(&mut self, entry: Entry) -> Vec<Output> {
        let snapshot = self.snapshot(entry.revision, vec![entry]);
        self.request(&format!(r#"{{"cmd": "dht_assign", "dht": {snapshot}}}"#))
    }

    fn request(&mut self, message: &str) -> Vec<Output> {
        self.replies += 1;
        let to = ReplyTo(self.replies);
        self.frame(to, message.as_bytes().to_vec())
    }

    /// Another server says something.
    fn hear(&mut self, from: &Peer, body: Body) -> Vec<Output> {
        let message = PeerMessage { from: from.clone(), to: self.id.clone(), body };
        self.frame(ReplyTo(0), message.encode())
    }

    fn frame(&mut self, to: ReplyTo, message: Vec<u8>) -> Vec<Output> {
        let mut out = Vec::new();
        let origin = Origin { peer_ip: "127.0.0.1".into(), local_ip: "127.0.0.1".into() };
        self.server.handle(self.now, Input::Frame { to, origin, message }, &mut out);
        out
    }

    fn me(&self) -> Peer {
        Peer(self.id.clone(), "here:1".to_string())
    }
}

fn peer(name: &str) -> Peer {
    Peer(Arc::from(name), format!("{name}:1"))
}

fn entry(revision: u64, led_since: u64, active: Vec<Peer>) -> Entry {
    Entry { start: 0, end: SLOT_COUNT, revision, born: 1, led_since, active, joining: Vec::new() }
}

/// The first call to the leader of this command.
fn leader_call(out: &[Output], command: &str) -> Option<(CallId, Vec<u8>)> {
    out.iter().find_map(|output| match output {
        Output::Call { call, target: Target::Leader, message, .. } => {
            let said = Object::parse(message).ok()?.text("cmd")?;
            (said.as_bytes() == command.as_bytes()).then(|| (*call, message.clone()))
        }
        _ => None,
    })
}

/// The replies, as text.
fn replies(out: &[Output]) -> Vec<String> {
    let replies = out.iter().filter_map(|output| match output {
        Output::Reply { message, .. } => Some(String::from_utf8_lossy(message).into_owned()),
        _ => None,
    });
    replies.collect()
}

/// What was said to a server.
fn said_to(out: &[Output], name: &str) -> Vec<Body> {
    let addr = format!("{name}:1");
    let said = out.iter().filter_map(|output| match output {
        Output::Send { addr: to, message } if *to == addr => PeerMessage::decode(message),
        _ => None,
    });
    said.map(|message| message.body).collect()
}

const READ: &str = r#"{"cmd": "dht_read", "key": "k", "dht": {"revision": 1}}"#;

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
    assert_eq!(replies(&stage.request(write)), [r#"{"status": "ok", "servers": ["here:1"]}"#]);
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
        key: Text::from("k"),
        cell: cell(9, "\"never acknowledged\""),
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
    let part = Part { cells: vec![(Text::from("k"), cell(2, "1"))], last: true, ..Part::default() };
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
        assert_eq!(replies(&out), [r#"{"status": "ok", "servers": ["here:1"]}"#], "{number}");
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
    assert_eq!(out, [r#"{"status": "ok", "servers": ["here:1"]}"#]);
}

#[test]
fn a_repetition_that_comes_too_late_is_unknown() {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(2, 2, vec![me]));
    for number in 1..=129 {
        let out = replies(&stage.request(&write_saying(number, "")));
        assert_eq!(out, [r#"{"status": "ok", "servers": ["here:1"]}"#]);
    }
    let again = |number| write_saying(number, r#", "repeated": true"#);
    assert_eq!(replies(&stage.request(&again(1))), [r#"{"status": "forgotten"}"#]);
    assert!(replies(&stage.request(&again(2)))[0].contains("ok"));
    // First tries go on whatever was forgotten.
    assert!(replies(&stage.request(&write_saying(130, "")))[0].contains("ok"));
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
