//! `all`: every measurement, one after the other, into one folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::results::against::Against;
use crate::results::model::{Part, Results};
use crate::results::{self, FILE};

/// Runs every measurement into one folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints what it is going to do and how long that takes, then runs each part as a program of its own: most build network
namespaces. A part that fails does not keep the next from running. The folder then holds results.json, report.md, plots
and histograms. Exit code 0: each part met what its help says that it holds itself to.

Examples:
  bench-harness all --quick
  bench-harness all --out results --against last-week/results.json --junit verdict.xml")]
pub struct Args {
    /// A small version of everything, in less than five minutes
    #[arg(long)]
    quick: bool,
    /// Folder for all files
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    out: PathBuf,
    /// Path to OpenSIPS, for `compare`; without it OpenSIPS is left out
    #[arg(long, value_name = "PATH")]
    opensips: Option<PathBuf>,
    #[command(flatten)]
    against: Against,
}

/// One command of the plan.
struct Step {
    name: &'static str,
    /// What `bench-harness` is told for a full and for a small run.
    full: &'static str,
    quick: &'static str,
    /// How long those take, in seconds; measured on two cores at 2.5 GHz.
    full_s: u64,
    quick_s: u64,
    /// Whether it writes a results.json by `--out`; else it prints JSON.
    writes: bool,
}

const PLAN: [Step; 9] = [
    Step { name: "micro", full: "micro", quick: "micro --quick", full_s: 300, quick_s: 45, writes: true },
    Step {
        name: "sipp",
        full: "sipp --calls 1000 --rate 100",
        quick: "sipp --calls 50",
        full_s: 60,
        quick_s: 8,
        writes: false,
    },
    Step {
        name: "compare",
        full: "compare",
        quick: "compare --only null,kamailio --rounds 2 --window-ms 300 --loads messages,calls,paced",
        full_s: 1800,
        quick_s: 100,
        writes: true,
    },
    Step {
        name: "overload",
        full: "overload",
        quick: "overload --seconds 1",
        full_s: 40,
        quick_s: 30,
        writes: false,
    },
    Step {
        name: "calls",
        full: "overload --calls",
        quick: "overload --calls --seconds 1 --peak 10000",
        full_s: 90,
        quick_s: 15,
        writes: true,
    },
    Step {
        name: "connections",
        full: "connections",
        quick: "connections --count 500 --speaking 50",
        full_s: 60,
        quick_s: 5,
        writes: false,
    },
    Step {
        name: "follow",
        full: "follow",
        quick: "follow --v4 1000 --v6 0 --seconds 2 --many 1000",
        full_s: 90,
        quick_s: 15,
        writes: false,
    },
    Step {
        name: "fib",
        full: "fib",
        quick: "fib --v4 100000 --v6 20000",
        full_s: 8,
        quick_s: 2,
        writes: false,
    },
    Step {
        name: "soak",
        full: "soak --seconds 120",
        quick: "soak --seconds 10",
        full_s: 160,
        quick_s: 45,
        writes: false,
    },
];

/// Runs the plan; `true`: every part met its conditions, and nothing is worse.
pub fn execute(args: &Args) -> io::Result<bool> {
    fs::create_dir_all(&args.out)?;
    announce(args);
    let mut results = Results::begin();
    let mut plots = Vec::new();
    let begin = Instant::now();
    for (number, step) in PLAN.iter().enumerate() {
        let left: u64 = PLAN[number..].iter().map(|step| step.estimate(args.quick)).sum();
        eprintln!(
            "[{}/{}] {} (about {} left)",
            number + 1,
            PLAN.len(),
            step.words(args.quick),
            minutes(left)
        );
        plots.extend(step.run(args, &mut results)?);
    }
    let results = results.concluded();
    results::summarise(&args.out, &results, &plots)?;
    print(&results, begin.elapsed(), &args.out);
    let passed = results.parts.values().all(|part| part.passed);
    Ok(passed & args.against.judge(&results)?)
}

fn announce(args: &Args) {
    let total = PLAN.iter().map(|step| step.estimate(args.quick)).sum();
    eprintln!("{} parts, about {} in all, into {}:", PLAN.len(), minutes(total), args.out.display());
    for step in &PLAN {
        eprintln!("  {:>6}  bench-harness {}", minutes(step.estimate(args.quick)), step.words(args.quick));
    }
}

fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

impl Step {
    fn words(&self, quick: bool) -> &'static str {
        if quick { self.quick } else { self.full }
    }

    fn estimate(&self, quick: bool) -> u64 {
        if quick { self.quick_s } else { self.full_s }
    }

    /// Its own progress goes to the terminal, its results into `results`; names the plots that it brought.
    fn run(&self, args: &Args, results: &mut Results) -> io::Result<Vec<String>> {
        // What an earlier run left in its folder would be none of this one's.
        let folder = tempfile::tempdir()?;
        let mut program = Command::new(std::env::current_exe()?);
        program.args(self.words(args.quick).split(' '));
        if let Some(opensips) = args.opensips.as_ref().filter(|_| self.name == "compare") {
            program.arg("--opensips").arg(opensips);
        }
        if self.writes {
            program.arg("--out").arg(folder.path());
        } else {
            program.arg("--json");
        }
        let begin = Instant::now();
        let done = program.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        let seconds = begin.elapsed().as_secs_f64();
        let said = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
        let mut plots = Vec::new();
        if self.writes {
            match take_in(&args.out, folder.path(), results) {
                Ok(brought) => plots = brought,
                Err(error) => _ = results.skipped.insert(self.name.to_owned(), error.to_string()),
            }
        } else if said.is_null() {
            results.skipped.insert(self.name.to_owned(), format!("it ended with {}", done.status));
        }
        let words = ["bench-harness"].into_iter().chain(self.words(args.quick).split(' '));
        let command = words.map(str::to_owned).collect();
        let part = Part { command, seconds, passed: done.status.success(), said };
        results.parts.insert(self.name.to_owned(), part);
        Ok(plots)
    }
}

/// Takes in the figures of a part's results.json, and its plots and histograms; names the plots.
fn take_in(out: &Path, folder: &Path, results: &mut Results) -> io::Result<Vec<String>> {
    results.absorb(results::read(&folder.join(FILE))?);
    let mut plots = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".svg") || name.ends_with(".hgrm") {
            fs::copy(folder.join(&name), out.join(&name))?;
        }
        plots.extend(name.ends_with(".svg").then_some(name));
    }
    plots.sort();
    Ok(plots)
}

fn print(results: &Results, took: Duration, folder: &Path) {
    for (name, part) in &results.parts {
        println!("{} {name:10} {:6.1} s", if part.passed { "PASS" } else { "FAIL" }, part.seconds);
    }
    println!("{} in all; {}", minutes(took.as_secs()), folder.join("report.md").display());
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn every_part_is_a_command_that_there_is() {
        for (step, quick) in PLAN.iter().flat_map(|step| [(step, false), (step, true)]) {
            let last = if step.writes { vec!["--out", "folder"] } else { vec!["--json"] };
            let words = ["bench-harness"].into_iter().chain(step.words(quick).split(' ')).chain(last);
            if let Err(error) = crate::Cli::try_parse_from(words) {
                panic!("{}: {error}", step.name);
            }
        }
    }

    #[test]
    fn the_small_version_takes_less_than_five_minutes() {
        let quick: u64 = PLAN.iter().map(|step| step.quick_s).sum();
        assert!(quick < 270, "{quick} s, and machines differ");
    }
}
