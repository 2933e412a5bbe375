//! A host without a kernel: a configuration, a routing snapshot and keys made of literals.

use std::net::SocketAddr;
use std::sync::Arc;

use viaduct::fib::spec::{Link, Route};
use viaduct::fib::{Builder, Fib};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::{ListenerId, Now};
use viaduct::proxy::{self, Incoming, Outcome, State, Tally};
use viaduct::snapshot::Snapshot;
use viaduct::token::Keys;

/// One shard's decisions over one snapshot.
pub struct Shard {
    /// What it decides by.
    pub snapshot: Snapshot,
    state: State,
    out: Vec<u8>,
    now: Now,
}

impl Shard {
    /// With this configuration, on a host with `addresses` (`address/length`) on its only link and
    /// a default route to each of `gateways`.
    pub fn new(configuration: &str, addresses: &[&str], gateways: &[&str]) -> Self {
        Self::on(configuration, host(addresses, gateways))
    }

    /// With this configuration, on this host.
    pub fn on(configuration: &str, fib: Fib) -> Self {
        let snapshot = snapshot_on(configuration, fib);
        Self {
            state: State::new(0, 1, &snapshot),
            snapshot,
            out: vec![0; MESSAGE_BYTES],
            now: Now::default().plus_ns(1_000_000_000),
        }
    }

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> ListenerId {
        self.snapshot.plan.listener_named(name).unwrap_or_else(|| panic!("no listener {name}")).id
    }

    /// Handles a datagram; what would be sent is in the slice.
    pub fn handle(&mut self, bytes: &[u8], on: ListenerId, from: SocketAddr) -> (Outcome, &[u8]) {
        self.now = self.now.plus_ns(1_000_000);
        let incoming = Incoming::datagram(bytes, on, from);
        let outcome = proxy::handle(&mut self.state, &self.snapshot, &incoming, self.now, &mut self.out);
        let length = match &outcome {
            Outcome::Forward { len, .. } | Outcome::Relay { len, .. } | Outcome::Answer { len, .. } => *len,
            Outcome::HandOver(_) | Outcome::Drop(_) => 0,
        };
        (outcome, &self.out[..length])
    }
}

#[allow(dead_code)] // Not every test program keeps transactions.
impl Shard {
    /// What transactions send by themselves by now: how many messages.
    pub fn send_due(&mut self) -> usize {
        std::iter::from_fn(|| self.state.next(&self.snapshot, self.now, &mut self.out)).count()
    }

    /// So many nanoseconds pass.
    pub fn pass(&mut self, ns: u64) {
        self.now = self.now.plus_ns(ns);
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        self.state.tally(self.now)
    }
}

/// What is decided by with this configuration, on a host as [`Shard::new`] has it.
#[allow(dead_code)] // Some test programs have a state of their own.
pub fn snapshot(configuration: &str, addresses: &[&str], gateways: &[&str]) -> Snapshot {
    snapshot_on(configuration, host(addresses, gateways))
}

fn snapshot_on(configuration: &str, fib: Fib) -> Snapshot {
    let loaded = viaduct::config::from_str("test.toml", configuration, &fib);
    let plan = loaded.unwrap_or_else(|findings| panic!("{findings}")).plan;
    let keys = Keys::from_secret(b"a key for tests.");
    Snapshot::new(1, Arc::new(plan), Arc::new(fib), Arc::new(keys), Arc::default())
}

fn host(addresses: &[&str], gateways: &[&str]) -> Fib {
    const DEVICE: u32 = 2;
    let mut builder = Builder::host().link(Link::up(DEVICE, "eth0"));
    for address in addresses {
        builder = builder.assign(DEVICE, address.parse().expect("address/length"));
    }
    for gateway in gateways {
        let everywhere = if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let gateway = gateway.parse().expect("an address");
        builder = builder.route(Route::new(everywhere.parse().expect("a prefix"), DEVICE, Some(gateway)));
    }
    builder.build()
}
