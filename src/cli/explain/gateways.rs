//! The gateways of a rule's groups: which one a request goes to, and why the others are passed over.
//!
//! How they do is asked of the running process, where there is one; without it all are taken for up.

use std::fmt;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::super::admin;
use crate::group::{Life, Standing, Way};
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
    let rule = rule.and_then(|id| snapshot.plan.rules.get(usize::try_from(id.0).ok()?));
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
                Some(_) if is_chosen => "chosen".into(),
                Some(_) if chosen.is_none() => "has no way, see below".into(),
                Some(_) => "another attempt, where a transaction is kept".into(),
                None => passed_over(snapshot, member.weight, best),
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

fn passed_over(snapshot: &Snapshot, weight: u16, best: Option<(u32, Way)>) -> String {
    if weight == 0 {
        return "its weight is 0".into();
    }
    let Some((listener, way)) = best else { return "others come first".into() };
    let listener = snapshot.view.by_identity(listener);
    let from = listener.map_or("a listener", |id| &*snapshot.plan.listener(id).name);
    match life(way) {
        Life::Down => format!("does not answer, asked from {from}"),
        Life::Aside => format!("has asked to be left alone (503 with Retry-After), answering {from}"),
        Life::Up | Life::Returning => "others come first, or it is down from this request's listener".into(),
    }
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

/// Reads the page: group, gateway, listener, state and share, each behind two blanks or more.
fn learn(snapshot: &Snapshot, page: &str) {
    for line in page.lines() {
        let columns: Vec<&str> =
            line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        let [group, uri, listener, state, percent] = columns[..] else { continue };
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
        snapshot.roster.health().take_over(*id, own.identity, standing, share);
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
