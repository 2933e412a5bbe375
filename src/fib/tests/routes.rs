use proptest::prelude::*;

use super::{ask, found, from, ip, net, on, refused, to, two_sided, via};
use crate::fib::spec::{
    Action, Family, Kind, Link, LinkConf, Nexthop, NexthopBody, NexthopObject, Nexthops, Route as Spec, Rule,
    TABLE_LOCAL,
};
use crate::fib::{Answer, Builder, NoRoute, Query, RouteKind, Step};
use crate::limits::KERNEL_ANSWERS;

#[test]
fn connected_network_gives_device_and_source() {
    let route = found(&two_sided(), &to("10.0.0.100"));
    assert_eq!((route.dev, route.source, route.gateway), (3, ip("10.0.0.4"), None));
    assert_eq!((route.table, route.prefix), (254, net("10.0.0.0/24")));
}

#[test]
fn default_route_gives_gateway_and_the_address_beside_it() {
    let route = found(&two_sided(), &to("192.0.2.7"));
    assert_eq!((route.dev, route.source, route.gateway), (2, ip("203.0.113.10"), Some(ip("203.0.113.1"))));
}

#[test]
fn own_address_is_local_through_loopback() {
    for own in ["10.0.0.4", "2001:db8::4", "127.0.0.1", "::1"] {
        let route = found(&two_sided(), &to(own));
        assert_eq!((route.kind, route.dev, route.source), (RouteKind::Local, 1, ip(own)), "{own}");
    }
}

#[test]
fn foreign_source_is_refused_and_a_claimed_one_is_not() {
    let claimed = on("192.0.2.0/28", 1).in_table(TABLE_LOCAL).of_kind(Kind::Local);
    let policy = two_sided().route(claimed);
    assert_eq!(found(&policy, &from("192.0.2.1", to("10.0.0.100"))).source, ip("192.0.2.1"));
    assert_eq!(policy.clone().build().home_of(ip("192.0.2.1")), Some(1));
    for foreign in ["192.0.2.99", "255.255.255.255", "224.0.0.1", "0.0.0.0"] {
        assert_eq!(refused(&policy, &from(foreign, to("10.0.0.100"))), NoRoute::SourceNotLocal, "{foreign}");
    }
    assert_eq!(refused(&policy, &from("::1", to("10.0.0.100"))), NoRoute::SourceNotLocal);
    assert_eq!(refused(&policy, &from("2001:db8::99", to("2001:db8::9"))), NoRoute::SourceNotLocal);
}

#[test]
fn unspecified_destinations_lead_nowhere() {
    for dst in ["0.0.0.0", "0.1.2.3", "::"] {
        assert_eq!(refused(&two_sided(), &to(dst)), NoRoute::Unreachable, "{dst}");
    }
}

#[test]
fn the_lowest_metric_with_a_usable_path_wins() {
    let dead = Spec {
        nexthops: Nexthops::Own(vec![Nexthop { dead: true, ..Nexthop::new(3, None) }]),
        ..on("198.51.100.0/24", 3)
    };
    let policy = two_sided()
        .route(via("198.51.100.0/24", 2, "203.0.113.2").with_metric(20))
        .route(via("198.51.100.0/24", 3, "10.0.0.1").with_metric(10));
    assert_eq!(found(&policy, &to("198.51.100.1")).dev, 3);
    let policy = policy.route(dead.with_metric(5));
    assert_eq!(found(&policy, &to("198.51.100.1")).gateway, Some(ip("10.0.0.1")));
}

#[test]
fn refusing_routes_refuse_and_throw_leads_on() {
    for (kind, why) in [
        (Kind::Blackhole, NoRoute::Blackhole),
        (Kind::Unreachable, NoRoute::UnreachableRoute),
        (Kind::Prohibit, NoRoute::Prohibit),
    ] {
        for prefix in ["198.51.100.0/24", "2001:db8:5::/48"] {
            let route = Spec { nexthops: Nexthops::Own(vec![]), ..on(prefix, 0).of_kind(kind) };
            let host = net(prefix).addr().to_string();
            assert_eq!(refused(&two_sided().route(route), &to(&host)), why, "{prefix}");
        }
    }
    let thrown = Spec { nexthops: Nexthops::Own(vec![]), ..on("198.51.100.0/24", 0).of_kind(Kind::Throw) };
    let policy = two_sided()
        .rule(Rule::new(Family::V4, 50, Action::Table(7)))
        .route(thrown.in_table(7))
        .route(via("0.0.0.0/0", 3, "10.0.0.1").in_table(7));
    assert_eq!(found(&policy, &to("198.51.100.1")).table, 254);
    assert_eq!(found(&policy, &to("198.51.101.1")).table, 7);
}

#[test]
fn routes_without_carrier_are_left_out_where_the_device_says_so() {
    let policy = |ignore| {
        let conf = LinkConf { ignore_linkdown_v4: ignore, ignore_linkdown_v6: ignore, ..LinkConf::default() };
        two_sided()
            .link(Link { conf, carrier: false, ..Link::up(4, "unplugged") })
            .route(on("198.51.100.0/24", 4))
            .route(on("2001:db8:5::/48", 4))
            .route(via("2001:db8::/32", 3, "2001:db8::1"))
    };
    assert_eq!(found(&policy(false), &to("198.51.100.1")).dev, 4);
    assert_eq!(found(&policy(true), &to("198.51.100.1")).dev, 2);
    assert_eq!(found(&policy(false), &to("2001:db8:5::1")).dev, 4);
    assert_eq!(found(&policy(true), &to("2001:db8:5::1")).dev, 3);
    assert!(!policy(true).build().link_up(4));
}

/// With a carrier, what the kernel calls dead is dead: IPv6 is switched off at the device, or it has no IPv4 address.
#[test]
fn dead_paths_stay_dead_where_linkdown_is_ignored() {
    let conf = LinkConf { ignore_linkdown_v4: true, ignore_linkdown_v6: true, ..LinkConf::default() };
    let dead = |prefix: &str| {
        let paths = vec![Nexthop { dead: true, ..Nexthop::new(4, None) }, Nexthop::new(3, None)];
        Spec { nexthops: Nexthops::Own(paths), ..on(prefix, 4) }
    };
    let policy = two_sided().link(Link { conf, ..Link::up(4, "bare") });
    let policy = policy.route(dead("198.51.100.0/24")).route(dead("2001:db8:5::/48"));
    assert_eq!(found(&policy, &to("198.51.100.1")).dev, 3);
    assert_eq!(found(&policy, &to("2001:db8:5::1")).dev, 3);
}

/// Routes by nexthop objects outlive IPv6 at their device. `__fib6_rule_action` passes them over, and is not asked where
/// nobody has changed the rules.
#[test]
fn routes_by_devices_without_ipv6_are_passed_over_where_there_are_rules() {
    let conf = LinkConf { without_ipv6: true, ..LinkConf::default() };
    let policy = || {
        two_sided()
            .link(Link { conf, ..Link::up(4, "small") })
            .route(on("198.51.100.0/24", 4))
            .route(on("2001:db8:5::/48", 4).with_source("2001:db8::1".parse().unwrap()))
            .route(on("2001:db8:5::/48", 3).in_table(7))
    };
    assert_eq!(found(&policy(), &to("2001:db8:5::1")).dev, 4);
    let more = policy().rule(Rule::new(Family::V6, 40_000, Action::Table(7)));
    assert_eq!(found(&more, &to("2001:db8:5::1")).dev, 3);
    assert_eq!(found(&more, &to("198.51.100.1")).dev, 4);
}

#[test]
fn a_device_keeps_to_its_own_routes() {
    let bound = |oif| Query { oif, ..to("192.0.2.7") };
    assert_eq!(found(&two_sided(), &bound(2)).dev, 2);
    // The kernel would assume that the destination is on the link.
    assert_eq!(refused(&two_sided(), &bound(3)), NoRoute::Unreachable);
    assert_eq!(refused(&two_sided(), &bound(99)), NoRoute::Unreachable);
    let down = two_sided().link(Link { up: false, ..Link::up(4, "down") }).route(on("198.51.100.0/24", 4));
    assert_eq!(refused(&down, &Query { oif: 4, ..to("198.51.100.1") }), NoRoute::Unreachable);
}

#[test]
fn link_local_addresses_need_their_device() {
    let policy = two_sided().assign(2, net("fe80::2/64")).assign(3, net("fe80::3/64"));
    assert_eq!(refused(&policy, &to("fe80::99")), NoRoute::NeedsDevice);
    assert_eq!(refused(&policy, &to("ff02::1")), NoRoute::NeedsDevice);
    for (oif, own) in [(2, "fe80::2"), (3, "fe80::3")] {
        let query = Query { oif, ..to("fe80::99") };
        let route = found(&policy, &query);
        assert_eq!((route.dev, route.source), (oif, ip(own)));
        assert_eq!(found(&policy, &from(own, query)).dev, oif);
    }
    let astray = from("fe80::2", Query { oif: 3, ..to("fe80::99") });
    assert_eq!(refused(&policy, &astray), NoRoute::SourceNotLocal);
}

#[test]
fn until_the_first_rule_local_and_main_are_one_trie() {
    let policy = two_sided()
        .route(on("192.0.2.0/24", 1).in_table(TABLE_LOCAL).of_kind(Kind::Local))
        .route(on("192.0.2.128/25", 3));
    assert_eq!(found(&policy, &to("192.0.2.200")).kind, RouteKind::Local);
    let merged = policy.local_merged_into_main(true);
    assert_eq!(found(&merged, &to("192.0.2.200")).dev, 3);
    assert_eq!(found(&merged, &to("192.0.2.1")).kind, RouteKind::Local);
    assert_eq!(found(&merged, &to("198.51.100.1")).dev, 2);
}

#[test]
fn what_is_not_understood_is_for_the_kernel() {
    let opaque = |prefix| Spec { opaque: true, ..on(prefix, 3) };
    let policy = two_sided().route(opaque("198.51.100.0/24")).route(opaque("2001:db8:5::/48"));
    assert_eq!(ask(&policy, &to("198.51.100.1")), Answer::AskKernel);
    assert_eq!(ask(&policy, &to("2001:db8:5::1")), Answer::AskKernel);
    let (_, steps) = policy.clone().build().lookup_traced(&to("198.51.100.1"));
    assert_eq!(steps.last(), Some(&Step::OpaqueRoute { table: 254, prefix: net("198.51.100.0/24") }));
    assert_eq!(found(&policy.route(on("198.51.100.1/32", 3)), &to("198.51.100.1")).dev, 3);
}

fn by_object(prefix: &str, id: u32) -> Spec {
    Spec { nexthops: Nexthops::Object(id), ..on(prefix, 0) }
}

#[test]
fn nexthop_objects_are_followed_into_groups() {
    let single = |id, dev, gateway| NexthopObject {
        id,
        body: NexthopBody::Single(Family::V4, Nexthop::new(dev, Some(ip(gateway)))),
    };
    let policy = two_sided()
        .nexthop(single(1, 2, "203.0.113.2"))
        .nexthop(single(2, 3, "10.0.0.2"))
        .nexthop(NexthopObject { id: 3, body: NexthopBody::Group(vec![(1, 1), (2, 3)]) })
        .nexthop(NexthopObject { id: 4, body: NexthopBody::Blackhole })
        .nexthop(NexthopObject { id: 5, body: NexthopBody::Opaque })
        .route(by_object("198.51.100.0/25", 1))
        .route(by_object("198.51.100.128/25", 3))
        .route(by_object("198.18.0.0/16", 4))
        .route(by_object("198.19.0.0/16", 5))
        .route(by_object("198.20.0.0/16", 99));
    assert_eq!(found(&policy, &to("198.51.100.1")).gateway, Some(ip("203.0.113.2")));
    let fib = policy.clone().build();
    let by_private = (0..4_000)
        .filter(|flow| {
            let query = Query { flow: *flow, ..to("198.51.100.200") };
            matches!(fib.lookup(&query), Answer::Route(route) if route.dev == 3)
        })
        .count();
    assert!((2_900..3_100).contains(&by_private), "three quarters: {by_private}");
    assert_eq!(refused(&policy, &to("198.18.0.1")), NoRoute::Blackhole);
    assert_eq!(ask(&policy, &to("198.19.0.1")), Answer::AskKernel);
    assert_eq!(ask(&policy, &to("198.20.0.1")), Answer::AskKernel);
}

#[test]
fn a_nexthop_object_by_another_device_hides_what_shares_its_leaf() {
    let object = NexthopBody::Single(Family::V4, Nexthop::new(2, Some(ip("203.0.113.2"))));
    let policy = |object_prefix| {
        two_sided()
            .nexthop(NexthopObject { id: 1, body: object.clone() })
            .route(by_object(object_prefix, 1))
            .route(on("198.18.0.0/15", 3))
    };
    let bound = |dst| Query { oif: 3, ..to(dst) };
    assert_eq!(refused(&policy("198.18.0.0/16"), &bound("198.18.0.1")), NoRoute::Unreachable);
    assert_eq!(found(&policy("198.19.0.0/16"), &bound("198.19.0.1")).dev, 3);
}

fn two_paths(prefix: &str, a: (u32, &str), b: (u32, &str)) -> Spec {
    let path = |(dev, gateway): (u32, &str)| Nexthop::new(dev, Some(ip(gateway)));
    Spec { nexthops: Nexthops::Own(vec![path(a), path(b)]), ..via(prefix, a.0, a.1) }
}

#[test]
fn a_flow_keeps_its_path_and_a_bound_source_takes_its_own() {
    let policy = two_sided().route(two_paths("198.51.100.0/24", (2, "203.0.113.2"), (3, "10.0.0.2")));
    let devs = |query: Query| -> Vec<u32> {
        let fib = policy.clone().build();
        let dev = |flow| match fib.lookup(&Query { flow, ..query }) {
            Answer::Route(route) => route.dev,
            other => panic!("{other:?}"),
        };
        (0..64).map(dev).collect()
    };
    let open = devs(to("198.51.100.1"));
    assert_eq!(open, devs(to("198.51.100.1")), "the same flow, the same path");
    assert!(open.contains(&2) && open.contains(&3));
    assert_eq!(devs(from("10.0.0.4", to("198.51.100.1"))), [3; 64]);
    assert_eq!(devs(Query { oif: 2, ..to("198.51.100.1") }), [2; 64]);
}

#[test]
fn dead_paths_leave_a_multipath_route() {
    let mut route = two_paths("2001:db8:5::/48", (2, "fe80::1"), (3, "2001:db8::1"));
    let Nexthops::Own(paths) = &mut route.nexthops else { unreachable!() };
    paths[0].dead = true;
    let policy = two_sided().route(route);
    for flow in 0..32 {
        assert_eq!(found(&policy, &Query { flow, ..to("2001:db8:5::1") }).dev, 3);
    }
}

#[test]
fn ipv6_router_preference_decides_within_a_metric() {
    let preferred = |preference, route| Spec { preference, ..route };
    let policy = two_sided()
        .route(preferred(0, via("2001:db8:5::/48", 3, "2001:db8::1")))
        .route(preferred(2, via("2001:db8:5::/48", 3, "2001:db8::2")))
        .route(preferred(2, via("2001:db8:5::/48", 3, "2001:db8::3")));
    assert_eq!(found(&policy, &to("2001:db8:5::1")).gateway, Some(ip("2001:db8::2")));
}

/// Where no route of the lowest metric fits, the kernel looks at all others at once, and at a blackhole
/// object it stops.
#[test]
fn an_ipv6_blackhole_object_counts_before_what_stands_beside_it() {
    let policy = two_sided()
        .nexthop(NexthopObject { id: 4, body: NexthopBody::Blackhole })
        .route(via("2001:db8:5::/48", 3, "2001:db8::1").with_metric(50))
        .route(by_object("2001:db8:5::/48", 4).with_metric(1024));
    assert_eq!(
        found(&policy, &to("2001:db8:5::1")).gateway,
        Some(ip("2001:db8::1")),
        "the lowest metric fits"
    );
    let policy = policy.route(on("2001:db8:5::/48", 2).with_metric(10));
    assert_eq!(found(&policy, &to("2001:db8:5::1")).dev, 2);
    assert_eq!(refused(&policy, &Query { oif: 3, ..to("2001:db8:5::1") }), NoRoute::Blackhole);
}

#[test]
fn ipv6_source_specific_routes_are_for_their_sources() {
    let specific = |prefix: &str, from: &str, gateway: &str| Spec {
        from: Some(from.parse().unwrap()),
        ..via(prefix, 3, gateway)
    };
    let policy = two_sided()
        .assign(3, net("2001:db8:77::4/64"))
        .route(specific("::/0", "2001:db8:77::/48", "2001:db8:77::1"))
        .route(specific("::/0", "2001:db8:77::/64", "2001:db8:77::2"))
        .route(via("::/0", 3, "2001:db8::1"));
    let gateway = |source| found(&policy, &from(source, to("2600::1"))).gateway;
    assert_eq!(gateway("2001:db8:77::4"), Some(ip("2001:db8:77::2")));
    assert_eq!(gateway("2001:db8::4"), Some(ip("2001:db8::1")));
    // Without a route for every source, the one that would be selected decides.
    let only = two_sided().route(specific("::/0", "2001:db8::/64", "2001:db8::1"));
    let (answer, steps) = only.build().lookup_traced(&to("2600::1"));
    assert!(matches!(answer, Answer::Route(route) if route.gateway == Some(ip("2001:db8::1"))));
    assert!(steps.contains(&Step::AskedAgain { source: ip("2001:db8::4") }));
}

#[test]
fn a_policy_routed_host_answers_bound_sources() {
    let policy = Builder::host()
        .link(Link::up(2, "a"))
        .link(Link::up(3, "b"))
        .address(crate::fib::spec::Address::new(2, ip("10.1.0.1"), 24))
        .address(crate::fib::spec::Address::new(3, ip("10.2.0.1"), 24))
        .rule(Rule::from_table(101, net("10.1.0.1/32"), 101))
        .rule(Rule::from_table(102, net("10.2.0.1/32"), 102))
        .route(via("0.0.0.0/0", 2, "10.1.0.254").in_table(101))
        .route(via("0.0.0.0/0", 3, "10.2.0.254").in_table(102));
    assert_eq!(refused(&policy, &to("192.0.2.7")), NoRoute::Unreachable);
    assert_eq!(found(&policy, &from("10.1.0.1", to("192.0.2.7"))).dev, 2);
    assert_eq!(found(&policy, &from("10.2.0.1", to("192.0.2.7"))).dev, 3);
}

#[test]
fn the_limited_broadcast_and_groups_have_no_gateway_of_a_default_route() {
    let broadcast = found(&two_sided(), &to("255.255.255.255"));
    assert_eq!((broadcast.kind, broadcast.gateway), (RouteKind::Broadcast, None));
    let group = found(&two_sided(), &to("239.1.1.1"));
    assert_eq!((group.kind, group.dev, group.gateway), (RouteKind::Multicast, 2, None));
    // A bound source sends them by its own device.
    assert_eq!(found(&two_sided(), &from("10.0.0.4", to("239.1.1.1"))).dev, 3);
    assert_eq!(found(&two_sided(), &Query { oif: 3, ..to("224.0.0.5") }).source, ip("10.0.0.4"));
}

proptest! {
    /// Whatever the tables hold, the longest prefix of the first table that has any answers.
    #[test]
    fn longest_prefix_wins(
        // Up to what the scan holds, and more.
        routes in prop::collection::vec((any::<u32>(), 0_u8..=32, 0_u32..2), 0..200),
        dst in any::<u32>(),
    ) {
        // Few high bits, so that prefixes nest.
        let narrow = |bits: u32| std::net::Ipv4Addr::from(0x0a00_0000 | (bits & 0x0003_0303));
        let dst = narrow(dst);
        let mut policy = Builder::new()
            .link(Link::up(2, "a"))
            .address(crate::fib::spec::Address::new(2, ip("172.16.0.1"), 24))
            .rule(Rule::new(Family::V4, 1, Action::Table(1)))
            .rule(Rule::new(Family::V4, 2, Action::Table(2)));
        let mut prefixes = Vec::new();
        for (bits, len, table) in routes {
            let prefix = ipnet::Ipv4Net::new(narrow(bits), len).unwrap().trunc();
            prefixes.push((table + 1, prefix));
            policy = policy.route(Spec::new(prefix.into(), 2, None).in_table(table + 1));
        }
        let longest = |table| {
            let held = prefixes.iter().filter(|(t, prefix)| *t == table && prefix.contains(&dst));
            held.map(|(_, prefix)| *prefix).max_by_key(|prefix| prefix.prefix_len())
        };
        let expected = longest(1).map(|p| (1, p)).or_else(|| longest(2).map(|p| (2, p)));
        let answer = match ask(&policy, &Query::to(dst.into())) {
            Answer::Route(route) => Some((route.table, route.prefix)),
            _ => None,
        };
        prop_assert_eq!(answer, expected.map(|(table, prefix)| (table, prefix.into())));
    }
}

/// `ip -6 route add local ::/0 dev eth0 table local`, as transparent proxies have it.
#[test]
fn a_group_that_a_local_route_claims_is_the_host_itself() {
    let everywhere = on("::/0", 3).in_table(TABLE_LOCAL).of_kind(Kind::Local);
    let policy = two_sided().route(everywhere);
    let route = found(&policy, &to("ff0e::99"));
    assert_eq!((route.kind, route.dev), (RouteKind::Multicast, crate::fib::LOOPBACK));
}

#[test]
fn where_the_kernel_has_given_many_answers_the_oldest_are_forgotten_and_the_last_is_known() {
    let opaque = Spec { opaque: true, ..via("0.0.0.0/0", 2, "203.0.113.1") };
    let mut fib = two_sided().without_routes(|route| route.prefix.prefix_len() == 0).route(opaque).build();
    let question = |n: usize| Query::to(std::net::Ipv4Addr::from_bits(0xc633_0000 + n as u32).into());
    let answer =
        |n: usize| Answer::No(if n.is_multiple_of(2) { NoRoute::Prohibit } else { NoRoute::Blackhole });
    for n in 0..=KERNEL_ANSWERS {
        assert_eq!(fib.lookup(&question(n)), Answer::AskKernel);
        fib = fib.with_answer(&question(n), answer(n)).expect("it was not known");
        if n.is_multiple_of(64) {
            let known = (0..=n).filter(|n| fib.lookup(&question(*n)) == answer(*n)).count();
            assert!(known > n.min(KERNEL_ANSWERS / 2) && known <= KERNEL_ANSWERS, "{known} of {n}");
        }
        assert_eq!(
            fib.lookup(&Query { flow: 7, ..question(n) }),
            answer(n),
            "the last one, whatever the flow"
        );
    }
    assert_eq!(fib.lookup(&question(0)), Answer::AskKernel);
    assert!(fib.with_answer(&question(KERNEL_ANSWERS), Answer::No(NoRoute::Unreachable)).is_none());
}
