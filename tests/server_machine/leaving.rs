//! A server that is asked to leave, and a view leader that is away.

use dht::core::machine::{CallError, Input, Machine, Note, Output};

use super::stage::{Stage, leader_call, replies};

const LEAVE: &str = r#"{"cmd": "dht_leave", "dht": 1}"#;

fn notes(out: &[Output]) -> Vec<Note> {
    let notes = out.iter().filter_map(|output| match output {
        Output::Note(note) => Some(note.clone()),
        _ => None,
    });
    notes.collect()
}

#[test]
fn whoever_reaches_its_port_may_ask_it_to_leave() {
    let mut stage = Stage::new();
    let out = stage.request(LEAVE);
    let id = &stage.id;
    let answer = format!(r#"{{"status": "ok", "id": "{id}", "dht": {{"version": 1}}}}"#);
    assert_eq!(replies(&out), std::slice::from_ref(&answer));
    assert_eq!(notes(&out), [Note::Leaving]);
    let (_, asks) = leader_call(&out, "heartbeat").expect("it asks the leader");
    assert!(String::from_utf8_lossy(&asks).contains(r#""leaving":true"#));
    let again = stage.request(LEAVE);
    assert_eq!((replies(&again), notes(&again)), (vec![answer], vec![]));
}

#[test]
fn it_says_once_that_nobody_can_let_it_go() {
    let mut stage = Stage::new();
    let mut out = stage.request(LEAVE);
    let (mut told, mut asked) = (Vec::new(), 0);
    for _ in 0..40 {
        if let Some((call, _)) = leader_call(&out, "heartbeat") {
            asked += 1;
            out.clear();
            let result = Err(CallError::Refused);
            stage.server.handle(stage.now, Input::Returned { call, result }, &mut out);
        }
        let away = notes(&out).into_iter().filter(|note| *note == Note::LeaderAway);
        told.extend(away.map(|_| stage.now));
        stage.now = stage.server.deadline().expect("it has a next heartbeat");
        out.clear();
        stage.server.handle(stage.now, Input::Tick, &mut out);
    }
    assert!(asked > 20, "it asks again and again");
    assert_eq!(told.len(), 1);
    assert!((3_000..3_500).contains(&told[0]), "{told:?}");
}
