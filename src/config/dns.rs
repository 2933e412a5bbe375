//! `[dns]`: name servers, and how long what they say is kept.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::diagnostic::Findings;
use super::network::host_port;
use super::read::{Entry, Section, Text};
use crate::dns::Settings;
use crate::limits;
use crate::net::canonical;
use crate::plan::{Dns, Plan};

/// The port of a name server where none is written.
const PORT: u16 = 53;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// All names of a configuration are kept: none may be pushed out. `place`: where their number is written.
pub(super) fn hold_names(plan: &Plan, place: Range<usize>, findings: &mut Findings) {
    let (asked, kept) = (plan.questions().len(), plan.dns.keep.names);
    if asked > kept {
        let why = format!("routes and groups ask for {asked} names, and [dns] names keeps {kept}");
        findings.error(place, why, format!(
            "leave room for names of requests, too, {} at most; a name counts once for each port and transport",
            limits::DNS_NAMES
        ));
    }
}

/// The settings, and where the number of names stands.
pub(super) fn read(entry: Option<Entry<'_>>, findings: &mut Findings) -> (Dns, Range<usize>) {
    let mut dns = Dns::default();
    let Some(mut section) = entry.and_then(|e| e.section("[dns]", findings)) else { return (dns, 0..0) };
    let servers = section.take("servers").map(|e| e.texts(findings)).unwrap_or_default();
    dns.servers = servers.iter().filter_map(|text| server(text, findings)).collect();
    let span = section.span.clone();
    let mut time = |key, bounds, default, findings: &mut Findings| {
        let read = section.take(key).and_then(|e: Entry<'_>| e.duration(bounds, findings));
        read.unwrap_or(default)
    };
    let unset = Duration::ZERO;
    let timeout = time("timeout", SECOND / 10..=SECOND * 30, unset, findings);
    dns.timeout = Some(timeout).filter(|timeout| *timeout > unset);
    let keep = dns.keep;
    dns.keep = Settings {
        min_ttl: time("min_ttl", SECOND..=HOUR, keep.min_ttl, findings),
        max_ttl: time("max_ttl", SECOND..=DAY * 7, keep.max_ttl, findings),
        negative_ttl: time("negative_ttl", SECOND..=HOUR * 3, keep.negative_ttl, findings),
        stale: time("stale", unset..=DAY * 7, keep.stale, findings),
        ..keep
    };
    if dns.keep.min_ttl > dns.keep.max_ttl {
        findings.error(
            span,
            "`min_ttl` is longer than `max_ttl`",
            "an answer's own TTL counts where it lies between the two",
        );
    }
    let place = numbers(&mut section, &mut dns, findings);
    section.finish(findings);
    (dns, place)
}

fn numbers(section: &mut Section<'_>, dns: &mut Dns, findings: &mut Findings) -> Range<usize> {
    let mut place = section.span.clone();
    let mut number = |key, bounds: RangeInclusive<usize>, findings: &mut Findings| {
        let end = *bounds.end() as i64 + 1;
        let entry = section.take(key)?;
        if key == "names" {
            place = entry.span.clone();
        }
        let read = entry.number(*bounds.start() as i64..end, findings)?;
        usize::try_from(read).ok()
    };
    dns.attempts = number("attempts", 0..=10, findings);
    dns.keep.names = number("names", 16..=limits::DNS_NAMES, findings).unwrap_or(dns.keep.names);
    dns.queue = number("queue", 0..=limits::PARKED_FOR_NAMES, findings).unwrap_or(dns.queue);
    if let Some(per_second) = number("per_second", 1..=10_000, findings) {
        dns.per_second = per_second as u32;
    }
    place
}

fn server(text: &Text<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    if let Ok(ip) = text.text.parse::<IpAddr>() {
        return Some(SocketAddr::new(canonical(ip), PORT));
    }
    let place = host_port(text.text, text, findings)?;
    match place.host.parse::<IpAddr>() {
        Ok(ip) if place.scope.is_none() => Some(SocketAddr::new(canonical(ip), place.port.unwrap_or(PORT))),
        _ => {
            findings.error(
                text.span.clone(),
                format!("«{}» is not the address of a name server", text.text),
                "write an address, with a port if it is not 53: \"10.0.0.53\", \"[2001:db8::53]:5353\"",
            );
            None
        }
    }
}
