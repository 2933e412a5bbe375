//! How long batches take.

use std::time::Instant;

use crate::limits;
use crate::metrics::ShardMetrics;
use crate::net::Now;

/// Measures batches; decides nothing, so it may read the real clock in simulations too.
#[derive(Default)]
pub(super) struct BatchClock {
    begun: Option<Instant>,
    /// Nothing has come.
    is_idle: bool,
    window: u64,
    worst_ns: u64,
    worst_before_ns: u64,
}

/// An idle batch that takes longer was not: something was due, or there is a new configuration.
const IDLE_NS: u64 = 1_000_000;

/// How long the longest batch is remembered, at least.
const WINDOW_NS: u64 = 15_000_000_000;

impl BatchClock {
    pub fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    /// Nothing has come before the next batch.
    pub fn idle(&mut self) {
        self.is_idle = true;
    }

    /// Something has.
    #[inline]
    pub fn comes(&mut self) {
        self.is_idle = false;
    }

    /// Counts the batch, unless it was idle to its end and short.
    pub fn end(&mut self, now: Now, metrics: &ShardMetrics) {
        let (begun, is_idle) = (self.begun.take(), std::mem::take(&mut self.is_idle));
        let Some(begun) = begun else { return };
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if is_idle && ns < IDLE_NS {
            return;
        }
        metrics.batches.count();
        metrics.busy_ns.add(ns);
        metrics.worst_batch_ns.set(self.worst(now, ns));
        if ns >= limits::LONG_BATCH_NS {
            metrics.long_batches.count();
            metrics.long_batches_ns.add(ns);
        }
    }

    /// The longest batch of the current and the previous window, this one included.
    fn worst(&mut self, now: Now, ns: u64) -> u64 {
        let window = now.0 / WINDOW_NS;
        if window != self.window {
            self.worst_before_ns = if window == self.window + 1 { self.worst_ns } else { 0 };
            self.worst_ns = 0;
            self.window = window;
        }
        self.worst_ns = self.worst_ns.max(ns);
        self.worst_ns.max(self.worst_before_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_batch_is_remembered_for_one_window_more() {
        let mut clock = BatchClock::default();
        let at = |windows: u64| Now(windows * WINDOW_NS + 1);
        assert_eq!(clock.worst(at(1), 700), 700);
        assert_eq!(clock.worst(at(1), 300), 700);
        assert_eq!(clock.worst(at(2), 400), 700);
        assert_eq!(clock.worst(at(3), 100), 400);
        assert_eq!(clock.worst(at(9), 50), 50);
    }
}
