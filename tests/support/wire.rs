//! A whole shard, and an engine without a kernel: datagrams are sent when that is told, streams have their places in order.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use viaduct::engine::{Accepted, Io, SocketId};
use viaduct::limits::{DNS_QUESTIONS, KERNEL_QUESTIONS, MESSAGE_BYTES};
use viaduct::metrics::{SeriesId, ShardMetrics};
use viaduct::shard::{Bindings, Bound, Post, Publication, Questions, Records, Setup, Worker};
use viaduct::snapshot::Snapshot;
use viaduct::stream::StreamId;

/// The engine.
#[derive(Default)]
pub struct Wire {
    free: Vec<Vec<u8>>,
    /// What is on its way.
    sent: Vec<(Vec<u8>, u64)>,
    /// Places that were given out.
    pub streams: u16,
    /// Bytes that were written to streams.
    pub written: usize,
    /// The message that has left last, either way.
    pub last: Vec<u8>,
    /// What was written to a stream last.
    wrote: Option<(StreamId, usize)>,
}

impl Wire {
    /// With so many send buffers.
    pub fn new(buffers: usize) -> Self {
        Self {
            free: vec![vec![0; MESSAGE_BYTES]; buffers],
            sent: Vec::with_capacity(buffers),
            last: Vec::with_capacity(MESSAGE_BYTES),
            ..Self::default()
        }
    }

    /// A datagram has left: what the shard keeps of it.
    pub fn leaves(&mut self) -> Option<u64> {
        let (tx, cookie) = self.sent.pop()?;
        self.free.push(tx);
        Some(cookie)
    }

    /// What was written to a stream last is taken: to which, and how many bytes.
    #[allow(dead_code)] // Not every program has streams.
    pub fn takes(&mut self) -> Option<(StreamId, usize)> {
        self.wrote.take()
    }

    fn has_left(&mut self, message: &[u8]) {
        self.last.clear();
        self.last.extend_from_slice(message);
    }

    fn place(&mut self) -> Option<StreamId> {
        self.streams += 1;
        Some(StreamId::first(self.streams - 1))
    }
}

impl Io for Wire {
    type Tx = Vec<u8>;
    type Source = ();

    fn tx(&mut self) -> Option<Vec<u8>> {
        self.free.pop()
    }

    fn send(&mut self, tx: Vec<u8>, len: usize, _on: SocketId, _to: SocketAddr, cookie: u64) {
        self.has_left(&tx[..len]);
        self.sent.push((tx, cookie));
    }

    fn discard(&mut self, tx: Vec<u8>) {
        self.free.push(tx);
    }

    fn wake(&mut self, _shard: u16) {}

    fn open(&mut self, _id: SocketId, _source: &()) {}

    fn close(&mut self, _id: SocketId) {}

    fn adopt(&mut self, _: Accepted) -> Option<StreamId> {
        self.place()
    }

    fn connect(&mut self, _on: SocketId, _to: SocketAddr) -> Option<StreamId> {
        self.place()
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        self.written += bytes.len();
        self.has_left(bytes);
        self.wrote = Some((stream, bytes.len()));
        true
    }
}

/// The only shard of a host whose two listeners have the sockets and the series 0 and 1.
pub fn worker(snapshot: Snapshot, metrics: &Arc<ShardMetrics>) -> Worker<()> {
    let bound = |n| Bound { socket: SocketId(n), series: SeriesId(n) };
    [0, 1].into_iter().for_each(|n| metrics.traffic.open(SeriesId(n)));
    let publication = Publication {
        snapshot,
        bindings: Arc::new(Bindings::new([bound(0), bound(1)].into(), &[])),
        sockets: vec![vec![(SocketId(0), ()), (SocketId(1), ())].into_boxed_slice()].into(),
        sockets_since: std::time::Instant::now(),
        stopping: false,
    };
    Worker::new(Setup {
        number: 0,
        published: Arc::new(ArcSwap::from_pointee(publication)),
        metrics: Arc::clone(metrics),
        records: Records::default(),
        questions: Questions::new(KERNEL_QUESTIONS),
        names: Questions::new(DNS_QUESTIONS),
        post: Post::new(1),
        nonce: 1,
        throttles: Arc::default(),
    })
}
