//! A part of a slot's content: on its own as it came in, or where it lies as it is sent.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::cells::{CellRef, Cells, Run};
use super::number::{number_size, push_number};
use super::peer::Version;
use super::recent::Recent;

/// A part of a slot's content, in key order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Names and values.
    pub cells: Cells,
    /// The requests that the slot remembers; in the last part only.
    pub recent: Recent,
    /// The highest version of a request that the slot has forgotten; in the last part only.
    pub forgotten: Version,
    /// The same of the repeated ones.
    pub forgotten_repeats: Version,
    /// Whether the slot's content ends here.
    pub last: bool,
}

/// The same of a slot that is at hand, to be copied once, into the message. Where a [`Part`] was made of it
/// first, those that gave slots away computed a fifth to a third longer.
#[derive(Debug, Clone, Default)]
pub(in crate::core) struct PartRef<'a> {
    pub(in crate::core) cells: Runs<'a>,
    pub(in crate::core) recent: Option<&'a Recent>,
    pub(in crate::core) forgotten: Version,
    pub(in crate::core) forgotten_repeats: Version,
    pub(in crate::core) last: bool,
}

impl PartRef<'_> {
    /// How many bytes its names, values and requests take in a message.
    pub(in crate::core) fn bytes(&self) -> usize {
        self.cells.bytes + self.recent.map_or(0, Recent::packed_size)
    }

    /// How many bytes it takes in a message, or a few more.
    pub(super) fn bytes_max(&self) -> usize {
        NUMBERS_BYTES_MAX + self.bytes()
    }

    /// Appends what postcard makes of it as a [`Part`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        push_number(out, self.cells.bytes as u64);
        self.cells.runs.iter().for_each(|run| out.extend_from_slice(run.bytes()));
        push_number(out, self.recent.map_or(0, Recent::packed_size) as u64);
        self.recent.inspect(|recent| recent.pack(out));
        for Version { revision, sequence } in [self.forgotten, self.forgotten_repeats] {
            push_number(out, revision);
            push_number(out, sequence);
        }
        out.push(u8::from(self.last));
    }

    /// How many bytes an empty one takes.
    pub(super) fn empty_bytes() -> usize {
        6 * number_size(0) + 1
    }
}

/// How many bytes two lengths and two versions take at most, and a flag.
const NUMBERS_BYTES_MAX: usize = 61;

/// Cells in order that lie in several places.
#[derive(Debug, Clone, Default)]
pub(in crate::core) struct Runs<'a> {
    runs: SmallVec<[Run<'a>; 8]>,
    bytes: usize,
}

impl<'a> Runs<'a> {
    /// How many bytes they take.
    pub(in crate::core) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub(in crate::core) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends cells, whose names must be above all before.
    pub(in crate::core) fn push(&mut self, run: Run<'a>) {
        self.bytes += run.bytes().len();
        self.runs.push(run);
    }

    /// The last.
    pub(in crate::core) fn last(&self) -> Option<CellRef<'a>> {
        self.runs.iter().rev().find_map(|run| run.iter().last())
    }

    /// In order.
    #[cfg(test)]
    pub(in crate::core) fn iter(&self) -> impl Iterator<Item = CellRef<'a>> {
        self.runs.iter().flat_map(|run| run.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::assignment::Span;
    use crate::core::wire::peer::{Body, Executed, PeerMessage, RequestId};

    fn recent(sequences: &[u64]) -> Recent {
        let mut recent = Recent::default();
        for (number, sequence) in sequences.iter().enumerate() {
            let id = RequestId { client: 7, number: number as u64 };
            let version = Version { revision: sequence / 100, sequence: *sequence };
            recent.add(Executed { id, version, repeated: number % 5 == 0 });
        }
        recent
    }

    proptest! {
        #[test]
        fn a_message_of_what_is_at_hand_is_that_of_a_part(
            values in prop::collection::vec("[0-9]{1,100}", 0..30),
            cut in 1..30usize,
            sequences in prop::collection::vec(0..1000u64, 0..200),
            numbers in prop::array::uniform4(any::<u64>()),
            last: bool,
        ) {
            let mut leaves = vec![Cells::default()];
            let mut part = Part { last, recent: recent(&sequences), ..Part::default() };
            part.forgotten = Version { revision: numbers[0], sequence: numbers[1] };
            part.forgotten_repeats = Version { revision: numbers[2], sequence: numbers[3] };
            for (number, value) in values.iter().enumerate() {
                let version = Version { revision: 1, sequence: number as u64 };
                let name = format!("{number:04}");
                let cell = CellRef::of(&name, version, value);
                if number % cut == 0 {
                    leaves.push(Cells::default());
                }
                leaves.last_mut().expect("there is one").push(cell);
                part.cells.push(cell);
            }
            let mut cells = Runs::default();
            leaves.iter().for_each(|leaf| cells.push(leaf.run()));
            prop_assert_eq!(cells.last(), part.cells.last());
            let Part { ref recent, forgotten, forgotten_repeats, .. } = part;
            let recent = Some(recent).filter(|recent| !recent.is_empty());
            let at_hand = PartRef { cells, recent, forgotten, forgotten_repeats, last };
            let head = PeerMessage::head("a", "b", "c");
            let span = Span(1, 2, 3);
            for body in [
                |span, part| Body::Chunk { span, number: 300, part },
                |span, part| Body::Pulled { span, after: Some("name".into()), part },
            ] {
                let given = PeerMessage::with_part(&head, &body(span, Part::default()), &at_hand);
                prop_assert_eq!(given, PeerMessage::with(&head, &body(span, part.clone())));
            }
            let mut bytes = Vec::new();
            at_hand.write(&mut bytes);
            prop_assert!(bytes.len() <= at_hand.bytes_max());
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(part.clone()));
        }
    }
}
