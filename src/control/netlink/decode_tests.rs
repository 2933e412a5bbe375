use proptest::prelude::*;

use super::decode;
use super::wire::{AF_INET, AF_INET6, Message, Request, messages};
use crate::fib::spec::{Action, Kind, Masked, Nexthop, NexthopBody, Nexthops, Ports};

/// Gives `read` the message that a request is, as if the kernel had sent it in a dump.
fn reading<T>(request: Request, read: impl Fn(&Message<'_>) -> T) -> T {
    let bytes = request.finish(1);
    let message = messages(&bytes).next().expect("one message");
    read(&message.unwrap_or_else(|_| panic!("malformed")))
}

fn rule(family: u8, action: u8) -> Request {
    Request::new(libc::RTM_NEWRULE, 0, &[family, 0, 24, 0, 254, 0, 0, action, 2, 0, 0, 0])
}

fn route(family: u8, dst_len: u8, kind: u8) -> Request {
    Request::new(libc::RTM_NEWROUTE, 0, &[family, dst_len, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0])
}

#[test]
fn a_rule_with_all_selectors_is_read() {
    let request = rule(AF_INET, 1)
        .attribute(2, &[10, 1, 0, 0])
        .attribute(3, b"lo\0")
        .attribute(6, &100_u32.to_ne_bytes())
        .attribute(10, &7_u32.to_ne_bytes())
        .attribute(16, &0xff_u32.to_ne_bytes())
        .attribute(12, &5_u64.to_be_bytes())
        .attribute(13, &9_u32.to_ne_bytes())
        .attribute(14, &u32::MAX.to_ne_bytes())
        .attribute(15, &1_000_u32.to_ne_bytes())
        .attribute(20, &[1_000_u32.to_ne_bytes(), 2_000_u32.to_ne_bytes()].concat())
        .attribute(22, &[17])
        .attribute(23, &[5060_u16.to_ne_bytes(), 5070_u16.to_ne_bytes()].concat())
        .attribute(25, &[46])
        .attribute(30, &[0x3f]);
    let rule = reading(request, decode::rule).expect("readable").expect("of this family");
    assert!(rule.not && !rule.opaque);
    assert_eq!(rule.from.map(|net| net.to_string()).as_deref(), Some("10.1.0.0/24"));
    assert_eq!((rule.priority, rule.iif.as_deref()), (100, Some("lo")));
    assert_eq!(rule.mark, Some(Masked { value: 7, mask: 0xff }));
    assert_eq!((rule.tun_id, rule.suppress_group, rule.suppress_prefix_len), (5, Some(9), None));
    assert_eq!((rule.action, rule.uids, rule.protocol), (Action::Table(1_000), Some(1_000..=2_000), 17));
    assert_eq!(rule.sport, Some(Ports { first: 5060, last: 5070, mask: 0 }));
    assert_eq!(rule.dscp, Some(Masked { value: 46, mask: 0x3f }));
}

#[test]
fn what_a_rule_says_beyond_that_makes_it_opaque() {
    let read = |request| reading(request, decode::rule).expect("readable").expect("of this family").opaque;
    assert!(!read(rule(AF_INET6, 1)));
    assert!(read(rule(AF_INET6, 1).attribute(999, &[1])));
    assert!(read(rule(AF_INET6, 5)), "an action that is not known");
}

#[test]
fn a_dummy_and_a_vrf_are_told_apart_from_others() {
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = [(value.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let read = |info: Vec<u8>| {
        let request = Request::new(libc::RTM_NEWLINK, 0, &[0; 16]).attribute(3, b"x\0").attribute(18, &info);
        let link = reading(request, decode::link).expect("readable");
        (link.dummy, link.vrf_table)
    };
    assert_eq!(read(attribute(1, b"dummy\0")), (true, None));
    assert_eq!(read(attribute(1, b"veth\0")), (false, None));
    let table = attribute(2, &attribute(1, &10_u32.to_ne_bytes()));
    assert_eq!(read([attribute(1, b"vrf\0"), table].concat()), (false, Some(10)));
}

#[test]
fn an_encapsulation_makes_a_route_opaque() {
    const ENCAP: u16 = 22;
    let read = |request| reading(request, decode::route).expect("readable").expect("of this family").route;
    let plain = read(route(AF_INET, 24, 1).attribute(1, &[192, 0, 2, 0]).attribute(4, &3_u32.to_ne_bytes()));
    assert_eq!(
        (plain.opaque, plain.kind, plain.prefix.to_string().as_str()),
        (false, Kind::Unicast, "192.0.2.0/24")
    );
    assert_eq!(plain.nexthops, Nexthops::Own(vec![Nexthop::new(3, None)]));
    assert!(read(route(AF_INET, 24, 1).attribute(ENCAP, &[0; 4])).opaque);
    assert!(read(route(AF_INET, 24, 11)).opaque, "a type that is not known");
}

#[test]
fn lifetimes_of_ipv6_routes_are_read() {
    let cache = |expires: i32| [[0; 8].as_slice(), &expires.to_ne_bytes(), &[0; 16]].concat();
    let read = |family, expires| {
        let request = route(family, 0, 1).attribute(4, &3_u32.to_ne_bytes()).attribute(12, &cache(expires));
        let read = reading(request, decode::route).expect("readable").expect("of this family");
        assert_eq!((read.error, read.route.opaque), (0, false));
        (read.route.lifetime, read.route.is_over())
    };
    assert_eq!(read(AF_INET6, 0), (None, false));
    assert_eq!(read(AF_INET6, 179_993), (Some(179_993), false));
    assert_eq!(read(AF_INET6, -1_234), (Some(-1_234), true));
    assert_eq!(read(AF_INET, 7), (None, false));
}

#[test]
fn of_the_lifetimes_of_several_paths_the_first_ones_is_told() {
    let path = |dev: u32| [&8_u16.to_ne_bytes()[..], &[0, 0], &dev.to_ne_bytes()].concat();
    let read = |expires: i32, paths: &[u8]| {
        let cache = [[0; 8].as_slice(), &expires.to_ne_bytes(), &[0; 16]].concat();
        let request = route(AF_INET6, 0, 1).attribute(9, paths).attribute(12, &cache);
        let route = reading(request, decode::route).expect("readable").expect("of this family").route;
        (route.is_over(), route.opaque)
    };
    let (one, two) = (path(3), [path(3), path(4)].concat());
    assert_eq!((read(500, &one), read(500, &two)), ((false, false), (false, false)));
    assert_eq!((read(-500, &one), read(-500, &two)), ((true, false), (false, true)));
}

#[test]
fn paths_of_a_multipath_route_are_read() {
    let gateway = [8_u16.to_ne_bytes(), 5_u16.to_ne_bytes(), [10, 0], [0, 1]].concat();
    let mut paths = [&16_u16.to_ne_bytes()[..], &[0, 2], &7_u32.to_ne_bytes(), &gateway].concat();
    paths.extend([&8_u16.to_ne_bytes()[..], &[17, 0], &8_u32.to_ne_bytes()].concat());
    let read = reading(route(AF_INET, 0, 1).attribute(9, &paths), decode::route);
    let route = read.expect("readable").expect("of this family").route;
    let first = Nexthop { weight: 3, ..Nexthop::new(7, "10.0.0.1".parse().ok()) };
    let second = Nexthop { dead: true, ..Nexthop::new(8, None) };
    assert_eq!(route.nexthops, Nexthops::Own(vec![first, second]));
}

#[test]
fn weights_of_a_group_have_two_bytes() {
    let member = |id: u32, low: u8, high: u8| [&id.to_ne_bytes()[..], &[low, high, 0, 0]].concat();
    let group = [member(1, 0, 0), member(2, 255, 1)].concat();
    let request = Request::new(104, 0, &[0; 8]).attribute(1, &9_u32.to_ne_bytes()).attribute(2, &group);
    let object = reading(request, decode::nexthop).expect("readable");
    assert_eq!((object.id, object.body), (9, NexthopBody::Group(vec![(1, 1), (2, 512)])));
}

#[test]
fn sysctls_of_a_device_are_found_by_their_number() {
    let array = |set: &[(usize, u32)], len: usize| {
        let mut values = vec![0_u32; len];
        set.iter().for_each(|(place, value)| values[*place] = *value);
        values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>()
    };
    let nested =
        |kind: u16, value: &[u8]| Request::new(0, 0, &[]).attribute(kind, value).finish(0)[16..].to_vec();
    // Linux numbers IPv4's from 1: route_localnet is 26, ignore_routes_with_linkdown 29.
    let v4 = nested(1, &array(&[(25, 1), (28, 1)], 33));
    let v6 = nested(2, &array(&[(10, 2), (26, 1), (37, 1)], 60));
    let families = [nested(2, &v4), nested(10, &v6)].concat();
    let request =
        Request::new(libc::RTM_NEWLINK, 0, &[0; 16]).attribute(3, b"eth0\0").attribute(26, &families);
    let link = reading(request, decode::link).expect("readable");
    assert!(link.conf.route_localnet && link.conf.ignore_linkdown_v4);
    assert!(link.conf.prefer_temporary && link.conf.use_oif_addrs_only && link.conf.disable_ipv6);
    assert!(!link.conf.ignore_linkdown_v6 && !link.conf.use_optimistic && !link.conf.without_ipv6);
    let without = Request::new(libc::RTM_NEWLINK, 0, &[0; 16]).attribute(26, &nested(2, &v4));
    assert!(reading(without, decode::link).expect("readable").conf.without_ipv6);
}

fn read_all(message: &Message<'_>) {
    let _ = decode::link(message);
    let _ = decode::address(message);
    let _ = decode::label(message);
    let _ = decode::rule(message);
    let _ = decode::route(message).map(|route| route.map(|route| route.error));
    let _ = decode::nexthop(message);
}

proptest! {
    #[test]
    fn no_message_panics(
        family in prop::sample::select(vec![0, AF_INET, AF_INET6, 28]),
        body in prop::collection::vec(any::<u8>(), 0..24),
        attributes in prop::collection::vec((0_u16..40, prop::collection::vec(any::<u8>(), 0..24)), 0..8),
        cut in 0_usize..64,
    ) {
        let body = [vec![family], body].concat();
        let mut request = Request::new(0, 0, &body);
        for (kind, value) in &attributes {
            request = request.attribute(*kind, value);
        }
        let bytes = request.finish(1);
        let payload = &bytes[16..bytes.len() - cut.min(bytes.len() - 16)];
        read_all(&Message { kind: 0, flags: 0, sequence: 1, payload });
        messages(&bytes[cut.min(bytes.len())..]).for_each(|message| {
            if let Ok(message) = message {
                read_all(&message);
            }
        });
    }
}
