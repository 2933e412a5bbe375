//! RFC 3261 §16.4: Route information preprocessing.

use super::forwarding::{INVITE, invite_with};
use super::world::{World, header, headers};
use crate::drop_reason::DropReason;

#[test]
fn a_route_that_names_us_is_removed() {
    // "If the first value in the Route header field indicates this proxy, the proxy MUST remove that value
    // from the request."
    for (routes, left) in [
        ("Route: <sip:10.0.0.4;lr>", &[][..]),
        ("Route: <sip:10.0.0.4:5060;lr>;x=y", &[]),
        ("Route: \"Us\" <sip:sip.example.net;lr>", &[]),
        ("Route: <sip:198.51.100.7:5070;lr>", &[]),
        ("Route: <sip:10.0.0.4;lr>, <sip:192.0.2.9;lr>", &["<sip:192.0.2.9;lr>"]),
        ("Route: <sip:10.0.0.4;lr>,<sip:203.0.113.10:5080;lr>,\t<sip:192.0.2.9;lr>", &["<sip:192.0.2.9;lr>"]),
        (
            "Route: <sip:10.0.0.4;lr>\nSubject: x\nRoute: <sip:192.0.2.9;lr>, <sip:x.example;lr>",
            &["<sip:192.0.2.9;lr>, <sip:x.example;lr>"],
        ),
        // Only the first ones: ours further down is for a later visit.
        ("Route: <sip:192.0.2.9;lr>, <sip:10.0.0.4;lr>", &["<sip:192.0.2.9;lr>, <sip:10.0.0.4;lr>"]),
        // A port that is none of ours is not us.
        ("Route: <sip:192.0.2.9:5060;lr>", &["<sip:192.0.2.9:5060;lr>"]),
    ] {
        let text = World::new().forwarded(
            "private",
            "10.0.0.50:5060",
            &invite_with(routes),
            "public",
            "192.0.2.9:5060",
        );
        assert_eq!(headers(&text, "Route").collect::<Vec<_>>(), left, "{routes}");
    }
}

#[test]
fn a_folded_route_line_stays_sound() {
    let text = World::new().forwarded(
        "private",
        "10.0.0.50:5060",
        &invite_with("Route: <sip:10.0.0.4;lr>\n ,\n <sip:192.0.2.9;lr>\n , <sip:z.example;lr>"),
        "public",
        "192.0.2.9:5060",
    );
    assert!(text.contains("\nRoute: <sip:192.0.2.9;lr>\n , <sip:z.example;lr>\nContent-Length"), "{text}");
}

#[test]
fn more_own_routes_than_anybody_needs_are_refused() {
    let many = ["<sip:10.0.0.4;lr>"; crate::limits::OWN_ROUTES].join(",");
    let text = invite_with(&format!("Route: {many}"));
    World::new().forwarded("private", "10.0.0.50:5060", &text, "public", "192.0.2.9:5060");
    let text = invite_with(&format!("Route: {many},<sip:10.0.0.4;lr>"));
    let answer = World::new().answered("private", "10.0.0.50:5060", &text, 403);
    assert!(answer.starts_with("SIP/2.0 403 Forbidden: Next Hop Is This Proxy\n"), "{answer}");
}

#[test]
fn our_route_without_a_token_goes_by_the_rules() {
    let routed = |to_tag: &str| {
        invite_with("Route: <sip:203.0.113.10;lr>")
            .replace("10.0.0.50", "192.0.2.50")
            .replace("To: Bob <sip:bob@192.0.2.9>", &format!("To: Bob <sip:bob@192.0.2.9>{to_tag}"))
    };
    let mut world = World::new();
    // No rule matches from the outside.
    world.answered("public", "192.0.2.50:5060", &routed(""), 403);
    let answer = world.answered("public", "192.0.2.50:5060", &routed(";tag=b"), 481);
    assert!(answer.starts_with("SIP/2.0 481 Call/Transaction Does Not Exist\n"), "{answer}");
    let ack = routed(";tag=b").replace("INVITE", "ACK");
    world.dropped("public", "192.0.2.50:5060", &ack, DropReason::AckRefused);
    assert_eq!(world.tally().bad_tokens, 0, "there was no token");
}

#[test]
fn maddr_that_names_us_is_stripped() {
    // "If the Request-URI has a maddr parameter with a value the proxy is responsible for, and the request
    // was received using the port and transport indicated (explicitly or by default) in the Request-URI,
    // the proxy MUST strip the maddr and any non-default port or transport parameter and continue
    // processing as if those values had not been present in the request."
    for (on, uri, left) in [
        ("private", "sip:bob@192.0.2.9;maddr=10.0.0.4", "sip:bob@192.0.2.9"),
        ("private", "sip:bob@192.0.2.9:5060;x;maddr=sip.example.net;y", "sip:bob@192.0.2.9:5060;x;y"),
        ("private", "sip:bob@192.0.2.9;transport=udp;maddr=10.0.0.4;z", "sip:bob@192.0.2.9;z"),
        ("public-5080", "sip:bob@192.0.2.9:5080;maddr=203.0.113.10", "sip:bob@192.0.2.9"),
    ] {
        let text = INVITE.replacen("sip:bob@192.0.2.9", uri, 1);
        let by = if on == "private" { "public" } else { on };
        let text = World::new().forwarded(on, "10.0.0.50:5060", &text, by, "192.0.2.9:5060");
        assert!(text.starts_with(&format!("INVITE {left} SIP/2.0\n")), "{uri}: {text}");
    }
    // "A request may arrive with a maddr matching the proxy, but on a port or transport different from that
    // indicated in the URI. Such a request needs to be forwarded to the proxy using the indicated port and
    // transport." We send nothing to ourselves.
    let text = INVITE.replacen("sip:bob@192.0.2.9", "sip:bob@192.0.2.9:5080;maddr=203.0.113.10", 1);
    World::new().answered("private", "10.0.0.50:5060", &text, 404);
    // Somebody else's maddr is where it goes (§16.5: "If the Request-URI of the request contains an maddr
    // parameter, the Request-URI MUST be placed into the target set as the only target URI").
    let text = INVITE.replacen("sip:bob@192.0.2.9", "sip:bob@10.0.0.4;maddr=192.0.2.44", 1);
    let text = World::new().forwarded("natted", "10.0.0.50:5060", &text, "public", "192.0.2.44:5060");
    assert!(text.starts_with("INVITE sip:bob@10.0.0.4;maddr=192.0.2.44 SIP/2.0\n"));
}

#[test]
fn a_strict_router_and_a_strict_next_hop_at_once() {
    let mut world = World::new();
    let invite = world.forwarded("private", "10.0.0.50:5060", INVITE, "public", "192.0.2.9:5060");
    let ours: Vec<_> = headers(&invite, "Record-Route").map(|v| v.trim_matches(['<', '>'])).collect();
    // The callee's neighbour is a strict router: our value is in the Request-URI, the remote target last.
    let bye = format!(
        "BYE {} SIP/2.0
Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKbye
Max-Forwards: 70
Route: <{}>
Route: <sip:10.0.0.70>,<sip:10.0.0.71;lr>
Route: <sip:alice@10.0.0.50;method=INVITE?x=y>
From: Bob <sip:bob@192.0.2.9>;tag=b1
To: Alice <sip:alice@10.0.0.50>;tag=9fxced76sl
Call-ID: 3848276298220188511@10.0.0.50
CSeq: 2 BYE
Content-Length: 0

",
        ours[0], ours[1]
    );
    let text = world.forwarded("public", "192.0.2.9:5060", &bye, "private", "10.0.0.70:5060");
    assert!(text.starts_with("BYE sip:10.0.0.70 SIP/2.0\n"), "{text}");
    assert_eq!(headers(&text, "Route").collect::<Vec<_>>(), ["<sip:10.0.0.71;lr>, <sip:alice@10.0.0.50>"]);
    assert_eq!(header(&text, "CSeq"), "2 BYE");
}
