//! The members of the view: leases, identities, and who is denied for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::assignment::{NodeId, Revision};
use crate::core::hash::Slot;
use crate::core::machine::{CallId, Millis};
use crate::core::ring::{REPLICA_COUNT, Ring};
use crate::core::wire::json::Json;

/// A server of the view.
#[derive(Debug)]
pub(super) struct Member {
    /// `host:port`, as it registered.
    pub(super) addr: String,
    /// Its identity.
    pub(super) requestor: Json,
    /// Its position on the ring.
    pub(super) position: Slot,
    /// Alive until then.
    pub(super) lease_until: Millis,
    /// When it was heard last.
    pub(super) heard_at: Millis,
    /// What we know of a server that speaks our extension; `None` for an original one.
    pub(super) extension: Option<Extension>,
}

impl Member {
    /// Its identity, where it speaks the extension.
    pub(super) fn id(&self) -> Option<NodeId> {
        self.extension.as_ref().map(|extension| extension.id.clone())
    }
}

/// The leader's dealings with a server that speaks the extension.
#[derive(Debug)]
pub(super) struct Extension {
    /// The identity, as entries name it.
    pub(super) id: NodeId,
    /// Earlier identities of the same process, whose data it has kept.
    pub(super) was: Vec<NodeId>,
    /// Whether the leader before this one had it in its view until that leader ended.
    pub(super) vouches: bool,
    /// Whether it keeps its data on disk.
    pub(super) keeps: bool,
    /// How this server reaches the leader's host.
    pub(super) leader_host: String,
    /// Everything up to here was adopted.
    pub(super) acked: Revision,
    /// The epoch that it was told last.
    pub(super) epoch_told: u64,
    /// Whether it was told which copies original servers want.
    pub(super) originals_told: bool,
    /// The push that is under way, and the epoch that it tells.
    pub(super) push: Option<(CallId, u64)>,
    /// No push before then.
    pub(super) push_after: Millis,
    /// Whether ranges wait for it to delete them, and may be deleted.
    pub(super) may_drop: bool,
    /// Since when it wants to leave.
    pub(super) leaving_since: Option<Millis>,
    /// Whether others may take over from it: enough that stay are certainly there.
    pub(super) released: bool,
    /// Whether it was told that it may.
    pub(super) leave_told: bool,
}

/// All members, and all that ever expired.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// By address: the original knows a lease by it.
    by_addr: BTreeMap<String, Member>,
    /// The address of each member that speaks the extension.
    addr_of: BTreeMap<NodeId, String>,
    /// Requestors whose lease has ended; denied for ever, so never forgotten.
    expired: BTreeSet<Json>,
    /// No lease of a member ends before then. With it, a heartbeat among 10,000 servers looks at one
    /// lease and not at 10,000.
    leases_until: Option<Millis>,
    /// The same of those that speak the extension.
    extended_until: Option<Millis>,
}

impl Members {
    /// Whether this requestor's lease has ended once.
    pub(super) fn is_expired(&self, requestor: &Json) -> bool {
        self.expired.contains(requestor)
    }

    /// Adds a server; its address must be free.
    pub(super) fn insert(&mut self, member: Member) {
        let until = member.lease_until;
        self.leases_until = Some(self.leases_until.map_or(until, |least| least.min(until)));
        if let Some(extension) = &member.extension {
            self.extended_until = Some(self.extended_until.map_or(until, |least| least.min(until)));
            self.addr_of.insert(extension.id.clone(), member.addr.clone());
        }
        let before = self.by_addr.insert(member.addr.clone(), member);
        assert!(before.is_none(), "two members at one address");
    }

    /// Removes a server for good.
    pub(super) fn expire(&mut self, addr: &str) -> Option<Member> {
        let member = self.by_addr.remove(addr)?;
        if let Some(extension) = &member.extension {
            self.addr_of.remove(&extension.id);
        }
        self.expired.insert(member.requestor.clone());
        Some(member)
    }

    /// Denies these requestors for ever.
    pub(super) fn deny(&mut self, requestors: BTreeSet<Json>) {
        self.expired.extend(requestors);
    }

    /// Who is denied for ever.
    pub(super) fn denied(&self) -> &BTreeSet<Json> {
        &self.expired
    }

    /// The addresses whose lease has ended.
    pub(super) fn overdue(&mut self, now: Millis) -> Vec<String> {
        if self.leases_until.is_none_or(|least| least >= now) {
            return Vec::new();
        }
        let overdue = self.by_addr.values().filter(|member| member.lease_until < now);
        let overdue = overdue.map(|member| member.addr.clone()).collect();
        // Leases only grow, so what is the least of those that go on stays a bound.
        let lasting = || self.by_addr.values().filter(|member| member.lease_until >= now);
        let least = lasting().map(|member| member.lease_until).min();
        let extended = lasting().filter(|member| member.extension.is_some());
        self.extended_until = extended.map(|member| member.lease_until).min();
        self.leases_until = least;
        overdue
    }

    /// When to look for the first lease of a server that speaks the extension that has ended: none
    /// ends before. Leases of others are looked at when somebody asks, as in the original: their
    /// epochs depend on it.
    pub(super) fn first_overdue(&self) -> Option<Millis> {
        let anybody = !self.addr_of.is_empty();
        self.extended_until.filter(|_| anybody).map(|until| until + 1)
    }

    /// The member at an address.
    pub(super) fn at(&mut self, addr: &str) -> Option<&mut Member> {
        self.by_addr.get_mut(addr)
    }

    /// The member of this identity, where it speaks the extension.
    pub(super) fn by_id(&self, id: &str) -> Option<&Member> {
        self.by_addr.get(self.addr_of.get(id)?)
    }

    /// The member of this identity, where it speaks the extension.
    pub(super) fn by_id_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.by_addr.get_mut(self.addr_of.get(id)?)
    }

    /// What we know of this identity.
    pub(super) fn extension(&self, id: &str) -> Option<&Extension> {
        self.by_id(id)?.extension.as_ref()
    }

    /// What we know of this identity.
    pub(super) fn extension_mut(&mut self, id: &str) -> Option<&mut Extension> {
        self.by_addr.get_mut(self.addr_of.get(id)?)?.extension.as_mut()
    }

    /// The identities that speak the extension, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.addr_of.keys()
    }

    /// All that we know of those that speak the extension.
    pub(super) fn extensions_mut(&mut self) -> impl Iterator<Item = &mut Extension> {
        self.by_addr.values_mut().filter_map(|member| member.extension.as_mut())
    }

    /// Whether any member keeps its data on disk.
    pub(super) fn any_keeps(&self) -> bool {
        self.keeping().next().is_some()
    }

    /// The members that keep their data on disk.
    pub(super) fn keeping(&self) -> impl Iterator<Item = &NodeId> {
        let extensions = self.by_addr.values().filter_map(|m| m.extension.as_ref());
        extensions.filter(|known| known.keeps).map(|known| &known.id)
    }

    /// Lets every lease last until then at least.
    pub(super) fn extend_leases(&mut self, until: Millis) {
        for member in self.by_addr.values_mut() {
            member.lease_until = member.lease_until.max(until);
        }
    }

    /// Whether there are servers that do not speak the extension.
    pub(super) fn has_originals(&self) -> bool {
        self.addr_of.len() < self.by_addr.len()
    }

    /// All members by position, then address text.
    pub(super) fn in_ring_order(&self) -> Vec<&Member> {
        let mut all: Vec<&Member> = self.by_addr.values().collect();
        all.sort_by(|a, b| (a.position, &a.addr).cmp(&(b.position, &b.addr)));
        all
    }

    /// Whether everybody who could hold a copy wants to leave.
    pub(super) fn nobody_stays(&self) -> bool {
        self.stayers().next().is_none()
    }

    /// Since when somebody wants to leave.
    pub(super) fn asked_since(&self) -> Option<Millis> {
        let extensions = self.by_addr.values().filter_map(|m| m.extension.as_ref());
        extensions.filter_map(|known| known.leaving_since).min()
    }

    /// Those who could hold a copy and do not want to leave.
    pub(super) fn stayers(&self) -> impl Iterator<Item = &Member> {
        let stays = |known: &Extension| known.leaving_since.is_none();
        self.by_addr.values().filter(move |member| member.extension.as_ref().is_some_and(stays))
    }

    /// Releases those who want to leave, where enough others stay for all copies, or all that stay
    /// were heard since: one that is dead, and not yet missed, must not be left alone with a range.
    /// Returns whether somebody still waits for that.
    pub(super) fn release_leavers(&mut self) -> bool {
        let stay = self.stayers().count();
        let heard_at = self.stayers().map(|member| member.heard_at).min();
        let mut somebody_waits = false;
        for extension in self.extensions_mut() {
            let Some(since) = extension.leaving_since else { continue };
            let all_heard = heard_at.is_some_and(|heard_at| heard_at > since);
            extension.released |= stay >= REPLICA_COUNT || all_heard;
            somebody_waits |= !extension.released;
        }
        somebody_waits
    }

    /// The ring of the members that are to hold data: address, and identity where they speak the
    /// extension. Who is leaving is not in it, unless nobody stays.
    pub(super) fn ring(&self) -> Ring<(String, Option<NodeId>)> {
        let nobody_stays = self.nobody_stays();
        let leaves = |member: &Member| member.extension.as_ref().is_some_and(|e| e.released);
        let stay = self.by_addr.values().filter(|member| nobody_stays || !leaves(member));
        Ring::new(stay.map(|member| {
            let id = member.extension.as_ref().map(|extension| extension.id.clone());
            ((member.addr.clone(), id), member.position)
        }))
    }
}
