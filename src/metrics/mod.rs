//! Counters that one shard writes and the control thread reads.
//!
//! Each shard owns one [`ShardMetrics`], on cache lines of its own; it counts with a plain load and
//! store ([`Counter`]), never with a locked instruction. The control thread reads all of them when
//! somebody scrapes, sums them and writes the text ([`exposition`]).
//!
//! Every message that comes in is counted once by what became of it: as sent on (by listener, class
//! and egress reason), as answered (by status) or as dropped (by reason). What a transaction sends by itself is
//! counted beside that ([`TransactionMetrics`]).

mod admission;
mod class;
mod counter;
mod dns;
mod drops;
pub mod exposition;
mod routing;
mod shard;
mod streams;
mod traffic;
mod transactions;

pub use admission::AdmissionMetrics;
pub use class::Class;
pub use counter::Counter;
pub use dns::{DnsReadings, Said};
pub use drops::Drops;
pub use routing::RoutingCounts;
pub use shard::{EngineMetrics, ShardMetrics};
pub use streams::{StreamEnd, StreamMetrics};
pub use traffic::{SeriesId, Traffic};
pub use transactions::TransactionMetrics;

#[cfg(test)]
mod tests;
