//! The view leader's machine, fed by hand: what needs askers on several hosts, or exact times.

#[path = "leader_machine/keeping.rs"]
mod keeping;
#[path = "leader_machine/restarted.rs"]
mod restarted;

use dht::core::leader::{Leader, LeaderConfig};
use dht::core::machine::{
    CallError, CallId, Input, Machine, Note, Origin, Output, ReplyTo, Target,
};

/// A leader, and the time.
struct Stage {
    leader: Leader,
    now: u64,
    out: Vec<Output>,
}

impl Stage {
    fn new(config: LeaderConfig) -> Self {
        Stage { leader: Leader::new(config), now: 0, out: Vec::new() }
    }

    /// Asks from a host, over the leader's address `local_ip`, and returns the reply.
    fn ask(&mut self, peer_ip: &str, local_ip: &str, message: &str) -> String {
        let origin = Origin { peer_ip: peer_ip.into(), local_ip: local_ip.into() };
        self.handle(Input::frame(ReplyTo(1), &origin, message.as_bytes()));
        let reply = self.out.iter().find_map(|output| match output {
            Output::Reply { message, .. } => Some(String::from_utf8(message.clone()).unwrap()),
            _ => None,
        });
        reply.expect("a request is answered")
    }

    fn ask_here(&mut self, message: &str) -> String {
        self.ask("127.0.0.1", "127.0.0.1", message)
    }

    fn handle(&mut self, input: Input<'_>) {
        self.out.clear();
        self.leader.handle(self.now, input, &mut self.out);
    }

    /// The calls to a server that were just made.
    fn calls(&self, addr: &str) -> Vec<(CallId, String)> {
        let calls = self.out.iter().filter_map(|output| match output {
            Output::Call { call, target: Target::Addr(to), message, .. } if to == addr => {
                Some((*call, String::from_utf8(message.clone()).unwrap()))
            }
            _ => None,
        });
        calls.collect()
    }

    fn failed(&self) -> bool {
        self.out.iter().any(|output| matches!(output, Output::Note(Note::Failed { .. })))
    }
}

/// A heartbeat of a server that speaks the extension.
fn heartbeat(port: u16, requestor: &str) -> String {
    format!(
        r#"{{"cmd": "heartbeat", "port": {port}, "requestor": {requestor}, "dht": {{"version": 1}}}}"#
    )
}

/// A heartbeat of an original server.
fn plain(port: u16, requestor: &str) -> String {
    format!(r#"{{"cmd": "heartbeat", "port": {port}, "requestor": {requestor}}}"#)
}

const QUERY: &str = r#"{"cmd": "query_servers"}"#;

#[test]
fn each_asker_gets_an_address_that_it_can_reach() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&plain(38000, "0.5"));
    stage.ask("10.0.0.7", "10.0.0.1", &plain(38000, "0.25"));
    let here = stage.ask_here(QUERY);
    assert!(
        here.contains(r#""127.0.0.1:38000""#) && here.contains(r#""10.0.0.7:38000""#),
        "{here}"
    );
    // From elsewhere the leader's own host is called by the address that the asker used.
    let there = stage.ask("10.0.0.9", "10.0.0.1", QUERY);
    assert!(there.contains(r#""10.0.0.1:38000""#) && there.contains(r#""10.0.0.7:38000""#));
    assert!(!there.contains("127.0.0.1"), "{there}");
}

#[test]
fn an_advertised_host_replaces_loopback_for_others() {
    let advertise = Some("ring.example".to_string());
    let mut stage = Stage::new(LeaderConfig { advertise, ..LeaderConfig::default() });
    stage.ask_here(&plain(38000, "0.5"));
    assert!(stage.ask_here(QUERY).contains(r#""127.0.0.1:38000""#));
    let there = stage.ask("10.0.0.9", "10.0.0.1", QUERY);
    assert!(there.contains(r#""ring.example:38000""#), "{there}");
}

#[test]
fn a_sweep_is_one_epoch_however_many_it_expires() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&plain(1, "0.1"));
    stage.now = 100;
    stage.ask_here(&plain(2, "0.2"));
    stage.now = 30_000;
    assert!(
        stage.ask_here(QUERY).ends_with(r#""epoch": 2}"#),
        "both live to the end of their lease"
    );
    stage.now = 30_101;
    assert_eq!(stage.ask_here(QUERY), r#"{"result": [], "epoch": 3}"#);
    assert_eq!(stage.ask_here(&plain(1, "0.1")), r#"{"status": "deny"}"#);
    assert_eq!(stage.ask_here(&plain(1, "0.3")), r#"{"status": "ok", "epoch": 4}"#);
}

#[test]
fn a_dying_server_is_asked_again_until_it_refuses() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&heartbeat(38000, "0.5"));
    let addr = "127.0.0.1:38000";
    stage.handle(Input::Disconnected { addr: addr.to_string() });
    let (call, hello) = stage.calls(addr).remove(0);
    assert!(hello.contains("dht_hello"));
    // Its listener is still open, and resets what it had accepted.
    let reset = Err(CallError::Lost("connection reset".to_string()));
    stage.handle(Input::Returned { call, result: reset });
    assert!(!stage.failed());
    stage.now = stage.leader.deadline().expect("it is asked again");
    assert!(stage.now < 1_000, "soon");
    stage.handle(Input::Tick);
    for _ in 0..2 {
        let (call, _) = stage.calls(addr).remove(0);
        stage.handle(Input::Returned { call, result: Err(CallError::Refused) });
    }
    assert!(stage.failed());
}

#[test]
fn a_silent_server_keeps_its_lease() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&heartbeat(38000, "0.5"));
    let addr = "127.0.0.1:38000";
    stage.handle(Input::Disconnected { addr: addr.to_string() });
    // However often it is asked, silence proves nothing.
    while let Some((call, _)) = stage.calls(addr).into_iter().find(|(_, m)| m.contains("hello")) {
        stage.now += 2_000;
        let silence = Err(CallError::Lost("timed out".to_string()));
        stage.handle(Input::Returned { call, result: silence });
        assert!(!stage.failed());
        if let Some(at) = stage.leader.deadline().filter(|at| *at < 30_000) {
            stage.now = stage.now.max(at);
            stage.handle(Input::Tick);
        }
    }
    assert!(stage.now < 30_000, "it is not asked for ever");
    assert!(stage.ask_here(QUERY).contains(addr));
}

#[test]
fn a_plain_heartbeat_is_believed_for_its_lease() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&plain(38000, "0.5"));
    stage.handle(Input::Disconnected { addr: "127.0.0.1:38000".to_string() });
    assert!(stage.out.is_empty(), "nobody asks an original server who it is");
    assert_eq!(stage.leader.deadline(), None, "its lease is looked at when somebody asks");
}

#[test]
fn a_goodbye_of_a_server_that_is_needed_is_not_taken() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.handle(Input::Start);
    stage.now = 1_000;
    stage.handle(Input::Tick);
    let saying = |port, requestor, more| {
        heartbeat(port, requestor).replace(r#""version": 1"#, &format!(r#""version": 1{more}"#))
    };
    stage.ask_here(&saying(38000, "0.5", ""));
    stage.ask_here(&saying(38001, "0.25", ""));
    // It was let go, but meanwhile something has come to depend on it.
    let reply = stage.ask_here(&saying(38000, "0.5", r#", "leaving": true, "left": true"#));
    assert!(reply.contains(r#""dht": {"#) && !reply.contains("may_leave"), "{reply}");
    assert!(stage.ask_here(QUERY).contains("38000"));
    // Where nobody stays, nobody is waited for.
    let reply = stage.ask_here(&saying(38001, "0.25", r#", "leaving": true"#));
    assert!(reply.contains(r#""may_leave":true"#), "{reply}");
    let reply = stage.ask_here(&saying(38000, "0.5", r#", "leaving": true, "left": true"#));
    assert!(reply.starts_with(r#"{"status": "ok""#) && !reply.contains("dht"), "{reply}");
    assert!(!stage.ask_here(QUERY).contains("38000"));
}

#[test]
fn a_range_that_a_restarted_leader_resolves_has_a_new_primary() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.handle(Input::Start);
    let entry = r#"{"start": 0, "end": 10000, "revision": 7, "born": 1, "led_since": 1,
        "active": [["0.5", "127.0.0.1:38000"], ["0.25", "127.0.0.1:38001"]], "joining": []}"#;
    let telling = |port, requestor| {
        let said = format!(r#""version": 1, "revision": 7, "seen": 7, "holds": [{entry}]"#);
        heartbeat(port, requestor).replace(r#""version": 1"#, &said)
    };
    stage.ask_here(&telling(38000, "0.5"));
    stage.ask_here(&telling(38001, "0.25"));
    stage.now = 1_500;
    stage.handle(Input::Tick);
    // The leader before may have told somebody of a revision with another primary, which tells
    // nobody else before this one takes hold: so the primary has to ask the others.
    let reply = stage.ask_here(&heartbeat(38000, "0.5"));
    let said = reply.split_once(r#""entries":["#).expect("news").1;
    let number = |name: &str| {
        let rest = said.split_once(&format!("\"{name}\":")).expect(name).1;
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap()
    };
    assert!(number("revision") > 1 << 32, "{reply}");
    assert_eq!(number("led_since"), number("revision"), "{reply}");
}

/// A heartbeat of such a server, with more to say.
fn says(port: u16, requestor: &str, more: &str) -> String {
    format!(
        r#"{{"cmd": "heartbeat", "port": {port}, "requestor": {requestor}, "dht": {{"version": 1, {more}}}}}"#
    )
}

#[test]
fn a_new_server_gets_nothing_that_an_old_one_may_hold_that_was_asked_to_tell() {
    let mut stage = Stage::new(LeaderConfig::default());
    let old = says(38001, "0.1", r#""epoch": 3, "revision": 7, "seen": 7"#);
    assert!(stage.ask_here(&old).contains("tell"));
    // The answer is late, and somebody new is heard first.
    stage.now = 1_000;
    let reply = stage.ask_here(&heartbeat(38002, "0.2"));
    assert!(reply.contains(r#""entries":[]"#), "{reply}");
}

#[test]
fn a_range_that_all_have_told_of_is_not_rolled_back() {
    let entry = |revision: u64, active: &str| {
        format!(
            r#"{{"start":0,"end":10000,"revision":{revision},"born":1,"led_since":1,"active":[{active}],"joining":[]}}"#
        )
    };
    let (a, b) = (r#"["0.1","127.0.0.1:38001"]"#, r#"["0.2","127.0.0.1:38002"]"#);
    let tells = |port, requestor: &str, seen: u64, entry: &str| {
        says(port, requestor, &format!(r#""revision": 0, "seen": {seen}, "holds": [{entry}]"#))
    };
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&tells(38001, "0.1", 7, &entry(7, a)));
    stage.now = 500;
    // Slots that somebody else holds keep the recovery going.
    let waits = entry(7, b)
        .replace(r#""start":0"#, r#""start":9000"#)
        .replace(r#""revision":7"#, r#""revision":8"#);
    stage.ask_here(&tells(38003, "0.3", 8, &waits));
    stage.now = 2_000;
    stage.handle(Input::Tick);
    let before = stage.leader.audit().ranges().next().unwrap().revision();
    assert!(before > 8, "the first range was resolved: {before}");
    // One that alone had heard of it tells what the leader before gave out last.
    stage.ask_here(&tells(38004, "0.4", 9, &entry(9, a)));
    let range = stage.leader.audit();
    let first = range.ranges().next().unwrap();
    assert!(first.revision() >= before && !first.is_unsure(), "{first:?}");
}

/// A leader that was started again hears of two servers from one, which heard of the leader before
/// so long ago; the other is gone. Whether the range goes on without that one after a lease.
fn goes_on_without_the_other(silent_ms: &str) -> bool {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.handle(Input::Start);
    let entry = r#"{"start": 0, "end": 10000, "revision": 7, "born": 1, "led_since": 1,
        "active": [["0.2", "127.0.0.1:38002"], ["0.1", "127.0.0.1:38001"]], "joining": []}"#;
    let said = format!(r#""revision": 0, "seen": 7{silent_ms}, "holds": [{entry}]"#);
    stage.ask_here(&says(38001, "0.1", &said));
    while stage.now < 40_000 {
        while let Some((call, _)) = stage.calls("127.0.0.1:38002").pop() {
            stage.handle(Input::Returned { call, result: Err(CallError::Refused) });
        }
        stage.now += 500;
        stage.handle(Input::Tick);
        if stage.now.is_multiple_of(10_000) {
            stage.ask_here(&heartbeat(38001, "0.1"));
        }
    }
    let audit = stage.leader.audit();
    let range = audit.ranges().next().expect("a range");
    assert_eq!(range.is_unsure(), range.active().len() == 2, "{range:?}");
    !range.is_unsure()
}

#[test]
fn a_range_goes_on_without_a_server_only_where_it_cannot_have_gone_on_alone() {
    // It was in the view until the leader before ended: no range went on without it.
    assert!(goes_on_without_the_other(r#", "silent_ms": 9000"#));
    // That leader had a whole lease to remove it, and the other may have taken writes alone.
    assert!(!goes_on_without_the_other(r#", "silent_ms": 29000"#));
    assert!(!goes_on_without_the_other(""));
}

#[test]
fn its_figures_count_members_slots_and_locks() {
    let mut stage = Stage::new(LeaderConfig::default());
    let figures = |stage: &mut Stage| stage.ask_here(r#"{"cmd": "dht_stats", "dht": 1}"#);
    let none = r#""members": 0, "slots_settled": 0, "slots_moving": 0, "slots_waiting": 0"#;
    assert!(figures(&mut stage).contains(none));
    stage.ask_here(&heartbeat(38000, "0.25"));
    for requestor in ["1", "2", "3"] {
        let ask = format!(r#"{{"cmd": "lock_get", "lockid": "L", "requestor": {requestor}}}"#);
        stage.ask_here(&ask);
    }
    let said = figures(&mut stage);
    assert!(said.contains(r#""members": 1"#), "{said}");
    assert!(said.contains(r#""locks": 1, "lock_queue_longest": 3"#), "{said}");
    // A lease that has ended counts no more, though nobody has asked for the view since.
    stage.now += LeaderConfig::default().lease_ms + 1;
    assert!(figures(&mut stage).contains(r#""epoch": 2"#));
    assert!(figures(&mut stage).contains(r#""members": 0"#));
}

/// The percentages that were just said.
fn said_percents(stage: &Stage) -> Vec<u8> {
    let said = stage.out.iter().filter_map(|output| match output {
        Output::Note(Note::RebalancingProgress { percent }) => Some(*percent),
        _ => None,
    });
    said.collect()
}

const NONE: [u8; 0] = [];

#[test]
fn it_says_how_far_a_long_rebalance_is() {
    let mut stage = Stage::new(LeaderConfig { listen_ms: 0, ..LeaderConfig::default() });
    stage.ask_here(&heartbeat(38000, "0.25"));
    stage.ask_here(&heartbeat(38001, "0.5"));
    let ranges: Vec<(u16, u16)> =
        stage.leader.audit().ranges().map(|range| (range.start(), range.end())).collect();
    assert!(stage.leader.audit().ranges().all(|range| range.joining().len() == 1));
    let report = |stage: &mut Stage, now: u64, share: u64| {
        stage.now = now;
        let given =
            ranges.iter().map(|(start, end)| format!(r#"[{start}, {end}, "0.5", {share}, 8]"#));
        let given = given.collect::<Vec<_>>().join(", ");
        stage.ask_here(&format!(
            r#"{{"cmd": "dht_report", "dht": {{"version": 1, "id": "0.25", "given": [{given}]}}}}"#
        ));
        said_percents(stage)
    };
    assert_eq!(report(&mut stage, 999, 1), NONE, "nothing before a second has passed");
    assert_eq!(report(&mut stage, 1_000, 2), [25]);
    assert_eq!(report(&mut stage, 1_999, 4), NONE, "nor within the second after that");
    assert_eq!(report(&mut stage, 2_000, 6), [75]);
    assert_eq!(report(&mut stage, 3_000, 6), NONE, "it has got no further");
    assert_eq!(report(&mut stage, 4_000, 9), [99], "more than all is not all");
    let status = stage.ask_here(r#"{"cmd": "dht_status", "dht": 1}"#);
    assert!(
        status.contains(r#""percent":99"#) && status.contains(r#""state":"syncing""#),
        "{status}"
    );
    // Who is no member, or no primary, changes nothing.
    let other = r#"{"version": 1, "id": "0.75", "given": [[0, 10000, "0.5", 1, 8]]}"#;
    stage.now = 6_000;
    stage.ask_here(&format!(r#"{{"cmd": "dht_report", "dht": {other}}}"#));
    assert_eq!(said_percents(&stage), NONE);
}

#[test]
fn its_status_has_members_ranges_and_locks() {
    let mut stage = Stage::new(LeaderConfig::default());
    stage.ask_here(&heartbeat(38000, "0.25"));
    for requestor in ["1", "NaN"] {
        let ask = format!(r#"{{"cmd": "lock_get", "lockid": NaN, "requestor": {requestor}}}"#);
        stage.ask_here(&ask);
    }
    stage.now = 1_000;
    let said = stage.ask_here(r#"{"cmd": "dht_status", "dht": 1}"#);
    assert!(
        said.contains(r#""lease_left_ms":29000,"slots_primary":10000,"leaving":false"#),
        "{said}"
    );
    assert!(said.contains(r#""state":"settled","active":["127.0.0.1:38000"]"#), "{said}");
    let lock = r#""locks": [{"lock": NaN, "holder": 1, "waiting": 1, "queue": [NaN]}]"#;
    assert!(said.contains(lock), "{said}");
    assert!(said.contains(r#""locks_held":1"#) && said.contains(r#""percent":null"#), "{said}");
}

#[test]
fn its_status_names_who_waits_for_a_lock_in_order_and_not_all_of_many() {
    let mut stage = Stage::new(LeaderConfig::default());
    let ask = |number: usize| {
        format!(r#"{{"cmd": "lock_get", "lockid": "L", "requestor": "r{number}"}}"#)
    };
    let mut status = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| drop(stage.ask_here(&ask(number))));
        stage.ask_here(r#"{"cmd": "dht_status", "dht": 1}"#)
    };
    assert!(status(0..1).contains(r#""holder": "r0", "waiting": 0, "queue": []}"#));
    assert!(status(1..3).contains(r#""waiting": 2, "queue": ["r1", "r2"]}"#));
    let said = status(3..103);
    assert!(said.contains(r#""waiting": 102, "queue": ["r1", "#), "{said}");
    assert!(said.contains(r#""r99", "r100"]}"#), "{said}");
}
