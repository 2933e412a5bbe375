//! What a `[[listener]]` says, before it is held against the host's addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::{Advertise, Tls};
use crate::net::{SectionId, Transport};
use crate::websocket::Origins;

/// One `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its place in the configuration.
    pub id: SectionId,
    /// Unique name.
    pub name: Box<str>,
    /// Its transport.
    pub transport: Transport,
    /// Which addresses.
    pub bind: Bind,
    /// Which port.
    pub port: u16,
    /// Whether it takes connections besides datagrams.
    pub tcp: Sibling,
    /// `SO_BINDTODEVICE`
    pub device: Option<Box<str>>,
    /// `SO_MARK`
    pub mark: Option<u32>,
    /// What is advertised; empty: the bound address.
    pub advertise: Vec<Advertise>,
    /// Where in-dialog requests may go.
    pub dialog_to: Vec<IpNet>,
    /// Earlier names.
    pub formerly: Vec<Box<str>>,
    /// From which origins browsers may connect; `None`: from any.
    pub origins: Option<Arc<Origins>>,
    /// Its certificates; `None`: its transport has none.
    pub tls: Option<Arc<Tls>>,
}

/// Whether a listener for datagrams has one for connections beside it, on the same addresses and port.
///
/// RFC 3261 §18.2.1: "For any port and interface that a server listens on for UDP, it MUST listen on that same port and
/// interface for TCP."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sibling {
    /// It has none: `tcp = false`, or its own transport is another one.
    Absent,
    /// It has one, as usual. Where another program has the port, datagrams are served all the same.
    Usual,
    /// It has one that is as necessary as any listener: `tcp = true`.
    Wanted,
}

/// Which addresses a `[[listener]]` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// This one, whether or not the host has it now.
    Address(IpAddr),
    /// This link-local one of this interface.
    LinkLocal(Ipv6Addr, Box<str>),
    /// All that the interface of this name has at the time.
    Interface(Box<str>),
    /// All that the host has at the time, of these families.
    All {
        /// IPv4 (`0.0.0.0`, `*`)
        v4: bool,
        /// IPv6 (`[::]`, `*`)
        v6: bool,
    },
}

impl Bind {
    /// Listeners come and go with the host's addresses.
    pub fn follows(&self) -> bool {
        matches!(self, Self::Interface(_) | Self::All { .. })
    }

    /// Whether it is IPv4 alone (or IPv6 alone); `None`: it may be either.
    pub fn is_ipv4(&self) -> Option<bool> {
        match self {
            Self::All { v4, v6 } => (v4 != v6).then_some(*v4),
            Self::Interface(_) => None,
            Self::Address(ip) => Some(ip.is_ipv4()),
            Self::LinkLocal(..) => Some(false),
        }
    }

    /// The one address, where there is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(ip) => Some(*ip),
            Self::LinkLocal(ip, _) => Some((*ip).into()),
            Self::Interface(_) | Self::All { .. } => None,
        }
    }
}

impl Section {
    /// It has listeners of this transport.
    pub fn serves(&self, transport: Transport) -> bool {
        self.transport == transport || self.also() == Some(transport)
    }

    /// The transport that it has besides its own.
    pub fn also(&self) -> Option<Transport> {
        (self.tcp != Sibling::Absent).then_some(Transport::Tcp)
    }

    /// `bind` as the configuration writes it.
    pub fn bind_text(&self) -> String {
        let (transport, port) = (self.transport, self.port);
        match &self.bind {
            Bind::Address(ip) => format!("{transport}:{}", SocketAddr::new(*ip, port)),
            Bind::LinkLocal(ip, link) => format!("{transport}:[{ip}%{link}]:{port}"),
            Bind::Interface(name) => format!("{transport}:{name}:{port}"),
            Bind::All { v4: true, v6: true } => format!("{transport}:*:{port}"),
            Bind::All { v4: true, .. } => format!("{transport}:0.0.0.0:{port}"),
            Bind::All { .. } => format!("{transport}:[::]:{port}"),
        }
    }
}
