//! The kernel's routing decision in user space: rules → tables → longest prefix → route → source.
//!
//! A [`Fib`] is one immutable snapshot, built by [`crate::control`] from netlink dumps, asked by
//! [`crate::egress`]. It answers what the kernel would.
#![forbid(unsafe_code)]

mod answers;
mod builder;
mod entries;
mod gateways;
mod links;
mod paths;
mod rib;
mod rules;
mod source;
pub mod spec;
mod table;
mod trace;
mod trie;
mod usual;
mod v4;
mod v6;
mod words;

pub use builder::Builder;
pub use entries::{Difference, Entry, HopEntry, RouteEntry};
pub use gateways::GatewayChoice;
pub use rib::{Change, Loader, Parts, Place, Rib, Silent};
pub use trace::{SourceOrigin, Step};
pub use words::{Words, table_in_words};

use std::net::IpAddr;

use ipnet::IpNet;

use answers::Answers;
use links::Links;
use rules::Flow;
use spec::{Address, Link};
use trace::Observer;

/// The index of the loopback device in every network namespace.
pub const LOOPBACK: u32 = 1;

/// A question: how would a packet with these properties, sent by this process, leave this host?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Destination; canonical (never IPv4-mapped).
    pub dst: IpAddr,
    /// The socket's bound source; `None`: any.
    pub src: Option<IpAddr>,
    /// The socket's mark (`SO_MARK`), 0 for none.
    pub mark: u32,
    /// The socket's device (`SO_BINDTODEVICE`) as interface index; 0 for none.
    pub oif: u32,
    /// The socket's IP protocol (17 for UDP, 6 for TCP).
    pub protocol: u8,
    /// The socket's port; 0 for none.
    pub sport: u16,
    /// The destination's port; 0 for none.
    pub dport: u16,
    /// Chooses among the paths of a multipath route: the same value, the same path.
    pub flow: u64,
}

impl Query {
    /// UDP to this destination from an unbound socket: no mark, no device, no ports.
    pub const fn to(dst: IpAddr) -> Self {
        Self { dst, src: None, mark: 0, oif: 0, protocol: 17, sport: 0, dport: 0, flow: 0 }
    }
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It leaves (or is delivered locally) like this.
    Route(Route),
    /// It does not leave.
    No(NoRoute),
    /// This snapshot cannot tell: something it does not understand lies in the way.
    AskKernel,
}

/// Why nothing leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoRoute {
    /// No rule led to a route (`ENETUNREACH`).
    Unreachable,
    /// A `blackhole` route or rule (`EINVAL`).
    Blackhole,
    /// An `unreachable` route or rule (`EHOSTUNREACH`).
    UnreachableRoute,
    /// A `prohibit` route or rule (`EACCES`).
    Prohibit,
    /// The bound source is no address of this host (a link-local one: not of that device).
    SourceNotLocal,
    /// There is a route, but no address of this host may be its source (`EADDRNOTAVAIL`).
    NoSource,
    /// A link-local destination means nothing without a device.
    NeedsDevice,
}

/// A route that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What sort of route.
    pub kind: RouteKind,
    /// The table that answered (254 main, 255 local, 253 default).
    pub table: u32,
    /// The prefix that matched.
    pub prefix: IpNet,
    /// The outgoing interface's index.
    pub dev: u32,
    /// The gateway, possibly of the other family (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The source: the bound one, else the preferred or the selected one.
    pub source: IpAddr,
}

/// The kinds of routes that carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// To another host.
    Unicast,
    /// To this host.
    Local,
    /// IPv4 broadcast.
    Broadcast,
    /// Multicast.
    Multicast,
    /// IPv6 anycast.
    Anycast,
}

/// One immutable snapshot of rules, tables, addresses and links.
///
/// Where it differs from the kernel:
///
/// - With a device and no IPv4 route the kernel assumes that the destination is on the link; here it is
///   [`NoRoute::Unreachable`].
/// - With a device and an IPv6 group of nexthop objects the kernel may take a member by another device.
/// - 0.0.0.0 and `::` are no destinations here; the kernel takes them for the host itself.
/// - Neighbours are not known here. IPv6 routes by a gateway that does not answer neighbour discovery
///   are passed over by a kernel that does not forward; of several IPv4 default routes of one metric the
///   kernel takes one whose gateway answers, here it is the first.
/// - For IPv4 nexthop objects the kernel keeps a source of link scope that it once selected until some
///   address of the host changes; here the source is always selected by the route's scope.
/// - Of IPv6 routes to one prefix with one metric, some with gateways and some without, the kernel lists not
///   those that were made between two with gateways: they are not known here.
/// - IPv4 routes by an IPv6 gateway that were made on a link without a carrier are usable to the kernel even
///   where routes without a carrier are to be ignored.
/// - IPv6 boot rules that were deleted before any rule was ever added still count for the kernel.
#[derive(Clone)]
pub struct Fib {
    generation: u64,
    uid: u32,
    multipath: bool,
    neighbours: gateways::Neighbours,
    links: Links,
    addresses: Box<[Address]>,
    rules: Box<[spec::Rule]>,
    /// The kernel's own answers where this snapshot has none.
    answers: Answers,
    v4: v4::World,
    v6: v6::World,
}

impl Fib {
    /// How a packet like this would leave. Does not allocate.
    pub fn lookup(&self, query: &Query) -> Answer {
        match query.dst {
            IpAddr::V4(dst) => {
                let src = match query.src {
                    None => None,
                    Some(IpAddr::V4(src)) => Some(src),
                    Some(IpAddr::V6(_)) => return self.unusual(query),
                };
                match self.usual_v4(query, dst, src) {
                    Some(way) => way.answer(query.src),
                    None => self.unusual(query),
                }
            }
            IpAddr::V6(dst) => {
                let src = match query.src {
                    None => None,
                    Some(IpAddr::V6(src)) => Some(src),
                    Some(IpAddr::V4(_)) => return self.unusual(query),
                };
                match self.usual_v6(query, dst, src) {
                    Some(way) => way.answer(query.src),
                    None => self.unusual(query),
                }
            }
        }
    }

    /// [`Fib::lookup`] with any source, and whether a socket that is tied to no link gets the same answer from the source that
    /// it names, if that is assigned: no rule was asked that looks at it, or at anything else that differs.
    pub fn lookup_open(&self, query: &Query) -> (Answer, bool) {
        let found = match query.dst {
            IpAddr::V4(dst) => self.usual_v4(query, dst, None).map(|way| (way.answer(None), way.is_plain)),
            IpAddr::V6(dst) => self.usual_v6(query, dst, None).map(|way| (way.answer(None), way.is_plain)),
        };
        found.unwrap_or_else(|| (self.unusual(query), false))
    }

    #[inline(never)]
    fn unusual(&self, query: &Query) -> Answer {
        match self.observed(query, &mut ()) {
            Answer::AskKernel => self.told(query),
            answer => answer,
        }
    }

    /// What the kernel was found to answer.
    #[cold]
    fn told(&self, query: &Query) -> Answer {
        self.answers.get(query).unwrap_or(Answer::AskKernel)
    }

    /// The same snapshot, which now knows what the kernel answers to this question, and forgets old answers for it
    /// where there are too many ([`crate::limits::KERNEL_ANSWERS`]); `None`: it knows an answer already.
    #[must_use]
    pub fn with_answer(&self, query: &Query, answer: Answer) -> Option<Self> {
        let known = self.answers.get(query).is_some();
        (!known).then(|| Self { answers: self.answers.with(query, answer), ..self.clone() })
    }

    /// The same, with all the steps that led there.
    pub fn lookup_traced(&self, query: &Query) -> (Answer, Vec<Step>) {
        let mut steps = Vec::new();
        let mut answer = self.observed(query, &mut steps);
        if answer == Answer::AskKernel {
            answer = self.told(query);
            if answer != Answer::AskKernel {
                steps.push(Step::AskedKernel);
            }
        }
        (answer, steps)
    }

    fn observed<O: Observer>(&self, query: &Query, observer: &mut O) -> Answer {
        match (query.dst, query.src) {
            (IpAddr::V4(dst), None) => v4::lookup(self, query, dst, None, observer),
            (IpAddr::V4(dst), Some(IpAddr::V4(src))) => v4::lookup(self, query, dst, Some(src), observer),
            (IpAddr::V6(dst), None) => v6::lookup(self, query, dst, None, observer),
            (IpAddr::V6(dst), Some(IpAddr::V6(src))) => v6::lookup(self, query, dst, Some(src), observer),
            _ => Answer::No(NoRoute::SourceNotLocal),
        }
    }

    /// Of the user whose sockets it answers for: rules may go by that (`uidrange`).
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The same snapshot for another user's sockets, whom the kernel may answer otherwise.
    #[must_use]
    pub fn for_user(self, uid: u32) -> Self {
        Self { uid, answers: Answers::default(), ..self }
    }

    /// Some rule is for some users' packets only (`uidrange`).
    pub fn goes_by_user(&self) -> bool {
        self.v4.rules.go_by_user() || self.v6.rules.go_by_user()
    }

    fn flow<A>(&self, query: &Query, dst: A, src: Option<A>) -> Flow<A> {
        let vrf = self.links.is_vrf(query.oif);
        Flow {
            dst,
            src,
            mark: query.mark,
            oif: if vrf { 0 } else { query.oif },
            l3mdev: if query.oif == 0 { 0 } else { self.links.l3_master(query.oif) },
            uid: self.uid,
            protocol: query.protocol,
            sport: query.sport,
            dport: query.dport,
            hash: query.flow,
        }
    }

    /// Some route has several paths: what [`Fib::lookup`] answers may depend on [`Query::flow`].
    pub fn is_multipath(&self) -> bool {
        self.multipath
    }

    /// Counts the snapshots of one [`crate::control`]; strictly increasing.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All interfaces, by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> + '_ {
        self.links.iter()
    }

    /// The index of the interface of this name.
    pub fn link_index(&self, name: &str) -> Option<u32> {
        self.links.by_name(name)
    }

    /// The name of the interface with this index.
    pub fn link_name(&self, index: u32) -> Option<&str> {
        self.links.get(index).map(|link| &*link.name)
    }

    /// The interface with this index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(index)
    }

    /// This address as it is assigned to an interface, if it cannot be used: duplicate address detection runs, or has failed.
    pub fn unusable(&self, address: IpAddr) -> Option<&Address> {
        self.addresses.iter().find(|a| a.address == address && !a.usable())
    }

    /// The interface is up (administratively and in carrier, as routes need it).
    pub fn link_up(&self, index: u32) -> bool {
        self.links.get(index).is_some_and(|link| link.up && link.carrier)
    }

    /// The interface is there for its addresses alone (the loopback device, a dummy, a VRF): nothing leaves the host by it.
    pub fn leads_nowhere(&self, index: u32) -> bool {
        self.links.leads_nowhere(index)
    }

    /// The interfaces that carry this address of the host, usable there, by index ascending.
    pub fn homes_of(&self, address: IpAddr) -> impl Iterator<Item = u32> + '_ {
        let (v4, v6) = match address {
            IpAddr::V4(address) => (Some(self.v4.sources.homes(address)), None),
            IpAddr::V6(address) => (None, Some(self.v6.sources.homes(address))),
        };
        v4.into_iter().flatten().chain(v6.into_iter().flatten())
    }

    /// The first interface that carries this address of the host, or the one that table `local` delivers it to.
    pub fn home_of(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => self.v4.home(address),
            IpAddr::V6(address) => self.v6.home(address),
        }
    }

    /// The VRF that the interface is or belongs to, as an interface index; 0 for none.
    pub fn l3_master(&self, index: u32) -> u32 {
        self.links.l3_master(index)
    }

    /// All addresses of the host with the index of their interface, usable ones only: not tentative,
    /// on an interface that is up.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        let usable = self.addresses.iter().filter(|a| a.usable());
        usable.filter(|a| self.links.get(a.dev).is_some_and(|link| link.up)).map(|a| (a.address, a.dev))
    }

    /// All addresses of the host as they are assigned, in the kernel's order, also those that cannot be used now.
    pub fn assigned(&self) -> impl Iterator<Item = &Address> + '_ {
        self.addresses.iter()
    }

    /// Links and addresses are those of another snapshot.
    pub fn has_links_and_addresses_of(&self, other: &Self) -> bool {
        self.addresses == other.addresses && self.links.iter().eq(other.links.iter())
    }
}

#[cfg(test)]
mod tests;
