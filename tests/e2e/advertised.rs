//! What is written may differ from what is bound, and by destination.

use std::net::SocketAddr;

use crate::sip::{Dialog, address_of, host_port, sent_by};
use crate::viaduct::{Home, RELAY};
use crate::world::World;

const LISTENERS: &str = r#"
[admin]
listen = "127.0.0.1:9060"

[[listener]]
name = "public"
bind = "udp:1.2.3.4:5060"
advertise = "198.51.100.7:5070"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"
advertise = [
    { to = "10.0.0.0/24", as = "10.0.0.4:5060" },
    { to = "0.0.0.0/0", as = "sbc.example.net:5080" },
]
"#;

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn via_and_record_route_carry_the_advertised_address_of_each_side() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");

    // From the inside out: the public listener says its advertised address, in all headers alike.
    callee.send(&callee.request("INVITE", &caller.uri()), socket("10.0.0.4:5060"));
    let invite = caller.receive_request("INVITE");
    assert_eq!(invite.from, socket("1.2.3.4:5060"), "the datagram leaves from the bound address");
    assert_eq!(sent_by(&invite.message.values("Via")[0]), "198.51.100.7:5070");
    let routes = invite.message.values("Record-Route");
    assert_eq!(host_port(&routes[0]), "198.51.100.7:5070");
    assert_eq!(address_of(&routes[1]), socket("10.0.0.4:5060"), "the inside sees the inside's address");

    // The advertised address is ours: the BYE that names it goes on, where it came in by the bound one.
    let answer = caller.answer(&invite, "200 OK");
    callee.receive_response(200);
    let mut dialog = Dialog::of_callee(&invite.message, &answer);
    assert_eq!(dialog.next_hop(), socket("198.51.100.7:5070"));
    let bye = dialog.request(&caller, "BYE");
    caller.send(&bye, socket("1.2.3.4:5060"));
    let bye = callee.receive_request("BYE");
    assert_eq!(bye.from, socket("10.0.0.4:5060"));
    assert!(bye.message.values("Route").is_empty(), "{}", bye.message);
    viaduct.stop();
}

#[test]
fn the_advertised_address_follows_the_destination_network() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv");
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let near = world.private.party("near", "10.0.0.100:5060");
    let far = world.private.party("far", "172.16.0.100:5060");

    caller.send(&caller.request("INVITE", &near.uri()), socket("1.2.3.4:5060"));
    let invite = near.receive_request("INVITE");
    assert_eq!(sent_by(&invite.message.values("Via")[0]), "10.0.0.4:5060");

    caller.send(&caller.request("INVITE", &far.uri()), socket("1.2.3.4:5060"));
    let invite = far.receive_request("INVITE");
    assert_eq!(sent_by(&invite.message.values("Via")[0]), "sbc.example.net:5080");
    assert_eq!(invite.from, socket("10.0.0.4:5060"));
    viaduct.stop();
}
