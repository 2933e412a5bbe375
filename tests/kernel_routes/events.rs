//! The followed snapshot through random series of events: equal to a fresh dump after each, and in its
//! answers equal to the kernel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ipnet::IpNet;

use crate::capture::{self, Sent, Tap};
use crate::compare::{Verdict, compare};
use crate::dice::Dice;
use crate::life::Life;
use crate::namespace::isolated;
use crate::policy::Act;
use crate::watch::{self, Watch};
use crate::{QUESTIONS, Tally, number, policy, world};

/// A question is put anew so often, should the kernel still be busy with what has happened.
const ATTEMPTS: usize = 6;

/// What is sent from each host in the end.
const DATAGRAMS: u64 = 20;

/// What a policy went through, to be told if it fails.
struct Story {
    seed: u64,
    life: Life,
    refused: Vec<String>,
    told: String,
}

/// Sums over all policies.
#[derive(Default)]
struct Sums {
    tally: Tally,
    events: BTreeMap<&'static str, usize>,
    refused: usize,
    publications: [usize; 2],
    /// How often the tables were read anew where they are followed event by event.
    resyncs: u64,
    /// Datagrams that went where they should, and those of them that should arrive somewhere.
    sent: usize,
    arrived: usize,
}

#[test]
fn followed_snapshots_are_the_kernels_through_random_events() {
    isolated("events::followed_snapshots_are_the_kernels_through_random_events", || {
        let (policies, first) = (number("VIADUCT_POLICIES", 200), number("VIADUCT_SEED", 1));
        let (next, start) = (AtomicU64::new(first), Instant::now());
        let work = || {
            let mut sums = Sums::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + policies {
                    return sums;
                }
                live(seed, &mut sums);
            }
        };
        let all = std::thread::scope(|scope| {
            let workers = [(); 2].map(|()| scope.spawn(work));
            workers.map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let all = all.into_iter().fold(Sums::default(), Sums::plus);
        all.report(policies, start);
        assert_eq!(all.tally.questions(), all.events.values().sum::<usize>() * QUESTIONS);
        // Were most answers "no route", agreement would say little. A few policies may be such that they are.
        if policies >= 50 {
            assert!(all.arrived as u64 > policies, "too few datagrams arrive: {}", all.arrived);
            assert!(all.tally.routes * 3 > all.tally.questions(), "too few questions have an answer");
        }
    });
}

/// One policy's life, in a namespace of its own.
fn live(seed: u64, sums: &mut Sums) {
    let mut dice = Dice::new(seed);
    let mut story =
        Story { seed, life: Life::new(policy::random(&mut dice)), refused: Vec::new(), told: String::new() };
    story.refused = world::build(&story.life.policy);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut watches = [
            Watch::start("read anew after any event", usize::MAX),
            Watch::start("followed event by event", 0),
        ];
        let events = number("VIADUCT_EVENTS", 20) as usize;
        for _ in 0..events {
            let (name, acts) = story.life.next(&mut dice);
            *sums.events.entry(name).or_default() += 1;
            sums.refused += story.act(name, acts);
            watch::catch_up(&mut watches).await.unwrap_or_else(|how| story.fail(&how));
            for _ in 0..QUESTIONS {
                question(&mut dice, &story, &mut watches, &mut sums.tally).await;
            }
        }
        watch::settle(&mut watches).await.unwrap_or_else(|how| story.fail(&how));
        send(&mut dice, &mut story, &mut watches, sums).await;
        for (sum, watch) in sums.publications.iter_mut().zip(&watches) {
            *sum += watch.publications;
        }
        sums.resyncs += watches[1].follower.counts().resyncs;
    });
}

async fn question(dice: &mut Dice, story: &Story, watches: &mut [Watch; 2], tally: &mut Tally) {
    let policy = &story.life.policy;
    let which = dice.below(2);
    let query = world::question(dice, policy, &watches[which].fib);
    for attempt in 1.. {
        let Watch { fib, how, .. } = &watches[which];
        match compare(policy, fib, &query) {
            Verdict::Disagreed(why) if attempt == ATTEMPTS => {
                story.fail(&format!("{how}: {query:?}\n{why}\n{:#?}", fib.lookup_traced(&query)));
            }
            Verdict::Disagreed(_) => watch::settle(watches).await.unwrap_or_else(|how| story.fail(&how)),
            verdict => return tally.add(verdict),
        }
    }
}

/// Sends on a sample of questions, and catches what leaves on the far side.
async fn send(dice: &mut Dice, story: &mut Story, watches: &mut [Watch; 2], sums: &mut Sums) {
    let trusting = story.life.trust();
    story.act("datagrams are sent", trusting);
    watch::settle(watches).await.unwrap_or_else(|how| story.fail(&how));
    let tap = Tap::open();
    for number in 0..DATAGRAMS {
        let which = dice.below(2);
        let query = world::question(dice, &story.life.policy, &watches[which].fib);
        for attempt in 1.. {
            let Watch { fib, how, .. } = &watches[which];
            match capture::send(&tap, fib, &query, (story.seed << 16) + number, |dev| {
                story.life.far(fib, dev)
            }) {
                Sent::Agreed { arrived } => {
                    sums.sent += 1;
                    sums.arrived += usize::from(arrived);
                    break;
                }
                Sent::Unasked => break,
                Sent::Disagreed(why) if attempt == ATTEMPTS => story.fail(&format!("{how}: {why}")),
                Sent::Disagreed(_) => watch::settle(watches).await.unwrap_or_else(|how| story.fail(&how)),
            }
        }
    }
}

impl Story {
    /// Does it, and gives how much of it the kernel refused.
    fn act(&mut self, name: &str, acts: Vec<Act>) -> usize {
        let refused = world::act(&acts);
        self.life.policy.lost_subtrees.extend(refused.iter().filter_map(|words| lost_subtree(words)));
        self.told.push_str(&format!("{name}\n"));
        for act in &acts {
            let mark = if refused.iter().any(|words| act.to_string() == format!("ip {words}")) {
                "  refused:"
            } else {
                "  "
            };
            self.told.push_str(&format!("{mark}{act}\n"));
        }
        refused.len()
    }

    fn fail(&self, how: &str) -> ! {
        panic!(
            "VIADUCT_SEED={} VIADUCT_POLICIES=1: {how}\n{}events:\n{}",
            self.seed,
            world::describe(&self.life.policy, &self.refused),
            self.told
        )
    }
}

/// The prefix of a refused change of an IPv6 route with a source prefix.
fn lost_subtree(words: &str) -> Option<IpNet> {
    let is_change = words.contains("-6 route change ") || words.contains("-6 route replace ");
    let mut words = words.split(' ').filter(|_| is_change && words.contains(" from "));
    words.find_map(|word| word.parse().ok())
}

impl Sums {
    fn plus(mut self, other: Self) -> Self {
        self.tally = self.tally.plus(other.tally);
        self.refused += other.refused;
        self.resyncs += other.resyncs;
        self.sent += other.sent;
        self.arrived += other.arrived;
        for (name, count) in other.events {
            *self.events.entry(name).or_default() += count;
        }
        for (sum, more) in self.publications.iter_mut().zip(other.publications) {
            *sum += more;
        }
        self
    }

    fn report(&self, policies: u64, start: Instant) {
        let events: usize = self.events.values().sum();
        println!(
            "{events} events ({} commands refused), {} publications read anew and {} followed ({} resyncs), all \
             equal to fresh dumps, in {:.1?}:",
            self.refused,
            self.publications[0],
            self.publications[1],
            self.resyncs,
            start.elapsed()
        );
        for (name, count) in &self.events {
            println!("  {count:>5} {name}");
        }
        crate::report(policies, &self.tally);
        println!(
            "{} datagrams sent from bound sockets, {} of them caught on the far side of the interface that the \
             snapshot names, from the source that it names; the others were refused or lost as it says",
            self.sent, self.arrived
        );
    }
}
