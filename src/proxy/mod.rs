//! RFC 3261 §16, stateless (§16.11): validate, preprocess, target, forward, respond.
//!
//! Pure: bytes, addresses, a snapshot and `now` go in; an [`Outcome`] and the bytes to send come out.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crate::drop_reason::DropReason;
use crate::egress::Egress;
use crate::net::{NextHop, Now};
use crate::plan::ListenerId;
use crate::rules::RuleId;
use crate::snapshot::Snapshot;

/// A message as it came in.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The datagram.
    pub bytes: &'a [u8],
    /// On which listener.
    pub on: ListenerId,
    /// From where; canonical.
    pub from: SocketAddr,
}

/// What became of a message; the bytes to send, if any, are in the output buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request goes on.
    Forward { decision: Decision, len: usize },
    /// A response goes back.
    Relay { on: ListenerId, to: SocketAddr, len: usize, status: u16 },
    /// An answer of our own, from the listener that the request came in on.
    Answer { to: SocketAddr, len: usize, status: u16 },
    /// It goes no further.
    Drop(DropReason),
}

/// How a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rule that decided; `None`: a dialog or a pin.
    pub rule: Option<RuleId>,
    /// Where to.
    pub next_hop: NextHop,
    /// From where, and why.
    pub egress: Egress,
    /// Record-Route was written.
    pub record_route: bool,
}

/// What one shard keeps between messages: pins and working memory.
pub struct State {}

impl State {
    /// State for a shard; `shard` is its number, which goes into branches.
    pub fn new(shard: u16, snapshot: &Snapshot) -> Self {
        let _ = (shard, snapshot);
        todo!()
    }
}

/// Handles one message. Allocates nothing on the forwarding path.
pub fn handle(
    state: &mut State,
    snapshot: &Snapshot,
    incoming: &Incoming<'_>,
    now: Now,
    out: &mut [u8],
) -> Outcome {
    let _ = (state, snapshot, incoming, now, out);
    todo!()
}
