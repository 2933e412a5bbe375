//! Streams of the simulated network: bytes arrive in order, in pieces that the seed cuts.
//!
//! A socket of a simulated shard takes datagrams and connections alike.

use std::net::SocketAddr;

use super::{Endpoint, Host, HostId, SimIo, What, World};
use crate::engine::{Accepted, Event, Shard, SocketId};
use crate::net::Now;
use crate::stream::StreamId;

/// A connection's number, in the order in which they were begun.
pub type WireId = usize;

/// What a shard asked for.
#[derive(Debug)]
pub(super) enum Call {
    Connect { stream: StreamId, from: Option<SocketAddr>, to: SocketAddr },
    Adopt { stream: StreamId, wire: WireId },
    Refuse(WireId),
    Write(StreamId, Vec<u8>),
    Pause(StreamId),
    Resume(StreamId),
    Finish(StreamId),
    Reset(StreamId),
}

/// What an endpoint asks for.
#[derive(Debug)]
pub(super) enum Act {
    Connect { from: SocketAddr, to: SocketAddr },
    Write(WireId, Vec<u8>),
    Finish(WireId),
    Reset(WireId),
}

/// What arrives at one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrives {
    /// It is open; the other end's address.
    Opened(SocketAddr),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The other end sends no more.
    End,
    /// It was cut off, or refused.
    Reset,
}

#[derive(Debug)]
struct End {
    host: HostId,
    address: SocketAddr,
    /// A shard's.
    stream: Option<StreamId>,
    /// What arrived before any shard had taken the connection, or while it reads none of it.
    unread: Vec<Arrives>,
    /// Its shard reads none of it.
    is_paused: bool,
    /// When what is under way to it has arrived.
    busy_until: Now,
    /// It sends no more.
    is_done: bool,
    is_over: bool,
}

/// A connection: who opened it, and who took it.
#[derive(Debug)]
pub(super) struct Wire {
    ends: [End; 2],
    /// Nothing arrives any more, and nobody hears of that.
    is_cut: bool,
}

impl<S: Shard<SimIo>, E: Endpoint> World<'_, S, E> {
    /// From now on nothing that is sent on a connection arrives: its host is gone, or what remembers it between.
    pub fn cut(&mut self, wire: WireId) {
        if let Some(wire) = self.wires.get_mut(wire) {
            wire.is_cut = true;
        }
    }

    /// How many connections were begun.
    pub fn wires(&self) -> usize {
        self.wires.len()
    }

    pub(super) fn act(&mut self, host: HostId, act: Act) {
        match act {
            Act::Connect { from, to } => {
                self.connect(host, None, from, to);
            }
            Act::Write(wire, bytes) => self.write(wire, self.end_of(wire, host), &bytes),
            Act::Finish(wire) => self.finish(wire, self.end_of(wire, host)),
            Act::Reset(wire) => self.reset(wire, self.end_of(wire, host)),
        }
    }

    /// Does what a shard asked for; what of it ends a stream at once it is told.
    pub(super) fn call(&mut self, host: HostId, call: Call) {
        match call {
            Call::Connect { stream, from: Some(from), to } => {
                self.connect(host, Some(stream), from, to);
            }
            Call::Connect { stream, from: None, .. } => self.tell_ended(host, stream, libc::EBADF),
            Call::Adopt { stream, wire } => {
                let Some(end) = self.wires.get_mut(wire).map(|wire| &mut wire.ends[1]) else { return };
                (end.host, end.stream) = (host, Some(stream));
                self.read(wire, 1);
            }
            Call::Refuse(wire) => self.reset(wire, 1),
            Call::Write(stream, bytes) => {
                if let Some((wire, end)) = self.wire_of(host, stream) {
                    self.write(wire, end, &bytes);
                    self.tell(host, Event::Wrote { stream, bytes: bytes.len() });
                }
            }
            Call::Pause(stream) => {
                if let Some((wire, end)) = self.wire_of(host, stream) {
                    self.wires[wire].ends[end].is_paused = true;
                }
            }
            Call::Resume(stream) => {
                if let Some((wire, end)) = self.wire_of(host, stream) {
                    self.wires[wire].ends[end].is_paused = false;
                    self.read(wire, end);
                }
            }
            Call::Finish(stream) => {
                if let Some((wire, end)) = self.wire_of(host, stream) {
                    self.finish(wire, end);
                    self.end_here(wire, end, 0);
                }
            }
            Call::Reset(stream) => {
                if let Some((wire, end)) = self.wire_of(host, stream) {
                    self.reset(wire, end);
                    self.end_here(wire, end, 0);
                }
            }
        }
    }

    /// What has not been read arrives, as far as it is read now.
    fn read(&mut self, wire: WireId, end: usize) {
        for unread in std::mem::take(&mut self.wires[wire].ends[end].unread) {
            self.arrive(wire, end, unread);
        }
    }

    fn wire_of(&self, host: HostId, stream: StreamId) -> Option<(WireId, usize)> {
        let is_it = |end: &End| end.host == host && end.stream == Some(stream) && !end.is_over;
        self.wires.iter().enumerate().find_map(|(wire, w)| Some((wire, w.ends.iter().position(is_it)?)))
    }

    fn end_of(&self, wire: WireId, host: HostId) -> usize {
        usize::from(self.wires.get(wire).is_some_and(|wire| wire.ends[0].host != host))
    }

    fn connect(&mut self, host: HostId, stream: Option<StreamId>, mut from: SocketAddr, to: SocketAddr) {
        let wire = self.wires.len();
        if stream.is_some() {
            // A port of the system's choice.
            from.set_port(40_000 + wire as u16 % 20_000);
        }
        let there = self.owner(from, to);
        let end = |host, address, stream| End {
            host,
            address,
            stream,
            unread: Vec::new(),
            is_paused: false,
            busy_until: self.now,
            is_done: false,
            is_over: false,
        };
        let ends = [end(host, from, stream), end(there.unwrap_or(host), to, None)];
        self.wires.push(Wire { ends, is_cut: false });
        match there.filter(|_| (self.paths)(host, from, to).is_some()) {
            Some(_) => self.send(wire, 1, Arrives::Opened(from)),
            None => self.send(wire, 0, Arrives::Reset),
        }
    }

    /// In pieces, each behind the one before.
    fn write(&mut self, wire: WireId, end: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = 1 + self.random.below(bytes.len() as u64) as usize;
            let (piece, rest) = bytes.split_at(len);
            self.send(wire, 1 - end, Arrives::Bytes(piece.to_vec()));
            bytes = rest;
        }
    }

    fn finish(&mut self, wire: WireId, end: usize) {
        if let Some(own) = self.wires.get_mut(wire).map(|wire| &mut wire.ends[end])
            && !std::mem::replace(&mut own.is_done, true)
        {
            self.send(wire, 1 - end, Arrives::End);
        }
    }

    fn reset(&mut self, wire: WireId, end: usize) {
        if let Some(own) = self.wires.get_mut(wire).map(|wire| &mut wire.ends[end]) {
            own.is_done = true;
        }
        self.send(wire, 1 - end, Arrives::Reset);
    }

    fn send(&mut self, wire: WireId, to: usize, arrives: Arrives) {
        let (shortest, longest) = self.faults.delay_ns;
        let delay = shortest + self.random.below(longest - shortest + 1);
        let Some(end) = self.wires.get_mut(wire).map(|wire| &mut wire.ends[to]) else { return };
        let at = self.now.plus_ns(delay).max(end.busy_until.plus_ns(1));
        end.busy_until = at;
        let host = end.host;
        self.schedule(at, host, What::Stream { wire, end: to, arrives });
    }

    /// Something arrives.
    pub(super) fn arrive(&mut self, wire: WireId, to: usize, arrives: Arrives) {
        let Some(w) = self.wires.get_mut(wire).filter(|wire| !wire.is_cut) else { return };
        let end = &mut w.ends[to];
        if end.is_over {
            return;
        }
        let (host, stream, address) = (end.host, end.stream, end.address);
        if !matches!(self.hosts.get(host), Some(Host::Shard { .. })) {
            end.is_over = arrives == Arrives::Reset;
            if to == 1 && matches!(arrives, Arrives::Opened(_)) {
                self.send(wire, 0, Arrives::Opened(address));
            }
            return self.tell_endpoint(host, wire, arrives);
        }
        match (arrives, stream) {
            (Arrives::Opened(from), None) => {
                self.send(wire, 0, Arrives::Opened(address));
                if let Some(on) = self.socket_of(host, address) {
                    self.tell(host, Event::Accepted { on, from, accepted: Accepted::Simulated(wire) });
                }
            }
            (early, None) => end.unread.push(early),
            (Arrives::Opened(_), Some(stream)) => self.tell(host, Event::Connected { stream }),
            (unread @ (Arrives::Bytes(_) | Arrives::End), Some(_)) if end.is_paused => {
                end.unread.push(unread)
            }
            (Arrives::Bytes(bytes), Some(stream)) => {
                self.tell(host, Event::Received { stream, bytes: &bytes });
            }
            (Arrives::End, Some(stream)) => self.tell(host, Event::Received { stream, bytes: &[] }),
            (Arrives::Reset, Some(_)) => {
                let refused = w.ends[1].stream.is_none();
                self.end_here(wire, to, if refused { libc::ECONNREFUSED } else { libc::ECONNRESET });
            }
        }
    }

    fn socket_of(&self, host: HostId, address: SocketAddr) -> Option<SocketId> {
        match self.hosts.get(host) {
            Some(Host::Shard { io, .. }) => io.socket_at(address),
            _ => None,
        }
    }

    fn end_here(&mut self, wire: WireId, end: usize, errno: i32) {
        let own = &mut self.wires[wire].ends[end];
        own.is_over = true;
        if let (host, Some(stream)) = (own.host, own.stream) {
            self.tell_ended(host, stream, errno);
        }
    }

    fn tell_ended(&mut self, host: HostId, stream: StreamId, errno: i32) {
        self.tell(host, Event::Ended { stream, errno });
    }

    /// A batch of one event.
    fn tell(&mut self, host: HostId, event: Event<'_>) {
        let now = self.now;
        let Some(Host::Shard { shard, io, stopped, .. }) = self.hosts.get_mut(host) else { return };
        if *stopped {
            return;
        }
        shard.begin(io, now);
        shard.on_event(io, event);
        let next = shard.end(io);
        *stopped = next == super::Next::Stop;
        self.settle(host, next);
    }

    fn tell_endpoint(&mut self, host: HostId, wire: WireId, arrives: Arrives) {
        let now = self.now;
        let Some(Host::Endpoint { endpoint, .. }) = self.hosts.get_mut(host) else { return };
        let mut out = super::Outbox::default();
        endpoint.on_stream(&mut out, wire, arrives, now);
        self.follow(host, out);
    }
}
