//! Rounds of windows: every subject under every load, in an order that turns.

use std::io;
use std::time::Duration;

use indicatif::ProgressBar;

use super::peers::{Peer, Setting, Started};
use super::rates::{Rates, whole};
use super::window::{Bench, Measured, Plan, search_for};
use crate::results::Histograms;
use crate::results::model::{Load, Results};
use crate::subject::Subject;

/// Where the search for a knee begins, in messages a second.
const FIRST: f64 = 20_000.0;
/// So far below the first knee each later search begins.
const BELOW: f64 = 0.9;
/// Steps of the first search, whose knee is taken up to by smaller ones.
const COARSE: f64 = 1.3;
/// Steps of the others.
const FINE: f64 = 1.05;
/// What is more than can be carried, in knees.
const TOO_MUCH: f64 = 1.5;
/// What the core may do beside the forwarder's work before a word of warning: other programs disturb.
const BESIDE: f64 = 0.05;
/// Loads in the order of a round.
pub const LOADS: [Load; 11] = [
    Load::Messages,
    Load::Calls,
    Load::StatefulCalls,
    Load::TcpCalls,
    Load::TcpConnections,
    Load::TlsCalls,
    Load::TlsConnections,
    Load::WsCalls,
    Load::Paced,
    Load::Saturation,
    Load::Knee,
];

/// What is asked for.
pub struct Ask {
    /// Rounds.
    pub rounds: u32,
    /// Length of a window.
    pub window: Duration,
    /// Part of the knee at which messages are offered.
    pub part_of_knee: f64,
    /// Each subject's knee in messages a second, if it is given.
    pub knee: Option<f64>,
    /// Calls a second, if they are given.
    pub calls: Option<f64>,
    /// The same over TCP and TLS, and new connections over TCP, if they are given.
    pub tcp_calls: Option<f64>,
    /// Single messages a second.
    pub paced: f64,
    /// Loads.
    pub loads: Vec<Load>,
}

/// Takes what was found so far.
pub type RoundOver<'a> = dyn Fn(&Results, &Histograms) -> io::Result<()> + 'a;

/// Forwarders that run, and what was found so far.
pub struct Rounds<'w> {
    bench: Bench<'w>,
    setting: &'w Setting,
    /// Length of what the floor sends, in bytes.
    pad_to: usize,
    subjects: Vec<Entrant>,
    results: Results,
    histograms: Histograms,
    beside: Vec<f64>,
}

struct Entrant {
    peer: Peer,
    subject: Subject,
    /// Messages a second, found before the rounds: what is offered in all of them depends on it.
    knee: f64,
    /// Arrivals that no send explains.
    odd: u64,
}

impl<'w> Rounds<'w> {
    /// Starts Viaduct first, to learn how long its messages are, then the others; each is stopped until its turn.
    pub fn start(
        mut bench: Bench<'w>,
        peers: &[Peer],
        setting: &'w Setting,
        mut results: Results,
    ) -> io::Result<Self> {
        let (mut subjects, mut pad_to) = (Vec::new(), 0);
        for peer in peers {
            let started = peer.start(setting, pad_to).and_then(|Started { mut subject, told }| {
                let len = bench.wait_for(&mut subject, peer.probe())?;
                subject.pause()?;
                Ok((subject, told, len))
            });
            let (subject, told, len) = match started {
                Err(error) if peer.is_foreign() => {
                    results.skipped.insert(peer.name().into(), error.to_string());
                    continue;
                }
                started => started?,
            };
            if *peer == Peer::Viaduct {
                pad_to = len;
            }
            results.subjects.insert(peer.name().into(), told);
            subjects.push(Entrant { peer: *peer, subject, knee: 0.0, odd: 0 });
        }
        let (histograms, beside) = (Histograms::new(), Vec::new());
        Ok(Self { bench, setting, pad_to, subjects, results, histograms, beside })
    }

    /// Finds out how much can be offered, then runs all rounds; after each of them `round_over` is told what was found so far.
    pub fn run(&mut self, ask: &Ask, bar: &ProgressBar, round_over: &RoundOver<'_>) -> io::Result<()> {
        bar.set_length((self.subjects.len() * (1 + ask.rounds as usize * ask.loads.len())) as u64);
        let mut rates = Rates::default();
        for mut entrant in std::mem::take(&mut self.subjects) {
            match self.look_at(&mut entrant, &mut rates, ask, bar) {
                // Another proxy that carries next to nothing takes no further part.
                Err(error) if entrant.peer.is_foreign() => {
                    self.results.skipped.insert(entrant.peer.name().into(), error.to_string());
                }
                looked => {
                    looked?;
                    self.subjects.push(entrant);
                }
            }
            bar.inc(1);
        }
        for load in &ask.loads {
            let offered = rates.offered(ask, *load);
            self.results.offered.extend(offered.map(|offered| (load.name().to_owned(), offered)));
        }
        let subjects = self.subjects.len();
        for round in 0..ask.rounds {
            for load in &ask.loads {
                for turn in 0..subjects {
                    self.turn((turn + round as usize) % subjects, *load, ask, round, bar)?;
                    bar.inc(1);
                }
            }
            round_over(&self.results, &self.histograms)?;
        }
        Ok(())
    }

    /// A first look at a subject: its knee in messages, and the most calls and connections that it carries, as far as the
    /// loads depend on them.
    fn look_at(
        &mut self,
        entrant: &mut Entrant,
        rates: &mut Rates,
        ask: &Ask,
        bar: &ProgressBar,
    ) -> io::Result<()> {
        let Entrant { peer, subject, knee, .. } = entrant;
        let name = peer.name();
        let by_knee = |load: &Load| matches!(load, Load::Messages | Load::Saturation | Load::Knee);
        if ask.loads.iter().any(|load| by_knee(load) && peer.takes(*load)) {
            let told = |rate: f64| bar.set_message(format!("{name} at {rate:.0}/s"));
            *knee = match ask.knee {
                Some(knee) => knee,
                None => {
                    let about = self.bench.knee(subject, FIRST, COARSE, &told)?;
                    self.bench.knee(subject, about, FINE, &told)?
                }
            };
        }
        for load in &ask.loads {
            if !rates.lacks(ask, *load, *peer) {
                continue;
            }
            let unit = load.unit().name();
            let told = |rate: f64| bar.set_message(format!("{name} at {rate:.0} {unit}s/s"));
            let start = || Ok(peer.start(self.setting, self.pad_to)?.subject);
            let most =
                self.bench.most(subject, *load, &search_for(*load), &start, &told)?.ok_or_else(|| {
                    io::Error::other(format!(
                        "{name} carries next to no {}: is this machine quiet?",
                        load.name()
                    ))
                })?;
            rates.found(*load, *peer, most);
        }
        Ok(())
    }

    /// One subject under one load.
    fn turn(&mut self, at: usize, load: Load, ask: &Ask, round: u32, bar: &ProgressBar) -> io::Result<()> {
        let Some(plan) = self.plan(at, load, ask) else { return Ok(()) };
        let Entrant { peer, subject, odd, .. } = &mut self.subjects[at];
        let name = peer.name();
        bar.set_message(format!("{}, {name}", load.name()));
        if load == Load::Knee {
            let told = |rate: f64| bar.set_message(format!("{name} at {rate:.0}/s"));
            let (_, samples) = self.bench.climb(subject, (plan.rate, FINE), round, &told)?;
            self.results.samples.extend(samples);
            return Ok(());
        }
        let Measured { sample, latency, beside, odd: unexplained, .. } =
            self.bench.window(subject, plan, round)?;
        *odd += unexplained;
        if load == Load::Messages {
            self.beside.push(beside);
        }
        let all = self.histograms.entry((name.to_owned(), load)).or_insert_with(crate::load::histogram);
        all.add(&latency).map_err(io::Error::other)?;
        self.results.samples.push(sample);
        Ok(())
    }

    fn plan(&self, at: usize, load: Load, ask: &Ask) -> Option<Plan> {
        let entrant = &self.subjects[at];
        if !entrant.peer.takes(load) {
            return None;
        }
        let (rate, length) = match load {
            Load::Messages => (self.knee(at) * ask.part_of_knee, ask.window),
            Load::Paced => (ask.paced, ask.window * 3),
            Load::Saturation => (entrant.knee * TOO_MUCH, ask.window),
            Load::Knee => (entrant.knee * BELOW, ask.window),
            Load::Overload => return None,
            _ => (self.results.offered.get(load.name())?.per_second, ask.window),
        };
        Some(Plan { load, rate: whole(rate), length })
    }

    /// The knee by which a subject's load is measured: the lowest of Viaduct's and the floor's for both, so that they are
    /// offered the same and both carry it; other proxies may not come near it, and are offered a part of their own.
    fn knee(&self, at: usize) -> f64 {
        let is_ours = |peer: Peer| matches!(peer, Peer::Viaduct | Peer::Null(_));
        let own = &self.subjects[at];
        if !is_ours(own.peer) {
            return own.knee;
        }
        let ours = self.subjects.iter().filter(|entrant| is_ours(entrant.peer));
        ours.map(|entrant| entrant.knee).fold(f64::INFINITY, f64::min)
    }

    /// Ends all forwarders; what was found.
    pub fn into_results(mut self) -> (Results, Histograms) {
        self.beside.sort_by(f64::total_cmp);
        if let Some(beside) = self.beside.get(self.beside.len() / 2)
            && beside.abs() > BESIDE
        {
            eprintln!(
                "warning: beside the forwarder's work its core was busy for {:.0}% of that: this machine is not quiet",
                beside * 100.0
            );
        }
        for Entrant { peer, odd, .. } in self.subjects.iter().filter(|entrant| entrant.odd > 0) {
            let name = peer.name();
            eprintln!(
                "warning: {name}: {odd} arrivals that no send explains (doubled, refused, late or foreign)"
            );
        }
        (self.results, self.histograms)
    }
}
