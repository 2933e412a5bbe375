//! Memory: huge pages and swap.

use super::process::Process;
use super::{Root, Told, Untold};

/// What bears on memory.
pub struct Memory {
    /// Where transparent huge pages are made without being asked for: `always`, `madvise` or `never`.
    pub huge_pages: Told<String>,
    /// Swap devices and files.
    pub swaps: Told<Vec<String>>,
    /// Memory of the process that lies in swap, in KiB.
    pub swapped_kib: Told<u64>,
}

pub(super) fn read(root: &Root, process: &Process) -> Memory {
    const ENABLED: &str = "sys/kernel/mm/transparent_hugepage/enabled";
    let chosen = |text: String| {
        let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        inside
            .map(|(word, _)| word.to_owned())
            .ok_or_else(|| Untold::new(format!("/{ENABLED} says «{text}»")))
    };
    let devices = |text: String| {
        text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    Memory {
        huge_pages: root.read(ENABLED).and_then(chosen),
        swaps: root.read("proc/swaps").map(devices),
        swapped_kib: process.swapped_kib.clone(),
    }
}
