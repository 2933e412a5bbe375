//! What the terminal shows of a comparison: medians over rounds.

use std::collections::BTreeMap;
use std::io;

use crate::measure::{Spread, mib};
use crate::output::say;
use crate::results::model::{Load, Lowered, Results, Sample};
use crate::results::{Unit, by_reason};

/// Prints a row for each subject and load, and what could not be compared or measured.
///
/// # Errors
/// It cannot be printed.
pub fn summary(results: &Results) -> io::Result<()> {
    let mut groups = BTreeMap::<(Load, &str), Vec<&Sample>>::new();
    for sample in results.samples.iter().filter(|sample| sample.load != Load::Knee) {
        groups.entry((sample.load, &sample.subject)).or_default().push(sample);
    }
    say!(
        "{:<23} {:<22} {:>9} {:>10} {:>8} {:>9} {:>8} {:>8} {:>9} {:>7} {:>6}",
        "load",
        "subject",
        "offered/s",
        "CPU ns/msg",
        "lost",
        "p50 µs",
        "p99 µs",
        "MiB",
        "calls/msg",
        "idle",
        "late"
    )?;
    for ((load, subject), samples) in &groups {
        let median = |of: &dyn Fn(&Sample) -> f64| {
            Spread::of(samples.iter().map(|sample| of(sample)).collect())
                .map_or(f64::NAN, |spread| spread.median)
        };
        let sum = |of: fn(&Sample) -> u64| samples.iter().map(|sample| of(sample)).sum::<u64>();
        let us = |of: fn(&crate::results::model::Latency) -> u64| {
            median(&|sample| sample.latency.as_ref().map_or(f64::NAN, |latency| of(latency) as f64 / 1e3))
        };
        let called = samples.iter().filter_map(|sample| Some((sample.syscalls?, sample.delivered)));
        let (calls, messages) = called.fold((0, 0), |(calls, all), (c, m)| (calls + c, all + m));
        let calls = if messages > 0 { format!("{:.3}", calls as f64 / messages as f64) } else { "-".into() };
        say!(
            "{:<23} {subject:<22} {:>9.0} {:>10.0} {:>8} {:>9.1} {:>8.1} {:>8.1} {calls:>9} {:>6.0}% {:>6}",
            load.name(),
            median(&|sample| sample.offered_per_second),
            median(&|sample| sample.cpu_ns as f64 / sample.delivered.max(1) as f64),
            sum(|sample| sample.lost),
            us(|latency| latency.p50_ns),
            us(|latency| latency.p99_ns),
            median(&|sample| mib(sample.resident_bytes)),
            median(&|sample| sample.generator_idle) * 100.0,
            samples.iter().filter(|sample| !sample.on_schedule).count(),
        )?;
    }
    for ((_, subject), samples) in groups.iter().filter(|((load, _), _)| load.unit() == Unit::Connection) {
        let each = |sample: &&Sample| sample.calls as f64 / (sample.cpu_ns as f64 / 1e9);
        if let Some(spread) = Spread::of(samples.iter().map(each).collect()) {
            say!("{subject}: {:.0} new connections in a second of CPU", spread.median)?;
        }
    }
    for (load, offered) in &results.offered {
        for Lowered { per_second, lost_by } in &offered.lowered {
            let offered = offered.per_second;
            say!("lowered to {offered:.0} a second: {load}: {lost_by} did not carry {per_second:.0}")?;
        }
        if let Some(name) = &offered.lost_by {
            say!("not carried before the rounds: {load}: by {name}")?;
        }
    }
    for (subject, times) in &results.begun_afresh {
        say!("started afresh after windows that lost something: {subject}: {times} times")?;
    }
    for (figure, loss) in &results.not_comparable {
        say!("not comparable: {figure}: {loss}")?;
    }
    for (why, what) in by_reason(&results.skipped) {
        say!("skipped: {}: {why}", what.join(", "))?;
    }
    Ok(())
}
