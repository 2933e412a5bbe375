//! A host made of literals: three networks, four listeners, rules of every kind; and what its topmost Via
//! says of a request that came in.

use std::cell::RefCell;
use std::mem;
use std::net::SocketAddr;

use sip_parser::{HeaderName, Message, Via};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::Now;
use viaduct::proxy::{Incoming, Outcome, State, handle};
use viaduct::snapshot::Snapshot;

use crate::support;

pub const CONFIGURATION: &str = r#"
[identity]
domains = ["sip.example.net"]

[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"
tcp = false

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"
tcp = false

[[listener]]
name = "natted"
bind = "udp:10.0.1.4:5080"
tcp = false
advertise = "198.51.100.7:5070"

[[listener]]
name = "six"
bind = "udp:[2001:db8:1::4]:5060"
tcp = false

[hosts]
"media.example.net" = ["10.0.0.100"]
"both.example.net" = ["2001:db8:9::9", "10.0.0.101"]

[[route]]
name = "unwanted"
when = { ruri_user = "^unwanted$" }
reject = 603

[[route]]
name = "silent"
when = { ruri_user = "^silent$" }
drop = true

[[route]]
name = "star"
when = { ruri_user = '^\*33[0-9]+$' }
to = "sip:10.0.0.100:5060"
mode = "stateless"
egress = "private"

[[route]]
name = "by-name"
when = { ruri_prefix = ["49"] }
to = "sip:media.example.net:5062"
mode = "stateless"

[[route]]
name = "by-header"
when = { header = { X-Trunk = "^gold$" } }
to = "sip:10.0.1.102:5060"
mode = "stateless"

[[route]]
name = "unrecorded"
when = { method = ["INVITE"], ruri_user = "^unrecorded$" }
to = "request-uri"
mode = "stateless"
record_route = false

[[route]]
name = "inside-out"
when = { source = ["10.0.0.0/8", "2001:db8:1::/48"] }
to = "request-uri"
mode = "stateless"
"#;

/// What means us in a message.
pub const OUR_NAMES: &[&str] =
    &["203.0.113.10", "10.0.0.4", "10.0.1.4", "198.51.100.7", "2001:db8:1:", "sip.example.net"];

pub const ADDRESSES: &[&str] = &["203.0.113.10/24", "10.0.0.4/24", "10.0.1.4/24", "2001:db8:1::4/64"];
pub const GATEWAYS: &[&str] = &["203.0.113.1", "2001:db8:1::1"];

/// Where a datagram comes in: listener and source.
pub const PLACES: &[(&str, &str)] = &[
    ("private", "10.0.0.50:5060"),
    ("public", "192.0.2.9:5062"),
    ("natted", "10.0.1.50:5060"),
    ("six", "[2001:db8:1::50]:5060"),
];

/// One shard's state. To start it anew takes a hundred times as long as most messages do.
pub struct Shard {
    shards: usize,
    state: State,
    /// Something is remembered.
    is_used: bool,
}

impl Shard {
    pub fn new(shards: usize, snapshot: &Snapshot) -> Self {
        Self { shards, state: State::with_pins(shards, snapshot, 16), is_used: false }
    }

    /// It has forgotten what was in flight: what was dropped, or answered before it was decided on, has left nothing.
    pub fn forget(&mut self, snapshot: &Snapshot) {
        if self.is_used {
            *self = Self::new(self.shards, snapshot);
        }
    }

    /// Handles a datagram, which came in a second after the start.
    pub fn handle(&mut self, snapshot: &Snapshot, incoming: &Incoming<'_>, out: &mut [u8]) -> Outcome {
        let now = Now(1_000_000_000);
        let outcome = handle(&mut self.state, snapshot, incoming, now, out);
        let went_nowhere = matches!(outcome, Outcome::Answer { .. } | Outcome::Drop(_));
        self.is_used |= !went_nowhere || self.state.tally(now).pins > 0;
        outcome
    }
}

/// One shard's decisions on this host.
pub struct Host {
    /// What it decides by.
    pub snapshot: Snapshot,
    shard: Shard,
    other: Shard,
}

impl Host {
    /// A listener is bound to it, or advertises it.
    pub fn is_ours(&self, to: SocketAddr) -> bool {
        let is_it = |ip: std::net::IpAddr, port: u16| (ip, port) == (to.ip().to_canonical(), to.port());
        let mut listeners = self.snapshot.plan.listeners.iter();
        listeners.any(|l| {
            is_it(l.bind.ip(), l.bind.port())
                || l.advertise.iter().any(|a| a.ip.is_some_and(|ip| is_it(ip, a.port)))
        })
    }

    fn new() -> Self {
        let snapshot = support::snapshot(CONFIGURATION, ADDRESSES, GATEWAYS);
        let [shard, other] = [(); 2].map(|()| Shard::new(2, &snapshot));
        Self { snapshot, shard, other }
    }

    /// What comes from now on is handled by one that remembers nothing.
    pub fn restart(&mut self) {
        mem::swap(&mut self.shard, &mut self.other);
        self.shard.forget(&self.snapshot);
    }

    /// See [`Shard::handle`].
    pub fn handle(&mut self, incoming: &Incoming<'_>, out: &mut [u8]) -> Outcome {
        self.shard.handle(&self.snapshot, incoming, out)
    }
}

/// Does this with the host, newly started, for `bytes` as they come in at each place.
pub fn at_every_place(bytes: &[u8], mut work: impl FnMut(&mut Host, &Incoming<'_>)) {
    thread_local! {
        static HOST: RefCell<Host> = RefCell::new(Host::new());
    }
    HOST.with_borrow_mut(|host| {
        for (listener, source) in PLACES {
            host.restart();
            let on = host.snapshot.plan.listener_named(listener).expect("it is configured").id;
            let from = source.parse().expect("an address");
            work(host, &Incoming::datagram(bytes, on, from));
        }
    });
}

/// What becomes of these bytes at each place, and what is sent.
pub fn becomes(bytes: &[u8]) -> Vec<(Outcome, Vec<u8>)> {
    let mut all = Vec::new();
    let mut out = vec![0; MESSAGE_BYTES];
    at_every_place(bytes, |host, incoming| {
        let outcome = host.handle(incoming, &mut out);
        let len = match outcome {
            Outcome::Forward { len, .. } | Outcome::Relay { len, .. } | Outcome::Answer { len, .. } => len,
            Outcome::HandOver(_) | Outcome::Drop(_) => 0,
        };
        all.push((outcome, out[..len].to_vec()));
    });
    all
}

/// The line with the topmost Via as it goes on: RFC 3261 §18.2.1 and RFC 3581 §4 say what is noted in it.
/// `None`: that Via cannot be read.
pub fn marked_via_line(received: &Message<'_>, source: SocketAddr) -> Option<Vec<u8>> {
    let value = received.values(HeaderName::Via).next()?.ok()?;
    let via = Via::parse(value.text).ok()?;
    let (ip, port) = (source.ip(), source.port());
    let asks = via.params().has(b"rport");
    // A client's own `rport` gets its value where it stands last.
    let is_last = asks && value.text.to_ascii_lowercase().ends_with(b";rport");
    let is_source = via.host().ip().is_some_and(|own| own.to_canonical() == ip);
    let noted = match (asks, is_source) {
        (true, _) if is_last => format!("={port};received={ip}"),
        (true, _) => format!(";received={ip};rport={port}"),
        (false, true) => String::new(),
        (false, false) => format!(";received={ip}"),
    };
    let is_stale = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"received") || (!is_last && name.eq_ignore_ascii_case(b"rport"))
    };
    let stale: Vec<_> = (via.params().iter())
        .filter(|p| is_stale(p.name))
        .filter_map(|p| Some(received.span_of(p.with_semicolon)?.range()))
        .collect();
    let mut line = Vec::new();
    for at in value.line.line.range() {
        if at == usize::from(value.span.end) {
            line.extend_from_slice(noted.as_bytes());
        }
        if !stale.iter().any(|range| range.contains(&at)) {
            line.push(received.bytes()[at]);
        }
    }
    Some(line)
}

/// Where a response to a request from `source` goes (RFC 3261 §18.2.2, RFC 3581 §4), if its Via sends it to
/// nobody else by `maddr`.
pub fn response_goes_to(via: &Via<'_>, source: SocketAddr) -> Option<SocketAddr> {
    let port = if via.params().has(b"rport") { source.port() } else { via.port().unwrap_or(5060) };
    via.params().value(b"maddr").is_none().then_some(SocketAddr::new(source.ip(), port))
}
