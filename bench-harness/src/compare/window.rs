//! One window: one forwarder, one load, one rate; what it cost and what became of each message.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::accounts::{Core, Spent};
use super::syscalls::Counter;
use crate::load::{Driver, Kind, Mix, Offer, Outcome, Secure, Settings, Transport};
use crate::measure::Watch;
use crate::peak::{Search, Verdict};
use crate::results::Unit;
use crate::results::model::{Latency, Load, Sample};
use crate::subject::Subject;
use crate::world::{CLIENT, SECURE_SINK, SINK, World};

/// How long a call lasts: long enough to overlap with many others, short beside a window.
const HOLD: Duration = Duration::from_millis(100);
/// Load before a window, so that caches and buffers are what they will be.
pub const WARM_UP: Duration = Duration::from_millis(200);
/// Exchanges may take so long to end, two retransmissions included.
const DRAIN: Duration = Duration::from_secs(3);
/// Length of a window of a search.
pub const STEP_LENGTH: Duration = Duration::from_millis(500);
/// How long calls may take to end in it: what is on its way, and no retransmission.
const STEP_DRAIN: Duration = Duration::from_millis(400);
/// Single messages come with gaps; before them at least so many a second, so that each buffer has been in use.
const WARM_UP_RATE: f64 = 2_000.0;
/// The search for the most messages a second that are carried.
pub const MESSAGES: Search =
    Search { first: 20_000.0, between: (2_000.0, 1_000_000.0), rise: 1.4, within: 1.05, windows: 36 };
/// The search for the most calls a second that are carried: coarse, because a part of it is offered then.
const CALLS: Search =
    Search { first: 300.0, between: (20.0, 100_000.0), rise: 1.4, within: 1.2, windows: 50 };
/// The same of new connections; more would leave the client's host without ports.
const CONNECTIONS: Search = Search { first: 100.0, between: (10.0, 1_500.0), ..CALLS };

/// What is offered in a window.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which kind of load.
    pub load: Load,
    /// Messages (calls or connections, for loads of those) a second.
    pub rate: f64,
    /// For how long.
    pub length: Duration,
}

/// A window, and what is not in its sample.
pub struct Measured {
    /// For the results.
    pub sample: Sample,
    /// All its latencies.
    pub latency: Histogram<u64>,
    /// What it shows of its rate.
    pub verdict: Verdict,
    /// What the core did beside the forwarder's work, as part of the latter.
    pub beside: f64,
    /// Datagrams that the load's own sockets lost.
    pub own_drops: u64,
}

/// What a search finds.
pub struct Found {
    /// The most that is carried, in units of the load a second; `None`: next to nothing is.
    pub most: Option<f64>,
    /// All its windows.
    pub windows: Vec<Sample>,
}

/// Starts a forwarder anew.
pub type Start<'a> = dyn Fn() -> io::Result<Subject> + 'a;

/// The load, and the accounts of the core that forwarders run on.
pub struct Bench<'w> {
    world: &'w World,
    driver: Driver,
    /// Over TCP and WebSocket. It opens connections, so it runs in the client's host.
    over_tcp: Driver,
    /// The same over TLS, where that is asked for.
    over_tls: Option<Driver>,
    core: Core,
    counter: Option<Counter>,
}

impl<'w> Bench<'w> {
    /// Joins the load to the world. `spin`: it has a core of its own.
    pub fn new(world: &'w World, core: usize, spin: bool, counter: Option<Counter>) -> io::Result<Self> {
        let of = |load| settings(CLIENT, load);
        let driver = Driver::new(vec![world.client()?], world.sink()?, of(Load::Messages), spin)?;
        let sink = world.listening_sink(SINK)?;
        let over_tcp = Driver::over_connections(sink, None, of(Load::TcpCalls), spin)?;
        Ok(Self { world, driver, over_tcp, over_tls: None, core: Core::find(core)?, counter })
    }

    /// Offers loads over TLS, too.
    pub fn with_tls(self, secure: Secure, spin: bool) -> io::Result<Self> {
        let sink = self.world.listening_sink(SECURE_SINK)?;
        let settings = settings(CLIENT, Load::TlsCalls);
        let driver = Driver::over_connections(sink, Some(secure), settings, spin)?;
        Ok(Self { over_tls: Some(driver), ..self })
    }

    /// Does something with the load's driver, where that can open connections.
    fn drive<R: Send>(
        &mut self,
        load: Load,
        work: impl FnOnce(&mut Driver) -> io::Result<R> + Send,
    ) -> io::Result<R> {
        let Self { world, driver, over_tcp, over_tls, .. } = self;
        match (load.transport(), over_tls) {
            (Transport::Udp, _) => work(driver),
            (Transport::Tcp | Transport::Ws | Transport::Wss, _) => world.in_client(|| work(over_tcp)),
            (Transport::Tls, Some(over_tls)) => world.in_client(|| work(over_tls)),
            (Transport::Tls, None) => Err(io::Error::other("this load is not made over TLS")),
        }
    }

    /// Offers single messages until one arrives, or calls or connections until all of an attempt come to their end; the length
    /// in bytes of the last message that left the forwarder towards the callee.
    pub fn wait_for(&mut self, subject: &mut Subject, load: Load) -> io::Result<usize> {
        let drain = if load.unit() == Unit::Message { Duration::ZERO } else { 2 * HOLD };
        let settings = settings(subject.address, load);
        let reached = self.drive(load, |driver| {
            subject.until(driver, &settings, drain, |outcome| {
                outcome.tally.delivered > 0 && outcome.tally.failed == 0
            })
        })?;
        let (name, words) = (subject.name, subject.words());
        reached.map(|outcome| outcome.last_len).ok_or_else(|| {
            io::Error::other(format!("{name} forwards nothing from {CLIENT} to {SINK}; it said:\n{words}"))
        })
    }

    /// Measures one window. The forwarder runs for its time only.
    pub fn window(&mut self, subject: &mut Subject, plan: Plan, round: u32) -> io::Result<Measured> {
        subject.go_on()?;
        let measured = self.measure(subject, plan, round, (DRAIN, false))?;
        subject.pause()?;
        Ok(measured)
    }

    /// The same; a forwarder that lost something is ended then, and begun by `start`: what it keeps of that is none of its next
    /// window's.
    pub fn window_afresh(
        &mut self,
        subject: &mut Subject,
        plan: Plan,
        round: u32,
        start: &Start<'_>,
    ) -> io::Result<Measured> {
        let mut measured = self.window(subject, plan, round)?;
        if measured.sample.lost_any() {
            self.renew(subject, plan.load, start)?;
            measured.sample.begun_afresh = 1;
        }
        Ok(measured)
    }

    /// The highest rate of single messages that is carried, in messages a second, as [`Self::most`] finds it.
    ///
    /// # Errors
    /// Not even the lowest rate is carried, or the windows were not enough to tell.
    pub fn knee(
        &mut self,
        subject: &mut Subject,
        search: &Search,
        start: &Start<'_>,
        told: &dyn Fn(f64),
    ) -> io::Result<f64> {
        let name = subject.name;
        self.most(subject, Load::Messages, search, 0, start, told)?.most.ok_or_else(|| {
            let lowest = search.between.0;
            io::Error::other(format!(
                "{name} carries no rate in most windows, of {lowest:.0} messages/s and more: is this machine quiet?"
            ))
        })
    }

    /// The most messages, calls or connections a second of this load that are carried. The forwarder is ended and begun by
    /// `start` after each window that it does not carry: it may still have some of what that left, and for half a minute
    /// (64 * T1) send it again.
    pub fn most(
        &mut self,
        subject: &mut Subject,
        load: Load,
        search: &Search,
        round: u32,
        start: &Start<'_>,
        told: &dyn Fn(f64),
    ) -> io::Result<Found> {
        let mut windows = Vec::new();
        subject.go_on()?;
        let most = search.run_afresh(
            &mut (self, &mut *subject),
            |(bench, subject), rate| {
                told(rate);
                let plan = Plan { load, rate: rate.floor(), length: STEP_LENGTH };
                let Measured { sample, verdict, .. } =
                    bench.measure(subject, plan, round, (STEP_DRAIN, true))?;
                let begun_afresh = u32::from(verdict != Verdict::Carried);
                windows.push(Sample { begun_afresh, ..sample });
                Ok::<_, io::Error>(verdict)
            },
            |(bench, subject)| bench.begin_afresh(subject, load, start),
        )?;
        subject.pause()?;
        Ok(Found { most, windows })
    }

    /// Has the forwarder be a new process that is stopped until its turn: how memory lies differs from one to the next.
    pub fn renew(&mut self, subject: &mut Subject, load: Load, start: &Start<'_>) -> io::Result<()> {
        self.begin_afresh(subject, load, start)?;
        subject.pause()
    }

    /// Has the forwarder be a new process, and the load without connections and without what is on its way.
    fn begin_afresh(&mut self, subject: &mut Subject, load: Load, start: &Start<'_>) -> io::Result<()> {
        subject.kill()?;
        self.drive(load, Driver::clear)?;
        *subject = start()?;
        self.wait_for(subject, load).map(drop)
    }

    /// Offers something new, whatever became of what was offered before.
    fn offer(&mut self, subject: &mut Subject, load: Load, offer: &Offer) -> io::Result<Outcome> {
        subject.check_alive()?;
        let settings = settings(subject.address, load);
        self.drive(load, |driver| {
            driver.reset(settings);
            driver.run(offer)
        })
    }

    /// Measures one window of each, a single message to one and to the other: what the machine does meanwhile is the same for
    /// both. Both run for its time; one that lost something is started afresh as in [`Self::window_afresh`].
    pub fn window_in_turn(
        &mut self,
        [(first, start_first), (second, start_second)]: [(&mut Subject, &Start<'_>); 2],
        plan: Plan,
        round: u32,
    ) -> io::Result<[Measured; 2]> {
        first.go_on()?;
        second.go_on()?;
        let mut measured = self.measure_in_turn([&mut *first, &mut *second], plan, round)?;
        first.pause()?;
        second.pause()?;
        for (measured, (subject, start)) in
            measured.iter_mut().zip([(first, start_first), (second, start_second)])
        {
            if measured.sample.lost_any() {
                self.renew(subject, plan.load, start)?;
                measured.sample.begun_afresh = 1;
            }
        }
        Ok(measured)
    }

    fn measure_in_turn(
        &mut self,
        [first, second]: [&mut Subject; 2],
        plan: Plan,
        round: u32,
    ) -> io::Result<[Measured; 2]> {
        let watch = Watch::start()?;
        let offer = plan.offer(DRAIN, false);
        for subject in [&mut *first, &mut *second] {
            self.offer(subject, plan.load, &plan.warm_up(offer))?;
        }
        let before = [self.core.read(first)?, self.core.read(second)?];
        let offer = Offer { rate: offer.rate * 2.0, ..offer };
        let settings = [&*first, &*second].map(|subject| settings(subject.address, plan.load));
        let outcomes = self.drive(plan.load, |driver| driver.run_in_turn(settings, &offer));
        first.check_alive()?;
        second.check_alive()?;
        let both = [&*first, &*second];
        let outcomes = outcomes?;
        let mut measured = Vec::new();
        for ((subject, before), outcome) in both.into_iter().zip(before).zip(outcomes) {
            let spent = self.core.read(subject)?.since(&before);
            measured.push(account(subject, plan, round, &outcome, spent, watch.verdict(&outcome)?)?);
        }
        measured.try_into().map_err(|_| io::Error::other("not both were measured"))
    }

    fn measure(
        &mut self,
        subject: &mut Subject,
        plan: Plan,
        round: u32,
        (drain, gives_up): (Duration, bool),
    ) -> io::Result<Measured> {
        let watch = Watch::start()?;
        let offer = plan.offer(drain, gives_up);
        self.offer(subject, plan.load, &plan.warm_up(offer))?;
        let settings = settings(subject.address, plan.load);
        self.drive(plan.load, |driver| {
            driver.reset(settings);
            Ok(())
        })?;
        let before = self.core.read(subject)?;
        let counter = self.counter.take();
        let counted = match &counter {
            Some(counter) if plan.load == Load::Saturation => {
                counter.during(subject, || self.driver.run(&offer))
            }
            _ => self.drive(plan.load, |driver| driver.run(&offer)).map(|outcome| (outcome, None)),
        };
        self.counter = counter;
        // Whatever else became of the window: that is why.
        subject.check_alive()?;
        let (outcome, syscalls) = counted?;
        let spent = self.core.read(subject)?.since(&before);
        let mut measured = account(subject, plan, round, &outcome, spent, watch.verdict(&outcome)?)?;
        measured.sample.syscalls = syscalls;
        Ok(measured)
    }
}

impl Plan {
    fn offer(&self, drain: Duration, gives_up: bool) -> Offer {
        let jitter = self.load == Load::Paced;
        Offer { rate: self.rate, length: self.length, jitter, drain, gives_up }
    }

    /// What is offered before that.
    fn warm_up(&self, offer: Offer) -> Offer {
        let rate = if self.load == Load::Paced { self.rate.max(WARM_UP_RATE) } else { self.rate };
        Offer { rate, length: WARM_UP, ..offer }
    }
}

/// What a window shows.
///
/// # Errors
/// A message is not accounted for.
fn account(
    subject: &Subject,
    plan: Plan,
    round: u32,
    outcome: &Outcome,
    spent: Spent,
    verdict: Verdict,
) -> io::Result<Measured> {
    let resident_bytes = subject.resident()?;
    let sample = Sample { resident_bytes, ..sample(subject.name, plan, round, outcome, spent) };
    let beside = spent.busy.as_secs_f64() / spent.cpu.as_secs_f64().max(1e-9) - 1.0;
    let verdict = if sample.had_room() { verdict } else { verdict.but_full() };
    let tally = outcome.tally;
    if !tally.adds_up() {
        return Err(io::Error::other(format!("the account of {} does not add up: {tally:?}", subject.name)));
    }
    let (latency, own_drops) = (outcome.latency.clone(), outcome.own_drops);
    Ok(Measured { sample, verdict, latency, beside, own_drops })
}

impl Measured {
    /// Two windows of one subject at one rate, as one that was interrupted.
    ///
    /// # Errors
    /// None but that of a histogram whose bounds are others.
    pub fn and(mut self, more: Self) -> io::Result<Self> {
        self.latency.add(&more.latency).map_err(io::Error::other)?;
        let sample = self.sample.and(more.sample);
        let sample = Sample { latency: Latency::of(&self.latency), ..sample };
        let verdict = if self.verdict == Verdict::Carried { more.verdict } else { self.verdict };
        let own_drops = self.own_drops + more.own_drops;
        Ok(Self { sample, verdict, own_drops, ..self })
    }
}

/// How the most of this load is looked for.
pub fn search_for(load: Load) -> Search {
    match load.unit() {
        Unit::Message => MESSAGES,
        Unit::Call => CALLS,
        Unit::Connection => CONNECTIONS,
    }
}

/// Calls, connections or messages of one caller through the forwarder.
pub fn settings(forwarder: SocketAddrV4, load: Load) -> Settings {
    let (transport, unit) = (load.transport(), load.unit());
    let callee = SocketAddr::V4(if transport == Transport::Tls { SECURE_SINK } else { SINK });
    Settings {
        mix: Mix::only(match unit {
            Unit::Call => Kind::Call,
            Unit::Connection => Kind::Options,
            Unit::Message => Kind::Unanswered,
        }),
        hold_ns: HOLD.as_nanos() as u64,
        retransmit: !transport.is_stream(),
        callers: vec![SocketAddr::V4(CLIENT)],
        callee,
        named: callee,
        forwarder: SocketAddr::V4(forwarder),
        transport,
        fresh: unit == Unit::Connection,
    }
}

fn sample(subject: &str, plan: Plan, round: u32, outcome: &Outcome, spent: Spent) -> Sample {
    let tally = &outcome.tally;
    Sample {
        round,
        subject: subject.to_owned(),
        load: plan.load,
        offered_per_second: plan.rate,
        seconds: outcome.took.as_secs_f64(),
        sent: tally.messages,
        delivered: tally.delivered,
        lost: tally.missing,
        retransmissions: tally.retransmissions,
        calls: if plan.load.unit() == Unit::Connection { outcome.connected } else { tally.calls },
        failed: if plan.load.unit() == Unit::Message { 0 } else { tally.failed },
        odd: tally.doubled + tally.refused + tally.late + tally.foreign,
        cpu_ns: spent.cpu.as_nanos() as u64,
        core_used: spent.cpu.as_secs_f64() / plan.length.as_secs_f64(),
        softirq_ns: spent.softirq.as_nanos() as u64,
        syscalls: None,
        resident_bytes: 0,
        begun_afresh: 0,
        on_schedule: outcome.on_schedule(),
        generator_idle: outcome.idle.clamp(0.0, 1.0),
        latency: Latency::of(&outcome.latency),
    }
}
