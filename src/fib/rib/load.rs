//! Many routes at once, as a dump gives them.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Parts, Rib, RibTable, Tables, Variant, arrange, is_foreign};
use crate::fib::spec::Route;
use crate::fib::table::Net;

/// One more route to a prefix. The kernel may list an IPv6 route twice where others changed meanwhile; it has none twice.
pub(super) fn add(list: &mut Vec<Variant>, variant: Variant, v4: bool) {
    if v4 || !list.contains(&variant) {
        list.push(variant);
    }
}

/// Takes the routes of a dump one after another, in the kernel's order, and makes a [`Rib`] of them; holds
/// some bytes a route meanwhile.
#[derive(Default)]
pub struct Loader {
    /// The routes of the prefix that came last: a dump has all of a prefix in a row.
    last: Option<(u32, IpNet, Vec<Variant>)>,
    v4: Loading<Ipv4Net>,
    v6: Loading<Ipv6Net>,
}

/// Tables, and which list each prefix of theirs gets.
struct Loading<P: Net> {
    tables: Tables<P>,
    routes: BTreeMap<u32, Vec<(P, u32)>>,
}

impl<P: Net> Default for Loading<P> {
    fn default() -> Self {
        Self { tables: BTreeMap::new(), routes: BTreeMap::new() }
    }
}

impl<P: Net + Ord> Loading<P> {
    fn add(&mut self, table: u32, prefix: P, list: Vec<Variant>) {
        let number = self.tables.entry(table).or_insert_with(|| RibTable::new(table)).number(list);
        self.routes.entry(table).or_default().push((prefix, number));
    }

    fn finish(mut self) -> Tables<P> {
        for (id, routes) in self.routes {
            if let Some(table) = self.tables.get_mut(&id) {
                table.load(routes);
            }
        }
        self.tables
    }
}

impl Loader {
    /// Takes the next route.
    pub fn add(&mut self, route: Route) {
        if is_foreign(&route) {
            return;
        }
        let (table, prefix) = (route.table, route.prefix);
        match &mut self.last {
            Some((last_table, last_prefix, list)) if (*last_table, *last_prefix) == (table, prefix) => {
                add(list, route.into(), prefix.addr().is_ipv4());
            }
            _ => {
                self.file();
                self.last = Some((table, prefix, vec![route.into()]));
            }
        }
    }

    fn file(&mut self) {
        let Some((table, prefix, mut list)) = self.last.take() else { return };
        arrange(&mut list);
        match prefix {
            IpNet::V4(net) => self.v4.add(table, net, list),
            IpNet::V6(net) => self.v6.add(table, net, list),
        }
    }

    /// All of it, with what is not routes.
    pub fn finish(mut self, parts: Parts) -> Rib {
        self.file();
        let mut rib = Rib { v4: self.v4.finish(), v6: self.v6.finish(), ..Rib::default() };
        rib.set_parts(parts);
        rib.stale = true;
        rib
    }
}
