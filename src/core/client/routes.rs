//! Where a slot is served, as the view leader says.

use crate::core::assignment::{Revision, ViewExtension};
use crate::core::hash::Slot;
use crate::core::ring::Ring;
use crate::core::wire::json::Object;

/// What a client knows of the view.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: Option<Known>,
    /// Whether a view with servers was ever learned.
    had_servers: bool,
}

#[derive(Debug)]
struct Known {
    epoch: u64,
    /// All servers, original ones too.
    ring: Ring<String>,
    /// The assignment, where the leader speaks the extension.
    view: ViewExtension,
}

/// Who serves a slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A primary, at the revision that the leader knew.
    Primary { addr: String, revision: Revision },
    /// Nobody, until one of these comes back.
    Waiting { holders: Vec<String> },
    /// Original servers: hold the original's dialogue with them.
    Originals { servers: Vec<String>, epoch: u64 },
    /// Nobody.
    NoServers,
}

impl Routes {
    /// Who serves a slot; `None` where the view is not known.
    pub(super) fn find(&self, slot: Slot) -> Option<Route> {
        let Known { epoch, ring, view } = self.known.as_ref()?;
        let at = view.ranges.partition_point(|range| range.1 <= slot);
        let range = view.ranges.get(at).filter(|range| range.0 <= slot);
        let Some(range) = range else {
            return Some(if ring.is_empty() {
                Route::NoServers
            } else {
                Route::Originals { servers: ring.replicas(slot), epoch: *epoch }
            });
        };
        let addr = |index: &u32| Some(view.servers.get(*index as usize)?.1.clone());
        let mut active = range.3.iter().filter_map(addr);
        if range.5 {
            return Some(Route::Waiting { holders: active.collect() });
        }
        let primary = active.next();
        Some(primary.map_or(Route::NoServers, |addr| Route::Primary { addr, revision: range.2 }))
    }

    /// Takes in the reply to `query_servers`.
    pub(super) fn learn(&mut self, reply: &[u8]) -> Result<(), String> {
        let reply = Object::parse(reply).map_err(|error| error.to_string())?;
        if let Some(error) = reply.text("error") {
            return Err(error.to_string());
        }
        let epoch = reply.number("epoch").unwrap_or(0);
        let servers: Vec<(String, Slot)> =
            reply.decode("result").ok_or("query_servers was answered without a result")?;
        let view = reply.decode("dht").unwrap_or_default();
        self.had_servers |= !servers.is_empty();
        self.known = Some(Known { epoch, ring: Ring::new(servers), view });
        Ok(())
    }

    /// Whether there ever were servers.
    pub(super) fn had_servers(&self) -> bool {
        self.had_servers
    }

    /// The view may have changed.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }
}
