//! Makes a [`Fib`] of what the kernel holds, or of what a test writes down.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::rib::{Loader, Parts, Rib};
use super::spec::{
    Action, Address, Family, Kind, Label, Link, NexthopObject, Route, Rule, SCOPE_HOST, TABLE_DEFAULT,
    TABLE_LOCAL, TABLE_MAIN,
};
use super::{Fib, LOOPBACK};

/// Collects links, addresses, rules and routes, each in the kernel's order, and builds a [`Fib`].
///
/// ```
/// use viaduct::fib::{Answer, Builder, Query, spec::{Link, Route}};
///
/// let fib = Builder::host()
///     .link(Link::up(2, "eth0"))
///     .assign(2, "10.0.0.4/24".parse().unwrap())
///     .route(Route::new("0.0.0.0/0".parse().unwrap(), 2, Some("10.0.0.1".parse().unwrap())))
///     .build();
/// let Answer::Route(route) = fib.lookup(&Query::to("192.0.2.1".parse().unwrap())) else { panic!() };
/// assert_eq!(route.source.to_string(), "10.0.0.4");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    generation: u64,
    parts: Parts,
    routes: Vec<Route>,
}

impl Builder {
    /// Nothing at all: no links, no rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// A host as it boots: the rules for `local`, `main` and `default`, the loopback device with
    /// 127.0.0.1/8 and ::1/128, the label table of RFC 6724.
    pub fn host() -> Self {
        let mut host = Self::new().link(Link::loopback());
        for (family, priority, table) in [
            (Family::V4, 0, TABLE_LOCAL),
            (Family::V4, 32_766, TABLE_MAIN),
            (Family::V4, 32_767, TABLE_DEFAULT),
            (Family::V6, 0, TABLE_LOCAL),
            (Family::V6, 32_766, TABLE_MAIN),
        ] {
            host = host.rule(Rule::new(family, priority, Action::Table(table)));
        }
        for (prefix, label) in RFC_6724_LABELS {
            let prefix = prefix.parse().expect("the table holds prefixes");
            host = host.label(Label { prefix, dev: 0, label });
        }
        host.assign(LOOPBACK, IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8))
            .assign(LOOPBACK, IpNet::new_assert(std::net::Ipv6Addr::LOCALHOST.into(), 128))
    }

    /// Which publication the Fib will be.
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// IPv4 tables `local` and `main` are one trie, of which the longest prefix wins: so it is in a
    /// kernel to which no rule was ever added.
    #[must_use]
    pub fn local_merged_into_main(mut self, merged: bool) -> Self {
        self.parts.merged = merged;
        self
    }

    /// Replaces all but the routes.
    #[must_use]
    pub fn parts(mut self, parts: Parts) -> Self {
        self.parts = parts;
        self
    }

    /// Adds an interface.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.parts.links.push(link);
        self
    }

    /// Adds an address, and none of the routes that the kernel makes for it.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.parts.addresses.push(address);
        self
    }

    /// Assigns an address with its prefix length (`10.0.0.4/24`) and makes the routes that the kernel
    /// makes: to itself in `local`, to its network in `main`.
    #[must_use]
    pub fn assign(mut self, dev: u32, address: IpNet) -> Self {
        let own = address.addr();
        let v4 = own.is_ipv4();
        let mut assigned = Address::new(dev, own, address.prefix_len());
        assigned.secondary =
            v4 && self.parts.addresses.iter().any(|a| a.dev == dev && a.network == address.trunc());
        let to_itself = Route::new(own.into(), dev, None).in_table(TABLE_LOCAL).of_kind(Kind::Local);
        self = self.route(Route {
            scope: if v4 { SCOPE_HOST } else { 0 },
            metric: 0,
            preferred_source: v4.then_some(own),
            ..to_itself
        });
        if v4 && own.is_loopback() {
            let net = Route::new(address, dev, None).in_table(TABLE_LOCAL).of_kind(Kind::Local);
            self = self.route(Route { scope: SCOPE_HOST, ..net }.with_source(own));
        } else if address.prefix_len() < address.max_prefix_len() && !assigned.secondary {
            let net = Route::new(address, dev, None);
            self = self.route(if v4 { net.with_source(own) } else { net.with_metric(256) });
        }
        self.address(assigned)
    }

    /// Adds a line of the IPv6 label table; the first that fits counts.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.parts.labels.push(label);
        self
    }

    /// Adds a rule; rules of the same priority keep their order.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.parts.rules.push(rule);
        self
    }

    /// Adds a route; routes to the same prefix of the same metric keep their order.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// The routes so far.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Takes out the routes that `gone` says yes to.
    #[must_use]
    pub fn without_routes(mut self, mut gone: impl FnMut(&Route) -> bool) -> Self {
        self.routes.retain(|route| !gone(route));
        self
    }

    /// Adds a nexthop object.
    #[must_use]
    pub fn nexthop(mut self, object: NexthopObject) -> Self {
        self.parts.nexthops.insert(object.id, object.body);
        self
    }

    /// Builds the snapshot.
    pub fn build(self) -> Fib {
        let generation = self.generation;
        self.rib().fib(generation)
    }

    /// The same as what changes can be applied to.
    pub fn rib(self) -> Rib {
        let mut loader = Loader::default();
        self.routes.into_iter().for_each(|route| loader.add(route));
        loader.finish(self.parts)
    }
}

/// RFC 6724 §2.1 and the two lines that Linux adds for Teredo-era ORCHID addresses and 6bone.
const RFC_6724_LABELS: [(&str, u32); 8] = [
    ("::1/128", 0),
    ("::ffff:0.0.0.0/96", 4),
    ("::/96", 3),
    ("2001::/32", 6),
    ("2001:10::/28", 7),
    ("2002::/16", 2),
    ("fc00::/7", 5),
    ("::/0", 1),
];
