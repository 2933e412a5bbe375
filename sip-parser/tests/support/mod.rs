//! Valid values and messages, generated together with what they are made of.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// How a property is tested: with so many cases, or as many as PROPTEST_CASES asks for, from a seed that
/// PROPTEST_RNG_SEED repeats.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = asked("PROPTEST_RNG_SEED").unwrap_or_else(|| RandomState::new().hash_one(cases));
    // Shown where the test fails.
    println!("PROPTEST_RNG_SEED={seed} repeats this run");
    ProptestConfig {
        cases: asked("PROPTEST_CASES").map_or(cases, |cases| cases as u32),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A parameter: its name and perhaps its value.
pub type Pair = (String, Option<String>);

pub fn shown(params: &[Pair]) -> String {
    let value = |value: &Option<String>| value.as_ref().map(|v| format!("={v}")).unwrap_or_default();
    params.iter().map(|(name, v)| format!(";{name}{}", value(v))).collect()
}

#[derive(Clone, Debug)]
pub struct GivenUri {
    pub scheme: &'static str,
    pub user: Option<String>,
    pub password: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    pub params: Vec<Pair>,
    pub headers: Option<String>,
}

impl GivenUri {
    pub fn text(&self) -> String {
        let mut text = format!("{}:", self.scheme);
        if let Some(user) = &self.user {
            text += user;
            text += &self.password.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
            text += "@";
        }
        text += &self.host;
        text += &self.port.map(|port| format!(":{port}")).unwrap_or_default();
        text += &shown(&self.params);
        text + &self.headers.as_ref().map(|h| format!("?{h}")).unwrap_or_default()
    }
}

pub fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z][a-z0-9-]{0,6}[a-z0-9]){0,2}"
}

pub fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).to_string()),
        any::<[u8; 16]>().prop_map(|octets| format!("[{}]", Ipv6Addr::from(octets))),
        any::<[u16; 2]>().prop_map(|[a, b]| format!("[2001:db8::{a:x}:{b:x}]")),
    ]
}

fn port() -> impl Strategy<Value = Option<u16>> {
    prop::option::of(1..=u16::MAX)
}

/// Parameters with names that differ.
fn distinct(name: &'static str, value: &'static str) -> impl Strategy<Value = Vec<Pair>> {
    prop::collection::btree_map(name, prop::option::of(value), 0..4)
        .prop_map(|params| params.into_iter().collect())
}

pub fn uri(with_headers: bool) -> impl Strategy<Value = GivenUri> {
    let user = "(\\+?[0-9]{3,12}|[a-zA-Z0-9_.!~*'()&=+$,;?/-]{1,12}|([a-z]|%[0-9A-F]{2}){1,6})";
    let params = distinct("[a-z][a-z0-9-]{0,8}", "([a-zA-Z0-9_.!~*'()/:&+$-]|%[0-9A-F]{2}){1,8}");
    let headers = "[a-zA-Z-]{1,8}=([a-z0-9+$/:.]|%[0-9A-F]{2}){0,8}(&[a-z]{1,4}=[a-z]{0,4})?";
    let headers = prop::option::of(headers).prop_map(move |headers| headers.filter(|_| with_headers));
    let scheme = prop::sample::select(vec!["sip", "sips"]);
    let password = prop::option::weighted(0.2, "[a-z0-9&=+$,]{0,6}");
    (scheme, prop::option::of(user), password, host(), port(), params, headers).prop_map(
        |(scheme, user, password, host, port, params, headers)| {
            let password = password.filter(|_| user.is_some());
            GivenUri { scheme, user, password, host, port, params, headers }
        },
    )
}

/// Header parameters: values are tokens, hosts or quoted strings.
pub fn header_params() -> impl Strategy<Value = Vec<Pair>> {
    distinct("[a-zA-Z][a-z0-9_+.!%*`'~-]{0,8}", "([a-zA-Z0-9.!%*_+`'~-]{1,10}|\"[ -!#-\\[\\]-~]{0,8}\")")
}

#[derive(Clone, Debug)]
pub struct GivenVia {
    pub transport: String,
    pub host: String,
    pub port: Option<u16>,
    pub branch: String,
    pub rport: bool,
    pub received: Option<Ipv4Addr>,
}

impl GivenVia {
    pub fn text(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let received = self.received.map(|ip| format!(";received={ip}")).unwrap_or_default();
        let rport = if self.rport { ";rport" } else { "" };
        format!("SIP/2.0/{} {}{port};branch={}{rport}{received}", self.transport, self.host, self.branch)
    }
}

pub fn via() -> impl Strategy<Value = GivenVia> {
    let transport = prop::sample::select(vec!["UDP", "TCP", "TLS", "SCTP", "WS", "X-Y"]);
    let branch = "z9hG4bK[a-zA-Z0-9.!%*_+`'~-]{1,20}";
    let received = prop::option::of(any::<[u8; 4]>().prop_map(Ipv4Addr::from));
    (transport, host(), port(), branch, any::<bool>(), received).prop_map(
        |(transport, host, port, branch, rport, received)| GivenVia {
            transport: transport.into(),
            host,
            port,
            branch,
            rport,
            received,
        },
    )
}

/// A display name as written: nothing, tokens or a quoted string.
pub fn display() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-zA-Z]{1,8}( [a-zA-Z0-9.!%*_+`'~-]{1,8})?",
        "\"([ !#-\\[\\]-~]|\\\\[\"\\\\]){0,12}\""
    ]
}

#[derive(Clone, Debug)]
pub struct GivenNameAddr {
    pub display: String,
    pub uri: GivenUri,
    pub tag: Option<String>,
    pub params: Vec<Pair>,
}

impl GivenNameAddr {
    pub fn text(&self) -> String {
        let space = if self.display.is_empty() { "" } else { " " };
        let tag = self.tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        format!("{}{space}<{}>{tag}{}", self.display, self.uri.text(), shown(&self.params))
    }
}

pub fn name_addr() -> impl Strategy<Value = GivenNameAddr> {
    let tag = prop::option::of("[a-zA-Z0-9.!%*_+`'~-]{1,16}");
    (display(), uri(false), tag, header_params()).prop_map(|(display, uri, tag, mut params)| {
        params.retain(|(name, _)| !name.eq_ignore_ascii_case("tag"));
        GivenNameAddr { display, uri, tag, params }
    })
}
