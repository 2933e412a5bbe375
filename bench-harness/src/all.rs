//! `all`: every measurement, one after the other, into one folder.

mod budget;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::compare::{Family, Selection, estimate};
use crate::died;
use crate::interrupt::Folder;
use crate::output::{say, tell};
use crate::progress::minutes;
use crate::results::against::Against;
use crate::results::model::{EndedEarly, Load, Part, Results};
use crate::results::{self, FILE};
use budget::{Budget, Output, output};

/// Runs every measurement into one folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints what it is going to do and how long that takes, then runs each part as a program of its own: most build network
namespaces. A part that fails does not keep the next from running. After each part the folder holds results.json, report.md, plots
and histograms, with the figures of all parts: ratios of the comparison, instructions and times of pieces of code (`micro`), what is
left under overload (`calls`, by 0.4 of a core, which takes root). While a part runs, and where it is interrupted, what it has so
far is in NAME.part there. Exit code 0: each part met what its help says that it holds itself to.

--quick has fewer and shorter windows, coarser searches and smaller tables of everything, and ends within five minutes: planned
is little more than half of that, for slow machines. A part that does not fit into what is left of them, as this machine keeps
to the plan, is left out; one that takes longer is ended. Either is told, and stands in results.json and the report. (Where
what is asked for besides takes longer, the limit is twice what is planned.)

--only, --rounds, --window-ms, --loads and --opensips are the comparison's (`bench-harness compare --help`).

Examples:
  bench-harness all --quick
  bench-harness all --parts micro,compare,calls --only null,kamailio,opensips --opensips /opt/opensips/sbin/opensips --rounds 9
  bench-harness all --out results --against last-week/results.json --junit verdict.xml")]
pub struct Args {
    /// A small version of everything, in less than five minutes
    #[arg(long)]
    quick: bool,
    /// Folder for all files
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    out: PathBuf,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_parser = PLAN.map(|step| step.name))]
    parts: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    against: Against,
}

/// One command of the plan.
struct Step {
    name: &'static str,
    /// What `bench-harness` is told for a full and for a small run.
    full: &'static str,
    quick: &'static str,
    /// How long those take, in seconds, measured on two cores at 2.5 GHz; `None`: the comparison's is the sum of what it is made
    /// of.
    seconds: Option<(u64, u64)>,
    /// Whether it writes a results.json by `--out`; else it prints JSON.
    writes: bool,
}

/// How long a small run may take, in seconds: less than five minutes, with what it takes to end a part and to write the report.
const QUICK_S: u64 = 285;
/// How long it is planned to take at most: machines differ.
const QUICK_PLANNED_S: u64 = QUICK_S * 5 / 8;

/// The part that a [`Selection`] is for.
const COMPARE: &str = "compare";

/// A small comparison: what of it is not given.
fn small() -> Selection {
    Selection {
        only: vec![Family::Null, Family::Kamailio],
        rounds: Some(2),
        window_ms: Some(100),
        loads: vec![Load::Messages, Load::Calls, Load::StatefulCalls, Load::Paced],
        opensips: None,
    }
}

/// What waits comes before what only computes: how long the latter takes says the most of the machine and the least of the rest.
const PLAN: [Step; 9] = [
    Step {
        name: "sipp",
        full: "sipp --calls 1000 --rate 100",
        quick: "sipp --calls 50",
        seconds: Some((60, 8)),
        writes: false,
    },
    Step {
        name: COMPARE,
        full: "compare",
        quick: "compare --knee 25000 --calls 500",
        seconds: None,
        writes: true,
    },
    Step {
        name: "overload",
        full: "overload",
        quick: "overload --seconds 1 --windows 16 --rounds 1",
        seconds: Some((55, 15)),
        writes: false,
    },
    Step {
        name: "calls",
        // One core of load does not offer five times what a whole one of Viaduct's carries.
        full: "overload --calls --core-part 0.4",
        quick: "overload --calls --seconds 1 --rounds 1 --windows 20",
        seconds: Some((120, 35)),
        writes: true,
    },
    Step {
        name: "connections",
        full: "connections",
        // Of so few most is what tables take that are there at once.
        quick: "connections --count 500 --speaking 50 --at-most 4096",
        seconds: Some((60, 3)),
        writes: false,
    },
    Step {
        name: "follow",
        full: "follow",
        quick: "follow --v4 1000 --v6 0 --seconds 2 --many 1000",
        seconds: Some((90, 10)),
        writes: false,
    },
    Step {
        name: "fib",
        full: "fib",
        quick: "fib --v4 100000 --v6 20000",
        seconds: Some((8, 2)),
        writes: false,
    },
    Step {
        name: "soak",
        full: "soak --seconds 120",
        quick: "soak --seconds 10 --rate 5000",
        seconds: Some((160, 25)),
        writes: false,
    },
    Step { name: "micro", full: "micro", quick: "micro --quick", seconds: Some((420, 25)), writes: true },
];

/// Runs the plan; `true`: every part met its conditions, and nothing is worse.
pub fn execute(args: &Args) -> io::Result<bool> {
    let old = args.against.read()?;
    results::prepare(&args.out)?;
    let plan = args.plan();
    announce(args, &plan);
    let mut results = Results::begin();
    let mut plots = Vec::new();
    let mut budget = Budget::new(args.limit());
    let begin = Instant::now();
    for (number, step) in plan.iter().enumerate() {
        let place = format!("[{}/{}]", number + 1, plan.len());
        let planned = Duration::from_secs(step.estimate(args));
        if let Some(why) = budget.leaves_out(planned, begin.elapsed()) {
            tell!("{place} {}: {why}", step.name);
            results.skipped.insert(step.name.to_owned(), why);
            continue;
        }
        let rest = plan[number..].iter().map(|step| step.estimate(args)).sum();
        let left = budget.here(Duration::from_secs(rest));
        tell!(
            "{place} {} gone, about {} left: {}",
            minutes(begin.elapsed().as_secs()),
            minutes(left.as_secs()),
            shown(&step.words(args))
        );
        let begun = Instant::now();
        plots.extend(step.run(args, budget.left(begin.elapsed()), &mut results)?);
        budget.done(planned, begun.elapsed());
        let mut so_far = results.clone().concluded();
        so_far.ended_early = EndedEarly::goes_on(number + 1, plan.len(), "parts").or(so_far.ended_early);
        results::summarise(&args.out, &so_far, &plots)?;
    }
    let results = results.concluded();
    results::summarise(&args.out, &results, &plots)?;
    print(&results, begin.elapsed(), &args.out)?;
    let passed = results.parts.values().all(|part| part.passed);
    Ok(passed & old.judge(&results)?)
}

impl Args {
    /// What of the comparison is not given.
    fn usual(&self) -> Selection {
        if self.quick { small() } else { Selection::default() }
    }

    /// How long it may take; `None`: as long as it takes.
    fn limit(&self) -> Option<Duration> {
        let planned: u64 = self.plan().iter().map(|step| step.estimate(self)).sum();
        let limit = if planned <= QUICK_PLANNED_S { QUICK_S } else { 2 * planned };
        self.quick.then(|| Duration::from_secs(limit))
    }

    fn plan(&self) -> Vec<&'static Step> {
        let wanted = |step: &&Step| self.parts.is_empty() || self.parts.iter().any(|part| part == step.name);
        PLAN.iter().filter(wanted).collect()
    }
}

fn announce(args: &Args, plan: &[&Step]) {
    let total = plan.iter().map(|step| step.estimate(args)).sum();
    tell!("{} parts, about {} in all, into {}:", plan.len(), minutes(total), args.out.display());
    for step in plan {
        tell!("  {:>6}  bench-harness {}", minutes(step.estimate(args)), shown(&step.words(args)));
    }
}

fn shown(words: &[OsString]) -> String {
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

impl Step {
    /// What `bench-harness` is told.
    fn words(&self, args: &Args) -> Vec<OsString> {
        let own = if args.quick { self.quick } else { self.full };
        let selection = match self.name == COMPARE {
            true => self.selection(args).words(),
            false => Vec::new(),
        };
        own.split(' ').map(OsString::from).chain(selection).collect()
    }

    fn selection(&self, args: &Args) -> Selection {
        args.selection.clone().or(args.usual())
    }

    /// In seconds.
    fn estimate(&self, args: &Args) -> u64 {
        match self.seconds {
            Some((_, quick)) if args.quick => quick,
            Some((full, _)) => full,
            // The small one is told its rates.
            None => estimate(&self.selection(args), args.quick).as_secs(),
        }
    }

    /// Its own progress goes to the terminal, its results into `results`; names the plots and histograms that it brought. After so long it is
    /// ended.
    fn run(&self, args: &Args, at_most: Option<Duration>, results: &mut Results) -> io::Result<Vec<String>> {
        let folder = PartFolder::new(&args.out, self.name)?;
        let told = Folder::new()?;
        let (variable, why) = died::word(told.path());
        let mut program = Command::new(std::env::current_exe()?);
        let words = self.words(args);
        program.args(&words).env(variable, &why);
        if self.writes {
            program.arg("--out").arg(&folder.0);
        } else {
            program.arg("--json");
        }
        let (begin, died) = (Instant::now(), results.died.len());
        let Output { status, stdout } = output(&mut program, at_most)?;
        let seconds = begin.elapsed().as_secs_f64();
        let said = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
        let mut plots = Vec::new();
        if self.writes {
            match take_in(&args.out, &folder.0, results) {
                Ok(brought) => plots = brought,
                Err(error) => _ = results.skipped.insert(self.name.to_owned(), error.to_string()),
            }
        } else if let Some(status) = status.filter(|_| said.is_null()) {
            results.skipped.insert(self.name.to_owned(), format!("it ended with {status}"));
        }
        let Some(status) = status else {
            let why = format!("ended after {seconds:.0} s: the time for all was over");
            tell!("{}: {why}", self.name);
            results.skipped.insert(self.name.to_owned(), why);
            return Ok(plots);
        };
        let words = words.iter().map(|word| word.to_string_lossy().into_owned());
        let command = std::iter::once("bench-harness".to_owned()).chain(words).collect();
        let passed = status.success();
        let why = fs::read_to_string(why).ok().or_else(|| died_of(results, died));
        let why = why.or_else(|| status.signal().map(|_| format!("it ended with {status}")));
        let part = Part { command, seconds, passed, why: why.filter(|_| !passed), said };
        results.parts.insert(self.name.to_owned(), part);
        Ok(plots)
    }
}

/// Where a part leaves its files until they are taken in; what is interrupted before that stays.
struct PartFolder(PathBuf);

impl PartFolder {
    fn new(out: &Path, name: &str) -> io::Result<Self> {
        let folder = out.join(format!("{name}.part"));
        // What an earlier run left there would be none of this one's.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(results::named(&folder, &error)),
            _ => Ok(Self(folder)),
        }
    }
}

impl Drop for PartFolder {
    fn drop(&mut self) {
        // Empty where the part writes none.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Who died in a part that came to its end all the same; its conditions are not met then.
fn died_of(results: &Results, before: usize) -> Option<String> {
    results.died.values().next_back().filter(|_| results.died.len() > before).cloned()
}

/// Takes in the figures of a part's results.json, and its plots and histograms; names the latter.
fn take_in(out: &Path, folder: &Path, results: &mut Results) -> io::Result<Vec<String>> {
    results.absorb(results::read(&folder.join(FILE))?)?;
    let mut brought = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".svg") || name.ends_with(".hgrm") {
            let to = out.join(&name);
            fs::rename(folder.join(&name), &to).map_err(|error| results::named(&to, &error))?;
            brought.push(name);
        }
    }
    brought.sort();
    Ok(brought)
}

fn print(results: &Results, took: Duration, folder: &Path) -> io::Result<()> {
    for (name, part) in &results.parts {
        let why = part.why.as_deref().and_then(|why| why.lines().next()).map(|why| format!("  {why}"));
        let verdict = if part.passed { "PASS" } else { "FAIL" };
        say!("{verdict} {name:10} {:6.1} s{}", part.seconds, why.unwrap_or_default())?;
    }
    for (name, why) in results.skipped.iter().filter(|(name, _)| PLAN.iter().any(|step| step.name == *name)) {
        say!("NONE {name:10} {why}")?;
    }
    say!("{} in all; {}", minutes(took.as_secs()), folder.join("report.md").display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn args(words: &[&str]) -> Args {
        let all = ["bench-harness", "all"].iter().chain(words);
        match crate::Cli::parse_from(all).command {
            crate::Command::All(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_part_is_a_command_that_there_is() {
        let opensips = "--opensips /opt/opensips --only null,opensips --loads calls,stateful-calls";
        for given in ["", "--quick", opensips, "--quick --rounds 5 --window-ms 200"] {
            let args = args(&given.split_whitespace().collect::<Vec<_>>());
            for step in args.plan() {
                let last = if step.writes { vec!["--out", "folder"] } else { vec!["--json"] };
                let last = last.into_iter().map(OsString::from);
                let words =
                    [OsString::from("bench-harness")].into_iter().chain(step.words(&args)).chain(last);
                if let Err(error) = crate::Cli::try_parse_from(words) {
                    panic!("{}: {error}", step.name);
                }
            }
        }
    }

    #[test]
    fn what_is_selected_goes_to_the_comparison_and_other_parts_are_left_out() {
        let args = args(&["--quick", "--parts", "compare,micro", "--rounds", "4", "--only", "kamailio"]);
        let words: Vec<String> = args.plan().iter().map(|step| shown(&step.words(&args))).collect();
        assert_eq!(
            words,
            [
                "compare --knee 25000 --calls 500 --only kamailio --rounds 4 --window-ms 100 \
                 --loads messages,calls,stateful-calls,paced",
                "micro --quick",
            ]
        );
        let twice = Selection { rounds: Some(4), only: vec![Family::Kamailio], ..small() };
        assert_eq!(args.plan()[0].estimate(&args), estimate(&twice, true).as_secs());
        assert!(crate::Cli::try_parse_from(["bench-harness", "all", "--parts", "micros"]).is_err());
    }

    #[test]
    fn the_small_version_takes_less_than_five_minutes() {
        let args = args(&["--quick"]);
        let quick: u64 = args.plan().iter().map(|step| step.estimate(&args)).sum();
        assert!(quick <= QUICK_PLANNED_S, "{quick} s, and machines differ");
        assert_eq!(args.limit(), Some(Duration::from_secs(QUICK_S)));
        assert_eq!(PLAN.len(), args.plan().len(), "no part is left out beforehand");
    }

    #[test]
    fn a_parts_folder_begins_empty_and_ends_with_the_part() {
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("compare.part");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(FILE), "of an earlier run").unwrap();
        let part = PartFolder::new(out.path(), "compare").unwrap();
        assert!(part.0 == folder && !folder.exists());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(FILE), "of this one").unwrap();
        drop(part);
        assert!(!folder.exists());
        fs::write(&folder, "no folder").unwrap();
        assert!(PartFolder::new(out.path(), "compare").err().unwrap().to_string().contains("compare.part: "));
    }

    #[test]
    fn only_a_small_version_has_a_limit_and_more_that_is_asked_for_has_its_time() {
        assert_eq!(args(&[]).limit(), None);
        let much = args(&["--quick", "--rounds", "20"]);
        let planned: u64 = much.plan().iter().map(|step| step.estimate(&much)).sum();
        assert!(much.limit() == Some(Duration::from_secs(2 * planned)) && planned > QUICK_S);
    }
}
