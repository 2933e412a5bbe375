//! Memory that the kernel writes and reads behind Rust's back: mapped once, never moved.

use std::io;
use std::ptr::NonNull;

use crate::hardware::{HUGE_PAGE, huge_pages};

/// Anonymous memory of this process, page-aligned, zero, taken from the system page by page as it is
/// first touched.
pub struct Mapping {
    /// Where what was asked for begins.
    start: NonNull<u8>,
    bytes: usize,
    /// What is mapped.
    mapped: (NonNull<u8>, usize),
    keep: bool,
}

impl Mapping {
    /// Maps so many bytes.
    ///
    /// # Errors
    /// The system's reason; ENOMEM as a rule.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let start = map(bytes)?;
        Ok(Self { start, bytes, mapped: (start, bytes), keep: false })
    }

    /// The same with its first `hot` bytes in huge pages, as far as it fills some and the kernel has some: taken at once, and
    /// found without a walk through the page tables for each small page.
    pub fn with_hot(bytes: usize, hot: usize) -> io::Result<Self> {
        let mapped = (map(bytes + HUGE_PAGE)?, bytes + HUGE_PAGE);
        let before = mapped.0.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        // SAFETY: less than a huge page before what was asked for, of which so much more is mapped.
        let start = unsafe { mapped.0.add(before) };
        let this = Self { start, bytes, mapped, keep: false };
        let hot = hot.next_multiple_of(HUGE_PAGE).min(bytes) / HUGE_PAGE * HUGE_PAGE;
        for page in (0..hot).step_by(HUGE_PAGE) {
            // SAFETY: the byte lies within the mapping, and is 0 already.
            unsafe { this.at(page, 1).write_volatile(0) };
        }
        // SAFETY: the range lies within the mapping.
        unsafe { huge_pages(this.start.as_ptr(), hot) };
        Ok(this)
    }

    /// The address of `len` bytes of the mapping, from `offset` on.
    ///
    /// # Panics
    /// They do not lie within the mapping: a defect of the engine.
    #[inline]
    pub fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.bytes && len <= self.bytes - offset);
        // SAFETY: the offset lies within the mapping.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Leaves the memory to the process for good, because somebody may still use it.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.keep {
            // SAFETY: the mapping was made by `map` with this length. Its owner has called `keep` unless all
            // operations of the kernel that write to it or read from it have ended, or none has begun, and
            // no buffer of it is out.
            unsafe { libc::munmap(self.mapped.0.as_ptr().cast(), self.mapped.1) };
        }
    }
}

fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new anonymous private mapping at an address of the kernel's choice touches nothing
    // that exists.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_mapping_is_there_and_zero() {
        for (bytes, hot) in [(1, 0), (4_096, 4_096), (5 << 20, 3 << 20), (5 << 20, 50 << 20)] {
            let mapping = Mapping::with_hot(bytes, hot).unwrap();
            let start = mapping.at(0, bytes);
            assert_eq!(start.align_offset(HUGE_PAGE), 0);
            // SAFETY: so many bytes are mapped, and nobody else has them.
            let all = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
            assert!(all.iter().all(|byte| *byte == 0));
            all.fill(1);
        }
    }
}
