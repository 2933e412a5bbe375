//! Any datagram where transactions are kept: what they send by themselves is sound, and they end.

use std::cell::RefCell;
use std::net::SocketAddr;

use sip_parser::{HeaderLine, HeaderName, Start, parse};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::{ListenerId, Now};
use viaduct::proxy::{Incoming, Outcome, State, handle};
use viaduct::snapshot::Snapshot;
use viaduct::transaction::{LONGEST_NS, Size, What};

use crate::host;
use crate::support;

/// What answers a request that was sent on, and in which order.
const ANSWERS: [&[&str]; 5] =
    [&[], &["100 Trying"], &["180 Ringing", "200 OK"], &["183 Early", "486 Busy Here"], &["503 Unavailable"]];

thread_local! {
    static KEEPER: RefCell<Keeper> = RefCell::new(Keeper::new());
}

/// Several next hops where there was one: one after the other, and all at a time.
fn several(configuration: &str) -> String {
    let after = "to = [\"request-uri\", \"sip:both.example.net\", \"sip:10.0.0.102\"]\ntimeout = \"2s\"\nfailover = [\"4xx\", \"5xx\"]\n";
    let at_a_time = "to = [\"sip:10.0.0.100:5060\", \"sip:10.0.0.101:5060\"]\nfork = true\n";
    let several = configuration
        .replace("to = \"request-uri\"\n", after)
        .replace("to = \"sip:10.0.0.100:5060\"\n", at_a_time);
    assert!(several.contains(after) && several.contains(at_a_time));
    several
}

struct Keeper {
    snapshot: Snapshot,
    state: State,
    now: Now,
    out: Vec<u8>,
    /// Requests to further next hops, and where they went.
    branches: Vec<(Vec<u8>, ListenerId, SocketAddr)>,
}

impl Keeper {
    fn new() -> Self {
        let stateful = several(&host::CONFIGURATION.replace("stateless", "stateful"));
        let snapshot = support::snapshot(&stateful, host::ADDRESSES, host::GATEWAYS);
        let state = State::with_pins(1, &snapshot, 16);
        let state = state.keeping(0, Size { transactions: 64, blocks: 1_024 }, &snapshot);
        Self { snapshot, state, now: Now(1_000_000_000), out: vec![0; MESSAGE_BYTES], branches: Vec::new() }
    }

    fn handle(&mut self, bytes: &[u8], on: ListenerId, from: SocketAddr) -> (Outcome, Vec<u8>) {
        let incoming = Incoming::datagram(bytes, on, from);
        let outcome = handle(&mut self.state, &self.snapshot, &incoming, self.now, &mut self.out);
        let len = match outcome {
            Outcome::Forward { len, .. } | Outcome::Relay { len, .. } | Outcome::Answer { len, .. } => len,
            Outcome::HandOver(_) | Outcome::Drop(_) => 0,
        };
        (outcome, self.out[..len].to_vec())
    }

    fn send_due(&mut self) {
        let mut lines = [HeaderLine::EMPTY; 200];
        while let Some(own) = self.state.next(&self.snapshot, self.now, &mut self.out) {
            let message = parse(&self.out[..own.len], &mut lines).expect("what goes out parses");
            assert_eq!(message.defect(), None, "{:?}", own.what);
            assert!(matches!(message.start(), Start::Request(_) | Start::Response(_)), "{:?}", own.what);
            assert_eq!(message.end(), own.len);
            assert!(message.count(HeaderName::Via) > 0 && message.count(HeaderName::CSeq) == 1);
            if own.what == What::Branch {
                self.branches.push((self.out[..own.len].to_vec(), own.on, own.to));
            }
        }
    }

    /// Answers a request that was sent on, in one of the ways that there are.
    fn answer(&mut self, sent: &[u8], way: usize, on: ListenerId, from: SocketAddr) {
        for status in ANSWERS[way % ANSWERS.len()] {
            let line = sent.iter().position(|&c| c == b'\r').expect("a start line");
            let answer = [b"SIP/2.0 ", status.as_bytes(), &sent[line..]].concat();
            self.handle(&answer, on, from);
            self.send_due();
        }
    }

    /// Lets time pass until nothing can be left.
    fn finish(&mut self) {
        // One next hop after the other may take all of its time.
        let end = self.now.plus_ns(8 * LONGEST_NS);
        self.branches.clear();
        while let Some(at) = self.state.deadline() {
            assert!(at < end, "a transaction outlives its deadline");
            self.now = self.now.max(at);
            self.send_due();
        }
        let counts = self.state.tally(self.now).transactions;
        assert_eq!((counts.open, counts.blocks), ([0; 4], 0));
    }
}

/// Requests that this thread has sent to further next hops.
pub fn branches() -> u64 {
    KEEPER.with_borrow(|keeper| keeper.state.tally(keeper.now).transactions.sent[What::Branch as usize])
}

/// Transactions that this thread has seen end.
pub fn ended() -> u64 {
    KEEPER.with_borrow(|keeper| keeper.state.tally(keeper.now).transactions.ended.iter().sum())
}

/// The same with another method.
fn cancel_of(invite: &[u8]) -> Vec<u8> {
    let mut cancel = invite.to_vec();
    for (at, _) in invite.windows(6).enumerate().filter(|(_, word)| word == b"INVITE") {
        cancel[at..at + 6].copy_from_slice(b"CANCEL");
    }
    cancel
}

/// Feeds `data` to a host at each of its listeners, again, as its CANCEL, and with answers to it. Panics where
/// something does not hold that always should.
pub fn run(data: &[u8]) {
    KEEPER.with_borrow_mut(|keeper| {
        for (listener, source) in host::PLACES {
            let on = keeper.snapshot.plan.listener_named(listener).expect("it is configured").id;
            let from: SocketAddr = source.parse().expect("an address");
            let (outcome, sent) = keeper.handle(data, on, from);
            keeper.send_due();
            let Outcome::Forward { decision, transaction: Some(_), .. } = outcome else { continue };
            let (again, _) = keeper.handle(data, on, from);
            assert!(matches!(again, Outcome::Drop(_)), "it was here before: {again:?}");
            if sent.len().is_multiple_of(3) {
                keeper.handle(&cancel_of(data), on, from);
            }
            keeper.answer(&sent, sent.len(), decision.egress.listener, decision.next_hop.address);
            for number in 1..8 {
                let Some((sent, on, from)) = keeper.branches.pop() else { break };
                keeper.answer(&sent, sent.len() + number, on, from);
            }
        }
        keeper.finish();
    });
}
