//! Clients with many calls under way, on an engine's one thread.
#![cfg(feature = "net")]

mod net_support;

use std::sync::mpsc::channel;

use dht::core::client::{Op, OpError, Outcome};
use dht::core::wire::json::Json;
use dht::core::wire::text::Text;
use dht::net::{
    Answer, ClientError, ClientOptions, Done, Engine, LeaderOptions, Node, NodeOptions, Party,
    Remote, ServerOptions, Work,
};
use net_support::{nobody, wait_until};

const COUNT: usize = 3_000;

fn never() -> bool {
    false
}

fn local() -> NodeOptions {
    NodeOptions { bind: "127.0.0.1".to_owned(), ..NodeOptions::default() }
}

fn open(engine: &Engine, viewleader: &str) -> Remote {
    let viewleader = viewleader.to_owned();
    engine.open(ClientOptions { viewleader, ..ClientOptions::default() }).unwrap()
}

fn key(at: usize) -> Text {
    Text::from(format!("key {at}").as_str())
}

fn value(at: usize) -> Json {
    Json::parse(at.to_string().as_bytes()).unwrap()
}

fn ops(remote: &Remote, ops: Vec<Op>) -> Vec<Result<Outcome, OpError>> {
    match remote.ask(Work::Ops(ops), &never) {
        Ok(Answer::Ops(ends)) => ends,
        other => panic!("{other:?}"),
    }
}

fn write(at: usize) -> Op {
    Op::Write { key: key(at), value: value(at) }
}

#[test]
fn many_operations_end_in_their_order() {
    let options = LeaderOptions { node: local(), ..LeaderOptions::default() };
    let leader = Node::spawn_leader(options).unwrap();
    let server = || {
        let viewleader = leader.address().to_owned();
        let node = NodeOptions { viewleader, ..local() };
        Node::spawn_server(ServerOptions { node, ..ServerOptions::default() }).unwrap()
    };
    let _servers = [server(), server()];
    let engine = Engine::start().unwrap();
    let remote = open(&engine, leader.address());
    wait_until(|| match &ops(&remote, vec![write(0)])[0] {
        Ok(Outcome::Written { servers }) => (servers.len() == 2).then_some(()),
        _ => None,
    });
    let written = ops(&remote, (0..COUNT).map(write).collect());
    assert!(written.iter().all(Result::is_ok));
    let read = ops(&remote, (0..=COUNT).map(|at| Op::Read { key: key(at) }).collect());
    for (at, end) in read.into_iter().enumerate() {
        let wanted = if at < COUNT { Outcome::Value(value(at)) } else { Outcome::NotFound };
        assert_eq!(end, Ok(wanted));
    }
    let request = br#"{"cmd": "query_servers"}"#.to_vec();
    let reply = remote.ask(Work::Call(Party::ViewLeader, request), &never);
    assert!(matches!(reply, Ok(Answer::Call(Ok(_)))), "{reply:?}");
}

#[test]
fn nobody_there_is_told_for_each() {
    let (_socket, addr) = nobody();
    let remote = open(&Engine::start().unwrap(), &addr);
    for end in ops(&remote, (0..20).map(write).collect()) {
        assert!(matches!(end, Err(OpError::NoViewLeader(_))), "{end:?}");
    }
    let call = Work::Call(Party::Addr(addr.clone()), b"{}".to_vec());
    match remote.ask(call, &never) {
        Ok(Answer::Call(Err(error))) => assert_eq!(error, ClientError::Unreachable(addr)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_is_told_when_the_client_is_closed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let remote = open(&Engine::start().unwrap(), &addr);
    let (sender, receiver) = channel();
    for work in [Work::Ops(vec![write(1)]), Work::Call(Party::ViewLeader, b"{}".to_vec())] {
        let sender = sender.clone();
        remote.begin(work, |_| Done::new(move |answer| sender.send(answer).unwrap()));
    }
    let interrupted = remote.ask(Work::Ops(vec![write(2)]), &|| true);
    assert_eq!(interrupted.unwrap_err(), ClientError::Interrupted);
    drop(remote);
    for _ in 0..2 {
        assert!(matches!(receiver.recv(), Ok(Answer::Abandoned)));
    }
}
