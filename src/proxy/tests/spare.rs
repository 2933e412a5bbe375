//! RFC 7339 and RFC 7415 as the client of a next hop: what it asks for, from whom, and where requests go then.

use super::dialogs::{CALLER, Dialog};
use super::failover::opaque;
use super::forwarding::{INVITE, invite_with};
use super::world::{Became, CONFIGURATION, Sent, World, builder, fib, header, headers, response};
use crate::drop_reason::DropReason;
use crate::egress::NoEgress;
use crate::group::Report;
use crate::net::GroupId;
use crate::overload::Excess;
use crate::proxy::State;
use crate::transaction::{SendFailure, Size, What};

const ALICE: &str = "10.0.0.50:5060";
const BOB: &str = "192.0.2.9:5060";
const CAROL: &str = "10.9.0.9:5060";
const OFFER: &str = ";oc;oc-algo=\"loss,rate\"";
const PEER: &str = "[[peer]]\nname = \"outside\"\nnetworks = [\"192.0.2.0/24\"]\noc = true\n\
                    [overload]\nemergency = [\"112\"]\n";
const MS: u64 = 1_000_000;

fn world() -> World {
    World::of(&format!("{CONFIGURATION}{PEER}"), fib())
}

/// An INVITE of a call of its own.
fn invite(number: u32) -> String {
    INVITE
        .replace("74bf9", &format!("spare{number}"))
        .replace("3848276298220188511", &format!("call{number}"))
}

/// The answer to a request that was forwarded, whose topmost Via asks for something.
fn asking(forwarded: &str, status: &str, asks: &str) -> String {
    let answer = response(forwarded, status, "b");
    assert!(answer.contains(OFFER), "{answer}");
    answer.replacen(OFFER, asks, 1)
}

/// Bob asks, in his answer to a call.
fn ask(world: &mut World, number: u32, asks: &str) {
    let forwarded = world.forwarded("private", ALICE, &invite(number), "public", BOB);
    let relayed = world.relayed("public", BOB, &asking(&forwarded, "180 Ringing", asks), "private", ALICE);
    assert_eq!(headers(&relayed, "Via").count(), 1);
    assert!(!relayed.contains(";oc"), "{relayed}");
}

fn loss(percent: u32, sequence: u32) -> String {
    format!(";oc={percent};oc-algo=\"loss\";oc-validity=500;oc-seq={sequence}.1")
}

/// RFC 7339 §4.1 and §4.2.
#[test]
fn a_peer_that_may_ask_is_told_so() {
    let mut world = world();
    for method in ["INVITE", "CANCEL", "OPTIONS"] {
        let text = invite(1).replace("INVITE", method);
        let forwarded = world.forwarded("private", ALICE, &text, "public", BOB);
        assert!(header(&forwarded, "Via").ends_with(OFFER), "{forwarded}");
        // The same request is sent on the same.
        assert_eq!(forwarded, world.forwarded("private", ALICE, &text, "public", BOB));
    }
    let other = invite(2).replacen("sip:bob@192.0.2.9", "sip:carol@10.9.0.9", 1);
    let forwarded = world.forwarded("private", ALICE, &other, "private", CAROL);
    assert!(!forwarded.contains(";oc"), "{forwarded}");
}

/// RFC 7339 §5.5 and §5.10.
#[test]
fn what_it_asks_for_is_done_as_long_as_it_asks() {
    let mut world = world();
    ask(&mut world, 1, &loss(100, 1));
    let refused = world.answered("private", ALICE, &invite(2), 503);
    assert_eq!(refused.lines().next(), Some("SIP/2.0 503 Next Hop Overloaded"));
    // "it will need to reject these requests with a "503 (Service Unavailable)" response without the Retry-After header"
    assert_eq!(headers(&refused, "Retry-After").count(), 0);
    let tally = world.tally();
    assert_eq!((tally.refused[Excess::NextHop as usize], tally.spared, tally.pleas), (1, 1, 1));
    assert!(tally.throttled);
    // What came again has been let in; an ACK cannot be refused; others are sent to.
    world.forwarded("private", ALICE, &invite(1), "public", BOB);
    world.forwarded("private", ALICE, &invite(3).replace("INVITE", "ACK"), "public", BOB);
    let other = invite(4).replacen("sip:bob@192.0.2.9", "sip:bob@192.0.2.8", 1);
    world.forwarded("private", ALICE, &other, "public", "192.0.2.8:5060");
    world.now = world.now.plus_ns(500 * MS);
    assert!(!world.tally().throttled);
    world.forwarded("private", ALICE, &invite(5), "public", BOB);
}

/// RFC 7415 §3.5: "oc=0" with a validity is no request at all.
#[test]
fn it_may_ask_for_a_rate() {
    let mut world = world();
    ask(&mut world, 1, ";oc=0;oc-algo=\"rate\";oc-validity=500;oc-seq=1.1");
    world.answered("private", ALICE, &invite(2), 503);
    world.now = world.now.plus_ns(500 * MS);
    ask(&mut world, 3, ";oc=10;oc-algo=\"rate\";oc-validity=5000;oc-seq=2.1");
    let passed = |world: &mut World, numbers: std::ops::Range<u32>| {
        let is_sent =
            |number| matches!(world.receive("private", ALICE, &invite(number)), Became::Forward { .. });
        numbers.map(is_sent).filter(|sent| *sent).count()
    };
    assert_eq!(passed(&mut world, 10..40), 6);
    world.now = world.now.plus_ns(200 * MS);
    assert_eq!(passed(&mut world, 40..50), 2);
}

/// RFC 7339 §11: "If the attacker can make the recipient believe that the overload status was created by its direct
/// downstream neighbor".
#[test]
fn only_who_was_asked_is_heard() {
    let mut world = world();
    let forwarded = world.forwarded("private", ALICE, &invite(1), "public", BOB);
    let asking = asking(&forwarded, "180 Ringing", &loss(100, 1));
    // Another peer, or another port of his.
    for other in ["192.0.2.8:5060", "192.0.2.9:5061"] {
        world.relayed("public", other, &asking, "private", ALICE);
    }
    // What another one was sent, under Bob's address.
    let to_other = invite(2).replacen("sip:bob@192.0.2.9", "sip:bob@192.0.2.8", 1);
    let to_other = world.forwarded("private", ALICE, &to_other, "public", "192.0.2.8:5060");
    let stolen = super::spare::asking(&to_other, "180 Ringing", &loss(100, 1));
    world.relayed("public", BOB, &stolen, "private", ALICE);
    // Somebody who was not asked, and writes it all the same.
    let to_carol = invite(3).replacen("sip:bob@192.0.2.9", "sip:carol@10.9.0.9", 1);
    let to_carol = world.forwarded("private", ALICE, &to_carol, "private", CAROL);
    let via = header(&to_carol, "Via").to_owned();
    let answer = response(&to_carol, "180 Ringing", "c").replacen(&via, &format!("{via}{}", loss(100, 1)), 1);
    world.relayed("private", CAROL, &answer, "private", ALICE);
    assert_eq!((world.tally().pleas, world.tally().throttled), (0, false));
    world.relayed("public", BOB, &asking, "private", ALICE);
    assert_eq!((world.tally().pleas, world.tally().throttled), (1, true));
}

/// RFC 7339 §5.10.1.
#[test]
fn what_begins_something_goes_before_what_belongs_to_a_dialog_or_saves_lives() {
    let mut world = world();
    let (dialog, _) =
        Dialog::begin(&mut world, ("private", ALICE), "sip:bob@192.0.2.9:5060", ("public", BOB));
    ask(&mut world, 1, &loss(82, 1));
    for number in 10..20 {
        world.answered("private", ALICE, &invite(number), 503);
        let emergency = invite(100 + number).replacen("sip:bob@", "sip:112@", 1);
        world.forwarded("private", ALICE, &emergency, "public", BOB);
    }
    world.forwarded("private", ALICE, &dialog.request(CALLER, "BYE", 2), "public", BOB);
    // A To tag that nobody gave is none of a dialog's.
    let tagged = invite(30).replace("Bob <sip:bob@192.0.2.9>", "Bob <sip:bob@192.0.2.9>;tag=b");
    world.answered("private", ALICE, &tagged.replace("INVITE", "BYE"), 503);
}

#[test]
fn an_emergency_call_is_one_behind_a_strict_router_too() {
    let mut world = world();
    let (dialog, _) =
        Dialog::begin(&mut world, ("private", ALICE), "sip:112@192.0.2.9:5060", ("public", BOB));
    // Most of what is within dialogs, and nothing that is kept.
    ask(&mut world, 1, &loss(89, 1));
    let strict = dialog.by_strict_router(CALLER, "INFO", 2, ";lr");
    assert!(!strict.starts_with("INFO sip:112@"), "{strict}");
    world.forwarded("private", ALICE, &strict, "public", BOB);
}

/// A rule that tries one after the other.
fn list(to: &str) -> World {
    let rule = format!("[[route]]\nname = \"list\"\nmode = \"stateful\"\nto = {to}\n");
    let text = CONFIGURATION.replacen("[[route]]", &format!("{rule}\n[[route]]"), 1);
    World::keeping(&format!("{text}{PEER}"), 0, 1)
}

#[test]
fn another_next_hop_gets_what_one_is_spared() {
    let mut world = list(r#"["sip:192.0.2.9", "sip:10.9.0.9"]"#);
    let first = world.forwarded("private", ALICE, &invite(1), "public", BOB);
    world.relayed("public", BOB, &asking(&first, "486 Busy Here", &loss(100, 1)), "private", ALICE);
    world.forwarded("private", ALICE, &invite(2), "private", CAROL);
    assert_eq!((world.tally().spared, world.tally().refused[Excess::NextHop as usize]), (1, 0));
}

/// What is due once Carol, who is asked first, has refused a request.
#[track_caller]
fn after_carol(world: &mut World, text: &str) -> Vec<Sent> {
    let first = world.forwarded("private", ALICE, text, "private", CAROL);
    world.due();
    let answer = response(&first, "503 Service Unavailable", "c");
    world.dropped("private", CAROL, &answer, DropReason::Absorbed);
    world.due()
}

fn further(due: Vec<Sent>) -> Option<Sent> {
    due.into_iter().find(|sent| sent.what == What::Branch)
}

/// Bob, who is asked after Carol, asks for this much less.
fn ask_as_second(world: &mut World, percent: u32) {
    let second = further(after_carol(world, &invite(1))).expect("Bob is tried");
    assert_eq!(second.to.to_string(), BOB);
    let asking = asking(&second.text, "486 Busy Here", &loss(percent, 1));
    world.relayed("public", BOB, &asking, "private", ALICE);
}

#[test]
fn later_attempts_spare_it_too() {
    let mut world = list(r#"["sip:10.9.0.9", "sip:192.0.2.9"]"#);
    ask_as_second(&mut world, 100);
    let due = after_carol(&mut world, &invite(2));
    assert!(due.iter().all(|sent| sent.what != What::Branch), "{due:?}");
    let answer = due.iter().find(|sent| sent.to.to_string() == ALICE && !sent.text.contains(" 100 "));
    let answer = &answer.expect("Alice is answered").text;
    assert!(answer.starts_with("SIP/2.0 500 "), "{answer}");
    assert_eq!(world.tally().spared, 1);
}

/// RFC 7339 §5.4.
#[test]
fn what_is_written_for_others_goes_no_further() {
    let mut world = world();
    let offering = invite(1).replace("branch=", "oc;oc-algo=\"loss\";branch=");
    let forwarded = world.forwarded("private", ALICE, &offering, "public", BOB);
    let answer = response(&forwarded, "200 OK", "b");
    let relayed = world.relayed("public", BOB, &answer, "private", ALICE);
    assert!(header(&relayed, "Via").contains(";oc;oc-algo=\"loss\";"), "{relayed}");
    let forged = answer.replace("z9hG4bKspare1", "z9hG4bKspare1;oc-seq=9.9;oc-validity=60000");
    let forged = forged.replace(";oc;oc-algo=\"loss\";", ";oc=100;oc-algo=\"loss\";");
    let relayed = world.relayed("public", BOB, &forged, "private", ALICE);
    let via = header(&relayed, "Via");
    assert!(via.contains(";oc-algo=\"loss\";"), "{via}");
    assert!(["oc=", "oc-seq", "oc-validity"].iter().all(|name| !via.contains(name)), "{via}");
    // The first one hides no other one, whether we answer the offer ourselves or not.
    let forged =
        answer.replace("z9hG4bKspare1", "z9hG4bKspare1;oc;oc-seq=1.1;oc=100;oc-seq=9.9;oc-validity=60000");
    let relayed = world.relayed("public", BOB, &forged, "private", ALICE);
    let via = header(&relayed, "Via");
    assert!(["oc=", "oc-seq", "oc-validity"].iter().all(|name| !via.contains(name)), "{via}");
    let mut tells = World::of(&format!("{CONFIGURATION}{}oc = true\n", PEER), fib());
    tells.forwarded("private", ALICE, &offering, "public", BOB);
    let relayed = tells.relayed("public", BOB, &forged, "private", ALICE);
    let via = header(&relayed, "Via");
    for name in [";oc=", ";oc-algo=", ";oc-seq=", ";oc-validity="] {
        assert_eq!(via.matches(name).count(), 1, "{via}");
    }
    assert!(via.contains(";oc=0;oc-algo=\"loss\";"), "{via}");
}

/// Recipe I: gateways that are down are tried where nothing else is left of `to`.
#[test]
fn who_asks_to_be_spared_is_left_of_it() {
    let group = "[[group]]\nname = \"trunks\"\ngateways = [{ to = \"sip:10.9.0.9\" }]\n";
    let rule = format!("{group}[[route]]\nname = \"list\"\nto = [\"group:trunks\", \"sip:192.0.2.9\"]\n");
    let text = CONFIGURATION.replacen("[[route]]", &format!("{rule}\n[[route]]"), 1);
    let mut world = World::of(&format!("{text}{PEER}"), fib());
    let roster = &world.snapshot.roster;
    let (gateway, listener) =
        (roster.ids(GroupId(0))[0], world.snapshot.plan.listener_named("private").unwrap().identity);
    roster.health().set_down_after(gateway, 1);
    roster.health().report(gateway, listener, Report::Failed);
    ask(&mut world, 1, &loss(100, 1));
    world.answered("private", ALICE, &invite(2), 503);
    assert_eq!((world.tally().spared, world.tally().last_resorts), (1, 0));
}

#[test]
fn an_emergency_call_is_one_whatever_a_rule_makes_of_its_uri() {
    let mut world = list("[\"sip:10.9.0.9\", \"sip:192.0.2.9\"]\nset = { ruri_user = \"4989112\" }");
    ask_as_second(&mut world, 82);
    assert!(further(after_carol(&mut world, &invite(10))).is_none());
    let emergency = invite(11).replacen("sip:bob@", "sip:112@", 1);
    assert!(further(after_carol(&mut world, &emergency)).is_some());
}

/// A To tag proves nothing, to the first next hop as to those that follow, unless the dialogs of its rule have no tokens.
#[test]
fn later_attempts_rank_a_request_by_what_was_proven_at_the_first() {
    for (record_route, is_tried) in [("", false), ("\nrecord_route = false", true)] {
        let mut world = list(&format!("[\"sip:10.9.0.9\", \"sip:192.0.2.9\"]{record_route}"));
        ask_as_second(&mut world, 82);
        let tagged = invite(10).replace("Bob <sip:bob@192.0.2.9>", "Bob <sip:bob@192.0.2.9>;tag=b");
        let due = after_carol(&mut world, &tagged.replace("INVITE", "BYE"));
        assert_eq!(further(due).is_some(), is_tried, "{record_route}");
    }
}

/// A world with this rule and much room, where Bob asks for ten requests a second: of what begins something he gets six at once.
fn rated(rule: &str) -> World {
    let rule = format!("[[route]]\nname = \"first\"\nmode = \"stateful\"\n{rule}\n\n[[route]]");
    let text = CONFIGURATION.replacen("[[route]]", &rule, 1);
    let mut world = World::of(&format!("[egress]\nlarge_udp = \"tcp\"\n\n{text}{PEER}"), fib());
    let size = Size { transactions: 64, blocks: 1_024 };
    world.state = State::with_pins(1, &world.snapshot, 64).keeping(0, size, &world.snapshot);
    ask(&mut world, 1, ";oc=10;oc-algo=\"rate\";oc-validity=5000;oc-seq=1.1");
    world
}

/// How many of twenty requests pass.
fn passed(mut world: World, passes: impl Fn(&mut World, u32) -> bool) -> usize {
    (10..30).filter(|number| passes(&mut world, *number)).count()
}

#[test]
fn what_falls_back_to_udp_takes_one_of_a_rate() {
    let large = |number| {
        let large = invite_with(&format!("X-Large: {}", "x".repeat(1_200)));
        large.replace("74bf9", &format!("large{number}"))
    };
    let falls_back = |world: &mut World, number| {
        let Became::Forward { from, .. } = world.receive("private", ALICE, &large(number)) else {
            return false;
        };
        assert_eq!(from, "public/tcp");
        world.state.send_failed(world.transaction.expect("a transaction"), SendFailure::Connection(None));
        let again = further(world.due()).expect("Bob is tried again");
        assert_eq!((again.from.as_str(), again.to.to_string().as_str()), ("public", BOB));
        true
    };
    assert_eq!(passed(rated("to = \"request-uri\""), falls_back), 6);
}

#[test]
fn what_waits_for_the_kernel_takes_one_of_a_rate() {
    let mut world = rated("to = [\"sip:192.0.2.9\", \"sip:10.9.0.9\"]");
    // Only it knows the way to Carol, who is asked for where Bob fails.
    world.reroute(opaque(builder()).build());
    let waits = |world: &mut World, number| {
        world.answered("private", ALICE, &invite(number), 500);
        assert!(matches!(world.state.take_no_egress(), Some((_, NoEgress::AskKernel(_)))));
        world.state.comes(true, true);
        let became = world.receive("private", ALICE, &invite(number));
        world.state.comes(false, false);
        matches!(became, Became::Forward { .. })
    };
    assert_eq!(passed(world, waits), 6);
}
