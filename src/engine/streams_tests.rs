use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;

fn socket() -> OwnedFd {
    UnixStream::pair().unwrap().0.into()
}

fn all_care(streams: &mut Streams<OwnedFd>, now: Now) -> Vec<(StreamId, Care)> {
    std::iter::from_fn(|| streams.next_care(now)).collect()
}

/// Begins to send; what the kernel is given.
fn begin(streams: &mut Streams<OwnedFd>, id: StreamId) -> Vec<u8> {
    let stream = streams.get(id).unwrap();
    stream.is_sending = true;
    stream.next_bytes().to_vec()
}

#[test]
fn bytes_leave_in_order_and_what_comes_meanwhile_follows_as_one() {
    let mut streams = Streams::default();
    let id = streams.insert(socket(), false).unwrap();
    assert!(streams.write(id, b"on") && streams.write(id, b"e"));
    assert_eq!(begin(&mut streams, id), b"one");
    let there = streams.get(id).unwrap().out.as_ptr();
    assert!(streams.write(id, b"two") && streams.write(id, b"three"));
    let stream = streams.get(id).unwrap();
    assert_eq!((&stream.out[..], stream.out.as_ptr()), (&b"one"[..], there), "it is under way");
    streams.took(id, 2);
    assert_eq!(begin(&mut streams, id), b"e");
    streams.took(id, 1);
    assert_eq!(begin(&mut streams, id), b"twothree");
    streams.took(id, 8);
    let stream = streams.get(id).unwrap();
    assert_eq!((stream.out.capacity(), stream.queue.capacity(), streams.held_bytes()), (0, 0, 0));
}

#[test]
fn who_has_something_to_send_is_told_once_and_not_while_something_is_under_way() {
    let mut streams = Streams::default();
    let ids = [false, true].map(|is_connecting| streams.insert(socket(), is_connecting).unwrap());
    for id in ids {
        assert!(streams.write(id, b"one") && streams.write(id, b"two"));
    }
    assert_eq!((streams.writes, streams.next_unsent()), (4, Some(ids[0])));
    assert_eq!((streams.next_unsent(), streams.writes), (None, 0));
    begin(&mut streams, ids[0]);
    assert!(streams.write(ids[0], b"three"));
    assert_eq!(streams.next_unsent(), None);
    streams.took(ids[0], 6);
    streams.get(ids[1]).unwrap().is_connecting = false;
    streams.list(ids[1]);
    assert_eq!([streams.next_unsent(), streams.next_unsent()], [Some(ids[1]), Some(ids[0])]);
    streams.reset(ids[1]);
    streams.list(ids[1]);
    assert_eq!(streams.next_unsent(), None, "nothing more is sent on it");
}

#[test]
fn what_was_tried_at_once_has_left_unless_it_fell_short_and_then_the_rest_waits() {
    let mut streams = Streams::default();
    let id = streams.insert(socket(), false).unwrap();
    assert!(streams.write(id, b"all of it"));
    begin(&mut streams, id);
    assert_eq!((streams.took_at_once(id), streams.took_at_once(id)), (Some(9), None));
    assert!(streams.write(id, b"not all"));
    begin(&mut streams, id);
    streams.fell_short(id);
    assert_eq!(streams.took_at_once(id), None, "its completion says how much");
    streams.took(id, 4);
    assert!(streams.get(id).unwrap().is_patient && streams.next_unsent() == Some(id));
    assert_eq!(begin(&mut streams, id), b"all");
    streams.took(id, 3);
    assert!(!streams.get(id).unwrap().is_patient);
    assert!(streams.write(id, b"x"));
    begin(&mut streams, id);
    assert!(streams.over(id));
    assert_eq!(streams.took_at_once(id), None);
    assert_eq!(streams.held_bytes(), 0);
}

/// What the allocator was asked for, whatever is written and taken.
#[test]
fn a_queue_takes_no_more_memory_than_is_stated() {
    let mut streams = Streams::default();
    let id = streams.insert(socket(), false).unwrap();
    for len in [1, 700, 4_000, 65_535] {
        let (mut round, mut written) = (0, 0);
        loop {
            round += 1;
            let goes = streams.write(id, &vec![0; len]);
            let stream = streams.get(id).unwrap();
            let taken = stream.out.capacity() + stream.queue.iter().map(Vec::capacity).sum::<usize>();
            assert!(taken == stream.held_bytes && taken <= STREAM_QUEUE_MOST_BYTES, "{taken}");
            written += len;
            if !goes {
                break;
            }
            if round % 3 == 0 {
                let half = stream.next_bytes().len() / 2;
                streams.took(id, half);
            }
        }
        assert!(written > STREAM_QUEUE_MOST_BYTES / 2, "{written} bytes of {len} each");
        while streams.get(id).unwrap().has_more() {
            let all = streams.get(id).unwrap().next_bytes().len();
            streams.took(id, all);
        }
        assert_eq!(streams.held_bytes(), 0);
    }
}

#[test]
fn a_stream_that_is_over_keeps_only_what_the_kernel_reads() {
    let mut streams = Streams::default();
    let id = streams.insert(socket(), false).unwrap();
    assert!(streams.write(id, b"first") && streams.get(id).unwrap().next_bytes() == b"first");
    streams.get(id).unwrap().is_sending = true;
    assert!(streams.write(id, &[0; 9_000]) && !streams.write(id, &vec![0; STREAM_QUEUE_MOST_BYTES]));
    streams.over(id);
    let stream = streams.get(id).unwrap();
    assert_eq!((&stream.out[..], stream.queue.len()), (&b"first"[..], 0));
    streams.took(id, 5);
    assert_eq!((streams.get(id).unwrap().out.capacity(), streams.held_bytes()), (0, 0));
    streams.remove(id);
    assert!(!streams.write(id, b"x"));
}

#[test]
fn a_reset_makes_room_at_once() {
    let mut streams = Streams::default();
    let message = vec![0; 65_535];
    let mut ids = Vec::new();
    while streams.has_room(message.len()) {
        let id = streams.insert(socket(), false).unwrap();
        while streams.write(id, &message) {}
        ids.push(id);
    }
    let last = streams.insert(socket(), false).unwrap();
    assert!(streams.held_bytes() <= STREAM_QUEUES_BYTES && ids.len() < STREAMS / 2);
    streams.get(ids[0]).unwrap().next_bytes();
    streams.get(ids[0]).unwrap().is_sending = true;
    streams.reset(ids[0]);
    assert!(streams.has_room(message.len()) && streams.write(last, &message));
    assert!(!streams.write(ids[0], b"x"));
    streams.took(ids[0], 65_535);
    assert!(!streams.get(ids[0]).unwrap().has_more());
    assert_eq!(streams.next_failed(), Some((ids[0], 0)));
    for id in ids.into_iter().chain([last]) {
        streams.over(id);
        streams.remove(id);
    }
    assert_eq!(streams.held_bytes(), 0);
}

#[test]
fn a_stream_that_finishes_sends_all_tells_the_peer_and_waits_for_it() {
    let (mut streams, by) = (Streams::default(), Now(9));
    let id = streams.insert(socket(), false).unwrap();
    streams.write(id, b"last");
    streams.finish(id, by);
    assert!(!streams.write(id, b"too late"));
    assert_eq!(all_care(&mut streams, Now(0)), [(id, Care::Wait)]);
    streams.get(id).unwrap().next_bytes();
    streams.took(id, 4);
    assert_eq!(all_care(&mut streams, Now(0)), [(id, Care::Shut)]);
    streams.get(id).unwrap().is_shut = true;
    assert_eq!(all_care(&mut streams, Now(8)), [], "who waits costs nothing");
    assert_eq!(all_care(&mut streams, by), [(id, Care::Reset)]);
    streams.get(id).unwrap().is_read = true;
    streams.changed(id);
    assert_eq!(all_care(&mut streams, Now(0)), [(id, Care::End)]);
    assert!(streams.over(id) && !streams.over(id));
    assert_eq!(all_care(&mut streams, Now(0)), [(id, Care::Gone)]);
    streams.remove(id);
    assert!(all_care(&mut streams, Now(u64::MAX)).is_empty() && streams.get(id).is_none());
}

#[test]
fn thousands_that_finish_are_looked_at_when_something_happens() {
    let mut streams = Streams::default();
    let ids: Vec<StreamId> = (0..5_000).map(|_| streams.insert(socket(), false).unwrap()).collect();
    for (by, id) in (10..).zip(&ids) {
        streams.finish(*id, Now(by));
        streams.get(*id).unwrap().is_shut = true;
    }
    assert_eq!(all_care(&mut streams, Now(0)).len(), 5_000);
    assert_eq!(all_care(&mut streams, Now(9)), []);
    assert_eq!(all_care(&mut streams, Now(10)), [(ids[0], Care::Reset)]);
    streams.get(ids[4_000]).unwrap().is_read = true;
    streams.changed(ids[4_000]);
    assert_eq!(all_care(&mut streams, Now(10)), [(ids[4_000], Care::End)]);
}

#[test]
fn a_stream_is_kept_while_the_kernel_uses_its_memory() {
    let mut streams = Streams::default();
    let id = streams.insert(socket(), false).unwrap();
    streams.get(id).unwrap().is_sending = true;
    streams.over(id);
    assert_eq!(all_care(&mut streams, Now(0)), [(id, Care::Wait)]);
    streams.took(id, 0);
    assert_eq!(all_care(&mut streams, Now(0)), [(id, Care::Gone)]);
}

#[test]
fn places_are_used_again_for_other_numbers_and_not_soon() {
    let mut streams = Streams::default();
    let mut last = None;
    for _ in 0..3_000 {
        let id = streams.insert(socket(), false).unwrap();
        assert_ne!(Some(id.place()), last);
        last = Some(id.place());
        streams.over(id);
        streams.remove(id);
    }
    assert!(streams.places.len() <= STREAMS / 64 + 1);
}
