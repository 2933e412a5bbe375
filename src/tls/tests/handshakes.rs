//! Who is let in, and what is said to whom is not.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::pki::in_years;

/// A clock that is set.
#[derive(Debug, Default)]
struct Moving(AtomicU64);

impl TimeProvider for Moving {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

/// How a connection to `peer` ends, where it does.
fn outcome(client: &Client, peer: &str, server: &Server) -> Result<(), (&'static str, Failure)> {
    Line::new(client, peer, server).talk()
}

#[test]
fn both_sides_talk() {
    let authority = Authority::new("A");
    let mut line =
        Line::new(&client(&authority), "sip.example.com", &server(&authority.issue(&["sip.example.com"])));
    assert_eq!(line.client.verified_peer(), None);
    assert_eq!(line.client.send(b"x", &mut Vec::new()), Err(NotSent::Handshaking));
    assert_eq!(line.client.end(), Err(Failure::Closed));
    line.talk().expect("they talk");
    assert_eq!(line.client.verified_peer(), Some(&name("SIP.example.com.")));
    assert_eq!(line.client.identities().to_string(), "sip.example.com");
    assert!(line.server.identities().is_empty());
    assert_eq!((line.client.version(), line.server.version()), (Some("TLSv1.3"), Some("TLSv1.3")));
    assert_eq!(line.client.end(), Ok(()));
}

#[test]
fn closing_says_so() {
    let authority = Authority::new("A");
    let mut line = Line::new(&client(&authority), "a.example", &server(&authority.issue(&["a.example"])));
    line.talk().expect("they talk");
    line.client.close(&mut line.to_server);
    assert_eq!(line.client.send(b"more", &mut line.to_server), Err(NotSent::Closed));
    line.carry(usize::MAX).expect("carried");
    assert_eq!(line.server.state(), State::PeerClosed);
    // Half of it is open still.
    line.server.send(b"last words", &mut line.to_client).expect("sent");
    line.carry(usize::MAX).expect("carried");
    assert!(line.at_client.ends_with(b"last words"));
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new("A");
    let with = |from, until| server(&authority.issue_with(&["a.example"], in_years(from, until)));
    let client = client(&authority);
    assert_eq!(outcome(&client, "a.example", &with(2025, 2027)), Ok(()));
    let failed = outcome(&client, "a.example", &with(2020, 2025));
    assert_eq!(failed, Err(("client", Failure::Expired { not_after: 1_735_689_600 })));
    let failed = outcome(&client, "a.example", &with(2027, 2028));
    assert_eq!(failed, Err(("client", Failure::NotYetValid { not_before: 1_798_761_600 })));
}

#[test]
fn an_unknown_authority_is_refused_and_the_other_side_hears_of_it() {
    let (ours, other) = (Authority::new("A"), Authority::new("B"));
    let mut line = Line::new(&client(&ours), "a.example", &server(&other.issue(&["a.example"])));
    assert_eq!(line.talk(), Err(("client", Failure::UnknownCa)));
    let heard = line.carry(usize::MAX);
    assert_eq!(heard, Err(("server", Failure::Refused("unknown_ca".to_owned()))));
}

#[test]
fn an_authority_between_has_to_be_sent() {
    let root = Authority::new("A");
    let between = root.below("Between", |_| {});
    let pair = between.issue(&["a.example"]);
    assert_eq!(outcome(&client(&root), "a.example", &server(&pair)), Err(("client", Failure::UnknownCa)));
    assert_eq!(outcome(&client(&root), "a.example", &server(&pair.chained(&between))), Ok(()));
}

#[test]
fn the_use_of_a_certificate_is_checked() {
    let authority = Authority::new("A");
    let only = |usage| move |params: &mut rcgen::CertificateParams| params.extended_key_usages = vec![usage];
    let pair = authority.issue_with(&["a.example"], only(rcgen::ExtendedKeyUsagePurpose::ClientAuth));
    assert_eq!(outcome(&client(&authority), "a.example", &server(&pair)), Err(("client", Failure::Purpose)));
}

#[test]
fn clients_are_asked_for_certificates_where_that_is_configured() {
    let (authority, other) = (Authority::new("A"), Authority::new("B"));
    let own = authority.issue(&["a.example"]).credentials();
    let with = |clients: &ClientCertificates| Server::new(&own, &[], clients, clock()).expect("a server");
    let (off, optional, required) = (
        with(&ClientCertificates::Off),
        with(&ClientCertificates::Optional(authority.trusted())),
        with(&ClientCertificates::Required(authority.trusted())),
    );
    let of = |issuer: &Authority| issuer.issue(&["sip:client.example", "x.example"]).credentials();
    let client =
        |own: Option<&Credentials>| Client::new(&authority.trusted(), own, clock()).expect("a client");
    let (nobody, known, stranger) = (client(None), client(Some(&of(&authority))), client(Some(&of(&other))));

    for server in [&off, &optional] {
        assert_eq!(outcome(&nobody, "a.example", server), Ok(()));
    }
    // TLS 1.3 clients take the handshake for done before the server has looked.
    let refused = outcome(&nobody, "a.example", &required);
    assert_eq!(refused, Err(("server", Failure::NoCertificate)));
    for server in [&optional, &required] {
        let mut line = Line::new(&known, "a.example", server);
        line.talk().expect("they talk");
        assert_eq!(line.server.identities().to_string(), "client.example");
        assert_eq!(outcome(&stranger, "a.example", server), Err(("server", Failure::UnknownCa)));
    }
    let mut line = Line::new(&known, "a.example", &off);
    line.talk().expect("they talk");
    assert!(line.server.identities().is_empty());
}

#[test]
fn clients_get_the_certificate_of_the_name_that_they_ask_for() {
    let authority = Authority::new("A");
    let pair = |names: &[&str]| authority.issue(names).credentials();
    let further = [pair(&["b.example"]), pair(&["sip:c.example", "*.wild.example"])];
    let server = Server::new(&pair(&["a.example", "192.0.2.1"]), &further, &ClientCertificates::Off, clock());
    let server = server.expect("a server");
    for (host, identity) in
        [("a.example", "a.example, 192.0.2.1"), ("b.example", "b.example"), ("C.example", "c.example")]
    {
        let mut line = Line::new(&client(&authority), host, &server);
        line.talk().expect("they talk");
        assert_eq!(line.client.identities().to_string(), identity);
    }
    // It gets the certificate, for which no SIP client takes a wildcard.
    let found = vec!["c.example".to_owned()];
    let wrong = Failure::WrongName { wanted: "x.wild.example".to_owned(), found };
    assert_eq!(outcome(&client(&authority), "x.wild.example", &server), Err(("client", wrong)));
    // None has this name, and it is the first one's turn.
    let found = vec!["a.example".to_owned(), "192.0.2.1".to_owned()];
    let wrong = Failure::WrongName { wanted: "nobody.example".to_owned(), found };
    assert_eq!(outcome(&client(&authority), "nobody.example", &server), Err(("client", wrong)));
}

#[test]
fn sessions_are_resumed_with_those_who_gave_them_out_only() {
    let authority = Authority::new("A");
    let pair = authority.issue_with(&["a.example"], in_years(2025, 2030));
    let (first, renewed) = (server(&pair), server(&pair));
    let client = client(&authority);
    let resumed = |client: &Client, server: &Server| {
        let mut line = Line::new(client, "a.example", server);
        line.talk().expect("they talk");
        assert_eq!(line.client.is_resumed(), line.server.is_resumed());
        assert_eq!(line.client.identities().to_string(), "a.example");
        line.client.is_resumed()
    };
    assert!(!resumed(&client, &first));
    assert!(resumed(&client, &first));
    assert!(!resumed(&client, &renewed), "other ticket keys");
    assert!(!resumed(&client.apart(), &first), "sessions of its own");
}

/// One that has shown a certificate once is asked for it each time: it may have run out meanwhile.
#[test]
fn a_client_that_is_asked_for_a_certificate_does_not_come_back_without_one() {
    let authority = Authority::new("A");
    let own = authority.issue(&["client.example"]).credentials();
    let pair = authority.issue(&["a.example"]).credentials();
    for clients in
        [ClientCertificates::Required(authority.trusted()), ClientCertificates::Optional(authority.trusted())]
    {
        let server = Server::new(&pair, &[], &clients, clock()).expect("a server");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = rustls::ClientConfig::builder_with_details(provider(), clock())
                .with_protocol_versions(&[version])
                .expect("versions")
                .with_root_certificates(Arc::clone(authority.trusted().store()))
                .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                    rustls::sign::CertifiedKey::clone(own.key()),
                )));
            let client = Client::of_config(config);
            for _ in 0..2 {
                let mut line = Line::new(&client, "a.example", &server);
                line.talk().expect("they talk");
                assert_eq!(
                    (line.server.is_resumed(), line.server.identities().to_string()),
                    (false, "client.example".into())
                );
            }
        }
    }
}

/// Until its certificate runs out a server is believed; from then on it has to show another one, whatever sessions it has given out.
#[test]
fn a_session_ends_with_the_certificate_that_it_began_with() {
    const HOUR: u64 = 3_600;
    let authority = Authority::new("A");
    let until = |after: u64| {
        move |params: &mut rcgen::CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2025, 1, 1);
            params.not_after = (std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW + after)).into();
        }
    };
    let between = authority.below("Between", until(HOUR));
    let direct = authority.issue_with(&["a.example"], until(HOUR));
    let chained = between.issue_with(&["a.example"], until(9 * HOUR)).chained(&between);
    for pair in [direct, chained] {
        let clock = Arc::new(Moving::default());
        let client = Client::new(&authority.trusted(), None, Arc::clone(&clock) as Clock).expect("a client");
        let server = server(&pair);
        let comes = |after: u64| {
            clock.0.store(NOW + after, Ordering::Relaxed);
            let mut line = Line::new(&client, "a.example", &server);
            line.talk().map(|()| line.client.is_resumed())
        };
        assert_eq!([comes(0), comes(HOUR / 2), comes(HOUR)], [Ok(false), Ok(true), Ok(true)]);
        let expired = Failure::Expired { not_after: NOW + HOUR };
        for _ in 0..3 {
            assert_eq!(comes(HOUR + 1), Err(("client", expired.clone())));
        }
    }
}

#[test]
fn both_versions_are_spoken_and_no_older_one() {
    let authority = Authority::new("A");
    let config = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        rustls::ClientConfig::builder_with_details(provider(), clock())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(std::sync::Arc::clone(authority.trusted().store()))
            .with_no_client_auth()
    };
    for (version, text) in [(&rustls::version::TLS12, "TLSv1.2"), (&rustls::version::TLS13, "TLSv1.3")] {
        let client = Client::of_config(config(&[version]));
        let mut line = Line::new(&client, "a.example", &server(&authority.issue(&["a.example"])));
        line.talk().expect("they talk");
        assert_eq!(line.server.version(), Some(text));
    }
}

/// A ClientHello that knows nothing newer than TLS 1.1, with these extensions.
fn hello_of_tls_1_1(extensions: &[u8]) -> Vec<u8> {
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0], extensions].concat();
    let hello = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, hello.len() as u8][..], &hello].concat()
}

#[test]
fn a_client_of_tls_1_1_is_told_so() {
    let server = server(&Authority::new("A").issue(&["a.example"]));
    let answer = |hello: &[u8]| {
        let mut out = Vec::new();
        let mut session = Session::accept(&server).expect("a server");
        (session.receive(hello, &mut Vec::new(), &mut out), out)
    };
    let (state, _) = answer(&hello_of_tls_1_1(&[]));
    assert_eq!(state, Err(Failure::Version));
    // With signature_algorithms (13), as clients send that were told to speak TLS 1.1.
    let (state, alert) = answer(&hello_of_tls_1_1(&[0, 8, 0, 13, 0, 4, 0, 2, 4, 3]));
    assert_eq!(state, Err(Failure::Version));
    assert_eq!((alert.first(), alert.get(5..7)), (Some(&21), Some(&[2, 70][..])), "protocol_version");
}

#[test]
fn what_is_no_tls_is_told_so() {
    let pair = Authority::new("A").issue(&["a.example"]);
    for text in ["OPTIONS sip:a SIP/2.0\r\n", "GET / HTTP/1.1\r\n\r\n", "\r\n\r\n", "\0"] {
        let mut session = Session::accept(&server(&pair)).expect("a server");
        let received = session.receive(text.as_bytes(), &mut Vec::new(), &mut Vec::new());
        assert_eq!(received, Err(Failure::NotTls), "{text:?}");
    }
}
