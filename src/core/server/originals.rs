//! Copies for original servers: one that is among a key's three gets its copy by the original's
//! own messages, after the write was acknowledged, and does not count as a copy.

use std::collections::{BTreeMap, BTreeSet};

use super::{Out, Purpose, Server};
use crate::core::assignment::Originals;
use crate::core::hash::{SLOT_COUNT, Slot, slot_of};
use crate::core::machine::{CallError, Millis, Output, Target};
use crate::core::reply::Reply;
use crate::core::wire::json::Object;
use crate::core::wire::text::Text;

/// After how long an original server that did not answer is tried again.
const RETRY_MS: Millis = 1_000;

/// After how long a call to an original server counts as not answered.
const CALL_TIMEOUT_MS: Millis = 5_000;

/// What is owed to original servers.
#[derive(Debug, Default)]
pub(super) struct Debts {
    /// Who wants which slots, of those that this server is the primary of.
    wanted: Vec<Originals>,
    /// By address.
    debts: BTreeMap<String, Debt>,
}

/// What is owed to one original server.
#[derive(Debug, Default)]
struct Debt {
    /// Names whose values it lacks.
    names: BTreeSet<Text>,
    /// Whether a call is under way.
    busy: bool,
    /// No call before then.
    after: Millis,
}

impl Debts {
    /// Whether a write to `slot` is owed to anybody.
    fn creditors(&self, slot: Slot) -> impl Iterator<Item = &String> {
        let wanted = self.wanted.iter().filter(move |w| (w.0..w.1).contains(&slot));
        wanted.flat_map(|w| &w.2)
    }

    /// When a call is due.
    pub(super) fn due(&self) -> Option<Millis> {
        let due = self.debts.values().filter(|debt| !debt.busy && !debt.names.is_empty());
        due.map(|debt| debt.after).min()
    }
}

impl Server {
    /// Takes in which original servers want copies; what is new is owed in full.
    pub(super) fn owe(&mut self, now: Millis, wanted: Vec<Originals>, out: &mut Out) {
        let there_are = |o: &Originals| o.0 < o.1 && o.1 <= SLOT_COUNT;
        let wanted: Vec<Originals> = wanted.into_iter().filter(there_are).collect();
        if wanted == self.debts.wanted {
            return;
        }
        let before = std::mem::replace(&mut self.debts.wanted, wanted);
        self.debts.debts.retain(|addr, _| self.debts.wanted.iter().any(|w| w.2.contains(addr)));
        for Originals(start, end, addrs) in self.debts.wanted.iter().filter(|w| !before.contains(w))
        {
            let slots = *start..*end;
            let names: Vec<Text> =
                slots.flat_map(|slot| self.store.cells(slot)).map(|cell| cell.to_name()).collect();
            for addr in addrs {
                let debt = self.debts.debts.entry(addr.clone()).or_default();
                debt.names.extend(names.iter().cloned());
            }
        }
        self.pay(now, out);
    }

    /// A value was acknowledged: original servers that want it get it.
    pub(super) fn copy_to_originals(&mut self, now: Millis, slot: Slot, key: &Text, out: &mut Out) {
        if self.debts.wanted.is_empty() {
            return;
        }
        let creditors: Vec<String> = self.debts.creditors(slot).cloned().collect();
        for addr in creditors {
            self.debts.debts.entry(addr).or_default().names.insert(key.clone());
        }
        self.pay(now, out);
    }

    /// Begins a call to each original server that is owed something, one at a time.
    pub(super) fn pay(&mut self, now: Millis, out: &mut Out) {
        let ready = self.debts.debts.iter_mut().filter(|(_, debt)| !debt.busy && debt.after <= now);
        let mut calls = Vec::new();
        for (addr, debt) in ready {
            if let Some(key) = debt.names.pop_first() {
                debt.busy = true;
                calls.push((addr.clone(), key));
            }
        }
        for (addr, key) in calls {
            let request = Reply::new().text("cmd", "setr_request").raw("key", &key.to_json());
            self.call_original(Purpose::Vote { addr, key }, request, out);
        }
    }

    fn call_original(&mut self, purpose: Purpose, request: Reply, out: &mut Out) {
        let (Purpose::Vote { addr, .. } | Purpose::Copy { addr, .. }) = &purpose else {
            return;
        };
        let target = Target::Addr(addr.clone());
        let call = self.call_id(purpose);
        let (message, timeout_ms) = (request.finish(), CALL_TIMEOUT_MS);
        out.push(Output::Call { call, target, message, timeout_ms, keep: false });
    }

    /// An original server has voted.
    pub(super) fn voted(
        &mut self,
        now: Millis,
        addr: String,
        key: Text,
        result: &Result<Vec<u8>, CallError>,
        out: &mut Out,
    ) {
        let reply = result.as_ref().ok().and_then(|reply| Object::parse(reply).ok());
        let yes =
            reply.and_then(|reply| reply.text("reply")).is_some_and(|r| r.as_bytes() == b"ok");
        let value = self.store.get(slot_of(key.as_bytes()), key.as_bytes());
        match value.filter(|_| yes) {
            Some(value) => {
                let request = Reply::new().text("cmd", "setr").raw("key", &key.to_json());
                let request = request.raw("val", value);
                self.call_original(Purpose::Copy { addr, key }, request, out);
            }
            None => self.settle(now, &addr, key, false, out),
        }
    }

    /// An original server has its copy, or has not.
    pub(super) fn settle(&mut self, now: Millis, addr: &str, key: Text, paid: bool, out: &mut Out) {
        let held = self.store.get(slot_of(key.as_bytes()), key.as_bytes()).is_some();
        let Some(debt) = self.debts.debts.get_mut(addr) else {
            return;
        };
        debt.busy = false;
        if !paid {
            debt.after = now + RETRY_MS;
            if held {
                debt.names.insert(key);
            }
        }
        self.pay(now, out);
    }
}
