//! Receive buffers: one ring of them for all sockets of a shard, filled by the kernel in order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::{BufRingEntry, RecvMsgOut};

use super::address;
use super::memory::Mapping;
use crate::limits::MESSAGE_BYTES;

/// The only buffer group.
pub const GROUP: u16 = 0;

/// `io_uring_recvmsg_out`, the source address, the datagram. Not a multiple of a large power of two, so
/// that datagrams do not all land on the same sets of the cache.
const BUFFER_BYTES: usize = (16 + address::BYTES + MESSAGE_BYTES).next_multiple_of(64) + 64;

/// The pool, as a ring that is shared with the kernel.
pub struct Receive {
    ring: Mapping,
    buffers: Mapping,
    /// One less than there are buffers, which is a power of two.
    mask: u16,
    tail: u16,
    published: u16,
    /// What every receive asks for: the source's address and no control messages.
    header: Box<libc::msghdr>,
}

/// A datagram in a receive buffer.
pub struct Datagram<'b> {
    pub from: SocketAddr,
    pub bytes: &'b [u8],
    pub truncated: bool,
}

impl Receive {
    /// Maps a pool of `count` buffers, a power of two, and gives all of it to the kernel.
    pub fn new(uring: &IoUring, count: u16) -> io::Result<Self> {
        let ring = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let buffers = Mapping::new(usize::from(count) * BUFFER_BYTES)?;
        // SAFETY: all-zero is a valid msghdr: no name, no vectors, no control.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = address::BYTES as libc::socklen_t;
        // SAFETY: the ring's memory is page-aligned, large enough for the entries, and lives as long as
        // the io_uring instance: the engine drops its ring first.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(ring.at(0) as u64, count, GROUP, 0)?;
        }
        let mut this = Self { ring, buffers, mask: count - 1, tail: 0, published: 0, header };
        for buffer in 0..count {
            this.give_back(buffer);
        }
        this.publish();
        Ok(this)
    }

    pub fn header(&self) -> *const libc::msghdr {
        &raw const *self.header
    }

    /// Reads what the kernel put into a buffer; `len` is the completion's result. `None`: no datagram of
    /// an address family that we know.
    pub fn read(&self, buffer: u16, len: usize) -> Option<Datagram<'static>> {
        let start = usize::from(buffer & self.mask) * BUFFER_BYTES;
        // SAFETY: the kernel has filled this buffer and does not touch it until it is given back, which
        // the engine does only after the event that borrows it; the memory lives as long as the engine.
        let bytes: &'static [u8] =
            unsafe { std::slice::from_raw_parts(self.buffers.at(start), len.min(BUFFER_BYTES)) };
        let out = RecvMsgOut::parse(bytes, &self.header).ok()?;
        let from = address::read(out.name_data())?;
        let truncated = out.is_payload_truncated();
        let payload = out.payload_data();
        let at = payload.as_ptr() as usize - bytes.as_ptr() as usize;
        Some(Datagram { from, bytes: &bytes[at..at + payload.len()], truncated })
    }

    /// Returns a buffer; the kernel sees it after [`Self::publish`].
    pub fn give_back(&mut self, buffer: u16) {
        let slot = usize::from(self.tail & self.mask) * size_of::<BufRingEntry>();
        let start = self.buffers.at(usize::from(buffer & self.mask) * BUFFER_BYTES);
        // SAFETY: the slot lies within the ring and belongs to us until the tail passes it. The entry's
        // last field of slot 0 is the ring's tail, which none of the setters touches.
        let entry = unsafe { &mut *self.ring.at(slot).cast::<BufRingEntry>() };
        entry.set_addr(start as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers that were given back.
    pub fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: the tail lies in the ring's first entry, is aligned for a u16, and is written by us only.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.ring.at(0).cast::<BufRingEntry>()).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }
}
