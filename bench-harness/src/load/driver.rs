//! The load's clock and sockets: keeps to its schedule whatever comes back (open loop), sends in batches, drains
//! both sides, and takes stock of itself: how late it was, how much of its core was left, what its own sockets lost.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt};
use nix::sys::time::TimeSpec;
use viaduct::engine::socket::receive_drops;

use super::book::Tally;
use super::exchanges::{Exchanges, Item, Outbox, Settings, Side, histogram};
use crate::draw::Random;
use crate::mmsg::Batch;

/// Most datagrams of one UDP_SEGMENT send: the kernel's limit of segments.
const SEGMENTS: usize = 64;
/// What fits one frame with room for headers; longer datagrams go singly, as fragments.
const SEGMENT_BYTES: usize = 1400;
/// What one UDP_SEGMENT send may hold in all.
const SEGMENTED_BYTES: usize = 65_000;
/// Exchanges begun before the sockets are looked at.
const BURST: usize = 64;
/// Datagrams taken at once.
const BATCH: usize = 64;
/// Longest message that the load takes in bytes.
const MESSAGE_BYTES: usize = 8192;
/// Socket buffers in bytes: 50 ms at 100,000 messages a second.
const BUFFER: usize = 8 << 20;
/// The longest sleep, and how often what is over is added up.
const NAP: Duration = Duration::from_millis(20);
/// An exchange is heard of for so long: all timers of 64 * T1 have ended.
const REMEMBERED: Duration = Duration::from_secs(70);
/// The same where nothing is sent again.
const REMEMBERED_UNANSWERED: Duration = Duration::from_secs(5);
/// Nothing has come for so long: nothing will.
const QUIET: Duration = Duration::from_millis(60);
/// So late may one of a hundred sends be.
const LATE: Duration = Duration::from_millis(2);
/// So long after the end may be sent what the last moments asked for.
const GRACE: Duration = Duration::from_millis(50);
/// Half of the sends may not be later than this where the load is to have kept up.
const BEHIND: Duration = Duration::from_millis(5);

/// A rate for a time.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Exchanges a second.
    pub rate: f64,
    /// For how long.
    pub length: Duration,
    /// Each comes at a random time within its interval, instead of at its begin.
    pub jitter: bool,
    /// How long exchanges that have begun may take to end after that.
    pub drain: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exchanges that the schedule asked for.
    pub scheduled: u64,
    /// Until the last has ended.
    pub took: Duration,
    /// The account of all messages.
    pub tally: Tally,
    /// Exchanges that had not ended when the time was over.
    pub in_flight: u64,
    /// From the scheduled time of a first request to its arrival, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From the scheduled time of a call to the arrival of its 200, in nanoseconds.
    pub setup: Histogram<u64>,
    /// ACKs sent to refusals; in no account.
    pub acks: u64,
    /// From the scheduled time of a first request to its send, in nanoseconds.
    pub lag: Histogram<u64>,
    /// Part of the time for which the load had nothing to do, while it offered: 0 to 1.
    pub idle: f64,
    /// Length in bytes of the last datagram that came to the callee.
    pub last_len: usize,
    /// Datagrams that the load's own sockets lost because it did not drain them in time.
    pub own_drops: u64,
}

impl Outcome {
    /// The load was not the limit: all was sent, in time, and nothing was lost on its own side.
    pub fn on_schedule(&self) -> bool {
        self.is_within(0.99, LATE) && self.tally.begun == self.scheduled && self.own_drops == 0
    }

    /// The load sent as much as it should, though perhaps not each in time: other programs had its core for a moment.
    pub fn kept_up(&self) -> bool {
        self.is_within(0.5, BEHIND) && self.tally.begun * 1000 >= self.scheduled * 995 && self.own_drops == 0
    }

    fn is_within(&self, quantile: f64, bound: Duration) -> bool {
        self.lag.is_empty() || self.lag.value_at_quantile(quantile) <= bound.as_nanos() as u64
    }
}

/// Callers and the callee, on the thread that runs it.
pub struct Driver {
    callers: Vec<UdpSocket>,
    callee: UdpSocket,
    exchanges: Exchanges,
    remembered: Duration,
    out: Outbox,
    batch: Batch,
    last_len: usize,
    clock: Instant,
    /// Look again at once instead of sleeping: for a core of its own.
    spin: bool,
}

impl Driver {
    /// A driver that has offered nothing yet. `spin`: it has a core of its own and may keep it busy.
    pub fn new(
        callers: Vec<UdpSocket>,
        callee: UdpSocket,
        settings: Settings,
        spin: bool,
    ) -> io::Result<Self> {
        for socket in callers.iter().chain([&callee]) {
            socket.set_nonblocking(true)?;
            // Without the right to force them the kernel's limit holds.
            setsockopt(socket, RcvBufForce, &BUFFER).or_else(|_| setsockopt(socket, RcvBuf, &BUFFER))?;
            setsockopt(socket, SndBufForce, &BUFFER).or_else(|_| setsockopt(socket, SndBuf, &BUFFER))?;
        }
        Ok(Self {
            callers,
            callee,
            remembered: remembered(&settings),
            exchanges: Exchanges::new(settings, 0),
            out: Outbox::default(),
            batch: Batch::new(BATCH, MESSAGE_BYTES),
            last_len: 0,
            clock: Instant::now(),
            spin,
        })
    }

    /// Offers something else from now on; numbers go on.
    pub fn reset(&mut self, settings: Settings) {
        self.remembered = remembered(&settings);
        self.exchanges.reset(settings);
    }

    /// Offers, waits for the exchanges to end, and takes stock.
    ///
    /// # Errors
    /// Of the sockets. That nobody listens (ICMP) is none: those messages are lost.
    pub fn run(&mut self, offer: &Offer) -> io::Result<Outcome> {
        let drops = self.drops()?;
        let mut schedule = Schedule::new(offer, self.now_ns());
        let mut gauge = Gauge::new();
        let ends = schedule.ends_ns;
        let mut last_arrival_ns = 0;
        let mut folded_ns = 0;
        loop {
            let now_ns = self.now_ns();
            let due = schedule.due(now_ns);
            due.iter().for_each(|scheduled_ns| self.exchanges.begin(*scheduled_ns, now_ns, &mut self.out));
            self.exchanges.at_time(now_ns, &mut self.out);
            let sent = self.flush()?;
            let flushed_ns = self.now_ns();
            due.iter().for_each(|scheduled_ns| gauge.sent(*scheduled_ns, flushed_ns));
            let received = self.receive()?;
            if received > 0 {
                last_arrival_ns = flushed_ns;
            }
            if flushed_ns >= ends && self.is_over(offer, ends, last_arrival_ns, flushed_ns) {
                break;
            }
            if sent == 0 && received == 0 {
                self.rest(schedule.next_ns())?;
                gauge.idle(now_ns, self.now_ns().min(ends));
            }
            if now_ns > folded_ns + NAP.as_nanos() as u64 {
                folded_ns = now_ns;
                self.exchanges.fold(now_ns.saturating_sub(self.remembered.as_nanos() as u64));
            }
        }
        let took = Duration::from_nanos(self.now_ns() - schedule.begin_ns);
        Ok(Outcome {
            scheduled: schedule.count,
            took,
            tally: self.exchanges.tally(),
            in_flight: self.exchanges.open(),
            latency: self.exchanges.latency().clone(),
            setup: self.exchanges.setup().clone(),
            acks: self.exchanges.acks(),
            idle: gauge.idle_ns as f64 / offer.length.as_nanos().max(1) as f64,
            lag: gauge.lag,
            last_len: self.last_len,
            own_drops: self.drops()? - drops,
        })
    }

    fn is_over(&self, offer: &Offer, ends_ns: u64, last_arrival_ns: u64, now_ns: u64) -> bool {
        let quiet = now_ns > last_arrival_ns.max(ends_ns) + QUIET.as_nanos() as u64;
        let spent = now_ns > ends_ns + offer.drain.as_nanos() as u64;
        (self.exchanges.open() == 0 || spent) && quiet
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn drops(&self) -> io::Result<u64> {
        self.callers.iter().chain([&self.callee]).map(|socket| receive_drops(socket.as_raw_fd())).sum()
    }

    /// Sends all that is ready: neighbours of one length and destination in one call. How many datagrams.
    fn flush(&mut self) -> io::Result<usize> {
        let count = self.out.items.len();
        for run in runs(&self.out.items) {
            let slices: Vec<IoSlice<'_>> =
                run.iter().map(|item| IoSlice::new(&self.out.bytes[item.range.clone()])).collect();
            let socket = match run[0].by {
                Side::Caller(caller) => &self.callers[caller],
                Side::Callee => &self.callee,
            };
            send(socket, run[0].to, &slices, run[0].range.len() as u16)?;
        }
        self.out.clear();
        Ok(count)
    }

    /// Takes what has come, a batch of each socket; answers go out with the next flush.
    fn receive(&mut self) -> io::Result<usize> {
        let mut count = 0;
        let now_ns = self.now_ns();
        for caller in &self.callers {
            count += take(&mut self.batch, caller)?;
            for (bytes, _) in self.batch.datagrams() {
                self.exchanges.on_caller(bytes, now_ns, &mut self.out);
            }
        }
        count += take(&mut self.batch, &self.callee)?;
        let now_ns = self.now_ns();
        for (bytes, from) in self.batch.datagrams() {
            self.last_len = bytes.len();
            self.exchanges.on_callee(bytes, from, now_ns, &mut self.out);
        }
        Ok(count)
    }

    /// Waits for a datagram, until something is due.
    fn rest(&self, next_ns: Option<u64>) -> io::Result<()> {
        if self.spin {
            std::hint::spin_loop();
            return Ok(());
        }
        let due_ns = [next_ns, self.exchanges.next_due_ns()].into_iter().flatten().min();
        let nap = due_ns.map_or(NAP, |due| Duration::from_nanos(due.saturating_sub(self.now_ns())).min(NAP));
        let sockets = self.callers.iter().chain([&self.callee]);
        let mut places: Vec<_> = sockets.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        match ppoll(&mut places, Some(TimeSpec::from_duration(nap)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn remembered(settings: &Settings) -> Duration {
    if settings.mix.answers() { REMEMBERED } else { REMEMBERED_UNANSWERED }
}

/// Items in runs that one send can take; the order between runs of one sender and destination is kept as far as
/// each run begins after the one before it.
fn runs(items: &[Item]) -> Vec<Vec<&Item>> {
    let mut runs: Vec<Vec<&Item>> = Vec::new();
    let mut open: VecDeque<usize> = VecDeque::new();
    for item in items {
        let len = item.range.len();
        let fits = |run: &Vec<&Item>| {
            let first = run[0];
            first.range.len() == len
                && len <= SEGMENT_BYTES
                && first.by == item.by
                && first.to == item.to
                && run.len() < SEGMENTS
                && (run.len() + 1) * len <= SEGMENTED_BYTES
        };
        match open.iter().copied().find(|place| fits(&runs[*place])) {
            Some(place) => runs[place].push(item),
            None => {
                open.push_front(runs.len());
                // More kinds than these are not worth the search.
                open.truncate(8);
                runs.push(vec![item]);
            }
        }
    }
    runs
}

/// Sends datagrams of one length.
fn send(socket: &UdpSocket, to: SocketAddr, slices: &[IoSlice<'_>], len: u16) -> io::Result<()> {
    let segments = [ControlMessage::UdpGsoSegments(&len)];
    let control = if slices.len() > 1 { &segments[..] } else { &[] };
    let to = SockaddrStorage::from(to);
    loop {
        match sendmsg(socket.as_raw_fd(), slices, control, MsgFlags::empty(), Some(&to)) {
            // An ICMP error of an earlier send; the datagrams count as sent and lost.
            Ok(_) | Err(nix::errno::Errno::ECONNREFUSED) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            // The device is behind: what is due waits, and the lag tells.
            Err(nix::errno::Errno::EAGAIN) => std::thread::yield_now(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn take(batch: &mut Batch, socket: &UdpSocket) -> io::Result<usize> {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    match batch.receive(socket) {
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted | ConnectionRefused) => Ok(0),
        other => other,
    }
}

/// Times at which exchanges begin, evenly spread.
struct Schedule {
    begin_ns: u64,
    ends_ns: u64,
    interval_ns: f64,
    count: u64,
    next: u64,
    next_ns: u64,
    jitter: Option<Random>,
}

impl Schedule {
    fn new(offer: &Offer, begin_ns: u64) -> Self {
        let mut this = Self {
            begin_ns,
            ends_ns: begin_ns + offer.length.as_nanos() as u64,
            interval_ns: 1e9 / offer.rate,
            count: (offer.rate * offer.length.as_secs_f64()).floor() as u64,
            next: 0,
            next_ns: 0,
            jitter: offer.jitter.then_some(Random(begin_ns)),
        };
        this.next_ns = this.time_of_next();
        this
    }

    fn time_of_next(&mut self) -> u64 {
        let within = match &mut self.jitter {
            Some(random) => random.below(1 << 20) as f64 / f64::from(1 << 20),
            None => 0.0,
        };
        self.begin_ns + ((self.next as f64 + within) * self.interval_ns) as u64
    }

    /// Scheduled times of what is due, in a burst; nothing after the end: what is left then was not sent.
    fn due(&mut self, now_ns: u64) -> Vec<u64> {
        let mut due = Vec::new();
        while self.next < self.count
            && self.next_ns <= now_ns
            && now_ns < self.ends_ns + GRACE.as_nanos() as u64
            && due.len() < BURST
        {
            due.push(self.next_ns);
            self.next += 1;
            self.next_ns = self.time_of_next();
        }
        due
    }

    fn next_ns(&self) -> Option<u64> {
        (self.next < self.count).then_some(self.next_ns)
    }
}

/// What the load sees of itself.
struct Gauge {
    lag: Histogram<u64>,
    idle_ns: u64,
}

impl Gauge {
    fn new() -> Self {
        Self { lag: histogram(), idle_ns: 0 }
    }

    fn sent(&mut self, scheduled_ns: u64, now_ns: u64) {
        self.lag.saturating_record(now_ns.saturating_sub(scheduled_ns).max(1));
    }

    fn idle(&mut self, from_ns: u64, until_ns: u64) {
        self.idle_ns += until_ns.saturating_sub(from_ns);
    }
}
