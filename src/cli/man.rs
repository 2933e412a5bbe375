//! `viaduct man`: manual pages for all commands.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_mangen::Man;

/// Writes manual pages
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Writes the manual page of every command into a directory, or viaduct(1) alone to \
standard output.",
    after_help = "\
Examples:
  viaduct man | man -l -
  viaduct man /usr/local/share/man/man1"
)]
pub struct Args {
    /// Directory for viaduct.1, viaduct-run.1 and the others; created if absent
    pub directory: Option<PathBuf>,
}

/// Writes the pages.
pub fn execute(args: Args) -> ExitCode {
    let result = match &args.directory {
        Some(directory) => write_all(directory),
        None => Man::new(super::command()).render(&mut io::stdout().lock()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let target = args.directory.unwrap_or_else(|| PathBuf::from("standard output"));
            let _ =
                writeln!(io::stderr(), "viaduct: cannot write manual pages to {}: {error}", target.display());
            ExitCode::from(super::FAILED)
        }
    }
}

fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(super::command(), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        write_all(directory.path()).unwrap();
        for name in
            ["viaduct", "viaduct-run", "viaduct-check", "viaduct-explain", "viaduct-routes", "viaduct-demo"]
        {
            let page = fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME"), "{name}");
        }
    }
}
