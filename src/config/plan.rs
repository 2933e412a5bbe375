//! The sections of the file, put together.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml_edit::Table;

use super::diagnostic::Findings;
use super::read::{Entry, Section, Text};
use super::{Places, dns, groups, limits, listeners, rules, tcp, tls};
use crate::dns::HostName;
use crate::fib::Fib;
use crate::net::Transport;
use crate::overload::Limits;
use crate::plan::{EgressPolicy, Engine, EngineKind, Expansion, LargeUdp, NoListener, Plan, expand};
use crate::rules::Rule;

const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9060);

/// A shard does not collect messages for longer: SIP's own timers begin at half a second.
const LONGEST_COALESCE: Duration = Duration::from_millis(5);

/// A shard looks at the clock once a second: who looks for that long never sleeps.
const LONGEST_SPIN: Duration = Duration::from_secs(1);

/// What may be wanted.
const SOCKET_BUFFER: RangeInclusive<usize> = 65_536..=1 << 30;

/// Builds a Plan; `None` where findings say why not.
pub(super) fn build(
    root: &Table,
    origin: &str,
    folder: Option<&Path>,
    fib: &Fib,
    findings: &mut Findings,
) -> Option<(Plan, Places)> {
    let mut root = Section::new(root, "the file", 0..0);
    let engine = engine(root.take("engine"), findings);
    let domains = identity(root.take("identity"), findings);
    let (keys_file, keys_place) = keys(root.take("keys"), folder, findings);
    let (hosts, host_places) = hosts(root.take("hosts"), findings);
    let (dns, names_place) = dns::read(root.take("dns"), findings);
    let tls_names = tls::names(root.take("tls"), findings);
    let (admin, admin_place) = admin(root.take("admin"), findings);
    let streams = tcp::read(root.take("tcp"), findings);
    let mut limits = Limits::default();
    let (names, listener_places) =
        listeners::build(root.take("listener"), folder, fib, &mut limits, findings);
    let egress = egress(root.take("egress"), &names, findings);
    let groups = groups::build(root.take("group"), &names, findings);
    limits::peers(root.take("peer"), &mut limits, findings);
    let read = rules::build(root.take("route"), &names, &groups, &mut limits, findings);
    let groups = groups.finish(read.rules.iter().flat_map(Rule::targets), findings).into();
    let overload = limits::overload(root.take("overload"), limits, findings).into();
    root.finish(findings);
    let matcher = rules::compile(&read, findings)?.into();
    let (sections, rules, hosts) = (names.into_sections(), read.rules.into(), Arc::new(hosts));
    let Expansion { listeners, left_out } = expand(&sections, fib);
    let origin = origin.into();
    let plan = Plan {
        origin,
        engine,
        domains,
        keys_file,
        sections,
        listeners,
        left_out,
        egress,
        hosts,
        tls_names,
        groups,
        dns,
        rules,
        matcher,
        overload,
        streams,
        admin,
    };
    dns::hold_names(&plan, names_place, findings);
    let (listeners, devices) = listener_places.into_iter().map(|place| (place.bind, place.device)).unzip();
    let (rules, keys, admin, hosts) = (read.places, keys_place, admin_place, host_places);
    Some((plan, Places { listeners, devices, rules, keys, admin, hosts }))
}

fn engine(entry: Option<Entry<'_>>, findings: &mut Findings) -> Engine {
    let mut engine = Engine::default();
    let Some(mut section) = entry.and_then(|e| e.section("[engine]", findings)) else { return engine };
    if let Some(entry) = section.take("cores") {
        engine.cores = cores(&entry, findings);
    }
    if let Some(kind) = section.take("kind").and_then(|e| e.text(findings)) {
        match EngineKind::from_name(kind.text) {
            Some(found) if found.is_built() => engine.kind = found,
            Some(found) => {
                findings.error(
                    kind.span,
                    format!("the engine `{found}` is not in this build"),
                    "leave the key out, or build it: cargo build --release --features glommio",
                );
            }
            None => {
                let known = EngineKind::BUILT.iter().map(|kind| format!("\"{kind}\""));
                findings.error(
                    kind.span,
                    format!("there is no engine `{}`", kind.text),
                    format!("write {}", known.collect::<Vec<_>>().join(" or ")),
                );
            }
        }
    }
    if let Some(entry) = section.take("socket_buffer") {
        engine.socket_buffer_bytes =
            size(&entry, SOCKET_BUFFER, findings).unwrap_or(engine.socket_buffer_bytes);
    }
    if let Some(entry) = section.take("coalesce") {
        let found = entry.duration(Duration::ZERO..=LONGEST_COALESCE, findings);
        engine.waiting.coalesce = found.unwrap_or(engine.waiting.coalesce);
    }
    if let Some(entry) = section.take("spin") {
        let found = entry.duration(Duration::ZERO..=LONGEST_SPIN, findings);
        engine.waiting.spin = found.unwrap_or(engine.waiting.spin);
    }
    section.finish(findings);
    engine
}

fn cores(entry: &Entry<'_>, findings: &mut Findings) -> Vec<usize> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let mut cores = Vec::new();
    for entry in entry.values(findings) {
        if entry.is_text() {
            findings.error(entry.span, "`cores` holds numbers, not text", "write each core: cores = [0, 1]");
            continue;
        }
        let Some(core) = entry.number(0..4096, findings).and_then(|n| usize::try_from(n).ok()) else {
            continue;
        };
        if cores.contains(&core) {
            findings.error(
                entry.span,
                format!("core {core} is named twice"),
                "name each core once: a shard has one of its own",
            );
        } else if !allowed.contains(&core) {
            findings.error(
                entry.span,
                format!("core {core} is not one that this process may use"),
                format!("allowed are {allowed:?}; see taskset, cpusets and the container's limits"),
            );
        } else {
            cores.push(core);
        }
    }
    cores
}

/// A number of bytes, or text with a unit: `"4MiB"`.
pub(super) fn size(
    entry: &Entry<'_>,
    bounds: RangeInclusive<usize>,
    findings: &mut Findings,
) -> Option<usize> {
    if !entry.is_text() {
        let bounds = *bounds.start() as i64..*bounds.end() as i64 + 1;
        return entry.number(bounds, findings).and_then(|n| n.try_into().ok());
    }
    let text = entry.text(findings)?;
    let digits = text.text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.text[digits.len()..].trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = factor.and_then(|f: usize| digits.parse::<usize>().ok()?.checked_mul(f));
    let bytes = bytes.filter(|bytes| bounds.contains(bytes));
    if bytes.is_none() {
        let [least, most] = [bounds.start(), bounds.end()].map(|bytes| in_words(*bytes));
        findings.error(
            text.span,
            format!("«{}» is not a size from {least} to {most}", text.text),
            "write bytes, or a number with KiB, MiB or GiB: \"4MiB\"",
        );
    }
    bytes
}

fn in_words(bytes: usize) -> String {
    let (factor, unit) = [(30, "GiB"), (20, "MiB")]
        .into_iter()
        .find(|(factor, _)| bytes.is_multiple_of(1 << factor))
        .unwrap_or((10, "KiB"));
    format!("{} {unit}", bytes >> factor)
}

fn identity(entry: Option<Entry<'_>>, findings: &mut Findings) -> Vec<Box<str>> {
    let Some(mut section) = entry.and_then(|e| e.section("[identity]", findings)) else { return Vec::new() };
    let mut domains = Vec::new();
    for text in section.take("domains").map(|e| e.texts(findings)).unwrap_or_default() {
        domains.extend(host_name(&text, findings));
    }
    section.finish(findings);
    domains
}

/// A lower-case host name without port.
pub(super) fn host_name(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let name = text.text.trim_end_matches('.').to_ascii_lowercase();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.is_empty() && name.chars().all(legal) {
        return Some(name.into());
    }
    findings.error(
        text.span.clone(),
        format!("«{}» is not a host name", text.text),
        "a name only, without scheme and port: sip.example.net",
    );
    None
}

/// The key file, and where it is named.
fn keys(
    entry: Option<Entry<'_>>,
    folder: Option<&Path>,
    findings: &mut Findings,
) -> (Option<PathBuf>, Range<usize>) {
    let (mut file, mut place) = (PathBuf::from("viaduct.keys"), 0..0);
    if let Some(mut section) = entry.and_then(|e| e.section("[keys]", findings)) {
        if let Some(text) = section.take("file").and_then(|e| e.text(findings)) {
            file = PathBuf::from(text.text);
            place = text.span;
        }
        section.finish(findings);
    }
    (folder.map(|folder| folder.join(file)), place)
}

/// Names with their addresses, and where they stand.
type Hosts = (HashMap<Box<str>, Vec<IpAddr>>, HashMap<Box<str>, Range<usize>>);

fn hosts(entry: Option<Entry<'_>>, findings: &mut Findings) -> Hosts {
    let (mut hosts, mut places) = (HashMap::new(), HashMap::new());
    for (text, entry) in entry.map(|e| e.pairs(findings)).unwrap_or_default() {
        if host_name(&text, findings).is_none() {
            continue;
        }
        if let Some(name) = entry.dotted_key() {
            let message = format!("«{name}» is a name in quotes: without them, a dot makes a table");
            findings.error(text.span, message, format!("write \"{name}\" = [\"192.0.2.1\"]"));
            continue;
        }
        // As requests and routes ask for it.
        let Some(name) = HostName::new(text.text.as_bytes()) else {
            findings.error(
                text.span,
                format!("no request can ask for «{}»", text.text),
                "the parts between dots have 1 to 63 characters, and all of it 253 at most",
            );
            continue;
        };
        let name: Box<str> = name.as_str().into();
        if places.contains_key(&name) {
            findings.error(
                text.span,
                format!("«{}» stands in [hosts] already", text.text),
                "case and a dot at the end make no other name: write all addresses in one list",
            );
            continue;
        }
        places.insert(name.clone(), text.span);
        let addresses: Vec<IpAddr> = (entry.texts(findings).iter())
            .filter_map(|text| text.parse("an IP address", "write 192.0.2.1 or 2001:db8::1", findings))
            .map(crate::net::canonical)
            .collect();
        hosts.insert(name, addresses);
    }
    (hosts, places)
}

/// The admin address, and where it is named.
fn admin(entry: Option<Entry<'_>>, findings: &mut Findings) -> (Option<SocketAddr>, Range<usize>) {
    let Some(mut section) = entry.and_then(|e| e.section("[admin]", findings)) else {
        return (Some(DEFAULT_ADMIN), 0..0);
    };
    let text = section.take("listen").and_then(|e| e.text(findings));
    section.finish(findings);
    let place = text.as_ref().map_or(0..0, |text| text.span.clone());
    let address = match text {
        None => Some(DEFAULT_ADMIN),
        Some(text) if text.text == "off" => None,
        Some(text) => text.parse(
            "an address and port",
            "write \"127.0.0.1:9060\", \"[::1]:9060\" or another one, or \"off\"",
            findings,
        ),
    };
    (address, place)
}

fn egress(entry: Option<Entry<'_>>, names: &listeners::Names, findings: &mut Findings) -> EgressPolicy {
    let mut policy = EgressPolicy::default();
    let Some(mut section) = entry.and_then(|e| e.section("[egress]", findings)) else { return policy };
    let mut switch = |key, value: &mut bool, findings: &mut Findings| {
        if let Some(on) = section.take(key).and_then(|e| e.boolean(findings)) {
            *value = on;
        }
    };
    switch("auto", &mut policy.auto, findings);
    switch("nearest", &mut policy.nearest, findings);
    if let Some(text) = section.take("no_listener").and_then(|e| e.text(findings))
        && text.text != "reject"
    {
        let listener = names.find(&text, findings);
        policy.no_listener = listener.map_or(NoListener::Reject, NoListener::Use);
    }
    if let Some(text) = section.take("large_udp").and_then(|e| e.text(findings)) {
        match text.text {
            "udp" => policy.large_udp = LargeUdp::Udp,
            "tcp" => {
                policy.large_udp = LargeUdp::Tcp;
                has_streams(names, &text, findings);
            }
            other => {
                findings.error(
                    text.span,
                    format!("`large_udp` cannot be «{other}»"),
                    "write \"udp\" or \"tcp\"",
                );
            }
        }
    }
    if let Some(text) = section.take("record_route_tls").and_then(|e| e.text(findings)) {
        policy.record_route_tls = tls::record_route(&text, findings);
    }
    section.finish(findings);
    policy
}

/// Large requests need a listener that they can leave from.
fn has_streams(names: &listeners::Names, text: &Text<'_>, findings: &mut Findings) {
    if !names.sections().iter().any(|section| section.serves(Transport::Tcp)) {
        findings.warn(
            text.span.clone(),
            "large_udp = \"tcp\" changes nothing: no listener has TCP",
            "take tcp = false out of a [[listener]], or write \"udp\"",
        );
    }
}
