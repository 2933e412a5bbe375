//! Lower-case base32 without padding (RFC 4648 §6), two groups of 40 bits at a time: a group is eight characters.
//!
//! Characters are worked out side by side in words of eight bytes, in the same steps for both groups, so that the
//! compiler does both at once where the processor can.

/// How many characters `bytes` bytes take.
pub(super) const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// The character for a value below 32.
pub(super) const fn digit(value: u8) -> u8 {
    let value = value & 31;
    value + if value < 26 { b'a' } else { b'2' - 26 }
}

/// The value of a character; lower case only.
pub(super) const fn value(character: u8) -> Option<u8> {
    match character {
        b'a'..=b'z' => Some(character - b'a'),
        b'2'..=b'7' => Some(character - b'2' + 26),
        _ => None,
    }
}

/// Five bits in each byte, ten in each quarter, twenty in each half.
const FIVES: u64 = 0x001f_001f_001f_001f;
const TENS: u64 = 0x0000_03ff_0000_03ff;
const TWENTIES: u64 = 0x000f_ffff;

/// Characters of a [`Part`].
pub const PART_LEN: usize = 16;

/// Eighty bits of a token, as two groups: sixteen characters of its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part(pub(super) [u64; 2]);

impl Part {
    /// Reads the part of each text; `None`: one has a foreign character. A function of its own for the same reason as [`encode`].
    #[inline(never)]
    fn read_all<const PARTS: usize>(texts: &[[u8; PART_LEN]; PARTS]) -> Option<[Self; PARTS]> {
        let mut values = *texts;
        let mut foreign = [0; PART_LEN];
        for text in &mut values {
            for (character, foreign) in text.iter_mut().zip(&mut foreign) {
                let is_letter = *character as i8 >= b'a' as i8;
                let above = character.wrapping_sub(if is_letter { b'a' } else { b'2' });
                *foreign |= above.saturating_sub(if is_letter { 25 } else { 5 });
                *character = above.wrapping_add(if is_letter { 0 } else { 26 });
            }
        }
        if u128::from_le_bytes(foreign) != 0 {
            return None;
        }
        let mut parts = [Self::default(); PARTS];
        for (Self([first, second]), text) in parts.iter_mut().zip(&values) {
            let both = u128::from_le_bytes(*text);
            (*first, *second) = (bits_of(both as u64), bits_of((both >> 64) as u64));
        }
        Some(parts)
    }
}

/// The texts of so many parts.
///
/// A function of its own, with a step for all of them at a time: among other code, or group by group, the compiler does it
/// character by character.
#[inline(never)]
pub fn encode<const PARTS: usize>(parts: &[Part; PARTS]) -> [[u8; PART_LEN]; PARTS] {
    let mut groups = parts.map(|Part(groups)| groups);
    for group in groups.as_flattened_mut() {
        *group = values_of(*group);
    }
    let mut texts = groups.map(|[first, second]| {
        let both = [first.to_le_bytes(), second.to_le_bytes()];
        *both.as_flattened().first_chunk().expect("two are sixteen")
    });
    for value in texts.as_flattened_mut() {
        // What is 26 or more is a digit, which stands 73 below the letter that it would be.
        let less = if *value as i8 > 25 { b'a' + 26 - b'2' } else { 0 };
        *value = (*value + b'a').wrapping_sub(less);
    }
    texts
}

/// The values of a group's characters, the first one lowest.
#[inline(always)]
fn values_of(bits: u64) -> u64 {
    let halves = bits >> 20 | (bits & TWENTIES) << 32;
    let quarters = halves >> 10 & TENS | (halves & TENS) << 16;
    quarters >> 5 & FIVES | (quarters & FIVES) << 8
}

/// The parts of a text; the last one may be cut short, what it lacks is zero. `None` for a foreign character.
#[inline(always)]
pub(super) fn decode<const LEN: usize, const PARTS: usize>(text: &[u8; LEN]) -> Option<[Part; PARTS]> {
    const { assert!(LEN.div_ceil(PART_LEN) == PARTS && LEN >= PART_LEN) }
    let (whole, rest) = text.as_chunks::<PART_LEN>();
    let last = text.last_chunk().copied().map(u128::from_le_bytes)?;
    // The end of the last sixteen characters, filled up by those that mean zero.
    let filled = match rest.len() {
        0 => last,
        some => last >> (128 - 8 * some) | u128::from_le_bytes([b'a'; PART_LEN]) << (8 * some),
    };
    let filled = filled.to_le_bytes();
    Part::read_all(&std::array::from_fn(|n| *whole.get(n).unwrap_or(&filled)))
}

/// The bits of the values of eight characters, the first one lowest.
#[inline(always)]
fn bits_of(values: u64) -> u64 {
    let tens = (values & FIVES) << 5 | values >> 8 & FIVES;
    let twenties = (tens & TENS) << 10 | tens >> 16 & TENS;
    (twenties & TWENTIES) << 20 | twenties >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of up to ten bytes.
    fn text(bytes: &[u8]) -> String {
        let mut ten = [0; 16];
        ten[..bytes.len()].copy_from_slice(bytes);
        let bits = u128::from_be_bytes(ten);
        let groups = [(bits >> 88) as u64, (bits >> 48) as u64 & 0xff_ffff_ffff];
        String::from_utf8(encode(&[Part(groups)])[0][..encoded_len(bytes.len())].to_vec()).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_4648() {
        assert_eq!([text(b"f"), text(b"fo"), text(b"foo")], ["my", "mzxq", "mzxw6"]);
        assert_eq!([text(b"foob"), text(b"fooba"), text(b"foobar")], ["mzxw6yq", "mzxw6ytb", "mzxw6ytboi"]);
        assert_eq!(decode(b"mzxw6ytbmzxw6ytb"), Some([Part([0x66_6f6f_6261; 2])]));
        let twice = [Part([0x66_6f6f_6261; 2]), Part([0x66_6f6f_6261, 0x72_0000_0000])];
        assert_eq!(decode(b"mzxw6ytbmzxw6ytbmzxw6ytboi"), Some(twice));
    }

    #[test]
    fn every_character_has_its_value_wherever_it_stands() {
        for (place, character) in (0..16).flat_map(|place| (0..=u8::MAX).map(move |c| (place, c))) {
            let mut text = *b"aaaaaaaaaaaaaaaa";
            text[place] = character;
            let wanted = value(character).map(|value| {
                let mut groups = [0; 2];
                groups[place / 8] = u64::from(value) << (35 - 5 * (place % 8));
                [Part(groups)]
            });
            assert_eq!(decode(&text), wanted, "{character} at {place}");
            let behind: [u8; 29] = std::array::from_fn(|n| if n < 13 { b'a' } else { text[n - 13] });
            assert_eq!(decode::<29, 2>(&behind).is_some(), wanted.is_some(), "{character} at {place}");
            if let Some(parts) = wanted {
                assert_eq!(encode(&parts), [text]);
                assert_eq!(digit(value(character).unwrap()), character);
            }
        }
    }

    #[test]
    fn what_a_text_lacks_is_zero() {
        assert_eq!(decode(b"aaaaaaaaaaaaaaaab"), Some([Part([0; 2]), Part([1 << 35, 0])]));
        assert_eq!(decode(b"aaaaaaaaaaaaaaaaaaaaaaaab"), Some([Part([0; 2]), Part([0, 1 << 35])]));
        assert_eq!(decode::<31, 2>(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), Some([Part([0; 2]), Part([0, 32])]));
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(bits: [u64; 2]) {
            let part = Part(bits.map(|bits| bits >> 24));
            prop_assert_eq!(decode(&encode(&[part])[0]), Some([part]));
        }
    }
}
