//! Limits as the configuration says them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::net::SectionId;
use crate::rules::{Networks, RuleId};

/// A limit's number: its place among all of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitId(pub u32);

/// `limit = { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Whose it is.
    pub owner: Owner,
    /// The owner's name.
    pub name: Box<str>,
    /// Requests a second, at least 1.
    pub rate: u32,
    /// Requests that may come at once, at least 1.
    pub burst: u32,
    /// What has the rate.
    pub per: Per,
    /// What more is answered, 400 to 699.
    pub status: u16,
}

/// What a limit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A `[[listener]]`.
    Listener,
    /// A `[[peer]]`.
    Peer,
    /// A `[[route]]`.
    Route,
}

impl Owner {
    /// As messages, `per` and metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Peer => "peer",
            Self::Route => "route",
        }
    }
}

/// `per`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// All of the owner's requests together.
    Owner,
    /// Those of each source: [`SourcePrefix`].
    Source,
}

/// A `[[peer]]`: sources by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Unique name.
    pub name: Box<str>,
    /// Its addresses.
    pub networks: Vec<IpNet>,
    /// What it may send.
    pub limit: Option<LimitId>,
    /// What is sent to it offers overload control, and what it asks for counts (RFC 7339).
    pub oc: bool,
}

/// All limits of a configuration, and what they belong to.
#[derive(Default)]
pub struct Limits {
    /// By number.
    pub list: Vec<Limit>,
    /// By the listener's section.
    pub listeners: Vec<Option<LimitId>>,
    /// By the rule.
    pub routes: Vec<Option<LimitId>>,
    /// Whose sources they are.
    pub peers: Peers,
    /// What counts as one source.
    pub sources: SourcePrefix,
}

/// How many bits of an IPv6 address are one source, 1 to 128. A host has a whole /64 to send from (RFC 4291 §2.5.1), and
/// would have 2^64 times a source's rate. An IPv4 address is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePrefix(pub u8);

impl Default for SourcePrefix {
    fn default() -> Self {
        Self(64)
    }
}

impl SourcePrefix {
    /// The source that an address belongs to.
    pub fn of(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V6(v6) => {
                let rest = 128u32.saturating_sub(self.0.into());
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
            v4 @ IpAddr::V4(_) => v4,
        }
    }
}

/// All peers, to be found by a source.
#[derive(Default)]
pub struct Peers {
    list: Vec<Peer>,
    /// The peer of each network.
    owners: Vec<usize>,
    networks: Networks,
    has_oc: bool,
}

impl Peers {
    /// Of peers none of whose networks are the same.
    pub fn new(list: Vec<Peer>) -> Self {
        let all =
            || list.iter().enumerate().flat_map(|(n, peer)| peer.networks.iter().map(move |net| (n, *net)));
        let networks: Vec<IpNet> = all().map(|(_, net)| net).collect();
        Self {
            owners: all().map(|(n, _)| n).collect(),
            networks: Networks::new(&networks),
            has_oc: list.iter().any(|peer| peer.oc),
            list,
        }
    }

    /// In configured order.
    pub fn list(&self) -> &[Peer] {
        &self.list
    }

    /// Some peer may ask to be sent less.
    #[inline]
    pub fn has_oc(&self) -> bool {
        self.has_oc
    }

    /// Whoever has this address may.
    #[inline]
    pub fn takes_oc(&self, address: IpAddr) -> bool {
        self.has_oc && self.of(address).is_some_and(|peer| peer.oc)
    }

    /// The peer with the narrowest network that holds the address.
    pub fn of(&self, source: IpAddr) -> Option<&Peer> {
        let network = self.networks.find(source)?;
        self.list.get(*self.owners.get(network)?)
    }
}

impl Limits {
    /// There is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The limit of this number.
    pub fn limit(&self, id: LimitId) -> Option<&Limit> {
        self.list.get(id.0 as usize)
    }

    /// Of the listener that a request came in on.
    pub fn of_listener(&self, section: SectionId) -> Option<LimitId> {
        *self.listeners.get(usize::from(section.0))?
    }

    /// Of the peer that a request came from: the one with the narrowest network.
    pub fn of_peer(&self, source: IpAddr) -> Option<LimitId> {
        self.peers.of(source)?.limit
    }

    /// Of the route that a request goes by.
    pub fn of_route(&self, rule: RuleId) -> Option<LimitId> {
        *self.routes.get(rule.0 as usize)?
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, name, rate, burst, per, status } = self;
        write!(f, "{} {name}: {rate} requests a second, {burst} at once", owner.as_str())?;
        if *per == Per::Source {
            f.write_str(", for each source")?;
        }
        write!(f, "; more are answered {status}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |bits, text: &str| SourcePrefix(bits).of(text.parse().unwrap()).to_string();
        assert_eq!(SourcePrefix::default(), SourcePrefix(64));
        assert_eq!(of(64, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of(48, "2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(of(128, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2:3:4:5:6");
        assert_eq!(of(64, "192.0.2.1"), "192.0.2.1");
    }
}
