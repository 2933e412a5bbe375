//! What a snapshot holds, entry by entry, and what another one has that it has not.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::Fib;
use super::spec::{Kind, Link, Rule};
use super::table::{Alternative, Net, Table};
use super::words::{rule_in_words, table_in_words};

/// One thing that a snapshot holds. Displayed much as `ip` does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// An interface.
    Link(Link),
    /// A usable address of the host.
    Address {
        /// The address.
        address: IpAddr,
        /// The name of its interface.
        dev: Box<str>,
    },
    /// A line of the IPv6 address label table (RFC 6724 §2.1): it weighs when a source is chosen.
    Label {
        /// Addresses that it is for.
        prefix: Ipv6Net,
        /// The name of the only interface that it is for.
        dev: Option<Box<str>>,
        /// The label.
        label: u32,
    },
    /// A policy rule.
    Rule(Rule),
    /// A route.
    Route(RouteEntry),
}

/// A route as lookups see it: nexthop objects resolved, sources selected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteEntry {
    /// Its table.
    pub table: u32,
    /// Destinations.
    pub prefix: IpNet,
    /// Its place among the routes to the same prefix, from 0.
    pub place: usize,
    /// IPv6: sources; `None` for all.
    pub from: Option<Ipv6Net>,
    /// Its type.
    pub kind: Kind,
    /// Its metric.
    pub metric: u32,
    /// The source that it prefers.
    pub preferred_source: Option<IpAddr>,
    /// Its paths, in the kernel's order.
    pub hops: Vec<HopEntry>,
    /// Has something that this version does not know.
    pub opaque: bool,
}

/// One path of a [`RouteEntry`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HopEntry {
    /// The name of the outgoing interface.
    pub dev: Box<str>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// Its share of a multipath route.
    pub weight: u32,
    /// IPv4: the source that is selected where none is preferred.
    pub source: Option<IpAddr>,
    /// It can be used: the interface is up.
    pub usable: bool,
    /// It is a blackhole.
    pub blackhole: bool,
}

/// What two snapshots differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The newer one has it alone.
    Added(Entry),
    /// The older one has it alone.
    Removed(Entry),
}

impl Fib {
    /// Everything in it: links, addresses, address labels, rules, then routes by table and address. Two snapshots of the same
    /// state have the same entries.
    pub fn entries(&self) -> Vec<Entry> {
        let mut all = self.small_entries();
        for table in self.v4.rules.tables() {
            all.extend(table.lists().flat_map(|(prefix, list)| self.routes(table.id, prefix, list)));
        }
        for table in self.v6.rules.tables() {
            all.extend(table.lists().flat_map(|(prefix, list)| self.routes(table.id, prefix, list)));
        }
        all
    }

    /// How many prefixes of all tables have a route.
    pub fn route_count(&self) -> usize {
        let v4: usize = self.v4.rules.tables().iter().map(|table| table.len()).sum();
        let v6: usize = self.v6.rules.tables().iter().map(|table| table.len()).sum();
        v4 + v6
    }

    /// What has changed since `older`; cheap between snapshots that follow each other, however many routes.
    pub fn changes_since(&self, older: &Self) -> Vec<Difference> {
        let (before, now) = (older.small_entries(), self.small_entries());
        let mut changes = Vec::new();
        differ(before, now, &mut changes);
        for (id, prefix) in self.changed_prefixes(older) {
            differ(older.routes_of(id, prefix), self.routes_of(id, prefix), &mut changes);
        }
        changes
    }

    /// The prefixes, with their tables, whose routes differ.
    pub fn changed_prefixes(&self, older: &Self) -> Vec<(u32, IpNet)> {
        let mut all = Vec::new();
        changed(older.v4.rules.tables(), self.v4.rules.tables(), &mut all);
        changed(older.v6.rules.tables(), self.v6.rules.tables(), &mut all);
        all
    }

    /// Another state has all routes that this one has to an IPv6 prefix of a table, and perhaps more.
    pub fn has_no_other_v6(&self, than: &Self, table: u32, prefix: Ipv6Net) -> bool {
        fn routes(fib: &Fib, table: u32, prefix: Ipv6Net) -> &[Alternative] {
            fib.v6.rules.table(table).map(|table| table.exactly(prefix)).unwrap_or_default()
        }
        let theirs = routes(than, table, prefix);
        routes(self, table, prefix).iter().all(|route| theirs.contains(route))
    }

    fn small_entries(&self) -> Vec<Entry> {
        let name = |dev| self.link_name(dev).unwrap_or_default().into();
        let links = self.links.iter().cloned().map(Entry::Link);
        let addresses = self.addresses().map(|(address, dev)| Entry::Address { address, dev: name(dev) });
        let labels = self.v6.sources.labels().iter().map(|line| Entry::Label {
            prefix: line.prefix,
            dev: (line.dev != 0).then(|| name(line.dev)),
            label: line.label,
        });
        links.chain(addresses).chain(labels).chain(self.rules.iter().cloned().map(Entry::Rule)).collect()
    }

    /// The routes to exactly this prefix of this table.
    fn routes_of(&self, id: u32, prefix: IpNet) -> Vec<Entry> {
        match prefix {
            IpNet::V4(net) => {
                let list = self.v4.rules.table(id).map(|table| table.exactly(net));
                self.routes(id, net, list.unwrap_or_default())
            }
            IpNet::V6(net) => {
                let list = self.v6.rules.table(id).map(|table| table.exactly(net));
                self.routes(id, net, list.unwrap_or_default())
            }
        }
    }

    fn routes<P: Net>(&self, table: u32, prefix: P, list: &[Alternative]) -> Vec<Entry> {
        let entry =
            |(place, alternative)| Entry::Route(self.route(table, prefix.either(), place, alternative));
        list.iter().enumerate().map(entry).collect()
    }

    fn route(&self, table: u32, prefix: IpNet, place: usize, alternative: &Alternative) -> RouteEntry {
        let hops = (alternative.hops.iter())
            .map(|hop| HopEntry {
                dev: self.link_name(hop.dev).unwrap_or_default().into(),
                gateway: hop.gateway,
                weight: hop.weight,
                source: hop.source.map(IpAddr::V4),
                usable: hop.usable,
                blackhole: hop.blackhole,
            })
            .collect();
        RouteEntry {
            table,
            prefix,
            place,
            from: alternative.from,
            kind: alternative.kind,
            metric: alternative.metric,
            preferred_source: alternative.preferred_source,
            hops,
            opaque: alternative.opaque,
        }
    }
}

/// What one list has and the other has not, in their order.
fn differ(before: Vec<Entry>, now: Vec<Entry>, changes: &mut Vec<Difference>) {
    let (old, new): (HashSet<_>, HashSet<_>) = (before.iter().collect(), now.iter().collect());
    let removed = before.iter().filter(|entry| !new.contains(entry)).cloned();
    let added = now.iter().filter(|entry| !old.contains(entry)).cloned();
    changes.extend(removed.map(Difference::Removed));
    changes.extend(added.map(Difference::Added));
}

fn changed<P: Net>(
    before: &[std::sync::Arc<Table<P>>],
    now: &[std::sync::Arc<Table<P>>],
    all: &mut Vec<(u32, IpNet)>,
) {
    let ids: std::collections::BTreeSet<u32> = before.iter().chain(now).map(|table| table.id).collect();
    for id in ids {
        let find = |tables: &[std::sync::Arc<Table<P>>]| tables.iter().find(|table| table.id == id).cloned();
        let none = || std::sync::Arc::new(Table::empty(id));
        let (old, new) = (find(before).unwrap_or_else(none), find(now).unwrap_or_else(none));
        if !std::sync::Arc::ptr_eq(&old, &new) {
            all.extend(new.changed_since(&old).into_iter().map(|prefix| (id, prefix.either())));
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => {
                let state = match (link.up, link.carrier) {
                    (false, _) => "down",
                    (true, false) => "up, without carrier",
                    (true, true) => "up",
                };
                write!(f, "link {} {state}", link.name)
            }
            Self::Address { address, dev } => write!(f, "address {address} dev {dev}"),
            Self::Label { prefix, dev: None, label } => write!(f, "addrlabel {prefix} label {label}"),
            Self::Label { prefix, dev: Some(dev), label } => {
                write!(f, "addrlabel {prefix} dev {dev} label {label}")
            }
            Self::Rule(rule) => write!(f, "rule {}", rule_in_words(rule)),
            Self::Route(route) => route.fmt(f),
        }
    }
}

impl fmt::Display for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {} {} table {}", self.kind.as_str(), self.prefix, table_in_words(self.table))?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        for hop in &self.hops {
            if self.hops.len() > 1 {
                f.write_str(" nexthop")?;
            }
            hop.fmt(f)?;
            if self.hops.len() > 1 {
                write!(f, " weight {}", hop.weight)?;
            }
        }
        if let Some(source) = self.preferred_source {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if self.opaque { f.write_str(" (with something that this version does not know)") } else { Ok(()) }
    }
}

impl fmt::Display for HopEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.blackhole {
            return f.write_str(" blackhole");
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " dev {}", self.dev)?;
        if self.usable { Ok(()) } else { f.write_str(" (down)") }
    }
}
