//! Holds the running host against tuning.md: facts in, findings out; nothing is changed.
//!
//! ```text
//!  /proc, /sys ─────────────► facts ──► checks ──► findings ──► `viaduct doctor`
//!  Plan, Fib, /metrics, card ──►│      one file for each part of tuning.md
//! ```
//!
//! [`gather`] reads the files below a [`Root`]; what no file tells ([`Given`]) the caller asks for. Checks are pure
//! functions of the [`Facts`]. Whatever cannot be told becomes a finding that says so, never an error: hosts are odd.
#![forbid(unsafe_code)]

mod checks;
mod facts;
mod finding;
#[cfg(test)]
mod tests;

pub use checks::Check;
pub use facts::{Card, Coalescing, Facts, Given, Ring, Root, Told, Untold, gather};
pub use finding::{Finding, Status};

/// All checks, in the order of tuning.md.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    checks::GROUPS.iter().flat_map(|group| group.iter())
}

/// What the checks find that `wanted` lets through, in their order; a check may find several things.
pub fn examine(facts: &Facts, wanted: impl Fn(&Check) -> bool) -> Vec<Finding> {
    checks().filter(|check| wanted(check)).flat_map(|check| check.findings(facts)).collect()
}
