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

/// A listener that requests to a gateway leave from.
#[derive(Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its identity.
    pub listener: u32,
    /// Where such requests go.
    pub hops: Vec<NextHop>,
    /// Which of those they go to from there: a bit each, in their order.
    pub to: u8,
}

impl Asked {
    /// The listeners that requests to a gateway leave from now, as many as are known of a gateway. Where rules differ in what they
    /// send to from one listener, the first one counts.
    pub fn listeners(&self, snapshot: &Snapshot, gateway: &Gateway) -> Vec<Reached> {
        let Snapshot { plan, fib, view, .. } = snapshot;
        let mut all: Vec<Reached> = Vec::new();
        for case in &self.0 {
            let choice = gateway.egress.or(case.egress);
            let hops = hops(snapshot, gateway, choice.as_ref());
            for ingress in ingresses(plan, view, &case.listener, &case.transport, choice.as_ref()) {
                for (number, next_hop) in hops.iter().enumerate() {
                    let question = Question { next_hop: *next_hop, ingress, flow: 0 };
                    let found = match &choice {
                        Some(choice) => egress::overridden(plan, fib, view, choice, &question),
                        None => egress::auto(plan, fib, view, &question),
                    };
                    let Ok(found) = found else { continue };
                    let listener = plan.listener(found.listener).identity;
                    let at = all.iter().position(|reached| reached.listener == listener);
                    let at = at.or_else(|| {
                        let has_room = all.len() < GATEWAY_WAYS;
                        has_room.then(|| all.push(Reached { listener, hops: hops.clone(), to: 0 }))?;
                        Some(all.len() - 1)
                    });
                    if let Some(reached) = at.and_then(|at| all.get_mut(at)).filter(|it| it.hops == hops) {
                        reached.to |= 1 << number;
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
