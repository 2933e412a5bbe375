//! Which shard a connection lives on, and what tells it from others.

use std::net::{IpAddr, SocketAddr};

use crate::random::{ADDED, mix};

/// The shard, of so many, that has the connection of a listener (by identity) with this peer, whoever opens it.
///
/// Whoever wants to send to a peer thus knows without asking where its connection is, or is to be opened, and a peer
/// sees one connection however many shards there are. `None`: there is no shard.
pub fn owner_of(listener: u32, peer: SocketAddr, shards: u16) -> Option<u16> {
    hashed(listener.into(), peer).checked_rem(u64::from(shards)).map(|shard| shard as u16)
}

/// Tells a connection from others that have its number later: of another client behind the same NAT, or of the process that
/// follows. `nonce` is the process's.
pub fn peer_mark(nonce: u64, peer: SocketAddr) -> u16 {
    (hashed(nonce, peer) >> 48) as u16
}

fn hashed(salt: u64, peer: SocketAddr) -> u64 {
    let ip = match peer.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            mix(bits as u64).wrapping_add((bits >> 64) as u64)
        }
    };
    mix(mix(ip) ^ mix(salt.rotate_left(16) ^ ADDED) ^ u64::from(peer.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_spread_over_the_shards() {
        let mut each = [0; 4];
        for port in 10_000..14_000u16 {
            for peer in
                [SocketAddr::from(([192, 0, 2, 1], port)), format!("[2001:db8::1]:{port}").parse().unwrap()]
            {
                each[usize::from(owner_of(7, peer, 4).unwrap())] += 1;
            }
        }
        assert!(each.iter().all(|n| (1_800..2_200).contains(n)), "{each:?}");
        assert_eq!(owner_of(7, ([192, 0, 2, 1], 1).into(), 0), None);
    }

    #[test]
    fn a_mark_differs_from_port_to_port_and_from_process_to_process() {
        let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let same = (0..10_000).filter(|port| peer_mark(9, peer(*port)) == peer_mark(9, peer(40_000))).count();
        let again =
            (0..10_000).filter(|nonce| peer_mark(*nonce, peer(7)) == peer_mark(40_000, peer(7))).count();
        assert!(same < 5 && again < 5, "{same} {again}");
        assert_eq!(peer_mark(9, peer(7)), peer_mark(9, peer(7)));
    }
}
