//! Servers with disks, as the view leader sees them: their processes end, and their data come back.

use dht::core::leader::LeaderConfig;
use dht::core::machine::{CallError, Input, Note, Output};

use super::{Stage, says};

const KEEPS: &str = r#""keeps": true"#;

/// Of one without a disk.
const MUTE: &str = r#""keeps": false"#;

/// What a server that comes back says of itself: who it was, and what it holds.
fn comes_back(was: &str, active: &str) -> String {
    let holds = format!(
        r#"[{{"start": 0, "end": 10000, "revision": 1, "born": 1, "led_since": 1,
        "active": [["{active}", "127.0.0.1:1"]], "joining": []}}]"#
    );
    format!(r#"{KEEPS}, "seen": 1, "was": ["{was}"], "holds": {holds}"#)
}

/// A leader with one server, which is active everywhere.
fn alone(more: &str) -> Stage {
    let mut stage = Stage::new(LeaderConfig { listen_ms: 0, ..LeaderConfig::default() });
    stage.handle(Input::Start);
    stage.handle(Input::Tick);
    stage.ask_here(&says(1, "0.5", more));
    stage
}

/// Somebody finds that the one server refuses connections, and so does the leader.
fn dies(stage: &mut Stage) {
    stage.ask_here(
        r#"{"cmd": "dht_report", "dht": {"version": 1, "id": "0.5", "refused": ["0.5"]}}"#,
    );
    while let Some((call, _)) = stage.calls("127.0.0.1:1").into_iter().next() {
        stage.handle(Input::Returned { call, result: Err(CallError::Refused) });
    }
    assert!(stage.failed());
}

/// Whether a server that comes new gets nothing, since the one that died may come back.
fn waits_for_it(stage: &mut Stage) -> bool {
    let reply = stage.ask_here(&says(2, "0.7", MUTE));
    !reply.contains(r#""active":[["0.7""#)
}

fn drops(stage: &Stage, addr: &str) -> bool {
    stage.calls(addr).iter().any(|(_, message)| message.contains(r#""drop":[["#))
}

#[test]
fn one_that_comes_back_elsewhere_replaces_the_one_it_was() {
    // Its earlier identity is still a member, and the only one that is active: were both counted, it
    // would be told to delete what it holds.
    let mut stage = alone(KEEPS);
    let reply = stage.ask_here(&says(2, "0.7", &comes_back("0.5", "0.5")));
    assert!(reply.contains(r#""active":[["0.7","127.0.0.1:2"]]"#), "{reply}");
    assert!(!reply.contains(r#""drop":[["#) && !drops(&stage, "127.0.0.1:2"));
    let why = stage.out.iter().find_map(|output| match output {
        Output::Note(Note::Failed { why, .. }) => Some(*why),
        _ => None,
    });
    assert_eq!(why, Some("restarted"));
}

#[test]
fn at_its_old_address_it_need_not_wait_for_its_lease() {
    let mut stage = alone(KEEPS);
    let reply = stage.ask_here(&says(1, "0.7", &comes_back("0.5", "0.5")));
    assert!(reply.contains(r#""active":[["0.7","127.0.0.1:1"]]"#), "{reply}");
}

#[test]
fn a_range_waits_for_one_that_has_it_on_disk() {
    let waits = |more: &str| {
        let mut stage = alone(more);
        dies(&mut stage);
        waits_for_it(&mut stage)
    };
    assert!(!waits(MUTE), "what is gone with its process is lost, and the ring goes on");
    assert!(waits(KEEPS));
}

#[test]
fn a_member_that_says_later_that_it_has_a_disk_is_believed() {
    // As after a start on the record of a leader that knew nothing of disks.
    let mut stage = alone(MUTE);
    stage.ask_here(&says(1, "0.5", KEEPS));
    dies(&mut stage);
    assert!(waits_for_it(&mut stage));
}
