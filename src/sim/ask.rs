//! What people and tests do with a cluster: ask a node, have a client write and read, wait until
//! the ring is settled.

use super::cluster::Cluster;
use super::network::{Caller, Flight};
use super::node::Program;
use crate::core::client::{Op, OpError, OpId, Outcome};
use crate::core::machine::{CallError, Input, Millis, Origin, Output, ReplyTo};
use crate::core::wire::json::{Json, Object};
use crate::core::wire::text::Text;

/// How long an original client waits for a reply.
const REQUEST_TIMEOUT_MS: Millis = 5_000;

/// How long an operation of a client is waited for; its own limit is lower.
const OPERATION_WAIT_MS: Millis = 60_000;

/// How often [`Cluster::settle`] asks.
const SETTLE_POLL_MS: Millis = 50;

/// The host that requests come from where no other is named.
const OUTSIDE_IP: &str = "10.0.2.1";

/// Names a request from outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Cluster {
    /// Sends a request to a node as an original client does and lets time pass until the reply is
    /// there. Returns the reply's text, or why there is none.
    pub fn request(&mut self, name: &str, json: &str) -> Result<String, CallError> {
        let addr = self.addr(name).to_string();
        self.request_from(OUTSIDE_IP, &addr, json)
    }

    /// The same from a host of one's choice to any address.
    pub fn request_from(&mut self, ip: &str, addr: &str, json: &str) -> Result<String, CallError> {
        let ticket = self.ask(ip, addr, json);
        self.run_until(|cluster| cluster.is_answered(ticket), REQUEST_TIMEOUT_MS);
        self.answer(ticket).expect("a request ends by its timeout")
    }

    /// Sends a request and does not wait; nothing happens before time passes.
    pub fn ask(&mut self, ip: &str, addr: &str, json: &str) -> Ticket {
        self.ask_within(ip, addr, json, REQUEST_TIMEOUT_MS)
    }

    /// The same; the reply is waited for so long.
    pub fn ask_within(&mut self, ip: &str, addr: &str, json: &str, timeout_ms: Millis) -> Ticket {
        let ticket = Ticket(self.network.fresh());
        self.trace.add(self.now, || format!("outside > {addr} {json}"));
        let (caller, message) = (Caller::Outside(ticket), json.as_bytes().to_vec());
        let flight = Flight::new(caller, ip.to_string(), addr.to_string(), message);
        self.launch(flight, timeout_ms);
        ticket
    }

    /// Asks a node in no time and past all faults, as a debugger would; even one that is stopped.
    /// `None` where it does not answer at once.
    pub fn peek(&mut self, name: &str, json: &str) -> Option<String> {
        let process = self.process(name);
        let to = ReplyTo(self.network.fresh());
        let origin = Origin::default();
        let mut outputs = self.handle(process, Input::frame(to, &origin, json.as_bytes()));
        let mut found = take_reply(&mut outputs, to);
        self.perform(process, outputs);
        if found.is_none() {
            // The reply may wait for the disk.
            let mut outputs = self.sync_at_once(process);
            found = take_reply(&mut outputs, to);
            self.perform(process, outputs);
        }
        found
    }

    /// Takes the reply to a request, once it is there.
    pub fn answer(&mut self, ticket: Ticket) -> Option<Result<String, CallError>> {
        let result = self.network.answers.remove(&ticket)?;
        Some(result.map(|reply| String::from_utf8(reply).expect("a reply is ASCII")))
    }

    /// Whether the reply to a request, or why there is none, is there to be taken.
    pub fn is_answered(&self, ticket: Ticket) -> bool {
        self.network.answers.contains_key(&ticket)
    }

    /// Has a client begin an operation, and does not wait.
    pub fn begin(&mut self, client: &str, op: Op) -> OpId {
        let process = self.process(client);
        let now = self.nodes[process.node].clock.at(self.now);
        self.trace.add(self.now, || format!("{client} begins {op:?}"));
        let Some(Program::Client(machine)) = &mut self.nodes[process.node].program else {
            panic!("{client} is not a client");
        };
        let mut outputs = Vec::new();
        let id = machine.begin(now, op, &mut outputs);
        self.perform(process, outputs);
        id
    }

    /// How a client's operation ended, if it has.
    pub fn outcome(&self, client: &str, id: OpId) -> Option<&Result<Outcome, OpError>> {
        self.nodes[self.index(client)].outcomes.get(&id)
    }

    /// Has a client do an operation and lets time pass until it has ended.
    pub fn operate(&mut self, client: &str, op: Op) -> Result<Outcome, OpError> {
        let id = self.begin(client, op);
        let ended = self.run_until(|c| c.outcome(client, id).is_some(), OPERATION_WAIT_MS);
        assert!(ended, "{client} has not ended {id:?} in {OPERATION_WAIT_MS} ms");
        self.outcome(client, id).expect("it has ended").clone()
    }

    /// `setr`: has a client store `value`, JSON text, under `key`.
    pub fn client_write(
        &mut self,
        client: &str,
        key: &str,
        value: &str,
    ) -> Result<Outcome, OpError> {
        let value = Json::parse(value.as_bytes()).expect("the value is JSON");
        self.operate(client, Op::Write { key: Text::from(key), value })
    }

    /// `getr`: has a client read `key`.
    pub fn client_read(&mut self, client: &str, key: &str) -> Result<Outcome, OpError> {
        self.operate(client, Op::Read { key: Text::from(key) })
    }

    /// Lets time pass until the view leader says that every key is on its three servers; at most
    /// `within_ms`. Returns whether it did.
    pub fn settle(&mut self, leader: &str, within_ms: Millis) -> bool {
        let end = self.now + within_ms;
        while !self.is_settled(leader) {
            if self.now >= end {
                return false;
            }
            self.advance(SETTLE_POLL_MS);
        }
        true
    }

    /// Asks the view leader whether every key is on its three servers.
    pub fn is_settled(&mut self, leader: &str) -> bool {
        let Ok(reply) = self.request(leader, r#"{"cmd": "query_servers", "dht": 1}"#) else {
            return false;
        };
        let reply = Object::parse(reply.as_bytes()).expect("a reply is an object");
        let extension = reply.raw("dht").map(|raw| Object::parse(raw.as_bytes()));
        extension.is_some_and(|object| object.is_ok_and(|it| it.raw("settled") == Some("true")))
    }
}

/// Takes the reply to a request out of what a machine asks for.
fn take_reply(outputs: &mut Vec<Output>, to: ReplyTo) -> Option<String> {
    let wanted =
        |output: &Output| matches!(output, Output::Reply { to: answered, .. } if *answered == to);
    match outputs.remove(outputs.iter().position(wanted)?) {
        Output::Reply { message, .. } => {
            Some(String::from_utf8(message).expect("a reply is ASCII"))
        }
        _ => None,
    }
}
