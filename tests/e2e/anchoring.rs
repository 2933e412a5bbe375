//! What Viaduct writes into Via and Record-Route, and that dialogs stay on their path by it.

use std::net::SocketAddr;

use crate::endpoint::{Party, Received, settle};
use crate::sip::{Dialog, Message, address_of, parameter, same_transaction, sent_by};
use crate::viaduct::{Home, LISTENERS, RELAY, Viaduct};
use crate::world::{World, eventually};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A call set up through Viaduct: what the callee got and what the caller got.
struct Call {
    invite: Received,
    caller: Dialog,
    callee: Dialog,
}

fn call(caller: &Party, edge: SocketAddr, callee: &Party) -> Call {
    let request = caller.request("INVITE", &callee.uri()).with_body("application/sdp", "v=0\r\n");
    caller.send(&request, edge);
    let invite = callee.receive_request("INVITE");
    let answer = callee.answer(&invite, "200 OK");
    let received = caller.receive_response(200);
    assert_eq!(received.from, edge, "the answer comes from where the request was sent");
    let mut call = Call {
        caller: Dialog::of_caller(&received.message),
        callee: Dialog::of_callee(&invite.message, &answer),
        invite,
    };
    call.caller.send(caller, "ACK");
    callee.receive_request("ACK");
    call
}

/// A request of the dialog crosses Viaduct, arrives from `egress` and is answered.
fn cross(dialog: &mut Dialog, method: &str, from: &Party, to: &Party, egress: SocketAddr) -> Message {
    dialog.send(from, method);
    let request = to.receive_request(method);
    assert_eq!(request.from, egress, "{method} left by the listener of the other side");
    assert!(request.message.values("Route").is_empty(), "our routes are gone:\n{}", request.message);
    to.answer(&request, "200 OK");
    from.receive_response(200);
    request.message
}

#[test]
fn via_and_record_route_say_what_they_should() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5062");
    let callee = world.six.party("callee", "[fd00:6::100]:5064");

    let mut request =
        caller.request("INVITE", "sip:callee@[fd00:6::100]:5064").with_body("text/odd", "\0\u{1}\u{fffd}");
    request.add("X-Odd", "  \"kept; as, it\" is,,;; ");
    request.set("Via", "SIP/2.0/UDP 1.2.3.100:5062;rport;branch=z9hG4bKmine");
    caller.send(&request, socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");

    let vias = invite.message.values("Via");
    assert_eq!(vias.len(), 2);
    assert_eq!(sent_by(&vias[0]), "[fd00:6::4]:5060", "the egress listener's address, in brackets");
    assert!(vias[0].starts_with("SIP/2.0/UDP "), "{}", vias[0]);
    assert!(invite.message.branch().starts_with("z9hG4bK"));
    assert_ne!(invite.message.branch(), "z9hG4bKmine");
    // RFC 3581 §4: "the server MUST insert a "received" parameter … even if it is identical to the
    // value of the "sent-by" component", and set rport to the source port.
    assert_eq!(sent_by(&vias[1]), "1.2.3.100:5062");
    assert_eq!(parameter(&vias[1], "rport").as_deref(), Some("5062"));
    assert_eq!(parameter(&vias[1], "received").as_deref(), Some("1.2.3.100"));
    assert_eq!(parameter(&vias[1], "branch").as_deref(), Some("z9hG4bKmine"));

    // RFC 5658: two values, the egress-facing one on top, both loose routers.
    let record_routes = invite.message.values("Record-Route");
    assert_eq!(record_routes.len(), 2, "{record_routes:?}");
    assert_eq!(address_of(&record_routes[0]), socket("[fd00:6::4]:5060"));
    assert_eq!(address_of(&record_routes[1]), socket("1.2.3.4:5060"));
    for value in &record_routes {
        assert!(parameter(value, "lr").is_some(), "{value}");
        assert_eq!(value.to_lowercase(), *value, "values may be compared without case");
    }

    assert_eq!(invite.message.value("Max-Forwards"), "69");
    let text = String::from_utf8(invite.bytes.clone()).unwrap();
    assert!(text.contains("X-Odd:   \"kept; as, it\" is,,;; \r\n"), "byte for byte:\n{text}");
    assert_eq!(invite.message.body, request.body);
    viaduct.stop();
}

#[test]
fn a_dialog_stays_on_its_path_from_both_sides() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let (public, private) = (socket("1.2.3.4:5060"), socket("10.0.0.4:5060"));

    let mut call = call(&caller, public, &callee);
    assert_eq!(call.invite.from, private);
    assert_eq!(call.caller.next_hop(), public, "the caller sees the side that faces it");
    assert_eq!(call.callee.next_hop(), private, "and the callee its own");
    cross(&mut call.caller, "INFO", &caller, &callee, private);
    cross(&mut call.callee, "INFO", &callee, &caller, public);
    cross(&mut call.callee, "BYE", &callee, &caller, public);
    viaduct.stop();
}

#[test]
fn one_surviving_route_suffices() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let (public, private) = (socket("1.2.3.4:5060"), socket("10.0.0.4:5060"));
    for survivor in 0..2 {
        let mut call = call(&caller, public, &callee);
        let route = call.caller.routes[survivor].clone();
        call.caller.routes = vec![route];
        let bye = call.caller.request(&caller, "BYE");
        caller.send(&bye, public);
        let bye = callee.receive_request("BYE");
        assert_eq!(bye.from, private);
        assert!(bye.message.values("Route").is_empty());
    }
    viaduct.stop();
}

#[test]
fn a_dialog_survives_a_restart() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.six.party("callee", "[fd00:6::100]:5060");
    let (public, six) = (socket("1.2.3.4:5060"), socket("[fd00:6::4]:5060"));
    let mut one = call(&caller, public, &callee);
    let mut two = call(&caller, public, &callee);
    viaduct.stop();

    let viaduct = home.start(&world);
    cross(&mut one.caller, "BYE", &caller, &callee, six);
    cross(&mut two.callee, "BYE", &callee, &caller, public);
    assert_eq!(viaduct.accounted(4).sum("viaduct_bad_tokens_total", &[]), 0);
    drop(viaduct); // killed this time

    let viaduct = home.start(&world);
    // The kernel takes the sockets of a killed process down a little later than the process, and
    // until then gives them their share: this is what retransmissions are for.
    let info = one.callee.request(&callee, "INFO");
    let arrived = eventually("an INFO or its retransmission arrives", || {
        callee.send(&info, one.callee.next_hop());
        caller.try_receive()
    });
    assert_eq!((arrived.message.start.split(' ').next(), arrived.from), (Some("INFO"), public));
    viaduct.stop();
}

#[test]
fn a_forged_route_gets_nowhere() {
    let world = World::new();
    // No rule lets anything through; only a valid token would.
    let home = Home::new(&format!(
        "{LISTENERS}\n[[route]]\nname = \"in\"\nwhen = {{ method = [\"INVITE\"] }}\nto = \"request-uri\"\nmode = \"stateless\"\n"
    ));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let mut call = call(&caller, socket("1.2.3.4:5060"), &callee);
    let spoiled: Vec<String> = call.caller.routes.iter().map(|route| spoil(route)).collect();
    call.caller.routes = spoiled;
    call.caller.send(&caller, "BYE");
    // A To tag and no valid token: there is no such dialog here.
    caller.receive_response(481);
    callee.received_nothing();
    assert!(viaduct.accounted(4).sum("viaduct_bad_tokens_total", &[]) >= 1);
    viaduct.stop();
}

/// Changes one letter in the middle of the value's longest run of letters and digits: the token.
fn spoil(route: &str) -> String {
    let token = route.split(|c: char| !c.is_ascii_alphanumeric()).max_by_key(|part| part.len()).unwrap();
    let mut letters: Vec<char> = token.chars().collect();
    let middle = letters.len() / 2;
    letters[middle] = if letters[middle] == 'a' { 'b' } else { 'a' };
    route.replace(token, &letters.into_iter().collect::<String>())
}

#[test]
fn retransmission_cancel_and_ack_follow_the_invite() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let edge = socket("1.2.3.4:5060");

    let invite = caller.request("INVITE", &callee.uri());
    caller.send(&invite, edge);
    let first = callee.receive_request("INVITE");
    caller.send(&invite, edge);
    let again = callee.receive_request("INVITE");
    assert_eq!(again.bytes, first.bytes, "a retransmission is sent the same way (RFC 3261 §16.11)");

    caller.send(&same_transaction(&invite, "CANCEL", invite.value("To")), edge);
    let cancel = callee.receive_request("CANCEL");
    assert_eq!(cancel.message.branch(), first.message.branch(), "CANCEL matches the INVITE downstream");
    assert_eq!(cancel.from, first.from);
    callee.answer(&cancel, "200 OK");
    caller.receive_response(200);
    callee.answer(&first, "487 Request Terminated");
    let terminated = caller.receive_response(487);

    caller.send(&same_transaction(&invite, "ACK", terminated.message.value("To")), edge);
    let ack = callee.receive_request("ACK");
    assert_eq!(ack.message.branch(), first.message.branch());
    viaduct.stop();
}

#[test]
fn a_response_that_is_none_of_ours_goes_nowhere() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");
    let mut spare = world.spare.tap();

    // The branch replayed under another destination makes no reflector of us.
    let mut elsewhere = crate::sip::response(&invite.message, "200 OK");
    let vias: Vec<usize> = (0..elsewhere.headers.len())
        .filter(|i| elsewhere.headers[*i].0.eq_ignore_ascii_case("Via"))
        .collect();
    for index in vias.into_iter().rev() {
        elsewhere.headers.remove(index);
    }
    elsewhere.insert_first("Via", "SIP/2.0/UDP 10.9.0.100:5060;branch=z9hG4bKx");
    elsewhere.insert_first("Via", &invite.message.values("Via")[0]);
    elsewhere.add("Content-Length", "0");
    callee.send(&elsewhere, invite.from);

    let mut foreign = crate::sip::response(&invite.message, "200 OK");
    foreign.insert_first("Via", "SIP/2.0/UDP 10.0.0.4:5060;branch=z9hG4bKnotours");
    foreign.add("Content-Length", "0");
    callee.send(&foreign, invite.from);

    let metrics = viaduct.accounted(3);
    assert_eq!(metrics.dropped("bad_branch") + metrics.dropped("foreign_response"), 2);
    settle();
    caller.received_nothing();
    spare.saw_nothing();
    viaduct.stop();
}

#[test]
fn every_message_is_accounted_for_once() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct: Viaduct<'_> = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let edge = socket("1.2.3.4:5060");
    let mut sent = 0;
    for garbage in
        [&b""[..], b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", &[0xff; 1400]]
    {
        caller.send_bytes(garbage, edge);
        sent += 1;
    }
    let mut none_left = caller.request("INVITE", &callee.uri());
    none_left.set("Max-Forwards", "0");
    caller.send(&none_left, edge);
    caller.receive_response(483);
    let mut dialog = call(&caller, edge, &callee);
    cross(&mut dialog.caller, "BYE", &caller, &callee, socket("10.0.0.4:5060"));
    sent += 1 + 3 + 2;

    let metrics = viaduct.accounted(sent);
    assert_eq!(metrics.messages("in"), sent);
    assert_eq!(metrics.messages("out"), 5);
    assert_eq!(metrics.sum("viaduct_answers_total", &[("status", "483")]), 1);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 5);
    assert_eq!(
        metrics.sum(
            "viaduct_messages_total",
            &[("listener", "private"), ("class", "INVITE"), ("direction", "out")]
        ),
        1
    );
    viaduct.stop();
}
