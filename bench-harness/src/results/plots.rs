//! What is plotted: latency percentiles, latency against load, CPU for each message and call.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;
use plotters::style::RGBColor;

use super::curves::{Axis, Bar, Line, Look, bars, lines};
use super::model::{Load, Sample};
use super::ratios::{
    AT_ONCE, FLOOR, FLOOR_AT_ONCE, FLOOR_SPINNING, OVER_TCP, OVER_TLS, OVER_WS, SPINNING, STATEFUL, VIADUCT,
};
use super::statistics::{are_enough, interval, median};
use super::{Histograms, are_comparable, hgrm, part_lost};

/// Name and text of a file.
pub type File = (String, String);

/// Plots of windows: CPU for each message and call as bars, latency against load.
pub fn of(samples: &[Sample]) -> io::Result<Vec<File>> {
    let files = [
        costs(samples, Load::Messages, "cpu-per-message.svg", "CPU per delivered message")?,
        costs(samples, Load::Calls, "cpu-per-call.svg", "CPU per call")?,
        costs(samples, Load::StatefulCalls, "cpu-per-stateful-call.svg", "CPU per call with transactions")?,
        costs(
            samples,
            Load::CallsOpensips,
            "cpu-per-call-opensips.svg",
            "CPU per call, at what OpenSIPS carries",
        )?,
        costs(
            samples,
            Load::StatefulCallsOpensips,
            "cpu-per-stateful-call-opensips.svg",
            "CPU per call with transactions, at what OpenSIPS carries",
        )?,
        costs(samples, Load::TcpCalls, "cpu-per-tcp-call.svg", "CPU per call over TCP")?,
        costs(
            samples,
            Load::TcpConnections,
            "cpu-per-tcp-connection.svg",
            "CPU per new connection over TCP with one OPTIONS",
        )?,
        costs(samples, Load::TlsCalls, "cpu-per-tls-call.svg", "CPU per call over TLS")?,
        costs(samples, Load::WsCalls, "cpu-per-ws-call.svg", "CPU per call from WebSocket to TCP")?,
        costs(
            samples,
            Load::TlsConnections,
            "cpu-per-tls-connection.svg",
            "CPU per new connection over TLS with one OPTIONS",
        )?,
        against_load(samples)?,
    ];
    Ok(files.into_iter().flatten().collect())
}

/// Latency percentiles of all subjects under one load, overlaid.
pub fn of_histograms(histograms: &Histograms, load: Load) -> io::Result<Option<File>> {
    let those = histograms.iter().filter(|((_, own), _)| *own == load);
    let line = |((subject, _), histogram): (&(String, Load), &Histogram<u64>)| {
        let steps = histogram.iter_quantiles(5).take_while(|step| step.quantile_iterated_to() < 1.0);
        let points = steps.map(|step| {
            let quantile = step.quantile_iterated_to();
            (1.0 / (1.0 - quantile), (step.value_iterated_to() as f64 / hgrm::SCALE).max(0.1))
        });
        let (name, look) = (Some(subject.clone()), look(subject));
        Line { name, points: points.collect(), marked: false, look, thin: false }
    };
    let title = format!("Latency by percentile, all windows together, load: {}", load.name());
    let x = Axis { title: "percentile", label: percentile, logarithmic: true };
    let svg = lines(&title, &x, &MICROSECONDS, &those.map(line).collect::<Vec<_>>())?;
    Ok(svg.map(|svg| (format!("latency-{}.svg", load.name()), svg)))
}

const MICROSECONDS: Axis =
    Axis { title: "latency from the scheduled send, µs", label: plain, logarithmic: true };

/// `x` is 1 of how many messages is slower.
fn percentile(x: f64) -> String {
    // 80% and 98% are in the way of others.
    if (x.log10().round() - x.log10()).abs() > 1e-6 && x > 3.0 {
        return String::new();
    }
    let digits = (x.log10().round() as usize).saturating_sub(2);
    format!("{:.digits$}%", (1.0 - 1.0 / x) * 100.0)
}

fn plain(value: f64) -> String {
    if value < 10.0 { format!("{}", (value * 100.0).round() / 100.0) } else { format!("{value:.0}") }
}

/// What a bar is drawn of: a subject at a rate.
struct Cost<'a> {
    subject: &'a str,
    rate: u64,
    median: f64,
    interval: Option<(f64, f64)>,
    lost: Option<f64>,
}

impl<'a> Cost<'a> {
    fn of((subject, rate): (&'a str, u64), samples: &[&Sample]) -> Option<Self> {
        let cost = |sample: &&Sample| sample.cpu_ns as f64 / sample.units() as f64 / 1e3;
        let costs: Vec<f64> = samples.iter().map(cost).collect();
        let interval = interval(costs.clone()).filter(|interval| are_enough(interval.pairs));
        Some(Self {
            subject,
            rate,
            median: median(costs)?,
            interval: interval.map(|interval| (interval.low, interval.high)),
            lost: (!are_comparable(samples)).then(|| part_lost(samples.iter().copied())),
        })
    }

    /// `floor`: whom it is held against, if that was offered the same.
    fn bar(&self, floor: Option<&Self>) -> Bar {
        let Self { subject, rate, median, interval, lost } = *self;
        let words = match (lost, floor.filter(|floor| floor.rate == rate && floor.subject != subject)) {
            (Some(lost), _) => format!("{median:.2} µs, {:.1}% lost", lost * 100.0),
            (None, Some(floor)) => {
                format!("{median:.2} µs, {:.2} × {}", median / floor.median, floor.subject)
            }
            (None, None) => format!("{median:.2} µs"),
        };
        let name = format!("{subject}, {rate}/s");
        Bar { name, value: median, interval, words, colour: look(subject).colour }
    }
}

/// Median CPU of each subject for a message or call, dearest last, with the interval of its windows; of who lost a part of
/// them, that part.
fn costs(samples: &[Sample], load: Load, file: &str, title: &str) -> io::Result<Option<File>> {
    let mut windows = BTreeMap::<(&str, u64), Vec<&Sample>>::new();
    for sample in samples.iter().filter(|sample| sample.load == load) {
        let rate = sample.offered_per_second.round() as u64;
        windows.entry((&sample.subject, rate)).or_default().push(sample);
    }
    let mut rows: Vec<Cost<'_>> =
        windows.iter().filter_map(|(whose, samples)| Cost::of(*whose, samples)).collect();
    rows.sort_by(|a, b| a.median.total_cmp(&b.median));
    let floor = rows.iter().find(|row| row.subject == FLOOR).or(rows.first());
    let bars_of: Vec<Bar> = rows.iter().map(|row| row.bar(floor)).collect();
    let svg = bars(title, "µs of CPU; whiskers: the median's interval", &bars_of)?;
    Ok(svg.map(|svg| (file.to_owned(), svg)))
}

/// Median and 99th percentile of each subject at the rates that were offered.
fn against_load(samples: &[Sample]) -> io::Result<Option<File>> {
    let mut rates = BTreeMap::<&str, BTreeMap<u64, [Vec<f64>; 2]>>::new();
    for sample in samples.iter().filter(|sample| matches!(sample.load, Load::Messages | Load::Knee)) {
        let Some(latency) = &sample.latency else { continue };
        let rate = sample.offered_per_second.round() as u64;
        let [half, most] = rates.entry(&sample.subject).or_default().entry(rate).or_default();
        half.push(latency.p50_ns as f64 / 1e3);
        most.push(latency.p99_ns as f64 / 1e3);
    }
    let mut drawn = Vec::new();
    for (subject, rates) in rates {
        for (which, thin) in [false, true].into_iter().enumerate() {
            let point =
                |(rate, values): (&u64, &[Vec<f64>; 2])| Some((*rate as f64, median(values[which].clone())?));
            let points = rates.iter().filter_map(point).collect();
            let name = (!thin).then(|| subject.to_owned());
            drawn.push(Line { name, points, marked: true, look: look(subject), thin });
        }
    }
    let x = Axis { title: "messages offered a second", label: plain, logarithmic: false };
    let svg = lines(
        "Latency against load, medians of windows: of their medians thick, of their 99% thin",
        &x,
        &MICROSECONDS,
        &drawn,
    )?;
    Ok(svg.map(|svg| ("latency-against-load.svg".to_owned(), svg)))
}

/// Okabe and Ito's colours (Color Universal Design, 2008), told apart by most eyes, without the yellow, which paper swallows, and
/// darker ones of them: families share a hue. A subject's look is the same in all plots, and no two of one plot have the
/// same.
fn look(subject: &str) -> Look {
    let (colour, dashes) = match subject {
        VIADUCT | OVER_TCP | OVER_TLS | OVER_WS => (RGBColor(213, 94, 0), None),
        STATEFUL => (RGBColor(130, 50, 0), Some((14, 4))),
        SPINNING => (RGBColor(230, 159, 0), Some((5, 3))),
        AT_ONCE => (RGBColor(150, 95, 0), Some((9, 9))),
        FLOOR => (RGBColor(30, 30, 30), Some((14, 6))),
        FLOOR_SPINNING => (RGBColor(100, 100, 100), Some((5, 5))),
        FLOOR_AT_ONCE => (RGBColor(65, 65, 65), Some((2, 4))),
        "null-mmsg" => (RGBColor(150, 150, 150), Some((20, 4))),
        "kamailio" | "kamailio-tcp-stateless" => (RGBColor(86, 180, 233), Some((9, 3))),
        "kamailio-mhomed" | "kamailio-tcp" | "kamailio-tls" | "kamailio-ws" => {
            (RGBColor(0, 114, 178), Some((9, 6)))
        }
        "kamailio-stateful" => (RGBColor(0, 55, 105), Some((3, 3))),
        "opensips" => (RGBColor(204, 121, 167), Some((7, 2))),
        "opensips-mhomed" => (RGBColor(0, 158, 115), Some((3, 6))),
        "opensips-stateful" => (RGBColor(110, 40, 85), Some((20, 8))),
        _ => (RGBColor(0, 80, 60), Some((2, 8))),
    };
    Look { colour, dashes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn no_two_subjects_of_one_plot_look_the_same_by_colour_or_by_dashes() {
        let subjects = [
            VIADUCT,
            STATEFUL,
            SPINNING,
            AT_ONCE,
            FLOOR,
            FLOOR_SPINNING,
            FLOOR_AT_ONCE,
            "null-mmsg",
            "kamailio",
            "kamailio-mhomed",
            "kamailio-stateful",
            "opensips",
            "opensips-mhomed",
            "opensips-stateful",
            "another",
        ];
        for (at, one) in subjects.iter().enumerate() {
            for other in &subjects[at + 1..] {
                let (a, b) = (look(one), look(other));
                assert!(a.colour != b.colour && a.dashes != b.dashes, "{one} and {other}");
            }
        }
    }

    #[test]
    fn bars_say_what_was_offered_and_are_held_against_who_was_offered_the_same() {
        let at = |rate, subject, cpu| Sample {
            offered_per_second: rate,
            ..sample(0, subject, Load::Messages, cpu)
        };
        let samples =
            [at(80e3, FLOOR, 1_000_000), at(80e3, VIADUCT, 1_100_000), at(8e3, "kamailio", 9_000_000)];
        let (_, svg) = costs(&samples, Load::Messages, "a.svg", "CPU").unwrap().unwrap();
        for words in ["viaduct, 80000/s", "1.10 µs, 1.10 × null-uring", "kamailio, 8000/s"] {
            assert!(svg.contains(words), "no {words}");
        }
        assert!(!svg.contains("9.00 ×"), "another rate");
    }
}
