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

/// No value.
const NONE: u8 = 0x80;

/// The value of each character; lower case only.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 32 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// The value of a character; lower case only.
pub(super) const fn value(character: u8) -> Option<u8> {
    match VALUES[character as usize] {
        NONE => None,
        value => Some(value),
    }
}

/// Writes `bytes` into `out`, which has [`encoded_len`] characters; the last character's spare bits are
/// zero. Inlined: with a length that the compiler knows, there is no loop.
#[inline(always)]
pub(super) fn encode<const N: usize>(bytes: &[u8; N], out: &mut [u8]) {
    debug_assert_eq!(out.len(), encoded_len(N));
    let (groups, rest) = bytes.as_chunks::<5>();
    let (slots, rest_slot) = out.as_chunks_mut::<8>();
    for (n, (&[a, b, c, d, e], slot)) in groups.iter().zip(slots).enumerate() {
        // One load where three bytes more stand behind the group.
        *slot = digits(match bytes[5 * n..].first_chunk() {
            Some(eight) => u64::from_be_bytes(*eight) >> 24,
            None => u64::from_be_bytes([0, 0, 0, a, b, c, d, e]),
        });
    }
    let mut last = [0; 8];
    last[3..3 + rest.len()].copy_from_slice(rest);
    rest_slot.copy_from_slice(&digits(u64::from_be_bytes(last))[..rest_slot.len()]);
}

/// The eight characters of 40 bits, worked out side by side: 20 bits into each half, 10 into each
/// quarter, 5 into each byte. What is 26 or more is a digit, which stands 73 below the letter that it
/// would be.
fn digits(bits: u64) -> [u8; 8] {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let halves = (bits >> 20) << 32 | (bits & 0x000f_ffff);
    let quarters = (halves << 6 & 0x03ff_0000_03ff_0000) | (halves & 0x0000_03ff_0000_03ff);
    let values = (quarters << 3 & 0x1f00_1f00_1f00_1f00) | (quarters & 0x001f_001f_001f_001f);
    let is_digit = (values + each(128 - 26)) >> 7 & each(1);
    (values + each(b'a') - is_digit * 73).to_be_bytes()
}

/// Reads exactly `N` bytes; `None` for a wrong length, a foreign character or a spare bit that is
/// set, so that each value has exactly one form.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut out = [0u8; N];
    let (groups, rest) = text.as_chunks::<8>();
    let (slots, rest_slot) = out.as_chunks_mut::<5>();
    let mut foreign = 0;
    for (group, slot) in groups.iter().zip(slots) {
        let [_, _, _, a, b, c, d, e] = bits_of(group, &mut foreign).to_be_bytes();
        *slot = [a, b, c, d, e];
    }
    let [_, _, _, last @ ..] = (bits_of(rest, &mut foreign) << (5 * (8 - rest.len()))).to_be_bytes();
    let spare = last.iter().skip(rest_slot.len()).any(|&byte| byte != 0);
    for (to, from) in rest_slot.iter_mut().zip(last) {
        *to = from;
    }
    (foreign & NONE == 0 && !spare).then_some(out)
}

/// The bits of up to eight characters; notes in `foreign` if one of them has no value.
fn bits_of(group: &[u8], foreign: &mut u8) -> u64 {
    group.iter().fold(0, |bits, &character| {
        let value = VALUES[usize::from(character)];
        *foreign |= value;
        bits << 5 | u64::from(value & 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_4648() {
        fn text<const N: usize>(plain: &[u8; N]) -> String {
            let mut out = vec![0; encoded_len(N)];
            encode(plain, &mut out);
            String::from_utf8(out).unwrap()
        }
        assert_eq!(
            (text(b"f").as_str(), text(b"fo").as_str(), text(b"foo").as_str()),
            ("my", "mzxq", "mzxw6")
        );
        assert_eq!((text(b"foob").as_str(), text(b"fooba").as_str()), ("mzxw6yq", "mzxw6ytb"));
        assert_eq!(text(b"foobar"), "mzxw6ytboi");
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
            encode(bytes.first_chunk::<20>().unwrap(), &mut out[..32]);
            let twenty = decode::<20>(&out[..32]);
            prop_assert_eq!(twenty.as_ref(), bytes.first_chunk());
        }
    }
}
