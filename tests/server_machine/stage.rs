//! A server, and the parties around it as the tests play them.

use std::sync::Arc;

use dht::core::assignment::{Entry, NodeId, Peer, Snapshot};
use dht::core::hash::SLOT_COUNT;
use dht::core::machine::{CallId, Input, Machine, Origin, Output, ReplyTo, Target};
use dht::core::server::{Server, ServerConfig};
use dht::core::wire::json::Object;
use dht::core::wire::peer::{Body, PeerMessage};

/// A server with a leader played by the test.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) id: NodeId,
    pub(crate) now: u64,
    replies: u64,
}

impl Stage {
    /// A server that the leader has accepted.
    pub(crate) fn new() -> Self {
        let config = ServerConfig { seed: 1, port: 1, ..ServerConfig::default() };
        Stage::with(Server::new(config), |_, _| ())
    }

    /// The same of any server; `store` plays its disk, once it has started.
    pub(crate) fn with(
        mut server: Server,
        store: impl FnOnce(&mut Server, &mut Vec<Output>),
    ) -> Self {
        let mut out = Vec::new();
        server.handle(0, Input::Start, &mut out);
        store(&mut server, &mut out);
        let (call, message) = leader_call(&out, "heartbeat").expect("a heartbeat at the start");
        let id = Object::parse(&message).unwrap().json("requestor").unwrap();
        let mut stage = Stage { server, id: Arc::from(id.as_str()), now: 0, replies: 0 };
        let snapshot = stage.snapshot(0, Vec::new());
        let reply = format!(r#"{{"status": "ok", "epoch": 1, "dht": {snapshot}}}"#);
        let result = Ok(reply.into_bytes());
        stage.server.handle(0, Input::Returned { call, result }, &mut Vec::new());
        stage
    }

    pub(crate) fn snapshot(&self, revision: u64, entries: Vec<Entry>) -> String {
        let you = Some(self.id.clone());
        let addr = "here:1".to_string();
        let snapshot =
            Snapshot { version: 1, you, addr, epoch: 1, revision, entries, ..Snapshot::default() };
        serde_json::to_string(&snapshot).unwrap()
    }

    /// The leader assigns a range; returns what the server did.
    pub(crate) fn assign(&mut self, entry: Entry) -> Vec<Output> {
        let snapshot = self.snapshot(entry.revision, vec![entry]);
        self.request(&format!(r#"{{"cmd": "dht_assign", "dht": {snapshot}}}"#))
    }

    pub(crate) fn request(&mut self, message: &str) -> Vec<Output> {
        self.replies += 1;
        let to = ReplyTo(self.replies);
        self.frame(to, message.as_bytes().to_vec())
    }

    /// Another server says something.
    pub(crate) fn hear(&mut self, from: &Peer, body: Body<'_>) -> Vec<Output> {
        let message = PeerMessage { from: from.clone(), to: self.id.clone(), body };
        self.frame(ReplyTo(0), message.encode())
    }

    pub(crate) fn frame(&mut self, to: ReplyTo, message: Vec<u8>) -> Vec<Output> {
        let mut out = Vec::new();
        let origin = Origin { peer_ip: "127.0.0.1".into(), local_ip: "127.0.0.1".into() };
        self.server.handle(self.now, Input::frame(to, &origin, &message), &mut out);
        out
    }

    pub(crate) fn me(&self) -> Peer {
        Peer(self.id.clone(), "here:1".to_string())
    }
}

pub(crate) fn peer(name: &str) -> Peer {
    Peer(Arc::from(name), format!("{name}:1"))
}

pub(crate) fn entry(revision: u64, led_since: u64, active: Vec<Peer>) -> Entry {
    Entry { start: 0, end: SLOT_COUNT, revision, born: 1, led_since, active, joining: Vec::new() }
}

/// The first call to the leader of this command.
pub(crate) fn leader_call(out: &[Output], command: &str) -> Option<(CallId, Vec<u8>)> {
    out.iter().find_map(|output| match output {
        Output::Call { call, target: Target::Leader, message, .. } => {
            let said = Object::parse(message).ok()?.text("cmd")?;
            (said.as_bytes() == command.as_bytes()).then(|| (*call, message.clone()))
        }
        _ => None,
    })
}

/// The replies, as text.
pub(crate) fn replies(out: &[Output]) -> Vec<String> {
    let replies = out.iter().filter_map(|output| match output {
        Output::Reply { message, .. } => Some(String::from_utf8_lossy(message).into_owned()),
        _ => None,
    });
    replies.collect()
}

/// What was said to a server.
pub(crate) fn said_to<'a>(out: &'a [Output], name: &str) -> Vec<Body<'a>> {
    let addr = format!("{name}:1");
    let said = out.iter().filter_map(|output| match output {
        Output::Send { addr: to, message } if **to == *addr => PeerMessage::decode(message),
        _ => None,
    });
    said.map(|message| message.body).collect()
}

pub(crate) const READ: &str = r#"{"cmd": "dht_read", "key": "k", "dht": {"revision": 1}}"#;
