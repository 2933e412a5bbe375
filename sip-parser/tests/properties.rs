//! Values that are made of known parts are read as those parts, and print as what they were parsed from.

mod support;

use proptest::prelude::*;
use sip_parser::{CSeq, Host, NameAddr, Params, Rport, Scheme, Uri, Via};
use support::{GivenUri, Pair};

fn pairs(params: &Params<'_>) -> Vec<Pair> {
    let own = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    params.iter().map(|param| (own(param.name), param.value.map(own))).collect()
}

fn bytes(text: &Option<String>) -> Option<&[u8]> {
    text.as_ref().map(String::as_bytes)
}

fn check_uri(uri: &Uri<'_>, given: &GivenUri) {
    assert_eq!(uri.scheme, if given.scheme == "sip" { Scheme::Sip } else { Scheme::Sips });
    assert_eq!(uri.user(), bytes(&given.user));
    assert_eq!(uri.password(), bytes(&given.password));
    assert_eq!(uri.host_text(), given.host.as_bytes());
    assert_eq!(uri.port(), given.port);
    assert_eq!(pairs(&uri.params()), given.params);
    assert_eq!(uri.headers(), bytes(&given.headers));
    check_host(uri.host().expect("a host"), &given.host);
}

/// Against the standard library's reading.
fn check_host(host: Host<'_>, given: &str) {
    let ip = given.trim_start_matches('[').trim_end_matches(']').parse().ok();
    assert_eq!(host.ip(), ip);
    assert_eq!(matches!(host, Host::Name(name) if name == given.as_bytes()), ip.is_none());
}

proptest! {
    #![proptest_config(support::config(500))]

    #[test]
    fn uris_print_what_they_are(given in support::uri(true)) {
        let text = given.text();
        let uri = Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        check_uri(&uri, &given);
        // IPv6 addresses print in their shortest form; all else as it is written.
        let printed = uri.to_string();
        if !given.host.starts_with('[') {
            prop_assert_eq!(&printed, &text);
        }
        let again = Uri::parse(printed.as_bytes()).expect("what was printed");
        prop_assert_eq!(&again.to_string(), &printed);
        prop_assert_eq!((again.host(), again.user(), again.port()), (uri.host(), uri.user(), uri.port()));
        prop_assert_eq!(pairs(&again.params()), given.params);
        prop_assert_eq!(Uri::request(text.as_bytes()).is_ok(), given.headers.is_none());
    }

    #[test]
    fn vias_print_what_they_are(given in support::via()) {
        let text = given.text();
        let via = Via::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(via.transport(), given.transport.as_bytes());
        check_host(via.host(), &given.host);
        prop_assert_eq!(via.port(), given.port);
        prop_assert_eq!(via.branch(), Some(given.branch.as_bytes()));
        prop_assert_eq!(via.rport(), given.rport.then_some(Rport::Asked));
        prop_assert_eq!(via.received(), given.received.map(Into::into));
        let printed = via.to_string();
        let again = Via::parse(printed.as_bytes()).expect("what was printed");
        prop_assert_eq!(&again.to_string(), &printed);
        prop_assert_eq!(pairs(&again.params()), pairs(&via.params()));
    }

    #[test]
    fn name_addrs_print_what_they_are(given in support::name_addr()) {
        let text = given.text();
        let value = NameAddr::route(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(value.display(), given.display.as_bytes());
        check_uri(&value.uri, &given.uri);
        prop_assert_eq!(value.tag(), bytes(&given.tag));
        prop_assert_eq!(pairs(&value.params()).len(), given.params.len() + usize::from(given.tag.is_some()));
        let printed = value.to_string();
        let again = NameAddr::parse(printed.as_bytes()).expect("what was printed");
        prop_assert_eq!(&again.to_string(), &printed);
    }

    /// RFC 3261 §20: without angle brackets, the parameters are the header's.
    #[test]
    fn an_addr_spec_has_no_parameters_of_its_own(given in support::uri(false), tag in "[a-z0-9]{1,9}") {
        let user = given.user.filter(|user| !user.contains([';', ',', '?']));
        let params: Vec<_> = given.params.into_iter().filter(|(name, _)| name != "tag").collect();
        let bare = GivenUri { user, password: None, params: Vec::new(), ..given };
        // Of what a URI's parameters may hold, the header's may not.
        let shown = support::shown(&params).replace(['(', ')', '/', ':', '$', '&'], "x");
        let text = format!("{};tag={tag}{shown}", bare.text());
        let value = NameAddr::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        check_uri(&value.uri, &bare);
        prop_assert!(!value.bracketed && value.uri.params().text().is_empty());
        prop_assert_eq!(value.tag(), Some(tag.as_bytes()));
        prop_assert_eq!(pairs(&value.params()).len(), params.len() + 1);
    }

    #[test]
    fn cseqs_print_what_they_are(number in 0u32..1 << 31, method in "[A-Z]{1,9}") {
        let text = format!("{number} {method}");
        let cseq = CSeq::parse(text.as_bytes()).expect("a CSeq");
        prop_assert_eq!((cseq.number, cseq.method), (number, method.as_bytes()));
        prop_assert_eq!(cseq.to_string(), text);
    }

    /// Numbers between dots are an IPv4 address as the standard library reads it, or nothing.
    #[test]
    fn numbers_and_dots_are_an_address_or_refused(text in "(0|1|25|2)?[0-9]{1,2}(\\.[0-9]{1,3}){2,4}", rest in "(|:5060|;lr)") {
        let uri = format!("sip:{text}{rest}");
        let ip = Uri::parse(uri.as_bytes()).ok().map(|uri| uri.host().expect("a host").ip());
        prop_assert_eq!(ip, text.parse().ok().map(|ip: std::net::Ipv4Addr| Some(ip.into())));
    }

    /// Names that end in digits, numbers that are no addresses: never both, and never a panic.
    #[test]
    fn hosts_are_names_or_addresses(text in "[0-9a-f.:\\[\\]]{1,20}") {
        let uri = format!("sip:{text}");
        if let Ok(uri) = Uri::parse(uri.as_bytes()) {
            let host_text = str::from_utf8(uri.host_text()).expect("text");
            check_host(uri.host().expect("a host"), host_text);
        }
    }
}
