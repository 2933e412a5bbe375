//! A pool of receive buffers, as a ring that is shared with the kernel.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::memory::Mapping;
use crate::hardware;
use crate::limits::HOT_BUFFERS;

/// Of a buffer that is read soon so much is fetched: what stands before a message, and all of most of them.
const EXPECTED_BYTES: usize = 1_024;

/// More than a buffer's length, which is near a large power of two: messages of neighbours stand side by side in the sets of the
/// cache, one behind what the other expects.
const APART_BYTES: usize = EXPECTED_BYTES + 64;

/// Buffers that the kernel always has.
const LENT_AT_LEAST: u16 = 64;

/// Batches after which those that the kernel has are halved, where a quarter of them was enough.
const BATCHES: u32 = 1_024;

/// The buffers and the ring of them.
///
/// The kernel takes them from the ring in order, so each message lands in the buffer that was filled longest ago. It is lent
/// twice as many as the batches of late needed, of those that were used last: they are still in the
/// caches. Those in huge pages come first.
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
    /// Those that the kernel is not lent, the one that was used last on top: those in huge pages, and the others.
    hot: Vec<u16>,
    cold: Vec<u16>,
    /// How many it is lent, or how many it will be once a batch is over.
    lent: u16,
    wanted: u16,
    /// Given back since they were last lent: what a batch needed.
    needed: u16,
    /// Of the last batches, and how many these are.
    most_needed: u16,
    batches: u32,
}

impl Pool {
    /// Maps `count` buffers, a power of two, of so many bytes, and lends the kernel some of them as this group; and `extra`
    /// bytes beside the ring.
    pub fn new(
        uring: &IoUring,
        group: u16,
        count: u16,
        buffer_bytes: usize,
        extra: usize,
    ) -> io::Result<Self> {
        let stride = buffer_bytes.next_multiple_of(64) + APART_BYTES;
        let entries = usize::from(count) * size_of::<BufRingEntry>();
        let ring = Mapping::new(entries + extra)?;
        let buffers = Mapping::with_hot(usize::from(count) * stride, usize::from(HOT_BUFFERS) * stride)?;
        // SAFETY: the ring's memory is page-aligned and large enough for the entries. The engine unmaps it
        // only when the kernel has ended all receives and given the ring back, or never.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(ring.at(0, entries) as u64, count, group, 0)?;
        }
        let mut this = Self {
            ring,
            buffers,
            buffer_bytes,
            stride,
            mask: count - 1,
            tail: 0,
            published: 0,
            hot: (0..count.min(HOT_BUFFERS)).rev().collect(),
            cold: (HOT_BUFFERS..count).rev().collect(),
            lent: 0,
            wanted: count.min(LENT_AT_LEAST),
            needed: 0,
            most_needed: 0,
            batches: 0,
        };
        this.lend();
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

    /// Tells that a buffer of which the kernel has filled `len` bytes is read soon.
    #[inline]
    pub fn expect(&self, buffer: u16, len: usize) {
        let len = len.min(self.buffer_bytes).min(EXPECTED_BYTES);
        let start = self.buffers.at(usize::from(buffer & self.mask) * self.stride, self.buffer_bytes);
        for line in (0..len).step_by(64) {
            hardware::prefetch(start.wrapping_add(line));
        }
    }

    /// Takes a buffer back from whoever has read it.
    #[inline]
    pub fn give_back(&mut self, buffer: u16) {
        let buffer = buffer & self.mask;
        if buffer < HOT_BUFFERS {
            self.hot.push(buffer)
        } else {
            self.cold.push(buffer)
        }
        self.lent = self.lent.saturating_sub(1);
        self.needed = self.needed.saturating_add(1);
    }

    /// How many the kernel has.
    pub const fn lent(&self) -> u16 {
        self.lent
    }

    /// The kernel has all there are, so that where it wants more, more does not come at once.
    pub fn is_all_lent(&self) -> bool {
        self.wanted > self.mask
    }

    /// A batch is over: lends the kernel what the next one may need.
    pub fn lend(&mut self) {
        self.learn();
        while self.lent < self.wanted
            && let Some(buffer) = self.hot.pop().or_else(|| self.cold.pop())
        {
            self.put(buffer);
            self.lent += 1;
        }
        self.publish();
    }

    /// How many it is to have: more at once, fewer in time.
    #[inline]
    fn learn(&mut self) {
        let needed = std::mem::take(&mut self.needed);
        if needed == 0 {
            return;
        }
        (self.most_needed, self.batches) = (self.most_needed.max(needed), self.batches + 1);
        if needed > self.wanted / 2 {
            self.wanted = self.wanted.saturating_mul(2).min(self.mask + 1);
        }
        if self.batches >= BATCHES {
            if self.most_needed <= self.wanted / 4 {
                self.wanted = (self.wanted / 2).max(LENT_AT_LEAST.min(self.mask + 1));
            }
            (self.most_needed, self.batches) = (0, 0);
        }
    }

    fn put(&mut self, buffer: u16) {
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

    /// Shows the kernel all buffers that were put into the ring.
    fn publish(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u16 = 512;

    fn pool(uring: &IoUring) -> Pool {
        Pool::new(uring, 0, COUNT, 1_000, 0).unwrap()
    }

    impl Pool {
        fn held(&self) -> usize {
            self.hot.len() + self.cold.len()
        }
    }

    /// A batch that needs so many, which the kernel takes in the order of the ring.
    fn batch(pool: &mut Pool, needed: u16) {
        let first = pool.tail.wrapping_sub(pool.lent);
        for place in 0..needed {
            let entry = usize::from(first.wrapping_add(place) & pool.mask) * size_of::<BufRingEntry>();
            let entry = pool.ring.at(entry, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
            // SAFETY: the entry lies within the ring and is initialised.
            let buffer = unsafe { (*entry).bid() };
            pool.give_back(buffer);
        }
        pool.lend();
    }

    #[test]
    fn the_kernel_has_twice_what_batches_need() {
        let uring = IoUring::new(8).unwrap();
        let mut pool = pool(&uring);
        assert_eq!((pool.lent, pool.is_all_lent()), (64, false));
        batch(&mut pool, 32);
        assert_eq!(pool.lent, 64);
        batch(&mut pool, 33);
        assert_eq!(pool.lent, 128);
        batch(&mut pool, 128);
        batch(&mut pool, 256);
        assert_eq!((pool.lent, pool.is_all_lent()), (512, true));
        batch(&mut pool, 512);
        assert_eq!((pool.lent, pool.held()), (512, 0));
        // Of what was much the kernel keeps less in time, and never less than it had at first.
        (0..3 * BATCHES).for_each(|_| batch(&mut pool, 1));
        assert_eq!(pool.wanted, 128);
        (0..9 * BATCHES).for_each(|_| batch(&mut pool, 1));
        assert_eq!((pool.lent, pool.wanted, pool.held()), (64, 64, 448));
    }

    #[test]
    fn what_is_lent_was_used_last() {
        let uring = IoUring::new(8).unwrap();
        let mut pool = pool(&uring);
        (0..10_000).for_each(|number| batch(&mut pool, 1 + number % 32));
        assert_eq!(pool.cold.len(), usize::from(COUNT - HOT_BUFFERS));
        assert!(pool.hot.iter().all(|buffer| *buffer >= 64), "some that were never used before were lent");
    }

    #[test]
    fn after_a_burst_those_in_huge_pages_are_in_turn_again() {
        let uring = IoUring::new(8).unwrap();
        let mut pool = pool(&uring);
        [64, 128, 256, 512].into_iter().for_each(|needed| batch(&mut pool, needed));
        assert_eq!((pool.lent, pool.hot.len()), (512, 0));
        (0..12 * BATCHES).for_each(|_| batch(&mut pool, 1));
        assert_eq!((pool.lent, pool.cold.len()), (64, usize::from(COUNT - HOT_BUFFERS)));
    }

    #[test]
    fn a_pool_of_few_is_lent_as_a_whole() {
        let uring = IoUring::new(8).unwrap();
        let mut pool = Pool::new(&uring, 0, 8, 1_000, 0).unwrap();
        assert_eq!((pool.lent, pool.is_all_lent()), (8, true));
        (0..2 * BATCHES).for_each(|_| batch(&mut pool, 1));
        assert_eq!((pool.lent, pool.held()), (8, 0));
    }
}
