//! Any datagram where transactions are kept: what they send by themselves is sound, and they end.

use std::cell::RefCell;
use std::net::SocketAddr;

use sip_parser::{HeaderLine, HeaderName, Start, parse};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::{ListenerId, Now};
use viaduct::proxy::{Incoming, Outcome, State, handle};
use viaduct::snapshot::Snapshot;
use viaduct::transaction::{LONGEST_NS, Size};

use crate::host;
use crate::support::Shard;

/// What answers a request that was sent on, and in which order.
const ANSWERS: [&[&str]; 5] =
    [&[], &["100 Trying"], &["180 Ringing", "200 OK"], &["183 Early", "486 Busy Here"], &["503 Unavailable"]];

thread_local! {
    static KEEPER: RefCell<Keeper> = RefCell::new(Keeper::new());
}

struct Keeper {
    snapshot: Snapshot,
    state: State,
    now: Now,
    out: Vec<u8>,
}

impl Keeper {
    fn new() -> Self {
        let stateful = host::CONFIGURATION.replace("stateless", "stateful");
        let snapshot = Shard::new(&stateful, host::ADDRESSES, host::GATEWAYS).snapshot;
        let state = State::with_pins(1, &snapshot, 16);
        let state = state.keeping(0, Size { transactions: 64, blocks: 1_024 }, &snapshot);
        Self { snapshot, state, now: Now(1_000_000_000), out: vec![0; MESSAGE_BYTES] }
    }

    fn handle(&mut self, bytes: &[u8], on: ListenerId, from: SocketAddr) -> (Outcome, Vec<u8>) {
        let incoming = Incoming { bytes, on, from };
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
        }
    }

    /// Lets time pass until nothing can be left.
    fn finish(&mut self) {
        let end = self.now.plus_ns(LONGEST_NS + 40_000_000_000);
        while let Some(at) = self.state.deadline() {
            assert!(at < end, "a transaction outlives its deadline");
            self.now = self.now.max(at);
            self.send_due();
        }
        let counts = self.state.tally().transactions;
        assert_eq!((counts.open, counts.blocks), ([0; 4], 0));
    }
}

/// Transactions that this thread has seen end.
pub fn ended() -> u64 {
    KEEPER.with_borrow(|keeper| keeper.state.tally().transactions.ended.iter().sum())
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
            keeper.handle(&cancel_of(data), on, from);
            for status in ANSWERS[sent.len() % ANSWERS.len()] {
                let line = sent.iter().position(|&c| c == b'\r').expect("a start line");
                let answer = [b"SIP/2.0 ", status.as_bytes(), &sent[line..]].concat();
                keeper.handle(&answer, decision.egress.listener, decision.next_hop.address);
                keeper.send_due();
            }
        }
        keeper.finish();
    });
}
