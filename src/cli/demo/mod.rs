//! `viaduct demo`: a small multi-homed world, calls across it, from TCP to UDP, a route replaced under load, an address
//! that comes and goes.
//!
//! The forwarder in it is this program started with `run`; what the demo checks, it checks on the far
//! side: which address a message came from, on which link.

mod appear;
mod bridge;
mod calls;
mod forwarder;
mod interrupt;
mod report;
pub mod ua;
mod world;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{netns, output};
use calls::{AGENTS, Agents, BACKUP_PORT, Plan, Results, SERVICE_AGENT};
use forwarder::Forwarder;
use report::{Flip, Report, Row};
use ua::Arrival;
use world::{FORWARDER, World};

/// Builds a small multi-homed world and makes calls across it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs no configuration, no SIPp, and no root where the kernel allows user namespaces. Everything
happens in network namespaces that end with the command.

Examples:
  viaduct demo
  viaduct demo --calls 2000
  viaduct demo --json | jq .flip")]
pub struct Args {
    /// Calls for each pair of networks
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: u32,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Why the demo ends early.
#[derive(Debug)]
pub struct Failure {
    what: String,
    hint: Option<String>,
}

impl Failure {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

/// Runs the demo; 0 only if all of it worked.
pub fn execute(args: Args) -> ExitCode {
    match run(&args) {
        Ok(report) => {
            let told = if args.json { format!("{}\n", report.json()) } else { report.to_string() };
            output::print(told, if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(failure) => {
            output::tell(format_args!("viaduct demo: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Report, Failure> {
    netns::enter().map_err(|error| Failure::new(error.to_string()).hint(netns::REMEDY))?;
    interrupt::watch()?;
    let world = World::build()?;
    let mut forwarder = Forwarder::new()?;
    forwarder.start()?;
    let mut agents = Agents::open(&world)?;
    agents.wait_for(&mut forwarder)?;
    if !args.json {
        report::introduce()?;
        show(&forwarder)?;
    }
    let mut report = Report::default();
    for from in 0..SERVICE_AGENT {
        for to in (0..SERVICE_AGENT).filter(|&to| to != from) {
            report.rows.push(pair(&mut agents, &mut forwarder, from, to, args.calls)?);
        }
    }
    for (uri, what) in TARGETS {
        let plan = Plan { from: 0, uri: uri.into(), calls: args.calls, spacing: SPACING };
        report.targets.push(row(&mut agents, &mut forwarder, format!("{} → {what}", AGENTS[0]), &plan)?);
    }
    report.bridged = Some(bridge::bridge(&world, &mut forwarder)?);
    report.flip = Some(flip(&mut agents, &mut forwarder)?);
    if !args.json {
        report::headline("The same question after the change")?;
        forwarder.show(&EXPLAIN_SERVICE)?;
    }
    report.followed = Some(appear::appear(&world, &mut forwarder)?);
    forwarder.stop()?;
    Ok(report)
}

/// Time between the starts of two calls.
const SPACING: Duration = Duration::from_millis(2);

/// What is called of next hops that fail, or have a name: all calls arrive at the private host.
const TARGETS: [(&str, &str); 3] = [
    ("sip:*34100@203.0.113.1", "list, first closed"),
    ("sip:*35100@203.0.113.1", "group, one closed"),
    ("sip:*36100@203.0.113.1", "name"),
];

const EXPLAIN_SERVICE: [&str; 9] = [
    "explain",
    "--method",
    "INVITE",
    "--ruri",
    "sip:*33100@203.0.113.1",
    "--source",
    "203.0.113.10:5060",
    "--listener",
    "public",
];

/// `check`, and four `explain`s.
fn show(forwarder: &Forwarder) -> Result<(), Failure> {
    report::headline("viaduct check: the configuration against the kernel")?;
    forwarder.show(&["check"])?;
    report::headline("viaduct explain: public to private, by the routing table")?;
    let question = ["explain", "--method", "INVITE", "--source", "203.0.113.10:5060", "--listener", "public"];
    forwarder.show(&[&question[..], &["--ruri", "sip:bob@10.0.0.10"]].concat())?;
    report::headline("viaduct explain: public to IPv6")?;
    forwarder.show(&[&question[..], &["--ruri", "sip:bob@[fd00:10::10]"]].concat())?;
    report::headline("viaduct explain: a *35 number, by a rule, to a group")?;
    forwarder.show(&[&question[..], &["--ruri", TARGETS[1].0]].concat())?;
    report::headline("viaduct explain: a *33 number, by a rule")?;
    forwarder.show(&EXPLAIN_SERVICE)
}

fn progress(length: u32, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:36} {bar:30} {pos:>6}/{len} calls  {elapsed}");
    let bar = ProgressBar::new(u64::from(length)).with_message(what.to_owned());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn pair(
    agents: &mut Agents,
    forwarder: &mut Forwarder,
    from: usize,
    to: usize,
    calls: u32,
) -> Result<Row, Failure> {
    let plan = Plan { from, uri: calls::uri(to), calls, spacing: SPACING };
    row(agents, forwarder, format!("{} → {}", AGENTS[from], AGENTS[to]), &plan)
}

fn row(agents: &mut Agents, forwarder: &mut Forwarder, name: String, plan: &Plan) -> Result<Row, Failure> {
    let bar = progress(plan.calls, &name);
    let results = agents.run(plan, &bar, |_| forwarder.check_alive())?;
    bar.finish_and_clear();
    Ok(Row::new(name, &results))
}

/// Calls the service at 200 calls/s for three seconds and replaces its route after the first.
fn flip(agents: &mut Agents, forwarder: &mut Forwarder) -> Result<Flip, Failure> {
    const CALLS: u32 = 600;
    let plan =
        Plan { from: 0, uri: calls::uri(SERVICE_AGENT), calls: CALLS, spacing: Duration::from_millis(5) };
    let bar = progress(CALLS, "public v4 → service, route replaced");
    let mut changed = None;
    let mut results = agents.run(&plan, &bar, |placed| {
        forwarder.check_alive()?;
        if placed >= CALLS / 3 && changed.is_none() {
            world::route_service(world::PRIVATE_BACKUP)?;
            changed = Some(Instant::now());
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let changed = changed.ok_or_else(|| Failure::new("the route was never replaced"))?;
    Ok(measure_flip(&mut results, changed))
}

/// How long before and after the kernel's confirmation a call may have been on its way: the forwarder
/// chose its socket by the old route, and the kernel sent it by the new one.
const IN_BETWEEN: Duration = Duration::from_millis(100);

fn measure_flip(results: &mut Results, changed: Instant) -> Flip {
    let near = |at: Instant| at.max(changed) - at.min(changed) <= IN_BETWEEN;
    let before = results.strays.len();
    results.strays.retain(|s| !(s.arrival.port == BACKUP_PORT && near(s.arrival.at)));
    let in_between = before - results.strays.len();
    let by_new = |a: &&Arrival| a.port == BACKUP_PORT && a.from == calls::at(FORWARDER[2]);
    let moved = |id: &str| results.arrivals.get(id).is_some_and(|a| by_new(&a));
    let first_moved = results.arrivals.values().filter(by_new).map(|a| a.at).min();
    let after = |id: &&String| results.placed[*id] > changed;
    let on_old = |id: &&String| results.arrivals.get(*id).is_some_and(|a| a.port != BACKUP_PORT);
    Flip {
        row: Row::new("public v4 → service".into(), results),
        first_call: first_moved.map(|at| at.saturating_duration_since(changed)),
        old_way_after_change: results.placed.keys().filter(after).filter(on_old).count(),
        in_between,
        moved: results.placed.keys().filter(|id| moved(id)).count(),
    }
}
