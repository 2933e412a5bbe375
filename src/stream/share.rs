//! Who pays where connections together take too much: of the peer that takes most, the connection that takes most.

use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use super::StreamId;

/// What counts as one peer: an IPv4 address, or the IPv6 network of one site (/64), of which one host has as many addresses
/// as it likes.
pub(super) fn peer_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Connections in the order in which they pay. Each peer has the same right to memory, however many connections it has.
#[derive(Debug)]
pub struct Heaviest(BinaryHeap<(usize, Vec<(usize, StreamId)>)>);

impl Heaviest {
    /// Of these connections, with their peers and the bytes that each takes.
    pub(super) fn of(all: impl Iterator<Item = (StreamId, IpAddr, usize)>) -> Self {
        let mut peers: HashMap<IpAddr, (usize, Vec<(usize, StreamId)>)> = HashMap::new();
        for (stream, ip, bytes) in all.filter(|(_, _, bytes)| *bytes > 0) {
            let (sum, each) = peers.entry(peer_of(ip)).or_default();
            *sum += bytes;
            each.push((bytes, stream));
        }
        let sorted = peers.into_values().map(|(sum, mut each)| {
            each.sort_unstable();
            (sum, each)
        });
        Self(sorted.collect())
    }
}

impl Iterator for Heaviest {
    type Item = StreamId;

    fn next(&mut self) -> Option<StreamId> {
        let (sum, mut each) = self.0.pop()?;
        let (bytes, stream) = each.pop()?;
        if !each.is_empty() {
            self.0.push((sum - bytes, each));
        }
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_that_takes_most_pays_first_and_with_its_largest_connection() {
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let id = StreamId::first;
        let many = (0..10).map(|place| (id(place), ip(1), 30 + usize::from(place)));
        let others = [(id(20), ip(2), 100), (id(21), ip(3), 0)];
        let order: Vec<StreamId> = Heaviest::of(many.chain(others)).collect();
        // 345 bytes in all, of which seven leave 93: the other's 100 are more then.
        assert_eq!(order[..8], [9, 8, 7, 6, 5, 4, 3, 20].map(id));
        assert_eq!(order[8..], [2, 1, 0].map(id), "and who takes nothing pays nothing");
    }

    #[test]
    fn a_site_is_one_peer_over_ipv6() {
        let of = |text: &str| peer_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::9"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
