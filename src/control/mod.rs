//! One thread beside the shards: routing events, reload, signals, names, gateways, the log and the admin address.
//!
//! Place in the flow: nothing here is on a message's way. It composes [`crate::shard::Publication`]s,
//! which the shards read, and reads the counters and records that the shards write. What it sends itself are OPTIONS
//! to gateways, from the listeners' sockets.
//!
//! ```text
//!  signals ──┐                      ┌──► Publication ──► shards
//!  file ─────┤                      │                      │
//!  netlink ──┼──► control thread ───┼──► /metrics, /healthz│
//!  names ────┤      ▲       ▲       │                      │
//!  commands ─┘      │       └───────┼── counters ◄─────────┤
//!                   └───────────────┴── records ◄──────────┘
//! ```
//!
//! Lines of the log are written by another thread ([`log`]): whoever reads them may stand still.
//!
//! [`start`] returns a [`Handle`] when the shards forward; [`run`] waits for the end, too.

mod admin;
mod banner;
mod certificates;
mod cores;
mod error;
mod gateways;
mod handle;
mod journal;
mod listeners;
mod load;
pub mod log;
mod monitor;
mod names;
pub mod netlink;
mod notify;
mod ports;
mod publisher;
mod questions;
mod reload;
#[cfg(test)]
mod samples;
mod shards;
mod signals;
mod sockets;
mod start;
mod states;
mod supervisor;
#[cfg(test)]
mod tests;
pub mod trial;
mod unreachable;
mod watch;

pub use error::Error;
pub use handle::{Handle, Options, run, start};
pub use load::Source;
pub use monitor::{Health, Monitor};
pub use names::{Asked, Resolved, names_now, resolve_now};

/// What a panic says.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
