//! Where log lines go and how they look.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Environment variable that selects levels, as `debug` or `viaduct::control=debug,info`.
const VARIABLE: &str = "VIADUCT_LOG";

/// Sends log lines to standard error: in colour on a terminal, and without a time of their own where
/// the journal writes one before them. Called once, by the command; a second call changes nothing.
pub fn install() {
    let terminal = io::stderr().is_terminal();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(VARIABLE)
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(terminal && env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .with_env_filter(filter);
    let journal = env::var_os("JOURNAL_STREAM").is_some() && !terminal;
    let _ = if journal { lines.without_time().try_init() } else { lines.try_init() };
}
