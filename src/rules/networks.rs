//! Source networks: the longest network that holds an address stands for all that hold it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::bits::Bits;

/// The rules for each source network that a rule names.
pub(super) struct Networks {
    v4: PrefixMap<Ipv4Net, Bits>,
    v6: PrefixMap<Ipv6Net, Bits>,
    others: Bits,
}

impl Networks {
    /// `networks` has an item for each rule: the networks it asks for; empty: any.
    pub fn new<'k>(networks: impl ExactSizeIterator<Item = &'k [IpNet]> + Clone) -> Self {
        let mut others = Bits::none(networks.len());
        for (rule, _) in networks.clone().enumerate().filter(|(_, asked)| asked.is_empty()) {
            others.insert(rule);
        }
        let mut all: Vec<(IpNet, usize)> = (networks.enumerate())
            .flat_map(|(rule, asked)| asked.iter().map(move |network| (network.trunc(), rule)))
            .collect();
        // Wider networks first, so that a narrower one inherits a set that is complete.
        all.sort_by_key(|(network, _)| network.prefix_len());
        let mut this = Self { v4: PrefixMap::new(), v6: PrefixMap::new(), others };
        for &(network, _) in &all {
            this.inherit(network);
        }
        for (network, rule) in all {
            this.insert(network, rule);
        }
        this
    }

    fn inherit(&mut self, network: IpNet) {
        let bits = self.get_network(network).clone();
        match network {
            IpNet::V4(network) => self.v4.insert(network, bits),
            IpNet::V6(network) => self.v6.insert(network, bits),
        };
    }

    /// Every network inside this one satisfies the rule too.
    fn insert(&mut self, network: IpNet, rule: usize) {
        match network {
            IpNet::V4(network) => self.v4.children_mut(&network).for_each(|(_, bits)| bits.insert(rule)),
            IpNet::V6(network) => self.v6.children_mut(&network).for_each(|(_, bits)| bits.insert(rule)),
        }
    }

    fn get_network(&self, network: IpNet) -> &Bits {
        let found = match network {
            IpNet::V4(network) => self.v4.get_lpm(&network).map(|(_, bits)| bits),
            IpNet::V6(network) => self.v6.get_lpm(&network).map(|(_, bits)| bits),
        };
        found.unwrap_or(&self.others)
    }

    /// Any rule asks for a network.
    pub fn is_asked(&self) -> bool {
        !(self.v4.is_empty() && self.v6.is_empty())
    }

    /// The rules for a source address.
    pub fn get(&self, source: IpAddr) -> &Bits {
        self.get_network(match source {
            IpAddr::V4(ip) => IpNet::V4(Ipv4Net::from(ip)),
            IpAddr::V6(ip) => IpNet::V6(Ipv6Net::from(ip)),
        })
    }
}
