//! From which listeners requests leave to a gateway: as the rules that name its group have it, from wherever such
//! requests come in.

use crate::egress::{self, Question};
use crate::findings::ingresses;
use crate::limits::{FINDING_CANDIDATES, GATEWAY_WAYS};
use crate::net::{NextHop, SectionId, Transport};
use crate::plan::{Gateway, Plan};
use crate::rules::{Action, EgressChoice, Rule, Target};
use crate::snapshot::Snapshot;

/// How the rules of a configuration send to a group: each case that differs once.
#[derive(Debug, Default)]
pub struct Asked(Vec<Case>);

/// What rules have in common that send alike.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    egress: Option<EgressChoice>,
    /// Where requests come in; empty: anywhere.
    listener: Vec<SectionId>,
    transport: Vec<Transport>,
}

/// How the rules send, by group.
pub fn asked(plan: &Plan) -> Vec<Asked> {
    let mut all: Vec<Asked> = plan.groups.iter().map(|_| Asked::default()).collect();
    for rule in plan.rules.iter() {
        let Action::Forward { egress, .. } = &rule.action else { continue };
        for group in rule.targets().iter().filter_map(Target::group) {
            let Some(Asked(cases)) = all.get_mut(usize::from(group.0)) else { continue };
            let case = Case::of(rule, *egress);
            if cases.len() < FINDING_CANDIDATES && !cases.contains(&case) {
                cases.push(case);
            }
        }
    }
    all
}

impl Case {
    fn of(rule: &Rule, egress: Option<EgressChoice>) -> Self {
        Self { egress, listener: rule.when.listener.clone(), transport: rule.when.transport.clone() }
    }
}

impl Asked {
    /// Identities of the listeners that requests to a gateway leave from now, as many as are known of a gateway, each with
    /// the addresses that they go to from there: a bit each, in the order of [`hops`].
    pub fn listeners(&self, snapshot: &Snapshot, gateway: &Gateway) -> Vec<(u32, u8)> {
        let Snapshot { plan, fib, view, .. } = snapshot;
        let mut all: Vec<(u32, u8)> = Vec::new();
        for case in &self.0 {
            let choice = gateway.egress.or(case.egress);
            for ingress in ingresses(plan, view, &case.listener, &case.transport, choice.as_ref()) {
                for (number, next_hop) in hops(snapshot, gateway, choice.as_ref()).into_iter().enumerate() {
                    let question = Question { next_hop, ingress, flow: 0 };
                    let found = match &choice {
                        Some(choice) => egress::overridden(plan, fib, view, choice, &question),
                        None => egress::auto(plan, fib, view, &question),
                    };
                    let Ok(found) = found else { continue };
                    let identity = plan.listener(found.listener).identity;
                    match all.iter().position(|(listener, _)| *listener == identity) {
                        Some(at) => all[at].1 |= 1 << number,
                        None if all.len() < GATEWAY_WAYS => all.push((identity, 1 << number)),
                        None => {}
                    }
                }
            }
        }
        all
    }
}

/// All addresses that requests to a gateway are sent to, in the order of their numbers; none where its name leads
/// nowhere.
pub fn hops(snapshot: &Snapshot, gateway: &Gateway, choice: Option<&EgressChoice>) -> Vec<NextHop> {
    let plan = &snapshot.plan;
    match &gateway.to {
        to @ Target::Address { .. } => plan.literal_hop(to, choice).into_iter().collect(),
        to => plan.question_of(to, choice).map(|question| snapshot.hops(&question)).unwrap_or_default(),
    }
}
