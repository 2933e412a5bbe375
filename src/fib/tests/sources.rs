use super::{found, from, ip, net, on, refused, to, two_sided, via};
use crate::fib::spec::{Address, Label, Link, LinkConf, SCOPE_HOST, SCOPE_LINK};
use crate::fib::{Builder, NoRoute, Query};

fn source(policy: &Builder, dst: &str) -> String {
    found(policy, &to(dst)).source.to_string()
}

#[test]
fn ipv4_takes_the_address_beside_the_gateway_else_the_first() {
    let policy = Builder::host()
        .link(Link::up(2, "eth0"))
        .assign(2, net("10.1.0.1/24"))
        .assign(2, net("10.2.0.1/24"))
        .assign(2, net("10.2.0.2/24"))
        .route(via("192.0.2.0/24", 2, "10.2.0.254"))
        .route(via("198.51.100.0/24", 2, "10.9.0.254"))
        .route(via("203.0.113.0/24", 2, "10.2.0.254").with_source(ip("10.2.0.2")));
    assert_eq!(source(&policy, "192.0.2.1"), "10.2.0.1", "primary, though 10.2.0.2 is beside it too");
    assert_eq!(source(&policy, "198.51.100.1"), "10.1.0.1");
    assert_eq!(source(&policy, "203.0.113.1"), "10.2.0.2", "the route prefers it");
}

#[test]
fn ipv4_scope_keeps_link_addresses_on_the_link() {
    let link_only = Address { scope: SCOPE_LINK, ..Address::new(2, ip("169.254.1.1"), 16) };
    let policy = Builder::host()
        .link(Link::up(2, "eth0"))
        .address(link_only)
        .assign(1, net("192.0.2.1/32"))
        .route(on("169.254.0.0/16", 2))
        .route(via("0.0.0.0/0", 2, "169.254.9.9"));
    assert_eq!(source(&policy, "169.254.7.7"), "169.254.1.1");
    assert_eq!(source(&policy, "198.51.100.1"), "192.0.2.1", "of another device, loopback first");
}

/// `inet_select_addr`: an address of the host alone serves the link where 127.0.0.0/8 is routed, else it does not.
#[test]
fn an_address_of_the_host_alone_serves_no_link() {
    let host_only = Address { scope: SCOPE_HOST, ..Address::new(2, ip("10.1.0.1"), 24) };
    let policy = |route_localnet| {
        let conf = LinkConf { route_localnet, ..LinkConf::default() };
        let builder = Builder::host().link(Link { conf, ..Link::up(2, "eth0") }).address(host_only.clone());
        builder.route(on("10.1.0.0/24", 2))
    };
    let broadcast = Query { oif: 2, ..to("255.255.255.255") };
    for query in [to("10.1.0.9"), broadcast] {
        assert_eq!(refused(&policy(false), &query), NoRoute::NoSource);
        assert_eq!(found(&policy(true), &query).source, ip("10.1.0.1"));
    }
    let by_loopback = Query { oif: 1, ..broadcast };
    assert_eq!(refused(&policy(false), &by_loopback), NoRoute::NoSource);
}

#[test]
fn loopback_addresses_do_not_leave_the_host() {
    let policy = two_sided();
    assert_eq!(refused(&policy, &from("127.0.0.1", to("10.0.0.9"))), NoRoute::NoSource);
    assert_eq!(found(&policy, &from("127.0.0.1", to("10.0.0.4"))).dev, 1);
    let localnet =
        Link { conf: LinkConf { route_localnet: true, ..LinkConf::default() }, ..Link::up(4, "localnet") };
    let policy = policy.link(localnet).route(on("198.51.100.0/24", 4));
    assert_eq!(found(&policy, &from("127.0.0.1", to("198.51.100.1"))).dev, 4);
}

#[test]
fn a_host_without_addresses_has_no_source() {
    let policy = Builder::new()
        .link(Link::up(2, "eth0"))
        .rule(crate::fib::spec::Rule::new(
            crate::fib::spec::Family::V4,
            1,
            crate::fib::spec::Action::Table(254),
        ))
        .route(on("10.0.0.0/8", 2));
    assert_eq!(refused(&policy, &to("10.0.0.1")), NoRoute::NoSource);
}

/// A device with these IPv6 addresses, the default route by it, and a second device with `other`.
fn six(addresses: &[Address], other: &str) -> Builder {
    let policy = Builder::host()
        .link(Link::up(2, "eth0"))
        .link(Link::up(3, "eth1"))
        .address(Address::new(3, ip(other), 64))
        .route(on("::/0", 2));
    addresses.iter().fold(policy, |policy, address| policy.address(address.clone()))
}

fn own(address: &str) -> Address {
    Address::new(2, ip(address), 64)
}

#[test]
fn rfc_6724_rule_1_prefers_the_same_address() {
    let policy = six(&[own("2001:db8::1"), own("2001:db8::2")], "2001:db8:9::1")
        .route(on("2001:db8::2/128", 2).in_table(255).of_kind(crate::fib::spec::Kind::Local));
    assert_eq!(source(&policy, "2001:db8::2"), "2001:db8::2");
}

#[test]
fn rfc_6724_rule_2_prefers_the_fitting_scope() {
    let policy = six(&[own("fe80::1"), own("2001:db8::1")], "2001:db8:9::1");
    assert_eq!(source(&policy, "2600::1"), "2001:db8::1");
    assert_eq!(found(&policy, &Query { oif: 2, ..to("fe80::9") }).source, ip("fe80::1"));
    let site_only = six(&[own("fe80::1"), own("fec0::1")], "fec0:9::1");
    assert_eq!(source(&site_only, "2600::1"), "fec0::1", "the largest, where none reaches");
}

#[test]
fn rfc_6724_rule_3_avoids_deprecated_addresses() {
    let deprecated = Address { deprecated: true, ..own("2001:db8::1") };
    assert_eq!(source(&six(&[deprecated.clone(), own("2001:db8::2")], "fe80::1"), "2600::1"), "2001:db8::2");
    assert_eq!(source(&six(&[deprecated], "fe80::1"), "2600::1"), "2001:db8::1", "better than none");
}

#[test]
fn rfc_6724_rule_5_prefers_the_outgoing_interface() {
    assert_eq!(source(&six(&[own("2001:db8:1::1")], "2600::2"), "2600::1"), "2001:db8:1::1");
    assert_eq!(source(&six(&[own("fe80::1")], "2001:db8:9::1"), "2600::1"), "2001:db8:9::1", "rule 2 first");
}

#[test]
fn rfc_6724_rule_6_prefers_the_matching_label() {
    let policy = six(&[own("fd00::1"), own("2001:db8::1")], "fe80::1");
    assert_eq!(source(&policy, "2600::1"), "2001:db8::1");
    assert_eq!(source(&policy, "fdff::1"), "fd00::1");
    // A label of the operator's comes before the standard ones, as the kernel lists longer prefixes first.
    let operator = Builder::new()
        .link(Link::up(2, "eth0"))
        .label(Label { prefix: "2600::/16".parse().unwrap(), dev: 0, label: 5 })
        .label(Label { prefix: "fc00::/7".parse().unwrap(), dev: 0, label: 5 })
        .label(Label { prefix: "::/0".parse().unwrap(), dev: 0, label: 1 })
        .rule(crate::fib::spec::Rule::new(
            crate::fib::spec::Family::V6,
            1,
            crate::fib::spec::Action::Table(254),
        ))
        .address(own("2001:db8::1"))
        .address(own("fd00::1"))
        .route(on("::/0", 2));
    assert_eq!(source(&operator, "2600::1"), "fd00::1");
}

#[test]
fn rfc_6724_rule_7_takes_temporary_addresses_where_they_are_wanted() {
    let addresses = [own("2001:db8::1"), Address { temporary: true, ..own("2001:db8::2") }];
    assert_eq!(source(&six(&addresses, "fe80::1"), "2600::1"), "2001:db8::1");
    let conf = LinkConf { prefer_temporary: true, ..LinkConf::default() };
    let private = addresses.iter().fold(
        Builder::host().link(Link { conf, ..Link::up(2, "eth0") }).route(on("::/0", 2)),
        |policy, address| policy.address(address.clone()),
    );
    assert_eq!(source(&private, "2600::1"), "2001:db8::2");
}

#[test]
fn rfc_6724_rule_8_prefers_the_longest_common_prefix() {
    let policy = six(&[own("2001:db8:1::1"), own("2001:db8:2::1")], "fe80::1");
    assert_eq!(source(&policy, "2001:db8:2:5::1"), "2001:db8:2::1");
    assert_eq!(source(&policy, "2001:db8:1:5::1"), "2001:db8:1::1");
    // No more bits count than the source's own prefix has.
    let short = Address::new(2, ip("2001:db8:ff::1"), 32);
    let policy = six(&[short, own("2001:db8:0:1::1")], "fe80::1");
    assert_eq!(source(&policy, "2001:db8:ff::2"), "2001:db8:0:1::1", "32 bits against 40 and more");
}

#[test]
fn tentative_addresses_are_no_sources_unless_optimistic() {
    let tentative = Address { tentative: true, ..own("2001:db8::1") };
    let policy = six(&[tentative.clone(), own("2001:db8::2")], "fe80::1");
    assert_eq!(source(&policy, "2600::1"), "2001:db8::2");
    let fib = policy.clone().build();
    assert_eq!(fib.home_of(ip("2001:db8::1")), None);
    assert!(fib.addresses().all(|(address, _)| address != ip("2001:db8::1")));
    assert_eq!(refused(&policy, &from("2001:db8::1", to("2600::1"))), NoRoute::SourceNotLocal);

    let optimistic = Address { optimistic: true, ..tentative };
    assert_eq!(source(&six(std::slice::from_ref(&optimistic), "fe80::1"), "2600::1"), "2001:db8::1");
    assert_eq!(source(&six(&[optimistic, own("2001:db8::2")], "fe80::1"), "2600::1"), "2001:db8::2");
}

#[test]
fn addresses_of_a_device_that_is_down_are_not_usable() {
    let policy = two_sided().link(Link { up: false, ..Link::up(4, "down") }).assign(4, net("10.4.0.1/24"));
    let fib = policy.build();
    assert!(fib.addresses().all(|(address, _)| address != ip("10.4.0.1")));
    assert!(fib.addresses().any(|found| found == (ip("10.0.0.4"), 3)));
    assert_eq!(fib.link_index("down"), Some(4));
    assert_eq!((fib.link_name(3), fib.link_up(4)), (Some("private"), false));
}
