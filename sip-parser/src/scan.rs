//! Where lines and names end: sixteen bytes at a time, without a call.

use crate::block::Block;

/// Finds line breaks one after the other, 64 bytes at a time.
///
/// Lines are some 40 bytes long, too short for `memchr2`: on a 600-byte INVITE of ten headers its calls took
/// 1,900 instructions for all line ends, this takes 280.
pub struct Breaks<'a> {
    text: &'a [u8],
    /// Where the 64 bytes end that were looked at last.
    end: usize,
    /// Bit n: there is one at `end - 64 + n`.
    found: u64,
}

impl<'a> Breaks<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, end: 0, found: 0 }
    }

    /// The first one at `at` or behind it; `at` never goes back.
    ///
    /// What is found is a CR, an LF or one of the controls around them, from BS to SI: these share five
    /// bits, so all of them take one comparison, and HT alone is found in vain in sound messages.
    #[inline(always)]
    pub fn next(&mut self, mut at: usize) -> Option<usize> {
        loop {
            let ahead = self.found.unbounded_shr((at + 64 - self.end) as u32);
            if ahead != 0 {
                return Some(at + ahead.trailing_zeros() as usize);
            }
            at = at.max(self.end);
            if at >= self.text.len() {
                return None;
            }
            (self.end, self.found) = look(self.text, at);
        }
    }
}

/// Looks at the 64 bytes from `at` on, or at the last ones: where they end, and which of them are breaks.
#[inline(never)]
fn look(text: &[u8], at: usize) -> (usize, u64) {
    let base = at.min(text.len().saturating_sub(64));
    let found = text.get(base..).and_then(<[u8]>::first_chunk).map_or_else(|| few_controls(text), controls);
    (base + 64, found)
}

/// Bit n: byte n is one of BS to SI.
#[inline(always)]
fn controls(bytes: &[u8; 64]) -> u64 {
    let (blocks, _) = bytes.as_chunks();
    let of = |n: usize| {
        let block = Block::of(&blocks[n]).or(Block::all(7)).equal(Block::all(0x0f));
        u64::from(block.bits()) << (16 * n)
    };
    of(0) | of(1) | of(2) | of(3)
}

#[cold]
fn few_controls(text: &[u8]) -> u64 {
    let mut bytes = [0; 64];
    bytes[..text.len()].copy_from_slice(text);
    controls(&bytes)
}

/// Length of what stands before the first colon, if it is among the first 16 bytes.
#[inline(always)]
pub fn near_colon(bytes: &[u8; 16]) -> Option<usize> {
    let colons = Block::of(bytes).equal(Block::all(b':')).bits();
    (colons != 0).then(|| colons.trailing_zeros() as usize)
}

/// Whether an SP or HT stands at `from` or behind it.
#[inline(always)]
pub fn has_white(text: &[u8], mut from: usize) -> bool {
    while from < text.len() {
        let Some((block, shift)) = block_at(text, from) else {
            return text[from..].iter().any(|c| matches!(c, b' ' | b'\t'));
        };
        let white = block.equal(Block::all(b' ')).or(block.equal(Block::all(b'\t'))).bits() >> shift;
        if white != 0 {
            return true;
        }
        from += 16 - shift;
    }
    false
}

/// The sixteen bytes from `at` on; near the end of the text the last sixteen, and how many of them stand
/// before `at`. `None`: the text is shorter.
#[inline(always)]
pub fn block_at(text: &[u8], at: usize) -> Option<(Block, usize)> {
    let last = text.len().checked_sub(16)?;
    let start = at.min(last);
    Some((Block::of(text[start..].first_chunk()?), at - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_break_is_found_wherever_it_stands() {
        for len in [0, 1, 15, 63, 64, 65, 130, 200] {
            for filling in [b'x', 0x07, 0x10, 0x8a, 0x8d, 0xff, 0] {
                let mut text = vec![filling; len];
                assert_eq!(Breaks::new(&text).next(0), None);
                for step in 1..70 {
                    let mut wanted: Vec<_> = (0..len).step_by(step).collect();
                    for (place, c) in wanted.iter().zip((8..=15).cycle()) {
                        text[*place] = c;
                    }
                    let mut breaks = Breaks::new(&text);
                    let found = |at: Option<usize>| breaks.next(at.map_or(0, |at| at + 1));
                    let mut all = Vec::new();
                    let mut found = found;
                    while let Some(at) = found(all.last().copied()) {
                        all.push(at);
                    }
                    assert_eq!(all, wanted);
                    assert_eq!(found(Some(len)), None);
                    // From any place on, at once.
                    wanted.retain(|at| *at >= len / 2);
                    assert_eq!(Breaks::new(&text).next(len / 2), wanted.first().copied());
                    text.fill(filling);
                }
            }
        }
    }

    #[test]
    fn a_near_colon_is_found() {
        for len in 0..16 {
            for filling in [b'x', b';', 0xba, 0xbb, 0, 0xff] {
                let mut text = [filling; 16];
                assert_eq!(near_colon(&text), None);
                text[len..].fill(b':');
                assert_eq!(near_colon(&text), Some(len));
            }
        }
    }
}
