//! Two ports on one address: the port that a request came in on is the port its way goes on from.

use std::net::SocketAddr;

use crate::sip::{Dialog, address_of};
use crate::viaduct::{Home, RELAY};
use crate::world::World;

const LISTENERS: &str = r#"
[admin]
listen = "127.0.0.1:9060"

[[listener]]
name = "public-a"
bind = "udp:1.2.3.4:5060"

[[listener]]
name = "public-b"
bind = "udp:1.2.3.4:5070"

[[listener]]
name = "private-a"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "private-b"
bind = "udp:10.0.0.4:5070"
"#;

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn the_port_is_kept_through_the_whole_dialog() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    for port in [5070, 5060] {
        let (public, private) = (
            SocketAddr::new(socket("1.2.3.4:1").ip(), port),
            SocketAddr::new(socket("10.0.0.4:1").ip(), port),
        );
        caller.send(&caller.request("INVITE", &callee.uri()), public);
        let invite = callee.receive_request("INVITE");
        assert_eq!(invite.from, private, "two listeners on the route's source: the ingress port decides");
        let routes = invite.message.values("Record-Route");
        assert_eq!((address_of(&routes[0]), address_of(&routes[1])), (private, public));

        let answer = callee.answer(&invite, "200 OK");
        let answered = caller.receive_response(200);
        assert_eq!(answered.from, public, "NAT only lets through what comes from the port it knows");
        let mut dialog = Dialog::of_caller(&answered.message);
        dialog.send(&caller, "ACK");
        assert_eq!(callee.receive_request("ACK").from, private);
        let mut dialog = Dialog::of_callee(&invite.message, &answer);
        dialog.send(&callee, "BYE");
        assert_eq!(caller.receive_request("BYE").from, public);
    }
    viaduct.stop();
}

#[test]
fn a_rule_may_leave_from_the_received_address_by_another_port() {
    let world = World::new();
    let home = Home::new(&format!(
        "{LISTENERS}
[[route]]
name = \"hairpin\"
when = {{ listener = [\"private-a\"] }}
to = \"request-uri\"
egress = {{ transport = \"udp\", address = \"received\", port = 5070 }}
mode = \"stateless\"
"
    ));
    let viaduct = home.start(&world);
    let caller = world.private.party("caller", "10.0.0.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5064");
    let mut public = world.public.tap();
    caller.send(&caller.request("INVITE", &callee.uri()), socket("10.0.0.4:5060"));
    let invite = callee.receive_request("INVITE");
    assert_eq!(invite.from, socket("10.0.0.4:5070"));
    callee.answer(&invite, "200 OK");
    assert_eq!(caller.receive_response(200).from, socket("10.0.0.4:5060"));
    public.saw_nothing();
    viaduct.stop();
}
