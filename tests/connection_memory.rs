//! Fifty thousand connections on one shard: what its tables hold for each, and that nothing is left of them. Sockets and
//! what the engine keeps for them are not in it; `bench-harness connections` measures a whole process.

#[path = "support/held.rs"]
mod held;
#[allow(dead_code)]
mod support;
#[allow(dead_code)]
#[path = "support/traffic.rs"]
mod traffic;
#[allow(dead_code)]
#[path = "support/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use held::held;
use viaduct::engine::{Accepted, Event, Shard as _, SocketId};
use viaduct::metrics::{ShardMetrics, StreamEnd};
use viaduct::net::Now;
use viaduct::shard::Worker;
use viaduct::stream::StreamId;
use wire::Wire;

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

struct Bench {
    worker: Worker<()>,
    metrics: Arc<ShardMetrics>,
    wire: Wire,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let snapshot = support::snapshot(&traffic::configuration(), traffic::ADDRESSES, &[]);
        let metrics = Arc::new(ShardMetrics::default());
        let worker = wire::worker(snapshot, &metrics);
        Self { worker, metrics, wire: Wire::new(4), now: Now(0) }
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
