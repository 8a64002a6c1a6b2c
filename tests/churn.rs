//! Two hundred joins and failures in random order, among up to 40 servers, often while the ring is
//! still moving keys from the last ones: afterwards every key is on exactly its three servers and
//! reads back right. The only thing that never happens is that all holders of a key die together.
//!
//! A failure prints its seed and the end of the trace; `CHURN_SEED=7 cargo test --test churn` runs
//! one seed again, and `CHURN_TRACE=file` writes its whole trace.

#[path = "common/ring_view.rs"]
mod ring_view;
#[path = "common/twin.rs"]
mod twin;

use std::collections::{BTreeMap, BTreeSet};

use dht::core::client::{OpError, Outcome};
use dht::core::leader::LeaderConfig;
use dht::core::ring::REPLICA_COUNT;
use dht::core::server::ServerConfig;
use dht::sim::{Cluster, Rng};
use ring_view::{LEADER, ask, identities, identity, misplaced};
use serde_json::Value;
use twin::{Server, twin};

const SERVERS_MAX: usize = 40;
const CHANGES: u32 = 200;
const KEYS: u64 = 250;
/// More than a lease, which is how long a silent failure may go unnoticed, and then some.
const SETTLE_MS: u64 = 120_000;

/// A ring under churn, and what is known about it.
struct Churn {
    cluster: Cluster,
    rng: Rng,
    /// Names of the servers that live, in the order of their birth.
    living: Vec<String>,
    /// The identity of each of them.
    identities: BTreeMap<String, String>,
    /// What each key may hold: one value, or several after writes whose outcome is unknown.
    values: BTreeMap<String, Vec<String>>,
    born: u32,
    written: u32,
}

impl Churn {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(seed);
        if std::env::var_os("CHURN_TRACE").is_some() {
            cluster.keep_trace(1_000_000);
        }
        cluster.spawn_leader(LEADER, LeaderConfig::default());
        cluster.spawn_client("client", 1);
        let mut churn = Churn {
            cluster,
            rng: Rng::new(seed ^ 0xc0ffee),
            living: Vec::new(),
            identities: BTreeMap::new(),
            values: BTreeMap::new(),
            born: 0,
            written: 0,
        };
        churn.join();
        churn.settle();
        for number in 0..KEYS {
            churn.write(&format!("key {number}"));
        }
        churn
    }

    fn join(&mut self) {
        self.born += 1;
        // Sometimes a server comes back, with nothing, where one has died.
        let old = (1..self.born).map(|number| format!("s{number}"));
        let dead: Vec<String> = old.filter(|name| !self.cluster.is_alive(name)).collect();
        let name = if !dead.is_empty() && self.rng.chance(25) {
            self.rng.pick(&dead).clone()
        } else {
            format!("s{}", self.born)
        };
        let seed = self.rng.bits();
        self.cluster.spawn_server(&name, ServerConfig { seed, ..ServerConfig::default() });
        self.identities.insert(name.clone(), identity(&mut self.cluster, &name));
        self.living.push(name);
    }

    /// Kills a server whose death leaves a holder of every range alive; says whether there was one.
    fn fail(&mut self) -> bool {
        let at = self.rng.between(0, self.living.len() as u64 - 1) as usize;
        let victim = &self.identities[&self.living[at]];
        let others: BTreeSet<&String> =
            self.identities.values().filter(|id| *id != victim).collect();
        // Those who hold a range now, and those who will when what is under way has arrived.
        let together = together(&mut self.cluster);
        if !together.iter().all(|set| set.iter().any(|id| others.contains(id))) {
            return false;
        }
        let name = self.living.remove(at);
        self.identities.remove(&name);
        self.cluster.crash(&name);
        true
    }

    fn write(&mut self, key: &str) {
        self.written += 1;
        let value = format!("\"{key} {}\"", self.written);
        let possible = self.values.entry(key.to_string()).or_default();
        match self.cluster.client_write("client", key, &value) {
            Ok(Outcome::Written { servers }) => {
                assert!(!servers.is_empty());
                *possible = vec![value];
            }
            Err(OpError::Unknown(_)) => possible.push(value),
            Err(OpError::NotDone(_)) => {}
            other => panic!("a write ended with {other:?}"),
        }
    }

    fn read(&mut self, key: &str) {
        let possible = self.values.get_mut(key).expect("the key was written");
        match self.cluster.client_read("client", key) {
            Ok(Outcome::Value(value)) => {
                let value = value.as_str().to_string();
                assert!(possible.contains(&value), "{key} is {value}, not one of {possible:?}");
                *possible = vec![value];
            }
            Err(OpError::NotDone(_)) => {}
            other => panic!("a read of {key} ended with {other:?}"),
        }
    }

    fn some_key(&mut self) -> String {
        format!("key {}", self.rng.between(0, KEYS - 1))
    }

    fn settle(&mut self) {
        let settled = self.cluster.settle(LEADER, SETTLE_MS);
        assert!(settled, "not settled in {SETTLE_MS} ms");
    }

    /// Waits until all is quiet and looks at every server and every key.
    fn check(&mut self) {
        self.settle_after_last_failure();
        let keys: BTreeSet<String> = self.values.keys().cloned().collect();
        let wrong = misplaced(&mut self.cluster, &self.living, &keys);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for key in &keys {
            self.read(key);
            assert_eq!(self.values[key].len(), 1, "{key} cannot be read on a settled ring");
        }
    }

    /// A failure that nobody has noticed yet leaves the leader's word "settled" true of the view
    /// only; so wait until the view is who lives.
    fn settle_after_last_failure(&mut self) {
        let end = self.cluster.now() + SETTLE_MS;
        loop {
            let (listed, living) = identities(&mut self.cluster, &self.living);
            if living == listed {
                return self.settle();
            }
            assert!(self.cluster.now() < end, "listed: {listed:?}; these live: {living:?}");
            self.cluster.advance(500);
        }
    }

    fn change(&mut self) {
        let crowd = self.living.len();
        let join = crowd < 2 || (crowd < SERVERS_MAX && self.rng.chance(53));
        if join {
            self.join();
        } else if !self.fail() {
            self.check();
            assert!(self.fail(), "on a settled ring of two or more anyone may die");
        }
        for _ in 0..self.rng.between(0, 3) {
            let pause_ms = self.rng.between(0, 400);
            self.cluster.advance(pause_ms);
            let key = self.some_key();
            if self.rng.chance(50) { self.write(&key) } else { self.read(&key) }
        }
    }
}

/// For each range, the identities of those who hold it now, and of those who will hold it when what
/// is under way has arrived: sets of which not all may die together.
fn together(cluster: &mut Cluster) -> BTreeSet<BTreeSet<String>> {
    let reply = ask(cluster, LEADER, r#"{"cmd": "query_servers", "dht": 1}"#);
    let members: Vec<(String, u16)> =
        serde_json::from_value(reply["result"].clone()).expect("pairs of address and hash");
    let members: Vec<Server> = members.into_iter().map(|(addr, at)| (at, addr)).collect();
    let named = reply["dht"]["servers"].as_array().expect("a list of servers");
    let mut sets = BTreeSet::new();
    for range in reply["dht"]["ranges"].as_array().expect("a list of ranges") {
        let ids = |at: usize| -> Vec<&Value> {
            let indices = range[at].as_array().expect("a list of indices");
            indices.iter().map(|i| &named[i.as_u64().expect("an index") as usize]).collect()
        };
        let start = range[0].as_u64().expect("a slot") as u16;
        let target = twin(&members, start, REPLICA_COUNT);
        let (active, joining) = (ids(3), ids(4));
        let next = active.iter().chain(&joining);
        let next = next.filter(|named| target.iter().any(|addr| named[1] == **addr));
        sets.insert(next.map(|named| named[0].to_string()).collect());
        sets.insert(active.iter().map(|named| named[0].to_string()).collect());
    }
    sets
}

/// Prints where a run that failed can be found again.
struct Witness<'a>(u64, &'a mut Churn);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace = self.1.cluster.trace();
            if let Ok(path) = std::env::var("CHURN_TRACE") {
                let _ = std::fs::write(path, &trace);
            }
            let tail: Vec<&str> = trace.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            panic_note(&format!(
                "CHURN_SEED={} living {:?}\n{}",
                self.0,
                self.1.living,
                tail.join("\n")
            ));
        }
    }
}

/// Goes to standard error, where the test runner shows it beside the panic.
fn panic_note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn churn(seed: u64) {
    let mut churn = Churn::new(seed);
    let witness = Witness(seed, &mut churn);
    for change in 0..CHANGES {
        witness.1.change();
        if change % 20 == 19 {
            witness.1.check();
        }
    }
    witness.1.check();
}

fn seeds(range: std::ops::Range<u64>) {
    match std::env::var("CHURN_SEED") {
        Ok(seed) => churn(seed.parse().expect("CHURN_SEED is a number")),
        Err(_) => range.for_each(churn),
    }
}

#[test]
fn every_key_ends_on_exactly_its_three_servers() {
    seeds(1..2);
}

#[test]
fn and_with_another_seed() {
    seeds(2..3);
}
