//! A rule that sends to a group: which gateway, and what is heard of it.

use std::sync::Arc;

use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, World, fib, header, response};
use crate::drop_reason::DropReason;
use crate::group::{Heard, Report, Roster, Standing, Way};
use crate::net::{GatewayId, GroupId};
use crate::token::PingBranch;
use crate::transaction::What;

const ALICE: &str = "10.0.0.50:5060";

/// The world with this group for numbers that begin with 77.
fn world(group: &str, to: &str) -> World {
    let group = format!(
        "[[group]]\nname = \"trunks\"\n{group}\n[[route]]\nname = \"trunks\"\nwhen = {{ ruri_prefix = [\"77\"] }}\n\
         to = {to}\n"
    );
    let world = World::of(&CONFIGURATION.replacen("[[route]]", &format!("{group}\n[[route]]"), 1), fib());
    let roster = &world.snapshot.roster;
    roster.ids(GroupId(0)).iter().for_each(|id| roster.health().set_down_after(*id, 3));
    world
}

const THREE: &str = r#"gateways = [
    { to = "sip:10.0.0.71", weight = 3 },
    { to = "sip:10.0.0.72", weight = 1 },
    { to = "sip:192.0.2.73", priority = 2 },
]"#;

const TO: &str = "\"group:trunks\"";

/// The last number of each gateway's address, by number.
const LAST: [u8; 3] = [71, 72, 73];

/// An INVITE of a call of its own.
fn invite(number: u32) -> String {
    let invite = INVITE.replacen("sip:bob@", &format!("sip:77{number}@"), 1);
    let id = header(INVITE, "Call-ID").to_owned();
    invite.replace("74bf9", &format!("b{number}")).replace(&id, &format!("call{number}"))
}

/// Where it goes: the last number of the address.
#[track_caller]
fn goes(world: &mut World, text: &str) -> u8 {
    match world.receive("private", ALICE, text) {
        Became::Forward { to, .. } => to.ip().to_string().rsplit('.').next().unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn gateway(world: &World, place: usize) -> GatewayId {
    world.snapshot.roster.ids(GroupId(0))[place]
}

/// By what a listener is known in a gateway's state.
fn identity(world: &World, listener: &str) -> u32 {
    world.snapshot.plan.listener_named(listener).unwrap().identity
}

/// Reports of a gateway what came from the listener that requests leave from to it.
fn hear(world: &World, place: usize, report: Report) {
    let by = if LAST[place] == 73 { "public" } else { "private" };
    let listener = identity(world, by);
    world.snapshot.roster.health().report(gateway(world, place), listener, report);
}

#[test]
fn weights_share_the_calls_of_the_best_priority() {
    let mut world = world(THREE, TO);
    let mut count = [0; 100];
    for number in 0..800 {
        count[usize::from(goes(&mut world, &invite(number)))] += 1;
    }
    assert_eq!(count[71] + count[72], 800, "the third has a worse priority");
    assert!((540..660).contains(&count[71]), "{}", count[71]);
}

#[test]
fn a_transaction_stays_with_its_gateway() {
    let mut world = world(THREE, TO);
    for number in 0..20 {
        let text = invite(number);
        let first = goes(&mut world, &text);
        assert_eq!(goes(&mut world, &text), first);
        // One that has lost its pin finds the same; its CANCEL, too.
        let mut other = self::world(THREE, TO);
        assert_eq!(goes(&mut other, &text), first);
        let cancel = text.replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
        let mut third = self::world(THREE, TO);
        assert_eq!(goes(&mut third, &cancel), first);
    }
}

#[test]
fn all_candidates_are_named_best_first() {
    let mut world = world(THREE, r#"["group:trunks", "sip:10.0.0.99"]"#);
    let first = goes(&mut world, &invite(1));
    let seen: Vec<_> = world.state.candidates().iter().map(|c| (c.entry, c.gateway)).collect();
    let place = if first == 71 { 0 } else { 1 };
    let id = |place| Some(gateway(&world, place));
    assert_eq!(seen, [(0, id(place)), (0, id(1 - place)), (0, id(2)), (1, None)]);
}

#[test]
fn a_gateway_that_is_down_leaves_its_calls_to_the_others() {
    let mut world = world(THREE, TO);
    let before: Vec<u8> = (0..60).map(|number| goes(&mut world, &invite(number))).collect();
    // New transactions of the same calls ask again.
    (0..3).for_each(|_| hear(&world, 0, Report::Failed));
    for (number, before) in (0..60).zip(before) {
        let again = invite(number).replace(&format!("bKb{number}\n"), &format!("bKc{number}\n"));
        let now = goes(&mut world, &again);
        assert_eq!(now, 72, "{before}");
    }
    (0..3).for_each(|_| hear(&world, 1, Report::Failed));
    assert_eq!(goes(&mut world, &invite(100)), 73, "then the next priority");
    assert_eq!(world.tally().last_resorts, 0);
}

#[test]
fn where_none_answers_all_are_tried_and_that_is_counted() {
    let mut world = world(THREE, TO);
    for place in 0..3 {
        (0..3).for_each(|_| hear(&world, place, Report::Failed));
    }
    let first = goes(&mut world, &invite(1));
    assert!(first == 71 || first == 72);
    assert_eq!((world.state.candidates().len(), world.tally().last_resorts), (3, 1));
}

#[test]
fn another_entry_goes_before_gateways_that_are_down() {
    let mut world = world(THREE, r#"["group:trunks", "sip:10.0.0.99"]"#);
    for place in 0..3 {
        (0..3).for_each(|_| hear(&world, place, Report::Failed));
    }
    assert_eq!(goes(&mut world, &invite(1)), 99);
    assert_eq!((world.state.candidates().len(), world.tally().last_resorts), (1, 0));
}

#[test]
fn gateways_that_are_down_are_tried_where_nothing_else_can_be() {
    // No listener has a way to the other one.
    for to in [r#"["group:trunks", "sip:[fe80::9]"]"#, r#"["sip:[fe80::9]", "group:trunks"]"#] {
        let mut world = world(THREE, to);
        for place in 0..3 {
            (0..3).for_each(|_| hear(&world, place, Report::Failed));
        }
        let first = goes(&mut world, &invite(1));
        assert!(first == 71 || first == 72, "{to}: {first}");
        assert_eq!(world.tally().last_resorts, 1, "{to}");
    }
}

#[test]
fn those_that_asked_to_be_left_alone_are() {
    // RFC 3261 §21.5.4: "It SHOULD NOT forward any other requests to that server for the duration specified in
    // the Retry-After header field, if present."
    let mut world = world(THREE, TO);
    hear(&world, 0, Report::PutAside(30));
    hear(&world, 1, Report::PutAside(30));
    assert_eq!(goes(&mut world, &invite(1)), 73);
    hear(&world, 2, Report::PutAside(30));
    let answer = world.answered("private", ALICE, &invite(2), 503);
    assert!(answer.starts_with("SIP/2.0 503 All Gateways Overloaded\n"), "{answer}");
    assert_eq!(header(&answer, "Retry-After"), "4");
    // One that is merely down may be tried.
    let mut world = self::world(THREE, TO);
    hear(&world, 0, Report::PutAside(30));
    hear(&world, 2, Report::PutAside(30));
    (0..3).for_each(|_| hear(&world, 1, Report::Failed));
    assert_eq!((goes(&mut world, &invite(1)), world.state.candidates().len()), (72, 1));
}

#[test]
fn a_gateway_may_be_down_from_one_listener_alone() {
    let group = r#"gateways = [{ to = "sip:10.0.0.71" }, { to = "sip:10.0.0.72", priority = 2 }]"#;
    let mut world = world(group, TO);
    let health = world.snapshot.roster.health();
    let id = gateway(&world, 0);
    health.report(id, identity(&world, "natted"), Report::PutAside(9));
    health.report(id, identity(&world, "private"), Report::Failed);
    assert_eq!(goes(&mut world, &invite(1)), 71, "requests leave from the other one");
    (0..3).for_each(|_| hear(&world, 0, Report::Failed));
    assert_eq!(goes(&mut world, &invite(2)), 72);
}

#[test]
fn what_is_known_of_one_listener_says_nothing_of_another() {
    let group = r#"gateways = [{ to = "sip:10.0.0.71" }, { to = "sip:10.0.0.72", priority = 2 }]"#;
    let mut world = world(group, TO);
    let natted = identity(&world, "natted");
    world.snapshot.roster.health().report(gateway(&world, 0), natted, Report::PutAside(9));
    assert_eq!(goes(&mut world, &invite(1)), 71, "requests leave from another one");
}

#[test]
fn a_slow_return_counts_by_the_listener_that_the_request_would_take() {
    let group = r#"gateways = [{ to = "sip:10.0.0.71" }, { to = "sip:10.0.0.72" }]"#;
    let mut world = world(group, TO);
    let health = world.snapshot.roster.health();
    health.take_over(gateway(&world, 0), identity(&world, "natted"), (Standing::Up, 255), None);
    health.take_over(gateway(&world, 0), identity(&world, "private"), (Standing::Up, 26), None);
    let first = (0..400).filter(|number| goes(&mut world, &invite(*number)) == 71).count();
    assert!((15..65).contains(&first), "a tenth of its weight against a whole: {first}");
}

#[test]
fn calls_and_numbers_are_hashed_where_the_group_says_so() {
    let by_call = &format!("{THREE}\nselect = \"call-id\"");
    let mut world = world(by_call, TO);
    for number in 0..40 {
        let text = invite(number);
        let again = text.replace(&format!("bKb{number}\n"), &format!("bKc{number}\n"));
        assert_eq!(goes(&mut world, &text), goes(&mut world, &again), "another transaction of the call");
    }
    let by_number = &format!("{THREE}\nselect = \"number\"");
    let mut world = self::world(by_number, TO);
    for number in 0..40 {
        let text = invite(number);
        let other = invite(number + 1_000)
            .replace(&format!("sip:77{}@", number + 1_000), &format!("sip:7-7{number}@"));
        assert_eq!(goes(&mut world, &text), goes(&mut world, &other), "another call to the number");
    }
    let all: std::collections::BTreeSet<u8> =
        (0..40).map(|number| goes(&mut world, &invite(number))).collect();
    assert_eq!(all.len(), 2);
}

#[test]
fn a_gateways_egress_goes_before_the_rules() {
    let group = r#"gateways = [{ to = "sip:10.0.0.71", egress = "natted" }]"#;
    let mut with_own = world(group, "\"group:trunks\"\negress = \"private\"");
    with_own.forwarded("private", ALICE, &invite(1), "natted", "10.0.0.71:5060");
    let group = r#"gateways = [{ to = "sip:10.0.0.71" }]"#;
    let mut without = world(group, "\"group:trunks\"\negress = \"natted\"");
    without.forwarded("private", ALICE, &invite(1), "natted", "10.0.0.71:5060");
}

#[test]
fn a_gateway_may_be_a_name() {
    let mut world = world(r#"gateways = [{ to = "sip:both.example.net:5077" }]"#, TO);
    world.forwarded("private", ALICE, &invite(1), "six", "[2001:db8:9::9]:5077");
    let seen: Vec<_> = world.state.candidates().iter().map(|c| c.gateway).collect();
    assert_eq!(seen, [Some(gateway(&world, 0)); 2]);
}

/// The same group where transactions are kept.
fn keeping(group: &str) -> World {
    keeping_for(group, "2s")
}

/// Likewise, with this `timeout`.
fn keeping_for(group: &str, timeout: &str) -> World {
    let group = format!(
        "[[group]]\nname = \"trunks\"\n{group}\n[[route]]\nname = \"trunks\"\nwhen = {{ ruri_prefix = [\"77\"] }}\n\
         to = \"group:trunks\"\ntimeout = \"{timeout}\"\nmode = \"stateful\"\n"
    );
    let world = World::keeping(&CONFIGURATION.replacen("[[route]]", &format!("{group}\n[[route]]"), 1), 0, 1);
    let roster = &world.snapshot.roster;
    roster.ids(GroupId(0)).iter().for_each(|id| roster.health().set_down_after(*id, Way::MOST_FAILURES));
    world
}

const BY_PRIORITY: &str = r#"gateways = [{ to = "sip:10.0.0.71" }, { to = "sip:10.0.0.72", priority = 2 }]"#;

#[test]
fn silence_is_a_failure_and_the_call_goes_on() {
    let mut world = keeping(BY_PRIORITY);
    let first = gateway(&world, 0);
    world.snapshot.roster.health().set_down_after(first, 2);
    let listener = identity(&world, "private");
    for number in 0..2 {
        assert_eq!(world.snapshot.roster.health().way(first, listener).failures, number);
        assert_eq!(goes(&mut world, &invite(u32::from(number))), 71);
        let sent = world.pass(2_100);
        let branch = sent.iter().find(|sent| sent.what == What::Branch).expect("another attempt");
        assert_eq!(
            (branch.to.to_string().as_str(), branch.gateway),
            ("10.0.0.72:5060", Some(gateway(&world, 1)))
        );
        let answer = response(&branch.text, "100 Trying", "");
        world.dropped("private", "10.0.0.72:5060", &answer, DropReason::Absorbed);
        // Timer C, and what follows: it takes its time, but it lives.
        world.pass(400_000);
    }
    assert_eq!(world.snapshot.roster.health().way(first, listener).standing, Standing::Down);
    assert_eq!(goes(&mut world, &invite(9)), 72);
    assert_eq!(world.snapshot.roster.health().way(gateway(&world, 1), listener), Way::UP);
}

#[test]
fn who_may_not_answer_a_message_yet_is_not_silent() {
    // RFC 4320 §4.1: "An SIP element MUST NOT respond to a non-INVITE request with a Status-Code of 100 over any
    // unreliable transport, such as UDP, before the amount of time it takes a client transaction's Timer E to be reset
    // to T2."
    let mut world = keeping(BY_PRIORITY);
    let (first, second) = (gateway(&world, 0), gateway(&world, 1));
    let listener = identity(&world, "private");
    let failures = |world: &World, id| world.snapshot.roster.health().way(id, listener).failures;
    let message = |number| invite(number).replace("INVITE", "MESSAGE");
    assert_eq!(goes(&mut world, &message(1)), 71);
    let sent = world.pass(2_100);
    assert!(sent.iter().any(|sent| sent.what == What::Branch), "the next one is asked all the same");
    world.pass(25_000);
    assert_eq!((failures(&world, first), failures(&world, second)), (0, 0));
    // Nothing at all until Timer F is silence, and counts once.
    world.pass(40_000);
    assert_eq!((failures(&world, first), failures(&world, second)), (1, 1));
    // An answer that comes late shows that it lives.
    let text = world.forwarded("private", ALICE, &message(2), "private", "10.0.0.71:5060");
    world.pass(5_000);
    world.receive("private", "10.0.0.71:5060", &response(&text, "200 OK", "m"));
    world.pass(80_000);
    assert_eq!((failures(&world, first), failures(&world, second)), (0, 2));
    // With more time than that, silence counts at once.
    let mut world = keeping_for(BY_PRIORITY, "4s");
    assert_eq!(goes(&mut world, &message(3)), 71);
    world.pass(4_100);
    assert_eq!(failures(&world, gateway(&world, 0)), 1);
}

#[test]
fn any_answer_ends_a_row_of_failures() {
    let mut world = keeping(BY_PRIORITY);
    let first = gateway(&world, 0);
    let listener = identity(&world, "private");
    world.snapshot.roster.health().set_down_after(first, 3);
    hear(&world, 0, Report::Failed);
    let text = world.forwarded("private", ALICE, &invite(1), "private", "10.0.0.71:5060");
    assert_eq!(world.snapshot.roster.health().way(first, listener).failures, 1);
    world.dropped("private", "10.0.0.71:5060", &response(&text, "100 Trying", ""), DropReason::Absorbed);
    assert_eq!(world.snapshot.roster.health().way(first, listener), Way::UP);
}

#[test]
fn a_503_with_retry_after_puts_aside_and_one_without_does_not() {
    let mut world = keeping(BY_PRIORITY);
    let first = gateway(&world, 0);
    let listener = identity(&world, "private");
    let refused = |world: &mut World, number: u32, headers: &str| {
        let text = world.forwarded("private", ALICE, &invite(number), "private", "10.0.0.71:5060");
        world.due();
        let answer = response(&text, "503 Service Unavailable", "g")
            .replace("Content-Length", &format!("{headers}Content-Length"));
        world.dropped("private", "10.0.0.71:5060", &answer, DropReason::Absorbed);
        let due = world.due();
        assert!(due.iter().any(|sent| sent.to.to_string() == "10.0.0.72:5060"), "the call goes on: {due:?}");
        world.pass(70_000);
        world.snapshot.roster.health().way(first, listener)
    };
    for (number, header) in (1..).zip(["", "Retry-After: 0\n", "Retry-After: soon\n"]) {
        assert_eq!(refused(&mut world, number, header), Way::UP, "{header}");
    }
    let way = refused(&mut world, 9, "Retry-After: 120 (in the morning);duration=3600\n");
    assert_eq!((way.standing, way.aside_s), (Standing::Aside, 120));
    assert_eq!(goes(&mut world, &invite(10)), 72);
}

#[test]
fn an_answer_to_an_options_of_ours_is_noted_and_goes_no_further() {
    let mut world = world(THREE, TO);
    let listener = identity(&world, "private");
    let id = gateway(&world, 1);
    let branch = PingBranch { gateway: id, listener, number: 77 };
    let response = |status: &str, branch: &str| {
        format!(
            "SIP/2.0 {status}\nVia: SIP/2.0/UDP 10.0.0.4:5060;rport=5060;branch={branch}\nFrom: <sip:viaduct@10.0.0.4>;tag=1\n\
             To: <sip:10.0.0.72>;tag=2\nCall-ID: 1-2@viaduct\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n"
        )
    };
    let health = |world: &World| Arc::<Roster>::clone(&world.snapshot.roster);
    health(&world).health().know(id, listener);
    let ours = branch.write(&world.snapshot.keys);
    world.dropped("private", "10.0.0.72:5060", &response("100 Trying", &ours), DropReason::PingAnswer);
    assert_eq!(health(&world).health().take_answers(id, listener), [], "it is no final one");
    world.dropped("private", "10.0.0.72:5060", &response("404 Not Found", &ours), DropReason::PingAnswer);
    assert_eq!(health(&world).health().take_answers(id, listener), [(77, Heard::Answer(404))]);
    let mut forged = ours.into_bytes();
    let last = forged.len() - 1;
    forged[last] = if forged[last] == b'a' { b'b' } else { b'a' };
    let forged = String::from_utf8(forged).unwrap();
    world.dropped("private", "10.0.0.72:5060", &response("200 OK", &forged), DropReason::ForeignResponse);
    assert_eq!(health(&world).health().take_answers(id, listener), []);
}
