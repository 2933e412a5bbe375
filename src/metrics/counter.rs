//! A number that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge with a single writer.
///
/// The writer adds by a plain load and a plain store: no locked instruction, no fence. A second
/// writer would lose counts, not corrupt them.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; by the owning thread only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one; by the owning thread only.
    #[inline]
    pub fn count(&self) {
        self.add(1);
    }

    /// Replaces the value; by the owning thread only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value as it was a moment ago.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
