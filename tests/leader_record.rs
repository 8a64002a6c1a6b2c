//! A view leader with a record, fed by hand: what waits for the disk, and what is there afterwards.

use dht::core::leader::record::{Change, Counts, MemberRecord, RangeRecord, Record};
use dht::core::leader::{Leader, LeaderConfig};
use dht::core::machine::{
    CallError, CallId, Input, Machine, Note, Origin, Output, ReplyTo, Target, Ticket,
};
use dht::core::wire::json::Json;
use proptest::prelude::*;

const LEASE_MS: u64 = 30_000;

/// A leader, the time, and what its disk was given.
struct Stage {
    leader: Leader,
    now: u64,
    out: Vec<Output>,
    given: Vec<(Ticket, Vec<u8>, bool)>,
    asked: u64,
}

impl Stage {
    fn new(record: Record) -> Self {
        let config = LeaderConfig { lease_ms: LEASE_MS, listen_ms: 0, ..LeaderConfig::default() };
        let leader = Leader::with_record(config, record);
        let mut stage = Stage { leader, now: 0, out: Vec::new(), given: Vec::new(), asked: 0 };
        stage.handle(Input::Start);
        stage.handle(Input::Tick);
        stage
    }

    fn handle(&mut self, input: Input<'_>) {
        self.out.clear();
        self.leader.handle(self.now, input, &mut self.out);
        for output in &self.out {
            if let Output::Persist { ticket, entry, whole } = output {
                self.given.push((*ticket, entry.clone(), *whole));
            }
        }
    }

    /// Asks; the reply, where it does not wait.
    fn ask(&mut self, message: &str) -> Option<String> {
        let origin = Origin { peer_ip: "127.0.0.1".into(), local_ip: "127.0.0.1".into() };
        self.asked += 1;
        let to = ReplyTo(self.asked);
        self.handle(Input::frame(to, &origin, message.as_bytes()));
        self.replies().pop()
    }

    fn replies(&self) -> Vec<String> {
        let replies = self.out.iter().filter_map(|output| match output {
            Output::Reply { message, .. } => Some(String::from_utf8(message.clone()).unwrap()),
            _ => None,
        });
        replies.collect()
    }

    /// Everything is on disk now; what was held back for it.
    fn sync(&mut self) -> Vec<String> {
        let last = self.given.last().expect("something was given").0;
        self.handle(Input::Persisted { ticket: last });
        self.replies()
    }

    fn pushes(&self) -> Vec<CallId> {
        let calls = self.out.iter().filter_map(|output| match output {
            Output::Call { call, target: Target::Addr(_), .. } => Some(*call),
            _ => None,
        });
        calls.collect()
    }

    /// What the next leader finds: the first of what was given, as many as are on disk.
    fn found(&self, count: usize) -> Record {
        let mut record = Record::default();
        for (_, entry, whole) in &self.given[..count] {
            if *whole {
                record = Record::default();
            }
            record.replay(entry).unwrap();
        }
        record
    }

    fn restart(&self) -> Stage {
        Stage::new(self.found(self.given.len()))
    }

    fn failed(&self) -> bool {
        self.out.iter().any(|output| matches!(output, Output::Note(Note::Failed { .. })))
    }
}

fn heartbeat(port: u16, requestor: &str) -> String {
    format!(
        r#"{{"cmd": "heartbeat", "port": {port}, "requestor": {requestor}, "dht": {{"version": 1}}}}"#
    )
}

fn lock(cmd: &str, name: &str, requestor: &str) -> String {
    format!(r#"{{"cmd": "{cmd}", "lockid": "{name}", "requestor": "{requestor}"}}"#)
}

const VIEW: &str = r#"{"cmd": "query_servers"}"#;

/// Three servers in the view, everything on disk.
fn three() -> Stage {
    let mut stage = Stage::new(Record::default());
    for (port, requestor) in [(1, "0.1"), (2, "0.2"), (3, "0.3")] {
        assert_eq!(stage.ask(&heartbeat(port, requestor)), None);
        assert_eq!(stage.sync().len(), 1);
    }
    stage
}

#[test]
fn nothing_is_told_before_it_is_on_disk() {
    let mut stage = Stage::new(Record::default());
    assert_eq!(stage.ask(&heartbeat(1, "0.1")), None);
    assert!(stage.pushes().is_empty(), "no push either");
    assert_eq!(stage.ask(VIEW), None, "the view tells of it");
    assert!(
        stage.ask(&lock("lock_release", "l", "a")).is_some(),
        "locks have nothing to do with it"
    );
    assert_eq!(stage.sync().len(), 2);
    assert_eq!(stage.ask(&lock("lock_get", "l", "a")), None);
    assert!(stage.ask(VIEW).is_some(), "what was decided before is told at once");
    assert_eq!(stage.ask(&lock("lock_get", "l", "b")), None);
    assert_eq!(stage.sync(), [r#"{"status": "granted"}"#, r#"{"status": "retry"}"#]);
}

#[test]
fn a_heartbeat_that_changes_nothing_neither_writes_nor_waits() {
    let mut stage = three();
    let before = stage.given.len();
    for second in 1..60 {
        stage.now = second * 1_000;
        for (port, requestor) in [(1, "0.1"), (2, "0.2"), (3, "0.3")] {
            assert!(stage.ask(&heartbeat(port, requestor)).is_some());
        }
        assert!(stage.ask(&lock("lock_release", "l", "a")).unwrap().contains("unknown"));
    }
    assert_eq!(stage.given.len(), before);
}

#[test]
fn a_restarted_leader_stands_by_all_that_it_told() {
    let mut stage = three();
    let _ = stage.ask(&lock("lock_get", "l", "a"));
    let _ = stage.ask(&lock("lock_get", "l", "b"));
    stage.now = LEASE_MS / 2;
    for (port, requestor) in [(1, "0.1"), (2, "0.2")] {
        let _ = stage.ask(&heartbeat(port, requestor));
    }
    stage.now = LEASE_MS + 1;
    let _ = stage.ask(VIEW);
    stage.sync();
    let view = stage.ask(VIEW).unwrap();
    let audit = stage.leader.audit();
    let (epoch, revision) = (audit.epoch(), audit.revision());
    assert_eq!(epoch, 4);
    let mut again = stage.restart();
    assert!(!again.out.iter().any(|output| matches!(output, Output::Note(Note::Recovering))));
    assert_eq!((again.leader.audit().epoch(), again.leader.audit().revision()), (epoch, revision));
    assert!(!again.leader.audit().is_recovering());
    assert_eq!(again.ask(VIEW).unwrap(), view);
    assert!(again.ask(&heartbeat(3, "0.3")).unwrap().contains("deny"));
    assert!(again.ask(&lock("lock_get", "l", "b")).unwrap().contains("retry"));
    assert!(again.ask(&lock("lock_get", "l", "a")).unwrap().contains("granted"));
    assert!(again.given.is_empty(), "all of that was on disk");
    let _ = again.ask(&lock("lock_release", "l", "a"));
    let _ = again.ask(&lock("lock_get", "l", "b"));
    assert_eq!(again.sync(), [r#"{"status": "ok"}"#, r#"{"status": "granted"}"#]);
    let _ = again.ask(&heartbeat(4, "0.4"));
    assert!(again.leader.audit().epoch() > epoch && again.leader.audit().revision() > revision);
}

#[test]
fn nobody_is_dead_before_a_full_lease_has_passed() {
    let mut stage = three().restart();
    let mut asked = stage.pushes();
    stage.handle(Input::Tick);
    asked.extend(stage.pushes());
    // Each address refuses, as often as it is asked: its server may be starting too.
    for at in 0..LEASE_MS / 50 {
        stage.now = at * 50;
        stage.handle(Input::Tick);
        let mut calls = stage.pushes();
        calls.append(&mut asked);
        for call in calls {
            stage.handle(Input::Returned { call, result: Err(CallError::Refused) });
            assert!(!stage.failed(), "after {} ms", stage.now);
            asked.extend(stage.pushes());
        }
    }
    stage.now = LEASE_MS + 1;
    stage.handle(Input::Tick);
    stage.sync();
    assert!(stage.failed());
}

#[test]
fn one_that_was_heard_since_and_refuses_is_gone() {
    let mut stage = three().restart();
    stage.now = 100;
    let _ = stage.ask(&heartbeat(1, "0.1"));
    stage.handle(Input::Disconnected { addr: "127.0.0.1:1".to_owned() });
    for _ in 0..2 {
        let call = stage.pushes().pop().expect("it is asked");
        stage.handle(Input::Returned { call, result: Err(CallError::Refused) });
    }
    stage.sync();
    assert!(stage.failed());
}

#[test]
fn a_leader_whose_disk_has_half_of_it_goes_on_from_there() {
    let stage = three();
    for count in 0..=stage.given.len() {
        let record = stage.found(count);
        let again = Stage::new(record.clone());
        assert_eq!(again.leader.audit().epoch(), record.counts.epoch);
        assert_eq!(again.leader.audit().members().count(), record.members.len());
    }
}

#[test]
fn the_record_is_written_whole_again_before_it_is_long() {
    let mut stage = Stage::new(Record::default());
    let name = "x".repeat(10_000);
    for _ in 0..100 {
        let _ = stage.ask(&lock("lock_get", "l", &name));
        let _ = stage.ask(&lock("lock_release", "l", &name));
    }
    let whole = stage.given.iter().rposition(|(_, _, whole)| *whole).expect("it was written whole");
    assert!(stage.given[whole].1.len() < 20_000);
    assert!(stage.found(stage.given.len()).queues.is_empty());
}

fn json() -> impl Strategy<Value = Json> {
    "[a-z]{1,4}".prop_map(|text| Json::parse(format!("\"{text}\"").as_bytes()).unwrap())
}

fn change() -> impl Strategy<Value = Change> {
    let ids = || prop::collection::vec("[0-9]{1,3}".prop_map(|id| id.as_str().into()), 0..3);
    let counts = (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(epoch, revision, flag)| {
        Change::Counts(Counts { epoch, revision, recovering: flag, ..Counts::default() })
    });
    let range = (0..9_999_u16, 1..9_999_u16, any::<u64>(), ids(), ids());
    let range = range.prop_map(|(start, length, revision, active, leaving)| {
        let end = start.saturating_add(length).min(10_000);
        let range = RangeRecord { start, end, revision, active, leaving, ..RangeRecord::default() };
        Change::Range(range)
    });
    let member = ("[a-c]", json(), 0..10_000_u16).prop_map(|(addr, requestor, position)| {
        Change::Member(MemberRecord { addr, requestor, position, extension: None })
    });
    prop_oneof![
        counts,
        range,
        member,
        json().prop_map(Change::Denied),
        ("[a-c]", any::<bool>()).prop_map(|(id, gone)| Change::Absent(
            id.as_str().into(),
            "h:1".to_owned(),
            gone
        )),
        "[a-c]".prop_map(|id| Change::Forgotten(id.as_str().into())),
        (json(), json()).prop_map(|(lock, who)| Change::Queued(lock, who)),
    ]
}

proptest! {
    #[test]
    fn changes_come_back_from_their_bytes(changes in prop::collection::vec(change(), 0..30)) {
        let mut typed = Record::default();
        let mut bytes = Vec::new();
        for change in changes {
            bytes.extend(change.encode());
            typed.apply(change).unwrap();
        }
        let mut read = Record::default();
        read.replay(&bytes).unwrap();
        prop_assert_eq!(&read, &typed);
        let mut copy = Record::default();
        for change in typed.changes() {
            copy.apply(change).unwrap();
        }
        prop_assert_eq!(&copy, &typed);
        prop_assert!(typed.ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::default().replay(&bytes);
    }
}
