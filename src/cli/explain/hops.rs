//! Several next hops: in which order they are tried, from where each would be sent, and what leads from one to the next.

use std::net::IpAddr;

use serde::Serialize;

use crate::egress::{self, Question};
use crate::proxy::{self, Candidate, Outcome};
use crate::rules::{Action, Attempts, Mode, Rule, RuleId};
use crate::snapshot::Snapshot;
use crate::transaction::SIXTY_FOUR_T1_NS;

use super::account::Account;

/// One of several next hops.
#[derive(Debug, Serialize)]
pub struct Hop {
    /// Which entry of the rule's `to` it comes from, from 1.
    pub entry: u8,
    /// By which transport.
    pub transport: &'static str,
    /// To which address.
    pub address: IpAddr,
    /// And port.
    pub port: u16,
    /// The listener that it would be sent from.
    pub listener: Option<String>,
    /// Why that one: `override`, `auto`, `fallback`.
    pub reason: Option<&'static str>,
    /// Why there is none: it is not tried.
    pub no_egress: Option<String>,
}

/// Tells of all next hops, where there are several.
pub fn tell(
    account: &mut Account,
    snapshot: &Snapshot,
    considered: &proxy::Considered,
    outcome: &Outcome,
    candidates: &[Candidate],
) {
    let rule = snapshot.plan.rule(considered.rule);
    // Within a dialog its token decides, for all addresses of a name alike.
    let (Some(rule), Some(question)) = (rule, &considered.question) else { return };
    account.next_hops = all(snapshot, rule, candidates, question);
    if let (Outcome::Forward { decision, .. }, false) = (outcome, account.next_hops.is_empty()) {
        let method = account.request.start_line.split(' ').next().unwrap_or_default();
        account.failover = Some(in_words(&attempts(snapshot, considered.rule), decision.mode, method));
    }
}

/// All of them in order; none where there is no choice.
fn all(snapshot: &Snapshot, rule: &Rule, candidates: &[Candidate], question: &Question) -> Vec<Hop> {
    if candidates.len() < 2 {
        return Vec::new();
    }
    let choice = match &rule.action {
        Action::Forward { egress, .. } => egress.as_ref(),
        Action::Reject(_) | Action::Drop => None,
    };
    let Snapshot { plan, fib, view, .. } = snapshot;
    let hop = |candidate: &Candidate| {
        let question = Question { next_hop: candidate.next_hop, ..*question };
        let own = candidate.gateway.and_then(|gateway| proxy::egress_of(snapshot, gateway));
        let found = match own.as_ref().or(choice) {
            Some(choice) => egress::overridden(plan, fib, view, choice, &question),
            None => egress::auto(plan, fib, view, &question),
        };
        let address = candidate.next_hop.address;
        Hop {
            entry: candidate.entry + 1,
            transport: candidate.next_hop.transport.as_str(),
            address: address.ip(),
            port: address.port(),
            listener: found.ok().map(|egress| plan.listener(egress.listener).name.to_string()),
            reason: found.ok().map(|egress| egress.reason.label()),
            no_egress: found.err().map(|why| why.in_words(plan, fib).to_string()),
        }
    };
    candidates.iter().map(hop).collect()
}

/// How a rule has its next hops tried.
pub fn attempts(snapshot: &Snapshot, rule: Option<RuleId>) -> Attempts {
    let rule = snapshot.plan.rule(rule);
    match rule.map(|rule| &rule.action) {
        Some(Action::Forward { attempts, .. }) => *attempts,
        _ => Attempts::DEFAULT,
    }
}

/// What leads from one to the next, in words.
fn in_words(attempts: &Attempts, mode: Mode, method: &str) -> String {
    if mode == Mode::Stateless || matches!(method, "ACK" | "CANCEL") {
        return "the first that can be sent to is taken".into();
    }
    if attempts.forks {
        return "all are asked at a time; the first 2xx is taken and the others cancelled, else the best answer".into();
    }
    let timeout_ns = attempts.timeout_ns.unwrap_or(SIXTY_FOUR_T1_NS);
    let after: Vec<String> = classes(attempts).chain(statuses(attempts)).collect();
    let answers =
        if after.is_empty() { String::new() } else { format!(", or an answer {}", after.join(", ")) };
    let seconds = timeout_ns as f64 / 1e9;
    format!("the next is tried after {seconds} s without any answer, where it cannot be sent{answers}")
}

fn has_class(attempts: &Attempts, class: u16) -> bool {
    (class * 100..class * 100 + 100).all(|status| attempts.failover.contains(status))
}

fn classes(attempts: &Attempts) -> impl Iterator<Item = String> {
    (3..6).filter(|class| has_class(attempts, *class)).map(|class| format!("{class}xx"))
}

fn statuses(attempts: &Attempts) -> impl Iterator<Item = String> {
    let alone = |status: &u16| attempts.failover.contains(*status) && !has_class(attempts, status / 100);
    (300..600).filter(alone).map(|status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Statuses;

    #[test]
    fn what_leads_on_is_told() {
        assert_eq!(
            in_words(&Attempts::DEFAULT, Mode::Stateful, "INVITE"),
            "the next is tried after 32 s without any answer, where it cannot be sent, or an answer 408, 500, 502, 503, 504"
        );
        assert_eq!(
            in_words(&Attempts::DEFAULT, Mode::Stateless, "INVITE"),
            "the first that can be sent to is taken"
        );
        let some = Attempts { failover: Statuses::NONE.with_class(5).with(480), ..Attempts::DEFAULT };
        assert_eq!(classes(&some).chain(statuses(&some)).collect::<Vec<_>>(), ["5xx", "480"]);
    }
}
