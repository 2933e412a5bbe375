//! A host made of literals, and user agents that speak to it in text.

use std::net::SocketAddr;
use std::sync::Arc;

use sip_parser::{HeaderLine, parse};

use crate::drop_reason::DropReason;
use crate::fib::spec::{Link, Route};
use crate::fib::{Builder, Fib};
use crate::limits::{HEADER_LINES, MESSAGE_BYTES};
use crate::net::{GatewayId, Now, Transport};
use crate::proxy::{Decision, Incoming, Outcome, State, Tally, handle};
use crate::snapshot::Snapshot;
use crate::stream::{Broken, Number, StreamId};
use crate::token::{BRANCH_LEN, Keys, LOOP_MARK_LEN, RECORD_ROUTE_LEN, TO_TAG_LEN};
use crate::transaction::{Handle, Size, What};

/// Three networks and six listeners; everything from the inside may go where it asks, the outside may
/// reach one gateway.
pub const CONFIGURATION: &str = r#"
[identity]
domains = ["sip.example.net"]

[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "public-5080"
bind = "udp:203.0.113.10:5080"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "natted"
bind = "udp:10.0.1.4:5060"
advertise = "198.51.100.7:5070"

[[listener]]
name = "six"
bind = "udp:[2001:db8:1::4]:5060"

[[listener]]
name = "loopback"
bind = "udp:127.0.0.1:5060"

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
name = "via-name"
when = { ruri_prefix = ["49"] }
to = "sip:media.example.net:5062"
mode = "stateless"

[[route]]
name = "marked"
when = { header = { X-Trunk = "^gold$" } }
to = "sip:10.0.0.102:5060"
mode = "stateless"

[[route]]
name = "plain"
when = { method = ["INVITE"], ruri_user = "^unrecorded$" }
to = "request-uri"
mode = "stateless"
record_route = false

[[route]]
name = "inside-out"
when = { source = ["10.0.0.0/8", "2001:db8:1::/48"] }
to = "request-uri"
mode = "stateless"

[[route]]
name = "from-loopback"
when = { listener = ["loopback"] }
to = "request-uri"
mode = "stateless"
"#;

pub struct World {
    pub configuration: String,
    pub snapshot: Snapshot,
    pub state: State,
    pub now: Now,
    pub out: Vec<u8>,
    /// The one that was opened last for a request that goes on.
    pub transaction: Option<Handle>,
}

/// What became of a message, with what was sent as text: lines end in `\n`.
#[derive(Debug)]
pub enum Became {
    Forward { from: String, to: SocketAddr, decision: Decision, text: String },
    Relay { from: String, to: SocketAddr, status: u16, text: String },
    Answer { to: SocketAddr, status: u16, text: String },
    HandOver(u16),
    Drop(DropReason),
}

/// What a transaction sent by itself.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at_ms: u64,
    pub what: What,
    pub from: String,
    pub to: SocketAddr,
    pub text: String,
    pub gateway: Option<GatewayId>,
    pub transaction: Option<Handle>,
}

impl World {
    pub fn new() -> Self {
        Self::of(CONFIGURATION, fib())
    }

    /// The same host, which keeps transactions of what comes from the inside: shard `number` of `shards`.
    pub fn stateful(number: u16, shards: usize) -> Self {
        let inside_out = CONFIGURATION.find("name = \"inside-out\"").unwrap();
        let (others, inside_out) = CONFIGURATION.split_at(inside_out);
        Self::keeping(&(others.to_owned() + &inside_out.replacen("less", "ful", 1)), number, shards)
    }

    /// A host that keeps transactions: shard `number` of `shards`.
    pub fn keeping(configuration: &str, number: u16, shards: usize) -> Self {
        let mut world = Self::of(configuration, fib());
        let state = State::with_pins(shards, &world.snapshot, 64);
        world.state = state.keeping(number, Size { transactions: 4, blocks: 64 }, &world.snapshot);
        world
    }

    /// What transactions send by now.
    pub fn due(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(own) = self.state.next(&self.snapshot, self.now, &mut self.out) {
            let from = self.snapshot.plan.listener(own.on).name.to_string();
            let text = unwire(&self.out[..own.len]);
            let at_ms = self.now.0 / 1_000_000;
            let (gateway, transaction) = (own.gateway, own.transaction);
            all.push(Sent { at_ms, what: own.what, from, to: own.to, text, gateway, transaction });
        }
        all
    }

    /// What transactions send in the next so many milliseconds.
    pub fn pass(&mut self, ms: u64) -> Vec<Sent> {
        let end = self.now.plus_ns(ms * 1_000_000);
        let mut all = Vec::new();
        while let Some(at) = self.state.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            all.extend(self.due());
        }
        self.now = end;
        all
    }

    pub fn of(configuration: &str, fib: Fib) -> Self {
        let snapshot = snapshot(configuration, fib, 1);
        let state = State::with_pins(2, &snapshot, 64);
        let (configuration, out) = (configuration.to_owned(), vec![0; MESSAGE_BYTES]);
        Self { configuration, snapshot, state, now: Now(1_000_000_000), out, transaction: None }
    }

    /// The process starts anew with the same files.
    pub fn restart(&mut self) {
        self.state = State::with_pins(2, &self.snapshot, 64);
    }

    /// Another routing policy is published.
    pub fn reroute(&mut self, fib: Fib) {
        let configuration = std::mem::take(&mut self.configuration);
        self.reconfigure(&configuration, fib);
        self.configuration = configuration;
    }

    /// Another configuration, too.
    pub fn reconfigure(&mut self, configuration: &str, fib: Fib) {
        self.snapshot = snapshot(configuration, fib, self.snapshot.generation + 1);
        self.state.adopt(&self.snapshot, self.now);
    }

    /// The interface of listener `public` goes; all routes are by the other one.
    pub fn lose_public(&mut self) {
        let alone = |text: &str| text.parse().expect("an address with its length");
        let without_public = crate::fib::Builder::host()
            .link(crate::fib::spec::Link::up(3, "private"))
            .assign(3, alone("10.0.0.4/24"))
            .route(Route::new(alone("0.0.0.0/0"), 3, Some("10.0.0.1".parse().unwrap())))
            .build();
        self.reroute(without_public);
    }

    pub fn tally(&self) -> Tally {
        self.state.tally(self.now)
    }

    /// Handles a datagram of `text` (with `\n` for line ends).
    pub fn receive(&mut self, on: &str, from: &str, text: &str) -> Became {
        self.receive_bytes(on, from, wire(text).as_bytes())
    }

    pub fn receive_bytes(&mut self, on: &str, from: &str, bytes: &[u8]) -> Became {
        let transport = self.snapshot.plan.listener_named(on).expect("a listener").transport;
        let stream = Number::new(1, StreamId::first(3));
        let stream = if transport == Transport::Udp { Number::NONE } else { stream };
        self.receive_by(on, from, bytes, stream, None)
    }

    /// Handles a message that came by this stream.
    pub fn receive_by(
        &mut self,
        on: &str,
        from: &str,
        bytes: &[u8],
        stream: Number,
        broken: Option<Broken>,
    ) -> Became {
        self.now = self.now.plus_ns(1_000_000);
        let on = self.snapshot.plan.listener_named(on).expect("a listener").id;
        let from = from.parse().expect("a socket address");
        // As a stream's framing hands it on.
        let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
        let read = parse(bytes, &mut lines).ok().filter(|_| stream.is_stream() && broken.is_none());
        let read = read.as_ref();
        let incoming = Incoming { stream, broken, read, ..Incoming::datagram(bytes, on, from) };
        let outcome = handle(&mut self.state, &self.snapshot, &incoming, self.now, &mut self.out);
        let text = |len: usize| unwire(&self.out[..len]);
        let name = |id| self.snapshot.plan.listener(id).name.to_string();
        match outcome {
            Outcome::Forward { decision, len, transaction } => {
                self.transaction = transaction;
                Became::Forward {
                    from: name(decision.egress.listener),
                    to: decision.next_hop.address,
                    decision,
                    text: text(len),
                }
            }
            Outcome::Relay { on, to, len, status, .. } => {
                Became::Relay { from: name(on), to, status, text: text(len) }
            }
            Outcome::Answer { to, len, status } => Became::Answer { to, status, text: text(len) },
            Outcome::HandOver(owner) => Became::HandOver(owner),
            Outcome::Drop(reason) => Became::Drop(reason),
        }
    }

    /// The text of a request that has to be forwarded by this listener to this address.
    #[track_caller]
    pub fn forwarded(&mut self, on: &str, from: &str, text: &str, by: &str, to: &str) -> String {
        match self.receive(on, from, text) {
            Became::Forward { from, to: hop, text, .. } => {
                assert_eq!((from.as_str(), hop.to_string().as_str()), (by, to), "{text}");
                text
            }
            other => panic!("not forwarded: {other:?}"),
        }
    }

    /// The text of a response that has to be relayed by this listener to this address.
    #[track_caller]
    pub fn relayed(&mut self, on: &str, from: &str, text: &str, by: &str, to: &str) -> String {
        match self.receive(on, from, text) {
            Became::Relay { from, to: hop, status, text } => {
                assert!(text.starts_with(&format!("SIP/2.0 {status}")), "{text}");
                assert_eq!((from.as_str(), hop.to_string().as_str()), (by, to), "{text}");
                text
            }
            other => panic!("not relayed: {other:?}"),
        }
    }

    /// The text of our own answer with this status.
    #[track_caller]
    pub fn answered(&mut self, on: &str, from: &str, text: &str, status: u16) -> String {
        match self.receive(on, from, text) {
            Became::Answer { status: got, text, .. } => {
                assert_eq!(got, status, "{text}");
                text
            }
            other => panic!("not answered: {other:?}"),
        }
    }

    #[track_caller]
    pub fn dropped(&mut self, on: &str, from: &str, text: &str, reason: DropReason) {
        match self.receive(on, from, text) {
            Became::Drop(got) => assert_eq!(got, reason),
            other => panic!("not dropped: {other:?}"),
        }
    }
}

fn snapshot(configuration: &str, fib: Fib, generation: u64) -> Snapshot {
    let loaded = crate::config::from_str("test.toml", configuration, &fib);
    let plan = loaded.unwrap_or_else(|findings| panic!("{findings}")).plan;
    let keys = Keys::from_secret(b"a key for tests.");
    Snapshot::new(generation, Arc::new(plan), Arc::new(fib), Arc::new(keys), Arc::default())
}

/// The host of [`CONFIGURATION`].
pub fn builder() -> Builder {
    let route = |prefix: &str, dev, via: &str| {
        Route::new(prefix.parse().expect("a prefix"), dev, Some(via.parse().expect("an address")))
    };
    let net = |text: &str| text.parse().expect("an address with its length");
    Builder::host()
        .link(Link::up(2, "public"))
        .link(Link::up(3, "private"))
        .link(Link::up(4, "six"))
        .assign(2, net("203.0.113.10/24"))
        .assign(3, net("10.0.0.4/24"))
        .assign(3, net("10.0.1.4/24"))
        .assign(4, net("2001:db8:1::4/64"))
        .route(route("0.0.0.0/0", 2, "203.0.113.1"))
        .route(route("10.9.0.0/16", 3, "10.0.0.1"))
        .route(route("2001:db8::/32", 4, "2001:db8:1::1"))
}

pub fn fib() -> Fib {
    builder().build()
}

/// Line ends as they are on the wire.
pub fn wire(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn unwire(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).expect("tests speak UTF-8").replace("\r\n", "\n");
    assert!(!text.contains('\r'), "a bare CR in {text:?}");
    text
}

/// The text with what Viaduct computed replaced by names: `BRANCH`, `MARK`, `TOKEN`, `TAG`.
pub fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let found = [
            ("branch=z9hG4bKbs", "branch=".len(), BRANCH_LEN, "BRANCH"),
            (";vl=", 4, LOOP_MARK_LEN, "MARK"),
            ("<sip:ae", 5, RECORD_ROUTE_LEN, "TOKEN"),
            ("<sips:ae", 6, RECORD_ROUTE_LEN, "TOKEN"),
        ]
        .into_iter()
        .filter_map(|(prefix, keep, len, name)| rest.find(prefix).map(|at| (at, keep, len, name)))
        .min();
        let Some((at, keep, len, name)) = found else { break };
        out.push_str(&rest[..at + keep]);
        out.push_str(name);
        rest = &rest[at + keep + len..];
    }
    out + rest
}

/// The same for the To tag of our own answers, which looks like any other.
pub fn masked_answer(text: &str) -> String {
    let to = text.lines().find(|line| line.starts_with("To:")).expect("a To");
    match to.split_once(";tag=") {
        Some((_, tag)) if tag.len() == TO_TAG_LEN => text.replace(tag, "TAG"),
        _ => text.to_owned(),
    }
}

/// The first line that begins with `name: `, without it.
pub fn header<'t>(text: &'t str, name: &str) -> &'t str {
    headers(text, name).next().unwrap_or_else(|| panic!("no {name} in {text}"))
}

pub fn headers<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let prefix = format!("{name}: ");
    text.lines().filter_map(move |line| line.strip_prefix(prefix.as_str()))
}

/// What a user agent server answers: the dialog's headers as they came, and a To tag.
pub fn response(request: &str, status: &str, to_tag: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in headers(request, name) {
            let tag = if name == "To" && !value.contains(";tag=") {
                format!(";tag={to_tag}")
            } else {
                String::new()
            };
            out += &format!("{name}: {value}{tag}\n");
        }
    }
    out + "Content-Length: 0\n\n"
}
