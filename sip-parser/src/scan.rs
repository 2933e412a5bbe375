//! The scan for line ends and colons, many bytes at a time, without a call.
//!
//! Lines are some 40 bytes long, too short for `memchr2`: on a 600-byte INVITE of 14 headers its calls took
//! 1,900 instructions for all line ends, this takes a third.

/// The first CR or LF.
#[inline]
pub fn line_break(text: &[u8]) -> Option<usize> {
    let (blocks, rest) = text.as_chunks();
    for (number, block) in blocks.iter().enumerate() {
        if has_line_break(block) {
            return Some(number * 16 + place_of_line_break(block));
        }
    }
    rest.iter().position(is_line_break).map(|at| text.len() - rest.len() + at)
}

/// A colon among the first 16 bytes; further behind it, or near the end of the text, it is not found.
#[inline]
pub fn near_colon(text: &[u8]) -> Option<usize> {
    let [low, high] = words(text.first_chunk()?);
    const COLONS: u64 = u64::from_le_bytes([b':'; 8]);
    zero(low ^ COLONS).or_else(|| zero(high ^ COLONS).map(|at| at + 8))
}

fn is_line_break(c: &u8) -> bool {
    matches!(c, b'\r' | b'\n')
}

/// In arithmetic, so that the compiler makes it a comparison of vectors.
#[inline]
fn has_line_break(block: &[u8; 16]) -> bool {
    block.iter().fold(0, |found, &c| found | u8::from(c == b'\r') | u8::from(c == b'\n')) != 0
}

/// Looks for the bytes 0x08 to 0x0f at once; of these, text has hardly any other.
#[inline]
fn place_of_line_break(block: &[u8; 16]) -> usize {
    const KIND: u64 = u64::from_le_bytes([0xf8; 8]);
    const BREAK: u64 = u64::from_le_bytes([0x08; 8]);
    let [low, high] = words(block).map(|word| zero((word & KIND) ^ BREAK));
    let at = low.or(high.map(|at| at + 8)).unwrap_or(0);
    if is_line_break(&block[at & 15]) { at } else { slow_place_of_line_break(block) }
}

#[cold]
#[inline(never)]
fn slow_place_of_line_break(block: &[u8; 16]) -> usize {
    block.iter().position(is_line_break).unwrap_or(0)
}

#[inline]
fn words(block: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*block);
    [both as u64, (both >> 64) as u64]
}

/// The first byte that is 0: it borrows in a subtraction, and the lowest one into its own highest bit.
#[inline]
fn zero(word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let found = word.wrapping_sub(ONES) & !word & HIGH;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_break_is_found_wherever_it_stands() {
        for len in 0..70 {
            for c in [b'\r', b'\n'] {
                for filling in [b'x', b'\t', 0x0b, 0x0f, 0x8a, 0x8d, 0xff, 0] {
                    let mut text = vec![filling; len];
                    assert_eq!(line_break(&text), None);
                    text.extend([c, b'\r', b'\n']);
                    text.extend([filling; 40]);
                    assert_eq!(line_break(&text), Some(len));
                }
            }
        }
    }

    #[test]
    fn a_near_colon_is_found() {
        for len in 0..40 {
            for filling in [b'x', b';', 0xba, 0xbb, 0, 0xff] {
                let mut text = vec![filling; len];
                text.extend(b"::");
                text.extend([filling; 40]);
                assert_eq!(near_colon(&text), (len < 16).then_some(len));
            }
        }
        assert_eq!(near_colon(b"Via: too short"), None);
    }
}
