//! `viaduct routes`: what the routing snapshot says, and what changes in it.

mod diff;
mod get;

use std::process::ExitCode;

/// Asks the snapshot of the kernel's routing policy, or watches it change
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct routes get 10.0.0.100
  viaduct routes get 2001:db8::1 --from 2001:db8:1::4 --compare
  viaduct routes diff --dst 10.0.0.100 -c viaduct.toml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Get(get::Get),
    Diff(diff::Diff),
}

/// Does it; 0, or 1 if the kernel cannot be asked, or says otherwise where that was compared.
pub fn execute(args: Args) -> ExitCode {
    match args.command {
        Command::Get(get) => get::execute(&get),
        Command::Diff(diff) => diff::execute(&diff),
    }
}
