//! `query_servers`: the view for everybody, the assignment for our own clients.

use std::collections::BTreeMap;

use super::Leader;
use super::heartbeat::reachable;
use super::plan::{Range, State};
use crate::core::assignment::{NodeId, ViewExtension, ViewRange};
use crate::core::machine::Origin;
use crate::core::reply::Reply;
use crate::core::wire::request::EXTENSION_VERSION;
use crate::core::wire::text::Text;

impl Leader {
    /// The reply to `query_servers`.
    pub(super) fn query_servers(&self, origin: &Origin, extended: bool) -> Vec<u8> {
        let leader_host = self.leader_host(origin);
        let mut result = String::from("[");
        for member in self.members.in_ring_order() {
            if result.len() > 1 {
                result.push_str(", ");
            }
            let addr = Text::from(&*reachable(&member.addr, &leader_host)).to_json();
            result.push_str(&format!("[{addr}, {}]", member.position));
        }
        result.push(']');
        let reply = Reply::new().raw("result", &result).number("epoch", self.epoch);
        if extended {
            reply.value("dht", &self.view(&leader_host)).finish()
        } else {
            reply.finish()
        }
    }

    fn view(&self, leader_host: &str) -> ViewExtension {
        let mut servers = Vec::new();
        let mut index_of: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut index = |id: &NodeId| {
            *index_of.entry(id.clone()).or_insert_with(|| {
                let position = self.members.by_id(id).map_or(0, |member| member.position);
                servers.push((id.clone(), reachable(&self.addr_of(id), leader_host), position));
                servers.len() as u32 - 1
            })
        };
        // While servers of the ring before a restart were not heard, nobody can say who holds what
        // they hold.
        let recovering = self.is_recovering();
        // Where all have left as they were to, there is nobody to wait for.
        let held = |state: &State| state.active.iter().any(|id| !self.has_left(id));
        let known = |range: &&Range| recovering || held(&range.state);
        let assigned = self.ranges.iter().filter(known);
        let ranges = assigned
            .map(|range| {
                let state = &range.state;
                let active = state.active.iter().map(&mut index).collect();
                let joining = state.joining.iter().map(|(id, _)| index(id)).collect();
                let waiting = state.waiting_since.is_some() || state.active.is_empty();
                ViewRange(range.start, range.end, state.revision, active, joining, waiting)
            })
            .collect();
        ViewExtension {
            version: EXTENSION_VERSION,
            revision: self.revision,
            settled: self.is_settled(),
            servers,
            ranges,
        }
    }
}
