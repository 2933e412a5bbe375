//! Step A.3: listeners whose address is of no one network, and who may not stand in.

use super::world::{PRIVATE, PUBLIC, World, two_sided};
use crate::egress::{ListenerState, NoEgress, Unfit};
use crate::fib::Builder;
use crate::fib::spec::{Action, Family, Kind, Link, Route, Rule};
use crate::plan::ListenerId;

const BOTH: [&str; 2] = ["udp:203.0.113.10:5060", "udp:10.0.0.4:5060"];

/// 198.51.100.1 is announced by a routing protocol and lives on the loopback device.
fn with_loopback_address() -> Builder {
    two_sided().assign(1, "198.51.100.1/32".parse().unwrap())
}

#[test]
fn a_loopback_address_sends_where_it_is_the_only_candidate() {
    let world = World::new(with_loopback_address(), &["udp:198.51.100.1:5060"]);
    assert_eq!(world.chosen("udp:10.0.0.100:5060"), (0, "elsewhere"));
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "elsewhere"));
    assert_eq!(world.auto("udp:192.0.2.7:5060").unwrap().route.dev, PUBLIC);
}

/// Though by the weak host model any address of the host may leave by any device.
#[test]
fn the_address_of_one_network_is_not_shown_to_another() {
    let world = World::new(two_sided(), &["udp:203.0.113.10:5060"]);
    assert!(matches!(world.auto("udp:10.0.0.100:5060"), Err(NoEgress::SourceIsNoListener(_))));
    assert_eq!(world.losers("udp:10.0.0.100:5060"), [(0, Unfit::Elsewhere)]);
    // Nor where its own network has it on the other device, too, unless that is the route's.
    let both = World::new(two_sided().assign(PRIVATE, "203.0.113.10/32".parse().unwrap()), &BOTH[..1]);
    assert_eq!(both.chosen("udp:10.0.0.100:5060"), (0, "elsewhere"));
}

#[test]
fn an_address_on_a_dummy_device_is_of_no_network() {
    let dummy = Link { dummy: true, ..Link::up(9, "sip0") };
    let builder = two_sided().link(dummy).assign(9, "198.51.100.1/32".parse().unwrap());
    let world = World::new(builder, &["udp:198.51.100.1:5060", "udp:203.0.113.10:5060"]);
    assert_eq!(world.chosen("udp:10.0.0.100:5060"), (0, "elsewhere"));
}

#[test]
fn a_device_that_a_listener_names_is_one_that_it_leaves_by() {
    let world = World::new(two_sided(), &["udp:203.0.113.10:5060 device=private"]);
    assert_eq!(world.chosen("udp:10.0.0.100:5060"), (0, "elsewhere"));
}

/// Nothing leaves the host: whoever listens beside, on 127.0.0.1, sees any address of it.
#[test]
fn on_the_host_itself_any_address_will_do() {
    let world = World::new(two_sided(), &["udp:203.0.113.10:5060"]);
    assert_eq!(world.chosen("udp:127.0.0.1:5070"), (0, "elsewhere"));
    assert_eq!(world.chosen("udp:10.0.0.4:5070"), (0, "elsewhere"));
}

fn words(world: &World, next_hop: &str) -> String {
    world.auto(next_hop).unwrap_err().in_words(&world.plan, &world.fib).to_string()
}

#[test]
fn nobody_stands_in_for_a_listener_that_is_down() {
    let listeners = ["udp:198.51.100.1:5060", "udp:10.0.0.4:5060", "udp:203.0.113.10:5070 mark=7"];
    let without_carrier =
        with_loopback_address().link(Link { carrier: false, ..Link::up(PRIVATE, "private") });
    let world = World::new(without_carrier, &listeners);
    let down = world.auto("udp:10.0.0.100:5060");
    assert!(matches!(down, Err(NoEgress::SourceDown(_, ListenerId(1), ListenerState::HomeDown))), "{down:?}");
    assert_eq!(
        words(&world, "udp:10.0.0.100:5060"),
        "the kernel would send it by private (10.0.0.0/24, table main) from 10.0.0.4, and listener udp:10.0.0.4:5060, \
         which has it, is down: the interface that carries its address is down or has no carrier"
    );
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "elsewhere"), "another network");
    // Its address goes, another one of the network stays.
    let renumbered = two_sided().assign(1, "198.51.100.1/32".parse().unwrap());
    let listeners = [listeners[0], "udp:10.0.0.7:5060", listeners[2]];
    let world = World::new(renumbered, &listeners);
    assert_eq!(
        words(&world, "udp:10.0.0.100:5060"),
        "the kernel would send it by private (10.0.0.0/24, table main) from 10.0.0.4, and listener udp:10.0.0.7:5060, \
         which is to have 10.0.0.7 there, is down: its address is on no interface of this host"
    );
    // Also where nobody could stand in; over another transport it is not missed.
    let world = World::new(two_sided(), &["udp:203.0.113.10:5060", listeners[1], "tcp:203.0.113.10:5060"]);
    assert!(matches!(world.auto("udp:10.0.0.100:5060"), Err(NoEgress::SourceDown(_, ListenerId(1), _))));
    assert!(matches!(world.auto("tcp:10.0.0.100:5060"), Err(NoEgress::SourceIsNoListener(_))));
}

#[test]
fn a_guess_is_not_handed_on_to_listeners_with_a_mark() {
    let builder = with_loopback_address().assign(1, "198.51.100.2/32".parse().unwrap());
    let listeners = ["udp:198.51.100.1:5060", "udp:198.51.100.2:5060", "udp:198.51.100.1:5070 mark=7"];
    let world = World::new(builder, &listeners);
    let several = world.auto("udp:10.0.0.100:5060");
    assert!(matches!(several, Err(NoEgress::Several(_, [ListenerId(0), ListenerId(1)]))), "{several:?}");
    let told = words(&world, "udp:10.0.0.100:5060");
    assert!(
        told.ends_with(
            "which is no listener, and several could: udp:198.51.100.1:5060, udp:198.51.100.2:5060"
        ),
        "{told}"
    );
}

#[test]
fn a_listener_on_the_source_that_cannot_send_is_named() {
    let prohibit =
        Rule { from: Some("10.0.0.4/32".parse().unwrap()), ..Rule::new(Family::V4, 50, Action::Prohibit) };
    let world = World::new(two_sided().rule(prohibit), &BOTH);
    assert_eq!(
        words(&world, "udp:10.0.0.100:5060"),
        "listener udp:10.0.0.4:5060: from its address: a prohibit route or rule holds it"
    );
    let tied = ["udp:203.0.113.10:5060", "udp:10.0.0.4:5060 device=public mark=7"];
    let no_default = two_sided().without_routes(|route| route.prefix.prefix_len() == 0);
    assert_eq!(
        words(&World::new(no_default, &tied), "udp:10.0.0.100:5060"),
        "listener udp:10.0.0.4:5060 device=public mark=7: by its device public (mark 7): there is no route"
    );
    let strict = World::new(two_sided(), &tied).policy(|policy| policy.nearest = false);
    let astray = words(&strict, "udp:10.0.0.100:5060");
    assert!(astray.contains("is tied to the device public (mark 7)"), "{astray}");
}

#[test]
fn two_addresses_that_live_elsewhere_are_a_guess_and_no_choice() {
    let builder = with_loopback_address().assign(1, "198.51.100.2/32".parse().unwrap());
    let world = World::new(builder, &["udp:198.51.100.1:5060", "udp:198.51.100.2:5060"]);
    assert!(matches!(world.auto("udp:10.0.0.100:5060"), Err(NoEgress::Several(..))));
}

#[test]
fn an_anycast_network_delivered_by_table_local_is_an_address_too() {
    let mut route = Route::new("198.51.100.0/24".parse().unwrap(), 1, None).in_table(255);
    (route.kind, route.scope) = (Kind::Local, 254);
    let world = World::new(two_sided().route(route), &["udp:198.51.100.77:5060"]);
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "elsewhere"));
}

#[test]
fn the_loopback_listener_is_not_for_other_hosts() {
    let world = World::new(two_sided(), &["udp:127.0.0.1:5060"]);
    assert!(matches!(world.auto("udp:192.0.2.7:5060"), Err(NoEgress::SourceIsNoListener(_))));
}
