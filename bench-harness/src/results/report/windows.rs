//! Tables of windows: for each load, what was offered, and a row for each subject and rate.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::are_comparable;
use super::super::model::{Load, Lowered, Offered, Results, Sample};
use super::super::ratios::{FLOOR, OVER_TCP, OVER_TLS, OVER_WS, STATEFUL, VIADUCT};
use super::super::statistics::median;
use super::number;
use crate::measure::mib;
use crate::peak::AGREED;

/// One load's windows, a row for each subject: medians, and over whom.
pub fn windows(text: &mut String, results: &Results, load: Load) {
    let mut subjects = BTreeMap::<(&str, u64), Vec<&Sample>>::new();
    for sample in results.samples.iter().filter(|sample| sample.load == load) {
        let rate = if load == Load::Knee { 0 } else { sample.offered_per_second.round() as u64 };
        subjects.entry((&sample.subject, rate)).or_default().push(sample);
    }
    if subjects.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Load: {}\n", load.name());
    if load == Load::Knee {
        knees(text, &subjects);
        return;
    }
    offered(text, results, load);
    let unit = load.unit().name();
    let _ = writeln!(
        text,
        "| subject | offered/s | windows | CPU per {unit} | p50 | p99 | p99.9 | delivered | sent again | memory | over | notes |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for ((subject, rate), samples) in &subjects {
        let over = reference(&subjects, *rate).filter(|(name, _)| name != subject);
        let _ = writeln!(text, "| {subject} | {rate} | {} | {} |", samples.len(), row(samples, over));
    }
    text.push_str(
        "\nMedians of windows, percentiles too: each is the median of the windows' own. The plot of this load's latencies and the \
         `.hgrm` files have all windows together, so that one bad window shows there at the end and not here. In brackets: how \
         many times as much as the subject under `over`, which was offered the same.\n\n",
    );
}

/// Why it was so much; of messages, for those to whom another rate was offered, too.
fn offered(text: &mut String, results: &Results, load: Load) {
    let of_others = format!("{}/", load.name());
    for (name, offered) in &results.offered {
        let whom = match name.strip_prefix(&of_others) {
            Some(subject) => format!(" to `{subject}`"),
            None if name == load.name() => String::new(),
            None => continue,
        };
        let (rate, unit) = (number(offered.per_second), load.unit().name());
        let _ = writeln!(text, "Offered{whom}: {rate} {unit}s a second, {}.\n", reason(offered));
    }
}

fn reason(offered: &Offered) -> String {
    let Some(part) = offered.part else { return "as was asked for".into() };
    let mut most: Vec<_> = offered.most.iter().collect();
    most.sort_by(|a, b| a.1.total_cmp(b.1));
    let most: Vec<String> = most.iter().map(|(name, rate)| format!("`{name}` {}", number(**rate))).collect();
    let whose = offered.of.as_ref().map_or("the slowest".into(), |name| format!("`{name}`"));
    let part =
        format!("{} of the most that {whose} carried before the rounds: {}", number(part), most.join(", "));
    let lost = |step: &Lowered| format!("`{}` did not carry {}", step.lost_by, number(step.per_second));
    let lowered: Vec<String> = offered.lowered.iter().map(lost).collect();
    let lowered = match lowered.is_empty() {
        true => String::new(),
        false => format!("; lowered to this, because {}", lowered.join(", ")),
    };
    let never = offered.lost_by.as_ref().map(|name| format!("; nor did `{name}` carry this"));
    format!("{part}{lowered}{}", never.unwrap_or_default())
}

type Subjects<'a> = BTreeMap<(&'a str, u64), Vec<&'a Sample>>;

/// Somebody's windows.
type Named<'a> = (&'a str, &'a [&'a Sample]);

/// Whom the others are held against at this rate: the floor, else Viaduct, else the first.
fn reference<'a>(subjects: &'a Subjects<'_>, rate: u64) -> Option<Named<'a>> {
    let named = |name: &'static str| Some((name, subjects.get(&(name, rate))?.as_slice()));
    let first = || {
        let ((name, _), samples) = subjects.iter().find(|((_, own), _)| *own == rate)?;
        Some((*name, samples.as_slice()))
    };
    [FLOOR, VIADUCT, STATEFUL, OVER_TCP, OVER_TLS, OVER_WS].into_iter().find_map(named).or_else(first)
}

/// `over`: somebody else, who was offered the same.
fn row(samples: &[&Sample], over: Option<Named<'_>>) -> String {
    let of = |samples: &[&Sample], value: fn(&Sample) -> Option<f64>| {
        median(samples.iter().filter_map(|sample| value(sample)).collect())
    };
    // Of less than all that was offered both cost and latency say nothing beside another's.
    let over = over.filter(|(_, over)| are_comparable(samples) && are_comparable(over));
    let beside = |value: fn(&Sample) -> Option<f64>, unit: &str| {
        let Some(own) = of(samples, value) else { return "–".to_owned() };
        let ratio =
            over.and_then(|(_, over)| of(over, value)).map(|theirs| format!(" ({})", number(own / theirs)));
        format!("{} {unit}{}", number(own), ratio.unwrap_or_default())
    };
    let sum = |value: fn(&Sample) -> u64| samples.iter().map(|sample| value(sample)).sum::<u64>();
    let cells = [
        beside(|sample| Some(sample.cpu_ns as f64 / sample.units() as f64 / 1e3), "µs"),
        beside(|sample| sample.latency.map(|latency| latency.p50_ns as f64 / 1e3), "µs"),
        beside(|sample| sample.latency.map(|latency| latency.p99_ns as f64 / 1e3), "µs"),
        beside(|sample| sample.latency.map(|latency| latency.p999_ns as f64 / 1e3), "µs"),
        format!("{:.3}%", sum(|sample| sample.delivered) as f64 / sum(|sample| sample.sent) as f64 * 100.0),
        sum(|sample| sample.retransmissions).to_string(),
        beside(|sample| Some(mib(sample.resident_bytes)), "MiB"),
        over.map_or(String::new(), |(name, _)| format!("`{name}`")),
        notes(samples),
    ];
    cells.join(" | ")
}

/// So much of its core at least the load has left where it is not to count itself.
const LEFT: f64 = 0.05;

/// What makes a row worth doubting.
fn notes(samples: &[&Sample]) -> String {
    let late = samples.iter().filter(|sample| !sample.on_schedule).count();
    let failed: u64 = samples.iter().map(|sample| sample.failed).sum();
    let afresh: u32 = samples.iter().map(|sample| sample.begun_afresh).sum();
    let mut notes = Vec::new();
    if late > 0 {
        notes.push(format!("the generator was late in {late} windows"));
    }
    let idle = median(samples.iter().map(|sample| sample.generator_idle).collect());
    if let Some(idle) = idle.filter(|idle| *idle < LEFT) {
        let left = idle * 100.0;
        notes.push(format!("the load had {left:.1}% of its core left: its own lag is in the latencies"));
    }
    let full = samples.iter().filter(|sample| !sample.had_room()).count();
    if full > 0 && !samples.iter().all(|sample| matches!(sample.load, Load::Saturation | Load::Overload)) {
        notes.push(format!("took all of its core in {full} windows: its queues are in the latencies"));
    }
    if failed > 0 {
        notes.push(format!("{failed} failed"));
    }
    if afresh > 0 {
        notes.push(format!("started afresh {afresh} times"));
    }
    if !are_comparable(samples) {
        notes.push("not comparable".to_owned());
    }
    notes.join(", ")
}

/// The highest rate of which all but one of 200 messages arrived in two windows of a round; the median of the rounds.
fn knees(text: &mut String, subjects: &Subjects<'_>) {
    let knee = |samples: &[&Sample]| {
        let mut carried = BTreeMap::<(u32, u64), usize>::new();
        for sample in
            samples.iter().filter(|sample| sample.is_whole() && sample.on_schedule && sample.had_room())
        {
            *carried.entry((sample.round, sample.offered_per_second.round() as u64)).or_default() += 1;
        }
        let mut rounds = BTreeMap::new();
        // From the lowest rate to the highest.
        for ((round, rate), _) in carried.into_iter().filter(|(_, windows)| *windows >= AGREED) {
            rounds.insert(round, rate as f64);
        }
        median(rounds.into_values().collect()).unwrap_or(f64::NAN)
    };
    let (name, floor) =
        reference(subjects, 0).map_or(("", f64::NAN), |(name, samples)| (name, knee(samples)));
    let _ = writeln!(text, "| subject | messages/s | over `{name}` |\n|---|---|---|");
    for ((subject, _), samples) in subjects {
        let own = knee(samples);
        let _ = writeln!(text, "| {subject} | {} | {} |", number(own), number(own / floor));
    }
    text.push('\n');
}
