//! What a change of the ring moves: who needs a copy that it does not have, and of whom it gets it.
//!
//! A server that holds a slot before and after the change keeps its copy, so as few copies as can
//! be are made: one for each slot and each new holder of it.

use std::collections::BTreeSet;

use super::hash::{SLOT_COUNT, Slot};
use super::ring::Ring;

/// The slots `start..end` get a further holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer<N> {
    /// First slot.
    pub start: Slot,
    /// One past the last slot.
    pub end: Slot,
    /// Who gives the copies; `None` where nobody has them, so the slots start empty.
    pub source: Option<N>,
    /// Who gets them.
    pub target: N,
}

/// The copies of one slot that a change makes, each as `(source, target)`; targets in the order of
/// the ring after the change.
///
/// The source is the first of the new holders that has a copy, so the new primary for choice; where
/// none has, the first of the old holders that is not `lost`.
///
/// ```
/// use std::collections::BTreeSet;
/// use dht::core::{moves::copies, ring::Ring};
/// let before = Ring::new([("a", 1000), ("b", 3000), ("c", 5000), ("d", 7000)]);
/// let after = Ring::new([("a", 1000), ("c", 5000), ("d", 7000)]);
/// // b, c and d held slot 3500. b has failed; a is the new primary, and has nothing yet.
/// assert_eq!(copies(&before, &after, 3500, &BTreeSet::from(["b"])), [(Some("c"), "a")]);
/// ```
pub fn copies<N: Ord + Clone>(
    before: &Ring<N>,
    after: &Ring<N>,
    slot: Slot,
    lost: &BTreeSet<N>,
) -> Vec<(Option<N>, N)> {
    let (old, new) = (before.replicas(slot), after.replicas(slot));
    let has = |server: &&N| old.contains(server) && !lost.contains(server);
    let source = new.iter().find(has).or_else(|| old.iter().find(has)).cloned();
    let targets = new.into_iter().filter(|target| !old.contains(target));
    targets.map(|target| (source.clone(), target)).collect()
}

/// All copies that a change makes, as ranges of slots by their start; what one server gets of
/// another in neighbouring ranges is one transfer.
///
/// Servers in `lost` give nothing.
pub fn transfers<N: Ord + Clone>(
    before: &Ring<N>,
    after: &Ring<N>,
    lost: &BTreeSet<N>,
) -> Vec<Transfer<N>> {
    let starts: BTreeSet<Slot> =
        [0].into_iter().chain(before.boundaries()).chain(after.boundaries()).collect();
    let ends = starts.iter().copied().skip(1).chain([SLOT_COUNT]);
    let mut transfers: Vec<Transfer<N>> = Vec::new();
    for (start, end) in starts.iter().copied().zip(ends) {
        for (source, target) in copies(before, after, start, lost) {
            let lower = transfers.iter_mut().rev().find(|lower| {
                lower.end == start && lower.source == source && lower.target == target
            });
            match lower {
                Some(lower) => lower.end = end,
                None => transfers.push(Transfer { start, end, source, target }),
            }
        }
    }
    transfers
}

/// The ranges of slots, ascending, of which `holds` of the slot's holders is true; neighbours are
/// joined.
///
/// ```
/// use dht::core::{moves::ranges, ring::Ring};
/// let ring = Ring::new([("a", 1000), ("b", 3000)]);
/// let leads = ranges(&ring, |replicas| replicas[0] == "b");
/// assert_eq!(leads, [0..1001, 3001..10_000]);
/// ```
pub fn ranges<N: Ord + Clone>(
    ring: &Ring<N>,
    holds: impl Fn(&[N]) -> bool,
) -> Vec<std::ops::Range<Slot>> {
    let starts = [0].into_iter().chain(ring.boundaries());
    let ends = ring.boundaries().into_iter().chain([SLOT_COUNT]);
    let mut found: Vec<std::ops::Range<Slot>> = Vec::new();
    for (start, end) in starts.zip(ends).filter(|(start, _)| holds(&ring.replicas(*start))) {
        match found.last_mut() {
            Some(lower) if lower.end == start => lower.end = end,
            _ => found.push(start..end),
        }
    }
    found
}
