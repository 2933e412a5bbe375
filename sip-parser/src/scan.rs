//! Where lines and names end: sixteen bytes at a time, without a call.

use crate::block::{Block, Plain, Set};

/// What is looked at of a value at a time: so much that a usual one needs no look at where the message ends.
pub type Window = [u8; 113];

/// How many bytes are looked at around a break.
pub const FRAME: usize = 32;

/// Where a line may end.
pub struct Break<'t> {
    /// Where the byte before it stands.
    pub before: u32,
    /// The byte before it, it, and what follows.
    pub frame: &'t [u8; FRAME],
}

/// Where a line may end behind the byte at `from`. `None`: it does not before the last [`SEEN`] bytes.
///
/// What is found is a CR, an LF, a control near them, or a byte that is no ASCII: all of them take one comparison. HT, and
/// what is no ASCII, are found in vain: see [`Break::may_end_a_line`].
#[inline(always)]
pub fn next_break<S: Set>(text: &[u8], from: u32) -> Option<Break<'_>> {
    let mut words = Words::behind(from);
    loop {
        if let Some(found) = words.next::<S>(text)?.next() {
            return Some(found);
        }
    }
}

/// The bytes behind one, 64 at a time: where lines may end is known of all of them before anything else is, so that the look at
/// one line does not wait for what the line before was found to be. Lines are some 40 bytes long, too short for `memchr2`: on a
/// 600-byte INVITE of ten headers its calls took 1,900 instructions for all line ends.
#[derive(Clone, Copy)]
pub struct Words {
    /// Behind which byte the next 64 stand.
    at: u32,
    /// 1: the last byte of those before was found.
    was_found: u64,
}

impl Words {
    /// Those behind the byte at `from`, at which no line may end.
    #[inline(always)]
    pub fn behind(from: u32) -> Self {
        Self { at: from, was_found: 0 }
    }

    /// The next 64. `None`: among the last [`SEEN`] bytes.
    #[inline(always)]
    pub fn next<'t, S: Set>(&mut self, text: &'t [u8]) -> Option<Word<'t>> {
        let seen: &[u8; SEEN] = chunk(text, self.at)?;
        let found = S::lows(seen[1..].first_chunk()?);
        // CR LF ends one line: the LF would be taken for the end of another, which no form fits.
        let word = Word { seen, at: self.at, breaks: found & !(found << 1 | self.was_found) };
        *self = Self { at: self.at + 64, was_found: found >> 63 };
        Some(word)
    }
}

/// Where lines may end among 64 bytes: what [`next_break`] finds, and of such bytes side by side the first.
pub struct Word<'t> {
    seen: &'t [u8; SEEN],
    at: u32,
    breaks: u64,
}

impl<'t> Word<'t> {
    /// The next of them.
    #[inline(always)]
    pub fn next(&mut self) -> Option<Break<'t>> {
        if self.breaks == 0 {
            return None;
        }
        let place = self.breaks.trailing_zeros();
        self.breaks &= self.breaks - 1;
        Some(Break { before: self.at + place, frame: chunk(self.seen, place)? })
    }
}

impl Break<'_> {
    /// A line may end here.
    #[inline(always)]
    pub fn may_end_a_line(&self) -> bool {
        self.frame[1] <= 0x0f
    }
}

/// The next CR or LF behind the byte at `from`. `None`: there is none, or little behind it.
#[inline(never)]
pub fn next_sure_break(text: &[u8], from: u32) -> Option<Break<'_>> {
    let before = from + memchr::memchr2(b'\r', b'\n', text.get(from as usize + 1..)?)? as u32;
    Some(Break { before, frame: chunk(text, before)? })
}

/// What [`next_break`] looks at: a byte, 64 behind it, and what stands around the last of them.
const SEEN: usize = 1 + 64 + FRAME;

/// How many bytes a [`tail`] has: with the zeros behind the text, [`Words`] that begin in it get past the text's end.
pub const TAIL: usize = 320;

/// How many of them are the text's: a line that was begun where words stopped short, and is of usual length, begins among them.
const LAST: usize = 192;

const _: () = assert!(SEEN + 64 <= LAST && LAST + SEEN <= TAIL);

/// The tail, into zeros: where it begins.
#[cold]
#[inline(never)]
pub fn tail(text: &[u8], into: &mut [u8; TAIL]) -> u32 {
    if let (Some(last), Some(begin)) = (text.last_chunk::<LAST>(), into.first_chunk_mut()) {
        *begin = *last;
        return (text.len() - LAST) as u32;
    }
    if let Some(begin) = into.get_mut(..text.len()) {
        begin.copy_from_slice(text);
    }
    0
}

/// A text that is shorter than a window, with zeros behind it.
#[cold]
#[inline(never)]
pub fn padded_window(text: &[u8]) -> Window {
    padded_to(text, 0)
}

/// The bytes from `at` on, which are less, with zeros behind them.
pub fn padded_to<const N: usize>(text: &[u8], at: usize) -> [u8; N] {
    let mut padded = [0; N];
    let rest = text.get(at..).unwrap_or(&[]);
    if let Some(begin) = padded.get_mut(..rest.len()) {
        begin.copy_from_slice(rest);
    }
    padded
}

/// Bit n: the byte at `at + n` is not [`plain`](crate::block::plain), or stands behind the text.
#[inline(always)]
pub fn stops<S: Set>(text: &[u8], at: usize) -> u32 {
    match chunk(text, at as u32) {
        Some(bytes) => S::stops(bytes),
        None => last_stops(text, at),
    }
}

#[cold]
#[inline(never)]
fn last_stops(text: &[u8], at: usize) -> u32 {
    Plain::stops(&padded_to(text, at))
}

/// Where the plain characters end that stand at `from` and behind it.
#[inline(always)]
pub fn plain_end<S: Set>(text: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let found = stops::<S>(text, at);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 32;
    }
}

/// The bytes from `at` on, if there are so many.
#[inline(always)]
pub fn chunk<const N: usize>(text: &[u8], at: u32) -> Option<&[u8; N]> {
    // Numbers of 32 bits do not overflow, which saves a comparison.
    let at = at as usize;
    text.get(at..at + N)?.first_chunk()
}

/// Length of what stands before the first colon, if it is among the first 16 bytes.
#[inline(always)]
pub fn near_colon(bytes: &[u8; 16]) -> Option<usize> {
    let colons = Block::of(bytes).equal(Block::all(b':')).bits();
    // So the compiler sees that it is among them.
    let len = (colons | 1 << 16).trailing_zeros() as usize;
    (len < 16).then_some(len)
}

/// Where the first byte of some kind stands at `from` or behind it, or the end of the text; NUL is of no kind.
#[inline(always)]
pub fn find(text: &[u8], from: usize, kind: impl Fn(Block) -> Block) -> usize {
    let mut at = from;
    while let Some(bytes) = chunk(text, at as u32) {
        let found = kind(Block::of(bytes)).bits();
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    if at >= text.len() {
        return text.len();
    }
    let (block, shift) = block_at(text, at);
    match kind(block).bits() >> shift {
        0 => text.len(),
        found => at + found.trailing_zeros() as usize,
    }
}

/// Where this byte stands first at `from` or behind it; `None`: nowhere, or among the last of the text.
#[inline(always)]
pub fn find_byte<S: Set>(text: &[u8], from: usize, c: u8) -> Option<usize> {
    let mut at = from;
    loop {
        let found = S::those(chunk(text, at as u32)?, c);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 32;
    }
}

/// The sixteen bytes from `at` on; near the end of the text the last sixteen, and how many of them stand
/// before `at`. NULs stand for what a shorter text lacks.
#[inline(always)]
pub fn block_at(text: &[u8], at: usize) -> (Block, usize) {
    if let Some(last) = text.len().checked_sub(16) {
        let start = at.min(last);
        if let Some(bytes) = text[start..].first_chunk() {
            return (Block::of(bytes), at - start);
        }
    }
    (Block::of(&padded(text)), at)
}

/// A text of less than sixteen bytes, and zeros behind it; of a longer one its first eight.
#[inline(never)]
pub fn padded(text: &[u8]) -> [u8; 16] {
    let low = eight_at(text, 0);
    let high = if text.len() > 8 { eight_at(text, 8) } else { 0 };
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// The eight bytes from `at` on, the first lowest, and zeros where the text ends before; `at` lies in the text
/// or at its end.
#[inline(always)]
pub fn eight_at(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or(&[]);
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    match text.last_chunk() {
        Some(last) => u64::from_le_bytes(*last).unbounded_shr(64 - 8 * rest.len() as u32),
        None => few(rest),
    }
}

/// Less than eight bytes.
#[inline(always)]
fn few(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (low, high) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(low) | u64::from(high) << (8 * (bytes.len() - 4));
    }
    match *bytes {
        [] => 0,
        [a] => a.into(),
        [a, ref rest @ ..] => {
            let last = u64::from(rest[rest.len() - 1]);
            u64::from(a) | u64::from(rest[0]) << 8 | last << (8 * rest.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every break that is told behind the byte at `from`, in the text and in its tail.
    fn breaks(text: &[u8], from: usize) -> Vec<usize> {
        let (mut told, mut at) = (Vec::new(), from as u32);
        while let Some(found) = next_break::<Plain>(text, at) {
            assert_eq!(Some(found.frame), chunk(text, found.before));
            at = found.before + 1;
            told.push(found.before as usize + 1);
        }
        let mut last = [0; TAIL];
        let base = tail(text, &mut last);
        at = at.max(text.len().saturating_sub(SEEN) as u32) - base;
        let (in_tail, _) = breaks_in_words(&last, at as usize);
        for place in in_tail {
            let before = place - 1;
            let frame: &[u8; FRAME] = chunk(&last, before as u32).expect("a frame");
            let known = text.get(base as usize + before..).unwrap_or_default();
            let known = &known[..known.len().min(FRAME)];
            assert_eq!(frame[..known.len()], *known);
            assert!(frame[known.len()..].iter().all(|c| *c == 0));
            told.push(base as usize + place);
        }
        // Zeros behind the text are found, too.
        told.retain(|place| *place < text.len());
        told
    }

    #[test]
    fn every_break_is_found_wherever_it_stands() {
        for len in [64, 65, 127, 128, 130, 200] {
            for filling in [b'x', b' ', 0x10, 0x7f] {
                let mut text = vec![filling; len];
                assert_eq!(breaks(&text, 0), []);
                for step in 2..70 {
                    let wanted: Vec<_> = (0..len).step_by(step).collect();
                    for (place, c) in wanted.iter().zip((0..=15).chain([0x80, 0x8d, 0xff]).cycle()) {
                        text[*place] = c;
                    }
                    for from in [0, len / 2, len] {
                        let behind = wanted.iter().copied().filter(|at| *at > from);
                        assert_eq!(breaks(&text, from), behind.collect::<Vec<_>>());
                    }
                    text.fill(filling);
                }
            }
        }
    }

    /// The same that [`Words`] tell, of which nothing behind the last whole word is known.
    fn breaks_in_words(text: &[u8], from: usize) -> (Vec<usize>, usize) {
        let (mut told, mut words, mut end) = (Vec::new(), Words::behind(from as u32), from + 1);
        while let Some(mut word) = words.next::<Plain>(text) {
            while let Some(found) = word.next() {
                assert_eq!(Some(found.frame), chunk(text, found.before));
                told.push(found.before as usize + 1);
            }
            end += 64;
        }
        (told, end)
    }

    #[test]
    fn of_breaks_side_by_side_words_tell_the_first() {
        let mut draw = 7u64;
        for _ in 0..2_000 {
            let text: Vec<u8> = (0..300)
                .map(|_| {
                    draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    [b'\r', b'\n', 0x80, b'\t', b'x', b'y', b' ', b'z'][(draw >> 33) as usize % 8]
                })
                .collect();
            let from = (draw >> 40) as usize % 64;
            let (told, end) = breaks_in_words(&text, from);
            assert!(end + SEEN > text.len(), "all that can be looked at is");
            let is_low = |at: usize| text[at] < 0x10 || text[at] >= 0x80;
            let wanted = (from + 1..end).filter(|&at| is_low(at) && (at == from + 1 || !is_low(at - 1)));
            assert_eq!(told, wanted.collect::<Vec<_>>(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_line_break_is_found_behind_what_is_no_ascii() {
        let text = "caf\u{e9}\tau lait\r\nwith so much behind it that all of it can be looked at";
        let found = next_sure_break(text.as_bytes(), 3).expect("a break");
        assert_eq!((found.before, found.may_end_a_line()), (12, true));
        assert_eq!(found.frame.first_chunk(), Some(b"t\r\nw"));
        assert!(next_sure_break(text.as_bytes(), 14).is_none());
        assert!(next_sure_break(&text.as_bytes()[..40], 3).is_none());
    }

    #[test]
    fn every_stop_is_told_and_so_is_the_end() {
        for len in 0..140 {
            let text: Vec<u8> = (0..len).map(|n| if n % 5 == 3 { b';' } else { b'a' }).collect();
            let plain: Vec<u8> = vec![b'a'; len];
            for at in 0..len + 40 {
                let wanted = (0..32).filter(|n| (at + n) % 5 == 3 || at + n >= len);
                assert_eq!(stops::<Plain>(&text, at), wanted.fold(0, |bits, n| bits | 1 << n), "{len} {at}");
                assert_eq!(plain_end::<Plain>(&plain, at), at.max(len), "{len} {at}");
            }
            if len < size_of::<Window>() {
                let window = padded_window(&text);
                assert_eq!(window[..len], text);
                assert!(window[len..].iter().all(|c| *c == 0));
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

    #[test]
    fn eight_bytes_are_read_wherever_the_text_ends() {
        let text: Vec<u8> = (1..40).collect();
        for len in 0..text.len() {
            for at in 0..=len {
                let wanted: [u8; 8] = std::array::from_fn(|n| if at + n < len { text[at + n] } else { 0 });
                assert_eq!(eight_at(&text[..len], at).to_le_bytes(), wanted, "{at} of {len}");
            }
            if len < 16 {
                assert_eq!(padded(&text[..len])[..len], text[..len]);
                assert_eq!(padded(&text[..len])[len..], [0; 16][len..]);
            }
        }
    }
}
