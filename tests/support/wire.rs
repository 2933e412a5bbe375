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
}

impl Wire {
    /// With so many send buffers.
    pub fn new(buffers: usize) -> Self {
        Self {
            free: vec![vec![0; MESSAGE_BYTES]; buffers],
            sent: Vec::with_capacity(buffers),
            ..Self::default()
        }
    }

    /// A datagram has left: what the shard keeps of it.
    pub fn leaves(&mut self) -> Option<u64> {
        let (tx, cookie) = self.sent.pop()?;
        self.free.push(tx);
        Some(cookie)
    }
}

impl Io for Wire {
    type Tx = Vec<u8>;
    type Source = ();

    fn tx(&mut self) -> Option<Vec<u8>> {
        self.free.pop()
    }

    fn send(&mut self, tx: Vec<u8>, _len: usize, _on: SocketId, _to: SocketAddr, cookie: u64) {
        self.sent.push((tx, cookie));
    }

    fn discard(&mut self, tx: Vec<u8>) {
        self.free.push(tx);
    }

    fn wake(&mut self, _shard: u16) {}

    fn open(&mut self, _id: SocketId, _source: &()) {}

    fn close(&mut self, _id: SocketId) {}

    fn adopt(&mut self, _: Accepted) -> Option<StreamId> {
        self.streams += 1;
        Some(StreamId::first(self.streams - 1))
    }

    fn write(&mut self, _stream: StreamId, bytes: &[u8]) -> bool {
        self.written += bytes.len();
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
