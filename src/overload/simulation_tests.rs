//! More calls than a shard can handle, in virtual time: one server with a queue, each message with its service time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Bucket, Pace, Standing, Waits};
use crate::net::{ListenerId, Now};

const HERE: ListenerId = ListenerId(0);

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const SECOND: u64 = 1_000 * MS;

/// What handling a message takes. A call is an INVITE and five more.
const FORWARD: u64 = 100 * US;
/// To answer 503, and to take in its ACK: together a tenth of a call; to drop at a glance a sixtieth. What refusing takes
/// is not there for calls: with `r` of a call's time, and `n` times the capacity offered, no more than
/// (1 - n·r) / (1 - r) of the calls can be left.
const REFUSE: u64 = 50 * US;
const ABSORB: u64 = 10 * US;
const DROP: u64 = 10 * US;
/// Answers in a second: the part of a real shard's that these calls are slower than its own.
const ANSWERS: u32 = 375;
const CALL: u64 = 6 * FORWARD;
/// Calls that there is time for in a second.
const CAPACITY: f64 = SECOND as f64 / CALL as f64;

/// Messages that a socket's buffer holds.
const BUFFER: usize = 6_000;
/// From one side of the network to the other.
const NETWORK: u64 = 2 * MS;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The call's first message.
    Invite,
    /// The message of this number of the call.
    Later(u8),
    /// To a 503.
    Ack,
}

/// A message: when it came in, of which call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    at: u64,
    kind: Kind,
    call: usize,
}

struct Shard {
    waits: Waits,
    answers: Bucket,
    /// When the host will pause, and for how long.
    pauses: VecDeque<(u64, u64)>,
    /// What is on the way.
    coming: BinaryHeap<Reverse<Message>>,
    queue: VecDeque<Message>,
    now: u64,
    lost: u64,
    refused: u64,
    finished: Vec<u64>,
    /// For each call how long its INVITE and the answer to it have waited and taken, until that was sent on.
    setup: Vec<u64>,
}

impl Shard {
    fn new(longest: Option<u64>) -> Self {
        Self {
            waits: Waits::new(longest),
            answers: Bucket::default(),
            pauses: VecDeque::new(),
            coming: BinaryHeap::new(),
            queue: VecDeque::new(),
            now: 0,
            lost: 0,
            refused: 0,
            finished: Vec::new(),
            setup: Vec::new(),
        }
    }

    /// So many times the capacity in INVITEs, from one instant to another; gaps between them are random.
    fn offer(&mut self, times: f64, from: u64, to: u64, seed: u64) {
        let (mut at, mut random) = (from as f64, seed | 1);
        while (at as u64) < to {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let uniform = (random >> 11) as f64 / (1u64 << 53) as f64;
            at += -(1.0 - uniform).ln() * SECOND as f64 / (times * CAPACITY);
            let call = self.setup.len();
            self.setup.push(0);
            self.coming.push(Reverse(Message { at: at as u64, kind: Kind::Invite, call }));
        }
    }

    /// Until nothing is left to do.
    fn run(&mut self) {
        loop {
            while let Some((at, ns)) = self.pauses.front().copied().filter(|(at, _)| *at <= self.now) {
                self.pauses.pop_front();
                self.now = self.now.max(at + ns);
            }
            while let Some(Reverse(message)) = self.coming.peek().copied().filter(|m| m.0.at <= self.now) {
                self.coming.pop();
                match self.queue.len() < BUFFER {
                    true => self.queue.push_back(message),
                    false => self.lost += 1,
                }
            }
            match (self.queue.pop_front(), self.coming.peek()) {
                (Some(message), _) => self.handle(message),
                (None, Some(Reverse(next))) => self.now = next.at,
                (None, None) => return,
            }
        }
    }

    fn handle(&mut self, Message { at, kind, call }: Message) {
        self.waits.observe(HERE, Some(self.now - at), Now(self.now));
        let standing = if kind == Kind::Invite { Standing::New } else { Standing::Kept };
        let next = if self.waits.here().refuses(standing) {
            self.refused += 1;
            if self.answers.take(Pace::of(ANSWERS, ANSWERS / 10, 1), Now(self.now)).is_err() {
                self.now += DROP;
                return;
            }
            self.now += REFUSE;
            Kind::Ack
        } else {
            self.now += if kind == Kind::Ack { ABSORB } else { FORWARD };
            match kind {
                Kind::Invite => Kind::Later(1),
                Kind::Later(5) => return self.finished.push(self.now),
                Kind::Later(number) => Kind::Later(number + 1),
                Kind::Ack => return,
            }
        };
        // The INVITE, its 180 and its 200.
        if matches!(next, Kind::Later(1..=3)) {
            self.setup[call] += self.now - at;
        }
        self.coming.push(Reverse(Message { at: self.now + 2 * NETWORK, kind: next, call }));
    }

    /// Calls that were finished in a second, of those from one instant to another.
    fn goodput(&self, from: u64, to: u64) -> f64 {
        let count = self.finished.iter().filter(|at| (from..to).contains(at)).count();
        count as f64 * SECOND as f64 / (to - from) as f64
    }

    /// Of admitted calls, what 99 of 100 did not exceed.
    fn p99(&self) -> u64 {
        self.p99_from(0)
    }

    /// Of those from this one on.
    fn p99_from(&self, call: usize) -> u64 {
        let mut all: Vec<u64> = self.setup[call..].iter().copied().filter(|ns| *ns > 0).collect();
        all.sort_unstable();
        all[all.len() * 99 / 100]
    }
}

/// What new requests may wait where nothing else is configured.
const LONGEST: Option<u64> = Some(15 * MS);

const END: u64 = 20 * SECOND;

fn overloaded(times: f64, longest: Option<u64>, seed: u64) -> Shard {
    let mut shard = Shard::new(longest);
    shard.offer(times, 0, END, seed);
    shard.run();
    shard
}

#[test]
fn with_five_times_the_capacity_nine_tenths_of_the_peak_are_left_and_calls_wait_little() {
    for seed in 1..=5 {
        let peak = overloaded(0.95, LONGEST, seed);
        assert_eq!((peak.refused, peak.lost), (0, 0));
        let peak = peak.goodput(SECOND, END);
        for times in [1.2, 2.0, 5.0] {
            let shard = overloaded(times, LONGEST, seed);
            let goodput = shard.goodput(SECOND, END);
            assert!(goodput >= 0.9 * peak, "{times} times: {goodput:.0} of {peak:.0}");
            assert!(shard.p99() < 50 * MS, "{times} times: {} ms", shard.p99() / MS);
            // Each one that came is finished, refused or lost in the first moments, when the queue was not yet known
            // to stand.
            let came = shard.setup.len() as u64;
            assert!(shard.finished.len() as u64 + shard.refused + shard.lost >= came);
            assert!(shard.lost < came / 100, "{times} times: {} lost of {came}", shard.lost);
        }
    }
}

#[test]
fn without_it_calls_starve_in_the_queue() {
    let shard = overloaded(5.0, None, 1);
    assert!(shard.goodput(SECOND, END) < 0.5 * CAPACITY && shard.p99() > 200 * MS);
}

#[test]
fn when_the_load_goes_nothing_is_refused_any_more() {
    let mut shard = Shard::new(LONGEST);
    shard.offer(3.0, 0, 2 * SECOND, 7);
    shard.run();
    let refused = shard.refused;
    assert!(refused > 0);
    let from = shard.now + SECOND;
    shard.offer(0.8, from, from + 5 * SECOND, 8);
    shard.run();
    assert_eq!(shard.refused, refused);
}

/// Pauses of the host in 20 seconds, each so long: by itself, and so many close together.
fn pauses(close: u64, ms: u64) -> VecDeque<(u64, u64)> {
    let of_second = |second: u64| {
        let count = if second.is_multiple_of(2) { 1 } else { close };
        (0..count).map(move |number| (second * SECOND + number * (ms + 20) * MS, ms * MS))
    };
    (1..10).map(|number| 2 * number + number % 2).flat_map(of_second).collect()
}

#[test]
fn what_a_host_pauses_for_is_made_good_without_refusing_a_call() {
    for (times, close, ms) in [(0.5, 3, 60), (0.5, 3, 100), (0.5, 1, 150), (0.66, 3, 60)] {
        let mut shard = Shard::new(LONGEST);
        shard.pauses = pauses(close, ms);
        shard.offer(times, 0, END, 3);
        shard.run();
        assert_eq!((shard.refused, shard.lost), (0, 0), "{times} {ms}");
        assert!(shard.p99() > 40 * MS, "{times} {ms}: the pauses are felt");
    }
}

#[test]
fn a_host_that_pauses_hides_no_overload() {
    for ms in [20, 100] {
        let mut shard = Shard::new(LONGEST);
        shard.pauses = (1..20).map(|second| (second * SECOND, ms * MS)).collect();
        shard.offer(3.0, 0, END, 5);
        shard.run();
        let (goodput, there) = (shard.goodput(SECOND, END), 1.0 - ms as f64 / 1_000.0);
        assert!(goodput >= 0.85 * there * CAPACITY, "{ms}: {goodput:.0} of {CAPACITY:.0}");
    }
}

#[test]
fn a_core_shared_with_others_hides_no_overload() {
    // Six milliseconds of each fourteen are another's.
    for seed in 1..=3 {
        let mut shard = Shard::new(LONGEST);
        shard.pauses = (0..END / (14 * MS)).map(|number| (number * 14 * MS, 6 * MS)).collect();
        shard.offer(3.0, 0, END, seed);
        shard.run();
        let goodput = shard.goodput(SECOND, END);
        assert!(goodput >= 0.85 * 8.0 / 14.0 * CAPACITY, "{goodput:.0} of {CAPACITY:.0}");
        // Once the first second is over, in which pauses are excused.
        let p99 = shard.p99_from((3.0 * CAPACITY) as usize);
        assert!(p99 < 70 * MS, "{} ms", p99 / MS);
    }
}
