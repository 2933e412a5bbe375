//! Transactions (RFC 3261 §17, with RFC 6026 and RFC 4320) and the proxy's response context over them (§16.7 to
//! §16.10), for routes that are not stateless.
//!
//! Place in the flow: [`crate::proxy`] asks whether a request or a response belongs to a transaction, opens one for
//! a request that it sends on, and asks for what is due; the shard sends what comes of it.
//!
//! ```text
//!  wheel ── slab ── store     timers, records, kept messages: all memory is taken at once
//!    └───────┼────────┘
//!          table              one shard's transactions
//!            │
//!  server, client             the RFCs' state machines: (event, now) → what is to be done
//!            │
//!   search ── context         from one side of a request to the other; over several next hops
//!            │
//!     answers, due            what comes back, and what time brings
//!            │
//!   hop, own, challenges      ACK and CANCEL; 100, 408 and 500: made of the request that was sent on
//!    reasons                  why it is cancelled
//! ```
//!
//! Pure: no socket and no clock. Each side of a transaction has the timers of its own transport.
#![forbid(unsafe_code)]

mod answers;
mod challenges;
mod client;
mod context;
#[cfg(test)]
mod context_tests;
mod counts;
mod due;
mod events;
mod hop;
#[cfg(test)]
mod machines_tests;
mod own;
mod reasons;
mod search;
#[cfg(test)]
mod search_tests;
mod server;
mod slab;
mod store;
mod table;
mod timers;
mod wheel;

pub use context::Transactions;
pub use counts::{Cause, Counts, Full, Kind, What};
pub use events::{Arrived, Attempt, Beginning, Due, Heard, Opening, Peer, Send, SendFailure, ToTag};
pub use search::{Onward, Terms};
pub use slab::Handle;
pub use store::BLOCK_BYTES;
pub use table::{Place, SEARCH_BYTES, Size, TRANSACTION_BYTES};
pub use timers::{LONGEST_NS, SIXTY_FOUR_T1_NS, TRYING_NS, Timer};
