//! One [`Fib`] of everything that the kernel has now.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::ask::ask_with;
use super::decode;
use super::error::{Error, Object};
use super::socket::{End, Requester};
use super::wire::{AF_INET, AF_INET6, Message, Request};
use crate::fib::spec::{Route, TABLE_MAIN};
use crate::fib::{Answer, Builder, Fib, Loader, Parts, Query, Rib};

/// How often a list that changes while it is read is read again.
pub const ATTEMPTS: u32 = 16;

/// Reads links, addresses, labels, rules, routes and nexthop objects of both families, as the given
/// generation. Blocks for as long as the kernel takes: well below a millisecond for small tables.
///
/// Sees the network namespace of the calling thread. Needs no privilege.
pub fn dump(generation: u64) -> Result<Fib, Error> {
    Ok(load(&mut Requester::open()?)?.fib(generation))
}

/// The same as what a snapshot is built from: for a change that is only thought of.
pub fn read(generation: u64) -> Result<Builder, Error> {
    let (parts, builder, _) = steady(&mut Requester::open()?, |builder: &mut Builder, route| {
        *builder = std::mem::take(builder).route(route);
    })?;
    Ok(builder.generation(generation).parts(parts))
}

/// The same as what events can be applied to.
pub fn load(requester: &mut Requester) -> Result<Rib, Error> {
    let (parts, loader, expiry) = steady(requester, Loader::add)?;
    let mut rib = loader.finish(parts);
    rib.note_expiry(expiry);
    Ok(rib)
}

/// The kernel tells lifetimes in hundredths of a second, and of less than one the same as of none: so long after its end a route
/// is surely told as over.
pub const EXPIRY_SLACK: Duration = Duration::from_millis(30);

/// When the lifetime of a route that was told now, and was not over, is surely over.
pub fn expiry_of(route: &Route) -> Option<Instant> {
    let left = u64::try_from(route.lifetime?).ok()?;
    Some(Instant::now() + Duration::from_millis(left * 10) + EXPIRY_SLACK)
}

/// Reads everything, again if it changes meanwhile or the socket falls out of step; `each` puts a route into what is made of them.
fn steady<T: Default>(
    requester: &mut Requester,
    each: impl Fn(&mut T, Route),
) -> Result<(Parts, T, Option<Instant>), Error> {
    for _ in 1..ATTEMPTS {
        match attempt(requester, &each) {
            Err(Error::Unstable { .. } | Error::OutOfStep { .. }) => {}
            end => return end,
        }
    }
    attempt(requester, &each)
}

/// The links come first: their dump waits for the kernel's configuration lock, so whatever follows from
/// the change that an event told of (routes that vanish with their device) has happened by then. Routes whose lifetime is over
/// are not there; besides, when the next one's is.
fn attempt<T: Default>(
    requester: &mut Requester,
    each: &impl Fn(&mut T, Route),
) -> Result<(Parts, T, Option<Instant>), Error> {
    let parts = parts(requester)?;
    let (mut all, mut expiry) = (T::default(), None);
    for family in [AF_INET, AF_INET6] {
        let decode = of_family(family, decode::route);
        list(requester, Object::Routes, routes(family), decode, |message| {
            if !message.route.is_over() {
                expiry = expiry.into_iter().chain(expiry_of(&message.route)).min();
                each(&mut all, message.route);
            }
        })?;
    }
    Ok((parts, all, expiry))
}

/// Reads all but the routes.
pub fn parts(requester: &mut Requester) -> Result<Parts, Error> {
    let mut parts = Parts { uid: nix::unistd::geteuid().as_raw(), ..Parts::default() };
    let route_localnet = sysctl_is_set("net/ipv4/conf/all/route_localnet");
    parts.asks_neighbours = sysctl_is_set("net/ipv4/fib_multipath_use_neigh");
    parts.forwards_ipv6 = sysctl_is_set("net/ipv6/conf/all/forwarding");
    let use_optimistic = sysctl_is_set("net/ipv6/conf/all/use_optimistic");
    list(
        requester,
        Object::Links,
        links(),
        |m| decode::link(m).map(Some),
        |mut link| {
            link.conf.route_localnet |= route_localnet;
            link.conf.use_optimistic |= use_optimistic;
            parts.links.push(link);
        },
    )?;
    list(requester, Object::Addresses, addresses(), decode::address, |a| parts.addresses.push(a))?;
    list(requester, Object::Labels, labels(), |m| decode::label(m).map(Some), |l| parts.labels.push(l))?;
    list(
        requester,
        Object::Nexthops,
        nexthops(),
        |m| decode::nexthop(m).map(Some),
        |object| {
            parts.nexthops.insert(object.id, object.body);
        },
    )?;
    for family in [AF_INET, AF_INET6] {
        let decode = of_family(family, decode::rule);
        list(requester, Object::Rules, rules(family), decode, |rule| parts.rules.push(rule))?;
    }
    parts.merged = local_is_merged(requester, parts.uid)?;
    Ok(parts)
}

/// As long as no rule was ever added, the kernel says that table main delivers to 127.0.0.1.
fn local_is_merged(requester: &mut Requester, uid: u32) -> Result<bool, Error> {
    let answer = ask_with(requester, &Query::to(Ipv4Addr::LOCALHOST.into()), uid)?;
    Ok(matches!(answer, Answer::Route(route) if route.table == TABLE_MAIN))
}

/// A kernel without IPv6 answers for its other families; those messages are not meant.
fn of_family<T>(
    family: u8,
    decode: impl Fn(&Message<'_>) -> Option<Option<T>>,
) -> impl Fn(&Message<'_>) -> Option<Option<T>> {
    move |message| {
        if message.payload.first() == Some(&family) { decode(message) } else { Some(None) }
    }
}

fn list<T>(
    requester: &mut Requester,
    object: Object,
    request: Request,
    decode: impl Fn(&Message<'_>) -> Option<Option<T>>,
    mut each: impl FnMut(T),
) -> Result<(), Error> {
    let end = requester.ask(object, request, |message| {
        decode(message)?.into_iter().for_each(&mut each);
        Some(())
    })?;
    match end {
        End::Complete => Ok(()),
        End::Interrupted => Err(Error::Unstable { object, attempts: ATTEMPTS }),
        // Without IPv6 there is no label table.
        End::Refused(libc::EOPNOTSUPP, _) if object == Object::Labels => Ok(()),
        End::Refused(errno, detail) => {
            Err(Error::Refused { object, error: std::io::Error::from_raw_os_error(errno), detail })
        }
    }
}

fn request(kind: u16, body: &[u8]) -> Request {
    Request::new(kind, libc::NLM_F_DUMP as u16, body)
}

/// `struct ifinfomsg`; the statistics of every device are not wanted.
fn links() -> Request {
    const EXT_MASK: u16 = 29;
    const SKIP_STATISTICS: u32 = 1 << 3;
    request(libc::RTM_GETLINK, &[0; 16]).attribute(EXT_MASK, &SKIP_STATISTICS.to_ne_bytes())
}

/// `struct ifaddrmsg`
fn addresses() -> Request {
    request(libc::RTM_GETADDR, &[0; 8])
}

/// `struct ifaddrlblmsg`
fn labels() -> Request {
    request(libc::RTM_GETADDRLABEL, &[AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// `struct nhmsg`
fn nexthops() -> Request {
    const RTM_GETNEXTHOP: u16 = 106;
    request(RTM_GETNEXTHOP, &[0; 8])
}

/// `struct fib_rule_hdr`
fn rules(family: u8) -> Request {
    request(libc::RTM_GETRULE, &[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// `struct rtmsg`
fn routes(family: u8) -> Request {
    request(libc::RTM_GETROUTE, &[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn sysctl_is_set(name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() != "0")
}
