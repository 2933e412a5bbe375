//! The run in a few figures, from what was measured.

use std::collections::BTreeMap;

use super::model::{Interval, Load, Loss, Ratios, Results, Sample};
use super::statistics::{interval, median, paired};
use super::{are_few, part_lost};

/// What the figures are about.
pub const VIADUCT: &str = "viaduct";
/// The same with transactions.
pub const STATEFUL: &str = "viaduct-stateful";
/// Viaduct where far more calls are offered than it carries: with another configuration, perhaps by a part of its core.
pub const OVERLOADED: &str = "viaduct-overloaded";
/// The same with transactions.
pub const STATEFUL_OVERLOADED: &str = "viaduct-stateful-overloaded";
/// The same over TCP, where there are always transactions.
pub const OVER_TCP: &str = "viaduct-tcp";
/// Likewise over TLS.
pub const OVER_TLS: &str = "viaduct-tls";
/// Likewise where callers speak WebSocket.
pub const OVER_WS: &str = "viaduct-ws";
/// The floor: Viaduct's engine without SIP.
pub const FLOOR: &str = "null-uring";
/// Viaduct where it looks for the next message instead of sleeping.
pub const SPINNING: &str = "viaduct-spinning";
/// The floor where it does.
pub const FLOOR_SPINNING: &str = "null-uring-spinning";

/// Viaduct where it wakes up for each message instead of collecting some.
pub const AT_ONCE: &str = "viaduct-at-once";
/// The floor where it does.
pub const FLOOR_AT_ONCE: &str = "null-uring-at-once";

/// Windows of two subjects that are held against each other, and the figure that this gives.
struct Pairing {
    name: &'static str,
    place: fn(&mut Ratios) -> &mut Option<Interval>,
    ours: &'static str,
    theirs: &'static str,
    loads: &'static [Load],
    figure: fn(&Sample) -> f64,
}

macro_rules! pairing {
    ($figure:ident: $ours:expr, $theirs:expr, $($load:ident),+) => {
        pairing!($figure: $ours, $theirs, $($load),+; cost)
    };
    ($figure:ident: $ours:expr, $theirs:expr, $($load:ident),+; $of:expr) => {
        Pairing {
            figure: $of,
            name: stringify!($figure),
            place: |ratios| &mut ratios.$figure,
            ours: $ours,
            theirs: $theirs,
            loads: &[$(Load::$load),+],
        }
    };
}

/// All of them. Calls with transactions were offered as the same load as those without once, and OpenSIPS' as those of all.
const PAIRINGS: [Pairing; 19] = [
    pairing!(cpu_per_message_vs_null: VIADUCT, FLOOR, Messages),
    pairing!(cpu_per_message_at_once_vs_null: AT_ONCE, FLOOR_AT_ONCE, Messages),
    pairing!(cpu_per_call_vs_kamailio: VIADUCT, "kamailio", Calls),
    pairing!(cpu_per_call_vs_kamailio_mhomed: VIADUCT, "kamailio-mhomed", Calls),
    pairing!(cpu_per_call_at_once_vs_kamailio_mhomed: AT_ONCE, "kamailio-mhomed", Calls),
    pairing!(latency_p50_at_calls_vs_kamailio_mhomed: VIADUCT, "kamailio-mhomed", Calls; p50),
    pairing!(latency_p99_at_calls_vs_kamailio_mhomed: VIADUCT, "kamailio-mhomed", Calls; p99),
    pairing!(latency_p50_at_calls_at_once_vs_kamailio_mhomed: AT_ONCE, "kamailio-mhomed", Calls; p50),
    pairing!(cpu_per_call_vs_opensips: VIADUCT, "opensips", Calls, CallsOpensips),
    pairing!(cpu_per_call_vs_opensips_mhomed: VIADUCT, "opensips-mhomed", Calls, CallsOpensips),
    pairing!(cpu_per_stateful_call_vs_stateless: STATEFUL, VIADUCT, Calls, StatefulCalls),
    pairing!(cpu_per_stateful_call_vs_kamailio_mhomed: STATEFUL, "kamailio-stateful", Calls, StatefulCalls),
    pairing!(
        cpu_per_stateful_call_vs_opensips_mhomed:
        STATEFUL, "opensips-stateful", Calls, StatefulCalls, StatefulCallsOpensips
    ),
    pairing!(cpu_per_call_tcp_vs_kamailio: OVER_TCP, "kamailio-tcp", TcpCalls),
    pairing!(cpu_per_call_tcp_vs_kamailio_stateless: OVER_TCP, "kamailio-tcp-stateless", TcpCalls),
    pairing!(cpu_per_call_tls_vs_kamailio: OVER_TLS, "kamailio-tls", TlsCalls),
    pairing!(cpu_per_call_ws_vs_kamailio: OVER_WS, "kamailio-ws", WsCalls),
    pairing!(tcp_connections_per_cpu_second_vs_kamailio: OVER_TCP, "kamailio-tcp", TcpConnections; for_cpu),
    pairing!(tls_connections_per_cpu_second_vs_kamailio: OVER_TLS, "kamailio-tls", TlsConnections; for_cpu),
];

/// All figures that the samples and pieces of code of a run give, `None` where they give none; and those that would be none, because
/// who is compared lost a part of what was offered.
pub fn ratios(results: &Results) -> (Ratios, BTreeMap<String, Loss>) {
    let samples = &results.samples[..];
    let mut losses = BTreeMap::new();
    let mut ratios = others(results, &mut losses);
    for pairing in &PAIRINGS {
        match pairing.interval(samples) {
            Ok(interval) => *(pairing.place)(&mut ratios) = interval,
            Err(loss) => _ = losses.insert(pairing.name.to_owned(), loss),
        }
    }
    match overload(samples) {
        Ok(overload) => {
            ratios.overload_goodput_lost = overload.as_ref().and_then(Overload::goodput_lost);
            ratios.overload_setup_p99_ms = overload.as_ref().and_then(Overload::setup_p99_ms);
        }
        Err(loss) => {
            for name in ["overload_goodput_lost", "overload_setup_p99_ms"] {
                losses.insert(name.to_owned(), loss.clone());
            }
        }
    }
    (ratios, losses)
}

/// What is no ratio under a load that both carry.
fn others(results: &Results, losses: &mut BTreeMap<String, Loss>) -> Ratios {
    let Results { samples, micro, latencies, .. } = results;
    let instructions = |name: &str| micro.get(name).and_then(|piece| piece.instructions);
    let ns = |name: &str| micro.get(name).and_then(|piece| piece.ns);
    let mut added = |names: &[&str], pair| {
        added_us(samples, pair).unwrap_or_else(|loss| {
            losses.extend(names.iter().map(|name| ((*name).to_owned(), loss.clone())));
            None
        })
    };
    let asleep = added(&["added_latency_p50_us", "added_latency_p999_us"], (VIADUCT, FLOOR));
    let spinning = added(&["added_latency_spinning_p50_us"], (SPINNING, FLOOR_SPINNING));
    let slowest = |subject: &str| {
        let all = latencies.get(&latencies_of(subject, Load::Paced));
        all.map(|latency| latency.p999_ns as f64 / 1e3)
    };
    let slowest = asleep.and_then(|_| Some(slowest(VIADUCT)? - slowest(FLOOR)?));
    let median = |interval: Option<Interval>| interval.map(|interval| interval.median);
    Ratios {
        own_work_instructions: instructions("pipeline"),
        own_work_ns: ns("pipeline"),
        full_tables_extra_ns: ns("full_tables_extra_zipf"),
        fib_lookup_zipf_ns: ns("fib_lookup_zipf_1200000"),
        fib_lookup_random_ns: ns("fib_lookup_random_1200000"),
        added_latency_p50_us: median(asleep),
        added_latency_p50_us_interval: asleep,
        added_latency_p999_us: slowest,
        added_latency_spinning_p50_us: median(spinning),
        added_latency_spinning_p50_us_interval: spinning,
        syscalls_per_message: syscalls(samples),
        ..Ratios::default()
    }
}

impl Pairing {
    fn interval(&self, samples: &[Sample]) -> Result<Option<Interval>, Loss> {
        self.over(samples, self.figure)
    }

    fn over(&self, samples: &[Sample], figure: fn(&Sample) -> f64) -> Result<Option<Interval>, Loss> {
        let of = |load: &Load| pairs(samples, (self.ours, self.theirs), *load);
        let all = self.loads.iter().map(of).max_by_key(Vec::len).unwrap_or_default();
        let sound = Sound::of(&all)?;
        Ok(sound.told(paired(sound.pairs.iter().map(|(ours, theirs)| (figure(ours), figure(theirs))))))
    }
}

/// CPU for each.
fn cost(sample: &Sample) -> f64 {
    sample.cpu_ns as f64 / sample.units() as f64
}

/// How many for the CPU.
fn for_cpu(sample: &Sample) -> f64 {
    1.0 / cost(sample)
}

fn p50(sample: &Sample) -> f64 {
    sample.latency.map_or(f64::NAN, |latency| latency.p50_ns as f64)
}

fn p99(sample: &Sample) -> f64 {
    sample.latency.map_or(f64::NAN, |latency| latency.p99_ns as f64)
}

/// What the median latency is over the other's in the windows that give this figure, of those of CPU: less of it may be had for
/// more of the other.
pub fn latency_beside(samples: &[Sample], figure: &str) -> Option<Interval> {
    let own = PAIRINGS.iter().find(|pairing| pairing.name == figure && figure.contains("cpu"))?;
    own.over(samples, p50).ok().flatten()
}

type Pair<'a> = (&'a Sample, &'a Sample);

/// Pairs that count, and how many do not.
struct Sound<'a> {
    pairs: Vec<Pair<'a>>,
    left_out: usize,
    late: usize,
}

impl<'a> Sound<'a> {
    /// Those of which neither window lost too much, and in neither of which the load was late itself: what is sent late comes in
    /// bursts, which cost a forwarder less and wait for each other. None of them where more than one of three lost too much, or
    /// less than half are left: what is left over of mostly bad windows is no sample of good ones.
    fn of(all: &[Pair<'a>]) -> Result<Self, Loss> {
        let whole = |(ours, theirs): &&Pair<'_>| ours.is_whole() && theirs.is_whole();
        let in_time = |(ours, theirs): &Pair<'_>| ours.on_schedule && theirs.on_schedule;
        let mut pairs: Vec<_> = all.iter().filter(whole).copied().collect();
        let left_out = all.len() - pairs.len();
        pairs.retain(in_time);
        let late = all.len() - left_out - pairs.len();
        if !are_few(left_out, all.len()) || pairs.len() * 2 < all.len() {
            let loss = loss(all.iter().flat_map(|(ours, theirs)| [*ours, *theirs]));
            return Err(Loss { late, pairs: all.len(), ..loss });
        }
        Ok(Self { pairs, left_out, late })
    }

    /// The interval with what it leaves out.
    fn told(&self, interval: Option<Interval>) -> Option<Interval> {
        interval.map(|interval| Interval { left_out: self.left_out, late: self.late, ..interval })
    }
}

/// Of windows at one rate.
fn loss<'a>(samples: impl Iterator<Item = &'a Sample>) -> Loss {
    let mut subjects = BTreeMap::<_, Vec<_>>::new();
    let mut offered_per_second = 0.0;
    for sample in samples {
        offered_per_second = sample.offered_per_second;
        subjects.entry(sample.subject.clone()).or_default().push(sample);
    }
    let lost = subjects.into_iter().map(|(subject, samples)| (subject, part_lost(samples)));
    Loss { offered_per_second, lost: lost.collect(), ..Loss::default() }
}

/// What [`Results::latencies`] calls those of a subject under a load.
pub fn latencies_of(subject: &str, load: Load) -> String {
    format!("{subject}/{}", load.name())
}

/// Median latency that forwarding adds to the floor's, in microseconds, over the rounds in which both forwarded nearly all.
fn added_us(samples: &[Sample], pair: (&str, &str)) -> Result<Option<Interval>, Loss> {
    let all = pairs(samples, pair, Load::Paced);
    let sound = Sound::of(&all)?;
    let us = |sample: &Sample| Some(sample.latency?.p50_ns as f64 / 1e3);
    let added = sound.pairs.iter().filter_map(|(ours, floor)| Some(us(ours)? - us(floor)?));
    Ok(sound.told(interval(added.collect())))
}

/// Of windows in which so much was lost that there was more than it could carry.
fn syscalls(samples: &[Sample]) -> Option<f64> {
    let counted = samples.iter().filter(|s| s.subject == VIADUCT && s.load == Load::Saturation);
    let counted = counted.filter(|sample| !sample.is_whole());
    let (calls, messages) = counted
        .filter_map(|sample| Some((sample.syscalls?, sample.delivered)))
        .fold((0, 0), |(calls, messages), (c, m)| (calls + c, messages + m));
    (messages > 0).then(|| calls as f64 / messages as f64)
}

/// Windows at the peak, each with the one of several times as many calls behind it.
struct Overload<'a>(Vec<(&'a Sample, &'a Sample)>);

/// Of the rounds whose peak was one and in which the load kept up; they are none where all of them lost calls at what they took
/// for it, or had a load that came late: it is in the time to a 200, and less than that multiple was offered.
fn overload(samples: &[Sample]) -> Result<Option<Overload<'_>>, Loss> {
    let mut rounds = BTreeMap::<u32, Vec<&Sample>>::new();
    // Of earlier runs it has the name of what is compared.
    let is_ours = |sample: &&Sample| [VIADUCT, OVERLOADED].contains(&sample.subject.as_str());
    for sample in samples.iter().filter(|sample| sample.load == Load::Overload).filter(is_ours) {
        rounds.entry(sample.round).or_default().push(sample);
    }
    let all: Vec<_> = rounds.into_values().filter_map(peak_and_over).collect();
    let mut sound: Vec<_> = all.iter().copied().filter(|(peak, _)| peak.is_whole()).collect();
    let whole = sound.len();
    sound.retain(|(peak, over)| peak.on_schedule && over.on_schedule);
    let late = whole - sound.len();
    match all.is_empty() {
        true => Ok(None),
        false if sound.is_empty() => {
            let loss = loss(all.iter().map(|(peak, _)| *peak));
            Err(Loss { late, pairs: all.len(), ..loss })
        }
        false => Ok(Some(Overload(sound))),
    }
}

fn peak_and_over(mut windows: Vec<&Sample>) -> Option<(&Sample, &Sample)> {
    windows.sort_by(|a, b| a.offered_per_second.total_cmp(&b.offered_per_second));
    match windows[..] {
        [peak, .., over] => Some((peak, over)),
        _ => None,
    }
}

impl Overload<'_> {
    fn goodput_lost(&self) -> Option<f64> {
        let goodput = |sample: &Sample| (sample.calls - sample.failed) as f64 / sample.seconds;
        median(self.0.iter().map(|(peak, over)| 1.0 - goodput(over) / goodput(peak)).collect())
    }

    fn setup_p99_ms(&self) -> Option<f64> {
        let ms = |over: &Sample| Some(over.latency?.p99_ns as f64 / 1e6);
        median(self.0.iter().filter_map(|(_, over)| ms(over)).collect())
    }
}

/// Windows of two subjects that are neighbours in time, at one rate: where there are several, the one with the most
/// pairs, of those the highest.
fn pairs<'a>(samples: &'a [Sample], (subject, peer): (&str, &str), load: Load) -> Vec<Pair<'a>> {
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
    let added = |value: Option<f64>, interval| value.map(|value| Figure { value, interval });
    vec![
        ("cpu_per_message_vs_null", paired(ratios.cpu_per_message_vs_null)),
        ("cpu_per_message_at_once_vs_null", paired(ratios.cpu_per_message_at_once_vs_null)),
        ("cpu_per_call_vs_kamailio", paired(ratios.cpu_per_call_vs_kamailio)),
        ("cpu_per_call_vs_kamailio_mhomed", paired(ratios.cpu_per_call_vs_kamailio_mhomed)),
        ("cpu_per_call_at_once_vs_kamailio_mhomed", paired(ratios.cpu_per_call_at_once_vs_kamailio_mhomed)),
        ("latency_p50_at_calls_vs_kamailio_mhomed", paired(ratios.latency_p50_at_calls_vs_kamailio_mhomed)),
        ("latency_p99_at_calls_vs_kamailio_mhomed", paired(ratios.latency_p99_at_calls_vs_kamailio_mhomed)),
        (
            "latency_p50_at_calls_at_once_vs_kamailio_mhomed",
            paired(ratios.latency_p50_at_calls_at_once_vs_kamailio_mhomed),
        ),
        ("cpu_per_call_vs_opensips", paired(ratios.cpu_per_call_vs_opensips)),
        ("cpu_per_call_vs_opensips_mhomed", paired(ratios.cpu_per_call_vs_opensips_mhomed)),
        ("cpu_per_stateful_call_vs_stateless", paired(ratios.cpu_per_stateful_call_vs_stateless)),
        ("cpu_per_stateful_call_vs_kamailio_mhomed", paired(ratios.cpu_per_stateful_call_vs_kamailio_mhomed)),
        ("cpu_per_stateful_call_vs_opensips_mhomed", paired(ratios.cpu_per_stateful_call_vs_opensips_mhomed)),
        ("cpu_per_call_tcp_vs_kamailio", paired(ratios.cpu_per_call_tcp_vs_kamailio)),
        ("cpu_per_call_tcp_vs_kamailio_stateless", paired(ratios.cpu_per_call_tcp_vs_kamailio_stateless)),
        ("cpu_per_call_tls_vs_kamailio", paired(ratios.cpu_per_call_tls_vs_kamailio)),
        ("cpu_per_call_ws_vs_kamailio", paired(ratios.cpu_per_call_ws_vs_kamailio)),
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
        ("added_latency_p50_us", added(ratios.added_latency_p50_us, ratios.added_latency_p50_us_interval)),
        ("added_latency_p999_us", plain(ratios.added_latency_p999_us)),
        (
            "added_latency_spinning_p50_us",
            added(ratios.added_latency_spinning_p50_us, ratios.added_latency_spinning_p50_us_interval),
        ),
        ("syscalls_per_message", plain(ratios.syscalls_per_message)),
        ("overload_goodput_lost", plain(ratios.overload_goodput_lost)),
        ("overload_setup_p99_ms", plain(ratios.overload_setup_p99_ms)),
    ]
}
