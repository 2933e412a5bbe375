//! What was decided is sent, and counted as sent once the kernel has taken it.

use std::net::SocketAddr;

use super::cookie::Cookie;
use super::handler::Handler;
use super::record::RecordKind;
use super::way::Way;
use super::worker::{Arrival, Worker};
use crate::drop_reason::DropReason;
use crate::egress::{Reason, Step};
use crate::engine::{Io, SocketId};
use crate::proxy::{Incoming, Outcome};
use crate::stream::StreamId;
use crate::transaction::SendFailure;

/// Sets what is noted of sends that the kernel refuses apart from reasons for no egress ([`super::Sort`]).
const SENDS_REFUSED: u32 = 1 << 31;

impl<S, H: Handler> Worker<S, H> {
    /// Sends what was decided, and counts what is not sent.
    pub(super) fn act<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        tx: I::Tx,
        arrival: &Arrival<'_>,
        outcome: Outcome,
    ) {
        let class = arrival.class;
        let mut peer = None;
        let (listener, to, stream, len, reason, transaction) = match outcome {
            Outcome::Forward { decision, len, transaction } => {
                let egress = decision.egress;
                if let Some(counter) = decision.gateway.and_then(|gateway| self.metrics.selected(gateway)) {
                    counter.count();
                }
                if matches!(egress.reason, Reason::Fallback | Reason::Auto(Step::Elsewhere)) {
                    self.note_fallback(arrival.incoming.on, egress, decision.next_hop);
                }
                let to = decision.next_hop.address;
                (egress.listener, to, decision.stream, len, egress.reason, transaction)
            }
            Outcome::Relay { on, to, stream, peer: mark, len, .. } => {
                peer = Some(mark);
                (on, to, stream, len, Reason::Response, None)
            }
            Outcome::HandOver(owner) => {
                io.discard(tx);
                return self.hand_over(io, arrival, owner);
            }
            // From a socket whose address the host has not, the kernel might send under another host's name.
            Outcome::Answer { .. } if !self.current.snapshot.view.is_up(arrival.incoming.on) => {
                io.discard(tx);
                return self.metrics.dropped(DropReason::ListenerGone);
            }
            Outcome::Answer { to, len, status } if arrival.incoming.stream.is_stream() => {
                let Incoming { on, stream, .. } = arrival.incoming;
                let way = self.way_of(on, to, stream);
                return self.send_by_stream(io, tx, len, &way, Cookie::Answer(status).with(None));
            }
            Outcome::Answer { to, len, status } => {
                return self.send(io, tx, len, arrival.socket, to, Cookie::Answer(status).with(None));
            }
            Outcome::Drop(reason) => {
                io.discard(tx);
                return self.drop_arrived(&arrival.incoming, reason);
            }
        };
        match self.current.bindings.bound(listener) {
            Some(bound) => {
                let cookie = Cookie::Message { series: bound.series, class, reason }.with(transaction);
                if stream.is_stream() {
                    let way = match peer {
                        Some(_) => Way { peer, ..self.way_of(listener, to, stream) },
                        None => self.way_onward(listener, to, stream),
                    };
                    return self.send_by_stream(io, tx, len, &way, cookie);
                }
                self.send(io, tx, len, bound.socket, to, cookie);
            }
            None => {
                io.discard(tx);
                self.metrics.dropped(DropReason::ListenerGone);
                if let Some(transaction) = transaction {
                    self.handler.send_failed(transaction, SendFailure::Other);
                }
            }
        }
    }

    /// Drops what came in. Its connection waits for no answer to it, unless a transaction has taken it in.
    pub(super) fn drop_arrived(&mut self, incoming: &Incoming<'_>, reason: DropReason) {
        self.metrics.dropped(reason);
        if let Some((shard, stream)) = incoming.stream.get()
            && let Some(message) = incoming.read
            && shard == self.number
            && reason != DropReason::Absorbed
        {
            self.streams.dropped(stream, message);
        }
    }

    pub(super) fn send<I: Io>(
        &mut self,
        io: &mut I,
        tx: I::Tx,
        len: usize,
        socket: SocketId,
        to: SocketAddr,
        cookie: u64,
    ) {
        self.in_flight += 1;
        io.send(tx, len, socket, to, cookie);
    }

    pub(super) fn on_sent(&mut self, cookie: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(cookie) = Cookie::unpack(cookie) {
            cookie.count(&self.metrics);
        }
    }

    pub(super) fn on_wrote(&mut self, stream: StreamId, bytes: usize) {
        let Self { streams, metrics, now, .. } = self;
        let waits = streams.took(stream, bytes, *now, |waiting| {
            if let Some(cookie) = Cookie::unpack(waiting.cookie) {
                cookie.count(metrics);
            }
        });
        if waits {
            self.on_taken(stream);
        }
    }

    pub(super) fn on_send_failed(&mut self, socket: SocketId, to: SocketAddr, errno: i32, cookie: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let reason = match errno {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => DropReason::SendQueueFull,
            libc::EMSGSIZE => DropReason::TooLarge,
            libc::EBADF => DropReason::ListenerGone,
            _ => DropReason::SendFailed,
        };
        if Cookie::unpack(cookie) != Some(Cookie::Own) {
            self.metrics.dropped(reason);
        }
        // A full queue is as good as a loss on the way: the transaction sends again.
        if let Some(transaction) = Cookie::transaction(cookie).filter(|_| reason != DropReason::SendQueueFull)
        {
            self.handler.send_failed(transaction, SendFailure::Refused(u8::try_from(errno).unwrap_or(0)));
        }
        if self.noted.is_new(to.ip(), SENDS_REFUSED | errno.unsigned_abs(), self.now) {
            let on = self.current.bindings.listener(socket);
            self.record(RecordKind::SendRefused { on, to, errno });
        }
    }
}
