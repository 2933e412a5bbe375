//! `viaduct doctor`: hold the host against tuning.md.

mod card;
mod report;
mod running;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annotate_snippets::Renderer;

use super::as_user::AsUser;
use super::{CONFIGURATION, FAILED, USAGE, output};
use crate::config;
use crate::control::netlink;
use crate::doctor::{Finding, Given, Root, Status, Told, Untold, checks, examine, gather};
use crate::engine::uring;
use crate::fib::{Builder, Fib};
use crate::plan::Plan;

/// Audits this host against tuning.md
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Audits this host against tuning.md: kernel and io_uring, limits, cores and what else runs there, \
interrupts, the network card, buffers, connection tracking, ARP and reverse path filter, VRFs, MTU. For each item it \
says what is so, what is wanted and why, and the command that mends it; nothing is changed. It needs no root: what \
cannot be read without is skipped with the reason. A running Viaduct is looked at, too, if its admin address answers.",
    after_help = "\
Without -c the audit is for the built-in configuration: all cores, every address. A service has its
own limits: while it runs, they are looked at, else those of the shell that doctor is started from.

Examples:
  viaduct doctor                              all that is not as it should be
  viaduct doctor -c viaduct.toml --all        for its cores and listeners; also what passes
  viaduct doctor -c viaduct.toml --user viaduct   where rules of the host go by who runs Viaduct
  viaduct doctor --only rp-filter --only arp  two checks
  viaduct doctor --json | jq -r '.[] | select(.status == \"fail\") | .remedy'
  viaduct doctor --strict >/dev/null || echo 'this host is not ready'
  viaduct doctor --list                       the checks and their sections in tuning.md

Exit codes:
  0  nothing failed      1  something failed; with --strict, or is to be looked at
  2  wrong command line  78  wrong configuration"
)]
pub struct Args {
    /// Configuration file; without it the built-in default is used
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this check; may be given several times
    #[arg(long, value_name = "CODE")]
    only: Vec<String>,
    /// Also print what passes and what cannot be told
    #[arg(short, long)]
    all: bool,
    /// Fail for warnings, too
    #[arg(long)]
    strict: bool,
    /// All findings as a list in JSON
    #[arg(long)]
    json: bool,
    /// Print the checks with their sections of tuning.md, and audit nothing
    #[arg(long, conflicts_with_all = ["config", "only", "strict", "all", "uid"])]
    list: bool,
    #[command(flatten)]
    user: AsUser,
    /// Audit the files of another host, copied below this folder (/proc, /sys, /etc/systemd); nothing of this host is
    /// asked then
    #[arg(long, value_name = "FOLDER", conflicts_with = "uid")]
    root: Option<PathBuf>,
}

/// Prints the findings; 0, or 1 if something failed.
pub fn execute(args: Args) -> ExitCode {
    if args.list {
        return output::print(report::list(args.json), ExitCode::SUCCESS);
    }
    if let Some(code) = args.only.iter().find(|code| !checks().any(|check| check.code == code.as_str())) {
        output::tell(format_args!(
            "viaduct doctor: there is no check «{code}»; viaduct doctor --list shows all"
        ));
        return USAGE.into();
    }
    let root = Root::new(args.root.clone().unwrap_or_else(|| "/".into()));
    if root.is_bare() {
        let folder = args.root.as_deref().unwrap_or(Path::new("/")).display();
        output::tell(format_args!(
            "viaduct doctor: {folder} has neither proc nor sys\n  hint: name the folder that stands for a host's /"
        ));
        return FAILED.into();
    }
    let fib = routing(&args);
    // Without the host's routing, listeners that follow it stand for nothing.
    let alone = Builder::host().build();
    let known = fib.as_ref().unwrap_or(&alone);
    let loaded =
        args.config.as_ref().map_or_else(|| config::default(known), |path| config::load(path, known));
    let plan = match loaded {
        Ok(loaded) => loaded.plan,
        Err(findings) => {
            output::tell(findings.render(&Renderer::styled()));
            return CONFIGURATION.into();
        }
    };
    let findings = audit(&args, &root, &plan, fib.as_ref().map_err(Clone::clone));
    let told = match args.json {
        true => format!("{:#}\n", report::json(&findings)),
        false => report::text(&findings, args.all || !args.only.is_empty()),
    };
    let bad = |finding: &Finding| match finding.status {
        Status::Fail => true,
        Status::Warn => args.strict,
        Status::Pass | Status::Skip => false,
    };
    output::print(told, if findings.iter().any(bad) { FAILED.into() } else { ExitCode::SUCCESS })
}

fn audit(args: &Args, root: &Root, plan: &Plan, fib: Told<&Fib>) -> Vec<Finding> {
    let here = args.root.is_none();
    let unasked = || Untold::new("this host is not asked with --root");
    let given = Given {
        plan,
        fib,
        probe: match here {
            true => Ok(uring::probe().map(|kernel| kernel.release).map_err(|missing| missing.to_string())),
            false => Err(unasked()),
        },
        metrics: if here { running::metrics(plan.admin) } else { Err(unasked()) },
        card: if here { &card::ask } else { &|_| card::unasked() },
    };
    let facts = gather(root, given);
    examine(&facts, |check| args.only.is_empty() || args.only.iter().any(|code| code == check.code))
}

fn routing(args: &Args) -> Told<Fib> {
    match &args.root {
        Some(_) => Err(Untold::new("routing is not asked with --root")),
        None => netlink::dump(0).map(|fib| args.user.of(fib)).map_err(|error| Untold::new(error.to_string())),
    }
}
