//! What one shard's transactions count: the numbers of [`Counts`], for another thread to read.

use super::Counter;
use crate::transaction::{Cause, Counts, Full, Kind, Timer, What};

/// The numbers of [`Counts`], by the same places.
#[derive(Debug, Default)]
pub struct TransactionMetrics {
    /// Open now, by kind.
    pub open: [Counter; Kind::ALL.len()],
    /// Blocks of kept messages in use now.
    pub blocks: Counter,
    /// Ended, by cause.
    pub ended: [Counter; Cause::ALL.len()],
    /// Requests that came again and went no further.
    pub absorbed: Counter,
    /// Branches that were given up because ICMP said that they did not arrive.
    pub unreached: Counter,
    /// Messages sent by transactions, by what they are.
    pub sent: [Counter; What::ALL.len()],
    /// Timers that fired, by letter.
    pub timers: [Counter; Timer::ALL.len()],
    /// What there was no room for.
    pub refused: [Counter; Full::ALL.len()],
}

impl TransactionMetrics {
    /// Replaces all values; by the owning thread only.
    pub fn set(&self, counts: &Counts) {
        let Counts { open, blocks, ended, absorbed, unreached, sent, timers, refused } = counts;
        self.blocks.set(*blocks);
        self.absorbed.set(*absorbed);
        self.unreached.set(*unreached);
        set_all(&self.open, open);
        set_all(&self.ended, ended);
        set_all(&self.sent, sent);
        set_all(&self.timers, timers);
        set_all(&self.refused, refused);
    }
}

fn set_all(counters: &[Counter], values: &[u64]) {
    counters.iter().zip(values).for_each(|(counter, value)| counter.set(*value));
}
