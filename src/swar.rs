//! Short texts looked at eight bytes at a time, in a register (SWAR).
#![forbid(unsafe_code)]

const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// One of the eight bytes is this one.
#[inline]
pub const fn has_byte(word: u64, byte: u8) -> bool {
    // A byte is zero where subtracting one borrows and its own high bit was not set.
    let differ = word ^ (ONES * byte as u64);
    differ.wrapping_sub(ONES) & !differ & (ONES << 7) != 0
}

/// Which of sixteen bytes are this one: the highest bit of each, the first one lowest. A byte behind one of them that differs
/// from it in the lowest bit only is perhaps taken for one, too.
#[inline(always)]
pub const fn places_of(bytes: [u8; 16], byte: u8) -> u128 {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    let differ = u128::from_le_bytes(bytes) ^ (ONES * byte as u128);
    differ.wrapping_sub(ONES) & !differ & (ONES << 7)
}

/// Eight letters in lower case. Other bytes become others, too.
#[inline]
pub const fn lower(word: u64) -> u64 {
    word | (ONES * 0x20)
}

/// Whether any eight bytes of a text that follow each other are such; of those at its end some are perhaps looked at
/// twice. `None`: it has fewer than eight.
#[inline]
pub fn any_eight(text: &[u8], is: impl Fn(u64) -> bool) -> Option<bool> {
    let is = |eight: &[u8; 8]| is(u64::from_le_bytes(*eight));
    let (first, last) = (text.first_chunk()?, text.last_chunk()?);
    Some(match text.len() <= 16 {
        true => is(first) | is(last),
        false => is(last) || text.as_chunks().0.iter().any(is),
    })
}

/// Whether two texts are the same: compared here where they have four to eight bytes, because a call costs more.
#[inline(always)]
pub fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let four = |four: &[u8; 4]| u32::from_le_bytes(*four);
    match (a.first_chunk(), a.last_chunk(), b.first_chunk(), b.last_chunk()) {
        (Some(first), Some(last), Some(others_first), Some(others_last)) if a.len() <= 8 => {
            (four(first) ^ four(others_first)) | (four(last) ^ four(others_last)) == 0
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_byte_for_byte() {
        for len in 0..12 {
            let text = vec![b'n'; len];
            assert!(is_same(&text, &text.clone()));
            assert!(!is_same(&text, &vec![b'n'; len + 1]));
            for at in 0..len {
                let mut other = text.clone();
                other[at] = b'm';
                assert!(!is_same(&text, &other), "{len} {at}");
            }
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for len in 8..40 {
            let text = vec![b'n'; len];
            assert_eq!(any_eight(&text, |word| has_byte(word, b'm')), Some(false));
            for at in 0..len {
                let mut text = text.clone();
                text[at] = b'M';
                assert_eq!(any_eight(&text, |word| has_byte(lower(word), b'm')), Some(true), "{len} {at}");
                assert_eq!(any_eight(&text, |word| has_byte(word, b'm')), Some(false));
            }
        }
        assert_eq!(any_eight(b"mmmmmmm", |word| has_byte(word, b'm')), None);
    }

    #[test]
    fn each_place_of_a_byte_is_told() {
        for byte in 0..=u8::MAX {
            let others: [u8; 16] = std::array::from_fn(|at| byte.wrapping_add(2 + 85 * (at as u8 % 3)));
            for places in (0u32..1 << 16).step_by(97) {
                let is_one = |at: usize| places >> at & 1 == 1;
                let bytes = std::array::from_fn(|at| if is_one(at) { byte } else { others[at] });
                let found = (0..16).filter(|at| is_one(*at)).fold(0, |found, at| found | 0x80 << (8 * at));
                assert_eq!(places_of(bytes, byte), found, "{bytes:?}");
            }
        }
        // What is perhaps more than there is.
        assert_eq!(places_of([7, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 7), 0x8080);
    }

    #[test]
    fn no_byte_is_taken_for_its_neighbour() {
        for byte in 0..=u8::MAX {
            for other in (0..=u8::MAX).filter(|other| *other != byte) {
                assert!(!has_byte(ONES * u64::from(other), byte), "{byte} {other}");
            }
        }
    }
}
