//! What a node does with the connections that others open.
#![cfg(feature = "net")]

mod net_support;

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use dht::core::machine::Note;
use dht::core::wire::frame::encode;
use dht::net::{Limits, Node, NodeOptions};
use net_support::{PATIENCE, Toy, Wire, toy, wait_until};

/// Limits under which a test need not wait long.
fn hasty() -> Limits {
    Limits { half_frame_ms: 100, linger_ms: 100, drain_ms: 200, ..Limits::default() }
}

/// Limits under which nothing is closed for being late.
fn patient() -> Limits {
    let hour = 3_600_000;
    Limits { half_frame_ms: hour, linger_ms: hour, ..Limits::default() }
}

#[test]
fn every_frame_that_cannot_be_read_is_answered_with_an_error() {
    let limits = Limits { message_bytes_max: 1_000, ..patient() };
    let node = toy(limits);
    let cases: [(&[u8], &str); 4] = [
        (&0i32.to_be_bytes(), "message length 0 is not positive"),
        (&(-1i32).to_be_bytes(), "message length -1 is not positive"),
        (&i32::MIN.to_be_bytes(), "message length -2147483648 is not positive"),
        (
            &[&1_001i32.to_be_bytes()[..], &[b'x'; 1_001]].concat(),
            "message of 1001 bytes is over the limit of 1000; see --max-message-size",
        ),
    ];
    for (bytes, why) in cases {
        let mut wire = Wire::to(&node);
        wire.0.write_all(bytes).unwrap();
        // What follows must not turn the reply into a reset.
        wire.0.write_all(&[b'x'; 100_000]).unwrap();
        assert_eq!(wire.receive().unwrap(), format!(r#"{{"error": "{why}"}}"#));
        assert_eq!(wire.receive(), None);
        let notes = node.notes(PATIENCE).unwrap();
        let peer_ip = "127.0.0.1".to_owned();
        assert_eq!(notes, [Note::BadFrame { peer_ip, why: why.to_owned() }]);
    }
    assert_eq!(Wire::to(&node).ask(&format!("keep {}", "x".repeat(995))).len(), 995);
}

#[test]
fn requests_before_a_bad_frame_get_their_replies() {
    let node = toy(patient());
    let mut wire = Wire::to(&node);
    let bytes = [encode(b"later 50 a"), encode(b"keep b"), vec![0; 4], encode(b"keep c")];
    wire.0.write_all(&bytes.concat()).unwrap();
    assert_eq!(wire.receive().unwrap(), "a");
    assert_eq!(wire.receive().unwrap(), "b");
    assert!(wire.receive().unwrap().contains("not positive"));
    assert_eq!(wire.receive(), None);
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_replies() {
    let node = toy(patient());
    for requests in [&["plain x"][..], &["later 100 x"], &["hold x", "release"]] {
        let mut wire = Wire::to(&node);
        for request in requests {
            wire.send(request);
        }
        wire.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(wire.receive().unwrap(), "x");
        if requests.len() == 2 {
            assert_eq!(wire.receive().unwrap(), "released");
        }
        assert_eq!(wire.receive(), None);
    }
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let node = toy(patient());
    let mut wire = Wire::to(&node);
    for byte in encode(b"keep slowly") {
        wire.0.write_all(&[byte]).unwrap();
    }
    assert_eq!(wire.receive().unwrap(), "slowly");
}

#[test]
fn replies_come_in_the_order_of_the_requests() {
    let node = toy(patient());
    let mut wire = Wire::to(&node);
    let requests = ["hold a", "hold b", "later 30 c", "keep d", "release"];
    let bytes: Vec<u8> = requests.iter().flat_map(|text| encode(text.as_bytes())).collect();
    wire.0.write_all(&bytes).unwrap();
    for reply in ["a", "b", "c", "d", "released"] {
        assert_eq!(wire.receive().unwrap(), reply);
    }
}

#[test]
fn more_requests_than_may_wait_are_read_later() {
    let limits = Limits { in_flight_max: 4, ..patient() };
    let node = toy(limits);
    let mut wire = Wire::to(&node);
    let count = 100;
    for at in 0..count {
        wire.send(&format!("later 1 {at}"));
    }
    wire.0.shutdown(Shutdown::Write).unwrap();
    for at in 0..count {
        assert_eq!(wire.receive().unwrap(), at.to_string());
    }
    assert_eq!(wire.receive(), None);
}

#[test]
fn whoever_has_ended_its_side_gets_more_replies_than_may_wait() {
    let limits = Limits { reply_queue_bytes_max: 100_000, ..patient() };
    let node = toy(limits);
    let mut wire = Wire::to(&node);
    let (count, bytes) = (200, 90_000);
    let requests = encode(format!("long {bytes}").as_bytes()).repeat(count);
    wire.0.write_all(&requests).unwrap();
    wire.0.shutdown(Shutdown::Write).unwrap();
    for _ in 0..count {
        assert_eq!(wire.receive().unwrap().len(), bytes);
    }
    assert_eq!(wire.receive(), None);
}

#[test]
fn replies_nobody_takes_stop_the_reading_of_requests_and_nobody_else() {
    let limits = Limits { reply_queue_bytes_max: 100_000, ..patient() };
    let node = toy(limits);
    let mut greedy = Wire::to(&node);
    let count = 300;
    for _ in 0..count {
        greedy.send("long 100000");
    }
    assert_eq!(Wire::to(&node).ask("keep me"), "me");
    for _ in 0..count {
        assert_eq!(greedy.receive().unwrap().len(), 100_000);
    }
}

#[test]
fn a_half_sent_frame_is_dropped_and_delays_nobody() {
    let node = toy(Limits { half_frame_ms: 200, ..patient() });
    let mut half = Wire::to(&node);
    let started = Instant::now();
    half.0.write_all(&[0, 0]).unwrap();
    assert_eq!(Wire::to(&node).ask("keep me"), "me");
    assert_eq!(half.receive(), None);
    assert!(started.elapsed() >= Duration::from_millis(200));
    let Note::BadFrame { why, .. } = node.notes(PATIENCE).unwrap().remove(0) else { panic!() };
    assert_eq!(why, "half a message, and no more of it");
}

#[test]
fn two_bytes_and_a_hang_up_harm_nobody() {
    let node = toy(patient());
    Wire::to(&node).0.write_all(&[0, 0]).unwrap();
    let Note::BadFrame { why, .. } = node.notes(PATIENCE).unwrap().remove(0) else { panic!() };
    assert_eq!(why, "half a message, and the connection closed");
    assert_eq!(Wire::to(&node).ask("keep me"), "me");
}

#[test]
fn a_plain_request_is_followed_by_a_short_wait_and_the_close() {
    let node = toy(hasty());
    let mut once = Wire::to(&node);
    let started = Instant::now();
    assert_eq!(once.ask("plain x"), "x");
    assert_eq!(once.receive(), None);
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[test]
fn who_sends_a_second_request_or_announces_itself_is_kept() {
    let node = toy(hasty());
    let mut twice = Wire::to(&node);
    let mut keeper = Wire::to(&node);
    let mut silent = Wire::to(&node);
    assert_eq!(keeper.ask("keep x"), "x");
    // Both at once: the second must not come too late.
    twice.0.write_all(&[encode(b"plain x"), encode(b"plain y")].concat()).unwrap();
    assert_eq!(twice.receive().unwrap(), "x");
    assert_eq!(twice.receive().unwrap(), "y");
    // A connection that is closed after its wait shows that the others have had theirs.
    for _ in 0..3 {
        let mut once = Wire::to(&node);
        assert_eq!(once.ask("plain x"), "x");
        assert_eq!(once.receive(), None);
    }
    assert_eq!(twice.ask("plain z"), "z");
    assert_eq!(keeper.ask("keep z"), "z");
    assert_eq!(silent.ask("keep z"), "z");
}

#[test]
fn after_a_reply_that_closes_nothing_more_is_served() {
    let node = toy(patient());
    let mut wire = Wire::to(&node);
    wire.0.write_all(&[encode(b"close x"), encode(b"keep y")].concat()).unwrap();
    assert_eq!(wire.receive().unwrap(), "x");
    assert_eq!(wire.receive(), None);
}

#[test]
fn a_thousand_idle_connections_do_not_disturb_the_others() {
    let node = toy(patient());
    let idle: Vec<_> = (0..idle_count()).map(|_| Wire::to(&node)).collect();
    let mut wire = Wire::to(&node);
    for at in 0..1_000 {
        assert_eq!(wire.ask(&format!("keep {at}")), at.to_string());
    }
    for (at, mut wire) in idle.into_iter().enumerate() {
        assert_eq!(wire.ask(&format!("close {at}")), at.to_string());
        assert_eq!(wire.receive(), None);
    }
}

/// A thousand, or as many as the limit of open files allows: both ends are in this process.
fn idle_count() -> usize {
    let told = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    let limit: usize = String::from_utf8(told.stdout).unwrap().trim().parse().unwrap_or(usize::MAX);
    1_000.min(limit.saturating_sub(300) / 2)
}

#[test]
fn one_connection_too_many_closes_the_one_that_is_idle_longest() {
    let node = toy(Limits { connections_max: 3, ..patient() });
    let mut busy = Wire::to(&node);
    busy.send("hold x");
    let mut oldest = Wire::to(&node);
    assert_eq!(oldest.ask("keep a"), "a");
    let mut newer = Wire::to(&node);
    assert_eq!(newer.ask("keep b"), "b");
    let mut newest = Wire::to(&node);
    assert_eq!(newest.ask("keep c"), "c");
    assert_eq!(oldest.receive(), None);
    assert_eq!(newer.ask("release"), "released");
    assert_eq!(busy.receive().unwrap(), "x");
}

#[test]
fn half_sent_frames_do_not_keep_others_out() {
    let node = toy(Limits { connections_max: 2, ..patient() });
    let mut halves = [Wire::to(&node), Wire::to(&node)];
    for half in &mut halves {
        half.0.write_all(&[0, 0]).unwrap();
    }
    assert_eq!(Wire::to(&node).ask("keep me"), "me");
    assert_eq!(halves[0].receive(), None);
}

#[test]
fn who_takes_no_last_reply_and_sends_on_is_closed() {
    let queue = 1 << 30;
    let limits =
        Limits { stalled_write_ms: 200, drain_ms: 1, reply_queue_bytes_max: queue, ..patient() };
    let node = toy(limits);
    let mut wire = Wire::to(&node);
    wire.send("long 16000000");
    wire.send("close x");
    // More than any buffer holds, so that it ends only with the connection.
    let more = vec![b'x'; 1 << 20];
    let ended = (0..1_000).any(|_| wire.0.write_all(&more).is_err());
    assert!(ended, "the connection takes it all");
}

#[test]
fn one_that_waits_for_replies_is_not_idle_however_much_it_sends() {
    let node = toy(Limits { connections_max: 2, in_flight_max: 1 << 20, ..patient() });
    let mut busy = Wire::to(&node);
    assert_eq!(busy.ask("keep a"), "a");
    let mut idle = Wire::to(&node);
    assert_eq!(idle.ask("keep b"), "b");
    // Many reads, and the third connection comes between them.
    busy.0.write_all(&encode(b"hold x").repeat(100_000)).unwrap();
    assert_eq!(Wire::to(&node).ask("keep me"), "me");
    assert_eq!(idle.receive(), None);
}

#[test]
fn the_machine_learns_who_asks() {
    let node = toy(patient());
    assert_eq!(Wire::to(&node).ask("origin"), "127.0.0.1 127.0.0.1");
}

#[test]
fn a_port_that_is_taken_is_an_error_with_its_number() {
    let node = toy(patient());
    let bind = "127.0.0.1".to_owned();
    let options = NodeOptions { bind, port: node.port(), ..NodeOptions::default() };
    let error = Node::spawn(options, |_| Toy::default()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.raw_os_error().is_some());
}

#[test]
fn a_stopped_node_gives_its_port_back_and_ends_its_notes() {
    let node = toy(patient());
    let mut wire = Wire::to(&node);
    assert_eq!(wire.ask("note"), "noted");
    let address = node.address().to_owned();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| node.stop());
        }
    });
    node.stop();
    assert_eq!(wire.receive(), None);
    assert_eq!(node.notes(PATIENCE), Some(vec![Note::AllKeys]));
    assert_eq!(node.notes(PATIENCE), None);
    assert!(node.failure().is_none());
    let options =
        NodeOptions { bind: "127.0.0.1".to_owned(), port: node.port(), ..NodeOptions::default() };
    let again = Node::spawn(options, |_| Toy::default()).unwrap();
    assert_eq!(again.address(), address);
    assert_eq!(Wire::to(&again).ask("keep x"), "x");
}

#[test]
fn on_every_interface_the_address_is_still_one_to_connect_to() {
    let node = Node::spawn(NodeOptions::default(), |_| Toy::default()).unwrap();
    assert_eq!(node.address(), format!("127.0.0.1:{}", node.port()));
    assert_eq!(Wire::to(&node).ask("keep x"), "x");
}

#[test]
fn a_machine_that_panics_ends_its_node() {
    let node = toy(patient());
    Wire::to(&node).send("panic");
    wait_until(|| node.notes(Duration::from_millis(10)).is_none().then_some(()));
    assert!(node.failure().is_some());
    assert!(TcpListener::bind(node.address()).is_ok());
}
