//! What a shard does for a call that comes by a connection, but for the engine's part: framing, all of the proxy, and what
//! is kept of what leaves until that is taken.

use std::hint::black_box;
use std::sync::Arc;

use viaduct::engine::{Accepted, Event, Shard as _, SocketId};
use viaduct::metrics::ShardMetrics;
use viaduct::net::Now;
use viaduct::shard::Worker;
use viaduct::stream::StreamId;

use super::wire::{self, Wire};
use super::{Case, support, traffic};

/// Where the caller has connected to.
const PUBLIC: SocketId = SocketId(0);
/// What leads to the callee.
const PRIVATE: SocketId = SocketId(1);
/// The caller's connection, and the one to the callee where there is one.
const CONNECTIONS: [StreamId; 2] = [StreamId::first(0), StreamId::first(1)];

/// A shard that the caller has connected to.
struct Host {
    worker: Worker<()>,
    wire: Wire,
    now: Now,
    transport: &'static str,
    /// The callee has taken the connection that the first call opens.
    is_connected: bool,
}

impl Host {
    fn new(transport: &'static str) -> Self {
        let configuration = traffic::configuration()
            .replace("udp:192.0.2.254:5060\"\ntcp = false", "tcp:192.0.2.254:5060\"")
            .replace("\nmode = \"stateless\"", "");
        let configuration = match transport {
            "tcp" => configuration.replace("udp:10.0.0.4:5060\"\ntcp = false", "tcp:10.0.0.4:5060\""),
            _ => configuration,
        };
        let snapshot = support::snapshot(&configuration, traffic::ADDRESSES, &[]);
        let worker = wire::worker(snapshot, &Arc::new(ShardMetrics::default()));
        let mut host =
            Self { worker, wire: Wire::new(4), now: Now(1_000_000_000), transport, is_connected: false };
        let from = "192.0.2.1:5060".parse().expect("an address");
        host.batch(Event::Accepted { on: PUBLIC, from, accepted: Accepted::Simulated(0) });
        host
    }

    /// Something happens, and what left before has been taken.
    fn batch(&mut self, event: Event<'_>) {
        let Self { worker, wire, now, .. } = self;
        *now = now.plus_ns(1_000_000);
        worker.begin(wire, *now);
        if let Some((stream, bytes)) = wire.takes() {
            worker.on_event(wire, Event::Wrote { stream, bytes });
        }
        while let Some(cookie) = wire.leaves() {
            worker.on_event(wire, Event::Sent { cookie });
        }
        worker.on_event(wire, event);
        worker.end(wire);
    }

    fn invite(&self, number: u32) -> Vec<u8> {
        let invite = String::from_utf8(traffic::invite(number)).expect("it is text");
        let transport = format!(";transport={} ", self.transport);
        invite.replacen(";user=phone ", &transport, 1).replacen("/UDP", "/TCP", 1).into_bytes()
    }

    /// The caller's INVITE and the callee's 200 to what has left for it, which it gives back.
    fn call(&mut self, invite: &[u8], answer: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let [caller, callee] = CONNECTIONS;
        self.batch(Event::Received { stream: caller, bytes: black_box(invite) });
        assert!(self.wire.last.starts_with(b"INVITE "));
        if !std::mem::replace(&mut self.is_connected, true) {
            self.batch(Event::Connected { stream: callee });
        }
        let answer = answer(&self.wire.last);
        let bytes = black_box(&answer[..]);
        match self.transport {
            "tcp" => self.batch(Event::Received { stream: callee, bytes }),
            _ => {
                let from = "10.0.0.100:5060".parse().expect("an address");
                self.batch(Event::Datagram { on: PRIVATE, from, bytes, truncated: false });
            }
        }
        assert!(self.wire.last.starts_with(b"SIP/2.0 200 "));
        answer
    }
}

/// An INVITE of 600 bytes that comes by a connection, and the 200 that goes back by it.
pub struct Stream {
    host: Host,
    /// Says beforehand what the first one writes.
    oracle: Host,
    number: u32,
    messages: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Stream {
    /// Where the callee is reached by this transport: `udp` or `tcp`.
    pub fn new(transport: &'static str) -> Self {
        let host = || {
            let mut host = Host::new(transport);
            let invite = host.invite(u32::MAX);
            host.call(&invite, traffic::response);
            host
        };
        Self { host: host(), oracle: host(), number: 0, messages: Vec::new() }
    }
}

impl Case for Stream {
    fn prepare(&mut self, calls: usize) {
        let numbers = (0..calls as u32).map(|number| self.number.wrapping_add(number));
        let oracle = &mut self.oracle;
        let call = |number| {
            let invite = oracle.invite(number);
            let ok = oracle.call(&invite, traffic::response);
            (invite, ok)
        };
        self.messages = numbers.map(call).collect();
        self.number = self.number.wrapping_add(calls as u32);
    }

    fn run(&mut self) {
        for (invite, ok) in &mut self.messages {
            *ok = self.host.call(invite, |_| std::mem::take(ok));
        }
    }
}
