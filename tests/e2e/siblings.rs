//! Connections beside datagrams: every listener for UDP takes them, and large requests leave by them where that is wanted.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use crate::sipp::{self, End};
use crate::tcp::{answer, options, read_message};
use crate::viaduct::{Home, KEEPING_RELAY, LISTENERS, RELAY};
use crate::world::{PATIENCE, World, edge, eventually};

#[test]
fn a_listener_takes_connections_beside_datagrams() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{KEEPING_RELAY}"));
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    for (from, to, suffix) in [("t1", "u1", ""), ("u1", "t1", ";transport=tcp"), ("u1", "u1", "")] {
        sipp::calls_over("reinvite", 10, (&public, from), "1.2.3.4", (&private, to), suffix);
    }
    assert!(viaduct.metrics().sum("viaduct_listener_sockets", &[("listener", "public/tcp")]) > 0);
    viaduct.stop();
}

/// Nobody has asked for TCP: where its port is taken, UDP is served all the same, and TCP as soon as it can be.
#[test]
fn a_port_that_another_program_has_costs_tcp_alone() {
    let world = World::new();
    let taken = world.inside(|| TcpListener::bind(edge())).expect("the port");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.spawn(&world);
    viaduct_is_up(&world);
    viaduct.state("public/tcp", "no socket");
    let log = viaduct.log();
    assert!(log.contains("1.2.3.4:5060 is in use by another program; see: ss -ltnp"), "{log}");
    assert!(log.contains("until then «public» serves no TCP") && log.contains("tcp = false"), "{log}");
    let listeners = crate::metrics::page(&world, "/listeners").expect("the admin address");
    let row = listeners.lines().find(|line| line.contains("public/tcp")).unwrap_or_default();
    assert!(row.contains("no socket") && row.contains("is in use by another program"), "{listeners}");
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), edge());
    callee.receive_request("INVITE");
    drop(taken);
    viaduct.state("public/tcp", "up");
    viaduct.stop();
}

fn viaduct_is_up(world: &World) {
    eventually("Viaduct is ready", || {
        let metrics = crate::metrics::Metrics::scrape(world)?;
        let shards = metrics.sum("viaduct_shards", &[]);
        (shards > 0 && metrics.sum("viaduct_shards_up", &[]) == shards).then_some(())
    });
}

#[test]
fn who_asks_for_tcp_gets_it_or_nothing() {
    let world = World::new();
    let _taken = world.inside(|| TcpListener::bind(edge())).expect("the port");
    let listeners = LISTENERS.replacen("bind = \"udp:1", "tcp = true\nbind = \"udp:1", 1);
    let home = Home::new(&format!("{listeners}{RELAY}"));
    let (status, log) = home.spawn(&world).wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("listener public/tcp: 1.2.3.4:5060 is in use by another program"), "{log}");
}

const LARGE: &str = "[egress]\nlarge_udp = \"tcp\"\n";

/// A callee that takes connections gets what is large by one, and what is small by UDP.
#[test]
fn a_large_request_leaves_over_tcp() {
    let world = World::new();
    let home = Home::new(&format!("{LARGE}{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let there: SocketAddr = "10.0.0.100:5060".parse().expect("an address");
    let bob = world.private.inside(|| TcpListener::bind(there)).expect("a listener");
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let mut large = caller.request("MESSAGE", &callee.uri());
    large.add("X-Large", &"x".repeat(1_300));
    caller.send(&large, edge());
    let (mut stream, from) = bob.accept().expect("Viaduct connects");
    assert_eq!(from.ip().to_string(), "10.0.0.4", "from the address that its datagrams leave from");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = read_message(&mut stream);
    assert!(request.contains("\r\nVia: SIP/2.0/TCP 10.0.0.4:5060;"), "{request}");
    stream.write_all(answer(&request).as_bytes()).expect("an answer");
    assert_eq!(caller.receive_response(200).from, edge());
    caller.send(&caller.request("MESSAGE", &callee.uri()), edge());
    let small = callee.receive_request("MESSAGE");
    assert!(small.message.value("Via").starts_with("SIP/2.0/UDP 10.0.0.4:5060;"));
    viaduct.stop();
}

/// "if the attempt to establish the connection […] results in a TCP reset, the element SHOULD retry the request, using UDP".
#[test]
fn a_large_request_leaves_over_udp_where_nobody_takes_connections() {
    let world = World::new();
    let home = Home::new(&format!("{LARGE}{LISTENERS}{KEEPING_RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let mut large = caller.request("INVITE", &callee.uri());
    large.add("X-Large", &"x".repeat(1_300));
    caller.send(&large, edge());
    caller.receive_response(100);
    let invite = callee.receive_request("INVITE");
    assert!(invite.message.value("Via").starts_with("SIP/2.0/UDP 10.0.0.4:5060;"));
    callee.answer(&invite, "486 Busy Here");
    callee.receive_request("ACK");
    assert_eq!(caller.receive_response(486).from, edge());
    let metrics = viaduct.metrics();
    assert_eq!(metrics.sum("viaduct_connections_failed_total", &[("why", "connect_refused")]), 1);
    eventually("the log tells", || {
        viaduct.log().contains("no connection to 10.0.0.100:5060: it is refused").then_some(())
    });
    let log = viaduct.log();
    assert!(log.contains("listener private/tcp:") && log.contains("nobody listens there for TCP"), "{log}");
    viaduct.stop();
}

/// A request that is large by what comes over TCP already needs nothing.
#[test]
fn what_comes_by_a_connection_and_is_large_leaves_by_one() {
    let world = World::new();
    let home = Home::new(&format!("{LARGE}{LISTENERS}{KEEPING_RELAY}"));
    let viaduct = home.start(&world);
    let there: SocketAddr = "10.0.0.100:5060".parse().expect("an address");
    let bob = world.private.inside(|| TcpListener::bind(there)).expect("a listener");
    let mut anna = crate::tcp::connect(&world.public, crate::world::EDGE);
    let text = options("sip:bob@10.0.0.100:5060", "large");
    let text = text.replace("Max-Forwards", &format!("X-Large: {}\r\nMax-Forwards", "x".repeat(1_300)));
    anna.write_all(text.as_bytes()).expect("a request");
    let (mut stream, _) = bob.accept().expect("Viaduct connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = read_message(&mut stream);
    stream.write_all(answer(&request).as_bytes()).expect("an answer");
    assert!(read_message(&mut anna).starts_with("SIP/2.0 200 "));
    viaduct.stop();
}
