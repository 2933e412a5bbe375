//! Routes with several next hops, over real sockets: each kind of failure, forks, and who picks up.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::endpoint::{Party, Received, settle};
use crate::metrics::Metrics;
use crate::sip::{Dialog, Message, same_transaction};
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS, Viaduct};
use crate::world::{World, edge, eventually};

/// The first next hop is Bob, by the private listener; the second is Carol, by the IPv6 one.
const BOB_THEN_CAROL: &str = r#"to = ["sip:10.0.0.100", "sip:[fd00:6::100]"]"#;

fn home(keys: &str) -> Home {
    Home::new(&format!("{LISTENERS}\n[[route]]\nname = \"several\"\n{keys}\n"))
}

fn sent(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum("viaduct_transaction_messages_total", &[("what", what)])
}

struct Parties {
    alice: Party,
    bob: Party,
    carol: Party,
}

fn parties(world: &World) -> Parties {
    Parties {
        alice: world.public.party("alice", "1.2.3.100:5060"),
        bob: world.private.party("bob", "10.0.0.100:5060"),
        carol: world.six.party("carol", "[fd00:6::100]:5060"),
    }
}

/// Sends an INVITE to somebody; Alice has got her 100.
fn invite(alice: &Party) -> Message {
    let invite = alice.request("INVITE", "sip:somebody@example.net");
    alice.send(&invite, edge());
    alice.receive_response(100);
    invite
}

/// The call is taken, acknowledged and ended, by the path that the taker's attempt has recorded.
fn goes_through(alice: &Party, taker: &Party, received: &Received) {
    let ok = taker.answer(received, "200 OK");
    assert_eq!(alice.receive_response(200).message.value("To"), ok.value("To"));
    let mut dialog = Dialog::of_caller(&ok);
    dialog.send(alice, "ACK");
    taker.receive_request("ACK");
    dialog.send(alice, "BYE");
    let bye = taker.receive_request("BYE");
    taker.answer(&bye, "200 OK");
    alice.receive_response(200);
}

fn nothing_is_left(viaduct: &Viaduct<'_>) {
    eventually("searches are over", || {
        (viaduct.metrics().sum("viaduct_transactions", &[("side", "server"), ("method", "invite")]) == 0)
            .then_some(())
    });
}

#[test]
fn a_503_has_the_next_one_tried_from_its_own_listener() {
    let world = World::new();
    let home = home(BOB_THEN_CAROL);
    let viaduct = home.start(&world);
    let Parties { alice, bob, carol } = parties(&world);
    invite(&alice);
    let first = bob.receive_request("INVITE");
    assert_eq!(first.from.to_string(), "10.0.0.4:5060");
    bob.answer(&first, "503 Service Unavailable");
    bob.receive_request("ACK");
    let second = carol.receive_request("INVITE");
    assert_eq!(second.from.to_string(), "[fd00:6::4]:5060");
    assert_ne!(second.message.branch(), first.message.branch());
    let routes = second.message.values("Record-Route");
    assert!(
        routes[0].contains("@[fd00:6::4]:5060;lr") && routes[1].contains("@1.2.3.4:5060;lr"),
        "{routes:?}"
    );
    goes_through(&alice, &carol, &second);
    assert_eq!(sent(&viaduct.metrics(), "branch"), 1);
    viaduct.stop();
}

#[test]
fn one_that_is_silent_is_given_up_and_cancelled_when_it_rings_late() {
    let world = World::new();
    let home = home(&format!("{BOB_THEN_CAROL}\ntimeout = \"400ms\""));
    let viaduct = home.start(&world);
    let Parties { alice, bob, carol } = parties(&world);
    invite(&alice);
    let first = bob.receive_request("INVITE");
    let second = carol.receive_request("INVITE");
    bob.answer(&first, "180 Ringing");
    let cancel = bob.receive_request("CANCEL");
    assert_eq!(cancel.message.branch(), first.message.branch());
    bob.answer(&cancel, "200 OK");
    bob.answer(&first, "487 Request Terminated");
    bob.receive_request("ACK");
    goes_through(&alice, &carol, &second);
    viaduct.stop();
}

#[test]
fn a_closed_port_is_passed_over_at_once() {
    let world = World::new();
    let home = home("to = [\"sip:10.0.0.100:5999\", \"sip:[fd00:6::100]:5998\", \"sip:[fd00:6::100]\"]");
    let viaduct = home.start(&world);
    let Parties { alice, bob: _bob, carol } = parties(&world);
    let since = Instant::now();
    invite(&alice);
    let third = carol.receive_request("INVITE");
    assert!(since.elapsed() < Duration::from_millis(450), "nothing was sent again: {:?}", since.elapsed());
    goes_through(&alice, &carol, &third);
    let metrics = viaduct.metrics();
    assert_eq!(metrics.sum("viaduct_requests_unreached_total", &[]), 2);
    eventually("it is told", || viaduct.log().contains(" is not reached over UDP: ICMP says").then_some(()));
    assert_eq!(sent(&metrics, "request_again"), 0);
    viaduct.stop();
}

#[test]
fn where_no_port_is_open_the_caller_is_told_at_once() {
    let world = World::new();
    let home = home("to = \"sip:10.0.0.100:5999\"");
    let viaduct = home.start(&world);
    let alice = world.public.party("alice", "1.2.3.100:5060");
    let _host = world.private.party("bob", "10.0.0.100:5060");
    let since = Instant::now();
    alice.send(&alice.request("INVITE", "sip:somebody@example.net"), edge());
    alice.receive_response_but_100(500);
    assert!(since.elapsed() < Duration::from_millis(450), "{:?}", since.elapsed());
    viaduct.stop();
}

#[test]
fn one_that_cannot_be_sent_to_is_passed_over_and_the_next_taken_meanwhile() {
    let world = World::new();
    let home = home(&format!("{BOB_THEN_CAROL}\ntimeout = \"30s\""));
    let viaduct = home.start(&world);
    let Parties { alice, bob, carol } = parties(&world);
    invite(&alice);
    bob.receive_request("INVITE");
    let since = Instant::now();
    world.ip("link set priv down");
    // The retransmission cannot be sent: it counts as a 503.
    let second = carol.receive_request("INVITE");
    assert!(since.elapsed() < Duration::from_secs(10), "it was not waited for the timeout");
    goes_through(&alice, &carol, &second);
    // The next call is decided without Bob.
    invite(&alice);
    let direct = carol.receive_request("INVITE");
    goes_through(&alice, &carol, &direct);
    assert_eq!(sent(&viaduct.metrics(), "branch"), 1);
    viaduct.stop();
}

#[test]
fn nobody_is_asked_after_a_cancel() {
    let world = World::new();
    let home = home(BOB_THEN_CAROL);
    let viaduct = home.start(&world);
    let Parties { alice, bob, carol } = parties(&world);
    let invite = invite(&alice);
    let received = bob.receive_request("INVITE");
    bob.answer(&received, "180 Ringing");
    alice.receive_response(180);
    alice.send(&same_transaction(&invite, "CANCEL", invite.value("To")), edge());
    alice.receive_response(200);
    let cancel = bob.receive_request("CANCEL");
    bob.answer(&cancel, "200 OK");
    bob.answer(&received, "503 Service Unavailable");
    let refusal = alice.receive_response(487);
    alice.send(&same_transaction(&invite, "ACK", refusal.message.value("To")), edge());
    settle();
    carol.received_nothing();
    nothing_is_left(&viaduct);
    viaduct.stop();
}

#[test]
fn early_dialogs_of_all_and_a_cancel_for_those_who_lose() {
    let world = World::new();
    let home = home(&format!("{BOB_THEN_CAROL}\nfork = true"));
    let viaduct = home.start(&world);
    let Parties { alice, bob, carol } = parties(&world);
    invite(&alice);
    let (first, second) = (bob.receive_request("INVITE"), carol.receive_request("INVITE"));
    for received in [&first, &second] {
        assert_eq!(received.message.value("Max-Breadth"), "30");
    }
    bob.answer(&first, "180 Ringing");
    let early = alice.receive_response(180);
    carol.answer(&second, "183 Session Progress");
    assert_ne!(alice.receive_response(183).message.value("To"), early.message.value("To"));
    goes_through(&alice, &carol, &second);
    let cancel = bob.receive_request("CANCEL");
    assert_eq!(cancel.message.value("Reason"), "SIP ;cause=200 ;text=\"Call completed elsewhere\"");
    bob.answer(&cancel, "200 OK");
    bob.answer(&first, "487 Request Terminated");
    bob.receive_request("ACK");
    settle();
    alice.received_nothing();
    viaduct.stop();
}

#[test]
fn a_6xx_of_one_ends_the_others_and_goes_back() {
    let world = World::new();
    let home = home(&format!("{BOB_THEN_CAROL}\nfork = true"));
    let viaduct = home.start(&world);
    let Parties { alice, bob, carol } = parties(&world);
    let invite = invite(&alice);
    let (first, second) = (bob.receive_request("INVITE"), carol.receive_request("INVITE"));
    bob.answer(&first, "180 Ringing");
    alice.receive_response(180);
    carol.answer(&second, "603 Decline");
    carol.receive_request("ACK");
    let cancel = bob.receive_request("CANCEL");
    assert_eq!(cancel.message.value("Reason"), "SIP ;cause=603");
    bob.answer(&cancel, "200 OK");
    bob.answer(&first, "487 Request Terminated");
    bob.receive_request("ACK");
    let refusal = alice.receive_response(603);
    alice.send(&same_transaction(&invite, "ACK", refusal.message.value("To")), edge());
    nothing_is_left(&viaduct);
    assert_eq!(sent(&viaduct.metrics(), "best"), 1);
    viaduct.stop();
}

#[test]
fn calls_by_sipp_pass_a_gateway_that_is_dead() {
    let world = World::new();
    // Nobody is at port 5070.
    let home = home("to = [\"sip:10.0.0.100:5070\", \"sip:10.0.0.100\"]\ntimeout = \"300ms\"");
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    sipp::calls("call", 20, &public, "1.2.3.4", &private);
    sipp::calls("busy", 20, &public, "1.2.3.4", &private);
    sipp::calls("cancel", 20, &public, "1.2.3.4", &private);
    let metrics = viaduct.metrics();
    assert_eq!(sent(&metrics, "branch"), 60, "each call was sent to the other one");
    for lost in ["stray_response", "foreign_response", "response_for_us"] {
        assert_eq!(metrics.dropped(lost), 0, "{lost}");
    }
    viaduct.stop();
}

/// RFC 3261 §16.9 has it behave "as if the forwarded request received a 503", and not wait until Timer B says so.
#[test]
fn a_next_hop_that_resets_its_connection_with_the_request_in_it_has_the_next_one_tried_at_once() {
    let world = World::new();
    let home = home(r#"to = ["sip:10.0.0.100:5070;transport=tcp", "sip:[fd00:6::100]"]"#);
    let viaduct = home.start(&world);
    let (alice, carol) =
        (world.public.party("alice", "1.2.3.100:5060"), world.six.party("carol", "[fd00:6::100]:5060"));
    let bob = world.private.inside(|| TcpListener::bind("10.0.0.100:5070")).expect("a listener");
    let resets = std::thread::spawn(move || {
        let (mut stream, _) = bob.accept().expect("a connection");
        let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
        while !request.ends_with(b"\r\n\r\n") {
            let length = stream.read(&mut buffer).expect("the request");
            request.extend_from_slice(&buffer[..length]);
        }
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
        request
    });
    invite(&alice);
    let received = carol.receive_request("INVITE");
    assert!(resets.join().expect("no panic").starts_with(b"INVITE "));
    goes_through(&alice, &carol, &received);
    viaduct.stop();
}
