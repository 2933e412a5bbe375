//! What the kernel holds, kept up to date event by event; each [`Fib`] is one state of it.
//!
//! Links, addresses, labels, rules and nexthop objects are few and set whole. Routes are many: they are
//! loaded once and then changed one by one ([`Rib::apply`]), and what the kernel does to routes without a
//! word ([`silent`]) is done to the few lists of variants that a million prefixes share.

mod apply;
mod compile;
mod load;
mod silent;
mod table;

pub use apply::{Change, Place};
pub use load::Loader;
pub use silent::Silent;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::gateways::Neighbours;
use super::links::Links;
use super::rules::Rules;
use super::source::{Sources4, Sources6};
use super::spec::{
    Address, Family, Kind, Label, Link, LinkConf, Nexthop, NexthopBody, Nexthops, Route, Rule,
};
use super::table::Net;
use super::{Fib, v4, v6};
use compile::Compiler;
use table::RibTable;

/// Everything that routing decisions depend on, as the kernel has it.
#[derive(Clone, Default)]
pub struct Rib {
    parts: Parts,
    v4: Tables<Ipv4Net>,
    v6: Tables<Ipv6Net>,
    /// Something that routes are compiled with has changed.
    stale: bool,
    /// When the first of its routes may be over.
    expiry: Option<Instant>,
}

type Tables<P> = BTreeMap<u32, RibTable<P>>;

/// All but the routes: little, and replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The user that the sockets belong to, for `uidrange`.
    pub uid: u32,
    /// See [`super::Builder::local_merged_into_main`].
    pub merged: bool,
    /// Of the paths of an IPv4 route the kernel takes one whose gateway answers (`net.ipv4.fib_multipath_use_neigh`).
    pub asks_neighbours: bool,
    /// `net.ipv6.conf.all.forwarding`: the kernel does not ask whether gateways answer.
    pub forwards_ipv6: bool,
    /// Interfaces in any order; a [`Rib`] has them by index.
    pub links: Vec<Link>,
    /// Addresses in the kernel's order.
    pub addresses: Vec<Address>,
    /// The label table in the kernel's order.
    pub labels: Vec<Label>,
    /// Rules in the kernel's order.
    pub rules: Vec<Rule>,
    /// Nexthop objects by id.
    pub nexthops: HashMap<u32, NexthopBody>,
}

impl Parts {
    /// Those of a [`Rib`].
    fn sorted_links(&self) -> Links<&[Link]> {
        Links::of(&self.links)
    }
}

/// A route without the table and the prefix under which it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Variant {
    from: Option<Ipv6Net>,
    kind: Kind,
    scope: u8,
    metric: u32,
    preferred_source: Option<IpAddr>,
    preference: u8,
    nexthops: Nexthops,
    opaque: bool,
    /// IPv6: its paths were made with different sources or preferences, of which the kernel tells the first's.
    uneven: bool,
}

impl From<Route> for Variant {
    fn from(route: Route) -> Self {
        // Of a route by a nexthop object that is a blackhole now the kernel tells the object's kind.
        let kind = match (&route.nexthops, route.kind) {
            (Nexthops::Object(_), Kind::Blackhole) => Kind::Unicast,
            (_, kind) => kind,
        };
        Self {
            from: route.from,
            kind,
            scope: route.scope,
            metric: route.metric,
            preferred_source: route.preferred_source,
            preference: route.preference,
            nexthops: route.nexthops,
            opaque: route.opaque,
            uneven: false,
        }
    }
}

impl Variant {
    fn own(&self) -> &[Nexthop] {
        match &self.nexthops {
            Nexthops::Own(own) => own,
            Nexthops::Object(_) => &[],
        }
    }
}

/// The kernel's order of the routes to one prefix: IPv6 source prefixes, the longest first; lower metrics
/// first; equal ones as they came.
fn arrange(list: &mut [Variant]) {
    list.sort_by_key(|v| (Reverse(v.from.map_or(0, |from| from.prefix_len())), v.from, v.metric));
}

/// Viaduct's sockets send with TOS 0, and such routes are for other packets.
fn is_foreign(route: &Route) -> bool {
    route.tos != 0
}

impl Rib {
    /// All but the routes.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Some link without a carrier was to be ignored and is not any more. Until now the kernel called all paths by it
    /// dead; which of them are so for another reason is to be asked. Or IPv6 went from a link without its routes: that
    /// need not be told of each (`net.ipv6.route.skip_notify_on_dev_down`).
    pub fn knows_too_little_for(&self, parts: &Parts) -> bool {
        let links = self.parts.sorted_links();
        let changed = || parts.links.iter().filter_map(|link| Some((links.get(link.index)?.conf, link)));
        let counts_again = changed().any(|(was, link)| {
            let ignored = (was.ignore_linkdown_v4 && !link.conf.ignore_linkdown_v4)
                || (was.ignore_linkdown_v6 && !link.conf.ignore_linkdown_v6);
            ignored && link.up && !link.carrier
        });
        let off = |conf: LinkConf| conf.without_ipv6 || conf.disable_ipv6;
        let switched_off = changed().filter(|(was, link)| !off(*was) && off(link.conf));
        counts_again || self.leads_ipv6_by(&switched_off.map(|(_, link)| link.index).collect())
    }

    /// Replaces all but the routes; whether they differ.
    pub fn set_parts(&mut self, mut parts: Parts) -> bool {
        parts.rules.sort_by_key(|rule| rule.priority);
        parts.links.sort_by_key(|link| link.index);
        let differ = parts != self.parts;
        self.stale |= differ;
        self.parts = parts;
        differ
    }

    /// When the routes should be read again: the lifetime of one is over then, unless it was renewed, which the kernel need
    /// not tell of.
    pub fn expiry(&self) -> Option<Instant> {
        self.expiry
    }

    /// That moment has come; it is told once.
    pub fn take_expiry(&mut self) {
        self.expiry = None;
    }

    /// A route has a lifetime until then.
    pub fn note_expiry(&mut self, at: Option<Instant>) {
        self.expiry = self.expiry.into_iter().chain(at).min();
    }

    /// Takes over the routes that another one has to this prefix of this table, or that it has none.
    pub fn copy_routes(&mut self, from: &Self, (table, prefix): (u32, IpNet)) {
        match prefix {
            IpNet::V4(net) => copy(&mut self.v4, &from.v4, table, net),
            IpNet::V6(net) => copy(&mut self.v6, &from.v6, table, net),
        }
    }

    /// Adds the IPv6 routes that an earlier reading has and this one lacks. What it has of a prefix besides is left as
    /// it is: a route that was replaced between the two is not there twice.
    pub fn add_ipv6_passed_over(&mut self, earlier: &Self) {
        for (id, table) in &earlier.v6 {
            let mine = self.v6.entry(*id).or_insert_with(|| RibTable::new(*id));
            for (prefix, list) in table.routes() {
                let known = mine.list(prefix);
                if known.len() < list.len() && known.iter().all(|variant| list.contains(variant)) {
                    mine.put(prefix, list.to_vec());
                }
            }
        }
    }

    /// How many prefixes of all tables have a route.
    pub fn len(&self) -> usize {
        let v4: usize = self.v4.values().map(RibTable::len).sum();
        let v6: usize = self.v6.values().map(RibTable::len).sum();
        v4 + v6
    }

    /// There is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The present state as the given generation. Costs what has changed since the last call, not what there is.
    pub fn fib(&mut self, generation: u64) -> Fib {
        let links = Links::of(self.parts.links.clone());
        let sources4 = Sources4::new(&self.parts.addresses, &links);
        let sources6 = Sources6::new(&self.parts.addresses, self.parts.labels.clone(), &links);
        let compiler = Compiler {
            links: &links,
            sources4: &sources4,
            sources6: &sources6,
            nexthops: &self.parts.nexthops,
        };
        let all = std::mem::take(&mut self.stale);
        let tables4 = publish(&mut self.v4, &compiler, all);
        let tables6 = publish(&mut self.v6, &compiler, all);
        let multipath =
            self.v4.values().any(RibTable::is_multipath) || self.v6.values().any(RibTable::is_multipath);
        let family = |family| self.parts.rules.iter().filter(move |rule| rule.family == family);
        let v4 = v4::World {
            merged: self.parts.merged,
            rules: Rules::new(family(Family::V4), tables4, &links),
            sources: sources4,
        };
        let v6 = v6::World { rules: Rules::new(family(Family::V6), tables6, &links), sources: sources6 };
        let addresses = self.parts.addresses.as_slice().into();
        let rules = self.parts.rules.as_slice().into();
        let uid = self.parts.uid;
        let neighbours = Neighbours { v4: self.parts.asks_neighbours, v6: !self.parts.forwards_ipv6 };
        let answers = Default::default();
        Fib { generation, uid, multipath, neighbours, addresses, rules, answers, links, v4, v6 }
    }

    /// Every route, each table's by address.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        let v4 = self.v4.iter().flat_map(|(id, table)| written(*id, table));
        v4.chain(self.v6.iter().flat_map(|(id, table)| written(*id, table)))
    }
}

fn copy<P: Net + Ord>(to: &mut Tables<P>, from: &Tables<P>, id: u32, prefix: P) {
    let list = from.get(&id).map(|table| table.list(prefix).to_vec()).unwrap_or_default();
    to.entry(id).or_insert_with(|| RibTable::new(id)).put(prefix, list);
}

fn publish<P: Net + Ord>(
    tables: &mut Tables<P>,
    compiler: &Compiler<'_>,
    all: bool,
) -> Vec<Arc<super::table::Table<P>>> {
    tables.values_mut().map(|table| table.publish(compiler, all)).collect()
}

fn written<P: Net + Ord>(id: u32, table: &RibTable<P>) -> impl Iterator<Item = Route> {
    table.routes().flat_map(move |(prefix, list)| {
        list.iter().map(move |variant| {
            let variant = variant.clone();
            Route {
                table: id,
                prefix: prefix.either(),
                tos: 0,
                from: variant.from,
                kind: variant.kind,
                scope: variant.scope,
                metric: variant.metric,
                preferred_source: variant.preferred_source,
                preference: variant.preference,
                nexthops: variant.nexthops,
                opaque: variant.opaque,
                lifetime: None,
            }
        })
    })
}

/// The tables of a prefix's family: runs the same code for either.
macro_rules! by_family {
    ($rib:expr, $prefix:expr, |$tables:ident, $net:ident| $work:expr) => {
        match $prefix {
            ipnet::IpNet::V4($net) => {
                let $tables = &mut $rib.v4;
                $work
            }
            ipnet::IpNet::V6($net) => {
                let $tables = &mut $rib.v6;
                $work
            }
        }
    };
}
use by_family;

#[cfg(test)]
mod tests;
