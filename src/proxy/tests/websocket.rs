//! Browsers: reached by the connections that they have opened, and by no other (RFC 5626 §5, RFC 7118).

use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, World, header, headers, response, wire};
use crate::drop_reason::DropReason;
use crate::egress::Reason;
use crate::proxy::Decision;
use crate::stream::{Number, StreamId};
use crate::token::FLOW_TOKEN_LEN;
use crate::transaction::{Handle, SendFailure, What};

/// A browser's end of its connection.
const WENDY: &str = "198.51.100.77:40123";
const SWITCH: &str = "10.0.0.100:5060";
/// The Contact of a browser, which does not know its address.
const CONTACT: &str = "<sip:wendy@df7jal23ls0d.invalid;transport=ws>";

fn connection() -> Number {
    Number::new(0, StreamId::first(9)).with_serial(70_000)
}

/// Another browser's.
fn other() -> Number {
    Number::new(0, StreamId::first(10)).with_serial(70_001)
}

/// They call by the switch inside.
const BROWSERS: &str =
    "[[route]]\nname = \"browsers\"\nwhen = { transport = [\"ws\"] }\nto = \"sip:10.0.0.100\"\n";

/// A host with a listener for browsers and these rules.
fn with_websocket(rules: &str) -> String {
    let (head, _) = CONFIGURATION.split_once("[[route]]").unwrap();
    format!("{head}\n[[listener]]\nname = \"ws\"\nbind = \"ws:203.0.113.10:8080\"\n{rules}")
}

/// Browsers call by the switch inside, and what comes from inside goes where it asks, statelessly as far as that may be.
fn world() -> World {
    let inside = "[[route]]\nname = \"inside\"\nwhen = { source = [\"10.0.0.0/8\"], transport = [\"udp\"] }\n\
        to = \"request-uri\"\nmode = \"stateless\"\n";
    World::keeping(&with_websocket(&format!("{BROWSERS}{inside}")), 0, 1)
}

/// A browser's request.
fn of_wendy(method: &str, more: &str) -> String {
    INVITE
        .replace("UDP 10.0.0.50:5060", "WS df7jal23ls0d.invalid")
        .replace("<sip:alice@10.0.0.50>\n", &format!("{CONTACT}\n{more}"))
        .replace("INVITE", method)
        .replace("Content-Length: 0\n", "")
}

fn by_websocket(world: &mut World, text: &str) -> Became {
    world.receive_by("ws", WENDY, wire(text).as_bytes(), connection(), None)
}

#[track_caller]
fn onward(became: Became) -> (Decision, String) {
    match became {
        Became::Forward { decision, text, .. } => (decision, text),
        other => panic!("not forwarded: {other:?}"),
    }
}

/// It goes to the browser, by its connection.
#[track_caller]
fn to_wendy(world: &mut World, text: &str, reason: Reason) -> (String, Option<Handle>) {
    let (decision, text) = onward(world.receive("private", SWITCH, text));
    assert_eq!(decision.next_hop.to_string(), format!("ws:{WENDY}"));
    assert_eq!((decision.stream, decision.egress.reason), (connection(), reason));
    assert!(header(&text, "Via").starts_with("SIP/2.0/WS 203.0.113.10:8080;rport;branch="), "{text}");
    assert_eq!(headers(&text, "Route").count(), 0, "{text}");
    (text, world.transaction)
}

/// A request of the switch in the dialog that this request has begun, whose URI is that of the browser.
fn of_switch(method: &str, begun: &str) -> String {
    let routes: String = headers(begun, "Record-Route").map(|value| format!("Route: {value}\n")).collect();
    in_dialog(method, begun, &routes)
}

fn in_dialog(method: &str, begun: &str, routes: &str) -> String {
    let (from, to, call) = (header(begun, "From"), header(begun, "To"), header(begun, "Call-ID"));
    let uri = CONTACT.trim_matches(['<', '>']);
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {SWITCH};branch=z9hG4bK{method}\n{routes}Max-Forwards: 70\n\
         From: {to};tag=s\nTo: {from}\nCall-ID: {call}\nCSeq: 8 {method}\nContent-Length: 0\n\n"
    )
}

/// The INVITE of a browser, as it goes on.
#[track_caller]
fn call(world: &mut World) -> String {
    let (decision, text) = onward(by_websocket(world, &of_wendy("INVITE", "")));
    assert_eq!(decision.next_hop.to_string(), format!("udp:{SWITCH}"));
    text
}

/// The token of a value, and what stands behind it.
fn token(value: &str) -> (&str, &str) {
    value.strip_prefix("<sip:").and_then(|value| value.split_once('@')).expect("a token")
}

#[test]
fn a_call_of_a_browser_records_its_connection_on_its_side() {
    let mut world = world();
    let sent = call(&mut world);
    let recorded: Vec<_> = headers(&sent, "Record-Route").map(token).collect();
    let behind: Vec<_> = recorded.iter().map(|(token, behind)| (token.len(), *behind)).collect();
    let expected =
        [(32, "10.0.0.4:5060;transport=udp;lr>"), (FLOW_TOKEN_LEN, "203.0.113.10:8080;transport=ws;lr>")];
    assert_eq!(behind, expected);
    assert_eq!(header(&sent, "Contact"), CONTACT);
    let ok = response(&sent, "200 OK", "s");
    world.relayed("private", SWITCH, &ok, "ws", "198.51.100.77:5060");
}

#[test]
fn requests_of_the_dialog_reach_the_browser_whatever_its_contact_says() {
    let mut world = world();
    let begun = call(&mut world);
    for method in ["ACK", "INVITE", "INFO", "BYE"] {
        let (text, transaction) = to_wendy(&mut world, &of_switch(method, &begun), Reason::Dialog);
        assert!(text.starts_with(&format!("{method} sip:wendy@df7jal23ls0d.invalid;transport=ws SIP/2.0\n")));
        assert_eq!(transaction.is_some(), method != "ACK", "{method}");
    }
}

#[test]
fn requests_of_the_browser_go_by_the_socket_of_the_other_side() {
    let mut world = world();
    let begun = call(&mut world);
    let mut routes: Vec<_> = headers(&begun, "Record-Route").collect();
    routes.reverse();
    let routes: String = routes.iter().map(|value| format!("Route: {value}\n")).collect();
    let bye = of_wendy("BYE", &routes)
        .replace("sip:bob@192.0.2.9 ", &format!("sip:{SWITCH} "))
        .replace("To: Bob <sip:bob@192.0.2.9>", "To: Bob <sip:bob@192.0.2.9>;tag=s");
    let (decision, text) = onward(by_websocket(&mut world, &bye));
    assert_eq!(
        (decision.next_hop.to_string(), decision.egress.reason),
        (format!("udp:{SWITCH}"), Reason::Dialog)
    );
    assert_eq!(headers(&text, "Route").count(), 0, "{text}");
}

#[test]
fn a_connection_that_is_gone_is_answered_430() {
    // RFC 5626 §5.3.1: "If the flow no longer exists, the proxy SHOULD send a 430 (Flow Failed) response to the request."
    for method in ["INVITE", "BYE"] {
        let mut world = world();
        let begun = call(&mut world);
        world.due();
        let (_, transaction) = to_wendy(&mut world, &of_switch(method, &begun), Reason::Dialog);
        let gone = SendFailure::Connection(None);
        world.state.send_failed(transaction.expect("a transaction"), gone);
        let due = world.due();
        let answer = due.iter().find(|sent| sent.what == What::Final).expect("an answer");
        assert!(answer.text.starts_with("SIP/2.0 430 Flow Failed\n"), "{}", answer.text);
        assert_eq!((answer.from.as_str(), answer.to.to_string().as_str()), ("private", SWITCH));
    }
}

/// Registrars forget a client at a 430.
#[test]
fn what_says_nothing_of_the_connection_is_no_430() {
    let mut world = world();
    let begun = call(&mut world);
    world.due();
    let (_, transaction) = to_wendy(&mut world, &of_switch("INVITE", &begun), Reason::Dialog);
    world.state.send_failed(transaction.expect("a transaction"), SendFailure::Other);
    let due = world.due();
    let answer = due.iter().find(|sent| sent.what == What::Final).expect("an answer");
    assert!(answer.text.starts_with("SIP/2.0 500 Next Hop Unreachable\n"), "{}", answer.text);
    world.lose_public();
    let answer = world.answered("private", SWITCH, &of_switch("BYE", &begun), 500);
    assert!(answer.starts_with("SIP/2.0 500 No Way To Next Hop\n"), "{answer}");
}

#[test]
fn sips_does_not_go_down_a_connection_without_tls() {
    // RFC 3261 §26.2.2: "When used as the Request-URI of a request, the SIPS scheme signifies that each hop over which the
    // request is forwarded, until the request reaches the SIP entity responsible for the domain portion of the Request-URI,
    // must be secured with TLS".
    let mut world = world();
    let path = path(&mut world, "Supported: path\n").expect("a Path");
    let route = format!("Route: {path}\n");
    let secure = to_register("INVITE", &route).replace("INVITE sip:", "INVITE sips:");
    let answer = world.answered("private", SWITCH, &secure, 480);
    assert!(answer.starts_with("SIP/2.0 480 Temporarily Unavailable: Next Hop Without TLS\n"), "{answer}");
    let begun = call(&mut world);
    let secure = of_switch("INVITE", &begun).replace("INVITE sip:", "INVITE sips:");
    world.answered("private", SWITCH, &secure, 480);
}

#[test]
fn a_preloaded_route_without_a_port_is_ours_by_either_port() {
    for (advertised, written, ours) in [
        ("edge.example:443", "edge.example", true),
        ("edge.example:80", "edge.example", true),
        ("edge.example:443", "edge.example:80", false),
        ("edge.example:8443", "edge.example", false),
    ] {
        let mut world = world();
        let listener = "bind = \"ws:203.0.113.10:8080\"\n";
        let host =
            with_websocket(BROWSERS).replace(listener, &format!("{listener}advertise = \"{advertised}\"\n"));
        world.reconfigure(&host, super::world::fib());
        let register = of_wendy("REGISTER", &format!("Route: <sip:{written};transport=ws;lr>\n"));
        let (_, text) = onward(by_websocket(&mut world, &register));
        assert_eq!(headers(&text, "Route").count(), usize::from(!ours), "{advertised} {written}");
    }
}

/// Another program than the one that browsers are connected to, as which `explain` speaks, cannot tell marks.
#[test]
fn without_connections_of_its_own_a_state_takes_those_that_are_named() {
    let mut world = world();
    world.state = std::mem::replace(&mut world.state, World::new().state).of_process(77);
    let begun = call(&mut world);
    world.restart();
    to_wendy(&mut world, &of_switch("BYE", &begun), Reason::Dialog);
}

#[test]
fn a_connection_of_an_earlier_process_is_gone() {
    let mut world = world();
    let begun = call(&mut world);
    world.state = std::mem::replace(&mut world.state, World::new().state).of_process(77);
    let text = world.answered("private", SWITCH, &of_switch("BYE", &begun), 430);
    assert!(text.starts_with("SIP/2.0 430 Flow Failed\n"));
    world.dropped("private", SWITCH, &of_switch("ACK", &begun), DropReason::AckUnroutable);
}

#[test]
fn names_of_browsers_are_not_looked_up() {
    let mut world = world();
    let begun = call(&mut world);
    let bye = in_dialog("BYE", &begun, "");
    let text = world.answered("private", SWITCH, &bye, 478);
    assert!(header(&text, "Warning").contains("does not exist"), "{text}");
    assert!(world.state.nowhere().is_none(), "nobody is asked");
    // An operator may know better.
    let inside = "[[route]]\nname = \"inside\"\nto = \"request-uri\"\n";
    let known =
        with_websocket(inside).replace("[hosts]\n", "[hosts]\n\"switch.invalid\" = [\"10.0.0.77\"]\n");
    world.reconfigure(&known, super::world::fib());
    let invite = to_register("INVITE", "").replace("df7jal23ls0d.invalid;transport=ws", "switch.invalid");
    world.forwarded("private", SWITCH, &invite, "private", "10.0.0.77:5060");
}

/// The Path that a browser's REGISTER with these lines gets.
fn path(world: &mut World, more: &str) -> Option<String> {
    let (_, text) = onward(by_websocket(world, &of_wendy("REGISTER", more)));
    assert_eq!(headers(&text, "Record-Route").count(), 0);
    headers(&text, "Path").next().map(str::to_owned)
}

#[test]
fn a_register_gets_a_path_where_the_client_knows_what_that_is() {
    // RFC 3327 §5.2: "Intermediate proxies SHOULD NOT add a Path header field to a request unless the UA has indicated support
    // for this extension with a Supported header field value."
    let path = |more: &str| path(&mut world(), more);
    assert_eq!(path(""), None);
    assert_eq!(path("Supported: 100rel\n"), None);
    let ours = "10.0.0.4:5060;transport=udp;lr;ob>";
    for supported in ["Supported: gruu, Path\n", "Supported: gruu\nk: outbound\n"] {
        let value = path(supported).expect("a Path");
        assert_eq!((token(&value).0.len(), token(&value).1), (FLOW_TOKEN_LEN, ours));
    }
    // RFC 5626 §5.1: "If the edge proxy is not the first SIP node after the UAC it MUST NOT place an "ob" URI parameter in a
    // Path header field value."
    let second = path("Supported: path\nVia: SIP/2.0/WS first.invalid;branch=z9hG4bK1\n").expect("a Path");
    assert_eq!(token(&second).1, "10.0.0.4:5060;transport=udp;lr>");
}

/// A request of the switch that begins a dialog.
fn to_register(method: &str, routes: &str) -> String {
    format!(
        "{method} {} SIP/2.0\nVia: SIP/2.0/UDP {SWITCH};branch=z9hG4bKcall\n{routes}Max-Forwards: 70\n\
         From: <sip:bob@example.net>;tag=b\nTo: <sip:wendy@example.net>\nCall-ID: in\nCSeq: 1 {method}\n\
         Contact: <sip:{SWITCH}>\nContent-Length: 0\n\n",
        CONTACT.trim_matches(['<', '>'])
    )
}

#[test]
fn a_path_leads_to_the_browser_and_so_does_the_dialog_that_begins_there() {
    let mut world = world();
    let path = path(&mut world, "Supported: path\n").expect("a Path");
    let route = format!("Route: {path}\n");
    let (sent, transaction) = to_wendy(&mut world, &to_register("INVITE", &route), Reason::Binding);
    assert!(transaction.is_some(), "its failure has to be answered");
    let recorded: Vec<_> = headers(&sent, "Record-Route").map(token).collect();
    let behind: Vec<_> = recorded.iter().map(|(token, behind)| (token.len(), *behind)).collect();
    let expected =
        [(FLOW_TOKEN_LEN, "203.0.113.10:8080;transport=ws;lr>"), (32, "10.0.0.4:5060;transport=udp;lr>")];
    assert_eq!(behind, expected);
    let mut routes: Vec<_> = headers(&sent, "Record-Route").collect();
    routes.reverse();
    let routes: String = routes.iter().map(|value| format!("Route: {value}\n")).collect();
    let bye = to_register("BYE", &routes)
        .replace("CSeq: 1", "CSeq: 2")
        .replace("wendy@example.net>\n", "wendy@example.net>;tag=w\n");
    to_wendy(&mut world, &bye, Reason::Dialog);
}

#[test]
fn a_path_is_no_way_round_the_rules_and_none_but_ours_counts() {
    let mut world = world();
    let path = path(&mut world, "Supported: path\n").expect("a Path");
    let route = format!("Route: {path}\n");
    // No rule lets requests from there in.
    world.answered("public", "192.0.2.66:5060", &to_register("INVITE", &route), 403);
    let (token, behind) = token(&path);
    let (rest, last) = token.split_at(token.len() - 1);
    let other = if last == "a" { "b" } else { "a" };
    let forged = format!("Route: <sip:{rest}{other}@{behind}\n");
    // RFC 5626 §5.3.1: "If the flow token has been tampered with, the proxy SHOULD send a 403 (Forbidden) response."
    let invite = to_register("INVITE", &forged);
    for contact in ["df7jal23ls0d.invalid;transport=ws", "10.0.0.77"] {
        let invite = invite.replace("df7jal23ls0d.invalid;transport=ws", contact);
        let answer = world.answered("private", SWITCH, &invite, 403);
        assert!(answer.starts_with("SIP/2.0 403 Forbidden: Not The Path That Was Given\n"), "{answer}");
    }
    assert_eq!(world.tally().bad_tokens, 2);
    world.dropped("private", SWITCH, &to_register("ACK", &forged), DropReason::AckRefused);
    // What a connection was that is gone, another one's is not. Who has no keys of then cannot tell who made the token, and
    // registrars forget the client at a 430.
    world.state = std::mem::replace(&mut world.state, World::new().state).of_process(77);
    for route in [route, forged] {
        world.answered("private", SWITCH, &to_register("OPTIONS", &route), 430);
    }
}

/// What is of the dialog stands below it, and leads on.
#[test]
fn what_stands_behind_a_path_that_nobody_gave_says_where_to() {
    let mut world = world();
    let path = path(&mut world, "Supported: path\n").expect("a Path");
    let forged = format!("Route: {}\n", path.replacen("sip:a", "sip:b", 1).replacen("sip:a", "sip:b", 1));
    assert_ne!(forged, format!("Route: {path}\n"));
    let begun = call(&mut world);
    let own: String = headers(&begun, "Record-Route").map(|value| format!("Route: {value}\n")).collect();
    to_wendy(&mut world, &in_dialog("BYE", &begun, &format!("{forged}{own}")), Reason::Dialog);
}

#[test]
fn a_path_behind_the_values_of_a_dialog_is_no_way_round_the_rules_either() {
    let mut world = world();
    world.reconfigure(&with_websocket(BROWSERS), super::world::fib());
    let path = path(&mut world, "Supported: path\n").expect("a Path");
    let of_another = of_wendy("INVITE", "").replace("Call-ID: ", "Call-ID: another-");
    let became = world.receive_by("ws", "198.51.100.78:40200", wire(&of_another).as_bytes(), other(), None);
    let begun = onward(became).1;
    let (decision, _) = onward(world.receive("private", SWITCH, &of_switch("INFO", &begun)));
    assert_eq!((decision.stream, decision.egress.reason), (other(), Reason::Dialog));
    let own: String = headers(&begun, "Record-Route").map(|value| format!("Route: {value}\n")).collect();
    let behind = |method| in_dialog(method, &begun, &format!("{own}Route: {path}\n"));
    world.answered("private", SWITCH, &behind("UPDATE"), 481);
    world.dropped("private", SWITCH, &behind("ACK"), DropReason::AckRefused);
}

/// A gateway, and then whom the request names.
const GATEWAY_FIRST: &str =
    "[[route]]\nname = \"inside\"\nto = [\"sip:10.0.0.9\", \"request-uri\"]\nfailover = [480]\n";

/// A request for a client's connection has been to a gateway, which has refused it; its turn is next.
fn first_one_refuses(world: &mut World) {
    let path = path(world, "Supported: path\n").expect("a Path");
    world.reconfigure(&with_websocket(GATEWAY_FIRST), super::world::fib());
    let invite = to_register("INVITE", &format!("Route: {path}\n"));
    let first = world.forwarded("private", SWITCH, &invite, "private", "10.0.0.9:5060");
    world.due();
    world.dropped("private", "10.0.0.9:5060", &response(&first, "480 Gone", "n"), DropReason::Absorbed);
}

#[test]
fn a_next_hop_follows_where_the_connection_is_gone() {
    let mut world = world();
    first_one_refuses(&mut world);
    let due = world.due();
    let second = due.iter().find(|sent| sent.what == What::Branch).expect("another attempt");
    assert_eq!((second.from.as_str(), second.to.to_string().as_str()), ("ws", WENDY));
    assert_eq!(token(header(&second.text, "Record-Route")).0.len(), FLOW_TOKEN_LEN);
}

#[test]
fn the_connection_of_a_listener_that_is_gone_is_no_other_ones() {
    let mut world = world();
    first_one_refuses(&mut world);
    let another = with_websocket(GATEWAY_FIRST).replace("name = \"ws\"", "name = \"other\"");
    world.reconfigure(&another, super::world::fib());
    let sent: Vec<_> = world.due().iter().map(|sent| sent.what).collect();
    assert_eq!(sent, [What::Best, What::Ack], "no branch");
}
