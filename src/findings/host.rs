//! The host: addresses that nobody listens on, and what its default routes lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::next_hop::{Aim, automatic};
use super::{Code, Examiner, Finding, Found, Severity, Subject};
use crate::fib::{Answer, Query, table_in_words};
use crate::limits;
use crate::net::{ListenerId, NextHop};

/// Addresses that nobody routes more specifically than by default: 240.0.0.0/4 is reserved (RFC 1112 §4),
/// so is 4000::/2 (RFC 4291 §2.4); 3fff::/20 is for documentation (RFC 9637) within 2000::/3.
pub(super) const BEYOND: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1)),
];

/// The longest prefix that counts as a default route: 2000::/3, the halves and quarters of VPNs.
const DEFAULT_LENGTH: u8 = 3;

pub(super) fn examine(examiner: &Examiner<'_>, found: &mut Found) {
    unserved(examiner, found);
    gateway_choices(examiner, found);
    let mut vrfs: Vec<u32> = Vec::new();
    for listener in &examiner.plan.listeners {
        let vrf = examiner.view.vrf(listener.id);
        if !vrfs.contains(&vrf) {
            vrfs.push(vrf);
            default_routes(examiner, listener.id, vrf, found);
        }
    }
}

/// Addresses that the kernel may choose as a source and that no listener has: a message routed that way
/// finds no egress by step A.1.
fn unserved(examiner: &Examiner<'_>, found: &mut Found) {
    let served = |ip: IpAddr| examiner.plan.listeners.iter().any(|l| l.bind.ip() == ip);
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let unserved =
        (examiner.fib.addresses()).filter(|(ip, _)| !ip.is_loopback() && !link_local(*ip) && !served(*ip));
    for (ip, dev) in unserved.take(limits::FINDINGS_PER_UNIT) {
        let dev = examiner.fib.link_name(dev).unwrap_or("?");
        let finding = Finding::new(Code::AddressUnserved, Severity::Note, &Subject::Host, ip);
        found.findings.push(finding.because(format!("no listener has {ip} ({dev})")).remedy(
            "requests that the kernel would send from there leave by the nearest listener, or are refused; \
             a [[listener]] with that address serves it",
        ));
    }
}

/// Neighbours are not known here: a gateway that is gone is not passed over.
fn gateway_choices(examiner: &Examiner<'_>, found: &mut Found) {
    let fib = examiner.fib;
    for choice in fib.gateway_choices() {
        let [first, other] = choice.devices.map(|dev| fib.link_name(dev).unwrap_or("?"));
        let about = format!("{} in table {}", choice.prefix, table_in_words(choice.table));
        let finding = Finding::new(Code::GatewayChoice, Severity::Note, &Subject::Host, &about);
        found.findings.push(
            finding
                .because(format!(
                    "{about} has gateways by {first} and {other}: the kernel passes over one that does not answer, \
                     Viaduct stays with the first"
                ))
                .remedy(
                    "name the listener in a rule (egress), or have a routing daemon (BFD) withdraw the route of a gateway \
                     that is gone; see `ip neigh show nud failed`",
                ),
        );
    }
}

/// Where requests to anywhere go, for those that come in on this listener.
fn default_routes(examiner: &Examiner<'_>, ingress: ListenerId, vrf: u32, found: &mut Found) {
    let transport = examiner.plan.listener(ingress).transport;
    for ip in BEYOND {
        let has_listener = examiner.plan.listeners.iter().any(|l| l.bind.is_ipv4() == ip.is_ipv4());
        let query = Query { oif: vrf, ..Query::to(ip) };
        let is_default = match examiner.fib.lookup(&query) {
            Answer::Route(route) => route.prefix.prefix_len() <= DEFAULT_LENGTH,
            Answer::AskKernel => true,
            Answer::No(_) => false,
        };
        if !has_listener || !is_default {
            continue;
        }
        let mut about = if ip.is_ipv4() { "the default route" } else { "the IPv6 default route" }.to_owned();
        if let Some(name) = examiner.fib.link_name(vrf) {
            about = format!("{about} of VRF {name}");
        }
        let aim = Aim {
            subject: Subject::Host,
            next_hop: NextHop { transport, address: (ip, transport.default_port()).into() },
            ingress,
            about,
        };
        automatic(examiner, &aim, found);
        if ip.is_ipv6() {
            return;
        }
    }
}
