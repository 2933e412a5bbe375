//! `viaduct routes`: ask the routing snapshot.

use std::process::ExitCode;

/// Asks the snapshot of the kernel's routing policy
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct routes get 10.0.0.100
  viaduct routes get 2001:db8::1 --from 2001:db8:1::4 --compare")]
pub struct Args {}

/// Prints the answer.
pub fn execute(args: Args) -> ExitCode {
    let _ = args;
    todo!()
}
