//! Random draws that a seed replays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Numbers, and where their series stands.
pub struct Random(pub u64);

impl Random {
    /// The next number, any of 64 bits.
    pub fn next(&mut self) -> u64 {
        viaduct::random::next(&mut self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of the values, as often as its weight says.
    pub fn weighted(&mut self, weights: &[(u8, u64)]) -> u8 {
        let mut at = self.next() % weights.iter().map(|(_, weight)| weight).sum::<u64>();
        for (value, weight) in weights {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        weights[0].0
    }

    /// Rank below `end` by Zipf's law with exponent 1: the n-th is 1/n times as frequent as the first.
    pub fn zipf(&mut self, end: usize) -> usize {
        let uniform = self.next() as f64 / u64::MAX as f64;
        (((end + 1) as f64).powf(uniform) as usize - 1).min(end - 1)
    }
}

/// Prefix lengths of the default-free zone and how many of a hundred have them, rounded.
const V4_LENGTHS: [(u8, u64); 9] =
    [(24, 60), (22, 11), (23, 10), (20, 5), (21, 5), (19, 3), (16, 3), (18, 2), (17, 1)];
const V6_LENGTHS: [(u8, u64); 7] = [(48, 50), (32, 15), (44, 12), (40, 10), (36, 6), (29, 4), (33, 3)];

/// Distinct prefixes of unicast space, sorted; prefix lengths as in the default-free zone.
pub fn internet(v4: usize, v6: usize, random: &mut Random) -> Vec<IpNet> {
    let mut nets = std::collections::HashSet::new();
    while nets.len() < v4 {
        let ip = Ipv4Addr::from(random.next() as u32);
        let reserved = ip.octets()[0] == 0 || ip.octets()[0] >= 224 || ip.is_loopback();
        if !reserved {
            nets.insert(IpNet::from(Ipv4Net::new_assert(ip, random.weighted(&V4_LENGTHS)).trunc()));
        }
    }
    while nets.len() < v4 + v6 {
        // 2000::/3, dense at the registries' allocations.
        let high = 0x2000 | (random.next() & 0x0fff);
        let bits = u128::from(high) << 112 | u128::from(random.next()) << 48;
        nets.insert(IpNet::from(
            Ipv6Net::new_assert(Ipv6Addr::from(bits), random.weighted(&V6_LENGTHS)).trunc(),
        ));
    }
    let mut nets: Vec<IpNet> = nets.into_iter().collect();
    nets.sort();
    nets
}

/// Some address of the network.
pub fn inside(net: &IpNet, random: &mut Random) -> IpAddr {
    match net {
        IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from(
            u32::from(net.network()) | (random.next() as u32 & u32::from(net.hostmask())),
        )),
        IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from(
            u128::from(net.network()) | (u128::from(random.next()) & u128::from(net.hostmask())),
        )),
    }
}
