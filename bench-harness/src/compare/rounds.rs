//! Rounds of windows: every subject under every load, in an order that turns.
//!
//! ```text
//!  a look at each (what does it carry?) ─► a rate for each group, tried ─► rounds ─► results
//! ```

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use indicatif::ProgressBar;

use super::estimate::{of_looks, of_round, of_starts, of_tries, of_turn};
use super::order::{IN_TURN, Turn, turns};
use super::peers::{Peer, Started};
use super::rates::{Group, Rates, rate_name, whole};
use super::setting::Setting;
use super::window::{Bench, Found, Measured, Plan, Start, search_for};
use crate::died::Died;
use crate::output::tell;
use crate::peak::{Search, Verdict, is_carried, settle};
use crate::results::Histograms;
use crate::results::model::{EndedEarly, Latency, Load, Results};
use crate::results::ratios::latencies_of;
use crate::subject::Subject;

/// So far below its knee the search of a round begins.
const BELOW: f64 = 0.9;
/// Such a search: rising rates near the knee.
const AROUND: Search =
    Search { first: 0.0, between: (1_000.0, 1_000_000.0), rise: 1.05, within: 1.06, windows: 14 };
/// What is more than can be carried, in knees.
const TOO_MUCH: f64 = 1.5;
/// A rate that not all of a group carry is lowered to so much of it, so often at most.
const LOWER: (f64, usize) = (0.8, 5);
/// What the core may do beside the forwarder's work before a word of warning: other programs disturb.
const BESIDE: f64 = 0.05;
/// What can be asked for, in the order of a round.
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
    /// Part of the most that is carried at which all is offered.
    pub part_of_most: f64,
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

/// Planned time, as the progress bar counts it.
fn ms(planned: Duration) -> u64 {
    planned.as_millis() as u64
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
    rates: Rates,
    results: Results,
    histograms: Histograms,
    beside: Vec<f64>,
}

struct Entrant {
    peer: Peer,
    subject: Subject,
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
            subjects.push(Entrant { peer: *peer, subject });
        }
        let (rates, histograms, beside) = (Rates::default(), Histograms::new(), Vec::new());
        Ok(Self { bench, setting, pad_to, subjects, rates, results, histograms, beside })
    }

    /// Finds out how much can be offered, then runs all rounds; after each of them `round_over` is told what was found so far.
    pub fn run(&mut self, ask: &Ask, bar: &ProgressBar, round_over: &RoundOver<'_>) -> io::Result<()> {
        let peers = self.peers();
        let lacking = |peer: &Peer| {
            let lacks = |load: &&Load| self.rates.lacks(ask, **load, *peer);
            ask.loads.iter().filter(lacks).copied().collect::<Vec<_>>()
        };
        let lacking: Vec<_> = peers.iter().map(lacking).collect();
        let tries: u64 = lacking.iter().map(|loads| ms(of_tries(loads, ask.window))).sum();
        let looks: u64 = lacking.iter().map(|loads| ms(of_looks(loads))).sum();
        let round: u64 = ask.loads.iter().map(|load| ms(of_round(&peers, *load, ask.window))).sum();
        let starts = ms(of_starts(peers.len())) * u64::from(ask.rounds.saturating_sub(1));
        bar.set_length(looks + tries + starts + round * u64::from(ask.rounds));
        let goes_on = |done: u32| EndedEarly::goes_on(done as usize, ask.rounds as usize, "rounds");
        self.results.ended_early = goes_on(0);
        for (peer, loads) in peers.into_iter().zip(&lacking) {
            let looked = self.look_at(peer, ask, bar);
            self.unless_foreign(peer, looked)?;
            bar.inc(ms(of_looks(loads)));
        }
        for group in self.rates.groups(ask, &self.peers()) {
            self.settle(group, ask, bar)?;
        }
        bar.inc(tries);
        for round in 0..ask.rounds {
            self.results.ended_early = goes_on(round);
            if round > 0 {
                self.renew(bar)?;
            }
            for load in &ask.loads {
                for turn in turns(&self.peers(), *load, round) {
                    self.turn(turn, *load, ask, round, bar)?;
                    bar.inc(ms(of_turn(&turn, *load, ask.window)));
                }
            }
            self.results.ended_early = goes_on(round + 1);
            round_over(&self.results, &self.histograms)?;
        }
        Ok(())
    }

    /// Has all be new processes: a round's figures are one of those that many starts give.
    fn renew(&mut self, bar: &ProgressBar) -> io::Result<()> {
        for peer in self.peers() {
            bar.set_message(format!("starting {}", peer.name()));
            let renewed = self.of(peer, |bench, subject, start| bench.renew(subject, peer.probe(), start));
            self.unless_foreign(peer, renewed.map(drop))?;
            bar.inc(ms(of_starts(1)));
        }
        Ok(())
    }

    fn peers(&self) -> Vec<Peer> {
        self.subjects.iter().map(|entrant| entrant.peer).collect()
    }

    /// Another proxy that fails, or carries next to nothing, takes no further part.
    fn unless_foreign(&mut self, peer: Peer, done: io::Result<()>) -> io::Result<()> {
        match done {
            Err(error) if peer.is_foreign() => {
                if Died::is(&error) {
                    self.results.died.insert(peer.name().into(), error.to_string());
                }
                self.results.skipped.insert(peer.name().into(), error.to_string());
                self.subjects.retain(|entrant| entrant.peer != peer);
                Ok(())
            }
            done => done,
        }
    }

    /// The most of each load that a subject carries, as far as the loads depend on it.
    fn look_at(&mut self, peer: Peer, ask: &Ask, bar: &ProgressBar) -> io::Result<()> {
        let name = peer.name();
        for load in &ask.loads {
            if !self.rates.lacks(ask, *load, peer) {
                continue;
            }
            let unit = load.unit().name();
            let told = |rate: f64| bar.set_message(format!("{name} at {rate:.0} {unit}s/s"));
            let found = self.search(peer, *load, &search_for(*load), 0, &told)?;
            let most = found.and_then(|found| found.most).ok_or_else(|| {
                io::Error::other(format!("{name} carries next to no {}: is this machine quiet?", load.name()))
            })?;
            self.rates.found(*load, peer, most);
        }
        Ok(())
    }

    /// `None`: it takes no part.
    fn search(
        &mut self,
        peer: Peer,
        load: Load,
        search: &Search,
        round: u32,
        told: &dyn Fn(f64),
    ) -> io::Result<Option<Found>> {
        self.of(peer, |bench, subject, start| bench.most(subject, load, search, round, start, told))
    }

    /// `None`: it takes no part.
    fn window(&mut self, peer: Peer, plan: Plan, round: u32) -> io::Result<Option<Measured>> {
        self.of(peer, |bench, subject, start| bench.window_afresh(subject, plan, round, start))
    }

    /// Does it with a subject, and with what starts that anew; `None`: it takes no part.
    fn of<T>(
        &mut self,
        peer: Peer,
        act: impl FnOnce(&mut Bench<'w>, &mut Subject, &Start<'_>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Self { bench, setting, pad_to, subjects, .. } = self;
        let Some(entrant) = subjects.iter_mut().find(|entrant| entrant.peer == peer) else { return Ok(None) };
        let start = || Ok(peer.start(setting, *pad_to)?.subject);
        act(bench, &mut entrant.subject, &start).map(Some)
    }

    /// Tries the rate of a group by windows as the rounds have them, and lowers it until all of it carry it. One that was
    /// asked for is offered untried.
    fn settle(&mut self, group: Group, ask: &Ask, bar: &ProgressBar) -> io::Result<()> {
        let members = if group.offered.part.is_some() { &group.members[..] } else { &[] };
        let settled = settle(members, group.offered.per_second, LOWER, |(peer, load), rate| {
            bar.set_message(format!("{}, {} at {rate:.0}/s", load.name(), peer.name()));
            self.carries(peer, Plan { load, rate: whole(rate), length: ask.window })
        })?;
        self.results.offered.extend(group.settled(settled));
        Ok(())
    }

    fn carries(&mut self, peer: Peer, plan: Plan) -> io::Result<bool> {
        let verdict = |measured: Measured| measured.verdict;
        let window = || Ok(self.window(peer, plan, 0)?.map_or(Verdict::Carried, verdict));
        match is_carried(window) {
            // Who takes no further part keeps nobody from a rate.
            Err(error) => self.unless_foreign(peer, Err(error)).map(|()| true),
            carried => carried,
        }
    }

    fn turn(&mut self, turn: Turn, load: Load, ask: &Ask, round: u32, bar: &ProgressBar) -> io::Result<()> {
        let (pair, measured) = match turn {
            Turn::Alone(peer) => {
                let done = self.alone(peer, load, ask, round, bar);
                return self.unless_foreign(peer, done);
            }
            Turn::Together(pair) => (pair, self.together(pair, self.plan_of(pair, load, ask, bar), round)?),
            Turn::Paired(pair) => (pair, self.paired(pair, self.plan_of(pair, load, ask, bar), round)?),
        };
        pair.into_iter()
            .zip(measured.into_iter().flatten())
            .try_for_each(|(peer, measured)| self.keep(peer, measured))
    }

    /// What both of a pair are offered.
    fn plan_of(&self, pair: [Peer; 2], load: Load, ask: &Ask, bar: &ProgressBar) -> Option<Plan> {
        bar.set_message(format!("{}, {} and {}", load.name(), pair[0].name(), pair[1].name()));
        self.plan(pair[0], load, ask)
    }

    /// One subject under one load.
    fn alone(&mut self, peer: Peer, load: Load, ask: &Ask, round: u32, bar: &ProgressBar) -> io::Result<()> {
        let Some(plan) = self.plan(peer, load, ask) else { return Ok(()) };
        let name = peer.name();
        bar.set_message(format!("{}, {name}", load.name()));
        if load == Load::Knee {
            let told = |rate: f64| bar.set_message(format!("{name} at {rate:.0}/s"));
            let found = self.search(peer, load, &Search { first: plan.rate, ..AROUND }, round, &told)?;
            self.results.samples.extend(found.into_iter().flat_map(|found| found.windows));
            return Ok(());
        }
        self.window(peer, plan, round)?.map_or(Ok(()), |measured| self.keep(peer, measured))
    }

    /// Two subjects at once, a message to each in turn. `None`: not both take part.
    fn together(
        &mut self,
        pair: [Peer; 2],
        plan: Option<Plan>,
        round: u32,
    ) -> io::Result<Option<[Measured; 2]>> {
        let Self { bench, setting, pad_to, subjects, .. } = self;
        let place = |peer: Peer| subjects.iter().position(|entrant| entrant.peer == peer);
        let (Some(plan), [Some(first), Some(second)]) = (plan, pair.map(place)) else { return Ok(None) };
        let Ok([first, second]) = subjects.get_disjoint_mut([first, second]) else { return Ok(None) };
        let (setting, pad_to) = (&*setting, *pad_to);
        let starts = pair.map(|peer| move || Ok(peer.start(setting, pad_to)?.subject));
        let both: [(&mut Subject, &Start<'_>); 2] =
            [(&mut first.subject, &starts[0]), (&mut second.subject, &starts[1])];
        bench.window_in_turn(both, plan, round).map(Some)
    }

    /// Two subjects in turn: what the machine does meanwhile is the same for both. `None`: not both take part.
    fn paired(
        &mut self,
        pair: [Peer; 2],
        plan: Option<Plan>,
        round: u32,
    ) -> io::Result<Option<[Measured; 2]>> {
        let Some(plan) = plan else { return Ok(None) };
        let plan = Plan { length: plan.length * 2 / IN_TURN.len() as u32, ..plan };
        let mut sums = [None, None];
        for place in IN_TURN {
            let Some(measured) = self.window(pair[place], plan, round)? else { return Ok(None) };
            sums[place] = Some(match sums[place].take() {
                Some(sum) => Measured::and(sum, measured)?,
                None => measured,
            });
        }
        let [first, second] = sums;
        Ok(first.zip(second).map(|(first, second)| [first, second]))
    }

    fn keep(&mut self, peer: Peer, measured: Measured) -> io::Result<()> {
        let Measured { sample, latency, beside, .. } = measured;
        if sample.load == Load::Messages {
            self.beside.push(beside);
        }
        let all = self.histograms.entry((peer.name().to_owned(), sample.load));
        let all = all.or_insert_with(crate::load::histogram);
        all.add(&latency).map_err(io::Error::other)?;
        let of_all = Latency::of(all).map(|latency| (latencies_of(peer.name(), sample.load), latency));
        self.results.latencies.extend(of_all);
        self.results.samples.push(sample);
        Ok(())
    }

    fn plan(&self, peer: Peer, load: Load, ask: &Ask) -> Option<Plan> {
        let knee = || self.rates.most(load, peer).or(ask.knee);
        let (rate, length) = match load {
            Load::Paced => (ask.paced, ask.window * 3),
            Load::Saturation => (knee()? * TOO_MUCH, ask.window),
            Load::Knee => (knee()? * BELOW, ask.window),
            Load::Overload => return None,
            _ => (self.results.offered.get(&rate_name(load, peer))?.per_second, ask.window),
        };
        Some(Plan { load, rate: whole(rate), length })
    }

    /// The run goes no further; what was found says why.
    pub fn ends_by(&mut self, error: &io::Error) {
        if let Some(early) = &mut self.results.ended_early {
            early.why = error.to_string();
        }
    }

    /// Ends all forwarders; what was found.
    pub fn into_results(mut self) -> (Results, Histograms) {
        self.beside.sort_by(f64::total_cmp);
        if let Some(beside) = self.beside.get(self.beside.len() / 2)
            && beside.abs() > BESIDE
        {
            tell!(
                "warning: beside the forwarder's work its core was busy for {:.0}% of that: this machine is not quiet",
                beside * 100.0
            );
        }
        let mut odd = BTreeMap::<&str, u64>::new();
        for sample in self.results.samples.iter().filter(|sample| sample.odd > 0) {
            *odd.entry(&sample.subject).or_default() += sample.odd;
        }
        for (name, odd) in odd {
            tell!(
                "warning: {name}: {odd} arrivals that no send explains (doubled, refused, late or foreign)"
            );
        }
        (self.results, self.histograms)
    }
}
