//! What goes into [`super::Transactions`] and what comes out.

use std::ops::Range;

use super::counts::What;
use super::search::{Onward, Terms};
use super::slab::Handle;
use super::table::Place;
use crate::limits::CANDIDATES;
use crate::net::GatewayId;
use crate::tls;
use crate::token::TO_TAG_LEN;

/// What a request is to the transactions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Nothing: it is new, or it is the ACK to a 2xx.
    New,
    /// It came again, or is the ACK to an answer that went back: it goes no further.
    Absorbed,
    /// A CANCEL for one of them, which is answered 200.
    Cancels,
}

/// A request that was decided about and is sent on.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// [`crate::token::TransactionKey`], whole.
    pub key: u128,
    /// Its method; never ACK or CANCEL.
    pub method: &'a [u8],
    /// Where it is answered from and to.
    pub back: Place,
    /// Where it is sent from and to.
    pub onward: Place,
    /// The gateway of a group that it is sent to.
    pub gateway: Option<GatewayId>,
    /// What the branch names it by ([`crate::token::Branch::transaction`]).
    pub branch: u64,
    /// The message that is sent on.
    pub bytes: &'a [u8],
    /// So long, in nanoseconds, its first answer is waited for; at most 64·T1.
    pub patience_ns: u64,
    /// It has waited for the kernel or a name before it was decided about: its 100 waits no longer.
    pub has_waited: bool,
    /// Where there are several next hops.
    pub search: Option<Beginning<'a>>,
}

/// What is needed for the other next hops of a request.
#[derive(Clone, Debug)]
pub struct Beginning<'a> {
    /// Where in [`Opening::bytes`] those lines stand that are written anew for each next hop.
    pub own: Range<usize>,
    /// All next hops in order, the one that it is sent to first.
    pub hops: &'a [Onward],
    /// How they are gone through.
    pub terms: Terms,
}

/// Why a request could not be sent, or its answer cannot come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The connection is not there, has ended, or could not be opened; where TLS failed, why.
    Connection(Option<tls::Cause>),
    /// It has left, and the connection that alone its answer can come by has ended.
    Ended,
    /// It has left, and its connection has broken. Whoever got it may open another one for the answer.
    Broken,
    /// The kernel has refused it with this error number; 0: a larger one.
    Refused(u8),
    /// Anything else: its listener has no socket, there was no room, or ICMP says that it did not arrive.
    Other,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A message is to be sent.
    Send(Send),
    /// A gateway did not answer in time, or could not be sent to.
    Silent(Peer),
    /// A branch is to be begun; see [`super::Transactions::begin`] and [`super::Transactions::cannot_begin`].
    Attempt(Attempt),
}

/// A gateway of a group, and the listener that requests left from to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The gateway.
    pub gateway: GatewayId,
    /// The listener's identity.
    pub listener: u32,
}

/// A request is to be sent to another of its next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The server transaction that it is for.
    pub server: Handle,
    /// Which of the next hops, from 0; [`crate::limits::CANDIDATES`] more where it is tried once more over UDP.
    pub number: u8,
    /// Where to.
    pub onward: Onward,
    /// How it is written.
    pub terms: Terms,
    /// [`Opening::key`]
    pub key: u128,
    /// Where it came in, and where it is answered to.
    pub back: Place,
    /// Length of what all next hops get alike, which is in the output buffer, in bytes.
    pub len: usize,
}

impl Attempt {
    /// Its next hop was to get it over TCP, and gets it over UDP now.
    pub const fn is_again(&self) -> bool {
        self.number as usize >= CANDIDATES
    }
}

/// What a response is to the transactions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// None of theirs: it goes no further (RFC 6026 §8.2).
    Stray,
    /// It goes no further: a 100, one that came again, the answer to a CANCEL.
    Absorbed,
    /// It is kept as it would go back, because others may be better; see [`super::Transactions::kept`].
    Keep {
        /// The server transaction that it may answer.
        server: Handle,
        /// 300 to 699.
        status: u16,
        /// Its challenges are added to those of the best one so far.
        adds: bool,
    },
    /// It goes back, with this status; see [`super::Transactions::forwarded`].
    Forward {
        /// The server transaction that it answers.
        server: Handle,
        /// 101 to 699.
        status: u16,
    },
}

/// A message that a transaction sends by itself; its bytes are in the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// As what.
    pub what: What,
    /// From where and to where.
    pub place: Place,
    /// Its length in bytes.
    pub len: usize,
    /// The client transaction to tell of a failure.
    pub request: Option<Handle>,
}

/// Makes the To tag of an answer to the transaction of this key.
pub type ToTag<'a> = &'a dyn Fn(u128) -> [u8; TO_TAG_LEN];
