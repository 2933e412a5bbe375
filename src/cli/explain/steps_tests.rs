//! Each step of the choice names who lost there, and why.

use std::sync::Arc;

use super::account::{Account, Thinker};
use super::request::{Wanted, build};
use super::steps::Step;
use crate::config;
use crate::fib::Builder;
use crate::fib::spec::{Action, Family, Link, Route, Rule};
use crate::net::Now;
use crate::proxy::Incoming;
use crate::snapshot::Snapshot;
use crate::token::Keys;

fn host() -> Builder {
    Builder::host()
        .link(Link::up(2, "wan"))
        .link(Link::up(3, "lan"))
        .link(Link { up: false, ..Link::up(4, "idle") })
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap())
        .assign(4, "10.4.0.4/24".parse().unwrap())
        .route(Route::new("0.0.0.0/0".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap())))
}

const LISTENERS: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"
"#;

fn snapshot(host: Builder, text: &str) -> Snapshot {
    let fib = host.build();
    let plan = config::from_str("test.toml", text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
    let keys = Arc::new(Keys::from_secret(b"sixteen bytes..."));
    Snapshot::new(1, Arc::new(plan), Arc::new(fib), keys, Arc::default())
}

fn ask(snapshot: &Snapshot, thinker: &mut Thinker<'_>, on: &str, ruri: &str, headers: &[String]) -> Account {
    let on = snapshot.plan.listener_named(on).unwrap();
    let from = std::net::SocketAddr::new(on.bind.ip(), 5099);
    let wanted = Wanted { method: "INVITE", ruri, source: from, transport: on.transport, headers };
    let bytes = build(&wanted).unwrap();
    thinker.account(&Incoming::datagram(&bytes, on.id, from), Now(0), Vec::new())
}

fn explained(host: Builder, text: &str, ruri: &str) -> Account {
    let snapshot = snapshot(host, &format!("{text}\n[[route]]\nname = \"r\"\nto = \"request-uri\"\n"));
    ask(&snapshot, &mut Thinker::new(&snapshot, 8), "public", ruri, &[])
}

fn step<'a>(account: &'a Account, number: &str, name: &str) -> &'a Step {
    account
        .steps
        .iter()
        .find(|step| (step.number, step.step) == (number, name))
        .unwrap_or_else(|| panic!("no {number} {name} in {:#?}", account.steps))
}

/// Why a listener lost in a step; `None`: it did not.
fn lost<'a>(step: &'a Step, listener: &str) -> Option<&'a str> {
    step.listeners.iter().find(|l| l.listener == listener).unwrap().lost.as_deref()
}

#[test]
fn each_lookup_names_rule_table_and_prefix() {
    let account = explained(host(), LISTENERS, "sip:bob@10.0.0.100");
    let class = step(&account, "5", "class").lookup.as_ref().unwrap();
    assert_eq!((class.source, class.device.as_deref()), (None, None));
    let seen: Vec<_> =
        class.steps.iter().map(|s| (s.rule, s.table.as_deref(), s.prefix.as_deref())).collect();
    assert_eq!(
        seen,
        [
            (Some(0), None, None),
            (None, Some("local"), None),
            (Some(32_766), None, None),
            (None, Some("main"), Some("10.0.0.0/24")),
            (None, None, None),
        ]
    );
    let confirm = step(&account, "7", "confirm");
    assert_eq!(confirm.verdict, "decides");
    assert_eq!(confirm.lookup.as_ref().unwrap().source, Some("10.0.0.4".parse().unwrap()));
}

#[test]
fn who_is_not_eligible_is_told_why() {
    let more = r#"
[[listener]]
name = "idle"
bind = "udp:10.4.0.4:5060"

[[listener]]
name = "absent"
bind = "udp:10.9.0.4:5060"
"#;
    let account = explained(host(), &format!("{LISTENERS}{more}"), "sip:bob@10.0.0.100");
    let eligible = step(&account, "5", "eligible");
    assert_eq!(lost(eligible, "private"), None);
    assert_eq!(
        lost(eligible, "idle"),
        Some("not up: the interface that carries its address is down or has no carrier")
    );
    assert_eq!(lost(eligible, "absent"), Some("not up: its address is on no interface of this host"));
    assert_eq!(eligible.why, "2 of 4 listeners are up and of transport udp, family and VRF");
}

/// Two on the route's source: the port that the request came in on goes first, else the first configured.
#[test]
fn the_port_rule_is_named() {
    let listeners = r#"
[[listener]]
name = "private-b"
bind = "udp:10.0.0.4:5070"

[[listener]]
name = "private-a"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "private-c"
bind = "udp:10.0.0.4:5080"

[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "odd"
bind = "udp:203.0.113.10:5099"
"#;
    let text = format!("{listeners}\n[[route]]\nto = \"request-uri\"\n");
    let snapshot = snapshot(host(), &text);
    let mut thinker = Thinker::new(&snapshot, 8);
    let account = ask(&snapshot, &mut thinker, "public", "sip:bob@10.0.0.100", &[]);
    let source = step(&account, "5 A.1", "source");
    assert_eq!((source.verdict, lost(source, "private-a")), ("decides", None));
    let port = "the request came in on port 5060, and that port goes first";
    assert_eq!(lost(source, "private-b"), Some(port));
    let other = ask(&snapshot, &mut thinker, "odd", "sip:carol@10.0.0.101", &[]);
    let source = step(&other, "5 A.1", "source");
    assert_eq!((lost(source, "private-b"), source.verdict), (None, "decides"));
    assert_eq!(lost(source, "private-c"), Some("the same address, configured later"));
    assert_eq!(step(&other, "5 A.2", "on_device").verdict, "not asked");
}

#[test]
fn a_floating_address_is_found_by_its_device() {
    let floating = host().assign(3, "10.0.0.44/24".parse().unwrap());
    let text = LISTENERS.replace("udp:10.0.0.4:5060", "udp:10.0.0.44:5060");
    let account = explained(floating, &text, "sip:bob@10.0.0.100");
    assert_eq!(step(&account, "5 A.1", "source").verdict, "fails");
    let on_device = step(&account, "5 A.2", "on_device");
    assert_eq!((on_device.verdict, lost(on_device, "private")), ("decides", None));
    assert_eq!(lost(on_device, "public"), Some("its address lives on wan, not on lan"));
    assert_eq!(step(&account, "5 A.3", "elsewhere").why, "an earlier step decides");
}

/// Where a table for each source address is all there is.
#[test]
fn without_a_route_with_any_source_each_is_asked_for_its_own() {
    let host = host()
        .without_routes(|route| route.prefix.prefix_len() == 0)
        .rule(Rule::from_table(100, "10.0.0.4/32".parse().unwrap(), 100))
        .route(Route::new("0.0.0.0/0".parse().unwrap(), 3, Some("10.0.0.1".parse().unwrap())).in_table(100));
    let account = explained(host.clone(), LISTENERS, "sip:bob@192.0.2.1");
    let bound = step(&account, "5 B", "bound");
    assert_eq!((bound.verdict, lost(bound, "private")), ("decides", None));
    assert_eq!(lost(bound, "public"), Some("from its address: there is no route"));
    assert_eq!(step(&account, "5 A.1", "source").why, "there is no route with any source");

    let off = format!("[egress]\nnearest = false\n{LISTENERS}");
    let account = explained(host, &off, "sip:bob@192.0.2.1");
    assert_eq!(step(&account, "5 B", "bound").why, "switched off: [egress] nearest = false");
    assert_eq!(step(&account, "6", "fallback").verdict, "fails");
    assert_eq!(step(&account, "7", "confirm").verdict, "not asked");
}

#[test]
fn classes_are_asked_in_order() {
    let marked = r#"
[[listener]]
name = "marked"
bind = "udp:10.0.0.4:5070"
mark = 7
"#;
    let host = host()
        .without_routes(|route| route.prefix.prefix_len() == 0)
        .rule(Rule {
            mark: Some(crate::fib::spec::Masked { value: 7, mask: u32::MAX }),
            ..Rule::new(Family::V4, 100, Action::Table(100))
        })
        .route(Route::new("0.0.0.0/0".parse().unwrap(), 3, Some("10.0.0.1".parse().unwrap())).in_table(100));
    let account = explained(host, &format!("{LISTENERS}{marked}"), "sip:bob@192.0.2.1");
    let classes: Vec<&str> =
        account.steps.iter().filter(|s| s.step == "class").map(|s| s.why.as_str()).collect();
    assert_eq!(classes.len(), 2);
    assert!(classes[0].starts_with("listeners with neither mark nor device; with any source: there is no"));
    assert!(
        classes[1].starts_with("listeners with mark 7; with any source: 0.0.0.0/0 in table 100"),
        "{classes:?}"
    );
    let sources: Vec<&Step> = account.steps.iter().filter(|s| s.step == "source").collect();
    assert_eq!((sources[0].verdict, sources[1].verdict), ("not asked", "decides"));
    assert_eq!(account.egress.unwrap().listener, "marked");
}

#[test]
fn overrides_pins_and_dialogs_end_the_choice() {
    let rules = "[[route]]\nname = \"media\"\nwhen = { ruri_user = '^m$' }\nto = \"sip:10.0.0.100\"\negress = \"private\"\nmode = \"stateless\"\n\
                 [[route]]\nname = \"out\"\nto = \"request-uri\"\nmode = \"stateless\"\n";
    let snapshot = snapshot(host(), &format!("{LISTENERS}{rules}"));
    let mut thinker = Thinker::new(&snapshot, 8);
    let overridden = ask(&snapshot, &mut thinker, "public", "sip:m@x", &[]);
    let named = step(&overridden, "4", "override");
    assert_eq!((named.verdict, named.why.as_str()), ("decides", "rule media names private: private"));
    assert_eq!(lost(named, "public"), Some("the rule names another"));
    assert_eq!(step(&overridden, "5", "auto").verdict, "not asked");

    let again = ask(&snapshot, &mut thinker, "public", "sip:m@x", &[]);
    assert_eq!(step(&again, "1", "pinned").verdict, "decides");
    assert_eq!(step(&again, "4", "override").verdict, "not asked");

    let mut fresh = Thinker::new(&snapshot, 8);
    let routes: Vec<&str> = overridden.record_route.iter().rev().map(String::as_str).collect();
    let headers = ["To: <sip:m@x>;tag=b".to_owned(), format!("Route: {}", routes.join(", "))];
    let within = ask(&snapshot, &mut fresh, "public", "sip:m@10.0.0.100", &headers);
    let dialog = step(&within, "2", "dialog");
    assert_eq!(
        (dialog.verdict, dialog.why.as_str()),
        ("decides", "the token names the other side's listener private")
    );
    assert_eq!(step(&within, "3", "binding").verdict, "n/a");
}

#[test]
fn a_fallback_says_what_it_stands_in_for() {
    let mgmt = host().link(Link::up(5, "mgmt")).assign(5, "172.16.0.4/24".parse().unwrap());
    let text = format!("[egress]\nno_listener = \"private\"\n{LISTENERS}");
    let account = explained(mgmt, &text, "sip:bob@172.16.0.9");
    let elsewhere = step(&account, "5 A.3", "elsewhere");
    assert!(elsewhere.why.starts_with("none: the only listener on a loopback"), "{}", elsewhere.why);
    assert_eq!(lost(elsewhere, "public"), Some("its address lives on another interface than the route's"));
    let fallback = step(&account, "6", "fallback");
    assert_eq!(
        (fallback.verdict, fallback.why.as_str()),
        ("decides", "nothing was found, and [egress] no_listener names private")
    );
    assert_eq!(step(&account, "7", "confirm").verdict, "decides");
}

#[test]
fn switched_off_the_automatic_choice_says_so() {
    let account = explained(host(), &format!("[egress]\nauto = false\n{LISTENERS}"), "sip:bob@10.0.0.100");
    let auto = step(&account, "5", "auto");
    assert_eq!((auto.verdict, auto.why.as_str()), ("fails", "switched off: [egress] auto = false"));
}
