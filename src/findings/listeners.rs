//! Listeners: their state, their VRF, their device's routes, and what they advertise.

use std::net::IpAddr;

use super::host::BEYOND;
use super::{Code, Examiner, Finding, Found, Severity, is_private};
use crate::egress::{ListenerState, Question, bound_query};
use crate::fib::{Answer, NoRoute};
use crate::net::NextHop;
use crate::plan::Listener;

pub(super) fn examine(examiner: &Examiner<'_>, found: &mut Found) {
    for listener in &examiner.plan.listeners {
        found.findings.extend(state(examiner, listener));
        found.findings.extend(vrf(examiner, listener));
        found.findings.extend(on_link(examiner, listener));
        found.findings.extend(advertised(examiner, listener));
    }
}

fn state(examiner: &Examiner<'_>, listener: &Listener) -> Option<Finding> {
    let fib = examiner.fib;
    let ip = listener.bind.ip();
    let device = listener.device.as_deref().unwrap_or_default();
    let home = || examiner.view.home(listener.id).and_then(|dev| fib.link_name(dev)).unwrap_or("it");
    let (code, cause, remedy) = match examiner.view.state(listener.id) {
        ListenerState::Up => return None,
        ListenerState::AddressAbsent => (
            Code::AddressAbsent,
            format!("no interface of this host has {ip} now"),
            "it is bound all the same and used once the address appears; see `ip address`".to_owned(),
        ),
        ListenerState::HomeDown => (
            Code::InterfaceDown,
            format!("{}, which has {ip}, is down", home()),
            format!("ip link set {} up; until then it is not used", home()),
        ),
        ListenerState::DeviceAbsent => (
            Code::DeviceAbsent,
            format!("there is no device {device}"),
            "it is not used until the device appears".to_owned(),
        ),
        ListenerState::DeviceDown => (
            Code::DeviceDown,
            format!("the device {device} is down"),
            format!("ip link set {device} up; until then it is not used"),
        ),
    };
    let finding = Finding::new(code, Severity::Warning, &examiner.subject(listener.id), "");
    Some(finding.because(cause).remedy(remedy))
}

/// The kernel takes a source of one VRF for a foreign address in another.
fn vrf(examiner: &Examiner<'_>, listener: &Listener) -> Option<Finding> {
    let (fib, view) = (examiner.fib, examiner.view);
    let home = view.home(listener.id)?;
    let (of_address, of_socket) = (fib.l3_master(home), view.vrf(listener.id));
    if of_address == of_socket {
        return None;
    }
    let name = |index: u32| match index {
        0 => "the default VRF".to_owned(),
        index => format!("VRF {}", fib.link_name(index).unwrap_or("?")),
    };
    let remedy = match fib.link_name(of_address).filter(|_| of_address != 0) {
        Some(vrf) => format!("tie the listener to it: device = \"{vrf}\""),
        None => "take the device out of the listener, or give it an address of that VRF".to_owned(),
    };
    let finding = Finding::new(Code::VrfMismatch, Severity::Warning, &examiner.subject(listener.id), "");
    let cause = format!(
        "{} belongs to {}, and its socket to {}: what it sends finds no way",
        listener.bind.ip(),
        name(of_address),
        name(of_socket)
    );
    Some(finding.because(cause).remedy(remedy))
}

/// With a device and no route the kernel assumes that a destination is on the link (IPv4 only).
fn on_link(examiner: &Examiner<'_>, listener: &Listener) -> Option<Finding> {
    let device = listener.device.as_deref()?;
    if !listener.bind.is_ipv4() || !examiner.view.is_up(listener.id) {
        return None;
    }
    let next_hop = NextHop { transport: listener.transport, address: (BEYOND[0], 5060).into() };
    let question = Question { next_hop, ingress: listener.id, flow: 0 };
    let query = bound_query(examiner.fib, examiner.view, listener, &question).ok()?;
    if examiner.fib.lookup(&query) != Answer::No(NoRoute::Unreachable) {
        return None;
    }
    let finding = Finding::new(Code::OnLinkAssumption, Severity::Note, &examiner.subject(listener.id), "");
    let cause = format!(
        "{device} has no default route: for what no route of it holds the kernel would assume the \
         link, Viaduct takes it for unreachable"
    );
    Some(finding.because(cause).remedy(format!(
        "nothing, if only the networks of {device} are meant; else ip route add default via GATEWAY dev {device}"
    )))
}

/// `advertise = { to = PUBLIC, as = PRIVATE }`.
fn advertised(examiner: &Examiner<'_>, listener: &Listener) -> Option<Finding> {
    let wrong = listener.advertise.iter().find_map(|entry| {
        let to = entry.to.filter(|to| to.prefix_len() > 0 && !is_private(to.addr()))?;
        Some((to, entry.ip.filter(|ip: &IpAddr| is_private(*ip))?))
    });
    let (to, shown) = wrong?;
    let finding =
        Finding::new(Code::AdvertisedPrivate, Severity::Warning, &examiner.subject(listener.id), to);
    let cause = format!("towards {to}, a public network, it advertises {shown}, which is private");
    Some(finding.because(cause).remedy("advertise the address that the other side can reach"))
}
