//! Names of real certificates, and texts of certificates and keys that are none.

use rcgen::{DnType, GeneralSubtree, NameConstraints};

use super::*;

fn to(authority: &Authority, pair: &Pair, peer: &str) -> Result<(), Failure> {
    Line::new(&client(authority), peer, &server(pair)).talk().map_err(|(_, failure)| failure)
}

fn wrong(wanted: &str, found: &[&str]) -> Result<(), Failure> {
    let found = found.iter().map(|&name| name.to_owned()).collect();
    Err(Failure::WrongName { wanted: wanted.to_owned(), found })
}

#[test]
fn the_domain_has_to_be_in_the_certificate() {
    let authority = Authority::new("A");
    let pair = authority.issue(&["sip:example.com", "host.example.com"]);
    assert_eq!(to(&authority, &pair, "example.com"), Ok(()));
    assert_eq!(to(&authority, &pair, "host.example.com"), wrong("host.example.com", &["example.com"]));
    let pair = authority.issue(&["host.example.com", "*.example.org"]);
    assert_eq!(to(&authority, &pair, "Host.Example.com"), Ok(()));
    assert_eq!(
        to(&authority, &pair, "a.example.org"),
        wrong("a.example.org", &["host.example.com", "*.example.org"])
    );
    let pair = authority.issue(&["sip:192.0.2.1", "sip:[2001:db8::1]:5061"]);
    assert_eq!(to(&authority, &pair, "192.0.2.1"), Ok(()));
    assert_eq!(to(&authority, &pair, "2001:DB8:0::1"), Ok(()));
    assert_eq!(to(&authority, &pair, "192.0.2.2"), wrong("192.0.2.2", &["192.0.2.1", "2001:db8::1"]));
}

#[test]
fn a_common_name_is_no_way_around_constraints() {
    let root = Authority::new("A");
    let free = root.below("Free", |_| {});
    let bound = root.below("Bound", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example.org".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    assert_eq!(to(&root, &free.issue(&[]).chained(&free), "common.example.com"), Ok(()));
    let refused = to(&root, &bound.issue(&[]).chained(&bound), "common.example.com");
    assert_eq!(refused, wrong("common.example.com", &[]));
    assert_eq!(to(&root, &bound.issue(&["a.example.org"]).chained(&bound), "a.example.org"), Ok(()));
}

#[test]
fn certificates_tell_of_themselves() {
    let authority = Authority::new("A");
    let pair = authority.issue_with(&["sip:example.com"], |params| {
        crate::pki::in_years(2025, 2027)(params);
        params.distinguished_name.push(DnType::OrganizationName, "Example");
    });
    let credentials = pair.credentials();
    let certificate = credentials.certificate();
    assert_eq!((certificate.not_before, certificate.not_after), (1_735_689_600, 1_798_761_600));
    assert!(certificate.subject.contains("common.example.com") && certificate.subject.contains("Example"));
    assert!(certificate.issuer.contains("CN=A"), "{}", certificate.issuer);
    assert_eq!((credentials.not_after(), credentials.fault()), (1_798_761_600, None));
}

#[test]
fn what_cannot_be_used_is_told_apart() {
    let (authority, pair) = (Authority::new("A"), Authority::new("A").issue(&["a.example"]));
    let read =
        |certificate: &str, key: &str| Credentials::from_pem(certificate.as_bytes(), key.as_bytes()).err();
    let other = authority.issue(&["b.example"]);
    assert_eq!(read(&pair.certificate, &pair.key), None);
    assert_eq!(read(&pair.certificate, &other.key), Some(CredentialsError::Mismatch));
    assert_eq!(read("", &pair.key), Some(CredentialsError::NoCertificate));
    assert_eq!(read(&pair.key, &pair.key), Some(CredentialsError::NoCertificate));
    assert_eq!(read(&pair.certificate, &pair.certificate), Some(CredentialsError::NoKey));
    let encrypted = pair.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(read(&pair.certificate, &encrypted), Some(CredentialsError::NoKey));
    let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert_eq!(read(&pair.certificate, key), Some(CredentialsError::Key));
    let garbage = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(read(&(pair.certificate.clone() + garbage), &pair.key), Some(CredentialsError::Unreadable(2)));
    let cut = pair.certificate.replace("-----END CERTIFICATE-----", "");
    let told = |what: &str| format!("it ends before «END {what}», so it may have been cut off");
    assert_eq!(read(&cut, &pair.key), Some(CredentialsError::CertificatePem(told("CERTIFICATE"))));
    let cut = pair.key.replace("-----END PRIVATE KEY-----", "");
    assert_eq!(read(&pair.certificate, &cut), Some(CredentialsError::KeyPem(told("PRIVATE KEY"))));
    let secret = pair.key.lines().nth(1).expect("a line of the key");
    for spoilt in [
        pair.key.replace(secret, &format!("{secret}?")),
        pair.key.replace("KEY-----\n", &format!("KEY---{secret}\n")),
    ] {
        let error = read(&pair.certificate, &spoilt).expect("it is spoilt");
        assert!(error.is_about_the_key() && !error.to_string().contains(secret), "{error}");
    }
}

#[test]
fn a_chain_out_of_order_is_noticed() {
    let root = Authority::new("Root");
    let (first, second) = (root.below("First", |_| {}), root.below("Second", |_| {}));
    let pair = first.issue(&["a.example"]);
    assert_eq!(pair.clone().chained(&first).chained(&root).credentials().fault(), None);
    let ChainFault::Order { number, issuer, next } =
        pair.chained(&second).chained(&first).credentials().fault().expect("a fault");
    assert_eq!(number, 1);
    assert!(issuer.contains("CN=First") && next.contains("CN=Second"), "{issuer}, {next}");
}

#[test]
fn nothing_shows_the_key() {
    let pair = Authority::new("A").issue(&["a.example"]);
    let secret = pair.key.lines().nth(1).expect("a line of the key");
    let shown = format!("{:?} {:?}", pair.credentials(), server(&pair));
    assert!(shown.contains("a.example") && !shown.contains(secret));
    let der = format!("{:?}", pair.key.as_bytes());
    assert!(!shown.contains(&der[1..40]));
}

#[test]
fn files_of_authorities_have_some() {
    let read = |text: &str| Authorities::from_pem(text.as_bytes()).map(|authorities| authorities.count());
    let (a, b) = (Authority::new("A").pem(), Authority::new("B").pem());
    assert_eq!(read(&(a.clone() + &b)), Ok(2));
    assert_eq!(read("# nothing\n"), Err(AuthoritiesError::Empty));
    let garbage = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(read(&(a.clone() + garbage)), Err(AuthoritiesError::Unreadable(2)));
    let Err(AuthoritiesError::Pem(told)) = read(&a.replace("-----END", "----END")) else { panic!("no PEM") };
    assert!(told.contains("«END CERTIFICATE»"), "{told}");
}
