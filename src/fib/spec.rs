//! What the kernel holds, as plain values: the input of [`super::Builder`].
//!
//! [`crate::control::netlink`] decodes them from dumps; tests and simulations write them down. Each has a
//! short constructor for what is usual, and public fields for the rest.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// Routing table 253.
pub const TABLE_DEFAULT: u32 = 253;
/// Routing table 254, where routes go that name no table.
pub const TABLE_MAIN: u32 = 254;
/// Routing table 255, the host's own addresses.
pub const TABLE_LOCAL: u32 = 255;

/// Scope of a route through a gateway and of a public address (`RT_SCOPE_UNIVERSE`).
pub const SCOPE_UNIVERSE: u8 = 0;
/// Scope of a route to a directly connected network (`RT_SCOPE_LINK`).
pub const SCOPE_LINK: u8 = 253;
/// Scope of a route to the host itself, and of 127.0.0.1 (`RT_SCOPE_HOST`).
pub const SCOPE_HOST: u8 = 254;

/// The two routing worlds of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its index; 1 is the loopback device of a network namespace.
    pub index: u32,
    /// Its name.
    pub name: Box<str>,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// Has a carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// `IFF_LOOPBACK`
    pub loopback: bool,
    /// Of the kind `dummy`: there for its addresses, as the loopback device is.
    pub dummy: bool,
    /// The interface group, for `suppress_ifgroup`.
    pub group: u32,
    /// The interface that it is enslaved to (a VRF, a bridge, a bond); 0 for none.
    pub master: u32,
    /// For a VRF device: its table.
    pub vrf_table: Option<u32>,
    /// The sysctls that bear on routing.
    pub conf: LinkConf,
}

/// The per-device sysctls (`net.ipv4.conf.DEV`, `net.ipv6.conf.DEV`) that bear on routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkConf {
    /// `net.ipv4.conf.DEV.ignore_routes_with_linkdown`
    pub ignore_linkdown_v4: bool,
    /// `net.ipv6.conf.DEV.ignore_routes_with_linkdown`
    pub ignore_linkdown_v6: bool,
    /// `net.ipv4.conf.DEV.route_localnet`: 127.0.0.0/8 is an address like others here.
    pub route_localnet: bool,
    /// `net.ipv6.conf.DEV.use_tempaddr` is 2 or more: temporary addresses are preferred.
    pub prefer_temporary: bool,
    /// `net.ipv6.conf.DEV.use_optimistic`: optimistic addresses are as good as others.
    pub use_optimistic: bool,
    /// `net.ipv6.conf.DEV.use_oif_addrs_only`: sources come from the outgoing device alone.
    pub use_oif_addrs_only: bool,
    /// IPv6 is not there at all: the MTU is less than it takes.
    pub without_ipv6: bool,
    /// `net.ipv6.conf.DEV.disable_ipv6`
    pub disable_ipv6: bool,
}

impl Link {
    /// An interface that is up, with a carrier.
    pub fn up(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.into(),
            up: true,
            carrier: true,
            loopback: false,
            dummy: false,
            group: 0,
            master: 0,
            vrf_table: None,
            conf: LinkConf::default(),
        }
    }

    /// Why it carries nothing, as the end of a sentence about it.
    pub const fn down_in_words(&self) -> &'static str {
        if self.up { "has no carrier (cable, switch port, or peer)" } else { "is down" }
    }

    /// What to do about that.
    pub fn down_remedy(&self) -> String {
        let name = &self.name;
        match self.up {
            true => {
                format!("see `ip -s link show {name}` and `ethtool {name}`; until it has one it is not used")
            }
            false => format!("ip link set {name} up; until then it is not used"),
        }
    }

    /// The loopback interface, up.
    pub fn loopback() -> Self {
        Self { loopback: true, ..Self::up(super::LOOPBACK, "lo") }
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's index.
    pub dev: u32,
    /// The address itself.
    pub address: IpAddr,
    /// The network that it reaches directly; with a peer: the peer's.
    pub network: IpNet,
    /// IPv4: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// IPv4: another address of the same network came first.
    pub secondary: bool,
    /// IPv6: duplicate address detection has not finished, or has failed.
    pub tentative: bool,
    /// IPv6: it has failed: another host on the link has the address.
    pub duplicate: bool,
    /// IPv6: usable while it is tentative.
    pub optimistic: bool,
    /// IPv6: its preferred lifetime is over.
    pub deprecated: bool,
    /// IPv6: a privacy address (RFC 8981).
    pub temporary: bool,
    /// The kernel makes no route to its network (`noprefixroute`).
    pub alone: bool,
}

impl Address {
    /// A primary, usable address of global scope (127.0.0.0/8: host scope).
    pub fn new(dev: u32, address: IpAddr, prefix_len: u8) -> Self {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let network = IpNet::new_assert(address, prefix_len.min(longest)).trunc();
        let host = matches!(address, IpAddr::V4(v4) if v4.is_loopback());
        Self {
            dev,
            address,
            network,
            scope: if host { SCOPE_HOST } else { SCOPE_UNIVERSE },
            secondary: false,
            tentative: false,
            duplicate: false,
            optimistic: false,
            deprecated: false,
            temporary: false,
            alone: false,
        }
    }

    /// May be the source of packets now.
    pub fn usable(&self) -> bool {
        !self.tentative || self.optimistic
    }
}

/// One line of the IPv6 address label table (RFC 6724 §2.1; `ip addrlabel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Addresses that it is for.
    pub prefix: ipnet::Ipv6Net,
    /// Only on this interface; 0 for all.
    pub dev: u32,
    /// The label.
    pub label: u32,
}

/// What a rule does with packets that it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Looks the destination up in this table; 0 with [`Rule::l3mdev`].
    Table(u32),
    /// Goes on at the first rule of this priority.
    Goto(u32),
    /// Nothing.
    Nop,
    /// Drops.
    Blackhole,
    /// Answers `ENETUNREACH`.
    Unreachable,
    /// Answers `EACCES`.
    Prohibit,
}

/// A range of ports, or a port under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The first port, or the port to compare with under the mask.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// 0 for a range, else the bits that count.
    pub mask: u16,
}

/// A value that is compared under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Masked {
    /// The value.
    pub value: u32,
    /// The bits of it that count.
    pub mask: u32,
}

impl Masked {
    /// The bits that count are equal.
    pub const fn matches(self, other: u32) -> bool {
        (self.value ^ other) & self.mask == 0
    }
}

/// A policy rule (`ip rule`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// For packets of this family.
    pub family: Family,
    /// Its place; lower is asked first.
    pub priority: u32,
    /// Matches every packet that the selectors do *not* describe.
    pub not: bool,
    /// Source network.
    pub from: Option<IpNet>,
    /// Destination network.
    pub to: Option<IpNet>,
    /// Name of the incoming interface; `lo` for packets of this host.
    pub iif: Option<Box<str>>,
    /// Name of the interface that the socket is bound to.
    pub oif: Option<Box<str>>,
    /// The socket's mark.
    pub mark: Option<Masked>,
    /// The users whose packets it is for.
    pub uids: Option<RangeInclusive<u32>>,
    /// IP protocol; 0 for any.
    pub protocol: u8,
    /// Source ports.
    pub sport: Option<Ports>,
    /// Destination ports.
    pub dport: Option<Ports>,
    /// DSCP or TOS, compared with the 0 that Viaduct's sockets send.
    pub dscp: Option<Masked>,
    /// IPv6 flow label, compared with the 0 that Viaduct's sockets send.
    pub flow_label: Option<Masked>,
    /// Tunnel key; 0 for any. Packets of this host's sockets have none.
    pub tun_id: u64,
    /// The packet belongs to a VRF; its table is meant.
    pub l3mdev: bool,
    /// IPv6 `FIB_RULE_FIND_SADDR`: where the source is open, select it first, then compare it with `from`.
    pub find_source: bool,
    /// Answers with this prefix length or a shorter one are ignored.
    pub suppress_prefix_len: Option<u8>,
    /// Answers that leave by an interface of this group are ignored.
    pub suppress_group: Option<u32>,
    /// What it does.
    pub action: Action,
    /// Has an attribute that this version does not know.
    pub opaque: bool,
}

impl Rule {
    /// A rule for all packets of one family.
    pub fn new(family: Family, priority: u32, action: Action) -> Self {
        Self {
            family,
            priority,
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            uids: None,
            protocol: 0,
            sport: None,
            dport: None,
            dscp: None,
            flow_label: None,
            tun_id: 0,
            l3mdev: false,
            find_source: false,
            suppress_prefix_len: None,
            suppress_group: None,
            action,
            opaque: false,
        }
    }

    /// `ip rule add pref PRIORITY from NETWORK lookup TABLE`
    pub fn from_table(priority: u32, network: IpNet, table: u32) -> Self {
        let family = Family::of(network.addr());
        Self { from: Some(network), ..Self::new(family, priority, Action::Table(table)) }
    }
}

/// The types of routes (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To another host.
    Unicast,
    /// To this host.
    Local,
    /// IPv4 broadcast.
    Broadcast,
    /// To whichever host of a group; delivered here.
    Anycast,
    /// To a group.
    Multicast,
    /// Dropped silently.
    Blackhole,
    /// Refused: unreachable.
    Unreachable,
    /// Refused: prohibited.
    Prohibit,
    /// Ends the look into this table; the next rule is asked.
    Throw,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its table.
    pub table: u32,
    /// Destinations.
    pub prefix: IpNet,
    /// IPv6: sources (`from PREFIX`); `None` for all.
    pub from: Option<ipnet::Ipv6Net>,
    /// Its type.
    pub kind: Kind,
    /// IPv4 scope of the destination.
    pub scope: u8,
    /// IPv4 TOS; a route with one is for packets with that TOS alone.
    pub tos: u8,
    /// Its metric; lower is better.
    pub metric: u32,
    /// The source it prefers (`src ADDRESS`).
    pub preferred_source: Option<IpAddr>,
    /// IPv6 router preference (RFC 4191): 0 low, 1 medium, 2 high.
    pub preference: u8,
    /// Where it leads.
    pub nexthops: Nexthops,
    /// Has an attribute, a type or an encapsulation that this version does not know, or paths of which the kernel does not tell
    /// all ([`Route::hides_lifetimes`]).
    pub opaque: bool,
    /// IPv6: what was left of its lifetime, of several paths the first one's, when the kernel told of it, in hundredths of a
    /// second; `None`: it has none.
    pub lifetime: Option<i32>,
}

impl Route {
    /// Its lifetime was over when the kernel told of it: the kernel lists it until it collects garbage, and uses it no more.
    pub fn is_over(&self) -> bool {
        self.lifetime.is_some_and(|left| left < 0) && !self.hides_lifetimes()
    }

    /// Its first path's lifetime was over, and of those of its other paths, which may all be used as long as one lives, the
    /// kernel tells none.
    pub fn hides_lifetimes(&self) -> bool {
        let has_several = matches!(&self.nexthops, Nexthops::Own(own) if own.len() > 1);
        has_several && self.lifetime.is_some_and(|left| left < 0)
    }

    /// A unicast route in table main by one device.
    pub fn new(prefix: IpNet, dev: u32, gateway: Option<IpAddr>) -> Self {
        let v4 = prefix.addr().is_ipv4();
        Self {
            table: TABLE_MAIN,
            prefix: prefix.trunc(),
            from: None,
            kind: Kind::Unicast,
            scope: if gateway.is_none() && v4 { SCOPE_LINK } else { SCOPE_UNIVERSE },
            tos: 0,
            metric: if v4 { 0 } else { 1024 },
            preferred_source: None,
            preference: 1,
            nexthops: Nexthops::Own(vec![Nexthop::new(dev, gateway)]),
            opaque: false,
            lifetime: None,
        }
    }

    /// The same route in another table.
    #[must_use]
    pub fn in_table(self, table: u32) -> Self {
        Self { table, ..self }
    }

    /// The same route of another type.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The same route with a preferred source.
    #[must_use]
    pub fn with_source(self, source: IpAddr) -> Self {
        Self { preferred_source: Some(source), ..self }
    }

    /// The same route with another metric.
    #[must_use]
    pub fn with_metric(self, metric: u32) -> Self {
        Self { metric, ..self }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Nexthops {
    /// Its own nexthops; several make a multipath route; none for types that carry nothing.
    Own(Vec<Nexthop>),
    /// A nexthop object (`nhid`).
    Object(u32),
}

/// One path of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nexthop {
    /// The outgoing interface.
    pub dev: u32,
    /// The gateway, possibly of the other family.
    pub gateway: Option<IpAddr>,
    /// Its share of a multipath route, 1 and up.
    pub weight: u32,
    /// `RTNH_F_DEAD`
    pub dead: bool,
}

impl Nexthop {
    /// A path of weight 1.
    pub const fn new(dev: u32, gateway: Option<IpAddr>) -> Self {
        Self { dev, gateway, weight: 1, dead: false }
    }
}

/// A nexthop object (`ip nexthop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexthopObject {
    /// Its id.
    pub id: u32,
    /// What it stands for.
    pub body: NexthopBody,
}

/// What a nexthop object stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopBody {
    /// One path; an IPv4 object and an IPv6 one select sources differently.
    Single(Family, Nexthop),
    /// Drops.
    Blackhole,
    /// A group: ids of other objects with weights.
    Group(Vec<(u32, u32)>),
    /// Something that this version does not know.
    Opaque,
}
