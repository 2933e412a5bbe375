//! The kernel's routing events.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};

use super::decode;
use super::error::Error;
use super::wire::{Message, u8_at, u32_at};
use crate::fib::spec::{Address, Link, NexthopObject};
use crate::fib::{Change, Place};
use crate::limits::NETLINK_EVENT_BYTES;

/// `RTNLGRP_*`: whatever a lookup depends on and the kernel tells of.
const GROUPS: [u32; 10] = [
    1,  // LINK
    5,  // IPV4_IFADDR
    7,  // IPV4_ROUTE
    8,  // IPV4_RULE
    9,  // IPV6_IFADDR
    11, // IPV6_ROUTE
    19, // IPV6_RULE
    24, // IPV4_NETCONF: ignore_routes_with_linkdown
    25, // IPV6_NETCONF
    32, // NEXTHOP
];

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A route has come, changed or gone.
    Route(Change),
    /// A link is like this now.
    Link(Link),
    /// A link is deleted.
    LinkGone(u32),
    /// An address is like this now.
    Address(Address),
    /// An address is deleted.
    AddressGone(Address),
    /// A nexthop object is like this now.
    Object(NexthopObject),
    /// A nexthop object is deleted.
    ObjectGone(u32),
    /// Rules or sysctls have changed.
    Parts,
    /// Nothing that a lookup depends on.
    Nothing,
}

impl Event {
    /// `None`: the message is not shaped as it has to be.
    pub fn decode(message: &Message<'_>) -> Option<Self> {
        const NEWNETCONF: u16 = 80;
        const DELNETCONF: u16 = 81;
        const NEWNEXTHOP: u16 = 104;
        const DELNEXTHOP: u16 = 105;
        Some(match message.kind {
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => return route(message),
            // A bridge tells of its ports in link messages of its own family.
            libc::RTM_NEWLINK | libc::RTM_DELLINK if u8_at(message.payload, 0)? != 0 => Self::Nothing,
            libc::RTM_NEWLINK => Self::Link(decode::link(message)?),
            libc::RTM_DELLINK => Self::LinkGone(decode::link(message)?.index),
            libc::RTM_NEWADDR => decode::address(message)?.map_or(Self::Nothing, Self::Address),
            libc::RTM_DELADDR => decode::address(message)?.map_or(Self::Nothing, Self::AddressGone),
            NEWNEXTHOP => Self::Object(decode::nexthop(message)?),
            DELNEXTHOP => Self::ObjectGone(decode::nexthop(message)?.id),
            libc::RTM_NEWRULE | libc::RTM_DELRULE | NEWNETCONF | DELNETCONF => Self::Parts,
            _ => Self::Nothing,
        })
    }
}

fn route(message: &Message<'_>) -> Option<Event> {
    const RTM_F_CLONED: u32 = 0x200;
    if u32_at(message.payload, 8)? & RTM_F_CLONED != 0 {
        return Some(Event::Nothing);
    }
    let Some(decoded) = decode::route(message)? else { return Some(Event::Nothing) };
    if message.kind == libc::RTM_DELROUTE {
        return Some(Event::Route(Change::Remove(decoded.route)));
    }
    let has = |flag: i32| message.flags & flag as u16 != 0;
    let place = if has(libc::NLM_F_REPLACE) {
        Place::Instead
    } else if has(libc::NLM_F_APPEND) {
        Place::Last
    } else if has(libc::NLM_F_CREATE) {
        Place::First
    } else {
        Place::Same
    };
    Some(Event::Route(Change::Add(decoded.route, place)))
}

/// The socket that events come from. Its buffer is the bound: what does not fit is reported once as `ENOBUFS`.
pub struct Events(Socket);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The kernel's own address.
const KERNEL: u32 = 0;

/// What reading came to.
pub enum Received<'a> {
    /// These messages.
    Datagram(&'a [u8]),
    /// Some messages are lost.
    Overrun,
    /// There is none now.
    Nothing,
}

impl Events {
    /// Opens the socket in the calling thread's network namespace; events are told from now on.
    pub fn subscribe() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            // SAFETY: the descriptor is open as long as `socket` is, which is borrowed here.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            // Without the privilege it is as large as net.core.rmem_max lets it be.
            if setsockopt(&fd, sockopt::RcvBufForce, &NETLINK_EVENT_BYTES).is_err() {
                socket.set_rx_buf_sz(NETLINK_EVENT_BYTES)?;
            }
            Ok(socket)
        };
        let socket = open().map_err(Error::Open)?;
        for group in GROUPS {
            socket.add_membership(group).map_err(|error| Error::Subscribe { group, error })?;
        }
        Ok(Self(socket))
    }

    /// Reads one datagram of the kernel's, without waiting; `buffer` holds the largest that there is (64 KiB).
    /// What others send to the same groups (it takes `CAP_NET_ADMIN`) is passed over.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Received<'a>> {
        loop {
            match self.0.recv_from(&mut &mut *buffer, libc::MSG_TRUNC) {
                Ok((_, from)) if from.port_number() != KERNEL => {}
                Ok((len, _)) => return Ok(buffer.get(..len).map_or(Received::Overrun, Received::Datagram)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Received::Overrun),
                Err(error) => return Err(error),
            }
        }
    }
}
