//! What a shard does while nothing comes.

use super::*;

const INVITE: &[u8] = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKm1\r\n\r\n";
const OK: &[u8] = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKm1\r\n\r\n";

impl Bench {
    /// So many times nothing comes; what is rehearsed.
    fn idle(&mut self, times: usize) -> Vec<Vec<u8>> {
        for _ in 0..times {
            Shard::<FakeIo>::idle(&mut self.shard);
        }
        self.rehearsed.take()
    }

    /// All that a message has an effect on.
    fn effects(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        (self.received(), self.sent(), self.answered(), self.dropped(), self.io.pending.len(), self.io.free)
    }
}

#[test]
fn the_last_request_and_the_last_response_are_rehearsed_to_no_effect() {
    let mut bench = Bench::of(Worker::spinning);
    assert!(bench.idle(4).is_empty(), "nothing has come yet");
    bench.batch(&[INVITE]);
    // As others: else it would be a transaction that is known.
    let varied = |letter: u8| {
        let mut bytes = INVITE.to_vec();
        let at = bytes.windows(3).position(|three| three == b"bKm").unwrap() + 2;
        bytes[at] = letter;
        bytes
    };
    let before = bench.effects();
    assert_eq!(bench.idle(4), [varied(b'n'), varied(b'o')]);
    assert_eq!(bench.effects(), before);
    bench.batch(&[OK]);
    assert_eq!(bench.idle(4), [varied(b'p'), OK.to_vec(), varied(b'q'), OK.to_vec()]);
    for _ in 0..40 {
        assert!(bench.idle(2)[0].starts_with(b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK"));
    }
}

#[test]
fn where_many_come_and_where_they_are_long_none_is_kept() {
    let mut bench = Bench::of(Worker::spinning);
    bench.batch(&[b"INVITE 1", b"INVITE 2"]);
    assert_eq!(bench.idle(1), [b"INVITE 1".to_vec()]);
    let long = [&b"INVITE "[..], &[b'x'; limits::REHEARSED_BYTES]].concat();
    bench.now = bench.now.plus_ns(limits::REHEARSAL_KEPT_NS - 1);
    bench.batch(&[&long, b"INVITE 3"]);
    assert_eq!(bench.idle(2), [b"INVITE 1".to_vec()], "it is not old yet");
    bench.now = bench.now.plus_ns(1);
    bench.batch(&[&long, b"INVITE 4"]);
    assert_eq!(bench.idle(2), [b"INVITE 4".to_vec()]);
    let mut sleeps = Bench::new();
    sleeps.batch(&[INVITE]);
    assert!(sleeps.idle(4).is_empty(), "it does not look for messages");
}

#[test]
fn what_is_not_forwarded_is_not_rehearsed() {
    let mut bench = Bench::of(Worker::spinning);
    bench.batch(&[b"answer", b"hand over", b"panic", b"ask", b"anything"]);
    assert!(bench.idle(20).is_empty());
}

#[test]
fn a_message_is_rehearsed_for_a_minute() {
    let mut bench = Bench::of(Worker::spinning);
    bench.batch(&[b"INVITE 1"]);
    bench.now = bench.now.plus_ns(limits::REHEARSED_NS - 1);
    bench.batch(&[]);
    assert_eq!(bench.idle(2).len(), 1);
    bench.now = bench.now.plus_ns(1);
    bench.batch(&[]);
    assert!(bench.idle(2).is_empty());
}

#[test]
fn a_panic_of_a_rehearsal_costs_that_one() {
    let mut bench = Bench::of(Worker::spinning);
    bench.batch(&[b"INVITE twice panics"]);
    assert_eq!(bench.idle(20).len(), 1);
    assert_eq!((bench.dropped(), bench.records().len(), bench.shard.ended()), (0, 0, None));
    bench.batch(&[b"INVITE 1"]);
    assert_eq!(bench.idle(2), [b"INVITE 1".to_vec()]);
}

#[test]
fn another_configuration_has_other_listeners() {
    let mut bench = Bench::of(Worker::spinning);
    bench.batch(&[INVITE]);
    assert_eq!(bench.idle(1).len(), 1);
    bench.published.store(Arc::new(publication(2, plan(), &[PUBLIC, PRIVATE])));
    bench.batch(&[]);
    assert!(bench.idle(4).is_empty());
    bench.batch(&[INVITE]);
    assert_eq!(bench.idle(2).len(), 1);
}

#[test]
fn a_turn_in_which_nothing_comes_is_no_batch() {
    let mut bench = Bench::of(Worker::spinning);
    bench.batch(&[INVITE]);
    bench.batch(&[]);
    // One during which the processor is elsewhere is long.
    let is_uncounted = (0..3).any(|_| {
        let before = (bench.metrics.batches.get(), bench.metrics.busy_ns.get());
        bench.idle(1);
        bench.batch(&[]);
        (bench.metrics.batches.get(), bench.metrics.busy_ns.get()) == before
    });
    assert!(is_uncounted);
    let before = bench.metrics.batches.get();
    bench.idle(1);
    bench.batch(&[INVITE]);
    assert_eq!(bench.metrics.batches.get(), before + 1, "this one was not idle to its end");
    bench.batch(&[]);
    assert_eq!(bench.metrics.batches.get(), before + 2, "a timer may have been due");
}
