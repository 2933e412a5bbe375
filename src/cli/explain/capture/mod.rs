//! `--pcap`: every SIP message of a capture explained, a line each.

mod datagram;
mod frames;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::super::{FAILED, output};
use super::account::{Account, Thinker};
use super::host::Hosts;
use super::ingress::NotReceived;
use super::moved::NowAndThen;
use super::names::Lookups;
use super::{Args, Failure, ingress, listener, moved, written};
use crate::limits::PINS;
use crate::net::Now;
use crate::plan::{Listener, Plan};
use crate::proxy::Incoming;
use crate::snapshot::Snapshot;

use datagram::Datagram;
use frames::{End, Frame};
use totals::{Direction, Totals};

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const MOVES: Style = AnsiColor::Yellow.on_default().bold();

/// How long all names that requests lead to may take together.
const NAMES_WITHIN: Duration = Duration::from_secs(60);

/// A message of the capture: a line of JSON.
#[derive(Debug, Serialize)]
struct Told<'a> {
    /// The number of its packet, from 1.
    packet: u64,
    /// Seconds since 1970.
    time: Option<f64>,
    /// To whom it was sent.
    destination: SocketAddr,
    #[serde(flatten)]
    account: Option<&'a Account>,
    /// Why its listener would not receive it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now_not_received: Option<NotReceived>,
    /// It leaves in another way after the changes, or is received on one side only.
    #[serde(skip_serializing_if = "Option::is_none")]
    moves: Option<bool>,
    /// What becomes of it after the changes, if it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<&'a Account>,
    /// Why it is not received after the changes, if it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    then_not_received: Option<NotReceived>,
}

/// Prints what would happen to each message.
pub fn explain(args: &Args, path: &Path) -> Result<ExitCode, Failure> {
    let hosts = Hosts::new(args)?;
    let named = args.listener.as_deref();
    let elsewhere = named.map(|name| listener(&hosts, Some(name), None)).transpose()?;
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let mut run = Run {
        json: args.json,
        elsewhere,
        now: Side::new(&hosts.now),
        then: hosts.then.as_ref().map(Side::new),
        lookups: Lookups::of_dns(&hosts.now.names, NAMES_WITHIN),
        totals: Totals::default(),
        not_up: BTreeMap::new(),
        began_ns: None,
        failed: None,
    };
    let end = frames::read(path, |number, frame| run.frame(number, &frame, &mut out));
    if let Some(error) = run.failed {
        return ended(&error);
    }
    let failed = |error: String| Failure(FAILED, error);
    let end = match end {
        // There is nothing to sum up.
        Err(error) if run.totals.packets == 0 => return Err(failed(error.to_string())),
        end => end,
    };
    let mut notes = hosts.notes.clone();
    notes.extend(run.not_up.iter().map(|(name, why)| why.note(name)));
    if matches!(end, Ok(End::Short)) {
        notes.push("the capture ends in the middle of a packet".into());
    }
    if run.lookups.gave_up {
        notes.push(format!(
            "DNS was asked for {} s in all: names that came later were not looked up",
            NAMES_WITHIN.as_secs()
        ));
    }
    let both = |then| NowAndThen { now: &hosts.now, then, on: named };
    let effects = hosts.then.as_ref().map(|then| both(then).effects(&args.dst));
    if let Err(error) = run.totals.finish(&mut out, args.json, effects.as_ref(), notes) {
        return ended(&error);
    }
    end.map(|_| ExitCode::SUCCESS).map_err(|error| failed(error.to_string()))
}

/// How it ends where standard output takes no more.
fn ended(error: &io::Error) -> Result<ExitCode, Failure> {
    output::failure(error).map_or(Ok(ExitCode::SUCCESS), |why| Err(Failure(FAILED, why)))
}

/// One host: as it is, or as it would be.
struct Side<'a> {
    snapshot: &'a Snapshot,
    thinker: Thinker<'a>,
}

impl<'a> Side<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, thinker: Thinker::new(snapshot, PINS) }
    }
}

struct Run<'a> {
    json: bool,
    /// Where messages come in that are for no listener.
    elsewhere: Option<&'a Listener>,
    now: Side<'a>,
    then: Option<Side<'a>>,
    /// What requests lead to, for both sides.
    lookups: Lookups<'a>,
    totals: Totals,
    /// Listeners of messages that would not receive them now.
    not_up: BTreeMap<Box<str>, NotReceived>,
    /// The time of the first packet that has one.
    began_ns: Option<u64>,
    failed: Option<io::Error>,
}

impl<'a> Run<'a> {
    /// Whether to go on.
    fn frame(&mut self, number: u64, frame: &Frame<'_>, out: &mut impl Write) -> bool {
        self.totals.packets += 1;
        self.began_ns = self.began_ns.or(frame.time_ns);
        let datagram = match datagram::of(frame) {
            Ok(datagram) => datagram,
            Err(why) => {
                self.totals.skip(why);
                return true;
            }
        };
        match self.direction(&datagram) {
            Direction::In(on) => {
                self.failed = self.message(number, frame, &datagram, on, out).err();
                self.failed.is_none()
            }
            other => {
                self.totals.pass_over(other);
                true
            }
        }
    }

    /// A message to a listener comes in there, be it one that the changes bring; one from a listener was sent by this
    /// host.
    fn direction(&self, datagram: &Datagram<'_>) -> Direction<'a> {
        let now = self.now.snapshot;
        if let Some(on) = listener_at(&now.plan, datagram.to) {
            return Direction::In(on);
        }
        if listener_at(&now.plan, datagram.from).is_some() {
            return Direction::Out;
        }
        let then = self.then.as_ref().map(|side| side.snapshot);
        let comes = then.and_then(|then| {
            listener_at(&then.plan, datagram.to).filter(|own| ingress::up(then, own.id).is_ok())
        });
        let fits = |own: &&Listener| own.bind.is_ipv4() == datagram.to.is_ipv4();
        match comes.or(self.elsewhere.filter(fits)) {
            Some(on) => Direction::In(on),
            None if now.fib.home_of(datagram.to.ip()).is_some() => Direction::NoListener,
            None => Direction::Elsewhere,
        }
    }

    fn message(
        &mut self,
        number: u64,
        frame: &Frame<'_>,
        datagram: &Datagram<'_>,
        on: &Listener,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let since_ns = frame.time_ns.zip(self.began_ns).map_or(0, |(time, began)| time.saturating_sub(began));
        // Pins are of time, too: a second before the first packet nothing has been seen.
        let now = Now(1_000_000_000).plus_ns(since_ns);
        let lookups = &mut self.lookups;
        let mut told = |side: &mut Side<'_>, on| {
            let incoming = Incoming::datagram(datagram.bytes, on, datagram.from);
            side.thinker.account_asking(&incoming, now, lookups)
        };
        // That it came once the capture shows: it is explained also where its listener is not up now.
        let here = self.now.snapshot.plan.listener_named(&on.name).map(|own| own.id);
        let account = here.map(|on| told(&mut self.now, on));
        let lost = ingress::named(self.now.snapshot, &on.name).err();
        if let Some(why) = lost {
            self.not_up.entry(on.name.clone()).or_insert(why);
        }
        let before = account.as_ref().filter(|_| lost.is_none());
        let then = self.then.as_mut().map(|side| Ok(told(side, ingress::named(side.snapshot, &on.name)?)));
        let moves = then.as_ref().map(|then| moved::moves(before, then.as_ref().ok()));
        self.totals.count(account.as_ref());
        if let (Some(moves), Some(then)) = (moves, &then) {
            self.totals.compare(moves, before, then.as_ref().ok());
        }
        let then = then.as_ref().filter(|_| moves == Some(true));
        if self.json {
            let told = Told {
                packet: number,
                time: frame.time_ns.map(|ns| ns as f64 / 1e9),
                destination: datagram.to,
                account: account.as_ref(),
                now_not_received: lost,
                moves,
                then: then.and_then(|then| then.as_ref().ok()),
                then_not_received: then.and_then(|then| then.as_ref().err().copied()),
            };
            serde_json::to_writer(&mut *out, &told).map_err(io::Error::from)?;
            return writeln!(out);
        }
        let seconds = since_ns as f64 / 1e9;
        writeln!(
            out,
            "{DIM}{number:>7} {seconds:>12.6}{DIM:#}  {} {DIM}from{DIM:#} {} {DIM}on{DIM:#} {}",
            written::summary(datagram.bytes),
            datagram.from,
            on.name
        )?;
        match (&account, lost) {
            (Some(account), _) => writeln!(out, "        {}", becomes(account))?,
            (None, why) => {
                writeln!(out, "        {BAD}×{BAD:#} {}", why.unwrap_or(NotReceived::NoSuchListener))?
            }
        }
        match then {
            Some(Ok(then)) => writeln!(out, "        {MOVES}then{MOVES:#} {}", becomes(then)),
            Some(Err(why)) => writeln!(out, "        {MOVES}then{MOVES:#} {BAD}×{BAD:#} {why}"),
            None => Ok(()),
        }
    }
}

/// The listener that is bound there; else one that advertises it, as behind a translator.
fn listener_at(plan: &Plan, address: SocketAddr) -> Option<&Listener> {
    let place = (address.ip(), address.port());
    let bound = plan.listeners.iter().find(|l| (l.bind.ip(), l.bind.port()) == place);
    let shown = || {
        let shows = |a: &crate::plan::Advertise| a.ip == Some(place.0) && a.port == place.1;
        plan.listeners.iter().find(|l| l.advertise.iter().any(shows))
    };
    bound.or_else(shown)
}

/// What becomes of a message, in a line.
fn becomes(account: &Account) -> String {
    let rule = account.rule.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default();
    match (&account.egress, &account.next_hop) {
        (Some(from), Some(to)) => {
            let step = from.step.map(|step| format!(" {step}")).unwrap_or_default();
            let by = account.route.as_ref().map(|route| format!(" by {}", route.dev)).unwrap_or_default();
            let to = SocketAddr::new(to.address, to.port);
            let (transport, name) = (from.transport, &from.listener);
            format!("{GOOD}→{GOOD:#} {transport}:{to} from {name}{by} ({}{step}{rule})", from.reason)
        }
        _ => {
            let why = account.no_egress.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let notes: String = account.notes.iter().map(|note| format!("; {note}")).collect();
            format!("{BAD}×{BAD:#} {}{why}{}{notes}", account.ending(), rule.replace(", ", " by "))
        }
    }
}
