//! Requests that came by connections, and where their answers go (RFC 3261 §18.2.2).

use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, World, header, response, wire};
use crate::drop_reason::DropReason;
use crate::stream::{Broken, Number, StreamId};
use crate::transaction::What;

/// The port of a client's socket, which is not the one where it listens.
const ALICE: &str = "10.0.0.50:41234";
const BOB: &str = "192.0.2.9:5060";
const CAROL: &str = "10.9.0.9:5060";

/// The host with TCP on the inside, and this one rule.
fn world_with(rule: &str) -> World {
    shard_with(rule, 0, 1)
}

/// One of its shards.
fn shard_with(rule: &str, number: u16, shards: usize) -> World {
    let (head, _) = CONFIGURATION.split_once("[[route]]").unwrap();
    let tcp = "[[listener]]\nname = \"tcp\"\nbind = \"tcp:10.0.0.4:5060\"\n";
    World::keeping(&format!("{head}\n{tcp}\n[[route]]\nname = \"one\"\n{rule}\n"), number, shards)
}

/// It, with two next hops over UDP.
fn world() -> World {
    world_with("to = [\"sip:192.0.2.9\", \"sip:10.9.0.9\"]")
}

fn stream() -> Number {
    Number::new(0, StreamId::first(3))
}

/// The INVITE with this Via.
fn invite(via: &str) -> String {
    INVITE.replacen("UDP 10.0.0.50:5060", &format!("TCP {via}"), 1)
}

/// Another one, which goes no further.
fn without_hops(via: &str) -> String {
    invite(via).replacen("Max-Forwards: 70", "Max-Forwards: 0", 1).replace("74bf9", "74bfa")
}

/// A request from this source by the stream.
fn receive(world: &mut World, from: &str, text: &str) -> Became {
    world.receive_by("tcp", from, wire(text).as_bytes(), stream(), None)
}

#[track_caller]
fn forwarded(world: &mut World, from: &str, text: &str) -> String {
    match receive(world, from, text) {
        Became::Forward { text, .. } => text,
        other => panic!("not forwarded: {other:?}"),
    }
}

#[test]
fn answers_of_later_next_hops_find_back_whatever_port_the_client_sends_from() {
    for via in ["10.0.0.50:5080;rport", "10.0.0.50:5080", "10.0.0.50;rport", "pc.example:5080;rport"] {
        let mut world = world();
        let first = forwarded(&mut world, ALICE, &invite(via));
        world.due();
        let unavailable = response(&first, "503 Service Unavailable", "b");
        world.dropped("public", BOB, &unavailable, DropReason::Absorbed);
        let due = world.due();
        let second = due.iter().find(|sent| sent.what == What::Branch).expect("another attempt");
        let port = if via.contains("5080") { 5080 } else { 5060 };
        let ok = response(&second.text, "200 OK", "c");
        world.relayed("private", CAROL, &ok, "tcp", &format!("10.0.0.50:{port}"));
    }
}

#[test]
fn no_via_leads_anywhere_but_to_who_asked() {
    // RFC 3261 §18.2.2 asks for `maddr` only where the transport is not reliable.
    for via in [
        "10.0.0.50:5080;maddr=198.51.100.66",
        "10.0.0.50:5080;maddr=media.example.net",
        "198.51.100.66:5080",
        "10.0.0.50:5080;received=198.51.100.66;rport=9",
    ] {
        let mut world = world();
        let request = forwarded(&mut world, ALICE, &invite(via));
        world.relayed("public", BOB, &response(&request, "200 OK", "b"), "tcp", "10.0.0.50:5080");
        let refused = without_hops(via);
        match receive(&mut world, ALICE, &refused) {
            Became::Answer { to, status: 483, .. } => assert_eq!(to.to_string(), "10.0.0.50:5080", "{via}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_via_names_counts_only_once_the_stream_is_gone() {
    // A client on this host, with the address of a listener of ours in its Via: where the stream is there, nothing is sent to
    // that address.
    let (mut world, ours) = (world(), "10.0.0.4:5060");
    let request = forwarded(&mut world, "10.0.0.4:41234", &invite(ours));
    world.relayed("public", BOB, &response(&request, "200 OK", "b"), "tcp", ours);
    let became = receive(&mut world, "10.0.0.4:41234", &without_hops(ours));
    assert!(matches!(became, Became::Answer { status: 483, .. }), "{became:?}");
    let on = world.snapshot.plan.listener_named("tcp").expect("a listener").id;
    assert!(!crate::proxy::may_answer_to(&world.snapshot, on, ours.parse().unwrap()));
}

#[test]
fn a_response_whose_end_cannot_be_told_is_dropped() {
    // RFC 3261 §18.3: "The Content-Length header field MUST be used with stream oriented transports." What was cut at the
    // end of its headers has lost its body.
    let mut world = world();
    let request = forwarded(&mut world, ALICE, &invite("10.0.0.50:5080"));
    assert!(header(&request, "Via").contains("branch="));
    let cut = response(&request, "200 OK", "b").replacen("Content-Length: 0\n", "", 1);
    let became = world.receive_by("tcp", BOB, wire(&cut).as_bytes(), stream(), Some(Broken::NoContentLength));
    assert!(matches!(became, Became::Drop(DropReason::MalformedResponse)), "{became:?}");
}

#[test]
fn next_hops_of_the_configuration_are_reached_by_connections_that_were_opened_here() {
    // RFC 5923 §9.3: "a normal TCP or SCTP connection cannot be used to send requests in the backwards direction without a
    // significant risk of inadvertent (or otherwise) connection hijacking."
    let stream_of = |to: &str, uri: &str, mode: &str| {
        let udp = "when = { transport = [\"udp\"] }";
        let mut world = world_with(&format!("{udp}\nto = \"{to}\"\nmode = \"{mode}\""));
        let text = INVITE.replacen("sip:bob@192.0.2.9", uri, 1);
        let streams = [(), ()].map(|()| match world.receive("private", "10.0.0.50:5060", &text) {
            Became::Forward { decision, .. } => Some(decision.stream),
            Became::Drop(DropReason::Absorbed) => None,
            other => panic!("{other:?}"),
        });
        assert!(
            streams[1].is_none_or(|again| streams[0] == Some(again)),
            "its retransmission goes the same way"
        );
        streams[0]
    };
    for mode in ["stateless", "stateful"] {
        let opened = stream_of("sip:10.0.0.100;transport=tcp", "sip:bob@10.0.0.77:40000;transport=tcp", mode);
        assert_eq!(opened, Some(Number::OPENED));
        assert_eq!(
            stream_of("request-uri", "sip:bob@10.0.0.77:40000;transport=tcp", mode),
            Some(Number::ANY)
        );
        assert_eq!(stream_of("request-uri", "sip:bob@10.0.0.77", mode), Some(Number::NONE));
    }
}

/// Statelessly from stream to stream.
const STATELESS: &str = "to = \"sip:10.0.0.100;transport=tcp\"\nmode = \"stateless\"";

#[test]
fn a_cancel_by_another_stream_follows_its_invite() {
    // RFC 3261 §16.6 step 8: "CANCEL and ACK requests (for non-2xx responses) MUST have the same branch value as the
    // corresponding request they cancel or acknowledge."
    let mut world = world_with(STATELESS);
    let invite = invite("10.0.0.50:5080");
    let sent = forwarded(&mut world, ALICE, &invite);
    let ringing = response(&sent, "180 Ringing", "b");
    world.relayed("tcp", "10.0.0.100:5060", &ringing, "tcp", "10.0.0.50:5080");
    let cancel = invite.replace("INVITE", "CANCEL");
    let other = Number::new(0, StreamId::first(4));
    let became = world.receive_by("tcp", "10.0.0.50:41235", wire(&cancel).as_bytes(), other, None);
    assert!(matches!(became, Became::Answer { status: 200, .. }), "{became:?}");
    let due = world.due();
    let cancel = due.iter().find(|sent| sent.what == What::Cancel).expect("a CANCEL");
    assert_eq!(header(&cancel.text, "Via"), header(&sent, "Via"));
}

#[test]
fn what_comes_by_streams_goes_to_the_shard_that_its_call_names() {
    for number in 0..8 {
        let text = invite("10.0.0.50:5080").replace("Call-ID: ", &format!("Call-ID: {number}-"));
        let owners =
            [0, 1].map(|number| match receive(&mut shard_with(STATELESS, number, 2), ALICE, &text) {
                Became::HandOver(owner) => owner,
                Became::Forward { .. } => number,
                other => panic!("{other:?}"),
            });
        assert_eq!(owners[0], owners[1]);
    }
}
