//! One test for each kind of finding, on hosts and configurations written down as literals.

use super::Severity::{Error, Note, Warning};
use super::{Code, Severity};
use crate::config::{self, Diagnostic};
use crate::dns::{Directory, Found, Target, Unresolved};
use crate::fib::spec::{Action, Address, Family, Kind, Link, Nexthop, Nexthops, Route, Rule, TABLE_LOCAL};
use crate::fib::{Builder, Fib};

const WAN: u32 = 2;
const LAN: u32 = 3;

/// 203.0.113.10/24 with the default route, and 10.0.0.4/24.
fn host() -> Builder {
    Builder::host()
        .link(Link::up(WAN, "wan"))
        .link(Link::up(LAN, "lan"))
        .assign(WAN, "203.0.113.10/24".parse().unwrap())
        .assign(LAN, "10.0.0.4/24".parse().unwrap())
        .route(route("0.0.0.0/0", WAN, Some("203.0.113.1")))
}

fn route(prefix: &str, dev: u32, gateway: Option<&str>) -> Route {
    Route::new(prefix.parse().unwrap(), dev, gateway.map(|gateway| gateway.parse().unwrap()))
}

fn listener(name: &str, bind: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nbind = \"udp:{bind}\"\n")
}

fn both() -> String {
    listener("public", "203.0.113.10:5060") + &listener("private", "10.0.0.4:5060")
}

fn rule(to: &str, more: &str) -> String {
    format!("[[route]]\nname = \"r\"\nto = \"{to}\"\n{more}\n")
}

/// What does not fit the host, and what the file itself is warned of.
fn found_here(fib: &Fib, text: &str) -> Vec<Diagnostic> {
    match config::from_str("test.toml", text, fib) {
        Ok(loaded) => loaded.warnings.list().to_vec(),
        Err(findings) => panic!("{findings}"),
    }
}

/// What does not fit the host.
fn found(fib: &Fib, text: &str) -> Vec<Diagnostic> {
    let all = match config::from_str("test.toml", text, fib) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    let wrong: Vec<_> = all.list().iter().filter(|d| d.subject.is_none()).collect();
    assert!(wrong.is_empty(), "the file itself: {all}");
    all.list().to_vec()
}

/// There is exactly one finding of this code and severity with these words in its message and its hint.
#[track_caller]
fn expect(builder: Builder, text: &str, code: Code, severity: Severity, message: &str, hint: &str) {
    let all = found(&builder.build(), text);
    let meant = |d: &&Diagnostic| {
        (d.code, d.severity) == (code.label(), severity)
            && d.message.contains(message)
            && d.hint.contains(hint)
    };
    assert_eq!(all.iter().filter(meant).count(), 1, "{code:?} «{message}» «{hint}» in {all:#?}");
}

#[test]
fn a_host_that_fits_has_no_findings() {
    let text = both() + &rule("sip:10.0.0.100", "egress = \"private\"");
    assert_eq!(found(&host().build(), &text), []);
}

#[test]
fn listeners_tell_what_keeps_them_down() {
    let absent = both() + &listener("spare", "10.0.0.99:5060");
    expect(
        host(),
        &absent,
        Code::AddressAbsent,
        Warning,
        "listener «spare»: no interface of this host",
        "once",
    );
    let down =
        host().link(Link { up: false, ..Link::up(4, "idle") }).assign(4, "10.4.0.4/24".parse().unwrap());
    let idle = both() + &listener("idle", "10.4.0.4:5060");
    expect(
        down,
        &idle,
        Code::InterfaceDown,
        Warning,
        "idle, which has 10.4.0.4, is down",
        "ip link set idle up",
    );
    let pulled =
        host().link(Link { carrier: false, ..Link::up(4, "idle") }).assign(4, "10.4.0.4/24".parse().unwrap());
    let message = "idle, which has 10.4.0.4, has no carrier (cable, switch port, or peer)";
    expect(pulled, &idle, Code::InterfaceDown, Warning, message, "ethtool idle");
    let no_device = both() + &listener("tied", "10.0.0.4:5070") + "device = \"eth9\"\n";
    expect(host(), &no_device, Code::DeviceAbsent, Warning, "there is no device eth9", "appears");
    let down = host().link(Link { up: false, ..Link::up(4, "idle") });
    let tied = both() + &listener("tied", "10.0.0.4:5070") + "device = \"idle\"\n";
    expect(down, &tied, Code::DeviceDown, Warning, "the device idle is down", "ip link set idle up");
}

#[test]
fn an_address_that_another_host_has_is_told_from_one_that_is_tentative() {
    let six = both() + &listener("six", "[fd00::4]:5060");
    let with = |duplicate| {
        let own = Address::new(LAN, "fd00::4".parse().unwrap(), 64);
        host().address(Address { tentative: true, duplicate, ..own })
    };
    let message = "listener «six»: another host on lan has fd00::4";
    expect(with(true), &six, Code::AddressAbsent, Warning, message, "ip address del fd00::4/64 dev lan");
    expect(with(false), &six, Code::AddressAbsent, Warning, "fd00::4 on lan is tentative", "wait");
}

#[test]
fn gateways_that_the_kernel_chooses_among_are_named() {
    let by = |dev, gateway: &str| Route::new("2001:db8::/32".parse().unwrap(), dev, gateway.parse().ok());
    let host = host().route(by(WAN, "fe80::1")).route(by(LAN, "fe80::2"));
    let message = "2001:db8::/32 in table main has gateways by wan and lan: the kernel passes over";
    expect(host, &both(), Code::GatewayChoice, Note, message, "name the listener in a rule");
}

#[test]
fn an_address_without_a_listener_is_noted() {
    let text = listener("public", "203.0.113.10:5060");
    expect(host(), &text, Code::AddressUnserved, Note, "no listener has 10.0.0.4 (lan)", "nearest listener");
}

#[test]
fn a_source_that_is_no_listener() {
    // Nothing can stand in: both live elsewhere and both could send.
    let mgmt = || host().link(Link::up(4, "mgmt")).assign(4, "172.16.0.4/24".parse().unwrap());
    let text = both() + &rule("sip:172.16.0.9", "");
    let refuses = "by mgmt (172.16.0.0/24, table main) from 172.16.0.4, which is no listener; the automatic \
                   choice finds no other, and refuses";
    expect(mgmt(), &text, Code::SourceNoListener, Warning, refuses, "a [[listener]] on 172.16.0.4");
    // A floating address beside the primary one is found by its interface.
    let floating = host().assign(LAN, "10.0.0.44/24".parse().unwrap());
    let text = listener("public", "203.0.113.10:5060")
        + &listener("floating", "10.0.0.44:5060")
        + &rule("sip:10.0.0.100", "");
    let takes = "from 10.0.0.4, which is no listener; the automatic choice takes «floating», whose address \
                 lives on that interface, too";
    expect(floating, &text, Code::SourceNoListener, Note, takes, "nothing, if «floating» is meant");
    // The only one that would leave by it.
    let loopback = mgmt().assign(1, "198.51.100.1/32".parse().unwrap());
    let text = listener("any", "198.51.100.1:5060") + &rule("sip:172.16.0.9", "");
    let takes =
        "172.16.0.4, which is no listener; the automatic choice takes «any», the only one on a loopback";
    expect(loopback.clone(), &text, Code::SourceNoListener, Note, takes, "");
    let guess = loopback.assign(1, "198.51.100.2/32".parse().unwrap());
    let more = text.clone() + &listener("other", "198.51.100.2:5060");
    let message = "and several could: any, other; the automatic choice refuses to guess";
    expect(guess.clone(), &more, Code::SourceNoListener, Warning, message, "a [[listener]] on 172.16.0.4");
    // Nobody stands in for one that is down.
    let text = text + &listener("mgmt", "172.16.0.5:5060");
    let message =
        "and listener mgmt, which is to have 172.16.0.5 there, is down: its address is on no interface";
    expect(guess, &text, Code::SourceNoListener, Warning, message, "bring «mgmt» up");
}

#[test]
fn a_listener_on_the_source_that_cannot_send() {
    let from = Some("10.0.0.4/32".parse().unwrap());
    let prohibit = Rule { from, ..Rule::new(Family::V4, 50, Action::Prohibit) };
    let text = both() + &rule("sip:10.0.0.9", "");
    let message =
        "no listener reaches 10.0.0.9: listener private: from its address: a prohibit route or rule holds it";
    let remedy = "routes get 10.0.0.9 --from 10.0.0.4";
    expect(host().rule(prohibit), &text, Code::NextHopUnrouted, Warning, message, remedy);
}

#[test]
fn a_default_route_whose_source_is_no_listener() {
    let mgmt = host()
        .link(Link::up(4, "mgmt"))
        .assign(4, "172.16.0.4/24".parse().unwrap())
        .without_routes(|route| route.prefix.prefix_len() == 0)
        .route(route("0.0.0.0/0", 4, Some("172.16.0.1")));
    let message = "this host: for the default route the kernel would send it by mgmt via 172.16.0.1";
    expect(mgmt, &both(), Code::SourceNoListener, Warning, message, "a [[listener]] on 172.16.0.4");
    let six = host()
        .assign(LAN, "2001:db8::4/64".parse().unwrap())
        .assign(LAN, "2001:db8::5/64".parse().unwrap())
        .route(route("2000::/3", LAN, Some("2001:db8::1")));
    let text = both() + &listener("six", "[2001:db8::5]:5060");
    let message = "the kernel would send to the IPv6 default route by lan via 2001:db8::1 (2000::/3, table \
                   main) from 2001:db8::4, which is no listener; the automatic choice takes «six»";
    expect(six, &text, Code::SourceNoListener, Note, message, "");
}

#[test]
fn next_hops_that_nothing_leads_to() {
    let island = || host().without_routes(|route| route.prefix.prefix_len() == 0);
    let text = both() + &rule("sip:192.0.2.1", "");
    let message = "route «r»: no listener reaches 192.0.2.1: there is no route";
    expect(
        island(),
        &text,
        Code::NextHopUnrouted,
        Warning,
        message,
        "viaduct routes get 192.0.2.1 --compare",
    );
    let network = || {
        let broadcast = route("10.0.0.255/32", LAN, None);
        host().route(broadcast.in_table(TABLE_LOCAL).of_kind(Kind::Broadcast))
    };
    let message = "10.0.0.255: it is a broadcast address, and SIP is sent to one host";
    let text = both() + &rule("sip:10.0.0.255", "");
    expect(network(), &text, Code::NextHopUnrouted, Warning, message, "the address of one host");
    let message = "10.0.0.255: listener private: from its address: it is a broadcast address";
    let text = both() + &rule("sip:10.0.0.255", "egress = \"private\"");
    expect(network(), &text, Code::OverrideUnreachable, Error, message, "the address of one host");
    let hosts =
        "[hosts]\n\"a.example\" = [\"192.0.2.1\"]\n\"b.example\" = [\"10.0.0.9\"]\n".to_owned() + &both();
    expect(
        island(),
        &hosts,
        Code::NextHopUnrouted,
        Warning,
        "hosts «a.example»: no listener reaches 192.0.2.1",
        "",
    );
    let fallback = "[egress]\nno_listener = \"private\"\n".to_owned() + &both() + &rule("sip:172.16.0.9", "");
    let mgmt = host().link(Link::up(4, "mgmt")).assign(4, "172.16.0.4/24".parse().unwrap());
    let message =
        "for 172.16.0.9 the automatic choice finds nothing, and [egress] no_listener sends it from «private»";
    expect(mgmt, &fallback, Code::NextHopFallback, Warning, message, "add a listener on 172.16.0.4");
    let six = both() + &rule("sip:[2001:db8::9]", "");
    let message = "no listener reaches 2001:db8::9: none over udp with an IPv6 address is up";
    expect(host(), &six, Code::NoListener, Warning, message, "a [[listener]] over udp with an IPv6 address");
    for to in ["sip:10.0.0.9;transport=tls", "sips:10.0.0.9"] {
        let text = both() + &rule(to, "");
        let message = "none over tls with an IPv4 address is up";
        expect(host(), &text, Code::NoListener, Warning, message, "a [[listener]] over tls");
    }
    let off = "[egress]\nauto = false\n".to_owned() + &both() + &rule("sip:10.0.0.9", "");
    let all = found(&host().build(), &off);
    assert!(all.iter().any(|d| d.code == "automatic-off" && d.message.starts_with("route «r»")), "{all:?}");
}

#[test]
fn a_name_with_addresses_of_both_families_fits_with_one_listener() {
    let hosts = "[hosts]\n\"sw.example\" = [\"2001:db8::9\", \"10.0.0.9\"]\n".to_owned() + &both();
    assert_eq!(found(&host().build(), &(hosts + &rule("sip:sw.example", ""))), []);
}

#[test]
fn overrides_that_cannot() {
    let island = || host().without_routes(|route| route.prefix.prefix_len() == 0);
    let text = both() + &rule("sip:192.0.2.1", "egress = \"private\"");
    let message = "its egress cannot reach 192.0.2.1: listener private: from its address: there is no route";
    expect(island(), &text, Code::OverrideUnreachable, Error, message, "viaduct routes get");
    // Another one can: the kernel refuses the private source.
    let ruled = host().rule(Rule {
        from: Some("10.0.0.4/32".parse().unwrap()),
        ..Rule::new(Family::V4, 100, Action::Prohibit)
    });
    expect(
        ruled,
        &text,
        Code::OverrideWrongListener,
        Error,
        "a prohibit route or rule",
        "«public» can: egress = \"public\"",
    );
    let absent = both() + &listener("spare", "10.0.0.99:5060") + &rule("sip:10.0.0.9", "egress = \"spare\"");
    expect(host(), &absent, Code::OverrideDown, Warning, "its egress cannot reach 10.0.0.9", "5xx");
    let relative = "egress = { transport = \"udp\", address = \"received\", port = 5080 }";
    let text = listener("public", "203.0.113.10:5060") + &rule("sip:192.0.2.1", relative);
    let message = "no listener is bound to udp:203.0.113.10:5080";
    expect(host(), &text, Code::OverrideNoSocket, Warning, message, "bind = \"udp:203.0.113.10:5080\"");
    // By a name the next hop is no part of the rule: a warning.
    let hosts = "[hosts]\n\"sw.example\" = [\"192.0.2.1\"]\n".to_owned() + &both();
    let text = hosts + &rule("sip:sw.example", "egress = \"private\"");
    expect(island(), &text, Code::OverrideUnreachable, Warning, "192.0.2.1 (sw.example)", "");
}

/// Main says one way, the table for this source another.
#[test]
fn a_way_that_differs_from_the_open_lookup() {
    let two_ways = || {
        host()
            .rule(Rule::from_table(100, "10.0.0.4/32".parse().unwrap(), 100))
            .route(route("0.0.0.0/0", LAN, Some("10.0.0.1")).in_table(100))
            .route(route("192.0.2.0/24", WAN, Some("203.0.113.2")).with_source("10.0.0.4".parse().unwrap()))
    };
    let text = both() + &rule("sip:192.0.2.1", "");
    let message = "to 192.0.2.1 the kernel routes by wan via 203.0.113.2 (192.0.2.0/24, table main) with any \
                   source, and by lan via 10.0.0.1 (0.0.0.0/0, table 100) from 10.0.0.4, which is what «private» sends";
    let remedy = "viaduct routes get 192.0.2.1 --from 10.0.0.4";
    expect(two_ways(), &text, Code::AsymmetricRoute, Warning, message, remedy);
    let text = both() + &rule("sip:192.0.2.1", "egress = \"private\"");
    expect(two_ways(), &text, Code::AsymmetricRoute, Note, "with any source", remedy);
}

#[test]
fn paths_with_different_sources() {
    let paths = vec![
        Nexthop::new(WAN, Some("203.0.113.1".parse().unwrap())),
        Nexthop::new(LAN, Some("10.0.0.1".parse().unwrap())),
    ];
    let multipath = Route { nexthops: Nexthops::Own(paths), ..route("192.0.2.0/24", WAN, None) };
    let host = host().route(Route { scope: 0, ..multipath });
    let text = both() + &rule("sip:192.0.2.1", "");
    let message = "192.0.2.1 has 2 paths with different sources, and each transaction takes one: by wan via \
                   203.0.113.1 (192.0.2.0/24, table main) from 203.0.113.10; by lan via 10.0.0.1 \
                   (192.0.2.0/24, table main) from 10.0.0.4";
    expect(host, &text, Code::MultipathSources, Warning, message, "`src ADDRESS`");
}

#[test]
fn a_device_without_a_route() {
    let tied = both() + &listener("tied", "10.0.0.4:5070") + "device = \"lan\"\n";
    expect(
        host(),
        &tied,
        Code::OnLinkAssumption,
        Note,
        "lan has no default route",
        "default via GATEWAY dev lan",
    );
    let text = tied + &rule("sip:192.0.2.1", "egress = \"tied\"");
    let all = found(&host().build(), &text);
    let of_rule: Vec<_> = all.iter().filter(|d| d.message.starts_with("route")).collect();
    let [finding] = of_rule[..] else { panic!("{all:?}") };
    assert_eq!((finding.code, finding.severity), ("on-link-assumption", Error));
    assert!(finding.message.contains("no route of lan holds 192.0.2.1"), "{finding:?}");
    assert_eq!(
        finding.hint,
        "if it is on the link: ip route add 192.0.2.1 dev lan; else «public» can reach it"
    );
}

#[test]
fn a_device_that_has_not_the_address() {
    let at = |address: &str| both() + &listener("tied", address) + "device = \"wan\"\n";
    let message = "its address 10.0.0.4 is on lan, and its socket is tied to wan";
    expect(host(), &at("10.0.0.4:5070"), Code::DeviceMismatch, Warning, message, "device = \"lan\"");
    let of = |builder: Builder, text: &str| {
        found(&builder.build(), text).iter().filter(|d| d.code == "device-mismatch").count()
    };
    assert_eq!(of(host(), &at("203.0.113.10:5070")), 0);
    let loopback = host().assign(1, "198.51.100.1/32".parse().unwrap());
    assert_eq!(of(loopback, &at("198.51.100.1:5070")), 0, "of no network");
    let on_both = host().assign(WAN, "10.0.0.4/32".parse().unwrap());
    assert_eq!(of(on_both, &at("10.0.0.4:5070")), 0);
}

#[test]
fn private_addresses_shown_to_public_networks() {
    let behind = || {
        Builder::host().link(Link::up(LAN, "lan")).assign(LAN, "10.0.0.4/24".parse().unwrap()).route(route(
            "0.0.0.0/0",
            LAN,
            Some("10.0.0.1"),
        ))
    };
    let private = listener("private", "10.0.0.4:5060");
    let shows = "«private» shows the private address 10.0.0.4";
    expect(behind(), &private, Code::AdvertisedPrivate, Note, shows, "advertise = \"PUBLIC-ADDRESS:PORT\"");
    let text = private.clone() + "advertise = \"198.51.100.7:5060\"\n" + &rule("sip:192.0.2.1", "");
    assert_eq!(found(&behind().build(), &text), []);
    let text = private.clone() + &rule("sip:192.0.2.1", "egress = \"private\"");
    let all = found(&behind().build(), &text);
    assert!(
        all.iter().any(|d| d.severity == Warning && d.message.starts_with("route «r»: towards 192.0.2.1")),
        "{all:?}"
    );
    let text = private
        + "advertise = [{ to = \"192.0.2.0/24\", as = \"10.9.9.9\" }, { to = \"0.0.0.0/0\", as = \"198.51.100.7\" }]\n";
    expect(
        behind(),
        &text,
        Code::AdvertisedPrivate,
        Warning,
        "towards 192.0.2.0/24, a public network, it advertises 10.9.9.9",
        "",
    );
}

/// `blue`, a VRF with table 10, has `lan`.
fn with_vrf() -> Builder {
    Builder::host()
        .link(Link::up(WAN, "wan"))
        .link(Link { master: 9, ..Link::up(LAN, "lan") })
        .link(Link { vrf_table: Some(10), ..Link::up(9, "blue") })
        .rule(Rule { l3mdev: true, ..Rule::new(Family::V4, 1000, Action::Table(0)) })
        .assign(WAN, "203.0.113.10/24".parse().unwrap())
        .assign(LAN, "10.0.0.4/24".parse().unwrap())
        .without_routes(|route| route.prefix.contains(&"10.0.0.4".parse::<std::net::IpAddr>().unwrap()))
        .route(route("10.0.0.4/32", LAN, None).of_kind(Kind::Local).in_table(10))
        .route(route("10.0.0.0/24", LAN, None).in_table(10).with_source("10.0.0.4".parse().unwrap()))
        .route(route("0.0.0.0/0", WAN, Some("203.0.113.1")))
        .route(route("0.0.0.0/0", LAN, None).of_kind(Kind::Unreachable).in_table(10))
}

#[test]
fn vrfs() {
    let untied = both();
    let message = "10.0.0.4 belongs to VRF blue, and its socket to the default VRF";
    expect(with_vrf(), &untied, Code::VrfMismatch, Warning, message, "device = \"blue\"");
    let tied = both() + "device = \"blue\"\n";
    assert_eq!(found(&with_vrf().build(), &tied), [], "each is where it belongs");
    let into = "when = { listener = [\"public\"] }\negress = \"private\"";
    let text = tied.clone() + &rule("sip:10.0.0.9", into);
    let message = "it takes requests from the default VRF to 10.0.0.9 in VRF blue";
    expect(with_vrf(), &text, Code::VrfCrossing, Note, message, "meant to join them");
    // The same address in the default VRF, on an interface of a lower index that is down: another address.
    let overlapping = with_vrf()
        .link(Link { up: false, ..Link::up(WAN + 2, "spare") })
        .link(Link { master: 9, ..Link::up(WAN + 3, "more") })
        .address(Address::new(WAN + 2, "10.0.7.4".parse().unwrap(), 24))
        .address(Address::new(WAN + 3, "10.0.7.4".parse().unwrap(), 24))
        .route(route("10.0.7.4/32", WAN + 3, None).of_kind(Kind::Local).in_table(10));
    let text = tied.clone() + &listener("more", "10.0.7.4:5060") + "device = \"blue\"\n";
    assert_eq!(found(&overlapping.build(), &text), [], "the VRF's");
    // Automatic: nobody of the default VRF is of IPv4 and up.
    let six = with_vrf().assign(WAN, "2001:db8::4/64".parse().unwrap());
    let text = listener("six", "[2001:db8::4]:5060")
        + &listener("private", "10.0.0.4:5060")
        + "device = \"blue\"\n"
        + &rule("sip:10.0.0.9", "when = { listener = [\"six\"] }");
    let message = "10.0.0.9 is reached by «private» in another VRF";
    expect(six, &text, Code::VrfCrossing, Warning, message, "egress = \"private\"");
}

#[test]
fn what_is_not_understood_is_named() {
    let opaque = Route { opaque: true, ..route("192.0.2.0/24", WAN, Some("203.0.113.1")) };
    let text = both() + &rule("sip:192.0.2.1", "");
    let message = "no listener reaches 192.0.2.1: the routing policy holds something";
    expect(host().route(opaque), &text, Code::AskKernel, Warning, message, "--compare");
}

#[test]
fn a_next_hop_that_is_a_listener_of_ours() {
    for to in ["sip:10.0.0.4", "sip:10.0.0.4:5060;transport=udp"] {
        let message = "its next hop 10.0.0.4 is a listener of this proxy";
        for more in ["", "egress = \"private\""] {
            let text = both() + &rule(to, more);
            expect(host(), &text, Code::NextHopOurselves, Warning, message, "meant for");
        }
    }
    let text =
        "[hosts]\n\"us.example\" = [\"10.0.0.4\"]\n".to_owned() + &both() + &rule("sip:us.example", "");
    expect(host(), &text, Code::NextHopOurselves, Warning, "10.0.0.4 (us.example)", "");
    // Another port of the same address is somebody else.
    assert!(found(&host().build(), &(both() + &rule("sip:10.0.0.4:5070", ""))).is_empty());
}

#[test]
fn a_name_without_an_address() {
    let fib = host().build();
    let text = both() + &rule("sip:media.example", "");
    let plan = config::from_str("test.toml", &text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
    let view = crate::egress::View::new(&plan, &fib);
    let codes = |examiner: super::Examiner<'_>| -> Vec<Code> {
        examiner.all().into_iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(super::Examiner::new(&plan, &fib, &view)), [], "nobody has asked");
    let with = |addresses: &[&str]| {
        let addresses: Box<[std::net::IpAddr]> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let resolution = match addresses.is_empty() {
            true => Err(Unresolved::NoSuchName),
            false => {
                let transport = crate::net::Transport::Udp;
                let target = Target { rank: 0, weight: 0, transport, port: 5060, addresses };
                Ok(Found { targets: [target].into(), stale: false })
            }
        };
        Directory::of(plan.questions().into_iter().map(|question| (question, resolution.clone())))
    };
    for (addresses, found) in [
        (&[][..], vec![Code::NameUnresolved]),
        (&["10.0.0.9"], vec![]),
        (&["10.0.0.4"], vec![Code::NextHopOurselves]),
    ] {
        let names = with(addresses);
        assert_eq!(codes(super::Examiner::with_names(&plan, &fib, &view, &names)), found, "{addresses:?}");
    }
}

#[test]
fn a_name_without_an_address_is_no_end_where_there_are_others() {
    let group =
        "[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:gone.example\" }, { to = \"sip:10.0.0.9\" }]\n";
    let one = "[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:gone.example\" }]\n";
    let others = "requests go to the route's other next hops";
    let alone = "requests for it are answered with 5xx";
    for (before, to, expected) in [
        ("", "\"sip:gone.example\"", ["sip:gone.example does not exist", alone]),
        ("", "[\"sip:gone.example\", \"sip:10.0.0.9\"]", ["sip:gone.example does not exist", others]),
        (group, "\"group:g\"", ["sip:gone.example, a gateway of g, does not exist", others]),
        (one, "\"group:g\"", ["sip:gone.example, a gateway of g, does not exist", alone]),
    ] {
        let fib = host().build();
        let text = format!("{}{before}[[route]]\nname = \"r\"\nto = {to}\n", both());
        let plan = config::from_str("test.toml", &text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
        let view = crate::egress::View::new(&plan, &fib);
        let absent = plan.questions().into_iter().map(|question| (question, Err(Unresolved::NoSuchName)));
        let names = Directory::of(absent);
        let all = super::Examiner::with_names(&plan, &fib, &view, &names).all();
        let [finding] = &all[..] else { panic!("{all:?}") };
        let said = format!("{finding:?}");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_asked_by_a_command_that_runs() {
    let fib = host().build();
    let text = both() + &rule("sip:media.example", "");
    let plan = config::from_str("test.toml", &text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
    let view = crate::egress::View::new(&plan, &fib);
    let names =
        Directory::of(plan.questions().into_iter().map(|question| (question, Err(Unresolved::Failed))));
    let all = super::Examiner::with_names(&plan, &fib, &view, &names).all();
    let [finding] = &all[..] else { panic!("{all:?}") };
    let command = "`viaduct explain -c test.toml --ruri URI --source IP:PORT --listener NAME`";
    assert!(finding.remedy.contains(command), "{finding:?}");
}

#[test]
fn units_can_be_gone_through_one_by_one() {
    let fib = host().without_routes(|route| route.prefix.prefix_len() == 0).build();
    let rules: String =
        (1..=3).map(|n| format!("[[route]]\nname = \"r{n}\"\nto = \"sip:192.0.2.{n}\"\n")).collect();
    let text = "[hosts]\n\"a.example\" = [\"192.0.2.9\"]\n".to_owned() + &both() + &rules;
    let plan = config::from_str("test.toml", &text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
    let view = crate::egress::View::new(&plan, &fib);
    let examiner = super::Examiner::new(&plan, &fib, &view);
    assert_eq!(examiner.units(), 5);
    let subjects: Vec<Vec<String>> = (0..7)
        .map(|unit| examiner.unit(unit).findings.iter().map(|f| f.subject.to_string()).collect())
        .collect();
    let empty: Vec<String> = Vec::new();
    let of = |name: &str| vec![name.to_owned()];
    assert_eq!(
        subjects,
        [
            empty.clone(),
            of("route «r1»"),
            of("route «r2»"),
            of("route «r3»"),
            of("hosts «a.example»"),
            empty.clone(),
            empty
        ]
    );
    assert_eq!(examiner.unit(1).asked, 1);
}

#[test]
fn a_listener_over_tls_that_trusts_nobody_connects_to_nobody() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), crate::pki::Authority::new("A"));
    let pair = authority.issue(&["203.0.113.10"]);
    for (name, text) in [("a.crt", &pair.certificate), ("a.key", &pair.key), ("ca.pem", &authority.pem())] {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let text = |more: &str, to: &str| {
        let keys = format!("certificate = \"{}\"\nkey = \"{}\"\n{more}", file("a.crt"), file("a.key"));
        listener("public", "203.0.113.10:5061").replace("udp:", "tls:") + &keys + &rule(to, "")
    };
    let to = "sip:203.0.113.9;transport=tls";
    let (message, hint) = ("«public» has no `ca`, so it trusts nobody", "ca = ");
    let is_about = |finding: &Diagnostic| finding.code == Code::NoAuthorities.label();
    let alone = found_here(&host().build(), &text("", to));
    let [one] = &alone.iter().filter(|finding| is_about(finding)).collect::<Vec<_>>()[..] else {
        panic!("{alone:#?}")
    };
    assert_eq!(one.severity, Warning);
    assert!(one.message.contains(message) && one.hint.contains(hint), "{one:?}");
    let trusting = found_here(&host().build(), &text(&format!("ca = \"{}\"\n", file("ca.pem")), to));
    assert!(!trusting.iter().any(is_about), "{trusting:#?}");
    let takes_only = found_here(&host().build(), &text("", "request-uri"));
    assert!(!takes_only.iter().any(is_about), "{takes_only:#?}");
}
