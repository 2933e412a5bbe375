use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use regex_automata::meta::Regex;

use super::*;
use crate::net::{SectionId, Transport};

mod at_scale;

/// What a test gives instead of a request.
#[derive(Clone, Debug)]
struct Sample {
    method: &'static str,
    transport: Transport,
    listener: u16,
    source: IpAddr,
    ruri_user: String,
    ruri_host: String,
    from_user: String,
    from_host: String,
    to_user: String,
    to_host: String,
    header: Vec<(&'static str, String)>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            method: "INVITE",
            transport: Transport::Udp,
            listener: 0,
            source: "192.0.2.1".parse().unwrap(),
            ruri_user: "bob".into(),
            ruri_host: "example.net".into(),
            from_user: "anna".into(),
            from_host: "example.org".into(),
            to_user: "bob".into(),
            to_host: "example.net".into(),
            header: Vec::new(),
        }
    }
}

fn first_match(rules: &[Rule], sample: &Sample) -> Option<usize> {
    let matcher = Matcher::compile(rules).unwrap();
    let mut scratch = matcher.scratch();
    // Twice, because the second time the working memory is used.
    let once = ask(&matcher, &mut scratch, sample);
    assert_eq!(once, ask(&matcher, &mut scratch, sample));
    once
}

fn ask(matcher: &Matcher, scratch: &mut Scratch, sample: &Sample) -> Option<usize> {
    let header = |header: &Header, take: &mut dyn FnMut(&[u8]) -> bool| {
        sample
            .header
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(&header.name))
            .any(|(_, v)| take(v.as_bytes()))
    };
    let facts = Facts {
        method: sample.method.as_bytes(),
        transport: sample.transport,
        listener: SectionId(sample.listener),
        source: sample.source,
        ruri_user: sample.ruri_user.as_bytes(),
        ruri_host: sample.ruri_host.as_bytes(),
        from_user: sample.from_user.as_bytes(),
        from_host: sample.from_host.as_bytes(),
        to_user: sample.to_user.as_bytes(),
        to_host: sample.to_host.as_bytes(),
        header: if sample.header.is_empty() { None } else { Some(&header) },
    };
    matcher.first_match(&facts, || facts, scratch).map(|id| id.0 as usize)
}

fn rules(whens: Vec<When>) -> Vec<Rule> {
    let rule = |(at, when)| Rule {
        id: RuleId(at as u32),
        name: format!("r{at}").into(),
        line: 1,
        when,
        action: Action::Reject(403),
        set: None,
    };
    whens.into_iter().enumerate().map(rule).collect()
}

fn pattern(text: &str) -> Option<Pattern> {
    Some(Pattern(text.into()))
}

#[test]
fn an_empty_condition_matches_everything_and_no_rule_matches_nothing() {
    assert_eq!(first_match(&rules(vec![When::default()]), &Sample::default()), Some(0));
    assert_eq!(first_match(&[], &Sample::default()), None);
}

#[test]
fn the_first_of_two_that_match_wins() {
    let when = When { method: vec!["INVITE".into()], ..When::default() };
    assert_eq!(first_match(&rules(vec![when, When::default()]), &Sample::default()), Some(0));
}

#[test]
fn a_number_is_found_by_pattern() {
    let rules = rules(vec![When { ruri_user: pattern(r"^\*33[0-9]+$"), ..When::default() }]);
    let with = |user: &str| first_match(&rules, &Sample { ruri_user: user.into(), ..Sample::default() });
    assert_eq!(with("*33123"), Some(0));
    assert_eq!(with("*33"), None);
    assert_eq!(with("0*33123"), None);
}

#[test]
fn a_prefix_sees_through_visual_separators() {
    let rules = rules(vec![
        When { ruri_prefix: vec!["4989".into()], ..When::default() },
        When { ruri_prefix: vec!["49".into(), "33".into()], ..When::default() },
    ]);
    let with = |user: &str| first_match(&rules, &Sample { ruri_user: user.into(), ..Sample::default() });
    assert_eq!(with("4989123"), Some(0));
    assert_eq!(with("49-(8)9 123"), Some(0));
    assert_eq!(with("4930"), Some(1));
    assert_eq!(with("3-3"), Some(1));
    assert_eq!(with("4"), None);
}

#[test]
fn a_narrow_network_satisfies_the_wide_ones_rules_too() {
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let rules = rules(vec![
        When { source: vec![net("10.1.0.0/16")], ruri_host: vec!["only.example".into()], ..When::default() },
        When { source: vec![net("10.0.0.0/8"), net("fd00::/8")], ..When::default() },
    ]);
    let from = |ip: &str| first_match(&rules, &Sample { source: ip.parse().unwrap(), ..Sample::default() });
    assert_eq!(from("10.1.2.3"), Some(1));
    assert_eq!(from("10.2.2.3"), Some(1));
    assert_eq!(from("fd12::1"), Some(1));
    assert_eq!(from("11.0.0.1"), None);
}

#[test]
fn hosts_are_compared_without_case_and_brackets() {
    let rules =
        rules(vec![When { ruri_host: vec!["2001:db8::1".into(), "a.example".into()], ..When::default() }]);
    let to = |host: &str| first_match(&rules, &Sample { ruri_host: host.into(), ..Sample::default() });
    assert_eq!(to("[2001:DB8::1]"), Some(0));
    assert_eq!(to("A.Example."), Some(0));
    assert_eq!(to("b.example"), None);
}

#[test]
fn any_of_a_headers_values_may_match() {
    let when = When { header: vec![("X-Trunk".into(), Pattern("^b".into()))], ..When::default() };
    let rules = rules(vec![when]);
    let header = vec![("x-trunk", "a".to_owned()), ("X-Trunk", "blue".to_owned())];
    assert_eq!(first_match(&rules, &Sample { header, ..Sample::default() }), Some(0));
    assert_eq!(first_match(&rules, &Sample::default()), None);
    assert_eq!(*Matcher::compile(&rules).unwrap().headers_read(), [Header::new("X-Trunk")]);
}

#[test]
fn any_number_of_headers_may_be_read() {
    // More than the gate before the tree has bits for.
    let name = |n: usize| -> &'static str { format!("X-{n}").leak() };
    let when = |n| When { header: vec![(name(n).into(), Pattern("^b$".into()))], ..When::default() };
    let rules = rules((0..80).map(when).collect());
    for n in [0, 62, 63, 64, 65, 79] {
        let with = |value: &str| Sample { header: vec![(name(n), value.into())], ..Sample::default() };
        assert_eq!((first_match(&rules, &with("b")), first_match(&rules, &with("a"))), (Some(n), None));
    }
}

#[test]
fn a_not_inverts_and_nests() {
    let inner = When { ruri_user: pattern("^bob$"), ..When::default() };
    let not = When { method: vec!["INVITE".into()], not: Some(Box::new(inner)), ..When::default() };
    let rules = rules(vec![When { not: Some(Box::new(not)), ..When::default() }]);
    assert_eq!(first_match(&rules, &Sample::default()), Some(0));
    let carol = Sample { ruri_user: "carol".into(), ..Sample::default() };
    assert_eq!(first_match(&rules, &carol), None);
    assert_eq!(first_match(&rules, &Sample { method: "BYE", ..carol }), Some(0));
}

#[test]
fn a_bad_pattern_names_its_rule_and_key() {
    let rules = rules(vec![When::default(), When { from_user: pattern("(["), ..When::default() }]);
    let error = Matcher::compile(&rules).err().unwrap();
    assert_eq!((error.rule, error.key, &*error.pattern), (RuleId(1), "from_user", "(["));
    assert!(error.message.contains("unclosed"), "{}", error.message);
}

#[test]
fn a_pattern_that_would_take_all_memory_is_refused() {
    let rules =
        rules(vec![When { to_user: pattern("((((a{1,90}){1,90}){1,90}){1,90})"), ..When::default() }]);
    assert!(Matcher::compile(&rules).is_err());
}

#[test]
fn a_rule_behind_a_wider_one_is_shadowed() {
    let method = |names: &[&str]| names.iter().map(|&n| n.into()).collect::<Vec<Box<str>>>();
    let rules = rules(vec![
        When { method: method(&["INVITE", "BYE"]), ..When::default() },
        When { method: method(&["BYE"]), ruri_user: pattern("x"), ..When::default() },
        When { method: method(&["OPTIONS"]), ..When::default() },
        When::default(),
        When { ruri_prefix: vec!["49".into()], ..When::default() },
    ]);
    assert_eq!(shadowed(&rules), [(RuleId(1), RuleId(0)), (RuleId(4), RuleId(3))]);
}

/// The conditions, written down once more in the plainest way.
fn naive(when: &When, sample: &Sample) -> bool {
    let any = |list: &[Box<str>], is: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|x| is(x));
    let found = |pattern: &Option<Pattern>, text: &str| pattern.as_ref().is_none_or(|p| is_found(p, text));
    let digits: String = sample.ruri_user.chars().filter(|c| !"-.() ".contains(*c)).collect();
    let is_host = |known: &str, host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.trim_end_matches('.').to_lowercase() == known
    };
    any(&when.method, &|m| m == sample.method)
        && (when.transport.is_empty() || when.transport.contains(&sample.transport))
        && (when.listener.is_empty() || when.listener.contains(&SectionId(sample.listener)))
        && (when.source.is_empty() || when.source.iter().any(|net| net.contains(&sample.source)))
        && any(&when.ruri_prefix, &|p| digits.starts_with(p))
        && any(&when.ruri_host, &|h| is_host(h, &sample.ruri_host))
        && any(&when.from_host, &|h| is_host(h, &sample.from_host))
        && any(&when.to_host, &|h| is_host(h, &sample.to_host))
        && found(&when.ruri_user, &sample.ruri_user)
        && found(&when.from_user, &sample.from_user)
        && found(&when.to_user, &sample.to_user)
        && when.header.iter().all(|(name, p)| {
            let values = sample.header.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            values.into_iter().any(|(_, v)| is_found(p, v))
        })
        && !when.not.as_ref().is_some_and(|not| naive(not, sample))
}

/// Each pattern by an engine of its own, made once.
fn is_found(pattern: &Pattern, text: &str) -> bool {
    thread_local! {
        static ENGINES: RefCell<HashMap<Pattern, Regex>> = RefCell::default();
    }
    ENGINES.with_borrow_mut(|engines| {
        let engine = engines.entry(pattern.clone()).or_insert_with(|| Regex::new(&pattern.0).unwrap());
        engine.is_match(text)
    })
}

fn some<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    let most = values.len().min(2);
    prop_oneof![3 => Just(Vec::new()), 1 => proptest::sample::subsequence(values, 1..=most)]
}

fn boxes(values: &[&str]) -> Vec<Box<str>> {
    values.iter().map(|&v| v.into()).collect()
}

fn one_pattern() -> impl Strategy<Value = Option<Pattern>> {
    let patterns = ["^1", "2$", "^[0-9]+$", "a|b", ""].map(|p| Pattern(p.into())).to_vec();
    prop_oneof![4 => Just(None), 1 => proptest::sample::select(patterns).prop_map(Some)]
}

fn a_when(depth: u32) -> BoxedStrategy<When> {
    let nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "fd00::/8"].map(|n| n.parse().unwrap()).to_vec();
    let header = prop_oneof![
        3 => Just(Vec::new()),
        1 => one_pattern().prop_map(|p| p.map(|p| vec![("x-a".into(), p)]).unwrap_or_default())
    ];
    let not = if depth == 0 {
        Just(None).boxed()
    } else {
        prop_oneof![3 => Just(None), 1 => a_when(depth - 1).prop_map(|w| Some(Box::new(w)))].boxed()
    };
    let lists = (
        some(boxes(&["INVITE", "BYE", "OPTIONS"])),
        some(vec![Transport::Udp, Transport::Tcp]),
        some(vec![SectionId(0), SectionId(1), SectionId(2)]),
        some(nets),
        some(boxes(&["1", "12", "123", "2"])),
        some(boxes(&["a.example", "b.example"])),
        some(boxes(&["a.example", "c.example"])),
    );
    (lists, one_pattern(), one_pattern(), header, not)
        .prop_map(|(lists, ruri_user, from_user, header, not)| {
            let (method, transport, listener, source, ruri_prefix, ruri_host, from_host) = lists;
            When {
                method,
                transport,
                listener,
                source,
                ruri_user,
                ruri_prefix,
                ruri_host,
                from_user,
                from_host,
                header,
                not,
                ..When::default()
            }
        })
        .boxed()
}

fn a_sample() -> impl Strategy<Value = Sample> {
    let ip =
        proptest::sample::select(vec!["10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "fd00::1", "2001::1"]);
    let host = || {
        let hosts = vec!["a.example", "B.EXAMPLE", "c.example.", "d.example"];
        proptest::sample::select(hosts).prop_map(String::from)
    };
    (
        proptest::sample::select(vec!["INVITE", "BYE", "OPTIONS", "INFO"]),
        proptest::sample::select(vec![Transport::Udp, Transport::Tcp]),
        0u16..4,
        ip,
        "[12ab-]{0,4}",
        host(),
        "[12ab]{0,3}",
        host(),
        proptest::collection::vec("[12ab]{0,3}", 0..3),
    )
        .prop_map(
            |(method, transport, listener, ip, ruri_user, ruri_host, from_user, from_host, values)| Sample {
                method,
                transport,
                listener,
                source: ip.parse().unwrap(),
                ruri_user,
                ruri_host,
                from_user,
                from_host,
                to_user: "bob".into(),
                to_host: "example.net".into(),
                header: values.into_iter().map(|v| ("X-A", v)).collect(),
            },
        )
}

proptest! {
    #[test]
    fn the_compiled_rules_agree_with_the_plain_reading(
        whens in proptest::collection::vec(a_when(2), 0..90),
        samples in proptest::collection::vec(a_sample(), 1..12),
    ) {
        let rules = rules(whens);
        let matcher = Matcher::compile(&rules).unwrap();
        let mut scratch = matcher.scratch();
        for sample in &samples {
            let plain = rules.iter().position(|rule| naive(&rule.when, sample));
            prop_assert_eq!(ask(&matcher, &mut scratch, sample), plain, "{:?}", sample);
        }
    }

    #[test]
    fn a_rule_called_shadowed_never_matches(
        whens in proptest::collection::vec(a_when(1), 2..12),
        samples in proptest::collection::vec(a_sample(), 1..20),
    ) {
        let rules = rules(whens);
        let shadowed = shadowed(&rules);
        let matcher = Matcher::compile(&rules).unwrap();
        let mut scratch = matcher.scratch();
        for sample in &samples {
            let found = ask(&matcher, &mut scratch, sample);
            prop_assert!(!shadowed.iter().any(|(rule, _)| Some(rule.0 as usize) == found));
        }
    }
}
