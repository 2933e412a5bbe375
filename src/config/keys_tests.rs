//! Every key of a configuration, with values that do not belong there: each finding says what to do.

use super::tests::{PRIVATE, PUBLIC, fib};
use super::*;

/// A table whose keys are tried, one at a time.
struct Place {
    /// What stands before the keys.
    before: &'static str,
    /// Keys that have to be there.
    needs: &'static [&'static str],
    /// What stands behind the keys; where there is something, they stand in one line.
    behind: &'static str,
}

const fn table(before: &'static str, needs: &'static [&'static str]) -> Place {
    Place { before, needs, behind: "" }
}

const GATEWAYS: &str = "gateways = [{ to = \"sip:10.0.0.9\" }]";
const TLS: [&str; 4] =
    ["name = \"x\"", "bind = \"tls:10.0.0.4:5071\"", "certificate = \"absent\"", "key = \"absent\""];

/// All tables but those whose keys are free.
const PLACES: [Place; 26] = [
    table("", &[]),
    table("[engine]\n", &[]),
    table("[identity]\n", &[]),
    table("[keys]\n", &[]),
    table("[dns]\n", &[]),
    table("[tls]\n", &[]),
    table("[admin]\n", &[]),
    table("[tcp]\n", &[]),
    table("[egress]\n", &[]),
    table("[overload]\n", &[]),
    table("[[listener]]\n", &["name = \"x\"", "bind = \"udp:10.0.0.4:5070\""]),
    table("[[listener]]\n", &TLS),
    table(
        "[[listener]]\nname = \"x\"\nbind = \"tls:10.0.0.4:5071\"\n[[listener.sni]]\n",
        &["certificate = \"absent\"", "key = \"absent\""],
    ),
    Place {
        before: "[[listener]]\nname = \"x\"\nbind = \"udp:10.0.0.4:5070\"\nadvertise = [{ ",
        needs: &["as = \"192.0.2.1\""],
        behind: " }]",
    },
    table("[[peer]]\n", &["name = \"p\"", "networks = \"10.1.0.0/16\""]),
    table("[[group]]\n", &["name = \"g\"", GATEWAYS]),
    table("[[group]]\nname = \"g\"\n[[group.gateways]]\n", &["to = \"sip:10.0.0.9\""]),
    table("[[group]]\nname = \"g\"\ngateways = [{ to = \"sip:10.0.0.9\" }]\n[group.ping]\n", &[]),
    table("[[route]]\n", &[]),
    table("[[route]]\n", &["to = \"request-uri\""]),
    table("[[route]]\nto = \"request-uri\"\n[route.when]\n", &[]),
    table("[[route]]\nto = \"request-uri\"\n[route.egress]\n", &["transport = \"udp\""]),
    table("[[route]]\nto = \"request-uri\"\n[route.limit]\n", &["rate = 1"]),
    table("[[route]]\nto = \"request-uri\"\n[route.set]\n", &[]),
    table("[[route]]\nto = \"request-uri\"\n[route.set.from]\n", &["display = \"x\""]),
    table("[[route]]\nto = \"request-uri\"\n[route.set.diversion]\n", &[]),
];

/// No key takes all of them.
const VALUES: [&str; 13] = [
    "true",
    "7",
    "-1",
    "99999999999",
    "0.5",
    "1979-05-27",
    "\"\"",
    "\"?\"",
    "\"999h\"",
    "[]",
    "[true, \"?\"]",
    "{ }",
    "{ x = 1 }",
];

/// What is found where this key has this value.
fn found(place: &Place, key: &str, value: &str) -> Vec<Diagnostic> {
    let is_other = |needed: &&&str| !needed.starts_with(&format!("{key} "));
    let mut lines: Vec<String> = place.needs.iter().filter(is_other).map(|line| (*line).to_owned()).collect();
    lines.push(format!("{key} = {value}"));
    let keys = lines.join(if place.behind.is_empty() { "\n" } else { ", " });
    // Tables follow the keys of the file itself.
    let listeners = if key == "listener" { String::new() } else { format!("{PUBLIC}{PRIVATE}") };
    let text = format!("{}{keys}{}\n{listeners}", place.before, place.behind);
    let findings = match from_str("test.toml", &text, &fib()) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    for finding in findings.list() {
        assert!(!finding.hint.is_empty(), "«{}» has no hint, of\n{text}", finding.message);
    }
    findings.list().to_vec()
}

/// The keys that a table has, as an unknown one is told.
fn keys(place: &Place) -> Vec<String> {
    let unknown = found(place, "wwwwwwwwwwwwwwwwwwwwwwww", "1");
    let mut hints = unknown.iter().filter_map(|finding| finding.hint.strip_prefix("known keys are: "));
    let known = hints.next().unwrap_or_else(|| panic!("{} {unknown:?}", place.before));
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn a_condition_beside_when_is_told_where_it_belongs() {
    let place = |end: &str| PLACES.iter().find(|place| place.before.ends_with(end)).unwrap();
    let conditions = keys(place("[route.when]\n"));
    assert!(conditions.len() > 10, "{conditions:?}");
    for key in conditions {
        let findings = found(place("[[route]]\n"), &key, "1");
        let told = format!("`{key}` belongs in `when`: when = {{ … }}");
        assert!(findings.iter().any(|finding| finding.hint == told), "{key}: {findings:?}");
    }
}

#[test]
fn a_value_that_does_not_belong_to_its_key_is_refused_with_what_to_do() {
    for place in &PLACES {
        for key in keys(place) {
            let is_refused = |value: &&&str| {
                found(place, &key, value).iter().any(|finding| finding.severity == Severity::Error)
            };
            let refused = VALUES.iter().filter(is_refused).count();
            assert!(refused > 0, "`{key}` behind «{}» takes anything", place.before);
        }
    }
}

#[test]
fn every_table_is_among_them() {
    for key in keys(&PLACES[0]).iter().filter(|key| *key != "hosts") {
        let [one, many] = [format!("[{key}]\n"), format!("[[{key}]]\n")];
        let is_its = |place: &Place| [&one, &many].into_iter().any(|head| place.before.starts_with(&**head));
        assert!(PLACES.iter().any(is_its), "{key}");
    }
}
