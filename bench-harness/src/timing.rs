//! Time of one call of a case, over many short runs.

use std::time::Instant;

use crate::cases::Case;
use crate::measure::Spread;

/// Calls of one run: long against a reading of the clock, short against what else the machine does. Their messages take no more
/// memory than the engine's receive buffers that are in turn, so that they are as near to the processor as there.
const CALLS: usize = 128;
/// Runs of one process; the median counts.
const RUNS: usize = 501;

/// Nanoseconds of one call, over many runs.
pub fn spread(case: &mut dyn Case) -> Spread {
    // What is done once, such as filling caches of patterns, is none of the call's.
    case.prepare(CALLS);
    case.run();
    let run = |_| {
        case.prepare(CALLS);
        let begin = Instant::now();
        case.run();
        begin.elapsed().as_nanos() as f64 / CALLS as f64
    };
    Spread::of((0..RUNS).map(run).collect()).expect("there are runs")
}
