//! What `explain` says, on hosts and configurations written down as literals.

use std::sync::Arc;

use super::account::{Account, Thinker};
use super::request::{Wanted, build};
use crate::config;
use crate::fib::Builder;
use crate::fib::spec::{Link, Route};
use crate::net::Now;
use crate::proxy::Incoming;
use crate::snapshot::Snapshot;
use crate::token::Keys;

const CONFIG: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "private6"
bind = "udp:[2001:db8::4]:5060"

[[route]]
name = "media"
when = { ruri_user = '^\*33[0-9]+$' }
to = "sip:10.0.0.100:5060"
egress = "private"

[[route]]
name = "unwanted"
when = { ruri_user = '^spam$' }
drop = true

[[route]]
name = "out"
when = { source = ["203.0.113.0/24"] }
to = "request-uri"
mode = "stateless"

[[route]]
name = "no-relay"
reject = 403
"#;

fn host() -> Builder {
    Builder::host()
        .link(Link::up(2, "wan"))
        .link(Link::up(3, "lan"))
        .link(Link::up(4, "mgmt"))
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap())
        .assign(3, "2001:db8::4/64".parse().unwrap())
        .assign(4, "172.16.0.4/24".parse().unwrap())
        .route(Route::new("0.0.0.0/0".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap())))
}

fn explained(ruri: &str, source: &str) -> Account {
    asked("INVITE", ruri, source, &[])
}

fn asked(method: &str, ruri: &str, source: &str, headers: &[String]) -> Account {
    asked_of(CONFIG, method, ruri, source, headers)
}

fn asked_of(configuration: &str, method: &str, ruri: &str, source: &str, headers: &[String]) -> Account {
    let fib = host().build();
    let plan = config::from_str("test.toml", configuration, &fib).map_err(|e| e.to_string()).unwrap().plan;
    let on = plan.listener_named("public").unwrap();
    let (id, transport) = (on.id, on.transport);
    let from = source.parse().unwrap();
    let bytes = build(&Wanted { method, ruri, source: from, transport, headers }).unwrap();
    let keys = Arc::new(Keys::from_secret(b"sixteen bytes..."));
    let snapshot = Snapshot::new(1, Arc::new(plan), Arc::new(fib), keys, Arc::default());
    Thinker::new(&snapshot, 1).account(&Incoming::datagram(&bytes, id, from), Now(0), Vec::new())
}

fn json(account: &Account) -> serde_json::Value {
    serde_json::to_value(account).unwrap()
}

/// The contract of the design, section 8.
#[test]
fn a_forwarded_request_has_all_keys_of_the_contract() {
    let json = json(&explained("sip:bob@10.0.0.100", "203.0.113.9:5060"));
    assert_eq!(json["decision"], "forward");
    assert_eq!(json["rule"], "out");
    let next_hop = &json["next_hop"];
    assert_eq!(
        (&next_hop["transport"], &next_hop["address"], &next_hop["port"]),
        (&"udp".into(), &"10.0.0.100".into(), &5060.into())
    );
    let egress = &json["egress"];
    assert_eq!(egress["listener"], "private");
    assert_eq!((&egress["address"], &egress["port"]), (&"10.0.0.4".into(), &5060.into()));
    assert_eq!((&egress["reason"], &egress["step"]), (&"auto".into(), &"source".into()));
    let route = &json["route"];
    assert_eq!((&route["table"], &route["prefix"]), (&"main".into(), &"10.0.0.0/24".into()));
    assert_eq!((&route["dev"], &route["source"]), (&"lan".into(), &"10.0.0.4".into()));
    let record_route: Vec<&str> =
        json["record_route"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(record_route.len(), 2, "the two listeners differ: RFC 5658");
    assert!(record_route[0].contains("@10.0.0.4:5060"), "{record_route:?}");
    assert!(record_route[1].contains("@203.0.113.10:5060"), "{record_route:?}");
    let via = json["via"].as_str().unwrap();
    assert!(via.starts_with("SIP/2.0/UDP 10.0.0.4:5060;") && via.contains(";branch=z9hG4bKbs"), "{via}");
}

#[test]
fn every_listener_has_its_reason() {
    let account = explained("sip:bob@10.0.0.100", "203.0.113.9:5060");
    let of = |name: &str| account.candidates.iter().find(|c| c.listener == name).unwrap();
    assert_eq!(of("private").lost, None);
    assert_eq!(of("private6").lost.as_deref(), Some("its address is of the other family"));
    assert_eq!(
        of("public").lost.as_deref(),
        Some("could send by lan (10.0.0.0/24, table main), but another one comes first")
    );
}

#[test]
fn a_rule_that_names_a_listener_is_told_as_such() {
    let account = explained("sip:*33123@example.net", "203.0.113.9:5060");
    let egress = account.egress.as_ref().unwrap();
    assert_eq!((egress.listener.as_str(), egress.reason), ("private", "override"));
    assert_eq!(egress.why, "rule media names it");
    assert_eq!((account.rule.as_deref(), account.rule_line), (Some("media"), Some(14)));
    assert!(account.candidates.is_empty(), "nothing was chosen among");
}

#[test]
fn a_refusal_names_its_rule() {
    let account = explained("sip:bob@10.0.0.100", "192.0.2.9:5060");
    assert_eq!((account.decision, account.status), ("reject", Some(403)));
    assert_eq!(account.rule.as_deref(), Some("no-relay"));
    assert_eq!((account.egress.is_none(), account.via), (true, None));
}

#[test]
fn a_drop_names_its_reason() {
    let account = explained("sip:spam@10.0.0.100", "203.0.113.9:5060");
    assert_eq!((account.decision, account.drop_reason), ("drop", Some("rule")));
    assert_eq!(account.rule.as_deref(), Some("unwanted"));
}

/// Both IPv4 listeners could leave by `mgmt`, neither is on it: none shows its address there.
#[test]
fn where_no_listener_was_found_route_source_and_losers_are_told() {
    let account = explained("sip:bob@172.16.0.9", "203.0.113.9:5060");
    assert_eq!(account.decision, "reject");
    assert_eq!(
        account.no_egress.as_deref(),
        Some(
            "the kernel would send it by mgmt (172.16.0.0/24, table main) from 172.16.0.4, which is no \
             listener"
        )
    );
    assert_eq!(account.questions.len(), 1);
    assert_eq!(account.candidates.len(), 3);
    assert!(
        account.remedy.as_deref().unwrap().starts_with("public could send it, and would show its address")
    );
}

#[test]
fn a_request_of_a_dialog_is_told_by_its_token() {
    let headers = |account: &Account| {
        // The caller's route set is what came back in the answer, reversed.
        let routes: Vec<&str> = account.record_route.iter().rev().map(String::as_str).collect();
        ["To: <sip:bob@10.0.0.100>;tag=b".to_owned(), format!("Route: {}", routes.join(", "))]
    };
    let invite = explained("sip:bob@10.0.0.100", "203.0.113.9:5060");
    let bye = asked("BYE", "sip:bob@10.0.0.100", "203.0.113.9:5060", &headers(&invite));
    let egress = bye.egress.as_ref().unwrap();
    assert_eq!((egress.listener.as_str(), egress.reason), ("private", "dialog"));
    assert_eq!((bye.rule.as_deref(), bye.no_rule), (None, "none was asked: the dialog's token decides"));
    assert_eq!(bye.lookup.last().unwrap(), "source 10.0.0.4: the one that was asked for");
}

#[test]
fn an_answer_of_our_own_is_no_refusal() {
    let account = asked("OPTIONS", "sip:203.0.113.10", "203.0.113.9:5060", &[]);
    assert_eq!((account.decision, account.status), ("answer", Some(200)));
    assert!(account.to_string().contains("ANSWER"));
}

#[test]
fn people_read_the_decision_first() {
    let shown = |mut account: Account| {
        // Tokens are the token module's business.
        account.via = account.via.map(|_| "VIA".into());
        account.record_route.fill("VALUE".into());
        anstream::adapter::strip_str(&account.to_string()).to_string()
    };
    insta::assert_snapshot!("forwarded", shown(explained("sip:bob@10.0.0.100", "203.0.113.9:5060")));
    insta::assert_snapshot!("refused", shown(explained("sip:bob@172.16.0.9", "203.0.113.9:5060")));
    insta::assert_snapshot!("dropped", shown(explained("sip:spam@10.0.0.100", "203.0.113.9:5060")));
}

#[test]
fn a_stateful_route_says_what_its_transaction_will_do() {
    let stateful = CONFIG.replace("mode = \"stateless\"", "");
    for (method, told) in [("INVITE", "408 after 32 s"), ("MESSAGE", "RFC 4320"), ("CANCEL", ""), ("ACK", "")]
    {
        let account = asked_of(&stateful, method, "sip:bob@10.0.0.100", "203.0.113.9:5060", &[]);
        let mode = if told.is_empty() { "stateless" } else { "stateful" };
        assert_eq!(account.mode, Some(mode), "{method}");
        let text = account.to_string();
        assert_eq!(text.contains("stateful"), mode == "stateful", "{text}");
        assert!(text.contains(told), "{text}");
        let branch = if mode == "stateful" { "branch=z9hG4bKbt" } else { "branch=z9hG4bKbs" };
        assert!(account.via.as_deref().is_some_and(|via| via.contains(branch)), "{:?}", account.via);
    }
    let json = serde_json::to_value(explained("sip:bob@10.0.0.100", "203.0.113.9:5060")).unwrap();
    assert_eq!((&json["mode"], &json["transaction"]), (&"stateless".into(), &serde_json::json!([])));
}

#[test]
fn several_next_hops_are_told_in_order_with_their_listeners() {
    let list = "to = [\"sip:10.0.0.100:5060\", \"sip:[2001:db8:7::1]\", \"sip:192.0.2.9\"]\ntimeout = \"4s\"";
    let configuration = CONFIG.replacen("to = \"sip:10.0.0.100:5060\"\negress = \"private\"", list, 1);
    let account = asked_of(&configuration, "INVITE", "sip:*33123@10.0.0.9", "203.0.113.9:5060", &[]);
    let json = json(&account);
    let hop = |number: usize| &json["next_hops"][number];
    assert_eq!((&hop(0)["address"], &hop(0)["listener"]), (&"10.0.0.100".into(), &"private".into()));
    assert_eq!((&hop(1)["entry"], &hop(1)["listener"]), (&2.into(), &serde_json::Value::Null));
    assert_eq!((&hop(2)["listener"], &hop(2)["reason"]), (&"public".into(), &"auto".into()));
    let text = anstream::adapter::strip_str(&account.to_string()).to_string();
    for line in [
        "given up after 4 s without anything\n",
        "  next hops  1. udp:10.0.0.100:5060 from private (auto)\n",
        "             2. udp:[2001:db8:7::1]:5060, not tried: ",
        "             3. udp:192.0.2.9:5060 from public (auto)\n",
        "             the next is tried after 4 s without any answer, where it cannot be sent, or an answer 408, 500, 502, 503, 504\n",
        "  next hop   udp:10.0.0.100:5060\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn the_gateways_of_a_group_are_numbered_as_they_are_tried() {
    let group = "[[group]]\nname = \"switches\"\ngateways = [{ to = \"sip:10.0.0.7\", priority = 1 }, \
                 { to = \"sip:10.0.0.8\", priority = 2 }]\n";
    let to = "to = [\"group:switches\", \"sip:10.0.0.9\"]";
    let route = CONFIG.replacen("to = \"sip:10.0.0.100:5060\"\negress = \"private\"", to, 1);
    let configuration = format!("{route}{group}");
    let account = asked_of(&configuration, "INVITE", "sip:*33123@10.0.0.9", "203.0.113.9:5060", &[]);
    let text = anstream::adapter::strip_str(&account.to_string()).to_string();
    for (at, ip) in [(1, "10.0.0.7"), (2, "10.0.0.8"), (3, "10.0.0.9")] {
        assert!(text.contains(&format!(" {at}. udp:{ip}:5060 from private (auto)\n")), "{text}");
    }
    assert_eq!(json(&account)["next_hops"][1]["entry"], 1, "the entry of the rule");
}

#[test]
fn what_set_changes_is_told_before_and_after() {
    let set = "set = { strip = 3, ruri_host = \"10.0.0.7\", header = { X-New = \"$$1\" }, to = { display = \"B\" } }";
    let configuration = CONFIG.replacen("egress = \"private\"", &format!("egress = \"private\"\n{set}"), 1);
    let account = asked_of(&configuration, "INVITE", "sip:*33123@10.0.0.9", "203.0.113.9:5060", &[]);
    let json = json(&account);
    assert_eq!(json["set"][0]["what"], "Request-URI");
    assert_eq!(json["set"][0]["before"][0], "sip:*33123@10.0.0.9");
    assert_eq!(json["set"][0]["after"][0], "sip:123@10.0.0.7");
    assert_eq!(json["set"][2], serde_json::json!({ "what": "X-New", "before": [], "after": ["$1"] }));
    let text = anstream::adapter::strip_str(&account.to_string()).to_string();
    assert!(text.contains("  set        Request-URI: sip:*33123@10.0.0.9 → sip:123@10.0.0.7\n"), "{text}");
    assert!(
        text.contains("             To: <sip:*33123@10.0.0.9> → \"B\" <sip:*33123@10.0.0.9>\n"),
        "{text}"
    );
    let json = self::json(&explained("sip:*33123@10.0.0.9", "203.0.113.9:5060"));
    assert_eq!(json["set"], serde_json::json!([]));
}

#[test]
fn the_limits_that_a_request_counts_against_are_told() {
    let peer =
        "[[peer]]\nname = \"lan\"\nnetworks = [\"203.0.113.0/24\"]\nlimit = { rate = 50, burst = 60 }\n";
    let configuration = CONFIG.replacen(
        "egress = \"private\"",
        "egress = \"private\"\nlimit = { rate = 5, per = \"source\", status = 480 }",
        1,
    );
    let configuration = format!("{configuration}{peer}");
    let account = asked_of(&configuration, "INVITE", "sip:*33123@10.0.0.9", "203.0.113.9:5060", &[]);
    let told = [
        "peer lan: 50 requests a second, 60 at once; more are answered 503",
        "route media: 5 requests a second, 5 at once, for each source; more are answered 480",
    ];
    assert_eq!(json(&account)["limits"], serde_json::json!(told));
    let text = anstream::adapter::strip_str(&account.to_string()).to_string();
    assert!(text.contains(&format!("  limits     {}\n             {}\n", told[0], told[1])), "{text}");
    let limits = |configuration: &str, method, header: &str| {
        let source = "203.0.113.9:5060";
        let account = asked_of(configuration, method, "sip:*33123@10.0.0.9", source, &[header.into()]);
        json(&account)["limits"].clone()
    };
    // What ends what there is counts for nothing, nor does what belongs to a dialog: a To tag shows one only where the
    // route's dialogs have no token.
    assert_eq!(limits(&configuration, "CANCEL", "X: y"), serde_json::json!([]));
    let tagged = "To: <sip:*33123@10.0.0.9>;tag=1";
    assert_eq!(limits(&configuration, "INVITE", tagged), serde_json::json!(told));
    let plain = configuration.replacen("status = 480 }", "status = 480 }\nrecord_route = false", 1);
    assert_eq!(limits(&plain, "INVITE", tagged), serde_json::json!([]));
}

#[test]
fn a_next_hop_that_may_ask_to_be_sent_less_is_told() {
    let peer = "[[peer]]\nname = \"media\"\nnetworks = [\"10.0.0.0/24\"]\noc = true\n";
    let account =
        asked_of(&format!("{CONFIG}{peer}"), "INVITE", "sip:*33123@10.0.0.9", "203.0.113.9:5060", &[]);
    let told = "peer media: may ask to be sent less, and is told so (RFC 7339)";
    assert_eq!(json(&account)["limits"], serde_json::json!([told]));
    let via = json(&account)["via"].to_string();
    assert!(via.contains(";oc;oc-algo="), "{via}");
}
