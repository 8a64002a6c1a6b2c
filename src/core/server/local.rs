//! What `set` stores: the server's own values, which are never replicated. And what `setr` stores
//! while there is no view leader of ours, as in the original.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

use super::data::{Local as Value, Log};
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// The values of `set`.
#[derive(Debug)]
pub(super) struct Local {
    /// By the hash of the name, and not in order: a tree of 10,000 names took a fifth of a `get`, mostly
    /// waiting for memory. Only [`Local::in_order`] iterates over it.
    values: HashSet<Own, Keyed>,
    /// What the disk does not have yet.
    pub(super) log: Log,
}

/// A name with its value, found by the name. In one piece, since each further piece is one more wait for
/// memory: a byte of flags, the length of the name, the name, the value.
#[derive(Debug)]
struct Own(Box<[u8]>);

const OVERTAKEN: u8 = 1;
const WITHOUT_RING: u8 = 2;
const NAME_AT: usize = 5;

impl Own {
    fn new(name: &[u8], value: &str, flags: u8) -> Self {
        let length = u32::try_from(name.len()).expect("a frame is shorter than 2 GiB");
        let mut own = Vec::with_capacity(NAME_AT + name.len() + value.len());
        own.push(flags);
        own.extend(length.to_le_bytes());
        own.extend(name);
        own.extend(value.as_bytes());
        Own(own.into())
    }

    /// What the disk has of it.
    fn to_row(&self) -> Value {
        let (overtaken, without_ring) = (self.has(OVERTAKEN), self.has(WITHOUT_RING));
        let value = Json::from_raw(self.text());
        Value { value, overtaken, without_ring }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.value()).expect("a value is text")
    }

    fn has(&self, flag: u8) -> bool {
        self.0[0] & flag != 0
    }

    /// The name and the value.
    fn parts(&self) -> (&[u8], &[u8]) {
        let [_, a, b, c, d, ..] = *self.0 else { return (&[], &[]) };
        self.0[NAME_AT..].split_at(u32::from_le_bytes([a, b, c, d]) as usize)
    }

    fn name(&self) -> &[u8] {
        self.parts().0
    }

    fn value(&self) -> &[u8] {
        self.parts().1
    }
}

impl Borrow<[u8]> for Own {
    fn borrow(&self) -> &[u8] {
        self.name()
    }
}

impl Hash for Own {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Own) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Own {}

/// Hashes the same way in each run of one seed, which whoever chooses names must not know: names that
/// all have one hash would make every look as long as there are names.
#[derive(Debug)]
struct Keyed(DefaultHasher);

impl Keyed {
    fn new(seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        Keyed(hasher)
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

impl Local {
    /// Holds nothing; `seed` is the server's secret.
    pub(super) fn new(seed: u64) -> Self {
        Local { values: HashSet::with_hasher(Keyed::new(seed)), log: Log::default() }
    }

    /// Takes up a value that the disk has.
    pub(super) fn load(&mut self, key: Text, value: Value) {
        let Value { value, overtaken, without_ring } = value;
        let overtaken = if overtaken { OVERTAKEN } else { 0 };
        let flags = overtaken | if without_ring { WITHOUT_RING } else { 0 };
        self.values.replace(Own::new(key.as_bytes(), value.as_str(), flags));
    }

    /// Stores a value, in ASCII.
    pub(super) fn set(&mut self, key: &[u8], value: &str) {
        self.put(Own::new(key, value, 0));
    }

    /// Stores a value of `setr`, while nobody decides.
    pub(super) fn set_without_ring(&mut self, key: &[u8], value: &Json) {
        self.put(Own::new(key, value.as_str(), WITHOUT_RING));
    }

    fn put(&mut self, own: Own) {
        self.log.local(own.name(), || own.to_row());
        self.values.replace(own);
    }

    /// There is a ring now, and what its names have is decided there: `get` must not show values
    /// that it never had.
    pub(super) fn join_ring(&mut self) {
        let without_ring = self.in_order().into_iter().filter(|own| own.has(WITHOUT_RING));
        let names: Vec<Box<[u8]>> = without_ring.map(|own| own.name().into()).collect();
        for name in names {
            self.log.forget_local(&name);
            self.values.remove(&*name);
        }
    }

    /// A replicated value of this name has come; whether that is news.
    pub(super) fn overtake(&mut self, name: &[u8]) -> bool {
        if self.values.is_empty() {
            // Mostly nobody stores any where values are replicated, and a name need not be hashed.
            return false;
        }
        let own = self.values.get(name).filter(|own| !own.has(OVERTAKEN));
        let Some(own) = own else { return false };
        let own = Own::new(name, own.text(), own.0[0] | OVERTAKEN);
        self.put(own);
        true
    }

    /// The value that counts, given the way to the replicated one, which is not always gone.
    pub(super) fn later<'a>(
        &'a self,
        key: &[u8],
        replicated: impl FnOnce() -> Option<&'a str>,
    ) -> Option<&'a [u8]> {
        let replicated = || replicated().map(str::as_bytes);
        match self.values.get(key) {
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
