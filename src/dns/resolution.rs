//! What a name leads to.

use std::net::IpAddr;

use super::order::Order;
use crate::net::Transport;

/// What a [`super::Question`] leads to.
pub type Resolution = Result<Found, Unresolved>;

/// Servers that may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// By rank; at least one. At most [`crate::limits::DNS_TARGETS`].
    pub targets: Box<[Target]>,
    /// Whether this should have been asked for again and no server could tell (RFC 8767).
    pub stale: bool,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Those of a lower one go first: NAPTR order and preference, then SRV priority, numbered through.
    pub rank: u16,
    /// The share among those of the same rank (RFC 2782).
    pub weight: u16,
    /// By which transport.
    pub transport: Transport,
    /// At which port.
    pub port: u16,
    /// At which addresses, in the order in which they are to be tried; at least one.
    pub addresses: Box<[IpAddr]>,
}

impl Found {
    /// Where to send to, in order. The same seed gives the same order.
    pub fn ordered(&self, seed: u64) -> Order<'_> {
        Order::new(&self.targets, seed)
    }

    /// All addresses, in the order of the targets.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.targets.iter().flat_map(|target| target.addresses.iter().copied())
    }
}

/// Why a name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unresolved {
    /// It is not known yet: somebody has to ask.
    Pending,
    /// There is no such name (NXDOMAIN), or it is no name of a host.
    NoSuchName,
    /// The name, or what its SRV records name, has no address that a message can be sent to.
    NoAddress,
    /// RFC 2782: "A Target of "." means that the service is decidedly not available at this domain."
    NoService,
    /// It is only reached by transports that we have no listener for.
    NoTransport,
    /// No server could tell.
    Failed,
}

impl Unresolved {
    /// All of them; `ALL[i] as usize == i`.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::NoSuchName, Self::NoAddress, Self::NoService, Self::NoTransport, Self::Failed];

    /// The label of metrics and of JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pending => "no_answer_yet",
            Self::NoSuchName => "no_such_name",
            Self::NoAddress => "no_address",
            Self::NoService => "no_service",
            Self::NoTransport => "no_transport",
            Self::Failed => "failed",
        }
    }

    /// A clause whose subject is the name.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Pending => "is not resolved yet",
            Self::NoSuchName => "does not exist",
            Self::NoAddress => "has no address that a message can be sent to",
            Self::NoService => "says by its SRV record that it has no SIP service",
            Self::NoTransport => "is only reached by transports that no listener has",
            Self::Failed => "could not be resolved: no name server could tell",
        }
    }
}
