//! Parse, decide and rewrite of a 600-byte INVITE, to be counted by valgrind: see `run` beside this file.

#[path = "../support/mixed_rules.rs"]
#[allow(dead_code)] // Rules are wanted here, not requests.
mod mixed_rules;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/traffic.rs"]
mod traffic;

use std::hint::black_box;
use std::net::SocketAddr;

use support::Shard;
use viaduct::net::ListenerId;
use viaduct::proxy::Outcome;

/// How many messages are counted.
const MESSAGES: u32 = 1000;

fn main() {
    // So many mixed rules instead of the hundred, if asked for.
    let rules = std::env::args().nth(1).map(|text| text.parse().expect("a number of rules"));
    let configuration = rules.map_or_else(traffic::configuration, mixed_rules::configuration);
    let mut shard = Shard::new(&configuration, traffic::ADDRESSES, &[]);
    let on = shard.listener("public");
    let from: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
    for branch in 0..2 * MESSAGES {
        // A new transaction each time: nothing is pinned yet. The first half warms the caches of patterns.
        let message = traffic::invite(branch);
        assert_eq!(message.len(), traffic::SIZE);
        let outcome = if branch < MESSAGES {
            shard.handle(&message, on, from).0
        } else {
            counted_message(&mut shard, &message, on, from)
        };
        assert!(matches!(outcome, Outcome::Forward { .. }), "{outcome:?}");
    }
    println!("{MESSAGES}");
}

/// What is counted: valgrind collects inside this function only.
#[inline(never)]
fn counted_message(shard: &mut Shard, message: &[u8], on: ListenerId, from: SocketAddr) -> Outcome {
    black_box(shard.handle(black_box(message), on, from).0)
}
