//! The run in a few figures, from what was measured.

use std::collections::BTreeMap;

use super::model::{Interval, Latency, Load, Micro, Ratios, Sample};
use super::statistics::{median, paired};

/// What the figures are about.
pub const VIADUCT: &str = "viaduct";
/// The same with transactions.
pub const STATEFUL: &str = "viaduct-stateful";
/// The same over TCP, where there are always transactions.
pub const OVER_TCP: &str = "viaduct-tcp";
/// Likewise over TLS.
pub const OVER_TLS: &str = "viaduct-tls";
/// The floor: Viaduct's engine without SIP.
pub const FLOOR: &str = "null-uring";

/// All figures that these samples and pieces of code give; `None` where they give none.
pub fn ratios(samples: &[Sample], micro: &BTreeMap<String, Micro>) -> Ratios {
    let per_call = |peer| per_unit(samples, (VIADUCT, peer), Load::Calls, |sample| sample.calls);
    let stateful = |peer| per_unit(samples, (STATEFUL, peer), Load::Calls, |sample| sample.calls);
    let over_streams = |ours, peer, load| per_unit(samples, (ours, peer), load, |sample| sample.calls);
    let connections = |ours, peer, load| per_cpu(samples, (ours, peer), load, |sample| sample.calls);
    let instructions = |name: &str| micro.get(name).and_then(|piece| piece.instructions);
    let ns = |name: &str| micro.get(name).and_then(|piece| piece.ns);
    Ratios {
        cpu_per_message_vs_null: per_unit(samples, (VIADUCT, FLOOR), Load::Messages, |sample| {
            sample.delivered
        }),
        cpu_per_call_vs_kamailio: per_call("kamailio"),
        cpu_per_call_vs_kamailio_mhomed: per_call("kamailio-mhomed"),
        cpu_per_call_vs_opensips: per_call("opensips"),
        cpu_per_call_vs_opensips_mhomed: per_call("opensips-mhomed"),
        cpu_per_stateful_call_vs_stateless: stateful(VIADUCT),
        cpu_per_stateful_call_vs_kamailio_mhomed: stateful("kamailio-stateful"),
        cpu_per_stateful_call_vs_opensips_mhomed: stateful("opensips-stateful"),
        cpu_per_call_tcp_vs_kamailio: over_streams(OVER_TCP, "kamailio-tcp", Load::TcpCalls),
        cpu_per_call_tcp_vs_kamailio_stateless: over_streams(
            OVER_TCP,
            "kamailio-tcp-stateless",
            Load::TcpCalls,
        ),
        cpu_per_call_tls_vs_kamailio: over_streams(OVER_TLS, "kamailio-tls", Load::TlsCalls),
        tcp_connections_per_cpu_second_vs_kamailio: connections(
            OVER_TCP,
            "kamailio-tcp",
            Load::TcpConnections,
        ),
        tls_connections_per_cpu_second_vs_kamailio: connections(
            OVER_TLS,
            "kamailio-tls",
            Load::TlsConnections,
        ),
        own_work_instructions: instructions("pipeline"),
        own_work_ns: ns("pipeline"),
        full_tables_extra_ns: ns("full_tables_extra_zipf"),
        fib_lookup_zipf_ns: ns("fib_lookup_zipf_1200000"),
        fib_lookup_random_ns: ns("fib_lookup_random_1200000"),
        added_latency_p50_us: added_us(samples, |latency| latency.p50_ns),
        added_latency_p999_us: added_us(samples, |latency| latency.p999_ns),
        syscalls_per_message: syscalls(samples),
        overload_goodput_lost: goodput_lost(samples),
        overload_setup_p99_ms: overload_setup_ms(samples),
    }
}

/// CPU for each message or call of the first subject, over the second's.
fn per_unit(
    samples: &[Sample],
    subjects: (&str, &str),
    load: Load,
    units: fn(&Sample) -> u64,
) -> Option<Interval> {
    let cost = |sample: &Sample| sample.cpu_ns as f64 / units(sample) as f64;
    paired(pairs(samples, subjects, load).into_iter().map(|(ours, theirs)| (cost(ours), cost(theirs))))
}

/// Messages, calls or connections in a second of CPU of the first subject, over the second's.
fn per_cpu(
    samples: &[Sample],
    subjects: (&str, &str),
    load: Load,
    units: fn(&Sample) -> u64,
) -> Option<Interval> {
    let rate = |sample: &Sample| units(sample) as f64 / sample.cpu_ns as f64;
    paired(pairs(samples, subjects, load).into_iter().map(|(ours, theirs)| (rate(ours), rate(theirs))))
}

/// Latency that forwarding adds to the floor's, in microseconds.
fn added_us(samples: &[Sample], percentile: fn(&Latency) -> u64) -> Option<f64> {
    let added = |(ours, floor): (&Sample, &Sample)| {
        let us = |sample: &Sample| sample.latency.as_ref().map(|latency| percentile(latency) as f64 / 1e3);
        Some(us(ours)? - us(floor)?)
    };
    median(pairs(samples, (VIADUCT, FLOOR), Load::Paced).into_iter().filter_map(added).collect())
}

fn syscalls(samples: &[Sample]) -> Option<f64> {
    let counted = samples.iter().filter(|s| s.subject == VIADUCT && s.load == Load::Saturation);
    let (calls, messages) = counted
        .filter_map(|sample| Some((sample.syscalls?, sample.delivered)))
        .fold((0, 0), |(calls, messages), (c, m)| (calls + c, messages + m));
    (messages > 0).then(|| calls as f64 / messages as f64)
}

/// The window at the peak and the one of the most calls offered.
fn overload(samples: &[Sample]) -> Option<(&Sample, &Sample)> {
    let those = || samples.iter().filter(|s| s.subject == VIADUCT && s.load == Load::Overload);
    let by_rate = |a: &&Sample, b: &&Sample| a.offered_per_second.total_cmp(&b.offered_per_second);
    those().min_by(by_rate).zip(those().max_by(by_rate))
}

fn goodput_lost(samples: &[Sample]) -> Option<f64> {
    let goodput = |sample: &Sample| (sample.calls - sample.failed) as f64 / sample.seconds;
    overload(samples).map(|(peak, over)| 1.0 - goodput(over) / goodput(peak))
}

fn overload_setup_ms(samples: &[Sample]) -> Option<f64> {
    Some(overload(samples)?.1.latency?.p99_ns as f64 / 1e6)
}

/// Windows of two subjects that are neighbours in time, at one rate: where there are several, the one with the most
/// pairs, of those the highest.
fn pairs<'a>(
    samples: &'a [Sample],
    (subject, peer): (&str, &str),
    load: Load,
) -> Vec<(&'a Sample, &'a Sample)> {
    let mut by_rate = BTreeMap::<u64, Vec<_>>::new();
    for ours in samples.iter().filter(|sample| sample.load == load && sample.subject == subject) {
        let rate = |sample: &Sample| sample.offered_per_second.round() as u64;
        let neighbour = samples.iter().find(|sample| {
            sample.load == load
                && sample.subject == peer
                && sample.round == ours.round
                && rate(sample) == rate(ours)
        });
        if let Some(theirs) = neighbour {
            by_rate.entry(rate(ours)).or_default().push((ours, theirs));
        }
    }
    by_rate.into_values().max_by_key(Vec::len).unwrap_or_default()
}

/// Of all other figures less is better.
const MORE_IS_BETTER: [&str; 2] =
    ["tcp_connections_per_cpu_second_vs_kamailio", "tls_connections_per_cpu_second_vs_kamailio"];

/// Of this figure more is better, not less.
pub fn more_is_better(figure: &str) -> bool {
    MORE_IS_BETTER.contains(&figure)
}

/// One of the flat figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The figure itself.
    pub value: f64,
    /// Where it is a median of pairs.
    pub interval: Option<Interval>,
}

/// The figures by name, in the order of [`Ratios`].
pub fn flat(ratios: &Ratios) -> Vec<(&'static str, Option<Figure>)> {
    let paired = |interval: Option<Interval>| {
        interval.map(|interval| Figure { value: interval.median, interval: Some(interval) })
    };
    let plain = |value: Option<f64>| value.map(|value| Figure { value, interval: None });
    vec![
        ("cpu_per_message_vs_null", paired(ratios.cpu_per_message_vs_null)),
        ("cpu_per_call_vs_kamailio", paired(ratios.cpu_per_call_vs_kamailio)),
        ("cpu_per_call_vs_kamailio_mhomed", paired(ratios.cpu_per_call_vs_kamailio_mhomed)),
        ("cpu_per_call_vs_opensips", paired(ratios.cpu_per_call_vs_opensips)),
        ("cpu_per_call_vs_opensips_mhomed", paired(ratios.cpu_per_call_vs_opensips_mhomed)),
        ("cpu_per_stateful_call_vs_stateless", paired(ratios.cpu_per_stateful_call_vs_stateless)),
        ("cpu_per_stateful_call_vs_kamailio_mhomed", paired(ratios.cpu_per_stateful_call_vs_kamailio_mhomed)),
        ("cpu_per_stateful_call_vs_opensips_mhomed", paired(ratios.cpu_per_stateful_call_vs_opensips_mhomed)),
        ("cpu_per_call_tcp_vs_kamailio", paired(ratios.cpu_per_call_tcp_vs_kamailio)),
        ("cpu_per_call_tcp_vs_kamailio_stateless", paired(ratios.cpu_per_call_tcp_vs_kamailio_stateless)),
        ("cpu_per_call_tls_vs_kamailio", paired(ratios.cpu_per_call_tls_vs_kamailio)),
        (
            "tcp_connections_per_cpu_second_vs_kamailio",
            paired(ratios.tcp_connections_per_cpu_second_vs_kamailio),
        ),
        (
            "tls_connections_per_cpu_second_vs_kamailio",
            paired(ratios.tls_connections_per_cpu_second_vs_kamailio),
        ),
        ("own_work_instructions", plain(ratios.own_work_instructions)),
        ("own_work_ns", plain(ratios.own_work_ns)),
        ("full_tables_extra_ns", plain(ratios.full_tables_extra_ns)),
        ("fib_lookup_zipf_ns", plain(ratios.fib_lookup_zipf_ns)),
        ("fib_lookup_random_ns", plain(ratios.fib_lookup_random_ns)),
        ("added_latency_p50_us", plain(ratios.added_latency_p50_us)),
        ("added_latency_p999_us", plain(ratios.added_latency_p999_us)),
        ("syscalls_per_message", plain(ratios.syscalls_per_message)),
        ("overload_goodput_lost", plain(ratios.overload_goodput_lost)),
        ("overload_setup_p99_ms", plain(ratios.overload_setup_p99_ms)),
    ]
}
