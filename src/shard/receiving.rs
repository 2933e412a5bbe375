//! What comes in by connections: through the layer to the framing, message by message.

use std::net::SocketAddr;

use sip_parser::{Message, parse};

use super::handler::Handler;
use super::lost::Lost;
use super::panics;
use super::parking::Stay;
use super::post::Lane;
use super::worker::{Arrival, Worker};
use crate::drop_reason::DropReason;
use crate::engine::Io;
use crate::metrics::{Class, StreamEnd};
use crate::proxy::Incoming;
use crate::stream::{
    Broken, Came, Connection, Frame, Framer, LayerFailure, Number, Scratch, Standing, StreamId,
};

/// A message of a stream, or what there is of its last one.
struct Framed<'a> {
    bytes: &'a [u8],
    broken: Option<Broken>,
    /// What its framing has read.
    read: Option<&'a Message<'a>>,
}

/// Why bytes were not given to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPut {
    /// Too much waits there already.
    NoRoom,
    /// They cannot be sent, or not as a whole.
    Failed,
}

impl<'a> Framed<'a> {
    /// A message that nobody has read.
    const fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, broken: None, read: None }
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// Bytes have come in; none: the peer sends no more.
    pub(super) fn on_received<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, bytes: &[u8]) {
        if let Some(ns) = io.unread_ns(stream)
            && let Some(connection) = self.streams.get(stream)
        {
            connection.waited(ns);
        }
        if !self.waits_for_room(io, stream, bytes) {
            self.receive(io, stream, bytes);
        }
    }

    /// The same, also where what came in had to wait.
    pub(super) fn receive<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, bytes: &[u8]) {
        let Some(connection) = self.streams.get(stream).filter(|c| c.can_send()) else { return };
        if bytes.is_empty() {
            return self.on_half_closed(io, stream);
        }
        let was_handshaking = connection.layer.is_handshaking();
        let place = (connection.listener, connection.peer);
        let mut scratch = std::mem::take(&mut self.scratch);
        let kept = connection.kept_bytes();
        let (came, standing) = connection.receive(bytes, &mut scratch, self.now);
        let is_open = standing.is_ok() && was_handshaking && !connection.layer.is_handshaking();
        self.streams.received(stream, kept);
        let is_stalled = !scratch.out.is_empty() && !self.put_raw(io, stream, &scratch.out);
        if is_stalled {
            self.say_no_more(stream);
        } else if is_open {
            self.on_handshaken(io, stream);
        }
        if is_stalled || matches!(standing, Ok(Standing::Closed) | Err(_)) {
            self.streams.hide(stream);
        }
        // What came before its end is genuine, whatever ends it.
        self.on_came(io, stream, place, came, bytes, &scratch);
        match standing {
            _ if is_stalled => self.cut_off(io, stream, StreamEnd::Stalled),
            Ok(Standing::Open | Standing::Handshaking) => {}
            Ok(Standing::PeerClosed) => self.on_half_closed(io, stream),
            Ok(Standing::Closed) => self.on_layer_closed(io, stream),
            Err(failure) if self.is_read(stream) => self.on_layer_failed(io, stream, place, &failure),
            Err(_) => {}
        }
        scratch.clear();
        self.scratch = scratch;
    }

    /// What the layer had to say found no room, and behind that gap the peer would understand nothing.
    #[cold]
    fn say_no_more(&mut self, stream: StreamId) {
        if let Some(connection) = self.streams.get(stream) {
            connection.layer.close(&mut self.sealed);
            self.sealed.clear();
        }
    }

    /// Both sides have said that they end it, and nothing can be answered any more.
    ///
    /// RFC 6455 §5.5.1: "After both sending and receiving a Close message, an endpoint considers the WebSocket connection closed
    /// and MUST close the underlying TCP connection. The server MUST close the underlying TCP connection immediately".
    #[cold]
    fn on_layer_closed<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        let Some(connection) = self.streams.get(stream) else { return };
        let lost = Lost::of(connection, None);
        self.tell_lost(io, lost);
        self.finish_stream(io, stream, StreamEnd::Closed);
    }

    /// The peer sends no more.
    fn on_half_closed<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        let now = self.now;
        if self.end_of_handshake(io, stream, Connection::unfinished) {
            return self.finish_stream(io, stream, StreamEnd::LayerFailed);
        }
        let Some(connection) = self.streams.get(stream) else { return };
        let lost = Lost::of(connection, None);
        self.tell_lost(io, lost);
        let Some(connection) = self.streams.get(stream) else { return };
        if connection.half_closed(now) {
            return self.finish_stream(io, stream, StreamEnd::Closed);
        }
        // The rest of a message that has begun will not come; those before it are answered.
        drop(self.streams.take_framer(stream));
        self.streams.hide(stream);
    }

    /// Handles what stands behind the bytes that came in.
    fn on_came<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        place: (u32, SocketAddr),
        came: Came,
        bytes: &[u8],
        scratch: &Scratch,
    ) {
        let text = match came {
            Came::AsIs => bytes,
            Came::Text | Came::Messages => scratch.text(),
        };
        // A record that comes byte by byte is nothing yet; a ping has an answer.
        if (!text.is_empty() || !scratch.out.is_empty())
            && let Some(connection) = self.streams.get(stream)
        {
            connection.heard(self.now);
        }
        match came {
            Came::AsIs | Came::Text => self.on_text(io, stream, place, text),
            Came::Messages => {
                for message in scratch.messages() {
                    if self.is_read(stream) {
                        self.on_whole(io, stream, place, message);
                    }
                }
            }
        }
        self.keep_less(io);
        self.metrics.streams.kept_bytes.set(self.streams.kept_bytes() as u64);
    }

    fn on_text<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        place: (u32, SocketAddr),
        text: &[u8],
    ) {
        let Some(mut framer) = self.streams.take_framer(stream) else { return };
        let broken = self.on_plain(io, stream, place, &mut framer, text);
        if broken {
            self.finish_stream(io, stream, StreamEnd::NotFramed);
        } else {
            self.streams.put_framer(stream, framer);
        }
    }

    /// A WebSocket message: RFC 7118 §5, "Each SIP message MUST be carried within a single WebSocket message". Some clients
    /// send the keep-alives of RFC 5626 §3.5.1 by it, too.
    fn on_whole<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        place: (u32, SocketAddr),
        message: &[u8],
    ) {
        if message.iter().all(|c| matches!(c, b'\r' | b'\n')) {
            self.metrics.streams.pings.count();
            self.pong(io, stream);
        } else {
            let mut lines = std::mem::take(&mut self.lines);
            // What this panics at, so does the proxy, and that is told.
            let read = panics::guard(|| parse(message, &mut lines).ok()).ok().flatten();
            self.on_message(io, stream, place, Framed { read: read.as_ref(), ..Framed::whole(message) });
            self.lines = lines;
        }
    }

    pub(super) fn is_read(&mut self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some_and(|connection| connection.can_send())
    }

    fn pong<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        if let Some(connection) = self.streams.get(stream) {
            connection.spoke();
        }
        if let Err(why) = self.put(io, stream, b"\r\n") {
            // It asks, and takes no answers.
            self.not_put(io, stream, why);
        }
    }

    /// What was to be sent to a peer was not. Where its layer is closed, that says nothing of the peer: what came together with
    /// the end of that layer is handled yet. Nor where it has answers to take: whether it does is seen in time. Gives what that is
    /// counted as.
    #[cold]
    pub(super) fn not_put<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        why: NotPut,
    ) -> DropReason {
        if why == NotPut::NoRoom && self.streams.queues_answers(stream) {
            return DropReason::SendQueueFull;
        }
        if self.streams.get(stream).is_some_and(|connection| !connection.layer.is_closed()) {
            self.cut_off(io, stream, StreamEnd::Stalled);
        }
        DropReason::ConnectionFailed
    }

    /// TLS or WebSocket has failed: the peer is told why, and so is the log.
    pub(super) fn on_layer_failed<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        place: (u32, SocketAddr),
        failure: &LayerFailure,
    ) {
        self.tell_of_failure(io, stream, place, failure);
        self.finish_stream(io, stream, StreamEnd::LayerFailed);
    }

    /// Handles the messages in what came; `true`: there can be no more.
    fn on_plain<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        place: (u32, SocketAddr),
        framer: &mut Framer,
        mut input: &[u8],
    ) -> bool {
        let now = self.now;
        let mut lines = std::mem::take(&mut self.lines);
        let mut is_broken = false;
        // Nothing more is read of a connection that what came by it has ended.
        while self.is_read(stream) {
            let (next, lines) = (&mut *framer, &mut lines);
            let frame = match panics::guard(|| next.next(&mut input, lines, now)) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(caught) => {
                    self.on_panic(io, None, *caught);
                    self.cut_off(io, stream, StreamEnd::NotFramed);
                    break;
                }
            };
            match frame {
                Frame::Ping => {
                    self.metrics.streams.pings.count();
                    self.pong(io, stream);
                }
                Frame::Message(message) => {
                    let message = Framed { read: Some(&message), ..Framed::whole(message.bytes()) };
                    self.on_message(io, stream, place, message);
                }
                Frame::Broken(broken, head) => {
                    is_broken = true;
                    let head = Framed { broken: Some(broken), ..Framed::whole(head) };
                    self.on_message(io, stream, place, head);
                }
            }
        }
        self.lines = lines;
        is_broken
    }

    fn on_message<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        (listener, from): (u32, SocketAddr),
        Framed { bytes, broken, read }: Framed<'_>,
    ) {
        let on = self.current.snapshot.view.by_identity(listener);
        let bound = on.and_then(|on| Some((on, self.current.bindings.bound(on)?)));
        let Some((on, bound)) = bound else { return self.metrics.dropped(DropReason::ListenerGone) };
        let class = Class::of(bytes);
        self.metrics.traffic.received(bound.series, class);
        if self.end.is_some() {
            return self.metrics.dropped(DropReason::Stopping);
        }
        let now = self.now;
        let serial = self.streams.came(stream, read, now);
        let stream = Number::new(self.number, stream).with_serial(serial);
        let incoming = Incoming { bytes, on, from, stream, broken, read };
        let (socket, stay) = (bound.socket, Stay::default());
        let arrival = Arrival { incoming, socket, class, stay, waited_ns: None };
        if self.again.waits_for(self.number, Lane::Arrives) {
            return self.keep_arrival(io, &arrival, self.number, DropReason::NoSendBuffer);
        }
        self.decide(io, &arrival);
    }
}
