//! CPU time of a forwarder, from the kernel's accounting.
//!
//! Threads, io workers among them, by their `schedstat` (nanoseconds). Where the kernel is built without
//! `CONFIG_IRQ_TIME_ACCOUNTING`, as most are, a soft interrupt that runs on top of a thread is part of that thread's
//! time, so what sending costs in the network stack is in it already; what is handed to the core's `ksoftirqd` is
//! read from that thread. With that option interrupts are taken out of threads' time, and the core's columns `irq`
//! and `softirq` of `/proc/stat` (10 ms steps) are added instead, which hold `ksoftirqd`'s work, too.
//!
//! Soft interrupts on an idle core are in neither: the cross-check with the core's idle time shows whether they matter.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use crate::results::machine::irq_time;
use crate::subject::{Subject, thread_cpu};

/// Where the core's accounts are.
pub struct Core {
    number: usize,
    ksoftirqd: Option<u32>,
    irq_apart: bool,
}

/// Accounts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    threads: Duration,
    softirq: Duration,
    idle: Duration,
}

/// What a time between two moments cost.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// The forwarder's threads and its core's soft interrupts.
    pub cpu: Duration,
    /// The latter alone.
    pub softirq: Duration,
    /// All that the core did, whoever for.
    pub busy: Duration,
}

/// Units of `/proc/stat` in a second (`USER_HZ`, part of the kernel's interface).
const USER_HZ: u64 = 100;

impl Core {
    /// Finds the accounts of a core.
    pub fn find(number: usize) -> io::Result<Self> {
        Ok(Self { number, ksoftirqd: ksoftirqd(number)?, irq_apart: irq_time().unwrap_or(false) })
    }

    /// Reads all accounts.
    pub fn read(&self, subject: &Subject) -> io::Result<Reading> {
        let columns = columns(&fs::read_to_string("/proc/stat")?, self.number)
            .ok_or_else(|| io::Error::other(format!("/proc/stat has no core {}", self.number)))?;
        let softirq = match self.ksoftirqd {
            _ if self.irq_apart => columns.interrupts,
            Some(thread) => thread_cpu(thread)?.unwrap_or_default(),
            None => Duration::ZERO,
        };
        Ok(Reading { at: Instant::now(), threads: subject.cpu()?, softirq, idle: columns.idle })
    }
}

impl Reading {
    /// What was spent since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Spent {
        let softirq = self.softirq.saturating_sub(earlier.softirq);
        let wall = self.at - earlier.at;
        Spent {
            cpu: self.threads.saturating_sub(earlier.threads) + softirq,
            softirq,
            busy: wall.saturating_sub(self.idle.saturating_sub(earlier.idle)),
        }
    }
}

/// A core's line of `/proc/stat`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    idle: Duration,
    interrupts: Duration,
}

fn columns(stat: &str, core: usize) -> Option<Columns> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split(' ').next() == Some(&name))?;
    let values: Vec<u64> = line.split_whitespace().skip(1).filter_map(|value| value.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal …
    let sum = |columns: [usize; 2]| {
        let ticks = columns.iter().map(|at| values.get(*at).copied().unwrap_or(0)).sum::<u64>();
        Duration::from_millis(ticks * 1000 / USER_HZ)
    };
    Some(Columns { idle: sum([3, 4]), interrupts: sum([5, 6]) })
}

fn ksoftirqd(core: usize) -> io::Result<Option<u32>> {
    let wanted = format!("ksoftirqd/{core}");
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended meanwhile is none of those looked for.
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim_end() == wanted) {
            return Ok(Some(id));
        }
    }
    // A container does not see the kernel's threads.
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cores_line_is_found_and_read() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 3 400 50 6 7 8 0 0\ncpu10 0 0 0 1 1 1 1 0 0 0\n";
        let ms = Duration::from_millis;
        assert_eq!(columns(stat, 1), Some(Columns { idle: ms(4500), interrupts: ms(130) }));
        assert_eq!(columns(stat, 10), Some(Columns { idle: ms(20), interrupts: ms(20) }));
        assert_eq!(columns(stat, 0), None);
    }
}
