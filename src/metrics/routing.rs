//! What the control thread counts while it follows the kernel's routing policy.

use std::time::Duration;

/// What following has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutingCounts {
    /// Generation of the newest snapshot.
    pub generation: u64,
    /// Prefixes that have a route now, of all tables.
    pub routes: u64,
    /// Events that were read.
    pub events: u64,
    /// How often more events came than the socket holds.
    pub overruns: u64,
    /// How often all tables were read anew because events did not suffice.
    pub resyncs: u64,
    /// Comparisons with the kernel's tables.
    pub audits: u64,
    /// Prefixes that such a comparison found to differ (rules, addresses and links together count as one).
    pub mismatches: u64,
    /// From the first event that the newest snapshot holds to that snapshot.
    pub delay: Duration,
}
