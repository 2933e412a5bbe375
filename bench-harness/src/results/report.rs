//! `report.md`: ratios first, then what is missing, then the windows, the machine, and how to do it again.

mod windows;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::model::{Interval, Load, Loss, Results};
use super::ratios::{Figure, flat, latency_beside};
use super::statistics::{are_enough, coverage};
use windows::windows;

/// Its name.
pub const FILE: &str = "report.md";

/// What a figure is, and what it may be at most.
struct Bar {
    name: &'static str,
    words: &'static str,
    unit: &'static str,
    at_most: Option<f64>,
}

const fn bar(name: &'static str, words: &'static str, unit: &'static str, at_most: Option<f64>) -> Bar {
    Bar { name, words, unit, at_most }
}

/// In the order of the report; a test holds it against the figures that there are.
const BARS: [Bar; 30] = [
    bar("cpu_per_message_vs_null", "CPU per delivered message, over the floor `null-uring`", "", Some(1.12)),
    bar(
        "cpu_per_message_at_once_vs_null",
        "the same where neither collects messages (`coalesce`)",
        "",
        Some(1.12),
    ),
    bar("cpu_per_call_vs_kamailio", "CPU per call, over Kamailio", "", None),
    bar("cpu_per_call_vs_kamailio_mhomed", "CPU per call, over Kamailio with `mhomed=1`", "", Some(0.45)),
    bar(
        "cpu_per_call_at_once_vs_kamailio_mhomed",
        "the same where Viaduct collects no messages (`coalesce = \"0us\"`)",
        "",
        Some(0.45),
    ),
    bar(
        "latency_p50_at_calls_vs_kamailio_mhomed",
        "latency of calls' requests, over Kamailio with `mhomed=1`, median",
        "",
        None,
    ),
    bar("latency_p99_at_calls_vs_kamailio_mhomed", "the same, 99%", "", None),
    bar(
        "latency_p50_at_calls_at_once_vs_kamailio_mhomed",
        "the same where Viaduct collects no messages, median",
        "",
        None,
    ),
    bar("cpu_per_call_vs_opensips", "CPU per call, over OpenSIPS", "", None),
    bar("cpu_per_call_vs_opensips_mhomed", "CPU per call, over OpenSIPS with `mhomed=1`", "", Some(0.30)),
    bar("cpu_per_stateful_call_vs_stateless", "CPU per call with transactions, over without", "", Some(1.5)),
    bar(
        "cpu_per_stateful_call_vs_kamailio_mhomed",
        "CPU per call with transactions, over Kamailio's `t_relay` with `mhomed=1`",
        "",
        Some(0.45),
    ),
    bar(
        "cpu_per_stateful_call_vs_opensips_mhomed",
        "CPU per call with transactions, over OpenSIPS' `t_relay` with `mhomed=1`",
        "",
        Some(0.30),
    ),
    bar(
        "cpu_per_call_tcp_vs_kamailio",
        "CPU per call over TCP, over Kamailio's `t_relay` with `mhomed=1`",
        "",
        Some(0.6),
    ),
    bar("cpu_per_call_tcp_vs_kamailio_stateless", "the same, over Kamailio without transactions", "", None),
    bar(
        "cpu_per_call_tls_vs_kamailio",
        "CPU per call over TLS, over Kamailio's `t_relay` with `mhomed=1`",
        "",
        Some(0.6),
    ),
    bar(
        "cpu_per_call_ws_vs_kamailio",
        "CPU per call from WebSocket to TCP, over Kamailio's `t_relay` with `mhomed=1`",
        "",
        None,
    ),
    bar(
        "tcp_connections_per_cpu_second_vs_kamailio",
        "new connections over TCP, with one OPTIONS each, in a second of CPU, over Kamailio's (more is better)",
        "",
        None,
    ),
    bar(
        "tls_connections_per_cpu_second_vs_kamailio",
        "the same over TLS, with full handshakes (more is better)",
        "",
        None,
    ),
    bar("own_work_instructions", "parse, decide, rewrite of a 600-byte INVITE", "instructions", Some(3500.0)),
    bar("own_work_ns", "the same", "ns", Some(350.0)),
    bar("full_tables_extra_ns", "what 1.2 million routes and 10,000 rules add to it", "ns", Some(60.0)),
    bar(
        "fib_lookup_zipf_ns",
        "a lookup among 1.2 million routes, neighbours by Zipf's law",
        "ns",
        Some(40.0),
    ),
    bar("fib_lookup_random_ns", "the same, destinations at random", "ns", Some(250.0)),
    bar("added_latency_p50_us", "latency added to the floor's, paced messages, median", "µs", Some(1.5)),
    bar("added_latency_p999_us", "the same, 99.9% of all windows' together", "µs", None),
    bar("added_latency_spinning_p50_us", "the median where neither sleeps between messages", "µs", Some(1.5)),
    bar("syscalls_per_message", "system calls per forwarded message at saturation", "", Some(0.05)),
    bar("overload_goodput_lost", "part of the peak's calls that five times as many cost", "", Some(0.1)),
    bar("overload_setup_p99_ms", "from such a call to its 200, if it is let in, 99%", "ms", Some(50.0)),
];

/// The command that measures a figure.
pub fn measured_by(figure: &str) -> &'static str {
    let pieces = ["own_work", "full_tables", "fib_lookup"];
    match figure {
        _ if figure.starts_with("overload") => "overload --calls",
        _ if pieces.iter().any(|piece| figure.starts_with(piece)) => "micro",
        _ => "compare",
    }
}

/// The whole report; `plots` are files beside it.
pub fn text(results: &Results, plots: &[String]) -> String {
    let mut text = format!("# What Viaduct costs\n\n{}\n\n", place(results));
    text.push_str(&super::ended::text(results));
    figures(&mut text, results);
    skipped(&mut text, &results.skipped);
    for plot in plots {
        let _ = writeln!(text, "![{}]({plot})\n", plot.trim_end_matches(".svg"));
    }
    for load in Load::ALL {
        windows(&mut text, results, load);
    }
    pieces(&mut text, results);
    parts(&mut text, results);
    machine(&mut text, results);
    again(&mut text, results);
    text
}

fn place(results: &Results) -> String {
    let machine = &results.machine;
    let kind = if machine.virtual_machine { "a virtual machine" } else { "bare metal" };
    format!(
        "{}, on {kind}: {} ({} cores), Linux {}. Ratios carry over to other machines, other figures do not.",
        results.begun,
        machine.cpu,
        machine.cores.len(),
        machine.kernel
    )
}

fn figures(text: &mut String, results: &Results) {
    text.push_str(
        "| figure | measured | interval | at most | | median latency there |\n|---|---|---|---|---|---|\n",
    );
    let figures: BTreeMap<_, _> = flat(&results.ratios).into_iter().collect();
    for Bar { name, words, unit, at_most } in &BARS {
        let figure = figures.get(name).copied().flatten();
        let with_unit = |value: f64| format!("{} {unit}", number(value)).trim_end().to_owned();
        let lost = |loss: &Loss| format!("**not comparable**: {loss}");
        let none = || results.not_comparable.get(*name).map_or("not measured".into(), lost);
        let measured = |value: f64| match unit {
            // A difference of times.
            &("ns" | "µs") if value < 0.0 => format!("below what this can resolve ({})", with_unit(value)),
            _ => format!("**{}**", with_unit(value)),
        };
        let _ = writeln!(
            text,
            "| {words} (`{name}`) | {} | {} | {} | {} | {} |",
            figure.map_or_else(none, |figure| measured(figure.value)),
            figure.map(interval).unwrap_or_default(),
            at_most.map(with_unit).unwrap_or_default(),
            figure.zip(*at_most).map_or("", |(figure, most)| verdict(&figure, most)),
            latency_beside(&results.samples, name).map_or(String::new(), beside),
        );
    }
    let odd: u64 = results.samples.iter().map(|sample| sample.odd).sum();
    let _ = writeln!(
        text,
        "\nIntervals hold the true median of neighbouring windows' ratios or differences with the confidence that stands with them, by \
         order statistics: nothing is assumed about how the figures are distributed. Fewer than six pairs give none that is 95% \
         sure, and no verdict. What has an interval is met where all of it is within the bound, not met where none of it is, \
         and undecided between; what has none is judged by its one value. A pair of windows in which either subject \
         lost more than 0.5% is left out; where that is more than one of three, the two are not comparable. So is one in which the \
         load itself was late; where less than half of the pairs are left then, the two are not comparable, either. A subject that lost \
         anything in a window was started afresh before its next one. Beside CPU stands what the median latency in the same windows \
         is over the other's, with its interval: CPU can be saved by letting messages wait. Messages go through pairs of virtual \
         interfaces, where what a soft interrupt does for a message that is received is done on the sender's core: of what comes in it \
         is in nobody's figures, of what goes on it is in the forwarder's. Every message of every window is accounted for (sent = delivered + lost, and arrivals that no \
         send explains, `odd` in results.json: {odd}); a run in which that does not add up ends with an error.\n",
    );
}

/// What the latency is over the other's.
fn beside(ratio: Interval) -> String {
    let Interval { median, low, high, pairs, .. } = ratio;
    let [median, low, high] = [median, low, high].map(number);
    if are_enough(pairs) { format!("{median} ({low} to {high})") } else { median }
}

/// By the interval, not by the median alone: that may be on either side of the bound by chance.
fn verdict(figure: &Figure, most: f64) -> &'static str {
    match figure.interval {
        Some(interval) if !are_enough(interval.pairs) => "too few pairs",
        Some(interval) if interval.high <= most => "met",
        Some(interval) if interval.low > most => "**not met**",
        Some(interval) if interval.median <= most => "undecided (the median is within)",
        Some(_) => "undecided (the median is not within)",
        None if figure.value <= most => "met",
        None => "**not met**",
    }
}

fn interval(figure: Figure) -> String {
    figure.interval.map_or(String::new(), |interval| {
        let mut left_out = match interval.left_out {
            0 => String::new(),
            pairs => format!(", {pairs} left out"),
        };
        if interval.late > 0 {
            let _ = write!(left_out, ", {} left out because the load was late", interval.late);
        }
        let pairs =
            format!("{} pair{}{left_out}", interval.pairs, if interval.pairs == 1 { "" } else { "s" });
        if !are_enough(interval.pairs) {
            return format!("none: {pairs}");
        }
        let sure = coverage(interval.pairs) * 100.0;
        let (low, high) = (number(interval.low), number(interval.high));
        format!("{low} to {high} ({sure:.1}%, {pairs})")
    })
}

/// What was skipped for each reason.
pub fn by_reason(skipped: &BTreeMap<String, String>) -> BTreeMap<&str, Vec<&str>> {
    let mut reasons = BTreeMap::<_, Vec<_>>::new();
    for (what, why) in skipped {
        reasons.entry(why.as_str()).or_default().push(what.as_str());
    }
    reasons
}

fn skipped(text: &mut String, skipped: &BTreeMap<String, String>) {
    if skipped.is_empty() {
        return;
    }
    text.push_str("## Not measured\n\n");
    for (why, what) in by_reason(skipped) {
        let _ = writeln!(text, "- {}: {}", what.join(", "), why.trim().replace('\n', " "));
    }
    text.push('\n');
}

fn pieces(text: &mut String, results: &Results) {
    if results.micro.is_empty() {
        return;
    }
    let whole = results.micro.get("pipeline").copied().unwrap_or_default();
    text.push_str(
        "## Pieces of code\n\nIn brackets: part of the whole pipeline.\n\n| piece | instructions | ns | interval (95%) |\n|---|---|---|---|\n",
    );
    let beside = |own: Option<f64>, whole: Option<f64>| match (own, whole) {
        (Some(own), Some(whole)) => format!("{} ({:.3})", number(own), own / whole),
        (Some(own), None) => number(own),
        (None, _) => "–".to_owned(),
    };
    for (name, piece) in &results.micro {
        let (instructions, ns) = (beside(piece.instructions, whole.instructions), beside(piece.ns, whole.ns));
        let between = piece.ns_between.map(|[low, high]| format!("{} to {}", number(low), number(high)));
        let between = between.as_deref().unwrap_or("–");
        let _ = writeln!(text, "| `{name}` | {instructions} | {ns} | {between} |");
    }
    text.push('\n');
}

/// What each command holds itself to is in its help.
fn parts(text: &mut String, results: &Results) {
    if results.parts.is_empty() {
        return;
    }
    text.push_str("## Parts of the run\n\nWhat each part holds itself to is in its `--help`; the bounds of the first table are not among it.\n\n\
         | part | what it holds itself to | took | command |\n|---|---|---|---|\n",
);
    for (name, part) in &results.parts {
        let verdict = super::ended::verdict(part);
        let _ =
            writeln!(text, "| {name} | {verdict} | {:.0} s | `{}` |", part.seconds, part.command.join(" "));
    }
    text.push('\n');
}

fn machine(text: &mut String, results: &Results) {
    let machine = &results.machine;
    let _ = writeln!(
        text,
        "## The machine\n\n- {}, cores {:?}, {:.1} GiB, {}\n- Linux {}\n- {}\n- {}",
        machine.cpu,
        machine.cores,
        machine.memory_bytes as f64 / f64::from(1 << 30),
        if machine.virtual_machine { "under a hypervisor" } else { "no hypervisor" },
        machine.kernel,
        machine.built_by(),
        match machine.irq_time {
            Some(true) => "interrupts are accounted apart from threads, in steps of 10 ms",
            Some(false) => "the time of interrupts is that of the threads that they interrupt",
            None =>
                "the kernel does not tell how it accounts interrupts: taken as part of the threads that they interrupt",
        }
    );
    if !machine.commit.is_empty() {
        let _ = writeln!(text, "- built from commit {}", machine.commit);
    }
    text.push_str("- mitigations:\n");
    for (name, state) in &machine.mitigations {
        let _ = writeln!(text, "  - {name}: {state}");
    }
    for (name, subject) in &results.subjects {
        let cores = &subject.cores;
        let _ = writeln!(
            text,
            "- `{name}`: {} on cores {cores:?}: `{}`",
            subject.version,
            subject.command.join(" ")
        );
    }
}

fn again(text: &mut String, results: &Results) {
    let words: Vec<_> = results.command.iter().skip(1).map(String::as_str).collect();
    let (build, programs) = match results.machine.guided {
        true => ("bench-harness/guided/run", "target/guided/release"),
        false => ("cargo build --release --workspace", "target/release"),
    };
    let words = words.join(" ");
    let _ = writeln!(text, "\n## Again\n\n```sh\n{build} && {programs}/bench-harness {words}\n```");
}

/// With the digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::model::Micro;

    #[test]
    fn every_figure_has_its_bar() {
        let figures: Vec<_> = flat(&Results::default().ratios).into_iter().map(|(name, _)| name).collect();
        assert_eq!(figures, BARS.iter().map(|bar| bar.name).collect::<Vec<_>>());
    }

    /// Of so many pairs.
    fn judged(low: f64, median: f64, high: f64, pairs: usize) -> (&'static str, String) {
        let own = Interval { low, median, high, pairs, left_out: 0, late: 0 };
        let figure = Figure { value: median, interval: Some(own) };
        (verdict(&figure, 1.12), interval(figure))
    }

    #[test]
    fn a_bound_is_met_by_the_whole_interval_or_not_at_all() {
        let met = judged(1.0, 1.1, 1.12, 6);
        assert_eq!(met, ("met", "1.000 to 1.120 (96.9%, 6 pairs)".to_owned()));
        assert_eq!(judged(1.13, 1.2, 1.3, 9).0, "**not met**");
        assert_eq!(judged(1.0, 1.1, 1.3, 9).0, "undecided (the median is within)");
        assert_eq!(judged(1.0, 1.2, 1.3, 9).0, "undecided (the median is not within)");
        assert_eq!(judged(1.0, 1.0, 1.0, 5), ("too few pairs", "none: 5 pairs".to_owned()));
        assert_eq!(judged(2.0, 2.0, 2.0, 1), ("too few pairs", "none: 1 pair".to_owned()));
        let plain = |value| verdict(&Figure { value, interval: None }, 1.12);
        assert_eq!([plain(1.12), plain(1.2)], ["met", "**not met**"]);
    }

    #[test]
    fn it_says_what_was_built_and_how_it_is_made_again() {
        let told = |results: &Results| {
            let mut text = String::new();
            machine(&mut text, results);
            pieces(&mut text, results);
            again(&mut text, results);
            text
        };
        let mut results =
            Results { command: ["bench-harness", "micro"].map(str::to_owned).to_vec(), ..Results::default() };
        results.machine.rustc = "rustc 1.95.0".into();
        let text = told(&results);
        assert!(text.contains("cargo build --release --workspace && target/release/bench-harness micro\n"));
        assert!(!text.contains("commit"), "{text}");
        results.machine.guided = true;
        results.machine.commit = "0123456789ab-dirty".into();
        let timed = Micro { ns: Some(351.0), ns_between: Some([349.0, 352.5]), ..Micro::default() };
        results.micro.insert("pipeline".into(), timed);
        let text = told(&results);
        assert!(text.contains("- built from commit 0123456789ab-dirty\n"), "{text}");
        assert!(text.contains("| `pipeline` | – | 351.0 (1.000) | 349.0 to 352.5 |"), "{text}");
        assert!(
            text.contains("bench-harness/guided/run && target/guided/release/bench-harness micro\n"),
            "{text}"
        );
    }

    #[test]
    fn a_time_below_zero_is_told_as_what_cannot_be_resolved() {
        let mut results = Results::default();
        results.ratios.full_tables_extra_ns = Some(-3.0);
        results.ratios.overload_goodput_lost = Some(-0.02);
        let mut report = String::new();
        figures(&mut report, &results);
        assert!(
            report.contains("| below what this can resolve (-3.000 ns) |  | 60.00 ns | met |"),
            "{report}"
        );
        assert!(report.contains("| **-0.020** |"), "more calls than at the peak: {report}");
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        assert_eq!([12345.6, 123.45, 12.345, 1.2345].map(number), ["12346", "123.5", "12.35", "1.234"]);
    }
}
