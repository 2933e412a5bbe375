//! Fifty thousand connections on one shard: what its tables hold for each, and that nothing is left of them. Sockets and
//! what the engine keeps for them are not in it; `bench-harness connections` measures a whole process.

#[path = "support/held.rs"]
mod held;
#[allow(dead_code)]
mod support;
#[allow(dead_code)]
#[path = "support/traffic.rs"]
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use held::held;
use viaduct::engine::{Accepted, Event, Io, Shard as _, SocketId};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::metrics::{SeriesId, ShardMetrics, StreamEnd};
use viaduct::net::Now;
use viaduct::shard::{Bindings, Bound, Post, Publication, Questions, Records, Setup, Worker};
use viaduct::stream::StreamId;

const CONNECTIONS: u16 = 50_000;
/// What the tables take for each that is idle, at most, as `limits::STREAMS` says.
const EACH_BYTES: f64 = 640.0;
/// From one address: fewer than a shard takes.
const PER_ADDRESS: u16 = 15_000;
/// So often all are opened and closed.
const TIMES: usize = 4;
/// A map that was emptied may double once when it is filled again, because it does not forget at once what was removed: places
/// for 65,536 connections, 128 bytes each. It is some 60 bytes for each connection of the times behind the first.
const GROWN_BYTES: isize = 65_536 * 128;
const LISTENER: SocketId = SocketId(0);

/// An engine without a kernel, whose streams have their places in order.
#[derive(Default)]
struct Wire {
    free: Vec<Vec<u8>>,
    streams: u16,
    written: usize,
}

impl Io for Wire {
    type Tx = Vec<u8>;
    type Source = ();

    fn tx(&mut self) -> Option<Vec<u8>> {
        self.free.pop()
    }

    fn send(&mut self, tx: Vec<u8>, _len: usize, _on: SocketId, _to: SocketAddr, _cookie: u64) {
        self.free.push(tx);
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

struct Bench {
    worker: Worker<()>,
    metrics: Arc<ShardMetrics>,
    wire: Wire,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let shard = support::Shard::new(&traffic::configuration(), traffic::ADDRESSES, &[]);
        let metrics = Arc::new(ShardMetrics::default());
        let bound = |n| Bound { socket: SocketId(n), series: SeriesId(n) };
        [0, 1].into_iter().for_each(|n| metrics.traffic.open(SeriesId(n)));
        let publication = Publication {
            snapshot: shard.snapshot,
            bindings: Arc::new(Bindings::new([bound(0), bound(1)].into(), &[])),
            sockets: vec![vec![(SocketId(0), ()), (SocketId(1), ())].into_boxed_slice()].into(),
            sockets_since: std::time::Instant::now(),
            stopping: false,
        };
        let worker = Worker::new(Setup {
            number: 0,
            published: Arc::new(ArcSwap::from_pointee(publication)),
            metrics: Arc::clone(&metrics),
            records: Records::default(),
            questions: Questions::new(viaduct::limits::KERNEL_QUESTIONS),
            names: Questions::new(viaduct::limits::DNS_QUESTIONS),
            post: Post::new(1),
            nonce: 1,
            throttles: Arc::default(),
        });
        let wire = Wire { free: vec![vec![0; MESSAGE_BYTES]; 4], ..Wire::default() };
        Self { worker, metrics, wire, now: Now(0) }
    }

    fn event(&mut self, event: Event<'_>) {
        self.now = self.now.plus_ns(1_000);
        self.worker.begin(&mut self.wire, self.now);
        self.worker.on_event(&mut self.wire, event);
        self.worker.end(&mut self.wire);
    }

    fn each(&mut self, mut event: impl FnMut(&mut Self, StreamId)) {
        (0..CONNECTIONS).for_each(|place| event(self, StreamId::first(place)));
    }

    fn open(&mut self) {
        self.wire.streams = 0;
        for number in 0..CONNECTIONS {
            let ip = [192, 0, 2, 1 + (number / PER_ADDRESS) as u8];
            let from = SocketAddr::from((ip, 1_024 + number));
            self.event(Event::Accepted { on: LISTENER, from, accepted: Accepted::Simulated(0) });
        }
    }

    /// All are there, a keep-alive has been answered on each, and some have begun a message.
    fn speak(&mut self) {
        self.wire.written = 0;
        self.each(|bench, stream| {
            bench.event(Event::Received { stream, bytes: b"\r\n\r\n" });
            bench.event(Event::Wrote { stream, bytes: 2 });
        });
        assert_eq!(self.wire.written, 2 * usize::from(CONNECTIONS));
    }

    fn end(&mut self) {
        self.each(|bench, stream| bench.event(Event::Ended { stream, errno: libc::ECONNRESET }));
    }
}

#[test]
fn connections_take_what_is_stated_and_leave_nothing() {
    let mut bench = Bench::new();
    bench.event(Event::Closed { on: SocketId(9) });
    let before = held();
    let mut left = [0; TIMES];
    for (time, left) in (1..).zip(&mut left) {
        bench.open();
        bench.speak();
        let streams = &bench.metrics.streams;
        assert_eq!((streams.open.get(), streams.kept_bytes.get()), (u64::from(CONNECTIONS), 0));
        let each = (held() - before) as f64 / f64::from(CONNECTIONS);
        println!("{each:.0} bytes for each");
        assert!(time > 1 || each <= EACH_BYTES, "{each} bytes for each of {CONNECTIONS}");
        bench.each(|bench, stream| {
            if stream.place() % 50 == 0 {
                bench.event(Event::Received { stream, bytes: b"INVITE sip:x SIP/2.0\r\n" });
            }
        });
        assert!(bench.metrics.streams.kept_bytes.get() >= 22 * u64::from(CONNECTIONS) / 50);
        bench.end();
        let streams = &bench.metrics.streams;
        let ended = streams.ended[StreamEnd::Broken as usize].get();
        let left_over = (streams.open.get(), streams.kept_bytes.get(), ended);
        assert_eq!(left_over, (0, 0, time * u64::from(CONNECTIONS)));
        *left = held() - before;
    }
    assert!(left[TIMES - 1] - left[0] <= GROWN_BYTES, "tables stay, and grow no more: {left:?}");
}
