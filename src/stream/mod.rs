//! What lies between the bytes of a connection and the messages in them: framing, keep-alives, deadlines, and which
//! connections there are. For every transport over streams.
//!
//! Place in the flow: an [`crate::engine`] gives what it received on a stream to the shard, which passes it through the
//! connection's [`Layer`] (none for TCP) and its [`Framer`]; each message then takes the way that a datagram takes.
//! What is sent goes the other way: through the [`Layer`] into the engine's bounded queue.
//!
//! ```text
//!  engine ──► bytes ──► Layer ──► plain bytes ──► Framer ──► message ──► proxy
//!  engine ◄── bytes ◄── Layer ◄─────────────────────────────  message ◄── proxy
//! ```
//!
//! Pure: no socket and no clock.
#![forbid(unsafe_code)]

mod awaited;
mod backlog;
mod connection;
mod framing;
#[cfg(test)]
mod framing_tests;
mod held;
mod layer;
mod leads;
mod limits;
mod names;
mod number;
mod owner;
mod share;
#[cfg(test)]
#[path = "sides_tests.rs"]
mod sides;
mod table;
mod unanswered;
mod unsent;

pub use backlog::Backlog;
pub use connection::{Connection, Overdue, Waiting, is_final};
pub use framing::{Broken, Frame, Framer};
pub use held::Held;
pub use layer::{Came, Layer, LayerFailure, Scratch, Standing};
pub use limits::StreamLimits;
pub use names::{Holds, Names};
pub use number::{NameId, Number, StreamId};
pub use owner::{owner_of, peer_mark};
pub use table::{Connections, Refused};
