//! More calls than a shard can handle, in virtual time: a shard with a socket on either side that reads batches, handles one
//! message after the other, and pauses with its host; callers that send again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Answers, Kept, Shares, Standing, Waits};
use crate::net::{ListenerId, Now};

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const SECOND: u64 = 1_000 * MS;

/// Messages of a call, each forwarded.
const MESSAGES: u64 = 6;
/// Messages that a batch takes, from each socket so many in turn.
const BATCH: usize = 512;
const TURN: usize = 32;
/// Messages between two looks at the clock.
const LOOK: usize = 64;
/// Messages that a socket's buffer holds.
const BUFFER: usize = 13_000;
/// From one side of the network to the other.
const NETWORK: u64 = 100 * US;
/// From the answer to the end of a call.
const HOLD: u64 = 100 * MS;
/// T1 (RFC 3261 §17.1.1.1).
const T1: u64 = 500 * MS;
/// What new requests may wait where nothing else is configured.
const LONGEST: Option<u64> = Some(15 * MS);
/// How long calls are offered.
const END: u64 = 5 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The first time, the second …
    Invite(u8),
    Ringing,
    Ok,
    Ack,
    Bye,
    OkToBye,
    /// To a 503.
    AckOfRefusal,
    /// The caller looks whether it has an answer to what it has sent so often.
    Timer(u8),
}

impl Kind {
    fn listener(self) -> usize {
        usize::from(matches!(self, Self::Ringing | Self::Ok | Self::OkToBye))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    at: u64,
    kind: Kind,
    call: usize,
}

#[derive(Clone, Copy, Default)]
struct Call {
    begun: u64,
    /// Its INVITE was let in, the first one.
    is_in: bool,
    at_once: bool,
    is_answered: bool,
    /// From its scheduled begin until its 200 was forwarded.
    setup: Option<u64>,
    is_complete: bool,
}

struct Shard {
    waits: Waits,
    answers: Answers,
    shares: Shares,
    /// What the filter at the socket where calls come in keeps.
    kept: Kept,
    random: u64,
    /// Dropped by it.
    filtered: u64,
    /// What forwarding a message takes.
    forward: u64,
    retransmit: bool,
    /// When the host will pause, and for how long.
    pauses: VecDeque<(u64, u64)>,
    coming: BinaryHeap<Reverse<Message>>,
    sockets: [VecDeque<Message>; 2],
    now: u64,
    lost: u64,
    refused: u64,
    shed: u64,
    calls: Vec<Call>,
}

impl Shard {
    fn new(forward: u64, longest: Option<u64>) -> Self {
        Self {
            waits: Waits::new(longest),
            answers: Answers::default(),
            shares: Shares::default(),
            kept: Kept::ALL,
            random: 88_172_645_463_325_252,
            filtered: 0,
            forward,
            retransmit: false,
            pauses: VecDeque::new(),
            coming: BinaryHeap::new(),
            sockets: Default::default(),
            now: 0,
            lost: 0,
            refused: 0,
            shed: 0,
            calls: Vec::new(),
        }
    }

    /// Calls that there is time for in a second, where the host does not pause.
    fn capacity(&self) -> f64 {
        SECOND as f64 / (MESSAGES * self.forward) as f64
    }

    /// To answer 503 takes so much, to take in its ACK, and to drop at a glance: as parts of forwarding, as measured.
    fn part(&self, hundredths: u64) -> u64 {
        self.forward * hundredths / 100
    }

    /// So many calls a second, from one instant to another; gaps between them are random.
    fn offer(&mut self, rate: f64, from: u64, to: u64, seed: u64) {
        let (mut at, mut random) = (from as f64, (seed * 7_919) | 1);
        while (at as u64) < to {
            random = next_of(random);
            let uniform = (random >> 11) as f64 / (1u64 << 53) as f64;
            at += -(1.0 - uniform).ln() * SECOND as f64 / rate;
            let (call, begun) = (self.calls.len(), at as u64);
            self.calls.push(Call { begun, ..Call::default() });
            self.coming.push(Reverse(Message { at: begun, kind: Kind::Invite(0), call }));
            if self.retransmit {
                self.coming.push(Reverse(Message { at: begun + T1, kind: Kind::Timer(0), call }));
            }
        }
    }

    /// The filter drops it.
    fn filters(&mut self, message: Message) -> bool {
        self.random = next_of(self.random);
        let drops =
            matches!(message.kind, Kind::Invite(_)) && (self.random >> 32) as u32 >= self.kept.below();
        self.filtered += u64::from(drops);
        drops
    }

    /// Until nothing is left to do.
    fn run(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.pause();
            self.look();
            self.receive();
            self.read(&mut batch);
            if batch.is_empty() {
                let Some(Reverse(next)) = self.coming.peek() else { return };
                self.now = self.now.max(next.at);
                continue;
            }
            let (begun, mut looked) = (self.now, self.now);
            for (number, message) in batch.drain(..).enumerate() {
                if number % LOOK == 0 {
                    looked = self.now;
                }
                let waited = looked.saturating_sub(message.at);
                self.waits.observe(ListenerId(message.kind.listener() as u16), Some(waited), Now(begun));
                self.handle(message);
                self.pause();
            }
        }
    }

    /// Whenever that is due, messages or not.
    fn look(&mut self) {
        let Self { shares, waits, kept, now, .. } = self;
        while let Some(at) = shares.look_at().filter(|at| at.0 <= *now) {
            shares.look(at, |on, part| {
                *kept = part;
                waits.filter(on, part != Kept::ALL);
            });
        }
    }

    fn pause(&mut self) {
        while let Some((at, ns)) = self.pauses.front().copied().filter(|(at, _)| *at <= self.now) {
            self.pauses.pop_front();
            self.now = self.now.max(at + ns);
        }
    }

    /// What has come until now is in the sockets, as far as there is room.
    fn receive(&mut self) {
        while let Some(Reverse(message)) = self.coming.peek().copied().filter(|m| m.0.at <= self.now) {
            self.coming.pop();
            let Message { at, kind, call } = message;
            let arrived = match kind {
                Kind::Timer(_) if self.calls[call].is_answered || at > END => continue,
                Kind::Timer(times) => {
                    let kind = Kind::Timer(times + 1);
                    self.coming.push(Reverse(Message { at: at + (T1 << (times + 1)), kind, call }));
                    Message { kind: Kind::Invite(times + 1), ..message }
                }
                _ => message,
            };
            if self.filters(arrived) {
                continue;
            }
            let socket = &mut self.sockets[arrived.kind.listener()];
            match socket.len() < BUFFER {
                true => socket.push_back(arrived),
                false => self.lost += 1,
            }
        }
    }

    fn read(&mut self, batch: &mut Vec<Message>) {
        while batch.len() < BATCH && self.sockets.iter().any(|socket| !socket.is_empty()) {
            for socket in &mut self.sockets {
                let count = TURN.min(socket.len()).min(BATCH - batch.len());
                batch.extend(socket.drain(..count));
            }
        }
    }

    fn handle(&mut self, Message { kind, call, .. }: Message) {
        let is_new = matches!(kind, Kind::Invite(_)) && !self.calls[call].is_in;
        let is_refused = is_new && self.waits.here().refuses(Standing::New);
        let is_shed = is_refused && !self.answers.take(Now(self.now));
        if matches!(kind, Kind::Invite(_)) && self.waits.here().is_overloaded() {
            self.shares.count(ListenerId(0), is_shed, Now(self.now));
        }
        if is_refused {
            return self.refuse(call, is_shed);
        }
        if self.waits.here().is_overloaded() && matches!(kind, Kind::Invite(_) | Kind::Ack | Kind::Bye) {
            self.answers.let_in();
        }
        self.now += if kind == Kind::AckOfRefusal { self.part(17) } else { self.forward };
        let known = &mut self.calls[call];
        let next: &[(Kind, u64)] = match kind {
            Kind::Invite(times) if is_new => {
                (known.is_in, known.at_once) = (true, times == 0);
                &[(Kind::Ringing, 0), (Kind::Ok, 0)]
            }
            Kind::Ok => {
                (known.is_answered, known.setup) = (true, Some(self.now - known.begun));
                &[(Kind::Ack, 0), (Kind::Bye, HOLD)]
            }
            Kind::Bye => &[(Kind::OkToBye, 0)],
            Kind::OkToBye => {
                known.is_complete = true;
                &[]
            }
            _ => {
                known.is_answered |= kind == Kind::Ringing;
                &[]
            }
        };
        for (kind, later) in next {
            let at = self.now + 2 * NETWORK + later;
            self.coming.push(Reverse(Message { at, kind: *kind, call }));
        }
    }

    fn refuse(&mut self, call: usize, is_shed: bool) {
        if is_shed {
            self.shed += 1;
            self.now += self.part(14);
            return;
        }
        self.refused += 1;
        self.now += self.part(70);
        self.calls[call].is_answered = true;
        self.coming.push(Reverse(Message { at: self.now + 2 * NETWORK, kind: Kind::AckOfRefusal, call }));
    }

    /// Calls completed in a second, of those that were offered.
    fn goodput(&self) -> f64 {
        self.calls.iter().filter(|call| call.is_complete).count() as f64 * SECOND as f64 / END as f64
    }

    /// What 99 of 100 calls that were let in with their first INVITE did not exceed until their 200.
    fn p99(&self) -> u64 {
        let at_once = self.calls.iter().filter(|call| call.at_once);
        let mut all: Vec<u64> = at_once.filter_map(|call| call.setup).collect();
        all.sort_unstable();
        all[all.len() * 99 / 100]
    }
}

/// Xorshift.
fn next_of(random: u64) -> u64 {
    let random = random ^ random << 13;
    let random = random ^ random >> 7;
    random ^ random << 17
}

/// What forwarding a message takes on some core: a quick one, and one that is a quarter of that.
const QUICK: u64 = 6_400;
const SLOW: u64 = 4 * QUICK;

/// A core of which others have all but a part of each period: a quota, say.
fn shared(part: f64, period: u64) -> VecDeque<(u64, u64)> {
    let own = (period as f64 * part) as u64;
    (0..2 * END / period).map(|number| (number * period + own, period - own)).collect()
}

/// So many times what there is time for.
fn overloaded(mut shard: Shard, times: f64, part: f64, seed: u64) -> Shard {
    let rate = times * part * shard.capacity();
    shard.offer(rate, 0, END, seed);
    shard.run();
    shard
}

#[test]
fn with_five_times_the_capacity_calls_wait_little_and_most_of_the_peak_is_left() {
    for (forward, seed) in [(QUICK, 1), (SLOW, 1), (SLOW, 2)] {
        let peak = overloaded(Shard::new(forward, LONGEST), 0.95, 1.0, seed);
        assert_eq!((peak.refused, peak.shed, peak.lost), (0, 0, 0));
        // What is dropped takes its part: with 14 hundredths of a message for each, and half as many as are let in.
        for (times, least) in [(1.05, 0.95), (1.2, 0.95), (2.0, 0.95), (5.0, 0.94)] {
            let shard = overloaded(Shard::new(forward, LONGEST), times, 1.0, seed);
            let goodput = shard.goodput() / shard.capacity();
            assert!(goodput >= least, "{forward} ns, {times} times: {goodput:.3}");
            assert!(shard.p99() < 50 * MS, "{forward} ns, {times} times: {} us", shard.p99() / US);
            assert_eq!(shard.lost, 0);
            let complete = shard.calls.iter().filter(|call| call.is_complete).count() as u64;
            assert_eq!(complete + shard.refused + shard.shed + shard.filtered, shard.calls.len() as u64);
            // Some are answered, and not so many that it takes calls' time.
            assert!(shard.refused >= complete / 10 || times < 1.1, "{times} times: {}", shard.refused);
            assert!(shard.refused <= complete / 3, "{times} times: {}", shard.refused);
        }
    }
}

/// Within five seconds a caller sends up to four times: 11.6 INVITEs come for each call that there is time for. To read them
/// all would take 27% of the core; nine of ten are dropped by the filter.
#[test]
fn where_callers_send_again_the_core_is_for_calls() {
    for forward in [QUICK, SLOW] {
        let shard = overloaded(Shard { retransmit: true, ..Shard::new(forward, LONGEST) }, 5.0, 1.0, 1);
        let goodput = shard.goodput() / shard.capacity();
        assert!(goodput >= 0.94, "{forward} ns: {goodput:.3}");
        assert!(shard.filtered > 3 * shard.shed, "{} {}", shard.filtered, shard.shed);
        assert!(shard.p99() < 50 * MS, "{forward} ns: {} us", shard.p99() / US);
        assert_eq!(shard.lost, 0);
    }
}

#[test]
fn a_core_shared_with_others_hides_no_overload() {
    for (part, period, retransmit, least) in
        [(0.25, 5 * MS, false, 0.87), (0.25, 5 * MS, true, 0.9), (8.0 / 14.0, 14 * MS, false, 0.87)]
    {
        let shard = Shard { pauses: shared(part, period), retransmit, ..Shard::new(2 * QUICK, LONGEST) };
        let shard = overloaded(shard, 5.0, part, 1);
        let goodput = shard.goodput() / (part * shard.capacity());
        assert!(goodput >= least, "{part} of {period} ns: {goodput:.3}");
        assert!(shard.p99() < 55 * MS, "{part} of {period} ns: {} us", shard.p99() / US);
    }
    let shard = Shard { pauses: shared(0.25, 5 * MS), ..Shard::new(2 * QUICK, LONGEST) };
    let carried = overloaded(shard, 0.9, 0.25, 1);
    assert_eq!((carried.refused, carried.shed), (0, 0), "a shared core that has time enough");
}

#[test]
fn without_it_calls_starve_in_the_queue() {
    let shard = overloaded(Shard::new(SLOW, None), 5.0, 1.0, 1);
    assert!(shard.p99() > 200 * MS);
}

#[test]
fn when_the_load_goes_nothing_is_refused_any_more() {
    let mut shard = Shard::new(SLOW, LONGEST);
    let capacity = shard.capacity();
    shard.offer(3.0 * capacity, 0, 2 * SECOND, 7);
    shard.run();
    let gone = [shard.refused, shard.shed, shard.filtered];
    assert!(gone.iter().all(|gone| *gone > 0));
    let from = shard.now + SECOND;
    shard.offer(0.8 * capacity, from, from + 5 * SECOND, 8);
    shard.run();
    assert_eq!([shard.refused, shard.shed, shard.filtered], gone);
}

/// Pauses of the host, each so long: by itself, and so many close together.
fn pauses(close: u64, ms: u64) -> VecDeque<(u64, u64)> {
    let of_second = |second: u64| {
        let count = if second.is_multiple_of(2) { 1 } else { close };
        (0..count).map(move |number| (second * SECOND + number * (ms + 20) * MS, ms * MS))
    };
    (1..5).map(|number| number + number % 2).flat_map(of_second).collect()
}

#[test]
fn what_a_host_pauses_for_is_made_good_without_refusing_a_call() {
    for (times, close, ms) in [(0.5, 3, 60), (0.5, 3, 100), (0.5, 1, 150), (0.66, 3, 60)] {
        let shard = Shard { pauses: pauses(close, ms), ..Shard::new(SLOW, LONGEST) };
        let shard = overloaded(shard, times, 1.0, 3);
        assert_eq!((shard.refused, shard.shed, shard.lost), (0, 0, 0), "{times} {ms}");
        assert!(shard.p99() > 40 * MS, "{times} {ms}: the pauses are felt");
    }
}

#[test]
fn a_host_that_pauses_hides_no_overload() {
    for ms in [20, 100] {
        let pauses = (1..5).map(|second| (second * SECOND, ms * MS)).collect();
        let shard = overloaded(Shard { pauses, ..Shard::new(SLOW, LONGEST) }, 3.0, 1.0, 5);
        let (goodput, there) = (shard.goodput() / shard.capacity(), 1.0 - ms as f64 / 1_000.0);
        assert!(goodput >= 0.87 * there, "{ms}: {goodput:.3}");
    }
}

/// After an overload, with a load that the shard carries, now and then a pause makes some wait: the overload is over.
#[test]
fn short_pauses_keep_no_overload_alive() {
    let mut shard = Shard::new(SLOW, LONGEST);
    let capacity = shard.capacity();
    shard.pauses = (0..100).map(|number| (3 * SECOND + number * 200 * MS, 20 * MS)).collect();
    shard.offer(3.0 * capacity, 0, 2 * SECOND, 7);
    shard.offer(0.6 * capacity, 3 * SECOND, 20 * SECOND, 8);
    shard.run();
    let late = shard.calls.iter().filter(|call| call.begun > 6 * SECOND);
    assert_eq!(late.filter(|call| !call.is_complete).count(), 0);
    assert!(shard.shed > 0);
}
