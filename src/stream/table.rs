//! The connections of one shard.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sip_parser::Message;

use super::connection::{Connection, Overdue, Waiting, is_response};
use super::held::Held;
use super::leads::{Key, Leads};
use super::share::{Heaviest, peer_of};
use super::{Framer, Number, StreamId, StreamLimits};
use crate::limits::{STREAM_KEPT_BYTES, STREAM_SPARE};
use crate::net::Now;
use crate::tls::PeerName;

/// Why a connection is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are [`StreamLimits::connections`].
    TooMany,
    /// Of this peer there are [`StreamLimits::per_peer`].
    TooManyOfPeer,
}

/// The connections by stream and by listener and peer.
#[derive(Debug, Default)]
pub struct Connections {
    /// By place.
    places: Vec<Option<(StreamId, Connection)>>,
    by_peer: Leads,
    each: HashMap<IpAddr, u32>,
    open: usize,
    /// Of the connection that was taken in last.
    serial: u32,
    kept_bytes: usize,
    unsent_bytes: usize,
    /// Where [`Connections::overdue`] goes on.
    looked_at: usize,
    limits: StreamLimits,
}

/// Places that are looked at at a time: a few hundred microseconds.
const LOOK_AT: usize = 4_096;

/// How long all of them may take, in nanoseconds.
const ROUND_NS: u64 = 1_000_000_000;

impl Connections {
    /// How much they may take from now on; those that there are stay.
    pub fn limit(&mut self, limits: StreamLimits) {
        self.limits = limits;
    }

    /// Whether there is room for another one that this peer has opened.
    ///
    /// # Errors
    /// Why there is none.
    pub fn admit(&self, peer: IpAddr) -> Result<(), Refused> {
        let StreamLimits { connections, per_peer, .. } = self.limits;
        self.has_room(peer, connections - self.limits.reserved(), per_peer)
    }

    /// Whether there is room for another one that is opened to this peer: strangers leave some.
    ///
    /// # Errors
    /// Why there is none.
    pub fn may_open(&self, peer: IpAddr) -> Result<(), Refused> {
        let StreamLimits { connections, per_peer, .. } = self.limits;
        self.has_room(peer, connections, per_peer + self.limits.reserved())
    }

    fn has_room(&self, peer: IpAddr, most: usize, most_of_peer: usize) -> Result<(), Refused> {
        if self.open >= most {
            return Err(Refused::TooMany);
        }
        match self.each.get(&peer_of(peer)) {
            Some(count) if *count as usize >= most_of_peer => Err(Refused::TooManyOfPeer),
            _ => Ok(()),
        }
    }

    /// Takes a connection in. Of several with one listener and peer that were opened by the same side
    /// the last is sent on.
    pub fn insert(&mut self, stream: StreamId, mut connection: Connection) {
        let place = usize::from(stream.place());
        // 0 stands for none.
        self.serial = self.serial.wrapping_add(1).max(1);
        connection.serial = self.serial;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.by_peer.set(connection.key(), connection.is_ours, stream);
        *self.each.entry(peer_of(connection.peer.ip())).or_default() += 1;
        self.open += 1;
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some((stream, connection));
        }
    }

    /// Listeners have other identities now: `now_is` takes an old one and gives what it is, and its series, `moved` is called
    /// with the old and the new series of each connection.
    pub fn rename(&mut self, now_is: impl Fn(u32) -> Option<(u32, u16)>, mut moved: impl FnMut(u16, u16)) {
        for (stream, connection) in self.places.iter_mut().flatten() {
            let renamed =
                now_is(connection.listener).filter(|(listener, _)| *listener != connection.listener);
            let Some((listener, series)) = renamed else { continue };
            moved(connection.series, series);
            let led = self.by_peer.clear(&connection.key(), connection.is_ours, *stream);
            (connection.listener, connection.series) = (listener, series);
            if led {
                self.by_peer.set(connection.key(), connection.is_ours, *stream);
            }
        }
    }

    /// The connection, if it is still there.
    pub fn get(&mut self, stream: StreamId) -> Option<&mut Connection> {
        match self.places.get_mut(usize::from(stream.place())) {
            Some(Some((own, connection))) if *own == stream => Some(connection),
            _ => None,
        }
    }

    /// The connection of a listener with a peer that can be sent on, for what asks for no certain one; over TLS: that was
    /// opened to the server of this name, whose handshake may be under way. One that the peer has opened is as good for
    /// what asks for [`Number::ANY`].
    pub fn with(
        &mut self,
        listener: u32,
        peer: SocketAddr,
        name: Option<&Arc<PeerName>>,
        wanted: Number,
    ) -> Option<StreamId> {
        let key = |name| Key { listener, peer, name };
        if let Some(stream) = self.by_peer.opened(&key(name.cloned())) {
            return Some(stream);
        }
        let accepted = (wanted == Number::ANY).then(|| self.by_peer.accepted(&key(None)));
        let stream = accepted.flatten()?;
        self.get(stream).is_some_and(|connection| !connection.layer.is_handshaking()).then_some(stream)
    }

    /// Keeps a message until the handshake of its connection is over; `false`: there is no room. Then
    /// [`Connections::keeps_too_much`] may have to be asked.
    pub fn hold(&mut self, stream: StreamId, message: &[u8], waiting: Waiting) -> bool {
        let is_held = self.get(stream).is_some_and(|c| c.can_send() && c.held.keep(message, waiting));
        self.kept_bytes += if is_held { message.len() } else { 0 };
        is_held
    }

    /// Takes out what was kept until the handshake of a connection is over, in order, each with who waits for it.
    pub fn take_held(&mut self, stream: StreamId) -> Held {
        let held =
            self.get(stream).map(|connection| std::mem::take(&mut connection.held)).unwrap_or_default();
        self.kept_bytes = self.kept_bytes.saturating_sub(held.bytes());
        held
    }

    /// It is not sent on any more by its peer's address; what is known of it stays until [`Connections::remove`].
    pub fn hide(&mut self, stream: StreamId) {
        let Some((key, is_ours)) = self.get(stream).map(|c| (c.key(), c.is_ours)) else { return };
        self.by_peer.clear(&key, is_ours, stream);
    }

    /// The same for those that were opened over TLS from listeners whose files have changed since.
    pub fn hide_opened(&mut self, has_changed: impl Fn(u32) -> bool) {
        for (stream, connection) in self.places.iter().flatten() {
            if connection.name.is_some() && has_changed(connection.listener) {
                self.by_peer.clear(&connection.key(), connection.is_ours, *stream);
            }
        }
    }

    /// A connection is being closed: nothing more is sent on it or read from it. `is_cut`: what waits is not sent either.
    /// `false`: it was before.
    pub fn ends(&mut self, stream: StreamId, is_cut: bool) -> bool {
        let Some(connection) = self.get(stream).filter(|connection| connection.can_send()) else {
            return false;
        };
        let kept = connection.kept_bytes();
        connection.framer = Framer::default();
        connection.backlog = None;
        connection.held.give_up();
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

    /// Bytes that may wait on a connection to be sent.
    pub fn queue_bytes(&self) -> usize {
        self.limits.queue_bytes
    }

    /// A text may wait on a connection to be sent, or nothing waits there. Answers to what its peer has asked for find room beyond
    /// that: how much that is, is bounded where it is read ([`Connections::asks_too_much`]).
    pub fn may_wait(&mut self, stream: StreamId, text: &[u8]) -> bool {
        let most = self.limits.queue_bytes;
        self.get(stream).is_some_and(|connection| match connection.unsent.bytes() {
            0 => true,
            _ if !connection.is_ours && is_response(text) => {
                connection.unsent.queues_answer();
                true
            }
            waiting => waiting + text.len() <= most,
        })
    }

    /// What finds no room on a connection stands behind answers to what its peer has asked, which says nothing of the peer as long
    /// as it takes them.
    pub fn queues_answers(&mut self, stream: StreamId) -> bool {
        self.get(stream).is_some_and(|connection| connection.unsent.has_answers())
    }

    /// So many bytes were given to the engine to be sent.
    pub fn wrote(&mut self, stream: StreamId, bytes: usize, now: Now) {
        let Some(connection) = self.get(stream) else { return };
        connection.used = now;
        connection.unsent.wrote(bytes, now);
        self.unsent_bytes += if connection.is_cut { 0 } else { bytes };
    }

    /// The kernel has taken so many of them; tells which messages have left with those. Whether the connection is one to ask of
    /// [`Connections::may_ask`].
    pub fn took(&mut self, stream: StreamId, bytes: usize, now: Now, left: impl FnMut(Waiting)) -> bool {
        let Some(connection) = self.get(stream) else { return false };
        let before = connection.unsent_bytes();
        connection.unsent.took(bytes, now, left);
        let taken = before - connection.unsent_bytes();
        let waits = connection.backlog.is_some();
        self.unsent_bytes = self.unsent_bytes.saturating_sub(taken);
        waits
    }

    /// Forgets a connection; gives who waits to hear of what was sent.
    pub fn remove(&mut self, stream: StreamId) -> Option<(Connection, Vec<Waiting>)> {
        self.hide(stream);
        self.get(stream)?;
        let (_, mut connection) = self.places.get_mut(usize::from(stream.place()))?.take()?;
        self.open = self.open.saturating_sub(1);
        self.kept_bytes = self.kept_bytes.saturating_sub(connection.kept_bytes());
        self.unsent_bytes = self.unsent_bytes.saturating_sub(connection.unsent_bytes());
        let ip = peer_of(connection.peer.ip());
        if let Some(count) = self.each.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.each.remove(&ip);
            }
        }
        let held = std::mem::take(&mut connection.held).into_waiting();
        let mut waiting = std::mem::take(&mut connection.unsent).into_waiting();
        waiting.extend(held);
        Some((connection, waiting))
    }

    /// A connection that kept so many bytes has received something. Then [`Connections::keeps_too_much`] may have to be asked.
    pub fn received(&mut self, stream: StreamId, kept_before: usize) {
        let kept = self.get(stream).map_or(0, |connection| connection.kept_bytes());
        self.kept_bytes = (self.kept_bytes + kept).saturating_sub(kept_before);
    }

    /// A message has come in by a connection, as whatever is not read where `None`. Then [`Connections::keeps_too_much`] may have to
    /// be asked. Gives the connection's serial number.
    pub fn came(&mut self, stream: StreamId, message: Option<&Message<'_>>, now: Now) -> u32 {
        let came = self.counted(stream, |connection| {
            match message {
                Some(message) => connection.came(message, now),
                None => connection.spoke(),
            }
            connection.serial
        });
        came.unwrap_or(0)
    }

    /// A message that has come in by a connection is dropped: nobody answers it.
    pub fn dropped(&mut self, stream: StreamId, message: &Message<'_>) {
        self.counted(stream, |connection| connection.dropped(message));
    }

    /// A final answer has gone out by a connection; `true`: the peer sends no more and waits for no more either.
    pub fn answered(&mut self, stream: StreamId, response: &[u8]) -> bool {
        self.counted(stream, |connection| connection.answered(response)).unwrap_or(false)
    }

    /// What a connection keeps may change by this.
    pub(super) fn counted<R>(
        &mut self,
        stream: StreamId,
        change: impl FnOnce(&mut Connection) -> R,
    ) -> Option<R> {
        let connection = self.get(stream)?;
        let before = connection.kept_bytes();
        let changed = change(connection);
        let after = connection.kept_bytes();
        self.kept_bytes = (self.kept_bytes + after).saturating_sub(before);
        Some(changed)
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

    /// All connections together keep more than they may: [`Connection::kept_bytes`]. `is_over`: they did before, and
    /// some of that is to be free.
    pub fn keeps_too_much(&self, is_over: bool) -> bool {
        self.kept_bytes > STREAM_KEPT_BYTES - if is_over { STREAM_KEPT_BYTES / STREAM_SPARE } else { 0 }
    }

    /// Who is to be closed first where all keep too much of messages.
    pub fn most_kept(&self) -> Heaviest {
        self.heaviest(Connection::kept_bytes)
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
        let (limits, kept_bytes) = (self.limits, &mut self.kept_bytes);
        let each = self.places.iter_mut().skip(from).take(LOOK_AT).flatten();
        each.filter_map(|(stream, connection)| {
            let before = connection.kept_bytes();
            connection.forget_old(now);
            *kept_bytes = kept_bytes.saturating_sub(before - connection.kept_bytes());
            let gone = (!connection.is_ending && !is_known(connection.listener)).then_some(Overdue::Idle);
            Some((*stream, gone.or_else(|| connection.overdue(&limits, now))?))
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

    /// Bytes that are kept: [`Connection::kept_bytes`].
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Bytes that wait to be sent.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Some has something to send that the kernel has not taken, or that waits for the end of a handshake.
    pub fn any_undrained(&self) -> bool {
        let waits = |c: &Connection| !c.is_ending && (c.unsent.bytes() > 0 || c.held.bytes() > 0);
        self.places.iter().flatten().any(|(_, connection)| waits(connection))
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
