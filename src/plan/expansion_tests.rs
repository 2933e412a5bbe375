//! Hosts and what is listened on there, by literals.

use std::net::IpAddr;

use super::*;
use crate::fib::spec::{Address, Link};
use crate::fib::{Builder, Fib};
use crate::limits::{LEFT_OUT_NAMED, LISTENERS};

fn section(id: u16, name: &str, bind: Bind) -> Section {
    Section {
        id: SectionId(id),
        name: name.into(),
        transport: Transport::Udp,
        bind,
        port: 5060,
        tcp: Sibling::Absent,
        device: None,
        mark: None,
        advertise: Vec::new(),
        dialog_to: Vec::new(),
        formerly: Vec::new(),
        origins: None,
        tls: None,
    }
}

fn all(id: u16) -> Section {
    section(id, "all", Bind::All { v4: true, v6: true })
}

fn address(dev: u32, ip: &str) -> Address {
    let ip: IpAddr = ip.parse().unwrap();
    Address::new(dev, ip, if ip.is_ipv4() { 24 } else { 64 })
}

/// lo, eth0 (2), eth1 (3), and a VRF (4) with eth2 (5).
fn host(addresses: impl IntoIterator<Item = Address>) -> Fib {
    let vrf = Link { vrf_table: Some(10), ..Link::up(4, "red") };
    let host = Builder::host().link(Link::up(2, "eth0")).link(Link::up(3, "eth1")).link(vrf);
    let host = host.link(Link { master: 4, ..Link::up(5, "eth2") });
    addresses.into_iter().fold(host, Builder::address).build()
}

fn names(expansion: &Expansion) -> Vec<&str> {
    expansion.listeners.iter().map(|l| &*l.name).collect()
}

#[test]
fn a_wildcard_stands_for_what_is_reached_from_everywhere() {
    let fib =
        host([address(2, "10.0.0.4"), address(2, "fe80::4"), address(3, "fd00::4"), address(5, "10.9.0.4")]);
    assert_eq!(names(&expand(&[all(0)], &fib)), ["all/10.0.0.4", "all/fd00::4"]);
    let v4 = section(0, "v4", Bind::All { v4: true, v6: false });
    assert_eq!(names(&expand(&[v4], &fib)), ["v4/10.0.0.4"]);
    let red = Section { device: Some("red".into()), ..all(0) };
    assert_eq!(names(&expand(&[red], &fib)), ["all/10.9.0.4"], "of the socket's VRF");
    let eth1 = Section { device: Some("eth1".into()), ..all(0) };
    let expansion = expand(&[eth1], &fib);
    assert_eq!((names(&expansion), expansion.listeners[0].device_index), (vec!["all/fd00::4"], 3));
    assert_eq!(names(&expand(&[all(0)], &host([]))), ["all/127.0.0.1", "all/::1"], "nothing but loopback");
}

#[test]
fn an_interface_stands_for_all_of_its_addresses_link_local_ones_with_their_scope() {
    let fib =
        host([address(2, "10.0.0.4"), address(2, "fe80::4"), address(3, "fe80::4"), address(3, "10.0.1.4")]);
    let eth0 = section(0, "lan", Bind::Interface("eth0".into()));
    let expansion = expand(&[eth0], &fib);
    assert_eq!(names(&expansion), ["lan/10.0.0.4", "lan/fe80::4%eth0"]);
    let linked = &expansion.listeners[1];
    assert_eq!((linked.bind, linked.link.as_deref()), ("[fe80::4%2]:5060".parse().unwrap(), Some("eth0")));
    let later = section(0, "lan", Bind::Interface("ppp0".into()));
    assert_eq!(names(&expand(&[later], &fib)), Vec::<&str>::new());
}

#[test]
fn tentative_and_temporary_addresses_are_not_served_and_deprecated_ones_come_last() {
    let fib = host([
        Address { deprecated: true, ..address(2, "2001:db8::1") },
        Address { tentative: true, ..address(2, "2001:db8::2") },
        Address { tentative: true, optimistic: true, ..address(2, "2001:db8::3") },
        Address { temporary: true, ..address(2, "2001:db8::4") },
        address(2, "2001:db8::5"),
    ]);
    let expected = ["all/2001:db8::3", "all/2001:db8::5", "all/2001:db8::1"];
    assert_eq!(names(&expand(&[all(0)], &fib)), expected);
}

#[test]
fn who_names_an_address_has_it_and_else_the_first() {
    let fib = host([address(2, "10.0.0.4"), address(2, "10.0.0.5")]);
    let eth0 = section(1, "eth0", Bind::Interface("eth0".into()));
    let own = section(2, "own", Bind::Address("10.0.0.5".parse().unwrap()));
    let other_port = Section { port: 5070, ..section(3, "other", Bind::Interface("eth0".into())) };
    let expansion = expand(&[all(0), eth0, own, other_port], &fib);
    assert_eq!(names(&expansion), ["all/10.0.0.4", "own", "other/10.0.0.4", "other/10.0.0.5"]);
    let numbered: Vec<_> = expansion.listeners.iter().map(|l| (l.id.0, l.section.0)).collect();
    assert_eq!(numbered, [(0, 0), (1, 2), (2, 3), (3, 3)]);
}

#[test]
fn the_same_address_on_two_links_is_one_listener() {
    let fib = host([address(2, "10.0.0.4"), address(3, "10.0.0.4")]);
    assert_eq!(names(&expand(&[all(0)], &fib)), ["all/10.0.0.4"]);
}

#[test]
fn an_identity_survives_a_new_index_and_the_address_going_and_coming() {
    let lan =
        || Section { formerly: vec!["old".into()], ..section(0, "lan", Bind::Interface("eth0".into())) };
    let before = expand(&[lan()], &host([address(2, "10.0.0.4"), address(2, "fe80::4")]));
    assert_eq!(names(&expand(&[lan()], &host([]))), Vec::<&str>::new());
    let anew = Builder::host()
        .link(Link::up(9, "eth0"))
        .address(address(9, "10.0.0.4"))
        .address(address(9, "fe80::4"));
    let after = expand(&[lan()], &anew.build());
    let identities = |e: &Expansion| -> Vec<u32> { e.listeners.iter().map(|l| l.identity).collect() };
    assert_eq!(identities(&before), identities(&after));
    assert_ne!(before.listeners[1].bind, after.listeners[1].bind, "the scope is another");
    // Under its old name the section may have named the address itself.
    let old = section(0, "old", Bind::Interface("eth0".into()));
    let old_literal = section(0, "old", Bind::Address("10.0.0.4".parse().unwrap()));
    for old in [old, old_literal] {
        let fib = host([address(2, "10.0.0.4")]);
        assert!(before.listeners[0].formerly.contains(&expand(&[old], &fib).listeners[0].identity));
    }
}

#[test]
fn a_literal_is_there_whether_or_not_the_host_has_it() {
    let own = section(0, "own", Bind::Address("10.0.0.5".parse().unwrap()));
    let linked = section(1, "linked", Bind::LinkLocal("fe80::4".parse().unwrap(), "ppp0".into()));
    let tied = Section {
        device: Some("ppp0".into()),
        ..section(2, "tied", Bind::Address("10.0.0.6".parse().unwrap()))
    };
    let sections = [own, linked, tied];
    let can =
        |fib: Fib| expand(&sections, &fib).listeners.iter().map(Listener::can_be_bound).collect::<Vec<_>>();
    assert_eq!(can(host([])), [true, false, false]);
    assert_eq!(can(Builder::host().link(Link::up(7, "ppp0")).build()), [true, true, true]);
}

#[test]
fn a_host_with_more_addresses_than_listeners_serves_the_first_and_names_the_rest() {
    let own = section(1, "own", Bind::Address("192.0.2.1".parse().unwrap()));
    let many =
        (0..LISTENERS as u32 + 9).map(|n| address(2, &std::net::Ipv4Addr::from(0x0a00_0001 + n).to_string()));
    let expansion = expand(&[all(0), own], &host(many));
    assert_eq!(expansion.listeners.len(), LISTENERS);
    assert_eq!(expansion.listeners.last().map(|l| &*l.name), Some("own"), "what is named is served first");
    assert_eq!((expansion.left_out.beyond, expansion.left_out.named.len()), (10, LEFT_OUT_NAMED));
    assert_eq!(&*expansion.left_out.named[0], "all/10.0.4.0");
}

#[test]
fn what_leaves_stays_in_its_section_until_it_is_handled() {
    let own = section(1, "own", Bind::Address("192.0.2.1".parse().unwrap()));
    let before = expand(&[all(0), own.clone()], &host([address(2, "10.0.0.4"), address(2, "10.0.0.5")]));
    let after = expand(&[all(0), own], &host([address(2, "10.0.0.5")]));
    let after = after.with_leaving(before.listeners.iter().filter(|l| &*l.name == "all/10.0.0.4"));
    let seen: Vec<_> = after.listeners.iter().map(|l| (l.id.0, &*l.name, l.standing)).collect();
    let expected = [
        (0, "all/10.0.0.5", Standing::Served),
        (1, "all/10.0.0.4", Standing::Leaving),
        (2, "own", Standing::Served),
    ];
    assert_eq!(seen, expected);
    assert!(!after.listeners[1].can_be_bound());
}
