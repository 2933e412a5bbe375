//! What following came to, held against the bars.

use std::io;
use std::time::Duration;

use serde_json::json;
use viaduct::metrics::RoutingCounts;

use super::Args;
use crate::measure::{Spread, mib};
use crate::output::{say, verdicts};

/// No batch of a shard is to take longer.
const BATCH: Duration = Duration::from_nanos(viaduct::limits::LONG_BATCH_NS);

/// What was found.
pub struct Results {
    pub ready: Duration,
    pub bytes: u64,
    pub delays: Vec<Delay>,
    pub many: Duration,
    pub batches: Batches,
    /// The longest batch without any change.
    pub undisturbed: Duration,
    pub lost: u64,
    pub routing: RoutingCounts,
}

/// From a change to its use.
#[derive(Clone, Copy)]
pub struct Delay {
    pub whole: Duration,
    /// How long the threads on its way were ready and did not run meanwhile.
    pub waited: Duration,
}

impl Delay {
    /// What the machine did not add, in milliseconds.
    fn own_ms(self) -> f64 {
        self.whole.saturating_sub(self.waited).as_secs_f64() * 1e3
    }
}

/// The longest batches of a shard.
#[derive(Clone, Copy, Default)]
pub struct Batches {
    longest_ns: u64,
    waited_ns: u64,
}

impl Batches {
    /// The longest one known at some time, and how long the machine kept the shard from its core in the time before.
    pub fn add(&mut self, longest_ns: u64, waited_ns: u64) {
        self.longest_ns = self.longest_ns.max(longest_ns);
        self.waited_ns = self.waited_ns.max(waited_ns);
    }

    pub fn longest(self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }

    fn waited(self) -> Duration {
        Duration::from_nanos(self.waited_ns)
    }
}

/// The value that a part of all is at most; none of none.
fn at_most(mut values: Vec<f64>, part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get(((values.len() as f64 * part) as usize).min(last)).copied()
}

impl Results {
    /// 99% of single changes take no longer, in milliseconds: as it was, and without what the machine added.
    fn p99_ms(&self) -> [f64; 2] {
        let whole = self.delays.iter().map(|delay| delay.whole.as_secs_f64() * 1e3).collect();
        let own = self.delays.iter().map(|delay| delay.own_ms()).collect();
        [whole, own].map(|values| at_most(values, 0.99).unwrap_or(0.0))
    }

    /// Each condition, and whether it holds.
    fn conditions(&self, many: usize) -> [(bool, String); 5] {
        let limit = if self.routing.routes > 2_000 { 50.0 } else { 5.0 };
        let [_, p99] = self.p99_ms();
        let batch = self.batches.longest().saturating_sub(self.batches.waited());
        [
            (
                p99 <= limit,
                format!("99% of single changes in use within {limit} ms, without waiting for a processor"),
            ),
            (self.many.as_secs_f64() <= 10.0, format!("{many} changes in use within 10 s")),
            (
                batch <= BATCH || self.batches.longest() <= self.undisturbed,
                "no batch took 5 ms without waiting, or longer than without changes".to_owned(),
            ),
            (self.lost == 0, "no message lost".to_owned()),
            (self.routing.mismatches == 0, "no route differs from the kernel's".to_owned()),
        ]
    }
}

/// Prints it; `true`: all conditions hold.
///
/// # Errors
/// It cannot be printed.
pub fn report(args: &Args, results: &Results) -> io::Result<bool> {
    let conditions = results.conditions(args.many);
    let passed = conditions.iter().all(|(holds, _)| *holds);
    let whole = results.delays.iter().map(|delay| delay.whole.as_secs_f64() * 1e3).collect();
    let [p99, own] = results.p99_ms();
    let spread = Spread::of(whole);
    let r = &results.routing;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    if args.json {
        say!(
            "{}",
            json!({
                "routes": r.routes, "ready_s": results.ready.as_secs_f64(), "bytes": results.bytes,
                "delay_ms": { "median": spread.map(|s| s.median), "p99": p99, "p99_without_waiting": own,
                              "max": spread.map(|s| s.max) },
                "many": args.many, "many_s": results.many.as_secs_f64(),
                "worst_batch_ms": ms(results.batches.longest()),
                "worst_batch_waited_ms": ms(results.batches.waited()),
                "worst_batch_without_changes_ms": ms(results.undisturbed), "lost": results.lost,
                "events": r.events, "overruns": r.overruns, "resyncs": r.resyncs, "audits": r.audits,
                "mismatches": r.mismatches, "passed": passed,
            })
        )?;
        return Ok(passed);
    }
    say!(
        "{} routes: ready after {:.2} s, {:.0} MiB",
        r.routes,
        results.ready.as_secs_f64(),
        mib(results.bytes)
    )?;
    if let Some(spread) = spread {
        say!(
            "single changes, from `ip` to the shard: median {:.2} ms, 99% {p99:.2} ms ({own:.2} ms without waiting for a \
             processor), worst {:.2} ms",
            spread.median,
            spread.max
        )?;
    }
    say!("{} changes at once: in use after {:.2} s", args.many, results.many.as_secs_f64())?;
    say!(
        "longest batch: {:.2} ms, while the shard waited {:.2} ms for its core at most; without changes {:.2} ms",
        ms(results.batches.longest()),
        ms(results.batches.waited()),
        ms(results.undisturbed)
    )?;
    say!(
        "{} events, {} snapshots, {} overruns, {} resynchronisations, {} audits, {} mismatches",
        r.events,
        r.generation,
        r.overruns,
        r.resyncs,
        r.audits,
        r.mismatches
    )?;
    verdicts(conditions)?;
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(delays: &[(u64, u64)], batch: (u64, u64)) -> Results {
        let [longest_ns, waited_ns] = [batch.0, batch.1].map(|ms| ms * 1_000_000);
        let delay = |&(whole, waited): &(u64, u64)| Delay {
            whole: Duration::from_millis(whole),
            waited: Duration::from_millis(waited),
        };
        Results {
            ready: Duration::ZERO,
            bytes: 0,
            delays: delays.iter().map(delay).collect(),
            many: Duration::ZERO,
            batches: Batches { longest_ns, waited_ns },
            undisturbed: Duration::from_millis(7),
            lost: 0,
            routing: RoutingCounts::default(),
        }
    }

    fn failed(results: &Results) -> Vec<usize> {
        let conditions = results.conditions(0);
        (0..conditions.len()).filter(|&number| !conditions[number].0).collect()
    }

    #[test]
    fn what_the_machine_adds_is_left_out_and_nothing_else() {
        assert_eq!(failed(&results(&[(2, 0), (30, 28)], (1, 0))), [0; 0]);
        assert_eq!(failed(&results(&[(2, 0), (30, 20)], (1, 0))), [0]);
        assert_eq!(failed(&results(&[(2, 0)], (20, 16))), [0; 0]);
        assert_eq!(failed(&results(&[(2, 0)], (20, 10))), [2]);
        assert_eq!(failed(&results(&[(2, 0)], (7, 0))), [0; 0], "as long without changes");
        assert_eq!(failed(&results(&[], (8, 0))), [2], "and no change at all is no late one");
    }
}
