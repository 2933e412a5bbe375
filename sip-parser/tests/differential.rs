//! Messages that are sound, read by this crate and by `ezk-sip-types`: both have to read the same.
//!
//! Where the two differ on purpose, or the other is not to be followed, the messages are made so that the
//! difference does not show, or it is undone here:
//!
//! * it decodes escapes and takes quotes off when it reads; this crate leaves the bytes and decodes on
//!   demand ([`sip_parser::percent_decode`]): decoded here before comparing;
//! * it takes the escapes of what is no UTF-8 as an error, and prints `%25` as `%`: escapes are of other
//!   ASCII here;
//! * it ends a quoted string at an escaped quote, and takes no empty one: neither is among the messages;
//! * it trims quoted display names: done here;
//! * it reads an unknown method that begins with a known one as the known one: known methods only;
//! * it takes no white space before the colon of a header, around the parts of `SIP/2.0/UDP`, around the
//!   colon of sent-by, nor `#` in users, nor `@` and `=` in the values of header parameters.

mod support;

use bytes::Bytes;
use ezk_sip_types::header::typed::{CSeq, CallID, FromTo, MaxForwards, Routing, Via};
use ezk_sip_types::host::{Host as TheirHost, HostPort};
use ezk_sip_types::msg::{Line, MessageLine, PullParser};
use ezk_sip_types::parse::Parse;
use ezk_sip_types::uri::{NameAddr as TheirNameAddr, SipUri};
use ezk_sip_types::{Headers, Name};
use proptest::prelude::*;
use sip_parser::{
    HeaderLine, HeaderName, Host, Message, NameAddr, Params, Start, Uri, parse, percent_decode,
};
use support::{GivenNameAddr, GivenUri, GivenVia};

/// What both compare: a value as plain text.
fn plain(text: &[u8]) -> String {
    let inside = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    let mut buffer = [0; 256];
    String::from_utf8(percent_decode(inside, &mut buffer).to_vec()).expect("ASCII")
}

fn same_params<S>(ours: &Params<'_>, theirs: &ezk_sip_types::uri::params::Params<S>, skip: &str)
where
    S: ezk_sip_types::uri::params::ParamsSpec,
{
    let mut count = 0;
    for param in ours.iter().filter(|param| param.name != skip.as_bytes()) {
        let name = plain(param.name);
        let found = theirs.get(&name).unwrap_or_else(|| panic!("they have no {name}"));
        assert_eq!(param.value.map(plain).as_deref(), found.value.as_ref().map(|v| v.as_str()));
        count += 1;
    }
    // They do not tell how many they have, but print each with its semicolon.
    assert_eq!(theirs.to_string().matches(';').count(), count);
}

fn same_host(ours: Host<'_>, port: Option<u16>, theirs: &HostPort) {
    match (ours, &theirs.host) {
        (Host::Name(ours), TheirHost::Name(theirs)) => assert_eq!(ours, theirs.as_bytes()),
        (ours, _) => assert_eq!(ours.ip(), theirs.ip()),
    }
    assert_eq!(port, theirs.port);
}

fn same_uri(ours: &Uri<'_>, theirs: &SipUri) {
    assert_eq!(ours.scheme == sip_parser::Scheme::Sips, theirs.sips);
    // The user is told by printing alone; all that separates parts of a URI is escaped in it.
    let printed = format!("{theirs:?}");
    let (_, rest) = printed.split_once(':').expect("a scheme");
    let user = rest.split_once('@').map(|(user, _)| user.split_once(':').unwrap_or((user, "")));
    assert_eq!(ours.user().map(plain), user.map(|(user, _)| plain(user.as_bytes())));
    assert_eq!(ours.password().unwrap_or_default(), user.unwrap_or_default().1.as_bytes());
    same_host(ours.host().expect("a host"), ours.port(), &theirs.host_port);
    same_params(&ours.params(), &theirs.uri_params, "");
}

fn same_name_addr(ours: &NameAddr<'_>, theirs: &TheirNameAddr) {
    let display = theirs.name.as_ref().map(|name| name.as_str()).unwrap_or_default();
    let inside = ours.display().strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    assert_eq!(inside.unwrap_or(ours.display()).trim_ascii(), display.as_bytes());
    same_uri(&ours.uri, &theirs.uri);
}

#[derive(Clone, Debug)]
struct Given {
    method: &'static str,
    uri: GivenUri,
    vias: Vec<(GivenVia, bool)>,
    routes: Vec<(GivenNameAddr, bool)>,
    from: GivenNameAddr,
    to: GivenNameAddr,
    call_id: String,
    cseq: u32,
    max_forwards: u8,
    others: Vec<(String, String)>,
    compact: bool,
    fold: bool,
    body: String,
}

impl Given {
    fn text(&self) -> String {
        let name = |long: &'static str, short: &'static str| if self.compact { short } else { long };
        let separator = if self.fold { ":\r\n\t " } else { ": " };
        let mut text = format!("{} {} SIP/2.0", self.method, self.uri.text());
        let mut line = |name: &str, value: &str| text += &format!("\r\n{name}{separator}{value}");
        for (name, values) in [
            (
                name("Via", "v"),
                self.vias.iter().map(|(via, joined)| (via.text(), *joined)).collect::<Vec<_>>(),
            ),
            ("Route", self.routes.iter().map(|(route, joined)| (route.text(), *joined)).collect()),
        ] {
            let mut values = values.into_iter().peekable();
            while let Some((mut value, mut joined)) = values.next() {
                while joined && let Some((next, again)) = values.next() {
                    value += if self.fold { " ,\r\n " } else { ", " };
                    value += &next;
                    joined = again;
                }
                line(name, &value);
            }
        }
        line(name("From", "f"), &self.from.text());
        line(name("To", "t"), &self.to.text());
        line(name("Call-ID", "i"), &self.call_id);
        line("CSeq", &format!("{} {}", self.cseq, self.method));
        line("Max-Forwards", &self.max_forwards.to_string());
        for (name, value) in &self.others {
            line(&format!("X-{name}"), value);
        }
        line(name("Content-Length", "l"), &self.body.len().to_string());
        text + "\r\n\r\n" + &self.body
    }
}

fn given() -> impl Strategy<Value = Given> {
    let method =
        prop::sample::select(vec!["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "MESSAGE"]);
    let others = prop::collection::vec(("[A-Za-z0-9-]{1,10}", "[!-~]([ -~]{0,20}[!-~])?"), 0..4);
    let ids = ("[a-zA-Z0-9.-]{1,20}(@[a-z0-9.]{1,9})?", 0u32..1 << 31, any::<u8>());
    (
        (method, uri(), ids),
        prop::collection::vec((via(), any::<bool>()), 1..4),
        prop::collection::vec((name_addr(), any::<bool>()), 0..4),
        (name_addr(), name_addr(), others),
        (any::<bool>(), any::<bool>(), "[ -~\r\n]{0,40}"),
    )
        .prop_map(|((method, uri, ids), vias, routes, (from, to, others), (compact, fold, body))| {
            let (call_id, cseq, max_forwards) = ids;
            Given {
                method,
                uri,
                vias,
                routes,
                from,
                to,
                call_id,
                cseq,
                max_forwards,
                others,
                compact,
                fold,
                body,
            }
        })
}

fn no_escape(params: &mut [support::Pair]) {
    for (name, value) in params {
        *name = name.replace('%', "x");
        *value = value.take().map(|value| value.replace(['%', '\\'], "x")).filter(|value| value != "\"\"");
    }
}

fn uri() -> impl Strategy<Value = GivenUri> {
    support::uri(false).prop_map(|mut uri| {
        no_escape(&mut uri.params);
        // Escapes of ASCII alone.
        let ascii = |user: String| user.replace("%8", "%3").replace("%9", "%4").replace("%A", "%5");
        let ascii = |user| ascii(user).replace("%B", "%6").replace("%C", "%7").replace("%D", "%2");
        uri.user =
            uri.user.map(|user| ascii(user).replace("%E", "%3").replace("%F", "%4").replace("%25", "%24"));
        uri
    })
}

fn via() -> impl Strategy<Value = GivenVia> {
    support::via().prop_map(|via| GivenVia { branch: via.branch.replace('%', "x"), ..via })
}

fn name_addr() -> impl Strategy<Value = GivenNameAddr> {
    (support::name_addr(), uri()).prop_map(|(mut value, uri)| {
        no_escape(&mut value.params);
        value.tag = value.tag.map(|tag| tag.replace('%', "x"));
        value.display = value.display.replace(['\\', '%'], "");
        if value.display.matches('"').count() > 2 || value.display == "\"\"" {
            value.display.clear();
        }
        GivenNameAddr { uri, ..value }
    })
}

/// Header lines as they read them, and all of them in their container.
fn their_lines(text: &Bytes) -> (String, Vec<(Name, String)>, Headers) {
    let mut lines =
        PullParser::new(text, 0).map(|line| str::from_utf8(line.expect("a line")).expect("ASCII"));
    let first = lines.next().expect("a start line").to_string();
    let mut headers = Headers::new();
    let mut found = Vec::new();
    for line in lines {
        let (_, Line { name, value }) = Line::parse(text, line).expect("a header");
        found.push((name.clone(), value.trim().to_string()));
        headers.insert(name, value);
    }
    (first, found, headers)
}

fn same_headers(ours: &Message<'_>, theirs: &Headers) {
    let vias = theirs.get_named::<Vec<Via>>().expect("Vias");
    let our_vias = ours.values(HeaderName::Via).map(|value| value.expect("a value").text);
    assert_eq!(ours.values(HeaderName::Via).count(), vias.len());
    for (ours, theirs) in our_vias.zip(&vias) {
        let ours = sip_parser::Via::parse(ours).expect("a Via");
        assert_eq!(ours.transport(), theirs.transport.as_bytes());
        same_host(ours.host(), ours.port(), &theirs.sent_by);
        same_params(&ours.params(), &theirs.params, "");
    }
    let routes = theirs.try_get::<Vec<Routing>>(Name::ROUTE).map_or(Vec::new(), |r| r.expect("Routes"));
    assert_eq!(ours.values(HeaderName::Route).count(), routes.len());
    for (ours, theirs) in ours.values(HeaderName::Route).zip(&routes) {
        let ours = NameAddr::route(ours.expect("a value").text).expect("a Route");
        same_name_addr(&ours, &theirs.uri);
        same_params(&ours.params(), &theirs.params, "");
    }
    for (ours_name, name) in [(HeaderName::From, Name::FROM), (HeaderName::To, Name::TO)] {
        let theirs = theirs.get::<FromTo>(name).expect("a value");
        let ours = NameAddr::parse(ours.value(ours_name)).expect("a value");
        same_name_addr(&ours, &theirs.uri);
        assert_eq!(ours.tag().map(plain).as_deref(), theirs.tag.as_ref().map(|tag| tag.as_str()));
        same_params(&ours.params(), &theirs.params, "tag");
    }
    let cseq = theirs.get_named::<CSeq>().expect("a CSeq");
    let ours_cseq = sip_parser::CSeq::parse(ours.value(HeaderName::CSeq)).expect("a CSeq");
    assert_eq!(
        (ours_cseq.number, ours_cseq.to_string()),
        (cseq.cseq, format!("{} {}", cseq.cseq, cseq.method))
    );
    let call_id = theirs.get_named::<CallID>().expect("a Call-ID");
    assert_eq!(sip_parser::call_id(ours.value(HeaderName::CallId)), Ok(call_id.0.as_bytes()));
    let hops = theirs.get_named::<MaxForwards>().expect("Max-Forwards").0;
    assert_eq!(sip_parser::max_forwards(ours.value(HeaderName::MaxForwards)), Ok(hops));
}

proptest! {
    #![proptest_config(support::config(300))]

    #[test]
    fn both_read_the_same(given in given()) {
        let text = given.text();
        let mut lines = [HeaderLine::EMPTY; 64];
        let ours = parse(text.as_bytes(), &mut lines).expect("a message");
        prop_assert_eq!(ours.defect(), None, "{}", text);
        let Start::Request(start) = *ours.start() else { panic!("no request: {text}") };

        let theirs = Bytes::copy_from_slice(text.as_bytes());
        let (first, their_lines, headers) = their_lines(&theirs);
        let MessageLine::Request(request) = MessageLine::parse_str(&first).expect("a start line") else {
            panic!("no request: {text}")
        };
        prop_assert_eq!(ours.text(start.method).escape_ascii().to_string(), request.method.to_string());
        same_uri(&Uri::request(ours.text(start.uri)).expect("a URI"), &request.uri);

        prop_assert_eq!(ours.lines().len(), their_lines.len());
        for (ours_line, (name, value)) in ours.lines().iter().zip(&their_lines) {
            let key = str::from_utf8(ours.text(ours_line.key())).expect("ASCII");
            prop_assert_eq!(&Name::from(key), name);
            prop_assert_eq!(ours.text(ours_line.value), value.as_bytes());
        }
        same_headers(&ours, &headers);
        prop_assert_eq!(ours.text(ours.body()), given.body.as_bytes());
    }
}
