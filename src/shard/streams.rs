//! Connections: what comes in by them, and what leaves by them.
//!
//! A connection lives on the shard that a hash of listener and peer names ([`owner_of`]), whoever opened it. One that
//! another shard accepts is handed over before anything is read of it; a message for one is handed over like a message
//! for a transaction.

use std::net::SocketAddr;

use super::cookie::Cookie;
use super::handler::Handler;
use super::post::{NotPosted, Posted, What};
use super::worker::Worker;
use crate::drop_reason::DropReason;
use crate::engine::{Accepted, Io, SocketId};
use crate::limits;
use crate::metrics::StreamEnd;
use crate::net::{ListenerId, Transport};
use crate::proxy::may_answer_to;
use crate::stream::{
    Connection, Layer, LayerFailure, Number, Overdue, Refused, StreamId, Waiting, owner_of, peer_mark,
};
use crate::tls;

/// Where a message leaves by a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The listener's identity: numbers change.
    pub listener: u32,
    /// Where to, if the stream is gone or any will do.
    pub to: SocketAddr,
    /// By which stream.
    pub stream: Number,
    /// The mark of its peer, where it is not this process alone that knows the stream's number.
    pub peer: Option<u16>,
    /// A final answer goes out: whoever asked waits for one less.
    pub answers: bool,
}

impl<S, H: Handler> Worker<S, H> {
    pub(super) fn way_of(&self, listener: ListenerId, to: SocketAddr, stream: Number) -> Way {
        let listener = self.current.snapshot.plan.listener(listener).identity;
        Way { listener, to, stream, peer: None, answers: false }
    }

    /// Somebody has connected.
    pub(super) fn on_accepted<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        on: SocketId,
        from: SocketAddr,
        accepted: Accepted,
    ) {
        let listener = self.current.bindings.listener(on).filter(|_| self.stop_by.is_none());
        let Some(listener) = listener.map(|id| self.current.snapshot.plan.listener(id).identity) else {
            return io.refuse(accepted);
        };
        let owner = self.owner(listener, from);
        if owner != self.number {
            let what = What::Accepted { socket: on, from, accepted };
            match self.post.send(owner, &[], what) {
                Ok(posted) => self.ring(io, owner, posted),
                Err((_, What::Accepted { accepted, .. })) => {
                    io.refuse(accepted);
                    self.metrics.streams.ended(StreamEnd::TooMany);
                }
                Err(_) => {}
            }
            return;
        }
        if let Err(refused) = self.streams.admit(from.ip()) {
            io.refuse(accepted);
            return self.metrics.streams.ended(match refused {
                Refused::TooMany => StreamEnd::TooMany,
                Refused::TooManyOfPeer => StreamEnd::TooManyOfPeer,
            });
        }
        let Some(stream) = io.adopt(accepted) else {
            return self.metrics.streams.ended(StreamEnd::TooMany);
        };
        self.metrics.streams.accepted.count();
        let layer = self.layer_of(listener);
        self.take_in(stream, Connection::new(listener, from, true, self.now));
        match (layer, self.streams.get(stream)) {
            (Ok(layer), Some(connection)) => connection.layer = layer,
            (Ok(_), None) => {}
            (Err(failure), _) => self.on_layer_failed(io, stream, (listener, from), &failure),
        }
    }

    /// What is between the sockets of a listener, by identity, and its messages.
    fn layer_of(&self, listener: u32) -> Result<Layer, LayerFailure> {
        let snapshot = &self.current.snapshot;
        let Some(on) = snapshot.view.by_identity(listener) else {
            return Err(tls::Failure::Own("the listener is gone".to_owned()).into());
        };
        let listener = snapshot.plan.listener(on);
        let section = snapshot.plan.section(listener.section);
        Layer::accept(listener.transport, section.tls.as_ref().map(|tls| &tls.server))
    }

    fn take_in(&mut self, stream: StreamId, connection: Connection) {
        let first = self.streams.is_empty();
        self.streams.insert(stream, connection);
        if first {
            self.look_at_streams = self.now.plus_ns(self.streams.look_after_ns());
        }
        self.metrics.streams.open.set(self.streams.len() as u64);
    }

    /// The shard that a connection lives on; that of one that has ended is whichever asks.
    fn owner(&self, listener: u32, peer: SocketAddr) -> u16 {
        let owner = owner_of(listener, peer, self.post.shards()).unwrap_or(self.number);
        if self.post.is_gone(owner) { self.number } else { owner }
    }

    pub(super) fn ring<I: Io<Source = S>>(&self, io: &mut I, shard: u16, posted: Posted) {
        if posted == Posted::Wake {
            io.wake(shard);
        }
    }

    pub(super) fn on_connected(&mut self, stream: StreamId) {
        if let Some(connection) = self.streams.get(stream) {
            connection.opened(self.now);
            self.metrics.streams.connected.count();
        }
    }

    /// Sends the first `len` bytes of the buffer by a stream. It is counted once the kernel has taken it, or where that fails,
    /// which whoever has the transaction is told.
    pub(super) fn send_by_stream<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        mut tx: I::Tx,
        len: usize,
        way: &Way,
        cookie: u64,
    ) {
        let waiting = Waiting { shard: self.number, cookie };
        let bytes = tx.as_mut().get(..len).unwrap_or_default();
        let way = Way { answers: is_final(bytes), ..*way };
        self.leave_by_stream(io, bytes, &way, waiting);
        io.discard(tx);
    }

    /// A message leaves: by its stream, else by one of the listener with that peer, which is opened where there is none.
    pub(super) fn leave_by_stream<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        bytes: &[u8],
        way: &Way,
        waiting: Waiting,
    ) {
        let is_answer = way.stream.get().is_some();
        let any = Way { stream: if is_answer { Number::ANY } else { way.stream }, ..*way };
        if let Some((shard, stream)) = way.stream.get() {
            if shard != self.number && !self.post.is_gone(shard) {
                return self.hand_on(io, shard, bytes, way, waiting);
            }
            // The peer's address and port guard against the number's next user.
            let nonce = self.nonce;
            let is_it = |c: &mut Connection| {
                let is_peer = way.peer.is_none_or(|mark| mark == peer_mark(nonce, c.peer));
                is_peer && c.can_send() && c.listener == way.listener && c.peer.ip() == way.to.ip()
            };
            if shard == self.number && self.streams.get(stream).is_some_and(is_it) {
                return self.write(io, stream, bytes, way, waiting);
            }
        }
        // A request goes where was decided; an answer that has lost its stream goes where a Via says.
        if is_answer && !self.may_answer(way) {
            return self.not_sent(io, waiting, DropReason::ForbiddenResponseTarget);
        }
        let owner = self.owner(way.listener, way.to);
        if owner != self.number {
            return self.hand_on(io, owner, bytes, &any, waiting);
        }
        match self.streams.with(way.listener, way.to, any.stream).or_else(|| self.connect(io, way)) {
            Some(stream) => self.write(io, stream, bytes, &any, waiting),
            None => self.not_sent(io, waiting, DropReason::ConnectionFailed),
        }
    }

    fn may_answer(&self, way: &Way) -> bool {
        let snapshot = &self.current.snapshot;
        let on = snapshot.view.by_identity(way.listener);
        on.is_some_and(|on| may_answer_to(snapshot, on, way.to))
    }

    fn hand_on<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        shard: u16,
        bytes: &[u8],
        way: &Way,
        waiting: Waiting,
    ) {
        // Whoever waits is told, and has others to go to; of anything else nobody would hear.
        let may_wait = Cookie::transaction(waiting.cookie).is_none();
        let what = What::Leaves { way: *way, waiting };
        let posted = match may_wait && self.again.waits_for(shard) {
            true => Err((NotPosted::NoRoom, what)),
            false => self.post.send(shard, bytes, what),
        };
        match posted {
            Ok(posted) => {
                self.ring(io, shard, posted);
                self.metrics.handed_over.count();
            }
            Err((why, what)) => {
                let is_kept = may_wait && why == NotPosted::NoRoom && self.keep_letter(shard, what, bytes);
                if !is_kept {
                    self.not_sent(io, waiting, DropReason::NotHandedOver);
                }
            }
        }
    }

    fn connect<I: Io<Source = S>>(&mut self, io: &mut I, way: &Way) -> Option<StreamId> {
        let snapshot = &self.current.snapshot;
        let on = snapshot.view.by_identity(way.listener).filter(|on| snapshot.view.is_up(*on))?;
        // Over TLS it is not known who has to answer there, and who is there over WebSocket waits for no connection.
        if !matches!(snapshot.plan.listener(on).transport, Transport::Udp | Transport::Tcp) {
            self.metrics.streams.ended(StreamEnd::ConnectFailed);
            return None;
        }
        let bound = self.current.bindings.bound(on)?;
        if self.streams.may_open(way.to.ip()).is_err() {
            self.metrics.streams.ended(StreamEnd::TooMany);
            return None;
        }
        let Some(stream) = io.connect(bound.socket, way.to) else {
            self.metrics.streams.ended(StreamEnd::ConnectFailed);
            return None;
        };
        self.take_in(stream, Connection::new(way.listener, way.to, false, self.now));
        Some(stream)
    }

    fn write<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        bytes: &[u8],
        way: &Way,
        waiting: Waiting,
    ) {
        if !self.put(io, stream, bytes) {
            self.cut_off(io, stream, StreamEnd::Stalled);
            return self.not_sent(io, waiting, DropReason::ConnectionFailed);
        }
        let Some(connection) = self.streams.get(stream) else { return };
        let kept = connection.waits(waiting);
        let over = way.answers && way.stream.get().is_some() && connection.answered(bytes);
        if !kept {
            self.cut_off(io, stream, StreamEnd::Stalled);
            self.not_sent(io, waiting, DropReason::ConnectionFailed);
        } else if over {
            self.finish_stream(io, stream, StreamEnd::Closed);
        }
    }

    /// Bytes for the peer, through the connection's layer; `false`: they find no room, or cannot be sent.
    pub(super) fn put<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, text: &[u8]) -> bool {
        self.make_room(io, text.len());
        let Some(connection) = self.streams.get(stream).filter(|c| c.can_send()) else { return false };
        let mut written = 0;
        let is_put = connection.layer.send(text, &mut self.sealed, |bytes| {
            let is_written = io.write(stream, bytes);
            written += if is_written { bytes.len() } else { 0 };
            is_written
        });
        self.streams.wrote(stream, written, self.now);
        is_put
    }

    /// Bytes of the layer's own; `false`: they find no room.
    pub(super) fn put_raw<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, bytes: &[u8]) -> bool {
        self.make_room(io, bytes.len());
        let is_written = io.write(stream, bytes);
        if is_written {
            self.streams.wrote(stream, bytes.len(), self.now);
        }
        is_written
    }

    /// Where all that waits to be sent takes what it may, those pay that take most of it, not whoever writes next.
    fn make_room<I: Io<Source = S>>(&mut self, io: &mut I, bytes: usize) {
        if io.has_room(bytes) {
            return;
        }
        for stream in self.streams.most_unsent() {
            if io.has_room(limits::STREAM_QUEUES_BYTES / limits::STREAM_SPARE) {
                return;
            }
            if self.streams.cut_short(stream) {
                io.reset(stream);
            } else {
                self.cut_off(io, stream, StreamEnd::Stalled);
            }
        }
    }

    /// The same for what is kept of messages that are not whole.
    pub(super) fn keep_less<I: Io<Source = S>>(&mut self, io: &mut I) {
        if !self.streams.keeps_too_much(false) {
            return;
        }
        for stream in self.streams.most_kept() {
            if !self.streams.keeps_too_much(true) {
                return;
            }
            self.cut_off(io, stream, StreamEnd::NoMemory);
        }
    }

    /// A message has not left: it is counted, and its transaction is told.
    fn not_sent<I: Io<Source = S>>(&mut self, io: &mut I, waiting: Waiting, why: DropReason) {
        let Waiting { shard, cookie } = waiting;
        // What transactions send by themselves is theirs to count.
        if Cookie::unpack(cookie) != Some(Cookie::Own) {
            self.metrics.dropped(why);
        }
        let Some(handle) = Cookie::transaction(cookie) else { return };
        if shard == self.number {
            return self.handler.send_failed(handle);
        }
        // Where it finds no room, the transaction waits for its time.
        if let Ok(posted) = self.post.send(shard, &[], What::NotSent(handle)) {
            self.ring(io, shard, posted);
        }
    }

    pub(super) fn on_wrote(&mut self, stream: StreamId, bytes: usize) {
        let Self { streams, metrics, now, .. } = self;
        streams.took(stream, bytes, *now, |waiting| {
            if let Some(cookie) = Cookie::unpack(waiting.cookie) {
                cookie.count(metrics);
            }
        });
    }

    /// The engine has closed a stream, which is told once.
    pub(super) fn on_ended<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, errno: i32) {
        let Some((connection, waiting)) = self.streams.remove(stream) else { return };
        self.metrics.streams.open.set(self.streams.len() as u64);
        self.metrics.streams.kept_bytes.set(self.streams.kept_bytes() as u64);
        if connection.can_send() {
            self.metrics.streams.ended(match (errno, connection.is_open()) {
                (_, false) => StreamEnd::ConnectFailed,
                (0, true) => StreamEnd::Closed,
                (_, true) => StreamEnd::Broken,
            });
        }
        for waiting in waiting {
            self.not_sent(io, waiting, DropReason::ConnectionFailed);
        }
    }

    /// Closes a connection once all is sent.
    pub(super) fn finish_stream<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, how: StreamEnd) {
        let Some(connection) = self.streams.get(stream).filter(|c| c.can_send()) else { return };
        let mut sealed = std::mem::take(&mut self.sealed);
        connection.layer.close(&mut sealed);
        if !sealed.out.is_empty() {
            // Where it finds no room, the end alone has to say it.
            self.put_raw(io, stream, &sealed.out);
            sealed.clear();
        }
        self.sealed = sealed;
        let how = self.was_it_open(stream, how);
        if self.streams.ends(stream, false) {
            self.metrics.streams.ended(how);
            io.finish(stream);
        }
    }

    /// Closes a connection at once.
    pub(super) fn cut_off<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, how: StreamEnd) {
        let how = self.was_it_open(stream, how);
        if self.streams.ends(stream, true) {
            self.metrics.streams.ended(how);
            io.reset(stream);
        }
    }

    /// The shard stops: closes all connections in good order, so that what was sent last arrives; `true`: they are closed.
    pub(super) fn no_streams_left<I: Io<Source = S>>(&mut self, io: &mut I) -> bool {
        for stream in self.streams.alive() {
            self.finish_stream(io, stream, StreamEnd::Closed);
        }
        self.streams.is_empty()
    }

    /// How a connection ends: one that has never been open has no other end than that.
    fn was_it_open(&mut self, stream: StreamId, how: StreamEnd) -> StreamEnd {
        match self.streams.get(stream) {
            Some(connection) if how.was_open() && !connection.is_open() => StreamEnd::ConnectFailed,
            _ => how,
        }
    }

    /// Closes connections whose time is over, and those of listeners that are no more.
    pub(super) fn end_overdue_streams<I: Io<Source = S>>(&mut self, io: &mut I) {
        self.look_at_streams = self.now.plus_ns(self.streams.look_after_ns());
        let snapshot = &self.current.snapshot;
        let overdue =
            self.streams.overdue(self.now, |listener| snapshot.view.by_identity(listener).is_some());
        for (stream, why) in overdue {
            match why {
                Overdue::Connect => self.cut_off(io, stream, StreamEnd::ConnectTimeout),
                Overdue::Stalled => self.cut_off(io, stream, StreamEnd::Stalled),
                Overdue::Message | Overdue::Handshake => self.cut_off(io, stream, StreamEnd::TooSlow),
                Overdue::Idle => self.finish_stream(io, stream, StreamEnd::Idle),
            }
        }
    }
}

/// A final response.
fn is_final(bytes: &[u8]) -> bool {
    matches!(bytes.strip_prefix(b"SIP/2.0 "), Some([b'2'..=b'6', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_response_is_told_by_its_first_digit() {
        assert!(is_final(b"SIP/2.0 200 OK") && is_final(b"SIP/2.0 603 Decline"));
        assert!(!is_final(b"SIP/2.0 180 Ringing") && !is_final(b"BYE sip:x SIP/2.0") && !is_final(b""));
    }
}
