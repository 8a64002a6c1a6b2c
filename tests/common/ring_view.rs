//! A simulated ring seen from outside: what the view leader lists, what each server holds, and what
//! each should hold.

use std::collections::{BTreeMap, BTreeSet};

use dht::core::hash::slot_of;
use dht::core::ring::REPLICA_COUNT;
use dht::sim::Cluster;
use serde_json::Value;

use crate::twin::{Server, twin};

/// The view leader's name in every test.
pub(crate) const LEADER: &str = "leader";

/// A request and its reply as JSON.
pub(crate) fn ask(cluster: &mut Cluster, name: &str, request: &str) -> Value {
    let reply = cluster.request(name, request).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{name} said {reply}: {error}"))
}

/// The epoch and the servers of the view.
pub(crate) fn view(cluster: &mut Cluster) -> (u64, Vec<Server>) {
    let reply = ask(cluster, LEADER, r#"{"cmd": "query_servers"}"#);
    let servers: Vec<(String, u16)> =
        serde_json::from_value(reply["result"].clone()).expect("pairs of address and hash");
    let epoch = reply["epoch"].as_u64().expect("an epoch");
    (epoch, servers.into_iter().map(|(addr, position)| (position, addr)).collect())
}

/// The identities that the view leader lists, and those of the servers that live. They differ while
/// a failure or a join has not been noticed.
pub(crate) fn identities(
    cluster: &mut Cluster,
    living: &[String],
) -> (BTreeSet<String>, BTreeSet<String>) {
    let reply = ask(cluster, LEADER, r#"{"cmd": "query_servers", "dht": 1}"#);
    let members = reply["dht"]["servers"].as_array().expect("a list of servers");
    let listed = members.iter().map(|member| member[0].to_string()).collect();
    let own = living.iter().map(|name| identity(cluster, name)).collect();
    (listed, own)
}

/// A server's identity, as JSON.
pub(crate) fn identity(cluster: &mut Cluster, name: &str) -> String {
    ask(cluster, name, r#"{"cmd": "dht_hello", "dht": 1}"#)["dht"]["id"].to_string()
}

/// The three servers of a key, by the linear scan.
pub(crate) fn holders(servers: &[Server], key: &str) -> Vec<String> {
    twin(servers, slot_of(key.as_bytes()), REPLICA_COUNT)
}

/// The keys that a server says it holds.
pub(crate) fn held(cluster: &mut Cluster, name: &str) -> BTreeSet<String> {
    let reply = ask(cluster, name, r#"{"cmd": "query_all_keys"}"#);
    let keys: Vec<String> = serde_json::from_value(reply["result"].clone()).expect("a list");
    let set: BTreeSet<String> = keys.iter().cloned().collect();
    assert_eq!(set.len(), keys.len(), "{name} lists a key twice");
    set
}

/// What is wrong with where the keys are; empty when each is on its three servers and nowhere else.
/// `servers` are the names of those that live.
pub(crate) fn misplaced(
    cluster: &mut Cluster,
    servers: &[String],
    keys: &BTreeSet<String>,
) -> Vec<String> {
    let (_, listed) = view(cluster);
    let by_addr: BTreeMap<String, &String> =
        servers.iter().map(|name| (cluster.addr(name).to_string(), name)).collect();
    let mut wrong = Vec::new();
    if listed.iter().map(|(_, addr)| addr).collect::<BTreeSet<_>>() != by_addr.keys().collect() {
        wrong.push(format!("the view lists {listed:?} and these live: {by_addr:?}"));
    }
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in keys {
        for addr in holders(&listed, key) {
            expected.entry(addr).or_default().insert(key.clone());
        }
    }
    for (addr, name) in by_addr {
        let (held, expected) = (held(cluster, name), expected.remove(&addr).unwrap_or_default());
        let missing: Vec<_> = expected.difference(&held).take(5).collect();
        let strange: Vec<_> = held.difference(&expected).take(5).collect();
        if !missing.is_empty() || !strange.is_empty() {
            wrong.push(format!("{name} at {addr} lacks {missing:?} and has besides {strange:?}"));
        }
    }
    wrong
}
