//! Packed cells: the bytes are postcard's, and whatever bytes come in, nothing panics.

use dht::core::assignment::Span;
use dht::core::hash::Slot;
use dht::core::wire::cells::{CellRef, Cells};
use dht::core::wire::json::Json;
use dht::core::wire::part::Part;
use dht::core::wire::peer::{Body, Cell, Version};
use dht::core::wire::text::Text;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn cell() -> impl Strategy<Value = Cell> {
    let number = || prop_oneof![0..300u64, any::<u64>(), Just(u64::MAX)];
    (number(), number(), 0..200usize).prop_map(|(revision, sequence, length)| Cell {
        version: Version { revision, sequence },
        value: Json::string(&Text::from(&*"v".repeat(length))),
    })
}

fn name() -> impl Strategy<Value = Text> {
    ".{0,150}".prop_map(|name| Text::from(&*name))
}

fn packed<'a>(cells: impl IntoIterator<Item = (&'a Text, &'a Cell)>) -> Cells {
    let mut packed = Cells::default();
    cells.into_iter().for_each(|(name, cell)| packed.push(cell.named(name)));
    packed
}

fn read(bytes: &[u8]) -> Option<Cells> {
    let mut wrapped = postcard::to_stdvec(&(bytes.len() as u64)).unwrap();
    wrapped.extend(bytes);
    postcard::from_bytes(&wrapped).ok()
}

/// The bytes as they travel, without the length before them.
fn bytes(cells: &Cells) -> Vec<u8> {
    let wrapped = postcard::to_stdvec(cells).unwrap();
    let (length, rest): (u64, _) = postcard::take_from_bytes(&wrapped).unwrap();
    assert_eq!(rest.len() as u64, length);
    rest.to_vec()
}

proptest! {
    #[test]
    fn packed_cells_are_names_and_cells_in_postcard(cells in btree_map(name(), cell(), 0..20)) {
        let run = packed(&cells);
        let each = cells.iter().map(|pair| postcard::to_stdvec(&pair).unwrap());
        prop_assert_eq!(&bytes(&run), &each.flatten().collect::<Vec<u8>>());
        for (packed, (name, cell)) in run.iter().zip(&cells) {
            prop_assert_eq!(packed, cell.named(name));
            prop_assert_eq!(packed.to_row(), postcard::to_stdvec(cell).unwrap());
            prop_assert_eq!(run.get(name.as_bytes()), Some(packed));
        }
        prop_assert_eq!(read(&bytes(&run)), Some(run.clone()));
        prop_assert_eq!(run.iter().count(), cells.len());
        prop_assert_eq!(run.iter().last(), run.last());
    }

    #[test]
    fn cells_after_a_name_are_those_above_it(cells in btree_map(name(), cell(), 0..20), name in name()) {
        let run = packed(&cells);
        let above: Vec<CellRef<'_>> = run.after(name.as_bytes()).collect();
        let wanted = cells.range(name.clone()..).filter(|(other, _)| **other != name);
        prop_assert_eq!(above, wanted.map(|(name, cell)| cell.named(name)).collect::<Vec<_>>());
        prop_assert_eq!(run.get(name.as_bytes()).is_some(), cells.contains_key(&name));
    }

    #[test]
    fn a_changed_byte_gives_other_cells_or_none(
        cells in btree_map(name(), cell(), 1..6),
        at in any::<prop::sample::Index>(),
        change in 1..=255u8,
    ) {
        let run = packed(&cells);
        let mut changed = bytes(&run);
        let at = at.index(changed.len());
        changed[at] ^= change;
        if let Some(other) = read(&changed) {
            prop_assert_eq!(bytes(&other), changed);
            prop_assert!(other != run);
            prop_assert!(other.iter().all(|cell| cell.value().is_ascii()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(noise in vec(any::<u8>(), 0..60)) {
        if let Some(cells) = read(&noise) {
            prop_assert_eq!(bytes(&cells), noise);
        }
    }
}

#[test]
fn what_is_no_run_of_cells_is_refused() {
    let (a, b): (Text, Text) = ("a".into(), "b".into());
    let cell = Cell { version: Version { revision: 1, sequence: 2 }, value: Json::string(&a) };
    let (first, second) = (bytes(&packed([(&a, &cell)])), bytes(&packed([(&b, &cell)])));
    assert!(read(&[first.clone(), second.clone()].concat()).is_some());
    assert_eq!(read(&[second, first.clone()].concat()), None, "names fall");
    assert_eq!(read(&first.repeat(2)), None, "a name twice");
    assert_eq!(read(&first[..first.len() - 1]), None, "cut short");
    let with = |at: usize, byte| {
        let mut changed = first.clone();
        changed[at] = byte;
        read(&changed)
    };
    assert_eq!(with(first.len() - 1, 0xe9), None, "a value beyond ASCII");
    // The same number in a longer form, and one of more than 64 bits.
    assert_eq!(read(&[&[0x81, 0x00][..], &first[1..]].concat()), None, "a zero before");
    assert_eq!(read(&[&[0xff; 9][..], &[0x02], &first[1..]].concat()), None, "too high");
    assert_eq!(read(&[&[0x80; 11][..], &first[1..]].concat()), None, "too long");
}

#[test]
#[should_panic(expected = "names ascend")]
fn names_are_pushed_in_order() {
    let cell = Cell { version: Version::default(), value: Json::string(&"v".into()) };
    packed([(&"b".into(), &cell), (&"a".into(), &cell)]);
}

#[test]
fn a_message_with_a_broken_run_is_none() {
    use dht::core::wire::peer::PeerMessage;
    let slot: Slot = 7;
    let mut part = Part { last: true, ..Part::default() };
    let cell = Cell { version: Version::default(), value: Json::string(&"vvvv".into()) };
    part.cells.push(cell.named(&"name".into()));
    let body = Body::Chunk { span: Span(slot, slot + 1, 1), number: 1, part };
    let from = dht::core::assignment::Peer("0.5".into(), "there:1".to_owned());
    let message = PeerMessage { from, to: "0.25".into(), body };
    let mut bytes = message.encode();
    assert_eq!(PeerMessage::decode(&bytes), Some(message));
    let at = bytes.windows(4).position(|four| four == b"vvvv").unwrap();
    bytes[at] = 0xff;
    assert_eq!(PeerMessage::decode(&bytes), None);
}
