use proptest::prelude::*;

use super::*;
use crate::fib::spec::{Link, Route};
use crate::fib::{Builder, Fib};
use crate::group::{Select, Settings};
use crate::net::Transport;
use crate::plan::NoListener;
use crate::rules::{Action, Attempts, EgressChoice, Target};
use crate::status::Statuses;

/// eth0 203.0.113.10/24 (default route), eth1 10.0.0.4/24 and fd00::4/64, eth9 without an address.
pub(super) fn fib() -> Fib {
    Builder::host()
        .link(Link::up(2, "eth0"))
        .link(Link::up(3, "eth1"))
        .link(Link::up(4, "eth9"))
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap())
        .assign(3, "fd00::4/64".parse().unwrap())
        .route(Route::new("0.0.0.0/0".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap())))
        .build()
}

pub(super) const PUBLIC: &str = "[[listener]]\nname = \"public\"\nbind = \"udp:203.0.113.10:5060\"\n";
pub(super) const PRIVATE: &str = "[[listener]]\nname = \"private\"\nbind = \"udp:10.0.0.4:5060\"\n";
pub(super) const SIX: &str = "[[listener]]\nname = \"six\"\nbind = \"udp:[fd00::4]:5060\"\n";

pub(super) fn good(text: &str) -> Loaded {
    from_str("test.toml", text, &fib()).unwrap_or_else(|findings| panic!("{findings}"))
}

/// `text` behind the usual listeners has to have exactly one finding; returns (line, column, message, hint).
pub(super) fn one(text: &str) -> (usize, usize, String, String) {
    let whole = format!("{text}\n{PUBLIC}{PRIVATE}{SIX}");
    let findings = match from_str("test.toml", &whole, &fib()) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    let [finding] = findings.list() else { panic!("{findings}") };
    let (line, column) = findings.line_column(finding.span.start);
    (line, column, finding.message.clone(), finding.hint.clone())
}

#[track_caller]
pub(super) fn expect(text: &str, line_column: (usize, usize), message: &str, hint: &str) {
    let (line, column, found, found_hint) = one(text);
    assert!(found.contains(message), "«{found}» does not contain «{message}»");
    assert!(found_hint.contains(hint), "«{found_hint}» does not contain «{hint}»");
    assert_eq!((line, column), line_column, "{found}");
}

#[test]
fn the_contracts_example_loads() {
    let text = format!(
        r#"
[engine]
kind = "uring"

[identity]
domains = ["sip.example.net"]

[keys]
file = "viaduct.keys"

[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"
advertise = "198.51.100.7:5060"
mark = 7
device = "eth0"

{PRIVATE}
[egress]
auto = true
nearest = true
no_listener = "reject"
large_udp = "udp"

[hosts]
"media.example.net" = ["10.0.0.100"]

[[route]]
name = "media"
when = {{ method = ["INVITE"], ruri_user = '^\*33[0-9]+$' }}
to = "sip:10.0.0.100:5060"
egress = "private"

[[route]]
name = "tcp-to-udp"
when = {{ transport = ["tcp"] }}
to = "request-uri"
egress = {{ transport = "udp", address = "received", port = 5060 }}

[[route]]
name = "inside-out"
when = {{ listener = ["private"], source = ["10.0.0.0/8"] }}
to = "request-uri"

[[route]]
name = "no-relay"
reject = 403
"#
    );
    let Loaded { plan, warnings, .. } = good(&text);
    assert_eq!(plan.listeners.len(), 4, "each with its sibling");
    assert_eq!(&*plan.listeners[0].advertise[0].text, "198.51.100.7:5060");
    assert_eq!(plan.listeners[0].mark, Some(7));
    assert_eq!(plan.egress.no_listener, NoListener::Reject);
    assert_eq!(plan.hosts["media.example.net"], ["10.0.0.100".parse::<std::net::IpAddr>().unwrap()]);
    let Action::Forward { to, egress, .. } = &plan.rules[0].action else { panic!() };
    assert!(matches!(to[..], [Target::Address { port: Some(5060), transport: None, .. }]));
    assert_eq!(*egress, Some(EgressChoice::Listener(plan.sections[1].id)));
    assert_eq!(plan.rules[3].action, Action::Reject(403));
    let messages: Vec<_> = warnings.list().iter().map(|w| &*w.message).collect();
    assert!(!messages.iter().any(|m| m.contains("can never match")), "{messages:?}");
}

#[test]
fn a_file_that_is_absent_is_told_of_alike_by_all_that_read_it() {
    let findings = load(std::path::Path::new("/no/such/viaduct.toml"), &fib()).err().unwrap();
    assert!(findings.to_string().contains("put the file there"), "{findings}");
    assert!(!findings.to_string().contains("viaduct run"), "{findings}");
}

#[test]
fn an_operator_sees_the_place_and_the_remedy() {
    let text = format!("[egress]\nneerest = false\n\n{PUBLIC}");
    let findings = from_str("viaduct.toml", &text, &fib()).err().unwrap();
    insta::assert_snapshot!(findings.to_string(), @r#"
    error: unknown key `neerest` in [egress]
     --> viaduct.toml:2:1
      |
    2 | neerest = false
      | ^^^^^^^
      |
      = help: did you mean `nearest`?
    "#);
}

#[test]
fn a_key_that_is_a_word_of_others_is_none_that_is_as_short() {
    let route = |when: &str| format!("[[route]]\nwhen = {{ {when} }}\nto = \"request-uri\"");
    expect(&route("from = \"a\""), (2, 10), "unknown key `from`", "did you mean `from_host` or `from_user`?");
    expect(&route("prefix = \"+33\""), (2, 10), "unknown key `prefix`", "did you mean `ruri_prefix`?");
    expect(&route("zone = \"a\""), (2, 10), "unknown key `zone`", "known keys are: method, ");
}

#[test]
fn a_listener_with_an_error_is_told_once() {
    let route = "[[route]]\nto = \"request-uri\"\negress =";
    let text = format!("[[listener]]\nname = \"a\"\nbind = \"10.0.0.1:5060\"\n\n{route} \"a\"");
    let findings = from_str("viaduct.toml", &text, &fib()).err().unwrap();
    let told: Vec<_> = findings.list().iter().map(|finding| &*finding.message).collect();
    assert_eq!(told, ["«10.0.0.1» is not a transport"]);
    let text = text.replace("egress = \"a\"", "egress = \"b\"");
    let findings = from_str("viaduct.toml", &text, &fib()).err().unwrap();
    let hints: Vec<_> = findings.list().iter().map(|finding| &*finding.hint).collect();
    assert_eq!(hints[1..], ["listeners are: a"]);
    let findings = from_str("viaduct.toml", &format!("{route} \"b\""), &fib()).err().unwrap();
    assert!(findings.list().iter().any(|finding| finding.hint.starts_with("there is none at all")));
}

#[cfg(not(feature = "glommio"))]
#[test]
fn an_engine_that_is_not_built_is_refused_with_the_way_to_it() {
    let text = "[engine]\nkind = \"glommio\"";
    expect(text, (2, 8), "the engine `glommio` is not in this build", "--features glommio");
}

#[cfg(feature = "glommio")]
#[test]
fn an_engine_that_is_built_is_taken() {
    let text = format!("[engine]\nkind = \"glommio\"\n{PUBLIC}");
    let loaded = from_str("viaduct.toml", &text, &fib()).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(loaded.plan.engine.kind, crate::plan::EngineKind::Glommio);
}

#[test]
fn mistakes_in_the_form_of_the_file() {
    expect("x = ", (1, 5), "", "");
    expect("[egres]\nauto = true", (1, 2), "unknown key `egres`", "did you mean `egress`");
    expect("[egress]\nauto = 1", (2, 8), "`auto` must be true or false, not integer", "");
    expect("[engine]\nkind = \"epoll\"", (2, 8), "there is no engine `epoll`", "write \"uring\"");
    expect("[engine]\nsocket_buffer = \"4 parsecs\"", (2, 17), "not a size", "4MiB");
    expect("[engine]\ncoalesce = \"6ms\"", (2, 12), "from \"0us\" to \"5ms\"", "\"5ms\" or less");
    expect("[engine]\ncoalesce = 200", (2, 12), "`coalesce` must be a duration", "\"4s\"");
    expect("[engine]\nspin = \"2s\"", (2, 8), "`spin` must be from \"0us\" to \"1s\"", "\"1s\" or less");
    expect(
        "[engine]\ncores = [4095]",
        (2, 10),
        "core 4095 is not one that this process may use",
        "allowed are",
    );
    expect("[engine]\ncores = \"0-1\"", (2, 9), "`cores` holds numbers, not text", "cores = [0, 1]");
    let own = core_affinity::get_core_ids().unwrap()[0].id;
    let twice = format!("[engine]\ncores = [{own}, {own}]");
    let second = "cores = [, ".len() + own.to_string().len() + 1;
    expect(&twice, (2, second), &format!("core {own} is named twice"), "");
    expect("[admin]\nlisten = \"here\"", (2, 10), "an address and port", "");
    expect("[identity]\ndomains = [\"sip:x\"]", (2, 12), "not a host name", "sip.example.net");
    expect("[hosts]\na = \"b\"", (2, 5), "«b» is not an IP address", "");
    expect(
        "[hosts]\na.b.example = [\"10.0.0.1\"]",
        (2, 1),
        "«a.b.example» is a name in quotes",
        "write \"a.b.example\" = [",
    );
    let twice = |name: &str| format!("[hosts]\n\"a.example\" = [\"10.0.0.1\"]\n\"{name}\" = [\"10.0.0.2\"]");
    expect(&twice("A.example"), (3, 1), "«A.example» stands in [hosts] already", "in one list");
    expect(&twice("a.example."), (3, 1), "«a.example.» stands in [hosts] already", "in one list");
    let long = format!("{}.example", "a".repeat(64));
    for name in ["a..example", ".example", "a.example..", &long] {
        let never = format!("no request can ask for «{name}»");
        expect(&format!("[hosts]\n\"{name}\" = [\"10.0.0.1\"]"), (2, 1), &never, "1 to 63 characters");
    }
    expect("[egress]\nno_listener = \"nobody\"", (2, 15), "no listener «nobody»", "public, private, six");
}

#[test]
fn browsers_connect_and_nobody_connects_to_them() {
    let browsers = "[[listener]]\nname = \"b\"\nbind = \"ws:10.0.0.4\"\n";
    let with = |route: &str| format!("[[route]]\n{route}\n{browsers}");
    let plan = good(&with("to = \"sip:10.0.0.9\"\nwhen = { transport = [\"ws\"] }")).plan;
    let listener = &plan.listeners[0];
    assert_eq!((listener.transport, listener.bind.port()), (Transport::Ws, 80));
    assert!(plan.has_streams() && plan.keeps_all());
    assert_eq!(plan.served(), Default::default(), "no name leads to a WebSocket");
    let hint = "browsers open theirs";
    for transport in ["ws", "wss"] {
        let said = format!("no connections are opened over {transport}");
        expect(&with(&format!("to = \"sip:10.0.0.9;transport={transport}\"")), (2, 6), &said, hint);
        let egress = format!("to = \"request-uri\"\negress = {{ transport = \"{transport}\" }}");
        expect(&with(&egress), (3, 24), &said, hint);
    }
}

#[test]
fn what_is_missing_is_told_with_what_belongs_there() {
    let rule = |keys: &str| format!("[[route]]\nto = \"request-uri\"\n{keys}");
    for (text, lacking, hint) in [
        (
            "[[listener]]\nbind = \"udp:10.0.0.4:5070\"",
            "[[listener]] lacks the key `name`",
            "name = \"NAME\"",
        ),
        ("[[listener]]\nname = \"x\"", "[[listener]] lacks the key `bind`", "bind = \"udp:ADDRESS:PORT\""),
        (
            "[[listener]]\nname = \"x\"\nbind = \"udp:10.0.0.4:5070\"\nadvertise = [{ to = \"192.0.2.0/24\" }]",
            "`advertise` lacks the key `as`",
            "as = \"ADDRESS:PORT\"",
        ),
        (
            &rule("egress = { port = 5060 }"),
            "`egress` lacks the key `transport`",
            "transport = \"udp\", \"tcp\" or",
        ),
        (
            &rule("limit = { burst = 7 }"),
            "`limit` lacks the key `rate`",
            "rate = 10: so many requests a second",
        ),
        (&rule("set = { from = { } }"), "lacks the key `display`", "display = \"TEXT\""),
        ("[[peer]]\nnetworks = [\"10.1.0.0/16\"]", "[[peer]] lacks the key `name`", "name = \"NAME\""),
        ("[[peer]]\nname = \"a\"", "[[peer]] lacks the key `networks`", "networks = [\"192.0.2.0/24\"]"),
        ("[[group]]\ngateways = [{ to = \"sip:10.0.0.9\" }]", "[[group]] lacks the key `name`", "group:NAME"),
        ("[[group]]\nname = \"g\"", "[[group]] lacks the key `gateways`", "[{ to = \"sip:ADDRESS:PORT\" }]"),
        (
            "[[group]]\nname = \"g\"\ngateways = [{ weight = 2 }]",
            "lacks the key `to`",
            "to = \"sip:ADDRESS:PORT\"",
        ),
    ] {
        let (_, _, found, found_hint) = one(text);
        assert!(found.contains(lacking), "«{found}» does not contain «{lacking}»");
        let write = found_hint.strip_prefix("write ").unwrap_or_else(|| panic!("{found_hint}"));
        assert!(write.contains(hint), "«{found_hint}» does not contain «{hint}»");
    }
}

#[test]
fn mistakes_in_listeners() {
    let listener = |keys: &str| format!("[[listener]]\nname = \"x\"\n{keys}");
    expect("[[listener]]\nname = \"x\"", (1, 1), "[[listener]] lacks the key `bind`", "udp:ADDRESS:PORT");
    expect(&listener("bind = \"udp:2001:db8::1\""), (3, 8), "stands in brackets", "[2001:db8::1]:5060");
    expect(
        &listener("bind = \"udp:fd00::4:5070\""),
        (3, 8),
        "stands in brackets",
        "write [fd00::4]:5070; or",
    );
    let whole = "1:2:3:4:5:6:7:5060";
    let hint = "write [1:2:3:4:5:6:7:5060]:5060";
    expect(&listener(&format!("bind = \"udp:{whole}\"")), (3, 8), "stands in brackets", hint);
    expect(&listener("bind = \"udp:[fe80::1]:5060\""), (3, 8), "needs its interface", "[fe80::1%eth0]");
    // What is absent may come; what cannot come is a mistake.
    expect(&listener("bind = \"udp:[fe80::1%eth7]:5060\""), (3, 8), "no interface eth7", "appears");
    expect(&listener("bind = \"udp:eth7:5060\""), (3, 8), "no interface «eth7» now", "eth0, eth1");
    expect(
        &listener("bind = \"udp:eth9:5060\""),
        (3, 8),
        "stands for no address now",
        "once an address appears",
    );
    expect(
        &listener("bind = \"udp:10.0.0.400:5060\""),
        (3, 8),
        "neither an address nor an interface",
        "eth1",
    );
    expect(&listener("bind = \"udp:sip.example.net.:5060\""), (3, 8), "neither an address nor", "eth1");
    expect(&listener("bind = \"sctp:10.0.0.4\""), (3, 8), "«sctp» is not a transport", "begins with udp");
    expect(&listener("bind = \"10.0.0.4\""), (3, 8), "is no bind", "udp:203.0.113.10:5060");
    expect(&listener("bind = \"udp:10.0.0.4:99999\""), (3, 8), "«99999» is not a port", "1 to 65535");
    expect(
        &listener("bind = \"udp:[::ffff:10.0.0.4]:5062\""),
        (3, 8),
        "in IPv6 clothes",
        "udp:10.0.0.4:5062",
    );
    expect(
        &listener("bind = \"udp:10.0.0.4:7\"\nadvertise = \"0.0.0.0\""),
        (4, 13),
        "cannot be advertised",
        "",
    );
    expect(
        &listener("bind = \"udp:10.0.0.4:7\"\nbnid = 1"),
        (4, 1),
        "unknown key `bnid`",
        "did you mean `bind`?",
    );
    let (.., hint) = one(&listener("bind = \"udp:10.0.0.4:7\"\nxxxxxxx = 1"));
    assert_eq!(hint.matches("device").count(), 1, "{hint}");
    let says = |address: &str| listener(&format!("bind = \"udp:10.0.0.4:7\"\nadvertise = \"{address}\""));
    expect(&says("sip:1.2.3.4:5070"), (4, 13), "«sip:1.2.3.4:5070» is a URI", "write \"1.2.3.4:5070\"");
    expect(&says("sips:sip.example.net"), (4, 13), "is a URI", "write \"sip.example.net\"");
    good(&format!("{PUBLIC}{}", says("sip:5070")));
    expect(&listener("bind = \"udp:10.0.0.4:7\"\nmark = 0"), (4, 8), "`mark` must be from 1", "");
    expect(&listener("bind = \"udp:10.0.0.4:7\"\nadvertize = \"x\""), (4, 1), "unknown key", "`advertise`");
    expect(&listener("bind = \"udp:10.0.0.99:5060\""), (3, 8), "no interface of this host has 10.0.0.99", "");
    expect(&listener("bind = \"udp:10.0.0.4:7\"\ndevice = \"eth5\""), (4, 10), "no device eth5", "appears");
    let twice = format!("{PRIVATE}{PRIVATE}");
    let findings = from_str("t", &twice, &fib()).err().unwrap();
    assert!(findings.to_string().contains("there are two listeners «private»"), "{findings}");
    let same = format!("{PRIVATE}{}", PRIVATE.replace("\"private\"", "\"other\""));
    let findings = from_str("t", &same, &fib()).err().unwrap();
    assert!(findings.to_string().contains("are on the same socket udp:10.0.0.4:5060"), "{findings}");
    let findings = from_str("t", "", &fib()).err().unwrap();
    assert!(findings.to_string().contains("there is no listener"), "{findings}");
}

/// A hint is to be read: a host with a tunnel for each customer has thousands.
#[test]
fn a_name_that_is_no_bind_is_told_some_interfaces_and_not_thousands() {
    let host =
        (2..=2_001).fold(Builder::host(), |host, n| host.link(Link::up(n, &format!("tun{n}")))).build();
    let hint = |bind: &str| {
        let text = format!("[[listener]]\nname = \"a\"\nbind = \"udp:{bind}:5060\"\n");
        let findings = match from_str("test.toml", &text, &host) {
            Ok(loaded) => loaded.warnings,
            Err(findings) => findings,
        };
        let hints = findings.list().iter().map(|finding| finding.hint.clone());
        hints
            .into_iter()
            .find(|hint| hint.contains("interfaces are: "))
            .unwrap_or_else(|| panic!("{findings}"))
    };
    for bind in ["sip.example.net.", "eth7"] {
        let hint = hint(bind);
        assert!(hint.contains("a bind takes an address or an interface, not a host name"), "{hint}");
        assert!(hint.contains("tun2, tun3") && hint.len() < 1_000, "{hint}");
    }
}

#[test]
fn mistakes_in_routes() {
    let route = |keys: &str| format!("[[route]]\n{keys}");
    expect(&route("name = \"x\""), (1, 1), "neither `to` nor `reject` nor `drop`", "one of the three");
    expect(&route("to = \"request-uri\"\nreject = 403"), (1, 1), "`to` and `reject` contradict", "");
    expect(&route("reject = 200"), (2, 10), "`reject` must be from 300 to 699", "");
    expect(&route("reject = 403\negress = \"six\""), (3, 10), "`egress` means nothing without `to`", "");
    expect(&route("drop = false"), (2, 8), "does nothing", "drop = true");
    expect(&route("to = []"), (2, 6), "`to` is an empty list", "name a next hop");
    expect(&route("to = [\"request-uri\", 7]"), (2, 22), "`to` must be a string", "");
    let twice = "to = [\"sip:10.0.0.9\", \"sip:10.0.0.8\", \"sip:10.0.0.9\"]";
    expect(&route(twice), (2, 39), "stands in the list already", "in the order of the list");
    let nine: Vec<String> = (1..=9).map(|n| format!("\"sip:10.0.0.{n}\"")).collect();
    expect(&route(&format!("to = [{}]", nine.join(", "))), (2, 6), "`to` has 9 entries, 8 at most", "");
    expect(&route("to = \"location\""), (2, 6), "not available in this version", "");
    for (written, hint) in [
        ("10.0.0.9", "did you mean \"sip:10.0.0.9\"?"),
        ("10.0.0.9:5070", "did you mean \"sip:10.0.0.9:5070\"?"),
        ("2001:db8::9", "did you mean \"sip:[2001:db8::9]\"?"),
        ("gw.example.net", "did you mean \"sip:gw.example.net\"?"),
        ("requesturi", "did you mean \"request-uri\"?"),
        ("Request-URI", "did you mean \"request-uri\"?"),
        ("carriers", "write sip:ADDRESS:PORT (IPv6 in brackets), or \"request-uri\""),
        ("sip:10.0.0.9:port", "or \"request-uri\", and look at «"),
        ("", "write sip:ADDRESS:PORT"),
    ] {
        expect(&route(&format!("to = \"{written}\"")), (2, 6), "not a SIP URI", hint);
    }
    for slip in ["tranport=tcp", "Transpot=tcp", "transports"] {
        let message = format!("«{}» says nothing of a next hop", slip.trim_end_matches("=tcp"));
        expect(
            &route(&format!("to = \"sip:10.0.0.9;{slip}\"")),
            (2, 6),
            &message,
            "did you mean `transport`",
        );
    }
    good(&format!("{PUBLIC}{PRIVATE}{SIX}{}", route("to = \"sip:10.0.0.9;lr;Transport=udp;user=phone\"")));
    let sips = "to = \"sips:10.0.0.9;transport=udp\"";
    expect(&route(sips), (2, 6), "a sips next hop is not reached over UDP", "sip:");
    expect(&route("to = \"sip:224.0.0.1\""), (2, 6), "no address to send a request to", "");
    expect(&route("to = \"request-uri\"\nmode = \"statefull\""), (3, 8), "`mode` cannot be «statefull»", "");
    expect(
        &route("to = \"sip:10.0.0.9\"\negress = \"six\""),
        (3, 10),
        "«six» is IPv6, the next hop 10.0.0.9 is IPv4",
        "",
    );
    expect(&route("to = \"request-uri\"\negress = \"sixx\""), (3, 10), "no listener «sixx»", "six");
    expect(
        &route("when = { ruri_user = '([' }\nto = \"request-uri\""),
        (2, 22),
        "the pattern «([» is not valid",
        "",
    );
    for (when, place) in [
        ("when.not = { from_user = '([' }", (2, 26)),
        ("when = { header = { Subject = 'a', X-A = '([' } }", (2, 42)),
        ("when = { to_user = 'a', not = { to_user = '([' } }", (2, 43)),
    ] {
        expect(&route(&format!("{when}\nto = \"request-uri\"")), place, "the pattern «([» is not valid", "");
    }
    expect(
        &route("when = { method = [\"ACK\"] }\nto = \"request-uri\""),
        (2, 20),
        "ACK cannot be asked for",
        "INVITE",
    );
    expect(&route("when = { method = [\"invite\"] }\nto = \"request-uri\""), (2, 20), "lower-case", "INVITE");
    expect(
        &route("when = { source = [\"10.0.0.4/8\"] }\nreject = 403"),
        (2, 20),
        "bits beyond",
        "10.0.0.0/8",
    );
    expect(
        &route("when = { source = [] }\nreject = 403"),
        (2, 19),
        "`source` is an empty list",
        "leave the key out",
    );
    expect(&route("when = { ruri_prefix = [\"\"] }\nreject = 403"), (2, 25), "prefix of everything", "");
    expect(&route("when = { ruri = \"x\" }\nreject = 403"), (2, 10), "unknown key `ruri`", "");
    for name in ["X-Tenant:", "X Tenant", "X-Tenant ", "", "Tö"] {
        let header = route(&format!("when = {{ header = {{ \"{name}\" = 'a' }} }}\nreject = 403"));
        expect(&header, (2, 21), &format!("«{name}» is not the name of a header"), "X-Trunk");
        let not = route(&format!("when = {{ not = {{ header = {{ \"{name}\" = 'a' }} }} }}\nreject = 403"));
        expect(&not, (2, 29), &format!("«{name}» is not the name of a header"), "X-Trunk");
    }
}

#[test]
fn how_several_next_hops_are_tried() {
    let route = |keys: &str| format!("[[route]]\nto = [\"sip:10.0.0.9\", \"request-uri\"]\n{keys}");
    let tried = |keys: &str| {
        let plan = good(&format!("{PUBLIC}{PRIVATE}{SIX}{}", route(keys))).plan;
        let Action::Forward { attempts, .. } = plan.rules[0].action else { panic!() };
        attempts
    };
    assert_eq!(tried(""), Attempts::DEFAULT);
    let some = tried("timeout = \"1500ms\"\nfailover = [480, \"5xx\"]");
    assert_eq!(some.timeout_ns, Some(1_500_000_000));
    assert_eq!(some.failover, Statuses::NONE.with(480).with_class(5));
    assert_eq!(tried("failover = []").failover, Statuses::NONE);
    assert!(tried("fork = true").forks);

    expect(&route("timeout = 4"), (3, 11), "`timeout` must be a duration, not integer", "\"4s\"");
    expect(&route("timeout = \"4\""), (3, 11), "«4» is not a duration", "\"4s\"");
    expect(&route("timeout = \"33s\""), (3, 11), "`timeout` must be from \"100ms\" to \"32s\"", "");
    expect(&route("timeout = \"99999999999s\""), (3, 11), "is not a duration", "");
    expect(&route("failover = [600]"), (3, 13), "`failover` must be from 300 to 599", "");
    expect(
        &route("failover = [\"6xx\"]"),
        (3, 13),
        "no class of answers to go on after",
        "everybody's answer",
    );
    expect(&route("fork = true\nfailover = [503]"), (4, 12), "means nothing with `fork`", "one of them");
    for (key, column) in [("timeout = \"4s\"", 11), ("failover = [503]", 12), ("fork = true", 8)] {
        let name = key.split(' ').next().unwrap();
        let stateless = route(&format!("mode = \"stateless\"\n{key}"));
        expect(&stateless, (4, column), &format!("`{name}` needs transactions"), "mode = \"stateful\"");
        let refused = format!("[[route]]\nreject = 403\n{key}");
        expect(&refused, (3, column), &format!("`{name}` means nothing without `to`"), "");
    }
}

#[test]
fn mistakes_in_set() {
    let set = |keys: &str| {
        format!("[[route]]\nwhen = {{ ruri_user = '^0([1-9]+)$' }}\nto = \"request-uri\"\nset = {{ {keys} }}")
    };
    expect(&set(""), (4, 7), "`set` changes nothing", "leave it out");
    expect(&set("ruri = \"x\""), (4, 9), "unknown key `ruri`", "did you mean `ruri_user` or `ruri_host`?");
    expect("[[route]]\nreject = 403\nset = { strip = 1 }", (3, 7), "`set` means nothing without `to`", "");
    expect(
        &set("ruri_user = \"$2\""),
        (4, 21),
        "there is no group 2: the pattern of `ruri_user` has 1",
        "parentheses",
    );
    let unsound = set("ruri_user = \"$2\"").replace("^0([1-9]+)$", "^0([1-9]+$");
    expect(&unsound, (2, 22), "`ruri_user`: the pattern «^0([1-9]+$» is not valid", "regex");
    expect(&set("ruri_user = \"${from_user.1}\""), (4, 21), "the rule has no such pattern", "");
    expect(&set("ruri_user = \"a$\""), (4, 21), "a dollar is followed by", "$1 to $9 are groups");
    expect(
        &set("ruri_user = \"ab${host}\""),
        (4, 21),
        "none of ruri_user, from_user, to_user, at character 3",
        "",
    );
    expect(&set("ruri_user = \"${to_user.0}\""), (4, 21), "«0» is no group from 1 to 9", "");
    expect(&set("ruri_user = \"${to_user\""), (4, 21), "lacks its `}`", "");
    expect(&set("ruri_user = \"#31#$1\""), (4, 21), "'#' may not stand here", "# is %23");
    expect(&set("ruri_user = \"%4$1\""), (4, 21), "'%' may not stand here", "");
    expect(&set("ruri_user = \"7\", strip = 1"), (4, 21), "`strip` and `prefix` mean nothing", "either");
    expect(&set("strip = 0"), (4, 17), "`strip` must be from 1 to 511", "");
    expect(&set("prefix = \"$1\""), (4, 18), "shows nothing of the request", "ruri_user");
    expect(&set("ruri_host = \"sip:x\""), (4, 21), "is no host with or without a port", "[2001:db8::1]");
    expect(&set("ruri_host = \"x;lr\""), (4, 21), "is no host with or without a port", "");
    expect(
        &set("from = { user = \"x\", display = \"y\" }"),
        (4, 25),
        "the user of From cannot be changed",
        "§8.2.6.2",
    );
    expect(&set("to = { }"), (4, 14), "lacks the key `display`", "write display = \"TEXT\"");
    expect(&set("diversion = { }"), (4, 21), "`diversion` changes nothing", "");
    expect(
        &set("diversion = \"<sip:x>\""),
        (4, 21),
        "a table of `user`, `host` and `display`",
        "header = { Diversion",
    );
    expect(&set("header = { X = \"a\\r\\nVia: b\" }"), (4, 24), "may not stand here", "one line");
    expect(&set("header = { \"X y\" = \"a\" }"), (4, 20), "not the name of a header", "");
    for (name, why) in [
        ("Via", "find their way back"),
        ("v", "find their way back"),
        ("Record-Route", "record_route"),
        ("call-id", "the call is known"),
        ("Max-Forwards", "ends loops"),
        ("l", "where the message ends"),
        ("Contact", "later requests"),
        ("From", "from = { display"),
        ("Max-Breadth", "RFC 5393"),
    ] {
        expect(&set(&format!("remove = [\"{name}\"]")), (4, 19), "cannot be set", why);
        expect(&set(&format!("add = {{ {name} = \"x\" }}")), (4, 17), "cannot be set", why);
    }
    expect(
        &set("header = { s = \"1\" }, remove = [\"Subject\"]"),
        (4, 41),
        "`Subject` is changed twice",
        "once",
    );
    let by_header = "[[route]]\nwhen = { header = { X = '1' } }\nto = \"request-uri\"\nset = { strip = 1 }\n\
                     mode = \"stateless\"";
    expect(by_header, (4, 7), "a CANCEL may lack it", "stateful");
}

#[test]
fn what_set_changes_is_told_in_a_few_words() {
    let text = "[[route]]\nto = \"request-uri\"\n[route.set]\nstrip = 1\nruri_host = \"[2001:db8::1]:5070\"\n\
                remote_party_id = { host = \"x\" }\nremove = \"X-Internal\"\n";
    let plan = good(&format!("{text}{PRIVATE}")).plan;
    let set = plan.rules[0].set.as_ref().unwrap();
    assert_eq!(set.to_string(), "Request-URI's user, Request-URI's host, Remote-Party-ID, X-Internal");
    assert_eq!(set.uri.host.as_deref(), Some("[2001:db8::1]:5070"));
}

#[test]
fn mistakes_in_limits() {
    let limit = |keys: &str| format!("[[route]]\nto = \"request-uri\"\nlimit = {{ {keys} }}");
    expect(&limit("burst = 7"), (3, 9), "`limit` lacks the key `rate`", "write rate = 10");
    expect(&limit("rate = 0"), (3, 18), "`rate` must be from 1 to 1000000", "");
    expect(
        &limit("rate = 1, per = \"peer\""),
        (3, 27),
        "`per` cannot be «peer»",
        "\"route\" for all requests",
    );
    expect(&limit("rate = 1, status = 200"), (3, 30), "`status` must be from 400 to 699", "");
    expect(&limit("rate = 1, bust = 2"), (3, 21), "unknown key `bust`", "did you mean `burst`?");
    expect("[[route]]\nreject = 403\nlimit = { rate = 1 }", (3, 9), "`limit` means nothing without `to`", "");
    let peer = |keys: &str| format!("[[peer]]\nname = \"a\"\nnetworks = [\"10.1.0.0/16\"]\n{keys}");
    expect("[[peer]]\nname = \"a\"", (1, 1), "[[peer]] lacks the key `networks`", "[\"192.0.2.0/24\"]");
    expect(&peer(&peer("").replace("10.1", "10.2")), (5, 8), "there are two peers «a»", "");
    let other = peer("[[peer]]\nname = \"b\"\nnetworks = [\"10.1.0.0/16\"]");
    expect(&other, (6, 13), "10.1.0.0/16 belongs to «a» already", "narrowest");
    let when = |peer: &str| peer_rule(peer);
    expect(&peer(&when("peer = \"b\"")), (5, 17), "there is no peer «b»", "peers are: a");
    expect(&when("peer = \"b\""), (2, 17), "there is no peer «b»", "write [[peer]]");
    let both = when("peer = \"a\", source = \"10.0.0.1\"");
    expect(&peer(&both), (5, 17), "`source` and it contradict each other", "one of them");
    expect("[overload]\nmax_wait = \"soon\"", (2, 12), "«soon» is not a duration", "");
    expect("[overload]\nmax_wait = \"5s\"", (2, 12), "`max_wait` must be from \"1ms\" to \"4s\"", "");
    expect("[overload]\npriority = [\"a,b\"]", (2, 13), "none that a request could show", "wps.0");
    let prefix = "`source_prefix_v6` must be from 1 to 128";
    expect("[overload]\nsource_prefix_v6 = 129", (2, 20), prefix, "");
}

fn peer_rule(when: &str) -> String {
    format!("[[route]]\nwhen = {{ {when} }}\nreject = 403")
}

#[test]
fn a_peer_stands_for_its_sources() {
    let text = "[[peer]]\nname = \"a\"\nnetworks = [\"10.1.0.0/16\", \"10.2.0.1\"]\nlimit = { rate = 9 }\n";
    let plan =
        good(&format!("{text}{}\n{PRIVATE}limit = {{ rate = 7, burst = 70 }}\n", peer_rule("peer = \"a\"")))
            .plan;
    let networks: Vec<String> = plan.rules[0].when.source.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.1.0.0/16", "10.2.0.1/32"]);
    let limits = &plan.overload.limits;
    let told = |id: Option<crate::overload::LimitId>| limits.limit(id.unwrap()).unwrap().to_string();
    let of_peer = told(limits.of_peer("10.1.9.9".parse().unwrap()));
    assert_eq!(of_peer, "peer a: 9 requests a second, 9 at once; more are answered 503");
    let of_listener = told(limits.of_listener(plan.listeners[0].section));
    assert_eq!(of_listener, "listener private: 7 requests a second, 70 at once; more are answered 503");
    assert_eq!(limits.of_peer("10.2.0.2".parse().unwrap()), None);
    assert_eq!(plan.overload.longest_wait_ns, Some(15_000_000));
    assert_eq!(limits.sources.0, 64);
    let takes = |text: &str, ip: &str| good(text).plan.overload.limits.peers.takes_oc(ip.parse().unwrap());
    let offered = format!("{text}oc = true\n{PRIVATE}");
    assert!(takes(&offered, "10.1.9.9") && !takes(&offered, "10.3.0.1"));
    assert!(!takes(&format!("{text}{PRIVATE}"), "10.1.9.9"));
    let plan = good(&format!("{text}{PRIVATE}[overload]\nsource_prefix_v6 = 56\n")).plan;
    assert_eq!(plan.overload.limits.sources.0, 56);
}

#[test]
fn routes_that_can_never_match() {
    let route = |when: &str| format!("[[route]]\nwhen = {{ {when} }}\nreject = 403");
    expect(
        "[[route]]\nreject = 403\n[[route]]\nname = \"late\"\nwhen = { method = \"BYE\" }\nreject = 404",
        (3, 1),
        "the route «late» can never match: «route-1» (line 1) takes all its requests",
        "put it before «route-1», or delete it",
    );
    expect(
        "[[route]]\nreject = 403\n[[route]]\nreject = 404",
        (3, 1),
        "«route-1» (line 1) has the same conditions",
        "",
    );
    let transport = route("listener = \"public\", transport = \"tls\"");
    expect(&transport, (2, 43), "which have udp", "a listener that has it");
    let family = route("listener = \"six\", source = \"10.0.0.0/8\"");
    expect(&family, (2, 37), "IPv4 networks only, and the listeners of this rule are IPv6", "never reaches");
    let prefix = route("ruri_prefix = \"+33\", ruri_user = '^\\+49[0-9]+$'");
    expect(&prefix, (2, 43), "no user that matches «^\\+49[0-9]+$» begins with +33", "must both hold");
    expect(&route("method = \"BYE\", not = { method = [\"BYE\", \"INFO\"] }"), (2, 32), "lets through", "");
    expect(&route("method = \"BYE\", not = {}"), (2, 32), "an empty `not` excludes every request", "");
    // Inside a `not` it would mean nothing, which nobody means either.
    let nested = route("not = { method = \"BYE\", not = { method = \"BYE\" } }");
    expect(&nested, (2, 40), "can never match", "");
}

#[test]
fn a_condition_that_is_misread_is_not_taken_for_an_absent_one() {
    let later = "[[route]]\nwhen = { listener = \"private\" }\nto = \"request-uri\"";
    for (keys, place, message) in [
        ("when = { listener = \"pubic\" }\nto = \"request-uri\"", (2, 21), "no listener «pubic»"),
        ("when = { not = { listener = \"pubic\" } }\nto = \"request-uri\"", (2, 29), "no listener «pubic»"),
        (
            "when = { listener = \"pubic\", transport = \"tls\" }\nto = \"request-uri\"",
            (2, 21),
            "no listener «pubic»",
        ),
        (
            "when = { listener = \"pubic\", transport = \"tcp\" }\nto = \"sip:10.0.0.9;transport=udp\"\nmode = \"stateless\"",
            (2, 21),
            "no listener «pubic»",
        ),
        (
            "when = { ruri_user = 7 }\nto = \"request-uri\"\nset = { ruri_user = \"$1\" }",
            (2, 22),
            "`ruri_user` must be a string",
        ),
    ] {
        expect(&format!("[[route]]\n{keys}\n{later}"), place, message, "");
    }
}

#[test]
fn a_rule_is_shadowed_by_one_behind_one_that_is_misread() {
    let route = |name: &str, when: &str| {
        format!("[[route]]\nname = \"{name}\"\nwhen = {{ {when} }}\nto = \"request-uri\"\n")
    };
    let rules = ["\"pubic\"", "[\"private\", \"six\"]", "\"six\""];
    let rules: Vec<String> = rules
        .iter()
        .zip(["a", "b", "c"])
        .map(|(on, name)| route(name, &format!("listener = {on}")))
        .collect();
    let Err(findings) = from_str("test.toml", &format!("{}{PUBLIC}{PRIVATE}{SIX}", rules.concat()), &fib())
    else {
        panic!("it has a listener that is none");
    };
    let told: Vec<&str> = findings.list().iter().map(|finding| &*finding.message).collect();
    let [_, shadow] = told[..] else { panic!("{findings}") };
    assert_eq!(shadow, "the route «c» can never match: «b» (line 5) takes all its requests");
}

#[test]
fn an_override_that_cannot_reach_its_next_hop_is_an_error_at_load() {
    let text = format!(
        "[[route]]\nname = \"m\"\nto = \"sip:[2001:db8::1]\"\negress = \"six\"\n{SIX}{PUBLIC}{PRIVATE}"
    );
    let findings = from_str("t", &text, &fib()).err().unwrap();
    assert!(findings.to_string().contains("its egress cannot reach 2001:db8::1"), "{findings}");
}

#[test]
fn an_interface_name_and_a_wildcard_stand_for_their_addresses() {
    let text = "[[listener]]\nname = \"lan\"\nbind = \"udp:eth1:5070\"\n[[listener]]\nname = \"all\"\nbind = \"udp:0.0.0.0\"\n\
                [[route]]\nwhen = { listener = [\"lan\"] }\nreject = 403\n";
    let plan = good(text).plan;
    let names: Vec<_> = plan.listeners.iter().filter(|l| !plan.is_sibling(l)).map(|l| &*l.name).collect();
    assert_eq!(names, ["lan/10.0.0.4", "lan/fd00::4", "all/203.0.113.10", "all/10.0.0.4"]);
    assert_eq!((plan.listeners.len(), &*plan.listeners[2].name), (8, "lan/10.0.0.4/tcp"));
    assert_eq!(plan.rules[0].when.listener, [plan.sections[0].id]);
    assert_eq!(&*plan.listeners[1].advertise[0].text, "[fd00::4]:5070");
}

#[test]
fn the_default_listens_on_every_address_and_relays_for_private_networks() {
    let plan = default(&fib()).unwrap_or_else(|findings| panic!("{findings}")).plan;
    assert_eq!(plan.listeners.len(), 6, "three addresses, UDP and TCP");
    assert_eq!(plan.keys_file, None);
    assert_eq!(plan.rules.len(), 2);
    let lonely = Builder::host().build();
    let plan = default(&lonely).unwrap_or_else(|findings| panic!("{findings}")).plan;
    assert!(plan.listeners.iter().all(|l| l.bind.ip().is_loopback()));
}

#[test]
fn identities_survive_versions() {
    // A token of a running call carries it: changing how it is computed breaks calls at an upgrade.
    assert_eq!(good(PRIVATE).plan.listeners[0].identity, 0x0c2e_dc17);
}

#[test]
fn advertised_addresses_go_by_destination() {
    let text = "[[listener]]\nname = \"p\"\nbind = \"udp:10.0.0.4:5060\"\nadvertise = [\
                { to = \"10.0.0.0/8\", as = \"10.0.0.4\" }, { as = \"sip.Example.net:5090\" }]\n";
    let plan = good(text).plan;
    let seen = |ip: &str| &*plan.listeners[0].advertised(ip.parse().unwrap()).text;
    assert_eq!(seen("10.9.9.9"), "10.0.0.4:5060");
    assert_eq!(seen("192.0.2.1"), "sip.example.net:5090");
}

#[test]
fn what_is_us() {
    use sip_parser::Host;
    let text = format!(
        "[identity]\ndomains = [\"sip.example.net\"]\n{}advertise = \"198.51.100.7:5080\"\n{SIX}",
        PUBLIC.replace("5060", "5062")
    );
    let ours = crate::plan::Ours::new(&good(&text).plan);
    let ip = |host: &str, port| {
        let host = match host.parse().unwrap() {
            std::net::IpAddr::V4(ip) => Host::V4(ip),
            std::net::IpAddr::V6(ip) => Host::V6(ip),
        };
        ours.is_us(host, port)
    };
    assert!(ip("203.0.113.10", Some(5062)) && ip("::ffff:203.0.113.10", Some(5062)));
    assert!(!ip("203.0.113.10", None) && !ip("203.0.113.10", Some(5060)));
    assert!(ip("198.51.100.7", Some(5080)) && !ip("198.51.100.7", None));
    assert!(ip("fd00::4", None));
    let name = |host: &str, port| ours.is_us(Host::Name(host.as_bytes()), port);
    assert!(name("SIP.example.net.", None) && name("sip.example.net", Some(5062)));
    assert!(!name("sip.example.net", Some(9)) && !name("example.net", None));
    assert!(
        ours.is_us_host(b"[fd00::4]") && ours.is_us_host(b"198.51.100.7") && !ours.is_us_host(b"10.0.0.4")
    );
    let written = [
        "198.51.100.7:5080",
        "203.0.113.10:5062",
        "[fd00::4]",
        "[fd00::4]:5060",
        "sip.example.net",
        "sip.example.net:5060",
        "sip.example.net:5062",
    ];
    assert_eq!(ours.written().iter().map(|own| &**own).collect::<Vec<_>>(), written);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        cut in 0usize..600,
        junk in "[\\[\\]{}=\"'a-z0-9.:\n/%]{0,12}",
        take in 0usize..20,
    ) {
        let text = format!(
            "[egress]\nauto = true\n{PUBLIC}advertise = [{{ to = \"10.0.0.0/8\", as = \"1.2.3.4\" }}]\n{PRIVATE}\
             [[route]]\nwhen = {{ method = [\"INVITE\"], not = {{ ruri_user = '^1' }} }}\nto = \"sip:10.0.0.9\"\n\
             egress = {{ transport = \"udp\", port = 5060 }}\n"
        );
        let cut = cut.min(text.len());
        let end = (cut + take).min(text.len());
        let mutated = format!("{}{junk}{}", &text[..cut], &text[end..]);
        if let Err(findings) = from_str("t", &mutated, &fib()) {
            let rendered = findings.to_string();
            prop_assert!(rendered.contains("error"));
        }
    }
}

const GROUP: &str = r#"
[[group]]
name = "trunks"
select = "call-id"
gateways = [
    { to = "sip:10.0.0.9:5070", weight = 3, priority = 2, egress = "private" },
    { to = "sip:gw.example.net" },
    { to = "sip:[fd00::9]", priority = 2, egress = { transport = "udp", address = "received" } },
]
ping = { every = "20s", timeout = "500ms", down_after = 2, up_after = 4, slow_return = "1min", alive = [200, "4xx"] }

[[route]]
name = "out"
to = ["group:trunks", "sip:10.0.0.1"]
"#;

#[test]
fn a_group_is_read() {
    let plan = good(&format!("{PUBLIC}{PRIVATE}{SIX}{GROUP}")).plan;
    let group = &plan.groups[0];
    assert_eq!((&*group.name, group.select), ("trunks", Select::CallId));
    let uris: Vec<&str> = group.gateways.iter().map(|gateway| &*gateway.uri).collect();
    assert_eq!(
        uris,
        ["sip:gw.example.net", "sip:10.0.0.9:5070", "sip:[fd00::9]"],
        "by priority, then in order"
    );
    let numbers: Vec<_> = group.members.iter().map(|member| (member.priority, member.weight)).collect();
    assert_eq!(numbers, [(1, 1), (2, 3), (2, 1)]);
    assert_eq!(group.gateways[1].egress, Some(EgressChoice::Listener(plan.sections[1].id)));
    let s = 1_000_000_000;
    assert_eq!(
        group.settings,
        Settings { down_after: 2, up_after: 4, slow_return_ns: 60 * s, is_pinged: true }
    );
    let pinging = group.pinging.as_ref().unwrap();
    assert_eq!((pinging.every_ns, pinging.timeout_ns), (20 * s, s / 2));
    assert!(pinging.alive.has(200) && pinging.alive.has(486) && !pinging.alive.has(202));
    let Action::Forward { to, .. } = &plan.rules[0].action else { panic!() };
    assert_eq!(to[0], Target::Group { id: group.id, name: "trunks".into() });
    assert!(plan.names().any(|name| name == "gw.example.net"), "it is resolved");
}

#[test]
fn a_group_without_ping_has_the_defaults() {
    let text =
        "[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:10.0.0.9\" }]\n\n[[route]]\nto = \"group:g\"\n";
    let plan = good(&format!("{PUBLIC}{PRIVATE}{text}")).plan;
    let group = &plan.groups[0];
    assert_eq!(
        (group.select, group.pinging.is_none(), group.settings.down_after),
        (Select::Weighted, true, 3)
    );
    // The same gateway has the same identity wherever it stands.
    let other = text
        .replace("\"g\"", "\"h\"")
        .replace("group:g", "group:h")
        .replace("[{", "[{ to = \"sip:10.0.0.8\" }, {");
    let other = good(&format!("{PUBLIC}{PRIVATE}{other}")).plan;
    assert_eq!(other.groups[0].members[1].identity, group.members[0].identity);
}

#[test]
fn mistakes_in_groups() {
    let group = |keys: &str| format!("[[group]]\nname = \"g\"\n{keys}\n[[route]]\nto = \"group:g\"\n");
    let gateways = |list: &str| group(&format!("gateways = [{list}]"));
    let one = "{ to = \"sip:10.0.0.9\" }";
    expect(&gateways(""), (3, 12), "a group needs a gateway", "sip:ADDRESS:PORT");
    expect(&gateways("{ weight = 1 }"), (3, 13), "lacks the key `to`", "sip:ADDRESS:PORT");
    for written in ["request-uri", "requesturi"] {
        let gateway = format!("{{ to = \"{written}\" }}");
        expect(&gateways(&gateway), (3, 20), "not a SIP URI", "a gateway is one next hop");
    }
    expect(&gateways("{ to = \"carriers\" }"), (3, 20), "not a SIP URI", "(IPv6 in brackets)");
    expect(&gateways("{ to = \"sip:224.0.0.1\" }"), (3, 20), "no address to send a request to", "");
    expect(&group("gateways = \"sip:10.0.0.9\""), (3, 12), "must be a list of tables", "[{ to =");
    expect(&gateways("{ to = \"sip:10.0.0.9\", wait = 1 }"), (3, 36), "unknown key `wait`", "");
    let same = format!("{one}, {{ to = \"sip:10.0.0.9:5060;transport=udp\" }}");
    expect(&gateways(&same), (3, 38), "stands in the group already", "sum of the weights");
    expect(
        &gateways("{ to = \"sip:10.0.0.9\", weight = 0 }"),
        (3, 12),
        "no gateway of the group has a weight",
        "",
    );
    let idle = format!("{one}, {{ to = \"sip:10.0.0.8\", weight = 0 }}");
    expect(&gateways(&idle), (3, 38), "has the weight 0", "");
    expect(&gateways("{ to = \"sip:10.0.0.9\", egress = \"six\" }"), (3, 45), "«six» is IPv6", "");
    let with = |keys: &str| group(&format!("gateways = [{one}]\n{keys}"));
    expect(&with("select = \"random\""), (4, 10), "`select` cannot be «random»", "\"call-id\"");
    expect(
        &with("ping = { every = \"5s\", timeout = \"6s\" }"),
        (4, 34),
        "`timeout` is longer than `every`",
        "",
    );
    expect(&with("ping = { every = 5 }"), (4, 18), "`every` must be a duration", "\"4s\"");
    expect(&with("ping = { down_after = 0 }"), (4, 23), "`down_after` must be from 1 to 31", "");
    expect(&with("ping = { alive = [\"7xx\"] }"), (4, 19), "is no status and no class", "\"4xx\"");
    expect(&with("ping = { alive = [100] }"), (4, 19), "`alive` must be from 200 to 699", "");
    let unknown = with("").replace("group:g", "group:h");
    let whole = format!("{unknown}\n{PUBLIC}");
    let found = from_str("test.toml", &whole, &fib()).err().unwrap();
    let told: Vec<_> = found.list().iter().map(|f| (&*f.message, &*f.hint)).collect();
    assert_eq!(told[0], ("there is no group «h»", "groups are: g"));
    // One with mistakes in it is there, too.
    let broken = unknown.replace("gateways = [", "gateways = [7, ");
    let found = from_str("test.toml", &format!("{broken}\n{PUBLIC}"), &fib()).err().unwrap();
    let told: Vec<_> = found.list().iter().map(|f| (&*f.message, &*f.hint)).collect();
    assert!(told.contains(&("there is no group «h»", "groups are: g")), "{told:?}");
    let bare = with("").replace("\"group:g\"", "\"g\"");
    let found = from_str("test.toml", &format!("{bare}\n{PUBLIC}"), &fib()).err().unwrap();
    let told: Vec<_> = found.list().iter().map(|f| (&*f.message, &*f.hint)).collect();
    assert_eq!(told[0], ("«g» is a group", "write to = \"group:g\""));
    let unused = format!("[[group]]\nname = \"g\"\ngateways = [{one}]\n");
    expect(&unused, (1, 1), "no route names the group «g»", "to = \"group:g\"");
    let twice = format!("{unused}{unused}[[route]]\nto = \"group:g\"\n");
    expect(&twice, (5, 8), "there are two groups «g»", "");
}

/// Its rule works as long as one gateway does.
#[test]
fn a_gateway_that_nothing_reaches_is_a_warning() {
    let text = "[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:10.0.0.9\" }, { to = \"sip:[2001:dead::9]\" }]\n\n\
                [[route]]\nname = \"r\"\nto = \"group:g\"\n";
    let warnings = good(&format!("{PUBLIC}{PRIVATE}{text}")).warnings;
    let told: Vec<_> = warnings.list().iter().map(|f| (f.code, &*f.message)).collect();
    assert!(
        told.iter().any(|(code, message)| *code == "no-listener"
            && message.contains("2001:dead::9, a gateway of g")),
        "{told:?}"
    );
}

#[test]
fn dns_is_read() {
    let text = "[dns]\nservers = [\"10.0.0.53\", \"[2001:db8::53]:5353\"]\ntimeout = \"500ms\"\nattempts = 3\n\
                min_ttl = \"1s\"\nmax_ttl = \"5min\"\nnegative_ttl = \"30s\"\nstale = \"2h\"\nnames = 100\nqueue = 7\n\
                per_second = 9\n";
    let dns = good(&format!("{text}{PUBLIC}")).plan.dns;
    let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.53:53", "[2001:db8::53]:5353"]);
    let s = std::time::Duration::from_secs;
    assert_eq!((dns.timeout, dns.attempts), (Some(s(1) / 2), Some(3)));
    let keep = dns.keep;
    assert_eq!([keep.min_ttl, keep.max_ttl, keep.negative_ttl, keep.stale], [s(1), s(300), s(30), s(7_200)]);
    assert_eq!((keep.names, dns.queue, dns.per_second), (100, 7, 9));
    assert_eq!(good(PUBLIC).plan.dns, crate::plan::Dns::default());
}

#[test]
fn mistakes_in_dns() {
    for (line, message, hint) in [
        (
            "servers = [\"ns.example\"]",
            "«ns.example» is not the address of a name server",
            "write an address",
        ),
        ("servers = [\"10.0.0.53:0\"]", "«0» is not a port", "from 1 to 65535"),
        ("min_ttl = \"0s\"", "`min_ttl` must be from \"1s\" to \"1h\"", "\"1s\" or more"),
        ("stale = \"2d\"", "«2d» is not a duration", "us, ms, s, min or h"),
        ("min_ttl = \"2min\"\nmax_ttl = \"1min\"", "`min_ttl` is longer than `max_ttl`", "between the two"),
        ("names = 100000", "`names` must be from 16 to 16384", ""),
        ("queue = 1000", "`queue` must be from 0 to 256", ""),
        ("retries = 3", "unknown key `retries` in [dns]", ""),
    ] {
        let (_, _, said, hinted) = one(&format!("[dns]\n{line}"));
        assert!(said.contains(message) && hinted.contains(hint), "{line}: {said}: {hinted}");
    }
    let route = |to: &str| format!("[[route]]\nto = \"{to}\"\n");
    let long = format!("sip:{}.example", "a".repeat(64));
    let (_, _, said, hinted) = one(&route(&long));
    assert!(said.contains("is no name that DNS knows") && hinted.contains("63 letters"), "{said}: {hinted}");
    for to in ["sips:gw-.example", "sip:-gw.example;transport=tls"] {
        let (_, _, said, hinted) = one(&route(to));
        assert!(
            said.contains("no certificate can be for «") && hinted.contains("hyphen"),
            "{said}: {hinted}"
        );
    }
}

#[test]
fn a_configuration_has_no_more_names_than_are_kept() {
    let routes = |count: usize| -> String {
        (0..count)
            .map(|n| {
                format!("[[route]]\nto = \"sip:gw{n}.example\"\nwhen = {{ ruri_prefix = [\"{n:03}\"] }}\n")
            })
            .collect()
    };
    good(&format!("{PUBLIC}[dns]\nnames = 16\n{}", routes(16)));
    let text = format!("[dns]\nnames = 16\n{}", routes(17));
    expect(&text, (2, 9), "ask for 17 names, and [dns] names keeps 16", "16384 at most");
}

#[test]
fn a_next_hop_without_a_port_has_that_of_the_transport_it_is_sent_by() {
    let tcp = "[[listener]]\nname = \"stream\"\nbind = \"tcp:203.0.113.10:5070\"\n\n";
    let group =
        "[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:192.0.2.9\" }, { to = \"sip:192.0.2.8:5070\" }]\n";
    for (transport, port) in [("tcp", 5060), ("tls", 5061)] {
        let egress = format!("egress = {{ transport = \"{transport}\" }}");
        let rule = format!("[[route]]\nname = \"r\"\nto = [\"sip:192.0.2.7\", \"group:g\"]\n{egress}\n");
        let Loaded { plan, .. } = good(&format!("{tcp}{group}{rule}"));
        let hops: Vec<_> = plan
            .onward(&plan.rules[0])
            .map(|onward| plan.literal_hop(onward.target, onward.egress.as_ref()).unwrap().to_string())
            .collect();
        let expected = [("192.0.2.7", port), ("192.0.2.9", port), ("192.0.2.8", 5070)];
        assert_eq!(hops, expected.map(|(ip, port)| format!("{transport}:{ip}:{port}")));
    }
}

#[test]
fn an_egress_of_another_transport_takes_nobodys_security() {
    let route = |to: &str| {
        format!("[[route]]\nname = \"r\"\nto = \"{to}\"\negress = {{ transport = \"udp\", port = 5060 }}")
    };
    for (to, wanted) in [
        ("sips:192.0.2.9", "tls"),
        ("sips:carrier.example", "tls"),
        ("sip:carrier.example;transport=tls", "tls"),
        ("sip:192.0.2.9;transport=tcp", "tcp"),
    ] {
        let message = format!("`egress` leaves by udp, the next hop wants {wanted}");
        expect(&route(to), (4, 10), &message, &format!("write transport = \"{wanted}\""));
    }
    good(&format!("{PUBLIC}{}", route("sip:192.0.2.9;transport=udp")));
}
