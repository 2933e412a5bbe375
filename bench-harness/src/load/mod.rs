//! The load: callers and a callee that make calls through a forwarder and account for every message.
//!
//! ```text
//!  command ─► driver ─► exchanges ─► book
//!  (options)  (clock,   (who says    (what was sent,
//!              sockets)  what)        what arrived)
//!               │          └─► say, scan, mix
//!               └─► datagrams, connections (secure: TLS, frames: WebSocket)
//! ```
//!
//! `burst` is for other measurements: INVITEs that go on beside, and a sink that drains them.

mod book;
mod burst;
pub mod command;
mod connections;
mod datagrams;
mod driver;
mod exchanges;
mod frames;
mod mix;
mod say;
mod scan;
mod secure;
#[cfg(test)]
mod tests;
mod transport;

pub use burst::{Generator, Sink};
pub use driver::{CARRIED, Driver, Offer, Outcome};
pub use exchanges::{Settings, histogram};
pub use mix::{Kind, Mix};
pub use say::refusal;
pub use secure::Secure;
pub use transport::Transport;
