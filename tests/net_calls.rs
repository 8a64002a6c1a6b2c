//! What a node does with the connections that it opens.
#![cfg(feature = "net")]

mod net_support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use dht::core::wire::frame::{PEER_MARK, encode};
use dht::net::Limits;

use net_support::{PATIENCE, Wire, crowded, nobody, toy, toy_of, wait_for};

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    (listener, addr)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one frame's message.
fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut message = vec![0; i32::from_be_bytes(header) as usize];
    stream.read_exact(&mut message).unwrap();
    message
}

#[test]
fn a_call_gives_the_reply() {
    let (asked, asking) = (toy(Limits::default()), toy(Limits::default()));
    let mut wire = Wire::to(&asking);
    for pool in ["own", "pool", "pool"] {
        let request = format!("call {pool} 5000 {} keep hello", asked.address());
        assert_eq!(wire.ask(&request), "ok hello");
    }
    let name = asked.address().replace("127.0.0.1", "localhost");
    assert_eq!(wire.ask(&format!("call own 5000 {name} keep hello")), "ok hello");
}

#[test]
fn a_call_to_nobody_is_refused() {
    let node = toy(Limits::default());
    let mut wire = Wire::to(&node);
    let (_socket, addr) = nobody();
    for pool in ["own", "pool"] {
        assert_eq!(wire.ask(&format!("call {pool} 5000 {addr} x")), "refused");
    }
}

#[test]
fn a_call_that_cannot_be_sent_says_so() {
    let node = toy(Limits::default());
    let mut wire = Wire::to(&node);
    assert!(wire.ask("call own 5000 nothing x").starts_with("not sent: "));
    let (_crowded, _waiting, addr) = crowded();
    let reply = wire.ask(&format!("call own 200 {addr} x"));
    assert_eq!(reply, "not sent: timed out while connecting");
}

#[test]
fn a_call_without_a_reply_is_lost() {
    let node = toy(Limits::default());
    let mut wire = Wire::to(&node);
    let (listener, addr) = listen();
    wire.send(&format!("call own 100 {addr} silent"));
    let silent = accept(&listener);
    assert_eq!(wire.receive().unwrap(), "lost: no reply in time");
    drop(silent);
    wire.send(&format!("call pool 5000 {addr} hang up"));
    let mut rude = accept(&listener);
    assert_eq!(read_frame(&mut rude), b"hang up");
    drop(rude);
    assert_eq!(wire.receive().unwrap(), "lost: the connection closed before the reply");
    wire.send(&format!("call pool 5000 {addr} bad"));
    let mut bad = accept(&listener);
    assert_eq!(read_frame(&mut bad), b"bad");
    bad.write_all(&[0; 4]).unwrap();
    assert_eq!(wire.receive().unwrap(), "lost: reply: message length 0 is not positive");
}

#[test]
fn a_pooled_connection_is_used_again_and_its_end_is_seen_at_once() {
    let node = toy(Limits::default());
    let mut wire = Wire::to(&node);
    let (listener, addr) = listen();
    wire.send(&format!("call pool 5000 {addr} one"));
    let mut stream = accept(&listener);
    for (request, next) in [("one", Some("two")), ("two", None)] {
        assert_eq!(read_frame(&mut stream), request.as_bytes());
        stream.write_all(&encode(b"fine")).unwrap();
        assert_eq!(wire.receive().unwrap(), "ok fine");
        if let Some(next) = next {
            wire.send(&format!("call pool 5000 {addr} {next}"));
        }
    }
    drop(stream);
    drop(listener);
    assert_eq!(wait_for(&node, "gone", |gone| !gone.is_empty()), addr);
    assert_eq!(wire.ask(&format!("call pool 5000 {addr} three")), "refused");
}

#[test]
fn frames_for_a_server_arrive_in_order_on_one_connection() {
    let (from, to) = (toy(Limits::default()), toy(Limits::default()));
    let mut wire = Wire::to(&from);
    let wanted: Vec<String> = (0..200).map(|at| at.to_string()).collect();
    for text in &wanted {
        wire.send(&format!("send {} {text}", to.address()));
    }
    for _ in &wanted {
        assert_eq!(wire.receive().unwrap(), "sent");
    }
    let wanted = wanted.join(",");
    wait_for(&to, "heard", |heard| heard == wanted);
    assert_eq!(wire.ask("gone"), "");
    let addr = to.address().to_owned();
    to.stop();
    assert_eq!(wait_for(&from, "gone", |gone| !gone.is_empty()), addr);
    // The next frame opens another connection, or finds that it cannot.
    wire.ask(&format!("send {addr} x"));
    wait_for(&from, "gone", |gone| gone == format!("{addr},{addr}"));
}

#[test]
fn frames_for_nobody_are_a_disconnection() {
    let node = toy(Limits::default());
    let (_socket, addr) = nobody();
    assert_eq!(Wire::to(&node).ask(&format!("send {addr} x")), "sent");
    assert_eq!(wait_for(&node, "gone", |gone| !gone.is_empty()), addr);
}

#[test]
fn frames_that_nobody_takes_do_not_pile_up() {
    let node = toy(Limits { send_queue_bytes_max: 100_000, ..Limits::default() });
    let (listener, addr) = listen();
    let mut wire = Wire::to(&node);
    let text = "x".repeat(50_000);
    let gone = net_support::wait_until(|| {
        wire.ask(&format!("send {addr} {text}"));
        Some(wire.ask("gone")).filter(|gone| !gone.is_empty())
    });
    assert_eq!(gone, addr);
    // What did arrive is whole frames in order, up to where the connection was given up.
    let mut stream = accept(&listener);
    assert_eq!(read_frame(&mut stream)[0], PEER_MARK);
}

#[test]
fn a_call_to_the_leader_reaches_the_configured_address() {
    let leader = toy(Limits::default());
    let node = toy_of(leader.address(), Limits::default());
    let mut wire = Wire::to(&node);
    assert_eq!(wire.ask("call pool 5000 leader keep {}"), "ok {}");
    let error = r#"{"error": "no"}"#;
    assert_eq!(wire.ask(&format!("call own 5000 leader keep {error}")), format!("ok {error}"));
    leader.stop();
    wait_for(&node, "gone", |gone| gone == leader.address());
    assert_eq!(wire.ask("call pool 5000 leader keep {}"), "refused");
}

#[test]
fn a_slow_call_delays_nobody() {
    let node = toy(Limits::default());
    let (listener, addr) = listen();
    let mut waiting = Wire::to(&node);
    waiting.send(&format!("call own 60000 {addr} x"));
    let mut stream = accept(&listener);
    assert_eq!(Wire::to(&node).ask("keep me"), "me");
    assert_eq!(read_frame(&mut stream), b"x");
    stream.write_all(&encode(b"y")).unwrap();
    assert_eq!(waiting.receive().unwrap(), "ok y");
}

#[test]
fn many_calls_at_once_each_get_their_own_reply() {
    let (asked, asking) = (toy(Limits::default()), toy(Limits::default()));
    thread::scope(|scope| {
        for worker in 0..8 {
            let (asked, asking) = (&asked, &asking);
            scope.spawn(move || {
                let mut wire = Wire::to(asking);
                for at in 0..50 {
                    let text = format!("{worker}-{at}");
                    let request = format!("call pool 5000 {} keep {text}", asked.address());
                    assert_eq!(wire.ask(&request), format!("ok {text}"));
                }
            });
        }
    });
}
