//! What a run leaves behind: figures for programs, a report for people, plots, histograms.
//!
//! ```text
//!  samples, micro ──► ratios ──► results.json ──► against (an older one)
//!        │               └─────► report.md
//!        └─► plots (SVG)      histograms ──► plots (SVG), .hgrm
//! ```

pub mod against;
mod curves;
mod ended;
mod hgrm;
pub mod machine;
pub mod model;
mod plots;
pub mod ratios;
mod report;
pub mod statistics;

pub use report::by_reason;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hdrhistogram::Histogram;

use crate::load::{CARRIED, Transport};
use model::{Load, Results, SCHEMA, Sample, Subject};

/// Latencies of a subject under a load in nanoseconds, all its windows together.
pub type Histograms = BTreeMap<(String, Load), Histogram<u64>>;

/// The file that [`write()`] leaves for programs.
pub const FILE: &str = "results.json";

impl Results {
    /// Of a run that begins now, here, by this command line, with nothing measured yet.
    pub fn begin() -> Self {
        Self {
            schema: SCHEMA,
            begun: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: std::env::args().collect(),
            machine: machine::here(),
            ..Self::default()
        }
    }

    /// The same with [`Results::begun_afresh`] and [`Results::ratios`] as the samples and the pieces of code give them, and a
    /// reason for each ratio that they do not give, or give of subjects that lost too much to be compared.
    pub fn concluded(mut self) -> Self {
        self.begun_afresh = begun_afresh(&self.samples);
        (self.ratios, self.not_comparable) = ratios::ratios(&self);
        for (name, figure) in ratios::flat(&self.ratios) {
            if figure.is_some() || self.not_comparable.contains_key(name) {
                // Another run, which was absorbed, had not measured it.
                self.skipped.remove(name);
            } else {
                let by = report::measured_by(name);
                let reason = || format!("no window of this run gives it (`bench-harness {by}`)");
                self.skipped.entry(name.to_owned()).or_insert_with(reason);
            }
        }
        self
    }

    /// Takes in what another run of the same machine measured; its rounds are told apart from ours.
    ///
    /// # Errors
    /// Both have a subject of one name, but not by one configuration: windows would be told of the wrong one. Nothing is taken in.
    pub fn absorb(&mut self, other: Self) -> io::Result<()> {
        let differs = |(name, own): &(&String, &Subject)| {
            other.subjects.get(*name).is_some_and(|theirs| theirs != *own)
        };
        if let Some((name, _)) = self.subjects.iter().find(differs) {
            return Err(io::Error::other(format!("{name} has two configurations in one run")));
        }
        let rounds = self.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0);
        self.subjects.extend(other.subjects);
        self.samples.extend(other.samples.into_iter().map(|mut sample| {
            sample.round += rounds;
            sample
        }));
        self.latencies.extend(other.latencies);
        self.micro.extend(other.micro);
        self.offered.extend(other.offered);
        self.skipped.extend(other.skipped);
        self.died.extend(other.died);
        self.ended_early = other.ended_early.or(self.ended_early.take());
        self.parts.extend(other.parts);
        Ok(())
    }
}

fn begun_afresh(samples: &[Sample]) -> BTreeMap<String, u32> {
    let mut subjects = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.begun_afresh > 0) {
        *subjects.entry(sample.subject.clone()).or_default() += sample.begun_afresh;
    }
    subjects
}

/// Makes the folder where there is none, and tries whether files can be written there, before anything is measured for them.
///
/// # Errors
/// They cannot, with the path.
pub fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    let file = folder.join(format!(".{FILE}.new"));
    fs::write(&file, "{}").and_then(|()| fs::remove_file(&file)).map_err(|error| named(&file, &error))
}

/// The same error, with the path that it is about.
pub fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes `results.json`, `report.md`, plots (`*.svg`) and histograms (`*.hgrm`) into the folder, which it makes
/// where there is none; names what it wrote. [`Results::ratios`] are those of [`Results::concluded`].
pub fn write(folder: &Path, results: &Results, histograms: &Histograms) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    let results = results.clone().concluded();
    // What a program needs stands there before anything can go wrong with what people look at.
    put_json(folder, &results)?;
    let mut files = plots::of(&results.samples)?;
    for load in Load::ALL {
        files.extend(plots::of_histograms(histograms, load)?);
    }
    for ((subject, load), histogram) in histograms {
        files.push((format!("latency-{subject}-{}.hgrm", load.name()), hgrm::text(histogram)));
    }
    for (name, text) in &files {
        put(folder, name, text)?;
    }
    let names: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
    put_report(folder, &results, &names)?;
    let all = [FILE, report::FILE].into_iter().chain(names.iter().map(String::as_str));
    Ok(all.map(|name| folder.join(name)).collect())
}

/// Writes `results.json` and `report.md` only; plots and histograms of this run stand beside them, others are removed.
pub fn summarise(folder: &Path, results: &Results, beside: &[String]) -> io::Result<()> {
    put_json(folder, results)?;
    put_report(folder, results, beside)
}

fn put_json(folder: &Path, results: &Results) -> io::Result<()> {
    put(folder, FILE, &(serde_json::to_string_pretty(results)? + "\n"))
}

fn put_report(folder: &Path, results: &Results, beside: &[String]) -> io::Result<()> {
    remove_others(folder, beside)?;
    let plots: Vec<String> = beside.iter().filter(|name| name.ends_with(".svg")).cloned().collect();
    put(folder, report::FILE, &report::text(results, &plots))
}

/// Writes a file that is there as a whole or as it was before.
fn put(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let (file, new) = (folder.join(name), folder.join(format!(".{name}.new")));
    let done = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
    done.map_err(|error| {
        // Part of a file helps nobody.
        let _ = fs::remove_file(&new);
        named(&file, &error)
    })
}

/// Removes plots and histograms that an earlier run has left in the folder: the report would not be about them.
fn remove_others(folder: &Path, ours: &[String]) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| named(folder, &error))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_made_here(&name) && !ours.contains(&name) {
            let file = folder.join(&name);
            fs::remove_file(&file).map_err(|error| named(&file, &error))?;
        }
    }
    Ok(())
}

/// The name of a plot or a histogram as this program gives them.
fn is_made_here(name: &str) -> bool {
    let plot = name.strip_suffix(".svg");
    plot.is_some_and(|name| name.starts_with("cpu-per-") || name.starts_with("latency-"))
        || name.strip_suffix(".hgrm").is_some_and(|name| name.starts_with("latency-"))
}

/// Reads a `results.json`.
///
/// # Errors
/// It cannot be read, is none, or is of a later form than [`SCHEMA`].
pub fn read(file: &Path) -> io::Result<Results> {
    let named = |why: String| io::Error::other(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    let results: Results = serde_json::from_str(&text).map_err(|error| named(error.to_string()))?;
    if results.schema > SCHEMA {
        return Err(named(format!(
            "its form is {}, this program knows those up to {SCHEMA}",
            results.schema
        )));
    }
    Ok(results)
}

/// What a load consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Single messages.
    Message,
    /// Whole calls.
    Call,
    /// Connections with one request each.
    Connection,
}

impl Load {
    /// In the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Messages,
        Self::Calls,
        Self::StatefulCalls,
        Self::CallsOpensips,
        Self::StatefulCallsOpensips,
        Self::TcpCalls,
        Self::TcpConnections,
        Self::TlsCalls,
        Self::TlsConnections,
        Self::WsCalls,
        Self::Paced,
        Self::Saturation,
        Self::Knee,
        Self::Overload,
    ];

    /// What it is offered over.
    pub fn transport(self) -> Transport {
        match self {
            Self::TcpCalls | Self::TcpConnections => Transport::Tcp,
            Self::TlsCalls | Self::TlsConnections => Transport::Tls,
            Self::WsCalls => Transport::Ws,
            _ => Transport::Udp,
        }
    }

    /// What it is counted in.
    pub fn unit(self) -> Unit {
        match self {
            Self::Calls
            | Self::StatefulCalls
            | Self::CallsOpensips
            | Self::StatefulCallsOpensips
            | Self::TcpCalls
            | Self::TlsCalls
            | Self::WsCalls
            | Self::Overload => Unit::Call,
            Self::TcpConnections | Self::TlsConnections => Unit::Connection,
            Self::Messages | Self::Paced | Self::Saturation | Self::Knee => Unit::Message,
        }
    }

    /// As in `results.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Calls => "calls",
            Self::StatefulCalls => "stateful-calls",
            Self::CallsOpensips => "calls-opensips",
            Self::StatefulCallsOpensips => "stateful-calls-opensips",
            Self::Paced => "paced",
            Self::Saturation => "saturation",
            Self::Knee => "knee",
            Self::Overload => "overload",
            Self::TcpCalls => "tcp-calls",
            Self::TcpConnections => "tcp-connections",
            Self::TlsCalls => "tls-calls",
            Self::TlsConnections => "tls-connections",
            Self::WsCalls => "ws-calls",
        }
    }
}

impl Unit {
    /// One of them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Call => "call",
            Self::Connection => "connection",
        }
    }
}

/// Part of what was offered that may be lost where CPU is compared.
const MAY_LOSE: f64 = 1.0 - CARRIED;

/// Part of its core that a forwarder may take where a rate is carried. Who takes more has nothing left for what the machine does
/// beside, and fills its queues: it carries that rate as long as they have room, and no longer.
const FULL: f64 = 0.95;

impl Sample {
    /// The forwarder could have gone on like that.
    pub fn had_room(&self) -> bool {
        self.core_used <= FULL
    }

    /// What its CPU is counted by: calls, connections, or messages delivered.
    pub fn units(&self) -> u64 {
        match self.load {
            Load::Overload => self.calls - self.failed,
            load if load.unit() == Unit::Message => self.delivered,
            _ => self.calls,
        }
    }

    /// What was lost, and of how much: messages that did not arrive, or calls and connections that did not end well or needed
    /// a message once more.
    pub fn lost_of(&self) -> (u64, u64) {
        match self.load.unit() {
            Unit::Message => (self.lost, self.sent),
            Unit::Call | Unit::Connection => {
                (self.failed.max(self.retransmissions).min(self.calls), self.calls)
            }
        }
    }

    /// Something was lost, or had to be sent again.
    pub fn lost_any(&self) -> bool {
        self.lost + self.failed + self.retransmissions > 0
    }

    /// Two windows of one subject at one rate, as one that was interrupted; percentiles are those of this one.
    pub fn and(self, more: Self) -> Self {
        let part = self.seconds / (self.seconds + more.seconds);
        Self {
            seconds: self.seconds + more.seconds,
            sent: self.sent + more.sent,
            delivered: self.delivered + more.delivered,
            lost: self.lost + more.lost,
            retransmissions: self.retransmissions + more.retransmissions,
            calls: self.calls + more.calls,
            failed: self.failed + more.failed,
            odd: self.odd + more.odd,
            cpu_ns: self.cpu_ns + more.cpu_ns,
            core_used: self.core_used * part + more.core_used * (1.0 - part),
            softirq_ns: self.softirq_ns + more.softirq_ns,
            syscalls: self.syscalls.zip(more.syscalls).map(|(first, second)| first + second),
            resident_bytes: more.resident_bytes,
            begun_afresh: self.begun_afresh + more.begun_afresh,
            on_schedule: self.on_schedule && more.on_schedule,
            generator_idle: self.generator_idle * part + more.generator_idle * (1.0 - part),
            ..self
        }
    }

    /// So little was lost that its CPU can be held against another's.
    pub fn is_whole(&self) -> bool {
        let (lost, of) = self.lost_of();
        lost as f64 <= of as f64 * MAY_LOSE
    }
}

/// One of so many windows may have lost too much; more, and none of them is compared.
const LEFT_OUT: usize = 3;

/// So few windows, or pairs of them, lost too much that the others may be compared.
pub fn are_few(lost: usize, of: usize) -> bool {
    lost * LEFT_OUT <= of
}

/// These windows of one subject may be compared. Most is lost where more than can be carried is offered, and that is what is
/// asked there.
pub fn are_comparable(samples: &[&Sample]) -> bool {
    let is_lost =
        |sample: &&&Sample| !matches!(sample.load, Load::Saturation | Load::Overload) && !sample.is_whole();
    are_few(samples.iter().filter(is_lost).count(), samples.len())
}

/// The part that these windows lost of what was offered, 0 to 1, all together; none where nothing was offered.
pub fn part_lost<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
    let all = samples.into_iter().map(Sample::lost_of);
    let (lost, of) = all.fold((0, 0), |(lost, of), (more, more_of)| (lost + more, of + more_of));
    lost as f64 / of.max(1) as f64
}

#[cfg(test)]
pub mod tests;
