//! `[tcp]`: how many connections, how long, and how much waits on them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::Findings;
use super::plan::size;
use super::read::{Entry, Section};
use crate::limits::{STREAM_QUEUE_MOST_BYTES, STREAMS};
use crate::stream::StreamLimits;

/// Fewest connections of a core: what a few trunks have.
const FEWEST: i64 = 16;

/// Least that may wait on a connection: a message of the largest size, and another one.
const LEAST_QUEUE_BYTES: usize = 128 << 10;

const SECOND: Duration = Duration::from_secs(1);

/// Reads the section; what it does not say is the default.
pub(super) fn read(entry: Option<Entry<'_>>, findings: &mut Findings) -> StreamLimits {
    let mut limits = StreamLimits::default();
    let Some(mut section) = entry.and_then(|e| e.section("[tcp]", findings)) else { return limits };
    number(&mut section, "connections", FEWEST, &mut limits.connections, findings);
    limits.per_peer = limits.per_peer.min(limits.connections);
    number(&mut section, "per_peer", 1, &mut limits.per_peer, findings);
    for (key, bounds, ns) in [
        ("idle", 10 * SECOND..=24 * 3_600 * SECOND, &mut limits.idle_ns),
        ("connect", SECOND / 10..=30 * SECOND, &mut limits.connect_ns),
        ("header", SECOND..=60 * SECOND, &mut limits.header_ns),
        ("body", SECOND..=300 * SECOND, &mut limits.body_ns),
    ] {
        time(&mut section, key, bounds, ns, findings);
    }
    if let Some(entry) = section.take("queue") {
        let bounds = LEAST_QUEUE_BYTES..=STREAM_QUEUE_MOST_BYTES;
        limits.queue_bytes = size(&entry, bounds, findings).unwrap_or(limits.queue_bytes);
    }
    if limits.per_peer > limits.connections {
        let (all, peer) = (limits.connections, limits.per_peer);
        findings.warn(
            section.span.clone(),
            format!("`per_peer` ({peer}) is more than all `connections` ({all})"),
            "one peer could take all places of a core: make it smaller",
        );
    }
    section.finish(findings);
    limits
}

fn number(
    section: &mut Section<'_>,
    key: &'static str,
    least: i64,
    value: &mut usize,
    findings: &mut Findings,
) {
    let read = section.take(key).and_then(|entry| entry.number(least..STREAMS as i64 + 1, findings));
    *value = read.and_then(|read| read.try_into().ok()).unwrap_or(*value);
}

fn time(
    section: &mut Section<'_>,
    key: &'static str,
    bounds: RangeInclusive<Duration>,
    ns: &mut u64,
    findings: &mut Findings,
) {
    let read = section.take(key).and_then(|entry| entry.duration(bounds, findings));
    *ns = read.and_then(|read| read.as_nanos().try_into().ok()).unwrap_or(*ns);
}
