//! Time of one call of a case, over many short runs.

use std::time::Instant;

use crate::cases::Case;
use crate::measure::Spread;

/// Calls of one run: long against a reading of the clock, short against what else the machine does.
const CALLS: usize = 4096;
/// Runs; the median counts.
pub const RUNS: usize = 101;
/// As many as a small measurement makes.
pub const FEW_RUNS: usize = 21;

/// Nanoseconds of one call, over so many runs, which are not none.
pub fn spread(case: &mut dyn Case, runs: usize) -> Spread {
    // What is done once, such as filling caches of patterns, is none of the call's.
    case.prepare(CALLS);
    case.run();
    let run = |_| {
        case.prepare(CALLS);
        let begin = Instant::now();
        case.run();
        begin.elapsed().as_nanos() as f64 / CALLS as f64
    };
    Spread::of((0..runs).map(run).collect()).expect("there are runs")
}
