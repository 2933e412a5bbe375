//! `viaduct completions`: shell completion scripts.

use std::io;
use std::process::ExitCode;

use clap_complete::Shell;

/// Prints a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct completions bash > /usr/share/bash-completion/completions/viaduct
  viaduct completions zsh > ~/.zfunc/_viaduct
  viaduct completions fish > ~/.config/fish/completions/viaduct.fish")]
pub struct Args {
    /// Which shell
    pub shell: Shell,
}

/// Prints the script to standard output.
pub fn execute(args: Args) -> ExitCode {
    clap_complete::generate(args.shell, &mut super::command(), "viaduct", &mut io::stdout());
    ExitCode::SUCCESS
}
