//! The connections of one shard.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::share::{Heaviest, peer_of};
use super::unanswered::Unanswered;
use super::unsent::Unsent;
use super::{Framer, Layer, Number, StreamId};
use crate::limits::{
    LAYER_HANDSHAKE_NS, STREAM_CONNECT_NS, STREAM_HALF_CLOSED_NS, STREAM_IDLE_NS, STREAM_KEPT_BYTES,
    STREAM_SILENT_NS, STREAM_SPARE, STREAMS, STREAMS_PER_PEER, STREAMS_RESERVED,
};
use crate::net::Now;

/// A message that was sent, and who is to hear if it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Between its socket and its messages.
    pub layer: Layer,
    /// Its messages.
    pub framer: Framer,
    /// It was opened from here.
    is_ours: bool,
    /// It is open: bytes may come in.
    is_open: bool,
    /// A message or a keep-alive has come in, or is not waited for.
    has_spoken: bool,
    /// The peer sends no more.
    is_half_closed: bool,
    /// It is being closed: nothing is sent on it any more.
    is_ending: bool,
    /// At once: what was not sent will not be.
    is_cut: bool,
    /// Requests that came in by it and have no final answer yet.
    unanswered: Unanswered,
    unsent: Unsent,
    /// When it was opened; until then, since when it is to be.
    opened: Now,
    /// When anything came or went last.
    used: Now,
}

/// Why a connection is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are [`STREAMS`].
    TooMany,
    /// Of this peer there are [`STREAMS_PER_PEER`].
    TooManyOfPeer,
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

impl Connection {
    /// One that is to be opened, or (`is_open`) that the peer has opened.
    pub fn new(listener: u32, peer: SocketAddr, is_open: bool, now: Now) -> Self {
        Self {
            listener,
            peer,
            layer: Layer::Plain,
            framer: Framer::default(),
            is_ours: !is_open,
            is_open,
            has_spoken: !is_open,
            is_half_closed: false,
            is_ending: false,
            is_cut: false,
            unanswered: Unanswered::default(),
            unsent: Unsent::default(),
            opened: now,
            used: now,
        }
    }

    /// It can be sent on.
    pub fn can_send(&self) -> bool {
        !self.is_ending
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

    /// A message or a keep-alive has come in.
    pub fn spoke(&mut self) {
        self.has_spoken = true;
    }

    /// A request has come in that is to be answered.
    pub fn asked(&mut self, request: &[u8]) {
        self.unanswered.asked(request);
    }

    /// A final answer has gone out; `true`: the peer sends no more and waits for no more either.
    pub fn answered(&mut self, response: &[u8]) -> bool {
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

    /// Bytes that it takes of what all connections have to be sent.
    fn unsent_bytes(&self) -> usize {
        if self.is_cut { 0 } else { self.unsent.bytes() }
    }

    /// What its time has brought by now.
    fn overdue(&self, now: Now) -> Option<Overdue> {
        let since = |then: Now, ns| now >= then.plus_ns(ns);
        if self.is_ending {
            return None;
        }
        if !self.is_open {
            return since(self.opened, STREAM_CONNECT_NS).then_some(Overdue::Connect);
        }
        if self.unsent.is_stalled(now) {
            return Some(Overdue::Stalled);
        }
        if self.framer.deadline().is_some_and(|by| now >= by) {
            return Some(Overdue::Message);
        }
        if since(self.opened, LAYER_HANDSHAKE_NS) && self.layer.is_handshaking() {
            return Some(Overdue::Handshake);
        }
        if !self.has_spoken && since(self.opened, STREAM_SILENT_NS) {
            return Some(Overdue::Idle);
        }
        let patience = if self.is_half_closed { STREAM_HALF_CLOSED_NS } else { STREAM_IDLE_NS };
        since(self.used, patience).then_some(Overdue::Idle)
    }
}

/// The connections of one listener with one address: who has connected from there takes nothing from those that were opened
/// from here.
#[derive(Debug, Default)]
struct Leads {
    opened: Option<StreamId>,
    accepted: Option<StreamId>,
}

impl Leads {
    fn of(&mut self, is_ours: bool) -> &mut Option<StreamId> {
        if is_ours { &mut self.opened } else { &mut self.accepted }
    }
}

/// The connections by stream and by listener and peer.
#[derive(Debug, Default)]
pub struct Connections {
    /// By place.
    places: Vec<Option<(StreamId, Connection)>>,
    by_peer: HashMap<(u32, SocketAddr), Leads>,
    each: HashMap<IpAddr, u32>,
    open: usize,
    kept_bytes: usize,
    unsent_bytes: usize,
    /// Where [`Connections::overdue`] goes on.
    looked_at: usize,
}

/// Places that are looked at at a time: a few hundred microseconds.
const LOOK_AT: usize = 4_096;

/// How long all of them may take, in nanoseconds.
const ROUND_NS: u64 = 1_000_000_000;

impl Connections {
    /// Whether there is room for another one that this peer has opened.
    ///
    /// # Errors
    /// Why there is none.
    pub fn admit(&self, peer: IpAddr) -> Result<(), Refused> {
        self.has_room(peer, STREAMS - STREAMS_RESERVED, STREAMS_PER_PEER)
    }

    /// Whether there is room for another one that is opened to this peer: strangers leave some.
    ///
    /// # Errors
    /// Why there is none.
    pub fn may_open(&self, peer: IpAddr) -> Result<(), Refused> {
        self.has_room(peer, STREAMS, STREAMS_PER_PEER + STREAMS_RESERVED as u32)
    }

    fn has_room(&self, peer: IpAddr, most: usize, most_of_peer: u32) -> Result<(), Refused> {
        if self.open >= most {
            return Err(Refused::TooMany);
        }
        match self.each.get(&peer_of(peer)) {
            Some(count) if *count >= most_of_peer => Err(Refused::TooManyOfPeer),
            _ => Ok(()),
        }
    }

    /// Takes a connection in. Of several with one listener and peer that were opened by the same side
    /// the last is sent on.
    pub fn insert(&mut self, stream: StreamId, connection: Connection) {
        let place = usize::from(stream.place());
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        let leads = self.by_peer.entry((connection.listener, connection.peer)).or_default();
        *leads.of(connection.is_ours) = Some(stream);
        *self.each.entry(peer_of(connection.peer.ip())).or_default() += 1;
        self.open += 1;
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some((stream, connection));
        }
    }

    /// The connection, if it is still there.
    pub fn get(&mut self, stream: StreamId) -> Option<&mut Connection> {
        match self.places.get_mut(usize::from(stream.place())) {
            Some(Some((own, connection))) if *own == stream => Some(connection),
            _ => None,
        }
    }

    /// The connection of a listener with a peer that can be sent on, for what asks for no certain one.
    pub fn with(&mut self, listener: u32, peer: SocketAddr, wanted: Number) -> Option<StreamId> {
        let &Leads { opened, accepted } = self.by_peer.get(&(listener, peer))?;
        let stream = opened.or(accepted.filter(|_| wanted == Number::ANY))?;
        self.get(stream).is_some_and(|connection| !connection.layer.is_handshaking()).then_some(stream)
    }

    /// It is not sent on any more by its peer's address; what is known of it stays until [`Connections::remove`].
    pub fn hide(&mut self, stream: StreamId) {
        let Some((key, is_ours)) = self.get(stream).map(|c| ((c.listener, c.peer), c.is_ours)) else {
            return;
        };
        let Some(leads) = self.by_peer.get_mut(&key) else { return };
        leads.of(is_ours).take_if(|lead| *lead == stream);
        if leads.opened.is_none() && leads.accepted.is_none() {
            self.by_peer.remove(&key);
        }
    }

    /// A connection is being closed: nothing more is sent on it or read from it. `is_cut`: what waits is not sent either.
    /// `false`: it was before.
    pub fn ends(&mut self, stream: StreamId, is_cut: bool) -> bool {
        let Some(connection) = self.get(stream).filter(|connection| connection.can_send()) else {
            return false;
        };
        let kept = std::mem::take(&mut connection.framer).kept_bytes();
        let before = connection.unsent_bytes();
        (connection.is_ending, connection.is_cut) = (true, is_cut);
        let unsent = before - connection.unsent_bytes();
        self.kept_bytes = self.kept_bytes.saturating_sub(kept);
        self.unsent_bytes = self.unsent_bytes.saturating_sub(unsent);
        self.hide(stream);
        true
    }

    /// A connection that is being closed sends nothing more of what waits; `false`: it is not being closed, or did not
    /// before.
    pub fn cut_short(&mut self, stream: StreamId) -> bool {
        let Some(connection) = self.get(stream).filter(|c| c.is_ending && !c.is_cut) else { return false };
        let unsent = connection.unsent_bytes();
        connection.is_cut = true;
        self.unsent_bytes = self.unsent_bytes.saturating_sub(unsent);
        true
    }

    /// So many bytes were given to the engine to be sent.
    pub fn wrote(&mut self, stream: StreamId, bytes: usize, now: Now) {
        let Some(connection) = self.get(stream) else { return };
        connection.used = now;
        connection.unsent.wrote(bytes, now);
        self.unsent_bytes += if connection.is_cut { 0 } else { bytes };
    }

    /// The kernel has taken so many of them; tells which messages have left with those.
    pub fn took(&mut self, stream: StreamId, bytes: usize, now: Now, left: impl FnMut(Waiting)) {
        let Some(connection) = self.get(stream) else { return };
        let before = connection.unsent_bytes();
        connection.unsent.took(bytes, now, left);
        let taken = before - connection.unsent_bytes();
        self.unsent_bytes = self.unsent_bytes.saturating_sub(taken);
    }

    /// Forgets a connection; gives who waits to hear of what was sent.
    pub fn remove(&mut self, stream: StreamId) -> Option<(Connection, Vec<Waiting>)> {
        self.hide(stream);
        self.get(stream)?;
        let (_, mut connection) = self.places.get_mut(usize::from(stream.place()))?.take()?;
        self.open = self.open.saturating_sub(1);
        self.kept_bytes = self.kept_bytes.saturating_sub(connection.framer.kept_bytes());
        self.unsent_bytes = self.unsent_bytes.saturating_sub(connection.unsent_bytes());
        let ip = peer_of(connection.peer.ip());
        if let Some(count) = self.each.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.each.remove(&ip);
            }
        }
        let waiting = std::mem::take(&mut connection.unsent).into_waiting();
        Some((connection, waiting))
    }

    /// Takes the framing of a connection out, to read with it. Its layer stays: what is read is answered meanwhile.
    pub fn take_framer(&mut self, stream: StreamId) -> Option<Framer> {
        let framer = std::mem::take(&mut self.get(stream)?.framer);
        self.kept_bytes = self.kept_bytes.saturating_sub(framer.kept_bytes());
        Some(framer)
    }

    /// Puts it back, unless nothing more is read. Then [`Connections::keeps_too_much`] may have to be asked.
    pub fn put_framer(&mut self, stream: StreamId, framer: Framer) {
        let bytes = framer.kept_bytes();
        let Some(connection) = self.get(stream).filter(|connection| connection.can_send()) else { return };
        connection.framer = framer;
        self.kept_bytes += bytes;
    }

    /// All connections together keep more than they may of messages that are not whole. `is_over`: they did before, and
    /// some of that is to be free.
    pub fn keeps_too_much(&self, is_over: bool) -> bool {
        self.kept_bytes > STREAM_KEPT_BYTES - if is_over { STREAM_KEPT_BYTES / STREAM_SPARE } else { 0 }
    }

    /// Who is to be closed first where all keep too much of messages that are not whole.
    pub fn most_kept(&self) -> Heaviest {
        self.heaviest(|connection| connection.framer.kept_bytes())
    }

    /// Who is to be closed first where too much waits to be sent.
    pub fn most_unsent(&self) -> Heaviest {
        self.heaviest(Connection::unsent_bytes)
    }

    fn heaviest(&self, bytes: impl Fn(&Connection) -> usize) -> Heaviest {
        let all = self.places.iter().flatten();
        Heaviest::of(all.map(|(stream, connection)| (*stream, connection.peer.ip(), bytes(connection))))
    }

    /// Those that are not being closed.
    pub fn alive(&self) -> Vec<StreamId> {
        let alive = self.places.iter().flatten().filter(|(_, connection)| connection.can_send());
        alive.map(|(stream, _)| *stream).collect()
    }

    /// Those whose time is over, and those of listeners that are no more, of some of all: a few thousand. It is called
    /// anew after [`Connections::look_after_ns`].
    pub fn overdue(&mut self, now: Now, is_known: impl Fn(u32) -> bool) -> Vec<(StreamId, Overdue)> {
        let from = if self.looked_at < self.places.len() { self.looked_at } else { 0 };
        self.looked_at = from + LOOK_AT;
        let each = self.places.iter().skip(from).take(LOOK_AT).flatten();
        each.filter_map(|(stream, connection)| {
            let gone = (!connection.is_ending && !is_known(connection.listener)).then_some(Overdue::Idle);
            Some((*stream, gone.or_else(|| connection.overdue(now))?))
        })
        .collect()
    }

    /// How soon the next ones are looked at, in nanoseconds, so that each is once a second.
    pub fn look_after_ns(&self) -> u64 {
        ROUND_NS / self.places.len().div_ceil(LOOK_AT).max(1) as u64
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Bytes that are kept of messages that are not whole.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Bytes that wait to be sent.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Some has something to send that the kernel has not taken.
    pub fn any_undrained(&self) -> bool {
        self.places.iter().flatten().any(|(_, c)| !c.is_ending && c.unsent.bytes() > 0)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
