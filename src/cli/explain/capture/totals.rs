//! What a capture came to, in sum. Bounded: by reasons, listeners and rules, never by messages.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;

use super::super::account::Account;
use super::super::ingress::NotReceived;
use super::super::moved::{self, Effects, Sum, Sums};
use super::datagram::Skip;
use crate::plan::Listener;

const BOLD: Style = Style::new().bold();

/// Where a message of the capture was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction<'a> {
    /// To us, on this listener.
    In(&'a Listener),
    /// From one of our listeners.
    Out,
    /// To an address of this host, at a port that no listener has.
    NoListener,
    /// Past us.
    Elsewhere,
}

/// Counts.
#[derive(Debug, Default)]
pub struct Totals {
    /// Packets of the capture.
    pub packets: u64,
    messages: u64,
    sent_by_us: u64,
    no_listener: u64,
    for_others: u64,
    skipped: [u64; Skip::ALL.len()],
    /// By what becomes of them.
    outcomes: BTreeMap<String, u64>,
    moving: Option<u64>,
    sums: Sums,
}

/// The last line of JSON.
#[derive(Serialize)]
struct Last<'a> {
    totals: Written,
    /// Absent without changes.
    #[serde(flatten)]
    effects: Option<&'a Effects>,
}

#[derive(Serialize)]
struct Written {
    packets: u64,
    messages: u64,
    sent_by_us: u64,
    no_listener: u64,
    for_others: u64,
    skipped: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<String, u64>,
    /// How many move; absent without changes.
    moving: Option<u64>,
    sums: Vec<Sum>,
    notes: Vec<String>,
}

impl Totals {
    /// A packet that holds no message to explain.
    pub fn skip(&mut self, why: Skip) {
        self.skipped[why.index()] += 1;
    }

    /// A message that did not come in here.
    pub fn pass_over(&mut self, direction: Direction<'_>) {
        match direction {
            Direction::Out => self.sent_by_us += 1,
            Direction::NoListener => self.no_listener += 1,
            Direction::In(_) | Direction::Elsewhere => self.for_others += 1,
        }
    }

    /// A message that was explained; there is no account of one whose listener comes with the changes.
    pub fn count(&mut self, account: Option<&Account>) {
        self.messages += 1;
        let outcome = match account.map(|account| (account, &account.egress)) {
            Some((_, Some(from))) => format!("forward from {} ({})", from.listener, from.reason),
            Some((account, None)) => account.ending(),
            None => NotReceived::NoSuchListener.to_string(),
        };
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// The same message before and after the changes; there is no account of what is not received.
    pub fn compare(&mut self, moves: bool, now: Option<&Account>, then: Option<&Account>) {
        *self.moving.get_or_insert(0) += u64::from(moves);
        if moves {
            self.sums.add(moved::path_of(now), moved::path_of(then));
        }
    }

    /// Writes the sums, and what the changes move besides the messages.
    ///
    /// # Errors
    /// Standard output's.
    pub fn finish(
        self,
        out: &mut impl Write,
        json: bool,
        effects: Option<&Effects>,
        notes: Vec<String>,
    ) -> io::Result<()> {
        let skipped: BTreeMap<_, _> = (Skip::ALL.into_iter())
            .map(|why| (why.label(), self.skipped[why.index()]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let totals = Written {
            packets: self.packets,
            messages: self.messages,
            sent_by_us: self.sent_by_us,
            no_listener: self.no_listener,
            for_others: self.for_others,
            skipped,
            outcomes: self.outcomes,
            moving: self.moving,
            sums: self.sums.finish(),
            notes,
        };
        if !json {
            return totals.as_text(out, effects);
        }
        serde_json::to_writer(&mut *out, &Last { totals, effects })?;
        writeln!(out)
    }
}

impl Written {
    fn as_text(&self, out: &mut impl Write, effects: Option<&Effects>) -> io::Result<()> {
        writeln!(out, "\n{BOLD}{} messages{BOLD:#} came in, in {} packets", self.messages, self.packets)?;
        for (outcome, count) in &self.outcomes {
            writeln!(out, "{count:>8}  {outcome}")?;
        }
        const TAKEN: &str = "; --listener NAME takes them as if they were for it";
        for (count, what, hint) in [
            (self.sent_by_us, "sent by this host", ""),
            (self.no_listener, "to addresses of this host, at ports that no listener has", TAKEN),
            (self.for_others, "SIP between others", TAKEN),
        ] {
            if count > 0 {
                writeln!(out, "{count:>8}  {what}, not explained{hint}")?;
            }
        }
        for why in Skip::ALL {
            if let Some(count) = self.skipped.get(why.label()) {
                writeln!(out, "{count:>8}  skipped: {}", why.in_words())?;
            }
        }
        if let Some(moving) = self.moving {
            writeln!(out, "{BOLD}{moving} of {} messages would move{BOLD:#}", self.messages)?;
        }
        for Sum { count, from, to } in &self.sums {
            writeln!(out, "{count:>8}  {from} → {to}")?;
        }
        effects.iter().try_for_each(|effects| write!(out, "{effects}"))?;
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}
