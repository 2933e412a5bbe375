//! `viaduct demo`: a small multi-homed world, calls across it, a route flipped under load.

use std::process::ExitCode;

/// Builds a small multi-homed world and makes calls across it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct demo")]
pub struct Args {}

/// Runs the demo; 0 only if all of it worked.
pub fn execute(args: Args) -> ExitCode {
    let _ = args;
    todo!()
}
