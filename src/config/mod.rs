//! TOML → validated [`Plan`]; every finding has its place in the file and a hint.
//!
//! ```text
//!  text ── toml ──► sections ──► listeners, rules, … ──► Plan ──► held against the Fib
//!                   (read.rs)    (one file each)                  (hold.rs)
//! ```
//!
//! Errors are collected, not just the first: an operator mends a file in one go.

mod attempts;
mod diagnostic;
mod dns;
mod egress;
mod groups;
mod hold;
#[cfg(test)]
mod keys_tests;
mod limits;
mod listeners;
mod mode;
mod network;
mod plan;
mod read;
mod rules;
mod set;
mod target;
mod tcp;
#[cfg(test)]
mod tcp_tests;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod tls_tests;
mod when;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

pub use crate::findings::Severity;
pub use diagnostic::{Diagnostic, Findings};
pub use hold::hold_against;
pub use tls::read_tls;

use crate::dns::Directory;
use crate::fib::Fib;
use crate::plan::Plan;

/// The embedded configuration of `viaduct run` without a file.
const DEFAULT: &str = include_str!("default.toml");

/// A configuration that holds, with what it warns of.
pub struct Loaded {
    /// The configuration, compiled.
    pub plan: Plan,
    /// Warnings only.
    pub warnings: Findings,
    /// Where listeners and rules stand in the file.
    pub places: Places,
}

/// Where things stand in the file, for findings that come later.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// For each `[[listener]]` the bytes of its `bind`.
    pub listeners: Vec<std::ops::Range<usize>>,
    /// For each `[[listener]]` the bytes of its `device`, if it has one.
    pub devices: Vec<Option<std::ops::Range<usize>>>,
    /// For each rule the bytes of its `to`, or of all of it.
    pub rules: Vec<std::ops::Range<usize>>,
    /// The bytes of `[keys] file`; none where the file does not name one.
    pub keys: std::ops::Range<usize>,
    /// The bytes of `[admin] listen`; none where the file does not name it.
    pub admin: std::ops::Range<usize>,
    /// For each name in `[hosts]` the bytes of its key.
    pub hosts: HashMap<Box<str>, std::ops::Range<usize>>,
}

/// Reads and compiles a file. `fib` tells the host's addresses, which interface names and wildcards
/// stand for, and whether overrides reach their next hops.
///
/// # Errors
/// All errors and warnings found, if there is an error; a file that cannot be read is one.
pub fn load(path: &Path, fib: &Fib) -> Result<Loaded, Findings> {
    load_resolving(path, fib, &|_| None)
}

/// As [`load`], where names in `to` are resolved: one without an address is a finding, and the addresses of
/// the others are held against the routes. `None` from `resolve`: nothing was asked.
///
/// # Errors
/// As [`load`].
pub fn load_resolving(path: &Path, fib: &Fib, resolve: &Resolve) -> Result<Loaded, Findings> {
    let origin = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Findings::unreadable(&origin, &error))?;
    match String::from_utf8(bytes) {
        Ok(text) => compile(&origin, text, path.parent(), fib, resolve),
        Err(error) => Err(Findings::not_text(&origin, &error)),
    }
}

/// Asks DNS for a Plan's names.
pub type Resolve = dyn Fn(&Plan) -> Option<Directory>;

/// The embedded default: every address of the host, port 5060, a throw-away key.
///
/// # Errors
/// None: a host without addresses is waited for.
pub fn default(fib: &Fib) -> Result<Loaded, Findings> {
    compile("<default>", DEFAULT.to_owned(), None, fib, &|_| None)
}

/// Compiles a text; `origin` names it in messages. A key file is looked for beside nothing: there is none.
///
/// # Errors
/// As [`load`].
pub fn from_str(origin: &str, text: &str, fib: &Fib) -> Result<Loaded, Findings> {
    compile(origin, text.to_owned(), None, fib, &|_| None)
}

fn compile(
    origin: &str,
    text: String,
    folder: Option<&Path>,
    fib: &Fib,
    resolve: &Resolve,
) -> Result<Loaded, Findings> {
    let mut findings = Findings::new(origin, text.clone());
    let document = match toml_edit::Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            findings.error(
                span,
                error.message().trim(),
                "the file is TOML (https://toml.io): KEY = VALUE, text in quotes, tables in brackets",
            );
            return Err(findings);
        }
    };
    let built = plan::build(document.as_table(), origin, folder, fib, &mut findings);
    let Some((plan, places)) = built.filter(|_| !findings.has_errors()) else {
        return Err(findings);
    };
    hold_against(&plan, &places, fib, resolve(&plan).as_ref(), &mut findings);
    if findings.has_errors() { Err(findings) } else { Ok(Loaded { plan, warnings: findings, places }) }
}
