//! A few identities, each once, in order.
//!
//! Each write and each question has such a set of its own, of two servers mostly. In a tree that was an
//! allocation of 192 bytes and 1,200 of the 39,700 instructions of a `setr` with three copies; here two lie
//! in place.

use std::ops::Deref;

use smallvec::SmallVec;

use crate::core::assignment::NodeId;

/// Identities; read as the slice of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids(SmallVec<[NodeId; 2]>);

impl Ids {
    /// Adds one; whether it is new.
    pub(super) fn insert(&mut self, id: NodeId) -> bool {
        let place = self.0.binary_search(&id);
        if let Err(at) = place {
            self.0.insert(at, id);
        }
        place.is_err()
    }

    /// Takes one away; whether it was there.
    pub(super) fn remove(&mut self, id: &NodeId) -> bool {
        let place = self.0.binary_search(id);
        if let Ok(at) = place {
            self.0.remove(at);
        }
        place.is_ok()
    }

    /// Takes away those for which this does not hold.
    pub(super) fn retain(&mut self, holds: impl Fn(&NodeId) -> bool) {
        self.0.retain(|id| holds(id));
    }
}

impl Deref for Ids {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        &self.0
    }
}

impl Extend<NodeId> for Ids {
    fn extend<T: IntoIterator<Item = NodeId>>(&mut self, ids: T) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl FromIterator<NodeId> for Ids {
    fn from_iter<T: IntoIterator<Item = NodeId>>(ids: T) -> Self {
        let mut all = Ids::default();
        all.extend(ids);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_as_a_tree(steps in prop::collection::vec((any::<bool>(), 0..6u8), 0..40)) {
            let (mut ids, mut twin) = (Ids::default(), BTreeSet::new());
            for (add, number) in steps {
                let id: NodeId = number.to_string().into();
                if add {
                    prop_assert_eq!(ids.insert(id.clone()), twin.insert(id));
                } else {
                    prop_assert_eq!(ids.remove(&id), twin.remove(&id));
                }
                prop_assert!(ids.iter().eq(&twin));
            }
            ids.retain(|id| **id > *"2");
            twin.retain(|id| **id > *"2");
            prop_assert!(ids.iter().eq(&twin));
            prop_assert!(twin.into_iter().rev().collect::<Ids>() == ids);
        }
    }
}
