//! What one shard has not let in, for another thread to read.

use super::Counter;
use crate::overload::{Excess, Excesses};

/// What a shard has not let in.
#[derive(Debug, Default)]
pub struct AdmissionMetrics {
    /// Requests refused, by [`Excess`].
    pub refused: [Counter; Excess::ALL.len()],
    /// Sources whose share of a limit was forgotten before its time.
    pub sources_forgotten: Counter,
    /// 1: more comes than can be handled.
    pub overloaded: Counter,
    /// Next hops that a request was not sent to because they had asked to be sent less.
    pub spared: Counter,
    /// Answers in which a next hop asked for that.
    pub pleas: Counter,
    /// 1: some next hop asks for it.
    pub throttled: Counter,
}

impl AdmissionMetrics {
    /// Replaces all values; by the owning thread only.
    pub fn set(&self, refused: &Excesses, sources_forgotten: u64, overloaded: bool) {
        self.refused.iter().zip(refused).for_each(|(counter, value)| counter.set(*value));
        self.sources_forgotten.set(sources_forgotten);
        self.overloaded.set(overloaded.into());
    }

    /// Replaces what there is of next hops; by the owning thread only.
    pub fn set_next_hops(&self, spared: u64, pleas: u64, throttled: bool) {
        self.spared.set(spared);
        self.pleas.set(pleas);
        self.throttled.set(throttled.into());
    }
}
