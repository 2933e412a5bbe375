//! Hints to the processor and to the kernel's memory management. No result depends on them.

/// Asks for the cache line where `value` begins, which is needed soon: by then it may be there.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch reads nothing that the program sees.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(value).cast(),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for huge pages under memory that is read at random: each small page costs a walk through the page
/// tables first. Where the kernel has none to give, nothing changes.
pub fn huge_pages<T>(memory: &[T]) {
    const HUGE: usize = 2 << 20;
    let range = memory.as_ptr_range();
    let begin = (range.start as usize).next_multiple_of(HUGE);
    let length = (range.end as usize / HUGE * HUGE).saturating_sub(begin);
    if length > 0 {
        // SAFETY: the range lies within `memory`, and MADV_COLLAPSE changes no byte of it.
        unsafe { libc::madvise(begin as *mut libc::c_void, length, libc::MADV_COLLAPSE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_changes_nothing() {
        let memory: Vec<u64> = (0..1 << 20).collect();
        huge_pages(&memory);
        huge_pages(&memory[..3]);
        huge_pages::<u64>(&[]);
        prefetch(&memory[77]);
        assert!(memory.iter().zip(0..).all(|(value, expected)| *value == expected));
    }
}
