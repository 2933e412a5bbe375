//! Statistics over many windows, what one of them shows, and this process's memory.

use std::io;
use std::time::Instant;

use serde::Serialize;

use crate::load::Outcome;
use crate::peak::Verdict;
use crate::waits::stolen_ns;

/// Median, and the smallest and largest value, of a sample.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// A tenth of the values are below: what else a machine does only adds to times, so this one is nearest to what
    /// the measured thing takes by itself.
    pub quiet: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of a sample that is not empty.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) && middle > 0 {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            *values.get(middle)?
        };
        let quiet = *values.get(values.len() / 10)?;
        Some(Self { median, quiet, min: *values.first()?, max: *values.last()? })
    }
}

/// Part of its time for which a window may be without the processors, and still count where it fails.
const STOLEN: f64 = 0.02;

/// What the host does while a window is offered.
pub struct Watch {
    begin: Instant,
    stolen_ns: u64,
}

impl Watch {
    /// From now on.
    pub fn start() -> io::Result<Self> {
        Ok(Self { begin: Instant::now(), stolen_ns: stolen_ns()? })
    }

    /// What the window shows. One that is carried is carried whatever else the host did meanwhile; one that is not shows nothing
    /// where the host gave the processors to others, or where other programs kept the load from its own.
    pub fn verdict(&self, outcome: &Outcome) -> io::Result<Verdict> {
        let stolen_ns = stolen_ns()?.saturating_sub(self.stolen_ns);
        let stolen = stolen_ns as f64 / self.begin.elapsed().as_nanos() as f64;
        Ok(match outcome.is_carried() {
            true => Verdict::Carried,
            false if stolen > STOLEN || !outcome.kept_up() => Verdict::Spoiled,
            false => Verdict::Lost,
        })
    }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The value in bytes of a line `name: N kB`, as files in `/proc` have them.
pub fn bytes_of(text: &str, name: &str) -> io::Result<u64> {
    let value =
        |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok();
    let kib: Option<u64> = text.lines().find_map(value);
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("the kernel does not tell {name}")))
}

/// Resident memory of this process in bytes, without what is free again.
pub fn resident() -> io::Result<u64> {
    // SAFETY: it gives free memory back to the kernel and touches no other.
    unsafe { libc::malloc_trim(0) };
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.map(|pages| pages * 4096).ok_or_else(|| io::Error::other("no resident memory in /proc/self/statm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_kernel_are_found_by_their_whole_name() {
        let text = "Slab2: 1 kB\nSlab:           12 kB\nOther: 3 kB\n";
        assert_eq!(bytes_of(text, "Slab").unwrap(), 12 << 10);
        assert!(bytes_of(text, "Pss").unwrap_err().to_string().contains("Pss"));
    }

    #[test]
    fn the_median_of_odd_and_even_samples() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert!(Spread::of(vec![]).is_none());
        assert_eq!(Spread::of((0..100).map(f64::from).collect()).unwrap().quiet, 10.0);
        assert_eq!(Spread::of(vec![7.0]).unwrap().quiet, 7.0);
    }
}
