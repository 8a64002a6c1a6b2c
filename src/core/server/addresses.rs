//! Where other servers are, and what every message to one of them begins with.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::assignment::NodeId;
use crate::core::machine::Output;
use crate::core::wire::peer::PeerMessage;

/// The servers that this one knows, by identity.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<Key, Known>);

/// An identity that is found by its bytes: whether those of a message are text need not be known.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(NodeId);

/// Text is ordered by its bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[derive(Debug)]
struct Known {
    /// `host:port`.
    addr: Arc<str>,
    /// Written with the first message.
    head: Option<Head>,
}

/// The beginning of the messages from one server to another. It is the same each time: to write it anew
/// took a thirtieth of the instructions of a `setr` with three copies.
#[derive(Debug)]
struct Head {
    /// The sender's identity and address that stand in it.
    from: NodeId,
    from_addr: Arc<str>,
    bytes: Box<[u8]>,
}

impl Addresses {
    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where a server is.
    pub(super) fn get(&self, id: &NodeId) -> Option<&Arc<str>> {
        self.0.get(id.as_bytes()).map(|known| &known.addr)
    }

    /// The identity of these bytes, where it is known.
    pub(super) fn identity(&self, id: &[u8]) -> Option<&NodeId> {
        self.0.get_key_value(id).map(|(Key(id), _)| id)
    }

    /// Who is at an address.
    pub(super) fn at(&self, addr: &str) -> Vec<NodeId> {
        let there = self.0.iter().filter(|(_, known)| *known.addr == *addr);
        there.map(|(Key(id), _)| id.clone()).collect()
    }

    /// Learns where a server is.
    pub(super) fn insert(&mut self, id: &NodeId, addr: &str) {
        if self.get(id).is_none_or(|known| **known != *addr) {
            self.0.insert(Key(id.clone()), Known { addr: addr.into(), head: None });
        }
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, which: impl Fn(&NodeId) -> bool) {
        self.0.retain(|Key(id), _| which(id));
    }

    /// Where a server is, and what a message to it begins with that comes from this identity at this
    /// address.
    fn head(
        &mut self,
        from: &NodeId,
        from_addr: &Arc<str>,
        to: &NodeId,
    ) -> Option<(Arc<str>, &[u8])> {
        let known = self.0.get_mut(to.as_bytes())?;
        // One life has one of each, so that to compare where they lie is enough.
        let same =
            |head: &Head| Arc::ptr_eq(&head.from, from) && Arc::ptr_eq(&head.from_addr, from_addr);
        if !known.head.as_ref().is_some_and(same) {
            let bytes = PeerMessage::head(from, from_addr, to).into();
            let (from, from_addr) = (from.clone(), from_addr.clone());
            known.head = Some(Head { from, from_addr, bytes });
        }
        Some((known.addr.clone(), &known.head.as_ref()?.bytes))
    }

    /// Such a message, as `write` makes it of its beginning.
    pub(super) fn message(
        &mut self,
        from: &NodeId,
        from_addr: &Arc<str>,
        to: &NodeId,
        write: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Option<Output> {
        let (addr, head) = self.head(from, from_addr, to)?;
        Some(Output::Send { addr, message: write(head) })
    }

    /// The same of a body that was written before, for several.
    pub(super) fn written(
        &mut self,
        from: &NodeId,
        from_addr: &Arc<str>,
        to: &NodeId,
        body: &[u8],
    ) -> Option<Output> {
        self.message(from, from_addr, to, |head| [head, body].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::wire::peer::Body;

    #[test]
    fn a_message_begins_with_who_sends_it_now() {
        let body = Body::Prepared { revision: 1, number: 2 };
        let (there, elsewhere): (NodeId, NodeId) = ("0.25".into(), "0.5".into());
        let mut known = Addresses::default();
        known.insert(&there, "there:1");
        assert!(known.head(&"0.1".into(), &"here:1".into(), &elsewhere).is_none());
        // One after another, each as though it were the first.
        let (first, renamed): (NodeId, NodeId) = ("0.1".into(), "0.2".into());
        let (here, moved): (Arc<str>, Arc<str>) = ("here:1".into(), "here:2".into());
        for (id, addr) in [(&first, &here), (&renamed, &here), (&renamed, &moved), (&first, &here)]
        {
            let (to, head) = known.head(id, addr, &there).expect("it is known");
            assert_eq!(&*to, "there:1");
            let message = PeerMessage::with(head, &body);
            let said = PeerMessage::decode(&message).expect("a message");
            assert_eq!((said.from.id(), said.from.addr()), (id, &**addr));
            assert_eq!((&said.to, &said.body), (&there, &body));
            let written = known.written(id, addr, &there, &body.encode());
            assert!(matches!(written, Some(Output::Send { message: same, .. }) if same == message));
        }
    }

    #[test]
    fn a_server_that_has_moved_is_found_where_it_is() {
        let (a, b): (NodeId, NodeId) = ("0.25".into(), "0.5".into());
        let mut known = Addresses::default();
        known.insert(&a, "there:1");
        known.insert(&b, "there:1");
        assert_eq!(known.at("there:1"), [a.clone(), b.clone()]);
        known.insert(&b, "there:2");
        assert_eq!(known.at("there:1"), std::slice::from_ref(&a));
        assert_eq!(known.get(&b).map(|addr| &**addr), Some("there:2"));
        assert_eq!(known.identity(b"0.5"), Some(&b));
        assert_eq!(known.identity(b"\xff"), None);
        known.retain(|id| *id == a);
        assert_eq!((known.len(), known.identity(b"0.5")), (1, None));
    }
}
