//! Memory.

use super::{Check, one};
use crate::doctor::facts::{Facts, Told};
use crate::doctor::finding::{Status, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "huge-pages",
        group: "Memory",
        section: "huge-pages",
        subject: "transparent_hugepage/enabled",
        wanted: "madvise, or never",
        why: "with always the kernel gathers pages that nobody asked it to, and processes grow",
        examine: huge_pages,
    },
    Check {
        code: "swap",
        group: "Memory",
        section: "swap",
        subject: "swap",
        wanted: "none, and nothing of Viaduct in it",
        why: "a page that has to come back from a disk holds up its shard for milliseconds",
        examine: swap,
    },
];

fn huge_pages(facts: &Facts) -> Told<Vec<Verdict>> {
    let chosen = facts.memory.huge_pages.clone()?;
    let verdict = Verdict::hold(chosen != "always", Status::Warn, "transparent_hugepage/enabled", chosen);
    one(verdict.remedy("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"))
}

fn swap(facts: &Facts) -> Told<Vec<Verdict>> {
    let swaps = facts.memory.swaps.clone()?;
    let inside = facts.memory.swapped_kib.clone().ok().filter(|_| facts.process.id.is_some()).unwrap_or(0);
    let devices = if swaps.is_empty() { "none".to_owned() } else { swaps.join(", ") };
    if inside > 0 {
        let found = format!("{devices}; {inside} KiB of {} in it", facts.process.name());
        return one(Verdict::fail("swap", found).remedy("swapoff -a"));
    }
    if facts.unit.as_ref().is_ok_and(|unit| unit.get("MemorySwapMax") == Some("0")) {
        return one(Verdict::pass("swap", format!("{devices}; viaduct.service may not use it")));
    }
    one(Verdict::hold(swaps.is_empty(), Status::Warn, "swap", devices)
        .remedy("systemctl edit viaduct   # [Service] MemorySwapMax=0; or swapoff -a"))
}
