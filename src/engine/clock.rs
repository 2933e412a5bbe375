//! The clocks of a driver, which are read once for each batch; the one that tells what datagrams have waited more often, because
//! the last ones of a long batch wait for the others.

use std::time::{Instant, SystemTime};

use crate::net::Now;

/// The longest sleep: a shard looks at the clock once a second.
pub(super) const LONGEST_WAIT_NS: u64 = 1_000_000_000;

/// Datagrams that ask for the time between two looks at the clock: what so many take is little beside what they may wait.
const ASKS: u8 = 63;

/// What a batch knows of the time.
pub(super) struct Clock {
    /// From when on the shards of this process count.
    start: Instant,
    /// When the batch began.
    pub now: Now,
    /// The time by the clock that datagrams are stamped with, in nanoseconds; read when the first one asks.
    real_ns: Option<u64>,
    /// So many more may ask until it is read anew.
    asks: u8,
    /// How long the datagram at hand has waited, in nanoseconds.
    pub waited_ns: Option<u64>,
}

impl Clock {
    /// Counts from then on.
    pub fn since(start: Instant) -> Self {
        Self { start, now: Now::default(), real_ns: None, asks: 0, waited_ns: None }
    }

    /// A batch begins.
    pub fn begin(&mut self) -> Now {
        (self.now, self.real_ns) = (self.read(), None);
        self.now
    }

    fn read(&self) -> Now {
        Now(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A datagram is at hand, which the kernel received then, if it says so, in nanoseconds since 1970.
    pub fn received(&mut self, received_ns: Option<u64>) {
        self.waited_ns = received_ns.map(|at| self.real_ns().saturating_sub(at));
    }

    fn real_ns(&mut self) -> u64 {
        match (self.real_ns, self.asks.checked_sub(1)) {
            (Some(known), Some(left)) => {
                self.asks = left;
                known
            }
            _ => {
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                self.asks = ASKS;
                *self.real_ns.insert(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX))
            }
        }
    }

    /// So many nanoseconds from this moment until then, and `longest_ns` at most.
    pub fn until(&self, by: Option<Now>, longest_ns: u64) -> u64 {
        by.map_or(longest_ns, |by| by.since(self.read()).min(longest_ns))
    }
}
