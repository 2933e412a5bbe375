//! `set`: what a rule changes, byte for byte, and that nothing else can be written through it.

use proptest::prelude::*;
use sip_parser::{HeaderLine, HeaderName, Start, Uri, parse};

use super::forwarding::{INVITE, invite_with};
use crate::drop_reason::DropReason;
use crate::transaction::What;

use super::world::{Became, CONFIGURATION, World, fib, header, headers, masked};

const ALICE: &str = "10.0.0.50:5060";
const GATEWAY: &str = "10.0.0.100:5060";

/// The usual host, with a rule for `when` that changes `set` and sends to the gateway.
fn world(when: &str, set: &str) -> World {
    to("sip:10.0.0.100:5060", when, set)
}

fn to(to: &str, when: &str, set: &str) -> World {
    let rule = format!(
        "[[route]]\nname = \"set\"\nwhen = {{ {when} }}\nto = \"{to}\"\nmode = \"stateless\"\nset = {{ {set} }}\n\n[[route]]\nname = \"unwanted\""
    );
    World::of(&CONFIGURATION.replacen("[[route]]\nname = \"unwanted\"", &rule, 1), fib())
}

fn invite(uri: &str) -> String {
    INVITE.replacen("INVITE sip:bob@192.0.2.9 ", &format!("INVITE {uri} "), 1)
}

#[track_caller]
fn sent(world: &mut World, text: &str) -> String {
    world.forwarded("private", ALICE, text, "private", GATEWAY)
}

/// The Request-URI that goes on.
#[track_caller]
fn uri(when: &str, set: &str, uri: &str) -> String {
    let text = sent(&mut world(when, set), &invite(uri));
    text.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn the_whole_of_a_changed_invite() {
    let mut world = world(
        r"ruri_user = '^0([1-9][0-9]+)$', from_user = '^([a-z]).*$'",
        r#"ruri_user = "+33$1", ruri_host = "carrier.example:5070", from = { display = "Front \"desk\"" },
           p_asserted_identity = { user = "+33${ruri_user.1}", host = "example.net" },
           header = { Subject = "to $1 by ${from_user.1}", X-New = "new" }, add = { Diversion = "<sip:$1@us>" },
           remove = ["x-gone"]"#
            .replace('\n', " ")
            .as_str(),
    );
    let text = sent(
        &mut world,
        &invite("sip:0612;npdi@10.0.0.4:5060;user=phone;maddr=192.0.2.77").replace(
            "Contact:",
            "X-Gone: 1\ns: old\nP-Asserted-Identity: \"A, B\" <sip:alice:pw@10.0.0.50:5062;x>;y, <tel:+1>\n\
             X-Gone: 2, 3\nDiversion: <sip:9@them>\nSubject: older\nContact:",
        ),
    );
    assert_eq!(
        masked(&text),
        "INVITE sip:+33612@carrier.example:5070;user=phone SIP/2.0
Record-Route: <sip:TOKEN@10.0.0.4:5060;lr>
Via: SIP/2.0/UDP 10.0.0.4:5060;rport;branch=BRANCH;vl=MARK
Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9
Max-Forwards: 69
From: \"Front \\\"desk\\\"\" <sip:alice@10.0.0.50>;tag=9fxced76sl
To: Bob <sip:bob@192.0.2.9>
Call-ID: 3848276298220188511@10.0.0.50
CSeq: 1 INVITE
s: to 612 by a
P-Asserted-Identity: \"A, B\" <sip:+33612@example.net;x>;y, <tel:+1>
Diversion: <sip:612@us>
Diversion: <sip:9@them>
Contact: <sip:alice@10.0.0.50>
Content-Length: 0
X-New: new

"
    );
}

#[test]
fn the_edges_of_a_user() {
    let always = "method = \"INVITE\"";
    assert_eq!(uri(always, "strip = 2", "sip:0049301@a.example"), "sip:49301@a.example");
    let both = "strip = 2, prefix = \"+\"";
    assert_eq!(
        uri(always, both, "sip:00%3493;x=y:pw@a.example:5062;z"),
        "sip:+%3493;x=y:pw@a.example:5062;z"
    );
    // An escape counts as one.
    assert_eq!(uri(always, both, "sip:%30%301;x@a.example"), "sip:+1;x@a.example");
    assert_eq!(uri(always, both, "tel:0049301;phone-context=+49"), "tel:+49301;phone-context=+49");
    // A Request-URI without a user has none to change.
    assert_eq!(uri(always, both, "sip:a.example"), "sip:a.example");
    let mut world = world(always, "strip = 2");
    for short in ["sip:0@a.example", "sip:00@a.example", "sip:00;phone-context=+49@a.example", "tel:00"] {
        let text = world.answered("private", ALICE, &invite(short), 484);
        assert!(text.starts_with("SIP/2.0 484 Address Incomplete: Nothing Left Of The User\n"), "{text}");
    }
    let ack = invite("sip:0@a.example").replace("INVITE", "ACK");
    world.dropped("private", ALICE, &ack, crate::drop_reason::DropReason::AckRefused);
}

#[test]
fn the_host_of_a_tel_uri() {
    // RFC 3261 §19.1.6: "tel:+358-555-1234567;postd=pp22 becomes
    // sip:+358-555-1234567;postd=pp22@foo.com;user=phone"
    let always = "method = \"INVITE\"";
    let host = "ruri_host = \"foo.com\"";
    assert_eq!(
        uri(always, host, "tel:+358-555-1234567;postd=pp22"),
        "sip:+358-555-1234567;postd=pp22@foo.com;user=phone"
    );
    assert_eq!(
        uri(always, host, "tel:1;phone-context=[::1]"),
        "sip:1;phone-context=%5B%3A%3A1%5D@foo.com;user=phone"
    );
    let all = "ruri_user = \"7\", ruri_host = \"foo.com\"";
    assert_eq!(uri(always, all, "tel:1;phone-context=+1"), "sip:7@foo.com;user=phone");
    assert_eq!(uri(always, all, "sip:a.example;transport=udp"), "sip:7@foo.com;transport=udp");
}

#[test]
fn the_new_request_uri_is_the_one_that_is_followed() {
    let mut world = to("request-uri", "ruri_prefix = \"0\"", "strip = 1, ruri_host = \"10.0.0.100\"");
    let text = sent(&mut world, &invite("sip:0123@192.0.2.9:5099;maddr=192.0.2.8"));
    assert!(text.starts_with("INVITE sip:123@10.0.0.100 SIP/2.0\n"), "{text}");
    // What names ourselves does so after the change, and no longer where it did before.
    let text = sent(&mut world, &invite("sip:0123@sip.example.net"));
    assert!(text.starts_with("INVITE sip:123@10.0.0.100 SIP/2.0\n"), "{text}");
    let mut world = to("request-uri", "ruri_prefix = \"0\"", "ruri_host = \"sip.example.net\"");
    world.answered("private", ALICE, &invite("sip:0123@192.0.2.9"), 404);
}

#[test]
fn a_strict_router_gets_the_new_request_uri_as_a_route() {
    let mut world = to("request-uri", "ruri_prefix = \"0\"", "strip = 1, ruri_host = \"b.example\"");
    let text = INVITE.replacen("sip:bob@192.0.2.9 ", "sip:0123@192.0.2.9 ", 1);
    let text = text.replace("Contact:", "Route: <sip:10.0.0.100>\nContact:");
    let text = sent(&mut world, &text);
    assert!(text.starts_with("INVITE sip:10.0.0.100 SIP/2.0\n"), "{text}");
    assert_eq!(header(&text, "Route"), "<sip:123@b.example>");
}

/// RFC 3261 §9.1: "The Request-URI, Call-ID, To, the numeric part of CSeq, and From header fields in the CANCEL
/// request MUST be identical to those in the request being cancelled, including tags." §17.1.1.3 of the ACK: "The
/// ACK request constructed by the client transaction MUST contain values for the Call-ID, From, and Request-URI that
/// are equal to the values of those header fields in the request passed to the transport".
#[test]
fn what_belongs_to_the_transaction_is_changed_alike() {
    let set = "strip = 1, prefix = \"+33\", header = { X-Trunk = \"7\" }, to = { display = \"\" }";
    let mut world = world("ruri_prefix = \"0\"", set);
    let text = invite("sip:0123@192.0.2.9");
    let first = sent(&mut world, &text);
    assert_eq!(sent(&mut world, &text), first, "a retransmission");
    assert_eq!(header(&first, "To"), "<sip:bob@192.0.2.9>");
    let via = |text: &str| headers(text, "Via").next().unwrap().split(";vl=").next().unwrap().to_owned();
    let of_the_transaction = |world: &mut World| {
        let cancel = sent(world, &text.replace("INVITE", "CANCEL"));
        assert!(cancel.starts_with("CANCEL sip:+33123@192.0.2.9 SIP/2.0\n"), "{cancel}");
        assert_eq!((via(&cancel), header(&cancel, "To")), (via(&first), header(&first, "To")));
        assert_eq!(header(&cancel, "X-Trunk"), "7");
    };
    of_the_transaction(&mut world);
    let ack = text.replace("INVITE", "ACK").replace("<sip:bob@192.0.2.9>", "<sip:bob@192.0.2.9>;tag=b");
    let ack = sent(&mut world, &ack);
    assert!(ack.starts_with("ACK sip:+33123@192.0.2.9 SIP/2.0\n"), "{ack}");
    assert_eq!(via(&ack), via(&first));
    // Without the memory of it, too.
    world.restart();
    of_the_transaction(&mut world);
}

#[test]
fn requests_within_a_dialog_stay_as_they_are() {
    let set = "strip = 1, header = { X-Trunk = \"7\" }";
    let mut world = world("ruri_prefix = \"0\"", set);
    for method in ["INVITE", "BYE", "ACK", "UPDATE"] {
        let text = invite("sip:0123@192.0.2.9").replace("INVITE", method);
        let text = text.replace("Bob <sip:bob@192.0.2.9>", "Bob <sip:bob@192.0.2.9>;tag=b");
        let text = sent(&mut world, &text.replace("74bf9", method));
        assert!(text.starts_with(&format!("{method} sip:0123@192.0.2.9 SIP/2.0\n")), "{text}");
        assert_eq!(headers(&text, "X-Trunk").count(), 0);
    }
}

#[test]
fn a_request_that_comes_back_as_it_was_sent_has_looped() {
    // RFC 5393 §4.2.2: changed it spirals, unchanged it loops.
    let mut world = world("ruri_prefix = \"0\"", "ruri_user = \"0${ruri_user}\"");
    let first = sent(&mut world, &invite("sip:01@192.0.2.9"));
    assert!(first.starts_with("INVITE sip:001@"), "{first}");
    let again = world.forwarded("private", ALICE, &first, "private", GATEWAY);
    assert!(again.starts_with("INVITE sip:0001@"), "{again}");
    let back = again.replacen("INVITE sip:0001@", "INVITE sip:001@", 1);
    world.answered("private", ALICE, &back, 482);
}

#[test]
fn what_a_template_shows_of_from_and_to_counts_as_read() {
    let reads = |set: &str| {
        // No other rule reads any of it.
        let world = world("ruri_user = '^(b)'", set);
        world.snapshot.plan.matcher.reads_parties()
    };
    assert!(!reads("ruri_user = \"1\", header = { X-Is = \"$1${ruri_user}\" }"));
    for set in [
        "ruri_user = \"1${from_user}\"",
        "header = { X-Is = \"${to_user}\" }",
        "diversion = { user = \"${to_user}\" }",
    ] {
        assert!(reads(set), "{set}");
    }
}

#[test]
fn headers_that_come_out_empty_are_not_written() {
    let mut world = world(
        "ruri_user = '^(a)?(.*)$'",
        "header = { X-Is = \"$1\", X-Was = \"$1\" }, add = { X-Add = \"$1\" }, diversion = { user = \"$1\", display = \"$1\" }",
    );
    let lines = "X-Was: 1\nX-Was: 2\nDiversion: x <sip:h>, sip:u:p@h:1;z";
    let text = sent(&mut world, &invite_with(lines));
    assert_eq!(text.lines().filter(|line| line.starts_with("X-")).count(), 0, "{text}");
    assert_eq!(header(&text, "Diversion"), "<sip:h>, sip:u:p@h:1;z");
    let text = sent(&mut world, &invite_with(lines).replacen("sip:bob@", "sip:abe@", 1));
    assert_eq!((header(&text, "X-Is"), header(&text, "X-Was"), header(&text, "X-Add")), ("a", "a", "a"));
    assert_eq!(header(&text, "Diversion"), "\"a\" <sip:a@h>, \"a\" <sip:a@h:1>;z");
}

#[test]
fn more_than_fits_is_answered() {
    let mut world = world("method = \"INVITE\"", "p_asserted_identity = { user = \"x\", host = \"y\" }");
    let many = vec!["<sip:a@b>"; 200].join(",");
    world.answered("private", ALICE, &invite_with(&format!("P-Asserted-Identity: {many}")), 513);
    let all = vec!["X: y"; 140].join("\n");
    let mut world = super::set::world("method = \"INVITE\"", "remove = [\"X\"]");
    assert_eq!(headers(&sent(&mut world, &invite_with(&all)), "X").count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the request shows: what goes on parses, says what was asked for, and has no line that was not.
    #[test]
    fn nothing_can_be_written_through_it(
        user in "([0-9a-z+*#/?;,&=$!~'()._-]|%0[daDA0]|%2[0-9a-f]|%[0-9a-f]{2}|%3[bBeEcC]|%40){1,24}",
        from in "([0-9a-z]|%0[da]|%2[2c]|%5c|%3[bec]|%ff|%c3%a9){1,16}",
    ) {
        let set = "ruri_user = \"7$1\", header = { X-Shown = \"<sip:$1@h>;a=x${from_user.1}\", Subject = \"$1\" }, \
                   from = { display = \"${from_user.1}\" }, p_asserted_identity = { user = \"1${ruri_user}\", display = \"$1\" }";
        let mut world = world("ruri_user = '(?s)^(.*)$', from_user = '(?s)^(.*)$'", set);
        let user = user.replace('#', "%23");
        let text = invite_with("P-Asserted-Identity: <sip:x@y>, sip:z@y");
        let text = text.replacen("sip:bob@", &format!("sip:{user}@"), 1).replacen("sip:alice@", &format!("sip:{from}@"), 1);
        let on = world.snapshot.plan.listener_named("private").unwrap().id;
        let bytes = super::world::wire(&text);
        let incoming = crate::proxy::Incoming::datagram(bytes.as_bytes(), on, ALICE.parse().unwrap());
        let outcome = crate::proxy::handle(&mut world.state, &world.snapshot, &incoming, world.now, &mut world.out);
        let crate::proxy::Outcome::Forward { len, .. } = outcome else { panic!("{outcome:?}") };
        let out = world.out[..len].to_vec();
        let mut lines = [HeaderLine::EMPTY; 64];
        let message = parse(&out, &mut lines).unwrap();
        prop_assert_eq!(message.defect(), None);
        let mut names: Vec<&[u8]> = message.lines().iter().map(|line| message.text(line.key())).collect();
        names.sort();
        let wanted: [&[u8]; 13] = [
            b"CSeq", b"Call-ID", b"Contact", b"Content-Length", b"From", b"Max-Forwards", b"P-Asserted-Identity",
            b"Record-Route", b"Subject", b"To", b"Via", b"Via", b"X-Shown",
        ];
        // A user that is nothing but parameters shows nothing, and what should show it is not written.
        let nothing = [&user, &from].map(|user| user.starts_with(';') || user.to_lowercase().starts_with("%3b"));
        let is_written = |name: &&[u8]| match *name {
            b"Subject" => !nothing[0],
            b"X-Shown" => nothing == [false; 2],
            _ => true,
        };
        let wanted: Vec<&[u8]> = wanted.into_iter().filter(is_written).collect();
        prop_assert_eq!(names, wanted);
        // What templates show, decoded once again, is what rules have seen.
        let plain = |user: &str| {
            let mut room = [0; 512];
            crate::rules::plain_user(user.as_bytes(), &mut room).to_vec()
        };
        let decoded = |text: &[u8]| {
            let mut room = [0; 512];
            sip_parser::percent_decode(text, &mut room).to_vec()
        };
        let Start::Request(line) = message.start() else { panic!() };
        let new = Uri::request(message.text(line.uri)).unwrap();
        let seven = [b"7", &plain(&user)[..]].concat();
        prop_assert_eq!(decoded(new.user().unwrap()), seven);
        prop_assert_eq!(new.host_text(), b"192.0.2.9");
        for line in message.named(b"X-Shown") {
            let shown = sip_parser::NameAddr::parse(message.text(line.value)).unwrap();
            prop_assert_eq!(decoded(shown.uri.user().unwrap()), plain(&user));
            prop_assert_eq!(decoded(shown.param(b"a").unwrap().value.unwrap()), [b"x", &plain(&from)[..]].concat());
        }
        let own = sip_parser::NameAddr::parse(message.value(HeaderName::From)).unwrap();
        let uri = format!("sip:{from}@10.0.0.50");
        prop_assert_eq!(own.uri.text(), uri.as_bytes());
        prop_assert_eq!(own.tag(), Some(&b"9fxced76sl"[..]));
        let identities = message.named(b"P-Asserted-Identity").next().unwrap();
        let values: Vec<_> = message.values_in(identities).map(|v| sip_parser::NameAddr::parse(v.unwrap().text).unwrap()).collect();
        prop_assert_eq!(values.len(), 2);
        for value in values {
            prop_assert_eq!(decoded(value.uri.user().unwrap()), [b"1", &plain(&user)[..]].concat());
        }
        prop_assert!(!matches!(world.receive("private", ALICE, &text), Became::Drop(_)));
    }
}

/// What a transaction sends by itself is made of what its rule made of the request.
#[test]
fn the_next_of_several_next_hops_gets_the_same_changes() {
    let rule = "[[route]]\nname = \"set\"\nwhen = { ruri_prefix = \"0\" }\nmode = \"stateful\"\n\
                to = [\"sip:10.0.0.100\", \"sip:192.0.2.9\"]\n\
                set = { strip = 1, prefix = \"+33\", header = { X-Trunk = \"7\" } }\n\n[[route]]\nname = \"unwanted\"";
    let text = CONFIGURATION.replacen("[[route]]\nname = \"unwanted\"", rule, 1);
    let mut world = World::keeping(&text, 0, 1);
    let first = sent(&mut world, &invite("sip:0123@192.0.2.9"));
    world.due();
    let refused = super::world::response(&first, "503 Service Unavailable", "b");
    world.dropped("private", GATEWAY, &refused, DropReason::Absorbed);
    let due = world.due();
    let made = |what: What| due.iter().find(|sent| sent.what == what).map(|sent| sent.text.as_str()).unwrap();
    let (second, ack) = (made(What::Branch), made(What::Ack));
    for (text, method) in [(first.as_str(), "INVITE"), (second, "INVITE"), (ack, "ACK")] {
        assert!(text.starts_with(&format!("{method} sip:+33123@192.0.2.9 SIP/2.0\n")), "{text}");
    }
    assert_eq!(headers(second, "X-Trunk").collect::<Vec<_>>(), ["7"]);
    // The CANCEL that is made here, once the second one rings.
    let ringing = super::world::response(second, "180 Ringing", "c");
    world.relayed("public", "192.0.2.9:5060", &ringing, "private", ALICE);
    let cancel = invite("sip:0123@192.0.2.9").replace("INVITE", "CANCEL");
    world.answered("private", ALICE, &cancel, 200);
    let due = world.due();
    let cancel = due.iter().find(|sent| sent.what == What::Cancel).unwrap();
    assert!(cancel.text.starts_with("CANCEL sip:+33123@192.0.2.9 SIP/2.0\n"), "{}", cancel.text);
}

#[test]
fn the_urn_of_an_emergency_service() {
    let when = r"ruri_user = '^urn:service:sos\.?([a-z]*)$'";
    let urn = "URN:service:sos.fire";
    assert_eq!(uri(when, r#"ruri_user = "112", ruri_host = "psap.example""#, urn), "sip:112@psap.example");
    assert_eq!(uri(when, r#"ruri_user = "$1", ruri_host = "psap.example""#, urn), "sip:fire@psap.example");
    assert_eq!(uri(when, r#"ruri_host = "psap.example""#, urn), "sip:psap.example");
    assert_eq!(uri(when, r#"ruri_user = "112""#, urn), "tel:112");
    assert_eq!(uri(when, r#"prefix = "0""#, urn), urn);
}
