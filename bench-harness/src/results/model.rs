//! What a run measured, raw: everything that `report.md`, plots and comparisons are made of.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Version of [`Results`]' form in `results.json`; raised where a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// All of one run: what `results.json` holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`]
    pub schema: u32,
    /// When it began, UTC, as `2026-01-31T12:00:00Z`.
    pub begun: String,
    /// The command line that made it.
    pub command: Vec<String>,
    /// Where it ran.
    pub machine: Machine,
    /// What was measured, by name.
    pub subjects: BTreeMap<String, Subject>,
    /// Figures that stand for the run; flat, so that scripts need no path.
    pub ratios: Ratios,
    /// One entry for each window of each subject, in the order in which they ran.
    pub samples: Vec<Sample>,
    /// Latencies of all windows of a subject under a load together, by `subject/load`.
    #[serde(default)]
    pub latencies: BTreeMap<String, Latency>,
    /// Figures of single pieces of code, by name (`parse`, `fib_lookup_zipf_1200000`).
    pub micro: BTreeMap<String, Micro>,
    /// Figures that are none, because who was measured for them lost a part of what was offered, by name.
    #[serde(default)]
    pub not_comparable: BTreeMap<String, Loss>,
    /// How much of each load was offered, and why so much, by the load's name; for those to whom another rate of messages was
    /// offered than to Viaduct and the floor, by `messages/` and their name.
    #[serde(default)]
    pub offered: BTreeMap<String, Offered>,
    /// How often each subject was started afresh after a window of the rounds, because something of it was lost.
    #[serde(default)]
    pub begun_afresh: BTreeMap<String, u32>,
    /// Why it holds less than was asked for; `None`: the run came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<EndedEarly>,
    /// Subjects that ended by themselves while they were measured, with what they said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub died: BTreeMap<String, String>,
    /// What was asked for and could not be measured, and why.
    pub skipped: BTreeMap<String, String>,
    /// Commands of their own that a run of all was made of, by name.
    #[serde(default)]
    pub parts: BTreeMap<String, Part>,
}

/// A run that did not come to its end, or not yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndedEarly {
    /// What kept it from that.
    pub why: String,
    /// How much of it is done.
    pub done: usize,
    /// How much was asked for.
    pub asked: usize,
    /// What that is counted in: rounds, parts.
    pub unit: String,
}

impl EndedEarly {
    /// It goes on: what says so is left only where it is killed.
    pub fn goes_on(done: usize, asked: usize, unit: &str) -> Option<Self> {
        let why = "it was interrupted, or still runs".to_owned();
        (done < asked).then(|| Self { why, done, asked, unit: unit.to_owned() })
    }
}

impl fmt::Display for EndedEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, done, asked, unit } = self;
        write!(f, "ended early, with {done} of {asked} {unit} done: {why}")
    }
}

/// Why windows of two subjects are no comparison: what they lost of the same, and where the load was late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Messages, calls or connections that were offered in a second.
    pub offered_per_second: f64,
    /// Part that each of the subjects lost, 0 to 1, all windows together: messages that did not arrive, calls or connections
    /// that did not end well or needed a message once more.
    pub lost: BTreeMap<String, f64>,
    /// Pairs of windows in which nobody lost too much, but the load was late.
    #[serde(default)]
    pub late: usize,
    /// Pairs of windows in all; 0: they were not counted.
    #[serde(default)]
    pub pairs: usize,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {:.0} a second", self.offered_per_second)?;
        self.lost
            .iter()
            .try_for_each(|(subject, part)| write!(f, ", {subject} lost {:.2}%", part * 100.0))?;
        match self.late {
            0 => Ok(()),
            late => write!(f, ", the load itself was late in {late} of {} pairs", self.pairs),
        }
    }
}

/// The rate of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Messages, calls or connections a second.
    pub per_second: f64,
    /// What part that was, before it was lowered, of the most that somebody carried; `None`: the rate was asked for.
    pub part: Option<f64>,
    /// Who that is; `None`: the slowest.
    #[serde(default)]
    pub of: Option<String>,
    /// The most that each subject carried when it was looked for, in messages, calls or connections a second.
    pub most: BTreeMap<String, f64>,
    /// Rates above this one that were tried first, from the highest.
    #[serde(default)]
    pub lowered: Vec<Lowered>,
    /// Who did not carry this one either, the lowest that was tried.
    #[serde(default)]
    pub lost_by: Option<String>,
}

/// A rate that somebody did not carry in windows before the rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lowered {
    /// Messages, calls or connections a second.
    pub per_second: f64,
    /// Whose windows lost too much of it.
    pub lost_by: String,
}

/// One command of a run of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// How it was started.
    pub command: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// Its exit code was 0: what it holds itself to, it met.
    pub passed: bool,
    /// Why it failed, where that was no condition of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it printed, by its `--json`; null for one that writes files of its own.
    pub said: serde_json::Value,
}

/// The machine, as far as it matters for figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// CPU model, as `/proc/cpuinfo` names it.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: Vec<usize>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// `uname -r`
    pub kernel: String,
    /// `/sys/devices/system/cpu/vulnerabilities`, by name.
    pub mitigations: BTreeMap<String, String>,
    /// Runs under a hypervisor.
    pub virtual_machine: bool,
    /// Compiler of the subjects that this project builds.
    pub rustc: String,
    /// They were built guided by a profile (`bench-harness/guided/run`).
    #[serde(default)]
    pub guided: bool,
    /// Whether the kernel takes the time of interrupts out of that of threads (`CONFIG_IRQ_TIME_ACCOUNTING`); `None`: its
    /// configuration cannot be read, and it is taken not to.
    #[serde(default)]
    pub irq_time: Option<bool>,
    /// Commit that they were built from, with `-dirty` where something was changed since; empty: not known.
    #[serde(default)]
    pub commit: String,
}

/// One forwarder with one configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// As the program tells it.
    pub version: String,
    /// The configuration file's text; empty where there is none.
    pub configuration: String,
    /// How it was started.
    pub command: Vec<String>,
    /// The core or cores that it was pinned to.
    pub cores: Vec<usize>,
}

/// What is offered in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// INVITEs that nobody answers: cost of one forwarded request.
    Messages,
    /// Whole calls without transactions: INVITE 180 200 ACK BYE 200, six messages forwarded each.
    Calls,
    /// The same calls at another rate, for those who keep transactions, and for Viaduct without.
    StatefulCalls,
    /// As [`Load::Calls`], at what OpenSIPS carries: it and Viaduct.
    CallsOpensips,
    /// As [`Load::StatefulCalls`], at what OpenSIPS carries: it and Viaduct.
    StatefulCallsOpensips,
    /// Single messages, far apart: what forwarding adds to the latency of an idle path.
    Paced,
    /// More than can be carried.
    Saturation,
    /// A series of rising rates, to find the knee.
    Knee,
    /// Whole calls, at the peak and several times as many: latency is from the scheduled time of a call to its 200.
    Overload,
    /// Whole calls over TCP, by connections that last.
    TcpCalls,
    /// OPTIONS over TCP, each by a connection of its own that is opened for it and ends with its answer.
    TcpConnections,
    /// As [`Load::TcpCalls`], over TLS.
    TlsCalls,
    /// As [`Load::TcpConnections`], over TLS.
    TlsConnections,
    /// As [`Load::TcpCalls`], where callers speak WebSocket and the callee TCP.
    WsCalls,
}

/// One window: one subject, one load, one rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Windows of one round are neighbours in time: they are what is paired.
    pub round: u32,
    /// Key into [`Results::subjects`].
    pub subject: String,
    /// What was offered.
    pub load: Load,
    /// Messages (or calls, or connections) that the schedule asked for in a second.
    pub offered_per_second: f64,
    /// Length in seconds, by the clock.
    pub seconds: f64,
    /// Messages sent towards the forwarder by both sides.
    pub sent: u64,
    /// Messages that left the forwarder and arrived, each once.
    pub delivered: u64,
    /// Messages that were never seen again.
    pub lost: u64,
    /// Messages sent again, by a timer of the load's.
    pub retransmissions: u64,
    /// Whole calls, or connections, that were made; 0 for loads without either.
    pub calls: u64,
    /// Of those, what did not end well.
    pub failed: u64,
    /// Messages that arrived and that no send explains: twice, answered by the forwarder itself, of an earlier window, or nobody's.
    /// With `sent`, `delivered` and `lost` every message is accounted for; where that does not add up, a run ends.
    #[serde(default)]
    pub odd: u64,
    /// CPU time of the forwarder in nanoseconds: its threads, io workers and the soft interrupts of its core.
    pub cpu_ns: u64,
    /// That, as part of the time for which something was offered: above 1 it could not keep up, and caught up afterwards.
    #[serde(default)]
    pub core_used: f64,
    /// Of which in soft interrupts outside its threads.
    pub softirq_ns: u64,
    /// System calls of the forwarder's threads, where they were counted.
    pub syscalls: Option<u64>,
    /// Resident memory at the end of the window in bytes.
    pub resident_bytes: u64,
    /// How often the forwarder was started afresh after it, because something of it was lost.
    #[serde(default)]
    pub begun_afresh: u32,
    /// The generator kept to its schedule: it was not the limit.
    pub on_schedule: bool,
    /// Part of its core that the load generator had left, 0 to 1.
    pub generator_idle: f64,
    /// From the scheduled time of a send to the arrival.
    pub latency: Option<Latency>,
}

/// Percentiles of one window in nanoseconds; the whole histogram is in the `.hgrm` of its subject and load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_ns: u64,
    /// 99 of 100 were faster.
    pub p99_ns: u64,
    /// 999 of 1,000 were faster.
    pub p999_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

impl Latency {
    /// Of a histogram in nanoseconds; `None`: it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        })
    }
}

/// A piece of code by itself.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Micro {
    /// Instructions, by valgrind; `None` where it was not run.
    pub instructions: Option<f64>,
    /// Nanoseconds: the median of processes' medians of many short runs.
    pub ns: Option<f64>,
    /// Ends of the interval that holds their true median with 95% confidence; `None`: it was not told.
    #[serde(default)]
    pub ns_between: Option<[f64; 2]>,
}

/// Median of paired ratios with the interval that holds the true median with 95% confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Median of the pairs.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Pairs.
    pub pairs: usize,
    /// Pairs besides that do not count, because either subject lost a part of what was offered.
    #[serde(default)]
    pub left_out: usize,
    /// Further pairs that do not count, because the load was late in either window.
    #[serde(default)]
    pub late: usize,
}

/// The run in a few figures. `None`: not measured in this run, or not comparable; [`Results::skipped`] or
/// [`Results::not_comparable`] says why.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Ratios {
    /// CPU per delivered message, Viaduct over `null uring`, both of which collect messages where they come fast.
    pub cpu_per_message_vs_null: Option<Interval>,
    /// The same where neither does.
    #[serde(default)]
    pub cpu_per_message_at_once_vs_null: Option<Interval>,
    /// CPU per call, Viaduct over Kamailio.
    pub cpu_per_call_vs_kamailio: Option<Interval>,
    /// CPU per call, Viaduct over Kamailio with `mhomed=1`.
    pub cpu_per_call_vs_kamailio_mhomed: Option<Interval>,
    /// The same where Viaduct collects no messages.
    #[serde(default)]
    pub cpu_per_call_at_once_vs_kamailio_mhomed: Option<Interval>,
    /// Latency of calls' first requests in the same windows, at the median.
    #[serde(default)]
    pub latency_p50_at_calls_vs_kamailio_mhomed: Option<Interval>,
    /// The same at the 99th of 100.
    #[serde(default)]
    pub latency_p99_at_calls_vs_kamailio_mhomed: Option<Interval>,
    /// The same at the median, where Viaduct collects no messages.
    #[serde(default)]
    pub latency_p50_at_calls_at_once_vs_kamailio_mhomed: Option<Interval>,
    /// CPU per call, Viaduct over OpenSIPS.
    pub cpu_per_call_vs_opensips: Option<Interval>,
    /// CPU per call, Viaduct over OpenSIPS with `mhomed=1`.
    pub cpu_per_call_vs_opensips_mhomed: Option<Interval>,
    /// CPU per call with transactions, Viaduct over itself without.
    #[serde(default)]
    pub cpu_per_stateful_call_vs_stateless: Option<Interval>,
    /// The same over Kamailio (`t_relay`) with `mhomed=1`.
    #[serde(default)]
    pub cpu_per_stateful_call_vs_kamailio_mhomed: Option<Interval>,
    /// The same over OpenSIPS (`t_relay`) with `mhomed=1`.
    #[serde(default)]
    pub cpu_per_stateful_call_vs_opensips_mhomed: Option<Interval>,
    /// CPU per call over TCP, Viaduct over Kamailio (`t_relay`) with `mhomed=1`.
    #[serde(default)]
    pub cpu_per_call_tcp_vs_kamailio: Option<Interval>,
    /// The same over Kamailio without transactions.
    #[serde(default)]
    pub cpu_per_call_tcp_vs_kamailio_stateless: Option<Interval>,
    /// CPU per call over TLS, Viaduct over Kamailio (`t_relay`) with `mhomed=1`.
    #[serde(default)]
    pub cpu_per_call_tls_vs_kamailio: Option<Interval>,
    /// CPU per call from WebSocket to TCP, Viaduct over Kamailio (`t_relay`) with `mhomed=1`.
    #[serde(default)]
    pub cpu_per_call_ws_vs_kamailio: Option<Interval>,
    /// New connections over TCP, with one OPTIONS each, in a second of CPU, Viaduct over Kamailio (`t_relay`) with `mhomed=1`.
    #[serde(default)]
    pub tcp_connections_per_cpu_second_vs_kamailio: Option<Interval>,
    /// The same over TLS, with full handshakes.
    #[serde(default)]
    pub tls_connections_per_cpu_second_vs_kamailio: Option<Interval>,
    /// Parse, decide and rewrite of a 600-byte INVITE.
    pub own_work_instructions: Option<f64>,
    /// The same in nanoseconds, median.
    pub own_work_ns: Option<f64>,
    /// What 1.2 million routes and 10,000 rules add to it, neighbours by Zipf's law, in nanoseconds.
    pub full_tables_extra_ns: Option<f64>,
    /// One IPv4 lookup among 1.2 million routes, neighbours by Zipf's law, in nanoseconds.
    pub fib_lookup_zipf_ns: Option<f64>,
    /// The same, destinations at random.
    pub fib_lookup_random_ns: Option<f64>,
    /// Latency of paced single messages, Viaduct's median less null's, in microseconds; the median of the rounds.
    pub added_latency_p50_us: Option<f64>,
    /// Its interval.
    #[serde(default)]
    pub added_latency_p50_us_interval: Option<Interval>,
    /// The same at 999 of 1,000, of all windows together: single ones have too few messages for that.
    pub added_latency_p999_us: Option<f64>,
    /// [`Ratios::added_latency_p50_us`] where neither sleeps between messages.
    #[serde(default)]
    pub added_latency_spinning_p50_us: Option<f64>,
    /// Its interval.
    #[serde(default)]
    pub added_latency_spinning_p50_us_interval: Option<Interval>,
    /// System calls for each message that Viaduct forwards at saturation.
    pub syscalls_per_message: Option<f64>,
    /// Part of the calls completed at the peak that are not where several times as many are offered (five, unless
    /// `overload --times` says otherwise), without transactions; below 0 where more are.
    #[serde(default)]
    pub overload_goodput_lost: Option<f64>,
    /// From the scheduled time of a call to its 200 then, of those let in, at the 99th of 100, in milliseconds.
    #[serde(default)]
    pub overload_setup_p99_ms: Option<f64>,
}
