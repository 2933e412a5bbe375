//! Source networks, numbered: the narrowest that holds an address leads to all that hold it.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::trie::{NONE, Trie};

/// Distinct networks.
pub struct Networks {
    list: Box<[IpNet]>,
    v4: Family,
    v6: Family,
    /// For each network the narrowest other one that holds it.
    parents: Vec<u32>,
}

/// Networks of one family in a trie by nibble: one that ends inside a nibble has several keys there.
struct Family {
    trie: Trie,
    /// For each key of the trie its network.
    networks: Vec<u32>,
}

impl Default for Networks {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Networks {
    /// Of distinct networks without host bits, which are numbered in the order given.
    pub fn new(networks: &[IpNet]) -> Self {
        let mut order: Vec<usize> = (0..networks.len()).collect();
        order.sort_by_key(|&n| (networks[n].addr(), networks[n].prefix_len()));
        let mut parents = vec![NONE; networks.len()];
        // The networks around the one at hand, widest first.
        let mut around: Vec<usize> = Vec::new();
        for n in order {
            while around.last().is_some_and(|&outer| !networks[outer].contains(&networks[n])) {
                around.pop();
            }
            parents[n] = around.last().map_or(NONE, |&outer| outer as u32);
            around.push(n);
        }
        let family = |v4: bool| {
            Family::new(
                networks.iter().enumerate().filter(move |(_, network)| network.addr().is_ipv4() == v4),
            )
        };
        Self { list: networks.into(), v4: family(true), v6: family(false), parents }
    }

    /// The network of a number.
    pub(super) fn network(&self, number: u32) -> IpNet {
        self.list[number as usize]
    }

    /// The number of the narrowest network that holds the address.
    pub fn find(&self, source: IpAddr) -> Option<usize> {
        let network = if self.parents.is_empty() { NONE } else { self.narrowest(source) };
        (network != NONE).then_some(network as usize)
    }

    /// The narrowest network that holds the address, or [`NONE`].
    pub(super) fn narrowest(&self, source: IpAddr) -> u32 {
        match source {
            IpAddr::V4(ip) => {
                let bits = ip.to_bits();
                self.v4.narrowest((0..8).map(|n| (bits >> (28 - 4 * n)) as u8 & 0xf))
            }
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                self.v6.narrowest((0..32).map(|n| (bits >> (124 - 4 * n)) as u8 & 0xf))
            }
        }
    }

    /// The narrowest other network that holds a network, or [`NONE`].
    #[inline]
    pub(super) fn parent(&self, network: u32) -> u32 {
        self.parents[network as usize]
    }
}

impl Family {
    fn new<'n>(networks: impl Iterator<Item = (usize, &'n IpNet)>) -> Self {
        let mut keys: HashMap<Vec<u8>, (u8, u32)> = HashMap::new();
        for (number, network) in networks {
            for key in keys_of(network) {
                let known = keys.entry(key).or_insert((network.prefix_len(), number as u32));
                // Of two networks that end inside the same nibble the narrower one counts: it knows the other.
                *known = (*known).max((network.prefix_len(), number as u32));
            }
        }
        let (keys, networks): (Vec<_>, _) = keys.into_iter().map(|(key, (_, number))| (key, number)).unzip();
        Self { trie: Trie::new(&keys, Some), networks }
    }

    #[inline]
    fn narrowest(&self, nibbles: impl Iterator<Item = u8>) -> u32 {
        self.networks.get(self.trie.longest(nibbles) as usize).copied().unwrap_or(NONE)
    }
}

/// The first 64 bits of an address; an IPv4 address has half of them.
#[inline(always)]
pub(super) fn first_bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(ip) => u64::from(ip.to_bits()) << 32,
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// The nibbles of a network; all values of the last one where the network ends inside it.
fn keys_of(network: &IpNet) -> impl Iterator<Item = Vec<u8>> {
    let bytes = match network {
        IpNet::V4(network) => network.network().octets().to_vec(),
        IpNet::V6(network) => network.network().octets().to_vec(),
    };
    let length = usize::from(network.prefix_len());
    let nibbles = bytes.into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let mut key: Vec<u8> = nibbles.take(length.div_ceil(4)).collect();
    let open = length.div_ceil(4) * 4 - length;
    let last = key.last().copied().unwrap_or_default();
    (0..1u8 << open).map(move |low| {
        if let Some(nibble) = key.last_mut() {
            *nibble = last | low;
        }
        key.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(networks: &[&str], ip: &str) -> Vec<usize> {
        let list: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let networks = Networks::new(&list);
        let some = |network: u32| (network != NONE).then_some(network);
        let first = some(networks.narrowest(ip.parse().unwrap()));
        std::iter::successors(first, |&network| some(networks.parent(network))).map(|n| n as usize).collect()
    }

    #[test]
    fn all_networks_around_an_address_are_found() {
        let networks =
            ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/23", "10.1.2.0/22", "0.0.0.0/0", "fd00::/8", "::/0"];
        assert_eq!(holding(&networks, "10.1.3.1"), [2, 3, 1, 0, 4]);
        assert_eq!(holding(&networks, "10.1.0.1"), [3, 1, 0, 4]);
        assert_eq!(holding(&networks, "10.1.4.1"), [1, 0, 4]);
        assert_eq!(holding(&networks, "192.0.2.1"), [4]);
        assert_eq!(holding(&networks, "fd12::1"), [5, 6]);
        assert_eq!(holding(&networks, "2001:db8::1"), [6]);
        assert!(holding(&["10.0.0.0/31"], "10.0.0.2").is_empty());
        assert!(holding(&[], "10.0.0.2").is_empty());
    }

    #[test]
    fn single_addresses_and_every_length_are_networks() {
        for length in 0..=32 {
            let network = format!("172.31.255.254/{length}").parse::<IpNet>().unwrap().trunc().to_string();
            assert_eq!(holding(&[&network], "172.31.255.254"), [0], "{network}");
            assert_eq!(holding(&[&network], "44.0.0.1").is_empty(), length > 0, "{network}");
        }
        assert_eq!(holding(&["2001:db8::7/128", "2001:db8::/63"], "2001:db8::7"), [0, 1]);
    }
}
