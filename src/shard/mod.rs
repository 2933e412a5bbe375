//! One core's loop: calls the stages in order for each datagram, and counts what became of it.
//!
//! Place in the flow: an [`crate::engine`] drives a [`Worker`]; it reads the newest [`Publication`]
//! once per batch, hands each datagram to [`crate::proxy`] and the result back to the engine.
//!
//! ```text
//!  control ──► Publication ──► begin ──► open and close sockets
//!                                │
//!  engine ──► Event::Datagram ──►│ handle ──► send ──► Event::Sent ──► counted
//!                                │   └► drop, counted
//!  control ◄── Record ◄──────────┘   └► another shard's ──► Post ──► its begin
//!                                end ──► what is due for transactions ──► send
//! ```
//!
//! A shard takes no lock, allocates nothing per message and makes no system call of its own. A panic
//! in the handling of a message costs that message; more than a few a second stop this shard alone.

mod again;
mod cancels;
mod clock;
mod cookie;
mod filters;
mod handler;
mod lost;
mod noted;
mod owned;
mod panics;
mod parking;
mod pausing;
mod pings;
mod post;
mod publication;
mod questions;
mod receiving;
mod record;
mod rehearsal;
mod secure;
mod sending;
mod streams;
mod unconnected;
mod waiting;
mod way;
mod worker;

pub use handler::Handler;
pub use panics::install_hook;
pub use pings::NotAsked;
pub use post::Post;
pub use publication::{Bindings, Bound, Publication, Published, SocketTable};
pub use questions::Questions;
pub use record::{Opening, Record, RecordKind, Records, Sort, Text};
pub use worker::{End, Setup, Worker};

#[cfg(test)]
mod tests;
