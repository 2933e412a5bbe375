//! Which shard a connection lives on.

use std::net::{IpAddr, SocketAddr};

/// The shard, of so many, that has the connection of a listener (by identity) with this peer, whoever opens it.
///
/// Whoever wants to send to a peer thus knows without asking where its connection is, or is to be opened, and a peer
/// sees one connection however many shards there are. `None`: there is no shard.
pub fn owner_of(listener: u32, peer: SocketAddr, shards: u16) -> Option<u16> {
    let ip = match peer.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            mixed(bits as u64).wrapping_add((bits >> 64) as u64)
        }
    };
    let hash = mixed(mixed(ip) ^ (u64::from(listener) << 16 | u64::from(peer.port())));
    hash.checked_rem(u64::from(shards)).map(|shard| shard as u16)
}

/// The last step of SplitMix64: each bit of the input reaches each of the output.
fn mixed(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
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
}
