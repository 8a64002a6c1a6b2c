//! How far this server is with giving ranges to others: facts for people, which decide nothing.

use serde::Serialize;

use super::holds::{Hold, Role};
use super::transfer::Sync;
use super::{Out, Server};
use crate::core::assignment::{Given, NodeId, Report};
use crate::core::hash::Slot;
use crate::core::machine::Millis;
use crate::core::reply::Reply;
use crate::core::wire::request::EXTENSION_VERSION;

/// How often the leader is told how far transfers are, at most. One that is over before is not told.
const PROGRESS_MS: Millis = 1_000;

/// One range on its way to one joiner, as `dht_stats` tells it.
#[derive(Debug, Serialize)]
struct Transfer<'a> {
    start: Slot,
    end: Slot,
    /// The joiner's identity.
    id: &'a NodeId,
    /// Where the joiner is.
    to: &'a str,
    slots_done: usize,
    slots: usize,
    keys_done: usize,
    keys: usize,
    bytes_done: usize,
    bytes: usize,
}

impl Server {
    /// The transfers to joiners that do not hold everything yet, as a JSON array.
    pub(super) fn transfers_json(&self) -> String {
        let transfers: Vec<Transfer<'_>> = self.transfers().collect();
        serde_json::to_string(&transfers).expect("wire types have no form JSON lacks")
    }

    /// Tells the leader how far the transfers are, where they have got any further.
    pub(super) fn report_progress(&mut self, now: Millis, out: &mut Out) {
        let given: Vec<Given> = self
            .transfers()
            .map(|each| {
                let (done, all) = (each.bytes_done as u64, each.bytes as u64);
                Given(each.start, each.end, each.id.clone(), done, all)
            })
            .collect();
        if given.is_empty() {
            self.progress_told = None;
            return;
        }
        let done = given.iter().map(|each| each.3).sum();
        match self.progress_told {
            None => self.progress_told = Some((now, done)),
            Some((at, told)) if now >= at + PROGRESS_MS && done != told => {
                self.progress_told = Some((now, done));
                let id = Some(self.id.clone());
                let version = EXTENSION_VERSION;
                self.call_report(Report { version, id, given, ..Report::default() }, out);
            }
            Some(_) => {}
        }
    }

    /// What is answered to whoever asks this server to leave.
    pub(super) fn leave_reply(&self) -> Reply {
        let hello = format!("{{\"version\": {EXTENSION_VERSION}}}");
        Reply::status("ok").text("id", &self.id).raw("dht", &hello)
    }

    fn transfers(&self) -> impl Iterator<Item = Transfer<'_>> {
        self.holds.iter().flat_map(|hold| {
            let syncs = match &hold.role {
                Role::Primary(primary) => Some(&primary.syncs),
                _ => None,
            };
            let under_way = syncs.into_iter().flatten().filter(|(_, sync)| !sync.synced);
            under_way.map(|(id, sync)| self.transfer(hold, id, sync))
        })
    }

    /// What is missing is what was not acknowledged; all else that the range has counts as given,
    /// since new writes go to the joiner as well.
    fn transfer<'a>(&'a self, hold: &Hold, id: &'a NodeId, sync: &Sync) -> Transfer<'a> {
        let (start, end) = (hold.entry.start, hold.entry.end);
        let on_their_way = sync.flight.iter().map(|(slot, _)| slot);
        let missing = self.size_of(sync.todo.keys().copied().chain(on_their_way));
        let all = self.size_of(self.store.filled(start, end));
        Transfer {
            start,
            end,
            id,
            to: self.addresses.get(id).map_or("", |addr| addr),
            slots_done: all.0.saturating_sub(missing.0),
            slots: all.0,
            keys_done: all.1.saturating_sub(missing.1),
            keys: all.1,
            bytes_done: all.2.saturating_sub(missing.2),
            bytes: all.2,
        }
    }

    /// How many slots, keys and bytes.
    fn size_of(&self, slots: impl Iterator<Item = Slot>) -> (usize, usize, usize) {
        slots.fold((0, 0, 0), |sum, slot| {
            let (keys, bytes) = self.store.size(slot);
            (sum.0 + 1, sum.1 + keys, sum.2 + bytes)
        })
    }
}
