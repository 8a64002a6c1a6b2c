//! A view leader that is started again, and has no record.

use dht::core::assignment::HeartbeatExtension;
use dht::core::leader::LeaderConfig;

use super::{Stage, says};

/// The highest revision of a leader that was started then and has heard one server of the ring before,
/// which knows this one.
fn revision_of_one_started_at(started_ms: u64, seen: u64) -> u64 {
    let mut stage = Stage::new(LeaderConfig { started_ms, ..LeaderConfig::default() });
    let said = format!(r#""revision": 0, "seen": {seen}, "holds": []"#);
    stage.ask_here(&says(38001, "0.1", &said));
    stage.leader.audit().revision()
}

#[test]
fn its_revisions_are_above_those_of_a_leader_that_nobody_tells_of() {
    // The server has slept while the first of the two led others.
    let first = revision_of_one_started_at(1_800_000_000_000, 7);
    let second = revision_of_one_started_at(1_800_000_000_010, 7);
    let given_out = 1_000_000;
    assert!(second > first + given_out, "{first}, then {second}");
    let third = revision_of_one_started_at(1_800_000_000_020, first + given_out);
    assert!(third > second + given_out, "{second}, then {third}");
}

#[test]
fn whatever_its_clock_shows_they_are_above_those_that_it_hears_of_and_can_be_told() {
    for started_ms in [0, 1, 1_800_000_000_000, 1 << 41, u64::MAX] {
        let mut heard = 7;
        // Again and again, while the clock stands.
        for _ in 0..10 {
            let revision = revision_of_one_started_at(started_ms, heard);
            assert!(revision > heard + 100_000, "{started_ms}: {heard}, then {revision}");
            assert!(revision < HeartbeatExtension::SEEN_MAX, "{started_ms}: {revision}");
            heard = revision;
        }
    }
}
