//! Follows the kernel: any event leads to a new dump.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::dump::load;
use super::error::Error;
use super::socket::Requester;
use crate::fib::Fib;
use crate::limits::NETLINK_EVENT_BYTES;

/// `RTNLGRP_*`: whatever a lookup depends on and the kernel tells of.
const GROUPS: [u32; 10] = [
    1,  // LINK
    5,  // IPV4_IFADDR
    7,  // IPV4_ROUTE
    8,  // IPV4_RULE
    9,  // IPV6_IFADDR
    11, // IPV6_ROUTE
    19, // IPV6_RULE
    24, // IPV4_NETCONF: ignore_routes_with_linkdown
    25, // IPV6_NETCONF
    32, // NEXTHOP
];

/// So long without an event, and a burst is over.
const QUIET: Duration = Duration::from_millis(2);
/// So long after its first event, a burst is cut.
const LONGEST_BURST: Duration = Duration::from_millis(20);
/// So long after a failure, the next attempt is made.
const RETRY: Duration = Duration::from_millis(100);

/// Follows the kernel: a new [`Fib`] after any change of links, addresses, rules, routes, nexthops.
///
/// ```no_run
/// # use viaduct::control::netlink::{Error, Follower};
/// # async fn follow(publish: impl Fn(std::sync::Arc<viaduct::fib::Fib>)) -> Result<(), Error> {
/// let (mut follower, fib) = Follower::start()?; // on the control thread, inside its runtime
/// publish(fib);
/// loop {
///     match follower.next().await {
///         Ok(fib) => publish(fib),
///         Err(error) => eprintln!("{error}"), // the old snapshot stays; `next` tries again
///     }
/// }
/// # }
/// ```
///
/// Sees the network namespace of the thread that started it.
pub struct Follower {
    events: AsyncFd<Events>,
    requester: Requester,
    generation: u64,
    /// When the first event came that no published snapshot holds yet.
    pending: Option<Instant>,
    /// Not before: the last attempt failed.
    retry_at: Option<Instant>,
}

/// The socket that events come from. Its buffer is the bound: what does not fit is reported once as
/// `ENOBUFS`, and counts as an event like others, since any event leads to a full dump.
struct Events(Socket);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Follower {
    /// Subscribes, then dumps: no change after this snapshot is missed. Its generation is 1.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked or subscribed to; [`Error::remedy`] says what to do.
    pub fn start() -> Result<(Self, Arc<Fib>), Error> {
        // SAFETY: `Events` owns its socket, so that the descriptor stays the same and open for as long
        // as the registration holds it.
        let events = unsafe { AsyncFd::register(subscribe()?) }.map_err(|error| Error::Open(error.into()))?;
        let mut requester = Requester::open()?;
        let generation = 1;
        let fib = Arc::new(load(&mut requester)?.fib(generation));
        Ok((Self { events, requester, generation, pending: None, retry_at: None }, fib))
    }

    /// Waits for a change and gives the new snapshot, its generation one higher.
    ///
    /// A burst of events is folded into one: the dump begins after 2 ms of quiet, or 20 ms after the
    /// first event. The dump itself blocks the thread (see [`super::dump`]). Cancel-safe: dropping the
    /// future loses no event.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked. The change stays pending: the next call tries again, after 100 ms.
    pub async fn next(&mut self) -> Result<Arc<Fib>, Error> {
        if let Some(at) = self.retry_at {
            sleep_until(at).await;
        }
        let first = match self.pending {
            Some(first) => first,
            None => {
                self.drain().await.map_err(|error| self.delay(error))?;
                *self.pending.insert(Instant::now())
            }
        };
        let cut = first + LONGEST_BURST;
        loop {
            let now = Instant::now();
            if now >= cut {
                break;
            }
            match timeout_at(cut.min(now + QUIET), self.drain()).await {
                Ok(drained) => drained.map_err(|error| self.delay(error))?,
                Err(_) => break,
            }
        }
        match load(&mut self.requester) {
            Ok(mut rib) => {
                self.generation += 1;
                (self.pending, self.retry_at) = (None, None);
                Ok(Arc::new(rib.fib(self.generation)))
            }
            Err(error) => Err(self.delay(error)),
        }
    }

    /// Keeps a lasting failure from being tried in a tight loop.
    fn delay(&mut self, error: Error) -> Error {
        self.retry_at = Some(Instant::now() + RETRY);
        error
    }

    /// Waits for events and discards all that are there.
    async fn drain(&self) -> Result<(), Error> {
        let failed = |error| Error::Socket { object: super::Object::Links, error };
        let mut guard = self.events.readable().await.map_err(failed)?;
        let mut scratch = [0_u8; 8 * 1024];
        loop {
            match self.events.get_ref().0.recv(&mut &mut scratch[..], libc::MSG_TRUNC) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tracing::warn!("more routing events than the socket holds: all tables are read anew");
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn subscribe() -> Result<Events, Error> {
    let open = || {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(NETLINK_EVENT_BYTES)?;
        Ok(socket)
    };
    let socket = open().map_err(Error::Open)?;
    for group in GROUPS {
        socket.add_membership(group).map_err(|error| Error::Subscribe { group, error })?;
    }
    Ok(Events(socket))
}
