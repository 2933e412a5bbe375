//! Standard output and standard error, which may be full, or a pipe whose reader has seen enough and gone.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anstream::AutoStream;

use super::FAILED;

/// Writes all that a command has to say, with styles where they are shown; `done` is the exit code then.
pub fn print(bytes: impl AsRef<[u8]>, done: ExitCode) -> ExitCode {
    match write(bytes.as_ref()) {
        Ok(()) => done,
        Err(why) => {
            tell(format_args!("viaduct: {why}"));
            FAILED.into()
        }
    }
}

/// Writes a part of it, likewise.
///
/// # Errors
/// Why it cannot be written. A reader that has gone is no failure.
pub fn write(bytes: &[u8]) -> Result<(), String> {
    let mut out = AutoStream::auto(io::stdout().lock());
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.or_else(|error| failure(&error).map_or(Ok(()), Err))
}

/// What to tell of an error of standard output; nothing where its reader has gone.
pub fn failure(error: &io::Error) -> Option<String> {
    let is_failure = error.kind() != io::ErrorKind::BrokenPipe;
    is_failure.then(|| format!("cannot write to standard output: {error}"))
}

/// Tells on standard error what went wrong, in whole lines. Where nobody can be told, the exit code still tells.
pub fn tell(what: impl Display) {
    let mut text = what.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let _ = AutoStream::auto(io::stderr().lock()).write_all(text.as_bytes());
}
