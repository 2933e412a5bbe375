//! From which listeners requests leave to a gateway: as the rules that name its group have it, from wherever such
//! requests come in.

use std::net::{IpAddr, SocketAddr};

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
                let transport = choice.map(|choice| plan.transport_of(&choice));
                let transport = transport.or(gateway.to.transport()).unwrap_or(Transport::Udp);
                let Some(question) = question(snapshot, gateway, transport, ingress) else { continue };
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

/// What egress is asked of a gateway; `None`: its name has no address.
pub fn question(
    snapshot: &Snapshot,
    gateway: &Gateway,
    transport: Transport,
    ingress: ListenerId,
) -> Option<Question> {
    let (ip, port): (IpAddr, u16) = match &gateway.to {
        Target::Address { ip, port, .. } => (*ip, *port),
        Target::Name { host, port, .. } => (*snapshot.names.get(host)?.first()?, *port),
        Target::RequestUri | Target::Group { .. } => return None,
    };
    let address = SocketAddr::new(canonical(ip), port);
    Some(Question { next_hop: NextHop { transport, address }, ingress, flow: 0 })
}
