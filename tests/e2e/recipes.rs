//! The two recipes that the project began with, word for word as the README has them.

use crate::endpoint::Party;
use crate::viaduct::Home;
use crate::world::World;

/// The TOML block of the README that begins with this comment line.
pub fn recipe(title: &str) -> String {
    let readme = include_str!("../../README.md");
    readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .find(|block| block.lines().next().is_some_and(|line| line.starts_with(title)))
        .unwrap_or_else(|| panic!("README.md has no recipe `{title}`"))
        .to_string()
}

#[test]
fn recipe_a_automatic_egress() {
    let world = World::new();
    let home = Home::new(&recipe("# Recipe A"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let (mut public, mut spare, mut six) = (world.public.tap(), world.spare.tap(), world.six.tap());

    caller.send(&caller.request("INVITE", "sip:callee@10.0.0.100"), "1.2.3.4:5060".parse().unwrap());
    let invite = callee.receive_request("INVITE");
    assert_eq!(invite.from, "10.0.0.4:5060".parse().unwrap(), "left from the private listener");
    caller.receive_response(100);
    callee.answer(&invite, "200 OK");
    let answer = caller.receive_response(200);
    assert_eq!(answer.from, "1.2.3.4:5060".parse().unwrap(), "went back from the public listener");
    // The caller's link carried the 100 and the answer to it and nothing else, the other links nothing.
    let answers: Vec<_> = public.seen().into_iter().map(|seen| seen.destination).collect();
    assert_eq!(answers, [caller.address; 2]);
    spare.saw_nothing();
    six.saw_nothing();
    viaduct.stop();
}

#[test]
fn recipe_b_numbers_to_the_media_server() {
    let world = World::new();
    let home = Home::new(&recipe("# Recipe B"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let media = world.private.party("media", "10.0.0.100:5060");
    let mut spare = world.spare.tap();
    let edge = "1.2.3.4:5060".parse().unwrap();

    caller.send(&caller.request("INVITE", "sip:*33123@sip.example.net"), edge);
    let invite = media.receive_request("INVITE");
    caller.receive_response(100);
    media.answer(&invite, "486 Busy Here");
    caller.receive_response(486);
    media.receive_request("ACK");
    assert_eq!(invite.from, "10.0.0.4:5060".parse().unwrap());
    assert!(
        invite.message.start.starts_with("INVITE sip:*33123@sip.example.net "),
        "`to` names the next hop, the Request-URI stays: {}",
        invite.message.start
    );

    // The same number in disguise is the same number.
    caller.send(&caller.request("INVITE", "sip:%2A33%31@sip.example.net"), edge);
    let invite = media.receive_request("INVITE");
    caller.receive_response(100);
    media.answer(&invite, "200 OK");
    caller.receive_response(200);

    for other in ["sip:33123@sip.example.net", "sip:*33@sip.example.net", "sip:*33x@sip.example.net"] {
        refused(&caller, other);
    }
    media.received_nothing();
    spare.saw_nothing();
    viaduct.stop();
}

fn refused(caller: &Party, uri: &str) {
    caller.send(&caller.request("INVITE", uri), "1.2.3.4:5060".parse().unwrap());
    caller.receive_response(403);
}

#[test]
fn recipe_j_another_next_hop_where_one_fails() {
    let world = World::new();
    let addresses = [
        ("203.0.113.10:5060", "1.2.3.4:5060"),
        ("192.0.2.1:5060", "1.2.3.100:5060"),
        ("192.0.2.2:5060", "1.2.3.100:5070"),
        ("10.0.0.101", "10.0.0.100:5071"),
        ("10.0.0.102", "10.0.0.100:5072"),
        ("10.0.0.103", "10.0.0.100:5073"),
    ];
    let configuration =
        addresses.iter().fold(recipe("# Recipe J"), |text, (from, to)| text.replace(from, to));
    let home = Home::new(&configuration);
    let viaduct = home.start(&world);
    let phone = world.private.party("phone", "10.0.0.100:5060");
    let carriers = [5060, 5070].map(|port| world.public.party("carrier", &format!("1.2.3.100:{port}")));
    let inside = "10.0.0.4:5060".parse().unwrap();

    phone.send(&phone.request("INVITE", "sip:+33123456789@10.0.0.4"), inside);
    phone.receive_response(100);
    let first = carriers[0].receive_request("INVITE");
    carriers[0].answer(&first, "480 Temporarily Unavailable");
    let second = carriers[1].receive_request("INVITE");
    carriers[1].answer(&second, "486 Busy Here");
    phone.receive_response(486);

    let desks = [5071, 5072, 5073].map(|port| world.private.party("desk", &format!("10.0.0.100:{port}")));
    carriers[0].send(&carriers[0].request("INVITE", "sip:100@1.2.3.4"), "1.2.3.4:5060".parse().unwrap());
    let invites: Vec<_> = desks.iter().map(|desk| desk.receive_request("INVITE")).collect();
    for (desk, invite) in desks.iter().zip(&invites) {
        desk.answer(invite, "180 Ringing");
    }
    desks[2].answer(&invites[2], "200 OK");
    for desk in &desks[..2] {
        desk.receive_request("CANCEL");
    }
    viaduct.stop();
}

#[test]
fn recipe_h_numbers_rewritten() {
    let world = World::new();
    let addresses = [("203.0.113.10:5060", "1.2.3.4:5060"), ("192.0.2.1", "1.2.3.100")];
    let configuration =
        addresses.iter().fold(recipe("# Recipe H"), |text, (from, to)| text.replace(from, to));
    let home = Home::new(&configuration);
    let viaduct = home.start(&world);
    let carrier = world.public.party("carrier", "1.2.3.100:5060");
    let switch = world.private.party("switch", "10.0.0.100:5060");
    let inside = "10.0.0.4:5060".parse().unwrap();

    let mut request = switch.request("INVITE", "sip:0123456789@10.0.0.4");
    request.set("From", "\"Anna\" <sip:100@10.0.0.100>;tag=a");
    request.add("P-Asserted-Identity", "<sip:100@10.0.0.100>");
    request.add("X-Internal", "1");
    switch.send(&request, inside);
    let invite = carrier.receive_request("INVITE");
    assert_eq!(invite.message.start, "INVITE sip:+33123456789@carrier.example.net SIP/2.0");
    assert_eq!(invite.message.value("From"), "<sip:100@10.0.0.100>;tag=a");
    assert_eq!(invite.message.value("P-Asserted-Identity"), "<sip:+33100000000@example.net>");
    assert_eq!(invite.message.value("X-Trunk"), "paris-1");
    assert_eq!(invite.message.values("X-Internal"), [""; 0]);
    switch.receive_response(100);
    carrier.answer(&invite, "486 Busy Here");
    switch.receive_response(486);
    carrier.receive_request("ACK");

    carrier.send(&carrier.request("INVITE", "sip:+33123456789@1.2.3.4"), "1.2.3.4:5060".parse().unwrap());
    let invite = switch.receive_request("INVITE");
    assert_eq!(invite.message.start, "INVITE sip:0123456789@1.2.3.4 SIP/2.0");
    viaduct.stop();
}
