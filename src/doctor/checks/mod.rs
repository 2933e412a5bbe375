//! The checks, one file for each part of tuning.md.

mod card;
mod cores;
mod engine;
mod ip;
mod memory;
mod power;
mod receive;
mod sockets;

use super::facts::{Facts, Told};
use super::finding::{Finding, Status, Verdict};

/// A check: what it looks at, what is wanted, and why.
pub struct Check {
    /// Stable name.
    pub code: &'static str,
    /// The part of tuning.md, which output is grouped by.
    pub group: &'static str,
    /// The section's anchor in tuning.md.
    pub section: &'static str,
    /// What it looks at, in a word or two.
    pub subject: &'static str,
    /// What tuning.md wants.
    pub wanted: &'static str,
    /// Why it matters, in a clause.
    pub why: &'static str,
    examine: fn(&Facts) -> Told<Vec<Verdict>>,
}

/// All of them, in the order of tuning.md.
pub(super) const GROUPS: [&[Check]; 8] = [
    engine::CHECKS,
    sockets::CHECKS,
    cores::CHECKS,
    power::CHECKS,
    card::CHECKS,
    receive::CHECKS,
    memory::CHECKS,
    ip::CHECKS,
];

impl Check {
    /// What it finds; what cannot be told is a finding, too.
    pub(super) fn findings(&self, facts: &Facts) -> Vec<Finding> {
        let untold =
            |reason| vec![Verdict::new(Status::Skip, self.subject, format!("cannot be told here: {reason}"))];
        let verdicts = (self.examine)(facts).unwrap_or_else(untold);
        verdicts.into_iter().map(|verdict| self.finding(verdict)).collect()
    }

    fn finding(&self, verdict: Verdict) -> Finding {
        let Verdict { status, subject, found, wanted, remedy } = verdict;
        Finding {
            code: self.code,
            status,
            subject,
            found,
            wanted: wanted.unwrap_or_else(|| self.wanted.to_owned()),
            why: self.why,
            remedy,
            section: self.section,
        }
    }
}

/// A check of one verdict.
fn one(verdict: Verdict) -> Told<Vec<Verdict>> {
    Ok(vec![verdict])
}

/// `0-3, 8`
fn ranges(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *core => *last = *core,
            _ => runs.push((*core, *core)),
        }
    }
    let shown = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    let text = shown.collect::<Vec<_>>().join(",");
    if text.is_empty() { "none".into() } else { text }
}

/// Each number once, in order.
fn distinct(numbers: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut all: Vec<usize> = numbers.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Bytes as an operator reads them.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}
