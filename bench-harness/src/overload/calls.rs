//! Whole calls, several times as many as a shard can carry: how many are completed, how long those that are let in
//! take, and what became of each of the others.
//!
//! ```text
//!  the peak (peak.rs) ─► rounds of: the peak, several times as many ─► judge ─► the next calls
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use nix::sched::CpuSet;

use super::Args;
use super::judge::{Findings, Round};
use super::window::Window;
use crate::interrupt::Folder;
use crate::load::{Driver, Kind, Mix, Offer, Outcome, Settings, Transport, histogram};
use crate::measure::Watch;
use crate::output::{say, verdicts};
use crate::peak::Search;
use crate::progress;
use crate::quota::Quota;
use crate::results::model::{self, Load, Results, Sample};
use crate::results::ratios::{OVERLOADED, STATEFUL_OVERLOADED};
use crate::results::{self, Histograms};
use crate::soak::{Kernel, Metrics};
use crate::subject::{
    Configured, FORWARDER_CORE, LOAD_CORE, Subject, as_before, pin_from_here, version_of_viaduct,
};
use crate::world::{CLIENT, SINK, World};

/// The search for the peak, in calls a second: some two minutes.
const SEARCH: Search =
    Search { first: 1_000.0, between: (20.0, 1_000_000.0), rise: 1.6, within: 1.03, windows: 60 };
/// The longest window of it.
const STEP_LENGTH: Duration = Duration::from_millis(750);
/// Windows as long as the overload's at one rate, of which one has to be carried: other programs can spoil two.
const ATTEMPTS: usize = 3;
/// A rate that a long window does not carry is lowered by so much, so often at most.
const LOWER: f64 = 0.95;
const LOWERED: usize = 8;
/// How long a call lasts.
const HOLD: Duration = Duration::from_millis(100);
/// Load before a window, after which queues run empty again: caches and tables are warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// The same before a window of the search.
const STEP_WARM_UP: Duration = Duration::from_millis(200);
/// Calls that have begun end within this time, or never.
const DRAIN: Duration = Duration::from_secs(1);

/// What callers do.
#[derive(Clone, Copy)]
struct Callers {
    /// What is not answered is sent again.
    retransmit: bool,
    /// The Request-URI names the callee's address, not Viaduct's.
    name_callee: bool,
}

/// The load and what it is offered to.
struct Bench<'a> {
    name: &'static str,
    folder: &'a Path,
    configuration: &'a str,
    subject: Subject,
    /// Of which Viaduct has no more.
    quota: Option<Quota>,
    /// Where this thread could run before the load was pinned: Viaduct may, too.
    everywhere: CpuSet,
    driver: Driver,
    callers: Callers,
    histograms: Histograms,
}

pub(super) fn execute(args: &Args) -> io::Result<bool> {
    args.out.as_deref().map_or(Ok(()), results::prepare)?;
    let world = World::build()?;
    let folder = Folder::new()?;
    let mut results = Results::begin();
    let configured = Configured {
        to: (!args.name_callee).then_some(SINK),
        stateful: args.stateful,
        is_guarded: true,
        ..Configured::USUAL
    };
    let configuration = configured.text();
    let name = if args.stateful { STATEFUL_OVERLOADED } else { OVERLOADED };
    let quota = args.core_part.map(Quota::new).transpose()?;
    let callers = Callers { retransmit: !args.no_retransmissions, name_callee: args.name_callee };
    let mut bench = Bench::start(name, &world, folder.path(), &configuration, callers, quota)?;
    let described = model::Subject {
        version: version_of_viaduct()?,
        configuration: configuration.clone(),
        command: args
            .core_part
            .map(|part| format!("(of the core {part:.2})"))
            .into_iter()
            .chain(["viaduct", "run", "-c", "viaduct.toml"].map(str::to_owned))
            .collect(),
        cores: vec![FORWARDER_CORE],
    };
    results.subjects.insert(name.to_owned(), described);
    let bar = progress::spinner("finding the peak");
    let findings = bench.find(args, &bar)?;
    bar.finish_and_clear();
    let (json, properties) = (findings.to_json(args.times), findings.properties());
    let passed = findings.passed();
    if let Some(out) = &args.out {
        let windows = findings.rounds.into_iter().flat_map(|round| [round.peak, round.over]);
        results.samples.extend(windows.map(|window| window.sample));
        results::write(out, &results.concluded(), &bench.histograms)?;
    }
    if args.json {
        say!("{json}")?
    } else {
        verdicts(properties)?
    }
    Ok(passed)
}

impl<'a> Bench<'a> {
    /// Starts Viaduct and waits until calls pass.
    fn start(
        name: &'static str,
        world: &World,
        folder: &'a Path,
        configuration: &'a str,
        callers: Callers,
        quota: Option<Quota>,
    ) -> io::Result<Self> {
        let subject = Self::begin(folder, configuration, quota.as_ref())?;
        let settings = settings(&subject, callers);
        let driver = Driver::new(vec![world.client()?], world.sink()?, settings, true)?;
        let everywhere = pin_from_here(LOAD_CORE)?;
        let histograms = Histograms::new();
        let mut bench =
            Self { name, folder, configuration, subject, quota, everywhere, driver, callers, histograms };
        bench.wait()?;
        Ok(bench)
    }

    fn begin(folder: &Path, configuration: &str, quota: Option<&Quota>) -> io::Result<Subject> {
        let subject = Subject::configured(folder, configuration)?;
        quota.map_or(Ok(()), |quota| quota.hold(subject.id()))?;
        Ok(subject)
    }

    fn wait(&mut self) -> io::Result<()> {
        let settings = settings(&self.subject, self.callers);
        self.subject.until_calls_pass(&mut self.driver, &settings, 2 * HOLD)
    }

    /// Ends Viaduct and starts it anew, with nothing on its way.
    fn begin_afresh(&mut self) -> io::Result<()> {
        self.subject.kill()?;
        self.driver.clear()?;
        let begin = || Self::begin(self.folder, self.configuration, self.quota.as_ref());
        self.subject = as_before(&self.everywhere, begin)?;
        self.wait()
    }

    /// Finds the peak, then runs all rounds, and half of the peak after them.
    fn find(&mut self, args: &Args, bar: &ProgressBar) -> io::Result<Findings> {
        let length = Duration::from_secs(args.seconds);
        let mut rate = match args.peak {
            Some(rate) => f64::from(rate),
            None => self.search(length, args.windows, bar)?,
        };
        let mut rounds = Vec::new();
        for round in 0..args.rounds {
            let told =
                |what: String| bar.set_message(format!("round {} of {}: {what}", round + 1, args.rounds));
            let peak = self.at_peak(&mut rate, args, round, &told)?;
            let over = peak.completed * args.times as f64;
            told(format!("{} times {:.0}/s for {} s", args.times, peak.completed, args.seconds));
            let over = self.window(over, length, round, true)?;
            rounds.push(Round { peak, over });
        }
        bar.set_message("the next calls");
        let after = self.window(rate / 2.0, Duration::from_secs(2), 0, false)?;
        Ok(Findings { rounds, after })
    }

    /// The highest rate that short windows carry, so many of them at most.
    fn search(&mut self, length: Duration, windows: Option<usize>, bar: &ProgressBar) -> io::Result<f64> {
        let search = Search { windows: windows.unwrap_or(SEARCH.windows), ..SEARCH };
        let length = STEP_LENGTH.min(length / 2);
        let window = |bench: &mut Self, rate| {
            bar.set_message(format!("finding the peak: {rate:.0}/s"));
            let watch = Watch::start()?;
            bench.offer(rate, STEP_WARM_UP)?;
            let outcome = bench.offer(rate, length)?;
            watch.verdict(&outcome)
        };
        let found = search.run_afresh(self, window, Self::begin_afresh)?;
        found.ok_or_else(|| {
            let lowest = SEARCH.between.0;
            io::Error::other(format!(
                "no rate is carried in most windows, down to {lowest} calls/s: is this machine quiet?"
            ))
        })
    }

    /// A window at the peak, as long as the overload will be. A rate that was looked for is lowered where that shows that it
    /// is none; one that was given is not.
    fn at_peak(
        &mut self,
        rate: &mut f64,
        args: &Args,
        round: u32,
        told: &dyn Fn(String),
    ) -> io::Result<Window> {
        let mut lowered = 0;
        loop {
            for attempt in 1..=ATTEMPTS {
                told(format!("{rate:.0}/s"));
                let window = self.window(*rate, Duration::from_secs(args.seconds), round, false)?;
                let is_last = attempt == ATTEMPTS && (lowered == LOWERED || args.peak.is_some());
                if window.is_carried || is_last {
                    return Ok(window);
                }
                self.begin_afresh()?;
            }
            *rate *= LOWER;
            lowered += 1;
        }
    }

    fn offer(&mut self, rate: f64, length: Duration) -> io::Result<Outcome> {
        self.subject.check_alive()?;
        self.driver.reset(settings(&self.subject, self.callers));
        self.driver.run(&Offer { rate, length, jitter: true, drain: DRAIN, gives_up: true })
    }

    /// A window with all accounts; `kept`: its latencies count.
    fn window(&mut self, rate: f64, length: Duration, round: u32, kept: bool) -> io::Result<Window> {
        self.offer(rate, WARM_UP)?;
        let cpu = self.subject.cpu()?;
        let (kernel, metrics) = (Kernel::read()?, Metrics::read()?);
        let outcome = self.offer(rate, length)?;
        self.subject.check_alive()?;
        let cpu = self.subject.cpu()? - cpu;
        // What was counted last is told within a second.
        std::thread::sleep(Duration::from_millis(1_100));
        let (kernel, after) = (Kernel::read()?.since(kernel), Metrics::read()?);
        let more = |name: &str, label: &str| after.count(name, label) - metrics.count(name, label);
        let mut window = Window::of(rate, length, &outcome, kernel, &more);
        window.sample = Sample {
            round,
            subject: self.name.to_owned(),
            cpu_ns: cpu.as_nanos() as u64,
            resident_bytes: self.subject.resident()?,
            ..window.sample
        };
        if kept {
            let of_all = self.histograms.entry((self.name.to_owned(), Load::Overload));
            of_all.or_insert_with(histogram).add(&outcome.setup_at_once).map_err(io::Error::other)?;
        }
        Ok(window)
    }
}

fn settings(subject: &Subject, callers: Callers) -> Settings {
    let (forwarder, callee) = (SocketAddr::V4(subject.address), SocketAddr::V4(SINK));
    Settings {
        mix: Mix::only(Kind::Call),
        hold_ns: HOLD.as_nanos() as u64,
        retransmit: callers.retransmit,
        callers: vec![SocketAddr::V4(CLIENT)],
        callee,
        named: if callers.name_callee { callee } else { forwarder },
        forwarder,
        transport: Transport::Udp,
        fresh: false,
    }
}
