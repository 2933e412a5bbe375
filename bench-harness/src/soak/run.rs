//! The run itself: start, warm up, disturb, come to rest, count.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Args;
use super::config;
use super::events::{Events, prepare};
use super::sentinel::Sentinel;
use super::traffic::Traffic;
use super::verdict::{Account, Findings, Sample};
use super::watch::{Kernel, Metrics, open_files};
use crate::compare::{Bench, MESSAGES};
use crate::draw::{Random, internet};
use crate::follow::batch;
use crate::interrupt::Folder;
use crate::load::{Generator, Sink};
use crate::progress;
use crate::results::model::Load;
use crate::subject::{FORWARDER_CORE, LOAD_CORE, Subject, as_before, pin_from_here};
use crate::waits::stolen_ns;
use crate::world::{SINK, World};

/// How long anything that was asked for may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// So long without a change, and what is open is steady.
const STEADY: Duration = Duration::from_secs(3);
/// Events are made this often.
const TICK: Duration = Duration::from_millis(100);
/// Seconds between bursts.
const BURST_EVERY: u64 = 10;
/// Addresses that roaming calls go to.
const ROAMED: usize = 512;

/// What was run.
pub struct Facts {
    pub rate: u64,
    pub routes: u64,
    pub events: u64,
    pub bursts: u64,
}

/// A run under way.
pub struct Run<'a> {
    args: &'a Args,
    folder: &'a Path,
    bar: ProgressBar,
    subject: Subject,
    sentinel: Sentinel,
    random: Random,
    findings: Findings,
    /// Numbers of the last sample.
    last: Metrics,
    stolen_ns: u64,
    /// Reloads and refusals when the run began.
    first: [u64; 2],
    refused_hosts: Vec<IpAddr>,
}

impl<'a> Run<'a> {
    fn new(
        args: &'a Args,
        folder: &'a Path,
        subject: Subject,
        sentinel: Sentinel,
        random: Random,
    ) -> io::Result<Self> {
        let files = [steady_files(subject.id())?; 2];
        let last = Metrics::read()?;
        Ok(Self {
            args,
            folder,
            bar: progress::bar(args.seconds, "soak"),
            subject,
            sentinel,
            random,
            findings: Findings { files, ..Findings::default() },
            stolen_ns: stolen_ns()?,
            first: reloads(&last),
            last,
            refused_hosts: Vec::new(),
        })
    }

    /// All of it.
    pub fn whole(args: &Args) -> io::Result<(Facts, Findings)> {
        let world = World::build()?;
        let folder = Folder::new()?;
        let mut random = Random(args.seed);
        let spinner = progress::spinner("giving routes to the kernel");
        let nets = networks(args, &mut random);
        batch(folder.path(), prepare(&nets))?;
        world.in_sink(|| batch(folder.path(), SINK_ROUTES.into()))?;
        let start = || Subject::configured(folder.path(), &config::base());
        let mut subject = start()?;
        let mut bench = Bench::new(&world, FORWARDER_CORE, true, None)?;
        bench.wait_for(&mut subject, Load::Messages)?;
        let everywhere = pin_from_here(LOAD_CORE)?;
        let told = |rate: f64| spinner.set_message(format!("finding the knee: {rate:.0}/s"));
        let half = |knee: f64| (knee / 2.0) as u64;
        let afresh = || as_before(&everywhere, start);
        let mut knee = || bench.knee(&mut subject, &MESSAGES, &afresh, &told).map(half);
        let rate = args.rate.map_or_else(&mut knee, Ok)?;
        drop(bench);
        subject.go_on()?;
        let sentinel = Sentinel::start(subject.id(), args.real_time)?;
        spinner.finish_and_clear();
        let sink = Sink::start_with_ledger(world.any_sink()?, Some(LOAD_CORE))?;
        let client = world.client()?;
        let mut steady = Generator::new(client.try_clone()?, SINK.into())?;
        let mut roaming = Generator::new(client, SINK.into())?;
        // So that no message of the two is the same, nor one of those that found the knee.
        steady.number_from(1 << 30);
        roaming.number_from(1 << 31);
        let mut events = Events::start(nets, Random(random.next()))?;
        let destinations: Vec<IpAddr> = (0..ROAMED).map(|_| events.destination()).collect();
        let mut run = Run::new(args, folder.path(), subject, sentinel, random)?;
        run.refused_hosts = destinations.iter().take(8).copied().collect();
        let before = Counts::read(&world, &sink)?;
        let traffic = Traffic::start(steady, roaming, rate, destinations)?;
        run.disturb(&mut events)?;
        let (made, bursts) = (events.made, events.bursts);
        events.finish()?;
        run.bar.set_message("coming to rest");
        run.reload(&config::base(), true)?;
        run.come_to_rest()?;
        let sent = traffic.stop()?;
        sink.settle();
        std::thread::sleep(Duration::from_secs(1));
        run.findings.account = before.until(&Counts::read(&world, &sink)?, sent);
        run.bar.finish_and_clear();
        run.findings.complaints = complaints(&run.subject.words());
        let routes = run.last.count("viaduct_routes", "");
        Ok((Facts { rate, routes, events: made, bursts }, run.findings))
    }

    /// Events and reloads, a sample each second.
    fn disturb(&mut self, events: &mut Events) -> io::Result<()> {
        let begin = Instant::now();
        let ticks = self.args.seconds * 10;
        let mut reload_at = self.args.reload_every * 10;
        for tick in 0..ticks {
            let due = begin + TICK * u32::try_from(tick).unwrap_or(u32::MAX);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let share = |tick: u64| tick * self.args.events / 10;
            events.make((share(tick + 1) - share(tick)) as usize)?;
            if tick % (BURST_EVERY * 10) == BURST_EVERY * 5 {
                events.burst()?;
            }
            if tick >= reload_at && self.is_reloaded() {
                self.reload_at_random()?;
                // Half to one and a half times as long as was asked for.
                let pause = self.args.reload_every * 10;
                reload_at = tick + pause / 2 + self.random.below(pause as usize + 1) as u64;
            }
            if tick % 10 == 9 {
                self.sample()?;
                self.bar.inc(1);
            }
        }
        Ok(())
    }

    fn reload_at_random(&mut self) -> io::Result<()> {
        let is_broken = self.random.below(5) == 0;
        let text = if is_broken {
            config::broken(&mut self.random)
        } else {
            config::other(&mut self.random, &self.refused_hosts)
        };
        self.reload(&text, !is_broken)
    }

    fn reload(&mut self, text: &str, is_good: bool) -> io::Result<()> {
        fs::write(self.folder.join("viaduct.toml"), text)?;
        let [_, asked] = if is_good { &mut self.findings.reloads } else { &mut self.findings.refused };
        *asked += 1;
        let id = i32::try_from(self.subject.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(id), Signal::SIGHUP).map_err(io::Error::from)
    }

    /// As of the last sample every reload was answered: a second signal before that would be one with the first.
    fn is_reloaded(&self) -> bool {
        self.findings.reloads[0] + self.findings.refused[0]
            == self.findings.reloads[1] + self.findings.refused[1]
    }

    fn sample(&mut self) -> io::Result<()> {
        self.subject.check_alive()?;
        // Before the question is asked: it takes a socket itself.
        let (files, _) = open_files(self.subject.id())?;
        let metrics = Metrics::read()?;
        let more = |name: &str| metrics.sum(name, "") - self.last.sum(name, "");
        let stolen = stolen_ns()?;
        self.findings.samples.push(Sample {
            resident: self.subject.own_resident()?,
            files,
            pins: metrics.count("viaduct_pins", ""),
            waiting: metrics.count("viaduct_messages_waiting", ""),
            long: more("viaduct_long_batches_total").round() as u64,
            long_ns: (more("viaduct_long_batches_seconds_total") * 1e9) as u64,
            worst_ns: (metrics.sum("viaduct_worst_batch_seconds", "") * 1e9) as u64,
            evidence: self.sentinel.take(),
            stolen_ns: stolen.saturating_sub(self.stolen_ns),
        });
        self.stolen_ns = stolen;
        let [done, refused] = reloads(&metrics);
        self.findings.reloads[0] = done - self.first[0];
        self.findings.refused[0] = refused - self.first[1];
        self.findings.audits = metrics.count("viaduct_routing_audits_total", "");
        self.findings.mismatches = metrics.count("viaduct_routing_mismatches_total", "");
        self.last = metrics;
        Ok(())
    }

    /// Waits, still under load, until the last reload is in force, the files are as before and the tables were
    /// compared once more.
    fn come_to_rest(&mut self) -> io::Result<()> {
        // What the events still set off has its comparison first.
        std::thread::sleep(Duration::from_secs(3));
        // One that no listener follows: its IPv6 address goes with the link.
        batch(self.folder, "link set spare3 down\nlink set spare3 up\n".into())?;
        let (begin, audits) = (Instant::now(), Metrics::read()?.count("viaduct_routing_audits_total", ""));
        loop {
            std::thread::sleep(Duration::from_secs(1));
            self.sample()?;
            // Small tables are read anew after each event: there is nothing to compare.
            let routes = self.last.count("viaduct_routes", "") as usize;
            let is_compared = self.findings.audits > audits || routes <= viaduct::limits::REDUMP_ROUTES;
            self.findings.compared_at_rest = is_compared;
            self.findings.files[1] = open_files(self.subject.id())?;
            let is_as_before = self.findings.files[0] == self.findings.files[1];
            if (is_compared && is_as_before && self.is_reloaded()) || begin.elapsed() > PATIENCE {
                return Ok(());
            }
        }
    }
}

/// Open files and sockets once they stay the same: a new link's own IPv6 address is served when the kernel has found
/// it to be unique, a second or two after the link.
fn steady_files(process: u32) -> io::Result<(u64, u64)> {
    let begin = Instant::now();
    let (mut files, mut since) = (open_files(process)?, begin);
    while since.elapsed() < STEADY && begin.elapsed() < PATIENCE {
        std::thread::sleep(TICK);
        let now = open_files(process)?;
        if now != files {
            (files, since) = (now, Instant::now());
        }
    }
    Ok(files)
}

/// What is counted where, at one moment without traffic.
struct Counts {
    metrics: Metrics,
    arrived: u64,
    kernel: Kernel,
    sink: Kernel,
    twice: u64,
    foreign: u64,
}

impl Counts {
    fn read(world: &World, sink: &Sink) -> io::Result<Self> {
        let (twice, foreign) = sink.twice_and_foreign();
        Ok(Self {
            metrics: Metrics::read()?,
            arrived: sink.messages(),
            kernel: Kernel::read()?,
            sink: world.in_sink(Kernel::read)?,
            twice,
            foreign,
        })
    }

    fn until(&self, after: &Self, sent: u64) -> Account {
        let more =
            |name: &str, label: &str| after.metrics.count(name, label) - self.metrics.count(name, label);
        let by = |name: &str, label: &str| {
            let labels = after.metrics.by_label(name).into_iter();
            labels
                .map(|(value, _)| {
                    let count = more(name, &format!("{label}=\"{value}\""));
                    (value, count)
                })
                .collect()
        };
        Account {
            sent,
            received: more("viaduct_messages_total", "direction=\"in\""),
            forwarded: more("viaduct_messages_total", "direction=\"out\""),
            answered: more("viaduct_answers_total", ""),
            dropped: more("viaduct_dropped_total", ""),
            dropped_by: by("viaduct_dropped_total", "reason"),
            answered_by: by("viaduct_answers_total", "status"),
            arrived: after.arrived - self.arrived,
            twice: after.twice - self.twice,
            foreign: after.foreign - self.foreign,
            before_viaduct: after.kernel.since(self.kernel),
            before_sink: after.sink.since(self.sink),
            waiting: after.metrics.count("viaduct_messages_waiting", ""),
        }
    }
}

/// The sink takes what is for anybody: calls follow routes, and all of them lead to it.
const SINK_ROUTES: &str = "link set lo up\naddr add 10.2.0.3/24 dev eth0\n\
     addr add 2001:db8:2::2/64 dev eth0 nodad\naddr add 2001:db8:2::3/64 dev eth0 nodad\n\
     route add local 0.0.0.0/0 dev lo\n";

/// Networks that are none of the world's own.
fn networks(args: &Args, random: &mut Random) -> Vec<IpNet> {
    let mut nets = internet(args.v4, args.v6, random);
    nets.retain(|net| !matches!(net, IpNet::V4(net) if [10, 172].contains(&net.addr().octets()[0])));
    // In no order: the first ones carry the roaming calls.
    for place in (1..nets.len()).rev() {
        nets.swap(place, random.below(place + 1));
    }
    nets
}

/// The last lines in which the forwarder says that its tables were not the kernel's.
fn complaints(words: &str) -> Vec<String> {
    const KEPT: usize = 20;
    let is_one = |line: &&str| line.contains("differs from the kernel's");
    let mut all: Vec<String> = words.lines().rev().filter(is_one).take(KEPT).map(String::from).collect();
    all.reverse();
    all
}

/// Reloads that took effect, and those that were refused.
fn reloads(metrics: &Metrics) -> [u64; 2] {
    [metrics.count("viaduct_reloads_total", ""), metrics.count("viaduct_reloads_failed_total", "")]
}
