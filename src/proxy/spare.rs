//! RFC 7339 §5.10: a request that a next hop asks to be spared goes to another one, or is refused.

use std::net::SocketAddr;

use crate::net::Now;
use crate::overload::{Sparing, Standing};

use super::reply::Reply;
use super::target::Search;

/// What a request counts for to a next hop that asks to be sent less.
#[derive(Clone, Copy)]
pub(super) struct Weight {
    pub standing: Standing,
    /// It is sent in any case: there is no answer to it.
    pub is_bound: bool,
    pub now: Now,
    /// The next hop that takes it, if it was asked and may be asked again.
    pub taken_by: Option<SocketAddr>,
}

impl Search<'_> {
    /// Whether the next hop that was chosen takes the request.
    ///
    /// # Errors
    /// It asks to be spared it. "The client can accomplish this task by sending some of the requests that would have gone
    /// to the overloaded element to a different destination. […] In many cases, however, it will need to reject these
    /// requests with a "503 (Service Unavailable)" response without the Retry-After header."
    #[inline]
    pub fn spare(&mut self) -> Result<(), Reply> {
        match self.weight {
            None => Ok(()),
            Some(weight) => self.ask_next_hop(weight),
        }
    }

    #[cold]
    fn ask_next_hop(&mut self, weight: Weight) -> Result<(), Reply> {
        let Weight { standing, is_bound, now, .. } = weight;
        let Some(aim) = &self.aim else { return Ok(()) };
        let next_hop = aim.next_hop.address;
        let request = Sparing { standing, is_bound, draw: self.draw };
        if !self.snapshot.plan.overload.limits.peers.takes_oc(next_hop.ip()) {
            return Ok(());
        }
        if self.throttles.spares(next_hop, request, now) {
            self.spared += 1;
            return Err(Reply::Spared);
        }
        self.weight = Some(Weight { taken_by: (!is_bound).then_some(next_hop), ..weight });
        Ok(())
    }

    /// The request is not sent, or not yet: what it took of a rate it takes when it comes again.
    #[inline]
    pub fn give_back(&self) {
        if let Some(Weight { taken_by: Some(next_hop), now, .. }) = self.weight {
            self.throttles.give_back(next_hop, now);
        }
    }
}
