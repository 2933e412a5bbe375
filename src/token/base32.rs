//! Lower-case base32 without padding (RFC 4648 §6), over fixed arrays.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// How many characters `bytes` bytes take.
pub(super) const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// The character for a value below 32.
pub(super) const fn digit(value: u8) -> u8 {
    ALPHABET[(value & 31) as usize]
}

/// The value of a character; lower case only.
pub(super) const fn value(character: u8) -> Option<u8> {
    match character {
        b'a'..=b'z' => Some(character - b'a'),
        b'2'..=b'7' => Some(character - b'2' + 26),
        _ => None,
    }
}

/// Writes `bytes` into the first [`encoded_len`] characters of `out`; the last character's spare
/// bits are zero.
pub(super) fn encode(bytes: &[u8], out: &mut [u8]) {
    debug_assert_eq!(out.len(), encoded_len(bytes.len()));
    let mut bits = 0u32;
    let mut held = 0u32;
    let mut slots = out.iter_mut();
    for &byte in bytes {
        bits = (bits << 8) | u32::from(byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            if let Some(slot) = slots.next() {
                *slot = digit((bits >> held) as u8);
            }
        }
    }
    if held > 0
        && let Some(slot) = slots.next()
    {
        *slot = digit((bits << (5 - held)) as u8);
    }
}

/// Reads exactly `N` bytes; `None` for a wrong length, a foreign character or a spare bit that is
/// set, so that each value has exactly one form.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut out = [0u8; N];
    let mut slots = out.iter_mut();
    let mut bits = 0u32;
    let mut held = 0u32;
    for &character in text {
        bits = (bits << 5) | u32::from(value(character)?);
        held += 5;
        if held >= 8 {
            held -= 8;
            if let Some(slot) = slots.next() {
                *slot = (bits >> held) as u8;
            }
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_4648() {
        for (plain, text) in
            [("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb")]
        {
            let mut out = vec![0; encoded_len(plain.len())];
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
        }
        assert_eq!(decode::<5>(b"mzxw6ytb").as_ref(), Some(b"fooba"));
    }

    #[test]
    fn one_value_has_one_form() {
        assert_eq!(decode::<1>(b"my").as_ref(), Some(b"f"));
        assert_eq!(decode::<1>(b"mz"), None, "spare bits are set");
        assert_eq!(decode::<1>(b"MY"), None);
        assert_eq!(decode::<1>(b"m"), None);
        assert_eq!(decode::<1>(b"my="), None);
        assert_eq!(decode::<1>(b"m1"), None);
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(bytes in any::<[u8; 28]>()) {
            let mut out = [0; encoded_len(28)];
            encode(&bytes, &mut out);
            prop_assert_eq!(decode::<28>(&out), Some(bytes));
        }
    }
}
