//! RFC 6724 §6, as far as it depends on destinations alone: the order of the addresses of one host.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use crate::limits;
use crate::net::canonical;

/// Puts the addresses of one name into the order in which they are to be tried; those that no message can be sent to
/// are left out.
///
/// RFC 7984 §4: "the addresses from the address records for a single target DNS name for a server's DNS name must be
/// contacted in the order specified by the source and destination address selection algorithms defined in [RFC6724]".
/// The rules about sources are those of the choice of a listener, which passes over what none of them reaches (rule 1).
/// The others are: higher precedence (rule 6), smaller scope (rule 8), else by value: name servers turn their lists at
/// each answer, and a next hop must not wander with it.
pub(super) fn sorted(addresses: impl Iterator<Item = IpAddr>) -> Box<[IpAddr]> {
    let mut sorted: Vec<IpAddr> = addresses.map(canonical).filter(|ip| is_host(*ip)).collect();
    sorted.sort_unstable_by_key(|ip| (Reverse(precedence(*ip)), scope(*ip), *ip));
    sorted.dedup();
    sorted.truncate(limits::ADDRESSES_PER_NAME);
    sorted.into()
}

fn is_host(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// RFC 6724 §2.1, the default policy table.
fn precedence(ip: IpAddr) -> u8 {
    let IpAddr::V6(v6) = ip else { return 35 };
    match v6.segments() {
        _ if v6 == Ipv6Addr::LOCALHOST => 50,
        [0x2002, ..] => 30,
        [0x2001, 0, ..] => 5,
        [first, ..] if first & 0xfe00 == 0xfc00 => 3,
        [0, 0, 0, 0, 0, 0, ..] => 1,
        [first, ..] if first & 0xffc0 == 0xfec0 => 1,
        [0x3ffe, ..] => 1,
        _ => 40,
    }
}

/// RFC 6724 §3.1 and §3.2: link-local 2, site-local 5, global 14.
fn scope(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => 2,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => 2,
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}
