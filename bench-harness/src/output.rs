//! What is printed, where `println!` would panic: standard output may be full, or a pipe whose reader has seen enough.

use std::{fmt, io};

use viaduct::cli::output::write;

/// Prints a line; `println!` with an error.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::line(format_args!($($words)*)) };
}

/// Tells on standard error, if anybody can be told; `eprintln!` without a panic.
macro_rules! tell {
    ($($words:tt)*) => { ::viaduct::cli::output::tell(format_args!($($words)*)) };
}

pub(crate) use {say, tell};

/// Prints of each condition whether it holds, on a line.
///
/// # Errors
/// As of [`line()`].
pub fn verdicts(conditions: impl IntoIterator<Item = (bool, impl fmt::Display)>) -> io::Result<()> {
    let line = |(holds, words)| say!("{} {words}", if holds { "PASS" } else { "FAIL" });
    conditions.into_iter().try_for_each(line)
}

/// Writes it to standard output.
///
/// # Errors
/// Why it cannot be written. A reader that has gone is no failure.
pub fn line(words: fmt::Arguments<'_>) -> io::Result<()> {
    write(format!("{words}\n").as_bytes()).map_err(io::Error::other)
}
