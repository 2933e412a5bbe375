//! One question to the kernel itself.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::unistd::{Uid, fchown};
use socket2::{Domain, Protocol, Socket, Type};

use super::decode::{self, RouteMessage};
use super::error::{Error, Object};
use super::socket::{End, Requester};
use super::wire::{self, AF_INET, AF_INET6, Request};
use crate::fib::spec::{Kind, Nexthops};
use crate::fib::{Answer, NoRoute, Query, Route, RouteKind};

/// The kernel's own answer (`RTM_GETROUTE`) to a question, in the words of [`crate::fib::Fib::lookup`].
///
/// Where the kernel finds no IPv6 route for an open source, a socket still finds one with the source
/// that the kernel would select (this is how hosts with source-specific routing work); then a socket is
/// connected, without sending anything, and the route of its source is asked for.
///
/// `uid`: of the user whose sockets are meant, as [`crate::fib::Fib::uid`] has it.
///
/// Where the kernel sends multicast or broadcast by a device without a route, the table is 0.
///
/// # Errors
///
/// The kernel could not be asked. That there is no route is an [`Answer::No`].
pub fn ask(query: &Query, uid: u32) -> Result<Answer, Error> {
    let mut requester = Requester::open()?;
    let first = ask_with(&mut requester, query, uid)?;
    let (Answer::No(_), IpAddr::V6(_), None) = (first, query.dst, query.src) else { return Ok(first) };
    match connected_source(query, uid) {
        Ok(source) => ask_with(&mut requester, &Query { src: Some(source), ..*query }, uid),
        Err(_) => Ok(first),
    }
}

/// Asks twice: for the route that the packet takes, and for the prefix in the table that it matched.
pub fn ask_with(requester: &mut Requester, query: &Query, uid: u32) -> Result<Answer, Error> {
    // IPv6 names the table that it found anyway.
    let name_table = if query.dst.is_ipv4() { RTM_F_LOOKUP_TABLE } else { 0 };
    let taken = match exchange(requester, request(query, uid, name_table))? {
        Ok(taken) => taken,
        Err(errno) => return Ok(Answer::No(refusal(errno))),
    };
    if taken.error != 0 {
        return Ok(Answer::No(refusal(taken.error.cast_signed().wrapping_abs())));
    }
    let kind = match taken.route.kind {
        Kind::Unicast => RouteKind::Unicast,
        Kind::Local => RouteKind::Local,
        Kind::Broadcast => RouteKind::Broadcast,
        Kind::Multicast => RouteKind::Multicast,
        Kind::Anycast => RouteKind::Anycast,
        Kind::Blackhole => return Ok(Answer::No(NoRoute::Blackhole)),
        Kind::Unreachable | Kind::Throw => return Ok(Answer::No(NoRoute::UnreachableRoute)),
        Kind::Prohibit => return Ok(Answer::No(NoRoute::Prohibit)),
    };
    let Nexthops::Own(paths) = &taken.route.nexthops else { return Ok(Answer::AskKernel) };
    let Some(path) = paths.first() else { return Ok(Answer::No(NoRoute::Unreachable)) };
    let Some(source) = query.src.or(taken.route.preferred_source) else {
        return Ok(Answer::No(NoRoute::NoSource));
    };
    let matched = exchange(requester, request(query, uid, name_table | RTM_F_FIB_MATCH))?.ok();
    let matched = matched.map(|matched| matched.route);
    Ok(Answer::Route(Route {
        kind,
        table: matched.as_ref().map_or(0, |matched| matched.table),
        prefix: matched.map_or(query.dst.into(), |matched| matched.prefix),
        dev: path.dev,
        gateway: path.gateway,
        source,
    }))
}

const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// The outer error: the kernel could not be asked; the inner one: its errno.
fn exchange(requester: &mut Requester, request: Request) -> Result<Result<RouteMessage, i32>, Error> {
    let object = Object::Routes;
    let mut answer = None;
    let end = requester.ask(object, request, |message| {
        answer = decode::route(message)?;
        Some(())
    })?;
    match end {
        End::Refused(errno, None) => Ok(Err(errno)),
        // The kernel comments on questions that it does not take, not on routes that it does not find.
        End::Refused(errno, detail) => {
            Err(Error::Refused { object, error: io::Error::from_raw_os_error(errno), detail })
        }
        _ => answer.map(Ok).ok_or(Error::Malformed { object }),
    }
}

fn request(query: &Query, uid: u32, flags: u32) -> Request {
    const DST: u16 = 1;
    const SRC: u16 = 2;
    const OIF: u16 = 4;
    const MARK: u16 = 16;
    const UID: u16 = 25;
    const IP_PROTO: u16 = 27;
    const SPORT: u16 = 28;
    const DPORT: u16 = 29;
    let (family, bits) = if query.dst.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
    let mut body = [family, bits, if query.src.is_some() { bits } else { 0 }, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body[8..].copy_from_slice(&flags.to_ne_bytes());
    let mut request = Request::new(libc::RTM_GETROUTE, 0, &body).attribute(DST, &wire::octets(query.dst));
    if let Some(src) = query.src {
        request = request.attribute(SRC, &wire::octets(src));
    }
    if query.oif != 0 {
        request = request.attribute(OIF, &query.oif.to_ne_bytes());
    }
    if query.mark != 0 {
        request = request.attribute(MARK, &query.mark.to_ne_bytes());
    }
    request = request.attribute(UID, &uid.to_ne_bytes());
    request = request.attribute(IP_PROTO, &[query.protocol]);
    for (kind, port) in [(SPORT, query.sport), (DPORT, query.dport)] {
        if port != 0 {
            request = request.attribute(kind, &port.to_be_bytes());
        }
    }
    request
}

fn refusal(errno: i32) -> NoRoute {
    match errno {
        libc::EINVAL => NoRoute::Blackhole,
        libc::EHOSTUNREACH => NoRoute::UnreachableRoute,
        libc::EACCES => NoRoute::Prohibit,
        libc::EADDRNOTAVAIL => NoRoute::NoSource,
        _ => NoRoute::Unreachable,
    }
}

/// The source that an unbound socket gets by `connect`, without sending anything: a UDP socket, or a raw
/// one of another protocol. The source port is left out, since a listener may have it.
///
/// # Errors
///
/// Those of the socket; a mark needs `CAP_NET_ADMIN`, or `CAP_NET_RAW` since Linux 5.17, and so does a
/// protocol other than UDP; to give it to another user takes `CAP_CHOWN`.
fn connected_source(query: &Query, uid: u32) -> io::Result<IpAddr> {
    let domain = if query.dst.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let protocol = Protocol::from(i32::from(query.protocol));
    let kind = if protocol == Protocol::UDP { Type::DGRAM } else { Type::RAW };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    fchown(&socket, Some(Uid::from_raw(uid)), None)?;
    if query.mark != 0 {
        socket.set_mark(query.mark)?;
    }
    if let Some(oif) = std::num::NonZeroU32::new(query.oif) {
        match domain {
            Domain::IPV4 => socket.bind_device_by_index_v4(Some(oif))?,
            _ => socket.bind_device_by_index_v6(Some(oif))?,
        }
    }
    let mut to = SocketAddr::new(query.dst, query.dport.max(1));
    if let SocketAddr::V6(v6) = &mut to {
        v6.set_scope_id(query.oif);
    }
    socket.connect(&to.into())?;
    let local = socket.local_addr()?.as_socket().map(|local| local.ip());
    local.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}
