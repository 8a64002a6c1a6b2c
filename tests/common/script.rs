//! The commands of a scenario.

use std::collections::{BTreeMap, BTreeSet};

use dht::core::client::{OpError, Outcome};
use dht::core::leader::LeaderConfig;
use dht::core::machine::CallError;
use dht::core::server::ServerConfig;
use dht::sim::Cluster;

use crate::ring_view::{LEADER, holders, identities, misplaced, view};

/// How long `settle` waits: longer than any lease.
const SETTLE_MS: u64 = 120_000;

/// A simulated ring and who is on it.
pub(crate) struct Stage {
    cluster: Cluster,
    servers: Vec<String>,
    clients: u64,
    /// How many notes of each node have been shown.
    shown: BTreeMap<String, usize>,
}

/// The words of a command, and its `name=value` options.
struct Words<'a> {
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn option(&self, name: &str) -> Option<&'a str> {
        self.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.option(name).map(|value| value.parse().expect("a number"))
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let cluster = Cluster::new(1);
        Stage { cluster, servers: Vec::new(), clients: 0, shown: BTreeMap::new() }
    }

    /// Runs one line; returns what it prints, whole lines.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = rest.split(' ').collect::<Vec<_>>();
        let milliseconds = |at: usize| words[at].parse::<u64>().expect("milliseconds");
        match (command, &words[..]) {
            ("spawn", [kind, ..]) => self.spawn(kind, &Words { words: words.clone() }),
            ("kill", [name]) => {
                self.servers.retain(|server| server != name);
                self.cluster.crash(name);
            }
            ("leave", [name]) => {
                self.cluster.leave(name);
                let left = self.cluster.run_until(|cluster| !cluster.is_alive(name), SETTLE_MS);
                self.servers.retain(|server| server != name || !left);
                return format!("{name} {}\n", if left { "has left" } else { "stays" });
            }
            ("ask-to-leave", [name]) => self.cluster.leave(name),
            ("left", [name]) => {
                let left = !self.cluster.is_alive(name);
                self.servers.retain(|server| server != name || !left);
                return format!("{name} {}\n", if left { "has left" } else { "stays" });
            }
            ("pause", [name]) => self.cluster.pause(name),
            ("resume", [name]) => self.cluster.resume(name),
            ("cut", [one, other]) => {
                let ips = [one, other].map(|name| self.cluster.ip(name).to_string());
                self.cluster.faults.cut(&ips[0], &ips[1]);
            }
            ("mend", _) => self.cluster.faults.mend_all(),
            ("latency", [_, _]) => {
                self.cluster.faults.latency_min_ms = milliseconds(0);
                self.cluster.faults.latency_max_ms = milliseconds(1);
            }
            ("advance", [_]) => self.cluster.advance(milliseconds(0)),
            ("settle", _) => return self.settle(),
            ("send", [name, ..]) => return self.send(name, rest[name.len()..].trim_start()),
            ("heartbeat", [ip, port, ..]) => {
                let requestor = &rest[ip.len() + port.len() + 2..];
                return self.heartbeat(ip, port, requestor);
            }
            ("view", _) => return self.view(),
            ("where", _) => return self.whereabouts(rest),
            ("setr", [client, key, ..]) => {
                let value = &rest[client.len() + key.len() + 2..];
                let outcome = self.cluster.client_write(client, key, value);
                return self.outcome(outcome);
            }
            ("getr", [client, key]) => {
                let outcome = self.cluster.client_read(client, key);
                return self.outcome(outcome);
            }
            ("fill", [client, count]) => return self.fill(client, count.parse().expect("a count")),
            ("check", [client, count]) => {
                return self.check(client, count.parse().expect("a count"));
            }
            ("notes", [name]) => return self.notes(name),
            _ => panic!("not a command: {line}"),
        }
        String::new()
    }

    fn spawn(&mut self, kind: &str, words: &Words<'_>) {
        match kind {
            "leader" => {
                let mut config = LeaderConfig::default();
                if let Some(seconds) = words.number("lease") {
                    config.lease_ms = seconds * 1_000;
                }
                config.give_up_after_ms = words.number("give_up").map(|seconds| seconds * 1_000);
                if words.number("record").is_some() {
                    self.cluster.spawn_leader_with_disk(LEADER, config);
                } else {
                    self.cluster.spawn_leader(LEADER, config);
                }
            }
            "server" => {
                let name = words.words[1];
                let mut config = ServerConfig::default();
                // Without a seed the name decides, so that a file needs none.
                let own = || name.bytes().fold(0, |seed, byte| seed * 31 + u64::from(byte));
                config.seed = words.number("seed").unwrap_or_else(own);
                config.port = words.number("port").unwrap_or(0) as u16;
                if let Some(seconds) = words.number("heartbeat") {
                    config.heartbeat_ms = seconds * 1_000;
                }
                if words.number("disk").is_some() {
                    self.cluster.spawn_server_with_disk(name, config);
                } else {
                    self.cluster.spawn_server(name, config);
                }
                self.servers.push(name.to_string());
            }
            "client" => {
                self.clients += 1;
                self.cluster.spawn_client(words.words[1], self.clients);
            }
            _ => panic!("cannot spawn {kind}"),
        }
    }

    /// Settled is a ring that says so and whose view is who lives and is not stopped.
    fn settle(&mut self) -> String {
        let end = self.cluster.now() + SETTLE_MS;
        let servers = self.at_work();
        while self.cluster.now() < end {
            let (listed, living) = identities(&mut self.cluster, &servers);
            if listed == living && self.cluster.is_settled(LEADER) {
                return "settled\n".to_string();
            }
            self.cluster.advance(100);
        }
        "not settled\n".to_string()
    }

    /// The servers that live and are not stopped.
    fn at_work(&self) -> Vec<String> {
        let at_work = self.servers.iter().filter(|name| !self.cluster.is_paused(name));
        at_work.cloned().collect()
    }

    fn send(&mut self, name: &str, rest: &str) -> String {
        let from = rest.strip_prefix("from=").and_then(|rest| rest.split_once(' '));
        let reply = match from {
            Some((ip, json)) => {
                let addr = self.cluster.addr(name).to_string();
                self.cluster.request_from(ip, &addr, json)
            }
            None => self.cluster.request(name, rest),
        };
        shown_reply(reply)
    }

    fn heartbeat(&mut self, ip: &str, port: &str, requestor: &str) -> String {
        let json = format!(r#"{{"cmd": "heartbeat", "port": {port}, "requestor": {requestor}}}"#);
        let addr = self.cluster.addr(LEADER).to_string();
        shown_reply(self.cluster.request_from(ip, &addr, &json))
    }

    /// The name of the server at an address; the address where nobody runs.
    fn name_of(&self, addr: &str) -> String {
        let found = self.servers.iter().find(|name| self.cluster.addr(name) == addr);
        found.cloned().unwrap_or_else(|| addr.to_string())
    }

    fn names_of(&self, addrs: &[String]) -> String {
        addrs.iter().map(|addr| self.name_of(addr)).collect::<Vec<_>>().join(" ")
    }

    fn view(&mut self) -> String {
        let (epoch, servers) = view(&mut self.cluster);
        let line =
            |(position, addr): &(u16, String)| format!("{position} {}\n", self.name_of(addr));
        format!("epoch {epoch}\n{}", servers.iter().map(line).collect::<String>())
    }

    fn whereabouts(&mut self, key: &str) -> String {
        let (_, listed) = view(&mut self.cluster);
        let right = holders(&listed, key);
        let json = format!(r#"{{"cmd": "get", "key": "{key}"}}"#);
        let mut found: Vec<String> = Vec::new();
        for name in self.at_work() {
            let reply = self.cluster.request(&name, &json);
            if reply.is_ok_and(|reply| reply.contains(r#""value""#)) {
                found.push(self.cluster.addr(&name).to_string());
            }
        }
        // In the order in which they should hold it, then those that should not.
        found.sort_by_key(|addr| right.iter().position(|holder| holder == addr).unwrap_or(99));
        let missing = right.iter().filter(|holder| !found.contains(holder)).count();
        let strange = found.iter().filter(|addr| !right.contains(addr)).count();
        let remark = if missing + strange == 0 {
            String::new()
        } else {
            format!(" (should be {})", self.names_of(&right))
        };
        format!("{}{remark}\n", self.names_of(&found))
    }

    fn outcome(&self, outcome: Result<Outcome, OpError>) -> String {
        match outcome {
            Ok(Outcome::Written { servers }) => format!("written to {}\n", self.names_of(&servers)),
            Ok(Outcome::Value(value)) => format!("{value}\n"),
            Ok(Outcome::NotFound) => "not found\n".to_string(),
            Err(error) => format!("error: {error}\n"),
        }
    }

    fn fill(&mut self, client: &str, count: u64) -> String {
        let write = |number: u64| {
            self.cluster.client_write(client, &format!("key{number}"), &number.to_string())
        };
        let written = (0..count).map(write).filter(Result::is_ok).count();
        format!("{written} written\n")
    }

    fn check(&mut self, client: &str, count: u64) -> String {
        let keys: BTreeSet<String> = (0..count).map(|number| format!("key{number}")).collect();
        let servers = self.at_work();
        let wrong = misplaced(&mut self.cluster, &servers, &keys);
        if !wrong.is_empty() {
            return wrong.join("\n") + "\n";
        }
        let read = |number: &u64| {
            let outcome = self.cluster.client_read(client, &format!("key{number}"));
            matches!(outcome, Ok(Outcome::Value(value)) if value.as_str() == number.to_string())
        };
        let right = (0..count).filter(read).count();
        format!("{right} right\n")
    }

    fn notes(&mut self, name: &str) -> String {
        let notes = self.cluster.notes(name);
        let seen = self.shown.insert(name.to_string(), notes.len()).unwrap_or(0);
        notes[seen..].iter().map(|(_, note)| format!("{note:?}\n")).collect()
    }
}

fn shown_reply(reply: Result<String, CallError>) -> String {
    match reply {
        Ok(reply) => format!("{reply}\n"),
        Err(error) => format!("no reply: {error}\n"),
    }
}
