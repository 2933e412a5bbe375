//! The command line: one subcommand, one file, one `execute`.
//!
//! Exit codes are part of the contract with scripts and service managers: 0 done, [`FAILED`],
//! [`USAGE`], [`CONFIGURATION`].

mod admin;
mod as_user;
pub mod check;
pub mod completions;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod man;
pub mod netns;
pub mod output;
pub mod routes;
pub mod run;
pub mod what_if;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

/// Exit code: something failed at run time.
pub const FAILED: u8 = 1;
/// Exit code: the command line is wrong (clap's own number).
pub const USAGE: u8 = 2;
/// Exit code: the configuration is wrong (`EX_CONFIG` of sysexits.h).
pub const CONFIGURATION: u8 = 78;

/// The width of a help's lines.
const HELP_COLUMNS: usize = 100;

/// Why `0.0.0.0` and `::` are refused where a destination is asked for.
const UNSPECIFIED: &str = "the unspecified address is no destination";

const ABOUT: &str = "Forwards SIP between IP networks and always leaves by the right socket";

const LONG_ABOUT: &str = "\
Viaduct is a SIP proxy for hosts with several interfaces: public and private networks, \
IPv4 and IPv6. For every message it decides from which local socket it leaves: as the kernel's \
routing policy says, or as a rule of yours says, and keeps that decision for the whole dialog.";

const EXAMPLES: &str = "\
Examples:
  viaduct demo                        see it work in a minute, without a configuration
  viaduct run                         forward for the private networks of this host
  viaduct check -c viaduct.toml       hold a configuration against the live kernel
  viaduct doctor -c viaduct.toml      hold this host against tuning.md, with remedies
  viaduct run -c viaduct.toml         forward as it says; SIGHUP reads it again
  viaduct explain -c viaduct.toml --method INVITE --ruri sip:*33123@example.net \\
      --source 203.0.113.9:5060 --listener public
                                      which rule, which route, which listener, and why
  viaduct explain -c viaduct.toml --pcap trunk.pcapng --what-if 'link set eth1 down'
                                      which messages of a capture a change would move
  viaduct routes get 10.0.0.100 --compare
                                      the routing snapshot's answer and the kernel's beside it
  viaduct routes diff -c viaduct.toml
                                      watch the routes change, and what moves with them

Exit codes:
  0  done      1  failed at run time      2  wrong command line      78  wrong configuration";

/// What `--version` says: which engines this build has, too.
const LONG_VERSION: &str = if cfg!(feature = "glommio") {
    concat!(env!("CARGO_PKG_VERSION"), "\nengines: uring, glommio")
} else {
    concat!(env!("CARGO_PKG_VERSION"), "\nengines: uring")
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "viaduct",
    version,
    long_version = LONG_VERSION,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    propagate_version = true,
    max_term_width = HELP_COLUMNS
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Routes(routes::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The definition of the command line, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the process's arguments and runs the subcommand they name.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => execute(cli),
        Err(error) if error.use_stderr() => advised(error, &arguments).exit(),
        // A help, or the version.
        Err(asked) => output::print(asked.render().ansi().to_string(), ExitCode::SUCCESS),
    }
}

/// Who names a file, or - for standard input, without an option is told which options read one.
fn advised(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return error };
    let is_option = named.starts_with('-') && named != "-";
    if is_option || error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let command = command();
    let meant = arguments.iter().fold(&command, |here, word| here.find_subcommand(word).unwrap_or(here));
    let reads = |arg: &&clap::Arg| {
        let takes_input =
            || arg.get_help().is_some_and(|help| help.to_string().contains("- for standard input"));
        arg.get_value_names().is_some_and(|names| names == ["FILE"]) && (named != "-" || takes_input())
    };
    let options: Vec<String> = meant
        .get_arguments()
        .filter(reads)
        .filter_map(|arg| Some(format!("--{} FILE", arg.get_long()?)))
        .collect();
    if !options.is_empty() {
        let tip = format!("name the option that reads it: {}", options.join(" or "));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn execute(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Run(args) => run::execute(args),
        Command::Check(args) => check::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Explain(args) => explain::execute(args),
        Command::Routes(args) => routes::execute(args),
        Command::Demo(args) => demo::execute(args),
        Command::Completions(args) => completions::execute(args),
        Command::Man(args) => man::execute(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::EngineKind;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_file_without_an_option_is_told_which_ones_read_it() {
        let told = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = Cli::try_parse_from(&words).expect_err("it is refused");
            advised(error, &words).to_string()
        };
        const TIP: &str = "tip: name the option that reads it: ";
        assert!(told("viaduct explain -").contains(&format!("{TIP}--message FILE or --pcap FILE\n")));
        let file = told("viaduct explain -c viaduct.toml captured.sip");
        assert!(file.contains(&format!("{TIP}--config FILE or --message FILE or --pcap FILE\n")), "{file}");
        assert!(told("viaduct check viaduct.toml").contains(&format!("{TIP}--config FILE\n")));
        for line in ["viaduct explain --mesage -", "viaduct demo -", "viaduct nothing"] {
            assert!(!told(line).contains(TIP), "{line}");
        }
    }

    #[test]
    fn every_subcommand_teaches_with_an_example() {
        let command = command();
        let mut open: Vec<(String, &clap::Command)> =
            command.get_subcommands().map(|sub| (sub.get_name().to_owned(), sub)).collect();
        let mut taught = 0;
        while let Some((name, sub)) = open.pop() {
            let help = sub.clone().render_long_help().to_string();
            assert!(
                help.contains("Examples:") && help.contains(&format!("viaduct {name}")),
                "{name}:\n{help}"
            );
            open.extend(sub.get_subcommands().map(|below| (format!("{name} {}", below.get_name()), below)));
            // Longer ones are broken where nobody meant it, in commands to copy, too.
            let closing = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in closing.lines() {
                assert!(line.chars().count() <= HELP_COLUMNS, "{name}: {line}");
            }
            taught += 1;
        }
        assert!(taught >= 10, "{taught}");
    }

    #[test]
    fn the_version_names_the_engines_of_this_build() {
        let names: Vec<_> = EngineKind::BUILT.iter().map(|kind| kind.name()).collect();
        let version = command().render_long_version();
        assert!(version.ends_with(&format!("engines: {}\n", names.join(", "))), "{version}");
    }

    #[test]
    fn wrong_usage_exits_with_two() {
        let error = Cli::try_parse_from(["viaduct", "fly"]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(USAGE));
    }
}
