//! What changes do to a host written down as literals; `tests/e2e/what_if.rs` holds the same against a kernel.

use super::{Change, Misread, Sysctls};
use crate::fib::spec::{Link, Nexthop, Nexthops, Route};
use crate::fib::{Answer, Builder, Query};

/// These are set.
struct Set(&'static [&'static str]);

impl Sysctls for Set {
    fn is_set(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

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
    let route = route_after(host(), &[], changes, dst)?;
    Ok((route.dev, route.gateway.map(|gateway| gateway.to_string())))
}

fn route_after(
    host: Builder,
    set: &'static [&'static str],
    changes: &[&str],
    dst: &str,
) -> Result<crate::fib::Route, String> {
    let mut host = host.rib();
    for change in changes {
        let change: Change = change.parse().map_err(|e: Misread| e.to_string())?;
        change.apply(&mut host, &Set(set))?;
    }
    match host.fib(1).lookup(&Query::to(dst.parse().unwrap())) {
        Answer::Route(route) => Ok(route),
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
    assert_eq!(after(&["route add 10.5.0.0/16 via 10.0.0.9 table 77"], "10.5.0.1"), after(&[], "10.5.0.1"));
}

#[test]
fn what_the_kernel_would_refuse_is_refused() {
    for (change, words) in [
        ("route add default via 10.0.0.1", "say `replace`"),
        ("route add 10.5.0.0/16 via 192.0.2.9", "on no link"),
        ("route add 10.5.0.0/16 via 203.0.113.1 dev lan", "not on the link of lan"),
        ("addr add 10.0.0.4/24 dev lan", "lan has it already"),
        ("addr del 10.0.0.5/24 dev lan", "no such address; see `ip address show lan`"),
        ("addr del 10.0.0.4/16 dev lan", "no such address"),
        ("addr add 10.9.0.4/24 dev eth9", "no interface eth9; there are lo, wan, lan, spare"),
        ("link set eth9 up", "no interface eth9"),
        ("rule del from 10.0.0.4", "no such rule; see `ip rule`"),
        ("rule add pref 200 goto 100", "100 is not behind 200"),
        ("route add 10.5.0.0/16 dev eth9", "no interface eth9"),
        ("route add 10.5.0.0/16 dev spare", "spare is down"),
        ("route add 10.5.0.0/16 dev lan src 10.9.9.9", "no address of this host"),
        ("route del 10.5.0.0/16", "no such route"),
        ("route del default via 10.0.0.1", "no such route"),
        ("route add 10.5.0.0/16 via 10.0.0.4 dev wan", "not on the link of wan"),
        ("route add 2001:db8:5::/64 via 2001:db8::4", "this host's own address"),
        ("route add unreachable 2001:db8:5::/64 dev eth9", "no interface eth9"),
        ("addr add ::1/128 dev lan", "for a loopback interface"),
    ] {
        let refused = after(&[change], "192.0.2.1").unwrap_err();
        assert!(refused.contains(words), "{change}: {refused}");
    }
}

#[test]
fn what_is_not_understood_is_pointed_at() {
    for (change, place, words) in [
        ("tunnel add x", (0, 6), "begins with `route`, `addr`, `link` or `rule`"),
        ("ip link set eth0 sideways", (17, 8), "`up` or `down`"),
        ("link eth0 up", (5, 4), "`set NAME up`"),
        ("link set eth0 up now", (17, 3), "one word too many"),
        ("addr add 10.0.0.999/24 dev lan", (9, 13), "an address stands here"),
        ("addr add 10.0.0.9/24 lan", (21, 3), "`dev NAME`"),
        ("addr show", (5, 4), "`add` or `del`"),
        ("rule add from 10.0.0.0/8 to 2001:db8::/32 lookup 7", (28, 13), "other family"),
        ("rule add fwmark seven", (16, 5), "is not a mark"),
        ("rule add dport 9-1", (15, 3), "is not a port or a range"),
        ("rule add frm 10.0.0.4", (9, 3), "a selector"),
        ("route show", (6, 4), "`add`, `replace` or `del`"),
        ("route add", (9, 0), "a prefix"),
        ("route add 10.0.0.0/33 via 10.0.0.1", (10, 11), "a prefix"),
        ("route add 10.0.0.0/8 vai 10.0.0.1", (21, 3), "`via`"),
        ("route add 10.0.0.0/8 via lan", (25, 3), "a gateway"),
        ("route add 10.0.0.0/8 metric", (27, 0), "missing"),
        ("route add 10.0.0.0/8 via 10.0.0.1 table x", (40, 1), "a number"),
        ("route add 10.0.0.0/8", (20, 0), "needs `via"),
        ("route add 10.0.0.0/8 via fd00::1", (25, 7), "other family"),
        ("route add 10.5.0.1/16 via 10.0.0.9", (10, 11), "the network is 10.5.0.0/16"),
        ("route add unreachable 10.5.0.0/16 via 10.0.0.9", (38, 8), "neither `via` nor `dev`"),
        ("route replace blackhole 10.5.0.0/16 dev lan", (40, 3), "neither `via` nor `dev`"),
        ("route add 10.5.0.0/16 via 0.0.0.0", (33, 0), "needs `via"),
        ("rule add", (8, 0), "a selector"),
        ("rule del", (8, 0), "a selector"),
        ("rule add uidrange 5 lookup 100", (18, 1), "is not a range of users"),
        ("addr add ff02::5/64 dev lan", (9, 10), "multicast or unspecified"),
        ("addr add ::/64 dev lan", (9, 5), "multicast or unspecified"),
    ] {
        let misread = change.parse::<Change>().unwrap_err();
        assert_eq!(misread.place, place, "{change}: {misread}");
        assert!(misread.problem.contains(words), "{change}: {misread}");
    }
    let shown = "route add 10.0.0.0/8 vai 10.0.0.1".parse::<Change>().unwrap_err().to_string();
    assert!(shown.ends_with("\n                       ^^^"), "{shown}");
}

#[test]
fn a_gateway_may_be_an_address_of_the_host() {
    let own =
        |via: &str| after(&[&format!("route add 10.5.0.0/16 via {via}")], "10.5.0.1").map(|found| found.0);
    assert_eq!((own("10.0.0.4"), own("203.0.113.10"), own("10.0.0.4 dev lan")), (Ok(3), Ok(2), Ok(3)));
    let down = after(&["link set lan down", "route add 10.5.0.0/16 via 10.0.0.4"], "10.5.0.1");
    assert!(down.unwrap_err().contains("lan is down"));
}

#[test]
fn what_ip_takes_and_does_nothing_with_is_nothing() {
    let (wan, lan) = (2, 3);
    assert_eq!(after(&["addr add 0.0.0.0/24 dev lan"], "0.0.0.9"), after(&[], "0.0.0.9"));
    assert_eq!(after(&["route add 10.5.0.0/16 via 0.0.0.0 dev lan"], "10.5.0.1"), Ok((lan, None)));
    assert_eq!(after(&["route add 2001:db8:5::1/64 dev wan"], "2001:db8:5::2"), Ok((wan, None)));
    for path in ["via 2001:db8::9", "via 2001:db8:99::1", "dev lan", "dev spare"] {
        let change = format!("route add unreachable 2001:db8:5::/64 {path}");
        assert!(after(&[&change], "2001:db8:5::1").unwrap_err().starts_with("No("), "{change}");
    }
    assert!(
        after(&["route add blackhole 10.5.0.0/16 src 10.9.9.9"], "10.5.0.1").unwrap_err().starts_with("No(")
    );
}

const PROMOTE: &[&str] = &["net/ipv4/conf/lan/promote_secondaries"];

/// By which interface, and from which source, after the changes.
fn from(
    host: Builder,
    set: &'static [&'static str],
    changes: &[&str],
    dst: &str,
) -> Result<(u32, String), String> {
    route_after(host, set, changes, dst).map(|route| (route.dev, route.source.to_string()))
}

#[test]
fn addresses_take_their_routes_along() {
    let (wan, lan) = (2, 3);
    let ask = |changes: &[&str], dst: &str| from(host(), &[], changes, dst);
    let told = |dev, source: &str| Ok((dev, source.to_owned()));
    assert_eq!(ask(&["addr add 172.16.0.4/24 dev lan"], "172.16.0.9"), told(lan, "172.16.0.4"));
    assert_eq!(
        ask(&["addr add 172.16.0.4/24 dev lan noprefixroute"], "172.16.0.9"),
        told(wan, "203.0.113.10")
    );
    assert_eq!(ask(&["addr add 172.16.0.4/24 dev lan brd +"], "172.16.0.4"), told(1, "172.16.0.4"));
    assert_eq!(ask(&["addr add 2001:db8:9::4/64 dev wan"], "2001:db8:9::1"), told(wan, "2001:db8:9::4"));
    // The last IPv4 address takes all routes of its interface.
    let with_route = |source: &str| {
        let route = Route::new("198.51.100.0/24".parse().unwrap(), 3, Some("10.0.0.9".parse().unwrap()));
        host().route(route.with_source(source.parse().unwrap()))
    };
    let gone = ["addr del 10.0.0.4/24 dev lan"];
    assert_eq!(from(with_route("203.0.113.10"), &[], &gone, "198.51.100.1"), told(wan, "203.0.113.10"));
    assert_eq!(ask(&gone, "10.0.0.9"), told(wan, "203.0.113.10"));
    // Another one keeps the interface, but not what prefers the source that is gone.
    let changes = ["addr add 172.16.0.4/24 dev lan", "addr del 10.0.0.4 dev lan"];
    assert_eq!(from(with_route("203.0.113.10"), &[], &changes, "198.51.100.1"), told(lan, "203.0.113.10"));
    assert_eq!(from(with_route("10.0.0.4"), &[], &changes, "198.51.100.1"), told(wan, "203.0.113.10"));
    assert!(ask(&["addr del 2001:db8::4/64 dev lan"], "2001:db8::1").is_err());
    let two = ["addr add 2001:db8::5/64 dev lan", "addr del 2001:db8::4/64 dev lan"];
    assert_eq!(ask(&two, "2001:db8::1"), told(lan, "2001:db8::5"));
}

#[test]
fn a_secondary_address_goes_with_its_primary_or_takes_its_place() {
    let (wan, lan) = (2, 3);
    let changes = ["addr add 10.0.0.44/24 dev lan", "addr del 10.0.0.4/24 dev lan"];
    let told = |dev, source: &str| Ok((dev, source.to_owned()));
    assert_eq!(from(host(), &[], &changes[..1], "10.0.0.9"), told(lan, "10.0.0.4"));
    assert_eq!(from(host(), &[], &changes, "10.0.0.9"), told(wan, "203.0.113.10"));
    assert_eq!(from(host(), PROMOTE, &changes, "10.0.0.9"), told(lan, "10.0.0.44"));
    assert_eq!(from(host(), PROMOTE, &changes, "10.0.0.44"), told(1, "10.0.0.44"));
    let other = ["addr add 10.0.0.44/24 dev lan", "addr del 10.0.0.44/24 dev lan"];
    assert_eq!(from(host(), &[], &other, "10.0.0.9"), told(lan, "10.0.0.4"));
}

#[test]
fn links_take_more_along() {
    let (wan, lan) = (2, 3);
    let told = |dev, source: &str| Ok((dev, source.to_owned()));
    let ask = |changes: &[&str], dst: &str| from(host(), &[], changes, dst);
    assert_eq!(ask(&["link set lan down"], "10.0.0.9"), told(wan, "203.0.113.10"));
    // The address stays the host's own.
    assert_eq!(ask(&["link set lan down"], "10.0.0.4"), told(1, "10.0.0.4"));
    assert!(ask(&["link set lan down"], "2001:db8::1").is_err());
    let flap = ["link set lan down", "link set dev lan up"];
    assert_eq!(ask(&flap, "10.0.0.9"), told(lan, "10.0.0.4"));
    assert!(ask(&flap, "2001:db8::1").is_err(), "IPv6 addresses do not come back");
    let keeps = &["net/ipv6/conf/all/keep_addr_on_down"];
    assert_eq!(from(host(), keeps, &flap, "2001:db8::1"), told(lan, "2001:db8::4"));
    // Routes through gateways do not come back.
    assert!(ask(&["link set wan down", "link set wan up"], "192.0.2.1").is_err());
    // Of two paths one is left, and both when it is up again.
    let paths = vec![
        Nexthop::new(wan, Some("203.0.113.1".parse().unwrap())),
        Nexthop::new(lan, Some("10.0.0.1".parse().unwrap())),
    ];
    let two = Route {
        nexthops: Nexthops::Own(paths),
        scope: 0,
        ..Route::new("192.0.2.0/24".parse().unwrap(), wan, None)
    };
    let both = host().route(two);
    assert_eq!(from(both.clone(), &[], &["link set lan down"], "192.0.2.1"), told(wan, "203.0.113.10"));
    assert_eq!(from(both, &[], &["link set wan down"], "192.0.2.1"), told(lan, "10.0.0.4"));
}

#[test]
fn rules_lead_elsewhere() {
    let (wan, lan) = (2, 3);
    let told = |dev, source: &str| Ok((dev, source.to_owned()));
    let ask = |changes: &[&str], dst: &str| from(host(), &[], changes, dst);
    let table = "route add default via 10.0.0.1 table 100";
    assert_eq!(ask(&[table, "rule add lookup 100"], "192.0.2.1"), told(lan, "10.0.0.4"));
    assert_eq!(ask(&[table, "rule add to 192.0.2.0/24 lookup 100"], "192.0.2.1"), told(lan, "10.0.0.4"));
    assert_eq!(
        ask(&[table, "rule add to 192.0.2.0/25 lookup 100"], "192.0.2.129"),
        told(wan, "203.0.113.10")
    );
    assert_eq!(ask(&[table, "rule add pref 40000 lookup 100"], "192.0.2.1"), told(wan, "203.0.113.10"));
    assert_eq!(ask(&[table, "rule add fwmark 0x7/0xff lookup 100"], "192.0.2.1"), told(wan, "203.0.113.10"));
    assert_eq!(ask(&[table, "rule add not fwmark 7 table 100"], "192.0.2.1"), told(lan, "10.0.0.4"));
    assert_eq!(ask(&[table, "rule add ipproto tcp lookup 100"], "192.0.2.1"), told(wan, "203.0.113.10"));
    assert_eq!(
        ask(&[table, "rule add ipproto udp dport 1-9 lookup 100"], "192.0.2.1"),
        told(wan, "203.0.113.10")
    );
    let twice = ["rule add prohibit", "rule del prohibit"];
    assert!(ask(&twice[..1], "192.0.2.1").unwrap_err().contains("Prohibit"));
    assert_eq!(ask(&twice, "192.0.2.1"), told(wan, "203.0.113.10"));
    // The newest without a priority stands before the others.
    let order = [table, "rule add unreachable", "rule add lookup 100"];
    assert_eq!(ask(&order, "192.0.2.1"), told(lan, "10.0.0.4"));
    assert!(ask(&["-6 rule add unreachable pref 1"], "2001:db8::1").unwrap_err().contains("No("));
    assert!(ask(&["rule del lookup main"], "192.0.2.1").unwrap_err().contains("No("));
}
