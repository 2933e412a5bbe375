//! What leaves over TLS: whose certificate is asked for, what is written, what is kept, and what is said where it fails.

use super::forwarding::INVITE;
use super::world::{Became, World, header, headers, masked, wire};
use crate::limits::STREAM_NAMES;
use crate::net::Transport;
use crate::pki::Authority;
use crate::proxy::name_of_client;
use crate::rules::Mode;
use crate::stream::{NameId, Number, StreamId};
use crate::tls::Failure;
use crate::transaction::{SendFailure, What};

const CONFIGURATION: &str = r#"
[hosts]
"carrier.example" = ["192.0.2.9"]
"other.example" = ["192.0.2.9"]

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "tls"
bind = "tls:203.0.113.10:5061"
advertise = "sip.example.net:5061"
certificate = "FOLDER/a.crt"
key = "FOLDER/a.key"
ca = "FOLDER/ca.pem"
"#;

const ALICE: &str = "10.0.0.50:5060";

/// The host with these sections more, and this one rule.
fn world(more: &str, rule: &str) -> World {
    with(CONFIGURATION, more, rule)
}

pub fn with(configuration: &str, more: &str, rule: &str) -> World {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("A"));
    let pair = authority.issue(&["sip.example.net"]);
    for (name, text) in [("a.crt", &pair.certificate), ("a.key", &pair.key), ("ca.pem", &authority.pem())] {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    let listeners = configuration.replace("FOLDER", &folder.path().display().to_string());
    World::keeping(&format!("{more}{listeners}[[route]]\nname = \"one\"\n{rule}\n"), 0, 1)
}

/// An INVITE to this URI.
fn invite(uri: &str) -> String {
    INVITE.replacen("sip:bob@192.0.2.9", uri, 1)
}

/// Another call.
fn again(text: &str) -> String {
    text.replace("74bf9", "74bfa").replace("Call-ID: ", "Call-ID: 2-")
}

/// Whose certificate is asked for where the request goes to.
fn asked(world: &mut World, text: &str) -> (Number, Option<String>) {
    match world.receive("private", ALICE, text) {
        Became::Forward { from, to, decision, .. } => {
            assert_eq!((from.as_str(), to.to_string().as_str()), ("tls", "192.0.2.9:5061"));
            let name = decision.stream.name().and_then(|id| world.state.name_of(id));
            (decision.stream, name.map(|name| name.to_string()))
        }
        other => panic!("not forwarded: {other:?}"),
    }
}

/// RFC 5922 §7.3: "the client MUST compare the original domain portion of the SIP AUS used as input to the RFC 3263 server location
/// procedures to the SIP domain identities obtained from the certificate."
#[test]
fn the_name_before_dns_is_whose_certificate_is_asked_for() {
    let carrier = Some("carrier.example".to_owned());
    let mut one = world("", "to = \"sip:Carrier.example.;transport=tls\"");
    assert_eq!(asked(&mut one, &invite("sip:bob@192.0.2.77")).1, carrier);
    let mut one = world("", "to = \"sips:carrier.example\"");
    assert_eq!(asked(&mut one, &invite("sip:bob@192.0.2.77")).1, carrier);
    let mut one = world(
        "",
        "to = \"sip:carrier.example\"\negress = { transport = \"tls\", address = \"203.0.113.10\" }",
    );
    assert_eq!(asked(&mut one, &invite("sip:bob@192.0.2.77")).1, carrier);
    let mut one = world("", "to = \"request-uri\"");
    let first = asked(&mut one, &invite("sip:bob@carrier.example;transport=tls"));
    assert_eq!(first.1, carrier);
    let other = asked(&mut one, &again(&invite("sips:bob@other.example")));
    assert_eq!(other.1.as_deref(), Some("other.example"));
    assert_ne!(first.0, other.0, "one address is two next hops");
    let routed = invite("sip:bob@192.0.2.77")
        .replace("74bf9", "74bfb")
        .replace("Max", "Route: <sips:carrier.example;lr>\nMax");
    assert_eq!(asked(&mut one, &routed), first);
}

#[test]
fn an_address_stands_for_itself_or_for_what_the_configuration_says() {
    let uri = "sip:bob@192.0.2.9;transport=tls";
    let by_rule = || world("", "to = \"sip:192.0.2.9;transport=tls\"");
    assert_eq!(asked(&mut by_rule(), &invite("sip:x")), (Number::OPENED, None));
    // Who is at this very address and port may have connected from there.
    assert_eq!(asked(&mut world("", "to = \"request-uri\""), &invite(uri)), (Number::ANY, None));
    let names =
        "[tls]\nnames = { \"192.0.2.0/24\" = \"carrier.example\", \"0.0.0.0/0\" = \"other.example\" }\n";
    for (rule, uri) in [("to = \"request-uri\"", uri), ("to = \"sip:192.0.2.9;transport=tls\"", "sip:x")] {
        assert_eq!(asked(&mut world(names, rule), &invite(uri)).1.as_deref(), Some("carrier.example"));
    }
}

/// Whoever answers DNS with his own address has a certificate for that.
#[test]
fn a_name_that_can_be_in_no_certificate_is_nobodys_whatever_dns_says() {
    let hosts = "[hosts]\n\"gw-.example\" = [\"192.0.2.9\"]\n\"-gw.example\" = [\"192.0.2.9\"]";
    let listeners = CONFIGURATION.replacen("\n[hosts]", hosts, 1);
    for name in ["gw-.example", "-gw.example"] {
        let mut world = with(&listeners, "", "to = \"request-uri\"");
        let nobody = (Number::named(NameId::NOBODY), None);
        assert_eq!(asked(&mut world, &invite(&format!("sips:bob@{name}"))), nobody);
        let by_egress =
            format!("to = \"sip:{name}\"\negress = {{ transport = \"tls\", address = \"203.0.113.10\" }}");
        assert_eq!(asked(&mut with(&listeners, "", &by_egress), &invite("sip:x")), nobody);
    }
}

/// A stranger's Request-URIs name as many servers as he likes.
#[test]
fn the_name_of_a_transaction_stays_until_that_is_over() {
    let mut world =
        world("", "to = [\"sip:carrier.example;transport=tls\", \"sip:other.example;transport=tls\"]");
    let first = asked(&mut world, &invite("sip:bob@192.0.2.77")).0;
    let names = |world: &mut World| {
        world.state.servers.reconfigured();
        (0..STREAM_NAMES).for_each(|n| {
            world.state.servers.number(&format!("n{n}.example"), false).expect("room");
        });
        let known = |host: &str, world: &mut World| {
            let id = world.state.servers.number(host, true).expect("room");
            (id, Number::named(id))
        };
        (known("carrier.example", world), known("other.example", world))
    };
    assert_eq!(names(&mut world).0.1, first);
    let second = names(&mut world).1;
    assert_eq!(names(&mut world).1, second, "the next one to try");
    world.due();
    let transaction = world.transaction.take().expect("a transaction");
    world.state.send_failed(transaction, SendFailure::Connection(Some(Failure::UnknownCa.cause())));
    let branch = world.due().pop().and_then(|sent| sent.transaction).expect("a branch");
    assert_eq!(names(&mut world).1, second);
    world.state.send_failed(branch, SendFailure::Connection(Some(Failure::NotTls.cause())));
    world.due();
    assert!(names(&mut world).0.1 != first && names(&mut world).1 != second, "nobody needs them");
}

/// RFC 5630 §5.3: "the proxy MUST reject it with a 480 (Temporarily Unavailable) response. In this case, the proxy SHOULD include
/// a Warning header with warn-code 380 "SIPS Not Allowed"."
#[test]
fn sips_goes_nowhere_without_tls() {
    let sips = invite("sips:bob@carrier.example");
    for rule in ["to = \"sip:192.0.2.9\"", "to = \"sip:192.0.2.9;transport=udp\"\negress = \"public\""] {
        let answer = world("", rule).answered("private", ALICE, &sips, 480);
        assert!(header(&answer, "Warning").starts_with("380 10.0.0.4:5060 \"SIPS Not Allowed: "), "{answer}");
    }
    // A name is looked up as if its own URI were a SIPS URI.
    assert_eq!(
        asked(&mut world("", "to = \"sip:carrier.example\""), &sips).1.as_deref(),
        Some("carrier.example")
    );
    // What a rule changes is as secure as before.
    let mut changed = world("", "to = \"sip:carrier.example;transport=tls\"\nset = { prefix = \"9\" }");
    let Became::Forward { text, .. } = changed.receive("private", ALICE, &invite("sips:1@a.example")) else {
        panic!()
    };
    assert!(text.starts_with("INVITE sips:91@a.example SIP/2.0\n"), "{text}");
    // The next one of `to` may be over TLS.
    let mut either = world("", "to = [\"sip:192.0.2.1\", \"sip:carrier.example;transport=tls\"]");
    assert_eq!(asked(&mut either, &sips).1.as_deref(), Some("carrier.example"));
    let mut udp = world("", "to = \"request-uri\"\negress = \"public\"");
    let answer = udp.receive("private", ALICE, &sips);
    assert!(matches!(answer, Became::Answer { status: 500, .. }), "the egress has no TLS: {answer:?}");
}

/// What the configuration asks for is kept as such: no name of a message pushes its answer out.
#[test]
fn a_sips_request_asks_dns_for_what_the_configuration_does() {
    for to in [
        "sips:unknown.example",
        "sip:unknown.example;transport=tls",
        "sip:unknown.example:5061;transport=tls",
    ] {
        let mut world = world("", &format!("to = \"{to}\""));
        world.receive("private", ALICE, &invite("sips:bob@bob.example"));
        let asked = world.state.nowhere().map(|(question, _)| *question);
        assert_eq!(asked.as_slice(), world.snapshot.plan.questions(), "{to}");
    }
}

/// A browser shows no certificate: whoever has connected from an address that DNS has for a name is not known to have it, but at
/// his own address he is reached, whatever name a server there would have.
#[test]
fn a_browser_is_at_its_address_and_has_no_name() {
    let listeners = CONFIGURATION.replace("\"tls\"", "\"wss\"").replace("tls:203", "wss:203");
    let names = "[tls]\nnames = { \"192.0.2.0/24\" = \"carrier.example\" }\n";
    for (host, stream) in [("192.0.2.9", Number::ANY), ("carrier.example", Number::OPENED)] {
        let mut world = with(&listeners, names, "to = \"request-uri\"");
        let uri = format!("sip:bob@{host}:5061;transport=wss");
        let Became::Forward { decision, .. } = world.receive("private", ALICE, &invite(&uri)) else {
            panic!()
        };
        assert_eq!((decision.stream, decision.next_hop.transport), (stream, Transport::Wss), "{host}");
    }
}

#[test]
fn what_is_written_says_that_a_side_is_over_tls() {
    let uri = "sip:bob@carrier.example;transport=tls";
    let lines = |more: &str, uri: &str| {
        let mut world = world(more, "to = \"request-uri\"");
        let Became::Forward { text, .. } = world.receive("private", ALICE, &invite(uri)) else { panic!() };
        assert!(header(&text, "Via").starts_with("SIP/2.0/TLS sip.example.net:5061;rport;branch="), "{text}");
        headers(&masked(&text), "Record-Route").map(str::to_owned).collect::<Vec<_>>()
    };
    let near = "<sip:TOKEN@10.0.0.4:5060;transport=udp;lr>";
    assert_eq!(lines("", uri), ["<sip:TOKEN@sip.example.net:5061;transport=tls;lr>", near]);
    let sips = lines("[egress]\nrecord_route_tls = \"sips\"\n", uri);
    assert!(sips[0].starts_with("<sips:") && sips[0].ends_with("@sip.example.net:5061;lr>"), "{sips:?}");
    assert_eq!(sips[1], near);
    // RFC 3261 §16.6 step 4: "If the Request-URI contains a SIPS URI […], the URI placed into the Record-Route header field
    // MUST be a SIPS URI"; but nobody could reach the side without TLS by one: "UDP is not a valid transport for SIPS" (§26.2.2).
    assert_eq!(lines("", "sips:bob@carrier.example"), ["<sips:TOKEN@sip.example.net:5061;lr>", near]);
}

/// Somebody has to be told where it fails, and a CANCEL has to go the same way.
#[test]
fn what_leaves_over_tls_is_kept_and_its_failure_is_answered() {
    let mut world = world("", "to = \"sip:carrier.example;transport=tls\"\nmode = \"stateless\"");
    let text = invite("sip:bob@192.0.2.77");
    let Became::Forward { decision, .. } = world.receive("private", ALICE, &text) else { panic!() };
    assert_eq!(decision.mode, Mode::Stateful);
    world.due();
    let transaction = world.transaction.take().expect("a transaction");
    let cause = Failure::Expired { not_after: 0 }.cause();
    world.state.send_failed(transaction, SendFailure::Connection(Some(cause)));
    let due = world.due();
    let [sent] = &due[..] else { panic!("{due:?}") };
    assert_eq!((sent.what, sent.to.to_string().as_str()), (What::Final, ALICE));
    let warning =
        "Warning: 399 viaduct \"TLS to the next hop failed: its certificate has expired (expired)\"\n";
    assert!(sent.text.starts_with("SIP/2.0 500 ") && sent.text.contains(warning), "{}", sent.text);
}

#[test]
fn the_next_one_is_tried_where_tls_fails_and_the_last_cause_is_told() {
    the_next_one_is_tried("");
}

/// Whatever is kept because of TLS has its other next hops, too.
#[test]
fn the_next_one_is_tried_where_tls_fails_also_by_a_route_that_would_keep_nothing() {
    the_next_one_is_tried("mode = \"stateless\"");
}

fn the_next_one_is_tried(mode: &str) {
    let to = "to = [\"sip:carrier.example;transport=tls\", \"sip:other.example;transport=tls\"]";
    let mut world = world("", &format!("{to}\n{mode}"));
    world.receive("private", ALICE, &invite("sip:bob@192.0.2.77"));
    world.due();
    let first = world.transaction.take().expect("a transaction");
    world.state.send_failed(first, SendFailure::Connection(Some(Failure::UnknownCa.cause())));
    let due = world.due();
    let [branch] = &due[..] else { panic!("{due:?}") };
    assert_eq!((branch.what, branch.from.as_str()), (What::Branch, "tls"));
    let second = branch.transaction.expect("a transaction");
    world.state.send_failed(second, SendFailure::Connection(Some(Failure::NotTls.cause())));
    let due = world.due();
    let text = &due.last().expect("an answer").text;
    assert!(text.contains("it does not speak TLS on this port (not_tls)"), "{text}");
}

/// RFC 7118 §5.2 writes WebSocket in one form, with TLS below it or without; a browser's sockets may come to either.
#[test]
fn a_maddr_that_names_us_is_stripped_where_a_browser_has_come_in_over_wss() {
    let listeners =
        CONFIGURATION.replace("\"tls\"", "\"wss\"").replace("tls:203.0.113.10:5061", "wss:203.0.113.10:443");
    for (uri, left) in [
        ("sip:bob@10.0.0.9;transport=ws;maddr=203.0.113.10", Some("sip:bob@10.0.0.9")),
        ("sip:bob@10.0.0.9:443;transport=wss;maddr=203.0.113.10", Some("sip:bob@10.0.0.9:443")),
        ("sip:bob@10.0.0.9:80;transport=ws;maddr=203.0.113.10", None),
        ("sip:bob@10.0.0.9:443;transport=tls;maddr=203.0.113.10", None),
    ] {
        let mut world = with(&listeners, "", "to = \"request-uri\"");
        let text = invite(uri).replace("UDP 10.0.0.50:5060", "WSS df7jal23ls0d.invalid");
        let by = Number::new(0, StreamId::first(3));
        match (world.receive_by("wss", "198.51.100.77:40123", wire(&text).as_bytes(), by, None), left) {
            (Became::Forward { from, to, text, .. }, Some(left)) => {
                assert_eq!((from.as_str(), to.to_string().as_str()), ("private", "10.0.0.9:5060"), "{uri}");
                assert!(text.starts_with(&format!("INVITE {left} SIP/2.0\n")), "{uri}: {text}");
            }
            (Became::Answer { .. }, None) => {}
            (other, _) => panic!("{uri}: {other:?}"),
        }
    }
}

/// RFC 3261 §18.2.2 has an answer whose connection is gone sent to the port of the sent-by, and over TLS whoever is there has to
/// be whom the sent-by names.
#[test]
fn an_answer_without_its_connection_is_for_whom_the_via_names() {
    let names = "[tls]\nnames = { \"192.0.2.0/24\" = \"carrier.example\" }\n";
    let world = world(names, "to = \"request-uri\"");
    let to = |ip: &str, sent_by: &str| {
        let answer = format!(
            "SIP/2.0 200 OK\r\nCall-ID: a\r\nv: SIP/2.0/TLS {sent_by};branch=z9hG4bK1, SIP/2.0/UDP b\r\nVia: SIP/2.0/UDP c\r\n\r\n"
        );
        let name = name_of_client(&world.snapshot, answer.as_bytes(), ip.parse().unwrap());
        name.map(|name| name.to_string())
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(to("192.0.2.9", "Phone.example:5061"), named("phone.example"));
    assert_eq!(
        to("192.0.2.9", "10.1.1.1"),
        named("carrier.example"),
        "by what is configured for where it goes"
    );
    assert_eq!(to("198.51.100.7", "198.51.100.7:5061"), named("198.51.100.7"));
    assert_eq!(to("2001:db8::7", "[2001:DB8:0::7]"), named("2001:db8::7"));
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(to("198.51.100.7", &long), None, "there is no such name");
    assert_eq!(
        name_of_client(&world.snapshot, b"SIP/2.0 200 OK\r\n\r\n", "192.0.2.9".parse().unwrap()),
        None
    );
}
