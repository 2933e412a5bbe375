//! What Viaduct answers itself, and that nobody else hears of it.

use std::net::SocketAddr;

use crate::endpoint::{Party, Received, settle};
use crate::sip::{Message, parameter, same_transaction};
use crate::viaduct::{Home, LISTENERS, RELAY, Viaduct};
use crate::world::{EDGE, World, edge};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Sends a request and gets this answer back, from where the request was sent.
fn answered(caller: &Party, request: &Message, edge: &str, status: u16) -> Received {
    caller.send(request, socket(edge));
    let answer = caller.receive_response(status);
    assert_eq!(answer.from, socket(edge));
    // RFC 3261 §8.2.6.2: "The From field of the response MUST equal the From header field of the
    // request. The Call-ID header field of the response MUST equal the Call-ID header field of the
    // request. The CSeq header field of the response MUST equal the CSeq field of the request."
    for name in ["From", "Call-ID", "CSeq"] {
        assert_eq!(answer.message.value(name), request.value(name), "{name}");
    }
    assert_eq!(answer.message.branch(), request.branch());
    // "If a request contained no To tag […] the UAS MUST add a tag".
    assert!(parameter(answer.message.value("To"), "tag").is_some_and(|tag| !tag.is_empty()));
    answer
}

#[test]
fn options_to_ourselves_is_answered_on_every_listener() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let (mut private, mut spare) = (world.private.tap(), world.spare.tap());
    for (far, address, edge) in [
        (&world.public, "1.2.3.100:5060", EDGE),
        (&world.public, "[2001:db8:1::100]:5060", "[2001:db8:1::4]:5060"),
        (&world.six, "[fd00:6::100]:5060", "[fd00:6::4]:5060"),
    ] {
        let caller = far.party("caller", address);
        let answer = answered(&caller, &caller.request("OPTIONS", &format!("sip:{edge}")), edge, 200);
        assert!(answer.message.values("Record-Route").is_empty(), "{}", answer.message);
    }
    assert_eq!(viaduct.accounted(3).sum("viaduct_answers_total", &[("status", "200")]), 3);
    settle();
    private.saw_nothing();
    spare.saw_nothing();
    viaduct.stop();
}

#[test]
fn what_cannot_go_on_is_answered_and_its_ack_ends_here() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let mut private = world.private.tap();
    let invite = |uri: &str, change: &dyn Fn(&mut Message)| {
        let mut request = caller.request("INVITE", uri);
        change(&mut request);
        request
    };
    let out = "sip:callee@10.0.0.100";
    let refused = [
        (invite("sip:nobody@1.2.3.4", &|_| {}), 404),
        (invite(out, &|request| request.set("Max-Forwards", "0")), 483),
        (invite(out, &|request| request.add("Proxy-Require", "privacy, x-unheard-of")), 420),
        (invite("mailto:callee@example.net", &|_| {}), 416),
        // RFC 6761 §6.4: no name server knows it, and none is asked.
        (invite("sip:callee@name.that.nobody.has.invalid", &|_| {}), 478),
    ];
    for (request, status) in &refused {
        let answer = answered(&caller, request, EDGE, *status);
        match status {
            // RFC 3261 §8.2.2.3: "the UAS […] MUST include an Unsupported header field, and list in
            // it those options it does not understand".
            420 => assert_eq!(answer.message.values("Unsupported"), ["privacy", "x-unheard-of"]),
            478 => assert!(!answer.message.value("Warning").is_empty(), "{}", answer.message),
            _ => {}
        }
        caller.send(&same_transaction(request, "ACK", answer.message.value("To")), edge());
    }
    let count = refused.len() as u64;
    let metrics = viaduct.accounted(2 * count);
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), count);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), count, "its ACK, each");
    assert_eq!(metrics.messages("out"), 0);
    private.saw_nothing();
    caller.received_nothing();
    viaduct.stop();
}

/// A proxy that sends what it gets straight back, with a Via of its own on top.
fn bounce(proxy: &Party, received: &Received) {
    let mut message = received.message.clone();
    message.insert_first("Via", &proxy.via());
    proxy.send(&message, received.from);
}

#[test]
fn a_loop_is_ended_with_482() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let mirror = world.private.party("mirror", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &mirror.uri()), edge());
    // Coming back by another listener it is a spiral (RFC 5393 §4.2.1): decided upon anew.
    bounce(&mirror, &mirror.receive_request("INVITE"));
    // Once more the same way it is a loop.
    bounce(&mirror, &mirror.receive_request("INVITE"));
    mirror.receive_response(482);
    caller.received_nothing();
    assert_eq!(viaduct.accounted(3).sum("viaduct_answers_total", &[("status", "482")]), 1);
    viaduct.stop();
}

/// A program that answers requests whose sender it could not tell would be a reflector of floods.
#[test]
fn no_answer_to_an_ack_or_to_an_answer() {
    let world = World::new();
    let home = Home::new(LISTENERS);
    let viaduct: Viaduct<'_> = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let mut ack = caller.request("ACK", "sip:callee@10.0.0.100");
    ack.set("To", "<sip:callee@10.0.0.100>;tag=unheard");
    caller.send(&ack, edge());
    let mut answer = crate::sip::response(&caller.request("INVITE", "sip:x@10.0.0.100"), "503 No");
    answer.add("Content-Length", "0");
    caller.send(&answer, edge());
    assert_eq!(viaduct.accounted(2).sum("viaduct_dropped_total", &[]), 2);
    settle();
    caller.received_nothing();
    viaduct.stop();
}
