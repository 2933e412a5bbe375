//! Where the kernel chooses among gateways by whether they answer, which is not known here.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::spec::Kind;
use super::table::{Alternative, Hop, Net, Table};
use super::{Fib, Route};
use crate::limits;

/// Of which routes the kernel asks whether gateways answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Neighbours {
    /// Those of IPv4 with several paths.
    pub v4: bool,
    /// Those of IPv6.
    pub v6: bool,
}

/// A prefix with gateways by different interfaces, of which the kernel passes over those that do not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayChoice {
    /// Its table.
    pub table: u32,
    /// Destinations.
    pub prefix: IpNet,
    /// Two of the interfaces, by index; the first is the one that is used here first.
    pub devices: [u32; 2],
}

impl Fib {
    /// Some of the prefixes where the kernel chooses so. Of tables with many routes only the default ones are looked at.
    pub fn gateway_choices(&self) -> Vec<GatewayChoice> {
        let mut all = Vec::new();
        let limit = limits::FINDINGS_PER_UNIT;
        for table in self.v4.rules.tables() {
            all.extend(self.choices_in(table, Ipv4Net::default()).take(limit));
        }
        for table in self.v6.rules.tables() {
            all.extend(self.choices_in(table, Ipv6Net::default()).take(limit));
        }
        all.truncate(limit);
        all
    }

    fn choices_in<'a, P: Net>(
        &'a self,
        table: &'a Table<P>,
        default: P,
    ) -> impl Iterator<Item = GatewayChoice> + 'a {
        let is_small = table.len() <= limits::COMPARE_ROUTES;
        let few = is_small.then(|| table.lists()).into_iter().flatten();
        let one = (!is_small).then(|| (default, table.exactly(default)));
        few.chain(one).filter_map(|(prefix, list)| {
            let gateways = self.alike(prefix, list);
            let first = gateways.first()?.dev;
            let other = gateways.iter().find(|hop| hop.dev != first)?.dev;
            Some(GatewayChoice { table: table.id, prefix: prefix.either(), devices: [first, other] })
        })
    }

    /// The kernel may answer with the one where the other is answered here: it knows which gateways do not answer.
    pub fn may_pass_over(&self, ours: &Route, kernels: &Route) -> bool {
        if (ours.table, ours.prefix) != (kernels.table, kernels.prefix) {
            return false;
        }
        let gateways = match ours.prefix {
            IpNet::V4(net) => (self.v4.rules.table(ours.table))
                .map(|table| self.alike(net, table.exactly(net)))
                .unwrap_or_default(),
            IpNet::V6(net) => (self.v6.rules.table(ours.table))
                .map(|table| self.alike(net, table.exactly(net)))
                .unwrap_or_default(),
        };
        let among =
            |route: &Route| gateways.iter().any(|hop| (hop.dev, hop.gateway) == (route.dev, route.gateway));
        among(ours) && among(kernels)
    }

    /// The gateways of a prefix among which the kernel chooses by whether they answer, in its order.
    fn alike<'a, P: Net>(&self, prefix: P, list: &'a [Alternative]) -> Vec<&'a Hop> {
        let is_default = prefix.prefix_len() == 0;
        let unicast = || list.iter().filter(|alternative| alternative.kind == Kind::Unicast);
        let Some(first) = unicast().next() else { return Vec::new() };
        let is_alike = |other: &&Alternative| match P::V4 {
            // `find_rr_leaf`: also those with other metrics.
            false => self.neighbours.v6 && other.from == first.from,
            // `fib_select_multipath`, `fib_select_default`
            true if first.hops.len() > 1 => self.neighbours.v4 && std::ptr::eq(*other, first),
            true => is_default && other.metric == first.metric,
        };
        let hops = unicast().filter(is_alike).flat_map(|alternative| &alternative.hops);
        hops.filter(|hop| hop.gateway.is_some() && hop.usable && !hop.blackhole).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::fib::spec::{Link, Nexthop, Nexthops, Route};
    use crate::fib::{Answer, Builder, Parts, Query};

    fn host() -> Builder {
        Builder::host().link(Link::up(2, "eth0")).link(Link::up(3, "eth1"))
    }

    fn route(prefix: &str, dev: u32, gateway: &str, metric: u32) -> Route {
        Route { metric, ..Route::new(prefix.parse().unwrap(), dev, gateway.parse().ok()) }
    }

    fn choices(host: Builder, parts: impl FnOnce(&mut Parts)) -> Vec<(String, [u32; 2])> {
        let mut rib = host.rib();
        let mut changed = rib.parts().clone();
        parts(&mut changed);
        rib.set_parts(changed);
        let all = rib.fib(1).gateway_choices();
        all.into_iter().map(|choice| (choice.prefix.to_string(), choice.devices)).collect()
    }

    #[test]
    fn default_routers_of_ipv6_are_chosen_by_whether_they_answer() {
        let two = || host().route(route("::/0", 2, "fe80::1", 100)).route(route("::/0", 3, "fe80::2", 200));
        assert_eq!(choices(two(), |_| ()), [("::/0".to_owned(), [2, 3])]);
        assert_eq!(choices(two(), |parts| parts.forwards_ipv6 = true), []);
        let one = host().route(route("::/0", 2, "fe80::1", 100)).route(route("::/0", 2, "fe80::2", 200));
        assert_eq!(choices(one, |_| ()), [], "by one interface");
        let direct = host().route(route("::/0", 2, "fe80::1", 100)).route(route("::/0", 3, "", 200));
        assert_eq!(choices(direct, |_| ()), [], "by one gateway");
        let fib = two().assign(2, "2001:db8::4/64".parse().unwrap()).build();
        let Answer::Route(ours) = fib.lookup(&Query::to("2001:db8:9::1".parse().unwrap())) else {
            panic!("none")
        };
        let other = super::Route { dev: 3, gateway: "fe80::2".parse().ok(), ..ours };
        assert!(fib.may_pass_over(&ours, &other));
        assert!(!fib.may_pass_over(&ours, &super::Route { gateway: "fe80::3".parse().ok(), ..other }));
        assert!(!fib.may_pass_over(&ours, &super::Route { table: 7, ..other }));
    }

    #[test]
    fn paths_and_default_routes_of_ipv4_are_chosen_so_where_the_kernel_does() {
        let paths = |prefix| {
            let nexthops =
                [(2, "10.0.0.1"), (3, "10.1.0.1")].map(|(dev, to)| Nexthop::new(dev, to.parse().ok()));
            let several =
                Route { nexthops: Nexthops::Own(nexthops.to_vec()), ..route(prefix, 2, "10.0.0.1", 0) };
            host().route(several)
        };
        assert_eq!(choices(paths("192.0.2.0/24"), |_| ()), []);
        let asked = choices(paths("192.0.2.0/24"), |parts| parts.asks_neighbours = true);
        assert_eq!(asked, [("192.0.2.0/24".to_owned(), [2, 3])]);
        let two = |prefix, metric| {
            host().route(route(prefix, 2, "10.0.0.1", 0)).route(route(prefix, 3, "10.1.0.1", metric))
        };
        assert_eq!(choices(two("0.0.0.0/0", 0), |_| ()), [("0.0.0.0/0".to_owned(), [2, 3])]);
        assert_eq!(choices(two("0.0.0.0/0", 5), |_| ()), [], "another metric");
        assert_eq!(choices(two("192.0.2.0/24", 0), |_| ()), [], "no default route");
    }
}
