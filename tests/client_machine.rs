//! The client's machine, fed by hand: what it makes of answers that come in an unlucky order.

use dht::core::client::{Client, ClientConfig, Op, OpError, Outcome};
use dht::core::machine::{CallError, CallId, Input, Machine, Output, Target};
use dht::core::wire::json::Json;
use dht::core::wire::text::Text;

const VIEW: &str = r#"{"result": [["a:1", 5]], "epoch": 1, "dht": {"version": 1, "revision": 3,
    "settled": true, "servers": [["0.5", "a:1", 5]], "ranges": [[0, 10000, 3, [0], [], false]]}}"#;

/// A client with one write, and the parties that it calls.
struct Stage {
    client: Client,
    now: u64,
    out: Vec<Output>,
}

impl Stage {
    /// Begins a write; its first call is to the view leader.
    fn new(value: &str, message_bytes_max: usize) -> Self {
        let config = ClientConfig { id: 7, message_bytes_max, ..ClientConfig::default() };
        let mut stage = Stage { client: Client::new(config), now: 0, out: Vec::new() };
        stage.write(value);
        stage
    }

    fn write(&mut self, value: &str) {
        let value = Json::parse(value.as_bytes()).unwrap();
        self.client.begin(self.now, Op::Write { key: Text::from("k"), value }, &mut self.out);
    }

    /// The call that was made last, which must be the only one.
    fn call(&mut self) -> (CallId, Target, String) {
        let calls = std::mem::take(&mut self.out).into_iter().map(|output| match output {
            Output::Call { call, target, message, .. } => {
                (call, target, String::from_utf8(message).unwrap())
            }
            other => panic!("a client only calls: {other:?}"),
        });
        let mut calls: Vec<_> = calls.collect();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// Answers the last call, and lets a pause pass.
    fn answer(&mut self, result: Result<&str, CallError>) -> (Target, String) {
        let (call, target, message) = self.call();
        let result = result.map(|reply| reply.as_bytes().to_vec());
        self.client.handle(self.now, Input::Returned { call, result }, &mut self.out);
        self.now += 300;
        self.client.handle(self.now, Input::Tick, &mut self.out);
        (target, message)
    }

    fn outcome(&mut self) -> Option<Result<Outcome, OpError>> {
        self.client.finished().map(|(_, result)| result)
    }
}

fn lost() -> Result<&'static str, CallError> {
    Err(CallError::Lost("connection closed".to_string()))
}

#[test]
fn what_may_have_happened_is_never_called_failed() {
    let endings = [
        r#"{"error": "message of 90 bytes is over the limit of 80; see --max-message-size"}"#,
        r#"{"status": "forgotten"}"#,
    ];
    for ending in endings {
        let mut stage = Stage::new("1", 1_000);
        assert_eq!(stage.answer(Ok(VIEW)).0, Target::Leader);
        let (target, first) = stage.answer(lost());
        assert_eq!(target, Target::Addr("a:1".to_string()));
        assert!(!first.contains("repeated"), "{first}");
        stage.answer(Ok(VIEW));
        let (_, again) = stage.answer(Ok(ending));
        assert!(
            again.contains(r#""number": 1"#) && again.contains(r#""repeated": true"#),
            "{again}"
        );
        let outcome = stage.outcome();
        assert!(matches!(outcome, Some(Err(OpError::Unknown(_)))), "{ending}: {outcome:?}");
    }
}

#[test]
fn what_turns_out_to_need_an_original_dialogue_is_not_called_failed_either() {
    let mut stage = Stage::new("1", 1_000);
    stage.answer(Ok(VIEW));
    stage.answer(lost());
    // Now the ring has original servers alone, and none of them answers.
    stage.answer(Ok(r#"{"result": [["b:1", 5]], "epoch": 2}"#));
    let (target, _) = stage.answer(Err(CallError::Refused));
    assert_eq!(target, Target::Addr("b:1".to_string()));
    let outcome = stage.outcome();
    assert!(matches!(outcome, Some(Err(OpError::Unknown(_)))), "{outcome:?}");
}

#[test]
fn a_write_whose_retry_would_be_too_long_is_not_begun() {
    let mut stage = Stage::new("1", 1_000);
    stage.answer(Ok(VIEW));
    let length = stage.answer(lost()).1.len();
    for room in [99, 100] {
        let mut stage = Stage::new("1", length + room);
        stage.answer(Ok(VIEW));
        let refused = matches!(stage.outcome(), Some(Err(OpError::TooLarge(_))));
        assert_eq!(refused, room == 99);
        assert_eq!(stage.out.is_empty(), refused, "what is refused is not sent");
    }
}

#[test]
fn a_client_says_how_far_it_knows_the_primary_to_be() {
    let mut stage = Stage::new("1", 1_000);
    stage.answer(Ok(VIEW));
    stage.answer(Ok(r#"{"status": "ok", "servers": ["a:1"], "since": [3, 41]}"#));
    assert!(matches!(stage.outcome(), Some(Ok(Outcome::Written { .. }))));
    stage.write("2");
    let (_, said) = stage.answer(Ok(r#"{"status": "no", "reason": "late", "since": [3, 50]}"#));
    assert!(said.contains(r#""since": [3,41]"#), "{said}");
    stage.answer(Ok(VIEW));
    let (_, said) = stage.answer(lost());
    assert!(said.contains(r#""since": [3,50]"#) && !said.contains("repeated"), "{said}");
}

#[test]
fn an_abandoned_operation_is_neither_tried_again_nor_told_of() {
    let mut stage = Stage::new("1", 1_000);
    stage.answer(Ok(VIEW));
    let id = {
        let value = Json::parse(b"2").unwrap();
        let op = Op::Write { key: Text::from("k"), value };
        let calls = std::mem::take(&mut stage.out);
        let id = stage.client.begin(stage.now, op, &mut stage.out);
        stage.out = calls;
        id
    };
    stage.client.abandon(id);
    // The first one goes on as if nobody else had been there.
    stage.answer(lost());
    stage.answer(Ok(VIEW));
    stage.answer(Ok(r#"{"status": "ok", "servers": ["a:1"]}"#));
    assert_eq!(stage.outcome(), Some(Ok(Outcome::Written { servers: vec!["a:1".to_string()] })));
    assert_eq!(stage.outcome(), None);
    assert_eq!(stage.client.deadline(), None);
}
