//! Whole calls across a simulated network, with loss, duplication, reordering and route flips.
//!
//! Every seed is a world of its own. What has to hold in each:
//!
//! - a response leaves from the listener that its request came in on;
//! - one transaction key, one egress, except where `egress_moved` was counted;
//! - no send buffer is lost;
//! - each message that came in is accounted for by exactly one counter.
//!
//! `VIADUCT_SEED=N` runs one seed and prints its trace where it fails; `VIADUCT_SEEDS=N` runs so many.

mod coats;
mod invariants;
mod layers;
mod odd;
mod peers;
#[allow(dead_code)]
#[path = "../support/pki.rs"]
mod pki;
mod streams;
mod transactions;
mod world;

use viaduct::engine::sim::Faults;

use world::{Forwarder, Simulation};

const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn faults(seed: u64) -> Faults {
    match seed % 4 {
        0 => Faults::NONE,
        1 => Faults { delay_ns: (100_000, 20_000_000), lost: 0, doubled: 30 },
        2 => Faults { delay_ns: (100_000, 20_000_000), lost: 30, doubled: 0 },
        _ => Faults { delay_ns: (100_000, 200_000_000), lost: 50, doubled: 50 },
    }
}

#[test]
fn the_invariants_hold_in_every_world() {
    hold(Forwarder::Stateless, SEEDS);
}

#[test]
fn they_hold_where_transactions_are_kept() {
    hold(Forwarder::Stateful(2), SEEDS / 4);
}

fn hold(forwarder: Forwarder, seeds: u64) {
    let seeds: Vec<u64> = match number("VIADUCT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("VIADUCT_SEEDS").unwrap_or(seeds)).collect(),
    };
    let (mut calls, mut ended, mut moved) = (0, 0, 0);
    for &seed in &seeds {
        let mut simulation = Simulation::new(seed, faults(seed), forwarder);
        simulation.run();
        let wrong = invariants::check(&mut simulation);
        assert!(
            wrong.is_empty(),
            "seed {seed} (VIADUCT_SEED={seed} repeats it):\n  {}{}",
            wrong.join("\n  "),
            if seeds.len() == 1 { simulation.story() } else { String::new() }
        );
        let (placed, good) = simulation.calls();
        if seed % 4 == 0 {
            assert_eq!(
                placed,
                good,
                "seed {seed}: without faults every call succeeds:\n{}",
                simulation.failures()
            );
        }
        calls += placed;
        ended += good;
        moved += simulation.egress_moved();
    }
    println!("{} seeds, {calls} calls, {ended} as the script says, {moved} decisions moved", seeds.len());
    assert!(ended * 100 >= calls * 97, "{ended} of {calls} calls went as the script says");
}

#[test]
fn a_seed_repeats_its_run() {
    let run = |seed| {
        let mut simulation = Simulation::new(seed, faults(seed), Forwarder::Stateless);
        simulation.run();
        simulation.story()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(7));
}
