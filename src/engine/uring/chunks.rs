//! Receive buffers for streams: small ones, because a stream's bytes are read a piece at a time.

use std::io;

use io_uring::IoUring;

use super::pool::Pool;
use crate::limits::STREAM_BUFFER_BYTES;

/// Their buffer group.
pub const GROUP: u16 = 1;

/// Maps a pool of so many, a power of two, and lends it to the kernel.
pub fn new(uring: &IoUring, count: u16) -> io::Result<Pool> {
    Pool::new(uring, GROUP, count, STREAM_BUFFER_BYTES, 0)
}
