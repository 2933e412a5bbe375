//! Lifetimes of IPv6 routes: the kernel uses a route no more when its own is over, and tells of it when it collects garbage, up to
//! half a minute later. Of renewals by router advertisements it tells nobody: when a lifetime seems over, the routes are read again.

use std::sync::Arc;
use std::time::Instant;

use super::background::{Compared, Meanwhile, Purpose};
use super::state::State;
use super::{Burst, Follower};
use crate::control::netlink::dump::{EXPIRY_SLACK, load};
use crate::control::netlink::error::Error;
use crate::control::netlink::event::Event;
use crate::control::netlink::wire;
use crate::fib::{Change, Fib, Rib};

/// Why all has to be read anew, where events told of nothing but lifetimes.
pub(super) const RENEWED: &str = "lifetimes were renewed";

impl Follower {
    /// The lifetime of some route is over, unless it was renewed.
    pub(super) fn expire(&mut self) -> Result<Option<Arc<Fib>>, Error> {
        self.state.rib.take_expiry();
        let read =
            if self.follows() { self.begin(Purpose::Resync).map(|()| false) } else { self.read_lifetimes() };
        match read {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(self.publish())),
            Err(error) => {
                // Whoever is told of it has to hear that it is over, too.
                let now = tokio::time::Instant::now();
                self.state.reload = Some("lifetimes of routes could not be read");
                self.burst = Some(Burst { first: now, over: now });
                Err(error)
            }
        }
    }

    /// Reads small tables; whether routes are others than those that are known. What else differs is left to audits.
    pub(super) fn read_lifetimes(&mut self) -> Result<bool, Error> {
        let read = load(&mut self.requester)?;
        let known = self.state.rib.fib(self.state.counts.generation);
        let compared = Compared::of(read, &known, self.state.rib.parts().clone(), &Meanwhile::default());
        self.take(compared.read);
        Ok(!compared.prefixes.is_empty())
    }

    /// Takes what was read for what is known. Of a route that was read in the moment in which its lifetime ended the kernel tells
    /// none: what was known of it counts.
    pub(super) fn take(&mut self, mut read: Rib) {
        let now = Instant::now();
        let ends = self.state.rib.expiry().filter(|at| *at > now && *at <= now + 2 * EXPIRY_SLACK);
        read.note_expiry(ends);
        self.state.rib = read;
    }
}

impl State {
    /// Small tables are read anew after any event; what tells of lifetimes only need not lead to a snapshot.
    pub(super) fn take_small(&mut self, datagram: &[u8]) {
        self.counts.events += 1;
        let renews = self.reload.is_none_or(|why| why == RENEWED) && self.is_renewal(datagram);
        self.reload = Some(if renews { RENEWED } else { "tables are small" });
    }

    fn is_renewal(&self, datagram: &[u8]) -> bool {
        wire::messages(datagram).all(|message| {
            match message.ok().and_then(|message| Event::decode(&message)) {
                Some(Event::Route(Change::Add(route, _))) => route.lifetime.is_some() && !route.opaque,
                Some(Event::Address(address)) => self.rib.parts().addresses.contains(&address),
                _ => false,
            }
        })
    }
}
