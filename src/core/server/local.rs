//! What `set` stores: the server's own values, which are never replicated. And what `setr` stores
//! while there is no view leader of ours, as in the original.

use std::hash::{DefaultHasher, Hasher};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::data::{Local as Value, Log};
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// The values of `set`.
#[derive(Debug)]
pub(super) struct Local {
    /// By the hash of the name, and not in order: a tree of 10,000 names took a fifth of a `get`, mostly
    /// waiting for memory. Only [`Local::in_order`] iterates over it.
    values: HashTable<Own>,
    secret: Secret,
    /// What the disk does not have yet.
    pub(super) log: Log,
}

/// A name with its value. In one piece, since each further piece is one more wait for memory: a byte of
/// flags, the length of the name, the name, the value. A short one lies in the table, in one line of a
/// processor's cache, and is changed there: 50 clients' `set` rose by 2.7 % and their `get` by 1.5 % (medians,
/// measured in turns, with 10,000 names).
#[derive(Debug)]
#[repr(align(64))]
struct Own(SmallVec<[u8; SHORT_BYTES_MAX]>);

/// How long a short one is.
const SHORT_BYTES_MAX: usize = 56;

/// How long it is with what `SmallVec` needs to know of it.
const LINE_BYTES: usize = 64;
const _: () = assert!(size_of::<Own>() == LINE_BYTES, "one line");

const OVERTAKEN: u8 = 1;
const WITHOUT_RING: u8 = 2;
const NAME_AT: usize = 5;

impl Own {
    fn new(name: &[u8], value: &str, flags: u8) -> Self {
        let length = u32::try_from(name.len()).expect("a frame is shorter than 2 GiB");
        let mut own = SmallVec::with_capacity(NAME_AT + name.len() + value.len());
        own.push(flags);
        own.extend_from_slice(&length.to_le_bytes());
        own.extend_from_slice(name);
        own.extend_from_slice(value.as_bytes());
        Own(own)
    }

    /// The name has another value from now on.
    fn change(&mut self, value: &str, flags: u8) {
        let value_at = NAME_AT + self.name().len();
        let bytes = value_at + value.len();
        let fits = if self.0.spilled() { bytes == self.0.len() } else { bytes <= SHORT_BYTES_MAX };
        if !fits {
            // In as much memory as it takes, no more.
            let next = Own::new(self.name(), value, flags);
            *self = next;
            return;
        }
        self.0[0] = flags;
        self.0.truncate(value_at);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.value()).expect("a value is text")
    }

    fn has(&self, flag: u8) -> bool {
        self.0[0] & flag != 0
    }

    /// The name and the value.
    fn parts(&self) -> (&[u8], &[u8]) {
        let [_, a, b, c, d, ..] = self.0[..] else { return (&[], &[]) };
        self.0[NAME_AT..].split_at(u32::from_le_bytes([a, b, c, d]) as usize)
    }

    fn name(&self) -> &[u8] {
        self.parts().0
    }

    fn value(&self) -> &[u8] {
        self.parts().1
    }
}

/// Hashes the same way in each run of one seed, which whoever chooses names must not know: names that
/// all have one hash would make every look as long as there are names.
#[derive(Debug)]
struct Secret(DefaultHasher);

impl Secret {
    fn new(seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        Secret(hasher)
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.0.clone();
        hasher.write(name);
        hasher.finish()
    }
}

impl Local {
    /// Holds nothing; `seed` is the server's secret.
    pub(super) fn new(seed: u64) -> Self {
        Local { values: HashTable::new(), secret: Secret::new(seed), log: Log::default() }
    }

    /// Takes up a value that the disk has.
    pub(super) fn load(&mut self, key: Text, value: Value) {
        let Value { value, overtaken, without_ring } = value;
        let overtaken = if overtaken { OVERTAKEN } else { 0 };
        let flags = overtaken | if without_ring { WITHOUT_RING } else { 0 };
        self.put(key.as_bytes(), value.as_str(), flags);
    }

    /// Stores a value, in ASCII.
    pub(super) fn set(&mut self, key: &[u8], value: &str) {
        self.store(key, value, 0);
    }

    /// Stores a value of `setr`, while nobody decides.
    pub(super) fn set_without_ring(&mut self, key: &[u8], value: &Json) {
        self.store(key, value.as_str(), WITHOUT_RING);
    }

    fn store(&mut self, name: &[u8], value: &str, flags: u8) {
        self.log.local(name, || to_row(value, flags));
        self.put(name, value, flags);
    }

    fn put(&mut self, name: &[u8], value: &str, flags: u8) {
        let hash = self.secret.hash(name);
        match self.values.find_mut(hash, |own| own.name() == name) {
            Some(own) => own.change(value, flags),
            None => {
                let hash_of = |own: &Own| self.secret.hash(own.name());
                self.values.insert_unique(hash, Own::new(name, value, flags), hash_of);
            }
        }
    }

    fn find(&self, name: &[u8]) -> Option<&Own> {
        self.values.find(self.secret.hash(name), |own| own.name() == name)
    }

    /// There is a ring now, and what its names have is decided there: `get` must not show values
    /// that it never had.
    pub(super) fn join_ring(&mut self) {
        let without_ring = self.in_order().into_iter().filter(|own| own.has(WITHOUT_RING));
        let names: Vec<Box<[u8]>> = without_ring.map(|own| own.name().into()).collect();
        for name in names {
            self.log.forget_local(&name);
        }
        self.values.retain(|own| !own.has(WITHOUT_RING));
    }

    /// A replicated value of this name has come; whether that is news.
    pub(super) fn overtake(&mut self, name: &[u8]) -> bool {
        if self.values.is_empty() {
            // Mostly nobody stores any where values are replicated, and a name need not be hashed.
            return false;
        }
        let own = self.values.find_mut(self.secret.hash(name), |own| own.name() == name);
        let Some(own) = own.filter(|own| !own.has(OVERTAKEN)) else { return false };
        own.0[0] |= OVERTAKEN;
        self.log.local(name, || to_row(own.text(), own.0[0]));
        true
    }

    /// The value that counts, given the way to the replicated one, which is not always gone.
    pub(super) fn later<'a>(
        &'a self,
        key: &[u8],
        replicated: impl FnOnce() -> Option<&'a str>,
    ) -> Option<&'a [u8]> {
        let replicated = || replicated().map(str::as_bytes);
        match self.find(key) {
            Some(own) if own.has(OVERTAKEN) => replicated().or_else(|| Some(own.value())),
            Some(own) => Some(own.value()),
            None => replicated(),
        }
    }

    /// All names in WTF-8, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.in_order().into_iter().map(Own::name)
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    fn in_order(&self) -> Vec<&Own> {
        let mut all: Vec<&Own> = self.values.iter().collect();
        all.sort_by_key(|own| own.name());
        all
    }
}

/// What the disk has of a value.
fn to_row(value: &str, flags: u8) -> Value {
    let (overtaken, without_ring) = (flags & OVERTAKEN != 0, flags & WITHOUT_RING != 0);
    Value { value: Json::from_raw(value), overtaken, without_ring }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_any_length_are_kept_apart() {
        let mut local = Local::new(7);
        let lengths = [0, 1, 20, 25, 26, 50, 51, 52, 300];
        let pairs =
            || lengths.iter().flat_map(|name| lengths.iter().map(move |value| (*name, *value)));
        let key = |name: usize, value: usize| format!("{}{value}", "n".repeat(name));
        for round in 0..lengths.len() {
            for (name, value) in pairs() {
                // Each is longer and shorter in between than it is in the end.
                let at = lengths.iter().position(|length| *length == value).unwrap_or(0);
                let length = lengths[(at + round + 1) % lengths.len()];
                local.set(key(name, value).as_bytes(), &"b".repeat(length));
            }
        }
        for (name, value) in pairs() {
            let found = local.later(key(name, value).as_bytes(), || None);
            assert_eq!(found, Some("b".repeat(value).as_bytes()), "{name}, {value}");
        }
        assert_eq!((local.len(), local.names().count()), (pairs().count(), pairs().count()));
        let room = |own: &Own| own.0.capacity() - own.0.len();
        assert!(local.values.iter().all(|own| !own.0.spilled() || room(own) == 0));
    }
}
