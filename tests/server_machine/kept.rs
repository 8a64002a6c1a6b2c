//! A server with a disk, fed by hand: what waits for it, and what is there afterwards.

use std::collections::BTreeMap;

use dht::core::assignment::{Joiner, Span};
use dht::core::hash::slot_of;
use dht::core::machine::{CallError, Input, Machine, Note, Origin, Output, ReplyTo, Ticket};
use dht::core::server::data::Row;
use dht::core::server::{Server, ServerConfig};
use dht::core::wire::cells::CellRef;
use dht::core::wire::part::Part;
use dht::core::wire::peer::{Body, RequestId, Version};

use super::stage::{READ, Stage, entry, leader_call, peer, replies, said_to};

const WRITE: &str = r#"{"cmd": "dht_write", "key": "k", "val": 1,
    "dht": {"client": 7, "number": 1, "revision": 1}}"#;

/// The map that a driver keeps for a server.
#[derive(Default)]
struct Disk(BTreeMap<Vec<u8>, Vec<u8>>);

impl Disk {
    /// Takes in what a step asks to be stored; the ticket, where there is anything.
    fn take(&mut self, out: &[Output]) -> Option<Ticket> {
        let mut last = None;
        for output in out {
            let Output::Store { ticket, edits } = output else { continue };
            edits.iter().for_each(|edit| edit.apply(&mut self.0));
            last = Some(*ticket);
        }
        last
    }

    fn rows(&self) -> Vec<Row> {
        self.0.iter().map(|(key, value)| Row::decode(key, value).unwrap()).collect()
    }

    /// A server on what is there, not started.
    fn server(&self, seed: u64) -> Server {
        let config = ServerConfig { seed, port: 1, ..ServerConfig::default() };
        Server::with_data(config, self.rows())
    }

    /// Starts a server whose heartbeat meets nobody: its view leader is away.
    fn start_alone(&mut self, seed: u64) -> Server {
        let mut server = self.server(seed);
        let mut out = Vec::new();
        server.handle(0, Input::Start, &mut out);
        let ticket = self.take(&out).expect("who it is, is stored first");
        server.handle(0, Input::Persisted { ticket }, &mut out);
        let (call, _) = leader_call(&out, "heartbeat").expect("a heartbeat at the start");
        out.clear();
        server.handle(1, Input::Returned { call, result: Err(CallError::Refused) }, &mut out);
        server
    }

    /// Starts a server on what is there.
    fn start(&mut self, seed: u64) -> Stage {
        Stage::with(self.server(seed), |server, out| {
            let ticket = self.take(out).expect("who it is, is stored first");
            assert!(leader_call(out, "heartbeat").is_none(), "nobody hears of it before");
            server.handle(0, Input::Persisted { ticket }, out);
        })
    }
}

/// What a step does, and then what it does once all is on disk.
fn stored(stage: &mut Stage, disk: &mut Disk, out: &[Output]) -> Vec<Output> {
    let ticket = disk.take(out).expect("something is stored");
    let mut later = Vec::new();
    stage.server.handle(stage.now, Input::Persisted { ticket }, &mut later);
    disk.take(&later);
    later
}

/// A primary with this other active server, which has what it has on disk.
fn primary(disk: &mut Disk, other: &str) -> Stage {
    let mut stage = disk.start(1);
    let out = stage.assign(entry(1, 1, vec![stage.me(), peer(other)]));
    stored(&mut stage, disk, &out);
    stage
}

fn prepare(revision: u64, number: u64) -> Body<'static> {
    let slot = slot_of(b"k");
    let version = Version { revision, sequence: number };
    Body::Prepare {
        span: Span(slot, slot + 1, revision),
        number,
        cell: CellRef::of("k", version, "1"),
        id: RequestId { client: 7, number: 1 },
        repeated: false,
        voted: false,
    }
}

#[test]
fn a_write_waits_for_the_primarys_own_disk() {
    let mut disk = Disk::default();
    let mut stage = disk.start(1);
    let out = stage.assign(entry(1, 1, vec![stage.me()]));
    assert!(replies(&out).is_empty(), "the leader hears that it is adopted once it is on disk");
    assert_eq!(replies(&stored(&mut stage, &mut disk, &out)).len(), 1);
    let out = stage.request(WRITE);
    assert!(replies(&out).is_empty());
    assert!(replies(&stage.request(READ))[0].contains("not_found"), "nor is it to be seen");
    let later = stored(&mut stage, &mut disk, &out);
    assert!(replies(&later)[0].contains(r#""status": "ok""#), "{:?}", replies(&later));
    assert!(replies(&stage.request(READ))[0].contains(r#""value": 1"#), "a read waits for nothing");
}

#[test]
fn it_goes_to_the_replicas_before_and_needs_both() {
    let mut disk = Disk::default();
    let mut stage = primary(&mut disk, "b");
    let out = stage.request(WRITE);
    let said = said_to(&out, "b");
    let number = said.iter().find_map(|body| match body {
        Body::Prepare { number, .. } => Some(*number),
        _ => None,
    });
    let number = number.expect("it is sent at once");
    assert!(replies(&stored(&mut stage, &mut disk, &out)).is_empty(), "b does not have it");
    let done = stage.hear(&peer("b"), Body::Prepared { revision: 1, number });
    assert!(replies(&done)[0].contains(r#""status": "ok""#));
}

#[test]
fn a_replica_says_that_it_holds_a_write_once_its_disk_has_it() {
    let mut disk = Disk::default();
    let mut stage = disk.start(1);
    let out = stage.assign(entry(1, 1, vec![peer("b"), stage.me()]));
    stored(&mut stage, &mut disk, &out);
    let out = stage.hear(&peer("b"), prepare(1, 5));
    assert!(said_to(&out, "b").is_empty());
    // Asked again meanwhile it does not say so either: it has it in memory alone.
    let again = stage.hear(&peer("b"), prepare(1, 5));
    assert!(said_to(&again, "b").is_empty());
    let later = stored(&mut stage, &mut disk, &out);
    let held = |body: &Body| matches!(body, Body::Prepared { number: 5, .. });
    assert_eq!(said_to(&later, "b").iter().filter(|body| held(body)).count(), 1);
    let kept = |row: &Row| matches!(row, Row::Cell(_, name, _) if name.as_bytes() == b"k");
    assert!(disk.rows().iter().any(kept));
}

#[test]
fn one_that_comes_back_is_another_and_has_what_it_had() {
    let mut disk = Disk::default();
    let mut stage = disk.start(1);
    let out = stage.assign(entry(1, 1, vec![stage.me()]));
    stored(&mut stage, &mut disk, &out);
    let out = stage.request(WRITE);
    stored(&mut stage, &mut disk, &out);
    let out = stage.request(r#"{"cmd": "set", "key": "own", "val": 2}"#);
    assert!(replies(&out).is_empty(), "`set` waits too");
    assert_eq!(replies(&stored(&mut stage, &mut disk, &out)).len(), 1);
    // The same seed, and yet another identity.
    let mut again = disk.start(1);
    assert_ne!(again.id, stage.id);
    assert_eq!(again.server.audit().was(), std::slice::from_ref(&stage.id));
    assert!(replies(&again.request(READ))[0].contains("moved"), "it serves nothing by itself");
    let own = again.request(r#"{"cmd": "get", "key": "own"}"#);
    assert!(replies(&own)[0].contains(r#""value": 2"#));
    // The leader hands the range to it: nothing is missing, and nothing is executed again.
    let out = again.assign(entry(3, 3, vec![again.me()]));
    stored(&mut again, &mut disk, &out);
    assert!(replies(&again.request(READ))[0].contains(r#""value": 1"#));
    let retry = WRITE.replace(r#""revision": 1"#, r#""revision": 1, "repeated": true"#);
    let out = again.request(&retry);
    assert!(replies(&out)[0].contains(r#""status": "ok""#));
    assert!(disk.take(&out).is_none(), "it was remembered");
}

/// A server that held a write, and joins anew at revision 2; what it says it has put aside.
fn joins_anew(disk: &mut Disk) -> (Stage, Vec<(u16, u64)>) {
    let mut stage = primary(disk, "b");
    let out = stage.request(WRITE);
    stored(&mut stage, disk, &out);
    let mut joined = entry(2, 2, vec![peer("b")]);
    joined.joining = vec![Joiner(stage.id.clone(), "here:1".to_string(), 2)];
    let out = stage.assign(joined);
    stored(&mut stage, disk, &out);
    let get = stage.request(r#"{"cmd": "get", "key": "k"}"#);
    assert!(replies(&get)[0].contains("not_found"), "it may be a write that never was");
    let span = Span(0, 10_000, 2);
    let out = stage.hear(&peer("b"), Body::Confirm { span, round: 0 });
    let said = said_to(&out, "b");
    let [Body::Holdings { span: of, slots }] = &said[..] else { panic!("{said:?}") };
    assert_eq!(*of, span);
    (stage, slots.clone())
}

fn cells(disk: &Disk) -> Vec<u64> {
    let rows = disk.rows().into_iter();
    let sequences = rows.filter_map(|row| match row {
        Row::Cell(_, _, cell) => Some(cell.version.sequence),
        _ => None,
    });
    sequences.collect()
}

#[test]
fn a_joiner_holds_again_what_it_had_where_the_primary_has_the_same() {
    let mut disk = Disk::default();
    let (mut stage, slots) = joins_anew(&mut disk);
    let [(slot, fingerprint)] = slots[..] else { panic!("{slots:?}") };
    assert_eq!(slot, slot_of(b"k"));
    let span = Span(slot, slot + 1, 2);
    let other = Body::Keep { span, number: 8, fingerprint: fingerprint + 1 };
    assert!(said_to(&stage.hear(&peer("b"), other), "b").is_empty());
    let out = stage.hear(&peer("b"), Body::Keep { span, number: 9, fingerprint });
    assert_eq!(said_to(&out, "b"), [Body::ChunkHeld { span, number: 9 }]);
    let get = stage.request(r#"{"cmd": "get", "key": "k"}"#);
    assert!(replies(&get)[0].contains(r#""value": 1"#));
    assert_eq!(cells(&disk).len(), 1);
    // It is asked no more what it has aside.
    let out = stage.hear(&peer("b"), Body::Confirm { span: Span(0, 10_000, 2), round: 0 });
    assert!(matches!(said_to(&out, "b")[..], [Body::Confirmed { .. }]));
}

#[test]
fn what_a_joiner_had_goes_from_the_disk_too_when_the_slot_comes() {
    let mut disk = Disk::default();
    let (mut stage, slots) = joins_anew(&mut disk);
    let span = Span(slots[0].0, slots[0].0 + 1, 2);
    // A write that came meanwhile, of another name, stays.
    let version = Version { revision: 2, sequence: 77 };
    let prepare = Body::Prepare {
        span,
        number: 3,
        cell: CellRef::of("other", version, "2"),
        id: RequestId { client: 8, number: 1 },
        repeated: false,
        voted: false,
    };
    let out = stage.hear(&peer("b"), prepare);
    stored(&mut stage, &mut disk, &out);
    assert_eq!(cells(&disk).len(), 2);
    let part = Part { last: true, ..Part::default() };
    let out = stage.hear(&peer("b"), Body::Chunk { span, number: 4, part });
    let later = stored(&mut stage, &mut disk, &out);
    assert_eq!(said_to(&later, "b"), [Body::ChunkHeld { span, number: 4 }]);
    assert_eq!(cells(&disk), [77]);
}

#[test]
fn it_is_asked_to_leave_before_a_leader_knows_it() {
    let mut disk = Disk::default();
    let mut stage = primary(&mut disk, "b");
    let out = stage.request(WRITE);
    stored(&mut stage, &mut disk, &out);
    let mut server = disk.start_alone(3);
    let mut out = Vec::new();
    server.handle(1, Input::Leave, &mut out);
    let left = |output: &Output| matches!(output, Output::Note(Note::Left));
    assert!(!out.iter().any(left), "a range may wait for what it has");
    let (_, message) = leader_call(&out, "heartbeat").expect("it asks to be let go");
    let message = String::from_utf8(message).unwrap();
    assert!(message.contains(r#""leaving":true"#) && message.contains(r#""keeps":true"#));
}

#[test]
fn no_identity_is_forgotten_before_a_leader_has_accepted_a_later_one() {
    let mut disk = Disk::default();
    let mut stage = primary(&mut disk, "b");
    let out = stage.request(WRITE);
    stored(&mut stage, &mut disk, &out);
    let mut started = vec![stage.id.clone()];
    for seed in 0..40 {
        // Nobody answers its heartbeat.
        let mut server = disk.server(seed);
        let mut out = Vec::new();
        server.handle(0, Input::Start, &mut out);
        disk.take(&out);
        assert_eq!(server.audit().was(), started);
        started.push(server.audit().id().clone());
    }
    let accepted = disk.start(99);
    let was = accepted.server.audit().was();
    assert!(was.len() < 20 && was.contains(&stage.id), "the holds name the first: {was:?}");
}

#[test]
fn what_overtakes_an_own_value_does_so_after_a_restart_too() {
    let mut disk = Disk::default();
    let mut stage = disk.start(1);
    let out = stage.assign(entry(1, 1, vec![stage.me()]));
    stored(&mut stage, &mut disk, &out);
    let out = stage.request(r#"{"cmd": "set", "key": "k", "val": 7}"#);
    stored(&mut stage, &mut disk, &out);
    let out = stage.request(WRITE);
    let ticket = disk.take(&out).unwrap();
    let mut later = Vec::new();
    stage.server.handle(0, Input::Persisted { ticket }, &mut later);
    assert!(replies(&later).is_empty(), "a crash now would show the older value again");
    assert_eq!(replies(&stored(&mut stage, &mut disk, &later)).len(), 1);
}

#[test]
fn setr_of_an_original_client_waits_for_the_view_leader() {
    let mut disk = Disk::default();
    primary(&mut disk, "b");
    let mut server = disk.start_alone(3);
    let mut out = Vec::new();
    let message = br#"{"cmd": "setr", "key": "k", "val": 5}"#;
    let origin = Origin::default();
    server.handle(1, Input::frame(ReplyTo(4), &origin, message), &mut out);
    assert!(disk.take(&out).is_none() && replies(&out).is_empty(), "the ring decides");
    assert!(leader_call(&out, "query_servers").is_some());
}
