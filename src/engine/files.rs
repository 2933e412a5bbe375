//! Descriptors: how many a shard has places for, and those that come by being connected to.

use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use socket2::SockRef;

use super::Accepted;
use crate::limits::{ENGINE_SOCKETS, FILES_RESERVED_PART};

/// How long nothing is accepted where the process may have no more files.
pub const REST_NS: u64 = 1_000_000_000;

/// How many connections a batch takes from a socket that is read directly.
pub const ACCEPTED_PER_BATCH: usize = 64;

/// Places for sockets: the kernel refuses a table of more files than the process may have open, and a
/// process cannot have more sockets than that either. Numbers are given from the lowest on.
pub fn places() -> u16 {
    let may_open = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    ENGINE_SOCKETS.min(u16::try_from(may_open).unwrap_or(u16::MAX))
}

/// Accepted connections have descriptors below this one, which is counted for the whole process: the kernel gives the
/// lowest that is free.
pub fn accept_below() -> i32 {
    let may_open = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    i32::try_from(may_open - may_open / FILES_RESERVED_PART).unwrap_or(i32::MAX)
}

/// Who a connection is with, canonical. `None`: it is gone again.
pub fn peer(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).peer_addr().ok()?.as_socket().map(canonical)
}

/// An IPv4-mapped address as IPv4, another one without what only labels a flow.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
        }
        other => SocketAddr::new(crate::net::canonical(other.ip()), other.port()),
    }
}

/// Closes a connection with a reset.
pub fn refuse(accepted: Accepted) {
    if let Accepted::Socket(socket) = accepted {
        // Where it fails it is closed all the same.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
}
