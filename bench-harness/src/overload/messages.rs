//! INVITEs that nobody answers, several times as many as a shard can carry.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::Args;
use crate::compare::{Bench, MESSAGES, Measured, Plan};
use crate::interrupt::Folder;
use crate::measure::mib;
use crate::output::{say, verdicts};
use crate::peak::Search;
use crate::progress;
use crate::results::model::Load;
use crate::results::statistics::median;
use crate::subject::{Configured, FORWARDER_CORE, LOAD_CORE, Subject, as_before, pin_from_here};
use crate::world::World;

/// The bars: messages delivered in a second, as part of the knee's; resident memory, as part of what it was; messages delivered
/// afterwards, as part of those sent.
const GOODPUT: f64 = 0.9;
const GROWTH: f64 = 1.05;
const AFTER: f64 = 0.999;
/// The load has to have sent such a part of what it should.
const OFFERED: f64 = 0.995;

/// Runs the overload; `true`: all conditions hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    let world = World::build()?;
    let folder = Folder::new()?;
    let start = || Subject::configured(folder.path(), &Configured::USUAL.text());
    let mut viaduct = start()?;
    let mut bench = Bench::new(&world, FORWARDER_CORE, true, None)?;
    bench.wait_for(&mut viaduct, Load::Messages)?;
    let everywhere = pin_from_here(LOAD_CORE)?;

    let bar = progress::spinner("finding the knee");
    let told = |rate: f64| bar.set_message(format!("{rate:.0}/s"));
    let search = Search { windows: args.windows.unwrap_or(MESSAGES.windows), ..MESSAGES };
    let knee = bench.knee(&mut viaduct, &search, &|| as_before(&everywhere, start), &told)?;
    let mut offer = |rate: f64, seconds: u64| -> io::Result<Measured> {
        let plan = Plan { load: Load::Saturation, rate, length: Duration::from_secs(seconds) };
        bench.window(&mut viaduct, plan, 0)
    };
    // Buffers are touched for the first time under load; what is compared comes after that.
    bar.set_message("warming up");
    let rate = knee * args.times as f64;
    let before = offer(rate, 1)?.sample.resident_bytes;
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        bar.set_message(format!(
            "{} times {knee:.0}/s for {} s, {round} of {}",
            args.times, args.seconds, args.rounds
        ));
        rounds.push(Round::of(&offer(rate, args.seconds)?, args.seconds as f64));
    }
    bar.set_message("the next messages");
    let next = offer(knee / 2.0, 1)?.sample;
    bar.finish_and_clear();
    let after = next.delivered as f64 / next.sent.max(1) as f64;
    let findings = Findings { times: args.times, knee, before, rounds, after };
    findings.print(args.json)?;
    Ok(findings.passed())
}

/// One overload; rates are in messages a second.
#[derive(Clone, Copy)]
struct Round {
    offered: f64,
    sent: f64,
    delivered: f64,
    resident: u64,
    /// Part of the load's core that was left.
    idle: f64,
    own_drops: u64,
}

impl Round {
    fn of(measured: &Measured, seconds: f64) -> Self {
        let sample = &measured.sample;
        Self {
            offered: sample.offered_per_second,
            sent: sample.sent as f64 / seconds,
            delivered: sample.delivered as f64 / seconds,
            resident: sample.resident_bytes,
            idle: sample.generator_idle,
            own_drops: measured.own_drops,
        }
    }
}

struct Findings {
    times: u64,
    knee: f64,
    /// Resident memory in bytes.
    before: u64,
    /// At least one.
    rounds: Vec<Round>,
    /// Part of the next load that was delivered.
    after: f64,
}

impl Findings {
    fn passed(&self) -> bool {
        self.properties().iter().all(|(holds, _)| *holds)
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect()).unwrap_or(f64::NAN)
    }

    fn goodput(&self) -> f64 {
        self.median(|round| round.delivered / self.knee)
    }

    fn resident(&self) -> u64 {
        self.rounds.iter().map(|round| round.resident).max().unwrap_or(0)
    }

    /// Each condition, with its numbers and its bound.
    fn properties(&self) -> [(bool, String); 4] {
        let goodput = self.goodput();
        let parts: Vec<String> =
            self.rounds.iter().map(|round| format!("{:.3}", round.delivered / self.knee)).collect();
        let (before, resident) = (self.before, self.resident());
        let own_drops = self.rounds.iter().map(|round| round.own_drops).sum::<u64>();
        let kept_up = self.rounds.iter().all(|round| round.sent >= round.offered * OFFERED);
        [
            (
                goodput >= GOODPUT,
                format!(
                    "goodput: {goodput:.3} of the knee of {:.0} messages/s (rounds: {}; their median at least {GOODPUT})",
                    self.knee,
                    parts.join(", ")
                ),
            ),
            (
                resident as f64 <= before as f64 * GROWTH,
                format!(
                    "memory: {:.1} MiB before, {:.1} MiB afterwards (at most {GROWTH} times)",
                    mib(before),
                    mib(resident)
                ),
            ),
            (
                kept_up && own_drops == 0,
                format!(
                    "load: {:.0} of {:.0} messages/s sent, {:.0}% of its core left, {own_drops} datagrams lost by its own \
                     socket (none may be: else it is the limit itself)",
                    self.median(|round| round.sent),
                    self.median(|round| round.offered),
                    self.median(|round| round.idle) * 100.0
                ),
            ),
            (
                self.after >= AFTER,
                format!(
                    "after: {:.2}% of the next messages delivered (at least {}%)",
                    self.after * 100.0,
                    AFTER * 100.0
                ),
            ),
        ]
    }

    fn print(&self, json: bool) -> io::Result<()> {
        if json {
            let rounds = self.rounds.iter().map(|round| {
                json!({ "offered": round.offered, "sent": round.sent, "delivered": round.delivered,
                        "generator_idle": round.idle, "own_drops": round.own_drops })
            });
            say!(
                "{}",
                json!({ "passed": self.passed(), "knee": self.knee, "times": self.times, "goodput_over_peak": self.goodput(),
                        "resident_before": self.before, "resident_after": self.resident(),
                        "next_load_delivered": self.after, "rounds": rounds.collect::<Vec<_>>() })
            )?;
            return Ok(());
        }
        verdicts(self.properties())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(delivered: f64) -> Round {
        Round { offered: 5_000.0, sent: 5_000.0, delivered, resident: 104, idle: 0.1, own_drops: 0 }
    }

    fn failed(change: impl Fn(&mut Findings)) -> Vec<String> {
        let rounds = [950.0, 20.0, 990.0].map(round).to_vec();
        let mut findings = Findings { times: 5, knee: 1_000.0, before: 100, rounds, after: 1.0 };
        change(&mut findings);
        let properties = findings.properties().into_iter().filter(|(holds, _)| !holds);
        properties.map(|(_, words)| words.split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn one_bad_round_decides_nothing_and_a_load_that_was_the_limit_is_told() {
        assert_eq!(failed(|_| ()), [""; 0]);
        assert_eq!(failed(|findings| findings.rounds[0].delivered = 800.0), ["goodput"]);
        assert_eq!(failed(|findings| findings.rounds[1].resident = 110), ["memory"]);
        assert_eq!(failed(|findings| findings.rounds[1].own_drops = 1), ["load"]);
        assert_eq!(failed(|findings| findings.rounds[2].sent = 4_900.0), ["load"]);
        assert_eq!(failed(|findings| findings.after = 0.99), ["after"]);
    }
}
