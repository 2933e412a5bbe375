//! What is plotted: latency percentiles, latency against load, CPU for each message and call.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;
use plotters::style::RGBColor;

use super::curves::{Axis, Bar, Line, bars, lines};
use super::model::{Load, Sample};
use super::ratios::{FLOOR, OVER_TCP, OVER_TLS, OVER_WS, STATEFUL, VIADUCT};
use super::statistics::median;
use super::{Histograms, are_comparable, hgrm, part_lost};

/// Name and text of a file.
pub type File = (String, String);

/// Plots of windows: CPU for each message and call as bars, latency against load.
pub fn of(samples: &[Sample]) -> io::Result<Vec<File>> {
    let files = [
        costs(samples, Load::Messages, "cpu-per-message.svg", "CPU per delivered message")?,
        costs(samples, Load::Calls, "cpu-per-call.svg", "CPU per call")?,
        costs(samples, Load::StatefulCalls, "cpu-per-stateful-call.svg", "CPU per call with transactions")?,
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
        let (name, colour) = (Some(subject.clone()), colour(subject));
        Line { name, points: points.collect(), marked: false, colour, thin: false }
    };
    let title = format!("Latency by percentile, load: {}", load.name());
    let x = Axis { title: "percentile", label: percentile, logarithmic: true };
    let svg = lines(&title, &x, &MICROSECONDS, &those.map(line).collect::<Vec<_>>())?;
    Ok(svg.map(|svg| (format!("latency-{}.svg", load.name()), svg)))
}

const MICROSECONDS: Axis =
    Axis { title: "latency from the scheduled send, µs", label: plain, logarithmic: true };

/// `x` is 1 of how many messages is slower.
fn percentile(x: f64) -> String {
    let digits = (x.log10().round() as usize).saturating_sub(2);
    format!("{:.digits$}%", (1.0 - 1.0 / x) * 100.0)
}

fn plain(value: f64) -> String {
    if value < 10.0 { format!("{}", (value * 100.0).round() / 100.0) } else { format!("{value:.0}") }
}

/// Median CPU of each subject for a message or call, dearest last; of who lost a part of them, that part.
fn costs(samples: &[Sample], load: Load, file: &str, title: &str) -> io::Result<Option<File>> {
    let mut windows = BTreeMap::<&str, Vec<&Sample>>::new();
    for sample in samples.iter().filter(|sample| sample.load == load) {
        windows.entry(&sample.subject).or_default().push(sample);
    }
    let cost = |sample: &&Sample| sample.cpu_ns as f64 / sample.units() as f64 / 1e3;
    let row = |(subject, samples): (_, Vec<&Sample>)| {
        let cost = median(samples.iter().map(cost).collect())?;
        let lost = (!are_comparable(&samples)).then(|| part_lost(samples));
        Some((subject, cost, lost))
    };
    let mut rows: Vec<(&str, f64, Option<f64>)> = windows.into_iter().filter_map(row).collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let floor = rows.iter().find(|(subject, ..)| *subject == FLOOR).or(rows.first()).copied();
    let bar = |(subject, cost, lost): &(&str, f64, Option<f64>)| {
        let words = match (lost, floor) {
            (Some(lost), _) => format!("{cost:.2} µs, {:.1}% lost", lost * 100.0),
            (None, Some((name, floor, _))) => format!("{cost:.2} µs, {:.2} × {name}", cost / floor),
            (None, None) => format!("{cost:.2} µs"),
        };
        Bar { name: (*subject).to_owned(), value: *cost, words, colour: colour(subject) }
    };
    let svg = bars(title, "µs of CPU", &rows.iter().map(bar).collect::<Vec<_>>())?;
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
            drawn.push(Line { name, points, marked: true, colour: colour(subject), thin });
        }
    }
    let x = Axis { title: "messages offered a second", label: plain, logarithmic: false };
    let svg = lines("Latency against load: median thick, 99% thin", &x, &MICROSECONDS, &drawn)?;
    Ok(svg.map(|svg| ("latency-against-load.svg".to_owned(), svg)))
}

/// Okabe and Ito's colours (Color Universal Design, 2008), told apart by most eyes; a subject's is the same in all
/// plots.
fn colour(subject: &str) -> RGBColor {
    match subject {
        VIADUCT | OVER_TCP | OVER_TLS | OVER_WS => RGBColor(213, 94, 0),
        FLOOR => RGBColor(60, 60, 60),
        "null-mmsg" => RGBColor(150, 150, 150),
        "kamailio" | "kamailio-tcp-stateless" => RGBColor(86, 180, 233),
        "kamailio-mhomed" | "kamailio-tcp" | "kamailio-tls" | "kamailio-ws" => RGBColor(0, 114, 178),
        STATEFUL => RGBColor(240, 228, 66),
        "opensips" => RGBColor(204, 121, 167),
        "opensips-mhomed" => RGBColor(0, 158, 115),
        _ => RGBColor(230, 159, 0),
    }
}
