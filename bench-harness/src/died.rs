//! Who ended although nobody asked for it, and why a command failed.

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

/// Lines of a log that are told at most: the last ones say why.
const LINES: usize = 20;
/// Where a command that is a part of `all` leaves why it failed.
const WORD: &str = "BENCH_HARNESS_WHY";

/// A forwarder that ended by itself, or that somebody else has ended; what it said last.
#[derive(Debug)]
pub struct Died(String);

impl Died {
    /// An error that [`Self::is`] one.
    pub fn error(name: &str, status: &str, log: &str) -> io::Error {
        let lines: Vec<&str> = log.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        io::Error::other(Self(format!("{name} ended with {status}; it said:\n{last}")))
    }

    /// Whether that is why.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Died {}

/// Leaves why this command failed to whom it is a part of, if it is one.
pub fn leave_word(error: &io::Error) {
    if let Some(file) = env::var_os(WORD) {
        // Without it the exit code says that it failed.
        let _ = fs::write(file, error.to_string());
    }
}

/// What a command is told so that it leaves a word, and the file that it leaves it in.
pub fn word(folder: &Path) -> (&'static OsStr, PathBuf) {
    (OsStr::new(WORD), folder.join("why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_told_and_who_died_is_told_from_other_errors() {
        let log: String = (0..100).map(|number| format!("line {number}\n")).collect();
        let error = Died::error("viaduct", "signal: 9 (SIGKILL)", &log);
        let said = error.to_string();
        assert!(said.starts_with("viaduct ended with signal: 9 (SIGKILL); it said:\nline 80\n"), "{said}");
        assert!(said.ends_with("line 99") && Died::is(&error) && !Died::is(&io::Error::other(said)));
    }
}
