//! RFC 3261 §16.6 step by step, byte for byte.

use super::world::{Became, CONFIGURATION, World, fib, header, headers, masked, wire};

/// The shortest INVITE from a user agent in the private network; `{}` is a place for more headers.
pub const INVITE: &str = "INVITE sip:bob@192.0.2.9 SIP/2.0
Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9
Max-Forwards: 70
From: Alice <sip:alice@10.0.0.50>;tag=9fxced76sl
To: Bob <sip:bob@192.0.2.9>
Call-ID: 3848276298220188511@10.0.0.50
CSeq: 1 INVITE
Contact: <sip:alice@10.0.0.50>
Content-Length: 0

";

/// That INVITE with headers put before Content-Length.
pub fn invite_with(lines: &str) -> String {
    INVITE.replace("Content-Length: 0\n", &format!("{lines}\nContent-Length: 0\n"))
}

#[track_caller]
fn out(text: &str) -> String {
    World::new().forwarded("private", "10.0.0.50:5060", text, "public", "192.0.2.9:5060")
}

#[test]
fn the_whole_of_a_forwarded_invite() {
    let text = out(INVITE);
    assert_eq!(
        text,
        "INVITE sip:bob@192.0.2.9 SIP/2.0
Record-Route: <sip:aebqylw4c7d635g3j6tuzt5oi5fkt5i4@203.0.113.10:5060;lr>
Record-Route: <sip:aebaylw4c7d635g3j6tuzt5oi5fkt5i4@10.0.0.4:5060;lr>
Via: SIP/2.0/UDP 203.0.113.10:5060;rport;branch=z9hG4bKbsaaaaaaylw4c4aaaaaaanzc2i3d5l25acqbtto55opuf4muy;vl=4rigt776blswa
Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9
Max-Forwards: 69
From: Alice <sip:alice@10.0.0.50>;tag=9fxced76sl
To: Bob <sip:bob@192.0.2.9>
Call-ID: 3848276298220188511@10.0.0.50
CSeq: 1 INVITE
Contact: <sip:alice@10.0.0.50>
Content-Length: 0

"
    );
}

/// What is kept of earlier requests is no part of later ones.
#[test]
fn lines_that_are_ready_are_those_that_a_new_shard_writes() {
    let mut old = World::new();
    for number in 0..4 {
        let call = format!("call-{number}");
        let invite = INVITE.replace("74bf9", &call).replace("3848276298220188511", &call);
        for text in [invite.replace("INVITE", "OPTIONS"), invite.replace("9fxced76sl", &call), invite] {
            let sent = |world: &mut World| {
                world.forwarded("private", "10.0.0.50:5060", &text, "public", "192.0.2.9:5060")
            };
            assert_eq!(sent(&mut old), sent(&mut World::new()));
        }
    }
    let natted =
        |world: &mut World| world.forwarded("natted", "10.0.1.50:5060", INVITE, "public", "192.0.2.9:5060");
    assert!(natted(&mut old).contains("@198.51.100.7:5070;lr>"));
    old.reconfigure(&CONFIGURATION.replace("198.51.100.7:5070", "198.51.100.8:5070"), fib());
    assert!(natted(&mut old).contains("@198.51.100.8:5070;lr>"));
}

#[test]
fn step_1_what_is_not_detailed_stays_as_it_is() {
    // RFC 3261 §16.6 step 1: "Fields not detailed in the processing described below MUST NOT be removed.
    // The copy SHOULD maintain the ordering of the header fields as in the received request. The proxy
    // MUST NOT reorder field values with a common field name."
    let odd = "INVITE sip:bob@192.0.2.9;unknown=%41;x SIP/2.0
v:  SIP / 2.0  / UDP\t10.0.0.50:5060 ;branch=z9hG4bKodd ;hidden , SIP/2.0/TCP host;branch=z9hG4bK1
  ,SIP/2.0/UNKNOWN  a.example:9
f: \"Al \\\"x\\\" <ice>\" <sip:alice@10.0.0.50>  ;tag=1
T :  sip:bob@192.0.2.9
i: 1
cseq:  9   INVITE
X-Unknown: ;;,,;;,
X-Empty:
Date: not a date at all
Subject : folded
   over
\tlines
X-Unknown: second
max-forwards:  0068
L: 13

body\nbody\nx";
    let text = out(odd);
    let (head, old) = masked(&text).split_once("v:  SIP").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(
        head,
        "INVITE sip:bob@192.0.2.9;unknown=%41;x SIP/2.0
Record-Route: <sip:TOKEN@203.0.113.10:5060;lr>
Record-Route: <sip:TOKEN@10.0.0.4:5060;lr>
Via: SIP/2.0/UDP 203.0.113.10:5060;rport;branch=BRANCH;vl=MARK
"
    );
    let before = odd.split_once("v:  SIP").unwrap().1.replace("0068", "67");
    assert_eq!(old, before);
}

#[test]
fn step_1_the_body_stays_as_it_is() {
    // "The proxy MUST NOT add to, modify, or remove the message body."
    let body: Vec<u8> = (0..=255).chain([0, 0, b'\r', b'\n', b'\r', b'\n', 0xff]).collect();
    let head = wire(&INVITE.replace("Content-Length: 0", &format!("Content-Length: {}", body.len())));
    let message = [head.as_bytes(), &body].concat();
    let mut world = World::new();
    let on = world.snapshot.plan.listener_named("private").unwrap().id;
    let incoming = crate::proxy::Incoming::datagram(&message, on, "10.0.0.50:5060".parse().unwrap());
    let outcome =
        crate::proxy::handle(&mut world.state, &world.snapshot, &incoming, world.now, &mut world.out);
    let crate::proxy::Outcome::Forward { len, .. } = outcome else { panic!("{outcome:?}") };
    assert!(world.out[..len].ends_with(&[b"\r\n\r\n", &body[..]].concat()));
}

#[test]
fn step_2_the_request_uri_is_not_ours_to_change() {
    for uri in ["sip:bob@192.0.2.9;user=phone", "sip:%62ob%3b@192.0.2.9:5060;transport=udp", "sip:192.0.2.9"]
    {
        let text = out(&INVITE.replacen("sip:bob@192.0.2.9", uri, 1));
        assert!(text.starts_with(&format!("INVITE {uri} SIP/2.0\n")), "{text}");
    }
}

#[test]
fn step_3_max_forwards_is_decremented() {
    // "If the copy contains a Max-Forwards header field, the proxy MUST decrement its value by one (1)."
    for (before, after) in [("70", "69"), ("1", "0"), ("255", "254"), ("0010", "9")] {
        let text = out(&INVITE.replace("Max-Forwards: 70", &format!("Max-Forwards: {before}")));
        assert_eq!(headers(&text, "Max-Forwards").collect::<Vec<_>>(), [after]);
    }
}

#[test]
fn step_3_max_forwards_is_added_where_there_is_none() {
    // "If the copy does not contain a Max-Forwards header field, the proxy MUST add one with a field
    // value, which SHOULD be 70."
    let text = out(&INVITE.replace("Max-Forwards: 70\n", ""));
    assert_eq!(headers(&text, "Max-Forwards").collect::<Vec<_>>(), ["70"]);
}

#[test]
fn step_4_record_route_stands_before_existing_values() {
    // "it MUST insert a Record-Route header field value into the copy before any existing Record-Route
    // header field values, even if a Route header field is already present."
    // RFC 5658 §5: the value of the output interface first.
    let text = out(&invite_with("Record-Route: <sip:other.example;lr>\nRoute: <sip:192.0.2.9;lr>"));
    let values: Vec<_> = headers(&text, "Record-Route").map(masked_route).collect();
    assert_eq!(values, ["203.0.113.10:5060;lr", "10.0.0.4:5060;lr", "other.example;lr"]);
}

fn masked_route(value: &str) -> &str {
    let inside = value.trim_start_matches("<sip:").trim_end_matches('>');
    inside.split_once('@').map_or(inside, |(_, host)| host)
}

#[test]
fn step_4_only_what_can_form_a_dialog_is_recorded() {
    for (method, count) in [
        ("INVITE", 2),
        ("SUBSCRIBE", 2),
        ("REFER", 2),
        ("NOTIFY", 2),
        // "it SHOULD add a Record-Route header field value to every request with a method it does not
        // understand since that method may have dialog semantics."
        ("DANCE", 2),
        ("REGISTER", 0),
        ("MESSAGE", 0),
        ("OPTIONS", 0),
        ("PUBLISH", 0),
        ("BYE", 0),
        ("ACK", 0),
        ("CANCEL", 0),
        ("PRACK", 0),
        ("UPDATE", 0),
        ("INFO", 0),
    ] {
        let text = out(&INVITE.replace("INVITE", method));
        assert_eq!(headers(&text, "Record-Route").count(), count, "{method}");
    }
    let notify =
        INVITE.replace("INVITE", "NOTIFY").replace("<sip:bob@192.0.2.9>", "<sip:bob@192.0.2.9>;tag=b");
    assert_eq!(headers(&out(&notify), "Record-Route").count(), 0, "NOTIFY within a dialog");
    let plain = INVITE.replace("sip:bob@", "sip:unrecorded@");
    assert_eq!(headers(&out(&plain), "Record-Route").count(), 0, "record_route = false");
}

#[test]
fn step_4_one_value_where_both_sides_are_the_same() {
    let text = World::new().forwarded(
        "private",
        "10.0.0.50:5060",
        &INVITE.replace("192.0.2.9", "10.0.0.60"),
        "private",
        "10.0.0.60:5060",
    );
    let values: Vec<_> = headers(&text, "Record-Route").map(masked_route).collect();
    assert_eq!(values, ["10.0.0.4:5060;lr"]);
}

#[test]
fn each_side_sees_what_is_advertised_to_it() {
    let text = World::new().forwarded(
        "natted",
        "10.0.1.50:5060",
        &INVITE.replace("192.0.2.9", "[2001:db8:2::9]:5062"),
        "six",
        "[2001:db8:2::9]:5062",
    );
    let values: Vec<_> = headers(&text, "Record-Route").map(masked_route).collect();
    assert_eq!(values, ["[2001:db8:1::4]:5060;lr", "198.51.100.7:5070;lr"]);
    assert!(header(&text, "Via").starts_with("SIP/2.0/UDP [2001:db8:1::4]:5060;"));
}

#[test]
fn step_6_a_strict_router_gets_what_it_expects() {
    // "If that URI does not contain an lr parameter, the proxy MUST modify the copy as follows: The proxy
    // MUST place the Request-URI into the Route header field as the last value. The proxy MUST then place
    // the first Route header field value into the Request-URI and remove that value from the Route header
    // field." The example of §16.12.1.2, with addresses.
    let text = World::new().forwarded(
        "private",
        "10.0.0.50:5060",
        &invite_with(
            "Route: <sip:192.0.2.3;method=BYE;x?Subject=no>, <sip:192.0.2.2;lr>\nSubject: x\nRoute: <sip:192.0.2.1;lr>",
        ),
        "public",
        "192.0.2.3:5060",
    );
    // "If the URI contains any parameters not allowed in a Request-URI, they MUST be removed."
    assert!(text.starts_with("INVITE sip:192.0.2.3;x SIP/2.0\n"), "{text}");
    assert_eq!(
        headers(&text, "Route").collect::<Vec<_>>(),
        ["<sip:192.0.2.2;lr>", "<sip:192.0.2.1;lr>, <sip:bob@192.0.2.9>"]
    );
}

#[test]
fn step_6_a_strict_router_that_is_the_only_route() {
    let text = World::new().forwarded(
        "private",
        "10.0.0.50:5060",
        &invite_with("Route: <sip:192.0.2.3:5066>"),
        "public",
        "192.0.2.3:5066",
    );
    assert!(text.starts_with("INVITE sip:192.0.2.3:5066 SIP/2.0\n"), "{text}");
    assert_eq!(headers(&text, "Route").collect::<Vec<_>>(), ["<sip:bob@192.0.2.9>"]);
}

#[test]
fn step_7_the_topmost_route_goes_before_the_request_uri() {
    // "Otherwise, the proxy MUST apply the procedures to the first value in the Route header field, if
    // present, else the Request-URI."
    let text = World::new().forwarded(
        "private",
        "10.0.0.50:5060",
        &invite_with("Route: <sip:10.9.0.1:5064;lr>"),
        "private",
        "10.9.0.1:5064",
    );
    assert_eq!(header(&text, "Route"), "<sip:10.9.0.1:5064;lr>");
}

#[test]
fn step_7_a_literal_next_hop_leaves_route_and_request_uri_alone() {
    let text = World::new().forwarded(
        "public",
        "192.0.2.9:5060",
        &INVITE.replace("sip:bob@192.0.2.9 SIP", "sip:*33123@example.org SIP"),
        "private",
        "10.0.0.100:5060",
    );
    assert!(text.starts_with("INVITE sip:*33123@example.org SIP/2.0\n"));
    let routed =
        invite_with("Route: <sip:192.0.2.77>").replace("sip:bob@192.0.2.9 SIP", "sip:*33123@a.example SIP");
    let text = World::new().forwarded("public", "192.0.2.9:5060", &routed, "private", "10.0.0.100:5060");
    assert_eq!(header(&text, "Route"), "<sip:192.0.2.77>");
}

#[test]
fn step_7_names_and_maddr() {
    for (uri, by, to) in [
        ("sip:4930@example.org", "private", "10.0.0.100:5062"),
        ("sip:bob@MEDIA.example.net.:5070", "private", "10.0.0.100:5070"),
        ("sip:bob@both.example.net", "six", "[2001:db8:9::9]:5060"),
        ("sip:bob@example.org;maddr=192.0.2.44", "public", "192.0.2.44:5060"),
        ("sip:bob@example.org:5099;maddr=media.example.net", "private", "10.0.0.100:5099"),
        ("sip:bob@[2001:db8:5::1]", "six", "[2001:db8:5::1]:5060"),
        ("sip:bob@[::ffff:192.0.2.5]", "public", "192.0.2.5:5060"),
    ] {
        let invite = INVITE.replace("sip:bob@192.0.2.9 SIP", &format!("{uri} SIP"));
        World::new().forwarded("private", "10.0.0.50:5060", &invite, by, to);
    }
}

#[test]
fn step_8_our_via_stands_on_top() {
    // "The proxy MUST insert a Via header field value into the copy before the existing Via header field
    // values."
    let moved = INVITE.replace("Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9\n", "");
    let moved = moved.replace("Contact:", "Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9\nContact:");
    let text = out(&moved);
    let vias: Vec<_> = headers(&text, "Via").collect();
    assert!(vias[0].starts_with("SIP/2.0/UDP 203.0.113.10:5060;rport;branch=z9hG4bKbs"), "{text}");
    assert_eq!(vias[1], "SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9");
}

#[test]
fn step_9_and_18_3_octets_behind_the_body_are_discarded() {
    // §18.3: "If there are additional bytes in the transport packet beyond the end of the body, they MUST
    // be discarded."
    let text = out(&format!(
        "{}trailing",
        INVITE.replace("Content-Length: 0", "Content-Length: 4").to_owned() + "body"
    ));
    assert!(text.ends_with("\n\nbody"));
    // "If the message has no Content-Length header field, the message body is assumed to end at the end of
    // the transport packet."
    let text = out(&(INVITE.replace("Content-Length: 0\n", "") + "all of it"));
    assert!(text.ends_with("\n\nall of it"));
    assert_eq!(headers(&text, "Content-Length").count(), 0, "over UDP none is added");
}

#[test]
fn what_does_not_fit_is_answered_513() {
    let mut world = World::new();
    world.out.truncate(600);
    let Became::Answer { status, text, .. } =
        world.receive("private", "10.0.0.50:5060", &invite_with(&format!("X: {}", "x".repeat(500))))
    else {
        panic!("not answered")
    };
    assert_eq!((status, text.lines().next()), (513, Some("SIP/2.0 513 Message Too Large")));
}

#[test]
fn received_and_rport() {
    // RFC 3261 §18.2.1: "If the host portion of the "sent-by" parameter contains a domain name, or if it
    // contains an IP address that differs from the packet source address, the server MUST add a
    // "received" parameter to that Via header field value."
    // RFC 3581 §4: "it MUST set the value of the parameter to the source port of the request. […] the
    // server MUST insert a "received" parameter containing the source IP address that the request came
    // from, even if it is identical to the value of the "sent-by" component."
    for (before, after) in [
        ("10.0.0.50;branch=z9hG4bK1", "10.0.0.50;branch=z9hG4bK1"),
        ("pc.example;branch=z9hG4bK1", "pc.example;branch=z9hG4bK1;received=10.0.0.50"),
        ("10.0.0.51:5066;branch=z9hG4bK1", "10.0.0.51:5066;branch=z9hG4bK1;received=10.0.0.50"),
        ("10.0.0.50;rport;branch=z9hG4bK1", "10.0.0.50;branch=z9hG4bK1;received=10.0.0.50;rport=5077"),
        ("10.0.0.50;branch=z9hG4bK1;rport", "10.0.0.50;branch=z9hG4bK1;rport=5077;received=10.0.0.50"),
        ("10.0.0.50;branch=z9hG4bK1; rport", "10.0.0.50;branch=z9hG4bK1;received=10.0.0.50;rport=5077"),
        // What the client supplied itself would send the response elsewhere.
        ("10.0.0.50;received=192.0.2.66;branch=z9hG4bK1", "10.0.0.50;branch=z9hG4bK1"),
        ("a.example;received=192.0.2.66;branch=z9hG4bK1", "a.example;branch=z9hG4bK1;received=10.0.0.50"),
        (
            "10.0.0.50;rport=9;branch=z9hG4bK1;RECEIVED=192.0.2.66",
            "10.0.0.50;branch=z9hG4bK1;received=10.0.0.50;rport=5077",
        ),
        // A spec-conforming oddity: the parameters of the topmost value only.
        (
            "a.example ;branch=z9hG4bK1 , SIP/2.0/UDP b.example;rport;received=1.1.1.1",
            "a.example ;branch=z9hG4bK1;received=10.0.0.50 , SIP/2.0/UDP b.example;rport;received=1.1.1.1",
        ),
    ] {
        let invite = INVITE.replace("10.0.0.50:5060;branch=z9hG4bK74bf9", before);
        let text = World::new().forwarded("private", "10.0.0.50:5077", &invite, "public", "192.0.2.9:5060");
        assert_eq!(headers(&text, "Via").nth(1), Some(format!("SIP/2.0/UDP {after}").as_str()), "{before}");
    }
}

#[test]
fn received_is_an_address_without_brackets() {
    // RFC 5118 §4.5
    let invite = INVITE.replace("10.0.0.50:5060;branch", "[2001:db8:1::50]:5060;rport;branch");
    let text = World::new().forwarded("six", "[2001:db8:1::50]:5099", &invite, "public", "192.0.2.9:5060");
    assert_eq!(
        headers(&text, "Via").nth(1),
        Some("SIP/2.0/UDP [2001:db8:1::50]:5060;branch=z9hG4bK74bf9;received=2001:db8:1::50;rport=5099")
    );
    let mapped = INVITE.replace("10.0.0.50:5060;branch", "[::ffff:10.0.0.50]:5060;branch");
    let text = out(&mapped);
    assert!(headers(&text, "Via").nth(1).unwrap().ends_with("bf9"), "an IPv4-mapped address is the IPv4 one");
}

#[test]
fn a_client_of_rfc_2543_is_served() {
    let text = out("INVITE sip:bob@192.0.2.9 SIP/2.0
Via: SIP/2.0/UDP 10.0.0.50
From: <sip:alice@10.0.0.50>
To: <sip:bob@192.0.2.9>
Call-ID: 1@10.0.0.50
CSeq: 1 INVITE

v=0
");
    assert_eq!(
        masked(&text),
        "INVITE sip:bob@192.0.2.9 SIP/2.0
Record-Route: <sip:TOKEN@203.0.113.10:5060;lr>
Record-Route: <sip:TOKEN@10.0.0.4:5060;lr>
Via: SIP/2.0/UDP 203.0.113.10:5060;rport;branch=BRANCH;vl=MARK
Max-Forwards: 70
Via: SIP/2.0/UDP 10.0.0.50
From: <sip:alice@10.0.0.50>
To: <sip:bob@192.0.2.9>
Call-ID: 1@10.0.0.50
CSeq: 1 INVITE

v=0
"
    );
}
