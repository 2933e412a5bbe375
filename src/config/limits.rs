//! `limit`, `[[peer]]` and `[overload]`: how much is let in.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

use super::diagnostic::Findings;
use super::network::network;
use super::read::{Entry, Section, Text};
use crate::limits::{PEER_NETWORKS, PEERS, PRIORITIES};
use crate::overload::{Limit, LimitId, Limits, Owner, Peer, Peers, Per, Policy, SourcePrefix};

/// So long new requests may wait where nothing else is said.
const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(15);

/// Fastest rate in requests a second, and largest burst.
const MOST: i64 = 1_000_000;

/// Reads `limit` of a listener, a peer or a route, and adds it.
pub(super) fn read(
    entry: Option<Entry<'_>>,
    owner: Owner,
    name: &str,
    limits: &mut Limits,
    findings: &mut Findings,
) -> Option<LimitId> {
    let mut section = entry?.section("`limit`", findings)?;
    let rate = section
        .need("rate", r#"10: so many requests a second"#, findings)
        .and_then(|entry| entry.number(1..MOST + 1, findings));
    let burst = section.take("burst").map(|entry| entry.number(1..MOST + 1, findings));
    let per = section.take("per").map(|entry| per(&entry, owner, findings));
    let status = section.take("status").map(|entry| entry.number(400..700, findings));
    section.finish(findings);
    let rate = rate?;
    let limit = Limit {
        owner,
        name: name.into(),
        rate: rate.try_into().ok()?,
        burst: burst.unwrap_or(Some(rate))?.try_into().ok()?,
        per: per.unwrap_or(Some(Per::Owner))?,
        status: status.unwrap_or(Some(503))?.try_into().ok()?,
    };
    limits.list.push(limit);
    Some(LimitId(limits.list.len() as u32 - 1))
}

fn per(entry: &Entry<'_>, owner: Owner, findings: &mut Findings) -> Option<Per> {
    let text = entry.text(findings)?;
    match text.text {
        "source" => Some(Per::Source),
        own if own == owner.as_str() => Some(Per::Owner),
        other => {
            let own = owner.as_str();
            findings.error(text.span, format!("`per` cannot be «{other}»"), format!(
                "write \"{own}\" for all requests together, \"source\" for each source (an IPv4 address, an IPv6 \
                 network of `source_prefix_v6` bits)"
            ));
            None
        }
    }
}

/// Reads `[[peer]]`; its networks are known by its name from here on.
pub(super) fn peers(entry: Option<Entry<'_>>, limits: &mut Limits, findings: &mut Findings) {
    let mut peers: Vec<Peer> = Vec::new();
    let mut taken: HashMap<IpNet, Box<str>> = HashMap::new();
    let sections = entry.map(|e| e.sections("[[peer]]", findings)).unwrap_or_default();
    if sections.len() > PEERS {
        findings.error(
            0..0,
            format!("more than {PEERS} peers"),
            "a peer may have several networks, and `per = \"source\"` counts each source alone",
        );
        return;
    }
    for mut section in sections {
        let name = section
            .need("name", r#""NAME": when = { peer = ["NAME"] } asks for it"#, findings)
            .and_then(|e| e.text(findings));
        let texts = section
            .need("networks", r#"["192.0.2.0/24"]: where its requests come from"#, findings)
            .map(|e| e.texts(findings))
            .unwrap_or_default();
        let limit = section.take("limit");
        let oc = section.take("oc").and_then(|entry| entry.boolean(findings)).unwrap_or(false);
        let Some(name) = name else {
            section.finish(findings);
            continue;
        };
        let networks: Vec<IpNet> =
            texts.iter().filter_map(|text| own_network(text, &name, &mut taken, findings)).collect();
        if peers.iter().any(|peer| *peer.name == *name.text) {
            findings.error(
                name.span.clone(),
                format!("there are two peers «{}»", name.text),
                "put their networks into one, or give one of them another name",
            );
        }
        let limit = read(limit, Owner::Peer, name.text, limits, findings);
        section.finish(findings);
        peers.push(Peer { name: name.text.into(), networks, limit, oc });
    }
    if taken.len() > PEER_NETWORKS {
        findings.error(
            0..0,
            format!("the peers have more than {PEER_NETWORKS} networks"),
            "name wider networks",
        );
        return;
    }
    limits.peers = Peers::new(peers);
}

/// A network that no other peer has.
fn own_network(
    text: &Text<'_>,
    name: &Text<'_>,
    taken: &mut HashMap<IpNet, Box<str>>,
    findings: &mut Findings,
) -> Option<IpNet> {
    let network = network(text, findings)?;
    if let Some(other) = taken.insert(network, name.text.into()) {
        findings.error(
            text.span.clone(),
            format!("{network} belongs to «{other}» already"),
            "a source belongs to the peer with the narrowest network",
        );
        return None;
    }
    Some(network)
}

/// The networks of the peer of this name.
pub(super) fn networks_of<'p>(peers: &'p Peers, name: &Text<'_>, findings: &mut Findings) -> &'p [IpNet] {
    if let Some(peer) = peers.list().iter().find(|peer| *peer.name == *name.text) {
        return &peer.networks;
    }
    let known: Vec<&str> = peers.list().iter().map(|peer| &*peer.name).collect();
    let hint = match known[..] {
        [] => "write [[peer]] with name and networks".to_owned(),
        _ => format!("peers are: {}", known.join(", ")),
    };
    findings.error(name.span.clone(), format!("there is no peer «{}»", name.text), hint);
    &[]
}

/// `[overload]`
pub(super) fn overload(entry: Option<Entry<'_>>, limits: Limits, findings: &mut Findings) -> Policy {
    let mut policy = Policy {
        limits,
        longest_wait_ns: Some(ns(DEFAULT_MAX_WAIT)),
        priorities: Vec::new(),
        emergency: Vec::new(),
        oc: false,
    };
    let Some(mut section) = entry.and_then(|e| e.section("[overload]", findings)) else { return policy };
    if let Some(entry) = section.take("max_wait") {
        policy.longest_wait_ns = max_wait(&entry, findings);
    }
    if let Some(bits) = section.take("source_prefix_v6").and_then(|entry| entry.number(1..129, findings)) {
        policy.limits.sources = SourcePrefix(u8::try_from(bits).unwrap_or(u8::MAX));
    }
    policy.priorities = words(&mut section, "priority", findings);
    policy.emergency = words(&mut section, "emergency", findings);
    policy.oc = section.take("oc").and_then(|entry| entry.boolean(findings)).unwrap_or(false);
    section.finish(findings);
    policy
}

fn max_wait(entry: &Entry<'_>, findings: &mut Findings) -> Option<u64> {
    if entry.is_text() && entry.text(findings)?.text == "off" {
        return None;
    }
    let bounds = Duration::from_millis(1)..=Duration::from_secs(4);
    entry.duration(bounds, findings).map(ns)
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Words that are compared without case.
fn words(section: &mut Section<'_>, key: &'static str, findings: &mut Findings) -> Vec<Box<str>> {
    let Some(entry) = section.take(key) else { return Vec::new() };
    let texts = entry.texts(findings);
    if texts.len() > PRIORITIES {
        findings.error(
            entry.span.clone(),
            format!("`{key}` names more than {PRIORITIES}"),
            "it is for the few that must get through",
        );
        return Vec::new();
    }
    let legal = |c: char| c.is_ascii_graphic() && !",;\"<>".contains(c);
    texts
        .into_iter()
        .filter_map(|text| {
            if !text.text.is_empty() && text.text.chars().all(legal) {
                return Some(text.text.to_ascii_lowercase().into());
            }
            let hint = match key {
                "priority" => "write a namespace or a value of Resource-Priority: \"esnet\", \"wps.0\"",
                _ => "write the user of the Request-URI: \"112\", \"911\"",
            };
            findings.error(text.span, format!("«{}» is none that a request could show", text.text), hint);
            None
        })
        .collect()
}
