//! RFC 3261 §16, stateless (§16.11): validate, preprocess, target, forward, respond.
//!
//! Pure: bytes, addresses, a snapshot and `now` go in; an [`Outcome`] and the bytes to send come out.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crate::drop_reason::DropReason;
use crate::egress::{Egress, NoEgress, Question};
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

    /// Fits the state to a snapshot with another Plan, which may renumber listeners and rules: pins
    /// stay (RFC 3261 §16.11), working memory is made anew. Called between batches.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        let _ = snapshot;
        todo!()
    }

    /// What has been counted since the start.
    pub fn tally(&self) -> Tally {
        todo!()
    }

    /// What the message that was handled last led to on its way, besides its [`Outcome`].
    pub fn considered(&self) -> Considered {
        todo!()
    }

    /// Why the message that was handled last found no egress, if that was so: for the log.
    pub fn take_no_egress(&mut self) -> Option<(NextHop, NoEgress)> {
        todo!()
    }
}

/// What a message led to on its way; for `explain`, which tells it also where nothing was forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Considered {
    /// The rule that matched, whatever it does.
    pub rule: Option<RuleId>,
    /// What [`crate::egress`] was asked, also where it found nothing.
    pub question: Option<Question>,
}

/// What a shard's [`State`] has counted since it was made; copied into the metrics after each batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pins held now.
    pub pins: u64,
    /// Messages decided by a pin.
    pub pin_hits: u64,
    /// Pins that were pushed out by newer ones before their time.
    pub pin_evictions: u64,
    /// Transactions in flight that were moved because their listener could no longer send.
    pub egress_moved: u64,
    /// Tokens of our form that did not verify, in Route, Record-Route, Request-URI or Via.
    pub bad_tokens: u64,
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
