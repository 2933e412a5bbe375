//! Listeners as a host has them: which interface their address lives on, which of them a socket names.

use super::world::{World, default_by, ip, two_sided};
use crate::egress::{ListenerState, NoEgress, Unfit, View, overridden};
use crate::fib::Builder;
use crate::fib::spec::{Action, Address, Family, Kind, Link, Route, Rule};
use crate::net::Transport;
use crate::plan::{ListenerId, Standing};
use crate::rules::EgressChoice;

const DOWN: u32 = 2;
const UP: u32 = 3;

fn down(name: &str) -> Link {
    Link { up: false, ..Link::up(DOWN, name) }
}

fn first(world: &World) -> (ListenerState, Option<u32>) {
    (world.view.state(ListenerId(0)), world.view.home(ListenerId(0)))
}

#[test]
fn an_address_on_two_interfaces_is_judged_by_the_one_that_is_up() {
    for (network, listener) in
        [("10.9.0.1/32", "udp:10.9.0.1:5060"), ("2001:db8::1/128", "udp:[2001:db8::1]:5060")]
    {
        let builder = Builder::host()
            .link(down("ea"))
            .link(Link::up(UP, "eb"))
            .assign(DOWN, network.parse().unwrap())
            .assign(UP, network.parse().unwrap())
            .route(default_by(UP, "192.0.2.1"));
        assert_eq!(first(&World::new(builder, &[listener])), (ListenerState::Up, Some(UP)), "{network}");
    }
}

#[test]
fn an_address_is_judged_by_the_interface_that_its_socket_is_tied_to() {
    let builder = Builder::host()
        .link(Link::up(2, "ea"))
        .link(Link::up(3, "eb"))
        .assign(2, "10.9.0.1/24".parse().unwrap())
        .assign(3, "10.9.0.1/24".parse().unwrap());
    let tied = World::new(builder.clone(), &["udp:10.9.0.1:5060 device=eb"]);
    assert_eq!(first(&tied), (ListenerState::Up, Some(3)));
    assert_eq!(tied.auto("udp:10.9.0.7:5060").unwrap().route.dev, 3);
    assert_eq!(first(&World::new(builder, &["udp:10.9.0.1:5060"])), (ListenerState::Up, Some(2)));
}

/// Two VRFs with one address each, the same; the port of the first is down, the other's has a default route.
fn overlapping() -> Builder {
    let mut builder = Builder::host()
        .link(Link { master: 10, ..down("a0") })
        .link(Link { master: 11, ..Link::up(UP, "b0") })
        .link(Link { vrf_table: Some(10), ..Link::up(10, "vrf-a") })
        .link(Link { vrf_table: Some(11), ..Link::up(11, "vrf-b") })
        .rule(Rule { l3mdev: true, ..Rule::new(Family::V4, 1_000, Action::Table(0)) });
    for (dev, table) in [(DOWN, 10), (UP, 11)] {
        let own = Route::new("10.9.0.1/32".parse().unwrap(), dev, None).in_table(table).of_kind(Kind::Local);
        builder = builder.address(Address::new(dev, ip("10.9.0.1"), 24)).route(own);
    }
    builder.route(default_by(UP, "10.9.0.254").in_table(11).with_source(ip("10.9.0.1")))
}

#[test]
fn an_address_in_two_vrfs_is_judged_by_the_one_of_the_socket() {
    let world =
        World::new(overlapping(), &["udp:10.9.0.1:5060 device=vrf-b", "udp:10.9.0.1:5060 device=vrf-a"]);
    assert_eq!(first(&world), (ListenerState::Up, Some(UP)));
    assert_eq!(world.auto("udp:192.0.2.7:5060").unwrap().listener, ListenerId(0));
    let other = (world.view.state(ListenerId(1)), world.view.home(ListenerId(1)));
    assert_eq!(other, (ListenerState::HomeDown, Some(DOWN)), "not by the other VRF's");
    let nowhere = World::new(two_sided(), &["udp:10.9.0.1:5060"]);
    assert_eq!(first(&nowhere), (ListenerState::AddressAbsent, None));
}

/// By which listener a request leaves that came in on this one and goes out where it came in.
fn where_it_came_in(world: &World, ingress: u16, next_hop: &str) -> Result<ListenerId, NoEgress> {
    let choice = EgressChoice::Relative { transport: Transport::Udp, port: None, address: None };
    let mut question = world.question(next_hop);
    question.ingress = ListenerId(ingress);
    overridden(&world.plan, &world.fib, &world.view, &choice, &question).map(|egress| egress.listener)
}

#[test]
fn one_link_local_address_on_two_links_is_two_sockets() {
    let mut builder = Builder::host();
    for (dev, name) in [(2, "ea"), (3, "eb")] {
        builder = builder.link(Link::up(dev, name)).assign(dev, "fe80::aa/64".parse().unwrap());
    }
    let world =
        World::new(builder, &["udp:[fe80::aa%2]:5060", "udp:[fe80::aa%3]:5060", "tcp:[fe80::aa%3]:5060"]);
    for ingress in [0, 1] {
        assert_eq!(where_it_came_in(&world, ingress, "udp:[fe80::bb]:5060"), Ok(ListenerId(ingress)));
    }
    let sibling = world.view.sibling(&world.plan, ListenerId(2), Transport::Udp);
    assert_eq!(sibling, Some(ListenerId(1)), "on the same link");
    assert_eq!(world.view.sibling(&world.plan, ListenerId(0), Transport::Tcp), None);
}

#[test]
fn a_socket_names_a_listener_that_stays_before_one_that_is_leaving() {
    let mut world = World::new(two_sided(), &["udp:10.0.0.4:5060", "udp:10.0.0.4:5060", "tcp:10.0.0.4:5060"]);
    let leave = |world: &mut World, listener: usize| {
        world.plan.listeners[listener].standing = Standing::Leaving;
        world.view = View::new(&world.plan, &world.fib);
    };
    assert_eq!(where_it_came_in(&world, 0, "udp:10.0.0.9:5060"), Ok(ListenerId(0)));
    leave(&mut world, 0);
    assert_eq!(where_it_came_in(&world, 0, "udp:10.0.0.9:5060"), Ok(ListenerId(1)));
    assert_eq!(world.view.sibling(&world.plan, ListenerId(2), Transport::Udp), Some(ListenerId(1)));
    leave(&mut world, 1);
    let none = Unfit::Down(ListenerState::AddressAbsent);
    let alone = where_it_came_in(&world, 0, "udp:10.0.0.9:5060");
    assert_eq!(alone, Err(NoEgress::Unfit(ListenerId(0), none)), "the one that it was");
}
