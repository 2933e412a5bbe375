//! `route add|replace|del PREFIX …`

use std::net::IpAddr;

use ipnet::IpNet;

use super::words::{Misread, Words};
use super::{device, is_link_local};
use crate::fib::spec::{Action, Address, Family, Kind, Link, Nexthop, Nexthops, Route, Rule, TABLE_MAIN};
use crate::fib::{
    Answer, Change as Event, Parts, Place, Query, Rib, Route as Found, RouteKind, table_in_words,
};

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
        let prefix = words.prefix(word, family)?;
        // IPv6's are cut off.
        if prefix.addr().is_ipv4() && prefix != prefix.trunc() {
            let network = prefix.trunc();
            return Err(words.misread(format!("there are bits behind the length; the network is {network}")));
        }
        let prefix = prefix.trunc();
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
            // IPv6 takes a path there and does nothing with it.
            let path = change.via.is_some() || change.dev.is_some();
            if path
                && verb != Verb::Delete
                && change.kind() != Kind::Unicast
                && change.prefix.addr().is_ipv4()
            {
                return Err(words.misread("a route that leads nowhere has neither `via` nor `dev`"));
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
            // IPv4's unspecified address is none.
            "via" => {
                let gateway: IpAddr = words.value("a gateway's address")?;
                self.via = Some(gateway).filter(|via| via.is_ipv6() || !via.is_unspecified());
            }
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
        let dev = self.dev.as_deref().map(|name| device(host, name)).transpose()?.unwrap_or(0);
        let leads = self.kind() == Kind::Unicast;
        let dev = if leads { self.path(host, dev)? } else { dev };
        let mut route = Route::new(self.prefix, dev, self.via).in_table(self.table).of_kind(self.kind());
        if !leads {
            route.nexthops = Nexthops::Own(Vec::new());
        }
        route.metric = self.metric.unwrap_or(route.metric);
        route.preferred_source = self.source;
        // The kernel does not look at the source of an IPv4 route that leads nowhere.
        let looked_at = self.source.filter(|source| leads || source.is_ipv6());
        let fib = host.fib(0);
        match looked_at.filter(|source| fib.home_of(*source).is_none()) {
            Some(source) => Err(format!("{source} is no address of this host")),
            None => Ok(route),
        }
    }

    /// The interface of the path: `dev`, or where that is 0 the one on whose link the gateway is. It is up.
    fn path(&self, host: &Rib, dev: u32) -> Result<u32, String> {
        let up = |dev: u32| match host.parts().links.iter().find(|link| link.index == dev) {
            Some(Link { up: false, name, .. }) => Err(format!("{name} is down; `link set {name} up` first")),
            _ => Ok(dev),
        };
        up(dev)?;
        let Some(via) = self.via else { return Ok(dev) };
        let of_link = |own: &Address| !is_link_local(via) || own.dev == dev;
        if via.is_ipv6() && host.parts().addresses.iter().any(|own| own.address == via && of_link(own)) {
            return Err(format!("{via} is this host's own address"));
        }
        let found = on_link(host, via, dev, self.table).ok_or_else(|| match &self.dev {
            Some(name) => format!("{via} is not on the link of {name}"),
            None => format!("{via} is on no link of this host; say `dev NAME`"),
        })?;
        up(found)
    }
}

/// The kernel takes one for the other.
fn is_same_place(known: &Route, route: &Route) -> bool {
    (known.table, known.prefix, known.metric, known.tos, known.from)
        == (route.table, route.prefix, route.metric, route.tos, route.from)
}

/// The interface (`dev`, unless that is 0) on whose link the gateway is: as the route's own table says, else
/// as all rules say. For IPv4 the kernel passes over routes through gateways there, and takes an address of the
/// host's own for one on the link of its interface.
fn on_link(host: &Rib, gateway: IpAddr, dev: u32, table: u32) -> Option<u32> {
    if dev != 0 && is_link_local(gateway) {
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
            Answer::Route(route) if route.kind == RouteKind::Local && gateway.is_ipv4() => {
                home_of(&here, &route, dev)
            }
            _ => None,
        });
    }
    found
}

/// The interface (`dev`, unless that is 0) that a local route is of; what is sent by it goes by `lo`.
fn home_of(host: &Rib, found: &Found, dev: u32) -> Option<u32> {
    let is_it =
        |route: &Route| (route.table, route.prefix, route.kind) == (found.table, found.prefix, Kind::Local);
    let paths = host.routes().filter(is_it).filter_map(|route| match &route.nexthops {
        Nexthops::Own(own) => own.first().map(|path| path.dev),
        Nexthops::Object(_) => None,
    });
    paths.into_iter().find(|of| dev == 0 || *of == dev)
}
