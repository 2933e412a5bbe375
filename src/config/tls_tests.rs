use std::fs;
use std::path::Path;

use super::*;
use crate::fib::Builder;
use crate::pki::{Authority, Pair, in_years};
use tempfile::TempDir;

/// A folder with files of an authority «A», and of pairs under their names.
fn folder(authority: &Authority, pairs: &[(&str, Pair)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let write = |name: String, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).expect("a mode");
    };
    write("ca.pem".to_owned(), &authority.pem());
    for (name, pair) in pairs {
        write(format!("{name}.crt"), &pair.certificate);
        write(format!("{name}.key"), &pair.key);
    }
    folder
}

/// What is found about a listener over TLS with these keys.
fn findings(folder: &Path, keys: &str) -> Findings {
    let path = folder.join("viaduct.toml");
    fs::write(&path, format!("[[listener]]\nname = \"a\"\nbind = \"tls:eth0\"\n{keys}\n")).expect("written");
    let fib = Builder::host().build();
    load(&path, &fib).map_or_else(|findings| findings, |loaded| loaded.warnings)
}

/// Of each the severity, code, line and message.
fn found(folder: &Path, keys: &str) -> Vec<(Severity, &'static str, usize, String)> {
    let findings = findings(folder, keys);
    let row = |finding: &Diagnostic| {
        let line = findings.line_column(finding.span.start).0;
        (finding.severity, finding.code, line, finding.message.clone())
    };
    findings.list().iter().filter(|finding| finding.code != "no-address").map(row).collect()
}

/// There is exactly one finding more.
fn one(folder: &Path, keys: &str) -> (Severity, &'static str, usize, String) {
    let found = found(folder, keys);
    let [one] = &found[..] else { panic!("{found:?}") };
    one.clone()
}

const OWN: &str = "certificate = \"a.crt\"\nkey = \"a.key\"\n";

#[test]
fn certificates_that_are_in_order_are_no_finding() {
    let authority = Authority::new("A");
    let (a, b) = (authority.issue(&["a.example"]), authority.issue(&["sip:b.example"]));
    let folder = folder(&authority, &[("a", a), ("b", b)]);
    for keys in [
        OWN.to_owned(),
        format!(
            "{OWN}ca = \"ca.pem\"\nclient_certificates = \"required\"\nadvertise = \"b.example\"\nsni = [{{ certificate = \"b.crt\", key = \"b.key\" }}]"
        ),
        format!(
            "{OWN}[[listener.sni]]\ncertificate = \"b.crt\"\nkey = \"{}/b.key\"",
            folder.path().display()
        ),
    ] {
        assert_eq!(found(folder.path(), &keys), [], "{keys}");
    }
}

#[test]
fn what_cannot_be_used_is_an_error_where_it_is_named() {
    let authority = Authority::new("A");
    let mut other = authority.issue(&["a.example"]);
    other.certificate = authority.issue(&["a.example"]).certificate;
    let folder = folder(&authority, &[("a", authority.issue(&["a.example"])), ("mixed", other)]);
    let folder = folder.path();
    let cases = [
        ("certificate = \"a.crt\"", "configuration", 1, "lacks the key `key`"),
        (
            "certificate = \"b.crt\"\nkey = \"a.key\"",
            "certificate",
            4,
            "b.crt: it cannot be read: No such file",
        ),
        (
            "certificate = \"a.key\"\nkey = \"a.key\"",
            "certificate",
            4,
            "a.key: there is no certificate in it",
        ),
        ("certificate = \"a.crt\"\nkey = \"a.crt\"", "certificate", 5, "a.crt: there is no private key"),
        (
            "certificate = \"a.crt\"\nkey = \"mixed.key\"",
            "certificate",
            5,
            "the key does not belong to the certificate",
        ),
        (&format!("{OWN}ca = \"a.key\""), "certificate", 6, "a.key: there is no certificate in it"),
        (&format!("{OWN}client_certificates = \"required\""), "configuration", 6, "without `ca`"),
        (&format!("{OWN}client_certificates = true"), "configuration", 6, "must be a string"),
        (&format!("{OWN}client_certificates = \"yes\""), "configuration", 6, "cannot be «yes»"),
        (
            &format!("{OWN}sni = [{{ key = \"a.key\" }}]"),
            "configuration",
            6,
            "[[listener.sni]] lacks the key `certificate`",
        ),
    ];
    for (keys, code, line, message) in cases {
        let (severity, found_code, found_line, found) = one(folder, keys);
        assert_eq!((severity, found_code, found_line), (Severity::Error, code, line), "{found}");
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn files_that_are_not_named_are_told_with_what_belongs_there() {
    let authority = Authority::new("A");
    let folder = folder(&authority, &[("a", authority.issue(&["a.example"]))]);
    for (keys, lacking, hint) in [
        (
            "certificate = \"a.crt\"",
            "[[listener]] lacks the key `key`",
            "write key = \"FILE\": PEM, the private key",
        ),
        (
            "key = \"a.key\"",
            "[[listener]] lacks the key `certificate`",
            "write certificate = \"FILE\": PEM, our",
        ),
    ] {
        let findings = findings(folder.path(), keys);
        let finding = findings.list().iter().find(|finding| finding.message == lacking);
        let finding = finding.unwrap_or_else(|| panic!("{findings}"));
        assert!(finding.hint.starts_with(hint), "{finding:?}");
    }
}

#[test]
fn what_will_cause_trouble_is_a_warning() {
    let authority = Authority::new("A");
    let old = authority.issue_with(&["a.example"], in_years(2020, 2022));
    let future = authority.issue_with(&["a.example"], in_years(2200, 2201));
    let soon = authority.issue_with(&["a.example"], |params| {
        params.not_after =
            (std::time::SystemTime::now() + std::time::Duration::from_secs(20 * 86_400 + 43_200)).into();
    });
    let nameless =
        authority.issue_with(&[], |params| params.distinguished_name = rcgen::DistinguishedName::new());
    let mut chain = authority.issue(&["a.example"]);
    chain.certificate += &Authority::new("B").pem();
    let pairs = [("old", old), ("future", future), ("soon", soon), ("nameless", nameless), ("chain", chain)];
    let folder = folder(&authority, &pairs);
    let cases = [
        ("old", "certificate-expiry", "expired"),
        ("future", "certificate-expiry", "is not valid for another"),
        ("soon", "certificate-expiry", "expires in 20 days"),
        ("nameless", "certificate-name", "is for no SIP domain"),
        ("chain", "certificate-chain", "certificate 1 is issued by «CN=A»"),
    ];
    for (name, code, message) in cases {
        let keys = format!("certificate = \"{name}.crt\"\nkey = \"{name}.key\"");
        let (severity, found_code, line, found) = one(folder.path(), &keys);
        assert_eq!((severity, found_code, line), (Severity::Warning, code, 4), "{found}");
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn an_advertised_name_has_to_be_in_a_certificate() {
    let authority = Authority::new("A");
    let folder = folder(&authority, &[("a", authority.issue(&["a.example"]))]);
    let keys = format!("advertise = \"b.example\"\n{OWN}");
    let (severity, code, line, message) = one(folder.path(), &keys);
    assert_eq!((severity, code, line), (Severity::Warning, "certificate-name", 5));
    assert!(message.contains("no certificate is for «b.example»"), "{message}");
}

/// RFC 5922 §7.5: "the proxy MUST insert into the Record-Route header a URI that corresponds to an identity for which the proxy
/// has a certificate".
#[test]
fn an_address_that_is_shown_has_to_be_in_a_certificate() {
    let authority = Authority::new("A");
    let pairs = [("a", authority.issue(&["a.example"])), ("b", authority.issue(&["192.0.2.1"]))];
    let folder = folder(&authority, &pairs);
    let path = folder.path().join("viaduct.toml");
    let bind = "[[listener]]\nname = \"a\"\nbind = \"tls:192.0.2.1\"\n";
    let named = OWN.to_owned() + "advertise = \"a.example\"\n";
    for (keys, is_found) in [(OWN, true), (&named, false), (&OWN.replace("\"a.", "\"b."), false)] {
        fs::write(&path, format!("{bind}{keys}")).expect("written");
        let loaded = load(&path, &Builder::host().build()).unwrap_or_else(|findings| panic!("{findings}"));
        let text = "no certificate is for «192.0.2.1», which is advertised";
        assert_eq!(loaded.warnings.to_string().contains(text), is_found, "{keys}");
    }
}

#[test]
fn names_of_addresses_are_networks_and_host_names() {
    let text = |names: &str| {
        format!("[[listener]]\nname = \"a\"\nbind = \"udp:192.0.2.1\"\n[tls]\nnames = {{ {names} }}\n")
    };
    let load = |names: &str| from_str("test.toml", &text(names), &Builder::host().build());
    let names = "\"192.0.2.0/24\" = \"Wide.example.\", \"192.0.2.9\" = \"one.example\"";
    let plan = load(names).unwrap_or_else(|findings| panic!("{findings}")).plan;
    let of = |ip: &str| plan.tls_names.of(ip.parse().expect("an address"));
    assert_eq!(
        [of("192.0.2.9"), of("192.0.2.8"), of("192.0.3.1")],
        [Some("one.example"), Some("wide.example"), None]
    );
    for (names, message) in [
        ("\"192.0.2.1/24\" = \"a\"", "has bits beyond its prefix length"),
        ("\"192.0.2.0/24\" = \"a b\"", "is not a host name"),
    ] {
        let findings = load(names).err().expect("refused");
        assert!(findings.to_string().contains(message), "{findings}");
    }
}

#[test]
fn a_key_that_everybody_may_read_is_a_warning() {
    let authority = Authority::new("A");
    let folder = folder(&authority, &[("a", authority.issue(&["a.example"]))]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(folder.path().join("a.key"), mode).expect("a mode");
    let (severity, code, line, message) = one(folder.path(), OWN);
    assert_eq!((severity, code, line), (Severity::Warning, "certificate-key", 5));
    assert!(message.contains("everybody on this host may read the key"), "{message}");
}

#[test]
fn listeners_without_tls_have_no_certificates() {
    let text = "[[listener]]\nname = \"a\"\nbind = \"udp:192.0.2.1\"\ncertificate = \"a.crt\"\n";
    let findings = from_str("test.toml", text, &Builder::host().build()).err().expect("refused");
    assert!(findings.to_string().contains("a listener over udp has no `certificate`"), "{findings}");
}

/// What is read again is equal where nothing has changed, so that a listener keeps its sessions.
#[test]
fn files_make_the_same_as_before() {
    let authority = Authority::new("A");
    let folder = folder(&authority, &[("a", authority.issue(&["a.example"]))]);
    let path = |name| folder.path().join(name);
    let pair = crate::plan::PairFiles { certificate: path("a.crt"), key: path("a.key") };
    let files = crate::plan::TlsFiles { pairs: vec![pair], ca: None, clients: crate::plan::AskClients::Off };
    let first = read_tls(&files).expect("read");
    assert!(first == read_tls(&files).expect("read"));
    assert!(first.client.is_none());
    let renewed = authority.issue(&["a.example"]);
    fs::write(path("a.crt"), renewed.certificate).expect("written");
    let fault = read_tls(&files).expect_err("the old key");
    assert_eq!(fault.part, crate::plan::TlsPart::Key(0));
    fs::write(path("a.key"), renewed.key).expect("written");
    assert!(first != read_tls(&files).expect("read"));
    fs::write(path("a.crt"), vec![b' '; 1 << 21]).expect("written");
    assert!(read_tls(&files).expect_err("too large").text.contains("larger than"));
}
