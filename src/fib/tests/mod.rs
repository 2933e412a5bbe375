//! Hosts written down as literals, asked. What the kernel itself answers is held against the same code
//! in `tests/kernel_routes`.

mod routes;
mod rules;
mod sources;

use std::net::IpAddr;

use ipnet::IpNet;

use super::spec::{Link, Route as Spec};
use super::{Answer, Builder, NoRoute, Query, Route};

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn via(prefix: &str, dev: u32, gateway: &str) -> Spec {
    Spec::new(net(prefix), dev, Some(ip(gateway)))
}

pub fn on(prefix: &str, dev: u32) -> Spec {
    Spec::new(net(prefix), dev, None)
}

pub fn from(src: &str, query: Query) -> Query {
    Query { src: Some(ip(src)), ..query }
}

pub fn to(dst: &str) -> Query {
    Query::to(ip(dst))
}

/// `public` (2) with the default route, `private` (3) with both families.
pub fn two_sided() -> Builder {
    Builder::host()
        .link(Link::up(2, "public"))
        .link(Link::up(3, "private"))
        .assign(2, net("203.0.113.10/24"))
        .assign(3, net("10.0.0.4/24"))
        .assign(3, net("2001:db8::4/64"))
        .route(via("0.0.0.0/0", 2, "203.0.113.1"))
}

pub fn ask(builder: &Builder, query: &Query) -> Answer {
    builder.clone().build().lookup(query)
}

pub fn found(builder: &Builder, query: &Query) -> Route {
    match ask(builder, query) {
        Answer::Route(route) => route,
        other => panic!("{query:?}: {other:?}"),
    }
}

pub fn refused(builder: &Builder, query: &Query) -> NoRoute {
    match ask(builder, query) {
        Answer::No(why) => why,
        other => panic!("{query:?}: {other:?}"),
    }
}
