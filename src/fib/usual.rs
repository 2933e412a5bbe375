//! The usual packet: nothing but a destination, perhaps a source. Its answer is worked out when routes are
//! compiled; a lookup only has to find the list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::rules::{Flow, Rules, UsualStep};
use super::spec::Kind;
use super::table::{Alternative, Net, Table};
use super::trie::{Entry, Key, Trie};
use super::{Answer, Fib, Query, Route, RouteKind};

/// Where a list of alternatives leads whoever does not ask for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usual {
    pub dev: u32,
    pub gateway: Option<IpAddr>,
    /// For a packet whose source is open.
    pub source: IpAddr,
}

impl Usual {
    /// `None`: it depends on the packet, or is no plain way to another host. `select` gives the source by a
    /// device, where that is the same for all destinations that are neither local nor special.
    pub fn of(list: &[Alternative], v4: bool, select: impl FnOnce(u32) -> Option<Ipv6Addr>) -> Option<Self> {
        let [first, rest @ ..] = list else { return None };
        // IPv6 looks at all alternatives before it takes one.
        if first.opaque || first.kind != Kind::Unicast || (!v4 && (!rest.is_empty() || first.from.is_some()))
        {
            return None;
        }
        let [hop] = &*first.hops else { return None };
        if !hop.usable || hop.blackhole {
            return None;
        }
        let source = match first.preferred_source {
            Some(preferred) => preferred,
            None if v4 => IpAddr::V4(hop.source?),
            None => IpAddr::V6(select(hop.dev)?),
        };
        (!source.is_loopback()).then_some(Self { dev: hop.dev, gateway: hop.gateway, source })
    }
}

/// Where a usual packet goes: by references, because an [`Answer`] is large and best written once.
pub(super) struct Way<'f, P: Net> {
    table: &'f Table<P>,
    entry: &'f Entry<P>,
    usual: &'f Usual,
    /// No rule looked at more of the packet than where it goes.
    pub is_plain: bool,
}

impl<P: Net> Way<'_, P> {
    /// `source`: the packet's own.
    #[inline]
    pub fn answer(&self, source: Option<IpAddr>) -> Answer {
        let Usual { dev, gateway, source: selected } = *self.usual;
        Answer::Route(Route {
            kind: RouteKind::Unicast,
            table: self.table.id,
            prefix: self.entry.prefix().either(),
            dev,
            gateway,
            source: source.unwrap_or(selected),
        })
    }
}

impl Fib {
    /// The way, if this is a usual packet to a usual destination.
    #[inline]
    pub(super) fn usual_v4(
        &self,
        query: &Query,
        dst: Ipv4Addr,
        src: Option<Ipv4Addr>,
    ) -> Option<Way<'_, Ipv4Net>> {
        if query.oif != 0 || self.v4.merged || !is_usual_v4(dst) {
            return None;
        }
        if let Some(src) = src {
            if src.is_loopback() {
                return None;
            }
            self.v4.sources.homes(src).next()?;
        }
        self.usual_by(&self.v4.rules, query, dst, src)
    }

    /// The same for IPv6.
    #[inline]
    pub(super) fn usual_v6(
        &self,
        query: &Query,
        dst: Ipv6Addr,
        src: Option<Ipv6Addr>,
    ) -> Option<Way<'_, Ipv6Net>> {
        if query.oif != 0 || !is_global_v6(dst) {
            return None;
        }
        match src {
            Some(src) if !is_global_v6(src) => return None,
            Some(src) => drop(self.v6.sources.homes(src).next()?),
            // The best source for an address of the host is itself.
            None if self.v6.sources.homes(dst).next().is_some() => return None,
            None => {}
        }
        self.usual_by(&self.v6.rules, query, dst, src)
    }

    #[inline]
    fn usual_by<'f, P: Net>(
        &'f self,
        rules: &'f Rules<P>,
        query: &Query,
        dst: P::Address,
        src: Option<P::Address>,
    ) -> Option<Way<'f, P>> {
        let mut is_plain = true;
        for step in rules.usual() {
            let table = match *step {
                UsualStep::Table(table) => table,
                UsualStep::TableFor { rule, table } => {
                    is_plain = false;
                    if !self.is_for(rules, rule, query, dst, src)? {
                        continue;
                    }
                    table
                }
                UsualStep::Other => return None,
            };
            let table = rules.tables().get(table)?;
            if let Some((entry, list)) = table.longest(dst) {
                return Some(Way { table, entry, usual: list.usual.as_ref()?, is_plain });
            }
        }
        None
    }

    /// Whether a rule with selectors matches; apart, so that what it looks at is not gathered for those without.
    #[inline(never)]
    fn is_for<P: Net>(
        &self,
        rules: &Rules<P>,
        rule: usize,
        query: &Query,
        dst: P::Address,
        src: Option<P::Address>,
    ) -> Option<bool> {
        let flow = Flow {
            dst,
            src,
            mark: query.mark,
            oif: 0,
            l3mdev: 0,
            uid: self.uid,
            protocol: query.protocol,
            sport: query.sport,
            dport: query.dport,
            hash: query.flow,
        };
        rules.matches(rule, &flow, &self.links)
    }
}

/// Not in 0.0.0.0/8, loopback, multicast or broadcast.
#[inline]
pub(super) fn is_usual_v4(dst: Ipv4Addr) -> bool {
    let [first, ..] = dst.octets();
    first != 0 && first != 127 && first < 224
}

/// In 2000::/3 or fc00::/7, which are of global scope.
#[inline]
pub(super) fn is_global_v6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.octets();
    first & 0xe0 == 0x20 || first & 0xfe == 0xfc
}

/// A small table's word that it holds no prefix around a destination: table local is asked about every packet, and
/// has few.
pub(super) struct Filter([u64; 4]);

impl Filter {
    /// Tables larger than this are not asked.
    const PREFIXES: usize = 64;

    pub fn of<P: Net>(routes: &Trie<P>) -> Self {
        const EVERYTHING: Filter = Filter([u64::MAX; 4]);
        if routes.len() > Self::PREFIXES {
            return EVERYTHING;
        }
        let mut bits = [0; 4];
        for (prefix, _) in routes.sorted().into_iter().filter(|(prefix, _)| prefix.is_usual()) {
            if prefix.prefix_len() < P::TOP_BITS {
                return EVERYTHING;
            }
            let (word, bit) = Self::place(prefix.key());
            bits[word] |= bit;
        }
        Self(bits)
    }

    #[inline]
    fn place<K: Key>(key: K) -> (usize, u64) {
        let mixed = key.top().wrapping_mul(0x9E37_79B1) >> 24;
        ((mixed >> 6) as usize, 1 << (mixed & 63))
    }

    /// `false`: no prefix holds this usual destination.
    #[inline]
    pub fn may_hold<K: Key>(&self, key: K) -> bool {
        let (word, bit) = Self::place(key);
        self.0[word] & bit != 0
    }
}
