//! Hints to the processor and to the kernel's memory management, and tables that are made with them. No result depends on them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Asks for the cache line where `value` begins, which is needed soon: by then it may be there.
#[inline(always)]
pub fn prefetch<T>(value: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch reads nothing that the program sees, wherever it points.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(value.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The size of a huge page in bytes.
pub const HUGE_PAGE: usize = 2 << 20;

/// Asks for huge pages under memory that begins where one does, of which each has been written to; where the kernel has none to
/// give, nothing changes. What is less than a huge page at its end stays as it is.
///
/// # Safety
/// The memory is mapped.
pub unsafe fn huge_pages(start: *mut u8, bytes: usize) {
    debug_assert!(start.align_offset(HUGE_PAGE) == 0);
    let whole = bytes / HUGE_PAGE * HUGE_PAGE;
    if whole > 0 {
        // SAFETY: the range is mapped, as the caller vouches, and MADV_COLLAPSE changes no byte of it.
        unsafe { libc::madvise(start.cast(), whole, libc::MADV_COLLAPSE) };
    }
}

/// Values that are read at random, in huge pages where the kernel has some to give: each small page costs a walk through the
/// page tables first.
pub struct Table<T> {
    start: NonNull<T>,
    len: usize,
}

impl<T: Copy> Table<T> {
    /// So many of this value.
    pub fn of(value: T, len: usize) -> Self {
        let layout = Self::layout(len);
        let start = match layout.size() {
            0 => NonNull::dangling(),
            // SAFETY: the layout has a size.
            _ => NonNull::new(unsafe { alloc(layout) }.cast()).unwrap_or_else(|| handle_alloc_error(layout)),
        };
        for at in 0..len {
            // SAFETY: the place lies within what was allocated, and is aligned for it.
            unsafe { start.add(at).write(value) };
        }
        if layout.align() == HUGE_PAGE {
            // SAFETY: it was allocated just now.
            unsafe { huge_pages(start.as_ptr().cast(), layout.size()) };
        }
        Self { start, len }
    }
}

impl<T> Table<T> {
    /// From the beginning of a huge page on, where it fills one.
    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<T>(len).expect("a table is no larger than memory");
        let is_huge = layout.size() >= HUGE_PAGE;
        layout.align_to(if is_huge { HUGE_PAGE } else { 1 }).expect("a table is no larger than memory")
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.len);
        if layout.size() > 0 {
            // SAFETY: it was allocated with this layout; what is `Copy` has nothing to drop.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: so many values were written when the table was made.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Table<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

// SAFETY: a table owns its values, as a box does.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Table<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_what_it_is_made_of_wherever_it_stands() {
        for len in [0, 1, 3, (1 << 18) - 1, 1 << 18, (1 << 20) + 7] {
            let mut table = Table::of(7u64, len);
            assert_eq!(table.len(), len);
            assert_eq!(table.as_ptr().align_offset(if len >= 1 << 18 { HUGE_PAGE } else { 8 }), 0);
            assert!(table.iter().all(|value| *value == 7));
            for (value, number) in table.iter_mut().zip(0..) {
                *value = number;
            }
            table.first().inspect(|value| prefetch(*value));
            assert!(table.iter().zip(0..).all(|(value, number)| *value == number));
        }
        assert_eq!(Table::of((), 9).len(), 9);
    }
}
