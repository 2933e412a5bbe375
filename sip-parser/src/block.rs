//! Many bytes at once: the crate's only unsafe code. SSE2 is part of x86-64, AVX2 is used where the processor has
//! it; elsewhere the compiler makes of it what it can.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi8, _mm_add_epi16, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8,
    _mm_cvtsi32_si128, _mm_cvtsi128_si32, _mm_insert_epi16, _mm_loadu_si128, _mm_madd_epi16,
    _mm_maddubs_epi16, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    _mm_set1_epi16, _mm_set1_epi32, _mm_shuffle_epi8, _mm_storeu_si128, _mm_sub_epi8, _mm_sub_epi32,
    _mm_testz_si128, _mm_unpacklo_epi32, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8,
    _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_testz_si256, _mm256_xor_si256,
};

#[cfg(target_arch = "x86_64")]
use std::mem::offset_of;
#[cfg(target_arch = "x86_64")]
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::message::HeaderLine;
use crate::span::Span;

/// Instructions of SSE2.
#[cfg(target_arch = "x86_64")]
macro_rules! sse2 {
    ($value:expr) => {
        // SAFETY: SSE2 is part of x86-64; nothing here takes a pointer.
        unsafe { $value }
    };
}

/// Sixteen bytes.
#[derive(Clone, Copy)]
pub struct Block(#[cfg(target_arch = "x86_64")] __m128i, #[cfg(not(target_arch = "x86_64"))] [u8; 16]);

#[cfg(target_arch = "x86_64")]
impl Block {
    /// These bytes.
    #[inline(always)]
    pub fn of(bytes: &[u8; 16]) -> Self {
        let both = u128::from_le_bytes(*bytes);
        Self(sse2!(_mm_set_epi64x((both >> 64) as i64, both as i64)))
    }

    /// The same byte everywhere.
    #[inline(always)]
    pub fn all(c: u8) -> Self {
        Self(sse2!(_mm_set1_epi8(c as i8)))
    }

    /// Byte by byte, as all that follow: the bits of both.
    #[inline(always)]
    pub fn or(self, other: Self) -> Self {
        Self(sse2!(_mm_or_si128(self.0, other.0)))
    }

    /// The bits that both have.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(sse2!(_mm_and_si128(self.0, other.0)))
    }

    /// The smaller of both.
    #[inline(always)]
    pub fn least(self, other: Self) -> Self {
        Self(sse2!(_mm_min_epu8(self.0, other.0)))
    }

    /// All bits where both are the same, else none.
    #[inline(always)]
    pub fn equal(self, other: Self) -> Self {
        Self(sse2!(_mm_cmpeq_epi8(self.0, other.0)))
    }

    /// All bits where the byte lies in `low..=high`, else none.
    #[inline(always)]
    pub fn within(self, low: u8, high: u8) -> Self {
        // `high` becomes the largest signed number, what lies above it negative.
        let raised = sse2!(_mm_add_epi8(self.0, _mm_set1_epi8((127 - high) as i8)));
        Self(sse2!(_mm_cmpgt_epi8(raised, _mm_set1_epi8(126u8.wrapping_sub(high - low) as i8))))
    }

    /// Bit n: the highest bit of byte n.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        sse2!(_mm_movemask_epi8(self.0)) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Block {
    /// These bytes.
    #[inline(always)]
    pub fn of(bytes: &[u8; 16]) -> Self {
        Self(*bytes)
    }

    /// The same byte everywhere.
    #[inline(always)]
    pub fn all(c: u8) -> Self {
        Self([c; 16])
    }

    /// Byte by byte, as all that follow: the bits of both.
    #[inline(always)]
    pub fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] | other.0[n]))
    }

    /// The bits that both have.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] & other.0[n]))
    }

    /// The smaller of both.
    #[inline(always)]
    pub fn least(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n].min(other.0[n])))
    }

    /// All bits where both are the same, else none.
    #[inline(always)]
    pub fn equal(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| if self.0[n] == other.0[n] { 0xff } else { 0 }))
    }

    /// All bits where the byte lies in `low..=high`, else none.
    #[inline(always)]
    pub fn within(self, low: u8, high: u8) -> Self {
        Self(self.0.map(|c| if (low..=high).contains(&c) { 0xff } else { 0 }))
    }

    /// Bit n: the highest bit of byte n.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        (0..).zip(self.0).fold(0, |bits, (n, c)| bits | u32::from(c >> 7) << n)
    }
}

/// What is done with more than one instruction set.
pub trait Work {
    /// What comes of it.
    type Done;

    /// Does it. Has to be inlined always: it is compiled once for each set.
    fn with<S: Set>(self) -> Self::Done;
}

/// A set of instructions.
pub trait Set {
    /// Bit n: byte n is one of NUL to SI, or no ASCII.
    fn lows(bytes: &[u8; 64]) -> u64;

    /// Bit n: byte n is this one.
    fn those(bytes: &[u8; 32], c: u8) -> u32;

    /// Bit n: byte n is not [`plain`].
    fn stops(bytes: &[u8; 32]) -> u32;

    /// Bit n: byte n is another one than there.
    fn differences(bytes: &[u8; 32], there: &[u8; 32]) -> u32;

    /// None greater than in `most`, the bytes are `text` in the bits of `mask`.
    fn fits(bytes: &[u8; 32], most: &[u8; 32], text: &[u8; 32], mask: &[u8; 32]) -> bool;

    /// Four numbers of three digits at most, the first in the highest byte: four bytes of `order` for each of them, the
    /// last three of which say where its digits stand, or 0x80 for those that it lacks. `None`: one of them is greater
    /// than 255 or smaller than its `least`.
    fn numbers(bytes: &[u8; 16], order: &[u8; 16], least: &[u32; 4]) -> Option<u32>;

    /// The line `like`, with `at` added to where it and its value begin, and `last` to where both end.
    fn place(like: &HeaderLine, at: u32, last: u32, into: &mut HeaderLine);
}

/// What the processor is known to have: one of [`UNASKED`], [`WITHOUT_AVX2`] and [`WITH_AVX2`].
#[cfg(target_arch = "x86_64")]
static KNOWN: AtomicU8 = AtomicU8::new(UNASKED);

#[cfg(target_arch = "x86_64")]
const UNASKED: u8 = 0;
#[cfg(target_arch = "x86_64")]
const WITHOUT_AVX2: u8 = 1;
/// And the bit instructions that came with it.
#[cfg(target_arch = "x86_64")]
const WITH_AVX2: u8 = 2;

/// The same, asked the processor for the first time.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn asked() -> u8 {
    if KNOWN.load(Relaxed) == UNASKED {
        let has = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2");
        KNOWN.store(if has { WITH_AVX2 } else { WITHOUT_AVX2 }, Relaxed);
    }
    KNOWN.load(Relaxed)
}

/// Does it with AVX2 where the processor has that.
#[inline(always)]
pub fn widely<W: Work>(work: W) -> W::Done {
    #[cfg(target_arch = "x86_64")]
    if KNOWN.load(Relaxed) == WITH_AVX2 || asked() == WITH_AVX2 {
        // SAFETY: the processor has it.
        return unsafe { with_avx2(work) };
    }
    with_plain(work)
}

// Neither stands where it is called, so that whoever calls one saves no registers for the other.

#[inline(never)]
fn with_plain<W: Work>(work: W) -> W::Done {
    work.with::<Plain>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
#[inline(never)]
fn with_avx2<W: Work>(work: W) -> W::Done {
    work.with::<Avx2>()
}

/// One of the characters that nearly all names, numbers, tokens and addresses are made of: letters, digits, and those of
/// `* + - . _`. They may stand in a token, in a user part, and in names and values of parameters.
pub const fn plain(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'*' | b'+' | b'-' | b'.' | b'_')
}

/// Of a byte's last four bits: bit n, the byte that has them behind the bits of n is [`plain`]. Twice.
#[cfg(target_arch = "x86_64")]
const ENDS: [u8; 32] = {
    let mut ends = [0; 32];
    let mut c = 0;
    while c < 0x80 {
        let bit = (plain(c) as u8) << (c >> 4);
        ends[c as usize & 15] |= bit;
        ends[16 + (c as usize & 15)] |= bit;
        c += 1;
    }
    ends
};

/// Of a byte's first four bits: the bit of [`ENDS`]. Twice.
#[cfg(target_arch = "x86_64")]
const BEGINS: [u8; 32] = {
    let mut begins = [0; 32];
    let mut n = 0;
    while n < 8 {
        (begins[n], begins[n + 16]) = (1 << n, 1 << n);
        n += 1;
    }
    begins
};

/// What every processor has.
pub struct Plain;

impl Set for Plain {
    #[inline(always)]
    fn lows(bytes: &[u8; 64]) -> u64 {
        let (blocks, _) = bytes.as_chunks();
        let of = |n: usize| {
            let block = Block::of(&blocks[n]);
            u64::from(block.or(block.within(0, 0x0f)).bits()) << (16 * n)
        };
        of(0) | of(1) | of(2) | of(3)
    }

    #[inline(always)]
    fn those(bytes: &[u8; 32], c: u8) -> u32 {
        let (halves, _) = bytes.as_chunks();
        let half = |n: usize| Block::of(&halves[n]).equal(Block::all(c)).bits() << (16 * n);
        half(0) | half(1)
    }

    #[inline(always)]
    fn stops(bytes: &[u8; 32]) -> u32 {
        let (halves, _) = bytes.as_chunks();
        half_stops(&halves[0]) | half_stops(&halves[1]) << 16
    }

    #[inline(always)]
    fn differences(bytes: &[u8; 32], there: &[u8; 32]) -> u32 {
        let half = |n: usize| {
            let of = |bytes: &[u8; 32]| Block::of(&bytes.as_chunks().0[n]);
            of(bytes).equal(of(there)).bits() << (16 * n)
        };
        !(half(0) | half(1))
    }

    #[inline(always)]
    fn fits(bytes: &[u8; 32], most: &[u8; 32], text: &[u8; 32], mask: &[u8; 32]) -> bool {
        let half = |n: usize| {
            let of = |bytes: &[u8; 32]| Block::of(&bytes.as_chunks().0[n]);
            of(bytes).least(of(most)).and(of(mask)).equal(of(text).and(of(mask))).bits()
        };
        half(0) & half(1) == 0xffff
    }

    #[inline(always)]
    fn numbers(bytes: &[u8; 16], order: &[u8; 16], least: &[u32; 4]) -> Option<u32> {
        let digit = |place: u8| bytes.get(usize::from(place)).map_or(0, |c| u32::from(c.wrapping_sub(b'0')));
        order.as_chunks::<4>().0.iter().zip(least).try_fold(0, |ip, (places, least)| {
            let [_, hundreds, tens, ones] = places.map(digit);
            let number = hundreds * 100 + tens * 10 + ones;
            (*least..=255).contains(&number).then_some(ip << 8 | number)
        })
    }

    #[inline(always)]
    fn place(like: &HeaderLine, at: u32, last: u32, into: &mut HeaderLine) {
        let placed = |span: Span| Span {
            start: span.start.wrapping_add(at as u16),
            end: span.end.wrapping_add(last as u16),
        };
        *into = HeaderLine { line: placed(like.line), value: placed(like.value), ..*like };
    }
}

/// [`Set::stops`] of sixteen bytes.
#[inline(always)]
fn half_stops(bytes: &[u8; 16]) -> u32 {
    let block = Block::of(bytes);
    let alphanum = block.or(Block::all(0x20)).within(b'a', b'z').or(block.within(b'0', b'9'));
    let others = block.within(b'*', b'+').or(block.within(b'-', b'.')).or(block.equal(Block::all(b'_')));
    !alphanum.or(others).bits() & 0xffff
}

/// Instructions of AVX2.
#[cfg(target_arch = "x86_64")]
struct Avx2;

/// Instructions of AVX2 and what came before it.
#[cfg(target_arch = "x86_64")]
macro_rules! avx2 {
    ($value:expr) => {
        // SAFETY: only `with_avx2` calls this; nothing here takes a pointer.
        unsafe { $value }
    };
}

/// 32 bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn wide(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: only `with_avx2` calls this; 32 bytes may be read, wherever they begin.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[cfg(target_arch = "x86_64")]
impl Set for Avx2 {
    #[inline(always)]
    fn lows(bytes: &[u8; 64]) -> u64 {
        let (halves, _) = bytes.as_chunks::<32>();
        let of = |n: usize| {
            // No ASCII is negative.
            let found = avx2!(_mm256_cmpgt_epi8(_mm256_set1_epi8(0x10), wide(&halves[n])));
            u64::from(avx2!(_mm256_movemask_epi8(found)) as u32)
        };
        of(0) | of(1) << 32
    }

    #[inline(always)]
    fn those(bytes: &[u8; 32], c: u8) -> u32 {
        avx2!(_mm256_movemask_epi8(_mm256_cmpeq_epi8(wide(bytes), _mm256_set1_epi8(c as i8)))) as u32
    }

    #[inline(always)]
    fn stops(bytes: &[u8; 32]) -> u32 {
        let bytes = wide(bytes);
        let ends = avx2!(_mm256_shuffle_epi8(wide(&ENDS), bytes));
        let begins = avx2!(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0f)));
        let both = avx2!(_mm256_and_si256(ends, _mm256_shuffle_epi8(wide(&BEGINS), begins)));
        avx2!(_mm256_movemask_epi8(_mm256_cmpeq_epi8(both, _mm256_setzero_si256()))) as u32
    }

    #[inline(always)]
    fn differences(bytes: &[u8; 32], there: &[u8; 32]) -> u32 {
        !avx2!(_mm256_movemask_epi8(_mm256_cmpeq_epi8(wide(bytes), wide(there)))) as u32
    }

    #[inline(always)]
    fn fits(bytes: &[u8; 32], most: &[u8; 32], text: &[u8; 32], mask: &[u8; 32]) -> bool {
        let differs = avx2!(_mm256_xor_si256(_mm256_min_epu8(wide(bytes), wide(most)), wide(text)));
        avx2!(_mm256_testz_si256(differs, wide(mask))) != 0
    }

    #[inline(always)]
    fn numbers(bytes: &[u8; 16], order: &[u8; 16], least: &[u32; 4]) -> Option<u32> {
        let (least, _) = least.as_chunks::<2>();
        let pair = |n: usize| (u64::from(least[n][1]) << 32 | u64::from(least[n][0])) as i64;
        let weights = avx2!(_mm_set1_epi32(i32::from_le_bytes([0, 100, 10, 1])));
        let digits = avx2!(_mm_sub_epi8(Block::of(bytes).0, _mm_set1_epi8(b'0' as i8)));
        let digits = avx2!(_mm_shuffle_epi8(digits, Block::of(order).0));
        let numbers = avx2!(_mm_madd_epi16(_mm_maddubs_epi16(digits, weights), _mm_set1_epi16(1)));
        // One that is too large has higher bits, and so has what is left of one that is too small: it is negative.
        let more = avx2!(_mm_sub_epi32(numbers, _mm_set_epi64x(pair(1), pair(0))));
        if avx2!(_mm_testz_si128(_mm_or_si128(numbers, more), _mm_set1_epi32(!255))) == 0 {
            return None;
        }
        let last_to_first = avx2!(_mm_set_epi64x(0, 0x0004_080c));
        Some(avx2!(_mm_cvtsi128_si32(_mm_shuffle_epi8(numbers, last_to_first))) as u32)
    }

    #[inline(always)]
    fn place(like: &HeaderLine, at: u32, last: u32, into: &mut HeaderLine) {
        const {
            assert!(size_of::<HeaderLine>() == 16 && offset_of!(HeaderLine, key_len) == 8);
            assert!(offset_of!(HeaderLine, line) == 0 && offset_of!(HeaderLine, value) == 4);
            assert!(offset_of!(Span, start) == 0 && offset_of!(Span, end) == 2);
        };
        let both = avx2!(_mm_insert_epi16(_mm_cvtsi32_si128(at as i32), last as i32, 1));
        // Twice, and zeros for what is no place.
        let places = avx2!(_mm_unpacklo_epi32(both, both));
        // SAFETY: only `with_avx2` calls this. A line is sixteen bytes without a gap, the first eight of which are
        // its places, of any value; the others, the name among them, are those of `like`.
        unsafe {
            let like = _mm_loadu_si128(std::ptr::from_ref(like).cast());
            _mm_storeu_si128(std::ptr::from_mut(into).cast(), _mm_add_epi16(like, places));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HeaderName;

    #[test]
    fn every_byte_is_told_from_every_other() {
        for c in 0..=u8::MAX {
            let mut bytes: [u8; 16] = std::array::from_fn(|n| c.wrapping_add(1 + n as u8));
            bytes[5] = c;
            assert_eq!(Block::of(&bytes).equal(Block::all(c)).bits(), 1 << 5);
            let bits = (0..16).filter(|&n| bytes[n] >= 0x80).map(|n| 1 << n).sum::<u32>();
            assert_eq!(Block::of(&bytes).bits(), bits);
            assert_eq!(Block::of(&bytes).or(Block::all(0x80)).bits(), 0xffff);
        }
    }

    #[test]
    fn a_range_has_its_ends_and_nothing_beyond() {
        for (low, high) in [(b'0', b'9'), (b'a', b'z'), (0, 0), (0, 127), (1, 127), (127, 127), (b'&', b'9')]
        {
            for c in 0..=u8::MAX {
                let wanted = if (low..=high).contains(&c) { 0xffff } else { 0 };
                assert_eq!(Block::all(c).within(low, high).bits(), wanted, "{c} in {low}..={high}");
            }
        }
    }

    const LIKE: HeaderLine = HeaderLine {
        line: Span { start: 3, end: 5_535 },
        value: Span { start: 12, end: 1 },
        key_len: 7,
        name: HeaderName::CallId,
        ..HeaderLine::EMPTY
    };

    #[test]
    fn a_line_is_placed_and_nothing_else_of_it_changes() {
        let few = [200; 16];
        let (_, _, _, line) = widely(Answers(&[0; 64], &few, &few, &[0; 4]));
        let (places, value) = (Span { start: 203, end: 65_535 }, Span { start: 212, end: 60_001 });
        assert_eq!(line, HeaderLine { line: places, value, ..LIKE });
    }

    /// All of a set's answers, as whoever asks by [`widely`] gets them.
    struct Answers<'a>(&'a [u8; 64], &'a [u8; 16], &'a [u8; 16], &'a [u32; 4]);

    impl Work for Answers<'_> {
        type Done = (u64, [u32; 3], Option<u32>, HeaderLine);

        #[inline(always)]
        fn with<S: Set>(self) -> Self::Done {
            let half = self.0.first_chunk().expect("32 of 64");
            let numbers = S::numbers(self.1, self.2, self.3);
            let rest = self.0.last_chunk().expect("32 of 64");
            let found = [S::those(half, b'x'), S::stops(half), S::differences(half, rest)];
            let mut line = HeaderLine::EMPTY;
            S::place(&LIKE, self.1[0].into(), 60_000, &mut line);
            (S::lows(self.0), found, numbers, line)
        }
    }

    #[test]
    fn what_is_not_plain_is_a_stop() {
        let order = [0x80; 16];
        for c in 0..=u8::MAX {
            for at in 0..32 {
                let text: [u8; 64] = std::array::from_fn(|n| if n == at { c } else { b'x' });
                let few = text.first_chunk().expect("16 of 64");
                let (_, [xs, stops, _], ..) = widely(Answers(&text, few, &order, &[0; 4]));
                let wanted = u32::from(!plain(c)) << at;
                assert_eq!(stops, wanted, "{c}");
                assert_eq!(xs, if c == b'x' { u32::MAX } else { !(1 << at) }, "{c}");
            }
        }
    }

    #[test]
    fn all_sets_answer_the_same() {
        for c in 0..=u8::MAX {
            let text: [u8; 64] = std::array::from_fn(|n| if n % 7 == 3 { c } else { b'x' });
            for (number, least) in (0..1000u32).step_by(7).flat_map(|n| [0, 10, 100].map(|least| (n, least)))
            {
                let digits = format!("{number:03}.{:03}.{:03}.001", number / 2, c);
                let mut bytes = [b'>'; 16];
                bytes[..digits.len()].copy_from_slice(digits.as_bytes());
                let order = [0x80, 0, 1, 2, 0x80, 4, 5, 6, 0x80, 8, 9, 10, 0x80, 0x80, 13, 14];
                let least = [least, 0, 0, 1];
                let answers = || Answers(&text, &bytes, &order, &least);
                assert_eq!(widely(answers()), answers().with::<Plain>(), "{c} {digits}");
            }
        }
    }
}
