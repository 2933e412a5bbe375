//! What a soak came to, and which properties hold.

use serde::Serialize;

use super::sentinel::Evidence;
use super::watch::Kernel;
use crate::measure::mib;

/// A batch is not to take longer, in nanoseconds: Viaduct counts it as long from here on.
const LONG_NS: u64 = viaduct::limits::LONG_BATCH_NS;

/// Most growth of resident memory from the second to the last fifth of the run: a part of it, and bytes.
const GROWTH: (f64, u64) = (0.03, 2 << 20);

/// One second.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub resident: u64,
    pub files: u64,
    pub pins: u64,
    pub waiting: u64,
    /// Batches of this second that took 5 ms or longer, and their time in nanoseconds.
    pub long: u64,
    pub long_ns: u64,
    /// The longest batch of the last half minute, in nanoseconds.
    pub worst_ns: u64,
    pub evidence: Evidence,
    pub stolen_ns: u64,
}

impl Sample {
    /// Time above the bound that nothing explains, in nanoseconds. A long batch is excused for the time in which its
    /// thread was ready and did not run: in two slots of 20 ms for each, because a batch may stand on the border of
    /// two. The account knows nothing of time that the host took from a thread that was running: where the sentinel,
    /// which goes before the shard, was later than that, its lateness counts instead.
    pub fn unexplained_ns(&self) -> u64 {
        let above = self.long_ns.saturating_sub(self.long * LONG_NS);
        let waited = self.evidence.longest_waits(2 * self.long as usize);
        let kept = if self.evidence.goes_before { waited.max(self.evidence.late) } else { waited };
        above.saturating_sub(kept + self.stolen_ns)
    }
}

/// Where every message is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    pub sent: u64,
    /// Received by Viaduct.
    pub received: u64,
    pub forwarded: u64,
    pub answered: u64,
    pub dropped: u64,
    pub dropped_by: Vec<(String, u64)>,
    pub answered_by: Vec<(String, u64)>,
    /// At the sink.
    pub arrived: u64,
    pub twice: u64,
    pub foreign: u64,
    /// Dropped by the kernel before Viaduct, and before the sink.
    #[serde(skip)]
    pub before_viaduct: Kernel,
    #[serde(skip)]
    pub before_sink: Kernel,
    /// Wait for an answer of the kernel at the end.
    pub waiting: u64,
}

impl Account {
    /// What is missing (or too much) between the generator and Viaduct, within Viaduct, and behind it.
    pub fn gaps(&self) -> [i64; 3] {
        let n = |number: u64| number as i64;
        let lost = |kernel: Kernel| n(kernel.dropped());
        [
            n(self.sent) - n(self.received) - lost(self.before_viaduct),
            n(self.received) - n(self.forwarded) - n(self.answered) - n(self.dropped) - n(self.waiting),
            n(self.forwarded) - n(self.arrived) - lost(self.before_sink),
        ]
    }

    /// Datagrams that queues of the kernel dropped.
    pub fn kernel_drops(&self) -> u64 {
        self.before_viaduct.dropped() + self.before_sink.dropped()
    }
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub account: Account,
    pub samples: Vec<Sample>,
    /// Open files and sockets before the events and after them.
    pub files: [(u64, u64); 2],
    pub reloads: [u64; 2],
    pub refused: [u64; 2],
    pub audits: u64,
    pub mismatches: u64,
    /// The tables were compared once more when nothing happened any more.
    pub compared_at_rest: bool,
    /// What the forwarder said of differences.
    pub complaints: Vec<String>,
}

/// A property, and whether it holds.
pub struct Property {
    pub holds: bool,
    pub words: String,
}

impl Findings {
    /// Each property, with its numbers and its bound.
    pub fn properties(&self) -> Vec<Property> {
        let mut all = Vec::from(self.accounted());
        all.extend(self.leaks());
        all.push(self.stalls());
        let [done, asked] = self.reloads;
        let [refused, broken] = self.refused;
        all.push(Property {
            holds: done == asked && refused == broken,
            words: format!(
                "reloads: {done} of {asked} took effect, {refused} of {broken} broken ones were refused"
            ),
        });
        all.push(Property {
            holds: self.compared_at_rest && self.mismatches == 0,
            words: format!(
                "routing: {} comparisons with fresh dumps, {} at rest; {} prefixes differed (none may)",
                self.audits,
                if self.compared_at_rest { "the last one" } else { "but none" },
                self.mismatches
            ),
        });
        all
    }

    fn accounted(&self) -> [Property; 2] {
        let a = &self.account;
        let gaps = a.gaps();
        let holds = gaps == [0; 3] && a.twice == 0 && a.foreign == 0;
        let words = format!(
            "account: {} sent = {} forwarded + {} answered + {} dropped by reason + {} dropped by the kernel \
             before Viaduct; {} arrived, {} twice, {} foreign; missing before, in, behind Viaduct: {}, {}, {}",
            a.sent,
            a.forwarded,
            a.answered,
            a.dropped,
            a.before_viaduct.refused + a.before_viaduct.no_port,
            a.arrived,
            a.twice,
            a.foreign,
            gaps[0],
            gaps[1],
            gaps[2]
        );
        let queues = Property {
            holds: a.kernel_drops() == 0,
            words: format!(
                "queues: the kernel dropped {} datagrams before Viaduct, {} before the sink (none may)",
                a.before_viaduct.refused + a.before_viaduct.no_port,
                a.before_sink.refused + a.before_sink.no_port
            ),
        };
        [Property { holds, words }, queues]
    }

    fn leaks(&self) -> [Property; 3] {
        let of = |what: fn(&Sample) -> u64| (self.fifth(1, what), self.fifth(4, what));
        let most = self.samples.iter().map(|s| s.files).max().unwrap_or(0);
        let (memory, files) = (memory(of(|s| s.resident)), files(self.files, most));
        let (pins, most) = (of(|s| s.pins).1, viaduct::limits::PINS);
        let parked = of(|s| s.waiting);
        let tables = Property {
            holds: pins <= most as u64 && parked.1 <= parked.0 && self.account.waiting == 0,
            words: format!(
                "tables: {pins} transactions remembered (at most {most}); {} and {} messages parked, {} at the end",
                parked.0, parked.1, self.account.waiting
            ),
        };
        [memory, files, tables]
    }

    fn stalls(&self) -> Property {
        let sum = |what: fn(&Sample) -> u64| self.samples.iter().map(what).sum::<u64>();
        let longest = self.samples.iter().map(|s| s.worst_ns).max().unwrap_or(0);
        let unexplained = self.samples.iter().map(Sample::unexplained_ns).max().unwrap_or(0);
        Property {
            holds: unexplained == 0,
            words: format!(
                "stalls: longest batch {:.2} ms; {} batches took 5 ms or longer, for which the kernel's account of \
                 waiting and stolen time leaves at most {:.2} ms unexplained in a second (nothing may be left)",
                ms(longest),
                sum(|s| s.long),
                ms(unexplained)
            ),
        }
    }

    /// The median of a fifth of the run.
    fn fifth(&self, number: usize, what: fn(&Sample) -> u64) -> u64 {
        fifth(&self.samples.iter().map(what).collect::<Vec<_>>(), number)
    }
}

/// The median of a fifth of values in the order of time.
pub fn fifth(values: &[u64], number: usize) -> u64 {
    let len = values.len();
    let mut values: Vec<u64> = values[len * number / 5..len * (number + 1) / 5].to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Resident memory, in the second fifth and in the last.
pub fn memory((before, after): (u64, u64)) -> Property {
    let bound = (before as f64 * GROWTH.0) as u64 + GROWTH.1;
    Property {
        holds: after <= before + bound,
        words: format!(
            "memory: {:.1} MiB in the second fifth, {:.1} MiB in the last (medians; at most {:.1} MiB more)",
            mib(before),
            mib(after),
            mib(bound)
        ),
    }
}

/// Open files and sockets before and after, and the most files meanwhile.
pub fn files([(files, sockets), (files_after, sockets_after)]: [(u64, u64); 2], most: u64) -> Property {
    Property {
        holds: files_after == files && sockets_after == sockets,
        words: format!(
            "files: {files} open, {sockets} of them sockets; {files_after} and {sockets_after} afterwards; at most \
             {most} meanwhile"
        ),
    }
}

/// Milliseconds.
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(long: u64, long_ns: u64, waits: &[u64], stolen_ns: u64) -> Sample {
        let evidence = Evidence { waits: waits.to_vec(), ..Evidence::default() };
        Sample { long, long_ns, evidence, stolen_ns, ..Sample::default() }
    }

    #[test]
    fn a_long_batch_is_excused_only_by_time_that_its_thread_did_not_run() {
        assert_eq!(second(0, 0, &[], 0).unexplained_ns(), 0);
        assert_eq!(second(1, 9_000_000, &[], 0).unexplained_ns(), 4_000_000);
        assert_eq!(second(1, 9_000_000, &[3_000_000, 1_500_000, 10], 0).unexplained_ns(), 0);
        assert_eq!(second(1, 9_000_000, &[1_000_000; 3], 0).unexplained_ns(), 2_000_000);
        assert_eq!(second(1, 9_000_000, &[], 10_000_000).unexplained_ns(), 0);
    }

    #[test]
    fn memory_that_grows_is_a_leak() {
        let run = |growth: u64| Findings {
            samples: (0..100)
                .map(|i| Sample { resident: (100 << 20) + i * growth, ..Sample::default() })
                .collect(),
            ..Findings::default()
        };
        assert!(run(0).leaks()[0].holds);
        assert!(!run(1 << 20).leaks()[0].holds);
    }

    #[test]
    fn a_message_that_is_nowhere_shows() {
        let lost = Kernel { refused: 1, ..Kernel::default() };
        let mut account = Account { sent: 10, received: 9, before_viaduct: lost, ..Account::default() };
        (account.forwarded, account.answered, account.dropped, account.arrived) = (6, 2, 1, 6);
        assert_eq!(account.gaps(), [0, 0, 0]);
        assert_eq!(account.kernel_drops(), 1);
        account.arrived = 5;
        account.dropped = 0;
        assert_eq!(account.gaps(), [0, 1, 1]);
    }
}
