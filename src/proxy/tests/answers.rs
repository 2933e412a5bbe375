//! RFC 3261 §8.2.6 and §8.2.7: what we answer by ourselves.

use super::forwarding::{INVITE, invite_with};
use super::world::{Became, CONFIGURATION, World, builder, header, headers, masked_answer};
use crate::drop_reason::DropReason;
use crate::fib::spec::{Kind, Link, Route, TABLE_LOCAL};
use crate::proxy::Reply;

/// From the outside, where only numbers beginning with *33 or 49 go anywhere.
fn outside() -> String {
    INVITE.replace("10.0.0.50", "192.0.2.50").replace("sip:bob@192.0.2.9", "sip:bob@10.0.0.60")
}

#[test]
fn the_whole_of_an_answer() {
    // "The From field of the response MUST equal the From header field of the request. The Call-ID header
    // field of the response MUST equal the Call-ID header field of the request. The CSeq header field of
    // the response MUST equal the CSeq field of the request. The Via header field values in the response
    // MUST equal the Via header field values in the request and MUST maintain the same ordering."
    // "the UAS MUST add a tag to the To header field in the response"
    let mut world = World::new();
    let text = outside().replace("Via: ", "v:  ").replace(";branch", " ;rport;branch").replace(
        "From:",
        "Via: SIP/2.0/UDP other,SIP/2.0/TCP last\nSubject: no\nRecord-Route: <sip:x;lr>\nf:",
    );
    let answer = world.answered("public", "192.0.2.50:5077", &text, 403);
    assert_eq!(
        masked_answer(&answer),
        "SIP/2.0 403 Forbidden: No Rule Matches
v:  SIP/2.0/UDP 192.0.2.50:5060 ;branch=z9hG4bK74bf9;received=192.0.2.50;rport=5077
Via: SIP/2.0/UDP other,SIP/2.0/TCP last
f: Alice <sip:alice@192.0.2.50>;tag=9fxced76sl
To: Bob <sip:bob@10.0.0.60>;tag=TAG
Call-ID: 3848276298220188511@192.0.2.50
CSeq: 1 INVITE
Content-Length: 0

"
    );
}

#[test]
fn quoted_commas_end_no_via() {
    let text = outside().replace(";branch", ";x=\"a,b\";rport;branch");
    let answer = World::new().answered("public", "192.0.2.50:5077", &text, 403);
    let via = "SIP/2.0/UDP 192.0.2.50:5060;x=\"a,b\";branch=z9hG4bK74bf9;received=192.0.2.50;rport=5077";
    assert_eq!(header(&answer, "Via"), via);
    World::new().dropped("public", "192.0.2.50:5077", &ack_to(&text, &answer), DropReason::AckAbsorbed);
}

#[test]
fn a_to_tag_without_value_stays_alone() {
    let text = outside().replace("To: Bob <sip:bob@10.0.0.60>", "To: Bob <sip:bob@10.0.0.60>;tag");
    let answer = World::new().answered("public", "192.0.2.50:5060", &text, 403);
    assert_eq!(header(&answer, "To"), "Bob <sip:bob@10.0.0.60>;tag");
}

#[test]
fn it_goes_where_the_via_says() {
    for (via, to) in [
        // RFC 3261 §18.2.2: "using the port indicated in the "sent-by" value, or using port 5060 if none is
        // specified explicitly"
        ("192.0.2.50:5066", "192.0.2.50:5066"),
        ("192.0.2.50", "192.0.2.50:5060"),
        ("a.example:5067", "192.0.2.50:5067"),
        // RFC 3581 §4
        ("a.example:5067;rport", "192.0.2.50:5077"),
        // "if the Via header field value contains a "maddr" parameter, the response MUST be forwarded to
        // the address listed there"
        ("192.0.2.50:5066;maddr=192.0.2.51;rport", "192.0.2.51:5066"),
        ("192.0.2.50:5066;maddr=unknown.example", "192.0.2.50:5077"),
    ] {
        let text = outside().replace("192.0.2.50:5060;branch", &format!("{via};branch"));
        match World::new().receive("public", "192.0.2.50:5077", &text) {
            Became::Answer { to: got, .. } => assert_eq!(got.to_string(), to, "{via}"),
            other => panic!("{other:?}"),
        }
    }
    for maddr in ["224.0.1.75", "255.255.255.255", "0.0.0.0", "127.0.0.1", "203.0.113.10", "2001:db8::1"] {
        let text = outside().replace(";branch", &format!(";maddr={maddr};branch"));
        World::new().dropped("public", "192.0.2.50:5060", &text, DropReason::ForbiddenResponseTarget);
    }
}

#[test]
fn a_to_tag_stays() {
    // "If a request contained a To tag in the request, the To header field in the response MUST equal that
    // of the request."
    let text = outside().replace("To: Bob <sip:bob@10.0.0.60>", "To: Bob <sip:bob@10.0.0.60>;tag=theirs");
    let answer = World::new().answered("public", "192.0.2.50:5060", &text, 403);
    assert_eq!(header(&answer, "To"), "Bob <sip:bob@10.0.0.60>;tag=theirs");
}

#[test]
fn the_same_request_gets_the_same_answer() {
    // §8.2.7: "To header tags MUST be generated for responses in a stateless manner - in a manner that will
    // generate the same tag for the same request consistently."
    let mut world = World::new();
    let first = world.answered("public", "192.0.2.50:5060", &outside(), 403);
    world.restart();
    assert_eq!(world.answered("public", "192.0.2.50:5060", &outside(), 403), first);
    let other = outside().replace("74bf9", "74bfa");
    let other = world.answered("public", "192.0.2.50:5060", &other, 403);
    assert_ne!(header(&other, "To"), header(&first, "To"));
}

#[test]
fn its_ack_is_absorbed_before_any_rule() {
    // §8.2.7: "A stateless UAS MUST ignore ACK requests."
    let mut world = World::new();
    for (listener, source, request, status) in [
        ("public", "192.0.2.50:5060", outside(), 403),
        ("private", "10.0.0.50:5060", invite_with("Proxy-Require: x"), 420),
        ("private", "10.0.0.50:5060", INVITE.replace("Forwards: 70", "Forwards: 0"), 483),
        ("private", "10.0.0.50:5060", INVITE.replacen("sip:bob@", "sip:unwanted@", 1), 603),
    ] {
        let answer = world.answered(listener, source, &request, status);
        let ack = ack_to(&request, &answer);
        world.dropped(listener, source, &ack, DropReason::AckAbsorbed);
        world.restart();
        world.dropped(listener, source, &ack, DropReason::AckAbsorbed);
        let forged = ack.replace("z9hG4bK74bf9", "z9hG4bK74bf8");
        assert!(!matches!(world.receive(listener, source, &forged), Became::Drop(DropReason::AckAbsorbed)));
    }
}

/// §17.1.1.3
fn ack_to(request: &str, answer: &str) -> String {
    let to = request.lines().find(|line| line.starts_with("To:")).unwrap();
    request.replace("INVITE", "ACK").replace(to, &format!("To: {}", header(answer, "To")))
}

#[test]
fn an_ack_is_never_answered() {
    let ack = outside().replace("INVITE", "ACK");
    World::new().dropped("public", "192.0.2.50:5060", &ack, DropReason::AckRefused);
    let nowhere = INVITE.replace("INVITE", "ACK").replacen("192.0.2.9", "nowhere.example", 1);
    World::new().dropped("private", "10.0.0.50:5060", &nowhere, DropReason::AckUnroutable);
}

#[test]
fn rules_reject_and_drop() {
    let mut world = World::new();
    let text = INVITE.replacen("sip:bob@", "sip:unwanted@", 1);
    let answer = world.answered("private", "10.0.0.50:5060", &text, 603);
    assert!(answer.starts_with("SIP/2.0 603 Decline\n"), "{answer}");
    let text = INVITE.replacen("sip:bob@", "sip:%73ilent;x=y@", 1);
    world.dropped("private", "10.0.0.50:5060", &text, DropReason::Rule);
}

#[test]
fn options_to_ourselves() {
    // §11.2: "If the response is generated by a proxy, the Allow header field SHOULD be omitted as it is
    // ambiguous since a proxy is method agnostic."
    let options = INVITE.replace("INVITE", "OPTIONS");
    for uri in ["sip:10.0.0.4", "sip:sip.example.net", "sip:sip.example.net:5080", "sip:198.51.100.7:5070"] {
        let text = options.replacen("sip:bob@192.0.2.9", uri, 1);
        let answer = World::new().answered("private", "10.0.0.50:5060", &text, 200);
        assert_eq!(header(&answer, "Accept"), "*/*");
        assert!(!answer.contains("Allow:"), "{answer}");
        // From the outside, too, although no rule lets anything through.
        World::new().answered("public", "10.0.0.50:5060", &text, 200);
    }
    // With a user it is somebody's, and nobody is known here.
    let text = options.replacen("sip:bob@192.0.2.9", "sip:bob@10.0.0.4", 1);
    World::new().answered("private", "10.0.0.50:5060", &text, 200);
    World::new().answered("public", "192.0.2.50:5060", &text, 403);
    // A port that none of our listeners has is another program's.
    let text = options.replacen("sip:bob@192.0.2.9", "sip:10.0.0.4:6666", 1);
    World::new().forwarded("private", "10.0.0.50:5060", &text, "private", "10.0.0.4:6666");
}

#[test]
fn the_request_uri_names_ourselves() {
    // §16.5: "If the Request-URI indicates a resource at this proxy that does not exist, the proxy MUST
    // return a 404 (Not Found) response."
    for uri in ["sip:bob@10.0.0.4", "sip:bob@sip.example.net", "sip:bob@[::ffff:10.0.0.4]:5060"] {
        let text = INVITE.replacen("sip:bob@192.0.2.9", uri, 1);
        World::new().answered("private", "10.0.0.50:5060", &text, 404);
    }
    let text = INVITE.replacen("sip:bob@192.0.2.9", "sip:bob@example.org:5080;maddr=203.0.113.10", 1);
    World::new().answered("private", "10.0.0.50:5060", &text, 404);
}

#[test]
fn a_next_hop_from_a_message_is_not_just_any() {
    for (uri, phrase) in [
        ("sip:bob@224.0.1.75", "Forbidden: Next Hop Is Multicast"),
        ("sip:bob@[ff02::1]", "Forbidden: Next Hop Is Multicast"),
        ("sip:bob@255.255.255.255", "Forbidden: Next Hop Is Broadcast"),
        ("sip:bob@0.0.0.0", "Forbidden: Next Hop Is The Unspecified Address"),
        ("sip:bob@[::]", "Forbidden: Next Hop Is The Unspecified Address"),
        ("sip:bob@[::ffff:0.0.0.0]", "Forbidden: Next Hop Is The Unspecified Address"),
    ] {
        let text = INVITE.replacen("sip:bob@192.0.2.9", uri, 1);
        let answer = World::new().answered("private", "10.0.0.50:5060", &text, 403);
        assert!(answer.starts_with(&format!("SIP/2.0 403 {phrase}\n")), "{answer}");
        let text = invite_with(&format!("Route: <{uri};lr>"));
        World::new().answered("private", "10.0.0.50:5060", &text, 403);
    }
    // The broadcast address of a network is known to the routes.
    let text = INVITE.replacen("sip:bob@192.0.2.9", "sip:bob@10.0.0.255", 1);
    let broadcast = Route::new("10.0.0.255/32".parse().unwrap(), 3, None);
    let fib = builder().route(broadcast.in_table(TABLE_LOCAL).of_kind(Kind::Broadcast)).build();
    let answer = World::of(CONFIGURATION, fib).answered("private", "10.0.0.50:5060", &text, 500);
    assert!(answer.starts_with("SIP/2.0 500 No Way To Next Hop\n"), "{answer}");
    // Loopback only from a listener there.
    let local = INVITE.replacen("192.0.2.9", "127.0.0.1:5099", 1);
    World::new().forwarded("loopback", "127.0.0.1:5062", &local, "loopback", "127.0.0.1:5099");
}

#[test]
fn an_unknown_transport_is_told() {
    let sctp = INVITE.replacen("192.0.2.9", "192.0.2.9;transport=sctp", 1);
    let answer = World::new().answered("private", "10.0.0.50:5060", &sctp, 478);
    assert!(header(&answer, "Warning").ends_with("transports that no listener has\""), "{answer}");
}

#[test]
fn no_listener_is_told_with_route_source_and_candidates() {
    // A link of its own, with an address that is no listener.
    let fib = builder().link(Link::up(7, "storage")).assign(7, "10.77.0.1/16".parse().unwrap()).build();
    let mut world = World::of(CONFIGURATION, fib);
    let text = INVITE.replacen("192.0.2.9", "10.77.0.9", 1);
    let answer = world.answered("private", "10.0.0.50:5060", &text, 500);
    assert!(answer.starts_with("SIP/2.0 500 No Way To Next Hop\n"), "{answer}");
    assert_eq!(
        header(&answer, "Warning"),
        "399 10.0.0.4:5060 \"no listener for udp:10.77.0.9:5060: the kernel would send it by storage \
         (10.77.0.0/16, table main) from 10.77.0.1, which is no listener; candidates: public 203.0.113.10:5060 \
         public-5080 203.0.113.10:5080 private 10.0.0.4:5060 natted 10.0.1.4:5060\""
    );
    let considered = world.state.considered();
    assert!(matches!(considered.reply, Some(Reply::NoEgress(..))));
    let (next_hop, _) = world.state.take_no_egress().expect("told to the log");
    assert_eq!(next_hop.address.to_string(), "10.77.0.9:5060");
    assert!(world.state.take_no_egress().is_none(), "once");
    assert_eq!(headers(&answer, "Retry-After").count(), 0);
}

#[test]
fn sips_is_never_downgraded() {
    // §16.6 step 7: "if the Request-URI specifies a SIPS resource, the proxy MUST follow the procedures of
    // [4] as if the input URI were a SIPS URI." There is no listener for TLS here.
    let text = INVITE.replacen("sip:bob@192.0.2.9", "sips:bob@192.0.2.9", 1);
    World::new().answered("private", "10.0.0.50:5060", &text, 500);
    let text = text.replace("Contact:", "Route: <sip:192.0.2.9;lr;transport=udp>\nContact:");
    World::new().answered("private", "10.0.0.50:5060", &text, 500);
    let text = INVITE.replacen("192.0.2.9", "192.0.2.9;transport=tls", 1);
    World::new().answered("private", "10.0.0.50:5060", &text, 500);
}
