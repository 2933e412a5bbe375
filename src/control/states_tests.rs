use super::*;
use crate::config;
use crate::fib::spec::{Address, Link};
use crate::fib::{Builder, Fib};

fn host(eth0_up: bool, addresses: &[&str]) -> Fib {
    let host = Builder::host().link(Link { up: eth0_up, ..Link::up(2, "eth0") });
    addresses.iter().fold(host, |host, ip| host.address(Address::new(2, ip.parse().unwrap(), 24))).build()
}

const FILE: &str = "[[listener]]\nname = \"all\"\nbind = \"udp:eth0:5060\"\n[[listener]]\nname = \"own\"\nbind = \"udp:10.0.0.9:5060\"\n";

fn plan(fib: &Fib) -> Arc<Plan> {
    Arc::new(config::from_str("test.toml", FILE, fib).unwrap_or_else(|findings| panic!("{findings}")).plan)
}

fn look(states: &mut States, plan: &Arc<Plan>, fib: &Fib) -> Vec<String> {
    states.look(plan, &View::new(plan, fib), fib).into_iter().map(|change| change.line).collect()
}

#[test]
fn a_change_is_told_once_with_its_cause() {
    let mut states = States::default();
    let fib = host(true, &["10.0.0.4"]);
    let before = plan(&fib);
    assert_eq!(look(&mut states, &before, &fib), Vec::<String>::new(), "the start is no change");

    let fib = host(true, &["10.0.0.4", "10.0.0.5", "10.0.0.9"]);
    let after = plan(&fib);
    let told = look(&mut states, &after, &fib);
    assert_eq!(
        told,
        [
            "listener all/10.0.0.5 is new: udp:10.0.0.5:5060; eth0 has 10.0.0.5",
            "listener own is up: eth0 has 10.0.0.9"
        ]
    );
    assert_eq!(look(&mut states, &after, &fib), Vec::<String>::new());

    let fib = host(false, &["10.0.0.5"]);
    let told = look(&mut states, &plan(&fib), &fib);
    assert_eq!(
        told,
        [
            "listener all/10.0.0.5 is DOWN (interface down): eth0, which has 10.0.0.5, is down",
            "listener own is DOWN (address absent): no interface has 10.0.0.9",
            "listener all/10.0.0.4 goes: no interface has 10.0.0.4 any more; what it has received is still handled"
        ]
    );
    assert_eq!(states.counts(), ListenerChanges { appeared: 1, gone: 1, states: 3 });
}

#[test]
fn what_leaves_is_told_when_it_goes_and_not_when_it_is_forgotten() {
    let mut states = States::default();
    let fib = host(true, &["10.0.0.4"]);
    let before = plan(&fib);
    look(&mut states, &before, &fib);
    let none = host(true, &[]);
    let empty = plan(&none);
    let expansion = crate::plan::expand(&empty.sections, &none).with_leaving(before.listeners[..1].iter());
    let leaving = Arc::new(empty.with_listeners(expansion));
    assert_eq!(look(&mut states, &leaving, &none).len(), 1);
    assert_eq!(look(&mut states, &empty, &none), Vec::<String>::new());
    // It comes back while it still leaves: that is news.
    look(&mut states, &leaving, &none);
    assert_eq!(look(&mut states, &before, &fib).len(), 1);
    assert_eq!((states.counts().appeared, states.counts().gone), (1, 1));
}

/// Leaving listeners stand before others, and their states are nobody else's.
#[test]
fn others_are_not_told_of_while_one_leaves() {
    let mut states = States::default();
    let both = host(true, &["10.0.0.4", "10.0.0.9"]);
    let before = plan(&both);
    look(&mut states, &before, &both);
    let one = host(true, &["10.0.0.9"]);
    let without = plan(&one);
    let expansion = crate::plan::expand(&without.sections, &one).with_leaving(before.listeners[..1].iter());
    let leaving = Arc::new(without.with_listeners(expansion));
    assert_eq!(look(&mut states, &leaving, &one).len(), 1);
    assert_eq!(look(&mut states, &without, &one), Vec::<String>::new());
    assert_eq!(states.counts(), ListenerChanges { appeared: 0, gone: 1, states: 0 });
}

#[test]
fn a_thousand_changes_are_some_lines_and_a_summary() {
    let mut budget = Budget::default();
    let start = Instant::now();
    let told = (0..1_000).filter(|_| budget.allows(start)).count();
    assert_eq!(told, LISTENER_CHANGES_TOLD);
    assert_eq!(budget.over(start + WINDOW / 2), None);
    assert_eq!(budget.over(start + WINDOW), Some(1_000 - LISTENER_CHANGES_TOLD));
    assert_eq!(budget.over(start + WINDOW * 2), None, "said once");
    assert!(budget.allows(start + WINDOW * 2));
    // A window without too many needs no summary, and the next begins anew.
    assert!((0..LISTENER_CHANGES_TOLD).all(|_| budget.allows(start + WINDOW * 4)));
}

#[test]
fn device_and_mark_are_shown() {
    let fib = host(true, &["10.0.0.4", "10.0.0.9"]);
    let text = format!("{FILE}device = \"eth0\"\nmark = 7\n");
    let plan =
        config::from_str("test.toml", &text, &fib).unwrap_or_else(|findings| panic!("{findings}")).plan;
    let (plan, mut states) = (Arc::new(plan), States::default());
    let view = View::new(&plan, &fib);
    states.adopt(&plan, &view, &fib);
    let standings = states.standings(&view, &fib, &Refusals::default());
    let causes: Vec<&str> =
        standings.iter().filter(|l| l.bound.starts_with("udp")).map(|l| &*l.cause).collect();
    assert_eq!(causes, ["eth0 has 10.0.0.4", "eth0 has 10.0.0.9", "eth0 has 10.0.0.9; device eth0; mark 7"]);
}

#[test]
fn a_duplicate_address_and_a_lost_carrier_are_told_as_that() {
    let with = |tentative, duplicate, up, carrier| {
        let own = Address::new(2, "fd00::4".parse().unwrap(), 64);
        Builder::host()
            .link(Link { up, carrier, ..Link::up(2, "eth0") })
            .address(Address { tentative, duplicate, ..own })
            .build()
    };
    let file = "[[listener]]\nname = \"six\"\nbind = \"udp:[fd00::4]:5060\"\n";
    let fib = with(true, false, true, true);
    let plan = config::from_str("test.toml", file, &fib).unwrap_or_else(|findings| panic!("{findings}")).plan;
    let plan = Arc::new(plan);
    let mut states = States::default();
    assert_eq!(look(&mut states, &plan, &fib), Vec::<String>::new());
    let told = |states: &mut States, fib: &Fib| look(states, &plan, fib).concat();
    assert_eq!(
        told(&mut states, &with(true, true, true, true)),
        "listener six is DOWN (address absent): another host on eth0 has fd00::4 (duplicate address detection has failed)"
    );
    assert_eq!(told(&mut states, &with(true, true, true, true)), "");
    assert_eq!(told(&mut states, &with(false, false, true, true)), "listener six is up: eth0 has fd00::4");
    assert_eq!(
        told(&mut states, &with(false, false, true, false)),
        "listener six is DOWN (interface down): eth0, which has fd00::4, has no carrier (cable, switch port, or peer)"
    );
    assert_eq!(
        told(&mut states, &with(false, false, false, false)),
        "listener six is DOWN (interface down): eth0, which has fd00::4, is down"
    );
}
