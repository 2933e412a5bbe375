//! Receive buffers: one ring of them for all sockets of a shard, filled by the kernel in order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::address;
use super::memory::Mapping;

/// The only buffer group.
pub const GROUP: u16 = 0;

/// Bytes of `io_uring_recvmsg_out`, which stands before a datagram's source, which stands before its control
/// message, which stands before the datagram itself.
const OUT_BYTES: usize = 16;

/// Bytes of the one control message that is asked for: a header, and when the kernel received the datagram
/// (`SO_TIMESTAMPNS`), in seconds and nanoseconds.
const CONTROL_BYTES: usize = size_of::<libc::cmsghdr>() + size_of::<libc::timespec>();

const _: () = assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<libc::timespec>() == 16);

/// The pool, as a ring that is shared with the kernel.
pub struct Receive {
    /// The ring's entries, and behind them the header of every receive.
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

/// A datagram in a receive buffer.
pub struct Datagram<'b> {
    pub from: SocketAddr,
    pub bytes: &'b [u8],
    pub truncated: bool,
    /// When the kernel received it, in nanoseconds of its real-time clock, if it says so.
    pub received_ns: Option<u64>,
}

impl Receive {
    /// Maps a pool of `count` buffers, a power of two, for datagrams of so many bytes, and gives all of
    /// it to the kernel.
    pub fn new(uring: &IoUring, count: u16, message_bytes: usize) -> io::Result<Self> {
        let buffer_bytes = OUT_BYTES + address::BYTES + CONTROL_BYTES + message_bytes;
        // Not a multiple of a large power of two, so that datagrams do not all land on the same sets of
        // the cache.
        let stride = buffer_bytes.next_multiple_of(64) + 64;
        let entries = usize::from(count) * size_of::<BufRingEntry>();
        let ring = Mapping::new(entries + size_of::<libc::msghdr>())?;
        let buffers = Mapping::new(usize::from(count) * stride)?;
        // SAFETY: the memory behind the entries holds a msghdr, is aligned for one (an entry has 16 bytes),
        // is all zero, which is a valid one (no name, no vectors, no control), and nobody else knows it yet.
        let header = unsafe { &mut *ring.at(entries, size_of::<libc::msghdr>()).cast::<libc::msghdr>() };
        header.msg_namelen = address::BYTES as libc::socklen_t;
        header.msg_controllen = CONTROL_BYTES;
        // SAFETY: the ring's memory is page-aligned and large enough for the entries. The engine unmaps it
        // only when the kernel has ended all receives and given the ring back, or never.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(ring.at(0, entries) as u64, count, GROUP, 0)?;
        }
        let mut this = Self { ring, buffers, buffer_bytes, stride, mask: count - 1, tail: 0, published: 0 };
        for buffer in 0..count {
            this.give_back(buffer);
        }
        this.publish();
        Ok(this)
    }

    /// What every receive asks for: the source's address and when it came.
    pub fn header(&self) -> *const libc::msghdr {
        let entries = (usize::from(self.mask) + 1) * size_of::<BufRingEntry>();
        self.ring.at(entries, size_of::<libc::msghdr>()).cast()
    }

    /// Reads what the kernel put into a buffer; `len` is the completion's result. `None`: no datagram of
    /// an address family that we know.
    ///
    /// # Safety
    /// The kernel has filled this buffer, and it is given back only after the last use of the result.
    #[inline]
    pub unsafe fn read<'b>(&self, buffer: u16, len: usize) -> Option<Datagram<'b>> {
        let len = len.min(self.buffer_bytes);
        let start = self.buffers.at(usize::from(buffer & self.mask) * self.stride, self.buffer_bytes);
        // SAFETY: the memory lies within the pool, is initialised (mapped zero, then written by the
        // kernel), and is written by nobody until the buffer is given back, which the caller vouches for.
        let written: &'b [u8] = unsafe { std::slice::from_raw_parts(start, len) };
        let (out, rest) = written.split_first_chunk::<OUT_BYTES>()?;
        let (from, rest) = rest.split_at_checked(address::BYTES)?;
        let (control, bytes) = rest.split_first_chunk::<CONTROL_BYTES>()?;
        // struct io_uring_recvmsg_out { u32 namelen, controllen, payloadlen, flags }
        let flags = i32::from_ne_bytes([out[12], out[13], out[14], out[15]]);
        let written = u32::from_ne_bytes([out[4], out[5], out[6], out[7]]) as usize;
        Some(Datagram {
            from: address::read(from)?,
            bytes,
            truncated: flags & libc::MSG_TRUNC != 0,
            received_ns: if written == CONTROL_BYTES { received_ns(control) } else { None },
        })
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

/// Reads `struct cmsghdr { size_t len; int level, type; }` and the `struct timespec` behind it.
fn received_ns(control: &[u8; CONTROL_BYTES]) -> Option<u64> {
    let int = |at: usize| control.get(at..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    let long = |at: usize| control.get(at..)?.first_chunk().map(|bytes| i64::from_ne_bytes(*bytes));
    if (int(8)?, int(12)?) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let (seconds, nanoseconds) = (u64::try_from(long(16)?).ok()?, u64::try_from(long(24)?).ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}
