//! `viaduct check`: hold a configuration against the live kernel.

use std::path::PathBuf;
use std::process::ExitCode;

/// Compiles a configuration and holds it against this host's routing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct check -c viaduct.toml
  viaduct check -c viaduct.toml --json")]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Findings as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Prints the findings; 0 ok, 78 not.
pub fn execute(args: Args) -> ExitCode {
    let _ = args;
    todo!()
}
