//! `viaduct completions`: shell completion scripts.

use std::process::ExitCode;

use clap_complete::Shell;

use super::output;

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
    output::print(script(args.shell), ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "viaduct", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in ["run", "check", "doctor", "explain", "routes", "demo"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
