//! What holds for any message.

use proptest::prelude::*;
use sip_parser::{HeaderLine, HeaderName, Message, Start, Via, parse};

use super::forwarding::INVITE;
use super::world::{World, response, wire};
use crate::proxy::{Incoming, Outcome, State, handle};
use crate::token::Branch;

/// Messages to mutate: requests of all sorts, with what Viaduct itself writes among them.
fn seeds() -> Vec<String> {
    let mut world = World::new();
    let first = world.forwarded("private", "10.0.0.50:5060", INVITE, "public", "192.0.2.9:5060");
    let recorded: Vec<&str> = super::world::headers(&first, "Record-Route").collect();
    let bye = INVITE
        .replace("INVITE", "BYE")
        .replace("Bob <sip:bob@192.0.2.9>", "Bob <sip:bob@192.0.2.9>;tag=b1")
        .replace("Contact", &format!("Route: {},{}\nContact", recorded[1], recorded[0]));
    let strict = bye.replacen("sip:bob@192.0.2.9", recorded[0].trim_matches(['<', '>']), 1);
    let odd = "OPTIONS sip:a;b=c@[2001:db8::9]:5070;maddr=10.0.0.4;transport=udp SIP/2.0
v: SIP / 2.0 / UDP [2001:db8:1::50] ;rport ;received=1.2.3.4;maddr=10.0.0.51;branch=old,SIP/2.0/TCP x
f: \"Q\\\"\" <tel:+49;x=y>
t: <sips:b@c.example>;tag=1
i: 1@2
cseq: 7   OPTIONS
Proxy-Require: foo
Route: <sip:203.0.113.10;lr>, <sip:192.0.2.1>
 , <sip:192.0.2.2;lr>
max-forwards: 1
l: 3

abc";
    let responses = ["180 Ringing", "200 OK", "486 Busy Here"].map(|s| response(&first, s, "b"));
    [INVITE.to_owned(), first, bye, strict, odd.to_owned()]
        .into_iter()
        .chain(responses)
        .map(|text| wire(&text))
        .collect()
}

/// Cuts, inserts, repeats and overwrites bytes, often ones that mean something.
#[derive(Clone, Debug)]
enum Change {
    Put(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Truncate(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![
        proptest::sample::select(b"\r\n \t:;,<>@\"\\/?=%[].0123456789azAZ\0\xff".to_vec()),
        any::<u8>()
    ];
    let at = any::<prop::sample::Index>().prop_map(|i| i.index(1 << 20));
    prop_oneof![
        4 => (at.clone(), bytes.clone()).prop_map(|(at, byte)| Change::Put(at, byte)),
        2 => (at.clone(), proptest::collection::vec(bytes, 1..6)).prop_map(|(at, text)| Change::Insert(at, text)),
        2 => (at.clone(), 1usize..40).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => (at.clone(), 1usize..200).prop_map(|(at, len)| Change::Repeat(at, len)),
        1 => at.prop_map(Change::Truncate),
    ]
}

fn mutated(mut message: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if message.is_empty() {
            break;
        }
        let len = message.len();
        match change {
            Change::Put(at, byte) => message[at % len] = *byte,
            Change::Insert(at, text) => drop(message.splice(at % len..at % len, text.iter().copied())),
            Change::Remove(at, count) => drop(message.drain(at % len..(at % len + count).min(len))),
            Change::Repeat(at, count) => {
                let piece = message[at % len..(at % len + count).min(len)].to_vec();
                message.splice(at % len..at % len, piece);
            }
            Change::Truncate(at) => message.truncate(at % len),
        }
    }
    message
}

/// Checks what was sent, whatever came in.
fn check(world: &mut World, on: &str, from: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let on = world.snapshot.plan.listener_named(on).expect("a listener").id;
    let from: std::net::SocketAddr = from.parse().expect("an address");
    let incoming = Incoming { bytes, on, from };
    let outcome = handle(&mut world.state, &world.snapshot, &incoming, world.now, &mut world.out);
    let (len, to) = match &outcome {
        Outcome::Forward { len, decision } => (*len, decision.next_hop.address),
        Outcome::Relay { len, to, .. } | Outcome::Answer { len, to, .. } => (*len, *to),
        Outcome::Drop(_) => return Ok(()),
    };
    let sent = world.out[..len].to_vec();
    prop_assert!(!to.ip().is_multicast() && !to.ip().is_unspecified(), "to {to}");
    let mut lines = [HeaderLine::EMPTY; 200];
    let message = parse(&sent, &mut lines);
    prop_assert!(message.is_ok(), "what goes out parses: {:?}", String::from_utf8_lossy(&sent));
    let message = message.expect("checked");
    match &outcome {
        Outcome::Forward { .. } => check_forwarded(world, &message, &incoming, &outcome)?,
        Outcome::Relay { .. } => prop_assert!(matches!(message.start(), Start::Response(_))),
        Outcome::Answer { status, .. } => {
            let Start::Response(line) = message.start() else { return Err(TestCaseError::fail("no answer")) };
            prop_assert_eq!(line.code, *status);
            prop_assert!((200..700).contains(status));
            prop_assert!(!bytes.starts_with(b"ACK "), "an ACK is never answered");
            prop_assert!(message.defect().is_none());
            prop_assert!(message.body().is_empty());
        }
        Outcome::Drop(_) => {}
    }
    Ok(())
}

/// A forwarded request is sound, its body is untouched, its response comes back to the source by the
/// ingress listener, and its retransmission is the same.
fn check_forwarded(
    world: &mut World,
    message: &Message<'_>,
    incoming: &Incoming<'_>,
    outcome: &Outcome,
) -> Result<(), TestCaseError> {
    prop_assert!(message.defect().is_none());
    prop_assert!(matches!(message.start(), Start::Request(_)));
    let mut vias = message.values(HeaderName::Via);
    let top = Via::parse(vias.next().expect("ours").expect("ours").text).expect("ours");
    prop_assert!(top.branch().and_then(Branch::owner_named).is_some());
    let theirs = Via::parse(vias.next().expect("theirs").expect("theirs").text).expect("theirs");
    let mut lines = [HeaderLine::EMPTY; 200];
    let received = parse(incoming.bytes, &mut lines).expect("it was forwarded");
    prop_assert_eq!(message.text(message.body()), received.text(received.body()));
    prop_assert_eq!(message.value(HeaderName::CallId), received.value(HeaderName::CallId));

    let sent = message.bytes().to_vec();
    let mut ok = b"SIP/2.0 200 OK\r\n".to_vec();
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        message.all(name).for_each(|line| ok.extend_from_slice(message.text(line.line)));
    }
    ok.extend_from_slice(b"\r\n");
    let back = Incoming { bytes: &ok, on: incoming.on, from: incoming.from };
    let mut out = vec![0; world.out.len()];
    let returned = handle(&mut world.state, &world.snapshot, &back, world.now, &mut out);
    match returned {
        Outcome::Relay { on, to, .. } => {
            prop_assert_eq!(on, incoming.on);
            if theirs.params.get(b"maddr").is_none() {
                prop_assert_eq!(to.ip(), incoming.from.ip());
            }
        }
        // Only to what is no place to send to.
        Outcome::Drop(reason) => prop_assert!(
            matches!(reason.label(), "forbidden_response_target" | "bad_branch")
                && theirs.params.get(b"maddr").is_some(),
            "{reason:?}: {}",
            String::from_utf8_lossy(&sent)
        ),
        other => return Err(TestCaseError::fail(format!("{other:?}"))),
    }
    for restart in [false, true] {
        if restart {
            world.state = State::with_pins(2, &world.snapshot, 64);
        }
        let again = handle(&mut world.state, &world.snapshot, incoming, world.now, &mut out);
        let (Outcome::Forward { len, decision }, Outcome::Forward { decision: first, .. }) = (again, outcome)
        else {
            return Err(TestCaseError::fail("a retransmission is not forwarded"));
        };
        prop_assert_eq!(&out[..len], &sent[..]);
        prop_assert_eq!(
            (decision.next_hop, decision.egress.listener),
            (first.next_hop, first.egress.listener)
        );
    }
    Ok(())
}

/// One world for all cases: making one takes longer than a message.
fn run<S: Strategy>(
    cases: u32,
    strategy: S,
    check: impl Fn(&mut World, S::Value) -> Result<(), TestCaseError>,
) {
    let world = std::cell::RefCell::new(World::new());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&strategy, |value| {
        let mut world = world.borrow_mut();
        world.restart();
        check(&mut world, value)
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn mutated_messages() {
    let seeds = seeds();
    let places =
        [("private", "10.0.0.50:5060"), ("public", "192.0.2.9:5060"), ("six", "[2001:db8:1::50]:5060")];
    let strategy = (
        any::<prop::sample::Index>(),
        proptest::collection::vec(change(), 0..6),
        proptest::sample::select(places.to_vec()),
    );
    run(4_000, strategy, |world, (seed, changes, (on, from))| {
        let message = mutated(seeds[seed.index(seeds.len())].clone().into_bytes(), &changes);
        check(world, on, from, &message)
    });
}

#[test]
fn any_bytes() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    run(1_000, bytes, |world, bytes| check(world, "private", "10.0.0.50:5060", &bytes));
}

#[test]
fn every_prefix_of_a_message() {
    for message in seeds() {
        let mut world = World::new();
        for end in 0..=message.len() {
            check(&mut world, "private", "10.0.0.50:5060", &message.as_bytes()[..end])
                .unwrap_or_else(|e| panic!("{end}: {e}"));
        }
    }
}
