//! Completions in, sends out. `uring` drives a shard on a core, and so does `glommio` where it is built; `sim` drives
//! many in virtual time.
//!
//! The driver owns the loop and the buffers; a shard is handed a batch of events, acts through [`Io`]
//! and returns its next deadline. Receive buffers go back within the batch; the output is written
//! once into a send buffer that the engine owns until its completion.
//!
//! Streams are the connections of a shard. Their bytes are sent in order from a bounded queue that each has for itself,
//! so that a peer that takes nothing keeps no buffer that a datagram needs.

mod clock;
mod files;
#[cfg(feature = "glommio")]
pub mod glommio;
pub mod icmp;
pub mod sim;
mod slots;
pub mod socket;
mod stamp;
mod streams;
#[cfg(test)]
mod tests;
mod unarmed;
pub mod uring;
mod waker;

pub use waker::{Neighbours, Waker};

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use libc::sock_filter;

use crate::net::Now;
use crate::stream::StreamId;

/// A socket of a shard. The control thread gives the numbers; the sockets of all shards for one
/// listener share one. It survives reloads, which renumber listeners ([`crate::plan::ListenerId`]);
/// the shard maps one to the other by its snapshot. Small, and reused only after it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u16);

/// What a shard can do.
pub trait Io {
    /// Send buffer, [`crate::limits::MESSAGE_BYTES`] long.
    type Tx: AsMut<[u8]>;
    /// What a socket is opened from: a bound socket, or an address of a simulated host.
    type Source: Clone;
    /// Takes a send buffer; `None`: the pool is empty.
    fn tx(&mut self) -> Option<Self::Tx>;
    /// Sends the first `len` bytes. Answered by exactly one [`Event::Sent`] or [`Event::SendFailed`]
    /// that carries the cookie; it may come in a later batch.
    fn send(&mut self, tx: Self::Tx, len: usize, on: SocketId, to: SocketAddr, cookie: u64);
    /// How long the datagram of the event at hand waited between the kernel's receiving it and this batch, in
    /// nanoseconds, if that is known.
    fn waited_ns(&self) -> Option<u64> {
        None
    }
    /// Has the kernel ask this program about each datagram of a socket before it is queued (`SO_ATTACH_FILTER`); none: about
    /// none. What it drops is counted by [`socket::Socket::drops`].
    ///
    /// # Errors
    /// The kernel's error number, positive. The filter that was there is as it was.
    fn filter(&mut self, on: SocketId, program: &[sock_filter]) -> Result<(), i32> {
        let _ = (on, program);
        Err(libc::ENOSYS)
    }
    /// Gives a send buffer back unused.
    fn discard(&mut self, tx: Self::Tx);
    /// Begins to receive on a socket and makes it ready to send from at once. Where that cannot be, it
    /// says [`Event::Closed`]; a number that is in use stays whose it is.
    fn open(&mut self, id: SocketId, source: &Self::Source);
    /// Has another shard of this process, by its number, run a batch soon, even without events.
    fn wake(&mut self, shard: u16);
    /// Reads the socket until it is empty (its datagrams still come as events), then closes it and
    /// says [`Event::Closed`].
    fn close(&mut self, id: SocketId);
    /// Begins to connect from a socket's address, with its mark and device, and a port of the kernel's choice. What
    /// is written meanwhile waits. Answered by [`Event::Connected`] or [`Event::Ended`]. `None`: there are too many
    /// streams, or the system refuses.
    fn connect(&mut self, on: SocketId, to: SocketAddr) -> Option<StreamId> {
        let _ = (on, to);
        None
    }
    /// Makes a connection that a shard of this process has accepted a stream of this one. `None`: as for
    /// [`Io::connect`]; it is closed.
    fn adopt(&mut self, accepted: Accepted) -> Option<StreamId> {
        self.refuse(accepted);
        None
    }
    /// Closes an accepted connection with a reset.
    fn refuse(&mut self, accepted: Accepted) {
        let _ = accepted;
    }
    /// Sends bytes behind all that was written before. [`Event::Wrote`] tells how it goes. `false`: they find no room
    /// ([`crate::limits::STREAM_QUEUE_MOST_BYTES`]), or the stream is over; none of them is sent.
    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        let _ = (stream, bytes);
        false
    }
    /// All streams together have room for so many bytes more. Where they have none, [`Io::reset`] makes some at once.
    fn has_room(&self, bytes: usize) -> bool {
        let _ = bytes;
        true
    }
    /// How long bytes of a stream may have waited for a receive buffer, in nanoseconds: those of the event at hand, or those
    /// that are still to come. `None`: they have not.
    fn unread_ns(&mut self, stream: StreamId) -> Option<u64> {
        let _ = stream;
        None
    }
    /// Reads no more of a stream, so that its peer waits (RFC 9293 §3.8.6). What was read already still comes as events.
    fn pause(&mut self, stream: StreamId) {
        let _ = stream;
    }
    /// Reads a stream that was paused on.
    fn resume(&mut self, stream: StreamId) {
        let _ = stream;
    }
    /// Closes a stream once all is sent; what still comes in is read and thrown away. [`Event::Ended`] follows.
    fn finish(&mut self, stream: StreamId) {
        let _ = stream;
    }
    /// Closes a stream at once, with a reset. [`Event::Ended`] follows.
    fn reset(&mut self, stream: StreamId) {
        let _ = stream;
    }
}

/// A connection that was accepted and is nobody's stream yet: for [`Io::adopt`] or [`Io::refuse`] of any shard of the
/// process. It is closed where it is dropped.
#[derive(Debug)]
pub enum Accepted {
    /// A socket.
    Socket(OwnedFd),
    /// A connection of the simulated network, by its number.
    Simulated(usize),
}

/// What an engine tells a shard.
pub enum Event<'a> {
    /// A datagram came in.
    Datagram {
        /// On which socket.
        on: SocketId,
        /// From where; canonical.
        from: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
        /// It was larger than the buffer.
        truncated: bool,
    },
    /// The kernel took an earlier send.
    Sent {
        /// What the shard gave to [`Io::send`].
        cookie: u64,
    },
    /// An earlier send failed.
    SendFailed {
        /// On which socket.
        on: SocketId,
        /// Where to.
        to: SocketAddr,
        /// The kernel's error number, positive.
        errno: i32,
        /// What the shard gave to [`Io::send`].
        cookie: u64,
    },
    /// A socket is closed, by [`Io::close`] or because it failed for good.
    Closed {
        /// Which one.
        on: SocketId,
    },
    /// Somebody has connected to a socket.
    Accepted {
        /// Which one.
        on: SocketId,
        /// From where; canonical.
        from: SocketAddr,
        /// The connection.
        accepted: Accepted,
    },
    /// A stream that [`Io::connect`] began is open.
    Connected {
        /// Which one.
        stream: StreamId,
    },
    /// Bytes came in on a stream.
    Received {
        /// Which one.
        stream: StreamId,
        /// They; none: the peer sends no more, and may still receive.
        bytes: &'a [u8],
    },
    /// The kernel has taken bytes that were written.
    Wrote {
        /// To which stream.
        stream: StreamId,
        /// How many, behind those of earlier events.
        bytes: usize,
    },
    /// A stream is over: by [`Io::finish`] or [`Io::reset`], or because it failed. Its number may mean another one
    /// from here on.
    Ended {
        /// Which one.
        stream: StreamId,
        /// The kernel's error number, positive; 0: it was asked for.
        errno: i32,
    },
}

/// What an engine drives: one core's work.
pub trait Shard<I: Io> {
    /// A batch begins: one clock reading, one snapshot for all of it. Called at least once a second
    /// and after every wake-up, even without events.
    fn begin(&mut self, io: &mut I, now: Now);
    /// One event of the batch.
    fn on_event(&mut self, io: &mut I, event: Event<'_>);
    /// The batch ends; what the engine shall do next.
    fn end(&mut self, io: &mut I) -> Next;
    /// The driver looks for what comes instead of sleeping, and nothing has come for a while: time for what has no effect. A turn
    /// follows in which nothing may have come, either.
    fn idle(&mut self) {}
}

/// What a shard wants after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for events, or until this instant if there is one.
    Wait(Option<Now>),
    /// The shard is done: sends under way are finished, everything is closed, the loop returns.
    Stop,
}
