//! What `check` finds on a real host, and what a running process tells as it comes and goes.

use std::collections::BTreeSet;

use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::{World, eventually};

/// (code, severity, subject's name) of all findings of `check --json`.
fn found(home: &Home, world: &World) -> (i32, BTreeSet<(String, String, String)>) {
    let output = home.command(world, &["check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = json["findings"].as_array().expect("a list").iter();
    let all = findings.map(|f| (text(&f["code"]), text(&f["severity"]), text(&f["subject"]["name"])));
    (output.status.code().expect("an exit code"), all.collect())
}

fn finding(code: &str, severity: &str, name: &str) -> (String, String, String) {
    (code.into(), severity.into(), name.into())
}

#[test]
fn check_finds_what_does_not_fit_this_host() {
    let world = World::new();
    world.ip("route add 198.51.100.0/24 via 1.2.3.100 src 1.2.3.4");
    let rule =
        |name: &str, to: &str, more: &str| format!("[[route]]\nname = \"{name}\"\nto = \"{to}\"\n{more}\n");
    let fits = format!("{LISTENERS}{}", rule("media", "sip:10.0.0.100", "egress = \"private\""));
    assert_eq!(found(&Home::new(&fits), &world), (0, BTreeSet::new()), "a host that fits");

    world.ip("addr add 172.20.0.4/24 dev spare");
    world.ip("route add 203.0.113.0/24 nexthop via 1.2.3.100 nexthop via 10.9.0.100");
    world.ip("rule add from 10.0.0.4 lookup 100");
    world.ip("route add 198.51.100.0/24 via 10.0.0.100 table 100");
    world.ip("route add prohibit 192.0.2.0/24 table 100");
    let file = [
        "[hosts]\n\"far.example\" = [\"192.0.2.77\"]\n".to_owned(),
        LISTENERS.to_owned(),
        "[[listener]]\nname = \"absent\"\nbind = \"udp:10.77.0.4:5060\"\n".to_owned(),
        "[[listener]]\nname = \"tied\"\nbind = \"udp:10.0.0.4:5070\"\ndevice = \"priv\"\n".to_owned(),
        rule("nowhere", "sip:192.0.2.1", "when = { ruri_user = '^1$' }"),
        rule("unserved", "sip:172.20.0.9", "when = { ruri_user = '^2$' }"),
        rule("paths", "sip:203.0.113.9", "when = { ruri_user = '^3$' }"),
        rule("other-way", "sip:198.51.100.9", "when = { ruri_user = '^4$' }\negress = \"private\""),
        rule("down", "sip:10.77.0.9", "when = { ruri_user = '^5$' }\negress = \"absent\""),
    ]
    .concat();
    let (code, all) = found(&Home::new(&file), &world);
    let expected = BTreeSet::from([
        finding("address-absent", "warning", "absent"),
        finding("on-link-assumption", "note", "tied"),
        finding("address-unserved", "note", ""),
        finding("next-hop-unrouted", "warning", "nowhere"),
        finding("next-hop-unrouted", "warning", "far.example"),
        finding("source-no-listener", "note", "unserved"),
        finding("multipath-sources", "warning", "paths"),
        finding("asymmetric-route", "note", "other-way"),
        finding("advertised-private", "warning", "other-way"),
        finding("override-down", "warning", "down"),
    ]);
    assert_eq!((code, all), (0, expected));

    // An override with a literal next hop that it cannot reach is an error; another listener can.
    let wrong = rule("wrong", "sip:198.51.100.9", "when = { ruri_user = '^6$' }\negress = \"spare\"");
    world.ip("rule add from 10.9.0.4 to 198.51.100.0/24 prohibit");
    let (code, all) = found(&Home::new(&format!("{file}{wrong}")), &world);
    assert_eq!(code, 78);
    assert!(all.contains(&finding("override-wrong-listener", "error", "wrong")), "{all:?}");
    let text = Home::new(&format!("{LISTENERS}{wrong}")).command(&world, &["check"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for words in
        ["error[override-wrong-listener]: route «wrong»", "to = \"sip:198.51.100.9\"", "= help: «public» can"]
    {
        assert!(text.contains(words), "no «{words}» in:\n{text}");
    }
}

#[test]
fn a_running_process_tells_what_comes_and_goes_and_says_it_once() {
    let world = World::new();
    world.ip("route add 198.51.100.0/24 via 10.0.0.100");
    let rule =
        "[[route]]\nname = \"carrier\"\nwhen = { ruri_user = '^[0-9]+$' }\nto = \"sip:198.51.100.9\"\n";
    let home = Home::new(&format!("{LISTENERS}{rule}{RELAY}"));
    let viaduct = home.start(&world);
    let open = |code: &str| viaduct.metrics().sum("viaduct_findings", &[("code", code)]);
    let times = |words: &str| viaduct.log().matches(words).count();

    let new = "[next-hop-unrouted] route «carrier»: no listener reaches 198.51.100.9";
    let gone = "[next-hop-unrouted] resolved: route «carrier» (198.51.100.9)";
    eventually("the first look is over", || {
        (viaduct.metrics().sum("viaduct_findings_unexamined", &[]) == 0).then_some(())
    });
    assert_eq!((open("next-hop-unrouted"), times(new)), (0, 0), "{}", viaduct.log());

    world.ip("route del 198.51.100.0/24");
    eventually("it is told", || (open("next-hop-unrouted") == 1 && times(new) == 1).then_some(()));
    // Other changes do not tell it again.
    world.ip("route add 192.0.2.0/24 via 10.0.0.100");
    eventually("another look", || {
        (viaduct.metrics().sum("viaduct_publications_total", &[]) >= 3).then_some(())
    });
    world.ip("route add 198.51.100.0/24 via 10.9.0.100");
    eventually("it is resolved", || (open("next-hop-unrouted") == 0 && times(gone) == 1).then_some(()));
    assert_eq!(times(new), 1, "{}", viaduct.log());

    // A reload that brings a mistake of the same sort tells that one.
    home.write(&format!("{LISTENERS}{}{RELAY}", rule.replace("198.51.100.9", "203.0.113.9")));
    viaduct.signal(nix::sys::signal::Signal::SIGHUP);
    let other = "[next-hop-unrouted] route «carrier»: no listener reaches 203.0.113.9";
    eventually("the new next hop is told", || (times(other) == 1).then_some(()));
    let changes =
        |change: &str| viaduct.metrics().sum("viaduct_findings_changes_total", &[("change", change)]);
    assert!(changes("opened") > changes("resolved"));
    viaduct.stop();
}

#[test]
fn a_file_without_a_route_is_warned_of() {
    let world = World::new();
    let (code, all) = found(&Home::new(LISTENERS), &world);
    assert_eq!((code, all), (0, BTreeSet::from([finding("no-route", "warning", "")])));
}

/// A name with dots may be a VLAN's, which may come later.
#[test]
fn that_no_listener_is_served_is_an_error_of_the_log() {
    let world = World::new();
    let bind = "[[listener]]\nname = \"public\"\nbind = \"udp:sip.example.net:5060\"\n";
    let home = Home::new(&format!("[admin]\nlisten = \"127.0.0.1:9060\"\n{bind}{RELAY}"));
    let text = String::from_utf8_lossy(&home.command(&world, &["check"]).stdout).into_owned();
    assert!(text.contains("a bind takes an address or an interface, not a host name"), "{text}");
    let viaduct = home.spawn(&world);
    let errors = |viaduct: &crate::viaduct::Viaduct<'_>| {
        let log = viaduct.log();
        log.lines().filter(|line| line.contains("ERROR") && line.contains("no listener is served")).count()
    };
    eventually("it is told", || (errors(&viaduct) == 1).then_some(()));
    assert!(viaduct.log().contains("listeners  none"), "{}", viaduct.log());
    viaduct.reload(1);
    eventually("and of a reload", || (errors(&viaduct) == 2).then_some(()));
    viaduct.stop();
}
