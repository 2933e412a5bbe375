//! What is sent, caught on the far side: every link is one end of a pair, and whatever leaves by it comes in at the
//! other end.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};
use viaduct::fib::{Answer, Fib, LOOPBACK, NoRoute, Query, RouteKind};

use crate::compare::bound_socket;

/// How long a datagram is waited for that should be there at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hears every packet of the namespace, at every interface.
pub struct Tap(Socket);

/// What sending came to.
pub enum Sent {
    /// It arrived where it should, and nowhere else; or, as it should, nowhere.
    Agreed { arrived: bool },
    /// This question cannot be put to a socket.
    Unasked,
    /// It went another way.
    Disagreed(String),
}

/// A datagram that came in: by which interface, and from where.
type Arrival = (u32, IpAddr);

impl Tap {
    pub fn open() -> Self {
        let every = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
        let open = || {
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(every))?;
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(1 << 20)?;
            Ok::<_, io::Error>(socket)
        };
        Self(open().expect("a packet socket"))
    }

    /// Where the datagram with this body came in, of what is there to read.
    fn arrivals(&self, body: &[u8], all: &mut Vec<Arrival>) {
        const OUTGOING: u8 = 4;
        let mut packet = [0_u8; 2048];
        loop {
            match recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut packet) {
                Ok((len, Some(link))) if link.pkttype() != OUTGOING => {
                    let source = source_of(&packet[..len], body);
                    all.extend(source.map(|source| (link.ifindex() as u32, source)));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(error) => panic!("the packet socket fails: {error}"),
            }
        }
    }
}

/// The source of a UDP packet whose last bytes are these. (Errors quote what they are about.)
fn source_of(packet: &[u8], body: &[u8]) -> Option<IpAddr> {
    const UDP: u8 = 17;
    let protocol_at = if packet.first()? >> 4 == 4 { 9 } else { 6 };
    if !packet.ends_with(body) || *packet.get(protocol_at)? != UDP {
        return None;
    }
    Some(match packet.first()? >> 4 {
        4 => Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?).into(),
        6 => Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?).into(),
        _ => return None,
    })
}

/// Sends as a listener does, bound to the source that the snapshot names, and sees where it comes out. `far` gives
/// the other end of a link.
pub fn send(tap: &Tap, fib: &Fib, query: &Query, number: u64, far: impl Fn(u32) -> Option<u32>) -> Sent {
    let source = match (fib.lookup(query), query.src) {
        (_, Some(bound)) => bound,
        (Answer::Route(route), None) => route.source,
        _ => return Sent::Unasked,
    };
    let bound = Query { src: Some(source), protocol: 17, dport: query.dport.max(1), ..*query };
    let Ok(socket) = bound_socket(&bound) else { return Sent::Unasked };
    let sport = socket.local_addr().ok().and_then(|local| local.as_socket()).map_or(0, |local| local.port());
    let bound = Query { sport, ..bound };
    let body = [&b"where am I "[..], &number.to_be_bytes()].concat();
    let mut to = SocketAddr::new(bound.dst, bound.dport);
    if let SocketAddr::V6(v6) = &mut to {
        v6.set_scope_id(bound.oif);
    }
    let sent = socket.send_to(&body, &to.into());
    let expected = match expected(fib, &bound, far) {
        Some(expected) => expected,
        None => return Sent::Unasked,
    };
    let mut caught = Vec::new();
    let start = Instant::now();
    // What is not to arrive would have arrived before sending was over.
    loop {
        tap.arrivals(&body, &mut caught);
        if !caught.is_empty() || expected.iter().any(Option::is_none) || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let devices: BTreeSet<u32> = caught.iter().map(|(device, _)| *device).collect();
    let right = match devices.len() {
        0 => expected.contains(&None),
        1 => expected.contains(&devices.first().copied()) && caught.iter().all(|(_, from)| *from == source),
        _ => false,
    };
    if right {
        return Sent::Agreed { arrived: !caught.is_empty() };
    }
    Sent::Disagreed(format!(
        "{bound:?}\nsending gives {sent:?} and arrives at (interface, source) {caught:?}, expected from {source} at \
         one of {expected:?}\n{:#?}",
        fib.lookup_traced(&bound)
    ))
}

/// Where it may come in, `None` for nowhere; the outer `None`: a socket does otherwise, or cannot be asked.
fn expected(fib: &Fib, bound: &Query, far: impl Fn(u32) -> Option<u32>) -> Option<BTreeSet<Option<u32>>> {
    // Which path of several is taken is the kernel's own choice.
    let flows = if fib.is_multipath() { 0..256 } else { 0..1 };
    let place = |flow| match fib.lookup(&Query { flow, ..*bound }) {
        Answer::Route(route) if route.kind == RouteKind::Local => {
            Some(Some(LOOPBACK).filter(|lo| fib.link_up(*lo)))
        }
        // Without IPv6 on the device nothing leaves by an IPv6 gateway, whatever the tables say.
        Answer::Route(route) if bound.dst.is_ipv4() && route.gateway.is_some_and(|via| via.is_ipv6()) => {
            let there = |(address, dev): (IpAddr, u32)| address.is_ipv6() && dev == route.dev;
            let place = far(route.dev).filter(|_| fib.link_up(route.dev));
            fib.addresses().any(there).then_some(place)
        }
        // What is found is routed, then dropped without a word (`ip6_output`).
        Answer::Route(route) if bound.dst.is_ipv6() && is_without_ipv6(fib, route.dev) => Some(None),
        // There is no far side.
        Answer::Route(route) if route.dev == LOOPBACK => None,
        Answer::Route(route) => Some(far(route.dev).filter(|_| fib.link_up(route.dev))),
        // The kernel assumes that it is on the link.
        Answer::No(_) if bound.oif != 0 && bound.dst.is_ipv4() => None,
        // What connect() refuses, send_to() sends by any device.
        Answer::No(NoRoute::NeedsDevice) => None,
        // A socket may be bound to what the tables call broadcast.
        Answer::No(NoRoute::SourceNotLocal) => None,
        Answer::No(_) => Some(None),
        Answer::AskKernel => None,
    };
    flows.map(place).collect()
}

/// IPv6 is switched off at the device.
fn is_without_ipv6(fib: &Fib, dev: u32) -> bool {
    fib.links().any(|link| link.index == dev && link.conf.disable_ipv6)
}
