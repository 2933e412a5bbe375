//! The kernel's routing policy, dumped and followed over rtnetlink.
//!
//! - [`dump`]: one snapshot now (`check`, `explain`, `routes get`).
//! - [`Follower`]: a snapshot now and a new one after any change (`run`).
//! - [`ask`]: the kernel's own answer to one question (`routes get --compare`, [`Answer::AskKernel`]).
//!
//! Everything here speaks of the network namespace of the calling thread.

use std::sync::Arc;

use crate::fib::{Answer, Fib, Query};

/// Why the kernel's routing policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A netlink socket could not be made or set up.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] std::io::Error),
}

/// Reads links, addresses, labels, rules, routes and nexthop objects of both families.
///
/// Blocks for as long as the kernel takes: well below a millisecond for small tables.
pub fn dump(generation: u64) -> Result<Fib, Error> {
    let _ = generation;
    todo!()
}

/// The kernel's own answer (`RTM_GETROUTE`), in the words of [`Fib::lookup`].
///
/// The kernel does not name table and prefix of IPv4 multicast and broadcast by a device; there they
/// are 0 and the destination. The outer error is that the kernel could not be asked.
pub fn ask(query: &Query) -> Result<Answer, Error> {
    let _ = query;
    todo!()
}

/// Follows the kernel: a new [`Fib`] after any change of links, addresses, rules, routes, nexthops.
///
/// ```ignore
/// let (mut follower, fib) = Follower::start()?;   // on the control thread, inside its runtime
/// publish(fib);
/// loop {
///     publish(follower.next().await?);
/// }
/// ```
pub struct Follower {}

impl Follower {
    /// Subscribes, then dumps. The first snapshot has generation 1.
    ///
    /// Must be called inside a tokio runtime with I/O and time enabled.
    pub fn start() -> Result<(Self, Arc<Fib>), Error> {
        todo!()
    }

    /// Waits for a change and gives the new snapshot, its generation one higher.
    ///
    /// A burst of events is folded: the dump starts after 2 ms of quiet, or 20 ms after the first
    /// event. Cancel-safe: a dropped future loses no event. After an error the next call tries again.
    pub async fn next(&mut self) -> Result<Arc<Fib>, Error> {
        todo!()
    }
}
