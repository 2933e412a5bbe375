//! One question, the snapshot's answer and the kernel's; what differs for a known reason is named.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::{io, iter};

use socket2::{Domain, Protocol, Socket, Type};
use viaduct::control::netlink::{self, Comparison, Difference};
use viaduct::fib::{Answer, Entry, Fib, HopEntry, NoRoute, Query, Route, RouteEntry, RouteKind, Step};

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

const OBJECT_SOURCE: &str =
    "IPv4 nexthop objects: the kernel keeps a source of the nexthop's scope until an address changes";
const OBJECT_SHARED: &str = "IPv6 routes by one nexthop object: the kernel's cached entry of one is taken for the other, with its \
     prefix and preferred source";
const GATEWAY6: &str = "IPv4 routes by an IPv6 gateway that were made while the link had no carrier: the kernel does not know so";
const SHARES: &str = "IPv6 routes with a path that lost its carrier before it was to be passed over for that: the kernel works the \
     shares of the paths out anew when the next of them changes";
const SUBTREE: &str = "IPv6 routes with a source prefix: a change that it refuses makes the kernel lose the other ones to that prefix";
const VEILED: &str = "IPv6 routes without a gateway beside one of several paths of the same metric: the kernel's dump passes \
     over them, and so does what is read of it";
const OBJECT_FORGOTTEN: &str = "IPv6 routes by one nexthop object: RTM_GETROUTE stumbles over the cached entry of one that is deleted, \
     a socket does not";
const PORT_LEFT_OUT: &str =
    "IPv6 with an open source and a source port: the socket that stands for it is connected without the port";
/// Asks both.
pub fn compare(policy: &Policy, fib: &Fib, query: &Query) -> Verdict {
    let ours = fib.lookup(query);
    let kernels = netlink::ask(query, fib.uid()).unwrap_or_else(|error| panic!("{error}"));
    let known = match netlink::compare(fib, query, kernels) {
        Comparison::Agree => None,
        // There a socket does as RTM_GETROUTE does.
        Comparison::Known(why @ (Difference::OnLink | Difference::GroupIgnoresDevice)) => {
            return Verdict::Known(why.in_words());
        }
        Comparison::Known(why) => Some(why.in_words()),
        Comparison::Disagree => match kernels_own_ways(policy, fib, query, ours, kernels) {
            Some(why) => return Verdict::Known(why),
            None => return Verdict::Disagreed(format!("ours:     {ours:?}\nkernel's: {kernels:?}")),
        },
    };
    match (known, socket_agrees(fib, query)) {
        (_, Err(how)) => match sockets_own_ways(policy, fib, query) {
            Some(why) => Verdict::Known(why),
            None => Verdict::Disagreed(format!("ours: {ours:?}, but {how}")),
        },
        (Some(why), Ok(_)) => Verdict::Known(why),
        (None, Ok(socket)) => Verdict::Agreed { route: matches!(ours, Answer::Route(_)), socket },
    }
}

/// Differences that no snapshot can know of: they hang on the kernel's inner state, or on this oracle.
fn kernels_own_ways(
    policy: &Policy,
    fib: &Fib,
    query: &Query,
    ours: Answer,
    kernels: Answer,
) -> Option<&'static str> {
    let v6 = query.dst.is_ipv6();
    let asked_again = |step: &Step| matches!(step, Step::AskedAgain { .. });
    if query.sport != 0 && fib.lookup_traced(query).1.iter().any(asked_again) {
        let without = Query { sport: 0, ..*query };
        let kernels = netlink::ask(&without, fib.uid()).unwrap_or_else(|error| panic!("{error}"));
        if netlink::compare(fib, &without, kernels) == Comparison::Agree {
            return Some(PORT_LEFT_OUT);
        }
    }
    match (ours, kernels) {
        (Answer::Route(ours), Answer::Route(kernels))
            if !v6
                && !policy.object_prefixes.is_empty()
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
        (_, Answer::Route(kernels))
            if !v6
                && !fib.link_up(kernels.dev)
                // What is multicast needs no gateway.
                && (kernels.gateway.is_some() || kernels.kind == RouteKind::Multicast)
                && leads_by(fib, &kernels, |hop| hop.gateway.is_some_and(|gateway| gateway.is_ipv6())) =>
        {
            Some(GATEWAY6)
        }
        (Answer::Route(ours), Answer::Route(kernels))
            if v6
                && (ours.table, ours.prefix) == (kernels.table, kernels.prefix)
                && is_linkdown_ignored(fib, kernels.dev)
                && leads_by(fib, &kernels, |hop| hop.gateway == kernels.gateway && !hop.usable) =>
        {
            Some(SHARES)
        }
        // The source is no address of the host then, for the kernel.
        (Answer::Route(_), Answer::No(_))
            if !v6 && query.src.is_some_and(|src| is_claimed_from_afar(fib, src)) =>
        {
            Some(GATEWAY6)
        }
        (Answer::Route(ours), _) if v6 && policy.lost_subtrees.contains(&ours.prefix) => Some(SUBTREE),
        (_, Answer::Route(kernels))
            if v6
                && kernels.gateway.is_none()
                && is_veiled(fib, |route| (route.table, route.prefix) == (kernels.table, kernels.prefix)) =>
        {
            Some(VEILED)
        }
        (Answer::Route(ours), Answer::No(NoRoute::Unreachable))
            if v6
                && policy.object_prefixes.contains(&ours.prefix)
                && socket_agrees(fib, query) == Ok(true) =>
        {
            Some(OBJECT_FORGOTTEN)
        }
        _ => None,
    }
}

/// The route of the kernel's answer has such a path by the answer's device.
fn leads_by(fib: &Fib, answer: &Route, is_such: impl Fn(&HopEntry) -> bool) -> bool {
    let by_dev = |hop: &HopEntry| fib.link_name(answer.dev) == Some(&*hop.dev) && is_such(hop);
    let holds = |entry: &Entry| match entry {
        Entry::Route(route) => {
            (route.table, route.prefix) == (answer.table, answer.prefix) && route.hops.iter().any(by_dev)
        }
        _ => false,
    };
    fib.entries().iter().any(holds)
}

/// Some route to the address, by an IPv6 gateway and a link without a carrier.
fn is_claimed_from_afar(fib: &Fib, address: IpAddr) -> bool {
    let is_such = |hop: &HopEntry| {
        let dev = fib.link_index(&hop.dev);
        hop.gateway.is_some_and(|gateway| gateway.is_ipv6()) && dev.is_some_and(|dev| !fib.link_up(dev))
    };
    let claims = |entry: &Entry| match entry {
        Entry::Route(route) => route.prefix.contains(&address) && route.hops.iter().any(is_such),
        _ => false,
    };
    fib.entries().iter().any(claims)
}

fn is_linkdown_ignored(fib: &Fib, dev: u32) -> bool {
    fib.links().any(|link| link.index == dev && link.up && !link.carrier && link.conf.ignore_linkdown_v6)
}

/// The same for sockets, which may be led elsewhere than the question, by rules for UDP.
fn sockets_own_ways(policy: &Policy, fib: &Fib, query: &Query) -> Option<&'static str> {
    let by_udp = Query { protocol: 17, dport: query.dport.max(1), ..*query };
    match fib.lookup(&by_udp) {
        _ if query.dst.is_ipv4() => None,
        _ if is_veiled(fib, |route| route.prefix.contains(&query.dst)) => Some(VEILED),
        Answer::Route(route) if policy.object_prefixes.contains(&route.prefix) => Some(OBJECT_SHARED),
        // The rules may ask for the socket's port, which is not known here.
        _ if policy.lost_subtrees.iter().any(|prefix| prefix.contains(&query.dst)) => Some(SUBTREE),
        _ => None,
    }
}

/// The kernel's dump goes from the first path of an IPv6 route to the last one, and so may pass over routes to the
/// same prefix, of the same metric, that were made in between.
fn is_veiled(fib: &Fib, meant: impl Fn(&RouteEntry) -> bool) -> bool {
    let several = |entry: &Entry| match entry {
        Entry::Route(route) => route.hops.len() > 1 && meant(route),
        _ => false,
    };
    fib.entries().iter().any(several)
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
    // `None`: it cannot be told whether they agree.
    let agree = |expected| match (&connected, expected, source) {
        (_, Err(()), _) => None,
        (Ok(()), Ok(Some(expected)), Some(source)) if expected == source => Some(true),
        (Err(_), Ok(None), _) => Some(true),
        // NoSource: the kernel would send from 0.0.0.0.
        (Ok(()), Ok(None), Some(source)) if source.is_unspecified() => Some(true),
        // See Difference::OnLink: a socket is as trusting as RTM_GETROUTE.
        (Ok(()), Ok(None), _) if query.oif != 0 && query.dst.is_ipv4() => None,
        _ => Some(false),
    };
    // Paths may differ in source, and the kernel's choice among them is its own.
    let flows = if fib.is_multipath() { 0..256 } else { 0..0 };
    let expected = |flow| expected_source(fib, &Query { flow, ..query });
    match iter::once(query.flow)
        .chain(flows)
        .map(|flow| agree(expected(flow)))
        .find(|agree| *agree != Some(false))
    {
        Some(agreed) => Ok(agreed == Some(true)),
        None => Err(format!(
            "connect() gives {connected:?} and source {source:?}, expected {:?} for {query:?}",
            expected(query.flow)
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

/// A UDP socket with the question's mark, device, source and port.
pub fn bound_socket(query: &Query) -> io::Result<Socket> {
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
