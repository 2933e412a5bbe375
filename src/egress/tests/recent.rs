//! What is remembered is what would be chosen.

use proptest::prelude::*;

use super::properties::{DESTINATIONS, any_host, any_listeners};
use super::world::{World, default_by, ip, two_sided};
use crate::egress::{Exit, NoEgress, Pin, Question, Reason, Recent, overridden};
use crate::fib::spec::{Nexthop, Nexthops, Route};
use crate::net::ListenerId;
use crate::plan::SectionId;
use crate::rules::EgressChoice;
use crate::token::KeyId;

impl World {
    fn recent(&self, recent: &mut Recent, generation: u64, next_hop: &str) -> (u16, Option<u32>) {
        let exit = recent.auto(generation, &self.plan, &self.fib, &self.view, &self.question(next_hop));
        assert_eq!(exit, self.auto(next_hop).map(|egress| egress.exit()));
        exit.map_or((u16::MAX, None), |exit| (exit.listener.0, Some(exit.dev)))
    }

    /// As a pin, as a dialog's and as a rule's, of the listener with this number.
    fn held(&self, recent: &mut Recent, listener: u16, next_hop: &str) -> [Result<Exit, NoEgress>; 3] {
        let (question, identity) = (self.question(next_hop), 1_000 + u32::from(listener));
        let next_hop = question.next_hop;
        let pin = Pin {
            next_hop,
            egress: identity,
            signer: KeyId::default(),
            record_route: true,
            set: false,
            by_message: false,
        };
        let choice = EgressChoice::Listener(SectionId(listener));
        let Self { plan, fib, view, .. } = self;
        [
            recent.pinned(1, plan, fib, view, &pin, &question),
            recent.dialog(1, plan, fib, view, identity, &question),
            recent.overridden(1, plan, fib, view, &choice, &question),
        ]
    }
}

const LISTENERS: [&str; 2] = ["udp:203.0.113.10:5060", "udp:10.0.0.4:5060"];

#[test]
fn a_choice_is_good_for_one_generation() {
    let mut recent = Recent::new();
    let before = World::new(two_sided(), &LISTENERS);
    let moved = Route::new("198.51.100.0/24".parse().unwrap(), super::world::PRIVATE, Some(ip("10.0.0.1")));
    let after = World::new(two_sided().route(moved), &LISTENERS);
    for generation in [1, 3] {
        assert_eq!(before.recent(&mut recent, generation, "udp:198.51.100.7:5060").0, 0);
        assert_eq!(before.recent(&mut recent, generation, "udp:198.51.100.7:5060").0, 0);
        assert_eq!(after.recent(&mut recent, generation + 1, "udp:198.51.100.7:5060").0, 1);
    }
}

#[test]
fn several_paths_are_asked_each_time() {
    let paths = vec![Nexthop::new(2, Some(ip("203.0.113.1"))), Nexthop::new(3, Some(ip("10.0.0.1")))];
    let route = Route { nexthops: Nexthops::Own(paths), ..default_by(2, "203.0.113.1") };
    let mut recent = Recent::new();
    let mut world = World::new(two_sided().route(route.with_metric(1)), &LISTENERS);
    assert!(world.fib.is_multipath());
    for flow in 0..64 {
        world.flow = flow * 0x1234_5678_9abc;
        world.recent(&mut recent, 1, "udp:198.51.100.7:5060");
    }
}

#[test]
fn a_next_hop_is_allowed_in_its_generation_from_its_ingress_and_in_its_dialog() {
    let world = World::new(two_sided(), &LISTENERS);
    let mut recent = Recent::new();
    let question = world.question("udp:198.51.100.7:5060");
    let exit = recent.auto(1, &world.plan, &world.fib, &world.view, &question).unwrap();
    assert_eq!(recent.allowed(1, None, &question), None, "the choice alone allows nothing");
    recent.allow(1, &world.fib, None, &question, exit);
    assert_eq!(recent.allowed(1, None, &question), Some(exit));
    assert_eq!(recent.allowed(2, None, &question), None);
    assert_eq!(recent.allowed(1, Some(1_000), &question), None);
    assert_eq!(recent.allowed(1, None, &world.question("udp:198.51.100.7:5061")), None);
    assert_eq!(recent.allowed(1, None, &Question { ingress: ListenerId(1), ..question }), None);
    recent.allow(1, &world.fib, Some(1_000), &question, exit);
    assert_eq!(recent.allowed(1, Some(1_000), &question), Some(exit));
    assert_eq!(recent.allowed(1, Some(1_001), &question), None);
    assert_eq!(recent.allowed(1, None, &question), Some(exit));
}

#[test]
fn among_several_paths_nothing_is_allowed_for_others() {
    let paths = vec![Nexthop::new(2, Some(ip("203.0.113.1"))), Nexthop::new(3, Some(ip("10.0.0.1")))];
    let route = Route { nexthops: Nexthops::Own(paths), ..default_by(2, "203.0.113.1") };
    let world = World::new(two_sided().route(route.with_metric(1)), &LISTENERS);
    let (mut recent, question) = (Recent::new(), world.question("udp:198.51.100.7:5060"));
    let exit = recent.auto(1, &world.plan, &world.fib, &world.view, &question).unwrap();
    recent.allow(1, &world.fib, None, &question, exit);
    assert_eq!(recent.allowed(1, None, &question), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Many questions on one memory: other next hops and other ingress listeners never get in the way.
    #[test]
    fn remembering_changes_no_answer(
        host in any_host(),
        listeners in any_listeners(),
        questions in proptest::collection::vec((0..DESTINATIONS.len(), 0u16..6, 5060u16..5064), 1..64),
    ) {
        let names: Vec<&str> = listeners.iter().map(String::as_str).collect();
        let mut world = World::new(host, &names);
        let mut recent = Recent::new();
        for (destination, ingress, port) in questions {
            world = world.from(ingress % names.len() as u16);
            let next_hop = format!("udp:{}:{port}", DESTINATIONS[destination]);
            world.recent(&mut recent, 1, &next_hop);
            let given = port % names.len() as u16;
            let held = world.held(&mut recent, given, &next_hop);
            prop_assert_eq!(held, world.held(&mut Recent::new(), given, &next_hop));
            prop_assert!(held[0].is_ok_and(|exit| exit.reason == Reason::Pinned) || held[0].is_err());
            let choice = EgressChoice::Listener(SectionId(given));
            let question = world.question(&next_hop);
            let chosen = overridden(&world.plan, &world.fib, &world.view, &choice, &question);
            prop_assert_eq!(held[2], chosen.map(|egress| egress.exit()));
        }
    }
}
