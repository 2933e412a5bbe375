//! `--what-if`: what a change of routes would move.

use std::fmt;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::egress::{self, Egress, NoEgress, Question};
use crate::net::{ListenerId, NextHop, Transport};
use crate::rules::{Action, EgressChoice, Target};
use crate::snapshot::Snapshot;

use super::account::{Account, RouteFacts};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const MOVES: Style = AnsiColor::Yellow.on_default().bold();
const STAYS: Style = AnsiColor::Green.on_default().bold();

/// The request now and after the changes, and the rules' literal next hops.
#[derive(Debug, Serialize)]
pub struct Moved {
    /// The changes, as they were written.
    pub changes: Vec<String>,
    /// The request leaves in another way afterwards.
    pub moves: bool,
    /// What would happen to the request now.
    pub now: Account,
    /// And after the changes.
    pub then: Account,
    /// The rules' literal next hops, those that move first.
    pub next_hops: Vec<Hop>,
}

/// A literal next hop of a rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The rule.
    pub rule: String,
    /// Its next hop.
    pub next_hop: String,
    /// It is reached in another way afterwards.
    pub moves: bool,
    /// How it is reached now.
    pub now: String,
    /// And after the changes.
    pub then: String,
}

/// How the literal next hops of all rules are reached, for a request that came in on `ingress`.
pub fn next_hops(now: &Snapshot, then: &Snapshot, ingress: ListenerId) -> Vec<Hop> {
    let mut hops = Vec::new();
    for rule in &now.plan.rules {
        let Action::Forward { to: Target::Address { transport, ip, port, .. }, egress, .. } = &rule.action
        else {
            continue;
        };
        let own = egress.as_ref().map(|choice| now.plan.transport_of(choice));
        let transport = own.or(*transport).unwrap_or(Transport::Udp);
        let next_hop = NextHop { transport, address: SocketAddr::new(*ip, *port) };
        let [before, after] =
            [now, then].map(|snapshot| chosen(snapshot, ingress, next_hop, egress.as_ref()));
        let path =
            |chosen: Chosen| chosen.map(|e| (e.listener, e.route.dev, e.route.gateway, e.route.source));
        hops.push(Hop {
            rule: rule.name.to_string(),
            next_hop: next_hop.to_string(),
            moves: path(before) != path(after),
            now: in_words(now, before),
            then: in_words(then, after),
        });
    }
    hops.sort_by_key(|hop| !hop.moves);
    hops
}

type Chosen = Result<Egress, NoEgress>;

fn chosen(
    snapshot: &Snapshot,
    ingress: ListenerId,
    next_hop: NextHop,
    choice: Option<&EgressChoice>,
) -> Chosen {
    let Snapshot { plan, fib, view, .. } = snapshot;
    let question = Question { next_hop, ingress, flow: 0 };
    match choice {
        Some(choice) => egress::overridden(plan, fib, view, choice, &question),
        None => egress::auto(plan, fib, view, &question),
    }
}

fn in_words(snapshot: &Snapshot, chosen: Chosen) -> String {
    let Snapshot { plan, fib, .. } = snapshot;
    match chosen {
        Ok(egress) => {
            let listener = &plan.listener(egress.listener).name;
            format!("listener {listener} {}, source {}", egress.route.in_words(fib), egress.route.source)
        }
        Err(why) => why.in_words(plan, fib).to_string(),
    }
}

/// The request leaves in another way: from another listener, by another interface, gateway or source, to
/// somewhere else, or not at all. Another prefix with the same path is the same way.
pub fn moves(now: &Account, then: &Account) -> bool {
    let way = |account: &Account| {
        let to = account.next_hop.as_ref().map(|to| (to.transport, to.address, to.port));
        let from = account.egress.as_ref().map(|from| from.listener.clone());
        let path = account.route.as_ref().map(|route| (route.dev.clone(), route.gateway, route.source));
        (account.decision, account.status, to, from, path)
    };
    way(now) != way(then)
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
        _ => match account.answer.first() {
            Some(answer) => format!("{}: {answer}", account.decision),
            None => format!("{} {}", account.decision, account.drop_reason.unwrap_or_default()),
        },
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{BOLD}if {change}{BOLD:#}")?;
        }
        verdict(f, "this request", self.moves, &way_of(&self.now), &way_of(&self.then))?;
        let moving = self.next_hops.iter().filter(|hop| hop.moves);
        let count = moving.clone().count();
        if !self.next_hops.is_empty() {
            writeln!(f, "{count} of {} literal next hops of the rules would move", self.next_hops.len())?;
        }
        for hop in moving {
            verdict(f, &format!("{} {}", hop.rule, hop.next_hop), true, &hop.now, &hop.then)?;
        }
        writeln!(f, "\n{DIM}Afterwards:{DIM:#}\n")?;
        self.then.fmt(f)
    }
}

fn verdict(f: &mut fmt::Formatter<'_>, what: &str, moves: bool, now: &str, then: &str) -> fmt::Result {
    if !moves {
        return writeln!(f, "{what} {STAYS}STAYS{STAYS:#}\n  {DIM}now {DIM:#} {now}");
    }
    writeln!(f, "{what} {MOVES}MOVES{MOVES:#}\n  {DIM}now {DIM:#} {now}\n  {DIM}then{DIM:#} {then}")
}
