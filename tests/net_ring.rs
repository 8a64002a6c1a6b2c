//! A ring of real nodes on the loopback interface, used through the blocking client.
#![cfg(feature = "net")]

mod net_support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dht::core::client::OpError;
use dht::core::server::ServerConfig;
use dht::core::wire::json::Json;
use dht::core::wire::text::Text;
use dht::net::{
    BlockingClient, ClientError, ClientOptions, LeaderOptions, Node, NodeOptions, ServerOptions,
};
use net_support::{nobody, wait_until};

fn local() -> NodeOptions {
    NodeOptions { bind: "127.0.0.1".to_owned(), ..NodeOptions::default() }
}

fn leader() -> Node {
    let options = LeaderOptions { node: local(), ..LeaderOptions::default() };
    Node::spawn_leader(options).unwrap()
}

fn server(leader: &Node) -> Node {
    let viewleader = leader.address().to_owned();
    let options = ServerOptions {
        node: NodeOptions { viewleader, ..local() },
        config: ServerConfig::default(),
        ..ServerOptions::default()
    };
    Node::spawn_server(options).unwrap()
}

fn client(viewleader: &str) -> BlockingClient {
    let options = ClientOptions { viewleader: viewleader.to_owned(), ..ClientOptions::default() };
    BlockingClient::new(options).unwrap()
}

fn never() -> bool {
    false
}

fn number(at: usize) -> Json {
    Json::parse(at.to_string().as_bytes()).unwrap()
}

fn name(at: usize) -> Text {
    Text::from(format!("key {at}").as_str())
}

/// Waits until as many servers hold a new value as there shall be.
fn wait_for_servers(client: &BlockingClient, count: usize) {
    wait_until(|| {
        let written = client.setr(name(0), number(0), &never).ok()?;
        (written.len() == count).then_some(())
    });
}

#[test]
fn what_is_written_is_read_by_any_thread_and_outlives_a_server() {
    let leader = leader();
    let servers: Vec<Node> = (0..4).map(|_| server(&leader)).collect();
    let client = client(leader.address());
    wait_for_servers(&client, 3);
    thread::scope(|scope| {
        for worker in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for at in (worker..200).step_by(4) {
                    let written = client.setr(name(at), number(at), &never).unwrap();
                    assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), 3);
                    let read = client.getr(name(at), &never).unwrap();
                    assert_eq!(read, Some(number(at)));
                }
            });
        }
    });
    servers[1].stop();
    for at in 0..200 {
        assert_eq!(client.getr(name(at), &never), Ok(Some(number(at))));
    }
    assert_eq!(client.getr(Text::from("never written"), &never), Ok(None));
}

#[test]
fn without_a_leader_or_servers_the_error_says_so() {
    let (_socket, addr) = nobody();
    let error = client(&addr).getr(name(1), &never).unwrap_err();
    assert!(matches!(error, ClientError::Op(OpError::NoViewLeader(_))), "{error}");
    let leader = leader();
    let error = client(leader.address()).getr(name(1), &never).unwrap_err();
    assert_eq!(error, ClientError::Op(OpError::NoServers));
}

#[test]
fn an_operation_can_be_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let asked = AtomicUsize::new(0);
    let check = || asked.fetch_add(1, Ordering::SeqCst) == 2;
    let result = client(&addr).setr(name(1), number(1), &check);
    assert_eq!(result, Err(ClientError::Interrupted));
}

#[test]
fn a_value_over_the_limit_is_refused_and_the_client_goes_on() {
    let leader = leader();
    let _servers: Vec<Node> = (0..3).map(|_| server(&leader)).collect();
    let options = ClientOptions {
        viewleader: leader.address().to_owned(),
        message_bytes_max: 10_000,
        ..ClientOptions::default()
    };
    let client = BlockingClient::new(options).unwrap();
    wait_for_servers(&client, 3);
    let long = Json::string(&Text::from("x".repeat(10_000).as_str()));
    let error = client.setr(name(1), long, &never).unwrap_err();
    assert!(
        matches!(error, ClientError::TooLarge { .. } | ClientError::Op(OpError::TooLarge(_))),
        "{error}"
    );
    assert_eq!(client.getr(name(1), &never), Ok(None));
    assert!(client.setr(name(1), number(1), &never).is_ok());
}

#[test]
fn a_stopped_ring_is_an_error() {
    let leader = leader();
    let servers: Vec<Node> = (0..2).map(|_| server(&leader)).collect();
    let client = client(leader.address());
    wait_for_servers(&client, 2);
    leader.stop();
    for server in &servers {
        server.stop();
    }
    let options = ClientOptions {
        viewleader: leader.address().to_owned(),
        timeout_ms: 300,
        ..ClientOptions::default()
    };
    let hasty = BlockingClient::new(options).unwrap();
    assert!(hasty.getr(name(0), &never).is_err());
}

#[test]
fn servers_leave_while_clients_write_and_nobody_sees_an_error() {
    let leader = leader();
    let servers: Vec<Node> = (0..5).map(|_| server(&leader)).collect();
    let client = client(leader.address());
    wait_for_servers(&client, 3);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (client, done) = (&client, &done);
        for worker in 0..2 {
            scope.spawn(move || {
                for turn in 0.. {
                    let at = worker + 2 * (turn % 50);
                    client.setr(name(at), number(turn), &never).unwrap();
                    assert_eq!(client.getr(name(at), &never).unwrap(), Some(number(turn)));
                    if done.load(Ordering::SeqCst) > 0 {
                        return;
                    }
                }
            });
        }
        for server in &servers[..3] {
            server.leave();
            let left = server.wait(Duration::from_secs(30));
            done.fetch_add(usize::from(!left), Ordering::SeqCst);
            assert!(left, "{} still holds what others need", server.address());
        }
        done.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(client.setr(name(0), number(0), &never).unwrap().len(), 2);
}

#[test]
fn a_node_that_stands_still_answers_once_it_goes_on() {
    let leader = leader();
    let node = server(&leader);
    let seconds = Duration::from_secs(10);
    assert!(node.pause(seconds));
    let options = ClientOptions {
        server: node.address().to_owned(),
        timeout_ms: 10_000,
        ..ClientOptions::default()
    };
    let client = BlockingClient::new(options).unwrap();
    thread::scope(|scope| {
        let asks = scope.spawn(|| client.call_server(br#"{"cmd": "query_all_keys"}"#, &never));
        // It stands still: nobody answers for as long as nobody lets it go on.
        assert!(!node.wait(Duration::from_millis(100)));
        assert!(!asks.is_finished());
        node.resume();
        assert_eq!(asks.join().unwrap().unwrap(), br#"{"result": []}"#);
    });
    node.resume();
    assert!(node.pause(seconds));
    node.stop();
    assert!(node.wait(seconds));
    assert!(node.pause(seconds), "a node that has ended need not stand still");
}
