//! Listeners: their state, their VRF, their device's routes, and what they advertise.

use std::net::IpAddr;

use super::host::BEYOND;
use super::{Code, Examiner, Finding, Found, Severity, Subject, is_private};
use crate::egress::{ListenerState, Question, bound_query};
use crate::fib::spec::Link;
use crate::fib::{Answer, Fib, NoRoute};
use crate::limits;
use crate::net::NextHop;
use crate::plan::{Bind, Listener, Section, Standing};

pub(super) fn examine(examiner: &Examiner<'_>, found: &mut Found) {
    let empty = |section: &&Section| section.bind.follows() && examiner.plan.members(section.id).is_empty();
    found.findings.extend(examiner.plan.sections.iter().filter(empty).map(|s| no_address(examiner, s)));
    found.findings.extend(left_out(examiner));
    let served = |listener: &&Listener| listener.standing != Standing::Leaving;
    for listener in examiner.plan.listeners.iter().filter(served) {
        // What is so of its address and device is told of the one that it stands beside.
        let is_told = examiner.plan.is_sibling(listener);
        if is_told && examiner.view.state(listener.id) != ListenerState::NoSocket {
            continue;
        }
        found.findings.extend(state(examiner, listener));
        found.findings.extend(vrf(examiner, listener));
        found.findings.extend(device(examiner, listener));
        found.findings.extend(on_link(examiner, listener));
        found.findings.extend(advertised(examiner, listener));
    }
}

/// What its `bind` stands for is not there now, or has listeners of its own.
fn no_address(examiner: &Examiner<'_>, section: &Section) -> Finding {
    let subject = Subject::Listener(section.id, section.name.clone());
    let finding = Finding::new(Code::NoAddress, Severity::Warning, &subject, "");
    let fib = examiner.fib;
    let (cause, remedy) = match &section.bind {
        Bind::Interface(name) if fib.link_index(name).is_none() => (
            format!("there is no interface «{name}» now"),
            format!("it is served once the interface appears; {}", what_a_bind_takes(fib)),
        ),
        _ => (
            format!("{} stands for no address now that has no listener of its own", section.bind_text()),
            "it is served once an address appears; see `ip address`".to_owned(),
        ),
    };
    finding.because(cause).remedy(remedy)
}

/// What to write instead of a host name.
pub fn what_a_bind_takes(fib: &Fib) -> String {
    let names: Vec<&str> = fib.links().take(limits::FINDING_CANDIDATES).map(|link| &*link.name).collect();
    format!("a bind takes an address or an interface, not a host name; interfaces are: {}", names.join(", "))
}

fn left_out(examiner: &Examiner<'_>) -> impl Iterator<Item = Finding> {
    let left_out = &examiner.plan.left_out;
    let beyond = (left_out.beyond > 0).then(|| {
        let finding = Finding::new(Code::ListenersLeftOut, Severity::Warning, &Subject::Host, "");
        let cause = format!(
            "it has more addresses than {} listeners: {} are not served, the first of them {}",
            limits::LISTENERS,
            left_out.beyond,
            left_out.named.join(", ")
        );
        finding.because(cause).remedy("name the addresses that matter, each in a [[listener]] of its own")
    });
    let alike = left_out.alike.iter().take(limits::FINDINGS_PER_UNIT).map(|(name, other)| {
        let finding = Finding::new(Code::ListenersLeftOut, Severity::Warning, &Subject::Host, name);
        let cause = format!("«{name}» is not served: «{other}» has the same identity in tokens");
        finding.because(cause).remedy("rename one of the two")
    });
    beyond.into_iter().chain(alike)
}

fn state(examiner: &Examiner<'_>, listener: &Listener) -> Option<Finding> {
    let fib = examiner.fib;
    let ip = listener.bind.ip();
    let device = listener.device.as_deref().unwrap_or_default();
    let (code, cause, remedy) = match examiner.view.state(listener.id) {
        ListenerState::Up => return None,
        ListenerState::AddressAbsent => absent(fib, ip),
        ListenerState::HomeDown => {
            let link = examiner.view.home(listener.id).and_then(|dev| fib.link(dev));
            let (name, how) = link.map_or(("it", "is down"), |link| (&link.name, link.down_in_words()));
            (
                Code::InterfaceDown,
                format!("{name}, which has {ip}, {how}"),
                link.map(Link::down_remedy).unwrap_or_default(),
            )
        }
        ListenerState::DeviceAbsent => (
            Code::DeviceAbsent,
            match &listener.link {
                Some(link) if device.is_empty() => format!("there is no interface {link}"),
                _ => format!("there is no device {device}"),
            },
            "it is not used until the device appears".to_owned(),
        ),
        ListenerState::NoSocket => (
            Code::NoSocket,
            format!("no socket could be opened on {ip}"),
            "the log says why; it is tried again every second".to_owned(),
        ),
        ListenerState::DeviceDown => {
            let link = fib.link_index(device).and_then(|dev| fib.link(dev));
            let how = link.map_or("is down", Link::down_in_words);
            (
                Code::DeviceDown,
                format!("the device {device} {how}"),
                link.map(Link::down_remedy).unwrap_or_default(),
            )
        }
    };
    let finding = Finding::new(code, Severity::Warning, &examiner.subject(listener.id), "");
    Some(finding.because(cause).remedy(remedy))
}

/// The address is on no interface, or on one where it cannot be used.
fn absent(fib: &Fib, ip: IpAddr) -> (Code, String, String) {
    let unusable = fib.unusable(ip);
    let name = unusable.and_then(|own| fib.link_name(own.dev)).unwrap_or("?");
    let (cause, remedy) = match unusable {
        Some(own) if own.duplicate => (
            format!(
                "another host on {name} has {ip}: duplicate address detection has failed, and nothing is sent from it"
            ),
            format!(
                "take it from the other host, then `ip address del {ip}/{} dev {name}` and add it again; see `ip address \
                 show dev {name} dadfailed`",
                own.network.prefix_len()
            ),
        ),
        Some(_) => (
            format!("{ip} on {name} is tentative: duplicate address detection is not over"),
            format!(
                "wait: it is used once that is over, as a rule within two seconds; see `ip address show dev {name}`"
            ),
        ),
        None => (
            format!("no interface of this host has {ip} now"),
            "it is bound all the same and used once the address appears; see `ip address`".to_owned(),
        ),
    };
    (Code::AddressAbsent, cause, remedy)
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

/// A socket that is tied to a device receives what comes in by that device alone.
fn device(examiner: &Examiner<'_>, listener: &Listener) -> Option<Finding> {
    let (fib, ip) = (examiner.fib, listener.bind.ip());
    let device = listener.device.as_deref()?;
    let (index, home) = (fib.link_index(device)?, examiner.view.home(listener.id)?);
    let is_there = fib.homes_of(ip).any(|home| home == index);
    // A VRF is a device of all its members; what is of no network may come in by any.
    if is_there
        || fib.leads_nowhere(index)
        || fib.leads_nowhere(home)
        || fib.l3_master(home) != fib.l3_master(index)
    {
        return None;
    }
    let home = fib.link_name(home)?;
    let finding = Finding::new(Code::DeviceMismatch, Severity::Warning, &examiner.subject(listener.id), "");
    Some(
        finding
            .because(format!(
                "its address {ip} is on {home}, and its socket is tied to {device}: what comes in by {home} is not received"
            ))
            .remedy(format!("device = \"{home}\", or no device; nothing, if all that it receives comes in by {device}")),
    )
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
