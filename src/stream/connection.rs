//! One connection: its layer, its messages, and what time brings it.

use std::net::SocketAddr;
use std::sync::Arc;

use sip_parser::{Message, Start};

use super::awaited::Awaited;
use super::backlog::Backlog;
use super::held::Held;
use super::leads::Key;
use super::unanswered::Unanswered;
use super::unsent::Unsent;
use super::{Came, Framer, Layer, LayerFailure, Scratch, Standing, StreamLimits};
use crate::limits::{LAYER_HANDSHAKE_NS, STREAM_HALF_CLOSED_NS, STREAM_SILENT_NS};
use crate::net::Now;
use crate::tls::{Failure, PeerName, State};

/// A message that was sent, and who is to hear if it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// The shard whose it is.
    pub shard: u16,
    /// What shards keep of a message until then: what it counts as, and its transaction.
    pub cookie: u64,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Identity of the listener that it belongs to.
    pub listener: u32,
    /// The other end; canonical.
    pub peer: SocketAddr,
    /// Where it is counted.
    pub series: u16,
    /// Which of its shard's connections it is, from 1 on: its stream's number is another one's later.
    pub serial: u32,
    /// Between its socket and its messages.
    pub layer: Layer,
    /// Since when its layer has something that is not whole, where it has.
    pub(super) within_since: Now,
    /// Its messages.
    pub framer: Framer,
    /// What has come in while it is paused; `None`: it is not.
    pub(super) backlog: Option<Box<Backlog>>,
    /// Whom the server's certificate has to be for, where it was opened from here over TLS.
    pub(super) name: Option<Arc<PeerName>>,
    /// It was opened from here.
    pub(super) is_ours: bool,
    /// For an answer, whose own connection is gone.
    pub is_back: bool,
    /// It is open: bytes may come in.
    pub(super) is_open: bool,
    /// A message or a keep-alive has come in, or is not waited for.
    pub(super) has_spoken: bool,
    /// The peer sends no more.
    pub(super) is_half_closed: bool,
    /// It is being closed: nothing is sent on it any more.
    pub(super) is_ending: bool,
    /// At once: what was not sent will not be.
    pub(super) is_cut: bool,
    /// Requests that came in by it and have no final answer yet.
    pub(super) unanswered: Unanswered,
    pub(super) unsent: Unsent,
    /// What waits for the end of its handshake.
    pub(super) held: Held,
    /// Requests that have left by it and have no final answer yet.
    pub(super) awaited: Awaited,
    /// The server has not said anything behind its handshake yet: over TLS 1.3 it is heard only then whether it takes our
    /// certificate.
    pub(super) is_unproven: bool,
    /// When it was opened; until then, since when it is to be.
    pub(super) opened: Now,
    /// When anything came or went last.
    pub(super) used: Now,
}

/// What a connection's time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// It was not open in time.
    Connect,
    /// The headers or the body of a message did not come in time.
    Message,
    /// The handshakes of TLS and WebSocket were not over in time.
    Handshake,
    /// The peer takes nothing.
    Stalled,
    /// Nothing came and nothing went.
    Idle,
}

impl Overdue {
    /// The peer has not sent in time what it has begun.
    pub const fn is_of_peer(self) -> bool {
        matches!(self, Self::Message | Self::Handshake)
    }
}

impl Connection {
    /// One that is to be opened, or (`is_open`) that the peer has opened.
    pub fn new(listener: u32, peer: SocketAddr, is_open: bool, now: Now) -> Self {
        Self {
            listener,
            peer,
            series: 0,
            serial: 0,
            layer: Layer::Plain,
            within_since: now,
            framer: Framer::default(),
            backlog: None,
            name: None,
            is_ours: !is_open,
            is_back: false,
            is_open,
            has_spoken: !is_open,
            is_half_closed: false,
            is_ending: false,
            is_cut: false,
            unanswered: Unanswered::default(),
            unsent: Unsent::default(),
            held: Held::default(),
            awaited: Awaited::default(),
            is_unproven: false,
            opened: now,
            used: now,
        }
    }

    /// One that is to be opened over TLS to the server of this name.
    pub fn named(
        listener: u32,
        peer: SocketAddr,
        name: Option<Arc<PeerName>>,
        layer: Layer,
        now: Now,
    ) -> Self {
        Self { name, layer, is_unproven: true, ..Self::new(listener, peer, false, now) }
    }

    /// What it is found by, for what asks for no certain one.
    pub(super) fn key(&self) -> Key {
        Key { listener: self.listener, peer: self.peer, name: self.name.clone() }
    }

    /// It can be sent on.
    pub fn can_send(&self) -> bool {
        !self.is_ending
    }

    /// It was opened from here.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Why it has never been one, where it ends now: its handshake is not over, or was not to the server's liking.
    pub fn unfinished(&self) -> Option<Failure> {
        let session = self.layer.session().filter(|_| self.is_open && !self.is_ending)?;
        let is_unheard = self.is_unproven && !self.awaited.is_empty();
        session.end().err().or(is_unheard.then_some(Failure::Unheard))
    }

    /// Why it is none yet, where its time for that is over: TLS was too slow; `None`: what is above that was, or there is none.
    pub fn too_slow(&self) -> Option<Failure> {
        let session = self.layer.session()?;
        (session.state() == State::Handshaking).then_some(Failure::TooSlow)
    }

    /// Takes what its socket received: [`Layer::receive`]. A server that has said something behind its handshake has taken what
    /// was sent.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        scratch: &mut Scratch,
        now: Now,
    ) -> (Came, Result<Standing, LayerFailure>) {
        let (was_handshaking, was_within) = (self.layer.is_handshaking(), self.layer.is_within());
        let came = self.layer.receive(bytes, scratch);
        // A control frame that has come meanwhile ends no message.
        if !was_within || !scratch.text().is_empty() {
            self.within_since = now;
        }
        if !was_handshaking && !scratch.text().is_empty() {
            self.is_unproven = false;
        }
        came
    }

    /// The server has not said anything behind its handshake: what was sent it has not taken.
    pub fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// Takes out those whose requests have left by it and have no final answer yet.
    pub fn take_awaited(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.awaited).into_waiting()
    }

    /// The peer sends no more: it may wait for answers, and can give none.
    pub fn is_half_closed(&self) -> bool {
        self.is_half_closed
    }

    /// It is open, as far as is known.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The peer has taken it.
    pub fn opened(&mut self, now: Now) {
        (self.is_open, self.opened, self.used) = (true, now, now);
        self.unsent.begins(now);
    }

    /// Bytes have come in.
    pub fn heard(&mut self, now: Now) {
        self.used = now;
    }

    /// What has come in has waited for so many nanoseconds until it was read: that time is not the peer's.
    pub fn waited(&mut self, ns: u64) {
        self.opened = self.opened.plus_ns(ns);
        self.within_since = self.within_since.plus_ns(ns);
        self.framer.waited(ns);
    }

    /// A message or a keep-alive has come in.
    pub fn spoke(&mut self) {
        self.has_spoken = true;
    }

    /// This message has come in. The requests of a connection are counted: [`Connections::came`](super::Connections::came).
    pub(super) fn came(&mut self, message: &Message<'_>, now: Now) {
        self.spoke();
        match message.start() {
            Start::Response(line) if line.code >= 200 => self.awaited.answered(message),
            _ => {
                if let Some(method) = method(message) {
                    self.unanswered.asked(message, method, now);
                }
            }
        }
    }

    /// This message, which has come in, is dropped: nobody answers it.
    pub(super) fn dropped(&mut self, message: &Message<'_>) {
        if let Some(method) = method(message) {
            self.unanswered.dropped(message, method);
        }
    }

    /// Forgets requests that nobody answers any more, on either side.
    pub(super) fn forget_old(&mut self, now: Now) {
        self.unanswered.forget_old(now);
        self.awaited.forget_old(now);
    }

    /// A final answer has gone out; `true`: the peer sends no more and waits for no more either.
    pub(super) fn answered(&mut self, response: &[u8]) -> bool {
        self.unanswered.answered(response);
        self.is_half_closed && self.unanswered.is_empty()
    }

    /// The peer sends no more; `true`: and waits for nothing.
    pub fn half_closed(&mut self, now: Now) -> bool {
        (self.is_half_closed, self.used) = (true, now);
        self.unanswered.is_empty()
    }

    /// Somebody waits to hear of what was written last. `false`: more wait than are kept.
    pub fn waits(&mut self, waiting: Waiting) -> bool {
        self.unsent.waits(waiting)
    }

    /// Somebody waits for the answer to the request that leaves.
    pub fn awaits(&mut self, request: &[u8], waiting: Waiting, now: Now) {
        self.awaited.left(request, waiting, now);
    }

    /// Bytes that it keeps of what is not whole, waits for the end of its handshake, or was not answered.
    pub fn kept_bytes(&self) -> usize {
        let rest = if self.is_ending { 0 } else { self.layer.kept_bytes() + self.unanswered.bytes() };
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.kept_bytes());
        self.framer.kept_bytes() + backlog + self.held.bytes() + rest
    }

    /// Bytes that it takes of what all connections have to be sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        if self.is_cut { 0 } else { self.unsent.bytes() }
    }

    /// What its time has brought by now.
    pub(super) fn overdue(&self, limits: &StreamLimits, now: Now) -> Option<Overdue> {
        let since = |then: Now, ns| now >= then.plus_ns(ns);
        if self.is_ending {
            return None;
        }
        if !self.is_open {
            return since(self.opened, limits.connect_ns).then_some(Overdue::Connect);
        }
        if self.unsent.is_stalled(now) {
            return Some(Overdue::Stalled);
        }
        // It is not read, whatever its peer sends.
        if self.backlog.is_some() {
            return None;
        }
        if self.framer.deadline(limits).is_some_and(|by| now >= by) {
            return Some(Overdue::Message);
        }
        let is_within = self.layer.is_within() && !self.is_half_closed;
        if is_within && since(self.within_since, limits.header_ns + limits.body_ns) {
            return Some(Overdue::Message);
        }
        if since(self.opened, LAYER_HANDSHAKE_NS) && self.layer.is_handshaking() {
            return Some(Overdue::Handshake);
        }
        if !self.has_spoken && since(self.opened, STREAM_SILENT_NS.min(limits.idle_ns)) {
            return Some(Overdue::Idle);
        }
        if self.is_half_closed && self.unanswered.is_empty() {
            return Some(Overdue::Idle);
        }
        let patience = if self.is_half_closed { STREAM_HALF_CLOSED_NS } else { limits.idle_ns };
        since(self.used, patience).then_some(Overdue::Idle)
    }
}

/// Of a request.
fn method<'m>(message: &Message<'m>) -> Option<&'m [u8]> {
    match message.start() {
        Start::Request(line) => Some(message.text(line.method)),
        Start::BadRequest(method, _) => Some(message.text(*method)),
        Start::Response(_) | Start::BadResponse(_) => None,
    }
}

/// What begins the status line of a response.
const VERSION: &[u8] = b"SIP/2.0 ";

pub(super) fn is_response(message: &[u8]) -> bool {
    message.get(..VERSION.len()).is_some_and(|version| version.eq_ignore_ascii_case(VERSION))
}

/// A final response.
pub fn is_final(message: &[u8]) -> bool {
    is_response(message) && matches!(message.get(VERSION.len()), Some(b'2'..=b'6'))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
