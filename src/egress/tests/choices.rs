//! The automatic choice step by step, overrides, dialogs, pins on a changing host.

use std::net::SocketAddr;

use super::world::{PRIVATE, PUBLIC, World, default_by, ip, two_sided};
use crate::egress::{
    Exit, ListenerState, NoEgress, Pin, Question, Reason, Recent, Step, Unfit, auto, bound_query, confirm,
    overridden,
};
use crate::fib::spec::{Action, Address, Family, Kind, Link, Masked, Nexthop, Nexthops, Route, Rule};
use crate::fib::{Answer, Builder, NoRoute, RouteKind};
use crate::net::Transport;
use crate::plan::{ListenerId, NoListener, SectionId};
use crate::rules::EgressChoice;
use crate::token::KeyId;

const BOTH: [&str; 2] = ["udp:203.0.113.10:5060", "udp:10.0.0.4:5060"];

// A.1: the route's source

#[test]
fn a_private_destination_leaves_from_the_private_listener() {
    let world = World::new(two_sided(), &BOTH);
    assert_eq!(world.chosen("udp:10.0.0.100:5060"), (1, "source"));
    let egress = world.auto("udp:10.0.0.100:5060").unwrap();
    assert_eq!((egress.route.dev, egress.route.table), (PRIVATE, 254));
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "source"));
    assert_eq!(world.auto("udp:192.0.2.7:5060").unwrap().route.gateway, Some(ip("203.0.113.1")));
}

#[test]
fn only_listeners_of_the_transport_and_family_take_part() {
    let world = World::new(two_sided(), &["tcp:10.0.0.4:5060", "udp:203.0.113.10:5060"]);
    assert_eq!(world.chosen("tcp:10.0.0.100:5060"), (0, "source"));
    assert_eq!(world.auto("tls:10.0.0.100:5061"), Err(NoEgress::NoListener));
    assert_eq!(world.auto("udp:[2001:db8::9]:5060"), Err(NoEgress::NoListener));
}

#[test]
fn of_two_listeners_on_one_address_the_ingress_port_is_kept() {
    let listeners = ["udp:10.0.0.4:5060", "udp:10.0.0.4:5080", "udp:203.0.113.10:5080"];
    let at = |ingress| World::new(two_sided(), &listeners).from(ingress).chosen("udp:10.0.0.9:5060");
    assert_eq!(at(0), (0, "source"));
    assert_eq!(at(1), (1, "source"));
    assert_eq!(at(2), (1, "source"), "came in on port 5080 elsewhere");
    let other = World::new(two_sided(), &["udp:203.0.113.10:7000", listeners[1], listeners[0]]);
    assert_eq!(other.chosen("udp:10.0.0.9:5060"), (1, "source"), "no port fits: the first configured");
}

#[test]
fn a_preferred_source_is_followed() {
    let builder = two_sided().assign(PUBLIC, "203.0.113.20/24".parse().unwrap()).route(
        Route::new("192.0.2.0/24".parse().unwrap(), PUBLIC, Some(ip("203.0.113.1")))
            .with_source(ip("203.0.113.20")),
    );
    let world = World::new(builder, &["udp:203.0.113.10:5060", "udp:203.0.113.20:5060"]);
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (1, "source"));
    assert_eq!(world.chosen("udp:198.51.100.7:5060"), (0, "source"));
}

#[test]
fn a_destination_on_this_host_is_reached_from_its_own_address() {
    let world = World::new(two_sided(), &[BOTH[0], BOTH[1], "udp:127.0.0.1:5060"]);
    assert_eq!(world.chosen("udp:10.0.0.4:5090"), (1, "source"));
    assert_eq!(world.chosen("udp:127.0.0.1:5090"), (2, "source"));
}

// A.2: a floating address that is not the primary one

#[test]
fn a_floating_address_sends_though_the_primary_one_is_the_source() {
    let builder = two_sided().assign(PRIVATE, "10.0.0.40/24".parse().unwrap());
    let world = World::new(builder, &["udp:203.0.113.10:5060", "udp:10.0.0.40:5060"]);
    assert_eq!(world.chosen("udp:10.0.0.100:5060"), (1, "on_device"));
}

#[test]
fn without_nearest_the_source_must_be_a_listener() {
    let builder = two_sided().assign(PRIVATE, "10.0.0.40/24".parse().unwrap());
    let world = World::new(builder, &["udp:203.0.113.10:5060", "udp:10.0.0.40:5060"])
        .policy(|policy| policy.nearest = false);
    match world.auto("udp:10.0.0.100:5060") {
        Err(NoEgress::SourceIsNoListener(route)) => {
            assert_eq!((route.source, route.dev), (ip("10.0.0.4"), PRIVATE));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.losers("udp:10.0.0.100:5060"), []);
}

#[test]
fn a_listener_whose_own_lookup_leaves_elsewhere_is_not_the_nearest() {
    // Packets from 10.0.0.40 have a table of their own that leads out by the public device.
    let builder = two_sided()
        .assign(PRIVATE, "10.0.0.40/24".parse().unwrap())
        .rule(Rule::from_table(100, "10.0.0.40/32".parse().unwrap(), 40))
        .route(default_by(PUBLIC, "203.0.113.1").in_table(40));
    let world = World::new(builder, &["udp:10.0.0.40:5060"]);
    let why = world.auto("udp:10.0.0.100:5060");
    assert!(matches!(why, Err(NoEgress::SourceIsNoListener(_))), "{why:?}");
    let losers = world.losers("udp:10.0.0.100:5060");
    assert!(
        matches!(losers[0], (0, Unfit::Device(route)) if route.dev == PUBLIC && route.table == 40),
        "{losers:?}"
    );
}

// B: no route with any source

/// A table for each source address; `main` holds nothing, not even the connected networks.
fn policy_routed() -> Builder {
    Builder::host()
        .link(Link::up(PUBLIC, "public"))
        .link(Link::up(PRIVATE, "private"))
        .address(Address::new(PUBLIC, ip("203.0.113.10"), 24))
        .address(Address::new(PRIVATE, ip("10.0.0.4"), 24))
        .route(own("203.0.113.10/32", PUBLIC))
        .route(own("10.0.0.4/32", PRIVATE))
        .rule(Rule::from_table(100, "203.0.113.10/32".parse().unwrap(), 10))
        .rule(Rule::from_table(101, "10.0.0.4/32".parse().unwrap(), 20))
        .route(default_by(PUBLIC, "203.0.113.1").in_table(10))
        .route(Route::new("10.0.0.0/8".parse().unwrap(), PRIVATE, Some(ip("10.0.0.1"))).in_table(20))
}

fn own(prefix: &str, dev: u32) -> Route {
    let mut route = Route::new(prefix.parse().unwrap(), dev, None).in_table(255);
    (route.kind, route.scope) = (Kind::Local, 254);
    route
}

#[test]
fn on_a_host_with_a_table_per_source_the_bound_lookup_decides() {
    let world = World::new(policy_routed(), &["udp:10.0.0.4:5060", "udp:203.0.113.10:5060"]);
    assert_eq!(world.chosen("udp:10.9.9.9:5060"), (0, "bound"), "the first configured that has a route");
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (1, "bound"), "the private table does not lead there");
    assert_eq!(world.auto("udp:192.0.2.7:5060").unwrap().route.table, 10);
    let losers = world.losers("udp:192.0.2.7:5060");
    assert_eq!(losers, [(0, Unfit::NoRoute(NoRoute::Unreachable))]);
    let strict = world.policy(|policy| policy.nearest = false);
    assert_eq!(strict.auto("udp:192.0.2.7:5060"), Err(NoEgress::NoRoute(NoRoute::Unreachable)));
}

#[test]
fn what_the_host_forbids_is_told() {
    let builder = two_sided()
        .route(Route::new("198.18.0.0/15".parse().unwrap(), 0, None).of_kind(Kind::Prohibit))
        .route(Route::new("198.51.100.0/24".parse().unwrap(), 0, None).of_kind(Kind::Blackhole));
    let world = World::new(builder, &BOTH);
    assert_eq!(world.auto("udp:198.18.0.1:5060"), Err(NoEgress::NoRoute(NoRoute::Prohibit)));
    assert_eq!(world.auto("udp:198.51.100.1:5060"), Err(NoEgress::NoRoute(NoRoute::Blackhole)));
}

#[test]
fn nothing_is_sent_to_groups_and_networks() {
    let mut group = Route::new("239.0.0.0/8".parse().unwrap(), PRIVATE, None);
    group.kind = Kind::Multicast;
    let world = World::new(two_sided().route(group), &BOTH);
    for (to, kind) in
        [("udp:239.1.1.1:5060", RouteKind::Multicast), ("udp:255.255.255.255:5060", RouteKind::Broadcast)]
    {
        assert_eq!(world.auto(to), Err(NoEgress::Kind(kind)), "{to}");
    }
    let lost =
        confirm(&world.plan, &world.fib, &world.view, ListenerId(1), &world.question("udp:239.1.1.1:5060"));
    assert_eq!(lost, Err(Unfit::Kind(RouteKind::Multicast)));
}

// classes: marks and devices

#[test]
fn a_marked_listener_is_asked_after_the_unmarked_ones_under_its_mark() {
    let rule = Rule {
        mark: Some(Masked { value: 7, mask: u32::MAX }),
        ..Rule::new(Family::V4, 100, Action::Table(7))
    };
    let marked_only = Builder::host()
        .link(Link::up(PUBLIC, "public"))
        .link(Link::up(PRIVATE, "private"))
        .assign(PUBLIC, "203.0.113.10/24".parse().unwrap())
        .assign(PRIVATE, "10.0.0.4/24".parse().unwrap())
        .rule(rule)
        .route(default_by(PUBLIC, "203.0.113.1").in_table(7));
    let listeners = ["udp:203.0.113.10:5060 mark=7", "udp:10.0.0.4:5060"];
    let world = World::new(marked_only.clone(), &listeners);
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "source"), "only under mark 7 is there a route");
    assert_eq!(world.chosen("udp:10.0.0.9:5060"), (1, "source"));
    let both = World::new(marked_only.route(default_by(PRIVATE, "10.0.0.1")), &listeners);
    assert_eq!(both.chosen("udp:192.0.2.7:5060"), (1, "source"), "the unmarked class is asked first");
    assert_eq!(
        World::new(two_sided(), &["udp:203.0.113.10:5060 mark=9"]).chosen("udp:192.0.2.7:5060"),
        (0, "source")
    );
}

#[test]
fn a_listener_with_a_device_leaves_by_that_device_alone() {
    let builder = two_sided().route(default_by(PRIVATE, "10.0.0.1").with_metric(100));
    let listeners = ["udp:10.0.0.4:5060 device=private", "udp:203.0.113.10:5060"];
    let world = World::new(builder.clone(), &listeners);
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (1, "source"), "the listener without a device first");
    let alone = World::new(builder, &listeners[..1]);
    assert_eq!(alone.chosen("udp:192.0.2.7:5060"), (0, "source"));
    assert_eq!(alone.auto("udp:192.0.2.7:5060").unwrap().route.dev, PRIVATE);
    let astray = World::new(two_sided(), &["udp:203.0.113.10:5060 device=private"]);
    assert_eq!(astray.auto("udp:192.0.2.7:5060"), Err(NoEgress::NoRoute(NoRoute::Unreachable)));
}

/// eth `red0` belongs to the VRF `red`, whose table is 10; both worlds have a route to 192.0.2.0/24.
fn with_vrf() -> Builder {
    let rule = Rule { l3mdev: true, ..Rule::new(Family::V4, 1_000, Action::Table(0)) };
    two_sided()
        .link(Link { vrf_table: Some(10), ..Link::up(10, "red") })
        .link(Link { master: 10, ..Link::up(11, "red0") })
        .address(Address::new(11, ip("172.16.0.1"), 24))
        .route(own("172.16.0.1/32", 11).in_table(10))
        .route(
            Route::new("172.16.0.0/24".parse().unwrap(), 11, None).in_table(10).with_source(ip("172.16.0.1")),
        )
        .route(default_by(11, "172.16.0.254").in_table(10))
        .rule(rule)
}

#[test]
fn the_automatic_choice_stays_in_the_vrf_and_an_override_may_leave_it() {
    let listeners = ["udp:203.0.113.10:5060", "udp:172.16.0.1:5060 device=red"];
    let world = World::new(with_vrf(), &listeners);
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "source"));
    let red = World::new(with_vrf(), &listeners).from(1);
    assert_eq!(red.chosen("udp:192.0.2.7:5060"), (1, "source"));
    assert_eq!(red.auto("udp:192.0.2.7:5060").unwrap().route.table, 10);
    let only_red = World::new(with_vrf(), &["tcp:203.0.113.10:5060", listeners[1]]);
    assert_eq!(only_red.auto("udp:192.0.2.7:5060"), Err(NoEgress::NoListener));
    let across = EgressChoice::Listener(SectionId(1));
    let question = only_red.question("udp:192.0.2.7:5060");
    let egress = overridden(&only_red.plan, &only_red.fib, &only_red.view, &across, &question).unwrap();
    assert_eq!((egress.listener, egress.reason, egress.route.table), (ListenerId(1), Reason::Override, 10));
}

// IPv6

/// Two links, each with the same link-local prefix.
fn two_links() -> Builder {
    let mut builder = two_sided();
    for (dev, own_address) in [(PUBLIC, "fe80::a"), (PRIVATE, "fe80::b")] {
        builder = builder.assign(dev, format!("{own_address}/64").parse().unwrap());
    }
    builder
}

const LINK_LOCAL: [&str; 2] = ["udp:[fe80::a%2]:5060", "udp:[fe80::b%3]:5060"];

#[test]
fn a_link_local_next_hop_is_reached_on_its_link() {
    let world = World::new(two_links(), &LINK_LOCAL);
    assert_eq!(world.chosen("udp:[fe80::1%2]:5060"), (0, "source"));
    assert_eq!(world.chosen("udp:[fe80::1%3]:5060"), (1, "source"));
    let question = world.question("udp:[fe80::1%3]:5060");
    let lost = confirm(&world.plan, &world.fib, &world.view, ListenerId(0), &question);
    assert_eq!(lost, Err(Unfit::Link));
}

#[test]
fn a_link_local_next_hop_without_a_link_is_on_the_link_that_the_request_came_from() {
    let world = |ingress| World::new(two_links(), &LINK_LOCAL).from(ingress);
    assert_eq!(world(0).chosen("udp:[fe80::1]:5060"), (0, "source"));
    assert_eq!(world(1).chosen("udp:[fe80::1]:5060"), (1, "source"));
    let global = World::new(two_links(), &["udp:[2001:db8::4]:5060"]);
    assert!(matches!(global.auto("udp:[fe80::1]:5060"), Err(NoEgress::NoRoute(_))));
    assert_eq!(global.losers("udp:[fe80::1]:5060"), [(0, Unfit::Link)]);
    let with_device = World::new(two_links(), &["udp:[2001:db8::4]:5060 device=private"]);
    assert_eq!(with_device.chosen("udp:[fe80::1]:5060").0, 0);
}

#[test]
fn a_link_local_source_does_not_leave_its_link() {
    let default6 = Route::new("::/0".parse().unwrap(), PRIVATE, Some(ip("fe80::1")));
    let world = World::new(two_links().route(default6.clone()), &[LINK_LOCAL[1]]);
    assert!(matches!(world.auto("udp:[2001:db8:9::1]:5060"), Err(NoEgress::SourceIsNoListener(_))));
    assert_eq!(world.losers("udp:[2001:db8:9::1]:5060"), [(0, Unfit::Link)]);
    let both = World::new(two_links().route(default6), &[LINK_LOCAL[1], "udp:[2001:db8::4]:5060"]);
    assert_eq!(both.chosen("udp:[2001:db8:9::1]:5060"), (1, "source"));
}

// state

#[test]
fn a_listener_that_is_not_up_is_never_chosen() {
    let down = |name, index| Link { up: false, carrier: false, ..Link::up(index, name) };
    let builder = Builder::host()
        .link(Link::up(PUBLIC, "public"))
        .link(down("private", PRIVATE))
        .assign(PUBLIC, "203.0.113.10/24".parse().unwrap())
        .assign(PRIVATE, "10.0.0.4/24".parse().unwrap())
        .route(default_by(PUBLIC, "203.0.113.1"));
    let listeners = [
        BOTH[1],
        "udp:192.168.1.1:5060",
        "udp:203.0.113.10:5060 device=wan9",
        "udp:203.0.113.10:5062 device=private",
        BOTH[0],
    ];
    let world = World::new(builder, &listeners);
    let states: Vec<_> = (0..5).map(|n| world.view.state(ListenerId(n))).collect();
    assert_eq!(
        states[1..],
        [
            ListenerState::AddressAbsent,
            ListenerState::DeviceAbsent,
            ListenerState::DeviceDown,
            ListenerState::Up
        ]
    );
    assert_ne!(states[0], ListenerState::Up);
    for n in 0..4 {
        let question = world.question("udp:192.0.2.7:5060");
        let lost = confirm(&world.plan, &world.fib, &world.view, ListenerId(n), &question);
        assert!(matches!(lost, Err(Unfit::Down(_))), "{n}: {lost:?}");
    }
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (4, "source"));
    let none = World::new(two_sided(), &["udp:192.168.1.1:5060"]);
    assert_eq!(none.auto("udp:192.0.2.7:5060"), Err(NoEgress::NoListener));
}

#[test]
fn a_device_without_carrier_takes_its_listener_down() {
    let builder = Builder::host()
        .link(Link { carrier: false, ..Link::up(PRIVATE, "private") })
        .assign(PRIVATE, "10.0.0.4/24".parse().unwrap());
    let world = World::new(builder, &[BOTH[1]]);
    assert_eq!(world.view.state(ListenerId(0)), ListenerState::HomeDown);
    assert_eq!(world.view.home(ListenerId(0)), Some(PRIVATE));
}

// no_listener, auto = false

#[test]
fn the_fallback_is_used_only_where_nothing_was_found_and_only_if_it_can_send() {
    let fallback = |to| {
        move |policy: &mut crate::plan::EgressPolicy| policy.no_listener = NoListener::Use(SectionId(to))
    };
    let builder = two_sided().assign(PRIVATE, "10.0.0.40/24".parse().unwrap());
    let listeners = ["udp:203.0.113.10:5060", "udp:10.0.0.40:5060"];
    let world = World::new(builder, &listeners).policy(|policy| policy.nearest = false).policy(fallback(1));
    let egress = world.auto("udp:10.0.0.100:5060").unwrap();
    assert_eq!((egress.listener, egress.reason), (ListenerId(1), Reason::Fallback));
    assert_eq!(world.chosen("udp:192.0.2.7:5060"), (0, "source"), "not where there is a choice");
    let wrong_family = World::new(two_sided(), &[listeners[0], "udp:[2001:db8::4]:5060"])
        .policy(|policy| policy.nearest = false)
        .policy(fallback(1));
    let why = wrong_family.auto("udp:10.0.0.100:5060");
    assert!(matches!(why, Err(NoEgress::SourceIsNoListener(_))), "{why:?}");
}

#[test]
fn without_the_automatic_choice_only_the_fallback_is_left() {
    let off = || World::new(two_sided(), &BOTH).policy(|policy| policy.auto = false);
    assert_eq!(off().auto("udp:10.0.0.9:5060"), Err(NoEgress::AutoOff));
    let egress = off()
        .policy(|policy| policy.no_listener = NoListener::Use(SectionId(0)))
        .auto("udp:10.0.0.9:5060")
        .unwrap();
    assert_eq!((egress.listener, egress.reason), (ListenerId(0), Reason::Fallback));
}

#[test]
fn what_the_snapshot_does_not_understand_is_not_guessed() {
    let opaque = Rule { opaque: true, ..Rule::new(Family::V4, 50, Action::Table(254)) };
    let world = World::new(two_sided().rule(opaque), &BOTH)
        .policy(|policy| policy.no_listener = NoListener::Use(SectionId(0)));
    let asked = world.auto("udp:10.0.0.9:5060");
    let Err(NoEgress::AskKernel(open)) = asked else { panic!("{asked:?}") };
    assert_eq!(open.src, None);
    let choice = EgressChoice::Listener(SectionId(1));
    let question = world.question("udp:10.0.0.9:5060");
    let given = overridden(&world.plan, &world.fib, &world.view, &choice, &question);
    let by_listener =
        bound_query(&world.fib, &world.view, world.plan.listener(ListenerId(1)), &question).unwrap();
    assert_eq!(given, Err(NoEgress::AskKernel(by_listener)));
    let by_dialog = dialog(&world, 1_001, &question);
    assert!(matches!(by_dialog, Err(NoEgress::AskKernel(_))), "{by_dialog:?}");
    // Told what the kernel says, it goes on.
    let Answer::Route(route) = two_sided().build().lookup(&open) else { panic!("no route") };
    let told = world.fib.with_answer(&open, Answer::Route(route)).unwrap();
    let next = auto(&world.plan, &told, &world.view, &question);
    assert!(matches!(next, Err(NoEgress::AskKernel(query)) if query.src == Some(route.source)), "{next:?}");
}

// multipath

#[test]
fn one_transaction_takes_one_path() {
    let mut route = default_by(PUBLIC, "203.0.113.1");
    route.nexthops = Nexthops::Own(vec![
        Nexthop::new(PUBLIC, Some(ip("203.0.113.1"))),
        Nexthop::new(PRIVATE, Some(ip("10.0.0.1"))),
    ]);
    let builder = Builder::host()
        .link(Link::up(PUBLIC, "public"))
        .link(Link::up(PRIVATE, "private"))
        .assign(PUBLIC, "203.0.113.10/24".parse().unwrap())
        .assign(PRIVATE, "10.0.0.4/24".parse().unwrap())
        .route(route);
    let mut world = World::new(builder, &BOTH);
    let mut taken = [0; 2];
    for flow in 0..64u64 {
        world.flow = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = world.auto("udp:192.0.2.7:5060").unwrap();
        assert_eq!(world.auto("udp:192.0.2.7:5060").unwrap(), first);
        taken[usize::from(first.listener.0)] += 1;
    }
    assert!(taken.iter().all(|&n| n > 8), "{taken:?}");
}

// overrides

fn override_on(world: &World, choice: EgressChoice, next_hop: &str) -> Result<ListenerId, NoEgress> {
    let egress = overridden(&world.plan, &world.fib, &world.view, &choice, &world.question(next_hop))?;
    assert_eq!(egress.reason, Reason::Override);
    Ok(egress.listener)
}

#[test]
fn an_override_that_follows_the_host_takes_the_kernels_source_of_its_family_or_says_why_not() {
    let mut world = World::new(
        two_sided(),
        &["udp:10.1.1.1:5060", "udp:203.0.113.10:5060", "udp:10.0.0.4:5060", "udp:[2001:db8::4]:5060"],
    );
    world.plan.listeners.iter_mut().for_each(|l| l.section = SectionId(1));
    let lan = |world: &World, next_hop| override_on(world, EgressChoice::Listener(SectionId(1)), next_hop);
    assert_eq!(lan(&world, "udp:10.0.0.100:5060"), Ok(ListenerId(2)));
    assert_eq!(lan(&world, "udp:192.0.2.7:5060"), Ok(ListenerId(1)));
    assert_eq!(lan(&world, "udp:[2001:db8::9]:5060"), Ok(ListenerId(3)));
    world.plan.listeners.truncate(1);
    let absent = Unfit::Down(ListenerState::AddressAbsent);
    assert_eq!(lan(&world, "udp:10.0.0.100:5060"), Err(NoEgress::Unfit(ListenerId(0), absent)));
    world.plan.listeners.clear();
    assert_eq!(lan(&world, "udp:10.0.0.100:5060"), Err(NoEgress::NoAddress(SectionId(1))));
}

#[test]
fn of_several_listeners_none_is_taken_before_the_kernel_has_said_which_source_it_would_choose() {
    // What leaves from the two addresses is known; what the kernel would choose for an unbound socket is not.
    let opaque = Rule { opaque: true, ..Rule::new(Family::V4, 50, Action::Table(254)) };
    let known = BOTH.map(|text| {
        let source: SocketAddr = text.trim_start_matches("udp:").parse().unwrap();
        Rule::from_table(40, format!("{}/32", source.ip()).parse().unwrap(), 254)
    });
    let builder = known.into_iter().fold(two_sided().rule(opaque), |builder, rule| builder.rule(rule));
    let mut world = World::new(builder, &BOTH).policy(|policy| {
        (policy.auto, policy.no_listener) = (false, NoListener::Use(SectionId(1)));
    });
    world.plan.listeners.iter_mut().for_each(|l| l.section = SectionId(1));
    let overriding =
        |world: &World| override_on(world, EgressChoice::Listener(SectionId(1)), "udp:10.0.0.100:5060");
    let falling_back = |world: &World| world.auto("udp:10.0.0.100:5060").map(|egress| egress.listener);
    let asked = overriding(&world);
    let Err(NoEgress::AskKernel(query)) = asked else { panic!("{asked:?}") };
    assert_eq!((query.src, falling_back(&world)), (None, asked));
    world.fib = world.fib.with_answer(&query, two_sided().build().lookup(&query)).unwrap();
    assert_eq!((overriding(&world), falling_back(&world)), (Ok(ListenerId(1)), Ok(ListenerId(1))));
}

#[test]
fn an_override_takes_the_named_socket_or_none() {
    let world = World::new(
        two_sided(),
        &[BOTH[0], BOTH[1], "tcp:10.0.0.4:5060", "udp:[2001:db8::4]:5060", "udp:10.1.1.1:5060"],
    );
    let named = |n| override_on(&world, EgressChoice::Listener(SectionId(n)), "udp:192.0.2.7:5060");
    assert_eq!(named(0), Ok(ListenerId(0)));
    assert_eq!(named(1), Ok(ListenerId(1)), "weak host model: the kernel sends it, so it is done");
    assert_eq!(named(2), Err(NoEgress::Unfit(ListenerId(2), Unfit::Transport)));
    assert_eq!(named(3), Err(NoEgress::Unfit(ListenerId(3), Unfit::Family)));
    assert_eq!(named(4), Err(NoEgress::Unfit(ListenerId(4), Unfit::Down(ListenerState::AddressAbsent))));
}

#[test]
fn an_override_without_a_route_is_refused() {
    let builder =
        Builder::host().link(Link::up(PRIVATE, "private")).assign(PRIVATE, "10.0.0.4/24".parse().unwrap());
    let world = World::new(builder, &[BOTH[1]]);
    let refused = override_on(&world, EgressChoice::Listener(SectionId(0)), "udp:192.0.2.7:5060");
    assert_eq!(refused, Err(NoEgress::Unfit(ListenerId(0), Unfit::NoRoute(NoRoute::Unreachable))));
}

#[test]
fn a_relative_override_keeps_what_it_does_not_name() {
    let listeners = ["tcp:10.0.0.4:5080", "udp:10.0.0.4:5060", "udp:10.0.0.4:5080", "udp:203.0.113.10:5060"];
    let world = World::new(two_sided(), &listeners);
    let relative = |address: Option<&str>, port| {
        let choice = EgressChoice::Relative { transport: Transport::Udp, port, address: address.map(ip) };
        override_on(&world, choice, "udp:10.0.0.9:5060")
    };
    assert_eq!(relative(None, Some(5060)), Ok(ListenerId(1)), "the recipe: TCP in, UDP out, port 5060");
    assert_eq!(relative(None, None), Ok(ListenerId(2)), "the ingress port");
    assert_eq!(relative(Some("203.0.113.10"), Some(5060)), Ok(ListenerId(3)));
    assert_eq!(
        relative(Some("203.0.113.10"), None),
        Ok(ListenerId(3)),
        "of another transport the port it has"
    );
    let nowhere: SocketAddr = "10.0.0.4:5070".parse().unwrap();
    assert_eq!(relative(None, Some(5070)), Err(NoEgress::NoSuchListener(Transport::Udp, nowhere)));
}

#[test]
fn of_two_sockets_alike_the_one_with_the_ingress_device_and_mark_is_meant() {
    let listeners = ["udp:10.0.0.4:5060", "tcp:10.0.0.4:5060 mark=7", "udp:10.0.0.4:5060 mark=7"];
    let choice = EgressChoice::Relative { transport: Transport::Udp, port: None, address: None };
    let at = |ingress| {
        override_on(&World::new(two_sided(), &listeners).from(ingress), choice, "udp:10.0.0.9:5060")
    };
    assert_eq!(at(1), Ok(ListenerId(2)));
    assert_eq!(at(0), Ok(ListenerId(0)));
}

// dialogs and pins

fn dialog(world: &World, identity: u32, question: &Question) -> Result<Exit, NoEgress> {
    Recent::new().dialog(1, &world.plan, &world.fib, &world.view, identity, question)
}

#[test]
fn a_dialog_leaves_by_the_listener_of_the_other_side() {
    let world = World::new(two_sided(), &[BOTH[0], BOTH[1], "tcp:10.0.0.4:5060"]);
    let by = |identity, next_hop| {
        let egress = dialog(&world, identity, &world.question(next_hop)).unwrap();
        (egress.listener.0, egress.reason)
    };
    assert_eq!(by(1_000, "udp:10.0.0.9:5060"), (0, Reason::Dialog), "though the route's source is another");
    assert_eq!(by(2_001, "udp:10.0.0.9:5060"), (1, Reason::Dialog), "an identity of a former name");
    assert_eq!(by(1_001, "tcp:10.0.0.9:5060"), (2, Reason::Dialog), "the sibling of the wanted transport");
    assert_eq!(by(9_999, "udp:10.0.0.9:5060"), (1, Reason::Auto(Step::Source)), "a listener that is gone");
}

#[test]
fn a_dialog_whose_listener_cannot_send_any_more_goes_on_by_another() {
    let listeners = ["udp:203.0.113.10:5060", "udp:10.0.0.40:5060", "udp:10.0.0.4:5060"];
    let world = World::new(two_sided(), &listeners);
    assert_eq!(world.view.state(ListenerId(1)), ListenerState::AddressAbsent);
    let question = world.question("udp:10.0.0.9:5060");
    let egress = dialog(&world, 1_001, &question).unwrap();
    assert_eq!((egress.listener, egress.reason), (ListenerId(2), Reason::Auto(Step::Source)));
}

#[test]
fn a_pin_holds_while_its_listener_can_send() {
    let with_route = two_sided();
    let world = World::new(with_route.clone(), &BOTH);
    let question = world.question("udp:10.0.0.9:5060");
    let pin = |egress| Pin {
        next_hop: question.next_hop,
        egress,
        signer: KeyId::default(),
        record_route: true,
        set: false,
        by_message: false,
    };
    let held = |world: &World, egress| {
        Recent::new().pinned(1, &world.plan, &world.fib, &world.view, &pin(egress), &question)
    };
    assert_eq!(held(&world, 1_000).map(|e| (e.listener, e.reason)), Ok((ListenerId(0), Reason::Pinned)));
    assert_eq!(held(&world, 7), Err(NoEgress::NoListener));
    let gone = World::new(Builder::host().link(Link::up(PUBLIC, "public")), &BOTH);
    assert_eq!(
        held(&gone, 1_000),
        Err(NoEgress::Unfit(ListenerId(0), Unfit::Down(ListenerState::AddressAbsent)))
    );
}
