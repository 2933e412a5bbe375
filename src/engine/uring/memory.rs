//! Memory that the kernel writes and reads behind Rust's back: mapped once, never moved.

use std::io;
use std::ptr::NonNull;

/// Anonymous memory of this process, page-aligned, zero, taken from the system page by page as it is
/// first touched.
pub struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    keep: bool,
}

impl Mapping {
    /// Maps so many bytes.
    ///
    /// # Errors
    /// The system's reason; ENOMEM as a rule.
    pub fn new(bytes: usize) -> io::Result<Self> {
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
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes, keep: false })
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
            // SAFETY: the mapping was made by `new` with this length. Its owner has called `keep` unless all
            // operations of the kernel that write to it or read from it have ended, or none has begun, and
            // no buffer of it is out.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        }
    }
}
