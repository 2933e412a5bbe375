//! Connections: what comes in by them, and what leaves by them.
//!
//! A connection lives on the shard that a hash of listener and peer names ([`owner_of`]), whoever opened it. One that
//! another shard accepts is handed over before anything is read of it; a message for one is handed over like a message
//! for a transaction.

use std::net::SocketAddr;

use super::cookie::Cookie;
use super::handler::Handler;
use super::lost::Lost;
use super::post::{Lane, NotPosted, Posted, What};
use super::receiving::NotPut;
use super::secure::Beginning;
use super::unconnected::{cause as cause_of, too_many};
use super::way::Way;
use super::worker::Worker;
use crate::drop_reason::DropReason;
use crate::engine::{Accepted, Io, SocketId};
use crate::limits;
use crate::metrics::{SeriesId, StreamEnd};
use crate::proxy::may_answer_to;
use crate::stream::{
    Connection, Layer, LayerFailure, Overdue, StreamId, Waiting, is_final, owner_of, peer_mark,
};
use crate::tls::{Cause, Failure};
use crate::transaction::SendFailure;

impl<S, H: Handler> Worker<S, H> {
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
                    self.not_accepted((listener, from), StreamEnd::TooMany);
                }
                Err(_) => {}
            }
            return;
        }
        if let Err(refused) = self.streams.admit(from.ip()) {
            io.refuse(accepted);
            return self.not_accepted((listener, from), too_many(refused));
        }
        let Some(stream) = io.adopt(accepted) else {
            return self.not_accepted((listener, from), StreamEnd::TooMany);
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
            return Err(Failure::Own("the listener is gone".to_owned()).into());
        };
        let listener = snapshot.plan.listener(on);
        let section = snapshot.plan.section(listener.section);
        let layer = Layer::accept(listener.transport, section.tls.as_ref().map(|tls| &tls.server))?;
        Ok(match &section.origins {
            Some(origins) => layer.of_origins(origins),
            None => layer,
        })
    }

    fn take_in(&mut self, stream: StreamId, mut connection: Connection) {
        let on = self.current.snapshot.view.by_identity(connection.listener);
        let bound = on.and_then(|on| self.current.bindings.bound(on));
        let series = bound.map_or(SeriesId::OTHER, |bound| bound.series);
        self.metrics.traffic.connected(series);
        connection.series = series.0;
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
        let way = Way { answers: is_final(bytes), ..way.clone() };
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
        if let Some((shard, stream)) = way.stream.get() {
            if shard != self.number && !self.post.is_gone(shard) {
                return self.hand_on(io, shard, bytes, way, waiting);
            }
            // The peer's address and port guard against the number's next user. An answer may be for another port of the peer's:
            // that of its Via, so that the mark has to do.
            let nonce = self.nonce;
            let is_it = |c: &mut Connection| {
                let is_peer = way.peer.is_none_or(|mark| mark == peer_mark(nonce, c.peer));
                let is_port = !way.is_flow || (c.peer.port() == way.to.port() && !c.is_half_closed());
                let is_client = is_peer && is_port && way.stream.may_be(c.serial);
                let is_open = c.can_send() && !c.layer.is_closed();
                is_client && is_open && c.listener == way.listener && c.peer.ip() == way.to.ip()
            };
            if shard == self.number && self.streams.get(stream).is_some_and(is_it) {
                return self.write(io, stream, bytes, way, waiting);
            }
        }
        if way.is_flow {
            return self.not_sent(io, waiting, DropReason::ConnectionFailed, None);
        }
        // A request goes where was decided; an answer that has lost its stream goes where a Via says.
        if is_answer && !self.may_answer(way) {
            return self.not_sent(io, waiting, DropReason::ForbiddenResponseTarget, None);
        }
        let back = is_answer.then(|| self.way_back(way, bytes));
        let way = back.as_ref().unwrap_or(way);
        let owner = self.owner(way.listener, way.to);
        if owner != self.number {
            return self.hand_on(io, owner, bytes, way, waiting);
        }
        let found = match self.streams.with(way.listener, way.to, way.name.as_ref(), way.stream) {
            Some(stream) => Ok(stream),
            None => self.connect(io, way),
        };
        match found {
            Ok(stream) => self.write(io, stream, bytes, way, waiting),
            Err(cause) => self.not_begun(io, waiting, cause),
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
        // Behind what waits for that shard all wait: a BYE is not to overtake the ACK before it.
        let is_behind = self.again.waits_for(shard, Lane::Leaves);
        let may_wait =
            is_behind || !self.again.is_half_full(Lane::Leaves) || has_no_other_way(bytes, waiting);
        let what = What::Leaves { way: way.clone(), waiting };
        let posted = match is_behind {
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
                    self.not_sent(io, waiting, DropReason::NotHandedOver, None);
                }
            }
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// None can be; of TLS, why.
    fn connect<I: Io<Source = S>>(&mut self, io: &mut I, way: &Way) -> Result<StreamId, Option<Cause>> {
        let snapshot = &self.current.snapshot;
        let on = snapshot.view.by_identity(way.listener).filter(|on| snapshot.view.is_up(*on)).ok_or(None)?;
        let bound = self.current.bindings.bound(on).ok_or(None)?.socket;
        let between = (way.listener, way.to);
        if let Err(refused) = self.streams.may_open(way.to.ip()) {
            self.not_connected(between, too_many(refused), 0, way.is_back);
            return Err(None);
        }
        let Beginning { mut connection, hello } = self.beginning(on, way).map_err(|failure| {
            self.metrics.streams.ended(StreamEnd::ConnectFailed);
            let failure = failure?;
            self.log_failure(between, &failure);
            failure.cause()
        })?;
        let Some(stream) = io.connect(bound, way.to) else {
            self.not_connected(between, StreamEnd::ConnectFailed, 0, way.is_back);
            return Err(None);
        };
        connection.is_back = way.is_back;
        self.take_in(stream, connection);
        if !hello.is_empty() && !self.put_raw(io, stream, &hello) {
            self.cut_off(io, stream, StreamEnd::Stalled);
            return Err(None);
        }
        Ok(stream)
    }

    fn write<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        bytes: &[u8],
        way: &Way,
        waiting: Waiting,
    ) {
        if self.streams.get(stream).is_some_and(|c| c.can_send() && c.layer.is_handshaking()) {
            return self.hold(io, stream, bytes, waiting);
        }
        self.write_open(io, stream, bytes, waiting);
        if self.streams.get(stream).is_none_or(|connection| !connection.can_send()) {
            return;
        }
        if way.answers && way.stream.get().is_some() && self.streams.answered(stream, bytes) {
            self.finish_stream(io, stream, StreamEnd::Closed);
        }
    }

    /// A message leaves by a connection whose handshake is over.
    pub(super) fn write_open<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        bytes: &[u8],
        waiting: Waiting,
    ) {
        let put = self.put(io, stream, bytes);
        let now = self.now;
        let is_kept = self.streams.get(stream).filter(|_| put.is_ok()).is_some_and(|connection| {
            let is_kept = connection.waits(waiting);
            let is_asked =
                Cookie::transaction(waiting.cookie).is_some() || Cookie::ping(waiting.cookie).is_some();
            // What is told below that it has not left is not told again when the connection ends.
            if is_kept && is_asked {
                connection.awaits(bytes, waiting, now);
            }
            is_kept
        });
        if !is_kept {
            let why = self.not_put(io, stream, put.err().unwrap_or(NotPut::Failed));
            self.not_sent(io, waiting, why, None);
        }
    }

    /// Bytes for the peer, through the connection's layer.
    pub(super) fn put<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        text: &[u8],
    ) -> Result<(), NotPut> {
        if !self.streams.may_wait(stream, text) {
            return Err(NotPut::NoRoom);
        }
        self.make_room(io, text.len());
        let connection = self.streams.get(stream).filter(|c| c.can_send()).ok_or(NotPut::Failed)?;
        let mut written = 0;
        let is_put = connection.layer.send(text, &mut self.sealed, |bytes| {
            let is_written = io.write(stream, bytes);
            written += if is_written { bytes.len() } else { 0 };
            is_written
        });
        self.streams.wrote(stream, written, self.now);
        if is_put { Ok(()) } else { Err(NotPut::Failed) }
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

    /// A message has not left: it is counted, and its transaction is told; `cause`: of TLS.
    pub(super) fn not_sent<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        waiting: Waiting,
        why: DropReason,
        cause: Option<Cause>,
    ) {
        let Waiting { shard, cookie } = waiting;
        if let Some(ping) = Cookie::ping(cookie) {
            return self.ping_failed(ping, why, cause);
        }
        // What transactions send by themselves is theirs to count.
        if Cookie::unpack(cookie) != Some(Cookie::Own) {
            self.metrics.dropped(why);
        }
        if let Some(handle) = Cookie::transaction(cookie) {
            let why = match why {
                DropReason::ConnectionFailed => SendFailure::Connection(cause),
                _ => SendFailure::Other,
            };
            self.tell(io, shard, What::NotSent(handle, why));
        }
    }

    /// The engine has closed a stream, which is told once.
    pub(super) fn on_ended<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, errno: i32) {
        let failed = self.streams.get(stream).and_then(|connection| {
            Some(((connection.listener, connection.peer), LayerFailure::from(connection.unfinished()?)))
        });
        let Some((mut connection, waiting)) = self.streams.remove(stream) else { return };
        self.metrics.traffic.disconnected(SeriesId(connection.series));
        if let Some((place, failure)) = &failed {
            self.log_failure(*place, failure);
        }
        let cause = failed.and_then(|(_, failure)| failure.cause());
        let lost = Lost::of(&mut connection, cause).without(&waiting);
        self.metrics.streams.open.set(self.streams.len() as u64);
        self.metrics.streams.kept_bytes.set(self.streams.kept_bytes() as u64);
        if connection.can_send() {
            match (errno, connection.is_open()) {
                (_, false) => {
                    let between = (connection.listener, connection.peer);
                    self.not_connected(between, cause_of(errno), errno, connection.is_back);
                }
                (0, true) => self.metrics.streams.ended(StreamEnd::Closed),
                (_, true) => self.metrics.streams.ended(StreamEnd::Broken),
            }
        }
        for waiting in waiting {
            self.not_sent(io, waiting, DropReason::ConnectionFailed, cause);
        }
        self.tell_lost(io, lost);
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
            // What it is waited for may have come: `Connection::waited`.
            if why.is_of_peer() && io.unread_ns(stream).is_some() {
                continue;
            }
            match why {
                Overdue::Connect => self.not_connected_in_time(io, stream),
                Overdue::Stalled => self.cut_off(io, stream, StreamEnd::Stalled),
                Overdue::Message => self.cut_off(io, stream, StreamEnd::TooSlow),
                Overdue::Handshake => {
                    self.end_of_handshake(io, stream, Connection::too_slow);
                    self.cut_off(io, stream, StreamEnd::TooSlow);
                }
                Overdue::Idle => self.finish_stream(io, stream, StreamEnd::Idle),
            }
        }
    }
}

/// It goes by this connection or not at all. Who waits for the answer to a request is told, and has other next hops; but a CANCEL
/// and the ACK to a refusal go where their INVITE went, over a stream they are not sent again, and of the rest nobody hears.
fn has_no_other_way(bytes: &[u8], waiting: Waiting) -> bool {
    let is_told = Cookie::transaction(waiting.cookie).is_some();
    !is_told || bytes.starts_with(b"CANCEL ") || bytes.starts_with(b"ACK ")
}
