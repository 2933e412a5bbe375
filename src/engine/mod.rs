//! Completions in, sends out. `uring` drives a shard on a core; `sim` drives many in virtual time.
//!
//! The driver owns the loop and the buffers; a shard is handed a batch of events, acts through [`Io`]
//! and returns its next deadline. Receive buffers go back within the batch; the output is written
//! once into a send buffer that the engine owns until its completion.

use std::net::SocketAddr;

use crate::net::Now;
use crate::plan::ListenerId;

/// A received datagram's buffer: valid until it is released, which happens within the batch.
pub trait Io {
    /// Send buffer, [`crate::limits::MESSAGE_BYTES`] long; `None`: the pool is empty.
    type Tx: AsMut<[u8]>;
    /// Takes a send buffer.
    fn tx(&mut self) -> Option<Self::Tx>;
    /// Sends the first `len` bytes from the listener's socket of this shard.
    fn send(&mut self, tx: Self::Tx, len: usize, on: ListenerId, to: SocketAddr);
    /// Gives a send buffer back unused.
    fn discard(&mut self, tx: Self::Tx);
}

/// What an engine tells a shard.
pub enum Event<'a> {
    /// A datagram came in.
    Datagram {
        /// On which listener.
        on: ListenerId,
        /// From where; canonical.
        from: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
        /// It was larger than the buffer.
        truncated: bool,
    },
    /// An earlier send failed.
    SendFailed {
        /// On which listener.
        on: ListenerId,
        /// Where to.
        to: SocketAddr,
        /// The kernel's error number, positive.
        errno: i32,
    },
}

/// What an engine drives: one core's work.
pub trait Shard {
    /// A batch begins: one clock reading, one snapshot for all of it.
    fn begin(&mut self, now: Now);
    /// One event of the batch.
    fn on_event<I: Io>(&mut self, io: &mut I, event: Event<'_>);
    /// The batch ends; the instant at which the shard wants to run again even if nothing happens.
    fn end<I: Io>(&mut self, io: &mut I) -> Option<Now>;
}
