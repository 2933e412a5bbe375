//! Connections of a shard: who pays for a shortage, and what ends one.

use sip_parser::{HeaderLine, parse};

use super::*;
use crate::group::{Fault, Health, Heard, Ping, Roster};
use crate::metrics::StreamEnd;
use crate::net::GatewayId;
use crate::shard::cookie::Cookie;
use crate::shard::record::Opening;
use crate::shard::way::Way;
use crate::stream::{Layer, Scratch, Waiting, owner_of};

/// Streams of an engine that keeps what is written.
#[derive(Default)]
pub struct FakeStreams {
    next: u16,
    pub written: Vec<(StreamId, Vec<u8>)>,
    pub finished: Vec<StreamId>,
    pub reset: Vec<StreamId>,
    pub paused: BTreeSet<StreamId>,
    /// It takes nothing more.
    full: Option<StreamId>,
    /// There is room once so many were reset.
    room_after: usize,
    /// How long bytes of these have waited for a buffer, in nanoseconds.
    pub unread: BTreeMap<StreamId, u64>,
    /// Connections can be begun.
    pub connects: bool,
}

impl FakeStreams {
    pub fn adopt(&mut self) -> StreamId {
        self.next += 1;
        StreamId::first(self.next)
    }

    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        let goes = self.has_room() && self.full != Some(stream) && !self.reset.contains(&stream);
        if goes {
            self.written.push((stream, bytes.to_vec()));
        }
        goes
    }

    pub fn has_room(&self) -> bool {
        self.reset.len() >= self.room_after
    }
}

const RELAY: &[u8] = b"RELAY sip:x SIP/2.0\r\nl: 0\r\n\r\n";

impl Bench {
    pub fn one_shard() -> Self {
        let bench = Self::new();
        bench.post.leave(1);
        bench
    }

    pub fn event(&mut self, event: Event<'_>) -> Next {
        self.shard.begin(&mut self.io, self.now);
        self.shard.on_event(&mut self.io, event);
        self.shard.end(&mut self.io)
    }

    /// A connection from there.
    pub fn accept(&mut self, from: &str) -> StreamId {
        let from = from.parse().unwrap();
        self.event(Event::Accepted { on: PUBLIC, from, accepted: Accepted::Simulated(0) });
        StreamId::first(self.io.streams.next)
    }

    /// A connection from there over WebSocket.
    pub fn browser(&mut self, from: &str) -> StreamId {
        let hello = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: sip\r\n\r\n";
        let stream = self.accept(from);
        let connection = self.shard.streams.get(stream).expect("a connection");
        connection.layer = Layer::accept(Transport::Ws, None).expect("a layer");
        connection.receive(hello, &mut Scratch::default(), self.now).1.expect("a handshake");
        stream
    }

    pub fn comes(&mut self, stream: StreamId, bytes: &[u8]) {
        self.event(Event::Received { stream, bytes });
    }

    pub fn written(&self, stream: StreamId) -> usize {
        self.io.streams.written.iter().filter(|(to, _)| *to == stream).count()
    }
}

#[test]
fn a_shortage_is_paid_by_whoever_takes_most_and_not_by_who_writes_next() {
    let mut bench = Bench::one_shard();
    let (heavy, innocent) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.2:1000"));
    for _ in 0..10 {
        bench.comes(heavy, RELAY);
    }
    bench.comes(innocent, RELAY);
    bench.io.streams.room_after = 1;
    bench.comes(innocent, RELAY);
    assert_eq!(bench.io.streams.reset, [heavy]);
    assert_eq!((bench.written(heavy), bench.written(innocent)), (10, 2));
    assert_eq!(bench.dropped(), 0);
}

/// What a connection that is being closed has yet to send takes as much.
#[test]
fn a_shortage_is_paid_by_connections_that_are_being_closed_too() {
    let mut bench = Bench::one_shard();
    let (heavy, innocent) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.2:1000"));
    for _ in 0..10 {
        bench.comes(heavy, RELAY);
    }
    bench.comes(heavy, b"No SIP\r\n\r\n");
    assert_eq!(bench.io.streams.finished, [heavy]);
    bench.comes(innocent, RELAY);
    bench.io.streams.room_after = 1;
    bench.comes(innocent, RELAY);
    assert_eq!((&bench.io.streams.reset[..], bench.written(innocent)), (&[heavy][..], 2));
}

#[test]
fn who_asks_for_pongs_and_takes_none_is_cut_off() {
    let mut bench = Bench::one_shard();
    let (first, second) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.1:1001"));
    bench.io.streams.full = Some(first);
    // What follows a ping that finds no room is not handled any more.
    bench.comes(first, &[b"\r\n\r\n", RELAY].concat());
    assert_eq!((&bench.io.streams.reset[..], bench.received()), (&[first][..], 0));
    bench.comes(first, RELAY);
    assert_eq!(bench.received(), 0, "nor what comes before the engine has closed it");
    // Its pongs find room, and it takes none of them.
    bench.comes(second, b"\r\n\r\n");
    bench.now = bench.now.plus_ns(limits::STREAM_STALLED_NS + SECOND_NS);
    bench.batch(&[]);
    assert_eq!(bench.io.streams.reset, [first, second]);
}

/// A request that is forwarded, and whose answer does not come.
const ASKS: &[u8] = b"INVITE sip:x SIP/2.0\r\nv: SIP/2.0/TCP a;branch=z9hG4bK1\r\nl: 0\r\n\r\n";

#[test]
fn a_peer_that_ends_is_not_kept_for_answers_that_will_not_come() {
    let mut bench = Bench::one_shard();
    let [dropped, no_via, waits] = [1000, 1001, 1002].map(|port| bench.accept(&format!("192.0.2.1:{port}")));
    let drops = [&b"DROP"[..], &ASKS[6..]].concat();
    for (stream, asks) in
        [(dropped, &drops[..]), (no_via, b"INVITE sip:x SIP/2.0\r\nl: 0\r\n\r\n"), (waits, ASKS)]
    {
        bench.comes(stream, asks);
        bench.comes(stream, b"");
    }
    assert_eq!(bench.io.streams.finished, [dropped, no_via]);
}

#[test]
fn a_peer_that_ends_within_a_message_still_gets_its_answers() {
    let mut bench = Bench::one_shard();
    let (waits, done) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.1:1001"));
    for stream in [waits, done] {
        let whole = if stream == waits { ASKS } else { b"" };
        bench.comes(stream, &[whole, b"OPTIONS sip:x"].concat());
        bench.comes(stream, b"");
    }
    assert_eq!(bench.io.streams.finished, [done]);
    bench.now = bench.now.plus_ns(limits::STREAM_HEADER_NS + SECOND_NS);
    bench.batch(&[]);
    assert!(bench.io.streams.reset.is_empty(), "the rest is not waited for");
    bench.now = bench.now.plus_ns(limits::STREAM_HALF_CLOSED_NS);
    bench.batch(&[]);
    assert_eq!(bench.io.streams.finished, [done, waits]);
}

/// A message that is late because its bytes wait in our kernel is waited for that much longer.
#[test]
fn the_time_that_bytes_wait_for_a_buffer_is_not_the_peers() {
    let mut bench = Bench::one_shard();
    let waited_ns = limits::STREAM_HEADER_NS + SECOND_NS;
    let (unread, slow) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.2:1000"));
    [unread, slow].into_iter().for_each(|stream| bench.comes(stream, b"OPTIONS sip:x"));
    bench.io.streams.unread.insert(unread, waited_ns);
    bench.now = bench.now.plus_ns(waited_ns);
    bench.batch(&[]);
    assert_eq!(bench.io.streams.reset, [slow]);
    bench.comes(unread, b" SIP/2.0\r\n");
    bench.io.streams.unread.clear();
    bench.now = bench.now.plus_ns(limits::STREAM_HEADER_NS - SECOND_NS);
    bench.batch(&[]);
    assert_eq!(bench.io.streams.reset, [slow], "it has as long as others");
    bench.now = bench.now.plus_ns(2 * SECOND_NS);
    bench.batch(&[]);
    assert_eq!(bench.io.streams.reset, [slow, unread], "and no longer");
}

#[test]
fn a_shard_that_stops_closes_its_connections_and_waits_for_that() {
    let mut bench = Bench::one_shard();
    let (first, second) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.1:1001"));
    bench.comes(first, RELAY);
    let last = Publication { stopping: true, ..publication(2, Arc::clone(&bench.plan), &[]) };
    bench.published.store(Arc::new(last));
    bench.event(Event::Closed { on: PUBLIC });
    bench.event(Event::Closed { on: PRIVATE });
    assert!(bench.io.streams.finished.is_empty(), "something is to be sent yet");
    bench.event(Event::Wrote { stream: first, bytes: 4 });
    assert_eq!(bench.io.streams.finished, [first, second]);
    bench.event(Event::Ended { stream: first, errno: 0 });
    assert_eq!(bench.shard.ended(), None);
    assert_eq!(bench.event(Event::Ended { stream: second, errno: 0 }), Next::Stop);
    assert_eq!(bench.io.streams.finished.len(), 2, "once each");
}

#[test]
fn a_panic_of_the_framing_costs_one_connection() {
    let mut bench = Bench::one_shard();
    let (broken, other) = (bench.accept("192.0.2.1:1000"), bench.accept("192.0.2.1:1001"));
    bench.comes(broken, b"PANIC sip:x SIP/2.0\r\nl: 0\r\n\r\n");
    assert_eq!(bench.io.streams.reset, [broken]);
    assert!(bench.records().iter().any(|kind| matches!(kind, RecordKind::Panic { .. })));
    bench.comes(other, RELAY);
    assert_eq!((bench.written(other), bench.io.free), (1, POOL));
}

#[test]
fn each_message_is_counted_once_when_it_has_left_or_failed() {
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    for _ in 0..3 {
        bench.comes(stream, RELAY);
    }
    assert_eq!((bench.sent(), bench.dropped()), (0, 0), "the kernel has taken none");
    let len = bench.io.streams.written[0].1.len();
    bench.event(Event::Wrote { stream, bytes: 2 * len - 1 });
    assert_eq!((bench.sent(), bench.dropped()), (1, 0));
    bench.event(Event::Wrote { stream, bytes: 1 });
    bench.event(Event::Ended { stream, errno: libc::ECONNRESET });
    assert_eq!((bench.sent(), bench.dropped()), (2, 1));
    assert_eq!(bench.metrics.dropped_count(DropReason::ConnectionFailed), 1);
    // What a transaction sends by itself, and cannot, is no message that was dropped.
    let way = bench.shard.way_of(ListenerId(0), "192.0.2.1:1000".parse().unwrap(), Number::OPENED);
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(7)) };
    bench.shard.leave_by_stream(&mut bench.io, b"ACK", &way, own);
    assert_eq!(bench.dropped(), 1);
    assert_eq!(bench.failed.borrow().len(), 1);
    // The connection that was accepted has ended; the one that could not be opened is none that did.
    let ended = |how: StreamEnd| bench.metrics.streams.ended[how as usize].get();
    let all = |was_open| StreamEnd::ALL.into_iter().filter(|how| how.was_open() == was_open).map(ended).sum();
    let (were_open, never): (u64, u64) = (all(true), all(false));
    assert_eq!((bench.metrics.streams.accepted.get(), were_open, never), (1, 1, 1));
}

#[test]
fn an_answer_goes_to_nobody_who_has_its_connections_number_later() {
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(None) };
    let way = bench.shard.way_of(ListenerId(0), "192.0.2.1:5060".parse().unwrap(), Number::new(0, stream));
    // The same address behind a NAT, another port; and the same port in the process before.
    for (nonce, port) in [(NONCE, 1001), (NONCE + 1, 1000)] {
        let peer = Some(peer_mark(nonce, ([192, 0, 2, 1], port).into()));
        bench.shard.leave_by_stream(&mut bench.io, b"SIP/2.0 200 OK", &Way { peer, ..way.clone() }, own);
    }
    assert_eq!(bench.written(stream), 0);
    let peer = Some(peer_mark(NONCE, ([192, 0, 2, 1], 1000).into()));
    bench.shard.leave_by_stream(&mut bench.io, b"SIP/2.0 200 OK", &Way { peer, ..way }, own);
    assert_eq!(bench.written(stream), 1);
}

/// Two peers' marks are alike once in so many thousand.
#[test]
fn a_request_goes_to_nobody_who_has_its_connections_number_and_mark_at_another_port() {
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(7)) };
    let peer = Some(peer_mark(NONCE, "192.0.2.1:1000".parse().unwrap()));
    for (to, written) in [("192.0.2.1:1001", 0), ("192.0.2.1:1000", 1)] {
        let way = bench.shard.way_onward(ListenerId(0), to.parse().unwrap(), Number::new(0, stream));
        bench.shard.leave_by_stream(&mut bench.io, RELAY, &Way { peer, ..way }, own);
        assert_eq!(bench.written(stream), written, "{to}");
    }
    let gone = SendFailure::Connection(None);
    assert_eq!(*bench.failed.borrow(), [(Handle::from_bits(7).unwrap(), gone)]);
}

/// 63 connections later a place has the same turn, and a browser the same port.
#[test]
fn a_request_goes_to_nobody_who_has_its_connections_number_and_port_later() {
    let mut bench = Bench::one_shard();
    let peer = "192.0.2.1:1000".parse().unwrap();
    let serial = |bench: &mut Bench, stream| bench.shard.streams.get(stream).expect("a connection").serial;
    let first = bench.accept("192.0.2.1:1000");
    let before = Number::new(0, first).with_serial(serial(&mut bench, first));
    bench.event(Event::Ended { stream: first, errno: 0 });
    bench.io.streams.next -= 1;
    let later = bench.accept("192.0.2.1:1000");
    assert_eq!(later, first);
    let now = Number::new(0, later).with_serial(serial(&mut bench, later));
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(7)) };
    for (stream, written) in [(before, 0), (now, 1)] {
        let way = bench.shard.way_onward(ListenerId(0), peer, stream);
        bench.shard.leave_by_stream(&mut bench.io, RELAY, &way, own);
        assert_eq!(bench.written(later), written);
    }
    let gone = SendFailure::Connection(None);
    assert_eq!(*bench.failed.borrow(), [(Handle::from_bits(7).unwrap(), gone)]);
}

#[test]
fn connections_follow_a_listener_to_its_new_name() {
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    let before = bench.shard.way_of(ListenerId(0), "192.0.2.1:1000".parse().unwrap(), Number::ANY);
    let renamed =
        Section { name: "outside".into(), formerly: vec!["10.0.0.1".into()], ..section(0, "10.0.0.1") };
    let plan = plan_of([renamed, section(1, "10.0.0.2")].into());
    let mut reloaded = publication(2, plan, &[PUBLIC, PRIVATE]);
    let bound = |socket, series| Bound { socket, series: SeriesId(series) };
    reloaded.bindings = Arc::new(Bindings::new(Box::new([bound(PUBLIC, 2), bound(PRIVATE, 1)]), &[]));
    bench.metrics.traffic.open(SeriesId(2));
    bench.published.store(Arc::new(reloaded));
    bench.batch(&[]);
    let connections = [0, 2].map(|series| bench.metrics.traffic.connections(SeriesId(series)));
    assert_eq!(connections, [0, 1], "it is counted where the listener is");
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(None) };
    let peer = "192.0.2.1:1000".parse().unwrap();
    let flow = bench.shard.way_onward(ListenerId(0), peer, Number::new(0, stream));
    let answer = bench.shard.way_of(ListenerId(0), peer, Number::new(0, stream));
    let any = bench.shard.way_of(ListenerId(0), peer, Number::ANY);
    assert_ne!(any.listener, before.listener);
    for (way, written) in [(flow, 1), (answer, 2), (any, 3)] {
        bench.shard.leave_by_stream(&mut bench.io, RELAY, &way, own);
        assert_eq!(bench.written(stream), written);
    }
    // What another shard has sent before it has heard of the new name.
    bench.post.send(0, RELAY, Letter::Leaves { way: before, waiting: own }).unwrap();
    bench.batch(&[]);
    assert_eq!(bench.written(stream), 4);
    bench.comes(stream, RELAY);
    assert_eq!(bench.written(stream), 5);
}

#[test]
fn a_request_that_finds_no_room_on_its_way_says_nothing_of_the_connection() {
    let mut bench = Bench::new();
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(7)) };
    let to = "192.0.2.1:1000".parse().unwrap();
    let way = bench.shard.way_onward(ListenerId(0), to, Number::new(1, StreamId::first(3)));
    for _ in 0..limits::HANDED_OVER + limits::TRIED_AGAIN + 1 {
        bench.shard.leave_by_stream(&mut bench.io, RELAY, &way, own);
    }
    assert_eq!(*bench.failed.borrow(), [(Handle::from_bits(7).unwrap(), SendFailure::Other)]);
}

/// A request for the transaction of this number that is to leave by this stream.
fn is_to_ask(bench: &mut Bench, stream: StreamId, number: u64) {
    let request = format!("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{number}\r\n\r\n");
    let waiting = Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(number)) };
    bench.shard.write_open(&mut bench.io, stream, request.as_bytes(), waiting);
}

/// It leaves.
fn asks(bench: &mut Bench, stream: StreamId, number: u64) {
    is_to_ask(bench, stream, number);
    bench.event(Event::Wrote { stream, bytes: limits::STREAM_QUEUE_BYTES });
}

const ANSWER: &str =
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK7\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// Who was told, and what.
fn told(bench: &Bench) -> Vec<(u64, SendFailure)> {
    bench.failed.take().into_iter().map(|(handle, why)| (handle.to_bits(), why)).collect()
}

/// A connection that answers 7, and says of 8 that it is at work.
fn is_asked(bench: &mut Bench) -> StreamId {
    let stream = bench.accept("192.0.2.1:1000");
    asks(bench, stream, 7);
    asks(bench, stream, 8);
    bench.comes(stream, ANSWER.as_bytes());
    let rings = ANSWER.replace("200 OK", "180 Ringing").replace("K7", "K8");
    bench.comes(stream, rings.as_bytes());
    stream
}

/// In good order or not: nobody knows whether another one will be opened for the answer.
#[test]
fn who_waits_for_an_answer_hears_of_the_end_of_its_connection() {
    for errno in [libc::ECONNRESET, 0] {
        let mut bench = Bench::one_shard();
        let stream = is_asked(&mut bench);
        bench.event(Event::Ended { stream, errno });
        assert_eq!(told(&bench), [(8, SendFailure::Broken)], "{errno}");
    }
    // A peer that sends no more answers no more, though it waits for an answer itself.
    let mut bench = Bench::one_shard();
    let stream = is_asked(&mut bench);
    bench.comes(stream, ASKS);
    bench.comes(stream, b"");
    assert_eq!(told(&bench), [(8, SendFailure::Broken)]);
    assert!(bench.io.streams.finished.is_empty(), "it has to be answered yet");
    bench.event(Event::Ended { stream, errno: 0 });
    assert_eq!(told(&bench), [], "once");
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    asks(&mut bench, stream, 7);
    bench.shard.cut_off(&mut bench.io, stream, StreamEnd::Stalled);
    bench.event(Event::Ended { stream, errno: 0 });
    assert_eq!(told(&bench), [(7, SendFailure::Broken)], "cut off from here");
}

/// What has not left is not waited for besides.
#[test]
fn another_shard_gets_one_letter_for_each_request_of_a_connection_that_ends() {
    let mut bench = Bench::new();
    let stream = bench.accept(&mine());
    let waiting = |number| Waiting { shard: 1, cookie: Cookie::Own.with(Handle::from_bits(number)) };
    let request =
        |number| format!("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{number}\r\n\r\n");
    for number in [7, 8] {
        bench.shard.write_open(&mut bench.io, stream, request(number).as_bytes(), waiting(number));
    }
    bench.event(Event::Wrote { stream, bytes: request(7).len() });
    bench.event(Event::Ended { stream, errno: 0 });
    let told: Vec<_> = std::iter::from_fn(|| bench.post.take(1, Lane::Arrives))
        .map(|letter| match letter.what {
            Letter::NotSent(handle, why) => ("not sent", handle.to_bits(), why),
            Letter::Lost(handle, _, why) => ("lost", handle.to_bits(), why),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [("not sent", 8, SendFailure::Connection(None)), ("lost", 7, SendFailure::Broken)];
    assert_eq!(told, expected);
}

/// It is not waited for either.
#[test]
fn a_request_that_finds_too_many_before_it_is_told_once() {
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    let last = limits::STREAM_WAITING as u64 + 1;
    (1..=last).for_each(|number| is_to_ask(&mut bench, stream, number));
    bench.event(Event::Ended { stream, errno: 0 });
    let told = told(&bench);
    let of = |number| told.iter().filter(|(handle, _)| *handle == number).count();
    assert_eq!((told.len() as u64, of(1), of(last)), (last, 1, 1));
}

/// A peer whose connections are this shard's, of two.
fn mine() -> String {
    let listener = Bench::new().plan.listeners[0].identity;
    let is_mine = |port: &u16| owner_of(listener, ([192, 0, 2, 1], *port).into(), 2) == Some(0);
    format!("192.0.2.1:{}", (1_000..).find(is_mine).expect("half of them are"))
}

impl Bench {
    /// A connection over WebSocket.
    fn failed_layers(&self) -> u64 {
        self.metrics.streams.ended[StreamEnd::LayerFailed as usize].get()
    }
}

/// A frame of a browser's, with a mask of zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let head: &[u8] = if payload.len() < 126 { &[0x80 | length[1]] } else { &[0xfe, length[0], length[1]] };
    [&[0x80 | opcode], head, &[0; 4], payload].concat()
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

#[test]
fn what_came_in_the_same_read_before_a_layer_fails_is_heard() {
    let mut bench = Bench::one_shard();
    let stream = bench.browser("192.0.2.1:1000");
    asks(&mut bench, stream, 7);
    asks(&mut bench, stream, 8);
    let unmasked = b"\x81\x01x";
    bench.comes(stream, &[&frame(TEXT, RELAY)[..], &frame(TEXT, ANSWER.as_bytes()), unmasked].concat());
    assert_eq!(told(&bench), [(8, SendFailure::Ended)], "7 is answered");
    assert_eq!((bench.received(), bench.failed_layers()), (2, 1));
    // What would have been said behind the close frame is not, and that is no fault of the peer's.
    assert_eq!((&bench.io.streams.finished[..], &bench.io.streams.reset[..]), (&[stream][..], &[][..]));
    assert_eq!(bench.metrics.dropped_count(DropReason::ConnectionFailed), 1);
}

#[test]
fn what_came_in_the_same_read_before_a_peer_takes_no_more_is_heard() {
    let mut bench = Bench::one_shard();
    let stream = bench.browser("192.0.2.1:1000");
    asks(&mut bench, stream, 7);
    bench.io.streams.full = Some(stream);
    bench.comes(stream, &[frame(TEXT, b"\r\n"), frame(TEXT, ANSWER.as_bytes()), frame(PING, b"")].concat());
    assert_eq!((bench.io.streams.reset.as_slice(), bench.received()), (&[stream][..], 1));
    bench.event(Event::Ended { stream, errno: 0 });
    assert_eq!(told(&bench), [], "7 is answered");
}

/// RFC 6455 §5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a
/// Close frame in response."
#[test]
fn what_a_browser_says_together_with_its_close_frame_is_heard_and_its_close_is_answered() {
    let mut bench = Bench::one_shard();
    let stream = bench.browser("192.0.2.1:1000");
    asks(&mut bench, stream, 7);
    let said = [b"\r\n", RELAY, RELAY, ANSWER.as_bytes()].map(|message| frame(TEXT, message)).concat();
    let before = bench.written(stream);
    bench.comes(stream, &[said, frame(CLOSE, b"\x03\xe8")].concat());
    assert_eq!((bench.received(), told(&bench)), (3, vec![]));
    let written: Vec<_> = bench.io.streams.written[before..].iter().map(|(_, bytes)| &bytes[..]).collect();
    assert_eq!(written, [b"\x88\x02\x03\xe8"]);
    assert_eq!(bench.metrics.streams.ended[StreamEnd::Closed as usize].get(), 1);
    assert_eq!((&bench.io.streams.finished[..], &bench.io.streams.reset[..]), (&[stream][..], &[][..]));
}

/// RFC 6455 §5.5.1: "The server MUST close the underlying TCP connection immediately".
#[test]
fn a_websocket_that_both_sides_have_ended_is_closed_though_a_request_is_open() {
    let mut bench = Bench::one_shard();
    let stream = bench.browser("192.0.2.1:1000");
    asks(&mut bench, stream, 7);
    bench.comes(stream, &frame(TEXT, b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/WS a;branch=z9hG4bK1\r\n\r\n"));
    assert!(bench.io.streams.finished.is_empty());
    bench.comes(stream, &frame(CLOSE, b"\x03\xe8"));
    assert_eq!(bench.io.streams.finished, [stream]);
    assert_eq!(told(&bench), [(7, SendFailure::Ended)]);
}

/// RFC 7118 §5.3: "SIP responses can only be sent over the existing WebSocket connection".
#[test]
fn who_waits_for_a_browsers_answer_hears_of_the_end_of_its_connection_however_it_came() {
    for is_half_closed in [true, false] {
        let mut bench = Bench::one_shard();
        let stream = bench.browser("192.0.2.1:1000");
        asks(&mut bench, stream, 7);
        if is_half_closed {
            let asks_too = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/WS a;branch=z9hG4bK1\r\n\r\n";
            let mut lines = [HeaderLine::EMPTY; 2];
            let asks_too = parse(asks_too, &mut lines).expect("a request");
            bench.shard.streams.came(stream, Some(&asks_too), Now(0));
            bench.comes(stream, b"");
            assert_eq!(told(&bench), [(7, SendFailure::Ended)], "before the engine has closed it");
            let flow = Number::new(0, stream);
            let way = bench.shard.way_onward(ListenerId(0), "192.0.2.1:1000".parse().unwrap(), flow);
            let waiting = Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(8)) };
            bench.shard.leave_by_stream(&mut bench.io, RELAY, &way, waiting);
            assert_eq!(told(&bench), [(8, SendFailure::Connection(None))], "it is not asked any more");
        }
        bench.event(Event::Ended { stream, errno: 0 });
        let expected = if is_half_closed { vec![] } else { vec![(7, SendFailure::Ended)] };
        assert_eq!(told(&bench), expected);
    }
}

/// What browsers have begun is bounded as what others have, however they cut it.
#[test]
fn messages_that_browsers_have_begun_take_no_more_than_others() {
    // Of a frame the header, which announces 65,000 bytes.
    const HEADER: &[u8] = b"\x81\xfe\xfd\xe8\0\0\0\0";
    let mut bench = Bench::one_shard();
    let innocent = bench.browser("192.0.2.9:1000");
    bench.comes(innocent, HEADER);
    let many = limits::STREAM_KEPT_BYTES / 65_000;
    for port in 0..many as u16 {
        let stream = bench.browser(&format!("192.0.2.1:{}", 1_000 + port));
        bench.comes(stream, HEADER);
    }
    let (kept, reset) = (bench.metrics.streams.kept_bytes.get(), &bench.io.streams.reset);
    assert!(
        kept <= limits::STREAM_KEPT_BYTES as u64 && kept > limits::STREAM_KEPT_BYTES as u64 / 2,
        "{kept}"
    );
    assert!(!reset.is_empty() && !reset.contains(&innocent));
    let ended = bench.metrics.streams.ended[StreamEnd::NoMemory as usize].get();
    assert_eq!(ended, reset.len() as u64);
    (1..=bench.io.streams.next).for_each(|place| {
        bench.event(Event::Ended { stream: StreamId::first(place), errno: 0 });
    });
    assert_eq!(bench.metrics.streams.kept_bytes.get(), 0);
}

/// Bounded as what is not whole: a peer may ask for what nobody answers, on many connections.
#[test]
fn what_a_peer_has_asked_counts_against_the_memory_of_all() {
    let mut bench = Bench::one_shard();
    let stream = bench.accept("192.0.2.1:1000");
    let asks =
        |branch: &str| format!("INVITE sip:x SIP/2.0\r\nv: SIP/2.0/TCP a;branch={branch}\r\nl: 0\r\n\r\n");
    bench.comes(stream, (asks("z9hG4bK1") + &asks("z9hG4bK2")).as_bytes());
    let kept = |bench: &Bench| bench.metrics.streams.kept_bytes.get() as usize;
    assert_eq!(kept(&bench), 2 * limits::STREAM_UNANSWERED_BYTES);
    bench.event(Event::Ended { stream, errno: 0 });
    assert_eq!(kept(&bench), 0);
}

/// An OPTIONS of the control thread takes the way of requests; where no answer can come, that is told.
#[test]
fn what_becomes_of_an_options_by_a_connection_is_told_of_its_gateway() {
    const OPTIONS: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKx\r\n\r\n";
    let mut bench = Bench::one_shard();
    let health = Health::new(1);
    health.know(GatewayId(0), 7);
    let roster = Arc::new(Roster::new(Arc::new(health), Vec::new()));
    let mut watched = publication(2, Arc::clone(&bench.plan), &[PUBLIC, PRIVATE]);
    watched.snapshot.roster = Arc::clone(&roster);
    bench.published.store(Arc::new(watched));
    let (listener, to) = (bench.plan.listeners[0].identity, "192.0.2.9:5060".parse().unwrap());
    let asks = |bench: &mut Bench, number, connects| {
        bench.io.streams.connects = connects;
        let ping = Ping { gateway: GatewayId(0), way: 0, number };
        assert_eq!(bench.post.ask(listener, to, None, ping, OPTIONS), Ok(Some(0)));
        bench.batch(&[]);
        StreamId::first(bench.io.streams.next)
    };
    let heard = || roster.health().take_answers(GatewayId(0), 7);
    asks(&mut bench, 8, false);
    assert_eq!(heard(), [(8, Heard::Unsent)], "that lies here");
    let stream = asks(&mut bench, 16, true);
    assert_eq!((heard(), bench.written(stream)), (vec![], 1));
    bench.event(Event::Ended { stream, errno: libc::ECONNREFUSED });
    assert_eq!(heard(), [(16, Heard::Failed(Fault::Connection))]);
    let stream = asks(&mut bench, 24, true);
    bench.event(Event::Connected { stream });
    bench.event(Event::Wrote { stream, bytes: OPTIONS.len() });
    assert_eq!(asks(&mut bench, 32, true), stream, "by the same one");
    bench.event(Event::Wrote { stream, bytes: OPTIONS.len() });
    bench.event(Event::Ended { stream, errno: 0 });
    assert_eq!(heard(), [(32, Heard::Failed(Fault::Connection))], "of both the last one counts");
    let stream = asks(&mut bench, 40, true);
    bench.event(Event::Connected { stream });
    bench.event(Event::Wrote { stream, bytes: OPTIONS.len() });
    bench.event(Event::Ended { stream, errno: libc::ECONNRESET });
    assert_eq!(heard(), [(40, Heard::Failed(Fault::Connection))], "nothing can answer it");
    assert_eq!((bench.dropped(), bench.sent(), bench.answered()), (0, 0, 0));
    bench.post.leave(0);
    let ping = Ping { gateway: GatewayId(0), way: 0, number: 48 };
    assert_eq!(bench.post.ask(listener, to, None, ping, OPTIONS), Err(NotAsked));
}

#[test]
fn what_a_connection_was_to_be_for_is_told_where_it_is_refused() {
    let mut bench = Bench::one_shard();
    bench.io.streams.connects = true;
    let gone = bench.accept("192.0.2.1:1000");
    bench.event(Event::Ended { stream: gone, errno: 0 });
    let own = Waiting { shard: 0, cookie: Cookie::Own.with(None) };
    for (number, to, meant) in [
        (Number::new(0, gone), "192.0.2.1:5060", Opening::ForAnswer),
        (Number::OPENED, "198.51.100.9:5060", Opening::ForRequest),
    ] {
        let way = bench.shard.way_of(ListenerId(0), to.parse().unwrap(), number);
        bench.shard.leave_by_stream(&mut bench.io, b"SIP/2.0 200 OK", &way, own);
        let stream = StreamId::first(bench.io.streams.next);
        bench.event(Event::Ended { stream, errno: libc::ECONNREFUSED });
        let told = bench.records();
        let [RecordKind::NotConnected { opening, why: StreamEnd::ConnectRefused, .. }] = told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(opening, meant, "{to}");
    }
}
