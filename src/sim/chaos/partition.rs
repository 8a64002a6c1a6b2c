//! Cutting hosts off.

use super::faults::Kind;
use super::inflict::Undos;
use super::plan::Undo;
use super::world::{LEADER, World};
use crate::core::machine::Millis;

impl World {
    /// Cuts a server off from some, from all or from the leader.
    pub(super) fn partition(&mut self, kind: Kind, until: Millis) -> Option<Undos> {
        let name = self.victim(until)?;
        let ip = self.cluster.ip(&name).to_string();
        let leader_ip = self.cluster.ip(LEADER).to_string();
        let names: Vec<String> = self.cluster.alive().into_iter().map(String::from).collect();
        let mut others: Vec<String> = names
            .iter()
            .map(|name| self.cluster.ip(name).to_string())
            .filter(|other| *other != ip)
            .collect();
        match kind {
            Kind::CutFromLeader => others = vec![leader_ip],
            // Between a server and the leader something is always under way.
            Kind::CutOneWay if self.rng.chance(50) => others.retain(|o| *o == leader_ip),
            Kind::CutOneWay => {}
            Kind::Cut => {
                let count = self.rng.between(1, 3) as usize;
                while others.len() > count {
                    let at = self.rng.between(0, others.len() as u64 - 1) as usize;
                    others.swap_remove(at);
                }
            }
            _ => {}
        }
        let outwards = self.rng.chance(50);
        for other in &others {
            let faults = &mut self.cluster.faults;
            match kind {
                Kind::CutOneWay if outwards => faults.cut_one_way(&ip, other),
                Kind::CutOneWay => faults.cut_one_way(other, &ip),
                _ => faults.cut(&ip, other),
            }
        }
        let pairs = others.into_iter().map(|other| (ip.clone(), other)).collect();
        Some(vec![(until, Undo::Mend(pairs))])
    }
}
