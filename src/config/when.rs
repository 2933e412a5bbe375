//! `when`: the conditions of a rule.

use std::ops::Range;

use super::diagnostic::Findings;
use super::limits;
use super::listeners::Names;
use super::network::network;
use super::plan::host_name;
use super::read::{Entry, Section, Text};
use super::set::header_name;
use crate::limits::NOT_DEPTH;
use crate::net::Transport;
use crate::overload::Peers;
use crate::rules::{Pattern, When, contradiction};

/// The places of a rule's patterns: which key, the pattern as written, and where it stands.
pub(super) type Written = Vec<(&'static str, Pattern, Range<usize>)>;

/// The conditions of a rule as far as they could be read.
pub(super) struct Conditions {
    /// Those that could be read.
    pub when: When,
    /// There is no error in them; else one may be missing, and the others would match more than is meant.
    pub is_sound: bool,
}

impl Conditions {
    /// If they are what the file means.
    pub fn sound(&self) -> Option<&When> {
        self.is_sound.then_some(&self.when)
    }
}

/// Keys of `when`, which some write beside it.
pub(super) const KEYS: [&str; 14] = [
    "method",
    "transport",
    "listener",
    "source",
    "peer",
    "ruri_prefix",
    "ruri_host",
    "from_host",
    "to_host",
    "ruri_user",
    "from_user",
    "to_user",
    "header",
    "not",
];

/// What conditions name.
pub(super) struct Reader<'a> {
    pub names: &'a Names,
    pub peers: &'a Peers,
}

impl Reader<'_> {
    /// `when = { … }`, or no condition.
    pub fn conditions(
        &self,
        entry: Option<Entry<'_>>,
        patterns: &mut Written,
        findings: &mut Findings,
    ) -> Conditions {
        let known = findings.list().len();
        let when = entry.map(|entry| self.when(&entry, 0, patterns, findings)).unwrap_or_default();
        Conditions { when, is_sound: !findings.has_errors_since(known) }
    }

    fn when(&self, entry: &Entry<'_>, depth: usize, patterns: &mut Written, findings: &mut Findings) -> When {
        let Some(mut section) = entry.section("`when`", findings) else { return When::default() };
        let known = findings.list().len();
        let mut when = When::default();
        let mut texts = |key, findings: &mut Findings| -> Vec<Text<'_>> {
            section.take(key).map(|e| e.texts(findings)).unwrap_or_default()
        };
        when.method = texts("method", findings).iter().filter_map(|text| method(text, findings)).collect();
        when.transport = texts("transport", findings).iter().filter_map(|t| transport(t, findings)).collect();
        for text in texts("listener", findings) {
            when.listener.extend(self.names.find(&text, findings));
        }
        when.source = texts("source", findings).iter().filter_map(|text| network(text, findings)).collect();
        let peers = texts("peer", findings);
        if let (Some(peer), false) = (peers.first(), when.source.is_empty()) {
            let message =
                "`peer` stands for the sources of a [[peer]]: `source` and it contradict each other";
            findings.error(peer.span.clone(), message, "write one of them");
        }
        for peer in peers {
            when.source.extend(limits::networks_of(self.peers, &peer, findings));
        }
        when.ruri_prefix =
            texts("ruri_prefix", findings).iter().filter_map(|t| prefix(t, findings)).collect();
        when.ruri_host = texts("ruri_host", findings).iter().filter_map(|t| host(t, findings)).collect();
        when.from_host = texts("from_host", findings).iter().filter_map(|t| host(t, findings)).collect();
        when.to_host = texts("to_host", findings).iter().filter_map(|t| host(t, findings)).collect();
        let mut pattern = |key, findings: &mut Findings| {
            section.take(key).and_then(|e| e.text(findings)).map(|text| written(key, text, patterns))
        };
        when.ruri_user = pattern("ruri_user", findings);
        when.from_user = pattern("from_user", findings);
        when.to_user = pattern("to_user", findings);
        for (name, entry) in section.take("header").map(|e| e.pairs(findings)).unwrap_or_default() {
            let name = header_name(&name, findings);
            let pattern = entry.text(findings).map(|text| written("header", text, patterns));
            when.header.extend(name.zip(pattern).map(|(name, pattern)| (name.into(), pattern)));
        }
        when.not = section.take("not").and_then(|entry| self.not(&entry, depth, patterns, findings));
        // What has mistakes in it was not read as it was meant.
        if findings.list().len() == known {
            self.contradictions(&when, &mut section, findings);
        }
        section.finish(findings);
        when
    }

    /// A rule that can never match, whatever stands before it, is not what anybody meant.
    fn contradictions(&self, when: &When, section: &mut Section<'_>, findings: &mut Findings) {
        let listener = |id| {
            let section = self.names.section(id);
            (section.transport, section.bind.is_ipv4(), section.also())
        };
        if let Some(found) = contradiction(when, listener) {
            let place = section.take(found.key).map_or(section.span.clone(), |entry| entry.span);
            let message = format!("this can never match: {}", found.message);
            findings.error(place, message, found.hint).code("contradictory-rule");
        }
    }

    fn not(
        &self,
        entry: &Entry<'_>,
        depth: usize,
        patterns: &mut Written,
        findings: &mut Findings,
    ) -> Option<Box<When>> {
        if depth >= NOT_DEPTH {
            findings.error(
                entry.span.clone(),
                format!("`not` is nested deeper than {NOT_DEPTH} times"),
                "have a route before this one take what is meant by the innermost",
            );
            return None;
        }
        Some(Box::new(self.when(entry, depth + 1, patterns, findings)))
    }
}

/// A pattern, whose place is kept.
fn written(key: &'static str, text: Text<'_>, patterns: &mut Written) -> Pattern {
    let pattern = Pattern(text.text.into());
    patterns.push((key, pattern.clone(), text.span));
    pattern
}

/// Methods are compared with case (RFC 3261 §7.1).
fn method(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if text.text.is_empty() || !text.text.chars().all(legal) {
        findings.error(
            text.span.clone(),
            format!("«{}» is not a method", text.text),
            "write it as requests do: \"INVITE\", \"MESSAGE\"",
        );
        return None;
    }
    if matches!(text.text, "ACK" | "CANCEL") {
        findings.error(
            text.span.clone(),
            format!("{} cannot be asked for: it goes where its INVITE goes", text.text),
            "write \"INVITE\"; ACK and CANCEL count as INVITE",
        );
        return None;
    }
    if text.text.chars().any(|c| c.is_ascii_lowercase()) {
        findings.warn(
            text.span.clone(),
            format!("the method «{}» has lower-case letters", text.text),
            format!("methods are compared with case; did you mean {}?", text.text.to_ascii_uppercase()),
        );
    }
    Some(text.text.into())
}

pub(super) fn transport(text: &Text<'_>, findings: &mut Findings) -> Option<Transport> {
    let found = Transport::from_token(text.text.as_bytes());
    if found.is_none() {
        findings.error(
            text.span.clone(),
            format!("«{}» is not a transport", text.text),
            "transports are udp, tcp, tls, ws, wss",
        );
    }
    found
}

/// A number prefix; visual separators are not looked at (RFC 3966 §3).
fn prefix(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let plain: String = text.text.chars().filter(|c| !"-.() ".contains(*c)).collect();
    if plain.is_empty() {
        findings.error(
            text.span.clone(),
            "an empty prefix is a prefix of everything",
            "leave `ruri_prefix` out to match anything",
        );
        return None;
    }
    Some(plain.into())
}

/// A lower-case host name, or an address in its shortest form, without brackets.
fn host(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let bare = text.text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<std::net::IpAddr>() {
        return Some(ip.to_string().into());
    }
    host_name(text, findings)
}
