//! A run written by hand, through ratios, files and back.

use hdrhistogram::Histogram;

use super::model::*;
use super::*;

/// A window without a loss.
pub fn sample(round: u32, subject: &str, load: Load, cpu_ns: u64) -> Sample {
    Sample {
        round,
        subject: subject.into(),
        load,
        offered_per_second: 1000.0,
        seconds: 1.0,
        sent: 1000,
        delivered: 1000,
        lost: 0,
        retransmissions: 0,
        calls: if load.unit() == Unit::Message { 0 } else { 100 },
        failed: 0,
        odd: 0,
        cpu_ns,
        core_used: 0.5,
        softirq_ns: 0,
        syscalls: None,
        resident_bytes: 50 << 20,
        begun_afresh: 0,
        on_schedule: true,
        generator_idle: 0.5,
        latency: Some(Latency {
            p50_ns: cpu_ns / 100,
            p99_ns: cpu_ns / 50,
            p999_ns: cpu_ns / 25,
            max_ns: cpu_ns,
        }),
    }
}

/// Nine rounds in which Viaduct costs 1.10 of the floor and 0.40 of Kamailio.
pub fn results() -> Results {
    let mut results = Results { schema: SCHEMA, begun: "2026-01-31T12:00:00Z".into(), ..Results::default() };
    for round in 0..9 {
        // The machine gets slower and slower; pairs do not.
        let base = 1_000_000 + u64::from(round) * 100_000;
        results.samples.extend([
            sample(round, "null-uring", Load::Messages, base),
            sample(round, "viaduct", Load::Messages, base * 110 / 100),
            sample(round, "viaduct", Load::Calls, base * 4),
            sample(round, "kamailio", Load::Calls, base * 10),
            sample(round, "viaduct-tls", Load::TlsCalls, base * 3),
            sample(round, "kamailio-tls", Load::TlsCalls, base * 6),
            sample(round, "viaduct-tls", Load::TlsConnections, base * 2),
            sample(round, "kamailio-tls", Load::TlsConnections, base * 5),
            sample(round, "null-uring", Load::Paced, 1_000_000),
            sample(round, "viaduct", Load::Paced, 1_120_000),
            sample(round, "null-uring-spinning", Load::Paced, 400_000),
            sample(round, "viaduct-spinning", Load::Paced, 480_000),
        ]);
    }
    let saturated = sample(9, "viaduct", Load::Saturation, 1);
    results.samples.push(Sample { syscalls: Some(20), sent: 1_500, lost: 500, ..saturated });
    for (subject, cpu_ns) in [("viaduct", 1_120_000), ("null-uring", 1_000_000)] {
        let of_all = sample(0, subject, Load::Paced, cpu_ns).latency.unwrap();
        results.latencies.insert(ratios::latencies_of(subject, Load::Paced), of_all);
    }
    results.micro.insert(
        "pipeline".into(),
        Micro { instructions: Some(3_400.0), ns: Some(351.0), ns_between: Some([349.0, 352.0]) },
    );
    results.micro.insert("parse".into(), Micro { instructions: Some(680.0), ..Micro::default() });
    results.micro.insert("fib_lookup_zipf_1200000".into(), Micro { ns: Some(25.0), ..Micro::default() });
    let said = serde_json::json!({ "passed": false });
    let command = ["bench-harness", "overload", "--json"].map(str::to_owned).to_vec();
    results.parts.insert(
        "overload".into(),
        Part { command, seconds: 12.3, passed: false, why: Some("no such process\nand more".into()), said },
    );
    results.skipped.insert("opensips".into(), "no binary was named\n(--opensips PATH)".into());
    results
}

fn histograms() -> Histograms {
    let mut histograms = Histograms::new();
    for (subject, factor) in [("viaduct", 11), ("null-uring", 10)] {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=10_000_u64).for_each(|n| histogram.record(20_000 + n * factor).unwrap());
        histograms.insert((subject.into(), Load::Paced), histogram);
    }
    histograms
}

#[test]
fn ratios_are_medians_of_neighbours() {
    let Ratios { cpu_per_message_vs_null, cpu_per_call_vs_kamailio, .. } = results().concluded().ratios;
    let null = cpu_per_message_vs_null.unwrap();
    assert!((null.median - 1.1).abs() < 1e-9 && null.high - null.low < 1e-9, "{null:?}");
    assert_eq!((null.pairs, cpu_per_call_vs_kamailio.unwrap().median), (9, 0.4));
    let ratios = results().concluded().ratios;
    assert_eq!(ratios.cpu_per_call_tls_vs_kamailio.unwrap().median, 0.5);
    let connections = ratios.tls_connections_per_cpu_second_vs_kamailio.unwrap();
    assert!((connections.median - 2.5).abs() < 1e-9, "more is better: {connections:?}");
}

#[test]
fn latency_of_calls_is_a_ratio_of_neighbours_too() {
    let mut results = results();
    for round in 0..9 {
        let theirs = sample(round, "kamailio-mhomed", Load::Calls, 5_000_000);
        let latency = theirs.latency.map(|own| Latency { p50_ns: 100_000, p99_ns: 400_000, ..own });
        results.samples.push(Sample { latency, ..theirs });
    }
    let ours = results.samples.iter_mut().filter(|own| own.subject == "viaduct" && own.load == Load::Calls);
    ours.for_each(|own| {
        own.latency = own.latency.map(|own| Latency { p50_ns: 80_000, p99_ns: 100_000, ..own });
    });
    let ratios = results.clone().concluded().ratios;
    let half = ratios.latency_p50_at_calls_vs_kamailio_mhomed.unwrap();
    let most = ratios.latency_p99_at_calls_vs_kamailio_mhomed.unwrap();
    assert_eq!((half.median, half.pairs, most.median), (0.8, 9, 0.25));
    let report = report::text(&results.concluded(), &[]);
    let row = report.lines().find(|line| line.contains("(`cpu_per_call_vs_kamailio_mhomed`)")).unwrap();
    assert!(row.ends_with("| 0.800 (0.800 to 0.800) |"), "{row}");
    assert!(report.contains("(`latency_p99_at_calls_vs_kamailio_mhomed`) | **0.250** |"), "{report}");
}

/// Nine rounds of calls with transactions, of which Kamailio loses so many of a hundred in each.
fn stateful(lost: [u64; 9]) -> Results {
    let mut results = Results::default();
    for (round, failed) in (0..).zip(lost) {
        let theirs = sample(round, "kamailio-stateful", Load::StatefulCalls, 900);
        results.samples.extend([
            sample(round, "viaduct-stateful", Load::StatefulCalls, 300),
            Sample { failed, cpu_ns: 900 + 100 * failed, ..theirs },
        ]);
    }
    results
}

#[test]
fn windows_in_which_calls_were_lost_are_left_out_and_too_many_of_them_are_no_comparison() {
    let found = |lost| stateful(lost).concluded();
    let whole = found([0; 9]).ratios.cpu_per_stateful_call_vs_kamailio_mhomed.unwrap();
    assert_eq!((whole.pairs, whole.left_out), (9, 0));
    assert!((whole.median - 1.0 / 3.0).abs() < 1e-9);
    let few = found([0, 0, 40, 0, 0, 1, 0, 5, 0]).ratios.cpu_per_stateful_call_vs_kamailio_mhomed.unwrap();
    assert_eq!((few.pairs, few.left_out, few.median), (6, 3, whole.median));
    let many = found([0, 30, 40, 0, 0, 10, 0, 10, 0]);
    assert_eq!(many.ratios.cpu_per_stateful_call_vs_kamailio_mhomed, None);
    let loss = &many.not_comparable["cpu_per_stateful_call_vs_kamailio_mhomed"];
    assert_eq!((loss.offered_per_second, loss.lost["viaduct-stateful"]), (1000.0, 0.0));
    assert_eq!(loss.lost["kamailio-stateful"], 0.1);
    assert!(!many.skipped.contains_key("cpu_per_stateful_call_vs_kamailio_mhomed"));
    let report = report::text(&many, &[]);
    let said = "| **not comparable**: of 1000 a second, kamailio-stateful lost 10.00%, viaduct-stateful lost 0.00% |";
    assert!(report.contains(said), "{report}");
    let row = report.lines().find(|line| line.starts_with("| kamailio-stateful | 1000 |")).unwrap();
    assert!(row.ends_with("|  | 90 failed, not comparable |") && !row.contains('('), "{row}");
    assert!(report::text(&found([0, 0, 9, 0, 0, 0, 0, 0, 0]), &[]).contains("8 pairs, 1 left out)"));
}

#[test]
fn windows_in_which_the_load_was_late_are_left_out_and_most_of_them_are_no_comparison() {
    let late = |rounds: u32| {
        let mut results = results();
        for sample in results.samples.iter_mut().filter(|sample| sample.round < rounds) {
            let is_either = sample.subject == "kamailio" || sample.subject == "null-uring";
            sample.on_schedule = !is_either;
            sample.generator_idle = 0.01;
        }
        results.concluded()
    };
    let few = late(4);
    let calls = few.ratios.cpu_per_call_vs_kamailio.unwrap();
    assert_eq!((calls.pairs, calls.left_out, calls.late, calls.median), (5, 0, 4, 0.4));
    assert_eq!(few.ratios.added_latency_p50_us_interval.unwrap().late, 4);
    let report = report::text(&few, &[]);
    assert!(report.contains("| none: 5 pairs, 4 left out because the load was late |"), "{report}");
    let many = late(5);
    assert_eq!((many.ratios.cpu_per_call_vs_kamailio, many.ratios.added_latency_p50_us), (None, None));
    let report = report::text(&many, &[]);
    assert!(report.contains("viaduct lost 0.00%, the load itself was late in 5 of 9 pairs |"), "{report}");
    let row = report.lines().find(|line| line.starts_with("| kamailio | 1000 |")).unwrap();
    assert!(row.contains("the load had 1.0% of its core left: its own lag is in the latencies"), "{row}");
}

#[test]
fn a_message_sent_again_was_lost_whatever_became_of_the_call() {
    let mut results = stateful([0; 9]);
    results.samples.iter_mut().for_each(|sample| sample.retransmissions = 2);
    assert!(results.concluded().not_comparable.contains_key("cpu_per_stateful_call_vs_kamailio_mhomed"));
}

#[test]
fn the_report_says_how_much_was_offered_and_why() {
    let mut results = stateful([0; 9]);
    let most = [("viaduct-stateful", 5_000.0), ("kamailio-stateful", 1_700.0)];
    let most = most.map(|(name, rate)| (name.to_owned(), rate)).into();
    let offered = Offered { per_second: 1_020.0, part: Some(0.6), most, ..Offered::default() };
    results.offered.insert("stateful-calls".into(), offered);
    let report = report::text(&results, &[]);
    assert!(
        report.contains(
            "Offered: 1020 calls a second, 0.600 of the most that the slowest carried before the rounds: \
             `kamailio-stateful` 1700, `viaduct-stateful` 5000.\n"
        ),
        "{report}"
    );
    let asked = Offered { per_second: 300.0, ..Offered::default() };
    results.offered.insert("stateful-calls".into(), asked);
    assert!(report::text(&results, &[]).contains("Offered: 300.0 calls a second, as was asked for.\n"));
}

#[test]
fn the_report_says_which_rates_were_not_carried_and_by_whom() {
    let mut results = results();
    let lowered = [(1_000.0, "kamailio-tls"), (800.0, "viaduct-tls")];
    let lowered = lowered.map(|(per_second, who)| Lowered { per_second, lost_by: who.into() });
    let most = [("kamailio-tls".to_owned(), 1_667.0)];
    let offered = Offered {
        per_second: 640.0,
        part: Some(0.6),
        most: most.into(),
        lowered: lowered.into(),
        ..Offered::default()
    };
    let never = Offered { lost_by: Some("kamailio-tls".into()), ..offered.clone() };
    let said = |results: &Results| report::text(results, &[]);
    results.offered.insert("tls-calls".into(), offered);
    let words = "Offered: 640.0 calls a second, 0.600 of the most that the slowest carried before the rounds: \
                 `kamailio-tls` 1667; lowered to this, because `kamailio-tls` did not carry 1000, \
                 `viaduct-tls` did not carry 800.0";
    assert!(said(&results).contains(&format!("{words}.\n")), "{}", said(&results));
    results.offered.insert("tls-calls".into(), never);
    assert!(said(&results).contains(&format!("{words}; nor did `kamailio-tls` carry this.\n")));
}

#[test]
fn messages_are_offered_by_the_floors_most_and_to_other_proxies_by_their_own() {
    let mut results = results();
    let of = |most: &[(&str, f64)]| most.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
    let ours = of(&[("null-uring", 100_000.0), ("viaduct", 90_000.0)]);
    let part = Some(0.8);
    let of_floor = Some("null-uring".into());
    let ours = Offered { per_second: 80_000.0, part, of: of_floor, most: ours, ..Offered::default() };
    let theirs =
        Offered { per_second: 8_000.0, part, most: of(&[("kamailio", 10_000.0)]), ..Offered::default() };
    results.offered = [
        ("messages".into(), ours),
        ("messages/kamailio".into(), theirs),
        ("calls".into(), Offered::default()),
    ]
    .into();
    let report = report::text(&results, &[]);
    let messages = report.split("## Load: ").find(|part| part.starts_with("messages\n")).unwrap();
    let ours = "Offered: 80000 messages a second, 0.800 of the most that `null-uring` carried before the rounds: \
                `viaduct` 90000, `null-uring` 100000.\n";
    let theirs = "Offered to `kamailio`: 8000 messages a second, 0.800 of the most that the slowest carried";
    assert!(messages.contains(ours) && messages.contains(theirs), "{messages}");
    assert_eq!(messages.matches("Offered").count(), 2);
}

#[test]
fn each_row_names_whom_it_is_held_against_and_nobody_is_held_against_himself() {
    let mut results = Results::default();
    for round in 0..6 {
        let at =
            |rate, subject, load| Sample { offered_per_second: rate, ..sample(round, subject, load, 1000) };
        results.samples.extend([
            at(80e3, "null-uring", Load::Messages),
            at(80e3, "null-mmsg", Load::Messages),
            at(8e3, "kamailio", Load::Messages),
            at(90e3, "viaduct", Load::Saturation),
        ]);
    }
    let report = report::text(&results, &[]);
    let row = |begin: &str| report.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
    assert!(row("| null-mmsg | 80000 |").ends_with("(1.000) | `null-uring` |  |"), "{report}");
    for alone in ["| null-uring | 80000 |", "| kamailio | 8000 |", "| viaduct | 90000 |"] {
        assert!(row(alone).ends_with("MiB |  |  |") && !row(alone).contains('('), "{}", row(alone));
    }
}

#[test]
fn how_often_a_subject_was_started_afresh_stands_beside_its_windows() {
    let mut results = results();
    for sample in results.samples.iter_mut().filter(|sample| sample.subject == "kamailio") {
        sample.begun_afresh = u32::from(sample.round < 4);
    }
    let results = results.concluded();
    assert_eq!(results.begun_afresh, [("kamailio".to_owned(), 4)].into());
    let report = report::text(&results, &[]);
    let row = report.lines().find(|line| line.starts_with("| kamailio | 1000 |")).unwrap();
    assert!(row.ends_with("| started afresh 4 times |"), "{row}");
}

#[test]
fn added_latency_is_a_difference_of_neighbours_and_none_where_messages_were_lost() {
    let mut results = results();
    let at = |results: &mut Results, round: u32, change: fn(&mut Sample)| {
        let ours = |sample: &&mut Sample| {
            sample.round == round && sample.subject == "viaduct" && sample.load == Load::Paced
        };
        results.samples.iter_mut().filter(ours).for_each(change);
    };
    at(&mut results, 3, |sample| (sample.lost, sample.delivered) = (6, 994));
    at(&mut results, 4, |sample| {
        let latency = sample.latency.unwrap();
        sample.latency = Some(Latency { p50_ns: latency.p50_ns + 9_000, ..latency });
    });
    let ratios = results.concluded().ratios;
    let interval = ratios.added_latency_p50_us_interval.unwrap();
    assert_eq!((interval.pairs, interval.left_out), (8, 1));
    assert!((interval.median - 1.2).abs() < 1e-9 && (interval.high - 10.2).abs() < 1e-9, "{interval:?}");
    assert_eq!(ratios.added_latency_p50_us, Some(interval.median));
    assert_eq!(ratios.added_latency_spinning_p50_us_interval.unwrap().pairs, 9);
}

/// Rounds of a peak of 1,000 calls a second, of which a part is lost, and of five times as many behind it.
fn overloaded(rounds: &[(u64, u64)]) -> Results {
    let mut results = Results::default();
    for (round, (lost_at_peak, completed)) in (0..).zip(rounds) {
        let of = |calls, failed, rate| Sample {
            calls,
            failed,
            offered_per_second: rate,
            ..sample(round, ratios::OVERLOADED, Load::Overload, 4_000_000_000)
        };
        results.samples.extend([of(1_000, *lost_at_peak, 1_000.0), of(5_000, 5_000 - completed, 5_000.0)]);
    }
    results
}

#[test]
fn overload_is_the_median_of_the_rounds_whose_peak_was_one() {
    let found = |rounds: &[(u64, u64)]| overloaded(rounds).concluded();
    let three = found(&[(0, 950), (0, 900), (0, 400)]).ratios;
    assert!((three.overload_goodput_lost.unwrap() - 0.1).abs() < 1e-9, "{three:?}");
    assert_eq!(three.overload_setup_p99_ms, Some(80.0));
    let two = found(&[(130, 950), (0, 900), (0, 700)]).ratios;
    assert!((two.overload_goodput_lost.unwrap() - 0.2).abs() < 1e-9, "{two:?}");
    let none = found(&[(130, 950)]);
    assert_eq!((none.ratios.overload_goodput_lost, none.ratios.overload_setup_p99_ms), (None, None));
    assert_eq!(none.not_comparable["overload_goodput_lost"].lost[ratios::OVERLOADED], 0.13);
    assert!(found(&[]).not_comparable.is_empty());
}

#[test]
fn an_overload_that_the_load_could_not_offer_is_none() {
    let mut rounds = overloaded(&[(0, 950), (0, 500), (0, 500)]);
    let late = |sample: &&mut Sample| sample.round > 0 && sample.calls == 5_000;
    rounds.samples.iter_mut().filter(late).for_each(|over| over.on_schedule = false);
    let one = rounds.clone().concluded().ratios;
    assert!((one.overload_goodput_lost.unwrap() - 0.05).abs() < 1e-9, "the others do not count: {one:?}");
    rounds.samples.iter_mut().for_each(|sample| sample.on_schedule &= sample.calls != 5_000);
    let none = rounds.concluded();
    assert_eq!((none.ratios.overload_goodput_lost, none.ratios.overload_setup_p99_ms), (None, None));
    let loss = &none.not_comparable["overload_setup_p99_ms"];
    assert!(loss.to_string().ends_with("the load itself was late in 3 of 3 pairs"), "{loss}");
}

#[test]
fn the_other_figures_come_from_their_places() {
    let ratios = results().concluded().ratios;
    assert_eq!(ratios.own_work_instructions, Some(3_400.0));
    assert_eq!(ratios.own_work_ns, Some(351.0));
    assert_eq!(ratios.fib_lookup_zipf_ns, Some(25.0));
    assert!((ratios.added_latency_p50_us.unwrap() - 1.2).abs() < 1e-9);
    assert!((ratios.added_latency_p999_us.unwrap() - 4.8).abs() < 1e-9);
    assert!((ratios.added_latency_spinning_p50_us.unwrap() - 0.8).abs() < 1e-9);
    assert_eq!(ratios.syscalls_per_message, Some(0.02));
    assert_eq!(ratios.cpu_per_call_vs_opensips_mhomed, None);
    assert_eq!(ratios.fib_lookup_random_ns, None);
}

#[test]
fn where_nothing_is_lost_nothing_is_saturated() {
    let mut results = results();
    results.samples.iter_mut().for_each(|sample| sample.lost = 0);
    assert_eq!(results.concluded().ratios.syscalls_per_message, None);
}

#[test]
fn a_subject_has_one_configuration_in_a_run() {
    let subject = |version: &str| Subject { version: version.into(), ..Subject::default() };
    let of = |name: &str, version: &str| Results {
        subjects: [(name.to_owned(), subject(version))].into(),
        ..Results::default()
    };
    let mut all = of("viaduct", "1");
    all.absorb(of("viaduct-overloaded", "2")).unwrap();
    all.absorb(of("viaduct", "1")).unwrap();
    let mut other = of("viaduct", "2");
    other.samples.push(sample(0, "viaduct", Load::Calls, 1));
    assert!(all.absorb(other).unwrap_err().to_string().contains("viaduct has two configurations"));
    assert!(all.samples.is_empty() && all.subjects.len() == 2);
}

#[test]
fn what_was_skipped_for_one_reason_is_told_together() {
    let report = report::text(&results().concluded(), &[]);
    let line = report.lines().find(|line| line.contains("(`bench-harness micro`)")).unwrap();
    assert!(line.starts_with("- fib_lookup_random_ns, full_tables_extra_ns: no window"), "{line}");
}

#[test]
fn windows_that_took_all_of_the_core_are_told() {
    let mut results = results();
    let of_calls = |sample: &&mut Sample| sample.subject == "kamailio" && sample.round > 6;
    results.samples.iter_mut().filter(of_calls).for_each(|sample| sample.core_used = 1.02);
    let report = report::text(&results, &[]);
    assert!(report.contains("took all of its core in 2 windows"), "{report}");
    assert_eq!(report.matches("took all of its core").count(), 1);
}

#[test]
fn of_several_rates_the_one_with_most_pairs_counts_and_then_the_highest() {
    let mut results = results();
    let at = |rate, cpu| Sample { offered_per_second: rate, ..sample(0, "viaduct", Load::Messages, cpu) };
    let floor = |rate| Sample { subject: "null-uring".into(), ..at(rate, 1_000_000) };
    // One pair at a higher rate is fewer than nine.
    results.samples.extend([at(9e3, 9_000_000), floor(9e3)]);
    let median =
        |results: &Results| results.clone().concluded().ratios.cpu_per_message_vs_null.unwrap().median;
    assert!((median(&results) - 1.1).abs() < 1e-9);
    results.samples = vec![at(5e3, 2_000_000), floor(5e3), at(9e3, 3_000_000), floor(9e3)];
    assert_eq!(median(&results), 3.0);
}

#[test]
fn what_is_not_measured_is_null_and_stands_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &results(), &histograms()).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join(FILE)).unwrap()).unwrap();
    let ratios = json["ratios"].as_object().unwrap();
    assert!(ratios["cpu_per_call_vs_opensips_mhomed"].is_null());
    assert!((ratios["cpu_per_message_vs_null"]["median"].as_f64().unwrap() - 1.1).abs() < 1e-9);
    let report = fs::read_to_string(folder.path().join(report::FILE)).unwrap();
    assert!(report.contains("- opensips: no binary was named (--opensips PATH)\n"), "{report}");
    assert!(report.contains(
        "(`cpu_per_message_vs_null`) | **1.100** | 1.100 to 1.100 (96.1%, 9 pairs) | 1.120 | met | 1.100 (1.100 to 1.100) |"
    ));
    assert!(report.contains("(`own_work_ns`) | **351.0 ns** |  | 350.0 ns | **not met** |"), "{report}");
    assert!(report.contains("| `parse` | 680.0 (0.200) | – |"), "{report}");
    assert!(report.contains("| viaduct | 1000 | 9 | 1.540 µs (1.100) |"), "{report}");
    assert!(
        report
            .contains("| overload | **not met**: no such process | 12 s | `bench-harness overload --json` |"),
        "{report}"
    );
    assert_eq!(json["parts"]["overload"]["said"]["passed"], false);
    let at = |what: &str| report.find(what).unwrap_or_else(|| panic!("no {what} in\n{report}"));
    assert!(at("| figure |") < at("## Not measured") && at("## Not measured") < at("## Load: messages"));
}

#[test]
fn a_run_that_ended_early_says_so_first() {
    let mut results = results();
    assert!(!report::text(&results, &[]).contains("ended early"));
    results.ended_early = EndedEarly::goes_on(2, 9, "rounds");
    results.died.insert("kamailio".into(), "kamailio ended with exit status: 255; it said:\nno shm".into());
    let report = report::text(&results, &[]);
    let at = |what: &str| report.find(what).unwrap_or_else(|| panic!("no {what} in\n{report}"));
    assert!(at("**This run ended early, with 2 of 9 rounds done: it was interrupted") < at("| figure |"));
    assert!(at("**kamailio died") < at("no shm") && at("no shm") < at("| figure |"));
    let mut all = Results::default();
    all.absorb(results.clone()).unwrap();
    assert_eq!((&all.ended_early, &all.died), (&results.ended_early, &results.died));
    assert_eq!(EndedEarly::goes_on(9, 9, "rounds"), None);
}

#[test]
fn each_figure_that_is_null_has_its_reason_until_another_run_measures_it() {
    let mut first = Results { samples: results().samples, ..Results::default() }.concluded();
    assert!(first.skipped["own_work_ns"].contains("bench-harness micro"), "{:?}", first.skipped);
    assert!(first.skipped["cpu_per_call_vs_opensips"].contains("bench-harness compare"));
    assert!(!first.skipped.contains_key("cpu_per_message_vs_null"));
    first.absorb(Results { micro: results().micro, ..Results::default() }.concluded()).unwrap();
    let both = first.concluded();
    assert!(
        !both.skipped.contains_key("own_work_ns") && !both.skipped.contains_key("cpu_per_message_vs_null")
    );
    assert!(both.skipped.contains_key("fib_lookup_random_ns"));
}

#[test]
fn a_file_reads_back_and_a_later_form_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &results(), &Histograms::new()).unwrap();
    let file = folder.path().join(FILE);
    let back = read(&file).unwrap();
    assert_eq!((back.samples.len(), back.ratios.syscalls_per_message), (results().samples.len(), Some(0.02)));
    let later = Results { schema: SCHEMA + 1, ..back };
    fs::write(&file, serde_json::to_string(&later).unwrap()).unwrap();
    assert!(read(&file).unwrap_err().to_string().contains("its form is 2"));
}

#[test]
fn each_plot_and_histogram_is_named_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &results(), &histograms()).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    for name in [
        "results.json",
        "report.md",
        "cpu-per-message.svg",
        "cpu-per-call.svg",
        "latency-paced.svg",
        "latency-viaduct-paced.hgrm",
        "latency-null-uring-paced.hgrm",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(files.iter().all(|file| file.is_file()));
    let svg = fs::read_to_string(folder.path().join("latency-paced.svg")).unwrap();
    assert!(
        svg.starts_with("<svg")
            && svg.contains("viaduct")
            && svg.contains("percentile")
            && svg.contains("99%")
    );
}

#[test]
fn what_an_earlier_run_has_drawn_goes_and_what_is_not_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["latency-old.svg", "cpu-per-nothing.svg", "latency-old-calls.hgrm"];
    for name in others.into_iter().chain(["notes.svg", "latency.txt"]) {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let files = write(folder.path(), &results(), &histograms()).unwrap();
    let there: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there.len(), files.len() + 2, "{there:?}");
    assert!(files.iter().all(|file| file.is_file()));
    assert!(others.iter().all(|name| !folder.path().join(name).exists()));
}

#[test]
fn files_that_cannot_be_written_are_named_and_leave_what_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), "old").unwrap();
    fs::create_dir(folder.path().join("cpu-per-message.svg")).unwrap();
    let error = write(folder.path(), &results(), &histograms()).unwrap_err().to_string();
    assert!(error.contains("cpu-per-message.svg: "), "{error}");
    read(&folder.path().join(FILE)).unwrap();
    fs::create_dir(folder.path().join(format!(".{FILE}.new"))).unwrap();
    let before = fs::read(folder.path().join(FILE)).unwrap();
    let error = write(folder.path(), &Results::default(), &histograms()).unwrap_err().to_string();
    assert!(error.contains("results.json: "), "{error}");
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), before);
    assert!(prepare(folder.path()).unwrap_err().to_string().contains("results.json.new: "));
}

#[test]
fn a_knee_is_the_median_of_the_rounds_highest_rates_that_arrived() {
    let knee = |round, rate: f64, delivered| Sample {
        offered_per_second: rate,
        delivered,
        lost: 1_000 - delivered,
        ..sample(round, "viaduct", Load::Knee, 1)
    };
    let mut results = Results::default();
    for (round, best) in [(0, 30e3), (1, 50e3), (2, 31e3)] {
        results.samples.extend([
            knee(round, best, 995),
            knee(round, best, 995),
            knee(round, best * 1.1, 994),
            // By luck.
            knee(round, best * 1.1, 996),
            knee(round, 20e3, 1000),
            knee(round, 20e3, 1000),
            // Into its queues.
            Sample { core_used: 1.01, ..knee(round, best * 1.05, 1000) },
            Sample { core_used: 1.01, ..knee(round, best * 1.05, 1000) },
        ]);
    }
    let report = report::text(&results, &[]);
    assert!(report.contains("| viaduct | 31000 | 1.000 |"), "{report}");
}

#[test]
fn rounds_of_two_runs_are_told_apart() {
    let mut first = results();
    let pairs = first.samples.len();
    first.absorb(results()).unwrap();
    assert_eq!(first.samples.len(), 2 * pairs);
    assert_eq!(first.concluded().ratios.cpu_per_message_vs_null.unwrap().pairs, 18);
}
