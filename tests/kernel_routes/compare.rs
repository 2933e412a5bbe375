//! One question, the snapshot's answer and the kernel's; what differs for a known reason is named.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use socket2::{Domain, Protocol, Socket, Type};
use viaduct::control::netlink;
use viaduct::fib::spec::{TABLE_LOCAL, TABLE_MAIN};
use viaduct::fib::{Answer, Fib, NoRoute, Query, Route, RouteKind, Step};

use crate::policy::Policy;

/// What comparing came to.
pub enum Verdict {
    /// Both say the same: a route or none; asked of a socket too or not.
    Agreed { route: bool, socket: bool },
    /// They differ, and it is known why.
    Known(&'static str),
    /// They differ.
    Disagreed(String),
}

const ON_LINK: &str =
    "IPv4 with a device and no route: the kernel assumes that the destination is on the link";
const GROUP_IGNORES_DEVICE: &str =
    "IPv6 with a device: the kernel takes any member of a group of nexthop objects, whatever its device";
const SOURCE_UNCHECKED: &str =
    "IPv6 from a foreign source: RTM_GETROUTE does not ask whether the source is an address of the host";
const DEVICE_UNHEEDED: &str =
    "IPv6 with source and device: RTM_GETROUTE only prefers the device, a socket bound to it insists";
const NEEDS_DEVICE: &str =
    "IPv6 link-local destination without a device: RTM_GETROUTE takes any, a socket is refused";
const OBJECT_SOURCE: &str =
    "IPv4 nexthop objects: the kernel keeps a source of the nexthop's scope until an address changes";
const OBJECT_SHARED: &str = "IPv6 routes by one nexthop object: the kernel's cached entry of one is taken for the other, with its \
     prefix and preferred source";
const PORT_LEFT_OUT: &str =
    "IPv6 with an open source and a source port: the socket that stands for it is connected without the port";
const DEAD_GATEWAYS: &str =
    "IPv4 default routes of one metric: the kernel goes by what it knows of the gateways' neighbours";

/// Asks both.
pub fn compare(policy: &Policy, fib: &Fib, query: &Query) -> Verdict {
    let ours = fib.lookup(query);
    let kernels = netlink::ask(query).unwrap_or_else(|error| panic!("{error}"));
    let known =
        if agree(fib, query, ours, kernels) { None } else { Some(known(policy, fib, query, ours, kernels)) };
    let socket = match known {
        // There a socket does as RTM_GETROUTE does.
        Some(Some(ON_LINK | GROUP_IGNORES_DEVICE | OBJECT_SOURCE | OBJECT_SHARED)) => Ok(false),
        _ => socket_agrees(fib, query),
    };
    match (known, socket) {
        (Some(None), _) => Verdict::Disagreed(format!("ours:     {ours:?}\nkernel's: {kernels:?}")),
        (_, Err(how)) => Verdict::Disagreed(format!("ours: {ours:?}, but {how}")),
        (Some(Some(why)), _) => Verdict::Known(why),
        (None, Ok(socket)) => Verdict::Agreed { route: matches!(ours, Answer::Route(_)), socket },
    }
}

/// The choice among the paths of a multipath route is ours, its membership is not.
fn agree(fib: &Fib, query: &Query, ours: Answer, kernels: Answer) -> bool {
    let same = |ours: Answer| match (ours, kernels) {
        // The kernel has one error number for these.
        (Answer::No(NoRoute::SourceNotLocal | NoRoute::NeedsDevice), Answer::No(_)) => true,
        // A socket is told of the second lookup's refusal, RTM_GETROUTE makes the first one only.
        (Answer::No(_), Answer::No(_)) if query.dst.is_ipv6() && query.src.is_none() => true,
        // Until the first rule is added, tables local and main are one to the kernel, called main.
        (Answer::Route(ours), Answer::Route(kernels)) if ours.table == TABLE_LOCAL => {
            kernels == Route { table: kernels.table, ..ours }
                && matches!(kernels.table, TABLE_LOCAL | TABLE_MAIN)
        }
        (ours, kernels) => ours == kernels,
    };
    same(ours) || (0..256).any(|flow| same(fib.lookup(&Query { flow: flow << 32 | flow, ..*query })))
}

fn known(policy: &Policy, fib: &Fib, query: &Query, ours: Answer, kernels: Answer) -> Option<&'static str> {
    let v6 = query.dst.is_ipv6();
    let asked_again = |step: &Step| matches!(step, Step::AskedAgain { .. });
    let with_source = query.src.is_some() || fib.lookup_traced(query).1.iter().any(asked_again);
    if v6 && query.src.is_none() && query.sport != 0 {
        let without = Query { sport: 0, ..*query };
        let kernels = netlink::ask(&without).unwrap_or_else(|error| panic!("{error}"));
        if agree(fib, &without, fib.lookup(&without), kernels) {
            return Some(PORT_LEFT_OUT);
        }
    }
    match (ours, kernels) {
        (Answer::No(_), Answer::Route(route))
            if !v6
                && query.oif != 0
                && route.table == 0
                && route.dev == query.oif
                && route.gateway.is_none() =>
        {
            Some(ON_LINK)
        }
        (Answer::No(_), Answer::No(NoRoute::NoSource)) if !v6 && query.oif != 0 => Some(ON_LINK),
        (Answer::No(NoRoute::SourceNotLocal), Answer::Route(_)) if v6 => Some(SOURCE_UNCHECKED),
        (Answer::No(NoRoute::NeedsDevice), _) => Some(NEEDS_DEVICE),
        (Answer::Route(ours), Answer::Route(kernels))
            if !policy.object_prefixes.is_empty()
                && query.src.is_none()
                && ours == Route { source: ours.source, ..kernels }
                && policy.link_scope.contains(&kernels.source) =>
        {
            Some(OBJECT_SOURCE)
        }
        (Answer::Route(ours), Answer::Route(kernels))
            if v6
                && (ours.dev, ours.gateway) == (kernels.dev, kernels.gateway)
                && policy.object_prefixes.contains(&ours.prefix)
                && policy.object_prefixes.contains(&kernels.prefix) =>
        {
            Some(OBJECT_SHARED)
        }
        (Answer::AskKernel, _) if !v6 => Some(DEAD_GATEWAYS),
        (_, Answer::Route(route))
            if v6
                && query.oif != 0
                && !with_source
                && route.dev != query.oif
                && route.kind == RouteKind::Unicast =>
        {
            Some(GROUP_IGNORES_DEVICE)
        }
        _ if v6 && query.oif != 0 && with_source => Some(DEVICE_UNHEEDED),
        _ => None,
    }
}

/// Connects a real UDP socket. `Ok(false)`: this question cannot be put to a socket.
fn socket_agrees(fib: &Fib, query: &Query) -> Result<bool, String> {
    let Ok(socket) = bound_socket(query) else { return Ok(false) };
    let sport = socket.local_addr().ok().and_then(|local| local.as_socket()).map_or(0, |local| local.port());
    let query = Query { sport, dport: query.dport.max(1), protocol: 17, ..*query };
    let mut to = SocketAddr::new(query.dst, query.dport);
    if let SocketAddr::V6(v6) = &mut to {
        v6.set_scope_id(query.oif);
    }
    let connected = socket.connect(&to.into());
    let source = socket.local_addr().ok().and_then(|local| local.as_socket()).map(|local| local.ip());
    let expected = expected_source(fib, &query);
    match (connected, expected, source) {
        (_, Err(()), _) => Ok(false),
        (Ok(()), Ok(Some(expected)), Some(source)) if expected == source => Ok(true),
        (Err(_), Ok(None), _) => Ok(true),
        // NoSource: the kernel would send from 0.0.0.0.
        (Ok(()), Ok(None), Some(source)) if source.is_unspecified() => Ok(true),
        // See ON_LINK: a socket is as trusting as RTM_GETROUTE.
        (Ok(()), Ok(None), _) if query.oif != 0 && query.dst.is_ipv4() => Ok(false),
        (connected, expected, source) => Err(format!(
            "connect() gives {connected:?} and source {source:?}, expected {expected:?} for {query:?}"
        )),
    }
}

/// What `connect` does: IPv4 looks up twice, the second time with the source that it found.
/// `Err`: this snapshot cannot say.
fn expected_source(fib: &Fib, query: &Query) -> Result<Option<IpAddr>, ()> {
    let source = match fib.lookup(query) {
        Answer::Route(route) => route.source,
        // A socket may be bound to what the tables call broadcast, and then has no source.
        Answer::No(NoRoute::SourceNotLocal) => return Err(()),
        Answer::No(_) => return Ok(None),
        Answer::AskKernel => return Err(()),
    };
    if query.dst.is_ipv6() || query.src.is_some() {
        return Ok(Some(source));
    }
    match fib.lookup(&Query { src: Some(source), ..*query }) {
        Answer::Route(_) => Ok(Some(source)),
        Answer::No(_) => Ok(None),
        Answer::AskKernel => Err(()),
    }
}

fn bound_socket(query: &Query) -> io::Result<Socket> {
    let domain = if query.dst.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    if query.mark != 0 {
        socket.set_mark(query.mark)?;
    }
    match (domain, NonZeroU32::new(query.oif)) {
        (Domain::IPV4, Some(oif)) => socket.bind_device_by_index_v4(Some(oif))?,
        (_, Some(oif)) => socket.bind_device_by_index_v6(Some(oif))?,
        _ => {}
    }
    if let Some(source) = query.src {
        let mut from = SocketAddr::new(source, query.sport);
        if let SocketAddr::V6(v6) = &mut from {
            v6.set_scope_id(query.oif);
        }
        socket.bind(&from.into())?;
    }
    Ok(socket)
}
