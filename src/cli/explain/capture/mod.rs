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

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::account::{Account, Thinker};
use super::host::Hosts;
use super::ingress::NotReceived;
use super::moved::NowAndThen;
use super::{Args, Failure, ingress, listener, moved};
use crate::limits::PIN_SETS;
use crate::net::{ListenerId, Now};
use crate::plan::Plan;
use crate::proxy::Incoming;
use crate::snapshot::Snapshot;

use datagram::Datagram;
use frames::{End, Frame};
use totals::{Direction, Totals};

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const MOVES: Style = AnsiColor::Yellow.on_default().bold();

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
    account: &'a Account,
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
    let elsewhere = elsewhere(args, &hosts)?;
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let mut run = Run {
        json: args.json,
        elsewhere,
        now: Side::new(&hosts.now),
        then: hosts.then.as_ref().map(Side::new),
        totals: Totals::default(),
        not_up: BTreeMap::new(),
        began_ns: None,
        failed: None,
    };
    let end = frames::read(path, |number, frame| run.frame(number, &frame, &mut out));
    if let Some(error) = run.failed {
        return match error.kind() {
            // A reader that has seen enough and gone is no failure.
            io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            _ => Err(Failure(super::super::FAILED, format!("cannot write to standard output: {error}"))),
        };
    }
    let failed = |error: String| Failure(super::super::FAILED, error);
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
    let both = hosts.then.as_ref().map(|then| NowAndThen::new(&hosts.now, then, args.listener.as_deref()));
    let effects = both.map(|both| both.effects(&args.dst));
    run.totals
        .finish(&mut out, args.json, effects.as_ref(), notes)
        .map_err(|error| failed(error.to_string()))?;
    end.map(|_| ExitCode::SUCCESS).map_err(|error| failed(error.to_string()))
}

/// Where messages come in that are for no listener.
fn elsewhere(args: &Args, hosts: &Hosts) -> Result<Option<ListenerId>, Failure> {
    let Some(name) = args.listener.as_deref() else { return Ok(None) };
    let own = &listener(hosts, Some(name), None)?.name;
    match hosts.now.plan.listener_named(own) {
        Some(own) => Ok(Some(own.id)),
        None => Err(Failure(super::super::USAGE, format!("there is no listener `{name}` yet"))),
    }
}

/// One host: as it is, or as it would be.
struct Side<'a> {
    snapshot: &'a Snapshot,
    thinker: Thinker<'a>,
}

impl<'a> Side<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, thinker: Thinker::new(snapshot, PIN_SETS) }
    }
}

struct Run<'a> {
    json: bool,
    /// Where messages come in that are for no listener.
    elsewhere: Option<ListenerId>,
    now: Side<'a>,
    then: Option<Side<'a>>,
    totals: Totals,
    /// Listeners of messages that would not receive them now.
    not_up: BTreeMap<Box<str>, NotReceived>,
    /// The time of the first packet that has one.
    began_ns: Option<u64>,
    failed: Option<io::Error>,
}

impl Run<'_> {
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

    /// A message to a listener comes in there; one from a listener was sent by this host.
    fn direction(&self, datagram: &Datagram<'_>) -> Direction {
        let plan = &self.now.snapshot.plan;
        if let Some(on) = listener_at(plan, datagram.to) {
            return Direction::In(on);
        }
        if listener_at(plan, datagram.from).is_some() {
            return Direction::Out;
        }
        let fits = |id: &ListenerId| plan.listener(*id).bind.is_ipv4() == datagram.to.is_ipv4();
        match self.elsewhere.filter(fits) {
            Some(on) => Direction::In(on),
            None if self.now.snapshot.fib.home_of(datagram.to.ip()).is_some() => Direction::NoListener,
            None => Direction::Elsewhere,
        }
    }

    fn message(
        &mut self,
        number: u64,
        frame: &Frame<'_>,
        datagram: &Datagram<'_>,
        on: ListenerId,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let since_ns = frame.time_ns.zip(self.began_ns).map_or(0, |(time, began)| time.saturating_sub(began));
        // Pins are of time, too: a second before the first packet nothing has been seen.
        let now = Now(1_000_000_000).plus_ns(since_ns);
        let incoming = Incoming { bytes: datagram.bytes, on, from: datagram.from };
        let account = self.now.thinker.account(&incoming, now, Vec::new());
        let name = &self.now.snapshot.plan.listener(on).name;
        let lost = ingress::up(self.now.snapshot, on).err();
        if let Some(why) = lost {
            self.not_up.entry(name.clone()).or_insert(why);
        }
        let before = Some(&account).filter(|_| lost.is_none());
        let then = self.then.as_mut().map(|side| {
            let on = ingress::named(side.snapshot, name)?;
            Ok(side.thinker.account(&Incoming { on, ..incoming }, now, Vec::new()))
        });
        let moves = then.as_ref().map(|then| moved::moves(before, then.as_ref().ok()));
        self.totals.count(&account);
        if let (Some(moves), Some(then)) = (moves, &then) {
            self.totals.compare(moves, before, then.as_ref().ok());
        }
        let then = then.as_ref().filter(|_| moves == Some(true));
        if self.json {
            let told = Told {
                packet: number,
                time: frame.time_ns.map(|ns| ns as f64 / 1e9),
                destination: datagram.to,
                account: &account,
                now_not_received: lost,
                moves,
                then: then.and_then(|then| then.as_ref().ok()),
                then_not_received: then.and_then(|then| then.as_ref().err().copied()),
            };
            serde_json::to_writer(&mut *out, &told).map_err(io::Error::from)?;
            return writeln!(out);
        }
        line(out, number, since_ns, &account)?;
        match then {
            Some(Ok(then)) => writeln!(out, "        {MOVES}then{MOVES:#} {}", becomes(then)),
            Some(Err(why)) => writeln!(out, "        {MOVES}then{MOVES:#} {BAD}×{BAD:#} {why}"),
            None => Ok(()),
        }
    }
}

/// The listener that is bound there; else one that advertises it, as behind a translator.
fn listener_at(plan: &Plan, address: SocketAddr) -> Option<ListenerId> {
    let place = (address.ip(), address.port());
    let bound = plan.listeners.iter().find(|l| (l.bind.ip(), l.bind.port()) == place);
    let shown = || {
        let shows = |a: &crate::plan::Advertise| a.ip == Some(place.0) && a.port == place.1;
        plan.listeners.iter().find(|l| l.advertise.iter().any(shows))
    };
    bound.or_else(shown).map(|l| l.id)
}

fn line(out: &mut impl Write, number: u64, since_ns: u64, account: &Account) -> io::Result<()> {
    let request = &account.request;
    let seconds = since_ns as f64 / 1e9;
    writeln!(
        out,
        "{DIM}{number:>7} {seconds:>12.6}{DIM:#}  {} {DIM}from{DIM:#} {} {DIM}on{DIM:#} {}\n        {}",
        request.summary,
        request.source,
        request.listener,
        becomes(account)
    )
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
