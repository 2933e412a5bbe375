//! `route add|replace|del PREFIX …`

use std::net::IpAddr;

use ipnet::IpNet;

use super::device;
use super::words::{Misread, Words};
use crate::fib::spec::{Action, Family, Kind, Nexthop, Nexthops, Route, Rule, TABLE_MAIN};
use crate::fib::{Answer, Change as Event, Parts, Place, Query, Rib, RouteKind, table_in_words};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    verb: Verb,
    /// As it was written; `unicast` where nothing was.
    kind: Option<Kind>,
    prefix: IpNet,
    via: Option<IpAddr>,
    dev: Option<String>,
    table: u32,
    metric: Option<u32>,
    source: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Replace,
    Delete,
}

impl Change {
    pub fn read(words: &mut Words<'_>, family: Option<Family>) -> Result<Self, Misread> {
        let verb = match words.next() {
            Some("add") => Verb::Add,
            Some("replace" | "change") => Verb::Replace,
            Some("del" | "delete") => Verb::Delete,
            _ => return Err(words.misread("`add`, `replace` or `del` stands here")),
        };
        let mut word = words.next();
        let kind = match word {
            Some("unicast") => Some(Kind::Unicast),
            Some("unreachable") => Some(Kind::Unreachable),
            Some("prohibit") => Some(Kind::Prohibit),
            Some("blackhole") => Some(Kind::Blackhole),
            Some("throw") => Some(Kind::Throw),
            _ => None,
        };
        if kind.is_some() {
            word = words.next();
        }
        let default = word == Some("default");
        let prefix = words.prefix(word, family)?.trunc();
        let mut change =
            Self { verb, kind, prefix, via: None, dev: None, table: TABLE_MAIN, metric: None, source: None };
        while let Some(word) = words.next() {
            change.option(word, words)?;
            let v6 = [change.via, change.source].iter().flatten().any(IpAddr::is_ipv6);
            if default && v6 {
                change.prefix = IpNet::new_assert(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
            } else if v6 && change.prefix.addr().is_ipv4() {
                return Err(words.misread("the prefix is of the other family"));
            }
        }
        let carries = change.kind() == Kind::Unicast && verb != Verb::Delete;
        if carries && change.via.is_none() && change.dev.is_none() {
            return Err(words.misread("a route needs `via ADDRESS` or `dev NAME`"));
        }
        Ok(change)
    }

    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), Misread> {
        match word {
            "via" => self.via = Some(words.value("a gateway's address")?),
            "dev" => self.dev = Some(words.value("an interface's name")?),
            "table" => self.table = words.table()?,
            "metric" => self.metric = Some(words.value("a metric")?),
            "src" => self.source = Some(words.value("a source address")?),
            _ => return Err(words.misread("`via`, `dev`, `table`, `metric` or `src` stands here")),
        }
        Ok(())
    }

    fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Unicast)
    }

    pub fn apply(&self, host: &mut Rib) -> Result<(), String> {
        if self.verb == Verb::Delete {
            return self.delete(host);
        }
        let route = self.route(host)?;
        let known = host.routes().any(|known| is_same_place(&known, &route));
        let place = match self.verb {
            Verb::Replace => Place::Instead,
            _ if known => {
                let table = table_in_words(self.table);
                return Err(format!(
                    "table {table} has a route to {} with that metric already; say `replace`",
                    self.prefix
                ));
            }
            _ => Place::First,
        };
        host.apply(Event::Add(route, place), false);
        Ok(())
    }

    /// The first route that has all that is said.
    fn delete(&self, host: &mut Rib) -> Result<(), String> {
        let dev = self.dev.as_deref().map(|name| device(host, name)).transpose()?;
        let is_path = |path: &Nexthop| {
            self.via.is_none_or(|via| path.gateway == Some(via)) && dev.is_none_or(|dev| path.dev == dev)
        };
        let (names_path, v6) = (self.via.is_some() || dev.is_some(), self.prefix.addr().is_ipv6());
        let found = host.routes().find(|route| {
            let paths = match &route.nexthops {
                // The kernel looks at IPv4's first path alone.
                Nexthops::Own(own) if v6 => own.iter().any(is_path),
                Nexthops::Own(own) => own.first().is_some_and(is_path),
                Nexthops::Object(_) => false,
            };
            route.table == self.table
                && route.prefix == self.prefix
                && self.kind.is_none_or(|kind| route.kind == kind)
                && self.metric.is_none_or(|metric| route.metric == metric)
                && self.source.is_none_or(|source| route.preferred_source == Some(source))
                && (!names_path || paths)
        });
        let mut gone = found.ok_or("there is no such route")?;
        if let Nexthops::Own(own) = &mut gone.nexthops
            && v6
            && names_path
        {
            own.retain(is_path);
        }
        host.apply(Event::Remove(gone), false);
        Ok(())
    }

    fn route(&self, host: &mut Rib) -> Result<Route, String> {
        let fib = host.fib(0);
        let dev = match &self.dev {
            Some(name) => {
                let dev = device(host, name)?;
                if !fib.links().any(|link| link.index == dev && link.up) {
                    return Err(format!("{name} is down; `link set {name} up` first"));
                }
                dev
            }
            None => 0,
        };
        let dev = match self.via {
            Some(via) => on_link(host, via, dev, self.table).ok_or_else(|| match &self.dev {
                Some(name) => format!("{via} is not on the link of {name}"),
                None => format!("{via} is on no link of this host; say `dev NAME`"),
            })?,
            None => dev,
        };
        let mut route = Route::new(self.prefix, dev, self.via).in_table(self.table).of_kind(self.kind());
        if self.kind() != Kind::Unicast {
            route.nexthops = Nexthops::Own(Vec::new());
        }
        route.metric = self.metric.unwrap_or(route.metric);
        route.preferred_source = self.source;
        if let Some(source) = self.source.filter(|source| fib.home_of(*source).is_none()) {
            return Err(format!("{source} is no address of this host"));
        }
        Ok(route)
    }
}

/// The kernel takes one for the other.
fn is_same_place(known: &Route, route: &Route) -> bool {
    (known.table, known.prefix, known.metric, known.tos, known.from)
        == (route.table, route.prefix, route.metric, route.tos, route.from)
}

/// The interface (`dev`, unless that is 0) on whose link the gateway is: as the route's own table says, else
/// as all rules say. For IPv4 the kernel passes over routes through gateways there.
fn on_link(host: &Rib, gateway: IpAddr, dev: u32, table: u32) -> Option<u32> {
    if dev != 0 && matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return Some(dev);
    }
    let direct = |route: &Route| match &route.nexthops {
        Nexthops::Own(own) => own.iter().all(|path| path.gateway.is_none()),
        Nexthops::Object(_) => false,
    };
    let mut here = Rib::default();
    here.set_parts(host.parts().clone());
    for route in host.routes().filter(|r| r.prefix.contains(&gateway) && (gateway.is_ipv6() || direct(r))) {
        here.apply(Event::Add(route, Place::Last), false);
    }
    let everywhere = host.parts().rules.clone();
    let own = vec![Rule::new(Family::of(gateway), 0, Action::Table(table))];
    // For IPv4 that is only so where the table is none of everybody's.
    let own = Some(own).filter(|_| gateway.is_ipv6() || table != TABLE_MAIN);
    let mut found = None;
    for (rules, merged) in own.map(|own| (own, false)).into_iter().chain([(everywhere, host.parts().merged)])
    {
        here.set_parts(Parts { rules, merged, ..host.parts().clone() });
        found = found.or_else(|| match here.fib(0).lookup(&Query { oif: dev, ..Query::to(gateway) }) {
            Answer::Route(route) if route.kind == RouteKind::Unicast && route.gateway.is_none() => {
                Some(route.dev)
            }
            _ => None,
        });
    }
    found
}
