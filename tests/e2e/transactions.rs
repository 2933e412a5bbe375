//! `mode = "stateful"` as callers and callees see it, over real sockets and with packets that are lost.

use std::time::{Duration, Instant};

use crate::endpoint::{Party, settle};
use crate::metrics::Metrics;
use crate::sip::{Dialog, Message, same_transaction};
use crate::sipp::{self, End};
use crate::viaduct::{Home, KEEPING_RELAY, LISTENERS, Viaduct};
use crate::world::{World, edge, eventually};

fn home() -> Home {
    Home::new(&format!("{LISTENERS}{KEEPING_RELAY}"))
}

fn sent(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum("viaduct_transaction_messages_total", &[("what", what)])
}

/// Alice outside, Bob inside.
fn parties(world: &World) -> (Party, Party) {
    (world.public.party("alice", "1.2.3.100:5060"), world.private.party("bob", "10.0.0.100:5060"))
}

/// Sends an INVITE to Bob; Alice has got her 100.
fn invite(alice: &Party, bob: &Party) -> Message {
    let invite = alice.request("INVITE", &bob.uri());
    alice.send(&invite, edge());
    alice.receive_response(100);
    invite
}

#[test]
fn calls_by_sipp_over_all_families() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    let six = End { host: &world.six, address: "[fd00:6::100]" };
    for scenario in ["call", "reinvite", "cancel", "busy"] {
        sipp::calls(scenario, 10, &public, "1.2.3.4", &private);
        sipp::calls(scenario, 10, &six, "[fd00:6::4]", &private);
    }
    let metrics = viaduct.accounted(540);
    // An ACK for each refusal, a CANCEL for each.
    assert!(sent(&metrics, "ack") >= 40 && sent(&metrics, "cancel") >= 20);
    assert_eq!(
        metrics.sum("viaduct_answers_total", &[("status", "200")]),
        20,
        "each CANCEL was answered here"
    );
    for lost in ["stray_response", "not_handed_over", "foreign_response", "response_for_us"] {
        assert_eq!(metrics.dropped(lost), 0, "{lost}");
    }
    // Two shards have handed over what belongs to the other; one has nobody to hand over to.
    let shards = metrics.sum("viaduct_shards", &[]);
    assert_eq!(metrics.sum("viaduct_messages_handed_over_total", &[]) > 0, shards > 1);
    viaduct.stop();
}

/// RFC 3261 §17.2.1.
#[test]
fn a_100_goes_back_within_200_ms_and_none_where_it_rings_before() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let (alice, bob) = parties(&world);
    alice.send(&alice.request("INVITE", &bob.uri()), edge());
    let received = bob.receive_request("INVITE");
    bob.answer(&received, "180 Ringing");
    alice.receive_response(180);
    std::thread::sleep(Duration::from_millis(250));
    alice.received_nothing();
    assert_eq!(sent(&viaduct.metrics(), "trying"), 0);
    let asked = Instant::now();
    invite(&alice, &bob);
    // How late it is at most, virtual time says.
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(150), "{waited:?}");
    assert_eq!(sent(&viaduct.metrics(), "trying"), 1);
    viaduct.stop();
}

#[test]
fn calls_succeed_where_every_tenth_packet_is_lost() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    // What the callee says is not lost: SIPp does not say it again where the INVITE came again meanwhile.
    world.loses("1.2.3.4", 10);
    world.public.loses("1.2.3.100", 10);
    world.private.loses("10.0.0.100", 10);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    sipp::calls("busy", 25, &public, "1.2.3.4", &private);
    sipp::calls("lossy", 25, &public, "1.2.3.4", &private);
    let metrics = viaduct.metrics();
    assert!(sent(&metrics, "request_again") > 0, "what was lost on the callee's side is sent again here");
    assert!(metrics.sum("viaduct_requests_absorbed_total", &[]) > 0, "what the caller sent again ends here");
    viaduct.stop();
}

#[test]
fn an_invite_that_comes_again_reaches_the_callee_once() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let (alice, bob) = parties(&world);
    let invite = invite(&alice, &bob);
    let received = bob.receive_request("INVITE");
    alice.send(&invite, edge());
    alice.receive_response(100);
    bob.answer(&received, "180 Ringing");
    alice.receive_response(180);
    alice.send(&invite, edge());
    alice.receive_response(180);
    let busy = bob.answer(&received, "486 Busy Here");
    let refusal = alice.receive_response(486);
    // The ACK that Bob gets is Viaduct's; Alice's ends at Viaduct.
    let ack = bob.receive_request("ACK").message;
    assert_eq!((ack.branch(), ack.values("Via").len()), (received.message.branch(), 1));
    assert_eq!(ack.value("To"), busy.value("To"));
    alice.send(&same_transaction(&invite, "ACK", refusal.message.value("To")), edge());
    settle();
    bob.received_nothing();
    alice.received_nothing();
    open(&viaduct, &[("side", "server"), ("method", "invite")], 0);
    viaduct.stop();
}

/// Waits until so many transactions are open.
fn open(viaduct: &Viaduct<'_>, labels: &[(&str, &str)], wanted: u64) {
    eventually("transactions are over", || {
        (viaduct.metrics().sum("viaduct_transactions", labels) == wanted).then_some(())
    });
}

#[test]
fn a_cancel_that_crosses_the_200_loses() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let (alice, bob) = parties(&world);
    let invite = invite(&alice, &bob);
    let received = bob.receive_request("INVITE");
    bob.answer(&received, "180 Ringing");
    alice.receive_response(180);
    alice.send(&same_transaction(&invite, "CANCEL", invite.value("To")), edge());
    assert_eq!(alice.receive_response(200).message.value("CSeq"), "1 CANCEL");
    let cancel = bob.receive_request("CANCEL");
    // Bob has picked up by then.
    let ok = bob.answer(&received, "200 OK");
    bob.answer(&cancel, "200 OK");
    assert_eq!(alice.receive_response(200).message.value("CSeq"), "1 INVITE");
    // The 2xx comes late, and again.
    for _ in 0..2 {
        bob.send(&ok, received.from);
        assert_eq!(alice.receive_response(200).message.value("To"), ok.value("To"));
    }
    let mut dialog = Dialog::of_caller(&ok);
    dialog.send(&alice, "ACK");
    bob.receive_request("ACK");
    dialog.send(&alice, "BYE");
    let bye = bob.receive_request("BYE");
    assert!(bye.message.branch().starts_with("z9hG4bKbt"), "the dialog stays stateful: {}", bye.message);
    bob.answer(&bye, "200 OK");
    alice.receive_response(200);
    viaduct.stop();
}

#[test]
fn what_cannot_be_sent_any_more_is_answered_500() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let (alice, bob) = parties(&world);
    let invite = invite(&alice, &bob);
    bob.receive_request("INVITE");
    let generation = viaduct.generation();
    world.ip("link set priv down");
    viaduct.newer_than(generation);
    let failed = alice.receive_response(500);
    assert!(failed.message.start.contains("Next Hop Unreachable"), "{}", failed.message);
    alice.send(&same_transaction(&invite, "ACK", failed.message.value("To")), edge());
    assert_eq!(
        eventually("it is counted", || {
            let ended = viaduct.metrics().sum("viaduct_transactions_ended_total", &[("cause", "failed")]);
            (ended > 0).then_some(ended)
        }),
        1
    );
    viaduct.stop();
}

#[test]
fn a_reload_leaves_what_is_open_to_its_transaction() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let (alice, bob) = parties(&world);
    let invite = invite(&alice, &bob);
    let received = bob.receive_request("INVITE");
    home.write(&format!("{LISTENERS}[[route]]\nname = \"closed\"\nreject = 480\n"));
    viaduct.reload(1);
    alice.send(&invite, edge());
    alice.receive_response(100);
    bob.answer(&received, "200 OK");
    alice.receive_response(200);
    let other = alice.request("INVITE", &bob.uri());
    alice.send(&other, edge());
    alice.receive_response(480);
    viaduct.stop();
}
