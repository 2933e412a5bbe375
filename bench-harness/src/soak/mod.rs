//! `soak`: random events of the host and reloads under load, for as long as it is asked.

mod config;
mod events;
mod failing;
mod run;
mod sentinel;
mod traffic;
mod verdict;
mod watch;

use std::io;

use serde_json::json;

use crate::output::{say, verdicts};
use crate::range::{ROUTES, count};
use run::Run;
pub use sentinel::{SHARD, Sentinel};
use verdict::{Findings, Sample, ms};
pub use watch::{Kernel, Metrics, open_files};

/// Changes routes, links, addresses, rules and the configuration at random under load, and accounts for everything
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds a network namespace with the given routes and four spare links, runs Viaduct there as a process of its own
and offers it half of what it can carry; one call of sixteen goes to an address whose route changes. Meanwhile
links flap, addresses come and go, routes are appended, replaced and deleted, nexthop objects and rules
likewise; every ten seconds 2,000 routes change at once; every few seconds the configuration is another one,
now and then a broken one. The seed replays the draws, though not the moment that each meets.

Passes (exit code 0) when
  account   every message sent arrived once, was answered, or is counted under a reason
  queues    no queue of the kernel dropped a datagram
  memory    the median of the last fifth of the run is that of the second fifth (3% and 2 MiB more at most)
  files     after the events there are as many files and sockets open as before
  tables    remembered transactions are within their bound, no message stays parked
  stalls    no batch of the shard took 5 ms, but for time that the kernel's account (schedstat, stolen time)
            says its thread was ready and did not run
  reloads   good configurations took effect, broken ones were refused
  routing   the followed tables are what a fresh dump says, at every comparison and at the end

With --failing it offers calls instead, half of them to a list and half to a group of next hops: one that is closed, one
that refuses (503), one that is silent, and one that lives, which all calls reach in the end. The rate is in calls a
second, 2,000 if it is left out: half of what a shard's table of transactions holds. Passes when every call was completed,
memory and files are as above, no request found the table full, and no transaction is left at the end.

A long batch is excused by up to 40 ms of waiting. On a machine that does other work that excuses nearly
everything: there --real-time keeps the others away, and what is long then is Viaduct's own doing.

Examples:
  bench-harness soak                                # ten minutes
  bench-harness soak --seconds 60 --seed 7 --real-time
  bench-harness soak --failing                      # ten minutes of failover
  bench-harness soak --failing --seconds 30 --rate 200
  bench-harness soak --seconds 3600 --v4 1000000 --v6 200000 --json > soak.json")]
pub struct Args {
    /// For how many seconds
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=604_800))]
    seconds: u64,
    /// IPv4 routes
    #[arg(long, default_value_t = 20_000, value_parser = count(0..=ROUTES))]
    v4: usize,
    /// IPv6 routes
    #[arg(long, default_value_t = 5_000, value_parser = count(0..=ROUTES))]
    v6: usize,
    /// Calls whose targets fail, instead of events and reloads
    #[arg(long, conflicts_with_all = ["v4", "v6", "events", "reload_every", "real_time", "seed"])]
    failing: bool,
    /// Messages (calls, with --failing) a second; half of what it can carry, if this is left out
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rate: Option<u64>,
    /// Events a second, besides the bursts
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    events: u64,
    /// Seconds between reloads
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    reload_every: u64,
    /// Put the shard's thread before all other programs on its core (SCHED_FIFO, by chrt)
    #[arg(long)]
    real_time: bool,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the soak; `true`: all properties hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    if args.failing {
        return failing::execute(args);
    }
    let (run, findings) = Run::whole(args)?;
    report(args, &run, &findings)
}

fn report(args: &Args, run: &run::Facts, findings: &Findings) -> io::Result<bool> {
    let properties = findings.properties();
    let passed = properties.iter().all(|property| property.holds);
    let account = &findings.account;
    let stalls: Vec<_> = findings.samples.iter().enumerate().filter(|(_, s)| s.long > 0).collect();
    let late = findings.samples.iter().map(|s| s.evidence.late).max().unwrap_or(0);
    let waited: u64 = findings.samples.iter().map(|s| s.evidence.waited).sum();
    let stolen: u64 = findings.samples.iter().map(|s| s.stolen_ns).sum();
    if args.json {
        let seconds: Vec<_> = stalls
            .iter()
            .map(|(second, s)| {
                json!({ "second": second, "batches": s.long, "ms": ms(s.long_ns),
                    "waited_ms": ms(s.evidence.longest_waits(2 * s.long as usize)),
                    "stolen_ms": ms(s.stolen_ns), "sentinel_late_ms": ms(s.evidence.late),
                    "unexplained_ms": ms(s.unexplained_ns()) })
            })
            .collect();
        let told: Vec<_> =
            properties.iter().map(|p| json!({ "holds": p.holds, "property": p.words })).collect();
        say!(
            "{}",
            json!({ "passed": passed, "seconds": args.seconds, "seed": args.seed, "rate": run.rate,
                "events": run.events, "bursts": run.bursts, "routes": run.routes, "account": account,
                "long_batches": seconds, "sentinel_latest_ms": ms(late), "waited_ms": ms(waited), "stolen_ms": ms(stolen),
                "complaints": findings.complaints, "properties": told })
        )?;
        return Ok(passed);
    }
    say!(
        "{} s at {}/s with {} routes, seed {}: {} events, {} bursts of {} changes among them",
        args.seconds,
        run.rate,
        run.routes,
        args.seed,
        run.events,
        run.bursts,
        events::BURST
    )?;
    let list = |counts: &[(String, u64)]| {
        let told = counts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}"));
        told.collect::<Vec<_>>().join(", ")
    };
    say!("answered: {}; dropped: {}", list(&account.answered_by), list(&account.dropped_by))?;
    say!(
        "machine: the shard waited {:.0} ms for its core, {:.0} ms were stolen by the host, the sentinel was \
         {:.2} ms late at most",
        ms(waited),
        ms(stolen),
        ms(late)
    )?;
    stalls.into_iter().try_for_each(|(second, sample)| told_stall(second, sample))?;
    for line in &findings.complaints {
        say!("it said: {line}")?;
    }
    verdicts(properties.iter().map(|property| (property.holds, &property.words)))?;
    Ok(passed)
}

fn told_stall(second: usize, s: &Sample) -> io::Result<()> {
    say!(
        "second {second}: {} long batches, {:.2} ms; waited {:.2} ms, stolen {:.0} ms, sentinel {:.2} ms late; \
         unexplained {:.2} ms",
        s.long,
        ms(s.long_ns),
        ms(s.evidence.longest_waits(2 * s.long as usize)),
        ms(s.stolen_ns),
        ms(s.evidence.late),
        ms(s.unexplained_ns())
    )
}
