//! `doctor` on a real host: what it finds in a network namespace, and beside a running Viaduct.

use std::net::UdpSocket;

use serde_json::Value;

use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::World;

/// Exit code and findings of `doctor --json`.
fn audit(home: &Home, world: &World, more: &[&str]) -> (i32, Vec<Value>) {
    let output = home.command(world, &[&["doctor", "--json"], more].concat());
    let Value::Array(findings) = serde_json::from_slice(&output.stdout).expect("JSON") else {
        panic!("no list: {}", String::from_utf8_lossy(&output.stdout));
    };
    (output.status.code().expect("an exit code"), findings)
}

/// (subject, status) of a check's findings.
fn of<'a>(findings: &'a [Value], code: &str) -> Vec<(&'a str, &'a str)> {
    let text = |finding: &'a Value, field: &str| finding[field].as_str().unwrap_or_default();
    let ours = findings.iter().filter(|finding| finding["code"] == code);
    ours.map(|finding| (text(finding, "subject"), text(finding, "status"))).collect()
}

fn set(world: &World, name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/conf/{name}");
    world.inside(|| std::fs::write(&path, value)).unwrap_or_else(|e| panic!("{path}: {e}"));
}

/// The namespace's own values, whatever the machine's are.
fn unfiltered() -> World {
    let world = World::new();
    for link in ["all", "pub", "priv", "six", "spare"] {
        for name in ["rp_filter", "arp_ignore", "arp_announce", "arp_filter"] {
            set(&world, &format!("{link}/{name}"), "0");
        }
    }
    world
}

#[test]
fn a_strict_filter_fails_where_a_rules_next_hop_is_answered_another_way() {
    let world = unfiltered();
    world.ip("route add 198.51.100.0/24 via 1.2.3.100");
    let rule = "[[route]]\nname = \"media\"\nto = \"sip:198.51.100.9\"\negress = \"private\"\n";
    let home = Home::new(&format!("{LISTENERS}{rule}"));
    let only = ["--only", "rp-filter"];
    let (code, findings) = audit(&home, &world, &only);
    assert!(code == 0 && of(&findings, "rp-filter").contains(&("priv", "pass")), "{findings:#?}");

    set(&world, "priv/rp_filter", "1");
    let (code, findings) = audit(&home, &world, &only);
    assert_eq!((code, of(&findings, "rp-filter")[0]), (1, ("priv", "fail")), "{findings:#?}");
    let found = findings[0]["found"].as_str().expect("words");
    assert!(
        found.contains("198.51.100.9") && found.contains("«private»") && found.contains("by pub"),
        "{found}"
    );
    assert_eq!(
        findings[0]["remedy"].as_str().map(|r| r.starts_with("sysctl -w net.ipv4.conf.priv.rp_filter=2")),
        Some(true)
    );

    // And so it is: what comes in by the private link from there does not arrive.
    let filtered = |world: &World| {
        let text =
            world.inside(|| std::fs::read_to_string("/proc/thread-self/net/netstat")).expect("counters");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("TcpExt:")).collect();
        let column = lines[0].split(' ').position(|name| name == "IPReversePathFilter").expect("the counter");
        lines[1].split(' ').nth(column).and_then(|value| value.parse::<u64>().ok()).expect("a number")
    };
    let before = filtered(&world);
    world.private.ip("addr add 198.51.100.9/32 dev lo");
    let send = |from: &'static str| {
        let sent = world.private.inside(|| UdpSocket::bind(from)?.send_to(b"x", "10.0.0.4:5060"));
        sent.unwrap_or_else(|e| panic!("a send from {from}: {e}"));
    };
    // The filter also keeps the host from answering an ARP request of such a sender; so a neighbour asks first.
    send("10.0.0.100:5060");
    crate::world::eventually("the packet is dropped", || {
        send("198.51.100.9:5060");
        (filtered(&world) > before).then_some(())
    });

    // The loose filter lets it through.
    set(&world, "priv/rp_filter", "2");
    let (code, _) = audit(&home, &world, &only);
    assert_eq!(code, 0);
}

#[test]
fn two_interfaces_on_one_network_are_told_unless_they_are_parted() {
    let world = unfiltered();
    world.ip("addr add 10.0.0.5/24 dev spare");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let only = ["--only", "arp"];
    let (code, findings) = audit(&home, &world, &only);
    assert_eq!((code, findings.len(), &findings[0]["status"]), (0, 1, &Value::from("warn")), "{findings:#?}");
    assert_eq!(audit(&home, &world, &["--only", "arp", "--strict"]).0, 1);
    set(&world, "all/arp_ignore", "1");
    set(&world, "all/arp_announce", "2");
    assert_eq!(audit(&home, &world, &["--only", "arp", "--strict"]).0, 0);
}

#[test]
fn a_running_process_is_found_and_its_own_counters_are_read() {
    let world = unfiltered();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let (_, before) = audit(&home, &world, &[]);
    for code in ["kernel-drops", "long-batches", "flow-spread"] {
        assert_eq!(of(&before, code)[0].1, "skip", "{code}");
    }
    let viaduct = home.start(&world);
    // A busy machine may let it answer too late for an audit that waits two seconds.
    let findings = crate::world::eventually("it answers the audit", || {
        let (_, findings) = audit(&home, &world, &[]);
        (of(&findings, "kernel-drops")[0].1 != "skip").then_some(findings)
    });
    assert_eq!(of(&findings, "kernel-drops"), [("running Viaduct", "pass")]);
    assert_eq!(of(&findings, "netlink-buffer"), [("running Viaduct", "pass")]);
    let (subject, _) = of(&findings, "open-files")[0];
    assert!(subject.starts_with("viaduct (process "), "{subject}");
    viaduct.stop();
}
