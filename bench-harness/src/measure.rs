//! One window of load through one forwarder, and the statistics over many.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::load::{Generator, Sink};
use crate::subject::Subject;

/// What one window came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Window {
    /// Messages offered a second.
    pub offered: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages sent.
    pub sent: u64,
    /// Forwarder's CPU time for each delivered message, in nanoseconds.
    pub cpu_ns: f64,
    /// The generator kept to its schedule.
    pub on_schedule: bool,
}

impl Window {
    /// Part of what was sent that arrived, 0 to 1.
    pub fn goodput(&self) -> f64 {
        self.delivered as f64 / self.sent.max(1) as f64
    }
}

/// Sends at a rate for some time, waits for the rest to arrive, and takes stock.
pub fn window(
    subject: &mut Subject,
    generator: &mut Generator,
    sink: &Sink,
    rate: u64,
    length: Duration,
) -> io::Result<Window> {
    subject.check_alive()?;
    generator.run(subject.address.into(), rate, Duration::from_millis(200))?;
    sink.settle();
    let (cpu, received) = (subject.cpu()?, sink.messages());
    let sent = generator.run(subject.address.into(), rate, length)?;
    sink.settle();
    let cpu = subject.cpu()?.saturating_sub(cpu);
    let delivered = sink.messages() - received;
    Ok(Window {
        offered: rate,
        delivered,
        sent: sent.messages,
        cpu_ns: cpu.as_nanos() as f64 / delivered.max(1) as f64,
        on_schedule: sent.on_schedule(),
    })
}

/// The highest rate, in steps of a tenth, of which 99.5% is delivered.
pub fn knee(
    subject: &mut Subject,
    generator: &mut Generator,
    sink: &Sink,
    told: impl Fn(u64),
) -> io::Result<u64> {
    let (mut rate, mut good) = (20_000, 0);
    loop {
        told(rate);
        let window = window(subject, generator, sink, rate, Duration::from_millis(500))?;
        if window.goodput() < 0.995 || !window.on_schedule {
            break;
        }
        good = rate;
        rate += rate / 10;
    }
    if good == 0 {
        return Err(io::Error::other(format!("{} does not carry even {rate} messages/s", subject.name)));
    }
    Ok(good)
}

/// Median, and the smallest and largest value, of a sample.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
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
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
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
    fn the_median_of_odd_and_even_samples() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert!(Spread::of(vec![]).is_none());
    }
}
