//! The kernel's routing decision in user space: rules → tables → longest prefix → route → source.
//!
//! A [`Fib`] is one immutable snapshot, built by [`crate::control`] from netlink dumps, asked by
//! [`crate::egress`]. It answers what the kernel would.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;

/// A question: how would a packet with these properties, sent by this process, leave this host?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The bound source is no address of this host.
    SourceNotLocal,
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
pub struct Fib {}

impl Fib {
    /// How a packet like this would leave.
    pub fn lookup(&self, query: &Query) -> Answer {
        let _ = query;
        todo!()
    }

    /// The index of the interface of this name.
    pub fn link_index(&self, name: &str) -> Option<u32> {
        let _ = name;
        todo!()
    }

    /// The name of the interface with this index.
    pub fn link_name(&self, index: u32) -> Option<&str> {
        let _ = index;
        todo!()
    }

    /// The interface is up (administratively and in carrier, as routes need it).
    pub fn link_up(&self, index: u32) -> bool {
        let _ = index;
        todo!()
    }

    /// The interface that carries this address of the host.
    pub fn home_of(&self, address: IpAddr) -> Option<u32> {
        let _ = address;
        todo!()
    }

    /// All addresses of the host with the index of their interface, usable ones only.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        std::iter::empty()
    }
}
