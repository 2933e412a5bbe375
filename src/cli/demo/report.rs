//! What the demo prints: headlines, the table of latencies, the verdict.

use std::fmt;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use hdrhistogram::Histogram;
use serde_json::json;

use super::super::output;
use super::Failure;
use super::appear::{self, Followed};
use super::bridge::Bridged;
use super::calls::Results;
use super::world::{FORWARDER, LINKS, PRIVATE, PRIVATE_BACKUP, PUBLIC, SERVICE, SIX};

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// After a route change, calls placed within this time may still take the old way.
const SETTLE_CALLS: usize = 20;

/// Prints a section's title.
pub fn headline(text: &str) -> Result<(), Failure> {
    say(format!("\n{BOLD}── {text}{BOLD:#}\n"))
}

fn say(text: String) -> Result<(), Failure> {
    output::write(text.as_bytes()).map_err(Failure::new)
}

/// Draws the world.
pub fn introduce() -> Result<(), Failure> {
    let [public, private, backup, six] = FORWARDER.map(|a| a.to_string());
    headline("A small world: three networks, and the forwarder between them")?;
    say(format!(
        "  {PUBLIC:<15} ── {public:>12} [{}]  ┐
  {PRIVATE:<15} ── {private:>12} [{}] ├─ viaduct
  {PRIVATE_BACKUP:<15} ── {backup:>12} [{}]  │
  {SIX:<15} ── {six:>12} [{}]     ┘
  The service {SERVICE} lives behind the private network and is reached by [{}] or [{}].\n",
        LINKS[0], LINKS[1], LINKS[2], LINKS[3], LINKS[1], LINKS[2],
    ))
}

/// One pair of networks.
pub struct Row {
    name: String,
    calls: usize,
    retransmissions: u32,
    setup: Histogram<u64>,
    release: Histogram<u64>,
    failures: Vec<String>,
}

impl Row {
    /// Sums up a batch of calls.
    pub fn new(name: String, results: &Results) -> Self {
        let mut row = Self {
            name,
            calls: results.callers.len(),
            retransmissions: 0,
            setup: histogram(),
            release: histogram(),
            failures: results.failures().collect(),
        };
        for call in results.callers.iter().chain(&results.callees) {
            row.retransmissions += call.retransmissions;
            record(&mut row.setup, call.setup);
            record(&mut row.release, call.release);
        }
        if results.arrivals.len() != results.placed.len() {
            let (placed, arrived) = (results.placed.len(), results.arrivals.len());
            row.failures.push(format!("{placed} calls were placed, {arrived} arrived"));
        }
        row
    }

    fn json(&self) -> serde_json::Value {
        let percentiles = |h: &Histogram<u64>| json!({ "p50_us": h.value_at_quantile(0.5), "p99_us": h.value_at_quantile(0.99), "max_us": h.max() });
        json!({
            "pair": self.name, "calls": self.calls, "failed": self.failures.len(),
            "retransmissions": self.retransmissions, "failures": self.failures,
            "setup": percentiles(&self.setup), "release": percentiles(&self.release),
        })
    }
}

/// Microseconds from 1 to a minute, three digits: cannot fail for these constants.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds are valid")
}

fn record(histogram: &mut Histogram<u64>, took: Option<Duration>) {
    if let Some(took) = took {
        histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// What the route change came to.
pub struct Flip {
    /// Its calls.
    pub row: Row,
    /// From the kernel's confirmation to the first call that arrived by the new link.
    pub first_call: Option<Duration>,
    /// Calls placed after the confirmation that still took the old way.
    pub old_way_after_change: usize,
    /// Calls that the forwarder sent before its snapshot had followed: from the old socket, by the new link.
    pub in_between: usize,
    /// Calls that took the new way.
    pub moved: usize,
}

impl Flip {
    fn problem(&self) -> Option<String> {
        if self.moved == 0 {
            return Some("no call took the new link after the route was replaced".into());
        }
        let late = self.old_way_after_change + self.in_between;
        (late > SETTLE_CALLS).then(|| {
            format!("{late} calls took the old link or left from its address after the change (allowed: {SETTLE_CALLS})")
        })
    }
}

/// Everything the demo found out.
#[derive(Default)]
pub struct Report {
    /// All pairs of networks.
    pub rows: Vec<Row>,
    /// Next hops that fail, or have a name.
    pub targets: Vec<Row>,
    /// From TCP to UDP.
    pub bridged: Option<Bridged>,
    /// The route change.
    pub flip: Option<Flip>,
    /// The address that came and went.
    pub followed: Option<Followed>,
}

impl Report {
    fn all(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().chain(&self.targets).chain(self.flip.iter().map(|flip| &flip.row))
    }

    fn problems(&self) -> Vec<String> {
        let calls = self.all().flat_map(|row| row.failures.iter().map(|f| format!("{}: {f}", row.name)));
        calls.chain(self.flip.iter().filter_map(Flip::problem)).collect()
    }

    /// All of it worked.
    pub fn passed(&self) -> bool {
        self.bridged.is_some() && self.flip.is_some() && self.followed.is_some() && self.problems().is_empty()
    }

    /// The machine's form.
    pub fn json(&self) -> serde_json::Value {
        let flip = self.flip.as_ref().map(|flip| {
            json!({
                "first_call_us": flip.first_call.map(|d| d.as_micros() as u64),
                "old_way_after_change": flip.old_way_after_change,
                "in_between": flip.in_between,
                "moved": flip.moved, "calls": flip.row.json(),
            })
        });
        let followed = self.followed.as_ref().map(|followed| {
            json!({
                "first_answer_us": followed.answered.as_micros() as u64,
                "closed_us": followed.closed.as_micros() as u64,
            })
        });
        let bridged = self.bridged.as_ref().map(
            |bridged| json!({ "calls": bridged.calls, "setup_p50_us": bridged.setup.as_micros() as u64 }),
        );
        let [pairs, targets] =
            [&self.rows, &self.targets].map(|rows| rows.iter().map(Row::json).collect::<Vec<_>>());
        json!({
            "passed": self.passed(), "pairs": pairs, "targets": targets, "bridged": bridged, "flip": flip,
            "followed": followed, "problems": self.problems(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{BOLD}── Calls: INVITE 180 200 ACK, re-INVITE from both sides, BYE from either{BOLD:#}"
        )?;
        writeln!(
            f,
            "  {:<30} {:>6} {:>7} {:>7}   {:>9} {:>9}   {:>9} {:>9}",
            "", "calls", "failed", "resent", "setup p50", "p99", "BYE p50", "p99"
        )?;
        for row in self.all() {
            let ms = |h: &Histogram<u64>, q| format!("{:.2} ms", h.value_at_quantile(q) as f64 / 1000.0);
            writeln!(
                f,
                "  {:<30} {:>6} {:>7} {:>7}   {:>9} {:>9}   {:>9} {:>9}",
                row.name,
                row.calls,
                row.failures.len(),
                row.retransmissions,
                ms(&row.setup, 0.5),
                ms(&row.setup, 0.99),
                ms(&row.release, 0.5),
                ms(&row.release, 0.99)
            )?;
        }
        if let Some(Bridged { calls, setup }) = &self.bridged {
            let ms = setup.as_secs_f64() * 1000.0;
            writeln!(
                f,
                "\n{BOLD}── From TCP to UDP: a listener takes connections on its port, too{BOLD:#}\n  {calls} calls by one \
                 connection to {}, each arrived over UDP; setup p50 {ms:.2} ms",
                FORWARDER[0]
            )?;
        }
        if let Some(flip) = &self.flip {
            write_flip(f, flip)?;
        }
        if let Some(followed) = &self.followed {
            write_followed(f, followed)?;
        }
        writeln!(
            f,
            "\n  A host answers some six calls to a closed port by ICMP and then one a second: those are tried elsewhere at \
             once,\n  others of a list after its timeout (200 ms); a group passes over what has failed three times."
        )?;
        let problems = self.problems();
        for problem in problems.iter().take(10) {
            writeln!(f, "  {BAD}✗{BAD:#} {problem}")?;
        }
        if problems.len() > 10 {
            writeln!(f, "  … and {} more", problems.len() - 10)?;
        }
        let verdict = if self.passed() { format!("{GOOD}PASS{GOOD:#}") } else { format!("{BAD}FAIL{BAD:#}") };
        writeln!(f, "\n{verdict}")
    }
}

fn write_flip(f: &mut fmt::Formatter<'_>, flip: &Flip) -> fmt::Result {
    writeln!(f, "\n{BOLD}── `ip route replace {SERVICE} via {PRIVATE_BACKUP}` while calls ran{BOLD:#}")?;
    match flip.first_call {
        Some(took) => writeln!(
            f,
            "  first call by [{}]: {:.1} ms after the kernel confirmed the change (a call every 5 ms)",
            LINKS[2],
            took.as_secs_f64() * 1000.0
        )?,
        None => writeln!(f, "  no call came by [{}]", LINKS[2])?,
    }
    writeln!(
        f,
        "  {} calls took the new link; {} placed after the change still took the old one, {} caught in the \
         middle left by the new link from the old address",
        flip.moved, flip.old_way_after_change, flip.in_between
    )
}

fn write_followed(f: &mut fmt::Formatter<'_>, followed: &Followed) -> fmt::Result {
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    writeln!(
        f,
        "\n{BOLD}── `ip addr add {}/24 dev {}`: a listener follows the interface{BOLD:#}",
        appear::ADDRESS,
        LINKS[0]
    )?;
    writeln!(
        f,
        "  first answer from it after {:.1} ms, without a reload; its socket closed {:.1} ms after it was deleted",
        ms(followed.answered),
        ms(followed.closed)
    )
}
