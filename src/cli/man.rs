//! `viaduct man`: manual pages for all commands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;

use super::{FAILED, output};

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
    let pages = pages();
    let Some(directory) = &args.directory else {
        return output::print(pages.last().map_or(&[][..], |(_, page)| page), ExitCode::SUCCESS);
    };
    match write_all(directory, &pages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(format_args!("viaduct man: cannot write to {}: {error}", directory.display()));
            ExitCode::from(FAILED)
        }
    }
}

fn write_all(directory: &Path, pages: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    pages.iter().try_for_each(|(name, page)| fs::write(directory.join(format!("{name}.1")), page))
}

/// Name and text of each page, a command after its subcommands.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages);
    pages
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    command.get_subcommands().for_each(|c| collect(c, pages));
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = render(command, &mut page);
    pages.push((name, page));
}

/// As clap's own pages, but what stands after the options keeps its lines: they are commands to copy.
fn render(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let closing = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    page.extend_from_slice(as_sections(&closing).as_bytes());
    man.render_version_section(page)
}

/// `Examples:` and the like become headings, what follows them stays as it is.
fn as_sections(text: &str) -> String {
    let mut roff = String::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_suffix(':').filter(|l| !l.starts_with(' ')) {
            Some(heading) => {
                roff += if open { ".fi\n" } else { "" };
                roff += &format!(".SH {}\n.nf\n", heading.to_uppercase());
                open = true;
            }
            None if open => roff += &format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-")),
            None => roff += &format!(".PP\n\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-")),
        }
    }
    roff + if open { ".fi\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_examples() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("new/man1");
        write_all(&directory, &pages()).unwrap();
        for name in [
            "viaduct",
            "viaduct-run",
            "viaduct-check",
            "viaduct-doctor",
            "viaduct-explain",
            "viaduct-routes",
            "viaduct-demo",
        ] {
            let page = fs::read_to_string(directory.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH EXAMPLES\n.nf\n"), "{name}");
        }
        assert!(directory.join("viaduct-routes-get.1").exists());
    }

    #[test]
    fn commands_to_copy_keep_their_lines() {
        assert_eq!(
            as_sections("Examples:\n  viaduct run -c x \\\n\nExit codes:\n  0 done"),
            ".SH EXAMPLES\n.nf\n\\&  viaduct run \\-c x \\e\n\\&\n.fi\n.SH EXIT CODES\n.nf\n\\&  0 done\n.fi\n"
        );
    }
}
