//! Sixteen bytes at once: the crate's only unsafe code.
#![allow(unsafe_code)]

/// Bit n: byte n is `c`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn mask(block: &[u8; 16], c: u8) -> u32 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let both = u128::from_le_bytes(*block);
    // SAFETY: SSE2 is part of x86-64; nothing here takes a pointer.
    unsafe {
        let bytes: __m128i = _mm_set_epi64x((both >> 64) as i64, both as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(c as i8))) as u32
    }
}

/// Bit n: byte n is `c`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn mask(block: &[u8; 16], c: u8) -> u32 {
    (0..).zip(block).fold(0, |mask, (n, &byte)| mask | u32::from(byte == c) << n)
}
