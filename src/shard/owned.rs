//! Transactions that this shard owns, and messages of those that others own.

use super::cookie::Cookie;
use super::handler::Handler;
use super::panics;
use super::parking::Stay;
use super::post::{Lane, Letter, NotPosted, Posted, Received, What};
use super::worker::{Arrival, Worker};
use crate::drop_reason::DropReason;
use crate::engine::{Io, SocketId};
use crate::limits;
use crate::net::ListenerId;
use crate::proxy::{Incoming, Own};
use crate::transaction::SendFailure;

impl<S, H: Handler> Worker<S, H> {
    /// Sends what transactions have to send by now, so many messages at most and as long as there are buffers; the
    /// rest waits for the next batch.
    pub(super) fn send_due<I: Io<Source = S>>(&mut self, io: &mut I, at_most: usize) {
        for _ in 0..at_most {
            let tx = if self.handler.is_due(self.now) { io.tx() } else { None };
            let Some(mut tx) = tx else { return };
            let next = panics::guard(|| self.handler.next(&self.current.snapshot, self.now, tx.as_mut()));
            match next {
                Ok(Some(Own { what, gateway, on, to, stream, len, transaction })) => {
                    if let Some(counter) = gateway.and_then(|gateway| self.metrics.selected(gateway)) {
                        counter.count();
                    }
                    let Some(bound) = self.current.bindings.bound(on) else {
                        io.discard(tx);
                        transaction
                            .into_iter()
                            .for_each(|it| self.handler.send_failed(it, SendFailure::Other));
                        continue;
                    };
                    if stream.is_stream() {
                        let way = match what.is_request() {
                            true => self.way_onward(on, to, stream),
                            false => self.way_of(on, to, stream),
                        };
                        self.send_by_stream(io, tx, len, &way, Cookie::Own.with(transaction));
                        continue;
                    }
                    self.send(io, tx, len, bound.socket, to, Cookie::Own.with(transaction));
                }
                Ok(None) => io.discard(tx),
                Err(caught) => {
                    io.discard(tx);
                    self.on_panic(io, None, *caught);
                }
            }
        }
    }

    /// Handles what other shards have for this one; the rest in the next batch.
    pub(super) fn read_post<I: Io<Source = S>>(&mut self, io: &mut I) {
        self.post.lower_bell(self.number);
        // Before the engine has sent it all of it may stand in one connection's queue.
        let mut room = self.streams.queue_bytes() / 2;
        for _ in 0..limits::LET_OUT_PER_BATCH {
            let Some(letter) = self.post.take(self.number, Lane::Leaves) else { break };
            let left = room.checked_sub(letter.bytes.len());
            self.read_letter(io, letter);
            let Some(left) = left else { break };
            room = left;
        }
        for _ in 0..limits::TAKEN_OVER_PER_BATCH {
            if !self.takes_over() {
                return;
            }
            let Some(letter) = self.post.take(self.number, Lane::Arrives) else { return };
            self.read_letter(io, letter);
        }
    }

    /// What arrives may be taken over: nothing waits here for a send buffer, which goes before all of it, and what it leads to
    /// finds room.
    fn takes_over(&self) -> bool {
        !(self.again.waits_for(self.number, Lane::Arrives) || self.again.is_half_full(Lane::Leaves))
    }

    /// The box has something that may be read.
    pub(super) fn has_post(&self) -> bool {
        let has = |lane| !self.post.is_empty(self.number, lane);
        has(Lane::Leaves) || has(Lane::Arrives) && self.takes_over()
    }

    fn read_letter<I: Io<Source = S>>(&mut self, io: &mut I, letter: Letter) {
        let Letter { what, bytes } = letter;
        match what {
            What::Received(received) => self.take_over_message(io, &received, &bytes),
            What::Leaves { way, waiting } => {
                let way = self.as_renamed(way);
                self.leave_by_stream(io, &bytes, &way, waiting);
            }
            What::Accepted { socket, from, accepted } => self.on_accepted(io, socket, from, accepted),
            What::NotSent(transaction, why) => self.handler.send_failed(transaction, why),
            What::Lost(transaction, peer, why) => self.handler.lost(transaction, peer, why),
            What::Unreached(to) => {
                if self.handler.unreached(to, &bytes) {
                    self.tell_unreached(to);
                }
            }
        }
        self.post.give_back(self.number, bytes);
    }

    pub(super) fn take_over_message<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        received: &Received,
        bytes: &[u8],
    ) {
        let Received { socket, listener, from, stream, class, .. } = *received;
        let waited_ns = Some(received.waited_ns(self.now));
        let Some(on) = self.listener_of(socket, listener) else {
            return self.metrics.dropped(DropReason::ListenerGone);
        };
        let incoming = Incoming { stream, ..Incoming::datagram(bytes, on, from) };
        let stay = Stay { was_handed_over: true, ..Stay::default() };
        self.decide(io, &Arrival { incoming, socket, class, stay, waited_ns });
    }

    /// The listener of a message that has waited, if it is still the one that the message came in on.
    pub(super) fn listener_of(&self, socket: SocketId, identity: u32) -> Option<ListenerId> {
        let on = self.current.bindings.listener(socket);
        on.filter(|on| self.current.snapshot.view.by_identity(identity) == Some(*on))
    }

    pub(super) fn hand_over<I: Io<Source = S>>(&mut self, io: &mut I, arrival: &Arrival<'_>, owner: u16) {
        let by_stream = arrival.incoming.stream.is_stream();
        if by_stream && self.again.waits_for(owner, Lane::Arrives) {
            return self.keep_arrival(io, arrival, owner, DropReason::NotHandedOver);
        }
        match self.post.send(owner, arrival.incoming.bytes, What::Received(self.received(arrival))) {
            Ok(Posted::Wake) => io.wake(owner),
            Ok(Posted::Waits) => {}
            Err((NotPosted::NoRoom, _)) if by_stream => {
                return self.keep_arrival(io, arrival, owner, DropReason::NotHandedOver);
            }
            Err((NotPosted::NoRoom, _)) => return self.metrics.dropped(DropReason::NotHandedOver),
            Err((NotPosted::Gone, _)) => {
                self.handler.shard_gone(owner);
                return self.decide(io, arrival);
            }
        }
        self.metrics.handed_over.count();
    }
}
