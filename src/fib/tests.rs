use std::net::IpAddr;

use super::spec::{Action, Family, Link, Masked, Route, Rule};
use super::{Answer, Builder, NoRoute, Query, RouteKind};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn two_sided() -> Builder {
    Builder::host()
        .link(Link::up(2, "public"))
        .link(Link::up(3, "private"))
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap())
        .assign(3, "2001:db8::4/64".parse().unwrap())
        .route(Route::new("0.0.0.0/0".parse().unwrap(), 2, Some(ip("203.0.113.1"))))
}

fn found(builder: Builder, query: &Query) -> super::Route {
    match builder.build().lookup(query) {
        Answer::Route(route) => route,
        other => panic!("{other:?}"),
    }
}

#[test]
fn connected_network_gives_device_and_source() {
    let route = found(two_sided(), &Query::to(ip("10.0.0.100")));
    assert_eq!((route.dev, route.source, route.gateway), (3, ip("10.0.0.4"), None));
    assert_eq!((route.table, route.prefix), (254, "10.0.0.0/24".parse().unwrap()));
}

#[test]
fn default_route_gives_gateway_and_the_address_beside_it() {
    let route = found(two_sided(), &Query::to(ip("192.0.2.7")));
    assert_eq!((route.dev, route.source, route.gateway), (2, ip("203.0.113.10"), Some(ip("203.0.113.1"))));
}

#[test]
fn own_address_is_local_through_loopback() {
    for own in ["10.0.0.4", "2001:db8::4", "127.0.0.1", "::1"] {
        let route = found(two_sided(), &Query::to(ip(own)));
        assert_eq!((route.kind, route.dev, route.source), (RouteKind::Local, 1, ip(own)), "{own}");
    }
}

#[test]
fn foreign_source_is_refused() {
    let query = Query { src: Some(ip("192.0.2.1")), ..Query::to(ip("10.0.0.100")) };
    assert_eq!(two_sided().build().lookup(&query), Answer::No(NoRoute::SourceNotLocal));
}

#[test]
fn mark_leads_to_another_table() {
    let rule =
        Rule { mark: Some(Masked { value: 7, mask: 0xff }), ..Rule::new(Family::V4, 100, Action::Table(7)) };
    let route = Route::new("0.0.0.0/0".parse().unwrap(), 3, Some(ip("10.0.0.1"))).in_table(7);
    let policy = two_sided().rule(rule).route(route);
    let marked = found(policy.clone(), &Query { mark: 0x107, ..Query::to(ip("192.0.2.7")) });
    assert_eq!((marked.dev, marked.table, marked.source), (3, 7, ip("10.0.0.4")));
    assert_eq!(found(policy, &Query::to(ip("192.0.2.7"))).dev, 2);
}
