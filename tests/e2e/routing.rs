//! The kernel's routing policy decides, also when it changes under way.

use std::io::Write;
use std::net::SocketAddr;

use crate::endpoint::settle;
use crate::sip::{Dialog, same_transaction};
use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::World;

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A host as carriers set it up: what leaves with a source address leaves by that address's link.
fn table_for_each_source(world: &World) {
    for (source, table, gateway, device) in
        [("10.0.0.4", 100, "10.0.0.100", "priv"), ("10.9.0.4", 101, "10.9.0.100", "spare")]
    {
        world.ip(&format!("rule add from {source} lookup {table}"));
        world.ip(&format!("route add default via {gateway} dev {device} table {table}"));
    }
}

#[test]
fn a_route_change_moves_new_transactions_and_no_other() {
    let world = World::new();
    table_for_each_source(&world);
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let first_way = world.private.party("roaming", "172.16.0.100:5060");
    let second_way = world.spare.party("roaming", "172.16.0.100:5060");
    let edge = socket("1.2.3.4:5060");

    let invite = caller.request("INVITE", "sip:roaming@172.16.0.100");
    caller.send(&invite, edge);
    let before = first_way.receive_request("INVITE");
    assert_eq!(before.from, socket("10.0.0.4:5060"));

    let generation = viaduct.generation();
    world.ip("route replace 172.16.0.100/32 via 10.9.0.100 dev spare");
    viaduct.newer_than(generation);

    // RFC 3261 §16.11: the transaction in flight is not moved.
    caller.send(&invite, edge);
    let again = first_way.receive_request("INVITE");
    assert_eq!((again.from, &again.bytes), (before.from, &before.bytes));
    caller.send(&same_transaction(&invite, "CANCEL", invite.value("To")), edge);
    let cancel = first_way.receive_request("CANCEL");
    assert_eq!((cancel.from, cancel.message.branch()), (before.from, before.message.branch()));
    second_way.received_nothing();

    // The next one takes the new way, and the old link stays silent.
    let mut old_link = world.private.tap();
    caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), edge);
    let moved = second_way.receive_request("INVITE");
    assert_eq!(moved.from, socket("10.9.0.4:5060"));
    second_way.answer(&moved, "200 OK");
    assert_eq!(caller.receive_response(200).from, edge);
    old_link.saw_nothing();

    let metrics = viaduct.accounted(5);
    assert!(metrics.sum("viaduct_pin_hits_total", &[]) >= 2);
    assert_eq!(metrics.sum("viaduct_egress_moved_total", &[]), 0);
    viaduct.stop();
}

#[test]
fn a_transaction_whose_link_died_is_decided_anew_and_counted() {
    let world = World::new();
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv metric 10");
    world.ip("route add 172.16.0.100/32 via 10.9.0.100 dev spare metric 20");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let first_way = world.private.party("roaming", "172.16.0.100:5060");
    let second_way = world.spare.party("roaming", "172.16.0.100:5060");
    let edge = socket("1.2.3.4:5060");

    let invite = caller.request("INVITE", "sip:roaming@172.16.0.100");
    caller.send(&invite, edge);
    first_way.receive_request("INVITE");
    let generation = viaduct.generation();
    world.ip("link set priv down");
    viaduct.newer_than(generation);
    crate::world::eventually("the retransmission takes the way that is left", || {
        caller.send(&invite, edge);
        second_way.try_receive().filter(|received| received.from == socket("10.9.0.4:5060"))
    });
    assert!(viaduct.accounted(2).sum("viaduct_egress_moved_total", &[]) >= 1);
    viaduct.stop();
}

#[test]
fn a_dialog_whose_link_died_goes_on_by_another() {
    let world = World::new();
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv metric 10");
    world.ip("route add 172.16.0.100/32 via 10.9.0.100 dev spare metric 20");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let first_way = world.private.party("roaming", "172.16.0.100:5060");
    let second_way = world.spare.party("roaming", "172.16.0.100:5060");
    caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), socket("1.2.3.4:5060"));
    let invite = first_way.receive_request("INVITE");
    assert_eq!(invite.from, socket("10.0.0.4:5060"));
    first_way.answer(&invite, "200 OK");
    let mut dialog = Dialog::of_caller(&caller.receive_response(200).message);

    let generation = viaduct.generation();
    world.ip("link set priv down");
    viaduct.newer_than(generation);
    // The link's other routes go one by one: a snapshot in between still has the way.
    let mut info = dialog.request(&caller, "INFO");
    let arrived = crate::world::eventually("the dialog goes on by the way that is left", || {
        info.set("Via", &caller.via());
        caller.send(&info, dialog.next_hop());
        second_way.try_receive().filter(|received| received.from == socket("10.9.0.4:5060"))
    });
    assert!(arrived.message.values("Route").is_empty(), "{}", arrived.message);
    assert_eq!(arrived.message.values("Via").len(), 2);
    second_way.answer(&arrived, "200 OK");
    assert_eq!(caller.receive_response(200).from, socket("1.2.3.4:5060"));
    viaduct.stop();
}

#[test]
fn a_dialog_stays_on_its_listener_when_the_route_changes() {
    let world = World::new();
    table_for_each_source(&world);
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let first_way = world.private.party("roaming", "172.16.0.100:5060");
    let second_way = world.spare.party("roaming", "172.16.0.100:5060");
    caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), socket("1.2.3.4:5060"));
    let invite = first_way.receive_request("INVITE");
    first_way.answer(&invite, "200 OK");
    let mut dialog = Dialog::of_caller(&caller.receive_response(200).message);

    let generation = viaduct.generation();
    world.ip("route replace 172.16.0.100/32 via 10.9.0.100 dev spare");
    viaduct.newer_than(generation);
    // The far end knows the dialog by this address, and the table of this source still leads there.
    for method in ["INVITE", "BYE"] {
        dialog.send(&caller, method);
        let request = first_way.receive_request(method);
        assert_eq!(request.from, socket("10.0.0.4:5060"), "{method}");
        first_way.answer(&request, "200 OK");
        caller.receive_response(200);
    }
    second_way.received_nothing();
    viaduct.stop();
}

#[test]
fn a_table_for_each_source_and_no_main_route() {
    for (order, from) in [(["private", "spare"], "10.0.0.4:5060"), (["spare", "private"], "10.9.0.4:5060")] {
        let world = World::new();
        table_for_each_source(&world);
        let home = Home::new(&listeners_in_order(order));
        let viaduct = home.start(&world);
        let caller = world.public.party("caller", "1.2.3.100:5060");
        let private = world.private.party("roaming", "172.16.0.100:5060");
        let spare = world.spare.party("roaming", "172.16.0.100:5060");
        let (taken, other) = if order[0] == "private" { (private, spare) } else { (spare, private) };

        // An unbound socket is told "unreachable" for this destination; the bound one sends.
        caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), socket("1.2.3.4:5060"));
        let invite = taken.receive_request("INVITE");
        assert_eq!(invite.from, socket(from), "the first configured listener that can");
        other.received_nothing();
        let metrics = viaduct.accounted(1);
        assert_eq!(metrics.sum("viaduct_messages_total", &[("reason", "auto"), ("step", "bound")]), 1);
        viaduct.stop();
    }
}

#[test]
fn without_nearest_a_host_without_main_route_refuses() {
    let world = World::new();
    table_for_each_source(&world);
    let home = Home::new(&format!("[egress]\nnearest = false\n{}", listeners_in_order(["private", "spare"])));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let (mut private, mut spare) = (world.private.tap(), world.spare.tap());
    caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), socket("1.2.3.4:5060"));
    let refused = caller.receive();
    assert!(refused.message.start.starts_with("SIP/2.0 5"), "{}", refused.message);
    assert!(!refused.message.value("Warning").is_empty(), "the answer says why");
    settle();
    private.saw_nothing();
    spare.saw_nothing();
    viaduct.stop();
}

fn listeners_in_order(order: [&str; 2]) -> String {
    let listener = |name: &str| {
        let address = if name == "private" { "10.0.0.4" } else { "10.9.0.4" };
        format!("[[listener]]\nname = \"{name}\"\nbind = \"udp:{address}:5060\"\n")
    };
    format!(
        "[admin]\nlisten = \"127.0.0.1:9060\"\n[[listener]]\nname = \"public\"\nbind = \"udp:1.2.3.4:5060\"\n{}{}{RELAY}",
        listener(order[0]),
        listener(order[1])
    )
}

#[test]
fn an_override_is_never_silently_another_socket() {
    let world = World::new();
    let home = Home::new(&format!(
        "{LISTENERS}
[[route]]
name = \"by-spare\"
when = {{ ruri_user = '^spare$' }}
to = \"request-uri\"
egress = \"spare\"
mode = \"stateless\"

[[route]]
name = \"by-six\"
when = {{ ruri_user = '^six$' }}
to = \"request-uri\"
egress = \"six\"
mode = \"stateless\"
"
    ));
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv");
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let edge = socket("1.2.3.4:5060");
    let (mut private, mut six) = (world.private.tap(), world.six.tap());

    // The rule's listener sends, though the automatic choice would have taken the private one; by
    // which link the kernel then lets it out is the kernel's affair: here it is the private one.
    caller.send(&caller.request("INVITE", "sip:spare@172.16.0.100"), edge);
    assert_eq!(private.wait_for("INVITE sip:spare@").source, socket("10.9.0.4:5060"));

    // A listener of the other family cannot: an answer, and no datagram from any socket.
    caller.send(&caller.request("INVITE", "sip:six@10.0.0.100"), edge);
    let refused = caller.receive();
    assert!(refused.message.start.starts_with("SIP/2.0 5"), "{}", refused.message);
    settle();
    private.saw_nothing();
    six.saw_nothing();
    viaduct.stop();
}

#[test]
fn a_marked_listener_and_a_listener_on_a_device_follow_their_own_tables() {
    let world = World::new();
    world.ip("rule add fwmark 7 lookup 107");
    world.ip("route add 172.16.0.100/32 via 10.0.0.100 dev priv table 107");
    world.ip("route add 172.16.0.100/32 via 10.9.0.100 dev spare table 108");
    world.ip("rule add oif spare lookup 108");
    let home = Home::new(
        r#"
[[listener]]
name = "public"
bind = "udp:1.2.3.4:5060"

[[listener]]
name = "marked"
bind = "udp:10.0.0.4:5060"
mark = 7

[[listener]]
name = "tied"
bind = "udp:10.9.0.4:5060"
device = "spare"

[[route]]
name = "marked"
when = { ruri_user = '^marked$' }
to = "request-uri"
egress = "marked"
mode = "stateless"

[[route]]
name = "tied"
when = { ruri_user = '^tied$' }
to = "request-uri"
egress = "tied"
mode = "stateless"
"#,
    );
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let private = world.private.party("roaming", "172.16.0.100:5060");
    let spare = world.spare.party("roaming", "172.16.0.100:5060");
    let edge = socket("1.2.3.4:5060");

    caller.send(&caller.request("INVITE", "sip:marked@172.16.0.100"), edge);
    assert_eq!(private.receive_request("INVITE").from, socket("10.0.0.4:5060"));
    caller.send(&caller.request("INVITE", "sip:tied@172.16.0.100"), edge);
    assert_eq!(spare.receive_request("INVITE").from, socket("10.9.0.4:5060"));
    private.received_nothing();
    viaduct.stop();
}

#[test]
fn a_link_local_listener_serves_its_link() {
    let world = World::new();
    world.ip("addr add fe80::4/64 dev six nodad");
    world.six.ip("addr add fe80::100/64 dev eth0 nodad");
    let home = Home::new(&format!(
        "{LISTENERS}\n[[listener]]\nname = \"link\"\nbind = \"udp:[fe80::4%six]:5060\"\n{RELAY}"
    ));
    let viaduct = home.start(&world);
    let index = world.six.inside(|| Ok(nix::net::if_::if_nametoindex("eth0")?)).expect("eth0");
    let caller = world.six.party("caller", &format!("[fe80::100%{index}]:5060"));
    let callee = world.private.party("callee", "10.0.0.100:5060");
    // What is written has no zone: that is each host's own affair.
    let without_zone = |mut message: crate::sip::Message| {
        for (_, value) in &mut message.headers {
            *value = value.replace(&format!("%{index}"), "");
        }
        message
    };
    let edge = socket(&format!("[fe80::4%{index}]:5060"));
    caller.send(&without_zone(caller.request("INVITE", &callee.uri())), edge);
    let invite = callee.receive_request("INVITE");
    assert_eq!(invite.from, socket("10.0.0.4:5060"));
    let answer = callee.answer(&invite, "200 OK");
    let answered = caller.receive_response(200);
    assert_eq!(answered.from, edge);

    let mut dialog = Dialog::of_caller(&answered.message);
    assert_eq!(dialog.next_hop(), socket("[fe80::4]:5060"));
    caller.send(&without_zone(dialog.request(&caller, "ACK")), edge);
    assert_eq!(callee.receive_request("ACK").from, socket("10.0.0.4:5060"));

    // From the other side: the caller's Contact cannot say its link, the listener does.
    let mut dialog = Dialog::of_callee(&invite.message, &answer);
    assert_eq!(dialog.next_hop(), socket("10.0.0.4:5060"));
    dialog.send(&callee, "BYE");
    assert_eq!(caller.receive_request("BYE").from, edge);
    viaduct.stop();
}

#[test]
fn a_listener_may_name_an_interface() {
    let world = World::new();
    let home = Home::new(&format!(
        "[[listener]]\nname = \"out\"\nbind = \"udp:pub:5060\"\n\
         [[listener]]\nname = \"in\"\nbind = \"udp:priv:5060\"\n{RELAY}"
    ));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    assert_eq!(callee.receive_request("INVITE").from, socket("10.0.0.4:5060"));
    viaduct.stop();
}

/// Viaduct does not know what this route's encapsulation does to packets.
const STRANGE: &str = "route replace 172.16.0.100/32 encap ip id 7 dst 10.0.0.100 via 10.0.0.100 dev priv";

#[test]
fn a_route_that_only_the_kernel_understands_is_asked_for_there_and_nobody_gets_an_error() {
    let world = World::new();
    if !world.can("route add 192.0.2.0/24 encap ip id 7 dst 10.0.0.100 via 10.0.0.100 dev priv") {
        let line = "SKIPPED: asking the kernel: it has no encapsulation in routes (CONFIG_LWTUNNEL)";
        writeln!(std::io::stderr(), "{line}").expect("standard error");
        return;
    }
    world.ip(STRANGE);
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("roaming", "172.16.0.100:5060");
    let edge = socket("1.2.3.4:5060");
    // Several wait for the same answer, and none of them is lost.
    let invites: Vec<_> = (0..5).map(|_| caller.request("INVITE", "sip:roaming@172.16.0.100")).collect();
    for invite in &invites {
        caller.send(invite, edge);
    }
    for _ in &invites {
        let invite = callee.receive_request("INVITE");
        assert_eq!(invite.from, socket("10.0.0.4:5060"));
        callee.answer(&invite, "200 OK");
        caller.receive_response(200);
    }
    let metrics = viaduct.accounted(10);
    assert!(metrics.sum("viaduct_messages_parked_total", &[]) >= 1);
    // What is known needs no more asking, until routing changes.
    let parked = metrics.sum("viaduct_messages_parked_total", &[]);
    caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), edge);
    callee.receive_request("INVITE");
    assert_eq!(viaduct.metrics().sum("viaduct_messages_parked_total", &[]), parked);

    // The kernel's answer is asked for anew when its routes change.
    let generation = viaduct.generation();
    world.ip("route del 172.16.0.100/32");
    world.ip("route add 172.16.0.0/16 encap ip id 7 dst 10.9.0.100 via 10.9.0.100 dev spare");
    viaduct.newer_than(generation);
    let moved = world.spare.party("roaming", "172.16.0.100:5060");
    crate::world::eventually("the kernel's new answer is used", || {
        caller.send(&caller.request("INVITE", "sip:roaming@172.16.0.100"), edge);
        moved.try_receive().filter(|received| received.from == socket("10.9.0.4:5060"))
    });
    viaduct.stop();
}
