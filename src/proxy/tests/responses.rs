//! RFC 3261 §16.11, §18.1.2, §18.2.2: responses.

use super::forwarding::INVITE;
use super::world::{Became, World, header, headers, masked, response, wire};
use crate::drop_reason::DropReason;

/// Forwards the INVITE, changed like this, and gives it as the callee sees it.
fn forwarded(world: &mut World, change: impl Fn(&str) -> String) -> String {
    match world.receive("private", "10.0.0.50:5060", &change(INVITE)) {
        Became::Forward { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

const CALLEE: &str = "192.0.2.9:5060";

#[test]
fn the_whole_of_a_relayed_response() {
    // §16.11: "the proxy MUST remove that header field value from the response and forward the result to
    // the location indicated in the next Via header field value. The proxy MUST NOT add to, modify, or
    // remove the message body. Unless specified otherwise, the proxy MUST NOT remove any other header field
    // values."
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let ok = response(&request, "200 OK \u{442}", "b1")
        .replace("Content-Length: 0\n\n", "X-Odd :  as\n it is\nContent-Length: 4\n\nbodytrailing");
    let text = world.relayed("public", CALLEE, &ok, "private", "10.0.0.50:5060");
    assert_eq!(
        masked(&text),
        "SIP/2.0 200 OK \u{442}
Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9
Record-Route: <sip:TOKEN@203.0.113.10:5060;lr>
Record-Route: <sip:TOKEN@10.0.0.4:5060;lr>
From: Alice <sip:alice@10.0.0.50>;tag=9fxced76sl
To: Bob <sip:bob@192.0.2.9>;tag=b1
Call-ID: 3848276298220188511@10.0.0.50
CSeq: 1 INVITE
X-Odd :  as
 it is
Content-Length: 4

body"
    );
}

#[test]
fn it_leaves_from_the_listener_that_the_request_came_in_on() {
    // RFC 3581 §4: "The response MUST be sent from the same address and port that the corresponding request
    // was received on."
    for (on, source) in [
        ("private", "10.0.0.50:5060"),
        ("natted", "10.0.0.50:5060"),
        ("public", "10.0.0.50:5060"),
        ("public-5080", "10.0.0.50:5060"),
        ("six", "[2001:db8:1::50]:5060"),
    ] {
        let mut world = World::new();
        let Became::Forward { text, from, .. } = world.receive(on, source, INVITE) else { panic!("{on}") };
        let ok = response(&text, "180 Ringing", "b");
        // Whichever listener the response comes in on, after a restart, too.
        world.restart();
        for arrival in [from.as_str(), "loopback"] {
            world.relayed(arrival, CALLEE, &ok, on, source);
        }
    }
}

#[test]
fn where_it_goes() {
    // §18.2.2 and RFC 3581 §4
    for (via, source, to) in [
        ("10.0.0.50", "10.0.0.50:5077", "10.0.0.50:5060"),
        ("10.0.0.50:5066", "10.0.0.50:5077", "10.0.0.50:5066"),
        ("10.0.0.50:5066;rport", "10.0.0.50:5077", "10.0.0.50:5077"),
        ("10.0.0.99:5066", "10.0.0.50:5077", "10.0.0.50:5066"),
        ("pc.example", "10.0.0.50:5077", "10.0.0.50:5060"),
        ("pc.example:5066;received=192.0.2.66", "10.0.0.50:5077", "10.0.0.50:5066"),
        ("pc.example;maddr=10.0.0.51;rport", "10.0.0.50:5077", "10.0.0.51:5060"),
        ("pc.example:5061;maddr=media.example.net", "10.0.0.50:5077", "10.0.0.100:5061"),
        ("[::ffff:10.0.0.50]:5066", "10.0.0.50:5077", "10.0.0.50:5066"),
    ] {
        let mut world = World::new();
        let invite = INVITE.replace("10.0.0.50:5060;branch", &format!("{via};branch"));
        let Became::Forward { text, .. } = world.receive("private", source, &invite) else { panic!("{via}") };
        world.relayed("public", CALLEE, &response(&text, "200 OK", "b"), "private", to);
    }
}

#[test]
fn values_in_one_line_lose_the_first() {
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let vias: Vec<_> = headers(&request, "Via").collect();
    let joined = format!("v: {} , {}\n", vias[0], vias[1]);
    let ok = response(&request, "200 OK", "b");
    let ok =
        ok.replacen(&format!("Via: {}\n", vias[0]), &joined, 1).replace(&format!("Via: {}\n", vias[1]), "");
    let text = world.relayed("public", CALLEE, &ok, "private", "10.0.0.50:5060");
    assert_eq!(text.lines().nth(1), Some(format!("v: {}", vias[1]).as_str()));
}

#[test]
fn all_statuses_pass_and_no_others() {
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    // §16.7: an informational response is processed like any other where no state is kept; "late" 2xx too.
    for status in ["100", "101", "183", "200", "302", "486", "503", "600", "699"] {
        for phrase in ["", " ", " Unusual = phrase \u{00e9}"] {
            let text = response(&request, &format!("{status}{phrase}"), "b");
            world.relayed("public", CALLEE, &text, "private", "10.0.0.50:5060");
        }
    }
    for status in ["099 X", "700 X", "4294967301 Better", "20 X", "abc X", "2000 X"] {
        world.dropped("public", CALLEE, &response(&request, status, "b"), DropReason::MalformedResponse);
    }
}

#[test]
fn a_foreign_via_is_discarded() {
    // §18.1.2: "If the value of the "sent-by" parameter in that header field value does not correspond to a
    // value that the client transport is configured to insert into requests, the response MUST be silently
    // discarded."
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let ok = response(&request, "200 OK", "b");
    let ours = header(&ok, "Via").to_owned();
    for foreign in ["SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.1:5060"] {
        world.dropped("public", CALLEE, &ok.replacen(&ours, foreign, 1), DropReason::ForeignResponse);
    }
}

#[test]
fn a_token_that_does_not_verify_is_counted() {
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let ok = response(&request, "200 OK", "b");
    let ours = header(&ok, "Via").to_owned();
    let at = ours.find("z9hG4bK").unwrap() + 30;
    let other = if &ours[at..=at] == "a" { "b" } else { "a" };
    let forged = ours[..at].to_owned() + other + &ours[at + 1..];
    world.dropped("public", CALLEE, &ok.replacen(&ours, &forged, 1), DropReason::BadBranch);
    // The branch is good for the place only that it was made for: we are no reflector.
    let elsewhere = ok.replace("10.0.0.50:5060;branch", "10.0.0.66:5060;branch");
    world.dropped("public", CALLEE, &elsewhere, DropReason::BadBranch);
    let elsewhere = ok.replace("10.0.0.50:5060;branch", "10.0.0.50:5061;branch");
    world.dropped("public", CALLEE, &elsewhere, DropReason::BadBranch);
    assert_eq!(world.tally().bad_tokens, 3);
}

#[test]
fn a_response_without_a_second_via_was_for_us() {
    // §16.7 step 3: "If no Via header field values remain in the response, the response was meant for this
    // element and MUST NOT be forwarded."
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let ok = response(&request, "200 OK", "b");
    let alone = ok.replace("Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9\n", "");
    world.dropped("public", CALLEE, &alone, DropReason::ResponseForUs);
}

#[test]
fn a_malformed_response_is_discarded() {
    // §18.3: "If the transport packet ends before the end of the message body, this is considered an error.
    // If the message is a response, it MUST be discarded."
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let ok = response(&request, "200 OK", "b");
    for (good, bad) in [
        ("Content-Length: 0", "Content-Length: 5"),
        ("Content-Length: 0", "Content-Length: 0\nContent-Length: 1"),
        ("CSeq: 1 INVITE\n", ""),
        ("CSeq: 1 INVITE", "CSeq: 99999999999 INVITE"),
        ("SIP/2.0 200", "SIP/7.0 200"),
        ("SIP/2.0 200", "SIP/2.0  200"),
        ("Via: SIP/2.0/UDP 10.0.0.50:5060;branch", "Via: SIP/2.0/UDP 10.0.0.50:5060;;branch"),
    ] {
        world.dropped("public", CALLEE, &ok.replacen(good, bad, 1), DropReason::MalformedResponse);
    }
    let unended = wire(&ok);
    let became = world.receive_bytes("public", CALLEE, unended.trim_end().as_bytes());
    assert!(matches!(became, Became::Drop(DropReason::MalformedResponse)), "{became:?}");
}

#[test]
fn nothing_is_sent_to_what_is_no_host() {
    for maddr in ["255.255.255.255", "224.0.1.75", "0.0.0.0", "127.0.0.1", "10.0.0.4", "2001:db8::1"] {
        let mut world = World::new();
        let request = forwarded(&mut world, |text| {
            text.replace("10.0.0.50:5060;branch", &format!("10.0.0.50:5060;maddr={maddr};branch"))
        });
        let ok = response(&request, "200 OK", "b");
        world.dropped("public", CALLEE, &ok, DropReason::ForbiddenResponseTarget);
    }
}

#[test]
fn a_listener_that_is_gone_sends_nothing() {
    let mut world = World::new();
    let request = forwarded(&mut world, str::to_owned);
    let ok = response(&request, "200 OK", "b");
    let fewer = super::world::CONFIGURATION
        .replace("name = \"private\"", "name = \"renamed\"")
        .replace("egress = \"private\"", "egress = \"renamed\"");
    let mut later = World::of(&fewer, super::world::fib());
    later.dropped("public", CALLEE, &ok, DropReason::ListenerGone);
    let renamed = fewer.replace("name = \"renamed\"", "name = \"renamed\"\nformerly = [\"private\"]");
    let mut later = World::of(&renamed, super::world::fib());
    later.relayed("public", CALLEE, &ok, "renamed", "10.0.0.50:5060");
}
