//! RFC 3261 §16.11: one transaction goes one way, whatever changes meanwhile.

use super::forwarding::{INVITE, invite_with};
use super::world::{Became, CONFIGURATION, World, builder, fib, header, headers, response};
use crate::drop_reason::DropReason;
use crate::egress::{NoEgress, PINNED_NS, Reason};
use crate::fib::spec::{Route, Rule, TABLE_MAIN};
use crate::net::Now;

const ALICE: &str = "10.0.0.50:5060";
const BOB: &str = "192.0.2.9:5060";

fn branch(text: &str) -> &str {
    let via = headers(text, "Via").next().unwrap();
    via.split("branch=").nth(1).unwrap().split(';').next().unwrap()
}

fn cancel_of(invite: &str) -> String {
    invite
        .replace("INVITE", "CANCEL")
        .lines()
        .filter(|l| !l.starts_with("Contact"))
        .map(|l| format!("{l}\n"))
        .collect()
}

/// §17.1.1.3
fn ack_of(invite: &str, to_tag: &str) -> String {
    let to = invite.lines().find(|line| line.starts_with("To:")).unwrap();
    invite.replace("INVITE", "ACK").replace(to, &format!("{to};tag={to_tag}"))
}

#[test]
fn a_retransmission_is_the_same_to_the_byte() {
    // "the component of the branch parameter that makes it unique MUST be the same each time a retransmitted
    // request is forwarded"; "All other message transformations specified in Section 16.6 MUST result in the
    // same transformation of a retransmitted request. In particular, if the proxy inserts a Record-Route
    // value […], it MUST place the same values in retransmissions of the request."
    let mut world = World::new();
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    assert_eq!(world.forwarded("private", ALICE, INVITE, "public", BOB), first);
    assert_eq!((world.tally().pin_hits, world.tally().pins), (1, 1));
    // Without the memory of it, too: after a restart, or on another shard.
    world.restart();
    assert_eq!(world.forwarded("private", ALICE, INVITE, "public", BOB), first);
    assert_eq!(world.tally().pin_hits, 0);
}

#[test]
fn cancel_and_ack_have_their_invites_branch() {
    // §16.6 step 8: "The request method MUST NOT be included in the calculation of the branch parameter. In
    // particular, CANCEL and ACK requests (for non-2xx responses) MUST have the same branch value as the
    // corresponding request they cancel or acknowledge."
    for invite in
        [INVITE.to_owned(), INVITE.replace("z9hG4bK74bf9", "old"), INVITE.replace(";branch=z9hG4bK74bf9", "")]
    {
        for restart in [false, true] {
            let mut world = World::new();
            let sent = world.forwarded("private", ALICE, &invite, "public", BOB);
            if restart {
                world.restart();
            }
            let cancel = world.forwarded("private", ALICE, &cancel_of(&invite), "public", BOB);
            assert_eq!(branch(&cancel), branch(&sent));
            assert_eq!(headers(&cancel, "Record-Route").count(), 0);
            let ack = world.forwarded("private", ALICE, &ack_of(&invite, "b1"), "public", BOB);
            assert_eq!(branch(&ack), branch(&sent));
            assert_eq!(world.tally().pin_hits, if restart { 0 } else { 2 });
        }
    }
}

#[test]
fn different_transactions_have_different_branches() {
    let mut world = World::new();
    let mut seen = std::collections::HashSet::new();
    for invite in [
        INVITE.to_owned(),
        INVITE.replace("74bf9", "74bf0"),
        INVITE.replace("Via: SIP/2.0/UDP 10.0.0.50:5060", "Via: SIP/2.0/UDP 10.0.0.50:5061"),
        INVITE.replace("z9hG4bK74bf9", "1"),
        INVITE.replace("z9hG4bK74bf9", "2"),
        INVITE.replace("z9hG4bK74bf9", "1").replace("CSeq: 1", "CSeq: 2"),
        INVITE.replace("z9hG4bK74bf9", "1").replace("9fxced76sl", "other"),
        INVITE.replace("z9hG4bK74bf9", "1").replace("Call-ID: 3", "Call-ID: 4"),
        INVITE.replace("z9hG4bK74bf9", "1").replacen("sip:bob@", "sip:carol@", 1),
    ] {
        let sent = world.forwarded("private", ALICE, &invite, "public", BOB);
        assert!(seen.insert(branch(&sent).to_owned()), "{invite}");
    }
}

/// The other way to Bob's network: by the private interface.
fn rerouted() -> crate::fib::Fib {
    let private = Route::new("192.0.2.0/24".parse().unwrap(), 3, Some("10.0.0.1".parse().unwrap()));
    builder().route(private).build()
}

#[test]
fn a_routing_change_moves_no_transaction_in_flight() {
    // "a retransmitted request MUST be forwarded to the same destination each time it is processed.
    // Furthermore, CANCEL and non-Routed ACK requests MUST generate the same choice as their associated
    // INVITE."
    let mut world = World::new();
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.reroute(rerouted());
    let Became::Forward { decision, text, .. } = world.receive("private", ALICE, INVITE) else { panic!() };
    assert_eq!((decision.egress.reason, text), (Reason::Pinned, first));
    world.forwarded("private", ALICE, &cancel_of(INVITE), "public", BOB);
    world.forwarded("private", ALICE, &ack_of(INVITE, "b"), "public", BOB);
    // The next transaction takes the new way.
    world.forwarded("private", ALICE, &INVITE.replace("74bf9", "new"), "private", BOB);
    assert_eq!(world.tally().egress_moved, 0);
}

#[test]
fn a_transaction_in_flight_waits_for_the_kernel_rather_than_go_another_way() {
    // "CANCEL and non-Routed ACK requests MUST generate the same choice as their associated INVITE."
    let mut world = World::new();
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    // New transactions go by the private interface, and what leaves from the public address is not understood.
    let from = "203.0.113.10/32".parse().unwrap();
    let not_understood = Rule { opaque: true, ..Rule::from_table(100, from, TABLE_MAIN) };
    let private = Route::new("192.0.2.0/24".parse().unwrap(), 3, Some("10.0.0.1".parse().unwrap()));
    let policy = builder().route(private).rule(not_understood).build();
    world.reroute(policy.clone());
    world.answered("private", ALICE, &cancel_of(INVITE), 500);
    let (next_hop, why) = world.state.take_no_egress().expect("it is told");
    let NoEgress::AskKernel(query) = why else { panic!("{why:?}") };
    assert_eq!((next_hop.address.to_string().as_str(), query.src), (BOB, "203.0.113.10".parse().ok()));
    assert_eq!(world.tally().egress_moved, 0);
    let kernel = builder().build().lookup(&query);
    world.reroute(policy.with_answer(&query, kernel).expect("it is new"));
    let cancel = world.forwarded("private", ALICE, &cancel_of(INVITE), "public", BOB);
    assert_eq!(branch(&cancel), branch(&first));
    assert_eq!((world.tally().egress_moved, world.tally().pin_hits), (0, 1));
    world.forwarded("private", ALICE, &INVITE.replace("74bf9", "new"), "private", BOB);
}

#[test]
fn a_dead_way_is_left_and_counted() {
    let mut world = World::new();
    world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.lose_public();
    world.forwarded("private", ALICE, INVITE, "private", BOB);
    assert_eq!(world.tally().egress_moved, 1);
    // From here on it stays there.
    world.reroute(fib());
    world.forwarded("private", ALICE, INVITE, "private", BOB);
    assert_eq!(world.tally().egress_moved, 1);
}

#[test]
fn pins_run_out() {
    let mut world = World::new();
    let options = INVITE.replace("INVITE", "MESSAGE");
    world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.forwarded("private", ALICE, &options.replace("74bf9", "m"), "public", BOB);
    world.reroute(rerouted());
    world.now = Now(world.now.0 + 33_000_000_000);
    world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.forwarded("private", ALICE, &options.replace("74bf9", "m"), "private", BOB);
    world.now = Now(world.now.0 + 300_000_000_000);
    world.forwarded("private", ALICE, INVITE, "private", BOB);
}

#[test]
fn a_pin_lets_no_other_request_past_the_rules() {
    // The same branch with another Request-URI or method is another request.
    let mut world = World::new();
    let allowed =
        INVITE.replace("10.0.0.50", "192.0.2.50").replacen("sip:bob@192.0.2.9", "sip:*33123@x.example", 1);
    world.forwarded("public", "192.0.2.50:5060", &allowed, "private", "10.0.0.100:5060");
    for (good, bad) in [("sip:*33123@", "sip:*34123@"), ("INVITE", "MESSAGE")] {
        let mut other = allowed.replace(good, bad);
        if good == "INVITE" {
            other = other.replacen("sip:*33123@", "sip:bob@", 1);
        }
        world.answered("public", "192.0.2.50:5060", &other, 403);
    }
    assert_eq!(world.tally().pin_hits, 0);
    let cancel = cancel_of(&allowed);
    world.forwarded("public", "192.0.2.50:5060", &cancel, "private", "10.0.0.100:5060");
    assert_eq!(world.tally().pin_hits, 1);
}

/// The usual host, where no rule reads a header; with one for `when`.
fn ruled(when: &str) -> World {
    let rule = format!(
        "[[route]]\nname = \"first\"\nwhen = {{ {when} }}\nto = \"sip:10.0.0.100:5060\"\nmode = \"stateless\"\n\n[[route]]\nname = \"unwanted\""
    );
    let others = CONFIGURATION.replacen("header = { X-Trunk = \"^gold$\" }", "ruri_user = \"^gold$\"", 1);
    World::of(&others.replacen("[[route]]\nname = \"unwanted\"", &rule, 1), fib())
}

#[test]
fn where_no_rule_reads_from_and_to_a_pin_is_for_whoever_calls() {
    let mut world = ruled("ruri_user = '^nobody$'");
    assert!(!world.snapshot.plan.matcher.reads_parties());
    for method in ["INVITE", "SUBSCRIBE", "REPRIMANDS"] {
        let sent = &INVITE.replace("INVITE", method).replace("74bf9", &format!("of-{}", method.len()));
        let before = world.tally().pin_hits;
        world.forwarded("private", ALICE, sent, "public", BOB);
        let others = [
            ("sip:bob@192.0.2.9 ", "sip:rob@192.0.2.9 "),
            ("CSeq: 1 ", "CSeq: 2 "),
            ("Call-ID: ", "Call-ID: x"),
            (method, "REPRIMANDED"),
        ];
        for (good, bad) in others {
            let other = sent.replace(good, bad);
            assert_ne!(&other, sent);
            world.forwarded("private", ALICE, &other, "public", BOB);
        }
        world.forwarded("private", "10.0.0.51:5060", sent, "public", BOB);
        assert_eq!(world.tally().pin_hits, before, "{method}");
        world.forwarded("private", ALICE, sent, "public", BOB);
        let between_others = sent
            .replacen("From: Alice <sip:alice@10.0.0.50>;tag=", "From: Alice <sip:carol@10.0.0.50>;tag=x", 1)
            .replacen("To: Bob <sip:bob@", "To: Bob <sip:carol@", 1);
        assert!(between_others.contains("tag=x") && between_others.contains("To: Bob <sip:carol@"));
        world.forwarded("private", ALICE, &between_others, "public", BOB);
        assert_eq!(world.tally().pin_hits, before + 2, "{method}");
    }
}

#[test]
fn where_a_rule_reads_from_or_to_a_pin_is_for_them() {
    let conditions = [
        "from_user = '^alice$'",
        "to_user = '^bob$'",
        "from_host = [\"10.0.0.50\"]",
        "to_host = [\"192.0.2.9\"]",
        "not = { from_user = '^carol$' }, ruri_user = '^bob$'",
        "not = { not = { to_host = [\"192.0.2.9\"] } }",
        "header = { From = 'alice' }",
        "header = { t = 'bob@192.0.2.9' }",
    ];
    for when in conditions {
        let mut world = ruled(when);
        assert!(world.snapshot.plan.matcher.reads_parties(), "{when}");
        world.forwarded("private", ALICE, INVITE, "private", "10.0.0.100:5060");
        // Both change, and not the tag, to which a pin may be bound anyway.
        let other = INVITE.replacen("<sip:alice@10.0.0.50>;tag", "<sip:carol@10.0.0.51>;tag", 1).replacen(
            "To: Bob <sip:bob@192.0.2.9>",
            "To: Bob <sip:carol@192.0.2.8>",
            1,
        );
        assert!(other.contains("alice@10.0.0.50") && !other.contains("From: Alice <sip:alice@"));
        world.forwarded("private", ALICE, &other, "public", BOB);
        assert_eq!(world.tally().pin_hits, 0, "{when}");
    }
}

#[test]
fn pins_stay_where_rules_begin_or_cease_to_read_from_and_to() {
    let (without, with) = ("ruri_user = '^nobody$'", "from_user = '^alice$'");
    for (before, after) in [(without, with), (with, without)] {
        let (mut world, other) = (ruled(before), ruled(after));
        let (egress, next_hop) =
            if before == with { ("private", "10.0.0.100:5060") } else { ("public", BOB) };
        let route = INVITE.replacen("Max-Forwards", "Route: <sip:192.0.2.9;lr>\nMax-Forwards", 1);
        let route = route.replace("74bf9", "routed");
        let sent = world.forwarded("private", ALICE, INVITE, egress, next_hop);
        world.forwarded("private", ALICE, &route, egress, next_hop);
        world.reconfigure(&other.configuration, fib());
        let reloaded = world.now;
        world.now = reloaded.plus_ns(PINNED_NS - 1_000_000_000);
        let cancel = world.forwarded("private", ALICE, &cancel_of(INVITE), egress, next_hop);
        assert_eq!(branch(&cancel), branch(&sent));
        world.forwarded("private", ALICE, &cancel_of(&route), egress, next_hop);
        world.now = reloaded;
        assert_eq!(world.tally().pin_hits, 2);
        // Where pins are bound to who calls, they stay so.
        let (to, by) = if after == with { ("private", "10.0.0.100:5060") } else { ("public", BOB) };
        let carol = INVITE.replacen("From: Alice <sip:alice@", "From: Alice <sip:carol@", 1);
        match before == with {
            true => world.forwarded("private", ALICE, &carol, to, by),
            false => world.forwarded("private", ALICE, &carol, egress, next_hop),
        };
        assert_eq!(world.tally().pin_hits, if before == with { 2 } else { 3 });
        // New transactions go by the new rules.
        world.forwarded("private", ALICE, &INVITE.replace("74bf9", "new"), to, by);
        // By then all earlier pins have run out.
        world.now = world.now.plus_ns(PINNED_NS);
        world.forwarded("private", ALICE, INVITE, to, by);
    }
}

#[test]
fn a_route_is_for_one_tag() {
    let mut world = ruled("ruri_user = '^nobody$'");
    let routed = INVITE.replacen("Max-Forwards", "Route: <sip:192.0.2.9;lr>\nMax-Forwards", 1);
    world.forwarded("private", ALICE, &routed, "public", BOB);
    for (good, bad, hits) in [
        ("tag=9", "tag=x9", 0),
        ("Route: <sip:192", "Route: <sip:x@192", 0),
        ("sip:alice@10.0.0.50>;", "sip:a@b>;", 1),
    ] {
        let other = routed.replacen(good, bad, 1);
        assert_ne!(other, routed);
        let before = world.tally().pin_hits;
        world.forwarded("private", ALICE, &other, "public", BOB);
        assert_eq!(world.tally().pin_hits - before, hits, "{bad}");
    }
}

#[test]
fn a_cancel_without_the_header_that_its_invites_rule_reads_follows_it() {
    let mut world = World::new();
    let gold = invite_with("X-Trunk: gold").replace("10.0.0.50", "192.0.2.50");
    let from = "192.0.2.50:5060";
    let sent = world.forwarded("public", from, &gold, "private", "10.0.0.102:5060");
    let cancel = cancel_of(&gold.replace("X-Trunk: gold\n", ""));
    let sent_cancel = world.forwarded("public", from, &cancel, "private", "10.0.0.102:5060");
    assert_eq!(branch(&sent), branch(&sent_cancel));
    // Of another transaction it is nobody's.
    world.answered("public", from, &cancel.replace("74bf9", "74bf0"), 403);
}

#[test]
fn two_ports_on_one_address_keep_apart() {
    for (on, expected) in [("public", "public"), ("public-5080", "public-5080")] {
        let mut world = World::new();
        let sent = world.forwarded(on, ALICE, INVITE, expected, BOB);
        let port = if on == "public" { 5060 } else { 5080 };
        assert!(header(&sent, "Via").contains(&format!("203.0.113.10:{port};")), "{sent}");
        world.relayed("public", BOB, &response(&sent, "486 Busy", "b"), on, ALICE);
        world.forwarded(on, ALICE, &ack_of(INVITE, "b"), expected, BOB);
    }
}

#[test]
fn an_ack_that_cannot_be_sent_is_dropped() {
    let mut world = World::new();
    let ack = ack_of(INVITE, "b").replacen("192.0.2.9", "[2001:dead::1]", 1);
    world.dropped("private", ALICE, &ack, DropReason::AckUnroutable);
}
