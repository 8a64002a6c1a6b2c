//! Whole numbers in as few bytes as they need: LEB128 (DWARF 5, section 7.6), as postcard writes them.

/// Takes a number from the front; `None` where none stands there in the one form that it has.
#[inline]
pub(super) fn take_number(rest: &mut &[u8]) -> Option<u64> {
    match rest.split_first()? {
        (byte, left) if *byte < 0x80 => {
            *rest = left;
            Some(u64::from(*byte))
        }
        _ => take_long_number(rest),
    }
}

/// Takes bytes from the front that stand behind their length; `None` where there are fewer.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// Writes a number at the front, where there must be room; what is left of that.
pub(super) fn put_number(mut out: &mut [u8], mut number: u64) -> &mut [u8] {
    loop {
        let (byte, rest) = out.split_first_mut().expect("there is room");
        *byte = (number & 0x7f) as u8 | if number > 0x7f { 0x80 } else { 0 };
        out = rest;
        number >>= 7;
        if number == 0 {
            return out;
        }
    }
}

/// Appends a number.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    out.resize(start + number_size(number), 0);
    put_number(&mut out[start..], number);
}

/// How many bytes a number takes.
pub(super) fn number_size(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn take_long_number(rest: &mut &[u8]) -> Option<u64> {
    // Most have two bytes or three: a slot, and the place of a write among those of a server.
    match rest {
        [a, b @ 1..0x80, left @ ..] => {
            *rest = left;
            return Some(u64::from(*a & 0x7f) | u64::from(*b) << 7);
        }
        [a, b, c @ 1..0x80, left @ ..] if *b >= 0x80 => {
            *rest = left;
            return Some(u64::from(*a & 0x7f) | u64::from(*b & 0x7f) << 7 | u64::from(*c) << 14);
        }
        _ => {}
    }
    let Some(window) = rest.first_chunk() else { return take_byte_by_byte(rest) };
    let window = u64::from_le_bytes(*window);
    // The number's last byte is the first without its highest bit.
    let ends = !window & 0x8080_8080_8080_8080;
    if ends == 0 {
        return take_byte_by_byte(rest);
    }
    let bits = ends.trailing_zeros() + 1;
    let word = window & (u64::MAX >> (u64::BITS - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
    *rest = &rest[bits as usize / 8..];
    // The one form that a number has ends with a byte that is not zero.
    (word >> (bits - 8) != 0).then(|| close_up(word))
}

/// Eight groups of seven bits, without the bit between each two.
fn close_up(word: u64) -> u64 {
    let word = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x3fff_0000_3fff_0000) >> 2;
    word & 0x0fff_ffff | (word & 0x0fff_ffff_0000_0000) >> 4
}

fn take_byte_by_byte(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        let bits = u64::from(byte & 0x7f);
        number |= bits << shift;
        if byte & 0x80 == 0 {
            // The one form that a number has: nothing above 64 bits, no zeros at its end.
            return (bits != 0 && bits << shift >> shift == bits).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_take_the_same(mut bytes in prop::collection::vec(any::<u8>(), 1..16)) {
            bytes[0] |= 0x80;
            let (mut fast, mut slow) = (&bytes[..], &bytes[..]);
            let found = take_number(&mut fast);
            prop_assert_eq!(found, take_byte_by_byte(&mut slow));
            if found.is_some() {
                prop_assert_eq!(fast, slow);
            }
        }

        #[test]
        fn a_number_is_what_postcard_makes_of_it(
            number in prop_oneof![any::<u64>(), (0..64u32).prop_map(|bits| 1 << bits)],
            behind in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut written = vec![0; number_size(number)];
            prop_assert!(put_number(&mut written, number).is_empty());
            prop_assert_eq!(&written, &postcard::to_stdvec(&number).unwrap());
            written.extend(&behind);
            let mut rest = &written[..];
            prop_assert_eq!(take_number(&mut rest), Some(number));
            prop_assert_eq!(rest, &behind[..]);
        }
    }
}
