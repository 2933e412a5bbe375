//! The load's clock: keeps to its schedule whatever comes back (open loop), and takes stock of itself: how late it was,
//! how much of its core was left, what its own sockets lost.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::book::Tally;
use super::connections::Connections;
use super::datagrams::Datagrams;
use super::exchanges::{Exchanges, Outbox, Settings, Side, histogram};
use super::secure::Secure;
use crate::draw::Random;

/// Exchanges begun before the sockets are looked at.
const BURST: usize = 64;
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
/// Part of the exchanges that comes to its end where a rate is carried.
pub const CARRIED: f64 = 0.995;
/// Half of the sends may not be later than this where the load is to have kept up.
const BEHIND: Duration = Duration::from_millis(5);

/// So much later than what the load itself was late may the 99th of 100 first requests arrive where a rate is carried: a call
/// is set up through several such hops. A busy machine's slices of a few milliseconds are well below, a queue that grows is above
/// soon.
const DELAYED: Duration = Duration::from_millis(50);
/// So long after the time that the last call is held may all take to end, where nothing waits for a timer.
const ENDED: Duration = Duration::from_millis(250);
/// So many exchanges may be open at the end whatever the rate.
const OPEN: f64 = 10.0;

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
    /// What nobody has answered by the end is not sent again: what would be let in later is none of this time's.
    pub gives_up: bool,
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
    /// Exchanges that had not ended when the last was due: what the rate and the time of calls explain, or a queue.
    pub open: u64,
    /// How long exchanges were offered, and how long calls are held.
    pub lasting: (Duration, Duration),
    /// From the scheduled time of a first request to its arrival, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From the scheduled time of a call to the arrival of its 200, in nanoseconds.
    pub setup: Histogram<u64>,
    /// The same of calls whose INVITE was sent once.
    pub setup_at_once: Histogram<u64>,
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
    /// Connections that the load has opened meanwhile.
    pub connected: u64,
    /// Connections that broke, or were ended by the other side.
    pub disconnected: u64,
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

    /// The forwarder carries what was offered: the load kept up, nearly all messages arrived and exchanges came to their end,
    /// nearly nothing was lost on the way there, and nothing queued: connections lose nothing, whatever they are offered.
    pub fn is_carried(&self) -> bool {
        let Tally { begun, failed, retransmissions, messages, missing, .. } = self.tally;
        let are_few = |lost: u64, of: u64| lost as f64 <= of as f64 * (1.0 - CARRIED);
        self.kept_up()
            && are_few(failed, begun)
            && are_few(retransmissions, begun)
            && are_few(missing, messages)
            && !self.is_queued()
    }

    /// More waits than the rate explains, or waits longer. What is lost or sent again is judged by how much that is: it may take
    /// its time.
    fn is_queued(&self) -> bool {
        let (length, hold) = self.lasting;
        let rate = self.scheduled as f64 / length.as_secs_f64().max(1e-3);
        let lost = self.tally.begun as f64 * (1.0 - CARRIED);
        let explained = rate * (hold + DELAYED).as_secs_f64() + lost + OPEN;
        let is_in_time = self.tally.failed + self.tally.retransmissions + self.tally.missing > 0
            || self.took <= length + hold + QUIET + ENDED;
        let late_ns = self.lag.value_at_quantile(0.99);
        let delayed_ns = self.latency.value_at_quantile(0.99).saturating_sub(late_ns);
        self.open as f64 > explained || !is_in_time || delayed_ns > DELAYED.as_nanos() as u64
    }

    fn is_within(&self, quantile: f64, bound: Duration) -> bool {
        self.lag.is_empty() || self.lag.value_at_quantile(quantile) <= bound.as_nanos() as u64
    }
}

/// What messages travel by.
pub trait Carrier: Send {
    /// From now on this is offered.
    fn reset(&mut self, settings: &Settings);
    /// Forgets its connections, and what has come and was not taken.
    fn clear(&mut self) -> io::Result<()>;
    /// Sends all of it.
    fn send(&mut self, out: &Outbox) -> io::Result<()>;
    /// Gives what has come to `take`, with the side that it came to and where from; how many messages.
    fn receive(&mut self, take: &mut dyn FnMut(Side, &[u8], SocketAddr)) -> io::Result<usize>;
    /// Waits until something comes, for so long at most.
    fn wait(&self, nap: Duration) -> io::Result<()>;
    /// Datagrams that its sockets have lost so far.
    fn drops(&self) -> io::Result<u64>;
    /// Connections that it has opened so far, and those that it has lost.
    fn connections(&self) -> (u64, u64);
}

/// Callers and the callee, on the thread that runs it.
pub struct Driver {
    carrier: Box<dyn Carrier>,
    /// Of each forwarder: one, but two while they are offered messages in turn.
    lanes: Vec<Exchanges>,
    remembered: Duration,
    out: Outbox,
    last_len: usize,
    clock: Instant,
    /// Look again at once instead of sleeping: for a core of its own.
    spin: bool,
}

impl Driver {
    /// A driver over UDP that has offered nothing yet. `spin`: it has a core of its own and may keep it busy.
    pub fn new(
        callers: Vec<UdpSocket>,
        callee: UdpSocket,
        settings: Settings,
        spin: bool,
    ) -> io::Result<Self> {
        Ok(Self::over(Box::new(Datagrams::new(callers, callee)?), settings, spin))
    }

    /// The same over TCP or WebSocket, or with `secure` over TLS, as the settings say: the callee answers whoever connects to
    /// it, callers connect when they have something to say.
    pub fn over_connections(
        callee: TcpListener,
        secure: Option<Secure>,
        settings: Settings,
        spin: bool,
    ) -> io::Result<Self> {
        Ok(Self::over(Box::new(Connections::new(callee, secure)?), settings, spin))
    }

    fn over(mut carrier: Box<dyn Carrier>, settings: Settings, spin: bool) -> Self {
        carrier.reset(&settings);
        Self {
            carrier,
            remembered: remembered(&settings),
            lanes: vec![Exchanges::new(settings, 0)],
            out: Outbox::default(),
            last_len: 0,
            clock: Instant::now(),
            spin,
        }
    }

    /// Offers something else from now on; numbers go on.
    pub fn reset(&mut self, settings: Settings) {
        self.remembered = remembered(&settings);
        self.carrier.reset(&settings);
        self.lanes[0].reset(settings);
    }

    /// Forgets its connections and what is on its way back: whoever forwarded it is gone.
    ///
    /// # Errors
    /// Of the sockets.
    pub fn clear(&mut self) -> io::Result<()> {
        self.carrier.clear()
    }

    /// Offers, waits for the exchanges to end, and takes stock.
    ///
    /// # Errors
    /// Of the sockets. That nobody listens (ICMP) is none: those messages are lost.
    pub fn run(&mut self, offer: &Offer) -> io::Result<Outcome> {
        self.offer(offer)?.pop().ok_or_else(|| io::Error::other("nothing was offered"))
    }

    /// Offers to two forwarders in turn ([`TURNS`]), half of the rate to each: whatever the machine does meanwhile is the same
    /// for both. The outcome of each.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_in_turn(&mut self, settings: [Settings; 2], offer: &Offer) -> io::Result<[Outcome; 2]> {
        let [first, second] = settings;
        self.reset(first);
        self.lanes.push(self.lanes[0].beside(second));
        let outcomes = self.offer(offer);
        self.lanes.truncate(1);
        outcomes?.try_into().map_err(|_| io::Error::other("not both were offered something"))
    }

    fn offer(&mut self, offer: &Offer) -> io::Result<Vec<Outcome>> {
        let (drops, connections) = (self.carrier.drops()?, self.carrier.connections());
        let mut schedule = Schedule::new(offer, self.now_ns());
        let mut gauges = vec![Gauge::new(); self.lanes.len()];
        let ends = schedule.ends_ns;
        let mut last_arrival_ns = 0;
        let mut folded_ns = 0;
        let mut open = None;
        loop {
            let now_ns = self.now_ns();
            if now_ns >= ends && open.is_none() {
                open = Some(self.lanes.iter().map(Exchanges::open).collect::<Vec<_>>());
            }
            let due = schedule.due(now_ns);
            for Due { number, at_ns } in &due {
                self.lanes[lane(*number, gauges.len())].begin(*at_ns, now_ns, &mut self.out);
            }
            for lane in &mut self.lanes {
                if offer.gives_up && now_ns >= ends {
                    lane.give_up();
                }
                lane.at_time(now_ns, &mut self.out);
            }
            let sent = self.flush()?;
            let flushed_ns = self.now_ns();
            for Due { number, at_ns } in &due {
                gauges[lane(*number, self.lanes.len())].sent(*at_ns, flushed_ns);
            }
            let received = self.receive()?;
            if received > 0 {
                last_arrival_ns = flushed_ns;
            }
            if flushed_ns >= ends && self.is_over(offer, ends, last_arrival_ns, flushed_ns) {
                break;
            }
            if sent == 0 && received == 0 {
                self.rest(schedule.next_ns())?;
                let until_ns = self.now_ns().min(ends);
                gauges.iter_mut().for_each(|gauge| gauge.idle(now_ns, until_ns));
            }
            if now_ns > folded_ns + NAP.as_nanos() as u64 {
                folded_ns = now_ns;
                let before_ns = now_ns.saturating_sub(self.remembered.as_nanos() as u64);
                self.lanes.iter_mut().for_each(|lane| lane.fold(before_ns));
            }
        }
        let (connected, disconnected) = self.carrier.connections();
        let all = All {
            scheduled: schedule.count,
            took: Duration::from_nanos(self.now_ns() - schedule.begin_ns),
            open: open.unwrap_or_default(),
            own_drops: self.carrier.drops()? - drops,
            connected: connected - connections.0,
            disconnected: disconnected - connections.1,
        };
        Ok(gauges.into_iter().enumerate().map(|(own, gauge)| self.outcome(own, gauge, offer, &all)).collect())
    }

    fn outcome(&self, own: usize, gauge: Gauge, offer: &Offer, all: &All) -> Outcome {
        let exchanges = &self.lanes[own];
        let is_own = |number: &u64| lane(*number, self.lanes.len()) == own;
        Outcome {
            scheduled: (0..all.scheduled).filter(is_own).count() as u64,
            took: all.took,
            tally: exchanges.tally(),
            in_flight: exchanges.open(),
            open: all.open.get(own).copied().unwrap_or_default(),
            lasting: (offer.length, exchanges.held()),
            latency: exchanges.latency().clone(),
            setup: exchanges.setup().clone(),
            setup_at_once: exchanges.setup_at_once().clone(),
            acks: exchanges.acks(),
            idle: gauge.idle_ns as f64 / offer.length.as_nanos().max(1) as f64,
            lag: gauge.lag,
            last_len: self.last_len,
            own_drops: all.own_drops,
            connected: all.connected,
            disconnected: all.disconnected,
        }
    }

    fn is_over(&self, offer: &Offer, ends_ns: u64, last_arrival_ns: u64, now_ns: u64) -> bool {
        let quiet = now_ns > last_arrival_ns.max(ends_ns) + QUIET.as_nanos() as u64;
        let spent = now_ns > ends_ns + offer.drain.as_nanos() as u64;
        (self.lanes.iter().all(|lane| lane.open() == 0) || spent) && quiet
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Sends all that is ready; how many messages.
    fn flush(&mut self) -> io::Result<usize> {
        let count = self.out.items.len();
        if count > 0 {
            self.carrier.send(&self.out)?;
            self.out.clear();
        }
        Ok(count)
    }

    /// Takes what has come; answers go out with the next flush.
    fn receive(&mut self) -> io::Result<usize> {
        let Self { carrier, lanes, out, last_len, clock, .. } = self;
        // One reading for each side's batch.
        let mut read: Option<(Side, u64)> = None;
        carrier.receive(&mut |side, bytes, from| {
            let (_, now_ns) = match read {
                Some((last, now_ns)) if last == side => (last, now_ns),
                _ => *read.insert((side, clock.elapsed().as_nanos() as u64)),
            };
            let Some(exchanges) = whose(lanes, bytes) else { return };
            if side == Side::Callee {
                *last_len = bytes.len();
                exchanges.on_callee(bytes, from, now_ns, out);
            } else {
                exchanges.on_caller(bytes, now_ns, out);
            }
        })
    }

    /// Waits for a message, until something is due.
    fn rest(&self, next_ns: Option<u64>) -> io::Result<()> {
        if self.spin {
            std::hint::spin_loop();
            return Ok(());
        }
        let due_ns = self.lanes.iter().filter_map(Exchanges::next_due_ns).chain(next_ns).min();
        let nap = due_ns.map_or(NAP, |due| Duration::from_nanos(due.saturating_sub(self.now_ns())).min(NAP));
        self.carrier.wait(nap)
    }
}

/// What became of all lanes together.
struct All {
    scheduled: u64,
    took: Duration,
    /// Of each lane.
    open: Vec<u64>,
    /// Whose they were nobody knows: no lane is better off for them.
    own_drops: u64,
    connected: u64,
    disconnected: u64,
}

/// Where they are offered to two, whose each exchange is: neither comes first more often, or more often behind itself.
const TURNS: [usize; 4] = [0, 1, 1, 0];

/// The lane of the exchange with this number in its schedule.
fn lane(number: u64, lanes: usize) -> usize {
    if lanes < 2 { 0 } else { TURNS[(number % TURNS.len() as u64) as usize] }
}

/// The lane that a message belongs to; the first one where none knows it.
fn whose<'l>(lanes: &'l mut [Exchanges], bytes: &[u8]) -> Option<&'l mut Exchanges> {
    let place = match lanes.len() {
        1 => 0,
        _ => lanes.iter().position(|lane| lane.knows(bytes)).unwrap_or(0),
    };
    lanes.get_mut(place)
}

fn remembered(settings: &Settings) -> Duration {
    if settings.mix.answers() { REMEMBERED } else { REMEMBERED_UNANSWERED }
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

    /// What is due, in a burst; nothing after the end: what is left then was not sent.
    fn due(&mut self, now_ns: u64) -> Vec<Due> {
        let mut due = Vec::new();
        while self.next < self.count
            && self.next_ns <= now_ns
            && now_ns < self.ends_ns + GRACE.as_nanos() as u64
            && due.len() < BURST
        {
            due.push(Due { number: self.next, at_ns: self.next_ns });
            self.next += 1;
            self.next_ns = self.time_of_next();
        }
        due
    }

    fn next_ns(&self) -> Option<u64> {
        (self.next < self.count).then_some(self.next_ns)
    }
}

/// An exchange that is to begin.
struct Due {
    /// Its number in the schedule.
    number: u64,
    /// Its scheduled time.
    at_ns: u64,
}

/// What the load sees of itself.
#[derive(Clone)]
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
