//! Receive buffers for streams: small ones, because a stream's bytes are read a piece at a time.

use std::io;

use io_uring::IoUring;

use super::pool::Pool;
use crate::limits::{STREAM_BUFFER_BYTES, STREAM_BUFFERS};

/// Their buffer group.
pub const GROUP: u16 = 1;

const _: () = assert!(STREAM_BUFFERS.is_power_of_two());

/// Maps the pool and lends it to the kernel.
pub fn new(uring: &IoUring) -> io::Result<Pool> {
    Pool::new(uring, GROUP, STREAM_BUFFERS, STREAM_BUFFER_BYTES, 0)
}
