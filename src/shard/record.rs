//! What a shard tells the log: fixed-size records through a bounded queue, never a formatted line.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::egress::{NoEgress, Unfit};
use crate::engine::SocketId;
use crate::fib::Route;
use crate::limits;
use crate::metrics::StreamEnd;
use crate::net::NextHop;
use crate::plan::ListenerId;

/// Something an operator should read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// From which shard.
    pub shard: u16,
    /// By which snapshot it decided; listeners are numbered as that snapshot's Plan does.
    pub generation: u64,
    /// What happened.
    pub kind: RecordKind,
}

/// Who opens a connection, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The peer does.
    ByPeer,
    /// We do, for a request.
    ForRequest,
    /// We do, for an answer: the connection that its request came by is gone (RFC 3261 §18.2.2).
    ForAnswer,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RecordKind {
    /// A request found no listener to leave from.
    NoEgress {
        /// Where it came in.
        on: ListenerId,
        /// Where it would have gone.
        next_hop: NextHop,
        /// Why it did not.
        why: NoEgress,
    },
    /// A request left from the listener that `no_listener` names.
    Fallback {
        /// That listener.
        listener: ListenerId,
        /// Where it went.
        next_hop: NextHop,
        /// How it leaves.
        route: Route,
    },
    /// A request left from a listener whose address lives on a loopback or dummy device, because none is on the kernel's source.
    Elsewhere {
        /// That listener.
        listener: ListenerId,
        /// Where it went.
        next_hop: NextHop,
        /// How it leaves.
        route: Route,
    },
    /// Handling a message or a timer panicked.
    Panic {
        /// Where the message came in, and who sent it; none: it was a timer.
        cause: Option<(ListenerId, SocketAddr)>,
        /// What the panic says.
        message: Text<96>,
        /// Where in the code.
        place: Text<64>,
    },
    /// Too many panics: the shard stops.
    TooManyPanics,
    /// A socket failed for good; the engine has closed it.
    SocketLost {
        /// Which one.
        socket: SocketId,
    },
    /// TLS or WebSocket failed on a connection.
    ConnectionFailed {
        /// At which listener.
        on: ListenerId,
        /// Whose it is.
        peer: SocketAddr,
        /// The metric's label of why.
        label: &'static str,
        /// Why, and what to do.
        cause: Text<232>,
    },
    /// A connection was not made.
    NotConnected {
        /// At which listener.
        on: ListenerId,
        /// With whom.
        peer: SocketAddr,
        /// Why not.
        why: StreamEnd,
        /// The kernel's error number; 0: it gave none.
        errno: i32,
        /// Who was to open it, and for what.
        opening: Opening,
    },
    /// ICMP says of a request that it did not arrive.
    Unreached {
        /// Where it was sent to.
        to: SocketAddr,
    },
    /// The kernel drops a part of what begins something at a listener, or does so no more.
    Filtered {
        /// Which listener.
        on: ListenerId,
        /// It does.
        begins: bool,
    },
    /// A socket takes no filter.
    NoFilter {
        /// Of which listener.
        on: ListenerId,
        /// The kernel's error number.
        errno: i32,
    },
    /// The kernel has refused a send.
    SendRefused {
        /// From which listener, if it still has that socket.
        on: Option<ListenerId>,
        /// Where to.
        to: SocketAddr,
        /// The kernel's error number.
        errno: i32,
    },
}

/// Why there is no egress, as far as what is told of it differs: which sort of reason, and the number of the listener that it
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sort {
    /// The reason.
    pub reason: u16,
    /// The listener, section or port; 0: it names none.
    pub named: u16,
}

impl Sort {
    /// There is one, though not one that fits.
    pub const FITS: Self = Self { reason: 0, named: 0 };

    /// Of this reason.
    pub const fn of(why: &NoEgress) -> Self {
        let (reason, named) = match why {
            NoEgress::AutoOff => (1, 0),
            NoEgress::NoListener => (2, 0),
            NoEgress::SourceIsNoListener(_) => (3, 0),
            NoEgress::Kind(_) => (4, 0),
            NoEgress::AskKernel(_) => (5, 0),
            NoEgress::NoAddress(section) => (6, section.0),
            NoEgress::NoSuchListener(_, address) => (7, address.port()),
            NoEgress::Several(_, [listener, _]) => (8, listener.0),
            NoEgress::SourceDown(_, listener, state) => (80 + *state as u16, listener.0),
            NoEgress::NoRoute(why) => (16 + *why as u16, 0),
            NoEgress::Unfit(listener, why) => (Self::unfit(why), listener.0),
        };
        Self { reason, named }
    }

    const fn unfit(why: &Unfit) -> u16 {
        match why {
            Unfit::Family => 32,
            Unfit::Transport => 33,
            Unfit::Link => 34,
            Unfit::Kind(_) => 35,
            Unfit::Device(_) => 36,
            Unfit::AskKernel(_) => 37,
            Unfit::Elsewhere => 38,
            Unfit::Tied => 39,
            Unfit::NoRoute(why) => 48 + *why as u16,
            Unfit::Down(state) => 64 + *state as u16,
        }
    }

    /// As one number.
    pub const fn number(self) -> u32 {
        (self.reason as u32) << 16 | self.named as u32
    }
}

/// Text of bounded length, cut where it is longer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// As much of `text` as fits, cut between characters.
    pub fn new(text: &str) -> Self {
        const { assert!(N <= u8::MAX as usize) };
        let mut len = text.len().min(N);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; N];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self { len: len as u8, bytes }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The queue from all shards to the control thread.
///
/// The reader polls: a shard that pushes wakes nobody, so it makes no system call.
#[derive(Clone)]
pub struct Records(Arc<ArrayQueue<Record>>);

impl Default for Records {
    fn default() -> Self {
        Self(Arc::new(ArrayQueue::new(limits::RECORDS)))
    }
}

impl Records {
    /// Appends a record; false: the queue is full, the record is lost.
    pub fn push(&self, record: Record) -> bool {
        self.0.push(record).is_ok()
    }

    /// Takes the oldest record.
    pub fn pop(&self) -> Option<Record> {
        self.0.pop()
    }
}
