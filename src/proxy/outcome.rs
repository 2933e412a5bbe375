//! What goes into [`super::handle`] and what comes out.

use std::net::SocketAddr;

use sip_parser::Message;

use crate::drop_reason::DropReason;
use crate::egress::{Exit, Question};
use crate::net::{GatewayId, ListenerId, NextHop, Transport};
use crate::overload::Excesses;
use crate::plan::Listener;
use crate::rules::{Mode, RuleId};
use crate::stream::{Broken, Number};
use crate::transaction::{Counts, Handle, What};

use super::reply::Reply;

/// A message as it came in.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The datagram, or the message of a stream.
    pub bytes: &'a [u8],
    /// On which listener.
    pub on: ListenerId,
    /// From where; canonical.
    pub from: SocketAddr,
    /// The stream that it came by, which its answer goes back by.
    pub stream: Number,
    /// It is the last of its stream, and only its beginning: it is answered so.
    pub broken: Option<Broken>,
    /// What was read of these bytes already: a stream's framing does that.
    pub read: Option<&'a Message<'a>>,
}

impl<'a> Incoming<'a> {
    /// A datagram.
    pub const fn datagram(bytes: &'a [u8], on: ListenerId, from: SocketAddr) -> Self {
        Self { bytes, on, from, stream: Number::NONE, broken: None, read: None }
    }

    /// What was read of its bytes, and of no others.
    pub(super) fn read(&self) -> Option<&'a Message<'a>> {
        self.read.filter(|message| std::ptr::eq(message.bytes(), self.bytes))
    }

    /// A message that came in on this listener, by some stream where it has those.
    pub fn on(bytes: &'a [u8], on: &Listener, from: SocketAddr) -> Self {
        let stream = if on.transport == Transport::Udp { Number::NONE } else { Number::ANY };
        Self { stream, ..Self::datagram(bytes, on.id, from) }
    }
}

/// What became of a message; the bytes to send, if any, are in the output buffer. Each outcome is
/// counted exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request goes on.
    Forward {
        /// How it leaves.
        decision: Decision,
        /// Length of the message in the output buffer, in bytes.
        len: usize,
        /// The transaction that is kept of it, which is to be told where the send fails.
        transaction: Option<Handle>,
    },
    /// A response goes back.
    Relay {
        /// By which listener: the one that its request came in on.
        on: ListenerId,
        /// Where to.
        to: SocketAddr,
        /// By which stream, while that is there.
        stream: Number,
        /// The mark of its peer: another one may have its number.
        peer: u16,
        /// Length of the message in the output buffer, in bytes.
        len: usize,
        /// 100 to 699.
        status: u16,
    },
    /// An answer of our own, from the listener that the request came in on, and by the same stream.
    Answer {
        /// Where to.
        to: SocketAddr,
        /// Length of the message in the output buffer, in bytes.
        len: usize,
        /// 200 to 699; [`Considered::reply`] says why.
        status: u16,
    },
    /// It belongs to a transaction of this shard, which handles it.
    HandOver(u16),
    /// It goes no further.
    Drop(DropReason),
}

/// A message that a transaction sends by itself; its bytes are in the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// As what.
    pub what: What,
    /// The gateway of a group that it is a first request to.
    pub gateway: Option<GatewayId>,
    /// By which listener.
    pub on: ListenerId,
    /// Where to.
    pub to: SocketAddr,
    /// By which stream, while that is there.
    pub stream: Number,
    /// Its length in bytes.
    pub len: usize,
    /// The transaction that is to be told where the send fails.
    pub transaction: Option<Handle>,
}

/// How a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rule that decided; `None`: a dialog or a pin.
    pub rule: Option<RuleId>,
    /// Where to.
    pub next_hop: NextHop,
    /// By which stream.
    pub stream: Number,
    /// By that one because it is large (RFC 3261 §18.1.1).
    pub by_size: bool,
    /// The gateway of a group that it is; `None`: none, or an earlier decision about the transaction stands.
    pub gateway: Option<GatewayId>,
    /// From where, and why.
    pub egress: Exit,
    /// Record-Route was written.
    pub record_route: bool,
    /// Whether a transaction is kept of it.
    pub mode: Mode,
}

/// What a message led to on its way, besides its [`Outcome`]; for `explain`, which tells it also where
/// nothing was forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Considered {
    /// The identity of the listener that a valid dialog token names.
    pub dialog: Option<u32>,
    /// The rule that matched, whatever it does.
    pub rule: Option<RuleId>,
    /// What [`crate::egress`] was asked, also where it found nothing.
    pub question: Option<Question>,
    /// What was answered, and why; also for an ACK, which gets no answer.
    pub reply: Option<Reply>,
}

/// What a shard's [`super::State`] has counted since it was made; copied into the metrics after each
/// batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pins held now.
    pub pins: u64,
    /// Messages decided by a pin.
    pub pin_hits: u64,
    /// Pins that were pushed out by newer ones before their time.
    pub pin_evictions: u64,
    /// Transactions in flight that were moved because their listener could no longer send, and dialogs
    /// whose listener is gone or could not.
    pub egress_moved: u64,
    /// Tokens of our form that did not verify, in Route, Request-URI or Via.
    pub bad_tokens: u64,
    /// Requests to a group of which no gateway was up.
    pub last_resorts: u64,
    /// Requests that were not let in.
    pub refused: Excesses,
    /// Sources whose share of a limit was forgotten before its time.
    pub sources_forgotten: u64,
    /// More comes than can be handled.
    pub overloaded: bool,
    /// Next hops that a request was not sent to because they had asked to be sent less.
    pub spared: u64,
    /// Answers in which a next hop asked for that.
    pub pleas: u64,
    /// Some next hop asks for it now.
    pub throttled: bool,
    /// What became of names.
    pub names: NameCounts,
    /// What transactions have counted.
    pub transactions: Counts,
}

/// What became of host names that requests lead to, `[hosts]` apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// Led to servers.
    pub found: u64,
    /// Of those, by an answer whose time is over and that no server could tell anew.
    pub stale: u64,
}

#[cfg(test)]
mod tests {
    use sip_parser::{HeaderLine, parse};

    use super::*;

    /// Who decides and who forwards go by one text.
    #[test]
    fn what_was_read_of_other_bytes_is_not_taken() {
        let text = b"OPTIONS sip:x SIP/2.0\r\nl: 0\r\n\r\n".to_vec();
        let (mut lines, same) = ([HeaderLine::EMPTY; 4], text.clone());
        let message = parse(&text, &mut lines).unwrap();
        let incoming = Incoming {
            read: Some(&message),
            ..Incoming::datagram(&text, ListenerId(0), "192.0.2.1:5060".parse().unwrap())
        };
        assert!(incoming.read().is_some());
        for bytes in [&same[..], &text[..text.len() - 1], &text[1..]] {
            assert!(Incoming { bytes, ..incoming }.read().is_none());
        }
    }
}
