//! From which listeners requests leave to a gateway: as the rules that name its group have it, from wherever such
//! requests come in.

use std::net::SocketAddr;

use crate::egress::{self, Question};
use crate::findings::ingresses;
use crate::limits::{FINDING_CANDIDATES, GATEWAY_WAYS};
use crate::net::{ListenerId, NextHop, SectionId, Transport, canonical};
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
    /// Identities of the listeners that requests to a gateway leave from now, as many as are known of a gateway.
    pub fn listeners(&self, snapshot: &Snapshot, gateway: &Gateway) -> Vec<u32> {
        let Snapshot { plan, fib, view, .. } = snapshot;
        let mut all = Vec::new();
        for case in &self.0 {
            let choice = gateway.egress.or(case.egress);
            for ingress in ingresses(plan, view, &case.listener, &case.transport, choice.as_ref()) {
                let Some(question) = question(snapshot, gateway, choice.as_ref(), ingress) else { continue };
                let found = match &choice {
                    Some(choice) => egress::overridden(plan, fib, view, choice, &question),
                    None => egress::auto(plan, fib, view, &question),
                };
                let Ok(found) = found else { continue };
                let identity = plan.listener(found.listener).identity;
                if !all.contains(&identity) {
                    all.push(identity);
                }
                if all.len() == GATEWAY_WAYS {
                    return all;
                }
            }
        }
        all
    }
}

/// What egress is asked of a gateway: of the first server that its name leads to; `None`: it leads to none.
pub fn question(
    snapshot: &Snapshot,
    gateway: &Gateway,
    choice: Option<&EgressChoice>,
    ingress: ListenerId,
) -> Option<Question> {
    let plan = &snapshot.plan;
    let next_hop = match &gateway.to {
        Target::Address { transport, ip, port, .. } => {
            let transport = choice.map(|choice| plan.transport_of(choice, *transport)).or(*transport);
            let transport = transport.unwrap_or(Transport::Udp);
            NextHop { transport, address: SocketAddr::new(canonical(*ip), *port) }
        }
        to => snapshot.first_hop(&plan.question_of(to, choice)?)?,
    };
    Some(Question { next_hop, ingress, flow: 0 })
}
