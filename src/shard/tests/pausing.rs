//! Connections that bring more than the other shard has room for.

use super::*;
use crate::shard::cookie::Cookie;
use crate::stream::{Connection, Layer, Scratch, Waiting};

const PEER: &str = "192.0.2.1:40000";
const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: sip\r\n\r\n";

/// A connection of this shard, on that place.
fn connected(bench: &mut Bench, place: u16) -> StreamId {
    let stream = StreamId::first(place);
    let listener = bench.plan.listener(ListenerId(0)).identity;
    bench.shard.streams.insert(stream, Connection::new(listener, PEER.parse().unwrap(), true, bench.now));
    stream
}

/// A message for the other shard.
fn hand(number: usize) -> Vec<u8> {
    format!("HAND sip:{number} SIP/2.0\r\nv: SIP/2.0/TCP a;branch=z9hG4bK{number}\r\nl: 0\r\n\r\n")
        .into_bytes()
}

fn hands(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(hand).collect()
}

/// Letters that arrive of which a box holds no more.
const FULL: usize = limits::HANDED_OVER + limits::HANDED_OVER_OF_STREAMS;

/// The other shard's box is full.
fn full() -> Bench {
    let mut bench = Bench::new();
    bench.fill();
    bench
}

/// The other shard reads so many letters, and this one looks again; gives what connections have brought.
fn reads(bench: &mut Bench, most: usize) -> Vec<Vec<u8>> {
    let letters = std::iter::from_fn(|| bench.post.take(1, Lane::Arrives)).take(most);
    let came: Vec<_> = letters.map(|letter| letter.bytes).filter(|bytes| bytes != b"hand over").collect();
    bench.now = bench.now.plus_ns(limits::TRY_AGAIN_NS);
    bench.batch(&[]);
    came
}

fn is_paused(bench: &Bench, stream: StreamId) -> bool {
    bench.io.streams.paused.contains(&stream)
}

#[test]
fn a_connection_whose_message_finds_no_room_is_paused_until_there_is_some() {
    let mut bench = full();
    let stream = connected(&mut bench, 3);
    bench.comes(stream, &hands(0..2));
    assert!(is_paused(&bench, stream));
    let rest = hands(2..9);
    for part in rest.chunks(50) {
        bench.comes(stream, part);
    }
    bench.comes(stream, b"\r\n\r\n");
    assert_eq!(bench.metrics.tried_again.get(), 2);
    assert!(reads(&mut bench, 0).is_empty() && is_paused(&bench, stream) && bench.written(stream) == 0);
    reads(&mut bench, FULL);
    assert!(!is_paused(&bench, stream));
    assert_eq!(reads(&mut bench, 100), (0..9).map(hand).collect::<Vec<_>>());
    assert_eq!((bench.written(stream), bench.dropped()), (1, 0), "a pong");
    assert_eq!((bench.metrics.tried_again.get(), bench.metrics.streams.paused.get()), (0, 1));
    assert_eq!(bench.shard.streams.kept_bytes(), 9 * limits::STREAM_UNANSWERED_BYTES, "no byte of a message");
    bench.comes(stream, &hand(9));
    assert_eq!(reads(&mut bench, 1), [hand(9)]);
}

#[test]
fn other_connections_and_datagrams_go_on() {
    let mut bench = full();
    let (stream, other) = (connected(&mut bench, 3), connected(&mut bench, 4));
    bench.comes(stream, &hand(0));
    bench.comes(other, b"RELAY sip:x SIP/2.0\r\nl: 0\r\n\r\n\r\n\r\n");
    bench.batch(&[b"answer"]);
    assert!(is_paused(&bench, stream) && !is_paused(&bench, other));
    assert_eq!((bench.written(other), bench.io.pending.len()), (2, 1));
}

/// A box that is full of datagrams has room for what connections bring, and the other way round.
#[test]
fn neither_connections_nor_datagrams_take_all_of_the_room() {
    let mut bench = Bench::new();
    bench.batch(&vec![&b"hand over"[..]; 2 * limits::HANDED_OVER]);
    let (stream, dropped) = (connected(&mut bench, 3), bench.dropped());
    assert_eq!(dropped, limits::HANDED_OVER as u64);
    // The other shard is so busy that it takes over less than comes.
    for number in 0..1_000 {
        bench.comes(stream, &hand(number));
        bench.batch(&vec![&b"hand over"[..]; 2 * limits::TAKEN_OVER_PER_BATCH]);
        reads(&mut bench, limits::TAKEN_OVER_PER_BATCH);
    }
    assert!(!is_paused(&bench, stream) && bench.metrics.tried_again.get() == 0);
    let room = limits::HANDED_OVER_OF_STREAMS;
    while !bench.post.is_empty(1, Lane::Arrives) {
        reads(&mut bench, FULL);
    }
    bench.comes(stream, &hands(0..2 * room));
    assert!(is_paused(&bench, stream));
    let dropped = bench.dropped();
    bench.batch(&vec![&b"hand over"[..]; limits::HANDED_OVER]);
    assert_eq!(bench.dropped(), dropped);
}

/// One that has sent a lot does not keep the others waiting until all of that is handled.
#[test]
fn connections_that_were_paused_go_on_in_turns() {
    let mut bench = full();
    let (greedy, other) = (connected(&mut bench, 3), connected(&mut bench, 4));
    bench.comes(greedy, &hand(0));
    bench.comes(other, &hand(1));
    let pongs = b"\r\n\r\n".repeat(64 * limits::STREAM_BUFFER_BYTES / 4);
    bench.comes(greedy, &pongs);
    bench.comes(other, b"\r\n\r\n");
    reads(&mut bench, FULL);
    assert!(is_paused(&bench, greedy) && !is_paused(&bench, other));
    assert_eq!(bench.written(other), 1);
    assert_eq!(bench.written(greedy), 2 * limits::STREAM_BUFFER_BYTES / 4);
    let mut before = 0;
    while is_paused(&bench, greedy) {
        let written = bench.written(greedy);
        bench.event(Event::Wrote { stream: greedy, bytes: 2 * (written - before) });
        assert!(written > before, "it goes on in each batch");
        before = written;
    }
    assert_eq!((bench.written(greedy), bench.metrics.streams.paused.get()), (pongs.len() / 4, 2));
}

/// What comes as fast as it is read arrives whole and in order, and nobody is refused.
#[test]
fn a_burst_of_one_connection_arrives_as_fast_as_it_is_read() {
    const MESSAGES: usize = 50_000;
    let mut bench = Bench::new();
    let stream = connected(&mut bench, 3);
    let (burst, mut arrived, mut most_kept) = (hands(0..MESSAGES), Vec::new(), 0);
    let mut pieces = burst.chunks(limits::STREAM_BUFFER_BYTES);
    while arrived.len() < MESSAGES {
        // What the kernel had given when the connection was paused.
        for piece in pieces.by_ref().take(if is_paused(&bench, stream) { 0 } else { 64 }) {
            bench.comes(stream, piece);
        }
        arrived.extend(reads(&mut bench, limits::TAKEN_OVER_PER_BATCH));
        most_kept = most_kept.max(bench.metrics.streams.kept_bytes.get());
        assert!(bench.io.streams.written.is_empty() && bench.dropped() == 0);
    }
    assert!(arrived == (0..MESSAGES).map(hand).collect::<Vec<_>>());
    assert!(most_kept <= 2 * 64 * limits::STREAM_BUFFER_BYTES as u64, "{most_kept}");
    assert!(bench.metrics.streams.paused.get() > 10 && !is_paused(&bench, stream));
    let unanswered = limits::STREAM_UNANSWERED * limits::STREAM_UNANSWERED_BYTES;
    assert_eq!((bench.metrics.tried_again.get(), bench.shard.streams.kept_bytes()), (0, unanswered));
}

/// RFC 6455 §5.2: a message of a client is masked, here with zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    [&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0], text].concat()
}

#[test]
fn a_connection_over_websocket_is_paused_as_well() {
    let mut bench = full();
    let stream = connected(&mut bench, 3);
    let connection = bench.shard.streams.get(stream).unwrap();
    connection.layer = Layer::accept(Transport::Ws, None).unwrap();
    connection.receive(HELLO, &mut Scratch::default(), bench.now).1.unwrap();
    let frames: Vec<u8> = (0..9).flat_map(|number| frame(&hand(number))).collect();
    for part in frames.chunks(100) {
        bench.comes(stream, part);
    }
    assert!(is_paused(&bench, stream) && bench.metrics.tried_again.get() <= 2);
    reads(&mut bench, FULL);
    assert_eq!(reads(&mut bench, 100), (0..9).map(hand).collect::<Vec<_>>());
    assert!(!is_paused(&bench, stream) && bench.dropped() == 0);
}

/// It is we who are slow.
#[test]
fn no_time_of_a_paused_connection_runs_out() {
    let mut bench = full();
    let stream = connected(&mut bench, 3);
    let (first, rest) = (hand(1), hand(2));
    bench.comes(stream, &hand(0));
    bench.comes(stream, &[&first[..], &rest[..20]].concat());
    bench.now = bench.now.plus_ns(limits::STREAM_IDLE_NS + SECOND_NS);
    bench.batch(&[]);
    bench.batch(&[]);
    assert!(bench.io.streams.finished.is_empty() && bench.io.streams.reset.is_empty());
    reads(&mut bench, FULL);
    bench.now = bench.now.plus_ns(limits::STREAM_HEADER_NS - SECOND_NS);
    bench.batch(&[]);
    bench.comes(stream, &rest[20..]);
    assert_eq!(reads(&mut bench, 9), [hand(0), first, rest]);
    assert!(bench.io.streams.finished.is_empty() && bench.io.streams.reset.is_empty());
}

#[test]
fn what_came_before_the_peers_end_is_handled_before_it() {
    let mut bench = full();
    let stream = connected(&mut bench, 3);
    bench.comes(stream, &hand(0));
    bench.comes(stream, &hand(1));
    bench.comes(stream, b"");
    let asks = |bench: &mut Bench| bench.shard.streams.get(stream).unwrap().is_half_closed();
    assert!(is_paused(&bench, stream) && !asks(&mut bench));
    reads(&mut bench, FULL);
    assert!(asks(&mut bench));
    assert_eq!(reads(&mut bench, 9), [hand(0), hand(1)]);
}

#[test]
fn a_paused_connection_ends_as_any_other_one() {
    let mut bench = full();
    let (reset, other) = (connected(&mut bench, 3), connected(&mut bench, 4));
    for stream in [reset, other] {
        bench.comes(stream, &hand(0));
        bench.comes(stream, &hands(1..9));
    }
    assert!(bench.shard.streams.kept_bytes() > 0);
    bench.event(Event::Ended { stream: reset, errno: libc::ECONNRESET });
    bench.io.streams.paused.remove(&reset);
    bench.shard.cut_off(&mut bench.io, other, crate::metrics::StreamEnd::Stalled);
    bench.io.streams.paused.remove(&other);
    assert_eq!(bench.io.streams.reset, [other]);
    assert_eq!(bench.shard.streams.kept_bytes(), 0);
    reads(&mut bench, FULL);
    assert_eq!(reads(&mut bench, 99), [hand(0), hand(0)], "what has come before");
    assert!(bench.shard.paused.is_empty());
}

#[test]
fn a_shard_that_stops_handles_what_it_has_read_first() {
    let mut bench = full();
    let stream = connected(&mut bench, 3);
    bench.comes(stream, &hand(0));
    bench.comes(stream, &hands(1..9));
    let last = Publication { stopping: true, ..publication(2, Arc::clone(&bench.plan), &[]) };
    bench.published.store(Arc::new(last));
    bench.event(Event::Closed { on: PUBLIC });
    bench.event(Event::Closed { on: PRIVATE });
    assert!(bench.io.streams.finished.is_empty());
    reads(&mut bench, FULL);
    assert_eq!(reads(&mut bench, 99).len(), 9);
    assert_eq!(bench.io.streams.finished, [stream]);
}

/// Each has one message there: they are not refused for the others'.
#[test]
fn where_many_connections_have_taken_half_of_the_room_all_that_bring_something_wait() {
    let mut bench = full();
    let many: Vec<StreamId> = (0..1_000).map(|place| connected(&mut bench, place)).collect();
    for stream in &many {
        bench.comes(*stream, &hand(usize::from(stream.place())));
    }
    assert_eq!(bench.metrics.tried_again.get(), limits::TRIED_AGAIN as u64 / 2);
    assert_eq!(bench.io.streams.paused.len(), many.len());
    let mut arrived = Vec::new();
    for _ in 0..1_000 {
        arrived.extend(reads(&mut bench, limits::TAKEN_OVER_PER_BATCH));
    }
    arrived.sort_unstable();
    let mut all: Vec<_> = (0..many.len()).map(hand).collect();
    all.sort_unstable();
    assert!(arrived == all && bench.dropped() == 0 && bench.io.streams.paused.is_empty());
    assert!(bench.io.streams.written.is_empty());
}

#[test]
fn a_connection_waits_for_a_send_buffer_too() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench, 3);
    let free = std::mem::take(&mut bench.io.free);
    let relay = b"RELAY sip:x SIP/2.0\r\nl: 0\r\n\r\n";
    for _ in 0..2 * limits::TRIED_AGAIN {
        bench.comes(stream, relay);
    }
    assert_eq!((bench.metrics.tried_again.get(), is_paused(&bench, stream)), (1, true));
    bench.io.free = free;
    for _ in 0..10 {
        reads(&mut bench, 0);
        bench.event(Event::Wrote { stream, bytes: 1 << 20 });
    }
    assert_eq!((bench.written(stream), bench.dropped()), (2 * limits::TRIED_AGAIN, 0));
}

/// Else two shards whose boxes are full for each other would wait for each other.
#[test]
fn what_leaves_is_taken_from_the_box_whatever_waits_for_others() {
    let mut bench = full();
    let stream = connected(&mut bench, 3);
    bench.comes(stream, &hand(0));
    let way = |stream| bench.shard.way_of(ListenerId(0), PEER.parse().unwrap(), stream);
    let (here, there) = (way(Number::new(0, stream)), way(Number::new(1, stream)));
    let leaves = |way: &crate::shard::way::Way| {
        let waiting = Waiting { shard: 1, cookie: 0 };
        Letter::Leaves { way: way.clone(), waiting }
    };
    while bench.post.send(1, b"SIP/2.0 200 OK", leaves(&there)).is_ok() {}
    let listener = bench.plan.listener(ListenerId(0)).identity;
    let arrives = || {
        let (from, class, stream) = (PEER.parse().unwrap(), Class::OtherMethod, Number::NONE);
        let (waited_ns, since) = (None, Now(0));
        Letter::Received(Received { socket: PUBLIC, listener, from, stream, class, waited_ns, since })
    };
    // What arrives is taken, too, as long as what it leads to finds room.
    bench.post.send(0, b"answer", arrives()).unwrap();
    bench.post.send(0, b"SIP/2.0 200 OK", leaves(&here)).unwrap();
    bench.batch(&[]);
    assert_eq!((bench.written(stream), bench.io.pending.len()), (1, 1));
    for _ in 0..limits::TRIED_AGAIN / 2 {
        let waiting = Waiting { shard: 0, cookie: 0 };
        bench.shard.leave_by_stream(&mut bench.io, b"SIP/2.0 200 OK", &there, waiting);
    }
    bench.post.send(0, b"answer", arrives()).unwrap();
    bench.post.send(0, b"SIP/2.0 200 OK", leaves(&here)).unwrap();
    let next = bench.batch(&[]);
    assert_eq!((bench.written(stream), bench.io.pending.len()), (2, 1));
    assert!(matches!(next, Next::Wait(Some(at)) if at > bench.now), "it does not spin");
    while bench.post.take(1, Lane::Leaves).is_some() {}
    reads(&mut bench, 0);
    assert_eq!(bench.io.pending.len(), 2);
    assert_eq!(bench.dropped(), 0);
}

/// RFC 3261 knows no answer that says so, and a client that writes all it has before it reads is no attacker.
#[test]
fn who_takes_no_answers_is_not_heard_until_it_does() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench, 3);
    let text = b"\r\n\r\n".repeat(limits::STREAM_BUFFER_BYTES / 4);
    let pongs = limits::STREAM_QUEUE_BYTES / 2 / 2;
    for _ in 0..2 * pongs / (text.len() / 4) {
        bench.comes(stream, &text);
    }
    let written = bench.written(stream);
    assert!(is_paused(&bench, stream) && written < pongs + text.len() / 4, "{written}");
    reads(&mut bench, 0);
    assert_eq!((bench.written(stream), bench.io.streams.reset.len()), (written, 0));
    bench.event(Event::Wrote { stream, bytes: 2 * written });
    while is_paused(&bench, stream) {
        let before = bench.written(stream);
        reads(&mut bench, 0);
        bench.event(Event::Wrote { stream, bytes: 2 * (bench.written(stream) - before) });
    }
    assert_eq!(bench.written(stream), 2 * pongs);
}

/// Of a peer that is slow to take its answers, what others ask it tells nothing.
#[test]
fn a_request_that_stands_behind_answers_is_refused_and_the_connection_stays() {
    let mut bench = Bench::new();
    let (stream, dead) = (connected(&mut bench, 3), connected(&mut bench, 4));
    let waiting = |number| Waiting { shard: 0, cookie: Cookie::Own.with(Handle::from_bits(number)) };
    let (answer, request) = ([&b"SIP/2.0 200 OK"[..], &[b' '; 900]].concat(), [b'A'; 900]);
    for _ in 0..limits::STREAM_QUEUE_BYTES / answer.len() + 9 {
        bench.shard.write_open(&mut bench.io, stream, &answer, Waiting { shard: 0, cookie: 0 });
    }
    let written = bench.written(stream);
    bench.shard.write_open(&mut bench.io, stream, &request, waiting(7));
    assert_eq!(*bench.failed.borrow(), [(Handle::from_bits(7).unwrap(), SendFailure::Other)]);
    assert_eq!((bench.written(stream), bench.io.streams.reset.len()), (written, 0));
    // One that takes nothing is seen in time.
    bench.now = bench.now.plus_ns(limits::STREAM_STALLED_NS);
    bench.batch(&[]);
    bench.batch(&[]);
    assert_eq!(bench.io.streams.reset, [stream]);
    // Where nobody has answers to take, at once.
    for number in 1..=limits::STREAM_QUEUE_BYTES as u64 / 900 + 1 {
        bench.shard.write_open(&mut bench.io, dead, &request, waiting(number));
    }
    assert_eq!(bench.io.streams.reset, [stream, dead]);
}

/// Both ends of a connection would wait for each other.
#[test]
fn who_was_connected_to_from_here_is_heard_whatever_it_takes() {
    let mut bench = Bench::new();
    let stream = StreamId::first(3);
    let listener = bench.plan.listener(ListenerId(0)).identity;
    let mut connection = Connection::new(listener, PEER.parse().unwrap(), false, bench.now);
    connection.opened(bench.now);
    bench.shard.streams.insert(stream, connection);
    let pongs = limits::STREAM_QUEUE_BYTES / 2 / 2 + 1_000;
    for _ in 0..pongs {
        bench.comes(stream, b"\r\n\r\n");
    }
    assert_eq!((bench.written(stream), is_paused(&bench, stream)), (pongs, false));
}
