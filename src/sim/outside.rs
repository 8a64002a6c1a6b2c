//! What a program needs that holds a cluster and works in its time: it waits in small portions,
//! takes what has come of its operations, and looks at who has what.

use super::cluster::Cluster;
use super::node::Program;
use crate::core::client::{OpError, OpId, Outcome};
use crate::core::hash::slot_of;
use crate::core::machine::Millis;
use crate::core::wire::text::Text;

/// How far [`Cluster::run_some`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// What was waited for has happened.
    Done,
    /// It has not, and time is up; or a rule is broken, see [`Cluster::broken`].
    TimeUp,
    /// Neither yet: that was as many events as were allowed.
    More,
}

impl Cluster {
    /// Lets time pass as [`Cluster::run_until`] does, until the time `end`, but lets at most
    /// `events_max` events happen, so that whoever calls can look around in between.
    ///
    /// ```
    /// use dht::sim::{Cluster, Ran};
    ///
    /// let mut cluster = Cluster::new(1);
    /// assert_eq!(cluster.run_some(|_| false, 500, 10), Ran::TimeUp);
    /// assert_eq!(cluster.now(), 500);
    /// ```
    pub fn run_some(
        &mut self,
        done: impl Fn(&Cluster) -> bool,
        end: Millis,
        events_max: usize,
    ) -> Ran {
        for _ in 0..events_max {
            if done(self) {
                return Ran::Done;
            }
            if !self.step(end) {
                return Ran::TimeUp;
            }
        }
        Ran::More
    }

    /// Takes how a client's operation ended, if it has: it is not remembered any longer.
    pub fn take_outcome(&mut self, client: &str, id: OpId) -> Option<Result<Outcome, OpError>> {
        let index = self.index(client);
        self.nodes[index].outcomes.remove(&id)
    }

    /// Where machines find the view leader, `ip:port`.
    pub fn leader_addr(&self) -> &str {
        &self.leader_addr
    }

    /// The addresses of the running (or stopped) servers that have a copy of a name now, in the
    /// order in which their nodes first began.
    pub fn holders(&self, name: &Text) -> Vec<String> {
        let slot = slot_of(name.as_bytes());
        let holders = self.nodes.iter().filter(|node| match &node.program {
            Some(Program::Server(server)) => {
                server.audit().cells().any(|(at, cell)| at == slot && cell.name == name.as_bytes())
            }
            _ => false,
        });
        holders.map(|node| node.addr.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::Op;
    use crate::core::leader::LeaderConfig;
    use crate::core::server::ServerConfig;
    use crate::core::wire::json::Json;

    fn ring(servers: u64) -> Cluster {
        let mut cluster = Cluster::new(7);
        cluster.spawn_leader("leader", LeaderConfig { listen_ms: 0, ..LeaderConfig::default() });
        for seed in 1..=servers {
            let config = ServerConfig { seed, ..ServerConfig::default() };
            cluster.spawn_server(&format!("s{seed}"), config);
        }
        cluster.spawn_client("client", 1);
        cluster
    }

    #[test]
    fn small_portions_come_as_far_as_one_large_one() {
        let (mut whole, mut cut) = (ring(3), ring(3));
        whole.advance(40_000);
        let mut portions = 0;
        while cut.run_some(|_| false, 40_000, 5) == Ran::More {
            portions += 1;
        }
        assert!(portions > 10, "{portions}");
        assert_eq!((cut.now(), cut.trace_digest()), (whole.now(), whole.trace_digest()));
    }

    #[test]
    fn a_new_ring_need_not_listen() {
        let mut cluster = ring(3);
        assert!(cluster.settle("leader", 200));
        assert!(cluster.now() < 400, "{}", cluster.now());
    }

    #[test]
    fn holders_are_those_that_have_a_copy() {
        let mut cluster = ring(4);
        assert!(cluster.settle("leader", 10_000));
        let key = Text::from("apple");
        assert!(cluster.holders(&key).is_empty());
        let value = Json::parse(b"1").expect("JSON");
        let id = cluster.begin("client", Op::Write { key: key.clone(), value });
        let ended = |c: &Cluster| c.outcome("client", id).is_some();
        assert_eq!(cluster.run_some(ended, 10_000, 10_000), Ran::Done);
        let outcome = cluster.take_outcome("client", id);
        let Some(Ok(Outcome::Written { mut servers })) = outcome else { panic!("{outcome:?}") };
        assert_eq!(cluster.take_outcome("client", id), None);
        servers.sort();
        let mut holders = cluster.holders(&key);
        holders.sort();
        assert_eq!(holders, servers);
        assert_eq!(holders.len(), 3);
    }

    #[test]
    fn many_nodes_have_hosts_of_their_own() {
        let mut cluster = Cluster::new(1);
        let mut hosts = std::collections::BTreeSet::new();
        for number in 0..700 {
            let name = format!("c{number}");
            cluster.spawn_client(&name, number);
            let ip = cluster.ip(&name).to_string();
            assert!(ip.parse::<std::net::Ipv4Addr>().is_ok(), "{ip}");
            assert!(hosts.insert(ip));
        }
    }
}
