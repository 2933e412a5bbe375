//! `--what-if` against what the kernel does when the change is made.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct::cli::what_if::{Change, OfThisHost};
use viaduct::control::netlink;
use viaduct::fib::spec::Kind;
use viaduct::fib::{Entry, Fib, Rib};

use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::World;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `--what-if` says of a change is what `explain` says once the kernel has made it.
#[test]
fn explain_knows_what_a_change_of_routes_would_move() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    world.ip("route add 198.51.100.0/24 via 1.2.3.100");
    let explain = |more: &[&str]| -> serde_json::Value {
        let request =
            "explain --json --ruri sip:callee@198.51.100.7 --source 1.2.3.100:5060 --listener public";
        let words: Vec<&str> = request.split(' ').chain(more.iter().copied()).collect();
        let output = home.command(&world, &words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
    };
    for (change, device) in [
        ("route replace 198.51.100.0/24 via 10.0.0.100", "priv"),
        ("route add 198.51.100.0/26 via 10.0.0.100", "priv"),
        ("route add 198.51.100.0/27 via 1.2.3.101", "pub"),
        ("route add 198.51.100.7/32 dev priv src 10.0.0.4", "priv"),
        ("route del 198.51.100.7/32", "pub"),
        ("route replace unreachable 198.51.100.0/27", ""),
        ("route del 198.51.100.0/27", "priv"),
        ("route add 198.51.100.0/24 via 1.2.3.100 metric 9", "priv"),
    ] {
        let before = explain(&[]);
        let predicted = explain(&["--what-if", change]);
        world.ip(change);
        let after = explain(&[]);
        assert_eq!(
            predicted["then"]["route"]["dev"].as_str().unwrap_or_default(),
            device,
            "{change}: {predicted}"
        );
        // Tokens are signed by a key that is made up anew each time.
        let without_tokens = |account: &serde_json::Value| {
            let mut account = account.clone();
            for key in ["via", "record_route", "notes"] {
                account[key] = serde_json::Value::Null;
            }
            account
        };
        assert_eq!(without_tokens(&predicted["now"]), without_tokens(&before), "{change}");
        assert_eq!(without_tokens(&predicted["then"]), without_tokens(&after), "{change}");
        let path = |account: &serde_json::Value| {
            ["dev", "gateway", "source"].map(|key| account["route"][key].clone())
        };
        assert_eq!(predicted["moves"], path(&before) != path(&after), "{change}: {predicted}");
    }
    let refused = home.command(
        &world,
        &[
            "explain",
            "--ruri",
            "sip:a@10.0.0.1",
            "--source",
            "1.2.3.100:5060",
            "--what-if",
            "route add 10.5.0.0/16 vai 10.0.0.9",
        ],
    );
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("^^^"), "{}", said(&refused));
}

/// Everything that decides about unicast: what is left out is broadcast, multicast, and the link-local
/// network that the kernel makes up when a link comes up.
pub fn entries(fib: &Fib) -> BTreeSet<String> {
    let matters = |entry: &Entry| match entry {
        Entry::Route(route) => {
            let made_up = ["fe80::/64", "ff00::/8"].contains(&&*route.prefix.to_string());
            !matches!(route.kind, Kind::Broadcast | Kind::Multicast | Kind::Anycast) && !made_up
        }
        Entry::Address { address, .. } => {
            !matches!(address, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local())
        }
        _ => true,
    };
    // Newer kernels tell of a single port as one under a full mask.
    let shown = |entry: &Entry| entry.to_string().replace("0x13c4/0xffff", "5060-5060");
    let link_local = |text: &String| !text.contains("local fe80::");
    fib.entries().iter().filter(|entry| matters(entry)).map(shown).filter(link_local).collect()
}

const DESTINATIONS: [&str; 9] = [
    "10.0.0.100",
    "10.9.0.100",
    "1.2.3.100",
    "172.16.0.100",
    "198.51.100.7",
    "203.0.113.9",
    "192.0.2.1",
    "fd00:6::100",
    "2001:db8:7::1",
];

/// Each change is thought of, then made: the whole state is as predicted, and so is every destination's way,
/// which the kernel confirms.
#[test]
fn every_change_does_what_was_predicted() {
    let world = World::new();
    for line in [
        "route add 198.51.100.0/24 via 10.0.0.100",
        "route add 203.0.113.0/24 via 10.9.0.100 src 10.9.0.4",
        "route add 192.0.2.0/24 nexthop via 10.0.0.100 nexthop via 10.9.0.100",
        "route add 172.16.0.100 via 10.0.0.100 metric 10",
        "route add 172.16.0.100 via 10.9.0.100 metric 20",
        "route add default via 1.2.3.100",
        "route add default via 10.9.0.100 table 100",
        "-6 route add 2001:db8:7::/64 via fd00:6::100",
        "-6 route add 2001:db8:8::/64 via fd00:6::100 src fd00:6::4",
    ] {
        world.ip(line);
    }
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let mut moved_by_kind = std::collections::BTreeMap::<String, u64>::new();
    for change in [
        "addr add 172.20.0.4/24 dev priv",
        "addr add 10.9.0.44/24 dev spare",
        "addr del 10.9.0.44/24 dev spare",
        "addr add 10.9.0.44/24 dev spare",
        "addr del 10.9.0.4/24 dev spare",
        "addr add 10.9.0.4/24 dev spare",
        "addr del 10.0.0.4/24 dev priv",
        "addr add 10.0.0.4/24 dev priv",
        "addr add 2001:db8:9::4/64 dev six nodad",
        "addr del fd00:6::4/64 dev six",
        "addr add fd00:6::4/64 dev six nodad",
        "route replace 198.51.100.0/24 via 10.9.0.100",
        "route add 198.51.100.0/24 via 10.0.0.100 metric 7",
        "route del 198.51.100.0/24 via 10.9.0.100",
        "-6 route add unreachable 2001:db8:7::/65",
        "-6 route del unreachable 2001:db8:7::/65",
        "rule add from 10.0.0.4 lookup 100",
        "rule add to 198.51.100.0/24 prohibit",
        "rule add ipproto udp dport 5060 lookup 100",
        "rule del ipproto udp dport 5060 lookup 100",
        "rule del to 198.51.100.0/24 prohibit",
        "rule add pref 10 unreachable",
        "rule del pref 10",
        "-6 rule add to 2001:db8:7::/64 prohibit",
        "-6 rule del to 2001:db8:7::/64 prohibit",
        "link set priv down",
        "link set priv up",
        "link set spare down",
        "link set six down",
        "link set six up",
        "link set spare up",
        "addr del 172.20.0.4/24 dev priv",
        "route add 198.51.100.128/25 via 10.0.0.4",
        "route del 198.51.100.128/25 via 10.0.0.4",
        "route add 203.0.113.128/25 via 10.9.0.4 dev spare",
        "route add 198.51.100.0/26 via 0.0.0.0 dev priv",
        "route add blackhole 10.6.0.0/16 src 10.99.0.4",
        "-6 route add unreachable 2001:db8:7::/66 via 2001:db8:99::1",
        "-6 route add prohibit 2001:db8:7::/67 dev six",
        "-6 route add 2001:db8:7::1/68 dev six",
        "addr add 0.0.0.0/24 dev priv",
        "rule add not",
        "rule add from all pref 50",
    ] {
        let moved = predicted_and_made(&world, &home, change);
        *moved_by_kind
            .entry(change.trim_start_matches("-6 ").split(' ').take(2).collect::<Vec<_>>().join(" "))
            .or_default() += moved;
    }
    // A secondary address takes the place of its primary, where the host is set so.
    let promote = || std::fs::write("/proc/sys/net/ipv4/conf/spare/promote_secondaries", "1");
    world.inside(promote).expect("a sysctl");
    for change in ["addr add 10.9.0.45/24 dev spare", "addr del 10.9.0.4/24 dev spare"] {
        predicted_and_made(&world, &home, change);
    }
    println!("destinations moved: {moved_by_kind:?}");
    for kind in ["addr add", "addr del", "link set", "rule add", "rule del", "route replace"] {
        assert!(moved_by_kind[kind] > 0, "nothing moved by `{kind}`: {moved_by_kind:?}");
    }
}

/// What the host has once it is as `expected`, or after three seconds: what follows from an IPv6 address the
/// kernel does a little later.
pub fn settled(read: &dyn Fn() -> Rib, expected: &BTreeSet<String>) -> BTreeSet<String> {
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let state = entries(&read().fib(1));
        if state == *expected || Instant::now() > deadline {
            return state;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many destinations moved.
fn predicted_and_made(world: &World, home: &Home, change: &str) -> u64 {
    let read = || world.inside(|| netlink::read(1).map_err(std::io::Error::other)).expect("netlink").rib();
    let mut host = read();
    let thought: Change = change.parse().unwrap_or_else(|e| panic!("{e}"));
    let applied = world.inside(|| Ok(thought.apply(&mut host, &OfThisHost))).expect("a thread");
    applied.unwrap_or_else(|why| panic!("{why}"));
    let predicted_state = entries(&host.fib(1));

    let mut words = vec!["explain", "--json", "--listener", "public", "--what-if", change];
    DESTINATIONS.iter().for_each(|destination| words.extend(["--dst", destination]));
    let output = home.command(world, &words);
    assert_eq!(output.status.code(), Some(0), "{change}: {}", said(&output));
    let predicted: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    world.ip(change);
    let state = settled(&read, &predicted_state);
    let missing: Vec<_> = state.difference(&predicted_state).collect();
    let wrong: Vec<_> = predicted_state.difference(&state).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "{change}: the kernel has {missing:#?}, predicted was {wrong:#?}"
    );

    // Nothing moves by a change that is none: `now` is how it is.
    let nothing = ["--what-if", "rule add pref 1 nop", "--what-if", "rule del pref 1"];
    let mut words = vec!["explain", "--json", "--listener", "public"];
    words.extend(nothing);
    DESTINATIONS.iter().for_each(|destination| words.extend(["--dst", destination]));
    let after: Value = serde_json::from_slice(&home.command(world, &words).stdout).expect("JSON");
    let mut moved = 0;
    for (at, destination) in DESTINATIONS.iter().enumerate() {
        let (predicted, after) = (&predicted["destinations"][at], &after["destinations"][at]);
        assert_eq!(predicted["then"], after["now"], "{change}: {destination}");
        moved += u64::from(predicted["moves"] == true);
        if let (Some(source), false) =
            (after["now"]["route"]["source"].as_str(), after["now"]["route"].is_null())
        {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
            command.args([
                "routes",
                "get",
                destination,
                "--from",
                source,
                "--sport",
                "5060",
                "--dport",
                "5060",
            ]);
            command.args(["--compare", "--json"]);
            let kernel = world.inside(|| crate::program::output(&mut command)).expect("viaduct runs");
            let kernel: Value = serde_json::from_slice(&kernel.stdout).expect("JSON");
            assert_eq!(kernel["agree"], true, "{change}: {destination}: {kernel}");
            assert_eq!(kernel["dev"], after["now"]["route"]["dev"], "{change}: {destination}");
        }
    }
    let sums: u64 =
        predicted["sums"].as_array().expect("sums").iter().filter_map(|s| s["count"].as_u64()).sum();
    assert_eq!(sums, moved, "{change}: {predicted}");
    moved
}

/// What is refused in thought is refused by the kernel, too.
#[test]
fn what_cannot_be_done_is_refused_by_both() {
    let world = World::new();
    world.ip("route add 198.51.100.0/24 via 10.0.0.100");
    world.ip("link set spare down");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    for change in [
        "route add 198.51.100.0/24 via 10.0.0.101",
        "route add 203.0.113.0/24 via 192.0.2.9",
        "route add 203.0.113.0/24 via 10.0.0.100 dev pub",
        "route add 203.0.113.0/24 dev spare",
        "route add 203.0.113.0/24 dev priv src 10.77.0.4",
        "route del 203.0.113.0/24",
        "route del 198.51.100.0/24 via 10.0.0.101",
        "route del 198.51.100.0/24 dev pub",
        "-6 route add 2001:db8:7::/64 via 2001:db8:99::1",
        "addr add 10.0.0.4/24 dev priv",
        "addr add fd00:6::4/64 dev six",
        "addr del 10.0.0.9/24 dev priv",
        "addr del 10.0.0.4/16 dev priv",
        "addr del fd00:6::9/64 dev six",
        "link set none down",
        "rule del from 10.0.0.4",
        "rule add pref 200 goto 100",
        "rule del pref 77",
        "route add 10.5.0.1/16 via 10.0.0.100",
        "route replace 10.5.0.1/16 via 10.0.0.100",
        "route del 198.51.100.1/24",
        "route add unreachable 10.5.0.0/16 via 10.0.0.100",
        "route add prohibit 10.5.0.0/16 dev priv",
        "route replace blackhole 10.5.0.0/16 dev priv",
        "route add 10.5.0.0/16 via 10.0.0.4 dev pub",
        "route add 10.5.0.0/16 via 10.9.0.4",
        "route add 10.5.0.0/16 via 10.0.0.255",
        "route add 10.5.0.0/16 via 0.0.0.0",
        "-6 route add 2001:db8:7::/64 via fd00:6::4",
        "-6 route add 2001:db8:7::/64 via fd00:6::4 dev six",
        "-6 route add unreachable 2001:db8:7::/64 dev none",
        "-6 route add unreachable 2001:db8:7::/64 src fd00:99::4",
        "rule add",
        "-6 rule add",
        "rule del",
        "rule add uidrange 5 lookup 100",
        "addr add ff02::5/64 dev six",
        "addr add ::/64 dev six",
        "addr add ::1/128 dev six",
        "addr add ::1/64 dev six",
        "addr add ::1/128 dev lo",
    ] {
        let thought = home
            .command(&world, &["explain", "--listener", "public", "--dst", "10.0.0.1", "--what-if", change]);
        // One is a wrong command line, the other what this host cannot do.
        assert!(matches!(thought.status.code(), Some(1 | 2)), "{change}: {}", said(&thought));
        assert!(said(&thought).contains(change), "{change}: {}", said(&thought));
        let mut ip = std::process::Command::new("ip");
        ip.args(change.split(' '));
        let made = world.inside(|| crate::program::output(&mut ip)).expect("ip runs");
        assert!(!made.status.success(), "{change}: the kernel does it");
    }
}

/// What a change would break, and mend, in the words of `check`; an address that comes is listened on.
#[test]
fn a_change_tells_what_check_would_find_and_who_would_listen() {
    let world = World::new();
    let rule = "[[route]]\nname = \"carrier\"\nwhen = { ruri_user = '^1$' }\nto = \"sip:10.0.0.100\"\n";
    let follows = "[[listener]]\nname = \"follows\"\nbind = \"udp:spare:5080\"\n";
    let home = Home::new(&format!("{LISTENERS}{follows}{rule}{RELAY}"));
    let explain = |change: &str, dst: &str| -> Value {
        let words = ["explain", "--json", "--listener", "public", "--dst", dst, "--what-if", change];
        let output = home.command(&world, &words);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
    };
    let codes = |list: &Value| -> BTreeSet<String> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|f| f["code"].as_str().expect("a code").to_owned())
            .collect()
    };
    let broken = explain("addr del 10.0.0.4/24 dev priv", "10.0.0.1");
    assert!(codes(&broken["new_findings"]).contains("next-hop-unrouted"), "{broken}");
    assert!(codes(&broken["new_findings"]).contains("address-absent"), "{broken}");
    world.ip("addr del 10.0.0.4/24 dev priv");
    let mended = explain("addr add 10.0.0.4/24 dev priv", "10.0.0.1");
    assert!(codes(&mended["resolved_findings"]).contains("next-hop-unrouted"), "{mended}");
    let listens = explain("addr add 172.20.0.4/24 dev spare", "172.20.0.9");
    assert_eq!(listens["destinations"][0]["then"]["listener"], "follows/172.20.0.4", "{listens}");
}

/// What came in on a listener that a change takes, or brings: nothing stands in for it.
#[test]
fn what_a_listener_would_no_longer_receive_moves() {
    let world = World::new();
    // Every address of the link would be a listener.
    world.ip("-6 addr flush dev pub");
    let carrier = "[[route]]\nname = \"carrier\"\nwhen = { ruri_user = '^1$' }\nto = \"sip:10.0.0.100\"\n";
    let listener = |name: &str, bind: &str| format!("[[listener]]\nname = \"{name}\"\nbind = \"{bind}\"\n");
    let one = Home::new(&format!("{}{carrier}{RELAY}", listener("one", "udp:pub:5060")));
    let every = Home::new(&format!("{}{carrier}{RELAY}", listener("all", "udp:*:5060")));
    let literal = Home::new(&format!("{LISTENERS}{carrier}{RELAY}"));
    let request = ["--ruri", "sip:a@10.0.0.100", "--source", "1.2.3.100:5060", "--listener"];
    let ask = |home: &Home, words: &[&str], change: &str| -> Value {
        let words: Vec<&str> = ["explain", "--json"].iter().chain(words).copied().collect();
        let output = home.command(&world, &[&words[..], &["--what-if", change]].concat());
        assert_eq!(output.status.code(), Some(0), "{change}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
    };
    let no_listener = "there is no such listener";
    for (home, on, change, why) in [
        (&one, "one/1.2.3.4", "addr del 1.2.3.4/24 dev pub", no_listener),
        (&every, "all/1.2.3.4", "addr del 1.2.3.4/24 dev pub", no_listener),
        (&literal, "public", "addr del 1.2.3.4/24 dev pub", "its address is on no interface of this host"),
        (
            &literal,
            "public",
            "link set pub down",
            "the interface that carries its address is down or has no carrier",
        ),
    ] {
        let lost = ask(home, &[&request[..], &[on]].concat(), change);
        assert_eq!((&lost["moves"], &lost["then"]), (&true.into(), &Value::Null), "{change}: {lost}");
        assert_eq!(lost["then_not_received"], why, "{change}: {lost}");
        assert_eq!(lost["now"]["request"]["listener"], on, "{change}: {lost}");
        let hop = &lost["next_hops"][0];
        assert_eq!(
            (&hop["moves"], &hop["now"]["received"], &hop["then"]["received"]),
            (&true.into(), &true.into(), &false.into()),
            "{change}: {lost}"
        );
    }
    // Nobody said where requests come in: where one listener is left, they may come in there.
    let gone = "addr del 1.2.3.4/24 dev pub";
    let hop = |home: &Home| ask(home, &["--dst", "10.0.0.1"], gone)["destinations"][0].clone();
    assert_eq!(hop(&one)["then"]["words"], "not received: no listener that could receive it is up");
    assert_eq!(hop(&literal)["moves"], false);
    // What a rule takes from one listener alone comes in nowhere else.
    let asks = carrier.replace("when = {", "when = { listener = [\"public\"],");
    let asks = Home::new(&format!("{LISTENERS}{asks}{RELAY}"));
    let lost = ask(&asks, &[], gone)["next_hops"][0].clone();
    assert_eq!((&lost["moves"], &lost["then"]["received"]), (&true.into(), &false.into()), "{lost}");
    let stays = ask(&asks, &[], "link set spare down")["next_hops"][0].clone();
    assert_eq!(stays["moves"], false, "{stays}");
    // What was not received comes.
    world.ip("addr del 1.2.3.4/24 dev pub");
    let comes = "addr add 1.2.3.4/24 dev pub";
    for (home, on) in [(&one, "one/1.2.3.4"), (&every, "all/1.2.3.4"), (&literal, "public")] {
        let found = ask(home, &[&request[..], &[on]].concat(), comes);
        assert_eq!((&found["moves"], &found["now"]), (&true.into(), &Value::Null), "{found}");
        assert!(found["now_not_received"].is_string(), "{found}");
        assert_eq!(found["then"]["request"]["listener"], on, "{found}");
        let text = home.command(&world, &[&["explain"], &request[..], &[on, "--what-if", comes]].concat());
        assert!(said(&text).contains("this request MOVES\n  now  not received: "), "{}", said(&text));
    }
    let stays = ask(&literal, &[&request[..], &["public"]].concat(), "link set spare down");
    assert_eq!((&stays["moves"], &stays["now"], &stays["then"]), (&false.into(), &Value::Null, &Value::Null));
}

/// Every message of a capture, from a file and from a pipe.
#[test]
fn a_capture_is_explained_message_by_message() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let invite = "INVITE sip:callee@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.100;branch=z9hG4bKa\r\n\
        Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
        Content-Length: 0\r\n\r\n";
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 1, 2, 3, 100, 1, 2, 3, 4];
    let length = |len: usize| u16::try_from(len).expect("a datagram").to_be_bytes();
    packet[2..4].copy_from_slice(&length(28 + invite.len()));
    packet.extend(
        [&5060_u16.to_be_bytes()[..], &5060_u16.to_be_bytes(), &length(8 + invite.len()), &[0, 0]].concat(),
    );
    packet.extend(invite.as_bytes());
    let len = u32::try_from(packet.len()).expect("a packet");
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101, 1, 0, len, len];
    let file: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).chain(packet).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("capture.pcap");
    std::fs::write(&path, &file).expect("a file");

    let capture = path.to_str().expect("a name");
    let output = home.command(&world, &["explain", "--pcap", capture]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("→ udp:10.0.0.100:5060 from private by priv (auto source, rule relay)"), "{text}");
    assert!(text.contains("1 messages came in, in 1 packets"), "{text}");

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command
        .args(["explain", "--json", "--what-if", "link set priv down", "--pcap", "-", "-c"])
        .arg(home.file());
    command.stdin(std::fs::File::open(&path).expect("the file"));
    let output = world.inside(|| crate::program::output(&mut command)).expect("viaduct runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["moves"]), (2, &Value::Bool(true)), "{text}{}", said(&output));
    assert_eq!(lines[1]["totals"]["sums"][0]["from"], "private by priv", "{text}");

    // What moves besides the messages stands behind them.
    let what_if = ["--what-if", "link set priv down", "--dst", "10.0.0.9", "--dst", "1.2.3.100"];
    let output = home.command(&world, &[&["explain", "--pcap", capture], &what_if[..]].concat());
    let text = said(&output);
    assert!(text.contains("1 of 1 messages would move"), "{text}");
    assert!(text.contains("1 of 2 destinations would move\nudp:10.0.0.9:5060 MOVES"), "{text}");
    assert!(text.contains("`check` would find what it does not find now:"), "{text}");
    let output = home.command(&world, &[&["explain", "--json", "--pcap", capture], &what_if[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last: Value = serde_json::from_str(text.lines().next_back().expect("a line")).expect("JSON");
    assert_eq!((&last["totals"]["messages"], &last["destinations"][0]["moves"]), (&1.into(), &true.into()));
    assert_eq!(last["new_findings"][0]["code"], "interface-down", "{last}");

    std::fs::write(&path, "no capture").expect("a file");
    for (capture, why) in [(capture, "neither pcap nor pcapng"), ("/nowhere", "No such file")] {
        let output = home.command(&world, &["explain", "--pcap", capture]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(why) && output.stdout.is_empty(), "{}", said(&output));
    }
}

/// A change alone is held against the rules' literal next hops and against what `check` finds.
#[test]
fn a_change_needs_no_request() {
    let world = World::new();
    let carrier = "[[route]]\nname = \"carrier\"\nto = \"sip:10.0.0.100\"\n";
    let home = Home::new(&format!("{LISTENERS}{carrier}"));
    let output = home.command(&world, &["explain", "--what-if", "link set priv down"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("1 of 1 literal next hops of the rules would move\ncarrier "), "{text}");
    assert!(
        text.contains("error[next-hop-unrouted]") || text.contains("warning[next-hop-unrouted]"),
        "{text}"
    );
    assert!(!text.contains("this request"), "{text}");
}

/// What cannot be explained is no drop.
#[test]
fn what_is_no_request_is_an_error() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let from = |source| ["explain", "--listener", "public", "--source", source];
    for (words, code, why) in [
        ([&from("1.2.3.100:5060")[..], &["--message", "-"]].concat(), 1, "standard input is empty"),
        ([&from("1.2.3.100:5060")[..], &["--message", "/dev/null"]].concat(), 1, "/dev/null is empty"),
        ([&from("1.2.3.100:0")[..], &["--ruri", "sip:a@10.0.0.1"]].concat(), 2, "port 0"),
        ([&from("1.2.3.100")[..], &["--ruri", "sip:a@10.0.0.1"]].concat(), 2, "not ADDRESS:PORT"),
        ([&from("1.2.3.100:1")[..], &["--what-if", "rule add nop"]].concat(), 2, "--source needs a request"),
        (vec!["explain", "--ruri", "sip:a@10.0.0.1", "--what-if", "rule add nop"], 2, "needs --source"),
        (vec!["explain", "--listener", "none", "--what-if", "rule add nop"], 2, "no listener `none`"),
    ] {
        let output = home.command(&world, &words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(why) && output.stdout.is_empty(), "{words:?}: {}", said(&output));
    }
}
