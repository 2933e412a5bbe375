//! `viaduct explain`: what would happen to a request, and why.

use std::process::ExitCode;

/// Says what would happen to a request, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct explain -c viaduct.toml --method INVITE --ruri sip:alice@10.0.0.100 \\
      --source 203.0.113.9:5060 --listener public")]
pub struct Args {}

/// Prints the decision.
pub fn execute(args: Args) -> ExitCode {
    let _ = args;
    todo!()
}
