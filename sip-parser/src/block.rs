//! Sixteen bytes at once: the crate's only unsafe code. SSE2 is part of x86-64; elsewhere the compiler makes
//! of it what it can.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
    _mm_set1_epi8,
};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
