//! Calls by name: what a name server says decides where they go, and where they go on to.

use crate::endpoint::Party;
use crate::nameserver::{Mood, NameServer};
use crate::viaduct::{Home, LISTENERS};
use crate::world::{World, edge, eventually};

/// The first server is dead: nobody listens there.
const ZONE: &str = r#"
    carrier.example 60 NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.carrier.example
    carrier.example 60 NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.carrier.example
    _sip._udp.carrier.example 60 SRV 10 0 5999 dead.carrier.example
    _sip._udp.carrier.example 60 SRV 20 0 5060 alive.carrier.example
    dead.carrier.example 60 A 10.0.0.100
    alive.carrier.example 60 AAAA fd00:6::100
"#;

/// A name server on Viaduct's own host, and a configuration that asks it.
fn named(world: &World, zone: &str, routes: &str) -> (NameServer, Home) {
    let server = world.inside(|| Ok(NameServer::at("127.0.0.1:0", zone))).expect("a name server");
    let dns = format!(
        "[dns]\nservers = [\"{}\"]\ntimeout = \"500ms\"\nattempts = 1\nmin_ttl = \"1s\"\n",
        server.address
    );
    let home = Home::new(&format!("{dns}{LISTENERS}{routes}"));
    (server, home)
}

fn caller(world: &World) -> Party {
    world.public.party("alice", "1.2.3.100:5060")
}

const TO_CARRIER: &str =
    "\n[[route]]\nname = \"carrier\"\nto = \"sip:carrier.example\"\ntimeout = \"500ms\"\n";
const ANYWHERE: &str = "\n[[route]]\nname = \"anywhere\"\nto = \"request-uri\"\n";

#[test]
fn where_the_first_server_is_dead_the_second_takes_the_call() {
    let world = World::new();
    let (server, home) = named(&world, ZONE, TO_CARRIER);
    let viaduct = home.start(&world);
    assert!(server.asked().contains(&"carrier.example NAPTR".to_owned()), "asked at the start");
    let (alice, carol) = (caller(&world), world.six.party("carol", "[fd00:6::100]:5060"));
    let invite = alice.request("INVITE", "sip:somebody@example.net");
    alice.send(&invite, edge());
    alice.receive_response(100);
    let received = carol.receive_request("INVITE");
    assert_eq!(received.from.to_string(), "[fd00:6::4]:5060", "by the listener of its family");
    carol.answer(&received, "200 OK");
    alice.receive_response(200);
    let metrics = viaduct.metrics();
    assert_eq!(metrics.sum("viaduct_dns_hits_total", &[]), 1);
    assert_eq!(metrics.sum("viaduct_dns_messages_parked_total", &[]), 0);
    viaduct.stop();
}

#[test]
fn a_call_to_a_name_that_nobody_knows_yet_waits_for_the_name_server() {
    let world = World::new();
    let (server, home) = named(&world, "bob.example 60 A 10.0.0.100", ANYWHERE);
    let viaduct = home.start(&world);
    let (alice, bob) = (caller(&world), world.private.party("bob", "10.0.0.100:5060"));
    alice.send(&alice.request("OPTIONS", "sip:bob@bob.example"), edge());
    let received = bob.receive_request("OPTIONS");
    bob.answer(&received, "200 OK");
    alice.receive_response(200);
    assert_eq!(server.asked()[0], "bob.example NAPTR");
    let metrics = viaduct.metrics();
    assert_eq!(metrics.sum("viaduct_dns_messages_parked_total", &[]), 1);
    assert_eq!(metrics.sum("viaduct_dns_messages_waiting", &[]), 0);

    // What does not exist, and what nobody can tell, is told apart.
    alice.send(&alice.request("OPTIONS", "sip:bob@absent.example"), edge());
    let answer = alice.receive_response(478).message;
    assert!(answer.value("Warning").ends_with("\"sip:absent.example does not exist\""), "{answer:?}");
    server.mood("broken.example", Some(Mood::Fails));
    alice.send(&alice.request("OPTIONS", "sip:bob@broken.example"), edge());
    alice.receive_response(503);
    server.mood("silent.example", Some(Mood::Silent));
    alice.send(&alice.request("OPTIONS", "sip:bob@silent.example"), edge());
    alice.receive_response(503);
    let metrics = viaduct.metrics();
    for (reason, count) in [("no_such_name", 1), ("failed", 2)] {
        assert_eq!(metrics.sum("viaduct_dns_unresolved_total", &[("reason", reason)]), count, "{reason}");
    }
    assert!(metrics.sum("viaduct_dns_queries_total", &[("outcome", "failed")]) >= 2);
    viaduct.stop();
}

#[test]
fn an_answer_that_changes_moves_the_next_call() {
    let world = World::new();
    let (server, home) =
        named(&world, "gw.example 1 A 10.0.0.100", "\n[[route]]\nto = \"sip:gw.example:5060\"\n");
    let viaduct = home.start(&world);
    let (alice, bob) = (caller(&world), world.private.party("bob", "10.0.0.100:5060"));
    let carol = world.six.party("carol", "[fd00:6::100]:5060");
    let call = |taker: &Party| {
        alice.send(&alice.request("OPTIONS", "sip:x@example.net"), edge());
        let received = taker.receive_request("OPTIONS");
        taker.answer(&received, "200 OK");
        alice.receive_response(200);
    };
    call(&bob);
    let names = viaduct.metrics().sum("viaduct_dns_queries_total", &[]);
    server.says("gw.example 1 AAAA fd00:6::100");
    eventually("the name is asked for again", || {
        (viaduct.metrics().sum("viaduct_dns_queries_total", &[]) >= names + 4).then_some(())
    });
    call(&carol);
    // The server is gone: what it said stays in use.
    server.mood("gw.example", Some(Mood::Fails));
    eventually("the answer is stale", || {
        (viaduct.metrics().sum("viaduct_dns_names_stale", &[]) == 1).then_some(())
    });
    // The control thread says it before the shards have what it says.
    eventually("a call goes by the stale answer", || {
        call(&carol);
        (viaduct.metrics().sum("viaduct_dns_stale_hits_total", &[]) >= 1).then_some(())
    });
    viaduct.stop();
}

#[test]
fn check_and_explain_ask_the_name_server() {
    let world = World::new();
    let routes = format!(
        "{TO_CARRIER}when = {{ ruri_user = \"^c$\" }}\n\n[[route]]\nname = \"gone\"\nto = \"sip:gone.example\"\n\
         when = {{ ruri_user = \"^g$\" }}\n{ANYWHERE}"
    );
    let (_server, home) = named(&world, ZONE, &routes);
    let check = home.command(&world, &["check"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(text.contains("sip:gone.example does not exist"), "{text}");
    assert!(text.contains("(0 errors, 1 warning,"), "the other name leads somewhere: {text}");

    let source = ["--source", "1.2.3.100:5060", "--listener", "public"];
    let explain = |ruri: &str, more: &[&str]| {
        let words = [&["explain", "--ruri", ruri], &source[..], more].concat();
        String::from_utf8_lossy(&home.command(&world, &words).stdout).into_owned()
    };
    let text = explain("sip:c@example.net", &[]);
    for wanted in [
        "carrier.example NAPTR: 10 10 \"s\" \"SIPS+D2T\" _sips._tcp.carrier.example.",
        "_sip._udp.carrier.example SRV: 10 0 5999 dead.carrier.example. | 20 0 5060 alive.carrier.example.",
        "rank 1, weight 0: udp:[fd00:6::100]:5060",
        "FORWARD",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&explain("sip:x@carrier.example", &["--json"])).expect("JSON");
    assert_eq!(json["names"][0]["question"], "sip:carrier.example");
    assert_eq!(json["names"][0]["servers"][0]["next_hops"][0], "udp:10.0.0.100:5999");
    let text = explain("sip:x@absent.example", &[]);
    assert!(text.contains("478 Unresolvable Destination") && text.contains("does not exist"), "{text}");
}
