//! The blocking client's own side: addresses, limits, interruption.
#![cfg(feature = "net")]

mod net_support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht::core::wire::frame::encode;
use dht::core::wire::json::Json;
use dht::core::wire::text::Text;
use dht::net::{BlockingClient, ClientError, ClientOptions, Limits};
use net_support::{PATIENCE, crowded, nobody, toy, toy_of};

fn client(server: &str) -> BlockingClient {
    let (server, viewleader) = (server.to_owned(), server.to_owned());
    BlockingClient::new(ClientOptions { server, viewleader, ..ClientOptions::default() }).unwrap()
}

fn never() -> bool {
    false
}

#[test]
fn a_request_gets_its_reply() {
    let node = toy(Limits::default());
    let client = client(node.address());
    let reply = client.call_server(b"plain {\"status\": \"ok\"}", &never).unwrap();
    assert_eq!(reply, b"{\"status\": \"ok\"}");
    let reply = client.call_viewleader(b"keep {}", &never).unwrap();
    assert_eq!(reply, b"{}");
}

#[test]
fn a_long_reply_arrives_whole() {
    let node = toy(Limits::default());
    let (asking, text) = (client(node.address()), "x".repeat(3_000_000));
    let request = format!("keep {{\"value\": \"{text}\"}}");
    let reply = asking.call_server(request.as_bytes(), &never).unwrap();
    assert_eq!(reply, &request.as_bytes()[5..]);
}

#[test]
fn who_does_not_answer_well_is_not_reached() {
    let node = toy(Limits::default());
    let unreachable = |addr: &str| Err(ClientError::Unreachable(addr.to_owned()));
    let result = client(node.address()).call_server(b"keep no object", &never);
    assert_eq!(result, unreachable(node.address()));
    // Where one port was named, nobody else could know better than its error.
    let result = client(node.address()).call_server(b"keep {\"error\": \"no\"}", &never);
    assert_eq!(result, Ok(b"{\"error\": \"no\"}".to_vec()));
    let (_socket, addr) = nobody();
    assert_eq!(client(&addr).call_server(b"{}", &never), unreachable(&addr));
    assert_eq!(
        client(&addr).call_viewleader(b"{}", &never).unwrap_err().to_string(),
        format!("can't connect to {addr}")
    );
}

#[test]
fn a_message_over_the_limit_is_not_sent() {
    let options = ClientOptions { message_bytes_max: 10, ..ClientOptions::default() };
    let client = BlockingClient::new(options).unwrap();
    let error = ClientError::TooLarge { length: 11, limit: 10 };
    assert_eq!(client.call_server(&[b'x'; 11], &never), Err(error));
}

#[test]
fn an_address_of_a_wrong_form_is_refused_at_once() {
    for wrong in ["", "h:", "h:99999", ":1"] {
        let options = ClientOptions { server: wrong.to_owned(), ..ClientOptions::default() };
        let error = BlockingClient::new(options).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_blocked_call_can_be_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&silent.local_addr().unwrap().to_string());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let blocked = scope.spawn(|| {
            let check = || stop.load(Ordering::SeqCst);
            (client.call_server(b"{}", &check), Instant::now())
        });
        let _stream = silent.accept().unwrap();
        let told = Instant::now();
        stop.store(true, Ordering::SeqCst);
        let (result, ended) = blocked.join().unwrap();
        assert_eq!(result, Err(ClientError::Interrupted));
        assert!(ended - told < Duration::from_secs(2));
    });
}

#[test]
fn a_connection_that_does_not_open_can_be_given_up() {
    let (_crowded, _waiting, addr) = crowded();
    let asked = AtomicUsize::new(0);
    let check = || asked.fetch_add(1, Ordering::SeqCst) == 3;
    assert_eq!(client(&addr).call_server(b"{}", &check), Err(ClientError::Interrupted));
}

#[test]
fn a_silent_party_costs_no_more_than_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let options =
        ClientOptions { server: server.clone(), timeout_ms: 100, ..ClientOptions::default() };
    let client = BlockingClient::new(options).unwrap();
    let started = Instant::now();
    assert_eq!(client.call_server(b"{}", &never), Err(ClientError::Unanswered(server.clone())));
    let read = client.call_server(br#"{"cmd": "query_all_keys"}"#, &never).unwrap_err();
    let wanted =
        format!("no reply from {server}; it was to read only, so nothing was changed: ask again");
    assert_eq!(read.to_string(), wanted);
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_reply_in_pieces_is_one_reply() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&listener.local_addr().unwrap().to_string());
    thread::scope(|scope| {
        let asking = scope.spawn(|| client.call_server(b"{}", &never));
        let mut stream = listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        for byte in encode(br#"{"a": 1}"#) {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(asking.join().unwrap().unwrap(), br#"{"a": 1}"#);
    });
}

/// Takes a connection, reads a request, and says that connections are kept; then closes it.
fn serve_one(listener: &TcpListener) -> Vec<u8> {
    let mut stream = listener.accept().unwrap().0;
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut request = vec![0; u32::from_be_bytes(header) as usize];
    stream.read_exact(&mut request).unwrap();
    stream.write_all(&encode(br#"{"status": "ok", "dht": {"version": 1}}"#)).unwrap();
    request
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&listener.local_addr().unwrap().to_string());
    let set: &[u8] = br#"{"cmd": "set", "key": "a", "val": 1}"#;
    let get: &[u8] = br#"{"cmd": "get", "key": "a"}"#;
    for request in [get, get, set, set, get] {
        // What only reads goes out without a look, and again; what does something, after one.
        thread::scope(|scope| {
            let asking = scope.spawn(|| client.call_server(request, &never));
            assert_eq!(serve_one(&listener), request);
            assert!(asking.join().unwrap().is_ok());
        });
    }
}

#[test]
fn a_closed_client_does_nothing_more() {
    let node = toy_of("localhost", Limits::default());
    let client = client(node.address());
    client.close();
    client.close();
    assert_eq!(client.call_server(b"keep {}", &never), Err(ClientError::Closed));
    assert_eq!(client.getr(Text::from("a"), &never), Err(ClientError::Closed));
    let value = Json::parse(b"1").unwrap();
    assert_eq!(client.setr(Text::from("a"), value, &never), Err(ClientError::Closed));
}
