//! What the parts cost, each alone: `cargo bench`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use dht::core::assignment::{Entry, Joiner, NodeId, Peer, Snapshot, Span};
use dht::core::hash::{SLOT_COUNT, slot_of};
use dht::core::machine::{CallId, Input, Machine, Origin, Output, ReplyTo};
use dht::core::reply::Reply;
use dht::core::ring::Ring;
use dht::core::server::{Server, ServerConfig};
use dht::core::wire::frame;
use dht::core::wire::json::{Json, Object};
use dht::core::wire::part::Part;
use dht::core::wire::peer::{Body, Cell, Executed, PeerMessage, RequestId, Version};
use dht::core::wire::request::Request;
use dht::core::wire::text::Text;

const GET: &[u8] = br#"{"cmd": "get", "key": "key-000000000042"}"#;
const SET: &[u8] =
    br#"{"cmd": "set", "key": "key-000000000042", "val": "value-000000000042xxxxxxxxxxxx"}"#;
const WRITE: &[u8] = br#"{"cmd": "dht_write", "key": "key-000000000042", "val": "value-000000000042xxxxxxxxxxxx", "dht": {"client": 7, "number": 1, "revision": 1}}"#;
const READ: &[u8] = br#"{"cmd": "dht_read", "key": "key-000000000042", "dht": {"revision": 1}}"#;

/// How many names the server has.
const NAMES: u64 = 10_000;

/// How many names the slot has that is given away.
const NAMES_IN_SLOT: u64 = 100;

/// What a revision looks like in a ring's first era.
const REVISION: u64 = (1 << 32) + 4;

fn placement(criterion: &mut Criterion) {
    criterion.bench_function("hash: the slot of a name", |bench| {
        bench.iter(|| slot_of(black_box(b"key-000000000042")));
    });
    let servers = || (0..100u16).map(|server| (server, server * 100));
    criterion.bench_function("placement: a ring of 100 servers", |bench| {
        bench.iter(|| Ring::new(black_box(servers())).boundaries());
    });
    let ring = Ring::new(servers());
    criterion.bench_function("placement: the three servers of a slot", |bench| {
        bench.iter(|| ring.replicas(black_box(3181)));
    });
}

fn codec(criterion: &mut Criterion) {
    for (name, message) in [("get", GET), ("set", SET), ("dht_write", WRITE)] {
        criterion.bench_function(&format!("codec: read {name}"), |bench| {
            bench.iter(|| Request::parse(black_box(message)));
        });
    }
    criterion.bench_function("codec: write a reply", |bench| {
        bench.iter(|| Reply::status("ok").raw("value", black_box("\"a value\"")).finish());
    });
    let framed = frame::encode(GET);
    criterion.bench_function("codec: take a frame", |bench| {
        bench.iter(|| frame::decode(black_box(&framed), frame::FRAME_BYTES_MAX));
    });
    let (key, cell) = cell(42);
    let message = prepare(&key, &cell);
    criterion.bench_function("codec: write a prepare", |bench| bench.iter(|| message.encode()));
    let bytes = message.encode();
    criterion.bench_function("codec: read a prepare", |bench| {
        bench.iter(|| PeerMessage::decode(black_box(&bytes)));
    });
}

fn steps(criterion: &mut Criterion) {
    let mut stage = Stage::new();
    stage.assign(Vec::new(), true);
    for name in 0..NAMES {
        stage.request(&set(name));
        stage.request(&write(name));
    }
    for (name, message) in [("get", GET), ("set", SET), ("dht_read", READ)] {
        criterion.bench_function(&format!("machine: {name}"), |bench| {
            bench.iter(|| stage.request(black_box(message)));
        });
    }
    let mut number = NAMES;
    criterion.bench_function("machine: dht_write, one copy", |bench| {
        bench.iter(|| {
            number += 1;
            stage.request(&write(number % NAMES + number / NAMES * 1_000_000))
        });
    });
}

fn sync(criterion: &mut Criterion) {
    let part = part();
    let message = |to: &NodeId| {
        let body = Body::Chunk { span: Span(0, 1, 1), number: 1, part: part.clone() };
        PeerMessage { from: other(), to: to.clone(), body }
    };
    criterion.bench_function("sync: write a slot of 100 names and requests", |bench| {
        let message = message(&"0.5".into());
        bench.iter(|| message.encode());
    });
    criterion.bench_function("sync: take a slot of 100 names and requests", |bench| {
        let begin = || {
            let mut stage = Stage::new();
            stage.assign(vec![other()], false);
            let bytes = message(&stage.id).encode();
            (stage, bytes)
        };
        bench.iter_batched_ref(begin, |(stage, bytes)| stage.request(bytes), BatchSize::SmallInput);
    });
}

/// A server with a view leader played here.
struct Stage {
    server: Server,
    id: NodeId,
    out: Vec<Output>,
    replies: u64,
    origin: Origin,
}

impl Stage {
    fn new() -> Self {
        let config = ServerConfig { seed: 1, port: 1, quiet: true, ..ServerConfig::default() };
        let mut server = Server::new(config);
        let mut out = Vec::new();
        server.handle(0, Input::Start, &mut out);
        let heartbeat = out.iter().find_map(|output| match output {
            Output::Call { call, message, .. } => Some((*call, message.clone())),
            _ => None,
        });
        let (call, message) = heartbeat.expect("a heartbeat at the start");
        let requestor = Object::parse(&message).ok().and_then(|object| object.json("requestor"));
        let id = Arc::from(requestor.expect("a requestor").as_str());
        let origin = Origin { peer_ip: "127.0.0.1".into(), local_ip: "127.0.0.1".into() };
        let mut stage = Stage { server, id, out, replies: 0, origin };
        stage.answer(call);
        stage
    }

    fn answer(&mut self, call: CallId) {
        let snapshot = self.snapshot(0, Vec::new());
        let reply = Reply::status("ok").number("epoch", 1).value("dht", &snapshot).finish();
        self.server.handle(0, Input::Returned { call, result: Ok(reply) }, &mut self.out);
    }

    fn snapshot(&self, revision: u64, entries: Vec<Entry>) -> Snapshot {
        let (you, addr) = (Some(self.id.clone()), "here:1".to_owned());
        Snapshot { version: 1, you, addr, epoch: 1, revision, entries, ..Snapshot::default() }
    }

    /// Gives the server all slots, behind these: as their primary where there are none, or else as a
    /// joiner, unless it `leads`.
    fn assign(&mut self, mut active: Vec<Peer>, leads: bool) {
        let mut joining = Vec::new();
        if leads {
            active.push(Peer(self.id.clone(), "here:1".to_owned()));
        } else {
            joining.push(Joiner(self.id.clone(), "here:1".to_owned(), 1));
        }
        let entry = Entry {
            start: 0,
            end: SLOT_COUNT,
            revision: 1,
            born: 1,
            led_since: 1,
            active,
            joining,
        };
        let snapshot = self.snapshot(1, vec![entry]);
        let message = Reply::new().text("cmd", "dht_assign").value("dht", &snapshot).finish();
        self.request(&message);
    }

    /// One frame; how many bytes the outputs have.
    fn request(&mut self, message: &[u8]) -> usize {
        self.replies += 1;
        self.out.clear();
        let input = Input::frame(ReplyTo(self.replies), &self.origin, message);
        self.server.handle(0, input, &mut self.out);
        let bytes = self.out.iter().map(|output| match output {
            Output::Reply { message, .. } | Output::Send { message, .. } => message.len(),
            _ => 0,
        });
        bytes.sum()
    }
}

fn other() -> Peer {
    Peer("0.25".into(), "there:1".to_owned())
}

fn cell(name: u64) -> (Text, Cell) {
    let version = Version { revision: REVISION, sequence: 1_000_000 + name };
    let value = Json::string(&Text::from(&*format!("value-{name:012}xxxxxxxxxxxx")));
    (Text::from(&*format!("key-{name:012}")), Cell { version, value })
}

fn part() -> Part {
    let mut part = Part { last: true, ..Part::default() };
    for number in 0..NAMES_IN_SLOT {
        let (name, cell) = cell(number);
        part.cells.push(cell.named(&name));
        let id = RequestId { client: 1 << 60, number };
        part.recent.add(Executed { id, version: cell.version, repeated: false });
    }
    part
}

fn prepare<'a>(key: &'a Text, cell: &'a Cell) -> PeerMessage<'a> {
    let id = RequestId { client: 7, number: 42 };
    let span = Span(3181, 3182, 1);
    let body = Body::Prepare {
        span,
        number: 42,
        cell: cell.named(key),
        id,
        repeated: false,
        voted: false,
    };
    PeerMessage { from: other(), to: "0.5".into(), body }
}

fn set(name: u64) -> Vec<u8> {
    let value = format!("\"value-{name:012}xxxxxxxxxxxx\"");
    let reply = Reply::new().text("cmd", "set").text("key", &format!("key-{name:012}"));
    reply.raw("val", &value).finish()
}

fn write(name: u64) -> Vec<u8> {
    let value = format!("\"value-{name:012}xxxxxxxxxxxx\"");
    let dht = format!(r#"{{"client": 7, "number": {name}, "revision": 1}}"#);
    let reply =
        Reply::new().text("cmd", "dht_write").text("key", &format!("key-{:012}", name % NAMES));
    reply.raw("val", &value).raw("dht", &dht).finish()
}

criterion_group!(parts, placement, codec, steps, sync);
criterion_main!(parts);
