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

/// How many bytes a number takes.
pub(super) fn number_size(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn take_long_number(rest: &mut &[u8]) -> Option<u64> {
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
