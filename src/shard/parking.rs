//! Messages that wait for an answer of the kernel.

use std::net::SocketAddr;

use super::handler::Handler;
use super::worker::{Arrival, Worker};
use crate::engine::SocketId;
use crate::fib::Query;
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

impl Parked {
    /// It is this message, which has come again.
    pub fn is(&self, incoming: &Incoming<'_>) -> bool {
        self.from == incoming.from && *self.bytes == *incoming.bytes
    }
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
    /// It has waited.
    pub fn has_waited(self) -> bool {
        self.since.is_some() || self.name_since.is_some()
    }

    /// It was decided before.
    pub fn is_over_again(self) -> bool {
        self.has_waited() || self.in_haste
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

impl<S, H: Handler> Worker<S, H> {
    /// Keeps the message until the kernel has answered; `false`: it cannot wait.
    pub(super) fn park(&mut self, arrival: &Arrival<'_>, query: Query) -> bool {
        let stay = arrival.stay;
        let may_wait = stay.may_go_on(self.now) && self.stop_by.is_none() && !self.parking.is_full();
        if !may_wait || !self.questions.ask(query) {
            return false;
        }
        let stay = Stay { since: stay.since.or(Some(self.now)), tries: stay.tries + 1, ..stay };
        self.keep_for_kernel(self.parked(arrival, self.handler.transaction(), stay), arrival);
        true
    }

    /// `arrival`: it, as it was until now.
    pub(super) fn keep_for_kernel(&mut self, parked: Parked, arrival: &Arrival<'_>) {
        if arrival.stay.since.is_none() {
            self.metrics.parked.count();
        }
        self.parking.push(parked);
        self.metrics.parked_now.set(self.parking.len() as u64);
    }

    /// A message of this transaction, which waits.
    pub(super) fn parked(&self, arrival: &Arrival<'_>, transaction: u64, stay: Stay) -> Parked {
        let Arrival { incoming, socket, class, .. } = arrival;
        let listener = self.current.snapshot.plan.listener(incoming.on).identity;
        let (bytes, from, stream) = (incoming.bytes.into(), incoming.from, incoming.stream);
        Parked { socket: *socket, listener, from, stream, bytes, class: *class, transaction, stay }
    }
}
