//! Reads that wait for a confirmation.

use dht::core::assignment::Span;
use dht::core::hash::SLOT_COUNT;
use dht::core::wire::peer::Body;

use super::stage::{READ, Stage, entry, peer, replies, said_to};

/// A primary with one other server, and the open question of one read.
fn asking() -> (Stage, u64) {
    let mut stage = Stage::new();
    let me = stage.me();
    stage.assign(entry(2, 2, vec![me.clone()]));
    stage.assign(entry(3, 2, vec![me, peer("b")]));
    let out = stage.request(READ);
    let [Body::Confirm { round, .. }] = said_to(&out, "b")[..] else { panic!("{out:?}") };
    (stage, round)
}

#[test]
fn to_hear_what_is_known_asks_no_further_question() {
    let (mut stage, round) = asking();
    let me = stage.me();
    // Late answers to questions of an earlier revision, of a server that has moved on before us.
    for (revision, active) in [(3, vec![me.clone(), peer("b")]), (2, vec![me.clone()])] {
        for _ in 0..3 {
            let out = stage.hear(&peer("b"), Body::Teach(vec![entry(revision, 2, active.clone())]));
            assert_eq!(said_to(&out, "b"), [], "each would be answered by as many again");
        }
    }
    let confirmed = Body::Confirmed { span: Span(0, SLOT_COUNT, 3), round };
    let out = stage.hear(&peer("b"), confirmed);
    assert_eq!(replies(&out), [r#"{"status": "not_found"}"#], "the question was not withdrawn");
}

#[test]
fn at_a_new_revision_they_are_asked_about_anew() {
    let (mut stage, round) = asking();
    let me = stage.me();
    let taught = Body::Teach(vec![entry(4, 2, vec![me, peer("b"), peer("c")])]);
    let out = stage.hear(&peer("b"), taught);
    let asked = |id| said_to(&out, id).into_iter().any(|body| matches!(body, Body::Confirm { .. }));
    assert!(asked("b") && asked("c"), "{out:?}");
    let confirmed = Body::Confirmed { span: Span(0, SLOT_COUNT, 3), round };
    assert!(replies(&stage.hear(&peer("b"), confirmed)).is_empty());
}
