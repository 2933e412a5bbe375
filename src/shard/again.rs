//! What finds no room and would not be sent again by anybody, because it came by a connection or leaves by one, or tells what
//! has become of one: it is tried again, in order.

use std::collections::VecDeque;

use super::cookie::Cookie;
use super::handler::Handler;
use super::panics;
use super::post::{Letter, NotPosted, Received, What};
use super::way::Way;
use super::worker::{Arrival, Worker};
use crate::drop_reason::DropReason;
use crate::engine::Io;
use crate::limits::{TOLD_AGAIN, TRIED_AGAIN, TRY_AGAIN_NS};
use crate::net::Now;
use crate::proxy::{Incoming, Outcome};
use crate::stream::Waiting;

/// Letters that found no room, with the shard that each is for.
#[derive(Default)]
pub(super) struct Again {
    letters: VecDeque<(u16, Letter)>,
    /// When they are tried.
    at: Now,
}

impl Again {
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// One for this shard waits, and what comes now goes behind it.
    pub fn waits_for(&self, shard: u16) -> bool {
        self.letters.iter().any(|(to, _)| *to == shard)
    }

    /// When they are tried next.
    pub fn deadline(&self) -> Option<Now> {
        (!self.letters.is_empty()).then_some(self.at)
    }

    /// Keeps a letter to this shard, which may be one's own; `false`: there is no room.
    fn keep(&mut self, to: u16, what: What, bytes: &[u8], now: Now) -> bool {
        let most = if matches!(what, What::NotSent(..) | What::Lost(..)) { TOLD_AGAIN } else { TRIED_AGAIN };
        if self.letters.len() >= most {
            return false;
        }
        if self.letters.is_empty() {
            self.at = now.plus_ns(TRY_AGAIN_NS);
        }
        self.letters.push_back((to, Letter { what, bytes: bytes.to_vec() }));
        true
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// Keeps a message that came by a stream for this shard; where that finds no room either, a request is refused.
    pub(super) fn keep_arrival<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        arrival: &Arrival<'_>,
        to: u16,
        why: DropReason,
    ) {
        // What is broken is not told in a letter, and is the last of its stream.
        let is_whole = arrival.incoming.broken.is_none();
        let what = What::Received(self.received(arrival));
        if !(is_whole && self.keep_letter(to, what, arrival.incoming.bytes)) {
            self.refuse(io, &arrival.incoming, why);
        }
    }

    /// Keeps a letter to try it again; `false`: there is no room.
    pub(super) fn keep_letter(&mut self, to: u16, what: What, bytes: &[u8]) -> bool {
        let is_kept = self.again.keep(to, what, bytes, self.now);
        self.metrics.tried_again.set(self.again.len() as u64);
        is_kept
    }

    /// Tells a shard, which may be this one, what has become of its request, and not before what waits already to be told it: that
    /// may be the answer. Where there is no room at all, the transaction waits for its time.
    pub(super) fn tell<I: Io<Source = S>>(&mut self, io: &mut I, to: u16, what: What) {
        let told = if self.again.waits_for(to) {
            Err((NotPosted::NoRoom, what))
        } else if to == self.number {
            return self.take_letter(io, to, what, &[]);
        } else {
            self.post.send(to, &[], what)
        };
        match told {
            Ok(posted) => self.ring(io, to, posted),
            Err((NotPosted::NoRoom, what)) => {
                if !self.keep_letter(to, what, &[]) {
                    self.metrics.not_told.count();
                }
            }
            // With it has ended what was to hear it.
            Err((NotPosted::Gone, _)) => {}
        }
    }

    pub(super) fn received(&self, arrival: &Arrival<'_>) -> Received {
        let Arrival { incoming: Incoming { on, from, stream, .. }, socket, class, waited_ns, .. } = *arrival;
        let listener = self.current.snapshot.plan.listener(on).identity;
        Received { socket, listener, from, stream, class, waited_ns, since: self.now }
    }

    /// Answers a request with 503; what cannot be answered is dropped for this reason.
    fn refuse<I: Io<Source = S>>(&mut self, io: &mut I, incoming: &Incoming<'_>, why: DropReason) {
        let mut out = std::mem::take(&mut self.refusal);
        let outcome =
            panics::guard(|| self.handler.refuse(&self.current.snapshot, incoming, self.now, &mut out));
        match outcome {
            Ok(Outcome::Answer { to, len, status }) => {
                let way = Way { answers: true, ..self.way_of(incoming.on, to, incoming.stream) };
                let waiting = Waiting { shard: self.number, cookie: Cookie::Answer(status).with(None) };
                self.leave_by_stream(io, out.get(..len).unwrap_or_default(), &way, waiting);
            }
            Ok(_) => self.metrics.dropped(why),
            Err(caught) => {
                self.metrics.dropped(DropReason::Panic);
                self.on_panic(io, Some(incoming), *caught);
            }
        }
        self.refusal = out;
    }

    /// Tries what is kept; what still finds no room stays, and what is behind it.
    pub(super) fn try_again<I: Io<Source = S>>(&mut self, io: &mut I) {
        self.again.at = self.now.plus_ns(TRY_AGAIN_NS);
        for _ in 0..self.again.len() {
            // Else what is handled here would find no send buffer, and go behind the others.
            let Some(tx) = io.tx() else { break };
            io.discard(tx);
            let Some((to, Letter { what, bytes })) = self.again.letters.pop_front() else { break };
            let posted = if to == self.number {
                Err((NotPosted::Gone, what))
            } else {
                self.post.send(to, &bytes, what)
            };
            match posted {
                Ok(posted) => {
                    self.ring(io, to, posted);
                    self.metrics.handed_over.count();
                }
                Err((NotPosted::NoRoom, what)) => {
                    self.again.letters.push_front((to, Letter { what, bytes }));
                    break;
                }
                Err((NotPosted::Gone, what)) => self.take_letter(io, to, what, &bytes),
            }
        }
        self.metrics.tried_again.set(self.again.len() as u64);
    }

    /// What is for this shard, or for one that has ended.
    fn take_letter<I: Io<Source = S>>(&mut self, io: &mut I, to: u16, what: What, bytes: &[u8]) {
        if to != self.number {
            self.handler.shard_gone(to);
        }
        match what {
            What::Received(received) => self.take_over_message(io, &received, bytes),
            What::Leaves { way, waiting } => {
                let way = self.as_renamed(way);
                self.leave_by_stream(io, bytes, &way, waiting);
            }
            What::NotSent(transaction, why) if to == self.number => {
                self.handler.send_failed(transaction, why)
            }
            What::Lost(transaction, peer, why) if to == self.number => {
                self.handler.lost(transaction, peer, why);
            }
            // With that shard has ended what was to hear it; and nothing else is kept.
            What::NotSent(..) | What::Lost(..) | What::Accepted { .. } | What::Unreached(_) => {}
        }
    }
}
