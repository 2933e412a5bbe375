//! One routing table of one family: prefixes, longest first, each with its alternatives in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::spec::Kind;
use super::trie::{Around, Differences, Entry, Key, Trie};
use super::usual::{Filter, Usual};

/// What the shared code needs of `Ipv4Net` and `Ipv6Net`.
pub(super) trait Net: Copy + Eq + std::hash::Hash + Send + Sync {
    /// This is IPv4.
    const V4: bool;
    /// How many bits [`Key::top`] has.
    const TOP_BITS: u8;
    /// The family's address.
    type Address: Copy + Eq;
    /// The same as a number.
    type Key: Key;
    /// What `from` selectors see of a packet whose source is still open: IPv4 compares with 0.0.0.0,
    /// IPv6 never matches.
    const OPEN_SOURCE: Option<Self::Address>;
    /// The address as a number.
    fn address_key(address: Self::Address) -> Self::Key;
    /// The network's address as a number.
    fn key(&self) -> Self::Key;
    /// How many bits it has.
    fn prefix_len(&self) -> u8;
    /// The other way round.
    fn from_key(key: Self::Key, len: u8) -> Self;
    /// A destination in this network may be [usual](super::usual).
    fn is_usual(&self) -> bool;
    /// The network of this one address.
    fn host(address: Self::Address) -> Self;
    /// This network holds the address.
    fn holds(&self, address: Self::Address) -> bool {
        Self::address_key(address).agrees(self.key(), self.prefix_len())
    }
    /// Either family.
    fn either(self) -> IpNet;
    /// The part of this family, if it is of this family.
    fn of(net: IpNet) -> Option<Self>;
}

impl Net for Ipv4Net {
    const V4: bool = true;
    const TOP_BITS: u8 = 16;
    type Address = Ipv4Addr;
    type Key = u32;
    const OPEN_SOURCE: Option<Ipv4Addr> = Some(Ipv4Addr::UNSPECIFIED);

    fn address_key(address: Ipv4Addr) -> u32 {
        address.to_bits()
    }
    fn key(&self) -> u32 {
        self.network().to_bits()
    }
    fn prefix_len(&self) -> u8 {
        Ipv4Net::prefix_len(self)
    }
    fn from_key(key: u32, len: u8) -> Self {
        // The length came from a prefix of this family.
        Self::new_assert(Ipv4Addr::from_bits(key), len)
    }
    fn is_usual(&self) -> bool {
        super::usual::is_usual_v4(self.network()) || self.prefix_len() < 8
    }
    fn host(address: Ipv4Addr) -> Self {
        Self::from(address)
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
    const V4: bool = false;
    const TOP_BITS: u8 = 32;
    type Address = Ipv6Addr;
    type Key = u128;
    const OPEN_SOURCE: Option<Ipv6Addr> = None;

    fn address_key(address: Ipv6Addr) -> u128 {
        address.to_bits()
    }
    fn key(&self) -> u128 {
        self.network().to_bits()
    }
    fn prefix_len(&self) -> u8 {
        Ipv6Net::prefix_len(self)
    }
    fn from_key(key: u128, len: u8) -> Self {
        // The length came from a prefix of this family.
        Self::new_assert(Ipv6Addr::from_bits(key), len)
    }
    fn is_usual(&self) -> bool {
        super::usual::is_global_v6(self.network()) || self.prefix_len() < 8
    }
    fn host(address: Ipv6Addr) -> Self {
        Self::from(address)
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

/// One of the routes to the same prefix.
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

/// The lists of alternatives of one table, by number: a million prefixes over a few gateways share a few.
pub(super) type Lists = Arc<Vec<List>>;

/// Routes to the same prefix, in the kernel's order.
#[derive(Clone, Default)]
pub(super) struct List {
    pub alternatives: Arc<[Alternative]>,
    pub usual: Option<Usual>,
}

/// A routing table.
pub(super) struct Table<P: Net> {
    pub id: u32,
    routes: Trie<P>,
    lists: Lists,
    filter: Filter,
}

impl<P: Net> Table<P> {
    /// `routes` holds numbers of `lists`.
    pub fn new(id: u32, routes: Trie<P>, lists: Lists) -> Self {
        let filter = Filter::of(&routes);
        Self { id, routes, lists, filter }
    }

    /// Without any route.
    pub fn empty(id: u32) -> Self {
        Self::new(id, Trie::new([]), Lists::default())
    }

    /// How many prefixes have a route.
    pub fn len(&self) -> usize {
        self.lists().count()
    }

    fn list(&self, number: u32) -> &[Alternative] {
        self.lists.get(number as usize).map_or(&[], |list| &list.alternatives)
    }

    /// The longest prefix that holds the destination, which is [usual](super::usual).
    #[inline]
    pub fn longest(&self, destination: P::Address) -> Option<(&Entry<P>, &List)> {
        if !self.filter.may_hold(P::address_key(destination)) {
            return None;
        }
        let entry = self.routes.longest(destination)?;
        Some((entry, self.lists.get(entry.list as usize)?))
    }

    /// The routes to exactly this prefix.
    pub fn exactly(&self, prefix: P) -> &[Alternative] {
        self.routes.get(prefix).map_or(&[], |number| self.list(number))
    }

    /// Every prefix with its routes, by address.
    pub fn lists(&self) -> impl Iterator<Item = (P, &[Alternative])> {
        let lists = self.routes.sorted().into_iter().map(|(prefix, number)| (prefix, self.list(number)));
        lists.filter(|(_, list)| !list.is_empty())
    }

    /// The prefixes whose routes are not those of an older state.
    pub fn changed_since(&self, older: &Self) -> Vec<P> {
        let kept = self.lists.len().min(older.lists.len());
        // A number that means something else now may stand in a node that both have.
        let related =
            (0..kept).all(|n| Arc::ptr_eq(&self.lists[n].alternatives, &older.lists[n].alternatives));
        let mut found = Vec::new();
        let same = |old: u32, new: u32| older.list(old) == self.list(new);
        Differences { same, related, found: &mut found }.between(&older.routes, &self.routes);
        // Prefixes whose routes all vanished silently are as good as none.
        found.retain(|prefix| older.exactly(*prefix) != self.exactly(*prefix));
        found
    }

    /// All prefixes that hold the destination, longest first.
    pub fn candidates(&self, destination: P::Address) -> Candidates<'_, P> {
        Candidates { table: self, around: self.routes.around(destination) }
    }
}

/// See [`Table::candidates`].
pub(super) struct Candidates<'a, P: Net> {
    table: &'a Table<P>,
    around: Around<'a, P>,
}

/// A prefix of a table that holds the destination.
pub(super) struct Candidate<'a, P> {
    pub table: u32,
    pub prefix: P,
    pub alternatives: &'a [Alternative],
}

impl<'a, P: Net> Iterator for Candidates<'a, P> {
    type Item = Candidate<'a, P>;

    #[inline]
    fn next(&mut self) -> Option<Candidate<'a, P>> {
        let (prefix, list) = self.around.next()?;
        Some(Candidate { table: self.table.id, prefix, alternatives: self.table.list(list) })
    }
}
