//! RFC 3263, 7984 and 2782: from a host name to an ordered list of transports, addresses and ports.
//!
//! Pure: what DNS said goes in, the next question to it or the list comes out. [`crate::control`] asks, shards read.
//!
//! ```text
//!  Question ──► procedure ──► Query ──► (the resolver) ──► Answer ──┐
//!  host, port,      ▲                                               │
//!  transport        └───────────────────────────────────────────────┘
//!                   │
//!                   ▼
//!               Resolution ──► keeper ──► Directory ──► shards ──► order ──► next hops
//!                              TTLs       immutable     read       weights by the transaction
//! ```
#![forbid(unsafe_code)]

mod address;
mod answer;
mod directory;
mod keeper;
mod order;
mod procedure;
mod question;
mod resolution;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Kind, Query, Record};
pub use directory::Directory;
pub use keeper::{Counts, Due, Keeper, Refused, Settings};
pub use order::Order;
pub use procedure::{Outcome, Served, Step, next};
pub use question::{HostName, Question};
pub use resolution::{Found, Resolution, Target, Unresolved};
