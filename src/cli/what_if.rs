//! `--what-if`: a change of the host's routes that is only thought of.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::fib::spec::{Kind, Nexthops, Route, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::fib::{Answer, Builder, Fib, Query, RouteKind, table_in_words};

/// `route add|replace|del …`, in the words of iproute2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    text: String,
    verb: Verb,
    kind: Kind,
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

/// What is not understood, with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    text: String,
    /// Bytes of the text before the word, and the word's length.
    place: (usize, usize),
    problem: String,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begin, len) = self.place;
        writeln!(f, "{}", self.problem)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:begin$}{}", "", "^".repeat(len.max(1)))
    }
}

impl std::error::Error for Misread {}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Words with their places.
struct Words<'a> {
    text: &'a str,
    at: usize,
    last: (usize, usize),
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let begin = self.at + (rest.len() - rest.trim_start().len());
        let word = self.text[begin..].split_ascii_whitespace().next();
        self.last = (begin, word.map_or(0, str::len));
        self.at = begin + self.last.1;
        word
    }

    fn misread(&self, problem: impl Into<String>) -> Misread {
        Misread { text: self.text.into(), place: self.last, problem: problem.into() }
    }

    fn value<T: FromStr>(&mut self, what: &str) -> Result<T, Misread> {
        let word = self.next().ok_or_else(|| self.misread(format!("{what} is missing")))?;
        word.parse().map_err(|_| self.misread(format!("`{word}` is not {what}")))
    }
}

impl FromStr for Change {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let mut words = Words { text, at: 0, last: (0, 0) };
        if !matches!(words.next(), Some("route" | "r")) {
            return Err(words.misread("a change begins with `route`"));
        }
        let verb = match words.next() {
            Some("add") => Verb::Add,
            Some("replace" | "change") => Verb::Replace,
            Some("del" | "delete") => Verb::Delete,
            _ => return Err(words.misread("`add`, `replace` or `del` stands here")),
        };
        let mut word = words.next();
        let kind = match word {
            Some("unreachable") => Kind::Unreachable,
            Some("prohibit") => Kind::Prohibit,
            Some("blackhole") => Kind::Blackhole,
            Some("throw") => Kind::Throw,
            _ => Kind::Unicast,
        };
        if kind != Kind::Unicast {
            word = words.next();
        }
        let default = word == Some("default");
        let prefix = match word {
            Some("default") => "0.0.0.0/0".parse().ok(),
            Some(word) => word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from)),
            None => None,
        };
        let prefix: IpNet =
            prefix.ok_or_else(|| words.misread("a prefix stands here: ADDRESS/LENGTH or `default`"))?;
        let mut change = Self {
            text: text.trim().into(),
            verb,
            kind,
            prefix: prefix.trunc(),
            via: None,
            dev: None,
            table: TABLE_MAIN,
            metric: None,
            source: None,
        };
        while let Some(word) = words.next() {
            match word {
                "via" => change.via = Some(words.value("a gateway's address")?),
                "dev" => change.dev = Some(words.value("an interface's name")?),
                "table" => change.table = table(&mut words)?,
                "metric" => change.metric = Some(words.value("a metric")?),
                "src" => change.source = Some(words.value("a source address")?),
                _ => {
                    let expected = "`via`, `dev`, `table`, `metric` or `src` stands here";
                    return Err(words.misread(expected));
                }
            }
            let v6 = [change.via, change.source].iter().flatten().any(IpAddr::is_ipv6);
            if default && v6 {
                change.prefix = IpNet::new_assert(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
            } else if v6 && change.prefix.addr().is_ipv4() {
                return Err(words.misread("the prefix is of the other family"));
            }
        }
        let carries = kind == Kind::Unicast && verb != Verb::Delete;
        if carries && change.via.is_none() && change.dev.is_none() {
            return Err(words.misread("a route needs `via ADDRESS` or `dev NAME`"));
        }
        Ok(change)
    }
}

fn table(words: &mut Words<'_>) -> Result<u32, Misread> {
    Ok(match words.value::<String>("a table")?.as_str() {
        "main" => TABLE_MAIN,
        "local" => TABLE_LOCAL,
        "default" => TABLE_DEFAULT,
        number => {
            number.parse().map_err(|_| words.misread("`main`, `local`, `default` or a number stands here"))?
        }
    })
}

impl Change {
    /// The host after the change; `fib` is what `host` builds.
    ///
    /// # Errors
    /// Why the kernel would refuse it.
    pub fn apply(&self, host: Builder, fib: &Fib) -> Result<Builder, String> {
        match self.verb {
            Verb::Delete => self.delete(host),
            Verb::Add => {
                let route = self.route(fib)?;
                if host.routes().iter().any(|known| is_same_place(known, &route)) {
                    let table = table_in_words(self.table);
                    return Err(format!(
                        "{self}: table {table} has a route to {} with that metric already; say `replace`",
                        self.prefix
                    ));
                }
                Ok(host.route(route))
            }
            Verb::Replace => {
                let route = self.route(fib)?;
                let mut replaced = false;
                let host = host.without_routes(|known| {
                    let meant = !replaced && is_same_place(known, &route);
                    replaced |= meant;
                    meant
                });
                Ok(host.route(route))
            }
        }
    }

    /// The first route that has all that is said.
    fn delete(&self, host: Builder) -> Result<Builder, String> {
        let mut deleted = false;
        let via = |route: &Route| match &route.nexthops {
            Nexthops::Own(own) => own.iter().any(|nexthop| nexthop.gateway == self.via),
            Nexthops::Object(_) => false,
        };
        let host = host.without_routes(|route| {
            let meant = !deleted
                && route.table == self.table
                && route.prefix == self.prefix
                && self.metric.is_none_or(|metric| route.metric == metric)
                && self.source.is_none_or(|source| route.preferred_source == Some(source))
                && (self.via.is_none() || via(route));
            deleted |= meant;
            meant
        });
        if deleted { Ok(host) } else { Err(format!("{self}: there is no such route")) }
    }

    fn route(&self, fib: &Fib) -> Result<Route, String> {
        let dev = match (&self.dev, self.via) {
            (Some(name), _) => {
                let dev =
                    fib.link_index(name).ok_or_else(|| format!("{self}: there is no interface {name}"))?;
                if !fib.link_up(dev) {
                    return Err(format!("{self}: {name} is down"));
                }
                dev
            }
            (None, Some(via)) => on_link(fib, via)
                .ok_or_else(|| format!("{self}: {via} is on no link of this host; say `dev NAME`"))?,
            (None, None) => 0,
        };
        let mut route = Route::new(self.prefix, dev, self.via).in_table(self.table).of_kind(self.kind);
        if self.kind != Kind::Unicast {
            route.nexthops = Nexthops::Own(Vec::new());
        }
        route.metric = self.metric.unwrap_or(route.metric);
        route.preferred_source = self.source;
        if let Some(source) = self.source.filter(|source| fib.home_of(*source).is_none()) {
            return Err(format!("{self}: {source} is no address of this host"));
        }
        Ok(route)
    }
}

/// The kernel takes one for the other.
fn is_same_place(known: &Route, route: &Route) -> bool {
    (known.table, known.prefix, known.metric, known.tos)
        == (route.table, route.prefix, route.metric, route.tos)
}

/// The interface on whose link the gateway is.
fn on_link(fib: &Fib, gateway: IpAddr) -> Option<u32> {
    match fib.lookup(&Query::to(gateway)) {
        Answer::Route(route) if route.kind == RouteKind::Unicast && route.gateway.is_none() => {
            Some(route.dev)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::spec::Link;

    fn host() -> Builder {
        Builder::host()
            .link(Link::up(2, "wan"))
            .link(Link::up(3, "lan"))
            .link(Link { up: false, ..Link::up(4, "spare") })
            .assign(2, "203.0.113.10/24".parse().unwrap())
            .assign(3, "10.0.0.4/24".parse().unwrap())
            .assign(3, "2001:db8::4/64".parse().unwrap())
            .route(Route::new("0.0.0.0/0".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap())))
    }

    /// Where a packet to `dst` goes after the changes.
    fn after(changes: &[&str], dst: &str) -> Result<(u32, Option<String>), String> {
        let (mut builder, mut fib) = (host(), host().build());
        for change in changes {
            let change: Change = change.parse().map_err(|e: Misread| e.to_string())?;
            builder = change.apply(builder, &fib)?;
            fib = builder.clone().build();
        }
        match fib.lookup(&Query::to(dst.parse().unwrap())) {
            Answer::Route(route) => Ok((route.dev, route.gateway.map(|gateway| gateway.to_string()))),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn routes_come_and_go() {
        let (wan, lan) = (2, 3);
        assert_eq!(after(&[], "10.5.0.1"), Ok((wan, Some("203.0.113.1".into()))));
        assert_eq!(
            after(&["route add 10.5.0.0/16 via 10.0.0.9"], "10.5.0.1"),
            Ok((lan, Some("10.0.0.9".into())))
        );
        assert_eq!(after(&["route add 10.5.0.1 dev lan src 10.0.0.4"], "10.5.0.1"), Ok((lan, None)));
        assert_eq!(
            after(&["route replace default via 10.0.0.1"], "192.0.2.1"),
            Ok((lan, Some("10.0.0.1".into())))
        );
        assert_eq!(
            after(&["route add default via 2001:db8::1"], "2001:db8:9::1"),
            Ok((lan, Some("2001:db8::1".into())))
        );
        for gone in [
            &["route del default"][..],
            &["route add unreachable 192.0.2.0/24"],
            &["route del default via 203.0.113.1"],
        ] {
            assert!(after(gone, "192.0.2.1").unwrap_err().starts_with("No("), "{gone:?}");
        }
        let metric =
            ["route add 10.5.0.0/16 via 10.0.0.9 metric 5", "route add 10.5.0.0/16 via 10.0.0.8 metric 4"];
        assert_eq!(after(&metric, "10.5.0.1"), Ok((lan, Some("10.0.0.8".into()))));
        let deleted = [&metric[..], &["route del 10.5.0.0/16 metric 4"]].concat();
        assert_eq!(after(&deleted, "10.5.0.1"), Ok((lan, Some("10.0.0.9".into()))));
        assert_eq!(
            after(&["route add 10.5.0.0/16 via 10.0.0.9 table 77"], "10.5.0.1"),
            after(&[], "10.5.0.1")
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        for (change, words) in [
            ("route add default via 10.0.0.1", "say `replace`"),
            ("route add 10.5.0.0/16 via 192.0.2.9", "on no link"),
            ("route add 10.5.0.0/16 dev eth9", "no interface eth9"),
            ("route add 10.5.0.0/16 dev spare", "spare is down"),
            ("route add 10.5.0.0/16 dev lan src 10.9.9.9", "no address of this host"),
            ("route del 10.5.0.0/16", "no such route"),
            ("route del default via 10.0.0.1", "no such route"),
        ] {
            let refused = after(&[change], "192.0.2.1").unwrap_err();
            assert!(refused.contains(words), "{change}: {refused}");
        }
    }

    #[test]
    fn what_is_not_understood_is_pointed_at() {
        for (change, place, words) in [
            ("link set eth0 down", (0, 4), "begins with `route`"),
            ("route show", (6, 4), "`add`, `replace` or `del`"),
            ("route add", (9, 0), "a prefix"),
            ("route add 10.0.0.0/33 via 10.0.0.1", (10, 11), "a prefix"),
            ("route add 10.0.0.0/8 vai 10.0.0.1", (21, 3), "`via`"),
            ("route add 10.0.0.0/8 via lan", (25, 3), "a gateway"),
            ("route add 10.0.0.0/8 metric", (27, 0), "missing"),
            ("route add 10.0.0.0/8 via 10.0.0.1 table x", (40, 1), "a number"),
            ("route add 10.0.0.0/8", (20, 0), "needs `via"),
            ("route add 10.0.0.0/8 via fd00::1", (25, 7), "other family"),
        ] {
            let misread = change.parse::<Change>().unwrap_err();
            assert_eq!(misread.place, place, "{change}: {misread}");
            assert!(misread.problem.contains(words), "{change}: {misread}");
        }
        let shown = "route add 10.0.0.0/8 vai 10.0.0.1".parse::<Change>().unwrap_err().to_string();
        assert!(shown.ends_with("\n                       ^^^"), "{shown}");
    }
}
