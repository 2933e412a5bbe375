use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn asked(text: &str, served: Served, zone: &str) -> (Vec<String>, Outcome) {
    let zone = Zone::new(zone);
    let (rounds, outcome) = walk(&question(text), served, |query| zone.ask(query));
    (rounds.into_iter().map(|round| round.join(", ")).collect(), outcome)
}

/// The next hops in the order of their ranks and, within one, of their names.
fn hops(outcome: &Outcome) -> Vec<String> {
    let found = outcome.resolution.as_ref().unwrap_or_else(|why| panic!("{}", why.label()));
    let hop = |t: &Target, ip: IpAddr| {
        format!("{} {}:{}", t.rank, t.transport, std::net::SocketAddr::new(ip, t.port))
    };
    found.targets.iter().flat_map(|t| t.addresses.iter().map(|ip| hop(t, *ip)).collect::<Vec<_>>()).collect()
}

fn why(outcome: &Outcome) -> Unresolved {
    *outcome.resolution.as_ref().unwrap_err()
}

/// The records of RFC 3263 §4.1.
const EXAMPLE: &str = r#"
    example.com NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp.example.com.
    example.com NAPTR 90 50 "s" "SIP+D2T" "" _sip._tcp.example.com.
    example.com NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp.example.com.
    _sip._tcp.example.com SRV 0 1 5060 server1.example.com.
    _sip._tcp.example.com SRV 0 2 5060 server2.example.com.
    _sip._udp.example.com SRV 0 1 5060 server3.example.com.
    server1.example.com A 192.0.2.1
    server2.example.com A 192.0.2.2
    server3.example.com A 192.0.2.3
"#;

/// RFC 3263 §4.1: "Since the client supports TCP and UDP, TCP will be used, targeted to a host determined by an SRV
/// lookup of _sip._tcp.example.com."
#[test]
fn the_example_of_rfc_3263_leads_to_tcp() {
    let both = udp().and(Transport::Tcp, Kind::A);
    let (rounds, outcome) = asked("example.com", both, EXAMPLE);
    assert_eq!(
        rounds,
        ["example.com NAPTR", "_sip._tcp.example.com SRV", "server1.example.com A, server2.example.com A"]
    );
    assert_eq!(hops(&outcome), ["0 tcp:192.0.2.1:5060", "0 tcp:192.0.2.2:5060"]);
    let weights: Vec<_> = outcome.resolution.unwrap().targets.iter().map(|t| t.weight).collect();
    assert_eq!(weights, [1, 2]);
}

#[test]
fn where_there_is_only_udp_it_leads_to_udp() {
    let (_, outcome) = asked("example.com", udp(), EXAMPLE);
    assert_eq!(hops(&outcome), ["0 udp:192.0.2.3:5060"]);
}

/// "a client resolving a SIPS URI MUST discard any services that do not contain "SIPS" as the protocol"
#[test]
fn sips_is_never_downgraded() {
    let all = udp().and(Transport::Tcp, Kind::A);
    assert_eq!(why(&asked("sips:example.com", all, EXAMPLE).1), Unresolved::NoTransport);
    for text in
        ["sips:example.com;udp", "sips:example.com:5061;udp", "sips:example.com:5061", "sips:example.com;tcp"]
    {
        assert_eq!(why(&asked(text, all, EXAMPLE).1), Unresolved::NoTransport, "{text}");
    }
    let tls = all.and(Transport::Tls, Kind::A);
    let zone = "_sips._tcp.example.com SRV 1 1 5071 a.example.com\na.example.com A 192.0.2.1";
    assert_eq!(hops(&asked("sips:example.com", tls, zone).1), ["0 tls:192.0.2.1:5071"]);
    assert_eq!(hops(&asked("sips:example.com;tcp", tls, zone).1), ["0 tls:192.0.2.1:5071"]);
}

#[test]
fn only_transports_without_a_listener_are_an_error_of_its_own() {
    let zone = r#"
        example.com NAPTR 50 50 "s" "SIP+D2T" "" _sip._tcp.example.com.
        example.com A 192.0.2.9
    "#;
    let (rounds, outcome) = asked("example.com", udp(), zone);
    assert_eq!((rounds.len(), why(&outcome)), (1, Unresolved::NoTransport));
    let (rounds, outcome) = asked("example.com;tcp", udp(), zone);
    assert_eq!((rounds.len(), why(&outcome)), (0, Unresolved::NoTransport), "nobody is asked");
}

/// §4.2: "a port is present in the URI, the client performs an A or AAAA record lookup of the domain name", with
/// RFC 7984 §3.1: of all families that it supports.
#[test]
fn a_port_asks_for_addresses_of_both_families_at_once() {
    let zone = "example.com A 192.0.2.1\nexample.com AAAA 2001:db8::1\n_sip._udp.example.com SRV 0 0 1 x.example.com";
    let (rounds, outcome) = asked("example.com:5070", udp(), zone);
    assert_eq!(rounds, ["example.com A, example.com AAAA"]);
    assert_eq!(hops(&outcome), ["0 udp:[2001:db8::1]:5070", "0 udp:192.0.2.1:5070"]);
}

/// RFC 7984 §3.1: "if such records may be returned by the client's DNS queries, such records MUST be ignored as
/// unusable and the supported addresses used".
#[test]
fn families_without_a_listener_are_not_asked_for() {
    let zone = "example.com A 192.0.2.1\nexample.com AAAA 2001:db8::1";
    let only_six = Served::default().and(Transport::Udp, Kind::Aaaa);
    let (rounds, outcome) = asked("example.com:5060", only_six, zone);
    assert_eq!(rounds, ["example.com AAAA"]);
    assert_eq!(hops(&outcome), ["0 udp:[2001:db8::1]:5060"]);
}

/// §4.2: "because a transport was specified explicitly, the client performs an SRV query for that specific transport".
#[test]
fn a_transport_skips_naptr() {
    let zone = r#"
        example.com NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.elsewhere.example.
        _sip._udp.example.com SRV 5 0 5062 a.example.com
        a.example.com AAAA 2001:db8::a
    "#;
    let (rounds, outcome) = asked("example.com;udp", udp(), zone);
    assert_eq!(rounds, ["_sip._udp.example.com SRV", "a.example.com A, a.example.com AAAA"]);
    assert_eq!(hops(&outcome), ["0 udp:[2001:db8::a]:5062"]);
}

/// §4.1: "If no NAPTR records are found, the client constructs SRV queries for those transport protocols it supports,
/// and does a query for each."
#[test]
fn without_naptr_srv_is_asked_for_each_transport() {
    let zone = "_sip._tcp.example.com SRV 0 0 5060 a.example.com\na.example.com A 192.0.2.1";
    let both = Served::default().and(Transport::Udp, Kind::A).and(Transport::Tcp, Kind::A);
    let (rounds, outcome) = asked("example.com", both, zone);
    assert_eq!(rounds[1], "_sip._udp.example.com SRV, _sip._tcp.example.com SRV");
    assert_eq!(hops(&outcome), ["0 tcp:192.0.2.1:5060"]);
}

/// NAPTR records of other applications (ENUM, RFC 6116) say nothing about SIP.
#[test]
fn naptr_records_of_others_are_as_good_as_none() {
    let zone = r#"
        example.com NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:x@example.com!" .
        example.com NAPTR 1 1 "a" "SIP+D2U" "" a.example.com.
        _sip._udp.example.com SRV 0 0 5060 a.example.com
        a.example.com A 192.0.2.1
    "#;
    assert_eq!(hops(&asked("example.com", udp(), zone).1), ["0 udp:192.0.2.1:5060"]);
}

/// §4.2: "If no SRV records were found, the client performs an A or AAAA record lookup of the domain name."
#[test]
fn without_srv_the_host_itself_is_asked_at_the_default_port() {
    let (rounds, outcome) = asked("example.com", udp(), "example.com A 192.0.2.1");
    assert_eq!(rounds, ["example.com NAPTR", "_sip._udp.example.com SRV", "example.com A, example.com AAAA"]);
    assert_eq!(hops(&outcome), ["0 udp:192.0.2.1:5060"]);
}

#[test]
fn of_several_naptr_records_the_lowest_order_counts_by_preference() {
    let zone = r#"
        example.com NAPTR 10 20 "S" "sip+d2u" "" _sip._udp.b.example.
        example.com NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.a.example.
        example.com NAPTR 20 1 "s" "SIP+D2U" "" _sip._udp.c.example.
        _sip._udp.a.example SRV 7 0 5060 a.example
        _sip._udp.b.example SRV 1 0 5060 b.example
        a.example A 192.0.2.1
        b.example A 192.0.2.2
    "#;
    let (rounds, outcome) = asked("example.com", udp(), zone);
    assert_eq!(rounds[1], "_sip._udp.a.example SRV, _sip._udp.b.example SRV");
    assert_eq!(hops(&outcome), ["0 udp:192.0.2.1:5060", "1 udp:192.0.2.2:5060"]);
}

/// RFC 7984 §4: "the destination addresses derived from sip-1.example.com and those derived from sip-2.example.com are
/// not interleaved".
#[test]
fn the_example_of_rfc_7984_is_not_interleaved() {
    let zone = "
        _sip._udp.example.com 300 SRV 10 1 5060 sip-1.example.com.
        _sip._udp.example.com 300 SRV 20 1 5060 sip-2.example.com.
        sip-1.example.com. 300 AAAA 2001:0db8:58:c02::face
        sip-1.example.com. 300 AAAA 2001:0db8:c:a06::2:cafe
        sip-1.example.com. 300 A 192.0.2.45
        sip-1.example.com. 300 A 203.0.113.109
        sip-2.example.com. 300 AAAA 2001:0db8:58:c02::dead
        sip-2.example.com. 300 A 192.0.2.75";
    let (_, outcome) = asked("example.com;udp", udp(), zone);
    assert_eq!(
        hops(&outcome),
        [
            "0 udp:[2001:db8:c:a06::2:cafe]:5060",
            "0 udp:[2001:db8:58:c02::face]:5060",
            "0 udp:192.0.2.45:5060",
            "0 udp:203.0.113.109:5060",
            "1 udp:[2001:db8:58:c02::dead]:5060",
            "1 udp:192.0.2.75:5060",
        ]
    );
}

/// RFC 6724 §2.1: a unique local address has a lower precedence than IPv4.
#[test]
fn addresses_stand_by_precedence_and_those_of_no_host_not_at_all() {
    let zone = "
        example.com A 192.0.2.1
        example.com A 0.0.0.0
        example.com A 255.255.255.255
        example.com A 224.0.0.1
        example.com AAAA fd00::1
        example.com AAAA 2001:db8::1
        example.com AAAA ::ffff:192.0.2.1
        example.com AAAA 2002:c000:201::1";
    let (_, outcome) = asked("example.com:5060", udp(), zone);
    let addresses: Vec<_> = outcome.resolution.unwrap().addresses().map(|ip| ip.to_string()).collect();
    assert_eq!(addresses, ["2001:db8::1", "192.0.2.1", "2002:c000:201::1", "fd00::1"]);
}

#[test]
fn names_that_lead_nowhere_say_why() {
    let nowhere = "
        there.example A 0.0.0.0
        _sip._udp.denied.example SRV 0 0 0 .
        denied.example A 192.0.2.1
        _sip._udp.hollow.example SRV 0 0 5060 gone.example";
    for (text, expected) in [
        ("absent.example", Unresolved::NoSuchName),
        ("absent.example:5060", Unresolved::NoSuchName),
        ("there.example:5060", Unresolved::NoAddress),
        ("denied.example", Unresolved::NoService),
        ("denied.example;udp", Unresolved::NoService),
        ("hollow.example;udp", Unresolved::NoAddress),
    ] {
        assert_eq!(why(&asked(text, udp(), nowhere).1), expected, "{text}");
    }
    let port = asked("denied.example:5060", udp(), nowhere).1;
    assert_eq!(hops(&port), ["0 udp:192.0.2.1:5060"], "a port asks no SRV");
}

/// What fails is not taken for absent: the next step would lead to another server than the zone names.
#[test]
fn a_failure_is_no_answer() {
    let zone = Zone::new(EXAMPLE);
    for failing in ["example.com NAPTR", "_sip._udp.example.com SRV", "server3.example.com A"] {
        let ask = |query: &Query| match query.to_string() == failing {
            true => Answer::Failed("SERVFAIL".into()),
            false => zone.ask(query),
        };
        let (_, outcome) = walk(&question("example.com"), udp(), ask);
        assert_eq!(why(&outcome), Unresolved::Failed, "{failing}");
    }
}

#[test]
fn one_family_or_one_server_that_fails_does_not_take_the_others_along() {
    let zone = Zone::new(
        "_sip._udp.example.com SRV 1 0 5060 a.example
         _sip._udp.example.com SRV 2 0 5060 b.example
         a.example A 192.0.2.1
         b.example A 192.0.2.2",
    );
    let ask = |query: &Query| match query.to_string().as_str() {
        "a.example A" | "a.example AAAA" | "b.example AAAA" => Answer::Failed("timeout".into()),
        _ => zone.ask(query),
    };
    let (_, outcome) = walk(&question("example.com;udp"), udp(), ask);
    assert_eq!(hops(&outcome), ["1 udp:192.0.2.2:5060"]);
    assert_eq!(outcome.ttl_s, crate::limits::DNS_FAILURE_S, "it is asked for again soon");
    assert!(outcome.partial && !walk(&question("example.com;udp"), udp(), |query| zone.ask(query)).1.partial);
}

#[test]
fn the_least_ttl_holds_for_all() {
    let zone = "
        _sip._udp.example.com 900 SRV 1 0 5060 a.example
        a.example 120 A 192.0.2.1
        a.example 40 AAAA 2001:db8::1";
    assert_eq!(asked("example.com;udp", udp(), zone).1.ttl_s, 40);
    let silent = |_: &Query| Answer::Nothing { exists: false, ttl_s: None };
    let (_, outcome) = walk(&question("example.com"), udp(), silent);
    assert_eq!(outcome.ttl_s, crate::limits::DNS_NEGATIVE_S);
}

#[test]
fn a_zone_cannot_have_us_ask_without_end() {
    let mut zone = String::new();
    for n in 0..500 {
        zone += &format!("example.com NAPTR 1 {n} \"s\" \"SIP+D2U\" \"\" _sip._udp.z{n}.example.\n");
        zone += &format!("_sip._udp.z0.example SRV {n} 0 5060 t{n}.example\n");
    }
    let (rounds, outcome) = asked("example.com", udp(), &zone);
    assert_eq!(rounds[1].matches(" SRV").count(), crate::limits::DNS_SERVICES);
    assert_eq!(rounds[2].matches(" A,").count(), crate::limits::DNS_TARGETS);
    assert_eq!(why(&outcome), Unresolved::NoAddress);
}

#[test]
fn host_names_are_read_as_dns_reads_them() {
    let name = HostName::new(b"Gw1.Example.COM.").unwrap();
    assert_eq!(name.as_str(), "gw1.example.com");
    let longest = [&[b'a'; 63][..]; 4].join(&b'.');
    assert!(HostName::new(&longest).is_none(), "255 bytes of text do not fit into 255 octets of a message");
    assert!(HostName::new(&longest[2..]).is_some());
    for bad in ["", ".", "a..b", "-x%.example", "a b", "gw\u{e4}.example", &"a".repeat(64)] {
        assert!(HostName::new(bad.as_bytes()).is_none(), "{bad:?}");
    }
}

/// What any name server may say to one query.
fn said() -> impl Strategy<Value = Answer> {
    let name = prop::sample::select(vec!["", "a.example", "b.example", "_sip._udp.b.example", "not a name"]);
    let naptr =
        (0..3u16, prop::sample::select(vec!["SIP+D2U", "SIP+D2T", "SIPS+D2T", "E2U+sip"]), name.clone());
    let naptr = naptr.prop_map(|(order, service, replacement)| Record::Naptr {
        order,
        preference: order,
        flags: "s".into(),
        service: service.into(),
        has_regexp: false,
        replacement: replacement.into(),
    });
    let srv = (0..3u16, 0..3u16, 0..3u16, name).prop_map(|(priority, weight, port, target)| Record::Srv {
        priority,
        weight,
        port,
        target: target.into(),
    });
    let address = any::<[u8; 4]>().prop_map(|ip| Record::Address(ip.into()));
    let records = prop::collection::vec(prop_oneof![naptr, srv, address], 1..80);
    prop_oneof![
        4 => (records, any::<u32>()).prop_map(|(records, ttl_s)| Answer::Records { records, ttl_s }),
        1 => (any::<bool>(), any::<Option<u32>>()).prop_map(|(exists, ttl_s)| Answer::Nothing { exists, ttl_s }),
        1 => Just(Answer::Failed("SERVFAIL".into())),
    ]
}

proptest! {
    /// Whatever is said, also records of a type that was not asked for, the procedure comes to an end within its
    /// bounds, and what it finds can be sent to.
    #[test]
    fn any_answers_lead_to_an_end(
        text in prop::sample::select(vec!["a.example", "a.example:5070", "a.example;udp", "a.example;ws", "sips:a.example"]),
        said in prop::collection::vec(said(), 4),
        seed in any::<u64>(),
    ) {
        let all = TRANSPORTS.iter().fold(udp(), |served, t| served.and(*t, Kind::A));
        for served in [udp(), all] {
            let (rounds, outcome) = walk(&question(text), served, |query| said[query.name.len() % 4].clone());
            prop_assert!(rounds.len() <= 4);
            if let Ok(found) = outcome.resolution {
                prop_assert!((1..=crate::limits::DNS_TARGETS).contains(&found.targets.len()));
                prop_assert!(found.targets.is_sorted_by_key(|target| target.rank));
                let hops: Vec<_> = found.ordered(seed).collect();
                prop_assert_eq!(hops.len(), found.addresses().count());
                prop_assert!(hops.iter().all(|hop| served.has(hop.transport) && hop.address.port() > 0));
            }
        }
    }
}

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
