//! The configuration held against the kernel: what is absent, what cannot be reached.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::Places;
use super::diagnostic::Findings;
use crate::egress::{NoEgress, Question, Unfit, View, auto, overridden};
use crate::fib::Fib;
use crate::net::{NextHop, Transport};
use crate::plan::{Listener, ListenerId, Plan};
use crate::rules::{Action, EgressChoice, Rule, Target};

/// Adds what does not fit this host: absent addresses and devices, addresses that the kernel sends from
/// and no listener has, next hops that cannot be reached. An override with a literal next hop that it
/// cannot reach is an error; everything else is a warning, because links and routes come and go.
pub fn hold_against(plan: &Plan, places: &Places, fib: &Fib, findings: &mut Findings) {
    for (listener, place) in plan.listeners.iter().zip(&places.listeners) {
        check_listener(listener, place, fib, findings);
    }
    uncovered(plan, fib, findings);
    let view = View::new(plan, fib);
    for (rule, place) in plan.rules.iter().zip(&places.rules) {
        check_rule(plan, fib, &view, rule, place, findings);
    }
}

fn check_listener(listener: &Listener, place: &Range<usize>, fib: &Fib, findings: &mut Findings) {
    let name = &listener.name;
    if let Some(device) = &listener.device {
        match fib.link_index(device) {
            None => {
                findings
                    .warn(place.clone(), format!("listener «{name}»: there is no device {device}"))
                    .hint("it is not used until the device appears");
                return;
            }
            Some(index) if !fib.link_up(index) => {
                findings
                    .warn(place.clone(), format!("listener «{name}»: the device {device} is down"))
                    .hint(format!("ip link set {device} up; until then it is not used"));
            }
            Some(_) => {}
        }
    }
    let ip = listener.bind.ip();
    match fib.home_of(ip) {
        Some(dev) if !fib.link_up(dev) => {
            let dev = fib.link_name(dev).unwrap_or("its interface");
            findings
                .warn(place.clone(), format!("listener «{name}»: {dev}, which has {ip}, is down"))
                .hint("it is not used until the interface is up");
        }
        Some(_) => {}
        None => {
            findings
                .warn(place.clone(), format!("listener «{name}»: no interface of this host has {ip} now"))
                .hint("it is bound all the same and used once the address appears; see `ip address`");
        }
    }
}

/// Addresses that the kernel may choose as a source and that no listener has: a message routed that way
/// finds no egress by step A.1.
fn uncovered(plan: &Plan, fib: &Fib, findings: &mut Findings) {
    for (ip, dev) in fib.addresses() {
        let served = |l: &Listener| l.bind.ip() == ip;
        let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if ip.is_loopback() || link_local || plan.listeners.iter().any(served) {
            continue;
        }
        let dev = fib.link_name(dev).unwrap_or("?");
        findings.warn(0..0, format!("no listener has {ip} ({dev})")).hint(
            "requests that the kernel would send from there leave by the nearest listener, or are refused",
        );
    }
}

fn check_rule(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    rule: &Rule,
    place: &Range<usize>,
    findings: &mut Findings,
) {
    let Action::Forward { to: Target::Address { transport, ip, port, .. }, egress, .. } = &rule.action else {
        return;
    };
    let next_hop =
        NextHop { transport: transport.unwrap_or(Transport::Udp), address: SocketAddr::new(*ip, *port) };
    let ingress = rule.when.listener.first().copied().unwrap_or(ListenerId(0));
    let question = Question { next_hop, ingress, flow: 0 };
    let name = &rule.name;
    match egress {
        Some(choice @ EgressChoice::Listener(_)) => {
            let Err(why) = overridden(plan, fib, view, choice, &question) else { return };
            // An address or a link that is absent now may come; a route that leads elsewhere is a mistake.
            let absent = matches!(why, NoEgress::Unfit(_, Unfit::Down) | NoEgress::AskKernel);
            let message =
                format!("route «{name}»: its egress cannot reach {ip}: {}", why.in_words(plan, fib));
            let hint = format!("viaduct routes get {ip} --compare");
            let finding = if absent {
                findings.warn(place.clone(), message)
            } else {
                findings.error(place.clone(), message)
            };
            finding.hint(hint);
        }
        Some(EgressChoice::Relative { .. }) => {}
        None => {
            if let Err(why) = auto(plan, fib, view, &question) {
                findings
                    .warn(
                        place.clone(),
                        format!("route «{name}»: no listener reaches {ip}: {}", why.in_words(plan, fib)),
                    )
                    .hint(format!("viaduct routes get {ip} --compare"));
            }
        }
    }
}
