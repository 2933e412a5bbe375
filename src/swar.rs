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
    fn no_byte_is_taken_for_its_neighbour() {
        for byte in 0..=u8::MAX {
            for other in (0..=u8::MAX).filter(|other| *other != byte) {
                assert!(!has_byte(ONES * u64::from(other), byte), "{byte} {other}");
            }
        }
    }
}
