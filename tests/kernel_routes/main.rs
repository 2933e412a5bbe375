//! The snapshot's answers held against the kernel's: random policies, random questions, two oracles
//! (`RTM_GETROUTE`, and what connected UDP sockets get).
//!
//! Once at rest, and once while things happen to the host: there the snapshot is one that was followed.
//!
//! `VIADUCT_POLICIES` sets how many policies are tried, `VIADUCT_SEED` the first one's seed, and
//! `VIADUCT_EVENTS` how much happens to each: a failure prints the seed that replays it alone.

mod capture;
mod compare;
mod dice;
mod events;
mod follow;
mod life;
mod namespace;
mod policy;
#[path = "../support/program.rs"]
mod program;
mod resync;
mod storm;
mod watch;
mod world;

use std::collections::BTreeMap;

use compare::{Verdict, compare};
use dice::Dice;
use namespace::isolated;
use policy::Policy;

const QUESTIONS: usize = 50;

/// A number that the environment may set.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Counts of what comparing came to.
#[derive(Default)]
struct Tally {
    agreed: usize,
    routes: usize,
    sockets: usize,
    known: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn questions(&self) -> usize {
        self.agreed + self.known.values().sum::<usize>()
    }

    /// Counts one that is no disagreement.
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Agreed { route, socket } => {
                self.agreed += 1;
                self.routes += usize::from(route);
                self.sockets += usize::from(socket);
            }
            Verdict::Known(why) => *self.known.entry(why).or_default() += 1,
            Verdict::Disagreed(how) => panic!("{how}"),
        }
    }

    fn plus(mut self, other: Self) -> Self {
        self.agreed += other.agreed;
        self.routes += other.routes;
        self.sockets += other.sockets;
        for (why, count) in other.known {
            *self.known.entry(why).or_default() += count;
        }
        self
    }
}

#[test]
fn answers_what_the_kernel_answers_on_random_policies() {
    isolated("answers_what_the_kernel_answers_on_random_policies", || {
        let (policies, first) = (number("VIADUCT_POLICIES", 300), number("VIADUCT_SEED", 1));
        let mut tally = Tally::default();
        for seed in first..first + policies {
            let mut dice = Dice::new(seed);
            let policy = policy::random(&mut dice);
            examine(seed, &mut dice, &policy, &mut tally);
        }
        report(policies, &tally);
        assert_eq!(tally.questions(), policies as usize * QUESTIONS);
        // Were most answers "no route", agreement would say little.
        assert!(tally.routes * 2 > tally.questions(), "too few questions have an answer");
    });
}

#[test]
fn answers_what_the_kernel_answers_on_a_policy_routed_host() {
    isolated("answers_what_the_kernel_answers_on_a_policy_routed_host", || {
        let mut tally = Tally::default();
        for seed in 1..=4 {
            examine(seed, &mut Dice::new(seed), &policy::policy_routed_host(), &mut tally);
        }
        report(4, &tally);
        assert!(tally.routes > 20, "only {} routes", tally.routes);
    });
}

fn examine(seed: u64, dice: &mut Dice, policy: &Policy, tally: &mut Tally) {
    let refused = world::build(policy);
    let fib = viaduct::control::netlink::dump(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    for _ in 0..QUESTIONS {
        let query = world::question(dice, policy, &fib);
        // Usual packets are answered on a way of their own.
        assert_eq!(fib.lookup(&query), fib.lookup_traced(&query).0, "seed {seed}: {query:?}");
        match compare(policy, &fib, &query) {
            Verdict::Disagreed(how) => panic!(
                "seed {seed}: {query:?}\n{how}\n{:#?}\nlinks: {:?}\n{}",
                fib.lookup_traced(&query),
                fib.links().map(|link| (link.index, &link.name)).collect::<Vec<_>>(),
                world::describe(policy, &refused),
            ),
            verdict => tally.add(verdict),
        }
    }
}

fn report(policies: u64, tally: &Tally) {
    println!(
        "{policies} policies: {} of {} answers agree, {} of them routes, {} also held against sockets",
        tally.agreed,
        tally.questions(),
        tally.routes,
        tally.sockets
    );
    for (why, count) in &tally.known {
        println!("  {count:>5} known differences: {why}");
    }
}
