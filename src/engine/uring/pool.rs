//! A pool of receive buffers, as a ring that is shared with the kernel.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::memory::Mapping;

/// The buffers and the ring of them.
pub struct Pool {
    /// The ring's entries, and behind them what else the kernel is shown.
    ring: Mapping,
    buffers: Mapping,
    /// What the kernel may write to a buffer.
    buffer_bytes: usize,
    /// From one buffer to the next.
    stride: usize,
    /// One less than there are buffers, which is a power of two.
    mask: u16,
    tail: u16,
    published: u16,
}

impl Pool {
    /// Maps `count` buffers, a power of two, of so many bytes, and gives all of them to the kernel as this group; and
    /// `extra` bytes beside the ring.
    pub fn new(
        uring: &IoUring,
        group: u16,
        count: u16,
        buffer_bytes: usize,
        extra: usize,
    ) -> io::Result<Self> {
        // Not a multiple of a large power of two, so that messages do not all land on the same sets of
        // the cache.
        let stride = buffer_bytes.next_multiple_of(64) + 64;
        let entries = usize::from(count) * size_of::<BufRingEntry>();
        let ring = Mapping::new(entries + extra)?;
        let buffers = Mapping::new(usize::from(count) * stride)?;
        // SAFETY: the ring's memory is page-aligned and large enough for the entries. The engine unmaps it
        // only when the kernel has ended all receives and given the ring back, or never.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(ring.at(0, entries) as u64, count, group, 0)?;
        }
        let mut this = Self { ring, buffers, buffer_bytes, stride, mask: count - 1, tail: 0, published: 0 };
        for buffer in 0..count {
            this.give_back(buffer);
        }
        this.publish();
        Ok(this)
    }

    /// The bytes beside the ring.
    pub fn extra(&self, len: usize) -> *mut u8 {
        self.ring.at((usize::from(self.mask) + 1) * size_of::<BufRingEntry>(), len)
    }

    /// What the kernel put into a buffer; `len` is the completion's result.
    ///
    /// # Safety
    /// The kernel has filled this buffer, and it is given back only after the last use of the result.
    #[inline]
    pub unsafe fn read<'b>(&self, buffer: u16, len: usize) -> &'b [u8] {
        let len = len.min(self.buffer_bytes);
        let start = self.buffers.at(usize::from(buffer & self.mask) * self.stride, self.buffer_bytes);
        // SAFETY: the memory lies within the pool, is initialised (mapped zero, then written by the
        // kernel), and is written by nobody until the buffer is given back, which the caller vouches for.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Returns a buffer; the kernel sees it after [`Self::publish`].
    pub fn give_back(&mut self, buffer: u16) {
        let buffer = buffer & self.mask;
        let start = self.buffers.at(usize::from(buffer) * self.stride, self.buffer_bytes);
        let place = usize::from(self.tail & self.mask) * size_of::<BufRingEntry>();
        let entry = self.ring.at(place, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the entry lies within the ring, is aligned, and belongs to us until the tail passes it.
        // The last field of the first entry is the ring's tail, which the kernel only reads and none of
        // the setters touches.
        let entry = unsafe { &mut *entry };
        entry.set_addr(start as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers that were given back.
    pub fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        let first = self.ring.at(0, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: `first` is the first entry of the ring and initialised; its tail is aligned for a u16 and
        // is only ever written here.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    /// Leaves the memory to the process, because the kernel may still write to it.
    pub fn keep(&mut self) {
        self.ring.keep();
        self.buffers.keep();
    }
}
