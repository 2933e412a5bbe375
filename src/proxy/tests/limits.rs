//! Limits and overload: who is refused, with what, and who is not.

use super::dialogs::{CALLER, Dialog};
use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, World, fib, header, headers};
use crate::drop_reason::DropReason;
use crate::net::ListenerId;
use crate::overload::Excess;
use crate::proxy::Came;

const ALICE: &str = "10.0.0.50:5060";
const BOB: &str = "192.0.2.9:5060";
const MS: u64 = 1_000_000;

/// The usual host, whose `named` rule or listener has more lines.
fn world(named: &str, lines: &str, more: &str) -> World {
    let name = format!("name = \"{named}\"");
    let text = CONFIGURATION.replacen(&name, &format!("{name}\n{lines}"), 1);
    World::of(&format!("{text}{more}"), fib())
}

/// An INVITE of a transaction of its own.
fn invite(number: u32) -> String {
    INVITE.replace("74bf9", &format!("limit{number}"))
}

fn statuses(world: &mut World, source: &str, numbers: std::ops::Range<u32>) -> Vec<u16> {
    let status = |number| match world.receive("private", source, &invite(number)) {
        Became::Forward { .. } => 0,
        Became::Answer { status, .. } => status,
        other => panic!("{other:?}"),
    };
    numbers.map(status).collect()
}

#[test]
fn a_route_lets_its_burst_and_its_rate_pass() {
    let mut world = world("inside-out", "limit = { rate = 20, burst = 6 }", "");
    // Two shards: half of both is this one's.
    assert_eq!(statuses(&mut world, ALICE, 0..5), [0, 0, 0, 503, 503]);
    let refused = world.answered("private", "10.0.0.51:5060", &invite(5), 503);
    assert_eq!(refused.lines().next(), Some("SIP/2.0 503 Too Many Requests"));
    assert_eq!(header(&refused, "Retry-After"), "1");
    assert_eq!(world.tally().refused[Excess::Route as usize], 3);
    // What has been let in stays in: it came again, is cancelled, is acknowledged.
    world.forwarded("private", ALICE, &invite(1), "public", BOB);
    world.forwarded("private", ALICE, &invite(1).replace("INVITE", "CANCEL"), "public", BOB);
    // The ACK to our own answer is recognised, and counts for nothing.
    let to = header(&refused, "To");
    let ack = invite(5).replace("INVITE", "ACK").replace("Bob <sip:bob@192.0.2.9>", to);
    world.dropped("private", "10.0.0.51:5060", &ack, DropReason::AckAbsorbed);
    world.now = world.now.plus_ns(200 * MS);
    assert_eq!(statuses(&mut world, ALICE, 6..9), [0, 0, 503]);
}

#[test]
fn what_waited_for_an_answer_is_not_counted_again() {
    let mut world = world("inside-out", "limit = { rate = 2 }", "");
    assert_eq!(statuses(&mut world, ALICE, 0..2), [0, 503]);
    world.state.waited(ListenerId(0), None, Came::Again, world.now);
    assert_eq!(statuses(&mut world, ALICE, 2..3), [0]);
    world.state.waited(ListenerId(0), None, Came::In, world.now);
    assert_eq!(statuses(&mut world, ALICE, 3..4), [503]);
}

#[test]
fn a_limit_may_be_for_each_source_and_answer_what_it_likes() {
    let limit = "limit = { rate = 2, per = \"source\", status = 480 }";
    let mut world = world("inside-out", limit, "");
    assert_eq!(statuses(&mut world, ALICE, 0..3), [0, 480, 480]);
    assert_eq!(statuses(&mut world, "10.0.0.51:5062", 3..5), [0, 480]);
    assert_eq!(statuses(&mut world, "10.0.0.51:5060", 5..6), [480], "a source is an address");
    assert_eq!(world.tally().sources_forgotten, 0);
}

#[test]
fn listeners_and_peers_are_asked_before_rules() {
    let peers = "[[peer]]\nname = \"all\"\nnetworks = [\"10.0.0.0/8\"]\nlimit = { rate = 4 }\n\
                 [[peer]]\nname = \"one\"\nnetworks = [\"10.0.0.50\"]\n";
    let mut world = world("private", "limit = { rate = 6 }", peers);
    // The peer with the narrowest network counts, and this one has no limit.
    assert_eq!(statuses(&mut world, ALICE, 0..1), [0]);
    assert_eq!(statuses(&mut world, "10.0.0.51:5060", 1..5), [0, 0, 503, 503]);
    let counts = world.tally().refused;
    assert_eq!((counts[Excess::Listener as usize], counts[Excess::Peer as usize]), (2, 0));
    // On another listener only the peer counts.
    let mut statuses_at = |on: &str| {
        let text =
            invite(9).replace("10.0.0.50:5060;branch=z9hG4bK", &format!("10.0.0.50:5060;branch=z9hG4bK{on}"));
        match world.receive(on, "10.0.1.51:5060", &text) {
            Became::Answer { status, .. } => status,
            _ => 0,
        }
    };
    assert_eq!(statuses_at("natted"), 503);
    assert_eq!(world.tally().refused[Excess::Peer as usize], 1);
}

/// A call from the inside to the outside.
fn call(world: &mut World) -> Dialog {
    Dialog::begin(world, ("private", ALICE), "sip:bob@192.0.2.9:5060", ("public", BOB)).0
}

/// A request with a To tag that nobody has given.
fn tagged(number: u32, method: &str) -> String {
    let text = invite(number).replace("INVITE", method);
    text.replace("Bob <sip:bob@192.0.2.9>", "Bob <sip:bob@192.0.2.9>;tag=b")
}

#[test]
fn requests_within_a_dialog_count_for_no_limit() {
    let mut world = world("inside-out", "limit = { rate = 2 }", "");
    let call = call(&mut world);
    assert_eq!(statuses(&mut world, ALICE, 0..2), [503, 503]);
    for (cseq, method) in (2..).zip(["INVITE", "INFO", "BYE"]) {
        world.forwarded("private", ALICE, &call.request(CALLER, method, cseq), "public", BOB);
    }
}

#[test]
fn a_to_tag_proves_a_dialog_only_where_dialogs_have_no_token() {
    let mut recorded = world("inside-out", "limit = { rate = 2 }", "");
    recorded.forwarded("private", ALICE, &tagged(1, "INFO"), "public", BOB);
    for method in ["INFO", "INVITE", "BYE"] {
        recorded.answered("private", ALICE, &tagged(2, method), 503);
    }
    // What goes from hop to hop has no token of ours, and cannot be refused.
    recorded.forwarded("private", ALICE, &tagged(3, "ACK"), "public", BOB);
    let mut plain = world("plain", "limit = { rate = 2 }", "");
    for number in 0..3 {
        let text = tagged(number, "INVITE").replacen("sip:bob@", "sip:unrecorded@", 1);
        plain.forwarded("private", ALICE, &text, "public", BOB);
    }
}

/// The queue stands, and the next message has waited so long.
fn overload(world: &mut World, waited_ms: u64) {
    world.state.waited(ListenerId(0), Some(0), Came::In, world.now);
    for _ in 0..101 {
        world.now = world.now.plus_ns(MS);
        world.state.waited(ListenerId(0), Some(41 * MS), Came::In, world.now);
    }
    world.state.waited(ListenerId(0), Some(waited_ms * MS), Came::In, world.now);
}

#[test]
fn new_requests_are_refused_first() {
    let priorities = "[overload]\nmax_wait = \"40ms\"\npriority = [\"esnet\"]\nemergency = [\"112\"]\n";
    let mut world = world("inside-out", "record_route = true", priorities);
    let call = call(&mut world);
    overload(&mut world, 41);
    let refused = world.answered("private", ALICE, &invite(1), 503);
    assert_eq!(refused.lines().next(), Some("SIP/2.0 503 Overloaded"));
    // RFC 7339 §5.10.2: "MUST reject some requests from non-participating clients with a 503 (Service
    // Unavailable) response without the Retry-After header."
    assert_eq!(headers(&refused, "Retry-After").count(), 0);
    world.answered("private", ALICE, &invite(2).replace("INVITE", "OPTIONS"), 503);
    for method in ["INVITE", "BYE"] {
        world.answered("private", ALICE, &tagged(3, method), 503);
    }
    let in_dialog = call.request(CALLER, "INFO", 2);
    let emergency = invite(4).replacen("sip:bob@", "sip:112@", 1);
    let priority = invite(5).replace("Contact:", "Resource-Priority: q735.1, ESNET.0\nContact:");
    let cancel = invite(6).replace("INVITE", "CANCEL");
    for text in [&in_dialog, &emergency, &priority, &cancel] {
        world.forwarded("private", ALICE, text, "public", BOB);
    }
    let other = invite(7).replace("Contact:", "Resource-Priority: q735.1\nContact:");
    world.answered("private", ALICE, &other, 503);
    // Four times as long, and requests within dialogs have to go; what ends something stays.
    overload(&mut world, 161);
    world.answered("private", ALICE, &call.request(CALLER, "INFO", 3), 503);
    let bye = call.request(CALLER, "BYE", 4);
    world.forwarded("private", ALICE, &bye, "public", BOB);
    world.forwarded("private", ALICE, &emergency.replace("limit4", "limit10"), "public", BOB);
    let counts = world.tally().refused;
    assert_eq!((counts[Excess::New as usize], counts[Excess::InDialog as usize]), (5, 1));
    // The queue is gone.
    world.state.waited(ListenerId(0), Some(MS), Came::In, world.now);
    world.forwarded("private", ALICE, &invite(11), "public", BOB);
}

#[test]
fn nothing_is_refused_where_max_wait_is_off() {
    let mut world = world("inside-out", "record_route = true", "[overload]\nmax_wait = \"off\"\n");
    overload(&mut world, 4_000);
    assert_eq!(statuses(&mut world, ALICE, 0..3), [0, 0, 0]);
}

const OFFER: &str = ";oc;oc-algo=\"rate,loss\"";

/// RFC 7339 §5.1 and §5.2.
#[test]
fn a_neighbour_that_takes_part_is_told_how_much_less_to_send() {
    let mut world =
        world("inside-out", "record_route = true", "[overload]\noc = true\nmax_wait = \"40ms\"\n");
    let offering = |number| invite(number).replace("branch=", &format!("rport{OFFER};branch="));
    let oc =
        |answer: &str| headers(answer, "Via").next().unwrap().split_once(";oc=").map(|(_, oc)| oc.to_owned());
    let forwarded = world.forwarded("private", ALICE, &offering(1), "public", BOB);
    // What it offers goes on as it came, and comes back with the answer.
    let ok = super::world::response(&forwarded, "200 OK", "b");
    let relayed = world.relayed("public", BOB, &ok, "private", ALICE);
    let via = header(&relayed, "Via");
    let (before, told) = via.split_once(";oc=").unwrap();
    assert_eq!(before, "SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bKlimit1;received=10.0.0.50;rport=5060");
    let (told, sequence) = told.split_once(";oc-seq=").unwrap();
    assert_eq!(told, "0;oc-algo=\"loss\";oc-validity=0");
    let (seconds, fraction) = sequence.split_once('.').unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000 && fraction.len() == 5, "{sequence}");
    // Half of what comes has waited too long.
    for number in 0..300 {
        overload(&mut world, if number % 2 == 0 { 41 } else { 40 });
        world.receive("private", ALICE, &invite(1_000 + number));
    }
    world.state.waited(ListenerId(0), Some(41 * MS), Came::In, world.now);
    let refused = world.answered("private", ALICE, &offering(2), 503);
    let told = oc(&refused).unwrap();
    let percent: u32 = told.split(';').next().unwrap().parse().unwrap();
    assert!(
        (40..=100).contains(&percent) && told.contains(";oc-algo=\"loss\";oc-validity=1000;oc-seq="),
        "{told}"
    );
    // Who takes no part, or not by this algorithm, sees nothing of it.
    assert_eq!(oc(&world.answered("private", ALICE, &invite(3), 503)), None);
    let rate = offering(4).replace("rate,loss", "rate");
    let refused = world.answered("private", ALICE, &rate, 503);
    assert!(header(&refused, "Via").contains(";oc;oc-algo=\"rate\";"), "{refused}");
}

#[test]
fn nobody_is_told_where_oc_is_off() {
    let mut world = World::new();
    let offering = invite(1).replace("branch=", &format!("rport{OFFER};branch="));
    let forwarded = world.forwarded("private", ALICE, &offering, "public", BOB);
    let ok = super::world::response(&forwarded, "200 OK", "b");
    assert!(header(&world.relayed("public", BOB, &ok, "private", ALICE), "Via").contains(OFFER));
}
