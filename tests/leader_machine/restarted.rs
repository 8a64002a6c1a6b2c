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
    let given_out = 50_000;
    assert!(second > first + given_out, "{first}, then {second}");
    let third = revision_of_one_started_at(1_800_000_000_020, first + given_out);
    assert!(third > second + given_out, "{second}, then {third}");
}

#[test]
fn whatever_its_clock_shows_they_are_above_those_that_it_hears_of_and_can_be_told() {
    for started_ms in [0, 1, 1_577_836_800_001, 1_800_000_000_000, 1 << 41, u64::MAX] {
        let mut heard = 7;
        // Again and again, while the clock stands.
        for _ in 0..10 {
            let revision = revision_of_one_started_at(started_ms, heard);
            assert!(revision > heard + 8_000, "{started_ms}: {heard}, then {revision}");
            assert!(revision < HeartbeatExtension::SEEN_MAX, "{started_ms}: {revision}");
            heard = revision;
        }
    }
}

#[test]
fn where_a_clock_was_far_ahead_once_two_later_starts_do_not_give_the_same() {
    let ahead = revision_of_one_started_at(1_900_000_000_000, 7);
    let starts = [1_800_000_000_000, 1_800_000_000_010, 1_800_000_100_000, 1_800_000_500_000];
    let mut revisions = starts.map(|started_ms| revision_of_one_started_at(started_ms, ahead));
    revisions.sort_unstable();
    assert!(revisions[0] > ahead, "{revisions:?}");
    assert!(revisions.windows(2).all(|pair| pair[1] > pair[0] + 50_000), "{revisions:?}");
}

#[test]
fn for_years_to_come_they_are_numbers_that_every_reader_of_json_understands() {
    let in_2054 = 2_650_000_000_000;
    assert!(revision_of_one_started_at(in_2054, 7) < 1 << 53);
}
