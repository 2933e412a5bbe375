//! Receive buffers for datagrams: one ring of them for all sockets of a shard, filled by the kernel in order.

use std::io;
use std::net::SocketAddr;

use io_uring::IoUring;

use super::address;
use super::pool::Pool;
use crate::engine::stamp::{CONTROL_BYTES, received_ns};

/// Their buffer group.
pub const GROUP: u16 = 0;

/// Bytes of `io_uring_recvmsg_out`, which stands before a datagram's source, which stands before its control
/// message, which stands before the datagram itself.
const OUT_BYTES: usize = 16;

/// The pool, with the header of every receive.
pub struct Receive {
    pool: Pool,
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
    /// Maps a pool of `count` buffers, a power of two, for datagrams of so many bytes, and lends them to the kernel.
    pub fn new(uring: &IoUring, count: u16, message_bytes: usize) -> io::Result<Self> {
        let buffer_bytes = OUT_BYTES + address::BYTES + CONTROL_BYTES + message_bytes;
        let pool = Pool::new(uring, GROUP, count, buffer_bytes, size_of::<libc::msghdr>())?;
        // SAFETY: the memory behind the entries holds a msghdr, is aligned for one (an entry has 16 bytes),
        // is all zero, which is a valid one (no name, no vectors, no control), and nobody else knows it yet.
        let header = unsafe { &mut *pool.extra(size_of::<libc::msghdr>()).cast::<libc::msghdr>() };
        header.msg_namelen = address::BYTES as libc::socklen_t;
        header.msg_controllen = CONTROL_BYTES;
        Ok(Self { pool })
    }

    /// What every receive asks for: the source's address and when it came.
    pub fn header(&self) -> *const libc::msghdr {
        self.pool.extra(size_of::<libc::msghdr>()).cast()
    }

    /// Reads what the kernel put into a buffer; `len` is the completion's result. `None`: no datagram of
    /// an address family that we know.
    ///
    /// # Safety
    /// The kernel has filled this buffer, and it is given back only after the last use of the result.
    #[inline]
    pub unsafe fn read<'b>(&self, buffer: u16, len: usize) -> Option<Datagram<'b>> {
        // SAFETY: as the caller vouches.
        let written: &'b [u8] = unsafe { self.pool.read(buffer, len) };
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

    /// Tells that a buffer that the kernel has filled is read soon; `len` is the completion's result.
    #[inline]
    pub fn expect(&self, buffer: u16, len: usize) {
        self.pool.expect(buffer, len);
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, buffer: u16) {
        self.pool.give_back(buffer);
    }

    /// A batch is over: lends the kernel what the next one may need.
    pub fn lend(&mut self) {
        self.pool.lend();
    }

    /// The kernel has all buffers there are.
    pub fn is_all_lent(&self) -> bool {
        self.pool.is_all_lent()
    }

    /// Leaves the memory to the process, because the kernel may still write to it.
    pub fn keep(&mut self) {
        self.pool.keep();
    }
}
