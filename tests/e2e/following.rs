//! Listeners that come and go with the host's addresses, devices and links.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::endpoint::settle;
use crate::sip::Dialog;
use crate::viaduct::{Home, LISTENERS, RELAY, Viaduct};
use crate::world::{World, eventually};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The public side by name, the inner ones by their interfaces.
fn by_interface() -> String {
    let listener =
        |name: &str, bind: &str| format!("[[listener]]\nname = \"{name}\"\nbind = \"udp:{bind}:5060\"\n");
    let admin = "[admin]\nlisten = \"127.0.0.1:9060\"\n";
    [admin, &listener("public", "1.2.3.4"), &listener("lan", "priv"), &listener("six", "six"), RELAY].concat()
}

fn sockets_gone(world: &World, bound: &str) {
    eventually(&format!("no socket is on {bound}"), || (world.sockets(bound) == 0).then_some(()));
}

#[test]
fn an_address_that_appears_is_served_and_one_that_goes_is_not() {
    let world = World::new();
    let home = Home::new(&by_interface());
    let viaduct = home.start(&world);
    let shards = viaduct.metrics().sum("viaduct_shards", &[]) as usize;
    let outside = world.public.party("outside", "1.2.3.100:5060");
    let cases = [
        ("10.0.0.9/24 dev priv", "10.0.0.9:5060", "lan/10.0.0.9", &world.private, "10.0.0.100:5060"),
        ("fd00:6::9/64 dev six", "[fd00:6::9]:5060", "six/fd00:6::9", &world.six, "[fd00:6::100]:5060"),
    ];
    for (address, bound, name, far, inside) in cases {
        let inside = far.party("inside", inside);
        assert_eq!(world.sockets(bound), 0);
        world.ip(&format!("addr add {address} {}", if bound.starts_with('[') { "nodad" } else { "" }));
        viaduct.state(name, "up");
        assert_eq!(world.sockets(bound), shards, "one for each shard");

        inside.send(&inside.request("INVITE", &outside.uri()), socket(bound));
        let invite = outside.receive_request("INVITE");
        let answer = outside.answer(&invite, "200 OK");
        assert_eq!(inside.receive_response(200).from, socket(bound));
        let mut dialog = Dialog::of_callee(&invite.message, &answer);

        world.ip(&format!("addr del {address}"));
        sockets_gone(&world, bound);
        assert_eq!(viaduct.metrics().sum("viaduct_listener_state", &[("listener", name)]), 0);
        // The other listeners go on.
        outside.send(&outside.request("MESSAGE", &inside.uri()), socket("1.2.3.4:5060"));
        let other = inside.receive_request("MESSAGE");
        assert_ne!(other.from, socket(bound));
        inside.answer(&other, "200 OK");
        outside.receive_response(200);

        // It comes back, and the dialog's token still means it.
        world.ip(&format!("addr add {address} {}", if bound.starts_with('[') { "nodad" } else { "" }));
        viaduct.state(name, "up");
        dialog.send(&outside, "BYE");
        let bye = inside.receive_request("BYE");
        assert_eq!(bye.from, socket(bound));
        inside.answer(&bye, "200 OK");
        outside.receive_response(200);
        world.ip(&format!("addr del {address}"));
        sockets_gone(&world, bound);
    }
    let metrics = viaduct.metrics();
    let changes = |change| metrics.sum("viaduct_listener_changes_total", &[("change", change)]);
    assert_eq!((changes("appeared"), changes("gone")), (4, 4), "{}", viaduct.log());
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
    let log = viaduct.log();
    for line in [
        "listener lan/10.0.0.9 is new: udp:10.0.0.9:5060; priv has 10.0.0.9",
        "listener lan/10.0.0.9 goes: no interface has 10.0.0.9 any more",
    ] {
        assert_eq!(log.matches(line).count(), 2, "{line}\n{log}");
    }
    viaduct.stop();
}

#[test]
fn an_address_is_served_when_duplicate_address_detection_is_over() {
    let world = World::new();
    let home = Home::new(&by_interface());
    let viaduct = home.start(&world);
    for (key, value) in [("accept_dad", "1"), ("dad_transmits", "2")] {
        let path = format!("/proc/sys/net/ipv6/conf/six/{key}");
        world.inside(|| fs::write(&path, value)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    world.ip("addr add fd00:6::9/64 dev six");
    let began = Instant::now();
    settle();
    assert_eq!(world.sockets("[fd00:6::9]:5060"), 0, "it is tentative");
    viaduct.state("six/fd00:6::9", "up");
    assert!(began.elapsed() > Duration::from_millis(900), "two probes take longer");
    assert!(world.sockets("[fd00:6::9]:5060") > 0);
    viaduct.stop();
}

#[test]
fn a_link_local_address_is_served_on_its_link() {
    let world = World::new();
    world.ip("addr add fe80::4/64 dev six nodad");
    let home = Home::new(&by_interface());
    let viaduct = home.start(&world);
    viaduct.state("six/fe80::4%six", "up");
    world.six.ip("addr add fe80::100/64 dev eth0 nodad");
    let neighbour = world.six.inside(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)?;
        socket.bind(&SocketAddr::from(([0u16; 8], 5060)).into())?;
        let scope = fs::read_to_string("/sys/class/net/eth0/ifindex").ok();
        Ok((std::net::UdpSocket::from(socket), scope))
    });
    let (neighbour, _) = neighbour.expect("a socket");
    let index = world.six.inside(|| {
        let name = std::ffi::CString::new("eth0").map_err(std::io::Error::other)?;
        // The index that this host gives the link.
        Ok(nix::net::if_::if_nametoindex(name.as_c_str())?)
    });
    let to = std::net::SocketAddrV6::new(
        "fe80::4".parse().expect("an address"),
        5060,
        0,
        index.expect("an index"),
    );
    let options = "OPTIONS sip:[fe80::4] SIP/2.0\r\nVia: SIP/2.0/UDP [fe80::100]:5060;branch=z9hG4bKll\r\n\
                   From: <sip:a@example.net>;tag=1\r\nTo: <sip:b@example.net>\r\nCall-ID: ll\r\nCSeq: 1 OPTIONS\r\n\
                   Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    neighbour.send_to(options.as_bytes(), to).expect("it can be sent");
    neighbour.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut buffer = [0; 2_000];
    let (len, from) = neighbour.recv_from(&mut buffer).expect("an answer");
    assert!(buffer[..len].starts_with(b"SIP/2.0 200"), "{}", String::from_utf8_lossy(&buffer[..len]));
    assert_eq!(from.ip(), "fe80::4".parse::<std::net::IpAddr>().expect("an address"));
    viaduct.stop();
}

/// Requests to numbers leave by `floating`, which is 10.0.0.50 or fd00:6::50.
fn with_override(bind: &str, next_hop: &str, more: &str) -> String {
    let floating = format!("[[listener]]\nname = \"floating\"\nbind = \"udp:{bind}:5060\"\n{more}\n");
    let rule = format!(
        "[[route]]\nname = \"numbers\"\nwhen = {{ ruri_user = '^[0-9]+$' }}\nto = \"sip:{next_hop}\"\negress = \"floating\"\nmode = \"stateless\"\n"
    );
    format!("{LISTENERS}{floating}{rule}{RELAY}")
}

/// A request to a number is refused, the Warning says why, and nothing leaves by any link.
fn refused(world: &World, viaduct: &Viaduct<'_>, why: &str) {
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let mut taps = [world.private.tap(), world.six.tap(), world.spare.tap()];
    caller.send(&caller.request("INVITE", "sip:123@example.net"), socket("1.2.3.4:5060"));
    let answer = caller.receive_response(500);
    let warning = answer.message.value("Warning");
    assert!(warning.contains(&format!("listener floating: {why}")), "{warning}\n{}", viaduct.log());
    settle();
    taps.iter_mut().for_each(|tap| tap.saw_nothing());
}

fn accepted(world: &World, inside: &str, from: &str) {
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let far = if inside.starts_with('[') { &world.six } else { &world.private };
    let callee = far.party("callee", inside);
    let request = caller.request("INVITE", "sip:123@example.net");
    // Retransmitted, as by Timer A: on a link that has only just come up the kernel may lose one.
    let sent = (0..4).find_map(|_| {
        caller.send(&request, socket("1.2.3.4:5060"));
        callee.try_receive()
    });
    let invite = sent.expect("the INVITE arrives");
    assert!(invite.message.start.starts_with("INVITE "), "{}", invite.message);
    assert_eq!(invite.from, socket(from));
    callee.answer(&invite, "486 Busy Here");
    caller.receive_response(486);
}

#[test]
fn a_listener_is_bound_before_its_address_is_there_and_sends_nothing_until_then() {
    for (bind, address, inside, link) in [
        ("10.0.0.50", "10.0.0.50/24", "10.0.0.100:5060", "priv"),
        ("[fd00:6::50]", "fd00:6::50/64", "[fd00:6::100]:5060", "six"),
    ] {
        let world = World::new();
        let home = Home::new(&with_override(bind, inside, ""));
        let check = home.command(&world, &["check"]);
        assert!(check.status.success(), "an absent address is no error");
        assert!(
            String::from_utf8_lossy(&check.stdout).contains("warning[address-absent]: listener «floating»")
        );
        let viaduct = home.start(&world);
        let bound = format!("{bind}:5060");
        viaduct.state("floating", "address absent");
        assert!(world.sockets(&bound) > 0, "bound early");
        let before = world.sockets(&bound);
        refused(&world, &viaduct, "its address is on no interface of this host");

        let nodad = if bind.starts_with('[') { "nodad" } else { "" };
        world.ip(&format!("addr add {address} dev {link} {nodad}"));
        viaduct.state("floating", "up");
        accepted(&world, inside, &bound);

        if nodad.is_empty() {
            world.ip(&format!("link set {link} down"));
            viaduct.state("floating", "interface down");
            refused(&world, &viaduct, "the interface that carries its address is down or has no carrier");
            world.ip(&format!("link set {link} up"));
            viaduct.state("floating", "up");
            accepted(&world, inside, &bound);
        }
        world.ip(&format!("addr del {address} dev {link}"));
        viaduct.state("floating", "address absent");
        refused(&world, &viaduct, "its address is on no interface of this host");
        assert_eq!(world.sockets(&bound), before, "the same sockets all the time");
        viaduct.stop();
    }
}

#[test]
fn a_device_may_come_after_the_start_and_be_made_anew() {
    let world = World::new();
    let home = Home::new(&with_override("10.7.0.4", "10.7.0.100:5060", "device = \"late\""));
    let viaduct = home.start(&world);
    viaduct.state("floating", "device absent");
    assert_eq!(world.sockets("10.7.0.4:5060"), 0);
    refused(&world, &viaduct, "there is no interface of its device's name");
    for _ in 0..3 {
        world.ip("link add late type veth peer name late2");
        viaduct.state("floating", "address absent");
        eventually("sockets are open", || (world.sockets("10.7.0.4:5060") > 0).then_some(()));
        world.ip("addr add 10.7.0.4/24 dev late");
        world.ip("link set late2 up");
        world.ip("link set late up");
        viaduct.state("floating", "up");
        world.ip("link set late down");
        viaduct.state("floating", "interface down");
        world.ip("link del late");
        viaduct.state("floating", "device absent");
        sockets_gone(&world, "10.7.0.4:5060");
    }
    viaduct.stop();
}

#[test]
fn nothing_on_a_listener_is_lost_while_another_is_added_changed_and_removed() {
    const ROUNDS: u64 = 50;
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    let done = std::sync::atomic::AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                caller.send(&caller.request("MESSAGE", &callee.uri()), socket("1.2.3.4:5060"));
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        let mut reloads = 0;
        for round in 0..ROUNDS {
            let changes = ["mark = 7", "device = \"spare\"", "advertise = \"192.0.2.9\"", ""];
            let b = "[[listener]]\nname = \"b\"\nbind = \"udp:10.9.0.4:5070\"\n";
            let change = changes[round as usize % changes.len()];
            for more in [b.to_owned(), format!("{b}{change}\n"), String::new()] {
                home.write(&format!("{LISTENERS}{more}{RELAY}"));
                reloads += 1;
                viaduct.reload(reloads);
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        traffic.join().expect("traffic")
    });
    let metrics = viaduct.accounted(sent);
    let counted = |direction| {
        metrics.sum(
            "viaduct_messages_total",
            &[("listener", "public"), ("direction", direction), ("class", "MESSAGE")],
        )
    };
    assert!(sent > 500, "{sent}");
    assert_eq!(counted("in"), sent, "of the {sent} sent");
    assert_eq!(metrics.messages("out"), sent);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
    assert_eq!(metrics.sum("viaduct_kernel_receive_drops_total", &[]), 0);
    sockets_gone(&world, "10.9.0.4:5070");
    println!("{sent} messages, {} reloads", ROUNDS * 3);
    viaduct.stop();
}

#[test]
fn flapping_addresses_leak_nothing_and_do_not_fill_the_log() {
    const FLAPS: usize = 200;
    const SEEN: u64 = 20;
    let world = World::new();
    let home = Home::new(&by_interface());
    let viaduct = home.start(&world);
    let flap = || {
        world.ip("addr add 10.0.0.9/24 dev priv");
        world.ip("addr del 10.0.0.9/24 dev priv");
    };
    // What is made once and kept.
    (0..5).for_each(|_| flap());
    let settled = || {
        sockets_gone(&world, "10.0.0.9:5060");
        // What leaves is forgotten at the next look, once a second.
        std::thread::sleep(Duration::from_millis(1_500));
        (viaduct.descriptors(), viaduct.metrics())
    };
    let (descriptors, before) = settled();
    (0..FLAPS).for_each(|_| flap());
    // Most of those are over before a burst is; of these, each is seen.
    for _ in 0..SEEN {
        world.ip("addr add 10.0.0.9/24 dev priv");
        viaduct.state("lan/10.0.0.9", "up");
        world.ip("addr del 10.0.0.9/24 dev priv");
    }
    let (after, metrics) = settled();
    assert_eq!(after, descriptors, "descriptors");
    assert_eq!(metrics.sum("viaduct_listener_state", &[]), before.sum("viaduct_listener_state", &[]));
    let resident = |m: &crate::metrics::Metrics| m.sum("viaduct_resident_memory_bytes", &[]);
    let grown = resident(&metrics).saturating_sub(resident(&before));
    assert!(grown < 4 << 20, "{grown} bytes more after {FLAPS} flaps");
    let lines = viaduct.log().matches("listener lan/10.0.0.9").count();
    let changes = |change| metrics.sum("viaduct_listener_changes_total", &[("change", change)]);
    assert!(changes("appeared") >= SEEN && changes("appeared") == changes("gone"), "{}", changes("appeared"));
    assert!(lines as u64 <= changes("appeared") + changes("gone"), "{lines} lines");
    let alive = |m: &crate::metrics::Metrics| m.sum("viaduct_snapshots_alive", &[]);
    assert!(alive(&metrics) <= metrics.sum("viaduct_shards", &[]) + 2);
    println!("{} seen to appear, {lines} lines, {grown} bytes more", changes("appeared"));
    // It still works.
    world.ip("addr add 10.0.0.9/24 dev priv");
    viaduct.state("lan/10.0.0.9", "up");
    viaduct.signal(Signal::SIGHUP);
    eventually("reloaded", || (viaduct.metrics().sum("viaduct_reloads_total", &[]) == 1).then_some(()));
    viaduct.stop();
}

#[test]
fn a_new_address_has_its_sockets_in_all_shards_within_milliseconds() {
    let world = World::new();
    let home = Home::new(&by_interface());
    let viaduct = home.start(&world);
    let mut delays: Vec<f64> = (10..30)
        .map(|n| {
            world.ip(&format!("addr add 10.0.0.{n}/24 dev priv"));
            viaduct.state(&format!("lan/10.0.0.{n}"), "up");
            eventually("all shards have the sockets", || {
                let metrics = viaduct.metrics();
                let newest = metrics.sum("viaduct_snapshot_generation", &[]);
                (metrics.least("viaduct_shard_generation") == Some(newest))
                    .then(|| metrics.greatest("viaduct_sockets_delay_seconds"))
            })
            .expect("a delay")
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    let (median, worst) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!("from the event to the sockets in all shards: median {median:.6} s, worst {worst:.6} s");
    assert!(median < 0.05, "{delays:?}");
    viaduct.stop();
}

#[test]
fn more_addresses_than_listeners_are_a_warning_and_no_crash() {
    const MORE: usize = 20;
    let world = World::new();
    let file = by_interface().replace("udp:priv", "udp:*");
    let home = Home::new(&file);
    let viaduct = home.start(&world);
    let mut batch = tempfile::NamedTempFile::new().expect("a file");
    for n in 0..1_024 + MORE {
        let line = format!("addr add 10.200.{}.{}/32 dev priv\n", n / 250, n % 250 + 1);
        std::io::Write::write_all(&mut batch, line.as_bytes()).expect("it can be written");
    }
    world.ip(&format!("-batch {}", batch.path().display()));
    let served = || viaduct.metrics().sum("viaduct_listener_state", &[("state", "up")]);
    eventually("as many as can be are served", || (served() == 1_024).then_some(()));
    eventually("it is told", || {
        viaduct.log().contains("addresses are not served, there are too many").then_some(())
    });
    eventually("and a finding", || {
        (viaduct.metrics().sum("viaduct_findings", &[("code", "listeners-left-out")]) == 1).then_some(())
    });
    // What is there works, and so does the next address in the place of another.
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("MESSAGE", &callee.uri()), socket("1.2.3.4:5060"));
    callee.receive_request("MESSAGE");
    world.ip("addr flush dev priv");
    eventually("they are gone", || (served() < 20).then_some(()));
    world.ip("addr add 10.0.0.4/24 dev priv");
    viaduct.state("lan/10.0.0.4", "up");
    assert!(viaduct.log().lines().count() < 300, "{} lines", viaduct.log().lines().count());
    viaduct.stop();
}
