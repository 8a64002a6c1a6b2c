//! A message of a replica as it came in, read where it lies.

use super::cells::take_cell;
use super::frame::PEER_MARK;
use super::number::{take_bytes, take_number};
use super::peer::{Body, RequestId};
use crate::core::assignment::Span;
use crate::core::hash::Slot;

/// A message whose names and values are those of the frame. Identities are compared more often than read,
/// so they are bytes: to see that each is UTF-8 took 900 of the 39,700 instructions of a `setr` with three
/// copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a> {
    /// Identity and address of the sender.
    pub from: (&'a [u8], &'a [u8]),
    /// The identity it is meant for.
    pub to: &'a [u8],
    /// What it says.
    pub body: Body<'a>,
}

impl<'a> Received<'a> {
    /// Reads a frame's message; `None` where it is none.
    pub fn decode(message: &'a [u8]) -> Option<Received<'a>> {
        let mut rest = message.strip_prefix(&[PEER_MARK])?;
        let from = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
        let to = take_bytes(&mut rest)?;
        let body = usual(rest).or_else(|| postcard::from_bytes(rest).ok())?;
        Some(Received { from, to, body })
    }
}

/// The two bodies that each write needs, read in a third of the instructions that postcard takes;
/// `None` for all others, and for what is broken.
fn usual(body: &[u8]) -> Option<Body<'_>> {
    let (variant, mut rest) = body.split_first()?;
    let rest = &mut rest;
    let body = match variant {
        2 => Body::Prepare {
            span: Span(take_slot(rest)?, take_slot(rest)?, take_number(rest)?),
            number: take_number(rest)?,
            cell: take_cell(rest).filter(|cell| cell.value_is_ascii())?,
            id: RequestId { client: take_number(rest)?, number: take_number(rest)? },
            repeated: take_bool(rest)?,
            voted: take_bool(rest)?,
        },
        3 => Body::Prepared { revision: take_number(rest)?, number: take_number(rest)? },
        _ => return None,
    };
    rest.is_empty().then_some(body)
}

fn take_slot(rest: &mut &[u8]) -> Option<Slot> {
    take_number(rest)?.try_into().ok()
}

fn take_bool(rest: &mut &[u8]) -> Option<bool> {
    match take_number(rest)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::wire::cells::CellRef;
    use crate::core::wire::peer::{PeerMessage, Version};

    fn body<'a>(name: &'a str, value: &'a str, numbers: [u64; 5], flags: [bool; 2]) -> Body<'a> {
        let [revision, number, sequence, client, count] = numbers;
        Body::Prepare {
            span: Span(sequence as Slot, count as Slot, revision),
            number,
            cell: CellRef::of(name, Version { revision, sequence }, value),
            id: RequestId { client, number: count },
            repeated: flags[0],
            voted: flags[1],
        }
    }

    /// Whether postcard reads the same where anything is read. A number has one form here and several
    /// there, and more bytes may follow there; nobody writes those.
    fn is_as_postcard(bytes: &[u8]) -> bool {
        usual(bytes).is_none_or(|body| postcard::from_bytes(bytes) == Ok(body))
    }

    proptest! {
        #[test]
        fn both_ways_read_the_same(
            name in ".{0,20}",
            value in "[ -~]{0,200}",
            numbers in prop::array::uniform5(prop_oneof![0..300_u64, any::<u64>()]),
            flags in any::<[bool; 2]>(),
            at in any::<usize>(),
            byte in any::<u8>(),
        ) {
            let prepare = body(&name, &value, numbers, flags);
            let prepared = Body::Prepared { revision: numbers[0], number: numbers[1] };
            for body in [prepare, prepared] {
                let mut bytes = body.encode();
                prop_assert_eq!(usual(&bytes), Some(body));
                let at = at % bytes.len();
                prop_assert!(is_as_postcard(&bytes[..at]));
                bytes[at] = byte;
                prop_assert!(is_as_postcard(&bytes));
                bytes.push(byte);
                prop_assert!(is_as_postcard(&bytes));
            }
        }
    }

    #[test]
    fn a_value_that_is_not_ascii_is_refused() {
        let body = body("n", "\"v\"", [1; 5], [false; 2]);
        let head = PeerMessage::head("a", "b", "c");
        let mut message = PeerMessage::with(&head, &body);
        assert!(Received::decode(&message).is_some());
        let at = message.iter().position(|byte| *byte == b'v').expect("the value");
        message[at] = 0xe9;
        assert_eq!(Received::decode(&message), None);
    }
}
