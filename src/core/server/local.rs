//! What `set` stores: the server's own values, which are never replicated.

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
}

impl Local {
    /// Stores a value.
    pub(super) fn set(&mut self, key: Text, value: Json) {
        self.values.insert(key, Value { value, overtaken: false });
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
