//! How far the versions of the primaries are, as they have told.
//!
//! A request says a version that is lower than any that it can get. The nearer that is to the
//! present, the less has been forgotten since, and the fewer repetitions end in doubt.

use std::collections::BTreeMap;

use crate::core::assignment::Revision;

/// Of how many primaries and revisions a client knows it.
const VERSIONS_KNOWN_MAX: usize = 1_000;

/// The highest version that each primary has told of, at each of its revisions. One revision of a
/// slot has one primary, in one life of it, so a later request gets a higher version there.
#[derive(Debug, Default)]
pub(super) struct Versions {
    known: BTreeMap<(Revision, String), u64>,
}

impl Versions {
    /// A version lower than any that a request gets which this primary orders from now on at this
    /// revision, or that another one orders later.
    pub(super) fn known(&self, revision: Revision, addr: &str) -> (Revision, u64) {
        let sequence = self.known.get(&(revision, addr.to_string()));
        (revision, sequence.copied().unwrap_or(0))
    }

    /// A primary has told how far it is.
    pub(super) fn learn(&mut self, revision: Revision, addr: String, sequence: u64) {
        let known = self.known.entry((revision, addr)).or_default();
        *known = sequence.max(*known);
        if self.known.len() > VERSIONS_KNOWN_MAX {
            // The lowest revisions are the least likely to be needed again.
            self.known.pop_first();
        }
    }
}
