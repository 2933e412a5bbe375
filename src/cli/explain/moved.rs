//! `--what-if`: what a change of the host would move.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::egress::{self, Egress, Question};
use crate::findings::{Examiner, Finding, Key};
use crate::net::{NextHop, Transport, canonical};
use crate::plan::Onward;
use crate::rules::{EgressChoice, Rule};
use crate::snapshot::Snapshot;

use super::account::Account;
use super::facts::RouteFacts;
use super::ingress::{self, Ingress, NotReceived};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const MOVES: Style = AnsiColor::Yellow.on_default().bold();
const STAYS: Style = AnsiColor::Green.on_default().bold();

/// Next hops that are shown one by one where they move; all are in JSON and in the sums.
const SHOWN: usize = 20;

const NOT_RECEIVED: &str = "not received";

/// The request now and after the changes, the rules' literal next hops, and the destinations asked for.
#[derive(Debug, Serialize)]
pub struct Moved {
    /// The changes, as they were written.
    pub changes: Vec<String>,
    /// The request leaves in another way afterwards, or is received on one side only.
    pub moves: bool,
    /// What would happen to the request now; absent: none was given, or it is not received.
    pub now: Option<Account>,
    /// Why it is not received now.
    pub now_not_received: Option<NotReceived>,
    /// What would happen to it after the changes.
    pub then: Option<Account>,
    /// Why it is not received then.
    pub then_not_received: Option<NotReceived>,
    /// What else moves.
    #[serde(flatten)]
    pub effects: Effects,
    /// What else one should know.
    pub notes: Vec<String>,
}

/// What the changes do to everything but a request.
#[derive(Debug, Serialize)]
pub struct Effects {
    /// The rules' literal next hops, those that move first.
    pub next_hops: Vec<Hop>,
    /// The destinations of `--dst`, in the order given.
    pub destinations: Vec<Hop>,
    /// How many of both move, from where to where; the most first.
    pub sums: Vec<Sum>,
    /// What `check` would find afterwards and does not find now.
    pub new_findings: Vec<FindingFacts>,
    /// What it finds now and would not find afterwards.
    pub resolved_findings: Vec<FindingFacts>,
}

/// Where configuration and routing do not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingFacts {
    /// See `viaduct check`.
    pub code: &'static str,
    /// `error`, `warning`, `note`.
    pub severity: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// A next hop.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The rule that names it.
    pub rule: Option<String>,
    /// Where to.
    pub next_hop: String,
    /// It is reached in another way afterwards.
    pub moves: bool,
    /// How it is reached now.
    pub now: Way,
    /// And after the changes.
    pub then: Way,
}

/// How a next hop is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Requests come in where they are taken to come in.
    pub received: bool,
    /// From which listener; absent: not at all.
    pub listener: Option<String>,
    /// By which route.
    pub route: Option<RouteFacts>,
    /// All of it in words.
    pub words: String,
}

/// So many next hops move from one path to another.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// `public by eth0 via 203.0.113.1`, or `nowhere`.
    pub from: String,
    /// The same afterwards.
    pub to: String,
}

/// Counts moves by their paths.
#[derive(Debug, Default)]
pub struct Sums(BTreeMap<(String, String), u64>);

/// `--dst`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination(pub SocketAddr);

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = match text.parse::<SocketAddr>() {
            Ok(socket) => SocketAddr::new(canonical(socket.ip()), socket.port()),
            Err(_) => match text.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) => SocketAddr::new(canonical(ip), Transport::Udp.default_port()),
                Err(_) => return Err("neither ADDRESS nor ADDRESS:PORT (IPv6 in brackets)".into()),
            },
        };
        match (address.ip().is_unspecified(), address.port()) {
            (true, _) => Err(super::super::UNSPECIFIED.into()),
            (false, 0) => Err("nothing is sent to port 0".into()),
            (false, _) => Ok(Self(address)),
        }
    }
}

/// The same configuration on the same host, before and after.
#[derive(Clone, Copy)]
pub struct NowAndThen<'a> {
    /// As it is.
    pub now: &'a Snapshot,
    /// After the changes.
    pub then: &'a Snapshot,
    /// The name of the listener that requests come in on; `None`: any.
    pub on: Option<&'a str>,
}

impl NowAndThen<'_> {
    /// Where requests come in now and then: those of a rule on a listener that it asks for.
    pub fn ingresses(&self, rule: Option<&Rule>) -> (Ingress, Ingress) {
        let Self { now, then, on } = *self;
        match on {
            Some(name) => (ingress::named(now, name), ingress::named(then, name)),
            None => ingress::any(now, then, rule.map(|rule| &rule.when)),
        }
    }

    /// Everything that is moved besides a request.
    pub fn effects(&self, destinations: &[Destination]) -> Effects {
        let next_hops = self.next_hops();
        let destinations: Vec<_> = destinations.iter().map(|to| self.destination(*to)).collect();
        let mut sums = Sums::default();
        next_hops.iter().chain(&destinations).for_each(|hop| sums.count(hop));
        let (new_findings, resolved_findings) = self.findings();
        Effects { next_hops, destinations, sums: sums.finish(), new_findings, resolved_findings }
    }

    /// How the literal next hops of all rules are reached.
    pub fn next_hops(&self) -> Vec<Hop> {
        let rules = self.now.plan.rules.iter().zip(self.then.plan.rules.iter());
        let mut hops: Vec<Hop> = rules.flat_map(|(now, then)| self.of_rule(now, then)).collect();
        hops.sort_by_key(|hop| !hop.moves);
        hops
    }

    fn of_rule(&self, now: &Rule, then: &Rule) -> Vec<Hop> {
        let hop = |(here, there): (Onward<'_>, Onward<'_>)| {
            let next_hop = self.now.plan.literal_hop(here.target, here.egress.as_ref())?;
            Some(self.hop(Some(now), next_hop, here.egress.as_ref(), there.egress.as_ref()))
        };
        self.now.plan.onward(now).zip(self.then.plan.onward(then)).filter_map(hop).collect()
    }

    /// The findings that come, and those that go.
    fn findings(&self) -> (Vec<FindingFacts>, Vec<FindingFacts>) {
        type Found = BTreeMap<Key, Finding>;
        let all = |snapshot: &Snapshot| -> Found {
            let found = Examiner::new(&snapshot.plan, &snapshot.fib, &snapshot.view).all();
            found.into_iter().map(|finding| (finding.key(), finding)).collect()
        };
        let (now, then) = (all(self.now), all(self.then));
        let only = |these: &Found, those: &Found| {
            these.iter().filter(|(key, _)| !those.contains_key(key)).map(|(_, f)| facts(f)).collect()
        };
        (only(&then, &now), only(&now, &then))
    }

    /// How a destination is reached by the automatic choice.
    fn destination(&self, destination: Destination) -> Hop {
        let next_hop = NextHop { transport: Transport::Udp, address: destination.0 };
        self.hop(None, next_hop, None, None)
    }

    fn hop(
        &self,
        rule: Option<&Rule>,
        next_hop: NextHop,
        now: Option<&EgressChoice>,
        then: Option<&EgressChoice>,
    ) -> Hop {
        let (here, there) = self.ingresses(rule);
        let (now, then) = (way(self.now, here, next_hop, now), way(self.then, there, next_hop, then));
        let moves = (now.received, now.path()) != (then.received, then.path());
        let rule = rule.map(|rule| rule.name.to_string());
        Hop { rule, next_hop: next_hop.to_string(), moves, now, then }
    }
}

fn facts(finding: &Finding) -> FindingFacts {
    FindingFacts {
        code: finding.code.label(),
        severity: finding.severity.label(),
        message: finding.message(),
        hint: finding.remedy.clone(),
    }
}

fn way(snapshot: &Snapshot, ingress: Ingress, next_hop: NextHop, choice: Option<&EgressChoice>) -> Way {
    let Snapshot { plan, fib, view, .. } = snapshot;
    let nowhere = |received, words: String| Way { received, listener: None, route: None, words };
    let ingress = match ingress {
        Ok(ingress) => ingress,
        Err(why) => return nowhere(false, why.to_string()),
    };
    let question = Question { next_hop, ingress, flow: 0 };
    let chosen = match choice {
        Some(choice) => egress::overridden(plan, fib, view, choice, &question),
        None => egress::auto(plan, fib, view, &question),
    };
    match chosen {
        Ok(Egress { listener, route, .. }) => {
            let listener = plan.listener(listener).name.to_string();
            let words = format!("listener {listener} {}, source {}", route.in_words(fib), route.source);
            let route = Some(RouteFacts::new(snapshot, &route));
            Way { received: true, listener: Some(listener), route, words }
        }
        Err(why) => nowhere(true, why.in_words(plan, fib).to_string()),
    }
}

impl Way {
    /// What a neighbour or a link would notice; another prefix with the same path is the same way.
    fn path(&self) -> Option<(&str, &str, Option<IpAddr>, IpAddr)> {
        let route = self.route.as_ref()?;
        Some((self.listener.as_deref()?, &route.dev, route.gateway, route.source))
    }

    fn short(&self) -> String {
        let nowhere = if self.received { "nowhere" } else { NOT_RECEIVED };
        short(self.listener.as_deref(), self.route.as_ref()).unwrap_or_else(|| nowhere.into())
    }
}

fn short(listener: Option<&str>, route: Option<&RouteFacts>) -> Option<String> {
    let (listener, route) = (listener?, route?);
    let via = route.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
    Some(format!("{listener} by {}{via}", route.dev))
}

impl Sums {
    /// Counts a next hop, if it moves.
    pub fn count(&mut self, hop: &Hop) {
        if hop.moves {
            self.add(hop.now.short(), hop.then.short());
        }
    }

    /// Counts a request that moves.
    pub fn add(&mut self, from: String, to: String) {
        *self.0.entry((from, to)).or_default() += 1;
    }

    /// The most first.
    pub fn finish(self) -> Vec<Sum> {
        let mut sums: Vec<Sum> =
            self.0.into_iter().map(|((from, to), count)| Sum { count, from, to }).collect();
        sums.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        sums
    }
}

/// The request leaves in another way: from another listener, by another interface, gateway or source, to
/// somewhere else, or not at all; or it is received (an account is there) on one side only.
pub fn moves(now: Option<&Account>, then: Option<&Account>) -> bool {
    let way = |account: &Account| {
        let to = account.next_hop.as_ref().map(|to| (to.transport, to.address, to.port));
        let from = account.egress.as_ref().map(|from| from.listener.clone());
        let path = account.route.as_ref().map(|route| (route.dev.clone(), route.gateway, route.source));
        (account.decision, account.status, to, from, path)
    };
    now.map(way) != then.map(way)
}

/// The path of a request, or how it ends; there is no account of what is not received.
pub fn path_of(account: Option<&Account>) -> String {
    let Some(account) = account else { return NOT_RECEIVED.into() };
    let listener = account.egress.as_ref().map(|from| from.listener.as_str());
    short(listener, account.route.as_ref()).unwrap_or_else(|| account.ending())
}

/// How a request is treated, in a line.
fn way_of(account: &Account) -> String {
    match (&account.egress, &account.route, &account.next_hop) {
        (Some(from), Some(route), Some(to)) => {
            let via = route.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
            let to = SocketAddr::new(to.address, to.port);
            let RouteFacts { dev, prefix, table, source, .. } = route;
            format!(
                "to {to}: listener {} by {dev}{via} ({prefix}, table {table}), source {source}",
                from.listener
            )
        }
        _ => account.ending(),
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{BOLD}if {change}{BOLD:#}")?;
        }
        let side = |account: &Option<Account>, lost: Option<NotReceived>| {
            account.as_ref().map(way_of).or(lost.map(|why| why.to_string()))
        };
        let (now, then) = (side(&self.now, self.now_not_received), side(&self.then, self.then_not_received));
        if let (Some(now), Some(then)) = (now, then) {
            verdict(f, "this request", self.moves, &now, &then)?;
        }
        self.effects.fmt(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        match &self.then {
            Some(then) => {
                writeln!(f, "\n{DIM}Afterwards:{DIM:#}\n")?;
                then.fmt(f)
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.next_hops, "literal next hops of the rules")?;
        list(f, &self.destinations, "destinations")?;
        for Sum { count, from, to } in &self.sums {
            writeln!(f, "{BOLD}{count:>6}{BOLD:#}  {from} {DIM}→{DIM:#} {to}")?;
        }
        findings(f, &self.new_findings, "`check` would find what it does not find now:")?;
        findings(f, &self.resolved_findings, "`check` would no longer find:")
    }
}

fn list(f: &mut fmt::Formatter<'_>, hops: &[Hop], what: &str) -> fmt::Result {
    if hops.is_empty() {
        return Ok(());
    }
    let moving: Vec<&Hop> = hops.iter().filter(|hop| hop.moves).collect();
    writeln!(f, "{} of {} {what} would move", moving.len(), hops.len())?;
    for hop in moving.iter().take(SHOWN) {
        let what = match &hop.rule {
            Some(rule) => format!("{rule} {}", hop.next_hop),
            None => hop.next_hop.clone(),
        };
        verdict(f, &what, true, &hop.now.words, &hop.then.words)?;
    }
    match moving.len().checked_sub(SHOWN) {
        Some(more @ 1..) => writeln!(f, "  … and {more} more; --json has them all"),
        _ => Ok(()),
    }
}

fn findings(f: &mut fmt::Formatter<'_>, list: &[FindingFacts], what: &str) -> fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(f, "{what}")?;
    for FindingFacts { code, severity, message, .. } in list.iter().take(SHOWN) {
        writeln!(f, "  {severity}[{code}]: {message}")?;
    }
    match list.len().checked_sub(SHOWN) {
        Some(more @ 1..) => writeln!(f, "  … and {more} more; --json has them all"),
        _ => Ok(()),
    }
}

fn verdict(f: &mut fmt::Formatter<'_>, what: &str, moves: bool, now: &str, then: &str) -> fmt::Result {
    if !moves {
        return writeln!(f, "{what} {STAYS}STAYS{STAYS:#}\n  {DIM}now {DIM:#} {now}");
    }
    writeln!(f, "{what} {MOVES}MOVES{MOVES:#}\n  {DIM}now {DIM:#} {now}\n  {DIM}then{DIM:#} {then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_addresses_with_or_without_port() {
        let read = |text: &str| text.parse::<Destination>().map(|d| d.0.to_string());
        assert_eq!(read("192.0.2.1"), Ok("192.0.2.1:5060".into()));
        assert_eq!(read("192.0.2.1:5070"), Ok("192.0.2.1:5070".into()));
        assert_eq!(read("2001:db8::1"), Ok("[2001:db8::1]:5060".into()));
        assert_eq!(read("[2001:db8::1]:5070"), Ok("[2001:db8::1]:5070".into()));
        for text in ["sip.example", "192.0.2.1:0", "0.0.0.0", "[::]:5060"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
