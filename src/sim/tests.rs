//! The simulator, tried with toy machines: every promise that it makes to a machine.

use super::Cluster;
use crate::core::machine::{CallError, CallId, Input, Machine, Millis, Note, Output, Target, Then};

/// Answers every request with its text in brackets, and notes every input. At `wake_at` it does
/// what it was given to do.
#[derive(Default)]
struct Toy {
    wake_at: Option<Millis>,
    to_do: Vec<Output>,
    mute: bool,
}

impl Machine for Toy {
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Vec<Output>) {
        let why = match input {
            Input::Start => "start".to_string(),
            Input::Persisted { .. } => "persisted".to_string(),
            Input::Frame { to, origin, message } => {
                let text = String::from_utf8_lossy(&message).into_owned();
                if message[0] < 0x80 && !self.mute {
                    let message = format!("[{text}]").into_bytes();
                    out.push(Output::Reply { to, message, then: Then::Linger });
                }
                format!("{} -> {} {}", origin.peer_ip, origin.local_ip, &text[text.len() - 1..])
            }
            Input::Returned { call, result } => {
                let result = result.map(|reply| String::from_utf8_lossy(&reply).into_owned());
                format!("{} {result:?}", call.0)
            }
            Input::Disconnected { addr } => format!("disconnected {addr}"),
            Input::Tick if self.wake_at.is_some_and(|at| at <= now) => {
                self.wake_at = None;
                out.append(&mut self.to_do);
                return;
            }
            Input::Tick | Input::Leave => return,
        };
        out.push(Output::Note(Note::HeartbeatFailed { why }));
    }

    fn deadline(&self) -> Option<Millis> {
        self.wake_at
    }
}

const A: &str = "10.0.0.2:1";
const B: &str = "10.0.0.3:1";

fn call(number: u64, addr: &str, keep: bool) -> Output {
    let target = Target::Addr(addr.to_string());
    let message = format!("m{number}").into_bytes();
    Output::Call { call: CallId(number), target, message, timeout_ms: 1_000, keep }
}

fn send(last: u8) -> Output {
    Output::Send { addr: B.into(), message: vec![0xd1, last] }
}

/// `a` does `to_do` at 100 ms, `b` only answers.
fn pair(to_do: Vec<Output>) -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.spawn("a", A, Box::new(Toy { wake_at: Some(100), to_do, mute: false }));
    cluster.spawn("b", B, Box::new(Toy::default()));
    cluster
}

fn again(cluster: &mut Cluster, name: &str, addr: &str) {
    cluster.spawn(name, addr, Box::new(Toy::default()));
}

fn said(cluster: &Cluster, name: &str) -> Vec<String> {
    let text = |note: &Note| match note {
        Note::HeartbeatFailed { why } => why.clone(),
        other => format!("{other:?}"),
    };
    cluster.notes(name).iter().skip(1).map(|(_, note)| text(note)).collect()
}

#[test]
fn a_call_gets_its_reply_and_both_ends_see_hosts() {
    let mut cluster = pair(vec![call(1, B, false)]);
    cluster.advance(99);
    assert!(said(&cluster, "b").is_empty());
    cluster.advance(20);
    assert_eq!(said(&cluster, "b"), ["10.0.0.2 -> 10.0.0.3 1"]);
    assert_eq!(said(&cluster, "a"), [r#"1 Ok("[m1]")"#]);
    assert_eq!(cluster.now(), 119);
    assert_eq!(cluster.request("b", "hello").as_deref(), Ok("[hello]"));
}

#[test]
fn nobody_there_is_refused_and_a_cut_is_not_sent() {
    let mut cluster = pair(vec![call(1, "10.0.0.9:1", false), call(2, B, false)]);
    cluster.faults.cut("10.0.0.3", "10.0.0.2");
    cluster.advance(5_000);
    let timed_out = r#"2 Err(NotSent("timed out while connecting"))"#;
    assert_eq!(said(&cluster, "a"), ["1 Err(Refused)", timed_out]);
    assert!(said(&cluster, "b").is_empty());
    assert_eq!(cluster.request_from("10.0.0.9", B, "x").as_deref(), Ok("[x]"));
    assert!(matches!(cluster.request_from("10.0.0.2", B, "x"), Err(CallError::NotSent(_))));
    cluster.faults.mend_all();
    assert_eq!(cluster.request_from("10.0.0.2", B, "x").as_deref(), Ok("[x]"));
}

#[test]
fn a_reply_that_cannot_come_back_is_lost() {
    let mut cluster = Cluster::new(1);
    cluster.spawn("a", A, Box::new(Toy { mute: true, ..Toy::default() }));
    let ticket = cluster.ask("10.0.2.2", A, "x");
    cluster.advance(4_999);
    assert_eq!(cluster.answer(ticket), None);
    cluster.advance(1);
    assert_eq!(cluster.answer(ticket), Some(Err(CallError::Lost("timed out".to_string()))));
}

#[test]
fn a_crash_loses_what_was_asked_and_closes_connections() {
    let mut cluster = pair(vec![call(1, B, true), send(b'x'), call(2, "10.0.0.1:1", false)]);
    let toy = Toy { wake_at: Some(200), to_do: vec![call(7, A, false)], mute: true };
    cluster.crash("b");
    cluster.spawn("b", B, Box::new(toy));
    assert!(cluster.run_until(|c| said(c, "b").len() == 3, 1_000));
    cluster.crash("b");
    assert_eq!(cluster.alive(), ["a"]);
    cluster.advance(5_000);
    let told = ["2 Err(Refused)", r#"1 Err(Lost("connection closed"))"#, "disconnected 10.0.0.3:1"];
    let mut said_a = said(&cluster, "a");
    said_a.sort();
    let mut told = told.to_vec();
    told.sort_unstable();
    assert_eq!(said_a, told);
    assert_eq!(cluster.request("b", "x"), Err(CallError::Refused));
    again(&mut cluster, "b", B);
    assert_eq!(cluster.request("b", "x").as_deref(), Ok("[x]"));
    assert!(
        said(&cluster, "b").iter().all(|line| !line.starts_with('7')),
        "calls die with a process"
    );
}

#[test]
fn frames_arrive_in_order_or_not_at_all() {
    for seed in 0..19 {
        let mut cluster = Cluster::new(seed);
        let to_do = (b'a'..=b'z').map(send).collect();
        cluster.spawn("a", A, Box::new(Toy { wake_at: Some(100), to_do, mute: false }));
        cluster.spawn("b", B, Box::new(Toy::default()));
        cluster.faults.latency_max_ms = 50;
        cluster.run_until(|c| said(c, "b").len() == 1 + seed as usize, 1_000);
        cluster.crash("b");
        again(&mut cluster, "b", B);
        cluster.advance(1_000);
        let letters: String = said(&cluster, "b").iter().filter_map(|s| s.chars().last()).collect();
        let (before, after) = letters.split_once('t').unwrap_or((&letters, ""));
        assert!("abcdefghijklmnopqrstuvwxyz".starts_with(before), "seed {seed}: {letters}");
        assert_eq!(after, "", "the connection is to the dead process");
        assert_eq!(said(&cluster, "a"), ["disconnected 10.0.0.3:1"]);
    }
}

#[test]
fn frames_to_nobody_and_over_a_cut_are_reported() {
    let mut cluster = pair(vec![send(b'x'), send(b'y')]);
    cluster.crash("b");
    cluster.advance(1_000);
    assert_eq!(said(&cluster, "a"), ["disconnected 10.0.0.3:1"]);

    let mut cluster = pair(vec![send(b'x'), send(b'y')]);
    cluster.faults.cut("10.0.0.2", "10.0.0.3");
    cluster.advance(5_000);
    assert!(said(&cluster, "a").is_empty(), "silence takes longer to notice");
    cluster.faults.mend("10.0.0.2", "10.0.0.3");
    cluster.advance(1_000);
    assert_eq!(said(&cluster, "a"), ["disconnected 10.0.0.3:1"]);
    assert!(said(&cluster, "b").is_empty());
}

#[test]
fn a_stopped_process_gets_everything_when_it_goes_on() {
    let mut cluster = pair(vec![call(1, B, false), send(b'x')]);
    cluster.pause("b");
    cluster.advance(2_000);
    assert_eq!(said(&cluster, "a"), [r#"1 Err(Lost("timed out"))"#]);
    assert!(said(&cluster, "b").is_empty());
    cluster.resume("b");
    assert_eq!(said(&cluster, "b").len(), 2);

    let mut cluster = pair(vec![send(b'x')]);
    cluster.pause("a");
    cluster.advance(2_000);
    assert!(said(&cluster, "b").is_empty(), "its clock stands");
    cluster.resume("a");
    cluster.advance(100);
    assert_eq!(said(&cluster, "b").len(), 1);
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    let run = |seed| {
        let mut cluster = Cluster::new(seed);
        let to_do = vec![call(1, B, true), send(b'x'), call(2, A, false)];
        cluster.spawn("a", A, Box::new(Toy { wake_at: Some(100), to_do, mute: false }));
        cluster.spawn("b", B, Box::new(Toy::default()));
        cluster.advance(150);
        cluster.crash("b");
        cluster.advance(1_000);
        (cluster.trace(), cluster.trace_digest())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
    assert!(run(7).0.lines().count() > 10);
}

#[test]
#[should_panic(expected = "asks for ticks without end")]
fn a_machine_that_spins_is_caught() {
    struct Spinner;
    impl Machine for Spinner {
        fn handle(&mut self, _: Millis, _: Input<'_>, _: &mut Vec<Output>) {}
        fn deadline(&self) -> Option<Millis> {
            Some(10)
        }
    }
    let mut cluster = Cluster::new(1);
    cluster.spawn("a", A, Box::new(Spinner));
    cluster.advance(100);
}

#[test]
#[should_panic(expected = "is taken")]
fn an_address_serves_one_process() {
    let mut cluster = pair(Vec::new());
    again(&mut cluster, "c", A);
}
