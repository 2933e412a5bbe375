//! Transports, next hops and the few questions that every stage asks of an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A SIP transport (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// TLS over TCP
    Tls,
    /// WebSocket
    Ws,
    /// WebSocket over TLS
    Wss,
}

impl Transport {
    /// The lower-case form used in configuration and in `transport=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The form written in a URI: RFC 7118 §5.2 has one for WebSocket, whose security `sips` says.
    pub const fn in_uri(self) -> &'static str {
        match self {
            Self::Wss => "ws",
            other => other.as_str(),
        }
    }

    /// Clients are reached by the connections that they have opened, and by no other: browsers take none.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The form written in a Via's sent-protocol.
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The port meant where none is written (RFC 3261 §19.1.2, RFC 7118 §5).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Over TLS: all that may carry what is for a `sips` URI (RFC 3261 §26.2.2).
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Reads the configuration or URI parameter form, without regard to case.
    pub fn from_token(token: &[u8]) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|t| t.as_str().as_bytes().eq_ignore_ascii_case(token))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a message goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// By which transport.
    pub transport: Transport,
    /// To which address; an IPv4-mapped IPv6 address never stands here (see [`canonical`]).
    pub address: SocketAddr,
}

impl NextHop {
    /// A link-local address means something on one link only: that of this index, where none is told.
    #[inline]
    #[must_use]
    pub fn on_link(self, link: u32) -> Self {
        match self.address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                Self { address: SocketAddrV6::new(*v6.ip(), v6.port(), 0, link).into(), ..self }
            }
            _ => self,
        }
    }
}

/// `udp:10.0.0.100:5060`
impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

/// Turns an IPv4-mapped IPv6 address into the IPv4 address that it means.
#[inline]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// An address in 128 bits: the same for an IPv4 address and its IPv4-mapped form.
#[inline(always)]
pub const fn address_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | ip.to_bits() as u128,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The address that has these bits ([`address_bits`]), canonical.
#[inline(always)]
pub const fn address_of(bits: u128) -> IpAddr {
    match bits >> 32 {
        0xffff => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// A listener's number: its place in the Plan. It changes as listeners come and go with the host's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// The number of a `[[listener]]` in the configuration, which stands for one listener or, where it names an
/// interface or all addresses, for as many as the host has addresses now. Constant for the life of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SectionId(pub u16);

/// The number of a `[[group]]`: its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u16);

/// The number of a gateway of a group, the same for the life of the process: over reloads a gateway that stays keeps
/// its number, and one that is gone gives it up only when no transaction can name it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u16);

/// One reading of the monotonic clock in nanoseconds since the shard's start; virtual in simulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now(pub u64);

impl Now {
    /// This instant plus so many nanoseconds, saturating.
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds that have passed since then; 0: that is still to come.
    pub const fn since(self, then: Self) -> u64 {
        self.0.saturating_sub(then.0)
    }
}
