//! Stateful routes with several next hops: each attempt with a listener, Via, Record-Route and branch of its own.

use super::forwarding::{INVITE, invite_with};
use super::world::{Became, CONFIGURATION, Sent, World, builder, header, headers, masked, response};
use crate::drop_reason::DropReason;
use crate::egress::NoEgress;
use crate::fib::Builder;
use crate::fib::spec::{Action, Family, Route, Rule};
use crate::transaction::What;

const ALICE: &str = "10.0.0.50:5060";
const BOB: &str = "192.0.2.9:5060";
const CAROL: &str = "10.9.0.9:5060";
const DAVE: &str = "[2001:db8:9::9]:5060";

/// The world with this list for everybody.
fn configuration(keys: &str) -> String {
    let rule = format!("[[route]]\nname = \"list\"\nmode = \"stateful\"\n{keys}\n");
    CONFIGURATION.replacen("[[route]]", &format!("{rule}\n[[route]]"), 1)
}

fn world(keys: &str) -> World {
    World::keeping(&configuration(keys), 0, 1)
}

/// Three next hops, each by another listener.
const LIST: &str = r#"to = ["sip:192.0.2.9", "sip:10.9.0.9", "sip:[2001:db8:9::9]"]"#;

fn branch(text: &str) -> &str {
    header(text, "Via").split("branch=").nth(1).unwrap().split(';').next().unwrap()
}

/// The request to another next hop among what is due.
#[track_caller]
fn next(due: &[Sent], from: &str, to: &str) -> String {
    let all: Vec<_> = due.iter().filter(|sent| sent.what == What::Branch).collect();
    assert_eq!(all.len(), 1, "{due:?}");
    assert_eq!((all[0].from.as_str(), all[0].to.to_string().as_str()), (from, to));
    all[0].text.clone()
}

#[test]
fn each_attempt_has_a_listener_via_record_route_and_branch_of_its_own() {
    // RFC 3263 §4.3: "a new request, which is identical to the previous, but has a different value of the Via branch ID
    // than the previous".
    let mut world = world(LIST);
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.due();
    world.dropped("public", BOB, &response(&first, "503 Service Unavailable", "b"), DropReason::Absorbed);
    let second = next(&world.due(), "private", CAROL);
    world.dropped(
        "private",
        CAROL,
        &response(&second, "500 Server Internal Error", "c"),
        DropReason::Absorbed,
    );
    let third = next(&world.due(), "six", DAVE);
    let branches = [branch(&first), branch(&second), branch(&third)];
    assert!(branches[0] != branches[1] && branches[1] != branches[2] && branches[0] != branches[2]);
    for (text, sent_by, routes) in
        [(&first, "203.0.113.10:5060", 2), (&second, "10.0.0.4:5060", 1), (&third, "[2001:db8:1::4]:5060", 2)]
    {
        assert!(header(text, "Via").starts_with(&format!("SIP/2.0/UDP {sent_by};rport;branch=")), "{text}");
        let own: Vec<_> = headers(text, "Record-Route").collect();
        assert_eq!(own.len(), routes, "{text}");
        assert!(own[0].contains(&format!("@{sent_by};lr>")), "{text}");
    }
    // All else is the same.
    let rest = |text: &str| -> Vec<String> {
        let ours = text.lines().position(|line| line.starts_with("Via: ")).unwrap();
        text.lines().skip(ours + 1).map(str::to_owned).collect()
    };
    assert_eq!(rest(&second), rest(&first));
    assert_eq!(rest(&third), rest(&first));
    // The answer goes back, and the dialog's requests go where its Record-Route says.
    let ok = world.relayed("six", DAVE, &response(&third, "200 OK", "d"), "private", ALICE);
    let routes: Vec<_> = headers(&ok, "Record-Route").collect();
    let ack = format!(
        "ACK sip:dave@{DAVE} SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bKack\nMax-Forwards: 70\n\
         Route: {}\nRoute: {}\nFrom: Alice <sip:alice@10.0.0.50>;tag=9fxced76sl\n\
         To: Bob <sip:bob@192.0.2.9>;tag=d\nCall-ID: 3848276298220188511@10.0.0.50\nCSeq: 1 ACK\n\
         Content-Length: 0\n\n",
        routes[1], routes[0]
    );
    let ack = world.forwarded("private", ALICE, &ack, "six", DAVE);
    assert!(headers(&ack, "Route").next().is_none(), "{ack}");
}

#[test]
fn silence_goes_on_after_the_rules_timeout() {
    let mut world = world(&format!("{LIST}\ntimeout = \"2s\""));
    world.forwarded("private", ALICE, INVITE, "public", BOB);
    let sent = world.pass(1_900);
    assert!(sent.iter().all(|sent| sent.what != What::Branch));
    let second = next(&world.pass(200), "private", CAROL);
    // Its retransmissions are its own.
    let again: Vec<_> = world.pass(600).into_iter().filter(|sent| sent.what == What::RequestAgain).collect();
    assert_eq!((again.len(), &again[0].text), (1, &second));
    next(&world.pass(1_500), "six", DAVE);
    let sent = world.pass(2_100);
    let last = sent.iter().find(|sent| sent.what == What::Final).unwrap();
    assert!(
        last.text.starts_with("SIP/2.0 408 Request Timeout\nVia: SIP/2.0/UDP 10.0.0.50:5060;"),
        "{}",
        last.text
    );
    assert!(header(&last.text, "To").contains(";tag="));
}

/// RFC 3261 §16.7 step 6: "It MUST choose from the 6xx class responses if any exist in the context."
#[test]
fn a_6xx_that_crosses_the_cancel_of_the_timeout_goes_back() {
    let mut world = world(&format!("{LIST}\ntimeout = \"2s\""));
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.pass(1_900);
    let second = next(&world.pass(200), "private", CAROL);
    world.relayed("private", CAROL, &response(&second, "180 Ringing", "c"), "private", ALICE);
    world.dropped("public", BOB, &response(&first, "180 Ringing", "b"), DropReason::Absorbed);
    let cancels = |due: Vec<Sent>| -> Vec<String> {
        due.into_iter().filter(|sent| sent.what == What::Cancel).map(|sent| sent.to.to_string()).collect()
    };
    assert_eq!(cancels(world.due()), [BOB]);
    world.dropped("public", BOB, &response(&first, "603 Decline", "b"), DropReason::Absorbed);
    assert_eq!(cancels(world.due()), [CAROL]);
    world.dropped("private", CAROL, &response(&second, "487 Request Terminated", "c"), DropReason::Absorbed);
    let due = world.due();
    assert!(due.iter().all(|sent| sent.what != What::Branch), "{due:?}");
    let best = due.iter().find(|sent| sent.what == What::Best).unwrap();
    assert!(best.text.starts_with("SIP/2.0 603 Decline\n"), "{}", best.text);
    assert_eq!((best.from.as_str(), best.to.to_string().as_str()), ("private", ALICE));
}

#[test]
fn what_a_rule_says_of_failover_is_done() {
    let mut strict = world(&format!("{LIST}\nfailover = []"));
    let first = strict.forwarded("private", ALICE, INVITE, "public", BOB);
    strict.relayed("public", BOB, &response(&first, "503 Nope", "b"), "private", ALICE);
    let mut wide = world(&format!("{LIST}\nfailover = [\"4xx\", 302]"));
    let first = wide.forwarded("private", ALICE, INVITE, "public", BOB);
    wide.due();
    wide.dropped("public", BOB, &response(&first, "486 Busy Here", "b"), DropReason::Absorbed);
    let second = next(&wide.due(), "private", CAROL);
    wide.dropped("private", CAROL, &response(&second, "302 Moved", "c"), DropReason::Absorbed);
    let third = next(&wide.due(), "six", DAVE);
    wide.dropped("six", DAVE, &response(&third, "500 Oops", "d"), DropReason::Absorbed);
    let due = wide.due();
    let best = due.iter().find(|sent| sent.what == What::Best).unwrap();
    assert!(best.text.starts_with("SIP/2.0 302 Moved\nVia: SIP/2.0/UDP 10.0.0.50:5060;"), "{}", best.text);
    assert_eq!((best.from.as_str(), best.to.to_string().as_str()), ("private", ALICE));
    assert_eq!(header(&best.text, "To"), "Bob <sip:bob@192.0.2.9>;tag=c");
}

#[test]
fn a_503_that_all_give_goes_back_as_500() {
    let mut world = world(r#"to = ["sip:192.0.2.9", "sip:10.9.0.9"]"#);
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.due();
    world.dropped("public", BOB, &response(&first, "503 Full", "b"), DropReason::Absorbed);
    let second = next(&world.due(), "private", CAROL);
    let back = world.relayed("private", CAROL, &response(&second, "503 Full", "c"), "private", ALICE);
    assert!(back.starts_with("SIP/2.0 500 Server Internal Error\n"), "{back}");
}

#[test]
fn neither_routes_nor_rules_nor_set_that_change_meanwhile_change_the_attempts_to_come() {
    let set = "set = { ruri_user = \"changed\" }";
    let mut world = world(&format!("{LIST}\n{set}"));
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    assert!(first.starts_with("INVITE sip:changed@192.0.2.9 SIP/2.0\n"), "{first}");
    world.due();
    // All rules are others now, and 10.9.0.9 would be reached by the public listener.
    let route = Route::new("10.9.0.9/32".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap()));
    world.reconfigure(CONFIGURATION, builder().route(route).build());
    world.dropped("public", BOB, &response(&first, "503 Nope", "b"), DropReason::Absorbed);
    let second = next(&world.due(), "private", CAROL);
    assert!(second.starts_with("INVITE sip:changed@192.0.2.9 SIP/2.0\n"), "{second}");
    assert_eq!(world.tally().egress_moved, 0);
    // The listener of the third is gone: nobody is left.
    world.reconfigure(
        &CONFIGURATION.replace("bind = \"udp:[2001:db8:1::4]:5060\"", "bind = \"udp:127.0.0.2:5060\""),
        builder().build(),
    );
    world.dropped("private", CAROL, &response(&second, "500 Nope", "c"), DropReason::Absorbed);
    let due = world.due();
    assert!(
        due.iter().any(|sent| sent.what == What::Best && sent.text.starts_with("SIP/2.0 500 Nope")),
        "{due:?}"
    );
    assert_eq!(world.tally().egress_moved, 1);
    world.pass(40_000);
    assert_eq!(world.tally().transactions.open, [0; 4]);
}

#[test]
fn an_egress_of_the_rule_stays_for_all_attempts() {
    let mut world = world("to = [\"sip:10.0.0.7\", \"sip:10.0.0.8\"]\negress = \"natted\"");
    let first = world.forwarded("private", ALICE, INVITE, "natted", "10.0.0.7:5060");
    world.due();
    world.dropped("natted", "10.0.0.7:5060", &response(&first, "503 x", "b"), DropReason::Absorbed);
    let second = next(&world.due(), "natted", "10.0.0.8:5060");
    assert!(header(&second, "Via").starts_with("SIP/2.0/UDP 198.51.100.7:5070;rport;"), "{second}");
}

#[test]
fn all_at_a_time_share_the_breadth() {
    // RFC 5393 §5.3.3: "All proxied requests MUST contain a single Max-Breadth header field value. SIP proxies MUST NOT
    // allow the Outgoing Max-Breadth to exceed the Incoming Max-Breadth in a given response context."
    let keys = format!("{LIST}\nfork = true");
    for (header_line, expected) in [("", "20"), ("Max-Breadth: 7", "2"), ("Max-Breadth: 100", "20")] {
        let mut world = world(&keys);
        let first = world.forwarded("private", ALICE, &invite_with(header_line), "public", BOB);
        let due = world.due();
        let branches: Vec<_> = due.iter().filter(|sent| sent.what == What::Branch).collect();
        let to: Vec<_> = branches.iter().map(|sent| (sent.from.as_str(), sent.to.to_string())).collect();
        assert_eq!(to, [("private", CAROL.to_owned()), ("six", DAVE.to_owned())]);
        for text in [&first, &branches[0].text, &branches[1].text] {
            assert_eq!(headers(text, "Max-Breadth").collect::<Vec<_>>(), [expected], "{text}");
        }
    }
    let mut narrow = world(&keys);
    let first = narrow.forwarded("private", ALICE, &invite_with("Max-Breadth: 1"), "public", BOB);
    assert!(narrow.due().iter().all(|sent| sent.what != What::Branch), "\"can only fork serially\"");
    narrow.dropped("public", BOB, &response(&first, "486 Busy", "b"), DropReason::Absorbed);
    next(&narrow.due(), "private", CAROL);
    let answer = world(&keys).answered("private", ALICE, &invite_with("Max-Breadth: 0"), 440);
    assert!(answer.starts_with("SIP/2.0 440 Max-Breadth Exceeded\n"), "{answer}");
    world(&keys).answered("private", ALICE, &invite_with("Max-Breadth: many"), 400);
    // Where nothing is forked, it is nobody's business.
    let text = world(LIST).forwarded("private", ALICE, &invite_with("Max-Breadth: many"), "public", BOB);
    assert_eq!(header(&text, "Max-Breadth"), "many");
}

#[test]
fn early_dialogs_of_all_branches_and_one_call() {
    let mut world = world(&format!("{LIST}\nfork = true"));
    let first = world.forwarded("private", ALICE, INVITE, "public", BOB);
    let due = world.due();
    let texts: Vec<String> =
        due.into_iter().filter(|sent| sent.what == What::Branch).map(|sent| sent.text).collect();
    world.relayed("public", BOB, &response(&first, "180 Ringing", "b"), "private", ALICE);
    world.relayed("private", CAROL, &response(&texts[0], "183 Progress", "c"), "private", ALICE);
    world.relayed("six", DAVE, &response(&texts[1], "180 Ringing", "d"), "private", ALICE);
    world.relayed("private", CAROL, &response(&texts[0], "200 OK", "c"), "private", ALICE);
    let cancels = world.due();
    let to: Vec<_> = cancels.iter().map(|sent| (sent.what, sent.to.to_string())).collect();
    assert_eq!(to.len(), 2, "{to:?}");
    for cancel in &cancels {
        let invite = if cancel.to.to_string() == BOB { &first } else { &texts[1] };
        assert_eq!((cancel.what, header(&cancel.text, "Via")), (What::Cancel, header(invite, "Via")));
    }
    world.dropped("public", BOB, &response(&first, "487 Terminated", "b"), DropReason::Absorbed);
    // A 2xx that crossed the CANCEL goes back, too.
    world.relayed("six", DAVE, &response(&texts[1], "200 OK", "d"), "private", ALICE);
    let Became::Drop(DropReason::Absorbed) =
        world.receive("six", DAVE, &response(&texts[1], "180 Late", "d"))
    else {
        panic!()
    };
    world.pass(40_000);
    assert_eq!(world.tally().transactions.open, [0; 4]);
}

#[test]
fn a_listener_that_goes_down_counts_as_a_failure() {
    let mut world = world(LIST);
    world.forwarded("private", ALICE, INVITE, "public", BOB);
    world.due();
    world.lose_public();
    let sent = world.pass(600);
    let second = next(&sent, "private", CAROL);
    assert!(!masked(&second).contains("203.0.113.10"), "{second}");
}

/// Traffic to Carol goes by a rule of the kernel's that is not understood.
pub fn opaque(builder: Builder) -> Builder {
    let to = "10.9.0.0/16".parse().unwrap();
    builder.rule(Rule { opaque: true, to: Some(to), ..Rule::new(Family::V4, 50, Action::Table(254)) })
}

#[test]
fn a_next_hop_that_only_the_kernel_knows_the_way_to_is_not_left_out() {
    const CAROL_FIRST: &str = r#"to = ["sip:10.9.0.9", "sip:192.0.2.9"]"#;
    for (list, first, mode, needs_carol) in [
        (LIST, BOB, "stateful", true),
        // The first of the list is taken, and no other one is looked at.
        (LIST, BOB, "stateless", false),
        (CAROL_FIRST, CAROL, "stateful", true),
        (CAROL_FIRST, CAROL, "stateless", true),
    ] {
        let text = configuration(list).replacen("\"stateful\"", &format!("\"{mode}\""), 1);
        let begin = || {
            let mut world = World::keeping(&text, 0, 1);
            world.reroute(opaque(builder()).build());
            world
        };
        let (mut world, mut policy, mut asked) = (begin(), opaque(builder()).build(), 0);
        let to = loop {
            match world.receive("private", ALICE, INVITE) {
                Became::Forward { to, .. } => break to.to_string(),
                Became::Answer { status: 500, .. } => asked += 1,
                other => panic!("{other:?}"),
            }
            let (hop, why) = world.state.take_no_egress().expect("it is told");
            let NoEgress::AskKernel(query) = why else { panic!("{why:?}") };
            assert_eq!(hop.address.to_string(), CAROL);
            policy = policy.with_answer(&query, builder().build().lookup(&query)).expect("it is new");
            world.reroute(policy.clone());
        };
        assert_eq!((to.as_str(), asked > 0), (first, needs_carol), "{list} {mode}");
        // One that cannot wait goes to the others.
        let mut world = begin();
        world.state.comes(true, true);
        world.forwarded("private", ALICE, INVITE, "public", BOB);
    }
}
