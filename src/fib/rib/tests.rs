use ipnet::IpNet;

use super::table::REWRITES;
use super::*;
use crate::fib::Builder;
use crate::fib::entries::Entry;
use crate::fib::spec::{NexthopObject, TABLE_LOCAL};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn via(prefix: &str, dev: u32, gateway: &str) -> Route {
    Route::new(net(prefix), dev, Some(gateway.parse().unwrap()))
}

impl Route {
    /// Its first path.
    fn own(&self) -> Nexthop {
        match &self.nexthops {
            Nexthops::Own(own) => own[0],
            Nexthops::Object(_) => panic!("it leads to an object"),
        }
    }
}

/// Two interfaces with an address of each family.
fn host() -> Builder {
    Builder::host()
        .link(Link::up(2, "a"))
        .link(Link::up(3, "b"))
        .assign(2, net("10.0.2.1/24"))
        .assign(3, net("10.0.3.1/24"))
        .assign(2, net("2001:db8:2::1/64"))
        .assign(3, net("2001:db8:3::1/64"))
}

/// The routes to this prefix in table main, as `ip` would list them.
fn listed(rib: &mut Rib, prefix: &str) -> Vec<String> {
    let fib = rib.fib(1);
    let entries = fib.entries().into_iter().filter_map(|entry| match entry {
        Entry::Route(route) if route.prefix == net(prefix) => Some(route.to_string()),
        _ => None,
    });
    let text = format!("route unicast {prefix} table main ");
    entries.map(|route| route.replace(&text, "")).collect()
}

fn add(rib: &mut Rib, route: Route, place: Place) {
    assert!(rib.apply(Change::Add(route, place), false));
}

fn remove(rib: &mut Rib, route: Route) {
    assert!(rib.apply(Change::Remove(route), false));
}

#[test]
fn ipv4_routes_of_one_metric_stand_as_they_were_made() {
    let mut rib = host().rib();
    let to = |gateway| via("198.51.100.0/24", 2, gateway);
    add(&mut rib, to("10.0.2.2"), Place::First);
    add(&mut rib, to("10.0.2.3"), Place::Last);
    add(&mut rib, to("10.0.2.4"), Place::First);
    add(&mut rib, to("10.0.2.5").with_metric(5), Place::First);
    let list = |rib: &mut Rib| listed(rib, "198.51.100.0/24");
    assert_eq!(
        list(&mut rib),
        ["via 10.0.2.4 dev a", "via 10.0.2.2 dev a", "via 10.0.2.3 dev a", "via 10.0.2.5 dev a metric 5"]
    );
    add(&mut rib, to("10.0.2.6"), Place::Instead);
    remove(&mut rib, to("10.0.2.2"));
    add(&mut rib, to("10.0.2.7").with_metric(5), Place::Instead);
    add(&mut rib, to("10.0.2.8").with_metric(1), Place::Instead);
    assert_eq!(
        list(&mut rib),
        [
            "via 10.0.2.6 dev a",
            "via 10.0.2.3 dev a",
            "via 10.0.2.8 dev a metric 1",
            "via 10.0.2.7 dev a metric 5"
        ]
    );
    for route in
        [to("10.0.2.6"), to("10.0.2.3"), to("10.0.2.8").with_metric(1), to("10.0.2.7").with_metric(5)]
    {
        remove(&mut rib, route);
    }
    assert!(list(&mut rib).is_empty());
}

#[test]
fn an_event_that_does_not_fit_is_told() {
    let mut rib = host().rib();
    let route = via("198.51.100.0/24", 2, "10.0.2.2");
    let other = via("198.51.100.0/24", 3, "10.0.3.2");
    assert!(rib.apply(Change::Remove(route.clone()), false), "gone already: so it should be");
    add(&mut rib, other.clone(), Place::First);
    assert!(!rib.apply(Change::Remove(route.clone()), false), "what is there is not what should be");
    assert!(rib.apply(Change::Remove(route.clone()), true), "unless it was loaded later");
    remove(&mut rib, other);
    assert!(!rib.apply(Change::Add(route.clone(), Place::Same), false));
    add(&mut rib, route.clone(), Place::First);
    assert!(rib.apply(Change::Add(route, Place::First), true));
    assert_eq!(listed(&mut rib, "198.51.100.0/24").len(), 1, "not twice");
}

#[test]
fn ipv6_routes_by_gateways_of_one_metric_are_paths_of_one() {
    let mut rib = host().rib();
    let path = |dev, gateway: &str| Nexthop::new(dev, Some(gateway.parse().unwrap()));
    let several = |paths: &[Nexthop]| Route {
        nexthops: Nexthops::Own(paths.to_vec()),
        ..via("2001:db8:9::/48", 2, "2001:db8:2::2")
    };
    let (p2, p3, p4) = (path(2, "2001:db8:2::2"), path(3, "2001:db8:3::3"), path(3, "2001:db8:3::4"));
    let list = |rib: &mut Rib| listed(rib, "2001:db8:9::/48");
    add(&mut rib, several(&[p2]), Place::First);
    // The event of a new path begins with it.
    add(&mut rib, several(&[p3, p2]), Place::Last);
    add(&mut rib, several(&[p4, p2, p3]), Place::Last);
    assert_eq!(
        list(&mut rib),
        ["nexthop via 2001:db8:2::2 dev a weight 1 nexthop via 2001:db8:3::3 dev b weight 1 \
          nexthop via 2001:db8:3::4 dev b weight 1 metric 1024"]
    );
    remove(&mut rib, several(&[p3]));
    remove(&mut rib, several(&[p2]));
    assert_eq!(list(&mut rib), ["via 2001:db8:3::4 dev b metric 1024"]);
    add(&mut rib, several(&[p2, p3]), Place::Instead);
    remove(&mut rib, several(&[p2, p3]));
    assert!(list(&mut rib).is_empty());
}

#[test]
fn what_is_left_of_an_opaque_route_is_to_be_read() {
    let path = |dev, gateway: &str| Nexthop::new(dev, Some(gateway.parse().unwrap()));
    let (first, second) = (path(2, "2001:db8:2::2"), path(3, "2001:db8:3::3"));
    let by = |paths: &[Nexthop]| Route {
        nexthops: Nexthops::Own(paths.to_vec()),
        ..via("2001:db8:9::/48", 2, "2001:db8:2::2")
    };
    for opaque in [false, true] {
        let mut rib = host().rib();
        add(&mut rib, Route { opaque, ..by(&[first, second]) }, Place::First);
        assert_eq!(rib.apply(Change::Remove(by(&[first])), true), !opaque);
        assert!(rib.apply(Change::Remove(by(&[second])), true));
        assert!(listed(&mut rib, "2001:db8:9::/48").is_empty());
    }
}

#[test]
fn paths_are_unknown_when_a_link_without_a_carrier_counts_again() {
    use crate::fib::spec::LinkConf;
    let link = |carrier, ignore_linkdown_v4| Link {
        carrier,
        conf: LinkConf { ignore_linkdown_v4, ..LinkConf::default() },
        ..Link::up(4, "c")
    };
    let asked = |before: Link, now: Link| {
        let mut rib = host().link(before).rib();
        let parts = host().link(now.clone()).rib().parts().clone();
        // Whether or not the link's own event came first.
        let first = rib.knows_too_little_for(&parts);
        rib.link_is(now);
        assert_eq!(rib.knows_too_little_for(&parts), first);
        first
    };
    assert!(asked(link(false, true), link(false, false)));
    assert!(!asked(link(false, false), link(false, true)));
    assert!(!asked(link(true, true), link(true, false)), "with a carrier nothing was ignored");
}

#[test]
fn ipv6_that_goes_from_a_link_takes_routes_along_unheard() {
    let mut rib = host().rib();
    let mut parts = rib.parts().clone();
    parts.links.iter_mut().for_each(|link| link.conf.without_ipv6 = link.index == 3);
    assert!(rib.knows_too_little_for(&parts));
    rib.set_parts(parts.clone());
    assert!(!rib.knows_too_little_for(&parts), "it has been asked");
    let told = host().without_routes(|route| route.prefix.addr().is_ipv6()).rib();
    assert!(!told.knows_too_little_for(&parts), "each was told of");
}

/// Had the kernel made one of them, the event would name both paths; routes from router advertisements stand alone.
#[test]
fn ipv6_routes_by_gateways_that_events_name_alone_are_routes_of_their_own() {
    let mut rib = host().rib();
    let by = |gateway| via("2001:db8:9::/48", 2, gateway);
    add(&mut rib, by("2001:db8:2::2"), Place::First);
    add(&mut rib, by("2001:db8:2::3"), Place::First);
    let both = ["via 2001:db8:2::2 dev a metric 1024", "via 2001:db8:2::3 dev a metric 1024"];
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), both);
    remove(&mut rib, by("2001:db8:2::2"));
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), both[1..]);
}

/// What the kernel tells is not enough then: the routes have to be loaded anew.
#[test]
fn ipv6_paths_that_differ_or_stand_among_others_are_not_followed() {
    let path = |gateway: &str| Nexthop::new(2, Some(gateway.parse().unwrap()));
    let (a, b) = (path("2001:db8:2::2"), path("2001:db8:2::3"));
    let by = |paths: &[Nexthop]| Route {
        nexthops: Nexthops::Own(paths.to_vec()),
        ..via("2001:db8:9::/48", 2, "2001:db8:2::2")
    };
    let mut rib = host().rib();
    add(&mut rib, by(&[a]), Place::First);
    add(&mut rib, by(&[b, a]).with_source("2001:db8:3::1".parse().unwrap()), Place::Last);
    let joined =
        "nexthop via 2001:db8:2::2 dev a weight 1 nexthop via 2001:db8:2::3 dev a weight 1 metric 1024";
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), [joined], "the kernel tells what the first prefers");
    assert!(!rib.apply(Change::Remove(by(&[a])), false));

    let mut rib = host().rib();
    add(&mut rib, by(&[a, b]), Place::First);
    let alone = by(&[Nexthop::new(2, None)]);
    assert!(!rib.apply(Change::Add(alone.clone(), Place::Last), false));
    assert!(!rib.apply(Change::Remove(by(&[a])), false));
    assert!(rib.apply(Change::Remove(alone), false), "as simple as others again");
}

#[test]
fn ipv4_routes_of_a_link_that_goes_down_are_gone_and_its_addresses_stay() {
    let mut rib = host().rib();
    let multipath = Route {
        nexthops: Nexthops::Own(vec![
            Nexthop::new(2, Some("10.0.2.9".parse().unwrap())),
            Nexthop::new(3, Some("10.0.3.9".parse().unwrap())),
        ]),
        ..via("203.0.113.0/24", 2, "10.0.2.9")
    };
    add(&mut rib, via("198.51.100.0/24", 2, "10.0.2.2"), Place::First);
    add(&mut rib, via("198.51.100.0/24", 3, "10.0.3.2"), Place::Last);
    add(&mut rib, multipath, Place::First);
    let before = rib.len();
    rib.link_is(Link { up: false, carrier: false, ..Link::up(2, "a") });
    assert_eq!(listed(&mut rib, "198.51.100.0/24"), ["via 10.0.3.2 dev b"]);
    assert_eq!(
        listed(&mut rib, "203.0.113.0/24"),
        ["nexthop via 10.0.2.9 dev a (down) weight 1 nexthop via 10.0.3.9 dev b weight 1"]
    );
    assert!(listed(&mut rib, "10.0.2.0/24").is_empty());
    // Of IPv4 its network and its only route; of IPv6 its network and its address.
    assert_eq!(rib.len(), before - 3);
    let own = |rib: &Rib| rib.routes().any(|r| r.table == TABLE_LOCAL && r.prefix == net("10.0.2.1/32"));
    assert!(own(&rib));
    rib.link_is(Link::up(2, "a"));
    assert!(listed(&mut rib, "10.0.2.0/24").is_empty(), "it has to be made again");
    assert!(!listed(&mut rib, "203.0.113.0/24")[0].contains("down"));
    rib.link_gone(2);
    assert!(!own(&rib));
}

#[test]
fn routes_go_with_the_source_that_they_prefer() {
    let mut rib = host().assign(3, net("10.0.9.9/32")).rib();
    let preferring = via("198.51.100.0/24", 2, "10.0.2.2").with_source("10.0.9.9".parse().unwrap());
    add(&mut rib, preferring.clone(), Place::First);
    // Linux looks into table main alone, and there at routes that lead somewhere.
    add(&mut rib, preferring.clone().in_table(100), Place::First);
    let refusing = Route { nexthops: Nexthops::Own(Vec::new()), ..preferring.of_kind(Kind::Prohibit) };
    add(&mut rib, refusing.with_metric(9), Place::First);
    let prefers = |rib: &mut Rib| -> Vec<u32> {
        let source = Some("10.0.9.9".parse().unwrap());
        rib.routes().filter(|r| r.preferred_source == source).map(|r| r.table).collect()
    };
    assert_eq!(prefers(&mut rib), [100, 254, 254, 255]);
    assert_eq!(rib.address_gone(&Address::new(3, "10.0.9.9".parse().unwrap(), 32)), Silent::Known);
    // The one in table local comes with an event of its own.
    assert_eq!(prefers(&mut rib), [100, 254, 255]);
    let left = "route prohibit 198.51.100.0/24 table main src 10.0.9.9 metric 9";
    assert_eq!(listed(&mut rib, "198.51.100.0/24")[1], left);

    let source: IpAddr = "2001:db8:3::1".parse().unwrap();
    add(&mut rib, via("2001:db8:9::/48", 3, "2001:db8:3::2").with_source(source), Place::First);
    // No IPv6 address is left, though routes are: what else went is not known.
    assert_eq!(rib.address_gone(&Address::new(3, source, 64)), Silent::Unknown);
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), ["via 2001:db8:3::2 dev b metric 1024"]);
}

/// `fib_del_ifaddr` asks table local whether the address is the host's all the same.
#[test]
fn routes_stay_with_a_source_that_is_the_hosts_in_another_way() {
    let source = "10.0.9.9".parse().unwrap();
    let left = |local: Option<Route>| {
        let host = host().assign(3, net("10.0.9.9/24"));
        let mut rib = local.into_iter().fold(host, Builder::route).rib();
        add(&mut rib, via("198.51.100.0/24", 2, "10.0.2.2").with_source(source), Place::First);
        assert_eq!(rib.address_gone(&Address::new(3, source, 24)), Silent::Known);
        listed(&mut rib, "198.51.100.0/24").len()
    };
    let claim = |prefix, kind| Route::new(net(prefix), 2, None).in_table(TABLE_LOCAL).of_kind(kind);
    assert_eq!(left(None), 0);
    assert_eq!(left(Some(claim("10.0.9.9/32", Kind::Local))), 1, "another device has it too");
    assert_eq!(left(Some(claim("0.0.0.0/0", Kind::Local))), 1);
    assert_eq!(left(Some(claim("10.0.0.0/8", Kind::Broadcast))), 0);
    // The kernel has made neither of these for the address.
    let by_itself =
        |prefix| Route { nexthops: Nexthops::Own(vec![Nexthop::new(3, None)]), ..claim(prefix, Kind::Local) };
    assert_eq!(left(Some(by_itself("0.0.0.0/0").with_source(source))), 1);
    assert_eq!(left(Some(by_itself("10.0.9.9/32").with_source(source))), 0, "but this one");
    // Where both tables are one, a route of table main may be longer.
    let wider = || Route::new(net("10.0.8.0/22"), 2, None);
    let mut rib = host().route(claim("0.0.0.0/0", Kind::Local)).route(wider()).rib();
    assert!(rib.is_own_v4(&Address::new(3, source, 24)));
    let mut parts = rib.parts().clone();
    parts.merged = true;
    rib.set_parts(parts);
    assert!(!rib.is_own_v4(&Address::new(3, source, 24)));
}

/// `fib6_remove_prefsrc` as of Linux 6.6.
#[test]
fn ipv6_routes_of_any_device_forget_a_source_that_is_deleted() {
    let source: IpAddr = "2001:db8:3::1".parse().unwrap();
    let by = |dev| via("2001:db8:9::/48", dev, "2001:db8:2::9").with_source(source);
    let gone = Address::new(3, source, 64);
    let mut rib = host().rib();
    add(&mut rib, by(2), Place::First);
    rib.address_gone(&gone);
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), ["via 2001:db8:2::9 dev a metric 1024"]);

    // Another device still has the address.
    let mut rib = host().assign(2, net("2001:db8:3::1/128")).rib();
    add(&mut rib, by(2), Place::First);
    rib.address_gone(&gone);
    let kept = ["via 2001:db8:2::9 dev a src 2001:db8:3::1 metric 1024"];
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), kept);

    // A route by a nexthop object keeps what it prefers.
    let object = NexthopObject { id: 7, body: NexthopBody::Single(Family::V6, by(2).own()) };
    let mut rib = host().nexthop(object).rib();
    add(&mut rib, Route { nexthops: Nexthops::Object(7), ..by(2) }, Place::First);
    rib.address_gone(&gone);
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), kept);
}

/// `addrconf_ifdown` deletes the routes by the device, then the addresses, and looks no further: paths of routes
/// that have others are marked only.
#[test]
fn where_ipv6_is_switched_off_sources_are_remembered_and_paths_are_dead() {
    let source: IpAddr = "2001:db8:3::1".parse().unwrap();
    let path = |dev, gateway: &str| Nexthop::new(dev, Some(gateway.parse().unwrap()));
    let several = Nexthops::Own(vec![path(2, "2001:db8:2::2"), path(3, "2001:db8:3::3")]);
    let mut rib = host().rib();
    add(&mut rib, via("2001:db8:9::/48", 2, "2001:db8:2::9").with_source(source), Place::First);
    add(&mut rib, Route { nexthops: several, ..via("2001:db8:8::/48", 2, "2001:db8:2::2") }, Place::First);
    let by_device: Vec<Route> =
        rib.routes().filter(|r| r.prefix.addr().is_ipv6() && r.own().dev == 3).collect();
    by_device.into_iter().for_each(|route| remove(&mut rib, route));
    let gone = Address::new(3, source, 64);
    assert_eq!(rib.address_gone(&gone), Silent::Known);
    assert_eq!(
        listed(&mut rib, "2001:db8:9::/48"),
        ["via 2001:db8:2::9 dev a src 2001:db8:3::1 metric 1024"]
    );
    let list = |rib: &mut Rib| listed(rib, "2001:db8:8::/48");
    let dead = "nexthop via 2001:db8:2::2 dev a weight 1 nexthop via 2001:db8:3::3 dev b (down) weight 1 metric 1024";
    assert_eq!(list(&mut rib), [dead]);
    rib.address_is(gone);
    assert_eq!(list(&mut rib), [dead.replace(" (down)", "")]);
}

#[test]
fn replacing_an_ipv6_route_replaces_the_first_though_another_be_the_same() {
    let direct = |dev| Route::new(net("2001:db8:9::/48"), dev, None);
    let mut rib = host().rib();
    add(&mut rib, direct(2), Place::First);
    add(&mut rib, direct(3), Place::Last);
    add(&mut rib, direct(3), Place::Instead);
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), ["dev b metric 1024", "dev b metric 1024"]);
}

/// As with the sysctl `net.ipv6.route.skip_notify_on_dev_down`; without it they are gone already.
#[test]
fn ipv6_routes_of_a_link_that_goes_down_are_gone_without_an_event() {
    let path = |dev, gateway: &str| Nexthop::new(dev, Some(gateway.parse().unwrap()));
    let several = Nexthops::Own(vec![path(2, "2001:db8:2::2"), path(3, "2001:db8:3::3")]);
    let mut rib = host().rib();
    add(&mut rib, Route { nexthops: several, ..via("2001:db8:9::/48", 2, "2001:db8:2::2") }, Place::First);
    add(&mut rib, via("2001:db8:8::/48", 2, "2001:db8:2::2"), Place::First);
    let list = |rib: &mut Rib| ["2001:db8:2::/64", "2001:db8:8::/48"].map(|prefix| listed(rib, prefix).len());
    assert_eq!(list(&mut rib), [1, 1]);
    rib.link_is(Link { up: false, carrier: false, ..Link::up(2, "a") });
    assert_eq!(list(&mut rib), [0, 0]);
    // Their events come after the link's.
    add(&mut rib, via("2001:db8:8::/48", 3, "2001:db8:3::3"), Place::First);
    remove(&mut rib, via("2001:db8:8::/48", 2, "2001:db8:2::2"));
    assert_eq!(list(&mut rib), [0, 1]);
    assert!(listed(&mut rib, "2001:db8:9::/48")[0].contains("dev a (down)"));
    rib.link_gone(2);
    assert_eq!(listed(&mut rib, "2001:db8:9::/48"), ["via 2001:db8:3::3 dev b metric 1024"]);
    rib.link_gone(3);
    assert!(listed(&mut rib, "2001:db8:9::/48").is_empty());
}

/// `addrconf_notify` waits for the carrier before it calls `rt6_sync_up`, `fib_netdev_event` does not.
#[test]
fn paths_of_a_link_without_a_carrier_are_alive_for_ipv4_alone() {
    let several = |prefix: &str, gateways: [&str; 2]| Route {
        nexthops: Nexthops::Own(
            [2, 3].iter().zip(gateways).map(|(dev, g)| Nexthop::new(*dev, g.parse().ok())).collect(),
        ),
        ..via(prefix, 2, gateways[0])
    };
    let mut rib = host().rib();
    add(&mut rib, several("203.0.113.0/24", ["10.0.2.9", "10.0.3.9"]), Place::First);
    add(&mut rib, several("2001:db8:9::/48", ["2001:db8:2::9", "2001:db8:3::9"]), Place::First);
    let down = |rib: &mut Rib| {
        ["203.0.113.0/24", "2001:db8:9::/48"].map(|prefix| listed(rib, prefix)[0].contains("dev a (down)"))
    };
    for (up, carrier, expected) in
        [(false, false, [true, true]), (true, false, [false, true]), (true, true, [false, false])]
    {
        rib.link_is(Link { up, carrier, ..Link::up(2, "a") });
        assert_eq!(down(&mut rib), expected, "up {up}, carrier {carrier}");
    }
}

/// The kernel calls a path dead that is only passed over for want of a carrier: does the route go with the last other?
#[test]
fn what_a_route_by_a_link_without_a_carrier_comes_to_cannot_be_known() {
    let silent = |prefix: &str, gateways: [&str; 2], up: bool| {
        let mut paths = [2, 3]
            .iter()
            .zip(gateways)
            .map(|(dev, g)| Nexthop::new(*dev, g.parse().ok()))
            .collect::<Vec<_>>();
        paths[1].dead = true;
        let mut rib = host().link(Link { up, carrier: false, ..Link::up(3, "b") }).rib();
        add(&mut rib, Route { nexthops: Nexthops::Own(paths), ..via(prefix, 2, gateways[0]) }, Place::First);
        rib.link_is(Link { up: false, carrier: false, ..Link::up(2, "a") })
    };
    for (prefix, gateways) in [
        ("203.0.113.0/24", ["10.0.2.9", "10.0.3.9"]),
        ("2001:db8:9::/48", ["2001:db8:2::9", "2001:db8:3::9"]),
    ] {
        assert_eq!(silent(prefix, gateways, true), Silent::Unknown);
        assert_eq!(silent(prefix, gateways, false), Silent::Known, "a device that is down is dead");
    }
}

/// `linkwatch` tells of a carrier up to a second after it is shown.
#[test]
fn a_carrier_that_was_read_before_it_is_told_of_revives_paths_all_the_same() {
    let path = |dev, gateway: &str| Nexthop::new(dev, gateway.parse().ok());
    let several = |dead| {
        let first = Nexthop { dead, ..path(2, "2001:db8:2::9") };
        Route {
            nexthops: Nexthops::Own(vec![first, path(3, "2001:db8:3::9")]),
            ..via("2001:db8:9::/48", 2, "2001:db8:2::9")
        }
    };
    let mut rib = host().route(several(true)).rib();
    let is_down = |rib: &mut Rib| listed(rib, "2001:db8:9::/48")[0].contains("dev a (down)");
    assert!(is_down(&mut rib));
    assert_eq!(rib.link_is(Link::up(2, "a")), Silent::Nothing);
    assert!(!is_down(&mut rib));
}

#[test]
fn routes_go_with_their_nexthop_object() {
    let single =
        |id, dev| NexthopObject { id, body: NexthopBody::Single(Family::V4, Nexthop::new(dev, None)) };
    let group = NexthopObject { id: 9, body: NexthopBody::Group(vec![(7, 1)]) };
    let to = |prefix, id| Route { nexthops: Nexthops::Object(id), ..via(prefix, 2, "10.0.2.2") };
    let mut rib = host()
        .nexthop(single(7, 2))
        .nexthop(single(8, 3))
        .nexthop(group)
        .route(to("198.51.100.0/24", 7))
        .route(to("203.0.113.0/24", 8))
        .route(to("192.0.2.0/24", 9))
        .rib();
    let there = |rib: &mut Rib| {
        ["198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"].map(|p| !listed(rib, p).is_empty())
    };
    assert_eq!(there(&mut rib), [true, true, true]);
    rib.object_gone(8);
    assert_eq!(there(&mut rib), [true, false, true]);
    // One that came and went in between, of which no list has told.
    rib.object_is(single(10, 3));
    add(&mut rib, to("203.0.113.0/24", 10), Place::First);
    assert_eq!(there(&mut rib), [true, true, true]);
    rib.link_is(Link { carrier: false, ..Link::up(3, "b") });
    assert_eq!(there(&mut rib), [true, false, true]);
    add(&mut rib, to("203.0.113.0/24", 10), Place::First);
    assert!(rib.forget_orphans() && !rib.forget_orphans());
    assert_eq!(there(&mut rib), [true, false, true]);
    // With its device goes the object, and with that the group, which has no other member.
    rib.link_is(Link { up: false, ..Link::up(2, "a") });
    assert_eq!(there(&mut rib), [false, false, false]);
}

/// What a link takes with it costs what there is, and not once more for each object.
#[test]
fn thousands_of_nexthop_objects_go_with_their_link_at_once() {
    const OBJECTS: u32 = 5_000;
    let body = NexthopBody::Group((1..=OBJECTS).map(|id| (id, 1)).collect());
    let mut builder = host().nexthop(NexthopObject { id: OBJECTS + 1, body });
    for id in 1..=OBJECTS {
        let body = NexthopBody::Single(Family::V4, Nexthop::new(2, None));
        let prefix = format!("100.{}.{}.0/24", id / 250, id % 250);
        builder = builder
            .nexthop(NexthopObject { id, body })
            .route(Route { nexthops: Nexthops::Object(id), ..via(&prefix, 2, "10.0.2.2") });
    }
    let by_group = Route { nexthops: Nexthops::Object(OBJECTS + 1), ..via("192.0.2.0/24", 2, "10.0.2.2") };
    let mut rib = builder.route(by_group).rib();
    let (before, tables) = (rib.len(), rib.v4.len() + rib.v6.len());
    REWRITES.set(0);
    rib.link_is(Link { up: false, carrier: false, ..Link::up(2, "a") });
    assert!(REWRITES.get() <= 2 * tables, "{} of {tables} tables", REWRITES.get());
    assert!(rib.parts().nexthops.is_empty());
    assert!(rib.len() < before - OBJECTS as usize && rib.len() == counted(&rib), "{}", rib.len());
}

/// The prefixes that have a route, one by one.
fn counted(rib: &Rib) -> usize {
    rib.routes().map(|route| (route.table, route.prefix)).collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn the_number_of_prefixes_is_known_whatever_goes_and_comes_back() {
    let mut rib = host().rib();
    let routes: Vec<Route> = (0..9)
        .map(|n| via(&format!("198.51.{n}.0/24"), 2 + n % 2, &format!("10.0.{}.{}", 2 + n % 2, 7 + n / 3)))
        .collect();
    let check = |rib: &Rib| assert_eq!(rib.len(), counted(rib));
    for (n, route) in routes.iter().enumerate() {
        add(&mut rib, route.clone(), Place::First);
        check(&rib);
        // By the first device they go without an event, and come back one by one; some are told of all the same.
        if n % 3 == 2 {
            rib.link_is(Link { up: false, carrier: false, ..Link::up(2, "a") });
            check(&rib);
            remove(&mut rib, routes[n - 2].clone());
            rib.link_is(Link::up(2, "a"));
            check(&rib);
            add(&mut rib, routes[n - 1].clone(), Place::Instead);
            add(&mut rib, routes[0].clone(), Place::Instead);
            check(&rib);
        }
    }
    let mut copy = rib.clone();
    copy.link_gone(2);
    copy.link_gone(3);
    check(&copy);
    check(&rib);
    assert!(copy.len() < rib.len() && !rib.is_empty());
}

/// As long as the object is a blackhole, the kernel calls the routes by it so too.
#[test]
fn a_route_stays_the_same_while_its_nexthop_object_becomes_another() {
    let single = NexthopBody::Single(Family::V4, Nexthop::new(2, None));
    let object = |body| NexthopObject { id: 7, body };
    let to = |kind| Route { nexthops: Nexthops::Object(7), kind, ..via("198.51.100.0/24", 2, "10.0.2.2") };
    let mut rib = host().nexthop(object(NexthopBody::Blackhole)).route(to(Kind::Blackhole)).rib();
    assert_eq!(listed(&mut rib, "198.51.100.0/24"), ["blackhole"]);
    rib.object_is(object(single));
    add(&mut rib, to(Kind::Unicast), Place::Instead);
    assert_eq!(listed(&mut rib, "198.51.100.0/24"), ["dev a"]);
}

#[test]
fn a_snapshot_stays_as_it_was_and_tells_what_changed_since() {
    let mut rib = host().rib();
    let older = rib.fib(1);
    let entries = older.entries();
    add(&mut rib, via("198.51.100.0/24", 2, "10.0.2.2"), Place::First);
    let newer = rib.fib(2);
    assert_eq!(older.entries(), entries);
    let words = |changes: Vec<crate::fib::Difference>| -> Vec<String> {
        let word = |change| match change {
            crate::fib::Difference::Added(entry) => format!("+ {entry}"),
            crate::fib::Difference::Removed(entry) => format!("- {entry}"),
        };
        changes.into_iter().map(word).collect()
    };
    assert_eq!(
        words(newer.changes_since(&older)),
        ["+ route unicast 198.51.100.0/24 table main via 10.0.2.2 dev a"]
    );
    add(&mut rib, via("198.51.100.0/24", 3, "10.0.3.2"), Place::Instead);
    rib.link_is(Link { carrier: false, ..Link::up(2, "a") });
    assert_eq!(
        words(rib.fib(3).changes_since(&newer)),
        [
            "- link a up",
            "+ link a up, without carrier",
            "- route unicast 198.51.100.0/24 table main via 10.0.2.2 dev a",
            "+ route unicast 198.51.100.0/24 table main via 10.0.3.2 dev b"
        ]
    );
    assert!(older.changes_since(&older).is_empty());
}

#[test]
fn what_one_of_two_readings_passed_over_is_there() {
    let v6 = |metric| Route {
        metric,
        ..Route::new("2001:db8:7::/48".parse().unwrap(), 2, "fe80::2".parse().ok())
    };
    let other = |gateway: &str| Route {
        metric: 1024,
        ..Route::new("2001:db8:8::/48".parse().unwrap(), 2, gateway.parse().ok())
    };
    let joined = |read: Builder, earlier: Builder| {
        let mut rib = read.rib();
        rib.add_ipv6_passed_over(&earlier.rib());
        rib.routes().filter(|route| route.prefix.prefix_len() == 48).collect::<Vec<_>>()
    };
    let both = || host().route(v6(1024)).route(v6(2048));
    let all: Vec<Route> = joined(both(), host());
    assert_eq!(all.len(), 2);
    for (read, earlier) in [
        (host(), both()),
        (host().route(v6(1024)), both()),
        (host().route(v6(2048)), both()),
        (both(), host().route(v6(2048))),
    ] {
        assert_eq!(joined(read, earlier), all);
    }
    // Replaced between the two.
    let (old, new) = (host().route(other("fe80::2")), host().route(other("fe80::3")));
    assert_eq!(joined(new.clone(), old), joined(new, host()));
    // IPv4 lists pass over nothing.
    let gone = host().route(via("198.51.100.0/24", 2, "10.0.2.2"));
    let mut rib = host().rib();
    rib.add_ipv6_passed_over(&gone.rib());
    assert!(rib.routes().all(|route| route.prefix.to_string() != "198.51.100.0/24"));
}
