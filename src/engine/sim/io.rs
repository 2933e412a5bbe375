//! What a simulated shard acts through: a pool that is counted, and sends that wait for the world.

use std::net::SocketAddr;

use super::streams::Call;
use crate::engine::{Accepted, Io, SocketId};
use crate::limits::{MESSAGE_BYTES, STREAMS};
use crate::stream::StreamId;

/// Send buffers of a simulated shard: few, so that a lost one is soon missed.
pub const SEND_BUFFERS: usize = 64;

/// A datagram that a shard gave to the world.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub on: SocketId,
    pub from: Option<SocketAddr>,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub cookie: u64,
}

/// The sockets and buffers of one simulated shard.
#[derive(Debug, Default)]
pub struct SimIo {
    taken: usize,
    pool: Vec<Box<[u8]>>,
    sockets: Vec<(SocketId, SocketAddr)>,
    pub(super) given: Vec<Given>,
    pub(super) closed: Vec<SocketId>,
    pub(super) woken: Vec<u16>,
    pub(super) calls: Vec<Call>,
    streams: usize,
}

impl SimIo {
    /// Send buffers that the shard holds: none between batches.
    pub fn buffers_held(&self) -> usize {
        self.taken
    }

    /// A number that no stream had.
    fn stream(&mut self) -> Option<StreamId> {
        let place = u16::try_from(self.streams).ok().filter(|_| self.streams < STREAMS)?;
        self.streams += 1;
        Some(StreamId::first(place))
    }

    /// The socket that an address belongs to.
    pub(super) fn socket_at(&self, address: SocketAddr) -> Option<SocketId> {
        self.sockets.iter().find(|(_, bound)| *bound == address).map(|&(id, _)| id)
    }
}

impl Io for SimIo {
    type Tx = Box<[u8]>;
    type Source = SocketAddr;

    fn tx(&mut self) -> Option<Self::Tx> {
        if self.taken == SEND_BUFFERS {
            return None;
        }
        self.taken += 1;
        Some(self.pool.pop().unwrap_or_else(|| vec![0; MESSAGE_BYTES].into()))
    }

    fn send(&mut self, tx: Self::Tx, len: usize, on: SocketId, to: SocketAddr, cookie: u64) {
        let from = self.sockets.iter().find(|(id, _)| *id == on).map(|&(_, address)| address);
        self.given.push(Given { on, from, to, bytes: tx[..len].to_vec(), cookie });
        self.discard(tx);
    }

    fn discard(&mut self, tx: Self::Tx) {
        self.taken -= 1;
        self.pool.push(tx);
    }

    fn wake(&mut self, shard: u16) {
        self.woken.push(shard);
    }

    fn open(&mut self, id: SocketId, source: &SocketAddr) {
        self.sockets.push((id, *source));
    }

    fn close(&mut self, id: SocketId) {
        self.sockets.retain(|(open, _)| *open != id);
        self.closed.push(id);
    }

    fn connect(&mut self, on: SocketId, to: SocketAddr) -> Option<StreamId> {
        let from = self.sockets.iter().find(|(id, _)| *id == on).map(|&(_, address)| address);
        let stream = self.stream()?;
        self.calls.push(Call::Connect { stream, from, to });
        Some(stream)
    }

    fn adopt(&mut self, accepted: Accepted) -> Option<StreamId> {
        let Accepted::Simulated(wire) = accepted else { return None };
        let stream = self.stream()?;
        self.calls.push(Call::Adopt { stream, wire });
        Some(stream)
    }

    fn refuse(&mut self, accepted: Accepted) {
        if let Accepted::Simulated(wire) = accepted {
            self.calls.push(Call::Refuse(wire));
        }
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        self.calls.push(Call::Write(stream, bytes.to_vec()));
        true
    }

    fn pause(&mut self, stream: StreamId) {
        self.calls.push(Call::Pause(stream));
    }

    fn resume(&mut self, stream: StreamId) {
        self.calls.push(Call::Resume(stream));
    }

    fn finish(&mut self, stream: StreamId) {
        self.calls.push(Call::Finish(stream));
    }

    fn reset(&mut self, stream: StreamId) {
        self.calls.push(Call::Reset(stream));
    }
}
