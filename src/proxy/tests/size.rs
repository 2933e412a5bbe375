//! RFC 3261 §18.1.1: what is too large for UDP leaves over TCP, and over UDP where no connection is made.

use super::forwarding::{INVITE, invite_with};
use super::world::{CONFIGURATION, Sent, World, header, headers, response};
use crate::drop_reason::DropReason;
use crate::net::Transport;
use crate::transaction::{SendFailure, What};

const ALICE: &str = "10.0.0.50:5060";
const BOB: &str = "192.0.2.9:5060";
const CAROL: &str = "10.9.0.9:5060";

/// The world where what is large leaves over TCP, with this rule before all others.
fn world(rule: &str) -> World {
    let large = "[egress]\nlarge_udp = \"tcp\"\n\n";
    let rule = format!("[[route]]\nname = \"first\"\n{rule}\n\n[[route]]");
    let configuration = format!("{large}{}", CONFIGURATION.replacen("[[route]]", &rule, 1));
    World::keeping(&configuration, 0, 1)
}

const ANYWHERE: &str = "to = \"request-uri\"";

fn large() -> String {
    invite_with(&format!("X-Large: {}", "x".repeat(1_200)))
}

fn via(text: &str) -> (&str, &str) {
    header(text, "Via").split_once(";rport;branch=").expect("our Via")
}

/// What follows our own lines.
fn rest(text: &str) -> Vec<&str> {
    let ours = text.lines().position(|line| line.starts_with("Via: ")).unwrap();
    text.lines().skip(ours + 1).collect()
}

#[track_caller]
fn next(world: &mut World) -> Sent {
    let due: Vec<Sent> = world.due().into_iter().filter(|sent| sent.what == What::Branch).collect();
    let [next] = &due[..] else { panic!("{due:?}") };
    next.clone()
}

#[test]
fn a_large_request_leaves_over_tcp_and_only_its_via_says_so() {
    let mut world = world(ANYWHERE);
    let small = world.forwarded("private", ALICE, INVITE, "public", BOB);
    assert_eq!(via(&small).0, "SIP/2.0/UDP 203.0.113.10:5060");
    let large = large().replace("bK74bf9", "bKlarge");
    let text = world.forwarded("private", ALICE, &large, "public/tcp", BOB);
    assert_eq!(via(&text).0, "SIP/2.0/TCP 203.0.113.10:5060");
    // The dialog is what it is without its size: its later requests are small.
    let routes: Vec<_> = headers(&text, "Record-Route").collect();
    assert!(routes.len() == 2 && routes.iter().all(|route| !route.contains("transport=")), "{routes:?}");
    let answer = response(&text, "200 OK", "b");
    world.relayed("public/tcp", BOB, &answer, "private", ALICE);
}

#[test]
fn where_no_connection_is_made_it_leaves_over_udp_once() {
    let mut world = world(ANYWHERE);
    let over_tcp = world.forwarded("private", ALICE, &large(), "public/tcp", BOB);
    world.state.send_failed(world.transaction.expect("a transaction"), SendFailure::Connection(None));
    let over_udp = next(&mut world);
    assert_eq!((over_udp.from.as_str(), over_udp.to.to_string().as_str()), ("public", BOB));
    let [(tcp, first), (udp, second)] = [via(&over_tcp), via(&over_udp.text)];
    assert_eq!((tcp, udp), ("SIP/2.0/TCP 203.0.113.10:5060", "SIP/2.0/UDP 203.0.113.10:5060"));
    assert_ne!(first, second, "it is another transaction");
    assert_eq!(rest(&over_tcp), rest(&over_udp.text));
    world.relayed("public", BOB, &response(&over_udp.text, "200 OK", "b"), "private", ALICE);
}

#[test]
fn the_next_hop_that_follows_is_tried_over_tcp_first_as_well() {
    let mut world = world("to = [\"sip:192.0.2.9\", \"sip:10.9.0.9\"]");
    world.forwarded("private", ALICE, &large(), "public/tcp", BOB);
    world.state.send_failed(world.transaction.expect("a transaction"), SendFailure::Connection(None));
    let again = next(&mut world);
    assert_eq!((again.from.as_str(), again.to.to_string().as_str()), ("public", BOB));
    world.dropped(
        "public",
        BOB,
        &response(&again.text, "503 Service Unavailable", "b"),
        DropReason::Absorbed,
    );
    let third = next(&mut world);
    assert_eq!((third.from.as_str(), third.to.to_string().as_str()), ("private/tcp", CAROL));
}

/// A transaction is what can go back to UDP.
#[test]
fn a_stateless_rule_keeps_what_is_large() {
    let mut world = world(&format!("{ANYWHERE}\nmode = \"stateless\""));
    let large = large();
    world.forwarded("private", ALICE, &large, "public/tcp", BOB);
    world.dropped("private", ALICE, &large, DropReason::Absorbed);
}

#[test]
fn what_asks_for_udp_gets_it() {
    for rule in [
        "to = \"sip:192.0.2.9;transport=udp\"",
        "to = \"request-uri\"\negress = { transport = \"udp\", address = \"203.0.113.10\", port = 5060 }",
    ] {
        let text = world(rule).forwarded("private", ALICE, &large(), "public", BOB);
        assert_eq!(via(&text).0, "SIP/2.0/UDP 203.0.113.10:5060", "{rule}");
    }
    // A listener by its name has both.
    let mut named = world("to = \"request-uri\"\negress = \"public\"");
    named.forwarded("private", ALICE, &large(), "public/tcp", BOB);
}

#[test]
fn without_a_listener_for_it_and_without_being_asked_it_stays() {
    let text = World::keeping(CONFIGURATION, 0, 1).forwarded("private", ALICE, &large(), "public", BOB);
    assert_eq!(via(&text).0, "SIP/2.0/UDP 203.0.113.10:5060");
    let only = "name = \"public\"\ntcp = false\n";
    let configuration =
        format!("[egress]\nlarge_udp = \"tcp\"\n{}", CONFIGURATION.replacen("name = \"public\"\n", only, 1));
    World::keeping(&configuration, 0, 1).forwarded("private", ALICE, &large(), "public-5080/tcp", BOB);
    let none = configuration.replace("name = \"public-5080\"\n", "name = \"public-5080\"\ntcp = false\n");
    World::keeping(&none, 0, 1).forwarded("private", ALICE, &large(), "public", BOB);
}

#[test]
fn it_gets_the_content_length_that_a_stream_needs() {
    let mut world = world(ANYWHERE);
    let text = large().replace("Content-Length: 0\n", "");
    let text = world.forwarded("private", ALICE, &text, "public/tcp", BOB);
    assert_eq!(header(&text, "Content-Length"), "0");
    assert_eq!(world.snapshot.plan.listener_named("public/tcp").unwrap().transport, Transport::Tcp);
}
