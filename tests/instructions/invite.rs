//! Parse, decide and rewrite of a message, to be counted by valgrind: see `run` beside this file.
//!
//! Without an argument, a 600-byte INVITE of a new transaction among a hundred rules; with a number, among so
//! many mixed rules. `retransmission`, `response` and `bye` count what follows such an INVITE.

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
    let what = std::env::args().nth(1);
    let rules = what.as_deref().and_then(|text| text.parse().ok());
    let configuration = rules.map_or_else(traffic::configuration, mixed_rules::configuration);
    let mut shard = Shard::new(&configuration, traffic::ADDRESSES, &[]);
    let (public, private) = (shard.listener("public"), shard.listener("private"));
    let trunk: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
    let media: SocketAddr = "10.0.0.100:5060".parse().expect("an address");
    let forwarded = shard.handle(&traffic::invite(u32::MAX), public, trunk).1.to_vec();
    for number in 0..2 * MESSAGES {
        // The first half warms the caches of patterns.
        let (message, on, from) = match what.as_deref() {
            Some("retransmission") => (traffic::invite(u32::MAX), public, trunk),
            Some("response") => (traffic::response(&forwarded), private, media),
            Some("bye") => (traffic::bye(&forwarded, number), private, media),
            // A new transaction each time: nothing is pinned yet.
            _ => (traffic::invite(number), public, trunk),
        };
        let outcome = if number < MESSAGES {
            shard.handle(&message, on, from).0
        } else {
            counted_message(&mut shard, &message, on, from)
        };
        assert!(matches!(outcome, Outcome::Forward { .. } | Outcome::Relay { .. }), "{outcome:?}");
    }
    println!("{MESSAGES}");
}

/// What is counted: valgrind collects inside this function only.
#[inline(never)]
fn counted_message(shard: &mut Shard, message: &[u8], on: ListenerId, from: SocketAddr) -> Outcome {
    black_box(shard.handle(black_box(message), on, from).0)
}
