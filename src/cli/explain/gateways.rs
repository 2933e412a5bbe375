//! The gateways of a rule's groups: which one a request goes to, and why the others are passed over.
//!
//! How they do is asked of the running process, where there is one; without it all are taken for up.

use std::fmt;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::super::admin;
use crate::group::{Fault, Life, Standing, Way};
use crate::net::{GatewayId, GroupId};
use crate::proxy::{Candidate, Outcome};
use crate::rules::{Rule, RuleId, Target};
use crate::snapshot::Snapshot;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// One of a rule's groups.
#[derive(Debug, Serialize)]
pub struct GroupFacts {
    /// Its name.
    pub group: String,
    /// `weighted`, `call-id`, `number`: what chooses.
    pub select: &'static str,
    /// By priority, then as configured.
    pub gateways: Vec<GatewayFacts>,
}

/// One of a group's gateways.
#[derive(Debug, Serialize)]
pub struct GatewayFacts {
    /// As it is written.
    pub to: String,
    /// The lowest goes first.
    pub priority: u16,
    /// Its part among those of its priority.
    pub weight: u16,
    /// `up`, `returning`, `aside`, `down`: how it does from the listener that it is reached best from.
    pub state: &'static str,
    /// How much of its weight it gets, in percent.
    pub share: u32,
    /// As which it is tried, from 1; none: it is passed over.
    pub order: Option<usize>,
    /// Why it is tried then, or not at all.
    pub why: String,
}

/// The groups that a rule sends to; `candidates` is what came of them.
pub fn all(
    snapshot: &Snapshot,
    rule: Option<RuleId>,
    candidates: &[Candidate],
    outcome: &Outcome,
) -> Vec<GroupFacts> {
    let rule = snapshot.plan.rule(rule);
    let chosen = match outcome {
        Outcome::Forward { decision, .. } => Some(decision.next_hop.address),
        _ => None,
    };
    let groups = rule.into_iter().flat_map(Rule::targets).filter_map(Target::group);
    groups.map(|id| of_group(snapshot, id, candidates, chosen)).collect()
}

fn of_group(
    snapshot: &Snapshot,
    id: GroupId,
    candidates: &[Candidate],
    chosen: Option<SocketAddr>,
) -> GroupFacts {
    let group = snapshot.plan.group(id);
    let gateways = group.gateways.iter().zip(&group.members).zip(snapshot.roster.ids(id));
    let facts = gateways.map(|((gateway, member), id)| {
        let at = candidates.iter().position(|candidate| candidate.gateway == Some(*id));
        let best = best_way(snapshot, *id);
        let (state, share) = best.map_or((Life::Up, u8::MAX), |(_, way)| (life(way), way.share));
        let is_chosen = candidates
            .iter()
            .any(|candidate| candidate.gateway == Some(*id) && Some(candidate.next_hop.address) == chosen);
        GatewayFacts {
            to: gateway.uri.to_string(),
            priority: member.priority,
            weight: member.weight,
            state: state.label(),
            share: u32::from(share) * 100 / u32::from(u8::MAX),
            order: at.map(|at| at + 1),
            why: match at {
                Some(_) => tried(snapshot, *id, is_chosen, chosen.is_some(), best),
                None => passed_over(snapshot, *id, member.weight, best),
            },
        }
    });
    GroupFacts { group: group.name.to_string(), select: group.select.as_str(), gateways: facts.collect() }
}

/// The way that a gateway gets most requests by, with its listener's identity.
fn best_way(snapshot: &Snapshot, gateway: GatewayId) -> Option<(u32, Way)> {
    snapshot.roster.health().ways(gateway).max_by_key(|(_, way)| way.share)
}

fn life(way: Way) -> Life {
    match way.standing {
        Standing::Up if way.share == u8::MAX => Life::Up,
        Standing::Up => Life::Returning,
        Standing::Aside => Life::Aside,
        Standing::Down => Life::Down,
    }
}

/// Why a gateway is among those that are tried; one that is down is, where no other is left.
fn tried(
    snapshot: &Snapshot,
    id: GatewayId,
    is_chosen: bool,
    is_any_chosen: bool,
    best: Option<(u32, Way)>,
) -> String {
    let why = match (is_chosen, is_any_chosen) {
        (true, _) => "chosen",
        (false, false) => "has no way, see below",
        (false, true) => "where those before it fail, if a transaction is kept",
    };
    match best.filter(|(_, way)| life(*way) == Life::Down) {
        Some((listener, _)) => format!("{why}, though it {}", down(snapshot, id, listener)),
        None => why.to_owned(),
    }
}

fn passed_over(snapshot: &Snapshot, id: GatewayId, weight: u16, best: Option<(u32, Way)>) -> String {
    if weight == 0 {
        return "its weight is 0".into();
    }
    let Some((listener, way)) = best else { return "others come first".into() };
    match life(way) {
        Life::Down => down(snapshot, id, listener),
        Life::Aside => {
            let from = name(snapshot, listener);
            format!("has asked to be left alone (503 with Retry-After), answering {from}")
        }
        Life::Up | Life::Returning => "others come first, or it is down from this request's listener".into(),
    }
}

/// Why a gateway is down, seen from a listener.
fn down(snapshot: &Snapshot, id: GatewayId, listener: u32) -> String {
    let fault = snapshot.roster.health().fault(id, listener).unwrap_or(Fault::Silent);
    format!("{fault}, asked from {}", name(snapshot, listener))
}

fn name(snapshot: &Snapshot, listener: u32) -> &str {
    let listener = snapshot.view.by_identity(listener);
    listener.map_or("a listener", |id| &*snapshot.plan.listener(id).name)
}

/// Asks the running process how gateways do, and has the snapshot know it; says where it could not be asked.
pub fn ask(snapshot: &Snapshot) -> Option<String> {
    let plan = &snapshot.plan;
    if plan.groups.is_empty() {
        return None;
    }
    let unknown = |why: String| Some(format!("{why}: all gateways are taken for up"));
    let Some(address) = plan.admin else { return unknown("[admin] listen is off".into()) };
    match admin::get(address, "/gateways") {
        Ok(Some(page)) => {
            learn(snapshot, &page);
            None
        }
        Ok(None) => unknown(format!("{address} is not answered by a Viaduct with groups")),
        Err(error) => unknown(format!("no Viaduct answers on {address} ({error})")),
    }
}

/// Reads the page: group, gateway, listener, state, share and perhaps why OPTIONS fail, each behind two blanks or more.
fn learn(snapshot: &Snapshot, page: &str) {
    for line in page.lines() {
        let columns: Vec<&str> =
            line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        let [group, uri, listener, state, percent, ref why @ ..] = columns[..] else { continue };
        let Some(own) = snapshot.plan.listener_named(listener) else { continue };
        let Some(group) = snapshot.plan.groups.iter().find(|known| &*known.name == group) else { continue };
        let Some(place) = group.gateways.iter().position(|gateway| &*gateway.uri == uri) else { continue };
        let Some(id) = snapshot.roster.ids(group.id).get(place) else { continue };
        let percent: u32 = percent.trim_end_matches('%').parse().unwrap_or(0);
        let share = (percent.min(100) * u32::from(u8::MAX)).div_ceil(100) as u8;
        let (standing, share) = match Life::ALL.into_iter().find(|life| life.label() == state) {
            Some(Life::Down) => (Standing::Down, 0),
            Some(Life::Aside) => (Standing::Aside, 0),
            Some(Life::Up | Life::Returning) => (Standing::Up, share.max(1)),
            None => continue,
        };
        let fault = why.first().and_then(|word| Fault::read(word));
        snapshot.roster.health().take_over(*id, own.identity, (standing, share), fault);
    }
}

impl fmt::Display for GroupFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, select, gateways } = self;
        writeln!(f, "  {DIM}{:<10}{DIM:#} {group}, {select}, {} gateways", "group", gateways.len())?;
        let width = gateways.iter().map(|gateway| gateway.to.len()).max().unwrap_or(0);
        for GatewayFacts { to, priority, weight, state, share, order, why } in gateways {
            let (style, mark) = if order.is_some() { (GOOD, '✓') } else { (BAD, '✗') };
            let order = order.map_or(String::new(), |order| format!("{order}. "));
            let state =
                if *state == "returning" { format!("returning, {share}%") } else { (*state).to_owned() };
            writeln!(
                f,
                "             {style}{mark}{style:#} {to:<width$}  {DIM}priority {priority}, weight {weight}, {state}{DIM:#}  {order}{why}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::account::Thinker;
    use super::*;
    use crate::config;
    use crate::fib::Builder;
    use crate::fib::spec::Link;
    use crate::net::Now;
    use crate::proxy::Incoming;
    use crate::token::Keys;

    const CONFIGURATION: &str = r#"
[[listener]]
name = "lan"
bind = "udp:10.0.0.4:5060"

[[group]]
name = "unused"
gateways = [{ to = "sip:10.0.0.7" }]

[[group]]
name = "trunks"
gateways = [
    { to = "sip:10.0.0.71" }, { to = "sip:10.0.0.72" }, { to = "sip:10.0.0.73" },
    { to = "sip:10.0.0.74", priority = 2 }, { to = "sip:10.0.0.75", weight = 0 },
]

[[route]]
to = "group:trunks"
"#;

    #[test]
    fn what_the_running_process_knows_decides() {
        let fib = Builder::host().link(Link::up(2, "eth0")).assign(2, "10.0.0.4/24".parse().unwrap()).build();
        let plan = config::from_str("test.toml", CONFIGURATION, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
        let keys = Arc::new(Keys::from_secret(&[7; 16]));
        let snapshot = Snapshot::new(1, Arc::new(plan), Arc::new(fib), keys, Arc::default());
        learn(
            &snapshot,
            "trunks  sip:10.0.0.71  lan   down       0%  wrong_name\n\
             trunks  sip:10.0.0.72  lan   aside      0%\n\
             trunks  sip:10.0.0.73  lan   returning  20%\n\
             trunks  sip:10.0.0.99  lan   down       0%\n\
             trunks  sip:10.0.0.74  gone  down       0%\n\
             others  sip:10.0.0.74  lan   down       0%\nnonsense\n",
        );
        let bytes = b"INVITE sip:a@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1\r\n\
            Max-Forwards: 70\r\nFrom: <sip:b@example.net>;tag=1\r\nTo: <sip:a@example.net>\r\nCall-ID: 1\r\n\
            CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        let on = snapshot.plan.listeners[0].id;
        let incoming = Incoming::datagram(bytes, on, "10.0.0.9:5060".parse().unwrap());
        let account = Thinker::new(&snapshot, 1).account(&incoming, Now(0), Vec::new());
        let [group] = &account.groups[..] else { panic!("one group is named") };
        let told: Vec<_> = group.gateways.iter().map(|g| (g.state, g.share, g.order)).collect();
        assert_eq!(
            told,
            [
                ("down", 0, None),
                ("aside", 0, None),
                ("returning", 20, Some(1)),
                ("up", 100, None),
                ("up", 100, Some(2))
            ]
        );
        let text = anstream::adapter::strip_str(&account.to_string()).to_string();
        for line in [
            "trunks, weighted, 5 gateways",
            "✗ sip:10.0.0.71  priority 1, weight 1, down  fails in TLS: its certificate is for another name (wrong_name), asked from lan",
            "✗ sip:10.0.0.72  priority 1, weight 1, aside  has asked to be left alone",
            "✓ sip:10.0.0.73  priority 1, weight 1, returning, 20%  1. chosen",
            "✗ sip:10.0.0.75  priority 1, weight 0, up  its weight is 0",
            "✓ sip:10.0.0.74  priority 2, weight 1, up  2. where those before it fail",
        ] {
            assert!(text.contains(line), "«{line}» is not in:\n{text}");
        }
    }

    #[test]
    fn without_groups_nobody_is_asked() {
        let text = "[[listener]]\nname = \"lan\"\nbind = \"udp:10.0.0.4:5060\"\n";
        let fib = Builder::host().build();
        let plan = config::from_str("test.toml", text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
        let keys = Arc::new(Keys::from_secret(&[7; 16]));
        assert_eq!(ask(&Snapshot::new(1, Arc::new(plan), Arc::new(fib), keys, Arc::default())), None);
    }
}
