//! Which connections clients keep open, and what they send on one that was used before.
#![cfg(feature = "net")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dht::core::wire::frame::encode;
use dht::core::wire::request::only_reads;
use dht::net::{Answer, BlockingClient, ClientError, ClientOptions, Engine, Party, Remote, Work};

const GET: &str = r#"{"cmd": "get", "key": "a"}"#;
const SET: &str = r#"{"cmd": "set", "key": "a", "val": 1}"#;
const OK: &str = r#"{"status": "ok"}"#;
const KEEPS: &str = r#"{"status": "ok", "dht": {"version": 1}}"#;

fn never() -> bool {
    false
}

/// What a party does with the second request on a connection.
#[derive(Clone, Copy)]
enum Second {
    Answer,
    /// It closes as the request comes in, as a party of the original does whose close is late.
    Refuse,
    /// It reads the request, and closes without a reply.
    Swallow,
}

/// Listens until the test ends, and counts connections and what was read.
struct Listening {
    addr: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

fn party(reply: &'static str, second: Second) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (opened, read) = (connections.clone(), requests.clone());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            opened.fetch_add(1, Ordering::SeqCst);
            let read = read.clone();
            thread::spawn(move || serve(&stream, reply, second, &read));
        }
    });
    Listening { addr, connections, requests }
}

fn serve(mut stream: &TcpStream, reply: &str, second: Second, read: &AtomicUsize) {
    for number in 0.. {
        let comes = stream.peek(&mut [0]).is_ok_and(|count| count > 0);
        if !comes || (number > 0 && matches!(second, Second::Refuse)) {
            return;
        }
        let mut header = [0; 4];
        stream.read_exact(&mut header).unwrap();
        let mut message = vec![0; i32::from_be_bytes(header) as usize];
        stream.read_exact(&mut message).unwrap();
        read.fetch_add(1, Ordering::SeqCst);
        if number > 0 && matches!(second, Second::Swallow) {
            return;
        }
        stream.write_all(&encode(reply.as_bytes())).unwrap();
    }
}

impl Listening {
    fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

/// Both kinds of clients, by what they do with one request.
type Ask = Box<dyn Fn(&str) -> Result<Vec<u8>, ClientError>>;

fn clients(addr: &str) -> [Ask; 2] {
    let options = ClientOptions { server: addr.to_owned(), ..ClientOptions::default() };
    let blocking = BlockingClient::new(options.clone()).unwrap();
    let engine = Engine::start().unwrap();
    let remote = engine.open(options).unwrap();
    [
        Box::new(move |request| blocking.call_server(request.as_bytes(), &never)),
        Box::new(move |request| ask(&engine, &remote, request)),
    ]
}

fn ask(_engine: &Engine, remote: &Remote, request: &str) -> Result<Vec<u8>, ClientError> {
    match remote.ask(Work::Call(Party::Server, request.as_bytes().to_vec()), &never) {
        Ok(Answer::Call(result)) => result,
        other => panic!("{other:?}"),
    }
}

/// Each client sends these to a party of its own: how the last ended, and how many connections and
/// requests the party saw.
fn sends(reply: &'static str, second: Second, requests: &[&str], ends: bool, seen: (usize, usize)) {
    for which in 0..2 {
        let party = party(reply, second);
        let client = &clients(&party.addr)[which];
        let (last, before) = requests.split_last().unwrap();
        for request in before {
            assert_eq!(client(request).unwrap(), reply.as_bytes(), "client {which}");
        }
        let wanted = ends.then(|| reply.as_bytes().to_vec());
        let reads = only_reads(last.as_bytes());
        let unanswered = ClientError::unanswered(party.addr.clone(), reads);
        assert_eq!(client(last), wanted.ok_or(unanswered), "client {which}");
        assert_eq!(party.counts(), seen, "client {which}");
    }
}

#[test]
fn a_party_that_keeps_its_connections_has_one() {
    sends(KEEPS, Second::Answer, &[SET, SET, GET, SET], true, (1, 4));
    sends(OK, Second::Answer, &[GET, GET, SET, SET], true, (1, 4));
}

#[test]
fn what_does_something_goes_on_no_connection_that_may_be_closing() {
    sends(OK, Second::Refuse, &[SET, SET, GET, SET], true, (4, 4));
    sends(OK, Second::Answer, &[SET, SET], true, (2, 2));
}

#[test]
fn what_reads_is_sent_again_where_the_connection_has_closed() {
    sends(OK, Second::Refuse, &[GET, GET, GET], true, (3, 3));
    sends(OK, Second::Swallow, &[GET, GET], true, (2, 3));
}

#[test]
fn what_may_have_happened_is_not_sent_again() {
    sends(KEEPS, Second::Swallow, &[SET, SET], false, (1, 2));
}
