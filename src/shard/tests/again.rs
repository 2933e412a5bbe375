//! Messages of connections where there is no room for them.

use super::*;
use crate::shard::cookie::Cookie;
use crate::shard::parking::Stay;
use crate::shard::worker::Arrival;
use crate::stream::{Connection, Waiting};

const PEER: &str = "192.0.2.1:40000";

/// The connection that messages come by.
fn connected(bench: &mut Bench) -> StreamId {
    let stream = StreamId::first(3);
    let listener = bench.plan.listener(ListenerId(0)).identity;
    bench.shard.streams.insert(stream, Connection::new(listener, PEER.parse().unwrap(), true, bench.now));
    stream
}

fn receive(bench: &mut Bench, stream: StreamId, bytes: &[u8]) {
    let stream = Number::new(0, stream);
    let incoming = Incoming { stream, ..Incoming::datagram(bytes, ListenerId(0), PEER.parse().unwrap()) };
    let (class, stay) = (Class::of(bytes), Stay::default());
    let arrival = Arrival { incoming, socket: PUBLIC, class, stay, waited_ns: None };
    bench.shard.decide(&mut bench.io, &arrival);
}

fn later(bench: &mut Bench) {
    bench.now = bench.now.plus_ns(limits::TRY_AGAIN_NS);
    bench.batch(&[]);
}

fn dropped(bench: &Bench) -> u64 {
    DropReason::ALL.iter().map(|&reason| bench.metrics.dropped_count(reason)).sum()
}

#[test]
fn what_came_by_a_connection_waits_for_room_with_its_owner() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    bench.batch(&vec![&b"hand over"[..]; limits::HANDED_OVER]);
    for _ in 0..3 {
        receive(&mut bench, stream, b"hand over");
    }
    assert_eq!((dropped(&bench), bench.metrics.tried_again.get()), (0, 3));
    later(&mut bench);
    assert_eq!(bench.metrics.tried_again.get(), 3, "there is still no room");
    bench.post.take(1).unwrap();
    receive(&mut bench, stream, b"hand over");
    assert_eq!(bench.metrics.tried_again.get(), 4, "it does not overtake");
    while bench.post.take(1).is_some() {}
    later(&mut bench);
    let came = std::iter::from_fn(|| bench.post.take(1)).count();
    assert_eq!((came, bench.metrics.tried_again.get(), dropped(&bench)), (4, 0, 0));
}

#[test]
fn a_request_that_finds_no_room_at_all_is_refused() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    bench.batch(&vec![&b"hand over"[..]; limits::HANDED_OVER]);
    for _ in 0..limits::TRIED_AGAIN {
        receive(&mut bench, stream, b"hand over");
    }
    assert!(bench.io.streams.written.is_empty());
    receive(&mut bench, stream, b"hand over");
    assert_eq!(bench.io.streams.written, [(stream, b"full".to_vec())]);
    assert_eq!(dropped(&bench), 0);
}

#[test]
fn without_a_send_buffer_it_waits_for_one() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    let free = std::mem::take(&mut bench.io.free);
    receive(&mut bench, stream, b"answer");
    assert_eq!((dropped(&bench), bench.metrics.tried_again.get()), (0, 1));
    bench.io.free = free;
    later(&mut bench);
    assert_eq!(bench.io.streams.written, [(stream, b"sent".to_vec())]);
    assert_eq!((bench.metrics.tried_again.get(), bench.io.free), (0, POOL));
}

#[test]
fn an_answer_for_another_shards_connection_waits_for_room_there() {
    let mut bench = Bench::new();
    bench.batch(&vec![&b"hand over"[..]; limits::HANDED_OVER]);
    let there = Number::new(1, StreamId::first(0));
    let waiting = Waiting { shard: 0, cookie: Cookie::Answer(200).with(None) };
    let way = bench.shard.way_of(ListenerId(0), PEER.parse().unwrap(), there);
    bench.shard.leave_by_stream(&mut bench.io, b"SIP/2.0 200 OK", &way, waiting);
    assert_eq!((dropped(&bench), bench.metrics.tried_again.get()), (0, 1));
    while bench.post.take(1).is_some() {}
    later(&mut bench);
    assert_eq!(bench.post.take(1).unwrap().bytes, b"SIP/2.0 200 OK");
}
