//! Rules with a literal next hop, and names of `[hosts]`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::next_hop::{Aim, automatic, by_override, ourselves};
use super::{Code, Examiner, Finding, Found, Severity, Subject};
use crate::dns::{HostName, Question, Unresolved};
use crate::egress::View;
use crate::limits;
use crate::net::{ListenerId, NextHop, SectionId, Transport};
use crate::plan::{Onward, Plan};
use crate::rules::{EgressChoice, Rule, Target};

pub(super) fn examine(examiner: &Examiner<'_>, rule: &Rule, found: &mut Found) {
    for onward in examiner.plan.onward(rule) {
        examine_onward(examiner, rule, onward, found);
    }
    let mut known = BTreeSet::new();
    found.findings.retain(|finding| known.insert(finding.key()));
    found.findings.truncate(limits::FINDINGS_PER_UNIT);
}

/// A gateway of a group is not held to be a mistake: the others are there for when it cannot be reached.
fn examine_onward(examiner: &Examiner<'_>, rule: &Rule, onward: Onward<'_>, found: &mut Found) {
    let Onward { target, egress, group } = onward;
    let egress = egress.as_ref();
    let of_group = group.map(|group| format!(", a gateway of {}", group.name)).unwrap_or_default();
    let aims =
        |next_hop: NextHop, about: String| {
            let subject = Subject::Rule(rule.id, rule.name.clone());
            let (plan, view, when) = (examiner.plan, examiner.view, &rule.when);
            let about = format!("{about}{of_group}");
            ingresses(plan, view, &when.listener, &when.transport, egress)
                .into_iter()
                .map(move |ingress| Aim { subject: subject.clone(), next_hop, ingress, about: about.clone() })
        };
    match target {
        Target::RequestUri | Target::Group { .. } => {}
        Target::Address { ip, .. } => {
            let next_hop = examiner.plan.literal_hop(target, egress);
            for aim in next_hop.into_iter().flat_map(|next_hop| aims(next_hop, ip.to_string())) {
                one(examiner, &aim, egress, group.is_none(), found);
            }
        }
        Target::Name { host, .. } => {
            let leads =
                examiner.plan.question_of(target, egress).and_then(|q| Some((examiner.leads_to(&q)?, q)));
            let hops = match leads {
                Some((Ok(hops), _)) => hops,
                Some((Err(why), question)) => {
                    let alone = examiner.plan.onward(rule).nth(1).is_none();
                    let origin = &examiner.plan.origin;
                    let finding = unresolved(rule, &question, why, &of_group, alone);
                    return found.findings.push(finding.remedy(resolve_remedy(&question, why, origin)));
                }
                None => return,
            };
            let mut all = Vec::new();
            for hop in hops {
                for aim in aims(hop, format!("{} ({host})", hop.address.ip())) {
                    let mut of_address = Found::default();
                    one(examiner, &aim, egress, false, &mut of_address);
                    found.asked += of_address.asked;
                    all.push(of_address.findings);
                }
            }
            found.findings.extend(of_a_name(all));
        }
    }
}

/// A name that no rule names is looked up for Request-URIs and Routes.
pub(super) fn examine_name(examiner: &Examiner<'_>, name: &str, found: &mut Found) {
    let Some(first) = examiner.plan.listeners.first() else { return };
    let Some(host) = HostName::new(name.as_bytes()) else { return };
    let question = Question { name: host, port: None, transport: Some(first.transport), sips: false };
    let mut all = Vec::new();
    for next_hop in examiner.leads_to(&question).and_then(Result::ok).unwrap_or_default() {
        let (subject, about) = (Subject::HostName(name.into()), next_hop.address.ip().to_string());
        let aim = Aim { subject, next_hop, ingress: first.id, about };
        let mut of_address = Found::default();
        automatic(examiner, &aim, &mut of_address);
        found.asked += of_address.asked;
        all.push(of_address.findings);
    }
    found.findings.extend(of_a_name(all));
}

/// The addresses of a name are tried in order: one of another family than the listener's is no mistake
/// as long as another one does.
fn of_a_name(all: Vec<Vec<Finding>>) -> impl Iterator<Item = Finding> {
    let some_work = all.iter().any(|of_address| of_address.iter().all(|f| f.severity == Severity::Note));
    all.into_iter().flatten().filter(move |f| !(some_work && f.code == Code::NoListener))
}

/// `alone`: the rule has no other next hop.
fn unresolved(rule: &Rule, question: &Question, why: Unresolved, of_group: &str, alone: bool) -> Finding {
    let name = question.name.as_str();
    let effect = match alone {
        true => "requests for it are answered with 5xx",
        false => {
            "requests go to the route's other next hops, and are answered with 5xx if none of them can be sent to"
        }
    };
    let of_group = if of_group.is_empty() { String::new() } else { format!("{of_group},") };
    Finding::new(Code::NameUnresolved, Severity::Warning, &Subject::Rule(rule.id, rule.name.clone()), name)
        .because(format!("{question}{of_group} {}: {effect}", why.in_words()))
}

fn resolve_remedy(question: &Question, why: Unresolved, origin: &str) -> String {
    match why {
        Unresolved::NoSuchName | Unresolved::NoAddress | Unresolved::NoService => {
            let name = question.name.as_str();
            format!("correct the name or its zone, or name {name} under [hosts]")
        }
        Unresolved::NoTransport => {
            "a [[listener]] of a transport that it has, or a port in the URI".to_owned()
        }
        Unresolved::Failed | Unresolved::Pending => format!(
            "see [dns] servers and /etc/resolv.conf, and ask of a request that the route takes: `viaduct explain -c {origin} \
             --ruri URI --source IP:PORT --listener NAME`"
        ),
    }
}

fn one(examiner: &Examiner<'_>, aim: &Aim, egress: Option<&EgressChoice>, literal: bool, found: &mut Found) {
    match egress {
        _ if examiner.ours.is_our_address(aim.next_hop.address) => {
            found.asked += 1;
            found.findings.push(ourselves(aim));
        }
        None => automatic(examiner, aim, found),
        Some(choice) => by_override(examiner, aim, choice, literal, found),
    }
}

/// The listeners that such requests may come in on, one for each case that differs: for the automatic
/// choice and a listener's name one in each VRF, for a relative `egress` one for each address.
///
/// `listener` and `transport` are the rule's conditions; empty: any.
pub fn ingresses(
    plan: &Plan,
    view: &View,
    listener: &[SectionId],
    transport: &[Transport],
    egress: Option<&EgressChoice>,
) -> Vec<ListenerId> {
    let relative = matches!(egress, Some(EgressChoice::Relative { .. }));
    let (sections, transports) = (listener, transport);
    let mut known: Vec<(u32, Option<(IpAddr, u16)>)> = Vec::new();
    let mut all = Vec::new();
    for listener in &plan.listeners {
        let meant = (sections.is_empty() || sections.contains(&listener.section))
            && (transports.is_empty() || transports.contains(&listener.transport));
        let case = (view.vrf(listener.id), relative.then_some((listener.bind.ip(), listener.bind.port())));
        if meant && !known.contains(&case) && all.len() < limits::FINDING_CANDIDATES {
            known.push(case);
            all.push(listener.id);
        }
    }
    all
}
