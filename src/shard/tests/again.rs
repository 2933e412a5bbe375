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

/// What leaves by connections of the other shard finds no room.
fn fill_what_leaves(bench: &Bench) {
    let way = bench.shard.way_of(ListenerId(0), PEER.parse().unwrap(), Number::NONE);
    let waiting = Waiting { shard: 0, cookie: 0 };
    while bench.post.send(1, &[], Letter::Leaves { way: way.clone(), waiting }).is_ok() {}
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
    bench.fill();
    for _ in 0..3 {
        receive(&mut bench, stream, b"hand over");
    }
    assert_eq!((dropped(&bench), bench.metrics.tried_again.get()), (0, 3));
    later(&mut bench);
    assert_eq!(bench.metrics.tried_again.get(), 3, "there is still no room");
    bench.post.take(1, Lane::Arrives).unwrap();
    receive(&mut bench, stream, b"hand over");
    assert_eq!(bench.metrics.tried_again.get(), 4, "it does not overtake");
    while bench.post.take(1, Lane::Arrives).is_some() {}
    later(&mut bench);
    let came = std::iter::from_fn(|| bench.post.take(1, Lane::Arrives)).count();
    assert_eq!((came, bench.metrics.tried_again.get(), dropped(&bench)), (4, 0, 0));
}

#[test]
fn a_request_that_finds_no_room_at_all_is_refused() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    bench.fill();
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
    fill_what_leaves(&bench);
    let there = Number::new(1, StreamId::first(0));
    let waiting = Waiting { shard: 0, cookie: Cookie::Answer(200).with(None) };
    let way = bench.shard.way_of(ListenerId(0), PEER.parse().unwrap(), there);
    bench.shard.leave_by_stream(&mut bench.io, b"SIP/2.0 200 OK", &way, waiting);
    assert_eq!((dropped(&bench), bench.metrics.tried_again.get()), (0, 1));
    while bench.post.take(1, Lane::Leaves).is_some() {}
    later(&mut bench);
    assert_eq!(bench.post.take(1, Lane::Leaves).unwrap().bytes, b"SIP/2.0 200 OK");
}

const ASKS: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK7\r\n\r\n";

/// The transaction of this number, which this shard keeps, waits for an answer by this connection, which ends.
fn is_lost(bench: &mut Bench, stream: StreamId, shard: u16) {
    let waiting = Waiting { shard, cookie: Cookie::Own.with(Handle::from_bits(7)) };
    bench.shard.write_open(&mut bench.io, stream, ASKS, waiting);
    bench.shard.on_wrote(stream, ASKS.len());
    bench.shard.on_event(&mut bench.io, Event::Ended { stream, errno: libc::ECONNRESET });
}

/// It may be the answer.
#[test]
fn the_end_of_a_connection_is_not_heard_before_what_has_come_by_it() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    bench.fill();
    receive(&mut bench, stream, b"hand over");
    bench.post.take(1, Lane::Arrives).unwrap();
    is_lost(&mut bench, stream, 1);
    let is_told = |letter: &crate::shard::post::Letter| matches!(letter.what, Letter::Lost(..));
    assert!(!std::iter::from_fn(|| bench.post.take(1, Lane::Arrives)).any(|letter| is_told(&letter)));
    later(&mut bench);
    let came: Vec<bool> =
        std::iter::from_fn(|| bench.post.take(1, Lane::Arrives)).map(|letter| is_told(&letter)).collect();
    assert_eq!(came, [false, true]);
}

/// The same where the transaction is kept here, and what has come waits for a send buffer.
#[test]
fn the_end_of_a_connection_waits_for_a_send_buffer_with_what_has_come_by_it() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    let free = std::mem::take(&mut bench.io.free);
    receive(&mut bench, stream, b"answer");
    is_lost(&mut bench, stream, 0);
    let (handle, why) = (Handle::from_bits(8).unwrap(), SendFailure::Broken);
    bench.post.send(0, &[], Letter::Lost(handle, PEER.parse().unwrap(), why)).unwrap();
    later(&mut bench);
    assert_eq!((bench.metrics.tried_again.get(), bench.failed.borrow().len()), (2, 0));
    bench.io.free = free;
    later(&mut bench);
    assert_eq!(bench.failed.take(), [(Handle::from_bits(7).unwrap(), why), (handle, why)]);
    assert_eq!((bench.metrics.tried_again.get(), dropped(&bench)), (0, 0));
}

#[test]
fn what_comes_by_a_connection_does_not_overtake_what_waits_for_a_send_buffer() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    let free = std::mem::take(&mut bench.io.free);
    receive(&mut bench, stream, b"answer");
    bench.io.free = free;
    let invite = b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9\r\nContent-Length: 0\r\n\r\n";
    bench.shard.on_event(&mut bench.io, Event::Received { stream, bytes: invite });
    assert_eq!((bench.metrics.tried_again.get(), bench.io.pending.len()), (1, 0));
    later(&mut bench);
    assert_eq!((bench.metrics.tried_again.get(), bench.io.pending.len()), (0, 1));
}

/// Else only its time ends the transaction: 32 s, or Timer C.
#[test]
fn a_full_box_does_not_keep_transactions_from_hearing_what_has_become_of_their_requests() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    bench.fill();
    is_lost(&mut bench, stream, 1);
    let waiting = Waiting { shard: 1, cookie: Cookie::Own.with(Handle::from_bits(8)) };
    for _ in 0..limits::TOLD_AGAIN {
        bench.shard.not_sent(&mut bench.io, waiting, DropReason::ConnectionFailed, None);
    }
    let counted = (bench.metrics.tried_again.get(), bench.metrics.not_told.get());
    assert_eq!(counted, (limits::TOLD_AGAIN as u64, 1), "it has an end, and that is counted");
    while bench.post.take(1, Lane::Arrives).is_some() {}
    later(&mut bench);
    assert!(matches!(bench.post.take(1, Lane::Arrives).unwrap().what, Letter::Lost(..)));
    assert!(matches!(bench.post.take(1, Lane::Arrives).unwrap().what, Letter::NotSent(..)));
    assert_eq!(dropped(&bench), 0);
}

/// Two shards with full boxes would each wait for the other to read its own.
#[test]
fn a_full_box_elsewhere_does_not_keep_a_shard_from_its_own() {
    let mut bench = Bench::new();
    let stream = connected(&mut bench);
    bench.fill();
    receive(&mut bench, stream, b"hand over");
    let free = std::mem::take(&mut bench.io.free);
    receive(&mut bench, stream, b"answer");
    bench.io.free = free;
    let handle = Handle::from_bits(8).unwrap();
    bench.post.send(0, &[], Letter::NotSent(handle, SendFailure::Other)).unwrap();
    later(&mut bench);
    assert_eq!(bench.io.streams.written, [(stream, b"sent".to_vec())]);
    assert_eq!((bench.failed.borrow().len(), bench.metrics.tried_again.get()), (1, 1));
}

/// A message of a transaction, or of none, is to leave by a connection of the other shard.
fn leaves(bench: &mut Bench, bytes: &[u8], transaction: Option<Handle>) {
    let there = Number::new(1, StreamId::first(0));
    let waiting = Waiting { shard: 0, cookie: Cookie::Own.with(transaction) };
    let way = bench.shard.way_of(ListenerId(0), PEER.parse().unwrap(), there);
    bench.shard.leave_by_stream(&mut bench.io, bytes, &way, waiting);
}

/// RFC 3261 §16.10: "the element MUST generate CANCEL requests for all pending client transactions in the context". Nobody sends
/// it again over a stream, nor the ACK to a refusal. A request with other ways leaves them half of the room.
#[test]
fn a_cancel_for_another_shards_connection_waits_for_room() {
    for (message, is_kept) in
        [(&b"CANCEL sip:x SIP/2.0\r\n"[..], true), (b"ACK sip:x SIP/2.0\r\n", true), (ASKS, false)]
    {
        let mut bench = Bench::new();
        fill_what_leaves(&bench);
        let before = limits::TRIED_AGAIN as u64 / 2;
        let way = bench.shard.way_of(ListenerId(0), PEER.parse().unwrap(), Number::NONE);
        for _ in 0..before {
            let waiting = Waiting { shard: 0, cookie: 0 };
            let to_another = Letter::Leaves { way: way.clone(), waiting };
            assert!(bench.shard.keep_letter(0, to_another, b""));
        }
        leaves(&mut bench, message, Handle::from_bits(7));
        let kept = (bench.metrics.tried_again.get(), bench.failed.borrow().len());
        assert_eq!(kept, if is_kept { (before + 1, 0) } else { (before, 1) });
    }
}

#[test]
fn a_bye_for_another_shards_connection_does_not_overtake_the_ack_before_it() {
    let (ack, bye) = (&b"ACK sip:x SIP/2.0\r\n"[..], &b"BYE sip:x SIP/2.0\r\n"[..]);
    let mut bench = Bench::new();
    fill_what_leaves(&bench);
    leaves(&mut bench, ack, None);
    while bench.post.take(1, Lane::Leaves).is_some() {}
    leaves(&mut bench, bye, Handle::from_bits(7));
    assert_eq!((bench.metrics.tried_again.get(), bench.failed.borrow().len()), (2, 0));
    later(&mut bench);
    let came: Vec<Vec<u8>> =
        std::iter::from_fn(|| bench.post.take(1, Lane::Leaves)).map(|letter| letter.bytes).collect();
    assert_eq!(came, [ack, bye]);
}
