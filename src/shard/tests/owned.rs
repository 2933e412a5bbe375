//! Messages between shards, and what transactions send by themselves.

use super::*;

/// A message that came in on the public listener, by this identity.
fn received(listener: u32) -> Letter {
    received_at(listener, Now(0), None)
}

/// The same, at that time, when it had waited so long.
fn received_at(listener: u32, since: Now, waited_ns: Option<u64>) -> Letter {
    let from = "192.0.2.9:5060".parse().unwrap();
    let (class, stream) = (Class::OtherMethod, Number::NONE);
    Letter::Received(Received { socket: PUBLIC, listener, from, stream, class, waited_ns, since })
}

#[test]
fn what_waited_in_its_box_has_waited_that_much_longer() {
    let mut bench = Bench::new();
    let listener = plan().listener(ListenerId(0)).identity;
    let now = bench.now;
    bench.batch(&[b"hand over"]);
    let Some(sent) = bench.post.take(1, Lane::Arrives) else { panic!("nothing was handed over") };
    let Letter::Received(Received { since, .. }) = sent.what else { panic!("{:?}", sent.what) };
    assert_eq!(since, now);
    bench.post.send(0, b"answer", received_at(listener, now, Some(3_000_000))).unwrap();
    bench.now = now.plus_ns(40_000_000);
    bench.batch(&[]);
    assert_eq!(bench.waited.get(), Some(43_000_000));
    // Also where nothing is known of its socket; and a sender's clock reading may be a little later.
    bench.post.send(0, b"answer", received_at(listener, bench.now.plus_ns(5), None)).unwrap();
    bench.batch(&[]);
    assert_eq!(bench.waited.get(), Some(0));
}

/// Takes what waits in shard 1's box.
fn letters(bench: &Bench) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| bench.post.take(1, Lane::Arrives)).map(|letter| letter.bytes).collect()
}

#[test]
fn what_another_shard_owns_goes_there_and_wakes_it_once() {
    let mut bench = Bench::new();
    bench.batch(&[b"hand over", b"hand over"]);
    assert_eq!(letters(&bench), [b"hand over", b"hand over"]);
    assert_eq!(bench.io.woken, [1]);
    assert_eq!((bench.metrics.handed_over.get(), bench.io.free), (2, POOL));
    assert!(DropReason::ALL.iter().all(|&reason| bench.metrics.dropped_count(reason) == 0));
}

#[test]
fn a_full_box_takes_no_more_and_that_is_counted() {
    let mut bench = Bench::new();
    let messages = vec![&b"hand over"[..]; limits::HANDED_OVER + 3];
    bench.batch(&messages);
    assert_eq!(bench.metrics.dropped_count(DropReason::NotHandedOver), 3);
    assert_eq!(bench.metrics.handed_over.get(), limits::HANDED_OVER as u64);
}

#[test]
fn what_a_shard_owned_that_has_ended_is_handled_where_it_comes_in() {
    let mut bench = Bench::new();
    bench.post.leave(1);
    bench.batch(&[b"hand over", b"hand over"]);
    // The script knows nothing else to do with it.
    assert_eq!(bench.metrics.dropped_count(DropReason::NotSip), 2);
    assert_eq!((bench.metrics.handed_over.get(), bench.io.free), (0, POOL));
}

#[test]
fn nothing_is_handed_over_to_a_shard_that_has_ended() {
    let bench = Bench::new();
    let post = bench.post.clone();
    drop(bench);
    let (not_posted, _) = post.send(0, b"answer", received(0)).unwrap_err();
    assert_eq!(not_posted, NotPosted::Gone);
}

#[test]
fn what_was_handed_over_to_it_is_handled_in_the_next_batch() {
    let mut bench = Bench::new();
    let listener = plan().listener(ListenerId(0)).identity;
    for listener in [listener, listener ^ 1] {
        bench.post.send(0, b"answer", received(listener)).unwrap();
    }
    bench.batch(&[]);
    assert_eq!(bench.complete(None), [(PUBLIC, "192.0.2.9:5060".parse().unwrap())]);
    assert_eq!(bench.metrics.answers().collect::<Vec<_>>(), [(403, 1)]);
    // The other one came in on a listener that is there no more.
    assert_eq!(bench.metrics.dropped_count(DropReason::ListenerGone), 1);
    assert!(bench.post.is_empty(0, Lane::Arrives));
}

#[test]
fn what_comes_by_the_network_waits_for_no_other_shard() {
    let mut bench = Bench::new();
    let listener = plan().listener(ListenerId(0)).identity;
    bench.post.send(0, b"answer", received(listener)).unwrap();
    bench.batch(&[b"forward"]);
    assert_eq!(
        bench.complete(None),
        [(PRIVATE, next_hop().address), (PUBLIC, "192.0.2.9:5060".parse().unwrap())]
    );
}

#[test]
fn a_shard_that_panics_too_often_handles_nothing_more_of_others() {
    let mut bench = Bench::new();
    let listener = plan().listener(ListenerId(0)).identity;
    bench.post.send(0, b"answer", received(listener)).unwrap();
    let many = vec![&b"panic"[..]; limits::PANICS_PER_SECOND as usize + 1];
    assert_eq!(bench.batch(&many), Next::Stop);
    assert!(bench.io.pending.is_empty());
    assert!(!bench.post.is_empty(0, Lane::Arrives));
}

#[test]
fn what_is_due_is_sent_in_its_batch_and_wakes_the_shard() {
    let mut bench = Bench::new();
    let due = bench.now.plus_ns(SECOND_NS);
    bench.due.set(Some(due));
    assert_eq!(bench.batch(&[]), Next::Wait(Some(due)));
    assert!(bench.io.pending.is_empty());
    bench.now = due;
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    assert_eq!(bench.complete(None), [(PRIVATE, next_hop().address)]);
    assert!(bench.failed.borrow().is_empty());
}

#[test]
fn a_failed_send_is_told_to_its_transaction_unless_the_queue_was_full() {
    for (errno, told) in [(libc::ENETUNREACH, 1), (libc::EHOSTUNREACH, 1), (libc::EAGAIN, 0)] {
        let mut bench = Bench::new();
        bench.due.set(Some(bench.now));
        bench.batch(&[]);
        bench.complete(Some(errno));
        assert_eq!(bench.failed.borrow().len(), told, "{errno}");
        // No message that came in was lost.
        assert!(DropReason::ALL.iter().all(|&reason| bench.metrics.dropped_count(reason) == 0));
    }
}

#[test]
fn what_is_too_much_for_a_batch_waits_for_the_next_one() {
    let mut bench = Bench::new();
    let listener = plan().listener(ListenerId(0)).identity;
    for _ in 0..limits::TAKEN_OVER_PER_BATCH + 1 {
        bench.post.send(0, b"not understood", received(listener)).unwrap();
    }
    assert_eq!(bench.batch(&[]), Next::Wait(Some(bench.now)), "at once");
    assert_eq!(bench.metrics.dropped_count(DropReason::NotSip), limits::TAKEN_OVER_PER_BATCH as u64);
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    assert_eq!(bench.metrics.dropped_count(DropReason::NotSip), limits::TAKEN_OVER_PER_BATCH as u64 + 1);
    const { assert!(2 * limits::TAKEN_OVER_PER_BATCH + limits::DUE_PER_BATCH < limits::SEND_BUFFERS as usize) }
}

#[test]
fn without_a_send_buffer_it_stays_due() {
    let mut bench = Bench::new();
    bench.io.free = 0;
    bench.due.set(Some(bench.now));
    assert_eq!(bench.batch(&[]), Next::Wait(Some(bench.now)));
    bench.io.free = POOL;
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    assert_eq!(bench.io.pending.len(), 1);
}
