//! `viaduct run`: forward until told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use annotate_snippets::Renderer;

use super::{CONFIGURATION, FAILED, output};
use crate::control::{self, Error, Options, Source};

/// Forwards SIP
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Forwards SIP until SIGTERM or SIGINT. SIGHUP reads the configuration again: rules and \
listeners change as one, and a file with errors changes nothing.",
    after_help = "\
Examples:
  viaduct run                       every local address, port 5060, relay from private networks only
  viaduct run -c /etc/viaduct.toml  as the file says
  kill -HUP PID                     read the file again
  kill -TERM PID                    stop: what was received is still sent

Environment:
  VIADUCT_LOG  level of the log on standard error: warn, info (the default), debug; or of a part of
               it: viaduct::control=debug, beside which the rest has info, or another level that is
               written, too: viaduct::control=debug,warn"
)]
pub struct Args {
    /// Configuration file; without it the built-in default is used
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs until a signal, then says how it went.
pub fn execute(args: Args) -> ExitCode {
    let source = args.config.map_or(Source::Default, Source::File);
    let ended = control::log::install()
        .map_err(Error::System)
        .and_then(|()| control::run(Options { source, owns_process: true }));
    control::log::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match &error {
                Error::Configuration(findings) => output::tell(findings.render(&Renderer::styled())),
                other => output::tell(format_args!("viaduct: {other}")),
            }
            let wrong_file = error.is_configuration();
            ExitCode::from(if wrong_file { CONFIGURATION } else { FAILED })
        }
    }
}
