//! RFC 3261 §16.3: "If any of these checks fail, the element MUST behave as a user agent server […] and
//! respond with an error code."

use super::forwarding::{INVITE, invite_with};
use super::world::{Became, CONFIGURATION, World, fib, header, wire};
use crate::drop_reason::DropReason;
use crate::limits::HEADER_LINES;

#[track_caller]
fn refused(text: &str, status_line: &str) -> String {
    match World::new().receive("private", "10.0.0.50:5060", text) {
        Became::Answer { text, to, .. } => {
            assert_eq!(text.lines().next(), Some(format!("SIP/2.0 {status_line}").as_str()));
            assert_eq!(to.to_string(), "10.0.0.50:5060");
            text
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn reasonable_syntax() {
    // "The request MUST be well-formed enough to be handled with a server transaction. Any components
    // involved in the remainder of these Request Validation steps or the Request Forwarding section MUST be
    // well-formed."
    for (good, bad, status_line) in [
        ("INVITE sip:bob@192.0.2.9 SIP/2.0", "INVITE  sip:bob@192.0.2.9 SIP/2.0", "400 Malformed Start Line"),
        ("INVITE sip:bob@192.0.2.9 SIP/2.0", "INVITE sip:bob@192.0.2.9 SIP/2.0 ", "400 Malformed Start Line"),
        ("INVITE sip:bob@192.0.2.9 SIP/2.0", "INV@TE sip:bob@192.0.2.9 SIP/2.0", "400 Malformed Method"),
        ("INVITE sip:bob@192.0.2.9 SIP/2.0", "INVITE sip:bob@192.0.2.9 SIP/3.0", "505 Version Not Supported"),
        ("sip:bob@192.0.2.9 SIP", "<sip:bob@192.0.2.9> SIP", "400 Request-URI in Angle Brackets"),
        ("sip:bob@192.0.2.9 SIP", "sip:bob@192.0.2.9?Route=%3Csip:x%3E SIP", "400 Headers in Request-URI"),
        ("sip:bob@192.0.2.9 SIP", "sip:bob@192.0.2.999 SIP", "400 Malformed Host"),
        ("sip:bob@192.0.2.9 SIP", "sip:bob@2001:db8::9 SIP", "400 Malformed IPv6 Reference"),
        ("sip:bob@192.0.2.9 SIP", "sip:bob@192.0.2.9:99999 SIP", "400 Malformed Port"),
        ("Via: SIP/2.0/UDP 10.0.0.50:5060;", "Via: SIP/2.0/UDP 10.0.0.50:5060;;", "400 Malformed Parameter"),
        ("branch=z9hG4bK74bf9", "branch=z9hG4bK", "400 Empty Branch"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "400 Malformed Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards: -1", "400 Malformed Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards: 70\nMax-Forwards: 70", "400 Multiple Max-Forwards"),
        (
            "From: Alice <sip:alice@10.0.0.50>",
            "From: \"Alice <sip:alice@10.0.0.50>",
            "400 Unterminated Quoted String",
        ),
        (
            "From: Alice <sip:alice@10.0.0.50>",
            "From: Alice <sip:alice@10.0.0.50",
            "400 Unbalanced or Missing Angle Bracket",
        ),
        ("From: Alice", "From: <sip:a@b.example>;tag=1\nFrom: Alice", "400 Multiple From"),
        ("To: Bob", "To: <sip:a@b.example>\nt: Bob", "400 Multiple To"),
        ("CSeq: 1 INVITE", "CSeq: 1 INVITE\nCSeq: 1 INVITE", "400 Multiple CSeq"),
        ("CSeq: 1 INVITE", "CSeq: 36893488147419103232 INVITE", "400 Malformed CSeq"),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", "400 Method In CSeq Differs"),
        ("Call-ID: 3", "Call-ID: 3 3", "400 Malformed Call-ID"),
        ("Call-ID: 3", "Call-ID: 4@a.example\nCall-ID: 3", "400 Multiple Call-ID"),
        ("Content-Length: 0", "Content-Length: 1", "400 Body Shorter Than Content-Length"),
        ("Content-Length: 0", "Content-Length: 18446744073709551616", "400 Malformed Content-Length"),
        ("Content-Length: 0", "Content-Length: -1", "400 Malformed Content-Length"),
        ("Content-Length: 0", "Content-Length: 0\nl: 0", "400 Multiple Content-Length"),
        ("Contact:", "No colon here\nContact:", "400 Header Line Without Colon"),
        ("Contact:", "Bad Name: x\nContact:", "400 Malformed Header Name"),
        ("Contact:", "Route: sip:192.0.2.1;lr\nContact:", "400 Unbalanced or Missing Angle Bracket"),
        ("Contact:", "Route: <sip:192.0.2.1;lr>,\nContact:", "400 Empty Header Value"),
    ] {
        assert!(INVITE.contains(good), "{good}");
        refused(&INVITE.replacen(good, bad, 1), status_line);
    }
}

#[test]
fn what_every_request_has() {
    for (name, words) in [("From", "From"), ("To", "To"), ("Call-ID", "Call-ID"), ("CSeq", "CSeq")] {
        let without: String =
            INVITE.split_inclusive('\n').filter(|l| !l.starts_with(&format!("{name}: "))).collect();
        let answer = refused(&without, &format!("400 Missing {words}"));
        assert!(!answer.contains(&format!("{name}:")), "{answer}");
    }
    let without: String = INVITE.split_inclusive('\n').filter(|line| !line.starts_with("Via")).collect();
    World::new().dropped("private", "10.0.0.50:5060", &without, DropReason::NotSip);
}

#[test]
fn what_cannot_be_read_is_not_the_proxys_business() {
    // "Any other components, well-formed or not, SHOULD be ignored and remain unchanged when the message is
    // forwarded. For instance, an element would not reject a request because of a malformed Date header
    // field." "An element MUST NOT refuse to proxy a request because it contains a method or header field
    // it does not know about."
    for lines in [
        "Date: Fri, 01 Jan 2010 16:00:00 EST",
        "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        "Require: nothingYouKnow",
        "Content-Type: text/unknown;;",
        "Expires: soon",
        "Record-Route: nonsense",
        "Via: also nonsense, further down",
    ] {
        let mut world = World::new();
        world.forwarded("private", "10.0.0.50:5060", &invite_with(lines), "public", "192.0.2.9:5060");
    }
    let unknown = INVITE.replace("INVITE", "!interesting-Method0123456789_*+`.%indeed'~");
    World::new().forwarded("private", "10.0.0.50:5060", &unknown, "public", "192.0.2.9:5060");
}

#[test]
fn uri_scheme() {
    // "If the Request-URI has a URI whose scheme is not understood by the proxy, the proxy SHOULD reject
    // the request with a 416 (Unsupported URI Scheme) response."
    for uri in ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002", "tel:+4930"] {
        refused(&INVITE.replacen("sip:bob@192.0.2.9", uri, 1), "416 Unsupported URI Scheme");
    }
    let by_rule = INVITE.replacen("sip:bob@192.0.2.9", "tel:49-30;phone-context=example.com", 1);
    World::new().forwarded("private", "10.0.0.50:5060", &by_rule, "private", "10.0.0.100:5062");
    let routed = invite_with("Route: <sip:192.0.2.9;lr>").replacen("sip:bob@192.0.2.9", "tel:+4930", 1);
    World::new().forwarded("private", "10.0.0.50:5060", &routed, "public", "192.0.2.9:5060");
}

#[test]
fn emergency_services() {
    // No rule matches those of the outside: as any other URI that is not understood.
    let sos = |uri: &str| INVITE.replacen("sip:bob@192.0.2.9", uri, 1);
    let mut world = World::new();
    world.answered("public", "192.0.2.50:5060", &sos("urn:service:sos"), 416);
    // `to = "request-uri"` finds no next hop in it.
    refused(&sos("urn:service:sos"), "416 Unsupported URI Scheme");
    let psap = "[[route]]\nname = \"psap\"\nwhen = { ruri_user = '^urn:service:sos(\\.|$)' }\nto = \"sip:10.0.0.112\"\n\n\
                [[route]]\nname = \"unwanted\"";
    let configuration = CONFIGURATION.replacen("[[route]]\nname = \"unwanted\"", psap, 1);
    let mut world = World::of(&configuration, fib());
    for uri in ["urn:service:sos", "urn:service:sos.fire", "URN:Service:SOS.Animal-control"] {
        let text = world.forwarded("public", "192.0.2.50:5060", &sos(uri), "private", "10.0.0.112:5060");
        assert!(text.starts_with(&format!("INVITE {uri} SIP/2.0\n")), "{text}");
    }
    // The route of an emergency call may also stand in it (RFC 6881).
    let routed = sos("urn:service:sos").replacen("Contact:", "Route: <sip:192.0.2.9;lr>\nContact:", 1);
    World::new().forwarded("private", "10.0.0.50:5060", &routed, "public", "192.0.2.9:5060");
    for uri in ["urn:service:sosx", "urn:service:sos.", "urn:service:sos.a%62", "urn:service:counseling"] {
        world.answered("public", "192.0.2.50:5060", &sos(uri), 416);
    }
    let long = format!("urn:service:sos.{}", "a".repeat(crate::limits::USER_BYTES));
    world.answered("public", "192.0.2.50:5060", &sos(&long), 416);
}

#[test]
fn max_forwards() {
    // "If the request contains a Max-Forwards header field with a field value of zero (0), the element MUST
    // NOT forward the request. […] Otherwise, the element MUST return a 483 (Too many hops) response."
    for method in ["INVITE", "OPTIONS", "BYE"] {
        let last = INVITE.replace("Max-Forwards: 70", "Max-Forwards: 0").replace("INVITE", method);
        refused(&last, "483 Too Many Hops");
    }
    // "If the request was for OPTIONS, the element MAY act as the final recipient"
    let options = INVITE.replace("Max-Forwards: 70", "Max-Forwards: 0").replace("INVITE", "OPTIONS");
    refused(&options.replacen("sip:bob@192.0.2.9", "sip:10.0.0.4", 1), "200 OK");
    let ack = INVITE.replace("Max-Forwards: 70", "Max-Forwards: 0").replace("INVITE", "ACK");
    World::new().dropped("private", "10.0.0.50:5060", &ack, DropReason::AckLoop);
}

/// Who is to get no answer gets none by its last hop, either.
#[test]
fn what_a_rule_refuses_is_refused_at_its_last_hop() {
    let to = |method: &str, uri: &str| {
        let last = INVITE.replace("Max-Forwards: 70", "Max-Forwards: 0").replace("INVITE", method);
        last.replacen("sip:bob@192.0.2.9", uri, 1)
    };
    for method in ["INVITE", "OPTIONS"] {
        let text = to(method, "sip:silent@10.0.0.4");
        World::new().dropped("private", "10.0.0.50:5060", &text, DropReason::Rule);
    }
    refused(&to("OPTIONS", "sip:unwanted@10.0.0.4"), "603 Decline");
    // "Otherwise, the element MUST return a 483".
    refused(&to("INVITE", "sip:unwanted@10.0.0.4"), "483 Too Many Hops");
}

#[test]
fn proxy_require() {
    // "the element MUST return a 420 (Bad Extension) response. The response MUST include an Unsupported
    // (Section 20.40) header field listing those option-tags the element did not understand."
    let answer = refused(
        &invite_with("Require: notOurs\nProxy-Require: one, two\nProxy-require:three"),
        "420 Bad Extension",
    );
    assert_eq!(header(&answer, "Unsupported"), "one, two, three");
    // §8.2.2.3: "Note that Require and Proxy-Require MUST NOT be used in a SIP CANCEL request, or in an ACK
    // request sent for a non-2xx response. These header fields MUST be ignored if they are present in these
    // requests."
    for method in ["CANCEL", "ACK"] {
        let text = invite_with("Proxy-Require: one").replace("INVITE", method);
        World::new().forwarded("private", "10.0.0.50:5060", &text, "public", "192.0.2.9:5060");
    }
}

#[test]
fn a_malformed_ack_is_dropped() {
    for bad in [INVITE.replace("INVITE", "ACK").replace("1 ACK", "1 BYE"), INVITE.replace("INVITE ", "ACK  ")]
    {
        World::new().dropped("private", "10.0.0.50:5060", &bad, DropReason::MalformedAck);
    }
}

#[test]
fn keep_alives_and_noise() {
    for (text, reason) in [
        ("", DropReason::KeepAlive),
        ("\n\n", DropReason::KeepAlive),
        ("\0\0\0\0", DropReason::KeepAlive),
        ("jaK", DropReason::NotSip),
        ("\x00\x01\x00\x00", DropReason::NotSip),
        ("GET / HTTP/1.1\nHost: x\n\n", DropReason::NotSip),
    ] {
        World::new().dropped("private", "10.0.0.50:5060", text, reason);
    }
    // RFC 3261 §7.5: "Implementations processing SIP messages over stream-oriented transports MUST ignore
    // any CRLF appearing before the start-line"; they do not go on.
    let text = World::new().forwarded(
        "private",
        "10.0.0.50:5060",
        &format!("\n\n{INVITE}"),
        "public",
        "192.0.2.9:5060",
    );
    assert!(text.starts_with("INVITE "), "{text}");
}

#[test]
fn more_headers_than_the_index_holds_are_answered() {
    let lines = (INVITE.lines().count() - 2) + 1;
    let most = vec!["X: y"; HEADER_LINES - lines + 1].join("\n");
    World::new().forwarded("private", "10.0.0.50:5060", &invite_with(&most), "public", "192.0.2.9:5060");
    let answer = refused(&invite_with(&format!("{most}\nX: y")), "513 Too Many Header Fields");
    assert_eq!(header(&answer, "CSeq"), "1 INVITE");
    // What an earlier message left in the index is no part of an answer.
    let mut world = World::new();
    world.receive("private", "10.0.0.50:5060", &invite_with("Via: SIP/2.0/UDP 192.0.2.66:5060"));
    let cut = INVITE.split("From").next().unwrap();
    let answer = world.answered("private", "10.0.0.50:5060", cut.trim_end(), 400);
    assert_eq!(answer.matches("Via").count(), 1, "{answer}");
    assert!(!answer.contains("From"), "{answer}");
}

#[test]
fn a_loop_is_found_and_a_spiral_is_not() {
    // RFC 5393 §4.2.2: "If these values are equal, the request has looped and the proxy MUST reject the
    // request with a 482 (Loop Detected) response. If the values differ, the request is spiraling and
    // processing continues to the next step."
    let mut world = World::new();
    let (here, there) = ("private", "10.0.0.50:5060");
    let mut text = INVITE.to_owned();
    let mut passes = 0;
    let answer = loop {
        // A neighbour sends it back by the same way, changed in nothing that matters.
        match world.receive(here, there, &text) {
            Became::Forward { text: out, .. } => text = neighbour(&out, passes),
            Became::Answer { status, text, .. } => break (status, text),
            other => panic!("{other:?}"),
        }
        passes += 1;
    };
    assert_eq!((answer.0, passes), (482, 1), "{}", answer.1);

    // The same request with another Request-URI is a spiral.
    let first = world.forwarded(here, there, INVITE, "public", "192.0.2.9:5060");
    let spiral = neighbour(&first, 7).replacen("sip:bob@192.0.2.9", "sip:carol@192.0.2.9", 1);
    world.forwarded(here, there, &spiral, "public", "192.0.2.9:5060");
    // So is one with another value of a header that a rule reads, or that came in elsewhere.
    let spiral = neighbour(&first, 8).replace("Contact:", "X-Trunk: silver\nContact:");
    world.forwarded(here, there, &spiral, "public", "192.0.2.9:5060");
    let other = neighbour(&first, 9);
    world.forwarded("natted", there, &other, "public", "192.0.2.9:5060");
    // Another header makes no difference.
    let looped = neighbour(&first, 10).replace("Contact:", "X-Other: silver\nContact:");
    world.answered(here, there, &looped, 482);
    // An ACK gets no answer.
    let ack = world.forwarded(here, there, &INVITE.replace("INVITE", "ACK"), "public", "192.0.2.9:5060");
    world.dropped(here, there, &neighbour(&ack, 11), DropReason::AckLoop);
}

/// What a proxy makes of a request that it sends back: a Via of its own on top.
fn neighbour(text: &str, number: usize) -> String {
    let (start, rest) = text.split_once('\n').unwrap();
    format!("{start}\nVia: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bKn{number}\n{rest}")
}

#[test]
fn somebody_elses_mark_is_no_loop() {
    let mut world = World::new();
    let text = invite_with(
        "Via: SIP/2.0/UDP x;branch=z9hG4bK1;vl=aaaaaaaaaaaaa, SIP/2.0/UDP y;vl, SIP/2.0/UDP z;vl=\";\"",
    );
    world.forwarded("private", "10.0.0.50:5060", &text, "public", "192.0.2.9:5060");
}

#[test]
fn a_cr_or_nul_makes_no_second_reading() {
    let with_cr = wire(&invite_with("X: a\rRoute: <sip:192.0.2.66;lr>"));
    let Became::Answer { status, .. } =
        World::new().receive_bytes("private", "10.0.0.50:5060", with_cr.as_bytes())
    else {
        panic!("forwarded")
    };
    assert_eq!(status, 400);
}
