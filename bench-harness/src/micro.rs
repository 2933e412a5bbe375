//! `micro`: time and instructions of single pieces of the forwarder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cases::{self, Case};
use crate::interrupt::Folder;
use crate::output::say;
use crate::results::against::Against;
use crate::results::model::{Micro, Results};
use crate::results::{self, Histograms, statistics};
use crate::subject::end_with_us;
use crate::{own_work, progress, timing};

/// Times and counts single pieces of the forwarder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Pieces: parse; decide (first of a hundred rules, automatic egress); rewrite; pipeline (all of it for an INVITE of 600
bytes), pipeline_stateful (an INVITE and its 200 where transactions are kept); pipeline_stream_udp and
pipeline_stream_tcp (all that a shard does for them, where the caller has connected, and is answered by that; the
callee by UDP, or by a connection, too); rules_match_N (a request that only the last of N rules takes); pipeline_rules_N
(the pipeline of such an INVITE); fib_lookup_zipf_N and fib_lookup_random_N (a lookup among N routes); full_tables_extra
(what 1.2 million routes and 10,000 rules add to a message).
Nanoseconds are medians of nine processes' medians of many short runs, with the interval that holds the true median with 95%
confidence: how memory lies differs from one process to the next, and what else the machine does from one minute to the next.
All pieces have their first process before any has its second.
Instructions are counted by valgrind (callgrind) where it is installed: they are the same on every run of one binary, so
they can be held to limits. A limits file has a line for each piece, its name and its highest number of instructions.
What is known after each process stands in the folder of --out already.

Examples:
  bench-harness micro
  bench-harness micro --only fib_lookup
  bench-harness micro --instructions-only --limits tests/instructions/limits
  bench-harness micro --out results --against old/results.json")]
pub struct Args {
    /// Only pieces whose names hold this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Measure no time
    #[arg(long)]
    instructions_only: bool,
    /// Fewer repetitions by one process, which give no interval, and instructions only of parse, decide, rewrite and pipeline
    #[arg(long)]
    quick: bool,
    /// Count only the pieces in this file, and fail where one takes more instructions than it allows
    #[arg(long, value_name = "FILE", requires = "instructions_only")]
    limits: Option<PathBuf>,
    /// Write results.json and report.md into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    against: Against,
}

/// Of these a small measurement counts instructions: valgrind takes seconds for each, and half a minute for large tables.
const COUNTED_QUICKLY: [&str; 4] = ["parse", "decide", "rewrite", "pipeline"];

/// Processes in which a piece is timed.
const PROCESSES: usize = 9;

/// What full tables add to a message, beside the cases.
const EXTRA: &str = "full_tables_extra";

/// Runs the measurement; `true`: within all limits, and nothing is worse.
pub fn execute(args: &Args) -> io::Result<bool> {
    let old = args.against.read()?;
    args.out.as_deref().map_or(Ok(()), results::prepare)?;
    let limits = args.limits.as_deref().map(read_limits).transpose()?;
    let mut results = Results::begin();
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut names = cases::names();
    names.retain(|name| wanted(name) && limits.as_ref().is_none_or(|limits| limits.contains_key(name)));
    if let Some(only) = args.only.as_ref().filter(|_| names.is_empty() && !wanted(EXTRA)) {
        let known = cases::names().join(", ");
        return Err(io::Error::other(format!("no piece has {only} in its name; there are {known}, {EXTRA}")));
    }
    let passes = if args.quick || args.instructions_only { 1 } else { PROCESSES };
    let bar = progress::bar((names.len() * passes) as u64 + 1, "pieces");
    let counts = valgrind();
    if !counts {
        results
            .skipped
            .insert("instructions".into(), "valgrind is not installed (apt install valgrind)".into());
    }
    let mut medians = BTreeMap::<&str, Vec<f64>>::new();
    for (pass, name) in (0..passes).flat_map(|pass| names.iter().map(move |name| (pass, name))) {
        bar.set_message(name.clone());
        let piece = results.micro.entry(name.clone()).or_default();
        if pass == 0 && counts && (!args.quick || COUNTED_QUICKLY.contains(&name.as_str())) {
            piece.instructions = Some(count(name)?);
        }
        if !args.instructions_only {
            let all = medians.entry(name).or_default();
            all.push(time(name)?);
            piece.timed(all);
        }
        keep(args, &results)?;
        bar.inc(1);
    }
    if !args.instructions_only && wanted(EXTRA) {
        bar.set_message(EXTRA);
        extra(args, &mut results.micro);
    }
    bar.finish_and_clear();
    let results = results.concluded();
    keep(args, &results)?;
    print(args, &results, limits.as_ref())?;
    let over = limits.map_or_else(Vec::new, |limits| over(&results.micro, &limits));
    if !over.is_empty() {
        say!("instructions: over the limit, or not counted: {}", over.join(", "))?;
    }
    Ok(over.is_empty() & old.judge(&results)?)
}

/// What is known so far stays where the run is ended early.
fn keep(args: &Args, results: &Results) -> io::Result<()> {
    match &args.out {
        Some(folder) => results::write(folder, results, &Histograms::new()).map(drop),
        None => Ok(()),
    }
}

/// Nanoseconds of one call: the median of many runs in a process of its own.
fn time(name: &str) -> io::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["micro-case", name, "--timed"]);
    end_with_us(&mut command);
    let done = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    said.trim().parse().map_err(|_| {
        let why = String::from_utf8_lossy(&done.stderr);
        io::Error::other(format!("{name} was not timed: its process ended with {}: {why}", done.status))
    })
}

impl Micro {
    /// By what each process took.
    fn timed(&mut self, medians: &[f64]) {
        let Some(timed) = statistics::interval(medians.to_vec()) else { return };
        self.ns = Some(timed.median);
        self.ns_between = statistics::are_enough(timed.pairs).then_some([timed.low, timed.high]);
    }
}

fn extra(args: &Args, micro: &mut BTreeMap<String, Micro>) {
    let pairs = if args.quick { 21 } else { 201 };
    for extra in own_work::measure(&own_work::Args::full(pairs), |_| {}) {
        let piece = Micro { ns: Some(extra.more), ..Micro::default() };
        micro.insert(format!("{EXTRA}_{}", extra.draw), piece);
    }
}

fn print(args: &Args, results: &Results, limits: Option<&BTreeMap<String, f64>>) -> io::Result<()> {
    if args.json {
        say!("{}", serde_json::to_string(&results.micro)?)?;
        return Ok(());
    }
    let whole = results.micro.get("pipeline").copied().unwrap_or_default();
    for (name, piece) in &results.micro {
        let figure = |own: Option<f64>, whole: Option<f64>, unit: &str| {
            let own = own?;
            let part = whole.map(|whole| format!(" ({:.3} of the pipeline)", own / whole));
            Some(format!("{own:10.1} {unit}{}", part.unwrap_or_default()))
        };
        let figures = [
            figure(piece.instructions, whole.instructions, "instructions"),
            figure(piece.ns, whole.ns, "ns"),
            piece.ns_between.map(|[low, high]| format!("{low:.1} to {high:.1}")),
            limits.and_then(|limits| limits.get(name)).map(|limit| format!("limit {limit}")),
        ];
        // What `tests/run` repeats at its end.
        let mark = if limits.is_some() { "instructions: " } else { "" };
        say!("{mark}{name:28} {}", figures.into_iter().flatten().collect::<Vec<_>>().join("  "))?;
    }
    if let Some(why) = results.skipped.get("instructions") {
        say!("SKIPPED instructions: {why}")?;
    }
    Ok(())
}

/// The pieces that take more instructions than they may, or were not counted.
fn over(micro: &BTreeMap<String, Micro>, limits: &BTreeMap<String, f64>) -> Vec<String> {
    let over = limits.iter().filter(|(name, limit)| {
        let counted = micro.get(*name).and_then(|piece| piece.instructions);
        counted.is_none_or(|counted| counted > **limit)
    });
    over.map(|(name, _)| name.clone()).collect()
}

fn read_limits(file: &Path) -> io::Result<BTreeMap<String, f64>> {
    let named = |why: String| io::Error::other(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    let known = cases::names();
    let limit = |line: &str| {
        let (name, limit) = line.split_once(' ')?;
        known.iter().any(|known| known == name).then_some(())?;
        Some((name.to_owned(), limit.trim().parse().ok()?))
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| limit(line).ok_or_else(|| named(format!("`{line}` is no piece and its limit"))))
        .collect()
}

/// Makes the calls of one piece, some of which are counted: what `micro` runs under valgrind
#[derive(Debug, clap::Args)]
pub struct CaseArgs {
    /// Its name
    name: String,
    /// How many calls are counted
    #[arg(long, default_value_t = TIMES)]
    times: usize,
    /// Time many runs instead, and print their median in nanoseconds
    #[arg(long)]
    timed: bool,
}

/// Calls that are counted.
const TIMES: usize = 1000;

/// Makes the calls.
pub fn execute_case(args: &CaseArgs) -> io::Result<bool> {
    let mut case = case(&args.name)?;
    if args.timed {
        say!("{}", timing::spread(&mut *case).median)?;
        return Ok(true);
    }
    // What is done once, such as filling caches of patterns, is none of the call's.
    case.prepare(args.times);
    case.run();
    case.prepare(args.times);
    counted_calls(&mut *case);
    Ok(true)
}

/// What is counted: valgrind collects inside this function only.
#[inline(never)]
fn counted_calls(case: &mut dyn Case) {
    case.run();
}

fn case(name: &str) -> io::Result<Box<dyn Case>> {
    cases::build(name).ok_or_else(|| {
        io::Error::other(format!("there is no piece {name}; there are {}", cases::names().join(", ")))
    })
}

fn valgrind() -> bool {
    let asked =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Instructions of one call.
fn count(name: &str) -> io::Result<f64> {
    let folder = Folder::new()?;
    let out = folder.path().join("callgrind");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_calls*"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe()?).args(["micro-case", name, "--times", &TIMES.to_string()]);
    end_with_us(&mut command);
    let done = command.stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(io::Error::other(format!("valgrind of {name} ended with {}: {said}", done.status)));
    }
    let total = total(&fs::read_to_string(out)?);
    total
        .map(|total| total / TIMES as f64)
        .ok_or_else(|| io::Error::other(format!("valgrind counted nothing of {name}")))
}

/// What a file of callgrind's sums up to, if that is anything.
fn total(text: &str) -> Option<f64> {
    let sums = text
        .lines()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    sums.trim().parse().ok().filter(|total| *total > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_a_case_and_the_small_ones_run() {
        for name in cases::names().iter().filter(|name| !name.ends_with("0000")) {
            let mut case = case(name).unwrap();
            for calls in [1, 100] {
                case.prepare(calls);
                case.run();
            }
        }
        for name in ["", "pars", "rules_match_x", "fib_lookup_9", "fib_lookup_zipf_x"] {
            assert!(case(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_interval_is_over_processes_and_takes_enough_of_them() {
        let mut piece = Micro { instructions: Some(7.0), ..Micro::default() };
        piece.timed(&[]);
        assert_eq!((piece.ns, piece.ns_between), (None, None));
        piece.timed(&[5.0]);
        assert_eq!((piece.ns, piece.ns_between), (Some(5.0), None));
        piece.timed(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!((piece.ns, piece.ns_between), (Some(5.0), Some([2.0, 8.0])));
        assert_eq!(piece.instructions, Some(7.0));
    }

    #[test]
    fn callgrinds_sum_is_read_and_nothing_is_no_sum() {
        assert_eq!(total("events: Ir\nfn=(1)\n1 5\ntotals: 3500000\n"), Some(3_500_000.0));
        assert_eq!(total("summary: 17\n"), Some(17.0));
        assert_eq!(total("totals: 0\n"), None);
        assert_eq!(total(""), None);
    }

    #[test]
    fn limits_hold_from_above_and_want_a_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limits");
        fs::write(&file, "# piece limit\nparse 100\nrewrite    200\n").unwrap();
        let limits = read_limits(&file).unwrap();
        let counted = |parse: f64, rewrite: Option<f64>| {
            let piece = |instructions| Micro { instructions, ..Micro::default() };
            BTreeMap::from([("parse".to_owned(), piece(Some(parse))), ("rewrite".to_owned(), piece(rewrite))])
        };
        assert!(over(&counted(100.0, Some(1.0)), &limits).is_empty());
        assert!(!over(&counted(100.1, Some(1.0)), &limits).is_empty());
        assert!(!over(&counted(1.0, None), &limits).is_empty());
        fs::write(&file, "parser 100\n").unwrap();
        assert!(read_limits(&file).unwrap_err().to_string().contains("parser 100"));
    }
}
