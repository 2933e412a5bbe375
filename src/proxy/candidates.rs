//! Where a request may go: a bounded, ordered list of next hops, made once for each request.
//!
//! Each entry of a rule's `to` comes to none, one or several of them: an address to one, a name to those that it has.
//! The first that can be sent to is where a stateless request goes; a stateful one goes on to the others.

use crate::limits::CANDIDATES;
use crate::net::{GatewayId, NextHop, Transport};
use crate::stream::Number;
use crate::transaction::Onward;

/// A next hop that a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where to.
    pub next_hop: NextHop,
    /// Which entry of the rule's `to` it comes from; 0 where no rule was asked.
    pub entry: u8,
    /// The gateway of a group that it is.
    pub gateway: Option<GatewayId>,
    /// Who named it.
    pub origin: Origin,
    /// By which stream it is reached.
    pub stream: Number,
    /// The configuration asks for UDP, whatever the size.
    pub asks_udp: bool,
}

/// Who named a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration: it is sent to, whatever it is.
    Rule,
    /// The Request-URI: not everything is sent to.
    RequestUri,
    /// A Route: likewise.
    Route,
    /// A Route of ours, which names a client's connection.
    Flow,
}

/// The next hops of one request, in the order in which they are tried. Memory is taken once.
pub(super) struct Candidates {
    all: [Candidate; CANDIDATES],
    len: usize,
    /// Which entry of `to` is being read, and whether it asks for UDP.
    entry: u8,
    asks_udp: bool,
    /// Those that a stateful request goes through, the chosen one first.
    hops: [Onward; CANDIDATES],
    hop_count: usize,
}

/// Stands where there is no next hop yet.
pub(super) const NO_NEXT_HOP: NextHop = NextHop {
    transport: Transport::Udp,
    address: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
};

/// Stands where there is none.
const NONE: Candidate = Candidate {
    next_hop: NO_NEXT_HOP,
    entry: 0,
    gateway: None,
    origin: Origin::Rule,
    stream: Number::NONE,
    asks_udp: false,
};

const NO_HOP: Onward = Onward {
    next_hop: NO_NEXT_HOP,
    listener: 0,
    is_free: false,
    stream: Number::NONE,
    by_size: false,
    gateway: None,
};

impl Candidates {
    pub const fn new() -> Self {
        Self {
            all: [NONE; CANDIDATES],
            len: 0,
            entry: 0,
            asks_udp: false,
            hops: [NO_HOP; CANDIDATES],
            hop_count: 0,
        }
    }

    /// Forgets those of the request before.
    pub fn clear(&mut self) {
        (self.len, self.entry, self.asks_udp, self.hop_count) = (0, 0, false, 0);
    }

    /// What is added from here on comes from this entry of `to`.
    pub fn begin(&mut self, entry: usize) {
        self.entry = entry as u8;
    }

    /// The configuration asks for UDP for what is added from here on, or does not.
    pub fn ask_udp(&mut self, asks: bool) {
        self.asks_udp = asks;
    }

    /// Adds one at the end. What does not fit is not tried, and one that is there already not again; over TLS, one address is
    /// as many next hops as it has names.
    #[inline(always)]
    pub fn push(&mut self, next_hop: NextHop, stream: Number, origin: Origin, gateway: Option<GatewayId>) {
        let Some(free) = self.all.get_mut(self.len) else { return };
        // Written where it stays, because it is large.
        *free = Candidate { next_hop, entry: self.entry, gateway, origin, stream, asks_udp: self.asks_udp };
        if self.len == 0 || !self.repeats() {
            self.len += 1;
        }
    }

    /// What stands behind the last one is there already.
    #[inline(never)]
    fn repeats(&self) -> bool {
        let Some((new, known)) = self.all.get(..=self.len).and_then(<[_]>::split_last) else { return false };
        let is_it =
            |known: &Candidate| known.next_hop == new.next_hop && known.stream.name() == new.stream.name();
        known.iter().any(is_it)
    }

    /// All of them, in order.
    #[inline]
    pub fn as_slice(&self) -> &[Candidate] {
        &self.all[..self.len]
    }

    /// A request is sent to this one, too, where those before it fail.
    pub fn add_hop(&mut self, hop: Onward) {
        if let Some(free) = self.hops.get_mut(self.hop_count) {
            *free = hop;
            self.hop_count += 1;
        }
    }

    /// What [`Candidates::add_hop`] was given.
    pub fn hops(&self) -> &[Onward] {
        &self.hops[..self.hop_count]
    }

    /// This one, from 0.
    #[inline]
    pub fn get(&self, number: usize) -> Option<&Candidate> {
        self.as_slice().get(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(last: u8) -> NextHop {
        NextHop { transport: Transport::Udp, address: ([10, 0, 0, last], 5060).into() }
    }

    #[test]
    fn they_stay_in_order_each_once_and_no_more_than_fit() {
        let mut candidates = Candidates::new();
        candidates.push(hop(1), Number::NONE, Origin::Rule, None);
        candidates.begin(1);
        for last in [2, 1, 3, 4, 5, 6, 7, 8, 9] {
            candidates.push(hop(last), Number::NONE, Origin::RequestUri, Some(GatewayId(7)));
        }
        let seen: Vec<_> = candidates.as_slice().iter().map(|c| (c.entry, c.next_hop)).collect();
        let expected: Vec<_> = (1..=8).map(|last| (u8::from(last > 1), hop(last))).collect();
        assert_eq!(seen, expected);
        assert_eq!((candidates.get(1).unwrap().gateway, candidates.get(8)), (Some(GatewayId(7)), None));
        candidates.clear();
        assert!(candidates.as_slice().is_empty());
    }
}
