//! Placement: which servers hold a slot. Consistent hashing after Karger et al. (STOC 1997), with
//! the original assignment's rule for who comes first.

use super::hash::{SLOT_COUNT, Slot};

/// How many servers hold each key.
pub const REPLICA_COUNT: usize = 3;

/// The servers of a view in ring order.
///
/// A slot belongs to the server with the highest position strictly below it and to the next
/// [`REPLICA_COUNT`]` - 1` servers up the ring. Where no position is below, the ring wraps and the
/// first is the server with the highest position. Equal positions are ordered by address text.
///
/// ```
/// use dht::core::ring::Ring;
/// let ring = Ring::new([("a", 1000), ("b", 3000), ("c", 5000), ("d", 7000)]);
/// assert_eq!(ring.replicas(3001), ["b", "c", "d"]);
/// assert_eq!(ring.replicas(3000), ["a", "b", "c"]);
/// assert_eq!(ring.replicas(500), ["d", "a", "b"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring<N> {
    /// Sorted by position, then by name; the invariant of every method.
    servers: Vec<(Slot, N)>,
}

impl<N: Ord + Clone> Ring<N> {
    /// The ring of these servers, each with its position.
    pub fn new(servers: impl IntoIterator<Item = (N, Slot)>) -> Self {
        let mut servers: Vec<(Slot, N)> =
            servers.into_iter().map(|(name, position)| (position, name)).collect();
        servers.sort();
        Ring { servers }
    }

    /// The servers of a slot, first to last: three, or all where there are fewer.
    pub fn replicas(&self, slot: Slot) -> Vec<N> {
        self.walk(slot).take(REPLICA_COUNT).collect()
    }

    /// All servers in the order in which they would hold a slot.
    pub fn walk(&self, slot: Slot) -> impl Iterator<Item = N> + '_ {
        let count = self.servers.len();
        let below = self.servers.partition_point(|(position, _)| *position < slot);
        // `below` servers stand under the slot; the last of them is first. None: the ring wraps.
        let first = (below + count).saturating_sub(1);
        (0..count).map(move |step| self.servers[(first + step) % count].1.clone())
    }

    /// The slots at which the answer of [`Ring::replicas`] may change, ascending, without 0. Between two
    /// neighbours it is constant.
    pub fn boundaries(&self) -> Vec<Slot> {
        let mut starts: Vec<Slot> = self
            .servers
            .iter()
            .map(|(position, _)| position + 1)
            .filter(|start| *start < SLOT_COUNT)
            .collect();
        starts.dedup();
        starts
    }

    /// The servers with their positions, in ring order.
    pub fn servers(&self) -> impl Iterator<Item = (&N, Slot)> {
        self.servers.iter().map(|(position, name)| (name, *position))
    }

    /// How many servers the ring has.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether the ring has no server.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }
}
