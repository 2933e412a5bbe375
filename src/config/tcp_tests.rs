//! TCP in a configuration: siblings, limits, and what is not lost.

use super::tests::{PRIVATE, PUBLIC, SIX, expect, good};
use crate::plan::LargeUdp;
use crate::stream::StreamLimits;

/// A TCP listener beside the usual ones, and this route.
fn over_tcp(route: &str) -> String {
    format!("[[listener]]\nname = \"t\"\nbind = \"tcp:10.0.0.4:5060\"\n[[route]]\n{route}\n")
}

#[test]
fn what_comes_over_tcp_is_not_lost_over_udp() {
    for route in [
        "to = \"request-uri\"\nmode = \"stateless\"",
        "to = \"sip:10.0.0.9\"\nmode = \"stateless\"",
        "to = \"sip:10.0.0.9\"\nmode = \"stateless\"\nwhen = { listener = [\"t\"] }",
        "to = \"sip:10.0.0.9\"\nmode = \"stateless\"\nwhen = { transport = [\"tcp\"] }\negress = \"private\"",
    ] {
        expect(&over_tcp(route), (6, 8), "would lose requests that come in over TCP", "\"stateful\"");
    }
    for route in [
        "to = \"sip:10.0.0.9\"",
        "to = \"sip:10.0.0.9;transport=tcp\"\nmode = \"stateless\"",
        "to = \"request-uri\"\nmode = \"stateless\"\negress = \"t\"",
        "to = \"request-uri\"\nmode = \"stateless\"\nwhen = { transport = [\"udp\"] }",
        "to = \"request-uri\"\nmode = \"stateless\"\nwhen = { listener = [\"private\"] }",
        "to = \"request-uri\"\negress = { transport = \"tcp\", address = \"received\" }",
    ] {
        good(&format!("{}\n{PUBLIC}{PRIVATE}{SIX}", over_tcp(route)));
    }
    for (bind, over) in [("ws", "WS"), ("tcp", "TCP")] {
        let listener = format!("[[listener]]\nname = \"t\"\nbind = \"{bind}:10.0.0.4:5060\"\n[[route]]\n");
        let mode = |to: &str| format!("{listener}to = \"sip:10.0.0.9{to}\"\nmode = \"stateless\"\n");
        let loses = format!("would lose requests that come in over {over} and go on over UDP");
        expect(&mode(""), (6, 8), &loses, "\"stateful\"");
        let keeps = format!("requests that come in over {over} are kept as transactions");
        let warnings = good(&format!("{}\n{PUBLIC}{PRIVATE}{SIX}", mode(";transport=tcp"))).warnings;
        assert!(warnings.list().iter().any(|found| found.message.contains(&keeps)), "{warnings}");
    }
    let gateways = |second: &str| {
        format!(
            "to = \"group:g\"\nmode = \"stateless\"\n[[group]]\nname = \"g\"\ngateways = [{{ to = \"sip:10.0.0.9;transport=tcp\" }}, {{ to = \"sip:10.0.0.8{second}\" }}]"
        )
    };
    good(&format!("{}\n{PUBLIC}{PRIVATE}{SIX}", over_tcp(&gateways(";transport=tcp"))));
    expect(&over_tcp(&gateways("")), (6, 8), "would lose requests that come in over TCP", "\"stateful\"");
}

#[test]
fn a_listener_takes_connections_besides_unless_it_says_no() {
    let with = |bind: &str, tcp: &str| {
        let route = "to = \"sip:10.0.0.9;transport=tcp\"\negress = \"a\"";
        format!("[[listener]]\nname = \"a\"\nbind = \"{bind}\"\n{tcp}\n[[route]]\n{route}\n")
    };
    for (tcp, is_extra) in [("", true), ("tcp = true", false)] {
        let plan = good(&with("udp:10.0.0.4:5060", tcp)).plan;
        let listeners: Vec<String> =
            plan.listeners.iter().map(|l| format!("{} {} {}", l.name, l.transport, l.bind)).collect();
        assert_eq!(listeners, ["a udp 10.0.0.4:5060", "a/tcp tcp 10.0.0.4:5060"]);
        let [udp, tcp] = &plan.listeners[..] else { panic!("{listeners:?}") };
        assert_ne!(udp.identity, tcp.identity);
        assert!(plan.has_streams() && plan.members(tcp.section).len() == 2);
        assert_eq!(
            [udp, tcp].map(|l| (plan.is_sibling(l), plan.is_extra(l))),
            [(false, false), (true, is_extra)]
        );
    }
    let text = with("udp:10.0.0.4:5060", "tcp = false").replace(";transport=tcp", "");
    let plan = good(&text).plan;
    assert!(!plan.has_streams() && plan.listeners.len() == 1);
    expect(&with("tcp:10.0.0.4:5060", "tcp = true"), (4, 7), "listeners of the transport udp", "leave");
}

/// A listener for TCP of its own goes before the one that stands beside UDP by the way.
#[test]
fn who_names_a_socket_has_it() {
    let own = "[[listener]]\nname = \"t\"\nbind = \"tcp:203.0.113.10:5060\"\n";
    let plan = good(&format!("{PUBLIC}{own}")).plan;
    let names: Vec<&str> = plan.listeners.iter().map(|l| &*l.name).collect();
    assert_eq!(names, ["public", "t"]);
}

#[test]
fn limits_of_connections_are_configured() {
    let text = "[tcp]\nconnections = 1000\nidle = \"2min\"\nconnect = \"500ms\"\nheader = \"3s\"\nbody = \"4s\"\nqueue = \"1MiB\"";
    let limits = good(&format!("{text}\n{PUBLIC}")).plan.streams;
    let expected = StreamLimits {
        connections: 1_000,
        per_peer: 1_000,
        idle_ns: 120_000_000_000,
        connect_ns: 500_000_000,
        header_ns: 3_000_000_000,
        body_ns: 4_000_000_000,
        queue_bytes: 1 << 20,
    };
    assert_eq!(limits, expected);
    assert_eq!(good(PUBLIC).plan.streams, StreamLimits::default());
    expect("[tcp]\nconnections = 15", (2, 15), "from 16 to 60000", "");
    expect("[tcp]\nper_peer = 0", (2, 12), "from 1 to 60000", "");
    expect("[tcp]\nidle = \"9s\"", (2, 8), "must be from \"10s\" to \"24h\"", "");
    expect("[tcp]\nconnect = \"31s\"", (2, 11), "must be from \"100ms\" to \"30s\"", "");
    expect("[tcp]\nqueue = \"64KiB\"", (2, 9), "not a size from 128 KiB to 4 MiB", "4MiB");
    expect(
        "[tcp]\nconnections = 100\nper_peer = 200",
        (1, 1),
        "more than all `connections` (100)",
        "smaller",
    );
    expect("[tcp]\nperpeer = 5", (2, 1), "unknown key `perpeer` in [tcp]", "`per_peer`");
}

#[test]
fn large_requests_may_go_over_tcp() {
    let with = |value: &str, listeners: &str| format!("[egress]\nlarge_udp = \"{value}\"\n{listeners}");
    assert_eq!(good(&with("tcp", PUBLIC)).plan.egress.large_udp, LargeUdp::Tcp);
    assert_eq!(good(&with("udp", PUBLIC)).plan.egress.large_udp, LargeUdp::Udp);
    assert_eq!(good(PUBLIC).plan.egress.large_udp, LargeUdp::Udp);
    expect("[egress]\nlarge_udp = \"tls\"", (2, 13), "cannot be «tls»", "\"tcp\"");
    let alone = format!("{PUBLIC}tcp = false\n");
    let warnings = good(&with("tcp", &alone)).warnings.to_string();
    assert!(warnings.contains("changes nothing: no listener has TCP"), "{warnings}");
}

/// What can be known at load, pair by pair.
#[test]
fn stateless_rules_are_held_against_where_requests_come_in_and_go_out() {
    let stateless = |when: &str, to: &str| format!("to = {to}\nmode = \"stateless\"\n{when}");
    let loses = "would lose requests that come in over TCP";
    for (when, to) in [
        ("when = { transport = [\"tcp\"] }", "[\"sip:10.0.0.9;transport=tcp\", \"sip:10.0.0.8\"]"),
        // The listener's sibling.
        ("when = { transport = [\"tcp\"], listener = [\"private\"] }", "\"sip:10.0.0.9\""),
        ("when = { transport = [\"udp\", \"tcp\"] }", "\"request-uri\""),
        ("when = { not = { transport = [\"udp\"] } }", "\"sip:10.0.0.9\""),
    ] {
        expect(&over_tcp(&stateless(when, to)), (6, 8), loses, "transport = [\"udp\"]");
    }
    let kept = "kept as transactions, whatever `mode` says";
    for (when, to) in [
        ("when = { transport = [\"tcp\"] }", "\"sip:10.0.0.9;transport=tcp\""),
        // A listener for both leaves as the next hop asks.
        ("when = { transport = [\"tcp\"] }\negress = \"public\"", "\"sip:203.0.113.9;transport=tcp\""),
        ("", "\"sip:10.0.0.9;transport=tcp\""),
    ] {
        expect(&over_tcp(&stateless(when, to)), (6, 8), kept, "leave `mode` out");
    }
    for (when, to) in [
        ("when = { not = { transport = [\"tcp\"] } }", "\"sip:10.0.0.9\""),
        ("when = { transport = [\"udp\"] }", "\"sip:10.0.0.9;transport=tcp\""),
    ] {
        let loaded = good(&format!("{}\n{PUBLIC}{PRIVATE}{SIX}", over_tcp(&stateless(when, to))));
        assert!(loaded.warnings.list().is_empty(), "{}", loaded.warnings);
    }
    // A gateway's own way counts, whatever the rule's is.
    let group = "[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:10.0.0.9\", egress = \"private\" }]";
    let route = format!("{}\n{group}", stateless("egress = \"t\"", "\"group:g\""));
    expect(&over_tcp(&route), (6, 8), loses, "\"stateful\"");
}

#[test]
fn origins_are_of_listeners_over_websocket() {
    let with = |bind: &str, origins: &str| {
        format!(
            "[[listener]]\nname = \"b\"\nbind = \"{bind}:10.0.0.4:8080\"\norigins = {origins}\n\
             [[route]]\nto = \"sip:10.0.0.9\"\n"
        )
    };
    let list = "[\"https://phone.example.net\", \"http://10.0.0.1:8000\"]";
    assert!(good(&with("ws", list)).plan.sections[0].origins.is_some());
    assert_eq!(
        good(&with("ws", "\"null\"").replace("origins = \"null\"\n", "")).plan.sections[0].origins,
        None
    );
    expect(
        &with("tcp", list),
        (4, 11),
        "`origins` is of listeners over WebSocket; this one has tcp",
        "leave it out",
    );
    let none = "[\"https://phone.example.net\", \"https://phone.example.net/app\"]";
    expect(
        &with("ws", none),
        (4, 41),
        "«https://phone.example.net/app» is no origin",
        "https://phone.example.net",
    );
    expect(&with("ws", "[]"), (4, 11), "`origins` is an empty list", "leave the key out");
}
