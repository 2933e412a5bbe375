//! On any host, with any listeners: what the choice promises.

use std::net::IpAddr;

use proptest::prelude::*;

use super::world::{World, ip};
use crate::egress::{Egress, NoEgress, Reason, Step, Unfit, confirm};
use crate::fib::spec::{Action, Family, Kind, Link, Masked, Route, Rule};
use crate::fib::{Answer, Builder, Query};
use crate::plan::ListenerId;

const DEVICES: [&str; 4] = ["lo", "wan", "lan", "dmz"];
const ADDRESSES: [&str; 6] =
    ["203.0.113.10", "203.0.113.11", "10.0.0.4", "10.0.0.5", "172.16.0.4", "198.51.100.1"];
const PREFIXES: [&str; 5] = ["0.0.0.0/0", "192.0.2.0/24", "10.0.0.0/8", "172.16.0.0/12", "198.18.0.0/15"];
pub const DESTINATIONS: [&str; 6] =
    ["192.0.2.7", "10.9.9.9", "172.16.0.9", "198.18.0.1", "10.0.0.4", "203.0.113.77"];

/// Where an address lives (a device's number, or nowhere), and with which prefix length.
fn any_address() -> impl Strategy<Value = Option<(u32, u8)>> {
    prop_oneof![2 => Just(None), 5 => (1u32..5, prop_oneof![Just(24u8), Just(32u8)]).prop_map(Some)]
}

fn any_route() -> impl Strategy<Value = Route> {
    let kind = prop_oneof![6 => Just(Kind::Unicast), 1 => Just(Kind::Prohibit), 1 => Just(Kind::Throw)];
    let table = prop_oneof![Just(254u32), Just(10), Just(20)];
    let source = prop_oneof![3 => Just(None), 1 => (0..ADDRESSES.len()).prop_map(Some)];
    (0..PREFIXES.len(), 2u32..5, kind, table, source).prop_map(|(prefix, dev, kind, table, source)| {
        let prefix = PREFIXES[prefix].parse().unwrap();
        let mut route = Route::new(prefix, dev, None).in_table(table).of_kind(kind);
        route.preferred_source = source.filter(|_| kind == Kind::Unicast).map(|n| ip(ADDRESSES[n]));
        route
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (1u32..1_000, 0..ADDRESSES.len(), any::<bool>(), prop_oneof![Just(10u32), Just(20)]).prop_map(
        |(priority, address, by_mark, table)| {
            if by_mark {
                let mark = Some(Masked { value: 7, mask: u32::MAX });
                return Rule { mark, ..Rule::new(Family::V4, priority, Action::Table(table)) };
            }
            Rule::from_table(priority, format!("{}/32", ADDRESSES[address]).parse().unwrap(), table)
        },
    )
}

pub fn any_host() -> impl Strategy<Value = Builder> {
    (
        proptest::collection::vec(any_address(), ADDRESSES.len()),
        proptest::collection::vec(any_route(), 0..6),
        proptest::collection::vec(any_rule(), 0..4),
        0usize..6,
    )
        .prop_map(|(addresses, routes, rules, down)| {
            let mut host = Builder::host();
            for (index, name) in (1u32..).zip(DEVICES).skip(1) {
                let up = index as usize != down;
                host = host.link(Link { up, carrier: up, ..Link::up(index, name) });
            }
            for (address, place) in ADDRESSES.iter().zip(addresses) {
                if let Some((dev, length)) = place {
                    host = host.assign(dev, format!("{address}/{length}").parse().unwrap());
                }
            }
            host = routes.into_iter().fold(host, Builder::route);
            rules.into_iter().fold(host, Builder::rule)
        })
}

pub fn any_listeners() -> impl Strategy<Value = Vec<String>> {
    let tie = prop_oneof![4 => Just(""), 1 => Just(" mark=7"), 1 => Just(" device=lan")];
    let one = (0..ADDRESSES.len(), prop_oneof![Just(5060), Just(5070)], tie);
    proptest::collection::hash_set(one, 1..6).prop_map(|set| {
        let mut list: Vec<_> =
            set.into_iter().map(|(n, port, tie)| format!("udp:{}:{port}{tie}", ADDRESSES[n])).collect();
        list.sort_unstable();
        list
    })
}

/// The question with any source that the class of `listener` asks.
fn open(world: &World, listener: ListenerId, destination: &str) -> Answer {
    let own = world.plan.listener(listener);
    let oif = own.device.as_deref().and_then(|name| world.fib.link_index(name)).unwrap_or(0);
    let question = world.question(&format!("udp:{destination}:5060"));
    world.fib.lookup(&Query {
        dst: ip(destination),
        src: None,
        mark: own.mark.unwrap_or(0),
        oif,
        protocol: 17,
        sport: 0,
        dport: 5060,
        flow: question.flow,
    })
}

/// Listeners of the same class that confirm, with the device that they would leave by.
fn confirmed(world: &World, like: ListenerId, destination: &str) -> Vec<(ListenerId, IpAddr, u32)> {
    let question = world.question(&format!("udp:{destination}:5060"));
    let own = world.plan.listener(like);
    let class = world.plan.listeners.iter().filter(|l| l.mark == own.mark && l.device == own.device);
    class
        .filter_map(|l| {
            let route = confirm(&world.plan, &world.fib, &world.view, l.id, &question).ok()?;
            Some((l.id, l.bind.ip(), route.dev))
        })
        .collect()
}

fn promises(world: &World, destination: &str, egress: &Egress) -> Result<(), TestCaseError> {
    let question = world.question(&format!("udp:{destination}:5060"));
    let own = world.plan.listener(egress.listener);
    prop_assert_eq!(
        confirm(&world.plan, &world.fib, &world.view, egress.listener, &question),
        Ok(egress.route),
        "what was chosen is what the send will do"
    );
    prop_assert_eq!(egress.route.source, own.bind.ip());
    prop_assert!(world.view.is_up(egress.listener));
    let open = open(world, egress.listener, destination);
    let fit = confirmed(world, egress.listener, destination);
    let Reason::Auto(step) = egress.reason else { return Err(TestCaseError::fail("not automatic")) };
    let Answer::Route(route) = open else {
        prop_assert_eq!(step, Step::Bound);
        prop_assert_eq!(fit.first().map(|f| f.0), Some(egress.listener), "the first that has a route");
        return Ok(());
    };
    let on_source = fit.iter().any(|(_, address, _)| *address == route.source);
    let home = |id| world.view.home(id);
    match step {
        Step::Source => prop_assert_eq!(own.bind.ip(), route.source),
        Step::OnDevice => {
            prop_assert!(!on_source);
            prop_assert_eq!((home(egress.listener), egress.route.dev), (Some(route.dev), route.dev));
            let first = fit.iter().find(|(id, _, dev)| home(*id) == Some(route.dev) && *dev == route.dev);
            prop_assert_eq!(first.map(|f| f.0), Some(egress.listener));
        }
        Step::Elsewhere => {
            prop_assert!(!on_source);
            let fib = &world.fib;
            let may = |id: ListenerId, address: IpAddr| {
                let device = world.plan.listener(id).device.as_deref();
                home(id).is_some_and(|home| fib.leads_nowhere(home))
                    || fib.leads_nowhere(route.dev)
                    || fib.homes_of(address).any(|home| home == route.dev)
                    || device.is_some_and(|name| fib.link_index(name) == Some(route.dev))
            };
            let agree: Vec<_> = (fit.iter())
                .filter(|(id, address, dev)| *dev == route.dev && may(*id, *address))
                .map(|f| f.0)
                .collect();
            prop_assert_eq!(agree, [egress.listener], "the only one that may leave by that device");
            let mut down = world.plan.listeners.iter().filter(|l| !world.view.is_up(l.id));
            prop_assert!(fib.leads_nowhere(route.dev) || down.all(|l| l.bind.ip() != route.source));
        }
        Step::Bound => prop_assert!(false, "there is a route with any source: {:?}", route),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_choice_keeps_its_promises(
        host in any_host(),
        listeners in any_listeners(),
        ingress in 0u16..6,
        destination in 0..DESTINATIONS.len(),
    ) {
        let names: Vec<&str> = listeners.iter().map(String::as_str).collect();
        let destination = DESTINATIONS[destination];
        let next_hop = format!("udp:{destination}:5060");
        let world = World::new(host, &names).from(ingress % names.len() as u16);
        match world.auto(&next_hop) {
            Ok(egress) => {
                promises(&world, destination, &egress)?;
                world.chosen(&next_hop);
            }
            Err(NoEgress::NoListener) => {
                prop_assert!(world.plan.listeners.iter().all(|l| !world.view.is_up(l.id)));
            }
            // Whoever could send from the kernel's own source would have been found.
            Err(NoEgress::SourceIsNoListener(route)) => {
                let question = world.question(&next_hop);
                for listener in &world.plan.listeners {
                    let fit = confirm(&world.plan, &world.fib, &world.view, listener.id, &question);
                    prop_assert!(fit.is_err() || listener.bind.ip() != route.source);
                    prop_assert!(listener.bind.ip() != route.source);
                }
            }
            Err(NoEgress::SourceDown(_, listener, state)) => {
                prop_assert_eq!(world.view.state(listener), state);
                prop_assert!(!world.view.is_up(listener));
            }
            Err(NoEgress::Several(_, both)) => prop_assert!(both.iter().all(|&l| world.view.is_up(l))),
            Err(NoEgress::Unfit(listener, why)) => {
                let question = world.question(&next_hop);
                let fit = confirm(&world.plan, &world.fib, &world.view, listener, &question);
                prop_assert_eq!(fit.err().unwrap_or(Unfit::Tied), why);
            }
            Err(NoEgress::NoRoute(_)) => {}
            Err(other) => prop_assert!(false, "{:?}", other),
        }
        let strict = world.policy(|policy| policy.nearest = false);
        if let Ok(egress) = strict.auto(&next_hop) {
            prop_assert_eq!(egress.reason, Reason::Auto(Step::Source));
            promises(&strict, destination, &egress)?;
        }
    }
}

/// The promises are about something: over many hosts each step and each refusal comes up.
#[test]
fn the_hosts_of_the_property_reach_every_step() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    let all = (any_host(), any_listeners(), 0..DESTINATIONS.len());
    for _ in 0..2_000 {
        let (host, listeners, destination) = all.new_tree(&mut runner).unwrap().current();
        let names: Vec<&str> = listeners.iter().map(String::as_str).collect();
        let world = World::new(host, &names);
        let next_hop = format!("udp:{}:5060", DESTINATIONS[destination]);
        *seen
            .entry(match world.auto(&next_hop) {
                Ok(egress) => egress.reason.step(),
                Err(NoEgress::NoListener) => "no listener",
                Err(NoEgress::SourceIsNoListener(_)) => "source is no listener",
                Err(NoEgress::SourceDown(..)) => "down",
                Err(NoEgress::Several(..)) => "several",
                Err(NoEgress::Unfit(..)) => "unfit",
                Err(NoEgress::NoRoute(_)) => "no route",
                Err(_) => "other",
            })
            .or_default() += 1;
        if world.losers(&next_hop).iter().any(|(_, why)| matches!(why, Unfit::Device(_))) {
            *seen.entry("leaves by another device").or_default() += 1;
        }
    }
    for step in [
        "source",
        "on_device",
        "elsewhere",
        "bound",
        "no listener",
        "source is no listener",
        "down",
        "unfit",
        "no route",
        "leaves by another device",
    ] {
        assert!(seen.get(step).is_some_and(|&n| n >= 5), "{step}: {seen:?}");
    }
}
