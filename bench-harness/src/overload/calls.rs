//! Whole calls, several times as many as a shard can carry: how many are completed, how long those that are let in
//! take, and what became of each of the others.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;

use super::Args;
use crate::load::{Driver, Kind, Mix, Offer, Outcome, Settings, Transport, histogram};
use crate::progress;
use crate::results::model::{self, Latency, Load, Results, Sample};
use crate::results::ratios::{STATEFUL, VIADUCT};
use crate::results::{self, Histograms};
use crate::soak::{Kernel, Metrics};
use crate::subject::{FORWARDER_CORE, LOAD_CORE, Subject, overload_configuration, pin, version_of_viaduct};
use crate::world::{CLIENT, SINK, World};

/// Where the search for the peak begins, in calls a second, its steps, and how long each is.
const FIRST: f64 = 4_000.0;
const STEP: f64 = 1.1;
const STEP_LENGTH: Duration = Duration::from_secs(1);
/// Part of the calls that is completed up to the peak.
const CARRIED: f64 = 0.995;
/// A step fails when this many windows failed: other programs can spoil one.
const ATTEMPTS: usize = 3;
/// How long a call lasts.
const HOLD: Duration = Duration::from_millis(100);
/// Load before a window, after which queues run empty again: caches and tables are warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// Calls that have begun end within this time, or never.
const DRAIN: Duration = Duration::from_secs(1);

/// The bars.
const GOODPUT: f64 = 0.9;
const P99_MS: f64 = 50.0;
const AFTER: f64 = 0.999;

/// What became of a window's calls and messages.
#[derive(Debug, Serialize)]
struct Window {
    /// Calls that the schedule asked for, begun, and completed, in a second.
    offered: f64,
    begun: f64,
    completed: f64,
    /// INVITEs and BYEs sent again, and whatever else nobody had answered.
    again: u64,
    /// INVITEs answered 503, and those that were dropped and counted.
    refused: u64,
    shed: u64,
    /// Messages that the kernel dropped before Viaduct, and before the load.
    kernel_drops: u64,
    own_drops: u64,
    /// From the scheduled time of a call to its 200, of those that were let in with their first INVITE, in milliseconds.
    setup_p50_ms: f64,
    setup_p99_ms: f64,
    /// The longest of 99% of all, those whose INVITE had to be sent again included.
    setup_again_p99_ms: f64,
    /// Messages missing (or too many) between the load and Viaduct, and within Viaduct.
    gaps: [i64; 2],
    /// The load held the rate: half of the INVITEs within 5 ms, 995 of 1,000 at all.
    kept_up: bool,
    /// Part of its core that the load had left.
    idle: f64,
    #[serde(skip)]
    sample: Option<Sample>,
}

/// The load and what it is offered to.
struct Bench {
    name: &'static str,
    subject: Subject,
    driver: Driver,
    /// What is not answered is sent again.
    retransmit: bool,
    histograms: Histograms,
}

pub(super) fn execute(args: &Args) -> io::Result<bool> {
    let world = World::build()?;
    let folder = tempfile::tempdir()?;
    let mut results = Results::begin();
    let configuration = overload_configuration(args.stateful);
    let name = if args.stateful { STATEFUL } else { VIADUCT };
    let mut bench = Bench::start(name, &world, folder.path(), &configuration, !args.no_retransmissions)?;
    let described = model::Subject {
        version: version_of_viaduct()?,
        configuration,
        command: ["viaduct", "run", "-c", "viaduct.toml"].map(str::to_owned).into(),
        cores: vec![FORWARDER_CORE],
    };
    results.subjects.insert(name.to_owned(), described);
    let bar = progress::spinner("finding the peak");
    let peak = bench.peak(args, &bar)?;
    let times = args.times as f64;
    bar.set_message(format!("{times} times {:.0}/s for {} s", peak.completed, args.seconds));
    let over = bench.window(peak.completed * times, Duration::from_secs(args.seconds), 1)?;
    bar.set_message("the next calls");
    let after = bench.window(peak.completed / 2.0, Duration::from_secs(2), 2)?;
    bar.finish_and_clear();
    let properties = properties(&peak, &over, &after);
    let passed = properties.iter().all(|(holds, _)| *holds);
    if args.json {
        println!(
            "{}",
            json!({ "passed": passed, "times": args.times, "goodput_over_peak": over.completed / peak.completed,
                    "setup_p99_ms": over.setup_p99_ms, "peak": peak, "overload": over, "after": after })
        );
    } else {
        for (holds, words) in &properties {
            println!("{} {words}", if *holds { "PASS" } else { "FAIL" });
        }
    }
    if let Some(out) = &args.out {
        results.samples.extend([peak, over].into_iter().filter_map(|window| window.sample));
        results::write(out, &results.concluded(), &bench.histograms)?;
    }
    Ok(passed)
}

/// Each condition, with its numbers and its bound.
fn properties(peak: &Window, over: &Window, after: &Window) -> [(bool, String); 7] {
    let goodput = over.completed / peak.completed;
    [
        (
            peak.kept_up && peak.completed >= CARRIED * peak.begun,
            format!(
                "peak: {:.2}% of {:.0} calls/s completed (at least {}%; less is no peak)",
                peak.completed / peak.begun * 100.0,
                peak.begun,
                CARRIED * 100.0
            ),
        ),
        (
            over.refused + over.shed > 0,
            format!(
                "overload: {} calls refused or dropped (none: what was offered is carried; give a higher --peak)",
                over.refused + over.shed
            ),
        ),
        (
            goodput >= GOODPUT,
            format!(
                "goodput: {:.0} calls/s of {:.0} offered, {goodput:.3} of the peak of {:.0} (at least {GOODPUT})",
                over.completed, over.offered, peak.completed
            ),
        ),
        (
            over.setup_p99_ms < P99_MS,
            format!(
                "latency: 200 after {:.1} ms (median), {:.1} ms (99%; below {P99_MS} ms; {:.1} ms with those whose INVITE \
                 was sent again); at the peak {:.1} and {:.1}",
                over.setup_p50_ms,
                over.setup_p99_ms,
                over.setup_again_p99_ms,
                peak.setup_p50_ms,
                peak.setup_p99_ms
            ),
        ),
        (
            over.gaps == [0; 2],
            format!(
                "account: {} INVITEs answered 503, {} dropped and counted, {} messages dropped by the kernel; missing \
                 before and in Viaduct: {}, {}",
                over.refused, over.shed, over.kernel_drops, over.gaps[0], over.gaps[1]
            ),
        ),
        (
            over.kept_up && over.own_drops == 0,
            format!(
                "load: {:.0} of {:.0} calls/s begun, {} messages sent again, {:.0}% of its core left (at the peak {:.0}%), \
                 {} datagrams lost by its own sockets",
                over.begun,
                over.offered,
                over.again,
                over.idle * 100.0,
                peak.idle * 100.0,
                over.own_drops
            ),
        ),
        (
            after.completed >= AFTER * after.begun,
            format!("after: {:.2}% of the next calls completed", after.completed / after.begun * 100.0),
        ),
    ]
}

impl Bench {
    /// Starts Viaduct and waits until calls pass.
    fn start(
        name: &'static str,
        world: &World,
        folder: &Path,
        configuration: &str,
        retransmit: bool,
    ) -> io::Result<Self> {
        let subject = Subject::configured(folder, configuration)?;
        let settings = settings(&subject, retransmit);
        let driver = Driver::new(vec![world.client()?], world.sink()?, settings.clone(), true)?;
        pin(LOAD_CORE)?;
        let mut bench = Self { name, subject, driver, retransmit, histograms: Histograms::new() };
        bench.subject.until_calls_pass(&mut bench.driver, &settings, 2 * HOLD)?;
        Ok(bench)
    }

    /// The highest rate that is carried, for as long as the overload will be.
    fn peak(&mut self, args: &Args, bar: &ProgressBar) -> io::Result<Window> {
        let length = Duration::from_secs(args.seconds);
        if let Some(rate) = args.peak {
            return self.window(rate.into(), length, 0);
        }
        let (mut rate, mut good) = (FIRST, None);
        while self.carries(rate, bar)? {
            good = Some(rate);
            rate *= STEP;
        }
        let good = good.ok_or_else(|| io::Error::other(format!("not even {FIRST} calls/s are carried")))?;
        self.window(good, length, 0)
    }

    fn carries(&mut self, rate: f64, bar: &ProgressBar) -> io::Result<bool> {
        bar.set_message(format!("finding the peak: {rate:.0}/s"));
        for _ in 0..ATTEMPTS {
            let window = self.window(rate, STEP_LENGTH, 0)?;
            if window.kept_up && window.completed >= CARRIED * window.begun {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn window(&mut self, rate: f64, length: Duration, round: u32) -> io::Result<Window> {
        self.subject.check_alive()?;
        let offer = Offer { rate, length: WARM_UP, jitter: true, drain: DRAIN, gives_up: true };
        self.driver.reset(settings(&self.subject, self.retransmit));
        self.driver.run(&offer)?;
        self.driver.reset(settings(&self.subject, self.retransmit));
        let cpu = self.subject.cpu()?;
        let (kernel, metrics) = (Kernel::read()?, Metrics::read()?);
        let outcome = self.driver.run(&Offer { length, ..offer })?;
        let cpu = self.subject.cpu()? - cpu;
        // What was counted last is told within a second.
        std::thread::sleep(Duration::from_millis(1_100));
        let (kernel, after) = (Kernel::read()?.since(kernel), Metrics::read()?);
        let more = |name: &str, label: &str| after.count(name, label) - metrics.count(name, label);
        let mut window = window(rate, length, &outcome, kernel, &more);
        window.sample = Some(Sample {
            round,
            subject: self.name.to_owned(),
            cpu_ns: cpu.as_nanos() as u64,
            resident_bytes: self.subject.resident()?,
            ..sample(rate, length, &outcome)
        });
        let of_all = self.histograms.entry((self.name.to_owned(), Load::Overload));
        of_all.or_insert_with(histogram).add(&outcome.setup_at_once).map_err(io::Error::other)?;
        Ok(window)
    }
}

type More<'a> = &'a dyn Fn(&str, &str) -> u64;

fn window(rate: f64, length: Duration, outcome: &Outcome, kernel: Kernel, more: More<'_>) -> Window {
    let tally = &outcome.tally;
    let seconds = length.as_secs_f64();
    let received = more("viaduct_messages_total", "direction=\"in\"");
    let ended = more("viaduct_messages_total", "direction=\"out\"")
        + more("viaduct_answers_total", "")
        + more("viaduct_dropped_total", "");
    let kernel_drops = kernel.refused + kernel.no_port;
    let setup = &outcome.setup_at_once;
    let (p50, p99) = (setup.value_at_quantile(0.5), setup.value_at_quantile(0.99));
    let completed = tally.calls - tally.failed;
    Window {
        offered: rate,
        begun: tally.begun as f64 / seconds,
        completed: completed as f64 / seconds,
        again: tally.retransmissions,
        refused: tally.refused,
        shed: more("viaduct_dropped_total", "reason=\"overload\""),
        kernel_drops,
        own_drops: outcome.own_drops,
        setup_p50_ms: p50 as f64 / 1e6,
        setup_p99_ms: p99 as f64 / 1e6,
        setup_again_p99_ms: outcome.setup.value_at_quantile(0.99) as f64 / 1e6,
        gaps: [
            (tally.transmissions + outcome.acks) as i64 - received as i64 - kernel_drops as i64,
            received as i64 - ended as i64,
        ],
        kept_up: outcome.kept_up(),
        idle: outcome.idle.clamp(0.0, 1.0),
        sample: None,
    }
}

/// What the load knows of a window.
fn sample(rate: f64, length: Duration, outcome: &Outcome) -> Sample {
    let tally = &outcome.tally;
    Sample {
        round: 0,
        subject: String::new(),
        load: Load::Overload,
        offered_per_second: rate,
        seconds: length.as_secs_f64(),
        sent: tally.messages,
        delivered: tally.delivered,
        lost: tally.missing,
        retransmissions: tally.retransmissions,
        calls: tally.calls,
        failed: tally.failed,
        cpu_ns: 0,
        softirq_ns: 0,
        syscalls: None,
        resident_bytes: 0,
        on_schedule: outcome.kept_up(),
        generator_idle: outcome.idle.clamp(0.0, 1.0),
        latency: Latency::of(&outcome.setup_at_once),
    }
}

fn settings(subject: &Subject, retransmit: bool) -> Settings {
    Settings {
        mix: Mix::only(Kind::Call),
        hold_ns: HOLD.as_nanos() as u64,
        retransmit,
        callers: vec![SocketAddr::V4(CLIENT)],
        callee: SocketAddr::V4(SINK),
        forwarder: SocketAddr::V4(subject.address),
        transport: Transport::Udp,
        fresh: false,
    }
}
