//! One routing table of one family: prefixes, longest first, each with its alternatives in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::spec::Kind;

/// What the shared code needs of `Ipv4Net` and `Ipv6Net`.
pub(super) trait Net: prefix_trie::Prefix + Copy {
    /// The family's address.
    type Address: Copy + Eq;
    /// What `from` selectors see of a packet whose source is still open: IPv4 compares with 0.0.0.0,
    /// IPv6 never matches.
    const OPEN_SOURCE: Option<Self::Address>;
    /// The network of this one address.
    fn host(address: Self::Address) -> Self;
    /// This network holds the address.
    fn holds(&self, address: Self::Address) -> bool;
    /// The network of one bit less.
    fn shorter(&self) -> Option<Self>;
    /// Either family.
    fn either(self) -> IpNet;
    /// The part of this family, if it is of this family.
    fn of(net: IpNet) -> Option<Self>;
}

impl Net for Ipv4Net {
    type Address = Ipv4Addr;
    const OPEN_SOURCE: Option<Ipv4Addr> = Some(Ipv4Addr::UNSPECIFIED);

    fn host(address: Ipv4Addr) -> Self {
        Self::from(address)
    }
    fn holds(&self, address: Ipv4Addr) -> bool {
        (self.addr().to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix_len())
    }
    fn shorter(&self) -> Option<Self> {
        self.supernet()
    }
    fn either(self) -> IpNet {
        IpNet::V4(self)
    }
    fn of(net: IpNet) -> Option<Self> {
        match net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    }
}

impl Net for Ipv6Net {
    type Address = Ipv6Addr;
    const OPEN_SOURCE: Option<Ipv6Addr> = None;

    fn host(address: Ipv6Addr) -> Self {
        Self::from(address)
    }
    fn holds(&self, address: Ipv6Addr) -> bool {
        (self.addr().to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix_len())
    }
    fn shorter(&self) -> Option<Self> {
        self.supernet()
    }
    fn either(self) -> IpNet {
        IpNet::V6(self)
    }
    fn of(net: IpNet) -> Option<Self> {
        match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(net),
        }
    }
}

/// One of the routes to the same prefix. Equal lists of alternatives are shared, so a million routes
/// over a few gateways cost one pointer each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Alternative {
    pub kind: Kind,
    pub opaque: bool,
    /// IPv6 source-specific routes: the longest of those that hold the source is asked first.
    pub from: Option<Ipv6Net>,
    pub metric: u32,
    pub preference: u8,
    pub preferred_source: Option<IpAddr>,
    /// Its hops are those of a nexthop object, which the kernel treats a little differently.
    pub object: bool,
    /// In the kernel's order; never empty unless `opaque` or of a kind that carries nothing.
    pub hops: Box<[Hop]>,
}

/// One path of a route, ready to be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    pub dev: u32,
    pub gateway: Option<IpAddr>,
    pub weight: u32,
    /// Neither dead nor ignored for want of a carrier.
    pub usable: bool,
    /// A blackhole nexthop object.
    pub blackhole: bool,
    /// IPv4: the source that the kernel selects for it.
    pub source: Option<Ipv4Addr>,
}

impl Alternative {
    /// Chooses a usable path among those that `fits` lets through: by weight, the same `flow` always
    /// the same path (hash-threshold, RFC 2992).
    pub fn choose(&self, flow: u64, fits: impl Fn(&Hop) -> bool) -> Option<&Hop> {
        let mut candidates = self.hops.iter().filter(|hop| hop.usable && fits(hop));
        if self.hops.len() == 1 {
            return candidates.next();
        }
        let total: u64 = candidates.clone().map(|hop| u64::from(hop.weight)).sum();
        let spread = flow.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let threshold = (spread * total) >> 32;
        let mut passed = 0;
        candidates.find(|hop| {
            passed += u64::from(hop.weight);
            threshold < passed
        })
    }
}

/// A routing table.
pub(super) struct Table<P> {
    pub id: u32,
    /// A route has several paths.
    pub multipath: bool,
    routes: Routes<P>,
}

/// All alternatives to one prefix.
pub(super) type Alternatives = Arc<[Alternative]>;

enum Routes<P> {
    /// By falling prefix length, at most [`FEW`]: a scan of one piece of memory is faster than a trie.
    Few(Box<[(P, Alternatives)]>),
    Many(Box<PrefixMap<P, Alternatives>>),
}

/// Where a scan costs what the trie costs.
const FEW: usize = 32;

impl<P: Net> Table<P> {
    /// The prefixes must be distinct.
    pub fn new(id: u32, mut routes: Vec<(P, Alternatives)>) -> Self {
        let multipath = routes.iter().any(|(_, alternatives)| alternatives.iter().any(|a| a.hops.len() > 1));
        let routes = if routes.len() <= FEW {
            routes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
            Routes::Few(routes.into())
        } else {
            Routes::Many(Box::new(routes.into_iter().collect()))
        };
        Self { id, multipath, routes }
    }

    /// All prefixes that hold the destination, longest first.
    pub fn candidates(&self, destination: P::Address) -> Candidates<'_, P> {
        Candidates { table: self, destination, state: State::Start }
    }
}

/// See [`Table::candidates`].
pub(super) struct Candidates<'a, P: Net> {
    table: &'a Table<P>,
    destination: P::Address,
    state: State<P>,
}

/// Where the search goes on.
enum State<P> {
    Start,
    /// In a scan: at this place.
    Place(usize),
    /// In the trie: at this prefix and shorter ones.
    Prefix(P),
    End,
}

/// A prefix of a table that holds the destination.
pub(super) struct Candidate<'a, P> {
    pub table: u32,
    pub prefix: P,
    pub alternatives: &'a [Alternative],
}

impl<'a, P: Net> Iterator for Candidates<'a, P> {
    type Item = Candidate<'a, P>;

    fn next(&mut self) -> Option<Candidate<'a, P>> {
        let table = self.table.id;
        match &self.table.routes {
            Routes::Few(routes) => {
                let start = if let State::Place(place) = self.state { place } else { 0 };
                let rest = routes.get(start..)?;
                let found = rest.iter().position(|(prefix, _)| prefix.holds(self.destination));
                self.state = State::Place(found.map_or(routes.len(), |found| start + found + 1));
                let (prefix, alternatives) = rest.get(found?)?;
                Some(Candidate { table, prefix: *prefix, alternatives })
            }
            Routes::Many(routes) => {
                let probe = match self.state {
                    State::Start => P::host(self.destination),
                    State::Prefix(prefix) => prefix,
                    State::Place(_) | State::End => return None,
                };
                self.state = State::End;
                let (prefix, alternatives) = routes.get_lpm(&probe)?;
                if let Some(shorter) = prefix.shorter() {
                    self.state = State::Prefix(shorter);
                }
                Some(Candidate { table, prefix, alternatives })
            }
        }
    }
}
