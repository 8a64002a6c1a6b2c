//! What `set` stores: the server's own values, which are never replicated. And what `setr` stores
//! while there is no view leader of ours, as in the original.

use std::collections::BTreeMap;

use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// The values of `set`.
#[derive(Debug, Default)]
pub(super) struct Local {
    values: BTreeMap<Text, Value>,
}

#[derive(Debug)]
struct Value {
    value: Json,
    /// Whether a replicated value of the same name came later: `get` shows the later of two.
    overtaken: bool,
    /// Whether `setr` stored it: it is not the server's own, and a ring knows nothing of it.
    without_ring: bool,
}

impl Local {
    /// Stores a value.
    pub(super) fn set(&mut self, key: Text, value: Json) {
        self.values.insert(key, Value { value, overtaken: false, without_ring: false });
    }

    /// Stores a value of `setr`, while nobody decides.
    pub(super) fn set_without_ring(&mut self, key: Text, value: Json) {
        self.values.insert(key, Value { value, overtaken: false, without_ring: true });
    }

    /// There is a ring now, and what its names have is decided there: `get` must not show values
    /// that it never had.
    pub(super) fn join_ring(&mut self) {
        self.values.retain(|_, value| !value.without_ring);
    }

    /// A replicated value of this name has come.
    pub(super) fn overtake(&mut self, key: &Text) {
        if let Some(value) = self.values.get_mut(key) {
            value.overtaken = true;
        }
    }

    /// The value that counts, given the replicated one.
    pub(super) fn later<'a>(
        &'a self,
        key: &Text,
        replicated: Option<&'a Json>,
    ) -> Option<&'a Json> {
        match (self.values.get(key), replicated) {
            (Some(local), Some(replicated)) if local.overtaken => Some(replicated),
            (Some(local), _) => Some(&local.value),
            (None, replicated) => replicated,
        }
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &Text> {
        self.values.keys()
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}
