//! Errors that ICMP tells of datagrams of ours that did not arrive (RFC 3261 §18.4).
//!
//! Not by `IP_RECVERR` on the sockets that send: there an error is told to the next send or receive, whatever that is
//! for, and of several sockets of one address it reaches the one that the kernel's hash picks. A raw socket beside them
//! costs them nothing. It needs `CAP_NET_RAW`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Longest ICMP message that is looked at, in bytes: those about IPv6 are cut to 1280, about IPv4 to 576.
const BYTES: usize = 1_500;

/// A raw socket for errors of one address family.
#[derive(Debug)]
pub struct Errors {
    raw: Socket,
    is_v6: bool,
}

/// A datagram that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreached<'a> {
    /// Where it was sent to.
    pub to: SocketAddr,
    /// As much of its content as the error holds.
    pub quoted: &'a [u8],
}

impl Errors {
    /// Opens the socket.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub fn open(is_v6: bool) -> io::Result<Self> {
        let (domain, protocol) =
            if is_v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let raw = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        only_errors(&raw, is_v6)?;
        Ok(Self { raw, is_v6 })
    }

    /// Reads the next message into `bytes`, which is used again; `Ok(None)`: it is about no datagram.
    ///
    /// # Errors
    /// `WouldBlock`: there is none.
    pub fn next<'b>(&self, bytes: &'b mut Vec<u8>) -> io::Result<Option<Unreached<'b>>> {
        bytes.clear();
        bytes.reserve(BYTES);
        let (len, _) = self.raw.recv_from(bytes.spare_capacity_mut())?;
        // SAFETY: the kernel has written so many bytes.
        unsafe { bytes.set_len(len.min(bytes.capacity())) };
        Ok(if self.is_v6 { of_v6(bytes) } else { of_v4(bytes) })
    }
}

impl AsFd for Errors {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

impl AsRawFd for Errors {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.raw.as_raw_fd()
    }
}

/// Has the kernel hand over errors alone: no echoes, no neighbour discovery.
fn only_errors(raw: &Socket, is_v6: bool) -> io::Result<()> {
    /// `ICMP_FILTER`: a bit for each type that is not wanted.
    const ICMP_FILTER: libc::c_int = 1;
    /// `ICMPV6_FILTER`, likewise for 256 types.
    const ICMPV6_FILTER: libc::c_int = 1;
    let mut unwanted = [u32::MAX; 8];
    let types = if is_v6 { [V6_UNREACHABLE, V6_PARAMETER] } else { [V4_UNREACHABLE, V4_PARAMETER] };
    for wanted in types {
        unwanted[0] &= !(1 << wanted);
    }
    let (level, option, len) = match is_v6 {
        true => (libc::IPPROTO_ICMPV6, ICMPV6_FILTER, size_of_val(&unwanted)),
        false => (libc::SOL_RAW, ICMP_FILTER, size_of::<u32>()),
    };
    // SAFETY: the descriptor is open; the kernel reads `len` bytes of `unwanted`, which has as many.
    let done = unsafe {
        libc::setsockopt(raw.as_raw_fd(), level, option, unwanted.as_ptr().cast(), len as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const V4_UNREACHABLE: u8 = 3;
const V4_PARAMETER: u8 = 12;
const V6_UNREACHABLE: u8 = 1;
const V6_PARAMETER: u8 = 4;

/// "Host, network, port or protocol unreachable errors, or parameter problem errors SHOULD cause the transport layer to
/// inform the transport user of a failure in sending. Source quench and TTL exceeded ICMP errors SHOULD be ignored."
/// (RFC 3261 §18.4) "Fragmentation needed" is none of these.
const fn is_failure_v4(kind: u8, code: u8) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    matches!(kind, V4_UNREACHABLE if code != FRAGMENTATION_NEEDED) || kind == V4_PARAMETER
}

const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
/// Type, code, checksum and four bytes of the error's own.
const ICMP_HEADER: usize = 8;

/// A message as a raw IPv4 socket gives it: with its IP header.
fn of_v4(message: &[u8]) -> Option<Unreached<'_>> {
    let icmp = behind_v4_header(message)?;
    let (header, inner) = icmp.split_first_chunk::<ICMP_HEADER>()?;
    let (protocol, to) = (*inner.get(9)?, inner.get(16..20)?.first_chunk::<4>()?);
    // A later piece of a datagram has no ports.
    let offset = u16::from_be_bytes([*inner.get(6)?, *inner.get(7)?]) & 0x1fff;
    if !is_failure_v4(header[0], header[1]) || protocol != UDP || offset != 0 {
        return None;
    }
    of_udp(behind_v4_header(inner)?, Ipv4Addr::from(*to).into())
}

fn behind_v4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    packet.get(usize::from(first & 0xf) * 4..).filter(|_| first >> 4 == 4)
}

/// A message as a raw ICMPv6 socket gives it: without its IP header. Of extension headers a datagram of ours has a
/// fragment header at most.
fn of_v6(message: &[u8]) -> Option<Unreached<'_>> {
    const V6_HEADER: usize = 40;
    let (header, inner) = message.split_first_chunk::<ICMP_HEADER>()?;
    let (ip, behind) = inner.split_first_chunk::<V6_HEADER>()?;
    if !matches!(header[0], V6_UNREACHABLE | V6_PARAMETER) || ip[0] >> 4 != 6 {
        return None;
    }
    let udp = match ip[6] {
        UDP => behind,
        FRAGMENT => first_fragment(behind)?,
        _ => return None,
    };
    of_udp(udp, Ipv6Addr::from(*ip.last_chunk::<16>()?).into())
}

/// What is behind the fragment header of a large datagram's first piece: RFC 8200 §4.5, next header, reserved, offset and
/// flags, identification.
fn first_fragment(piece: &[u8]) -> Option<&[u8]> {
    let (header, rest) = piece.split_first_chunk::<8>()?;
    let offset = u16::from_be_bytes([header[2], header[3]]) >> 3;
    (header[0] == UDP && offset == 0).then_some(rest)
}

fn of_udp(udp: &[u8], to: IpAddr) -> Option<Unreached<'_>> {
    let (header, quoted) = udp.split_first_chunk::<8>()?;
    Some(Unreached { to: SocketAddr::new(to, u16::from_be_bytes([header[2], header[3]])), quoted })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header of 20 bytes with options of so many words more.
    fn v4(protocol: u8, options: usize, offset: u8, to: [u8; 4]) -> Vec<u8> {
        let mut header = vec![0; 20 + 4 * options];
        (header[0], header[7], header[9]) = (0x45 + options as u8, offset, protocol);
        header[16..20].copy_from_slice(&to);
        header
    }

    const UDP_HEADER: [u8; 8] = [0x13, 0xc4, 0x13, 0xc5, 0, 9, 0, 0];

    fn error_v4(kind: u8, code: u8, protocol: u8, offset: u8) -> Vec<u8> {
        let outer = v4(1, 1, 0, [10, 0, 0, 1]);
        let icmp = [kind, code, 0, 0, 0, 0, 0, 0];
        [outer, icmp.into(), v4(protocol, 2, offset, [10, 0, 0, 9]), UDP_HEADER.into(), b"INVITE".into()]
            .concat()
    }

    #[test]
    fn hard_errors_about_udp_are_read() {
        let to = "10.0.0.9:5061".parse().unwrap();
        for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (12, 0)] {
            let message = error_v4(kind, code, 17, 0);
            assert_eq!(of_v4(&message), Some(Unreached { to, quoted: b"INVITE" }), "{kind}/{code}");
            // Cut anywhere it is shorter, or nothing.
            for len in 0..message.len() {
                assert!(of_v4(&message[..len]).is_none_or(|u| u.to == to && b"INVITE".starts_with(u.quoted)));
            }
        }
        for (kind, code, protocol, offset) in
            [(3, 4, 17, 0), (11, 0, 17, 0), (4, 0, 17, 0), (3, 3, 6, 0), (3, 3, 17, 8)]
        {
            assert_eq!(
                of_v4(&error_v4(kind, code, protocol, offset)),
                None,
                "{kind}/{code}/{protocol}/{offset}"
            );
        }
    }

    #[test]
    fn those_about_ipv6_too() {
        let to: SocketAddr = "[2001:db8::9]:5061".parse().unwrap();
        let error = |kind: u8, next: u8| {
            let mut ip = [0; 40];
            (ip[0], ip[6]) = (0x60, next);
            let IpAddr::V6(address) = to.ip() else { panic!() };
            ip[24..].copy_from_slice(&address.octets());
            [&[kind, 4, 0, 0, 0, 0, 0, 0][..], &ip, &UDP_HEADER, b"INVITE"].concat()
        };
        assert_eq!(of_v6(&error(1, 17)), Some(Unreached { to, quoted: b"INVITE" }));
        let piece = |next: u8, offset: u8| {
            let mut message = error(1, 44);
            let begin = message.len() - UDP_HEADER.len() - b"INVITE".len();
            message.splice(begin..begin, [next, 0, 0, offset << 3 | 1, 0, 0, 0, 7]);
            message
        };
        assert_eq!(of_v6(&piece(17, 0)), Some(Unreached { to, quoted: b"INVITE" }));
        assert_eq!((of_v6(&piece(17, 1)), of_v6(&piece(6, 0))), (None, None));
        for (kind, next) in [(2, 17), (3, 17), (128, 17), (1, 58), (1, 44)] {
            assert_eq!(of_v6(&error(kind, next)), None, "{kind}/{next}");
        }
        let message = error(1, 17);
        (0..message.len()).for_each(|len| _ = of_v6(&message[..len]));
    }
}
