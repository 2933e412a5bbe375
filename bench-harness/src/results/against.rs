//! One run held against an older one, by the flat figures.

mod likeness;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::model::{Ratios, Results};
use super::ratios::{Figure, flat, more_is_better, ratios};
use super::statistics::are_enough;
use crate::output::say;

/// By which part a figure may be worse, unless it is told otherwise.
const THRESHOLD: f64 = 0.05;

/// How far figures may be worse, and who is told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Judging {
    /// Part by which one figure may be worse, instead of 0.05: cpu_per_message_vs_null=0.03
    #[arg(long = "threshold", value_name = "FIGURE=PART", value_parser = threshold)]
    thresholds: Vec<(String, f64)>,
    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// For commands that measure and then compare.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(mut_arg("thresholds", |arg| arg.requires("against")), mut_arg("junit", |arg| arg.requires("against")))]
pub struct Against {
    /// Hold the figures against those of an older results.json; exit code 1 where one is worse
    #[arg(long, value_name = "OLD.json")]
    against: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
}

impl Against {
    /// Reads what figures are held against. Before anything is measured, because `--out` may write into the same file.
    ///
    /// # Errors
    /// It is no results.json, or there is no folder for the verdicts.
    pub fn read(&self) -> io::Result<Old<'_>> {
        if let Some(file) = &self.judging.junit {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) || file.is_dir() {
                return Err(io::Error::other(format!("{}: no file can be written there", file.display())));
            }
        }
        let results = self.against.as_deref().map(super::read).transpose()?;
        Ok(Old { judging: &self.judging, results })
    }
}

/// What figures are held against, if that was asked for.
#[derive(Debug)]
pub struct Old<'a> {
    judging: &'a Judging,
    results: Option<Results>,
}

impl Old<'_> {
    /// Prints and writes what was asked for; `true`: nothing is worse, or nothing was asked for.
    pub fn judge(&self, results: &Results) -> io::Result<bool> {
        self.results.as_ref().map_or(Ok(true), |old| self.judging.judge(old, results))
    }
}

/// Holds one results.json against an older one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Compares the figures under `ratios`; less is better, but of connections in a second of CPU. A figure that only one of the two has is told
and judged neither way; neither is one that the windows of either file show to be no comparison, because a subject lost a part
of what it was offered. What differs besides (processor, kernel, compiler, configurations, rates) is told; times are judged only
where processor, cores, kernel and mitigations are the same. Files of earlier forms are read, too. Exit code 1 where a figure is
worse by more than its threshold, and by more than can be told from nothing, and where it has intervals these do not
overlap (else it is undecided, and told); and where no figure is in both files.

Examples:
  bench-harness against old.json new.json
  bench-harness against old.json new.json --threshold own_work_ns=0.2 --junit verdict.xml")]
pub struct Args {
    /// What was
    old: PathBuf,
    /// What is
    new: PathBuf,
    #[command(flatten)]
    judging: Judging,
}

/// Compares two files; `true`: nothing is worse.
pub fn execute(args: &Args) -> io::Result<bool> {
    let (old, new): (Results, Results) = (super::read(&args.old)?, super::read(&args.new)?);
    args.judging.judge(&old, &new)
}

impl Judging {
    fn judge(&self, old: &Results, new: &Results) -> io::Result<bool> {
        let rows = compare(old, new, &self.thresholds).map_err(io::Error::other)?;
        if let Some(file) = &self.junit {
            write_junit(file, &rows)?;
        }
        for difference in likeness::differences(old, new) {
            say!("not the same: {difference}")?;
        }
        say!("{}", table(&rows).trim_end())?;
        if rows.iter().all(|row| row.old.is_none() || row.new.is_none()) {
            say!("no figure is in both: nothing was compared, which is no pass")?;
            return Ok(false);
        }
        Ok(rows.iter().all(|row| row.verdict != Verdict::Worse))
    }
}

fn threshold(text: &str) -> Result<(String, f64), String> {
    let (name, part) = text.split_once('=').ok_or("a figure, =, and a part, as in own_work_ns=0.1")?;
    let part = part.parse().map_err(|_| format!("{part} is no number"))?;
    if !(0.0..f64::INFINITY).contains(&part) {
        return Err(format!("{part} is no part of anything: 0.05 is five of a hundred"));
    }
    known(name)?;
    Ok((name.to_owned(), part))
}

fn known(name: &str) -> Result<(), String> {
    let figures = flat(&Ratios::default());
    if figures.iter().any(|(figure, _)| *figure == name) {
        return Ok(());
    }
    let names: Vec<_> = figures.into_iter().map(|(figure, _)| figure).collect();
    Err(format!("{name} is no figure of results.json; there are {}", names.join(", ")))
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Same,
    Worse,
    /// Better or worse by more than is allowed, but perhaps by chance.
    Undecided,
    /// A time on another machine.
    Elsewhere,
    /// Not measured any more.
    Missing,
    /// Not measured before.
    New,
    /// One of the two lost too much of what was offered.
    NotComparable,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Same => "same",
            Self::Worse => "WORSE",
            Self::Undecided => "undecided",
            Self::Elsewhere => "not the same machine",
            Self::Missing => "missing",
            Self::New => "new",
            Self::NotComparable => "not comparable",
        }
    }
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    old: Option<Figure>,
    new: Option<Figure>,
    threshold: f64,
    verdict: Verdict,
}

/// Every figure that either run has.
fn compare(old: &Results, new: &Results, thresholds: &[(String, f64)]) -> Result<Vec<Row>, String> {
    thresholds.iter().try_for_each(|(name, _)| known(name))?;
    // Figures are those of the files; what may be compared is judged as it is today.
    let [lost_then, lost_now] = [old, new].map(|results| ratios(results).1);
    let is_same_machine = likeness::is_same_machine(old, new);
    let pairs = flat(&old.ratios).into_iter().zip(flat(&new.ratios));
    let rows = pairs.filter_map(|((name, old), (_, new))| {
        let own = thresholds.iter().rev().find(|(figure, _)| figure == name);
        let threshold = own.map_or(THRESHOLD, |(_, part)| *part);
        let verdict = match (old, new) {
            _ if lost_then.contains_key(name) || lost_now.contains_key(name) => Verdict::NotComparable,
            (None, None) => return None,
            (Some(_), None) => Verdict::Missing,
            (None, Some(_)) => Verdict::New,
            (Some(_), Some(_)) if is_time(name) && !is_same_machine => Verdict::Elsewhere,
            (Some(old), Some(new)) => {
                let sign = if more_is_better(name) { -1.0 } else { 1.0 };
                match judged(sign * old.value, sign * new.value, threshold, resolution(name)) {
                    Verdict::Same => Verdict::Same,
                    _ if may_be_chance(&old, &new) => Verdict::Undecided,
                    sure => sure,
                }
            }
        };
        Some(Row { name, old, new, threshold, verdict })
    });
    Ok(rows.collect())
}

/// It says as much of the machine as of what runs on it.
fn is_time(name: &str) -> bool {
    ["_ns", "_us", "_ms"].iter().any(|unit| name.ends_with(unit))
}

/// By so much a figure may change whatever its threshold: a part of nearly nothing is nothing that could be measured.
fn resolution(name: &str) -> f64 {
    match name {
        _ if name.ends_with("_ns") => 2.0,
        _ if name.ends_with("_us") => 0.5,
        _ if name.ends_with("_ms") => 1.0,
        "syscalls_per_message" => 0.005,
        "overload_goodput_lost" => 0.02,
        _ => 0.0,
    }
}

/// The intervals overlap, or one of so few pairs is none. Figures without any are taken at their word.
fn may_be_chance(old: &Figure, new: &Figure) -> bool {
    let few = [old, new].iter().any(|figure| figure.interval.is_some_and(|own| !are_enough(own.pairs)));
    let both = old.interval.zip(new.interval);
    few || both.is_some_and(|(old, new)| old.low <= new.high && new.low <= old.high)
}

fn judged(old: f64, new: f64, threshold: f64, resolution: f64) -> Verdict {
    let room = (old.abs() * threshold).max(resolution);
    if new > old + room {
        Verdict::Worse
    } else if new < old - room {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:34} {:>11} {:>11} {:>8} {:>8}\n", "figure", "before", "now", "change", "allowed");
    for row in rows {
        let value =
            |figure: Option<Figure>| figure.map_or("–".into(), |figure| format!("{:.4}", figure.value));
        let change = row.old.zip(row.new).map_or(String::new(), |(old, new)| {
            format!("{:+.1}%", (new.value - old.value) / old.value.abs() * 100.0)
        });
        text += &format!(
            "{:34} {:>11} {:>11} {change:>8} {:>+7.1}%  {}\n",
            row.name,
            value(row.old),
            value(row.new),
            row.threshold * 100.0,
            row.verdict.word()
        );
    }
    text
}

fn write_junit(file: &Path, rows: &[Row]) -> io::Result<()> {
    let text = junit(rows).map_err(io::Error::other)?;
    fs::write(file, text).map_err(|error| super::named(file, &error))
}

/// One test case for each figure; one that only one run has is skipped.
fn junit(rows: &[Row]) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("ratios");
    suite.add_test_cases(rows.iter().map(|row| {
        let said = table(std::slice::from_ref(row));
        let status = match row.verdict {
            Verdict::Better | Verdict::Same => TestCaseStatus::success(),
            Verdict::Worse => {
                let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
                failed.set_message("worse than before").set_type("worse").set_description(said);
                failed
            }
            Verdict::Undecided
            | Verdict::Elsewhere
            | Verdict::Missing
            | Verdict::New
            | Verdict::NotComparable => {
                let mut skipped = TestCaseStatus::skipped();
                skipped.set_message(row.verdict.word());
                skipped
            }
        };
        let mut case = TestCase::new(row.name, status);
        case.set_classname("bench-harness");
        case
    }));
    let mut report = Report::new("bench-harness");
    report.add_test_suite(suite);
    report.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::model::{Interval, Load, Sample};

    fn paired(median: f64) -> Option<Interval> {
        Some(Interval { median, low: median - 0.01, high: median + 0.01, pairs: 9, left_out: 0, late: 0 })
    }

    fn verdicts(old: &Results, new: &Results, thresholds: &[(String, f64)]) -> Vec<(&'static str, Verdict)> {
        compare(old, new, thresholds).unwrap().into_iter().map(|row| (row.name, row.verdict)).collect()
    }

    /// Of a file without windows.
    fn of(ratios: Ratios) -> Results {
        Results { ratios, ..Results::default() }
    }

    fn old() -> Results {
        of(Ratios {
            cpu_per_message_vs_null: paired(1.10),
            own_work_instructions: Some(3000.0),
            own_work_ns: Some(300.0),
            tls_connections_per_cpu_second_vs_kamailio: paired(2.0),
            fib_lookup_zipf_ns: Some(40.0),
            ..Ratios::default()
        })
    }

    fn new() -> Results {
        of(Ratios {
            cpu_per_message_vs_null: paired(1.14),
            tls_connections_per_cpu_second_vs_kamailio: paired(1.8),
            own_work_instructions: Some(3200.0),
            own_work_ns: Some(200.0),
            syscalls_per_message: Some(0.01),
            ..Ratios::default()
        })
    }

    #[test]
    fn worse_better_same_missing_and_new_are_told_apart() {
        assert_eq!(
            verdicts(&old(), &new(), &[]),
            [
                ("cpu_per_message_vs_null", Verdict::Same),
                ("tls_connections_per_cpu_second_vs_kamailio", Verdict::Worse),
                ("own_work_instructions", Verdict::Worse),
                ("own_work_ns", Verdict::Better),
                ("fib_lookup_zipf_ns", Verdict::Missing),
                ("syscalls_per_message", Verdict::New),
            ]
        );
    }

    #[test]
    fn a_threshold_of_its_own_decides_for_its_figure_only() {
        let thresholds = [("cpu_per_message_vs_null".to_owned(), 0.03)];
        let found = verdicts(&old(), &new(), &thresholds);
        assert_eq!(found[0], ("cpu_per_message_vs_null", Verdict::Worse));
        let thresholds = [("own_work_instructions".to_owned(), 0.07)];
        assert_eq!(verdicts(&old(), &new(), &thresholds)[2].1, Verdict::Same);
    }

    #[test]
    fn a_figure_below_zero_is_worse_when_it_rises() {
        assert_eq!(judged(-10.0, -10.4, 0.05, 0.0), Verdict::Same);
        assert_eq!(judged(-10.0, -9.0, 0.05, 0.0), Verdict::Worse);
        assert_eq!(judged(0.0, 0.1, 0.05, 0.0), Verdict::Worse);
        assert_eq!(judged(0.0, 0.1, 0.05, 0.5), Verdict::Same, "less than can be resolved");
    }

    #[test]
    fn thresholds_name_figures_and_parts() {
        assert_eq!(threshold("own_work_ns=0.2"), Ok(("own_work_ns".to_owned(), 0.2)));
        assert!(threshold("own_work=0.2").unwrap_err().contains("own_work_ns"));
        assert!(threshold("own_work_ns").is_err());
        assert!(threshold("own_work_ns=-1").is_err());
    }

    #[test]
    fn the_exit_code_and_the_file_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("verdict.xml");
        let judging = Judging { thresholds: Vec::new(), junit: Some(file.clone()) };
        assert!(!judging.judge(&old(), &new()).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        let suite = &report.test_suites[0];
        assert_eq!((suite.tests, suite.failures, text.matches("<skipped").count()), (6, 2, 2), "{text}");
        assert!(judging.judge(&old(), &old()).unwrap());
    }

    #[test]
    fn what_xml_reserves_is_escaped() {
        let row = Row { name: "a<b & \"c\"", old: None, new: None, threshold: 0.05, verdict: Verdict::Worse };
        let text = junit(&[row]).unwrap();
        assert!(text.contains("a&lt;b &amp; &quot;c&quot;"), "{text}");
    }

    #[test]
    fn what_may_be_chance_is_undecided_and_no_failure() {
        let mut later = old();
        later.ratios.cpu_per_message_vs_null = paired(1.115);
        assert_eq!(verdicts(&old(), &later, &[])[0].1, Verdict::Same);
        let near = [("cpu_per_message_vs_null".to_owned(), 0.001)];
        let judging = Judging { thresholds: near.to_vec(), junit: None };
        assert_eq!(verdicts(&old(), &later, &near)[0].1, Verdict::Undecided);
        assert!(judging.judge(&old(), &later).unwrap());
        later.ratios.cpu_per_message_vs_null = paired(1.2);
        assert!(!judging.judge(&old(), &later).unwrap());
        later.ratios.cpu_per_message_vs_null = paired(1.2).map(|own| Interval { pairs: 5, ..own });
        assert!(judging.judge(&old(), &later).unwrap(), "five pairs are too few");
    }

    #[test]
    fn times_of_another_machine_are_not_judged_and_nothing_in_common_is_no_pass() {
        let mut later = old();
        later.ratios.own_work_ns = Some(900.0);
        let judging = Judging::default();
        assert!(!judging.judge(&old(), &later).unwrap());
        later.machine.kernel = "6.1".into();
        let found = verdicts(&old(), &later, &[]);
        assert!(found.contains(&("own_work_ns", Verdict::Elsewhere)), "{found:?}");
        assert!(found.contains(&("own_work_instructions", Verdict::Same)), "{found:?}");
        assert!(judging.judge(&old(), &later).unwrap());
        assert!(!judging.judge(&old(), &of(Ratios::default())).unwrap());
    }

    /// As files were before calls with transactions had a load of their own, and before it counted what was lost.
    fn earlier(folder: &Path) -> PathBuf {
        let mut results = crate::results::tests::results();
        results.ratios = crate::results::ratios::ratios(&results).0;
        results.ratios.cpu_per_stateful_call_vs_kamailio_mhomed = paired(0.13);
        for round in 0..9 {
            for (subject, failed) in [("viaduct-stateful", 0), ("kamailio-stateful", 30)] {
                let like = results.samples.iter().find(|sample| sample.load == Load::Calls).unwrap();
                results.samples.push(Sample { round, subject: subject.into(), failed, ..like.clone() });
            }
        }
        let mut json = serde_json::to_value(&results).unwrap();
        let fields = json.as_object_mut().unwrap();
        assert!(["not_comparable", "offered"].into_iter().all(|field| fields.shift_remove(field).is_some()));
        let intervals = fields["ratios"].as_object_mut().unwrap().values_mut();
        intervals.filter_map(|interval| interval.as_object_mut()).for_each(|interval| {
            assert!(["left_out", "late"].iter().all(|field| interval.shift_remove(*field).is_some()));
        });
        let file = folder.join("earlier.json");
        fs::write(&file, json.to_string()).unwrap();
        file
    }

    #[test]
    fn figures_of_an_earlier_form_stay_but_for_those_beside_who_lost_calls() {
        let folder = tempfile::tempdir().unwrap();
        let against = Against { against: Some(earlier(folder.path())), judging: Judging::default() };
        let mut now = crate::results::tests::results().concluded();
        assert!(against.read().unwrap().judge(&now).unwrap());
        let old = crate::results::read(against.against.as_ref().unwrap()).unwrap();
        now.ratios.cpu_per_stateful_call_vs_kamailio_mhomed = paired(0.5);
        let found = verdicts(&old, &now, &[]);
        let of = |name| found.iter().find(|(figure, _)| *figure == name).map(|(_, verdict)| *verdict);
        assert_eq!(of("cpu_per_call_vs_kamailio"), Some(Verdict::Same), "{found:?}");
        assert_eq!(of("cpu_per_stateful_call_vs_kamailio_mhomed"), Some(Verdict::NotComparable));
        assert!(against.read().unwrap().judge(&now).unwrap(), "0.5 is not worse than what was none");
        now.ratios.cpu_per_call_vs_kamailio = paired(0.7);
        assert!(!against.read().unwrap().judge(&now).unwrap());
    }
}
