//! Where nothing is sent, whoever asks for it in a message.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::net::canonical;
use crate::plan::{Listener, Ours};

/// Why an address that stands in a message is not sent to. Design section 6: a token, or a rule that
/// follows the Request-URI, is no licence to send anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// `0.0.0.0/8` or `::`
    Unspecified,
    /// A multicast group.
    Multicast,
    /// `255.255.255.255`; the broadcast addresses of networks are known to the routes.
    Broadcast,
    /// Loopback, and the listener is not.
    Loopback,
    /// One of our own listeners: a loop.
    Ourselves,
    /// Port 0.
    Port,
}

impl Forbidden {
    /// As a reason phrase.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Unspecified => "Forbidden: Next Hop Is The Unspecified Address",
            Self::Multicast => "Forbidden: Next Hop Is Multicast",
            Self::Broadcast => "Forbidden: Next Hop Is Broadcast",
            Self::Loopback => "Forbidden: Next Hop Is Loopback",
            Self::Ourselves => "Forbidden: Next Hop Is This Proxy",
            Self::Port => "Forbidden: Next Hop Has Port 0",
        }
    }
}

/// Whether an address from a message may be sent to, as far as that does not depend on the egress.
#[inline(always)]
pub(super) fn check(ours: &Ours, to: SocketAddr) -> Result<(), Forbidden> {
    let is_plain =
        matches!(to, SocketAddr::V4(v4) if (1..224).contains(&v4.ip().octets()[0]) && v4.port() != 0);
    if is_plain && !ours.is_our_address(to) { Ok(()) } else { check_any(ours, to) }
}

/// The same of any address; the usual ones are told at a glance.
#[inline(never)]
fn check_any(ours: &Ours, to: SocketAddr) -> Result<(), Forbidden> {
    match canonical(to.ip()) {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Err(Forbidden::Unspecified),
        IpAddr::V6(v6) if v6.is_unspecified() => Err(Forbidden::Unspecified),
        ip if ip.is_multicast() => Err(Forbidden::Multicast),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Err(Forbidden::Broadcast),
        _ if to.port() == 0 => Err(Forbidden::Port),
        _ if ours.is_our_address(to) => Err(Forbidden::Ourselves),
        _ => Ok(()),
    }
}

/// Whether this listener may send to an address from a message.
#[inline(always)]
pub(super) fn check_egress<'l>(
    egress: impl FnOnce() -> &'l Listener,
    to: &SocketAddr,
) -> Result<(), Forbidden> {
    let is_loopback = |address: &SocketAddr| match address {
        SocketAddr::V4(v4) => v4.ip().is_loopback(),
        SocketAddr::V6(v6) => canonical((*v6.ip()).into()).is_loopback(),
    };
    if is_loopback(to) && !is_loopback(&egress().bind) { Err(Forbidden::Loopback) } else { Ok(()) }
}
