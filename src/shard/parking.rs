//! Messages that wait for an answer of the kernel.

use std::net::SocketAddr;

use crate::engine::SocketId;
use crate::limits;
use crate::metrics::Class;
use crate::net::Now;
use crate::proxy::{Came, Incoming};
use crate::stream::Number;

/// A message that waits.
pub(super) struct Parked {
    /// The socket that it came in on.
    pub socket: SocketId,
    /// The identity of the listener that it came in on: the socket's number may be another's when it goes on.
    pub listener: u32,
    /// Who sent it.
    pub from: SocketAddr,
    /// By which stream.
    pub stream: Number,
    /// Its bytes.
    pub bytes: Box<[u8]>,
    /// What it counts as.
    pub class: Class,
    /// [`Handler::transaction`](super::handler::Handler::transaction)
    pub transaction: u64,
    /// How long it has waited.
    pub stay: Stay,
}

/// A CANCEL whose INVITE waits among these, the first one.
///
/// RFC 3261 §16.10: "If a matching response context is found, the element MUST immediately return a 200 (OK) response to the CANCEL
/// request." That of an INVITE which waits is still to come, and so it waits, too, whoever else may.
pub(super) fn is_first_cancel<'p>(
    waiting: impl Iterator<Item = &'p Parked>,
    transaction: u64,
    incoming: &Incoming<'_>,
) -> bool {
    let mut of_it = waiting.filter(|parked| parked.transaction == transaction).peekable();
    is_cancel(incoming.bytes) && of_it.peek().is_some() && !of_it.any(|parked| is_cancel(&parked.bytes))
}

fn is_cancel(message: &[u8]) -> bool {
    message.trim_ascii_start().starts_with(b"CANCEL ")
}

/// How long a message has waited; none yet when it comes in.
#[derive(Clone, Copy, Default)]
pub(super) struct Stay {
    /// When it came in, if it has waited.
    pub since: Option<Now>,
    /// How often it was decided.
    pub tries: u8,
    /// When it began to wait for a name, if it has.
    pub name_since: Option<Now>,
    /// It waits for no name any more, nor for the kernel where it can go elsewhere.
    pub in_haste: bool,
    /// Another shard received it.
    pub was_handed_over: bool,
}

impl Stay {
    /// It was decided before.
    pub fn is_over_again(self) -> bool {
        self.since.is_some() || self.name_since.is_some() || self.in_haste
    }

    /// How it comes to be handled.
    pub fn came(self) -> Came {
        match self.was_handed_over {
            _ if self.is_over_again() => Came::Again,
            true => Came::FromShard,
            false => Came::In,
        }
    }

    /// It may wait (again). One decision may lead to several questions, with any source and with a bound one.
    pub fn may_go_on(self, now: Now) -> bool {
        self.tries < limits::PARKED_TRIES && self.since.is_none_or(|since| now < deadline(since))
    }
}

fn deadline(since: Now) -> Now {
    since.plus_ns(limits::PARKED_NS)
}

/// A bounded number of them.
#[derive(Default)]
pub(super) struct Parking(Vec<Parked>);

impl Parking {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= limits::PARKED
    }

    pub fn all(&self) -> impl Iterator<Item = &Parked> {
        self.0.iter()
    }

    pub fn push(&mut self, parked: Parked) {
        self.0.push(parked);
    }

    /// When the first of them has waited too long.
    pub fn deadline(&self) -> Option<Now> {
        self.0.iter().filter_map(|parked| parked.stay.since).min().map(deadline)
    }

    /// Takes all out: there may be an answer for any of them.
    pub fn take_all(&mut self) -> Vec<Parked> {
        std::mem::take(&mut self.0)
    }

    /// Takes those out that have waited too long. The others have tries left only for when there is something new.
    pub fn take_due(&mut self, now: Now) -> Vec<Parked> {
        let is_due = |parked: &mut Parked| parked.stay.since.is_some_and(|since| now >= deadline(since));
        self.0.extract_if(.., is_due).collect()
    }
}
