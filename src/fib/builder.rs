//! Makes a [`Fib`] of what the kernel holds, or of what a test writes down.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::links::Links;
use super::rules::Rules;
use super::source::{Sources4, Sources6};
use super::spec::{
    Action, Address, Family, Kind, Label, Link, Nexthop, NexthopBody, NexthopObject, Nexthops, Route, Rule,
    SCOPE_HOST, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN,
};
use super::table::{Alternative, Hop, Lists, Net, Table};
use super::{Fib, LOOPBACK, v4, v6};

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
    uid: u32,
    merged: bool,
    links: Vec<Link>,
    addresses: Vec<Address>,
    labels: Vec<Label>,
    rules: Vec<Rule>,
    routes: Vec<Route>,
    nexthops: HashMap<u32, NexthopBody>,
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

    /// The user that the sockets belong to, for `uidrange`.
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// IPv4 tables `local` and `main` are one trie, of which the longest prefix wins: so it is in a
    /// kernel to which no rule was ever added.
    #[must_use]
    pub fn local_merged_into_main(mut self, merged: bool) -> Self {
        self.merged = merged;
        self
    }

    /// Adds an interface.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// Adds an address, and none of the routes that the kernel makes for it.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.addresses.push(address);
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
            v4 && self.addresses.iter().any(|a| a.dev == dev && a.network == address.trunc());
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
        self.labels.push(label);
        self
    }

    /// Adds a rule; rules of the same priority keep their order.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
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
        self.nexthops.insert(object.id, object.body);
        self
    }

    /// Builds the snapshot.
    pub fn build(mut self) -> Fib {
        self.rules.sort_by_key(|rule| rule.priority);
        let links = Links::new(std::mem::take(&mut self.links));
        let sources4 = Sources4::new(&self.addresses, &links);
        let sources6 = Sources6::new(&self.addresses, std::mem::take(&mut self.labels), &links);
        let compiler = Compiler { links: &links, sources4: &sources4, nexthops: &self.nexthops };
        let ((tables4, lists4), (tables6, lists6)) = compiler.tables(std::mem::take(&mut self.routes));
        let multipath = [lists4, lists6].iter().any(have_several_paths);
        let family = |family| self.rules.iter().filter(move |rule| rule.family == family);
        let v4 = v4::World {
            merged: self.merged,
            rules: Rules::new(family(Family::V4), tables4, &links),
            sources: sources4,
        };
        let v6 = v6::World { rules: Rules::new(family(Family::V6), tables6, &links), sources: sources6 };
        let addresses = self
            .addresses
            .iter()
            .filter(|a| a.usable() && links.get(a.dev).is_some_and(|link| link.up))
            .map(|a| (a.address, a.dev))
            .collect();
        Fib { generation: self.generation, uid: self.uid, multipath, addresses, links, v4, v6 }
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

/// Turns routes into tables: nexthop objects resolved, sources selected, equal lists shared.
struct Compiler<'a> {
    links: &'a Links,
    sources4: &'a Sources4,
    nexthops: &'a HashMap<u32, NexthopBody>,
}

/// The tables of one family.
type Tables<P> = Vec<Arc<Table<P>>>;

/// IPv4's and IPv6's tables, each with their lists.
type Both = ((Tables<Ipv4Net>, Lists), (Tables<Ipv6Net>, Lists));

/// Routes of one family by table and prefix.
type Sorted<P> = BTreeMap<u32, BTreeMap<P, Vec<Alternative>>>;

impl Compiler<'_> {
    fn tables(&self, routes: Vec<Route>) -> Both {
        let (mut sorted4, mut sorted6) = (Sorted::new(), Sorted::new());
        for route in routes {
            // Viaduct's sockets send with TOS 0, and such routes are for other packets.
            if route.tos != 0 {
                continue;
            }
            let alternative = self.alternative(&route);
            match route.prefix {
                IpNet::V4(net) => file(&mut sorted4, route.table, net, alternative),
                IpNet::V6(net) => file(&mut sorted6, route.table, net, alternative),
            }
        }
        (share(sorted4), share(sorted6))
    }

    fn alternative(&self, route: &Route) -> Alternative {
        let mut opaque = route.opaque;
        let mut hops = Vec::new();
        let object = match &route.nexthops {
            Nexthops::Own(own) => {
                hops.extend(own.iter().map(|nexthop| self.hop(nexthop, route, None)));
                false
            }
            Nexthops::Object(id) => {
                opaque |= self.add_object(*id, 1, route, &mut hops).is_none();
                true
            }
        };
        if hops.is_empty() && route.prefix.addr().is_ipv6() {
            // IPv6 hangs routes that refuse on the loopback device.
            hops.push(self.hop(&Nexthop::new(LOOPBACK, None), route, None));
        }
        Alternative {
            kind: route.kind,
            opaque,
            from: route.from.filter(|from| from.prefix_len() > 0),
            metric: route.metric,
            preference: route.preference,
            preferred_source: route.preferred_source,
            object,
            hops: hops.into(),
        }
    }

    fn hop(&self, nexthop: &Nexthop, route: &Route, object: Option<Family>) -> Hop {
        let v4 = route.prefix.addr().is_ipv4();
        let conf = self.links.get(nexthop.dev).map(|link| link.conf).unwrap_or_default();
        let ignored = nexthop.linkdown && if v4 { conf.ignore_linkdown_v4 } else { conf.ignore_linkdown_v6 };
        let towards = match nexthop.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            // The kernel compares subnets with the first bytes of an IPv6 gateway of a route's own.
            Some(IpAddr::V6(gateway)) if object.is_none() => {
                let [a, b, c, d, ..] = gateway.octets();
                Some(Ipv4Addr::new(a, b, c, d))
            }
            _ => None,
        };
        let select = || self.sources4.select(self.links, nexthop.dev, towards, route.scope);
        Hop {
            dev: nexthop.dev,
            gateway: nexthop.gateway,
            weight: nexthop.weight,
            usable: !nexthop.dead && !ignored,
            blackhole: false,
            source: if v4 { select() } else { None },
        }
    }

    /// `None`: the object, or a member of the group, is unknown.
    fn add_object(&self, id: u32, weight: u32, route: &Route, hops: &mut Vec<Hop>) -> Option<()> {
        match self.nexthops.get(&id)? {
            NexthopBody::Single(family, nexthop) => {
                hops.push(Hop { weight, ..self.hop(nexthop, route, Some(*family)) });
            }
            NexthopBody::Blackhole => {
                let nowhere = self.hop(&Nexthop::new(LOOPBACK, None), route, None);
                hops.push(Hop { weight, blackhole: true, ..nowhere });
            }
            NexthopBody::Group(members) => {
                for (member, weight) in members {
                    // Groups have no groups as members; the kernel refuses them.
                    if matches!(self.nexthops.get(member), Some(NexthopBody::Group(_))) {
                        return None;
                    }
                    self.add_object(*member, *weight, route, hops)?;
                }
            }
            NexthopBody::Opaque => return None,
        }
        Some(())
    }
}

fn file<P: Net + Ord>(sorted: &mut Sorted<P>, table: u32, prefix: P, alternative: Alternative) {
    sorted.entry(table).or_default().entry(prefix).or_default().push(alternative);
}

/// Some route has several paths.
fn have_several_paths(lists: &Lists) -> bool {
    lists.iter().flatten().any(|alternative| alternative.hops.len() > 1)
}

/// Tables of one family and the lists that they share; equal lists are one.
fn share<P: Net>(sorted: Sorted<P>) -> (Tables<P>, Lists) {
    let mut known: HashMap<Box<[Alternative]>, u32> = HashMap::new();
    let mut number_of = |mut alternatives: Vec<Alternative>| {
        let from_len = |a: &Alternative| a.from.map_or(0, |from| from.prefix_len());
        alternatives.sort_by(|a, b| {
            from_len(b).cmp(&from_len(a)).then_with(|| a.from.cmp(&b.from)).then(a.metric.cmp(&b.metric))
        });
        let next = known.len() as u32;
        *known.entry(alternatives.into()).or_insert(next)
    };
    let numbered: Vec<(u32, Vec<(P, u32)>)> = (sorted.into_iter())
        .map(|(id, prefixes)| {
            (id, prefixes.into_iter().map(|(prefix, routes)| (prefix, number_of(routes))).collect())
        })
        .collect();
    let mut by_number: Vec<_> = known.into_iter().collect();
    by_number.sort_by_key(|&(_, number)| number);
    let lists: Lists = by_number.into_iter().map(|(list, _)| list).collect();
    let table = |(id, routes)| Arc::new(Table::new(id, routes, Arc::clone(&lists)));
    (numbered.into_iter().map(table).collect(), lists)
}
