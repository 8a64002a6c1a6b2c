//! What `set` stores: the server's own values, which are never replicated. And what `setr` stores
//! while there is no view leader of ours, as in the original.

use std::collections::BTreeMap;

use super::data::{Local as Value, Log};
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// The values of `set`.
#[derive(Debug, Default)]
pub(super) struct Local {
    values: BTreeMap<Text, Value>,
    /// What the disk does not have yet.
    pub(super) log: Log,
}

impl Local {
    /// Takes up a value that the disk has.
    pub(super) fn load(&mut self, key: Text, value: Value) {
        self.values.insert(key, value);
    }

    /// Stores a value.
    pub(super) fn set(&mut self, key: Text, value: Json) {
        self.put(key, Value { value, overtaken: false, without_ring: false });
    }

    /// Stores a value of `setr`, while nobody decides.
    pub(super) fn set_without_ring(&mut self, key: Text, value: Json) {
        self.put(key, Value { value, overtaken: false, without_ring: true });
    }

    fn put(&mut self, key: Text, value: Value) {
        self.log.local(key.as_bytes(), Some(&value));
        self.values.insert(key, value);
    }

    /// There is a ring now, and what its names have is decided there: `get` must not show values
    /// that it never had.
    pub(super) fn join_ring(&mut self) {
        let log = &mut self.log;
        self.values.retain(|key, value| {
            if value.without_ring {
                log.local(key.as_bytes(), None);
            }
            !value.without_ring
        });
    }

    /// A replicated value of this name has come; whether that is news.
    pub(super) fn overtake(&mut self, name: &[u8]) -> bool {
        let Some(value) = self.values.get_mut(name).filter(|value| !value.overtaken) else {
            return false;
        };
        value.overtaken = true;
        self.log.local(name, Some(value));
        true
    }

    /// The value that counts, given the way to the replicated one, which is not always gone.
    pub(super) fn later<'a>(
        &'a self,
        key: &Text,
        replicated: impl FnOnce() -> Option<&'a str>,
    ) -> Option<&'a str> {
        match self.values.get(key) {
            Some(local) if local.overtaken => replicated().or(Some(local.value.as_str())),
            Some(local) => Some(local.value.as_str()),
            None => replicated(),
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
