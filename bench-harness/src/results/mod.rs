//! What a run leaves behind: figures for programs, a report for people, plots, histograms.
//!
//! ```text
//!  samples, micro ──► ratios ──► results.json ──► against (an older one)
//!        │               └─────► report.md
//!        └─► plots (SVG)      histograms ──► plots (SVG), .hgrm
//! ```

pub mod against;
mod curves;
mod hgrm;
pub mod machine;
pub mod model;
mod plots;
pub mod ratios;
mod report;
pub mod statistics;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hdrhistogram::Histogram;

use crate::load::Transport;
use model::{Load, Results, SCHEMA};

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

    /// The same with [`Results::ratios`] as the samples and the pieces of code give them, and a reason for each that
    /// they do not give.
    pub fn concluded(mut self) -> Self {
        self.ratios = ratios::ratios(&self.samples, &self.micro);
        for (name, figure) in ratios::flat(&self.ratios) {
            if figure.is_some() {
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
    pub fn absorb(&mut self, other: Self) {
        let rounds = self.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0);
        self.subjects.extend(other.subjects);
        self.samples.extend(other.samples.into_iter().map(|mut sample| {
            sample.round += rounds;
            sample
        }));
        self.micro.extend(other.micro);
        self.skipped.extend(other.skipped);
        self.parts.extend(other.parts);
    }
}

/// Writes `results.json`, `report.md`, plots (`*.svg`) and histograms (`*.hgrm`) into the folder, which it makes
/// where there is none; names what it wrote. [`Results::ratios`] are those of [`Results::concluded`].
pub fn write(folder: &Path, results: &Results, histograms: &Histograms) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let results = results.clone().concluded();
    let mut files = plots::of(&results.samples)?;
    for load in Load::ALL {
        files.extend(plots::of_histograms(histograms, load)?);
    }
    for ((subject, load), histogram) in histograms {
        files.push((format!("latency-{subject}-{}.hgrm", load.name()), hgrm::text(histogram)));
    }
    for (name, text) in &files {
        fs::write(folder.join(name), text)?;
    }
    let plots = files.iter().map(|(name, _)| name.clone()).filter(|name| name.ends_with(".svg"));
    summarise(folder, &results, &plots.collect::<Vec<_>>())?;
    let names = [FILE, report::FILE].into_iter().chain(files.iter().map(|(name, _)| name.as_str()));
    Ok(names.map(|name| folder.join(name)).collect())
}

/// Writes `results.json` and `report.md` only; the report shows these plots, which stand beside it.
pub fn summarise(folder: &Path, results: &Results, plots: &[String]) -> io::Result<()> {
    let json = serde_json::to_string_pretty(results)?;
    fs::write(folder.join(FILE), json + "\n")?;
    fs::write(folder.join(report::FILE), report::text(results, plots))
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
    pub const ALL: [Self; 10] = [
        Self::Messages,
        Self::Calls,
        Self::TcpCalls,
        Self::TcpConnections,
        Self::TlsCalls,
        Self::TlsConnections,
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
            _ => Transport::Udp,
        }
    }

    /// What it is counted in.
    pub fn unit(self) -> Unit {
        match self {
            Self::Calls | Self::TcpCalls | Self::TlsCalls | Self::Overload => Unit::Call,
            Self::TcpConnections | Self::TlsConnections => Unit::Connection,
            Self::Messages | Self::Paced | Self::Saturation | Self::Knee => Unit::Message,
        }
    }

    /// As in `results.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Calls => "calls",
            Self::Paced => "paced",
            Self::Saturation => "saturation",
            Self::Knee => "knee",
            Self::Overload => "overload",
            Self::TcpCalls => "tcp-calls",
            Self::TcpConnections => "tcp-connections",
            Self::TlsCalls => "tls-calls",
            Self::TlsConnections => "tls-connections",
        }
    }
}

#[cfg(test)]
pub mod tests;
