//! What the routing snapshot was asked, and each step of its answer.

use std::net::IpAddr;

use serde::Serialize;

use crate::egress::{Egress, Exit, NoEgress, Question, confirm};
use crate::fib::{self, Answer, Query};
use crate::proxy::{Considered, Outcome};
use crate::snapshot::Snapshot;

use super::facts::RouteFacts;

/// How a request leaves that is forwarded: what is carried along with it, and its route.
pub fn taken(snapshot: &Snapshot, considered: &Considered, outcome: &Outcome) -> Option<Egress> {
    let Outcome::Forward { decision, .. } = outcome else { return None };
    let Snapshot { plan, fib, view, .. } = snapshot;
    let Exit { listener, reason, .. } = decision.egress;
    let question = Question { next_hop: decision.next_hop, ..considered.question? };
    let route = confirm(plan, fib, view, listener, &question).ok()?;
    Some(Egress { listener, reason, route })
}

/// A question to the routing snapshot.
#[derive(Debug, Serialize)]
pub struct Lookup {
    /// Where to.
    pub destination: IpAddr,
    /// From which source; absent: any.
    pub source: Option<IpAddr>,
    /// Under which mark; 0 for none.
    pub mark: u32,
    /// Bound to which device.
    pub device: Option<String>,
    /// The route; absent: there is none.
    pub route: Option<RouteFacts>,
    /// Why there is none.
    pub no_route: Option<String>,
    /// The way there.
    pub steps: Vec<LookupStep>,
}

/// One step of a lookup.
#[derive(Debug, Serialize)]
pub struct LookupStep {
    /// In words.
    pub text: String,
    /// The priority of the rule that it is about.
    pub rule: Option<u32>,
    /// The table.
    pub table: Option<String>,
    /// The prefix.
    pub prefix: Option<String>,
}

impl Lookup {
    /// Asks it.
    pub fn new(snapshot: &Snapshot, query: &Query) -> Self {
        let (answer, steps) = snapshot.fib.lookup_traced(query);
        let device =
            Some(query.oif).filter(|&index| index != 0).and_then(|index| snapshot.fib.link_name(index));
        let (route, no_route) = match answer {
            Answer::Route(route) => (Some(RouteFacts::new(snapshot, &route)), None),
            Answer::No(why) => (None, Some(why.in_words().to_owned())),
            Answer::AskKernel => {
                (None, Some(NoEgress::AskKernel(*query).in_words(&snapshot.plan, &snapshot.fib).to_string()))
            }
        };
        Self {
            destination: query.dst,
            source: query.src,
            mark: query.mark,
            device: device.map(str::to_owned),
            route,
            no_route,
            steps: steps.into_iter().map(LookupStep::new).collect(),
        }
    }
}

impl LookupStep {
    fn new(step: fib::Step) -> Self {
        let (rule, table, prefix) = match step {
            fib::Step::Rule { priority, .. } | fib::Step::OpaqueRule { priority } => {
                (Some(priority), None, None)
            }
            fib::Step::Route { table, prefix, .. }
            | fib::Step::OpaqueRoute { table, prefix }
            | fib::Step::NoUsablePath { table, prefix } => (None, Some(table), Some(prefix)),
            fib::Step::TableExhausted { table } => (None, Some(table), None),
            fib::Step::Suppressed { priority, prefix } => (Some(priority), None, Some(prefix)),
            fib::Step::AskedAgain { .. } | fib::Step::AskedKernel | fib::Step::Source { .. } => {
                (None, None, None)
            }
        };
        Self {
            text: step.in_words().to_string(),
            rule,
            table: table.map(|table| fib::table_in_words(table).to_string()),
            prefix: prefix.map(|prefix| prefix.to_string()),
        }
    }
}
